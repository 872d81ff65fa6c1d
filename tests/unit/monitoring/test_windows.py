"""Which hours are judged: the newest, and of few rows as many more as it takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.steps.monitor import ENOUGH_ROWS, LONGEST, OUTCOMES_FOR, _quality, _window
from spec.objectives import ModelObjectives
from tests.unit.monitoring.references import regressor

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
OBJECTIVES = ModelObjectives.model_construct(quality=type("Quality", (), {"metric": "mae"})())


def hours(*ago: tuple[float, int]) -> dict[datetime, Any]:
    return {NOW - timedelta(hours=each): {"rows": rows} for each, rows in ago}


@pytest.mark.parametrize(
    ("ago", "kept"),
    [
        ([(1, 500), (30, 500)], [1]),
        ([(1, 5), (5, 5), (30, ENOUGH_ROWS), (40, 500)], [1, 5, 30]),
        ([(1, 5), (200, 500)], [1]),
        ([(1, 0), (100, 7)], [100]),
        ([], []),
    ],
    ids=["a day is enough", "two days are needed", "nothing from more than a week", "an empty hour", "nothing"],
)
def test_a_day_is_judged_or_what_it_takes(ago: list[tuple[float, int]], kept: list[float]) -> None:
    found = _window(hours(*ago), NOW, LONGEST, lambda each: each["rows"])
    assert sorted(found) == sorted(NOW - timedelta(hours=each) for each in kept)


def labelled(rows: int, error: float) -> dict[str, Any]:
    known = {"rows": rows, "absolute": rows * error, "squared": rows * error**2}
    return {"rows": rows, "labelled": {"outcomes": known}}


def test_a_bad_day_is_not_hidden_by_a_good_month() -> None:
    counts = {NOW - timedelta(days=each): labelled(10_000, 1.0) for each in range(4, 20)}
    counts |= {NOW - timedelta(days=3, hours=each): labelled(300, 50.0) for each in range(5)}
    found = _quality(regressor(300), {"rows": 0}, counts, OBJECTIVES)
    assert found["quality"] == {"mae": 50.0} and found["realised"]["rows"] == 1_500
    few = {NOW - timedelta(days=each): labelled(90, 2.0) for each in range(1, 40)}
    assert _quality(regressor(300), {"rows": 0}, few, OBJECTIVES)["realised"]["rows"] == 270
    assert _quality(regressor(300), {"rows": 0}, {}, OBJECTIVES)["quality"] == {}
    assert OUTCOMES_FOR > LONGEST
