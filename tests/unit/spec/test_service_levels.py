"""Service levels from objectives: what is promised, and which alarms can ring."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spec.objectives import Availability, ModelObjectives
from spec.service_levels import RARE, RAREST, WORKBOOK, ServiceLevel, Urgency, percent, service_levels, window_name


def objectives(**more: object) -> ModelObjectives:
    return ModelObjectives.model_validate(
        {
            "value": {"kpi": "mae", "unit": "points", "usd_per_unit": 0.4, "predictions_per_month": 20_000},
            "latency_ms": 80,
            "requests_per_second": {"average": 2, "peak": 5},
            "retraining": {"every_hours": 24, "within_minutes": 60},
            "quality": {"metric": "mae", "worst": 60},
            **more,
        }
    )


def by_name(model: ModelObjectives, topology: str = "realtime", *, views: bool = True) -> dict[str, ServiceLevel]:
    return {each.name: each for each in service_levels(model, Availability.MULTI_ZONE, topology, reads_features=views)}


def test_each_objective_has_its_level() -> None:
    found = by_name(objectives())
    assert list(found) == ["availability", "latency", "training", "freshness", "quality", "value"]
    assert found["availability"].target == 0.999 and found["latency"].target == 0.95
    assert found["latency"].limit == 80 and found["freshness"].says.endswith("younger than 48 hours, two trainings")
    assert found["quality"].says == "days on which mae is at most 60"


@pytest.mark.parametrize(
    ("topology", "views", "names"),
    [
        ("batch", True, {"training", "freshness", "quality", "value"}),
        ("edge", True, {"training"}),
        ("cluster", False, {"availability", "latency", "training", "quality", "value"}),
        ("serverless", False, {"availability", "latency", "training", "quality", "value"}),
    ],
)
def test_what_nobody_can_count_is_not_promised(topology: str, views: bool, names: set[str]) -> None:
    assert set(by_name(objectives(), topology, views=views)) == names


def test_what_is_worth_nothing_promises_no_value() -> None:
    free = objectives(value={"kpi": "mae", "unit": "points", "usd_per_unit": 0, "predictions_per_month": 1})
    assert "value" not in by_name(free)


def test_a_target_of_its_own_replaces_the_zones() -> None:
    found = by_name(objectives(service_levels={"available": 0.9999, "trainings": 0.8, "days": 0.95}))
    assert [found[name].target for name in ("availability", "training", "quality")] == [0.9999, 0.8, 0.95]


@pytest.mark.parametrize("burn", WORKBOOK[:2])
def test_as_few_bad_events_come_by_chance_in_less_than_one_of_a_hundred_windows(burn: object) -> None:
    """Poisson, of a service that uses its budget up exactly, in a window in which they make the rate."""
    rate, fewest = burn.rate, burn.fewest  # type: ignore[attr-defined]
    expected = fewest / rate

    def at_least(number: int) -> float:
        return 1 - sum(math.exp(-expected) * expected**k / math.factorial(k) for k in range(number))

    assert at_least(fewest) < 0.01 < at_least(fewest - 1) if fewest > 2 else at_least(fewest) < 0.01


@pytest.mark.parametrize(
    ("a_second", "windows"),
    [
        (1.0, ["1h/5m", "6h/30m", "3d/6h"]),
        (0.002, ["6h/30m", "3d/6h"]),  # seven an hour: none in most stretches of five minutes
        (0.0001, ["3d/6h"]),
        (0.00001, ["7d/2d"]),  # one in a day
        (0.000001, ["7d/7d"]),  # one in eleven days
    ],
)
def test_little_traffic_is_looked_at_for_longer(a_second: float, windows: list[str]) -> None:
    level = by_name(objectives(requests_per_second={"average": a_second, "peak": 5}))["availability"]
    assert [f"{window_name(b.long_minutes)}/{window_name(b.short_minutes)}" for b in level.burns] == windows


def test_a_daily_result_rings_after_two_bad_ones() -> None:
    level = by_name(objectives())["quality"]
    assert level.burns == RARE
    (burn,) = level.burns
    assert 1 / 7 <= burn.rate * level.budget < 2 / 7 and burn.urgency is Urgency.TICKET


@pytest.mark.parametrize(("every_hours", "fewest"), [(24, 2), (84, 2), (168, 1), (720, 1)])
def test_rare_trainings_can_ring(every_hours: float, fewest: int) -> None:
    """Of one a week, two can't fail within a week."""
    (burn,) = by_name(objectives(retraining={"every_hours": every_hours, "within_minutes": 60}))["training"].burns
    assert burn.fewest == fewest


def test_what_is_slower_than_the_last_bucket_is_not_counted_on_the_cluster() -> None:
    slow = objectives(latency_ms=15_000)
    assert "latency" in by_name(slow) and "latency" not in by_name(slow, "cluster")


@pytest.mark.parametrize(("share", "text"), [(0.995, "99.5 %"), (0.99999, "99.999 %"), (0.95, "95 %")])
def test_shares_have_the_digits_they_need(share: float, text: str) -> None:
    assert percent(share) == text


@given(
    target=st.floats(0.5, 0.99999, exclude_min=True),
    per_hour=st.floats(1e-4, 1e6),
)
def test_every_alarm_that_is_made_can_ring(target: float, per_hour: float) -> None:
    for burn in ServiceLevel("availability", "", target, None, per_hour).burns:
        if burn not in (*RARE, *RAREST):
            assert burn.rate * (1 - target) < 1
            assert per_hour * burn.long_minutes / 60 >= burn.fewest
