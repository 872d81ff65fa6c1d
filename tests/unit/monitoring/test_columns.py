"""Counts that add up, and bins that no rounding moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.monitoring.columns import CATEGORIES, IDENTIFIERS, NUMBERS, Column
from pipelines.monitoring.scores import added

RANDOM = np.random.default_rng(0)
REFERENCES: dict[str, Any] = {
    NUMBERS: pd.Series(RANDOM.normal(size=500)),
    CATEGORIES: pd.Series(RANDOM.choice(["x", "y"], 500)),
    IDENTIFIERS: pd.Series([f"id-{number}" for number in range(500)]),
    "few numbers": pd.Series(RANDOM.integers(0, 5, 500)),
    "flags": pd.Series(RANDOM.random(500) < 0.5),
    "nothing": pd.Series([None] * 500),
    "one value": pd.Series([3.5] * 500),
}
ANYTHING = st.one_of(st.none(), st.floats(), st.integers(), st.booleans(), st.text(max_size=3), st.sampled_from("xy"))


@pytest.mark.parametrize("name", REFERENCES)
@given(first=st.lists(ANYTHING, max_size=20), second=st.lists(ANYTHING, max_size=20))
def test_whatever_is_sent_is_counted_once_and_counts_add_up(name: str, first: list[Any], second: list[Any]) -> None:
    column = Column.of("c", REFERENCES[name])
    assert column.counts.sum() == 500
    one, other, both = (column.count(pd.Series(values, dtype=object)) for values in (first, second, first + second))
    assert [each[0].sum() for each in (one, other, both)] == [len(first), len(second), len(first) + len(second)]
    assert added(one[0].tolist(), other[0].tolist()) == both[0].tolist()
    assert len(both[0]) == column.bins


@pytest.mark.parametrize("digits", [np.float32, str], ids=["single precision", "as a text"])
def test_numbers_stay_in_their_bin_however_they_were_sent(digits: Any) -> None:
    values = pd.Series(RANDOM.choice(RANDOM.normal(size=60), 400))
    column = Column.of("c", values)
    assert column.kind == NUMBERS
    sent = values.astype(np.float32).astype(float) if digits is np.float32 else values.map(str)
    assert column.count(sent)[0].tolist() == column.counts.tolist()


def test_what_training_never_had_has_bins_of_its_own() -> None:
    numbers = Column.of("n", pd.Series(np.arange(100.0)))
    counts, sums = numbers.count(pd.Series([-5.0, 50.0, 500.0, None, float("inf")], dtype=object))
    assert (counts[0], counts[-2], counts[-1]) == (1, 1, 2), "below, above; missing and not finite"
    assert sums.sum() == 545
    names = Column.of("k", pd.Series(["x", "y"] * 50))
    assert names.count(pd.Series(["x", "w", "v", None], dtype=object))[0].tolist() == [1, 0, 2, 1]


def test_a_long_tail_keeps_its_bins() -> None:
    """Of many distinct values as of few, each bin has its share of the rows."""
    column = Column.of("c", pd.Series(np.random.default_rng(1).pareto(1.0, 50_000)))
    inner = column.counts[1:-2]
    assert column.bins <= 204 and inner.max() < 3 * inner.min()
