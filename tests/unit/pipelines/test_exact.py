"""Exact explanations: those of a game that is played out over every coalition, for every kind of graph they claim."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from math import factorial
from pathlib import Path
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
    VotingRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor

from pipelines.serving.explaining.exact import METHOD
from pipelines.serving.explaining.explain import ADDITIVE, ESTIMATE, PLAYED_OUT, _output, explain
from pipelines.serving.explaining.game import Game
from pipelines.serving.models.bundle import Model
from pipelines.serving.models.rows import Rows
from pipelines.serving.protocols.checks import BadRequestError
from pipelines.training.labelled import as_columns
from tests.conftest import ROOT
from tests.models import served, write

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


MANY = pd.DataFrame({f"c{place}": RANDOM.normal(size=200) for place in range(14)})
SUM = MANY["c0"] * MANY["c1"] + 2 * MANY["c2"] - MANY["c3"] ** 2
GUARDED = ColumnTransformer([("n", StandardScaler(), ["a", "b"]), ("c", OneHotEncoder(), ["city"])])
OTHERS: dict[str, tuple[Any, pd.DataFrame, Any, str]] = {
    "several columns": (make_pipeline(PCA(2), RandomForestRegressor(5, random_state=0)), FRAME, NUMBERS, PLAYED_OUT),
    "a sum in log-odds": (GradientBoostingClassifier(n_estimators=5), FRAME, NUMBERS > 1, PLAYED_OUT),
    "logistic": (make_pipeline(GUARDED, LogisticRegression()), MIXED, NUMBERS > 1, PLAYED_OUT),
    "three classes": (LogisticRegression(), FRAME, THIRDS, PLAYED_OUT),
    "network": (MLPRegressor(hidden_layer_sizes=(8,), random_state=0, max_iter=300), FRAME, NUMBERS, PLAYED_OUT),
    "linear": (LinearRegression(), FRAME, NUMBERS, ADDITIVE),
    "linear, encoded": (make_pipeline(GUARDED, Ridge()), MIXED, NUMBERS, ADDITIVE),
    "a product of columns": (make_pipeline(PolynomialFeatures(2), LinearRegression()), FRAME, NUMBERS, PLAYED_OUT),
    "scores": (LinearSVC(random_state=0), FRAME, NUMBERS > 1, ADDITIVE),
    "many columns": (GradientBoostingClassifier(n_estimators=5), MANY, SUM > 0, ESTIMATE),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_are_explained_by_what_is_right_for_them(name: str) -> None:
    estimator, frame, labels, method = OTHERS[name]
    task = "regression" if np.asarray(labels).dtype.kind == "f" else "classification"
    model = served(estimator.fit(frame, labels), frame, task)
    if method == ESTIMATE:  # so that it can be played out
        few = {column: values[:4] for column, values in model.background.items()}
        model.background.update(few)
        assert len(model.names) > 10
    rows = as_columns(frame.iloc[100:102], model.names)
    for place, found in enumerate(explain(model, Rows.of(rows))):
        one = {column: values[place : place + 1] for column, values in rows.items()}
        row = {column: values[0] for column, values in one.items()}
        _, output = _output(model, found["prediction"])
        game = Game(row, model.background, output)
        if method == ESTIMATE:
            found |= {"method": ESTIMATE}
            estimate = game.estimated()
            exact = game.played_out().values
            assert estimate.errors is not None
            assert (np.abs(estimate.values - exact) <= 5 * estimate.errors + 1e-4).all()
            continue
        assert found["method"] == method
        spread = max(np.abs(list(found["shap_values"].values())).max(), 1e-3)
        output_of = 0 if not model.classes or model.output == "score" else model.classes.index(found["prediction"])
        if model.output != "score":
            assert found["shap_values"] == pytest.approx(played_out(model, one, output_of), abs=1e-4 * spread)
        told = found["prediction"] if task == "regression" else found[model.output]
        assert found["base_value"] + sum(found["shap_values"].values()) == pytest.approx(told, abs=1e-4 * spread)


def test_a_model_with_too_many_columns_is_estimated_within_its_time() -> None:
    model = served(GradientBoostingClassifier(n_estimators=5).fit(MANY, SUM > 0), MANY, "classification")
    began = time.perf_counter()
    (found,) = explain(model, Rows.of(as_columns(MANY.iloc[:1], model.names)))
    assert time.perf_counter() - began < 10 and found["method"] == ESTIMATE
    assert set(found["standard_errors"]) == set(model.names)
    assert found["base_value"] + sum(found["shap_values"].values()) == pytest.approx(found["probability"], abs=1e-6)


def test_shap_finds_the_same() -> None:
    """The library's own exact explainer, with the same background rows."""
    import shap

    for estimator, frame, labels, _ in (OTHERS["network"], OTHERS["linear"], OTHERS["a product of columns"]):
        model = served(estimator.fit(frame, labels), frame, "regression")
        background = pd.DataFrame(model.background)[model.names].to_numpy()

        def output(matrix: Any, model: Model = model) -> Any:
            columns = dict(zip(model.names, np.asarray(matrix, dtype=float).T, strict=True))
            return np.array(model.answers(Rows.of(columns)).predictions)

        masker = shap.maskers.Independent(background, max_samples=len(background))
        theirs = shap.explainers.Exact(output, masker)(frame.iloc[:2].to_numpy()).values
        ours = explain(model, Rows.of(as_columns(frame.iloc[:2], model.names)))
        for row in range(2):
            assert list(ours[row]["shap_values"].values()) == pytest.approx(theirs[row].tolist(), abs=1e-5)


