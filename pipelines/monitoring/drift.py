"""Whether what a model is asked has changed, column by column.

A column has drifted where the difference is both certain and large enough to matter, so that neither a few odd rows
nor a large number of rows raise an alarm by themselves. Certain: its p-value, corrected for the number of columns (the
false discovery rate of Benjamini and Hochberg 1995). Large enough: its effect size, which depends on the kind of column
and on the number of rows, as in Evidently's preset:

| | up to 1,000 rows | more |
|---|---|---|
| numbers | Kolmogorov-Smirnov distance | Wasserstein distance in standard deviations of the reference |
| categories | total variation distance | Jensen-Shannon distance (base 2) |
| missing values | difference of their shares | the same |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipelines.monitoring.columns import IDENTIFIERS, NUMBERS, RARE_SHARE, Column, Counts, Sums

ALPHA = 0.01  # the share of false ones among the columns said to have drifted
LARGE_ENOUGH = 0.1  # each of the effect sizes
MANY_ROWS = 1_000
LEAST_ROWS = 30  # fewer say nothing about a distribution
MISSING = "missing"


@dataclass(frozen=True)
class ColumnDrift:
    """One column.

    Attributes:
        kind: ``numbers``, ``categories``, ``missing`` (share of missing values), or ``identifiers`` (not compared).
        method: What ``effect`` is.
        effect: 0 where both are the same.
        p_value: Of a Kolmogorov-Smirnov or chi-squared test (Fisher's where counts are small), corrected for the number
            of comparisons.
        note: Why nothing is said about it; empty where something is.
    """

    column: str
    kind: str
    method: str
    effect: float
    p_value: float
    drifted: bool
    note: str = ""


def compare_columns(reference: Any, current: Any) -> list[ColumnDrift]:
    """Compare two frames of n and m rows by the columns of the first; a column that the second lacks counts as missing
    in each of its rows.
    """
    import pandas as pd

    columns = [Column.of(str(name), reference[name]) for name in reference.columns]
    nothing = pd.Series([None] * len(current), dtype=object)
    return compare(
        {column.name: column for column in columns}, {c.name: c.count(current.get(c.name, nothing)) for c in columns}
    )


def compare(columns: Mapping[str, Column], current: Mapping[str, tuple[Counts, Sums]]) -> list[ColumnDrift]:
    """Compare counts with those of the reference; both in its bins, by column."""
    found = [item for name, column in columns.items() for item in _tests(column, *current[name])]
    corrected = _corrected([item.p_value for item in found])
    by_column: dict[str, list[ColumnDrift]] = {}
    for item, p_value in zip(found, corrected, strict=True):
        drifted = not item.note and item.effect >= LARGE_ENOUGH and p_value < ALPHA
        by_column.setdefault(item.column, []).append(replace(item, p_value=p_value, drifted=drifted))
    # One verdict a column: the largest drift, else what its values say.
    return [
        max([item for item in items if item.drifted] or items[-1:], key=lambda item: item.effect)
        for items in by_column.values()
    ]


def _tests(column: Column, counts: Counts, sums: Sums) -> list[ColumnDrift]:
    rows, present = int(counts.sum()), int(counts[:-1].sum())
    if rows < LEAST_ROWS:
        note = f"only {rows} rows" if rows else "no rows"
        return [ColumnDrift(column.name, column.kind, "", 0.0, 1.0, drifted=False, note=note)]
    gaps = [np.array([side[:-1].sum(), side[-1]]) for side in (column.counts, counts)]
    effect, p_value = _shares(*gaps)
    found = [
        ColumnDrift(column.name, MISSING, "difference of the shares of missing values", effect, p_value, drifted=False)
    ]
    if column.kind == IDENTIFIERS:
        note = "nearly every value is unique"
        return [*found, ColumnDrift(column.name, IDENTIFIERS, "", 0.0, 1.0, drifted=False, note=note)]
    if column.counts[:-1].sum() and present:
        many = min(int(column.counts[:-1].sum()), present) > MANY_ROWS
        test = _numbers if column.kind == NUMBERS else _categories
        found.append(ColumnDrift(column.name, column.kind, *test(column, counts, sums, many), drifted=False))
    return found


def _numbers(column: Column, counts: Counts, sums: Sums, many: bool) -> tuple[str, float, float]:
    """The largest distance of the cumulative distributions, and its p-value (asymptotic, two-sided); of many rows the
    distance between them.
    """
    from scipy.stats import kstwobign

    ours, theirs = column.counts[:-1], counts[:-1]
    n, m = int(ours.sum()), int(theirs.sum())
    distance = float(np.abs(np.cumsum(ours) / n - np.cumsum(theirs) / m).max())
    p_value = float(kstwobign.sf(distance * np.sqrt(n * m / (n + m))))
    if not many:
        return "Kolmogorov-Smirnov distance", distance, p_value
    from scipy.stats import wasserstein_distance

    means = [
        np.divide(total, number, out=np.zeros(len(number)), where=number > 0)
        for total, number in ((column.sums, ours), (sums, theirs))
    ]
    far = wasserstein_distance(*means, ours, theirs) / (column.spread or 1.0)
    return "Wasserstein distance in standard deviations", float(far), p_value


def _categories(column: Column, counts: Counts, sums: Sums, many: bool) -> tuple[str, float, float]:
    table = np.array([column.counts[:-1], counts[:-1]])
    # Those that are rare on both sides are one category; those that the reference does not have are another.
    rare = (table / table.sum(axis=1, keepdims=True) < RARE_SHARE).all(axis=0)
    rare[-1] = False
    merged = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    distance, p_value = _shares(*merged)
    if not many:
        return "total variation distance", distance, p_value
    from scipy.spatial.distance import jensenshannon

    return (
        "Jensen-Shannon distance",
        float(jensenshannon(*(merged / merged.sum(axis=1, keepdims=True)), base=2)),
        p_value,
    )


def _shares(reference: Any, current: Any) -> tuple[float, float]:
    """Total variation distance of two rows of counts, and the p-value of a test of homogeneity."""
    if not reference.sum() or not current.sum():
        return 0.0, 1.0
    distance = float(np.abs(reference / reference.sum() - current / current.sum()).sum() / 2)
    table = np.array([reference, current])[:, (reference + current) > 0]
    if table.shape[1] < 2:
        return distance, 1.0
    from scipy.stats import chi2_contingency, fisher_exact

    if table.shape[1] == 2 and table.min() < 5:
        return distance, float(fisher_exact(table).pvalue)
    return distance, float(chi2_contingency(table).pvalue)


def _corrected(p_values: list[float]) -> list[float]:
    """As by Benjamini and Hochberg."""
    from scipy.stats import false_discovery_control

    return [float(value) for value in false_discovery_control(p_values)] if p_values else []
