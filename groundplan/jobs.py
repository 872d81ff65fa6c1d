"""Runs the pipeline's steps as processes, in the order of what they need, side by side where they don't need each other."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundplan.environment import child_environment
from groundplan.home import Home, State
from infra.errors import GroundplanError
from pipelines.steps import Step


@dataclass(frozen=True)
class Done:
    """A step that ended well."""

    step: Step
    seconds: float
    log: Path


class StepError(GroundplanError):
    """A step ended badly; the message is the step's own, with its name and its log."""


def run_steps(
    home: Home,
    state: State,
    steps: tuple[Step, ...],
    example: Path,
    run: str,
    before: Mapping[str, Callable[[], None]] | None = None,
    on_start: Callable[[Step], None] = lambda step: None,
    on_done: Callable[[Done], None] = lambda done: None,
) -> list[Done]:
    """Run steps until all are done or one fails.

    Args:
        run: Name of this run of the pipeline.
        before: What a step must also wait for, for example a service that is still starting.

    Raises:
        StepError: A step failed; steps already running were stopped, later ones never started.
    """
    done: list[Done] = []
    waiting, running = list(steps), dict[Future[Done], Step]()
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with ThreadPoolExecutor(max_workers=len(steps)) as pool:
        try:
            while waiting or running:
                finished = {item.step.name for item in done}
                for step in [step for step in waiting if set(step.needs) <= finished]:
                    waiting.remove(step)
                    on_start(step)
                    running[pool.submit(_run, home, state, step, example, run, (before or {}).get(step.name), processes)] = step
                # A short timeout lets Ctrl-C through.
                ended, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in ended:
                    del running[future]
                    result = future.result()
                    done.append(result)
                    on_done(result)
        except BaseException:
            for process in processes.values():
                if process.poll() is None:
                    process.terminate()
            raise
    return done


def _run(
    home: Home, state: State, step: Step, example: Path, run: str, before: Callable[[], None] | None, processes: dict[str, subprocess.Popen[bytes]]
) -> Done:
    if before is not None:
        before()
    started = time.monotonic()
    home.logs.mkdir(parents=True, exist_ok=True)
    log = home.logs / f"step-{step.name}.log"
    command = [sys.executable, "-m", step.module, "--example", str(example), "--run", run, "--reports", str(home.reports)]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=home.root, env=child_environment(home, state.services, state.region), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
        processes[step.name] = process
        code = process.wait()
    if code != 0:
        raise _failure(step, code, log)
    return Done(step, time.monotonic() - started, log)


def _failure(step: Step, code: int, log: Path) -> StepError:
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    _, marker, message = text.rpartition("error: ")
    why = message if marker else (text.splitlines() or ["it printed nothing"])[-1]
    if code < 0:
        why = f"killed by signal {-code}"
    return StepError(why.strip()[:2000], where=f"step {step.name} ({step.title})", fix=f"the log is {os.path.relpath(log)}")


def results(home: Home, state: State, model: str, run: str, steps: tuple[Step, ...]) -> dict[str, Any]:
    """The result documents that the steps of a run have left, by step."""
    import json

    from groundplan.cloud.aws import client
    from infra.outputs import read

    outputs = read(str(home.outputs_file))
    s3 = client("s3", state.services["aws"].url, state.region)
    found = {}
    for step in steps:
        try:
            body = s3.get_object(Bucket=outputs.buckets["curated"], Key=f"runs/{model}/{run}/{step.name}.json")["Body"].read()
        except s3.exceptions.NoSuchKey:
            continue
        found[step.name] = json.loads(body)
    return found
