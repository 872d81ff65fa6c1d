"""``groundplan up`` from scratch to the first prediction, in a copy of the project."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.platform import copy_project, groundplan


def main() -> None:
    print("groundplan up (budget: under 120 s on 2 cores, aim 60 s)")
    for _ in range(3):
        with TemporaryDirectory() as folder:
            project = copy_project(Path(folder) / "clone")
            started = time.perf_counter()
            done = groundplan(project, "up")
            seconds = time.perf_counter() - started
            spent = next(
                (line for line in done.stdout.splitlines() if line.startswith("Where the time went")), done.stderr
            )
            print(f"  {seconds:.1f} s, exit code {done.returncode}. {spent}")
            groundplan(project, "down")
