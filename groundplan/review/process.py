"""The processes of a review: one that runs the program, and below it one for each policy pack.

``python -m groundplan.review.process`` reads a request as JSON and writes the answer as JSON. It is a separate process,
because a program may bring modules of any name, including those of another revision of this project. A short review is
mostly startup time, so everything here runs in parallel: the command line starts the process before it reads its
arguments (``head_start``), and the packs start while Pulumi's SDK is imported.
"""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # for the imports, too: they create thousands of classes, and the process lives for seconds

import atexit
import faulthandler
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from groundplan.engine.offline import Offline, leave_network, without_credentials
from groundplan.engine.own_environment import Guest
from groundplan.review.errors import ReviewError
from groundplan.review.pack_process import PackProcess, start_pack
from spec.names import HOME

WHERE = signal.SIGUSR1  # has the process write to standard error where it is

_waiting: list[subprocess.Popen[str]] = []


def head_start() -> None:
    """Start the process of the next review before it is known what to review."""
    _waiting.append(_start())
    atexit.register(_stop_waiting)


def _stop_waiting() -> None:
    for process in _waiting:
        stop(process)


def start(request: Mapping[str, Any]) -> subprocess.Popen[str]:
    """A process that works on a request; its standard output will contain the answer."""
    process = _waiting.pop() if _waiting else _start()
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has died; the code that waits for its answer reports why
        process.stdin.write(json.dumps(request))
        process.stdin.close()
    process.stdin = None
    return process


def _start() -> subprocess.Popen[str]:
    environment = {
        **without_credentials(os.environ),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH", "")])),
        "PYTHONWARNINGS": "ignore",
    }
    # -P: modules in the folder where it is called are not ours, whatever their names.
    command, pipe = [sys.executable, "-P", "-m", "groundplan.review.process"], subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def stop(process: subprocess.Popen[str]) -> None:
    """End it, if it still runs."""
    if process.poll() is None:
        process.kill()
        process.wait()


# What the process itself does.


class _Begun(NamedTuple):
    """A request, and the processes that have been started for it; or the error that prevented one from starting."""

    request: dict[str, Any]
    packs: list[PackProcess]
    guest: Guest | None
    error: ReviewError | None = None


def _begin(*, enforced: bool) -> _Begun:
    request: dict[str, Any] = json.loads(sys.stdin.read() or "{}")
    started: list[PackProcess] = []
    python = request.get("python")
    guest = Guest(request, python, enforced=enforced) if python else None
    try:
        for path in request.get("packs", ()):
            started.append(start_pack(Path(path), request))  # noqa: PERF401 (kept, if a later one fails)
    except ReviewError as error:
        return _Begun(request, started, guest, error)
    return _Begun(request, started, guest)


def main() -> None:
    """Standard input to what standard output was when the process started; what the program prints goes to standard
    error.
    """
    from concurrent.futures import ThreadPoolExecutor

    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    faulthandler.register(WHERE)
    offline = Offline(enforced=leave_network())  # before there is a second thread
    begun = ThreadPoolExecutor(1).submit(_begin, enforced=offline.enforced)
    from groundplan.review.engine import serve

    request, packs, guest, error = begun.result()
    if request:  # empty if the arguments were invalid
        try:
            json.dump(
                (
                    serve(request, packs, offline, guest)
                    if error is None
                    else {"error": {"what": error.what, "where": error.where, "fix": error.fix}}
                ),
                answer,
            )
        finally:
            for pack in packs:
                pack.stop()
    answer.close()
    # What a program has started (threads, event loops) must not keep the review waiting.
    os._exit(0)


if __name__ == "__main__":
    main()
