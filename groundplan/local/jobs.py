"""Runs the pipeline's steps as processes, in the order of their dependencies, in parallel where possible."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundplan.local.environment import child_environment
from groundplan.local.home import Home, State
from groundplan.local.starter import Running, Starter
from spec.errors import GroundplanError
from spec.steps import Step

PROGRESS_EVERY_S = 0.5
STOP_TIMEOUT_S = 20.0  # a canary needs a while to roll back


@dataclass(frozen=True)
class Done:
    """A step that succeeded.

    Attributes:
        waiting: What must exist before the following steps have anything to do; empty where they have.
    """

    step: Step
    seconds: float
    log: Path
    waiting: str = ""

    @property
    def line(self) -> str:
        """For people."""
        return f"{self.step.title}  [{self.seconds:.1f} s]"


class StepError(GroundplanError):
    """A step failed; the message is the step's own, with its name and its log."""


def run_steps(
    home: Home,
    state: State,
    steps: tuple[Step, ...],
    folder: Path,
    run: str,
    arguments: tuple[str, ...] = (),
    before: Mapping[str, Callable[[Callable[[], None]], None]] | None = None,
    starter: Starter | None = None,
    on_start: Callable[[Step], None] = lambda step: None,
    on_done: Callable[[Done], None] = lambda done: None,
    on_progress: Callable[[Step, str], None] = lambda step, text: None,
) -> list[Done]:
    """Run steps until all are done, one fails, or one reports that there is nothing to do yet.

    Args:
        run: Name of this run of the pipeline.
        arguments: Further arguments for every step, as ``pipelines.context.main`` takes them.
        before: What a step must also wait for, for example a service that is still starting; it is given a function
            that raises once the run is stopped.
        starter: Forks the processes; without one each is started from scratch.
        on_progress: Called with the progress that a running step reports.

    Raises:
        StepError: A step failed; steps already running were stopped, later ones never started.
    """
    names = {step.name for step in steps}
    assert all(set(step.needs) <= names for step in steps), (
        "a step that waits for one that never runs would wait forever"
    )
    done: list[Done] = []
    waiting, running = list(steps), dict[Future[Done], Step]()
    processes = _Processes()
    with ThreadPoolExecutor(max_workers=len(steps)) as pool:
        try:
            while waiting or running:
                finished = {item.step.name for item in done}
                for step in [step for step in waiting if set(step.needs) <= finished]:
                    waiting.remove(step)
                    on_start(step)
                    first = (before or {}).get(step.name)
                    running[
                        pool.submit(
                            _run, home, state, step, folder, run, arguments, first, processes, starter, on_progress
                        )
                    ] = step
                # A short timeout lets Ctrl-C through.
                ended, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in ended:
                    del running[future]
                    result = future.result()
                    done.append(result)
                    on_done(result)
                    if result.waiting:
                        waiting.clear()
        except BaseException:
            processes.stop()
            raise
    return done


class _Processes:
    """The processes of running steps; once stopped, no more are started."""

    def __init__(self) -> None:
        self._lock, self._stopped = threading.Lock(), False
        self._all: list[Running] = []

    def start(self, start: Callable[[], Running]) -> Running:
        with self._lock:
            if self._stopped:
                raise GroundplanError("stopped before it began")
            process = start()
            self._all.append(process)
            return process

    @property
    def stopped(self) -> bool:
        """Whether no more are started."""
        return self._stopped

    def check(self) -> None:
        """Raise if stopped; waiting code calls it regularly."""
        if self._stopped:
            raise GroundplanError("stopped before it began")

    def stop(self) -> None:
        """Ask every process to end, so that it can clean up, then kill it."""
        with self._lock:
            self._stopped = True
            for process in self._all:
                if process.poll() is None:
                    process.terminate()
            for process in self._all:
                try:
                    process.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()


