"""Steps as forks of one process: each has its own environment, log and exit code, and nothing of it is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from groundplan.local.starter import LOST, Starter
from spec.steps import STEPS
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.slow,  # starts processes
    pytest.mark.skipif(sys.platform != "linux", reason="steps are forked on Linux only"),
]

STEP = """
import os, signal, sys, time
import mlflow
told = os.environ.get("COLOUR"), os.environ.get("ONLY_THE_STARTERS")
print("step", sys.argv, *told, os.getsid(0) == os.getpid(), sys.stdin.read() == "", __name__)
if "wait" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print("waiting", flush=True)
    time.sleep(60)
if "abort" in sys.argv:
    os.kill(os.getpid(), signal.SIGABRT)
if "raise" in sys.argv:
    raise ValueError("what the step says")
raise SystemExit(int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("steps")
    (found / "a_step.py").write_text(STEP)
    (found / "loud.py").write_text("print('imported', flush=True)")
    return found


@pytest.fixture(scope="module")
def starter(folder: Path) -> Iterator[Starter]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "ONLY_THE_STARTERS": "1"}
    every = tuple(name for step in STEPS for name in step.imports)
    found = Starter(environment, folder, folder / "logs" / "starter.log", ("no_such_package", *every, "loud"))
    yield found
    found.close()


def environment(folder: Path, colour: str = "red") -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "COLOUR": colour, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}


def test_a_step_has_its_own_arguments_environment_log_and_exit_code(starter: Starter, folder: Path) -> None:
    logs = [folder / f"{code}.log" for code in range(3)]
    steps = [
        starter.start("a_step", [str(code)], environment(folder, f"colour {code}"), log)
        for code, log in enumerate(logs)
    ]
    assert [step.wait(60) for step in steps] == [0, 1, 2] == [step.poll() for step in steps]
    for code, log in enumerate(logs):
        assert log.read_text() == f"step ['{folder}/a_step.py', '{code}'] colour {code} None True True __main__\n"


def test_what_a_step_raises_is_in_its_log(starter: Starter, folder: Path) -> None:
    step = starter.start("a_step", ["raise"], environment(folder), folder / "raised.log")
    assert step.wait(60) == 1 and "ValueError: what the step says\n" in (folder / "raised.log").read_text()
    missing = starter.start("no_such_step", [], environment(folder), folder / "missing.log")
    assert missing.wait(60) == 1 and "No module named no_such_step" in (folder / "missing.log").read_text()


def test_a_step_that_is_asked_to_end_ends_and_one_that_dies_is_told(starter: Starter, folder: Path) -> None:
    log = folder / "waiting.log"
    step = starter.start("a_step", ["wait"], environment(folder), log)
    with pytest.raises(subprocess.TimeoutExpired):
        step.wait(0.01)
    while "waiting" not in (log.read_text() if log.exists() else ""):
        time.sleep(0.02)
    step.terminate()
    assert step.wait(10) == 143
    step.terminate()  # for one that has ended, nothing happens
    dead = starter.start("a_step", ["abort"], environment(folder), folder / "dead.log")
    assert dead.wait(60) == -signal.SIGABRT
    killed = starter.start("a_step", ["wait"], environment(folder), folder / "killed.log")
    killed.kill()
    assert killed.wait(10) == -signal.SIGKILL


def test_forks_end_well_whatever_was_imported_before(starter: Starter, folder: Path) -> None:
    """A package whose threads don't survive a fork (onnxruntime) ends its process by SIGABRT, or never."""
    deadline = time.monotonic() + 120
    while "imported" not in (folder / "logs" / "starter.log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert starter.start("a_step", ["0"], environment(folder), folder / "after.log").wait(120) == 0


def test_without_its_starter_a_step_is_lost_and_says_so(folder: Path) -> None:
    found = Starter({**os.environ, "PYTHONPATH": str(folder)}, folder, folder / "broken.log")
    found._process.kill()
    for name in ("lost", "later"):
        step = found.start("a_step", ["0"], environment(folder), folder / f"{name}.log")
        assert step.wait(60) == LOST
        assert (
            folder / f"{name}.log"
        ).read_text() == f"error: the process that starts steps has ended; {folder}/broken.log says why\n"
        step.terminate()
    found.close()


def test_nothing_is_left_when_the_starter_closes(folder: Path) -> None:
    found = Starter({**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}, folder, folder / "closing.log")
    process = psutil.Process(found._process.pid)
    found.close()
    assert not process.is_running()
