from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestRegressor,
    VotingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import Constant
from pipelines.serving.models.rows import Rows
from spec.errors import GroundplanError
from tests.models import exported, served

pytestmark = pytest.mark.slow  # trains models

RANDOM = np.random.default_rng(1)
NUMBERS = pd.DataFrame(RANDOM.normal(size=(150, 4)), columns=list("abcd"))
TARGET = NUMBERS["a"] * 2 - NUMBERS["b"]
MIXED = NUMBERS[["a", "b"]].assign(
    kind=RANDOM.choice(["x", "y", "z"], 150), size=RANDOM.integers(0, 5, 150), flag=RANDOM.choice([True, False], 150)
)

REGRESSORS = [
    RandomForestRegressor(20, random_state=0),
    GradientBoostingRegressor(random_state=0),
    Ridge(),
    make_pipeline(StandardScaler(), Ridge()),
    VotingRegressor([("r", Ridge()), ("g", GradientBoostingRegressor(random_state=0))]),
]
CLASSIFIERS = [
    GradientBoostingClassifier(n_estimators=20, random_state=0),
    HistGradientBoostingClassifier(max_iter=20, random_state=0),
    make_pipeline(StandardScaler(), LogisticRegression()),
]
PREPARED = [
    ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b"]),
            ("c", OneHotEncoder(handle_unknown="ignore"), ["kind", "size"]),
        ]
    ),
    ColumnTransformer([("c", OrdinalEncoder(), ["kind"])], remainder="passthrough"),
    ColumnTransformer([("n", StandardScaler(), ["a"])], remainder="drop"),
]


def predict(model: Model, frame: pd.DataFrame) -> list[Any]:
    return model.answers(Rows.of({name: frame[name].tolist() for name in frame.columns})).predictions


@pytest.mark.parametrize("model", REGRESSORS, ids=str)
@pytest.mark.parametrize("as_array", [True, False])
def test_regressors_answer_as_scikit_learn_does(model: Any, as_array: bool) -> None:
    features = NUMBERS.to_numpy() if as_array else NUMBERS
    model.fit(features, TARGET)
    assert np.allclose(predict(served(model, NUMBERS, "regression"), NUMBERS), model.predict(features), atol=1e-2)


@pytest.mark.parametrize("model", CLASSIFIERS, ids=str)
@pytest.mark.parametrize(
    "labels",
    [(TARGET > 0).astype(int), np.where(TARGET > 0, "late", "early"), TARGET > 0, (TARGET > 0).astype(float)],
    ids=["numbers", "texts", "booleans", "floats"],
)
def test_classifiers_answer_as_scikit_learn_does(model: Any, labels: Any) -> None:
    model.fit(NUMBERS, labels)
    assert predict(served(model, NUMBERS), NUMBERS) == model.predict(NUMBERS).tolist()


@pytest.mark.parametrize("prepare", PREPARED, ids=["one-hot", "ordinal", "one column"])
def test_pipelines_on_frames_keep_their_preprocessing(prepare: Any) -> None:
    model = make_pipeline(prepare, GradientBoostingClassifier(n_estimators=10, random_state=0)).fit(MIXED, TARGET > 0)
    found = exported(model, MIXED, "classification")
    assert [column["name"] for column in found.described["columns"]] == list(MIXED.columns) and found.described[
        "engine"
    ] == "onnx"
    assert found.parity.differences["prediction"] == 0


@pytest.mark.parametrize("labels", [[1.0, 2.0, 6.0], [1, 2, 6]])
def test_the_baseline_of_a_regression_is_the_mean(labels: list[float]) -> None:
    assert Constant.of(labels, []).answers(Rows.of({name: [1.0, 2.0] for name in "abcd"})).predictions == [3.0, 3.0]


@pytest.mark.parametrize(("labels", "top"), [([1, 0, 1], 1), (["no", "yes", "no"], "no")])
def test_the_baseline_of_a_classification_is_the_commonest_class(labels: list[Any], top: Any) -> None:
    found = Constant.of(labels, sorted(set(labels))).answers(Rows.of({"a": [None, 2.0]}))
    assert found.predictions == [top, top] and found.beside is not None and np.allclose(found.beside.max(axis=1), 2 / 3)


def test_a_model_that_can_not_be_converted_is_named() -> None:
    class Guess(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        def fit(self, X: Any, y: Any) -> Guess:
            self.fitted_ = True
            return self

        def predict(self, X: Any) -> Any:
            return np.zeros(len(X))

    with pytest.raises(
        GroundplanError,
        match=(
            r"Guess can't be served: not as ONNX \(.*\), and not in a data-only format \(it contains .*Guess,"
            r" which"
        ),
    ):
        exported(Guess().fit(NUMBERS, TARGET), NUMBERS, "regression")


def test_a_converted_model_that_answers_differently_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Ridge().fit(NUMBERS, TARGET)
    monkeypatch.setattr(type(model), "predict", lambda self, X: np.arange(len(X), dtype=float))
    with pytest.raises(GroundplanError, match=r"it and the model itself differ: a prediction that differs by up to"):
        exported(model, NUMBERS, "regression")
