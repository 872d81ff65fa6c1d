"""What served when, from records of the log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.audit.history import Period, periods


def at(minute: int) -> str:
    return f"2026-03-31T10:{minute:02d}:00.000+00:00"


def log(*acts: tuple[int, str, dict[str, Any]], by: str = "pipeline") -> list[dict[str, Any]]:
    return [
        {
            "sequence": number,
            "time": at(minute),
            "run": f"r{number}",
            "actor": details.pop("by", by),
            "action": action,
            "details": details,
        }
        for number, (minute, action, details) in enumerate(acts)
    ]


def share(minute: int, version: str, percent: int, **more: Any) -> tuple[int, str, dict[str, Any]]:
    return minute, "share", {"version": version, "percent": percent, "reason": "its canary begins", **more}


FIRST = (
    (0, "register", {"version": "v1.0.0"}),
    (1, "approve", {"version": "v1.0.0", "role": "data-science", "by": "ada@example.com"}),
    (2, "approve", {"version": "v1.0.0", "role": "operations", "by": "ben@example.com"}),
    share(3, "v1.0.0", 0),
    (4, "promote", {"version": "v1.0.0", "verdict": "better than the baseline"}),
)


def shown(found: list[Period]) -> list[tuple[str, str, dict[str, int], str]]:
    return [(each.begin[14:16], each.end[14:16], each.shares, each.cause) for each in found]


def first() -> tuple[Any, ...]:
    return tuple((minute, action, dict(details)) for minute, action, details in FIRST)


def test_the_first_version_is_tried_by_nobody_and_then_serves_all() -> None:
    tried, served = periods(log(*first()))
    assert (tried.shares, tried.cause, tried.why) == ({}, "share", "v1.0.0: its canary begins")
    assert served.shares == {"v1.0.0": 100} and served.end == "" and served.why == "better than the baseline"
    assert served.agreed == {"v1.0.0": {"data-science": "ada@example.com", "operations": "ben@example.com"}}
    assert served.records == (4,) and served.run == "r4"
    assert periods(log((0, "register", {"version": "v1.0.0"}))) == []


def test_a_canary_a_person_s_rollback_and_who_had_asked() -> None:
    found = periods(
        log(
            *first(),
            (5, "ask", {"version": "v1.1.0", "by": "cleo@example.com"}),
            (6, "approve", {"version": "v1.1.0", "role": "operations", "by": "ben@example.com"}),
            share(7, "v1.1.0", 5),
            share(8, "v1.1.0", 25),
            (9, "promote", {"version": "v1.1.0"}),
            (10, "note", {}),
            (11, "rollback", {"version": "v1.1.0", "to": "v1.0.0", "reason": "complaints", "by": "ben@example.com"}),
        )
    )
    assert shown(found)[2:] == [
        ("07", "08", {"v1.0.0": 95, "v1.1.0": 5}, "share"),
        ("08", "09", {"v1.0.0": 75, "v1.1.0": 25}, "share"),
        ("09", "11", {"v1.1.0": 100}, "promote"),
        ("11", "", {"v1.0.0": 100}, "rollback"),
    ]
    assert found[2].asked == "cleo@example.com" and found[3].asked == ""
    assert found[4].agreed == {"v1.1.0": {"operations": "ben@example.com"}}
    assert (found[5].by, found[5].why) == ("ben@example.com", "complaints")


@pytest.mark.parametrize("ended", ["hold", "rollback"])
def test_a_canary_that_ends_says_why_with_its_verdict(ended: str) -> None:
    found = periods(
        log(
            *first(),
            share(7, "v1.1.0", 5),
            share(8, "v1.1.0", 0),
            (9, ended, {"version": "v1.1.0", "verdict": "worse"}),
        )
    )
    assert shown(found)[2:] == [
        ("07", "08", {"v1.0.0": 95, "v1.1.0": 5}, "share"),
        ("08", "", {"v1.0.0": 100}, ended),
    ]
    assert found[-1].why == "worse" and found[-1].records == (6, 7)


def test_a_shadow_answers_nobody() -> None:
    found = periods(log(*first(), share(7, "v2.0.0", 0, shadow=True), share(8, "v2.0.0", 5)))
    assert [(each.shares, each.shadow) for each in found[2:]] == [
        ({"v1.0.0": 100}, "v2.0.0"),
        ({"v1.0.0": 95, "v2.0.0": 5}, ""),
    ]


def test_the_order_is_the_log_s_whatever_the_clocks_say() -> None:
    found = periods(log(*first(), share(1, "v1.1.0", 5), (20, "promote", {"version": "v1.1.0"})))
    assert shown(found)[1:] == [
        ("04", "04", {"v1.0.0": 100}, "promote"),
        ("04", "20", {"v1.0.0": 95, "v1.1.0": 5}, "share"),
        ("20", "", {"v1.1.0": 100}, "promote"),
    ]


def test_what_a_restore_serves_is_history_too() -> None:
    found = periods(
        log(*first(), (30, "rollback", {"version": "v1.0.0", "to": "v0.9.0"}), (40, "restore", {"version": "v1.0.0"}))
    )
    assert shown(found)[-1] == ("40", "", {"v1.0.0": 100}, "restore")


def test_a_moment_and_a_day_choose_their_periods() -> None:
    found = periods(log(*first(), (9, "promote", {"version": "v1.1.0"})))

    def chosen(begin: datetime, end: datetime) -> list[str]:
        return [each.begin[14:16] for each in found if each.overlaps(begin, end)]

    def moment(minute: int, day: int = 31) -> datetime:
        return datetime(2026, 3, day, 10, minute, tzinfo=UTC)

    assert chosen(moment(5), moment(5)) == ["04"] and chosen(moment(9), moment(9)) == ["09"]
    assert chosen(moment(2), moment(2)) == []
    assert chosen(datetime(2026, 3, 31, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)) == ["03", "04", "09"]
    assert chosen(datetime(2026, 3, 30, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC)) == []
