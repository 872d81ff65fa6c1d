from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor, HistGradientBoostingClassifier, RandomForestRegressor, VotingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from infra.errors import GroundplanError
from pipelines.onnx_export import classes, export, export_baseline
from pipelines.serving.bundle import Model

RANDOM = np.random.default_rng(1)
NUMBERS = pd.DataFrame(RANDOM.normal(size=(150, 4)), columns=list("abcd"))
TARGET = NUMBERS["a"] * 2 - NUMBERS["b"]
MIXED = NUMBERS[["a", "b"]].assign(kind=RANDOM.choice(["x", "y", "z"], 150), size=RANDOM.integers(0, 5, 150), flag=RANDOM.choice([True, False], 150))

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
    ColumnTransformer([("n", make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b"]), ("c", OneHotEncoder(handle_unknown="ignore"), ["kind", "size"])]),
    ColumnTransformer([("c", OrdinalEncoder(), ["kind"])], remainder="passthrough"),
    ColumnTransformer([("n", StandardScaler(), ["a"])], remainder="drop"),
]


def predict(exported: Any, task: str, frame: pd.DataFrame) -> list[Any]:
    model = Model(exported.content, exported.columns, exported.layout, task)
    return model.predict(model.tensors({name: frame[name].tolist() for name in frame.columns}))


@pytest.mark.parametrize("model", REGRESSORS, ids=str)
@pytest.mark.parametrize("as_array", [True, False])
def test_regressors_answer_as_scikit_learn_does(model: Any, as_array: bool) -> None:
    features = NUMBERS.to_numpy() if as_array else NUMBERS
    model.fit(features, TARGET)
    assert np.allclose(predict(export(model, NUMBERS, "regression"), "regression", NUMBERS), model.predict(features), atol=1e-2)


@pytest.mark.parametrize("model", CLASSIFIERS, ids=str)
@pytest.mark.parametrize(
    "labels",
    [(TARGET > 0).astype(int), np.where(TARGET > 0, "late", "early"), TARGET > 0, (TARGET > 0).astype(float)],
    ids=["numbers", "texts", "booleans", "floats"],
)
def test_classifiers_answer_as_scikit_learn_does(model: Any, labels: Any) -> None:
    model.fit(NUMBERS, labels)
    exported = export(model, NUMBERS, "classification")
    served = Model(exported.content, exported.columns, exported.layout, "classification", classes=classes(model))
    assert served.predict(served.tensors({name: NUMBERS[name].tolist() for name in "abcd"})) == model.predict(NUMBERS).tolist()


@pytest.mark.parametrize("prepare", PREPARED, ids=["one-hot", "ordinal", "one column"])
def test_pipelines_on_frames_keep_their_preprocessing(prepare: Any) -> None:
    model = make_pipeline(prepare, GradientBoostingClassifier(n_estimators=10, random_state=0)).fit(MIXED, TARGET > 0)
    exported = export(model, MIXED, "classification")
    assert [column["name"] for column in exported.columns] == list(MIXED.columns)
    assert exported.parity.differences["prediction"] == 0


@pytest.mark.parametrize("labels", [[1.0, 2.0, 6.0], [1, 2, 6]])
def test_the_baseline_of_a_regression_is_the_mean(labels: list[float]) -> None:
    exported = export(Ridge().fit(NUMBERS, TARGET), NUMBERS, "regression")
    model = Model(export_baseline(labels, exported.columns, exported.layout, "regression"), exported.columns, exported.layout, "regression")
    assert model.predict(model.tensors({name: [1.0, 2.0] for name in "abcd"})) == [3.0, 3.0]


@pytest.mark.parametrize(("labels", "top"), [([1, 0, 1], 1), (["no", "yes", "no"], "no")])
def test_the_baseline_of_a_classification_is_the_commonest_class(labels: list[Any], top: Any) -> None:
    prepared = make_pipeline(PREPARED[0], LogisticRegression()).fit(MIXED, TARGET > 0)
    exported = export(prepared, MIXED, "classification")
    content = export_baseline(labels, exported.columns, exported.layout, "classification")
    model = Model(content, exported.columns, exported.layout, "classification")
    tensors = model.tensors({name: MIXED[name].head(2).tolist() for name in MIXED.columns})
    assert model.predict(tensors) == [top, top]
    assert np.allclose(model.beside(tensors).max(axis=1), 2 / 3)


def test_a_model_that_can_not_be_converted_is_named() -> None:
    class Guess(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        def fit(self, X: Any, y: Any) -> Guess:
            self.fitted_ = True
            return self

        def predict(self, X: Any) -> Any:
            return np.zeros(len(X))

    with pytest.raises(GroundplanError, match=r"Guess can't be served as ONNX"):
        export(Guess().fit(NUMBERS, TARGET), NUMBERS, "regression")


def test_a_converted_model_that_answers_differently_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Ridge().fit(NUMBERS, TARGET)
    monkeypatch.setattr(type(model), "predict", lambda self, X: np.arange(len(X), dtype=float))
    with pytest.raises(GroundplanError, match=r"ONNX and scikit-learn differ: a prediction that differs by up to"):
        export(model, NUMBERS, "regression")
