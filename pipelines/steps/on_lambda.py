"""A model's retraining in one AWS Lambda function: the steps until people must agree, one after the other, each in a
process of its own, as everywhere else.

Lambda starts it as ``python -m awslambdaric pipelines.steps.on_lambda.handler``; the function's environment names the
model's folder (``GROUNDPLAN_MODEL_FOLDER``), the outputs and the tracking server. ``groundplan measure`` runs the same
on one machine.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spec.steps import before_people_agree

WRITABLE = "/tmp"  # noqa: S108 (all that Lambda lets a function write)
LEAVES_S = 5.0  # to say which step took too long, before Lambda ends the function without a word
NO_LIMIT_S = 24 * 3600.0
WAITING = "waiting: "  # begins a step's line about what must exist before the following ones have anything to do
_TOLD = 1_500  # characters of a step's output in an error


class TrainingError(Exception):
    """A step failed, or took too long; the message is the step's own."""


def train(
    folder: str,
    run: str,
    reports: Path,
    seconds_left: Callable[[], float] = lambda: NO_LIMIT_S,
    say: Callable[[str], object] = print,
    *,
    reuse: bool = True,
) -> dict[str, Any]:
    """Run the steps, until a later one has nothing to do yet.

    Args:
        folder: The model's folder.
        run: Name of the run; its results are stored under it.
        reports: Folder for pages.
        seconds_left: How long the whole may still take.
        say: Gets what a step has printed.
        reuse: Whether what was trained on the same rows by the same code is used again.

    Returns:
        ``run``; ``seconds`` of each step; ``memory_gb``, the most that one of its processes needed, or ``waiting``,
        what the following steps wait for.

    Raises:
        TrainingError: A step failed; those after it did not start.
    """
    import resource

    seconds: dict[str, float] = {}
    for step in before_people_agree():
        command = [sys.executable, "-m", step.module, "--model-folder", folder, "--run", run, "--reports", str(reports)]
        started = time.monotonic()
        for attempt in range(step.retries + 1):
            try:
                done = subprocess.run(
                    [*command, *(step.scheduled if reuse else ())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    timeout=max(1.0, seconds_left()),
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise TrainingError(
                    f"step {step.name} ({step.title}) was not done in time; until then: {_listed(seconds) or 'nothing'}"
                ) from None
            say(done.stdout)
            if done.returncode >= 0 or attempt == step.retries:
                break
            say(f"step {step.name} was killed by signal {-done.returncode}; it is started again")
        seconds[step.name] = round(time.monotonic() - started, 1)
        if done.returncode:
            raise TrainingError(f"step {step.name} ({step.title}): {_why(done.stdout)}")
        if waiting := [line for line in done.stdout.splitlines() if line.startswith(WAITING)]:
            return {"run": run, "seconds": seconds, "waiting": waiting[-1].removeprefix(WAITING)}
    peak_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"run": run, "seconds": seconds, "memory_gb": round(peak_kb / 2**20, 2)}


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Retrain once.

    Args:
        event: ``run``, as EventBridge Scheduler names its execution.

    Raises:
        TrainingError: A step failed; Lambda passes the message on.
    """
    run = new_run(re.sub(r"[^a-z0-9]", "", str(event.get("run", "")).lower())[-12:] or "lambda")
    return train(
        os.environ["GROUNDPLAN_MODEL_FOLDER"],
        run,
        Path(WRITABLE) / "reports",
        lambda: context.get_remaining_time_in_millis() / 1000 - LEAVES_S,
    )


def new_run(by: str) -> str:
    """Name of a run: its time and what started it."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{by}"


def _why(output: str) -> str:
    """A step's own message, or the end of what it said."""
    text = output.strip()
    _, marker, message = f"\n{text}".rpartition("\nerror: ")
    return (message if marker else text)[-_TOLD:] or "it said nothing"


def _listed(seconds: dict[str, float]) -> str:
    return ", ".join(f"{name} {taken:g} s" for name, taken in seconds.items())
