"""Exact explanations: those of a game that is played out over every coalition, for every kind of graph they claim."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from math import factorial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeRegressor

from pipelines.serving.explaining.exact import METHOD
from pipelines.serving.explaining.explain import ESTIMATE, explain
from pipelines.serving.models.bundle import Model
from pipelines.serving.models.rows import Rows
from pipelines.training.labelled import as_columns
from tests.conftest import ROOT
from tests.models import served

pytestmark = pytest.mark.slow  # trains models

RANDOM = np.random.default_rng(5)
FRAME = pd.DataFrame({name: RANDOM.normal(size=300) for name in "abcd"})
NUMBERS = 3 * FRAME["a"] * FRAME["b"] + FRAME["c"] ** 2
THIRDS = pd.cut(NUMBERS, 3, labels=["x", "y", "z"]).astype(str)
MIXED = FRAME.assign(city=RANDOM.choice(["Bern", "Genf", "Basel"], 300), visits=RANDOM.integers(0, 9, 300))
GAPS = FRAME.mask(RANDOM.random(FRAME.shape) < 0.2)


def pipeline(model: Any) -> Any:
    encode = ColumnTransformer(
        [("n", "passthrough", ["a", "b", "visits"]), ("c", OneHotEncoder(handle_unknown="ignore"), ["city"])]
    )
    return make_pipeline(encode, model)


def outputs(model: Model, place: int) -> Callable[[dict[str, list[Any]]], Any]:
    def ask(columns: dict[str, list[Any]]) -> Any:
        found = model.answers(Rows.of(columns))
        return np.asarray(found.predictions if found.beside is None else found.beside[:, place], dtype=float)

    return ask


def played_out(model: Model, one: dict[str, list[Any]], place: int) -> dict[str, float]:
    """Shapley's own formula, the mean over the background rows being the game."""
    names, background, ask = model.names, model.background, outputs(model, place)
    rows = len(background[names[0]])

    def worth(inside: tuple[str, ...]) -> float:
        return float(ask({n: one[n] * rows if n in inside else background[n] for n in names}).mean())

    known = {
        frozenset(inside): worth(inside)
        for size in range(len(names) + 1)
        for inside in itertools.combinations(names, size)
    }
    values = dict.fromkeys(names, 0.0)
    for name in names:
        for inside, alone in known.items():
            if name not in inside:
                share = factorial(len(inside)) * factorial(len(names) - len(inside) - 1) / factorial(len(names))
                values[name] += share * (known[inside | {name}] - alone)
    return values


MODELS: dict[str, tuple[Any, pd.DataFrame, Any]] = {
    "forest": (RandomForestRegressor(15, random_state=0), FRAME, NUMBERS),
    "extra trees": (ExtraTreesRegressor(10, random_state=0), FRAME, NUMBERS),
    "boosted": (GradientBoostingRegressor(random_state=0, n_estimators=30), FRAME, NUMBERS),
    "boosted with gaps": (HistGradientBoostingRegressor(random_state=0, max_iter=20), GAPS, NUMBERS),
    "one tree": (DecisionTreeRegressor(random_state=0), FRAME, NUMBERS),
    "a stump": (DecisionTreeRegressor(max_depth=1, random_state=0), FRAME, NUMBERS),
    "a constant tree": (DecisionTreeRegressor(random_state=0), FRAME, NUMBERS * 0 + 7),
    "two classes": (RandomForestClassifier(10, random_state=0), FRAME, NUMBERS > 1),
    "three classes": (ExtraTreesClassifier(10, random_state=0), FRAME, THIRDS),
    "encoded": (pipeline(RandomForestRegressor(10, random_state=0)), MIXED, NUMBERS),
    "encoded classes": (pipeline(RandomForestClassifier(10, random_state=0)), MIXED, NUMBERS > 1),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_values_are_those_of_the_game_played_out(name: str) -> None:
    estimator, frame, labels = MODELS[name]
    task = "classification" if "class" in name else "regression"
    model = served(estimator.fit(frame, labels), frame, task)
    rows = as_columns(frame.iloc[100:103], model.names)
    spread = max(float(np.ptp(outputs(model, 0)(rows))), 1.0)
    for place, found in enumerate(explain(model, Rows.of(rows))):
        one = {column: values[place : place + 1] for column, values in rows.items()}
        output = model.classes.index(found["prediction"]) if model.classes else 0
        assert found["method"] == METHOD
        assert found["shap_values"] == pytest.approx(played_out(model, one, output), abs=1e-4 * spread)
        told = found["prediction"] if task == "regression" else found["probability"]
        assert found["base_value"] + sum(found["shap_values"].values()) == pytest.approx(told, abs=1e-4 * spread)


def test_a_value_that_no_background_row_has_is_its_columns() -> None:
    estimator, frame, labels = MODELS["encoded"]
    model = served(estimator.fit(frame, labels), frame, "regression")
    rare = {name: [value for value, city in zip(values, model.background["city"], strict=True) if city != "Genf"]
            for name, values in model.background.items()}  # fmt: skip
    model.background.clear()
    model.background.update(rare)
    one = {**as_columns(frame.iloc[5:6], model.names), "city": ["Genf"]}
    (found,) = explain(model, Rows.of(one))
    assert found["method"] == METHOD
    assert found["shap_values"] == pytest.approx(played_out(model, one, 0), abs=1e-4)


@pytest.mark.parametrize(
    ("estimator", "task"),
    [
        (make_pipeline(PCA(2), RandomForestRegressor(5, random_state=0)), "regression"),  # features of several columns
        (GradientBoostingClassifier(n_estimators=5), "classification"),  # a sum in log-odds, not in what is served
        (LinearRegression(), "regression"),  # no trees
    ],
)
def test_what_is_not_exact_is_said_to_be_an_estimate(estimator: Any, task: str) -> None:
    labels = NUMBERS if task == "regression" else NUMBERS > 1
    model = served(estimator.fit(FRAME, labels), FRAME, task)
    (found,) = explain(model, Rows.of(as_columns(FRAME.iloc[:1], model.names)))
    assert found["method"] == ESTIMATE


def test_an_exact_explanation_loads_no_library_for_estimates() -> None:
    code = """
import sys
from sklearn.ensemble import RandomForestRegressor
from tests.models import served
import pandas as pd
frame = pd.DataFrame({"a": [1.0, 2.0, 3.0] * 9, "b": [0.0, 5.0, 1.0] * 9})
model = served(RandomForestRegressor(3, random_state=0).fit(frame, frame["a"]), frame, "regression")
from pipelines.serving.explaining.explain import explain
from pipelines.serving.models.rows import Rows
before = set(sys.modules)
assert explain(model, Rows.of({"a": [1.0], "b": [2.0]}))[0]["method"].startswith("exact")
assert not {"shap", "numba"} & (set(sys.modules) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
