"""CPU time of ``groundplan --help``, compared with another Python command line that does as little (``mlflow
--version``).
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.pairs import compare, cpu_seconds


def main() -> None:
    folder = Path(sys.executable).parent
    ours, peer = [str(folder / "groundplan"), "--help"], [str(folder / "mlflow"), "--version"]
    cpu_seconds(ours), cpu_seconds(peer)
    compare(
        "Start of the command line (CPU)",
        ("groundplan --help", lambda: cpu_seconds(ours)),
        ("mlflow --version", lambda: cpu_seconds(peer)),
        5,
        "under 0.4 s",
    )
