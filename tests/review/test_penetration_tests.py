"""Evidence of penetration tests: read, or refused with what is wrong; and the finding where there is none."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import pytest

from groundplan.review.compliance import evidence
from groundplan.review.model import Estimate, Finding, Review
from groundplan.review.penetration_tests import FOLDER, judge
from policies.settings import Settings
from spec.errors import UsageError

TODAY = datetime.date(2026, 11, 2)
OBJECTIVES = {"environment": "prod", "compliance": ["gdpr", "sox"]}


def write(root: Path, date: str = "2026-10-12", stack: str = "prod", left: str = "0", more: str = "") -> None:
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    text = f"stack: {stack}\ndate: {date}\nby: Example Security\nreport: https://example.com/r\nopen: {left}\n{more}"
    (root / FOLDER / f"{date}-{stack}.yaml").write_text(text)


def test_a_stack_without_a_test_has_a_finding(tmp_path: Path) -> None:
    (finding,), files = judge(tmp_path, OBJECTIVES, "prod", TODAY)
    assert not finding.mandatory and finding.law == ("GDPR 32(1)(d)",) and files == ()
    assert finding.message == "no penetration test of stack prod is on record"


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"date": "2026-07-01"}, "is of 2026-07-01 (evidence/penetration-tests/2026-07-01-prod.yaml), more than a"),
        ({"stack": "shop-prod"}, "no penetration test of stack prod is on record"),
        ({"left": "1"}, "has 1 finding that is not fixed"),
        ({"left": "3"}, "has 3 findings that are not fixed"),
    ],
)
def test_what_is_not_enough(tmp_path: Path, written: dict[str, str], says: str) -> None:
    write(tmp_path, **written)
    (finding,), files = judge(tmp_path, OBJECTIVES, "prod", TODAY)
    assert says in finding.message and not files


def test_a_test_of_this_quarter_is_enough_and_the_newest_counts(tmp_path: Path) -> None:
    write(tmp_path, "2026-09-01", left="4")
    write(tmp_path, "2026-10-12")
    assert judge(tmp_path, OBJECTIVES, "prod", TODAY) == ([], (f"{FOLDER}/2026-10-12-prod.yaml",))


@pytest.mark.parametrize(
    "objectives", [{**OBJECTIVES, "environment": "dev"}, {**OBJECTIVES, "compliance": ["sox"]}, {"environment": "prod"}]
)
def test_who_needs_none(tmp_path: Path, objectives: dict[str, object]) -> None:
    assert judge(tmp_path, objectives, "prod", TODAY) == ([], ())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- one\n", "stack is None; expected a text"),
        ("stack: prod\nby: [a]\n", "by is ['a']; expected a text"),
        ("stack: [\n", "not readable as YAML"),
        ("stack: prod\nby: a\nreport: b\ndate: soon\nopen: 0\n", "date is 'soon'; expected a day up to today"),
        (
            "stack: prod\nby: a\nreport: b\ndate: 2027-01-01\nopen: 0\n",
            "date is 2027-01-01; expected a day up to today",
        ),
        ("stack: prod\nby: a\nreport: b\ndate: 2026-10-01\nopen: none\n", "open is 'none'; expected the number of"),
        ("stack: prod\nby: a\nreport: b\ndate: 2026-10-01\nopen: true\n", "open is True; expected the number of"),
    ],
)
def test_invalid_evidence_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "one.yaml").write_text(text)
    with pytest.raises(UsageError) as error:
        judge(tmp_path, OBJECTIVES, "prod", TODAY)
    assert says in error.value.what and error.value.where == f"{FOLDER}/one.yaml"


def test_the_rules_that_ask_for_it_are_due_or_satisfied(tmp_path: Path) -> None:
    def row(findings: Sequence[Finding], files: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        cost = Estimate("resources", (), "", "")
        review = Review("p", "prod", (), tuple(findings), (), (), cost, evidence=files)
        rows = {item.reference: item for item in evidence(review, Settings(environment="prod"), "GDPR")}
        return rows["GDPR 32(1)(d)"].state, rows["GDPR 32(1)(d)"].satisfied

    assert row(*judge(tmp_path, OBJECTIVES, "prod", TODAY)) == ("due", ())
    write(tmp_path)
    assert row(*judge(tmp_path, OBJECTIVES, "prod", TODAY)) == ("satisfied", (f"{FOLDER}/2026-10-12-prod.yaml",))
    assert row((), ()) == ("manual", ())
