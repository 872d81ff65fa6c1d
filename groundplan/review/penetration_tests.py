"""Penetration tests, of which each stack with production data needs one a quarter: the dated evidence of the last one,
and the finding where there is none.

Evidence is a file of the project, so that git says who recorded it::

    # evidence/penetration-tests/2026-10-12.yaml
    stack: prod
    date: 2026-10-12
    by: who tested it
    report: where the report is
    open: 0  # findings of the report that are not fixed

``groundplan scan --record`` writes one; what it could not check (``not_made``) is not tested.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundplan.review.model import Finding
from policies.frameworks import PENETRATION_TEST
from policies.settings import Settings
from spec.errors import UsageError

FOLDER = "evidence/penetration-tests"
LONGEST_DAYS = 92  # a quarter
LAW = {"gdpr": "GDPR 32(1)(d)", "hipaa": "HIPAA 164.308(a)(8)", "soc2": "SOC 2 CC7.1"}
_TEXTS = ("stack", "by", "report")


@dataclass(frozen=True)
class PenetrationTest:
    """A test that was made.

    Attributes:
        file: Below the project's folder.
        by: Who made it.
        report: Where the report is.
        open: Findings of the report that are not fixed.
        not_made: Checks of a scan that were not made; with any, it is no evidence.
    """

    file: str
    stack: str
    date: datetime.date
    by: str
    report: str
    open: int
    not_made: tuple[str, ...] = ()


def judge(
    root: Path, objectives: Mapping[str, Any], stack: str, today: datetime.date
) -> tuple[list[Finding], tuple[str, ...]]:
    """The finding that a stack needs a test, if it does, and the evidence that it has passed one.

    Args:
        root: The project's folder.

    Raises:
        UsageError: A file of evidence is invalid.
    """
    if not Settings(environment=str(objectives.get("environment"))).production:
        return [], ()
    last = last_of(penetration_tests(root, today), stack)
    finding = due(last, stack, objectives.get("compliance") or (), today)
    return ([finding], ()) if finding else ([], (last.file,) if last else ())


def penetration_tests(root: Path, today: datetime.date) -> list[PenetrationTest]:
    """The tests on record, the newest last.

    Raises:
        UsageError: A file is invalid.
    """
    found = [_read(path, root, today) for path in sorted((root / FOLDER).glob("*.y*ml"))]
    return sorted(found, key=lambda test: (test.date, test.file))


def _read(path: Path, root: Path, today: datetime.date) -> PenetrationTest:
    import yaml

    where = str(path.relative_to(root))
    try:
        given: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"not readable as YAML: {' '.join(str(error).split())}", where=where) from None
    given = given if isinstance(given, dict) else {}
    for key in _TEXTS:
        if not isinstance(given.get(key), str) or not given[key].strip():
            raise UsageError(f"{key} is {given.get(key)!r}; expected a text", where=where, fix=_example(today))
    date, unfixed = given.get("date"), given.get("open")
    if type(date) is not datetime.date or date > today:
        raise UsageError(f"date is {_shown(date)}; expected a day up to today", where=where, fix=_example(today))
    if type(unfixed) is not int or unfixed < 0:
        raise UsageError(
            f"open is {unfixed!r}; expected the number of findings that are not fixed", where=where, fix=_example(today)
        )
    lacking = given.get("not_made") or []
    if not isinstance(lacking, list) or not all(isinstance(name, str) for name in lacking):
        raise UsageError(
            f"not_made is {lacking!r}; expected a list of checks", where=where, fix="leave it out if all were made"
        )
    return PenetrationTest(where, given["stack"], date, given["by"], given["report"], unfixed, tuple(lacking))


def _shown(date: Any) -> str:
    return str(date) if isinstance(date, datetime.date) else repr(date)


def _example(today: datetime.date) -> str:
    return f"for example: stack: prod, date: {today}, by: Example Security, report: https://..., open: 0"


def last_of(tests: list[PenetrationTest], stack: str) -> PenetrationTest | None:
    """A stack's newest test; one that was made in full, if there is one."""
    of_stack = [test for test in reversed(tests) if test.stack == stack]
    return next((test for test in of_stack if not test.not_made), of_stack[0] if of_stack else None)


def due(last: PenetrationTest | None, stack: str, regimes: Collection[str], today: datetime.date) -> Finding | None:
    """The finding that a stack with production data needs a test; None where no regime asks for one, or it has one.

    Args:
        regimes: As the objectives name them: gdpr, hipaa, sox, soc2.
    """
    law = tuple(LAW[regime] for regime in LAW if regime in regimes)
    if not law:
        return None
    if last is None:
        message = f"no penetration test of stack {stack} is on record"
    elif (today - last.date).days > LONGEST_DAYS:
        message = f"the last penetration test of stack {stack} is of {last.date} ({last.file}), more than a quarter ago"
    elif last.not_made:
        message = f"the test of {last.date} ({last.file}) has not looked at {', '.join(last.not_made)}"
    elif last.open:
        message = (
            f"the penetration test of {last.date} ({last.file}) has {last.open} finding{'s' * (last.open > 1)} that"
            f" {'are' if last.open > 1 else 'is'} not fixed"
        )
    else:
        return None
    return Finding(
        PENETRATION_TEST,
        "A stack with production data has passed a penetration test this quarter",
        "medium",
        False,
        "stack",
        "",
        "",
        message,
        f"Have it tested, or scan it (`groundplan scan --record`), fix what is found, and record it in"
        f" {FOLDER}/{today}.yaml (docs/review.md shows how).",
        law,
        "https://aws.amazon.com/security/penetration-testing/",
        risk="An attacker finds first what nobody has looked for",
        family="evidence",
    )
