"""When the platform takes a version back by itself, and when it leaves that to people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.canary import degraded as module
from pipelines.canary.degraded import degraded, ringing
from spec.outputs import ServiceLevelOutputs

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def entry(action: str, hours_ago: float, **details: str) -> dict[str, Any]:
    return {"action": action, "time": (NOW - timedelta(hours=hours_ago)).isoformat(), "details": details}


def asked(
    monkeypatch: pytest.MonkeyPatch, log: list[dict[str, Any]], canary: bool = False, **alarms_since_hours: float
) -> str:
    monkeypatch.setattr(module, "entries", lambda context: log)
    monkeypatch.setattr(module, "going_on", lambda context: {"version": "v9"} if canary else {})
    found = {name: NOW - timedelta(hours=hours) for name, hours in alarms_since_hours.items()}
    monkeypatch.setattr(module, "ringing", lambda context, since, now: found)
    return degraded(SimpleNamespace(), NOW)  # type: ignore[arg-type]


FIRST, SECOND = entry("promote", 300, version="v1.0.0"), entry("promote", 5, version="v1.1.0")


def test_an_alarm_since_the_promotion_takes_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    why = asked(monkeypatch, [FIRST, SECOND], quality=2, latency=1)
    assert why == "quality rings since 2026-11-30 10:00 UTC"


@pytest.mark.parametrize(
    ("log", "since"),
    [
        ([FIRST, SECOND], {}),  # nothing rings
        ([FIRST, SECOND], {"quality": 6}),  # it rang before: not this version's fault
        ([SECOND], {"quality": 2}),  # nothing served before it
        ([FIRST, entry("promote", 200, version="v1.1.0")], {"quality": 2}),  # the world has changed
        ([], {"quality": 2}),
        # What serves after a rollback stays, whoever asked for it.
        ([FIRST, SECOND, entry("rollback", 3, version="v1.1.0", to="v1.0.0")], {"quality": 2}),
        # The only one before it was taken back itself.
        (
            [
                entry("promote", 400, version="v0.9.0"),
                FIRST,
                entry("rollback", 290, version="v1.0.0", to="v0.9.0"),
            ],
            {"quality": 2},
        ),
    ],
)
def test_people_decide_about_the_rest(
    monkeypatch: pytest.MonkeyPatch, log: list[dict[str, Any]], since: dict[str, float]
) -> None:
    assert asked(monkeypatch, log, **since) == ""


def test_a_canary_that_goes_on_judges_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    log = [FIRST, SECOND, entry("share", 1, version="v1.2.0", percent="5")]
    assert asked(monkeypatch, log, canary=True, quality=2) == ""
    assert asked(monkeypatch, log, quality=2)  # it has ended


def test_only_pages_and_quality_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def level(name: str) -> ServiceLevelOutputs:
        alarms = {"page": f"{name}-page", "ticket": f"{name}-ticket"}
        return ServiceLevelOutputs(says="", target=0.9, days=30, metrics=({"Id": "m0"},), alarms=alarms)

    def described(names: list[str]) -> Any:
        assert names == ["availability-page", "latency-page", "q"]
        for name in names:
            state = "OK" if name == "latency-page" else "ALARM"
            yield {
                "AlarmName": name,
                "StateValue": state,
                "StateTransitionedTimestamp": NOW,
                "StateUpdatedTimestamp": NOW + timedelta(hours=1),
            }

    shares = {"availability": 0.7}
    monkeypatch.setattr(module, "described", described)
    monkeypatch.setattr(module, "share_since", lambda level, since, now: shares["availability"])
    levels = {name: level(name) for name in ("availability", "latency", "freshness", "value")}
    outputs = SimpleNamespace(
        service_levels={"risk": levels}, alarms={"risk": {"quality": "q", "drift": "d"}}, prometheus=""
    )
    context: Any = SimpleNamespace(outputs=outputs, model="risk")
    assert ringing(context, NOW, NOW) == {"availability-page": NOW, "q": NOW}
    # The requests since then are good: the alarm looks back on those of the version before.
    shares["availability"] = 0.2
    assert ringing(context, NOW, NOW) == {"q": NOW}


def test_the_cluster_s_alerts_are_prometheus_s(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = [0.5]

    def samples(address: str, query: str) -> dict[tuple[tuple[str, str], ...], float]:
        name = query.partition("{")[0]
        if name == "slo:sli_error:ratio_rate5m":
            return {(("model", "risk"),): shares[0]}
        value = {"ALERTS": 1.0, "ALERTS_FOR_STATE": NOW.timestamp()}[name]
        pending = {(("alertname", "LatencyBudgetPage"),): value} if name == "ALERTS_FOR_STATE" else {}
        return {(("alertname", "AvailabilityBudgetPage"), ("service_level", "availability")): value, **pending}

    monkeypatch.setattr(module, "samples", samples)
    monkeypatch.setattr(module, "described", lambda names: iter(()))
    level = ServiceLevelOutputs(says="", target=0.99, days=30)
    outputs = SimpleNamespace(service_levels={"risk": {"availability": level}}, alarms={}, prometheus="https://amp")
    context: Any = SimpleNamespace(outputs=outputs, model="risk")
    assert ringing(context, NOW - timedelta(hours=1), NOW) == {"AvailabilityBudgetPage": NOW}
    assert ringing(context, NOW - timedelta(minutes=2), NOW) == {}  # what it looks back on is the version before
    shares[0] = 0.001
    assert ringing(context, NOW - timedelta(hours=1), NOW) == {}


def test_what_serves_is_taken_back_and_not_the_canary_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(module, "entries", lambda context: [FIRST, SECOND, entry("share", 1, version="v1.2.0")])
    monkeypatch.setattr(module, "degraded", lambda context: "it fails")
    monkeypatch.setattr(module, "rollback", lambda *given: asked.append(given[2:]) or ("v1.1.0", given[3]))
    context: Any = SimpleNamespace()
    assert module.roll_back(context) == "v1.1.0 was taken back, v1.0.0 serves again: it fails"
    assert asked == [("it fails", "v1.0.0")]
