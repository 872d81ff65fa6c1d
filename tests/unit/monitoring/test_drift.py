"""Drift: large and certain differences, and nothing else. Each case is a kind that has gone wrong somewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.monitoring.drawings import draw
from pipelines.monitoring.drift import compare_columns
from pipelines.monitoring.served import Served

pytestmark = pytest.mark.slow  # draws pages

RANDOM = np.random.default_rng(5)
N = 400
NORMAL = RANDOM.normal(size=N)
TWO = RANDOM.choice([-0.044641636506989, 0.0506801187398187], N)
KINDS = pd.Series(RANDOM.choice(["x", "y", "z"], N))


def gaps(values: Any, share: float) -> pd.Series:
    return pd.Series(values).mask(np.random.default_rng(1).random(len(values)) < share)


DRIFTED: dict[str, tuple[Any, Any]] = {
    "eight sigma": (NORMAL, NORMAL + 8),
    "eight sigma behind one gap": (gaps(NORMAL, 0.003), NORMAL + 8),
    "half of it is missing": (NORMAL, gaps(NORMAL, 0.5)),
    "half of the texts are missing": (KINDS, gaps(KINDS, 0.5)),
    "a column that nobody sends any more": (NORMAL, None),
    "another share of a boolean": (RANDOM.random(N) < 0.2, RANDOM.random(N) < 0.6),
    "another share of two values": (TWO, np.where(RANDOM.random(N) < 0.9, TWO.min(), TWO.max())),
    "a category that most have now": (KINDS, KINDS.where(RANDOM.random(N) < 0.3, "w")),
    "many categories in place of as many others": (
        [f"A{n % 150}" for n in range(N)],
        [f"B{n % 150}" for n in range(N)],
    ),
    "a category in place of another": (KINDS, KINDS.replace("x", "q")),
    "whole numbers beyond 2**53": (np.arange(N) + 2**60, np.arange(N) + 2**61),
}
SAME: dict[str, tuple[Any, Any]] = {
    "itself": (NORMAL, NORMAL),
    "itself in another order": (NORMAL, RANDOM.permutation(NORMAL)),
    "others of its kind": (NORMAL, RANDOM.normal(size=N)),
    "ninety of its rows": (NORMAL, NORMAL[:90]),
    "skewed whole numbers, the same again": (np.minimum(RANDOM.pareto(1.0, N).astype(int), 50), None),
    "two values whose last digits differ": (
        TWO,
        np.append(TWO[:89].astype(np.float32).astype(float), 0.05068011873981862),
    ),
    "one new category": (KINDS, [*KINDS[:-1], "new"]),
    "new ids": ([f"id-{n}" for n in range(N)], [f"id-{n}" for n in range(N, 2 * N)]),
    "a few gaps": (NORMAL, gaps(NORMAL, 0.02)),
    "a boolean": (RANDOM.random(N) < 0.5, RANDOM.random(N) < 0.5),
    "a boolean with gaps": (gaps(RANDOM.random(N) < 0.5, 0.1), gaps(RANDOM.random(N) < 0.5, 0.1)),
    "nothing but gaps": ([None] * N, [None] * N),
    "one value": ([1.0] * N, [1.0] * 20),
}


def frames(reference: Any, current: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    now = pd.DataFrame({"other": range(N)}) if current is None else pd.DataFrame({"c": pd.Series(current)})
    return pd.DataFrame({"c": pd.Series(reference)}), now


@pytest.mark.parametrize("name", DRIFTED)
def test_a_large_difference_is_drift(name: str) -> None:
    (found,) = compare_columns(*frames(*DRIFTED[name]))
    assert found.drifted and found.effect >= 0.1 and found.p_value < 0.01


@pytest.mark.parametrize("name", SAME)
def test_what_is_no_difference_is_none(name: str) -> None:
    reference, current = SAME[name]
    (found,) = compare_columns(*frames(reference, reference if current is None else current))
    assert not found.drifted, found


def test_false_alarms_are_rare() -> None:
    random = np.random.default_rng(11)
    alarms = [compare_columns(*frames(random.normal(size=353), random.normal(size=89)))[0].drifted for _ in range(300)]
    assert np.mean(alarms) < 0.03


def test_the_page_has_every_column_that_can_be_drawn(tmp_path: Path) -> None:
    reference = pd.DataFrame(
        {"number": NORMAL, "flag": NORMAL > 0, "kind": KINDS, "gone": NORMAL, "id": [f"i{n}" for n in range(N)]}
    )
    current = pd.DataFrame(
        {
            "number": gaps(NORMAL + 8, 0.1),
            "flag": NORMAL < 0,
            "kind": gaps(KINDS, 0.5),
            "gone": [None] * N,
            "id": [f"j{n}" for n in range(N)],
        }
    )
    found = compare_columns(reference, current)
    assert sorted(item.column for item in found if item.drifted) == ["gone", "kind", "number"]
    page = draw(reference, current, found, tmp_path / "drift.html").read_text(encoding="utf-8")
    assert "Kolmogorov-Smirnov distance" in page and "not compared" in page
    assert draw(reference[["gone"]], current[["gone"]], found[3:4], tmp_path / "none.html").is_file()


def test_rows_of_every_form_of_request_are_watched() -> None:
    served, columns = Served(), [{"name": "a", "type": "double"}, {"name": "b", "type": "double"}]
    for request in (
        {"dataframe_records": [{"a": 1, "b": None}]},
        {"dataframe_split": {"columns": ["b", "a"], "data": [[0.5, 1]]}},
        {"instances": [[1, 0.5]]},
        {"inputs": {"a": [1], "b": [0.5]}},
        {"inputs": [{"a": 1}]},
    ):
        served.add(request, {"predictions": [7]}, columns)
    served.add({"entities": {"id": [1]}}, {"predictions": [7]}, columns)
    assert (
        served.frame(["a", "b"])["a"].tolist() == [1] * 5
        and served.frame(["a", "b"])["b"].isna().sum() == 2
        and served.predictions == [7] * 5
    )