def test_reasons_say_value_and_effect_in_words() -> None:
    frame = FRAME.rename(columns={"a": "distance"})
    model = served(LinearRegression().fit(frame, 3 * frame["distance"] - frame["b"]), frame, "regression")
    model.units.update({"distance": "km", "": "minutes"})
    row = {"distance": [2.0], "b": [0.0], "c": [0.0], "d": [0.0]}
    (found,) = explain(model, Rows.of(row))
    usual = f"{np.median(model.background['distance']):.4g}"
    effect = f"{found['shap_values']['distance']:.4g}"
    assert found["reasons"][0] == f"distance 2 km (median {usual} km) raises the prediction by {effect} minutes."
    assert 1 <= len(found["reasons"]) <= 2, "c and d have no effect"
    model = served(LogisticRegression().fit(MIXED[["a"]], NUMBERS > 1), MIXED[["a"]], "classification")
    model.class_names.update({"0": "early", "1": "late"})
    (found,) = explain(model, Rows.of({"a": [9.0]}))
    assert f"the probability of {'late' if found['prediction'] else 'early'!r} by" in found["reasons"][0]
    assert "percentage points" in found["reasons"][0]


@pytest.mark.parametrize(
    ("estimator", "labels"),
    [(RandomForestClassifier(20, random_state=0), NUMBERS > 1), (RandomForestRegressor(20, random_state=0), NUMBERS),
     (LinearSVC(random_state=0), NUMBERS > 1)],
)  # fmt: skip
def test_a_counterfactual_changes_the_prediction_as_it_says(estimator: Any, labels: Any) -> None:
    task = "regression" if np.asarray(labels).dtype.kind == "f" else "classification"
    model = served(estimator.fit(FRAME, labels), FRAME, task)
    rows = as_columns(FRAME.iloc[:6], model.names)
    found = explain(model, Rows.of(rows), {"counterfactual": True})
    changed = [item for item in found if item["counterfactual"] is not None]
    assert len(changed) >= 3
    for place, item in enumerate(found):
        if item["counterfactual"] is None:
            continue
        changes = item["counterfactual"]["changes"]
        row = {name: values[place] for name, values in rows.items()}
        assert 1 <= len(changes) <= 3 and all(change["from"] == row[name] for name, change in changes.items())
        other = row | {name: change["to"] for name, change in changes.items()}
        again = model.answers(Rows.of({name: [value] for name, value in other.items()})).predictions[0]
        assert again == pytest.approx(item["counterfactual"]["prediction"]) and again != item["prediction"]


