"""``groundplan compliance``: for each rule of a framework what checks it, what satisfies it, who approved exceptions,
and what must be done manually.
"""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from groundplan.review.formats.page import STYLE, html_table
from groundplan.review.model import Finding, Review
from policies.control import Control
from policies.controls import CONTROLS
from policies.frameworks import CHECKLIST, PENETRATION_TEST, REQUIREMENTS, Requirement
from policies.settings import REGIMES, Settings
from spec.errors import UsageError

_STATES = {
    "failing": ("bad", "a control reports a finding"),
    "due": ("bad", "what must be done manually has no dated evidence, or is overdue"),
    "waived": ("warn", "satisfied except for accepted exceptions"),
    "satisfied": ("good", "every control is satisfied"),
    "nothing to check": ("dim", "the stack has no resource that a control checks"),
    "manual": ("warn", "no program can check it"),
}
_SEVERITIES = ("critical", "high", "medium", "low")


@dataclass(frozen=True)
class Evidence:
    """One row: a rule, and its status.

    Attributes:
        satisfied: Names of resources that a control checked without findings.
    """

    reference: str
    text: str
    state: str
    controls: tuple[str, ...] = ()
    satisfied: tuple[str, ...] = ()
    open: tuple[Finding, ...] = ()
    waived: tuple[Finding, ...] = ()
    people: str = ""
    who: str = ""
    every: str = ""
    by_severity: dict[str, int] = field(default_factory=dict)


def framework_named(text: str) -> str:
    """The framework with this name: gdpr, hipaa, sox, soc2.

    Raises:
        UsageError: There is no such framework.
    """
    found = REGIMES.get(text.lower().replace(" ", "").replace("-", ""))
    if found is None:
        raise UsageError(f"unknown framework {text!r}", where="--framework", fix=f"one of: {', '.join(REGIMES)}")
    return found


def evidence(review: Review, settings: Settings, framework: str) -> list[Evidence]:
    """Rows of a framework's rules."""
    return [
        _row(review, settings, rule, [c for c in CONTROLS.values() if rule.reference in c.law])
        for rule in REQUIREMENTS[framework]
    ]


def checklist(review: Review, settings: Settings) -> list[Evidence]:
    """Rows of the security check-list."""
    rows = []
    for item in CHECKLIST:
        rule = Requirement(item.subject, item.asked, item.people, item.who, item.every, item.tested)
        rows.append(_row(review, settings, rule, [CONTROLS[name] for name in item.controls if name in CONTROLS]))
    return rows


def _row(review: Review, settings: Settings, rule: Requirement, controls: list[Control]) -> Evidence:
    held = [control for control in controls if settings.applies(control)]
    ids = {control.id for control in held} | ({PENETRATION_TEST} if rule.tested else set())
    found = [finding for finding in review.findings if finding.policy in ids]
    open_, waived = tuple(f for f in found if not f.waived), tuple(f for f in found if f.waived)
    wrong = {(finding.policy, finding.urn) for finding in found}
    undecided = {(item.policy, item.resource) for item in review.undecided}
    satisfied = sorted(
        {
            resource.name
            for control in held
            for resource in review.resources
            if resource.type in control.types
            and (control.id, resource.urn) not in wrong
            and (control.id, resource.name) not in undecided
        }
        | {
            "the stack"
            for control in held
            if control.stack_check and control.id not in {policy for policy, _ in (*wrong, *undecided)}
        }
    )
    if rule.tested:
        satisfied = [*satisfied, *review.evidence]
    if not held and not found and not satisfied:
        state = "manual"
    elif any(finding.policy != PENETRATION_TEST for finding in open_):
        state = "failing"
    elif open_:
        state = "due"
    elif waived:
        state = "waived"
    else:
        state = "satisfied" if satisfied else "nothing to check"
    counts = {severity: sum(finding.severity == severity for finding in open_) for severity in _SEVERITIES}
    return Evidence(
        rule.reference,
        rule.text,
        state,
        tuple(sorted(control.id for control in held)),
        tuple(satisfied),
        open_,
        waived,
        rule.people,
        rule.who,
        rule.every,
        counts,
    )


