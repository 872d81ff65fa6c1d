"""The rules of benchmarks that controls name, in our words, from ``rules.csv``: the CIS AWS Foundations Benchmark 7.0,
AWS Foundational Security Best Practices, and the CIS EKS Benchmark as far as controls name it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).parent / "rules.csv"


@dataclass(frozen=True)
class Rule:
    """One rule of a benchmark.

    Attributes:
        reference: As controls name it, for example ``FSBP S3.8``.
        requires: What it asks for.
        why_not: Why no program can show it; empty where a control could check it.
    """

    reference: str
    requires: str
    why_not: str = ""


@cache
def benchmarks() -> dict[str, Rule]:
    """All rules, by reference, in the file's order."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return {row["reference"]: Rule(**row) for row in csv.DictReader(file)}
