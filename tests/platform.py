"""A copy of the project with its own platform, for tests that run the real thing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from tests.conftest import ROOT

_LEFT_OUT = shutil.ignore_patterns(
    ".venv", ".git", ".groundplan", "__pycache__", ".mypy_cache", ".ruff_cache", ".hypothesis", "rendered", "*.egg-info"
)


def copy_project(target: Path) -> Path:
    """The working tree at ``target``; what it starts can't interfere with the developer's running platform."""
    shutil.copytree(ROOT, target, ignore=_LEFT_OUT)
    return target


def groundplan(project: Path, *arguments: str, timeout: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command line of the copy."""
    environment = {**os.environ, "PYTHONPATH": str(project), **env}
    command = [sys.executable, "-m", "groundplan", *arguments]
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def processes_of(project: Path) -> list[str]:
    """Command lines of the processes that belong to the copy's platform."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.environ().get("GROUNDPLAN_HOME") == str(project / ".groundplan")
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    return found


def logs_of(project: Path) -> str:
    """The end of every log, to see why a test failed."""
    folder = project / ".groundplan" / "logs"
    texts = [
        f"--- {path.name}\n{path.read_text(encoding='utf-8', errors='replace')[-1500:]}"
        for path in sorted(folder.glob("*.log"))
    ]
    return "\n".join(texts)


def assert_ok(done: subprocess.CompletedProcess[str], project: Path) -> Any:
    """Fail with everything that helps if the command failed."""
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs_of(project)}"
    return done