def _run(
    home: Home,
    state: State,
    step: Step,
    folder: Path,
    run: str,
    arguments: tuple[str, ...],
    before: Callable[[Callable[[], None]], None] | None,
    processes: _Processes,
    starter: Starter | None,
    on_progress: Callable[[Step, str], None],
) -> Done:
    if before is not None:
        before(processes.check)
    started = time.monotonic()
    log = home.logs / "runs" / f"{run}-{step.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    python = _python(home, step, folder, on_progress)
    told = ["--model-folder", str(folder), "--run", run, "--reports", str(home.reports), *arguments]
    environment = child_environment(home, state.services, state.region, f"step.{step.name}")
    log.write_bytes(b"")

    def start() -> Running:
        if starter is not None and python == sys.executable:
            return starter.start(step.module, told, environment, log)
        with log.open("ab") as file:
            return subprocess.Popen(
                [python, "-m", step.module, *told],
                cwd=home.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for this command, which then ends the step
            )

    for attempt in range(step.retries + 1):
        process = processes.start(start)
        while True:
            try:
                code = process.wait(PROGRESS_EVERY_S)
                break
            except subprocess.TimeoutExpired:
                if said := said_last(log, "progress"):
                    on_progress(step, said)
        if code >= 0 or attempt == step.retries or processes.stopped:
            break
        on_progress(step, f"killed by signal {-code}; it is started again")
    if code != 0:
        raise _failure(step, code, log)
    return Done(step, time.monotonic() - started, log, said_last(log, "waiting"))


def _python(home: Home, step: Step, folder: Path, on_progress: Callable[[Step, str], None]) -> str:
    """The Python of a step: the one that runs a user's script may have the script's own packages."""
    if step.name != "experiment":
        return sys.executable
    from groundplan.local.script_environment import python_for
    from pipelines.context import load_definition

    return python_for(load_definition(folder).script, home.environments, lambda line: on_progress(step, line))


def said_last(log: Path, what: str) -> str:
    """The last of the lines of a step's log that begin with a word: ``progress:`` reports its progress."""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 2000))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return next((line.removeprefix(f"{what}: ") for line in reversed(lines) if line.startswith(f"{what}: ")), "")


def _failure(step: Step, code: int, log: Path) -> StepError:
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    _, marker, message = f"\n{text}".rpartition("\nerror: ")
    why = message if marker else (text.splitlines() or ["it printed nothing"])[-1]
    if code < 0:
        why = f"killed by signal {-code}"
    return StepError(
        why.strip()[:2000], where=f"step {step.name} ({step.title})", fix=f"the log is {os.path.relpath(log)}"
    )


def results(home: Home, state: State, model: str, run: str, steps: tuple[Step, ...]) -> dict[str, Any]:
    """The result documents that the steps of a run have left, by step."""
    import json

    from groundplan.local.moto.aws import client
    from spec.outputs import read

    outputs = read(str(home.outputs_file))
    s3 = client("s3", state.services["aws"].url, state.region)
    found = {}
    for step in steps:
        try:
            body = s3.get_object(Bucket=outputs.buckets["curated"], Key=f"runs/{model}/{run}/{step.name}.json")[
                "Body"
            ].read()
        except s3.exceptions.NoSuchKey:
            continue
        found[step.name] = json.loads(body)
    return found


def newest_result(home: Home, state: State, model: str, step: str) -> dict[str, dict[str, Any]]:
    """The result that a step left last, in any run of the model; empty where it has left none."""
    import json

    from groundplan.local.moto.aws import client
    from spec.outputs import read

    bucket = read(str(home.outputs_file)).buckets["curated"]
    s3 = client("s3", state.services["aws"].url, state.region)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"runs/{model}/")
    keys = [item["Key"] for page in pages for item in page.get("Contents", []) if item["Key"].endswith(f"/{step}.json")]
    # A run's name begins with its time.
    return {step: json.loads(s3.get_object(Bucket=bucket, Key=max(keys))["Body"].read())} if keys else {}