def test_lime_finds_the_weights_of_a_linear_model() -> None:
    model = served(LinearRegression().fit(FRAME, 3 * FRAME["a"] - FRAME["b"]), FRAME, "regression")
    rows = Rows.of(as_columns(FRAME.iloc[:1], model.names))
    (found,) = explain(model, rows, {"method": "lime"})
    (exact,) = explain(model, rows)
    assert found["weights"] == pytest.approx(exact["shap_values"], abs=0.05) and found["r2"] > 0.99
    assert found["method"].startswith("LIME")


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"method": "magic"}, "'magic'; it must be shap or lime"),
        ({"counterfactual": "yes"}, "it must be true or false"),
    ],
)
def test_what_can_not_be_asked_for_is_refused(params: dict[str, Any], says: str) -> None:
    model = served(LinearRegression().fit(FRAME, NUMBERS), FRAME, "regression")
    with pytest.raises(BadRequestError, match=says):
        explain(model, Rows.of(as_columns(FRAME.iloc[:1], model.names)), params)


def test_no_explanation_loads_pandas_shap_or_numba() -> None:
    code = """
import sys
import tempfile
import time
from pathlib import Path
from pipelines.serving.models.bundle import load
from pipelines.serving.models.rows import Rows
from pipelines.serving.protocols.checks import BadRequestError
from pipelines.serving.explaining.explain import explain
import pipelines.serving.worker, pipelines.serving.protocols.openapi
model = load(Path(sys.argv[1]))
for params in ({}, {"method": "lime"}, {"counterfactual": True}):
    explain(model, Rows.of({name: values[:1] for name, values in model.background.items()}), params)
assert not {"pandas", "shap", "numba", "sklearn"} & set(sys.modules), set(sys.modules)
"""
    for estimator in (RandomForestRegressor(3, random_state=0), MLPRegressor(hidden_layer_sizes=(4,), max_iter=50)):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), estimator.fit(FRAME, NUMBERS), FRAME, "regression", NUMBERS, "m")
            candidate = str(Path(folder) / "candidate")
            done = subprocess.run(
                [sys.executable, "-c", code, candidate], capture_output=True, text=True, cwd=ROOT, check=False
            )
        assert done.returncode == 0, done.stderr


def test_trees_that_are_only_a_part_of_the_model_are_not_taken_for_it() -> None:
    """What the other member adds is what the trees found in the background rows, on which both were trained."""
    noisy = NUMBERS + RANDOM.normal(size=len(NUMBERS))
    estimator = VotingRegressor([("k", KNeighborsRegressor(1)), ("t", DecisionTreeRegressor())]).fit(FRAME, noisy)
    model = served(estimator, FRAME, "regression")
    other = pd.DataFrame({name: RANDOM.normal(size=4) for name in "abcd"})
    for found in explain(model, Rows.of(as_columns(other, model.names))):
        total = found["base_value"] + sum(found["shap_values"].values())
        assert total == pytest.approx(found["prediction"], abs=1e-3)


@pytest.mark.parametrize("kind", [RandomForestClassifier, ExtraTreesClassifier])
def test_ties_are_decided_as_the_model_decides_them(kind: Any) -> None:
    """Also where no row of the training data has one."""
    random = np.random.default_rng(3)
    frame = pd.DataFrame(random.normal(size=(80, 3)), columns=list("abc"))
    estimator = kind(20, random_state=1).fit(frame, frame["a"] * frame["b"] > 0)
    model = served(estimator, frame, "classification")
    rows = pd.DataFrame(random.normal(size=(5_000, 3)).astype(np.float32).astype(float), columns=list("abc"))
    shares = estimator.predict_proba(rows)
    tied = np.abs(shares[:, 0] - shares[:, 1]) < 1e-9
    answers = model.answers(Rows.of(as_columns(rows, model.names))).predictions
    assert tied.sum() > 20 and (np.array(answers)[tied] == estimator.predict(rows)[tied]).all()


def test_large_whole_numbers_are_answered_as_the_model_answers_them() -> None:
    """2**60 + 1 is no number of double precision, so that a column of such numbers has no gaps either."""
    ids = 2**60 + np.arange(6)
    frame = pd.DataFrame({"id": np.random.default_rng(0).choice(ids, 200)})
    labels = (frame["id"] - 2**60) * 10.0
    estimator = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LinearRegression()).fit(frame, labels)
    model = served(estimator, frame, "regression")
    answers = model.answers(Rows.of({"id": ids.tolist()})).predictions
    assert answers == pytest.approx(estimator.predict(pd.DataFrame({"id": ids})).tolist(), abs=1e-3)
