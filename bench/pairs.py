"""Two ways of doing the same thing, timed in turn."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
from collections.abc import Callable, Sequence


def compare(
    title: str, ours: tuple[str, Callable[[], float]], peer: tuple[str, Callable[[], float]], rounds: int, budget: str
) -> None:
    """Run both ``rounds`` times in turn and print medians (seconds) and the median of the ratios, pair by pair."""
    pairs = [(ours[1](), peer[1]()) for _ in range(rounds)]
    a, b = ([pair[side] for pair in pairs] for side in (0, 1))
    ratio = statistics.median(x / y for x, y in pairs)
    print(f"{title}\n  {ours[0]}: {statistics.median(a):.3f} s (from {min(a):.3f} to {max(a):.3f})")
    print(f"  {peer[0]}: {statistics.median(b):.3f} s (from {min(b):.3f} to {max(b):.3f})")
    print(f"  ratio {ratio:.2f}; budget: {budget}\n")


def cpu_seconds(command: Sequence[str]) -> float:
    """CPU time (user and system) of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "120"}, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
