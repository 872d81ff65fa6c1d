"""Parts of the rows that quality is reported for, so that a good mean hides no group for which a model is bad."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

MOST_VALUES = 6  # of a column that nobody has declared
MOST_COLUMNS = 5
LEAST_ROWS = 30
OTHERS, MISSING = "others", "missing"


@dataclass(frozen=True)
class Slice:
    """How one column divides rows: at ``edges`` of numbers, else by its values; those not in ``names`` are one."""

    names: tuple[str, ...]
    edges: tuple[float, ...] = ()

    def labels(self, column: Any) -> Any:
        """The slice of each of n values: an array of n texts."""
        import pandas as pd

        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.astype(object)
        if not self.edges:
            known = {*self.names}
            texts = {value: text if (text := _text(value)) in known else OTHERS for value in column.dropna().unique()}
            return column.map(texts).where(column.notna(), MISSING).to_numpy(dtype=object)
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
        labels = np.array(self.names, dtype=object)[np.searchsorted(self.edges, numbers, side="right")]
        return np.where(np.isnan(numbers), MISSING, labels)


def slices_like(features: Any, declared: tuple[str, ...] = ()) -> dict[str, Slice]:
    """How rows are divided, by column.

    Declared columns are divided by their values, numbers with many values by their quartiles. Without a declaration,
    every column of 2 to 6 values is a division, up to five of them.

    Args:
        features: A DataFrame of n rows, whose values decide.
        declared: Columns, as in the ``slices`` of a model's card; one that is not among the features is left out.
    """
    import pandas as pd

    found: dict[str, Slice] = {}
    for name in declared or features.columns:
        if name not in features.columns:
            continue
        column = features[name]
        values = column.nunique()
        if values < 2 or (not declared and (values > MOST_VALUES or len(found) == MOST_COLUMNS)):
            continue
        if values > 2 * MOST_VALUES and pd.api.types.is_numeric_dtype(column):
            edges = tuple(sorted({float(edge) for edge in column.quantile([0.25, 0.5, 0.75])}))
            between = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
            names = (f"below {edges[0]:g}", *between, f"{edges[-1]:g} and more")
            found[str(name)] = Slice(names, edges)
        else:
            texts = column.dropna().astype(object).map(_text)
            found[str(name)] = Slice(tuple(texts.value_counts().index[: 2 * MOST_VALUES]))
    return found


def slices_of(features: Any, declared: tuple[str, ...] = ()) -> dict[str, Any]:
    """The slice that each of n rows belongs to, by column: an array of n texts."""
    return {name: each.labels(features[name]) for name, each in slices_like(features, declared).items()}


def large_enough(slices: dict[str, Any], rows: int = LEAST_ROWS) -> Iterator[tuple[str, str, Any]]:
    """Column, value and places of each slice with this many rows."""
    for column, labels in slices.items():
        for value in sorted(set(labels)):
            places = (labels == value).nonzero()[0]
            if len(places) >= rows:
                yield column, value, places


def _text(value: Any) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:g}"
    return str(value)
