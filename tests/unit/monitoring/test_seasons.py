"""A Sunday night is compared with Sundays and nights."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from pipelines.monitoring.columns import Column
from pipelines.monitoring.drift import compare
from pipelines.monitoring.seasons import in_season

RANDOM = np.random.default_rng(0)


def a_year(days: int) -> tuple[pd.DataFrame, pd.Series]:
    """Rows whose values follow the hour of the day and the month."""
    times = pd.Series(pd.date_range("2025-01-01", periods=days * 720, freq="2min", tz="UTC"))
    values = times.dt.hour + 0.1 * times.dt.month + RANDOM.normal(size=len(times))
    return pd.DataFrame({"value": values}), times


@pytest.mark.parametrize(
    ("days", "hours", "says"),
    [
        (365, 2, "months 6, 7, 8; Wednesdays; 3 to 5 o'clock UTC"),
        (365, 24, "months 6, 7, 8; Wednesdays"),
        (60, 24 * 7, ""),
        (10, 24, ""),
        (1, 2, ""),
    ],
    ids=["two hours of a year", "a day of a year", "a week of two months", "a day of ten", "two hours of a day"],
)
def test_the_same_season_is_chosen_where_there_is_enough_of_it(days: int, hours: int, says: str) -> None:
    frame, times = a_year(days)
    columns = {"value": Column.of("value", frame["value"])}
    begin = datetime(2026, 7, 15, 3 if hours < 24 else 0, tzinfo=UTC)
    looked = [begin + timedelta(hours=each) for each in range(hours)]
    seasonal, words = in_season(columns, frame, times, looked)
    assert (says in words) if says else not words
    now = pd.Series([each.hour + 0.1 * 7 for each in looked for _ in range(200)]) + RANDOM.normal(size=hours * 200)
    drifted = compare(seasonal, {"value": columns["value"].count(now)})[0].drifted
    assert not drifted or not says or hours == 24, "a month's neighbours differ a little"
    if hours == 2 and days == 365:
        assert compare(columns, {"value": columns["value"].count(now)})[0].drifted, "beside the whole year it has"


def test_without_times_all_rows_are_compared() -> None:
    frame, times = a_year(365)
    columns = {"value": Column.of("value", frame["value"])}
    unknown = pd.Series(pd.NaT, index=times.index, dtype="datetime64[ns, UTC]")
    assert in_season(columns, frame, unknown, [datetime(2026, 7, 15, 3, tzinfo=UTC)]) == (columns, "")
    assert in_season(columns, frame, times, []) == (columns, "")
