"""The part of the reference that an hour, a weekday or a month is fairly compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from pipelines.monitoring.columns import Column

LEAST_ROWS = 500  # of the part; of fewer, the whole says more
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def in_season(
    columns: Mapping[str, Column], features: Any, times: Any, hours: list[datetime]
) -> tuple[dict[str, Column], str]:
    """The columns with the counts of the rows of the same season, and in words which that is; empty where all rows are
    compared.

    What is asked on a Sunday night is compared with Sundays and nights, if what the version was trained on has them
    twice: hours of the day where less than a day is looked at, weekdays where it is less than a week, and the months
    before and after where the training rows go back a year.

    Args:
        features: The rows that the version was trained on.
        times: When each of them was, NaT where that is unknown.
        hours: That are compared.
    """
    known = times.notna().to_numpy()
    if not hours or known.sum() < LEAST_ROWS:
        return dict(columns), ""
    span = times.max() - times.min()
    looked = max(hours) - min(hours) + timedelta(hours=1)
    wanted: list[tuple[Any, set[int], str]] = []
    months = {(each.month - 1 + by) % 12 for each in hours for by in (-1, 0, 1)}
    if span >= timedelta(days=330) and len(months) < 12:
        wanted.append((times.dt.month - 1, months, f"months {', '.join(str(month + 1) for month in sorted(months))}"))
    days = {each.weekday() for each in hours}
    if span >= timedelta(days=14) and looked < timedelta(days=6):
        wanted.append((times.dt.weekday, days, ", ".join(f"{WEEKDAYS[day]}s" for day in sorted(days))))
    clock = {each.hour for each in hours}
    if span >= timedelta(days=2) and looked < timedelta(hours=20):
        in_a_row = max(clock) - min(clock) + 1 == len(clock)
        says = f"{min(clock)} to {max(clock) + 1}" if in_a_row else ", ".join(map(str, sorted(clock)))
        wanted.append((times.dt.hour, clock, f"{says} o'clock UTC"))
    kept, words = known, list[str]()
    for values, among, says in wanted:
        narrower = kept & values.isin(among).to_numpy()
        if narrower.sum() >= LEAST_ROWS:
            kept, words = narrower, [*words, says]
    if not words:
        return dict(columns), ""
    places = np.flatnonzero(kept)
    seasonal = {}
    for name, column in columns.items():
        counts, sums = column.count(features[name].iloc[places].reset_index(drop=True))
        seasonal[name] = replace(column, counts=counts, sums=sums)
    return seasonal, f"{len(places):,} training rows of {'; '.join(words)}"
