"""What the audit log says about versions: which is served, which comes before it, and what a person has asked for."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.audit.records import asked_for, insisted, served_in, stack_of


def log(*lines: str) -> list[dict[str, Any]]:
    """Entries such as ``promote v1``, ``rollback v2 v1`` (from, to) or ``insist v3``."""
    found = []
    for line in lines:
        action, version, *to = line.split()
        details = {
            "version": version,
            **({"to": to[0]} if to else {}),
            **({"reason": "why"} if action == "insist" else {}),
        }
        found.append({"action": action, "details": details})
    return found


@pytest.mark.parametrize(
    ("lines", "stack", "served"),
    [
        ((), [], ""),
        (("promote v1", "promote v2"), ["v1", "v2"], "v2"),
        (("promote v1", "promote v2", "promote v3", "rollback v3 v2"), ["v1", "v2"], "v2"),
        (("promote v1", "promote v2", "promote v3", "rollback v3 v2", "rollback v2 v1"), ["v1"], "v1"),
        (("promote v1", "promote v2", "rollback v2 v1", "rollback v1 v2"), ["v1", "v2"], "v2"),
        (("promote v1", "rollback v2"), ["v1"], "v1"),
        (("promote v1", "rollback v2 v1"), ["v1"], "v1"),
        (("promote v1", "promote v2", "promote v1"), ["v2", "v1"], "v1"),
        (("promote v1", "hold v2", "register v3"), ["v1"], "v1"),
    ],
)
def test_what_is_served_and_what_comes_before_it(lines: tuple[str, ...], stack: list[str], served: str) -> None:
    assert stack_of(log(*lines)) == stack
    assert (served_in(log(*lines)) or [""])[-1] == served


@pytest.mark.parametrize(
    ("lines", "asked"),
    [
        ((), ""),
        (("promote v1", "ask v2"), "v2"),
        (("ask v2", "promote v2"), ""),
        (("hold v2", "insist v2"), "v2"),
        (("insist v2", "hold v2"), ""),
        (("insist v2", "rollback v3 v1"), "v2"),
        (("ask v2", "ask v1"), "v1"),
    ],
)
def test_what_a_person_has_asked_for(lines: tuple[str, ...], asked: str) -> None:
    assert asked_for(log(*lines)) == asked


def test_a_reason_counts_until_the_version_was_tried() -> None:
    assert insisted(log("hold v2", "insist v2"), "v2") == "why"
    assert insisted(log("hold v2", "insist v2", "promote v2"), "v2") == ""
    assert insisted(log("hold v2", "insist v2"), "v3") == ""
