"""The processes of a review: one that runs the program, and below it one for each policy pack.

``python -m groundplan.review.process`` reads a request as JSON and writes the answer as JSON. A process of its own, because a program
may bring modules of any name, those of another revision of this project among them. Starting is most of a short review, so everything
here goes on side by side: the command line has the process started before it reads its arguments (``head_start``), and the packs start
while Pulumi's SDK is imported.
"""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # for the imports, too: they make thousands of classes, and the process lives for seconds

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from groundplan.review.errors import ReviewError

HOME = Path(__file__).parent.parent.parent
# As the CLI's `python -m pulumi.policy`; like the process above it, it does not look for garbage among imported classes, and it ends with it.
_PACK = """
import gc, os, runpy, sys, threading
gc.disable()
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
runpy.run_module("pulumi.policy", run_name="__main__", alter_sys=True)
"""
_waiting: list[subprocess.Popen[str]] = []


def head_start() -> None:
    """Start the process of the next review before it is known what is to be reviewed."""
    _waiting.append(_start())
    atexit.register(_stop_waiting)


def _stop_waiting() -> None:
    for process in _waiting:
        stop(process)


def start(request: Mapping[str, Any]) -> subprocess.Popen[str]:
    """A process that works on a request; its standard output will hold the answer."""
    process = _waiting.pop() if _waiting else _start()
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has died; whoever waits for its answer tells why
        process.stdin.write(json.dumps(request))
        process.stdin.close()
    process.stdin = None
    return process


def _start() -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH", "")])), "PYTHONWARNINGS": "ignore"}
    # -P: modules in the folder where it is called, of whatever name, are none of ours.
    command, pipe = [sys.executable, "-P", "-m", "groundplan.review.process"], subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def stop(process: subprocess.Popen[str]) -> None:
    """End it, if it still runs."""
    if process.poll() is None:
        process.kill()
        process.wait()


# What the process itself does.


class PackProcess(NamedTuple):
    """The process of one pack: it prints the port at which it can be asked.

    Attributes:
        path: Folder with ``PulumiPolicy.yaml``.
        errors: What it writes to standard error.
    """

    path: Path
    process: subprocess.Popen[str]
    errors: IO[bytes]

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
        self.errors.close()


def _start_pack(path: Path, request: Mapping[str, Any]) -> PackProcess:
    """Start a pack as the Pulumi CLI does.

    Raises:
        ReviewError: The folder holds no pack in Python.
    """
    import tempfile

    environment = {
        **os.environ,
        # The stack's configuration, which the engine hands a pack, too.
        "PULUMI_CONFIG": json.dumps(request["config"]),
        "PULUMI_PROJECT": request["project"],
        "PULUMI_STACK": request["stack"],
        "PULUMI_ORGANIZATION": "organization",
        "PULUMI_DRY_RUN": "true",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
        # The review shows waived findings, and who answers for them.
        "GROUNDPLAN_POLICY_WAIVERS": "0",
        # Our own pack then decodes each resource once; under the CLI the SDK stays as it came.
        "GROUNDPLAN_POLICY_QUICK": "1",
    }
    errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the pack)
    command = [_interpreter(path), "-c", _PACK, "127.0.0.1:0", str(path)]
    try:
        process = subprocess.Popen(command, cwd=path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
    except OSError as error:
        raise ReviewError(f"its Python can't be run: {error}", where=str(path), fix="make the virtualenv that PulumiPolicy.yaml names anew") from None
    return PackProcess(path, process, errors)


def _interpreter(path: Path) -> str:
    """The pack's own virtualenv, if it names one that is there; else this one.

    Raises:
        ReviewError: There is no pack, or it is not in Python.
    """
    file = path / "PulumiPolicy.yaml"
    if not file.is_file():
        raise ReviewError("is no policy pack: it has no PulumiPolicy.yaml", where=str(path), fix="name a folder with PulumiPolicy.yaml")
    import yaml

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ReviewError(f"not readable as YAML: {' '.join(str(error).split())}", where=str(file)) from None
    if not isinstance(document, dict):
        raise ReviewError("holds no mapping", where=str(file), fix="write at least `runtime: python`")
    runtime = document.get("runtime")
    kind = runtime.get("name") if isinstance(runtime, dict) else runtime
    if kind != "python":
        raise ReviewError(f"is a pack in {kind}; only Python ones can be asked", where=str(file))
    options = runtime.get("options") if isinstance(runtime, dict) else None
    options = options if isinstance(options, dict) else {}
    own = path / str(options.get("virtualenv", "")) / "bin" / "python"
    return str(own) if options.get("virtualenv") and own.is_file() else sys.executable


def _begin() -> tuple[dict[str, Any], list[PackProcess], ReviewError | None]:
    """The request, and its packs, started; or what kept one of them from being started."""
    request: dict[str, Any] = json.loads(sys.stdin.read() or "{}")
    started: list[PackProcess] = []
    try:
        for path in request.get("packs", ()):
            started.append(_start_pack(Path(path), request))  # noqa: PERF401 (kept, if a later one fails)
    except ReviewError as error:
        return request, started, error
    return request, started, None


def main() -> None:
    """Standard input to what standard output was when the process started; what the program prints goes to standard error."""
    from concurrent.futures import ThreadPoolExecutor

    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    begun = ThreadPoolExecutor(1).submit(_begin)
    from groundplan.review.engine import serve

    request, packs, error = begun.result()
    if request:  # nobody asks, if the arguments were wrong
        try:
            json.dump(serve(request, packs) if error is None else {"error": {"what": error.what, "where": error.where, "fix": error.fix}}, answer)
        finally:
            for pack in packs:
                pack.stop()
    answer.close()
    # What a program has started (threads, event loops) must not keep the review waiting.
    os._exit(0)


if __name__ == "__main__":
    main()