def as_csv(rows: Iterable[Evidence]) -> str:
    """One line per rule."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(
        (
            "rule",
            "what it requires",
            "state",
            "controls",
            "resources that satisfy it",
            "open findings",
            "waivers",
            "manual duties",
            "by whom",
            "how often",
        )
    )
    for row in rows:
        writer.writerow(
            (
                row.reference,
                row.text,
                row.state,
                "; ".join(row.controls),
                "; ".join(row.satisfied),
                "; ".join(f"{f.policy} on {f.resource}: {f.message}" for f in row.open),
                "; ".join(
                    f"{f.policy} on {f.resource}: {f.waived.approver} until {f.waived.expires}, {f.waived.reason}"
                    for f in row.waived
                    if f.waived
                ),
                row.people,
                row.who,
                row.every,
            )
        )
    return buffer.getvalue()


def as_html(title: str, review: Review, rows: list[Evidence], asked: list[Evidence]) -> str:
    """One self-contained page: the heat map first, then the rules, the check-list, and the manual duties."""
    e = html.escape
    counts = {state: sum(row.state == state for row in rows) for state in _STATES}
    summary = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    legend = "".join(f"<li><b class='{css}'>{state}</b>: {text}</li>" for state, (css, text) in _STATES.items())
    todo = [(e(row.people), e(row.who), e(row.every), e(row.reference)) for row in (*rows, *asked) if row.people]
    heat = [
        (
            f"<b>{e(row.reference)}</b> {e(row.text)}",
            _state(row.state),
            *(_cell(row, severity) for severity in _SEVERITIES),
            _cell_of_people(row),
        )
        for row in rows
    ]
    body = [
        f"<h1>{e(title)}</h1>",
        f"<p>{e(review.project)}, stack {e(review.stack)}. {len(rows)} rules: {e(summary)}.</p>",
        (
            '<p>"Satisfied" refers to what the program of this revision asks AWS to create. This page is not a'
            " certificate, and the account itself was not checked.</p>"
        ),
        f"<ul>{legend}</ul>",
        "<h2>Risk by rule</h2>",
        html_table(("rule", "state", *_SEVERITIES, "people"), heat),
        "<h2>Rule by rule</h2>",
        html_table(
            ("rule", "state", "controls", "resources that satisfy it", "open", "waived", "not covered by code"),
            [_detail(row) for row in rows],
        ),
        "<h2>Security check-list</h2>",
        html_table(
            ("subject", "state", "controls", "resources that satisfy it", "open", "waived", "not covered by code"),
            [_detail(row) for row in asked],
        ),
        "<h2>Manual duties</h2>",
        html_table(("what", "who", "how often", "for"), todo),
    ]
    more = (
        ".heat0 { background: #2e7d3222 } .heat1 { background: #f9a82566 } .heat2 { background: #ef6c0088 } .heat3 {"
        " background: #c62828aa }"
    )
    head = (
        "<meta charset='utf-8'><meta name='viewport'"
        f" content='width=device-width'><title>{e(title)}</title><style>{STYLE}{more}</style>"
    )
    return f"<!doctype html>\n<html lang='en'><head>{head}</head><body>\n" + "\n".join(body) + "\n</body></html>\n"


def _state(state: str) -> str:
    return f"<span class='{_STATES[state][0]}'>{state}</span>"


def _cell(row: Evidence, severity: str) -> str:
    if not row.controls:
        return ""
    count = row.by_severity.get(severity, 0)
    heat = 0 if not count else {"critical": 3, "high": 3, "medium": 2, "low": 1}[severity]
    return f"<div class='heat{heat}'>{count}</div>"


def _cell_of_people(row: Evidence) -> str:
    return f"<div class='heat1'>{html.escape(row.who)}</div>" if row.people else ""


def _detail(row: Evidence) -> tuple[str, ...]:
    e = html.escape
    shown = ", ".join(row.satisfied[:12]) + (f" and {len(row.satisfied) - 12} more" if len(row.satisfied) > 12 else "")
    waived = "<br>".join(
        e(f"{f.policy} on {f.resource}: {f.waived.approver} until {f.waived.expires}") for f in row.waived if f.waived
    )
    people = f"{e(row.people)}: <b>{e(row.who)}</b>, {e(row.every)}" if row.people else ""
    return (
        f"<b>{e(row.reference)}</b><br>{e(row.text)}",
        _state(row.state),
        "<br>".join(f"<code>{e(name)}</code>" for name in row.controls) or "none",
        f"{len(row.satisfied)}: {e(shown)}" if row.satisfied else "none",
        "<br>".join(e(f"{f.policy} on {f.resource}") for f in row.open),
        waived,
        people,
    )


def write(out: Path, review: Review, settings: Settings, framework: str) -> tuple[list[Evidence], list[Path]]:
    """Write the pages and tables of a framework; returns its rows and the files.

    Raises:
        UsageError: ``out`` is a file.
    """
    if out.exists() and not out.is_dir():
        raise UsageError("is a file", where=f"--out {out}", fix="name a folder")
    out.mkdir(parents=True, exist_ok=True)
    rows, asked = evidence(review, settings, framework), checklist(review, settings)
    name = framework.lower().replace(" ", "")
    title = f"{framework}: evidence and gaps"
    files = {
        f"{name}.html": as_html(title, review, rows, asked),
        f"{name}.csv": as_csv(rows),
        "checklist.csv": as_csv(asked),
    }
    for file, text in files.items():
        (out / file).write_text(text, encoding="utf-8")
    return rows, [out / file for file in files]
