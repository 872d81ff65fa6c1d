"""Whether a model's requests look like its training data, column by column.

A column has drifted where the difference is both certain (a test's p-value) and large enough to matter (its effect
size), so that neither a few odd rows nor a large number of rows raise an alarm by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ALPHA = 0.01  # of one column; without the effect size, ten columns would raise a false alarm in one of ten checks
LARGE_ENOUGH = 0.1  # of the largest distance between two distributions, or of a share, 0 to 1
FEW_VALUES = 20  # a column of numbers with at most this many values is treated as categories
RARE_SHARE = 0.01  # categories with less than this share on both sides are counted as one
IDENTIFYING_SHARE = 0.5  # where more than this share of the training rows have unique values, values say nothing
DIGITS = 6  # significant ones; the last digits of a number depend on how it was transferred


@dataclass(frozen=True)
class ColumnDrift:
    """One column.

    Attributes:
        kind: ``numbers`` (Kolmogorov-Smirnov), ``categories`` (chi-squared, total variation), ``missing`` (share of
            missing values), or ``identifiers`` (not compared).
        effect: Largest distance of the cumulative distributions, total variation distance, or difference of shares: 0
            to 1.
        p_value: P-value of the corresponding test.
    """

    column: str
    kind: str
    effect: float
    p_value: float
    drifted: bool


def compare_columns(reference: Any, current: Any) -> list[ColumnDrift]:
    """Compare two frames of n and m rows by the columns of the first; a column that the second lacks counts as missing
    in each of its rows.
    """
    return [_compare(name, reference[name], current.get(name), len(current)) for name in reference.columns]


def _compare(name: str, reference: Any, current: Any, rows: int) -> ColumnDrift:
    import numpy as np

    present = 0 if current is None else int(current.notna().sum())
    missing = _shares(
        "missing",
        np.array([int(reference.notna().sum()), int(reference.isna().sum())]),
        np.array([present, rows - present]),
    )
    found = [_named(name, missing)]
    if present and reference.notna().any():
        found.append(_named(name, _values(reference.dropna(), current.dropna())))
    drifted = [item for item in found if item.drifted]
    return max(drifted or found[-1:], key=lambda item: item.effect)


Difference = tuple[str, float, float]


def _named(name: str, found: Difference) -> ColumnDrift:
    kind, effect, p_value = found
    return ColumnDrift(
        name, kind, effect, p_value, kind != "identifiers" and effect >= LARGE_ENOUGH and p_value < ALPHA
    )


def _values(reference: Any, current: Any) -> Difference:
    import numpy as np
    import pandas as pd

    numeric = pd.api.types.is_numeric_dtype(reference) and not pd.api.types.is_bool_dtype(reference)
    if numeric and reference.nunique() > FEW_VALUES:
        from scipy.stats import ks_2samp

        test = ks_2samp(reference.astype(float), pd.to_numeric(current, errors="coerce").astype(float).dropna())
        return "numbers", float(test.statistic), float(test.pvalue)
    if not numeric and reference.nunique() > IDENTIFYING_SHARE * len(reference) and reference.nunique() > FEW_VALUES:
        return "identifiers", 0.0, 1.0
    sides = [
        (pd.to_numeric(side, errors="coerce").map(lambda value: f"{value:.{DIGITS}g}") if numeric else side.map(str))
        for side in (reference, current)
    ]
    counts = pd.concat([side.value_counts() for side in sides], axis=1).fillna(0)
    # Categories not seen in training are combined into one, and those that are rare on both sides into another.
    unseen = (counts.iloc[:, 0] == 0).to_numpy()
    table = counts.to_numpy().T
    rare = (table / table.sum(axis=1, keepdims=True) < RARE_SHARE).all(axis=0) & ~unseen
    return _shares(
        "categories",
        *np.column_stack([table[:, ~rare & ~unseen], table[:, rare].sum(axis=1), table[:, unseen].sum(axis=1)]),
    )


def _shares(kind: str, reference: Any, current: Any) -> Difference:
    """Two rows of counts: their total variation distance, and the p-value of a chi-squared test of homogeneity."""
    import numpy as np

    if not reference.sum() or not current.sum():
        return kind, 0.0, 1.0
    distance = float(np.abs(reference / reference.sum() - current / current.sum()).sum() / 2)
    table = np.array([reference, current])[:, (reference + current) > 0]
    if table.shape[1] < 2:
        return kind, distance, 1.0
    from scipy.stats import chi2_contingency, fisher_exact

    if table.shape[1] == 2 and table.min() < 5:
        return kind, distance, float(fisher_exact(table.round().astype(int)).pvalue)
    return kind, distance, float(chi2_contingency(table).pvalue)
