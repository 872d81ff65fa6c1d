"""Columns as counts: what a version was trained on decides the bins, and whatever it is asked later is counted in them.

Counts can be added, so that an hour is counted once and a day is the sum of its hours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.serving.models.engines import class_name

MOST_BINS = 200  # of numbers; of equal share in the reference
MOST_CATEGORIES = 200
FEW_VALUES = 20  # a column of numbers with at most this many values is treated as categories
RARE_SHARE = 0.01  # categories with less than this share on both sides are counted as one
IDENTIFYING_SHARE = 0.5  # where more than this share of the training rows have unique values, values say nothing
DIGITS = 6  # significant ones; the last digits of a number depend on how it was transferred
NUMBERS, CATEGORIES, IDENTIFIERS = "numbers", "categories", "identifiers"

Counts = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """One column's bins.

    Of numbers, ``edges`` lie between the reference's values: the first bin is below its smallest, the last above its
    largest. Of categories there is a bin for each name and one for all that the reference does not have. Missing values
    come last, in a bin of their own.

    Attributes:
        counts, sums: The reference's own, of shape [bins]; sums of numbers only.
        spread: Standard deviation of the reference's numbers.
        numeric: Whether categories are numbers.
        dated: Whether numbers are times, in seconds since 1970; they are sent as texts.
    """

    name: str
    kind: str
    edges: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    names: tuple[str, ...] = ()
    numeric: bool = False
    dated: bool = False
    counts: Counts = field(default_factory=lambda: np.zeros(2, dtype=np.int64))
    sums: Sums = field(default_factory=lambda: np.zeros(0))
    spread: float = 0.0

    @classmethod
    def of(cls, name: str, reference: Any) -> Column:
        """The bins of a column of the reference, a Series of n values."""
        from dataclasses import replace

        import pandas as pd

        dated = is_dated(reference)
        if dated:
            reference = pd.Series(as_numbers(reference, dated=True))
        known = reference.dropna()
        numeric = pd.api.types.is_numeric_dtype(reference) and not pd.api.types.is_bool_dtype(reference)
        distinct = known.nunique()
        if numeric and distinct > FEW_VALUES:
            values = np.sort(known.to_numpy(dtype=float))
            values = values[np.isfinite(values)]
            made = cls(name, NUMBERS, edges=_edges(values), numeric=True, dated=dated, spread=float(values.std()))
        elif not numeric and distinct > FEW_VALUES and distinct > IDENTIFYING_SHARE * len(reference):
            made = cls(name, IDENTIFIERS)
        else:
            common = _texts(known, numeric=numeric).value_counts()[:MOST_CATEGORIES]
            made = cls(name, CATEGORIES, names=tuple(sorted(map(str, common.index))), numeric=numeric, dated=dated)
        counts, sums = replace(made, dated=False).count(reference)
        return replace(made, counts=counts, sums=sums)

    @property
    def bins(self) -> int:
        """How many there are."""
        return {NUMBERS: len(self.edges) + 2, CATEGORIES: len(self.names) + 2, IDENTIFIERS: 2}[self.kind]

    def count(self, values: Any) -> tuple[Counts, Sums]:
        """Counts of n values in each bin and, of numbers, their sums; None for a column that nobody sent."""
        import pandas as pd

        if self.dated:
            values = pd.Series(as_numbers(values, dated=True))
        present = values.notna().to_numpy()
        missing, found = int((~present).sum()), values[present]
        if self.kind == IDENTIFIERS:
            return np.array([len(found), missing], dtype=np.int64), np.zeros(0)
        if self.kind == NUMBERS:
            numbers = pd.to_numeric(found, errors="coerce").to_numpy(dtype=float)
            numbers = numbers[np.isfinite(numbers)]
            places = np.searchsorted(self.edges, numbers, side="right")
            counts = np.bincount(places, minlength=self.bins)
            counts[-1] = len(values) - len(numbers)
            return counts.astype(np.int64), np.bincount(places, weights=numbers, minlength=self.bins - 1).astype(float)
        counts = np.zeros(self.bins, dtype=np.int64)
        place = {name: number for number, name in enumerate(self.names)}
        for text, number in _texts(found, numeric=self.numeric).value_counts().items():
            counts[place.get(str(text), len(self.names))] += number
        counts[-1] = len(values) - counts.sum()
        return counts, np.zeros(0)


def _edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Between neighbouring ones of sorted values, so that no rounding moves a frequent one into the next bin."""
    first = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    distinct, times = values[first], np.diff(np.append(first, len(values)))
    if len(distinct) > MOST_BINS:
        ends = np.searchsorted(np.cumsum(times), np.linspace(0, len(values), MOST_BINS + 1)[1:-1])
        below = np.unique(np.minimum(ends, len(distinct) - 2))
    else:
        below = np.arange(len(distinct) - 1)
    room = 10.0**-DIGITS * max(float(np.abs(distinct[[0, -1]]).max()), float(distinct[-1] - distinct[0]))
    between = distinct[below] + (distinct[below + 1] - distinct[below]) / 2
    return np.concatenate([[distinct[0] - room], between, [distinct[-1] + room]])


def _texts(values: Any, *, numeric: bool) -> Any:
    """Values by their names, each distinct one turned into a text once."""
    import pandas as pd

    if numeric:
        values = pd.to_numeric(values, errors="coerce").dropna()
    names = {value: _number(value) if numeric else class_name(value) for value in values.unique()}
    return values.map(names.get)


def _number(value: Any) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.{DIGITS}g}"


def is_dated(column: Any) -> bool:
    """Whether a column of the reference has times."""
    import pandas as pd

    return bool(pd.api.types.is_datetime64_any_dtype(column))


def as_numbers(column: Any, *, dated: bool) -> npt.NDArray[np.float64]:
    """A column as n numbers, NaN where there is none; times in seconds since 1970."""
    import pandas as pd

    if not dated:
        plain = column if pd.api.types.is_numeric_dtype(column) else column.astype(object)
        return np.asarray(pd.to_numeric(plain, errors="coerce").to_numpy(dtype=float, na_value=np.nan))
    times = pd.to_datetime(column, utc=True, errors="coerce", **({} if is_dated(column) else {"format": "ISO8601"}))
    seconds = (times - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    return np.asarray(seconds.to_numpy(dtype=float))
