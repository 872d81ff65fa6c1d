"""The findings of a verification, and its report."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from groundplan.review.formats.page import STYLE, html_table

STATES = {
    "passed": ("good", "observed as expected"),
    "failed": ("bad", "observed differently, or not at all"),
    "evaluated": ("warn", "computed from the policies, not tried: the local cloud enforces no permissions"),
    "not tried": ("dim", "nothing was done; the last column says why"),
}


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        state: One of ``STATES``.
        found: What was observed, in words.
        wanted: The expected value.
        seconds: How long it took.
    """

    area: str
    what: str
    state: str
    found: str
    wanted: str = ""
    seconds: float = 0.0


def checked(area: str, what: str, holds: bool, found: str, wanted: str) -> Check:
    """A check that passes if a condition holds."""
    return Check(area, what, "passed" if holds else "failed", found, wanted)


@dataclass
class Report:
    """A verification.

    Attributes:
        begun: When, ISO 8601, UTC.
        where: The cloud that was checked.
        left: What it left behind, and why.
    """

    stack: str
    begun: str
    where: str
    revision: str
    checks: list[Check] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Nothing failed, and something was checked."""
        return bool(self.checks) and not any(check.state == "failed" for check in self.checks)

    @property
    def verdict(self) -> str:
        """One line."""
        counts = [
            f"{count} {state}" for state in STATES if (count := sum(check.state == state for check in self.checks))
        ]
        return f"{'passed' if self.passed else 'failed'}: {', '.join(counts)}"

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "passed": self.passed, "verdict": self.verdict}

    @contextmanager
    def looking(self, area: str, what: str) -> Iterator[None]:
        """An error makes the check fail; the others continue."""
        from spec.errors import GroundplanError

        try:
            yield
        except GroundplanError as error:
            self.checks.append(Check(area, what, "failed", str(error)))
        except Exception as error:  # any error of a library: nothing was observed
            self.checks.append(Check(area, what, "failed", f"{type(error).__name__}: {str(error)[:300]}"))


def as_json(report: Report) -> str:
    """The complete report."""
    return json.dumps(report.document(), indent=1) + "\n"


def as_html(report: Report) -> str:
    """One self-contained page."""
    e = html.escape
    title = f"Verification of stack {report.stack}"
    body = [
        f"<h1>{e(title)}</h1>",
        f"<p><b class='{'good' if report.passed else 'bad'}'>{e(report.verdict)}</b></p>",
        f"<p>{e(report.begun)}, {e(report.where)}, revision <code>{e(report.revision)}</code></p>",
        "<ul>"
        + "".join(f"<li><span class='{css}'>{state}</span>: {e(says)}</li>" for state, (css, says) in STATES.items())
        + "</ul>",
    ]
    for area in dict.fromkeys(check.area for check in report.checks):
        rows = [
            (
                e(check.what),
                f"<span class='{STATES[check.state][0]}'>{check.state}</span>",
                e(check.found),
                e(check.wanted),
                f"{check.seconds:.1f}",
            )
            for check in report.checks
            if check.area == area
        ]
        body += [
            f"<h2>{e(area)}</h2>",
            "<div class='wide'>",
            html_table(("what", "", "found", "wanted", "seconds"), rows, (4,)),
            "</div>",
        ]
    if report.left:
        body += ["<h2>What it left behind</h2><ul>", *(f"<li>{e(line)}</li>" for line in report.left), "</ul>"]
    style = f"<style>{STYLE} .wide {{ overflow-x: auto }}</style>"
    head = f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{e(title)}</title>{style}"
    return f"<!doctype html>\n<html lang='en'><head>{head}</head><body>\n" + "\n".join(body) + "\n</body></html>\n"
