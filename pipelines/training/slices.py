"""Parts of the rows that quality is reported for, so that a good mean hides no group for which a model is bad."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

MOST_VALUES = 6  # of a column that nobody has declared
MOST_COLUMNS = 5
LEAST_ROWS = 30
OTHERS = "others"


def slices_of(features: Any, declared: tuple[str, ...] = ()) -> dict[str, Any]:
    """The slice that each of n rows belongs to, by column: an array of n texts.

    Declared columns are divided by their values, numbers with many values by their quartiles. Without a declaration,
    every column of 2 to 6 values is a division, up to five of them.

    Args:
        features: A DataFrame of n rows.
        declared: Columns, as in the ``slices`` of a model's card; one that is not among the features is left out.
    """
    import pandas as pd

    found: dict[str, Any] = {}
    for name in declared or features.columns:
        if name not in features.columns:
            continue
        column = features[name]
        values = column.nunique()
        if values < 2 or (not declared and (values > MOST_VALUES or len(found) == MOST_COLUMNS)):
            continue
        if values > 2 * MOST_VALUES and pd.api.types.is_numeric_dtype(column):
            edges = sorted(set(column.quantile([0.25, 0.5, 0.75])))
            between = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
            names = [f"below {edges[0]:g}", *between, f"{edges[-1]:g} and more"]
            labels = pd.Series(
                [names[place] for place in pd.Series(edges).searchsorted(column.fillna(edges[0]), "right")]
            )
            labels = labels.mask(column.isna().to_numpy(), "missing")
        else:
            labels = column.astype(object).where(column.notna(), "missing").map(_text).reset_index(drop=True)
            common = set(labels.value_counts().index[: 2 * MOST_VALUES])
            labels = labels.where(labels.isin(common), OTHERS)
        found[str(name)] = labels.to_numpy()
    return found


def large_enough(slices: dict[str, Any], rows: int = LEAST_ROWS) -> Iterator[tuple[str, str, Any]]:
    """Column, value and places of each slice with this many rows."""
    for column, labels in slices.items():
        for value in sorted(set(labels)):
            places = (labels == value).nonzero()[0]
            if len(places) >= rows:
                yield column, value, places


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
