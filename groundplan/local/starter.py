"""Starts the pipeline's steps as forks of one process that has imported what they need, which saves three seconds
for each, ten for some.

On AWS every step is its own job, and so it is here: its own process, with its own environment, log and exit code. Only
its imports are already loaded.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from groundplan.local.environment import child_environment
from groundplan.local.home import Home, State
from spec.steps import Step

PRELOADED = (
    "pandas",
    "pyarrow.parquet",
    "boto3",
    "sklearn.base",
    "sklearn.model_selection",
    "mlflow.sklearn",
    "mlflow.data.pandas_dataset",
    "openlineage.client",
)
STOP_TIMEOUT_S = 5.0
LOST = 1  # exit code of a step whose starter has ended


class Running(Protocol):
    """A step's process, with the interface of ``subprocess.Popen``."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


class Forked:
    """A process that the starter has forked.

    Args:
        lost: Called if it ends before its steps.
    """

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        self.pid, self._code, self._started, self._ended = 0, 0, threading.Event(), threading.Event()

    def told(self, pid: int | None = None, code: int | None = None) -> None:
        """What the starter reports about it."""
        if pid is not None:
            self.pid = pid
            self._started.set()
        if code is not None and not self._ended.is_set():
            self._code = code
            self._started.set()
            self._ended.set()

    def lost(self) -> None:
        """The starter has ended, so the outcome of the process is unknown."""
        if not self._ended.is_set():
            self._lost()
            self.told(code=LOST)

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._code if self._ended.is_set() else None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: It is still running.
        """
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("step", timeout or 0)
        return self._code

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        self._started.wait()
        if self.poll() is None and self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Starter:
    """The process that forks, from the command's side.

    Args:
        environment: Environment of the process; each step brings its own.
        log: Where it writes its own errors.
        imports: Further packages to import, while there is nothing to fork.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path, log: Path, imports: tuple[str, ...] = ()) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, *imports],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,
                text=True,
            )
        self._gone = False
        self._log, self._lock, self._all = log, threading.Lock(), list[Forked]()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, module: str, arguments: list[str], environment: Mapping[str, str], log: Path) -> Forked:
        """Run ``python -m MODULE ARGUMENTS``, its output into a file."""

        def lost() -> None:
            with log.open("a", encoding="utf-8") as file:
                file.write(f"error: the process that starts steps has ended; {self._log} says why\n")

        forked, stdin = Forked(lost), self._process.stdin
        assert stdin is not None
        with self._lock:
            self._all.append(forked)
            order = {
                "number": len(self._all) - 1,
                "module": module,
                "arguments": arguments,
                "environment": dict(environment),
                "log": str(log),
            }
            if self._gone:
                forked.lost()
            else:
                with contextlib.suppress(OSError):  # the thread that reads its output finds that it has ended
                    stdin.write(f"{json.dumps(order)}\n")
                    stdin.flush()
        return forked

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            self._all[said["number"]].told(said.get("pid"), said.get("code"))
        with self._lock:
            self._gone = True
            for forked in self._all:
                forked.lost()

    def close(self) -> None:
        """End the starter; forked processes continue."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_TIMEOUT_S)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def starter(home: Home, state: State, steps: tuple[Step, ...]) -> Iterator[Starter | None]:
    """A starter for some steps; None where it would save nothing, or is impossible (macOS, whose frameworks don't
    survive a fork).
    """
    if sys.platform != "linux" or len(steps) < 2:
        yield None
        return
    imports = tuple(name for step in steps for name in step.imports)
    found = Starter(
        child_environment(home, state.services, state.region), home.root, home.logs / "starter.log", imports
    )
    try:
        yield found
    finally:
        found.close()


def main() -> None:
    """Import, then fork for each order that arrives, and report how each ended, until no more orders arrive.

    Arguments are packages to import while there is no order.
    """
    tell = os.dup(1)  # what a package prints while it is imported goes to the log
    os.dup2(2, 1)
    from pipelines.tracking import use_mlflow

    use_mlflow()
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # otherwise garbage collection would write to the pages that the forks share
    order = _orders(tell, sys.argv[1:])
    if order is None:
        return
    # From here on, this is a step's process.
    sys.argv = [order["module"], *order["arguments"]]
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)


def _orders(tell: int, imports: list[str]) -> dict[str, Any] | None:
    """Fork for each order. Returns in each child with its order, and in the starter with None at the end."""
    ended, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    running, buffered = dict[int, int](), b""
    while True:
        ready, _, _ = select.select([0, ended], [], [], 0 if imports else None)
        if not ready:
            with contextlib.suppress(ImportError):  # the step that needs it reports it
                importlib.import_module(imports.pop(0))
            gc.freeze()
        if ended in ready:
            os.read(ended, 1 << 10)
            _say_ended(tell, running)
        if 0 not in ready:
            continue
        read = os.read(0, 1 << 16)
        if not read:
            return None
        *lines, buffered = (buffered + read).split(b"\n")
        for line in lines:
            order = json.loads(line)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for opened in (ended, wake, tell):
                    os.close(opened)
                _become(order)
                return dict(order)
            running[pid] = order["number"]
            _say(tell, number=order["number"], pid=pid)


def _say_ended(tell: int, running: dict[int, int]) -> None:
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            _say(tell, number=running.pop(pid), code=os.waitstatus_to_exitcode(status))


def _say(tell: int, **document: int) -> None:
    os.write(tell, f"{json.dumps(document)}\n".encode())


def _become(order: dict[str, Any]) -> None:
    """What a separate process has: a session, an environment, no input, a log."""
    os.setsid()
    os.environ.clear()
    os.environ.update(order["environment"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)


if __name__ == "__main__":
    main()
