"""Models that predict several values per row: numbers, binary labels, classes of several kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, MultiTaskLasso
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from pipelines.canary.judging import Loss
from pipelines.serving.explaining.explain import explain
from pipelines.serving.models.bundle import made
from pipelines.serving.models.engines import Constant
from pipelines.serving.models.rows import Rows
from pipelines.training.labelled import Labelled, as_labels, each_row, load_labelled
from pipelines.training.metrics import score, scores_of
from tests.models import exported, predict, served

pytestmark = pytest.mark.slow  # trains models

random = np.random.default_rng(4)
X = pd.DataFrame(random.normal(size=(300, 4)), columns=["a", "b c", "größe", "d"])
NUMBERS = pd.DataFrame({"price": 1000 * X["a"] + 50 * X["d"], "days": X["b c"] - X["a"]})
_, indicator = make_multilabel_classification(300, 4, n_classes=3, random_state=1)
LABELS = pd.DataFrame(
    {name: (indicator[:, place] ^ (X["a"] > 1)).astype(int) for place, name in enumerate(["news", "sport", "art"])}
)
KINDS = pd.DataFrame(
    {
        "colour": np.where(X["a"] > 0, "red", np.where(X["d"] > 0, "blue", "grün")),
        "size": np.where(X["b c"] > 0, "small", "large"),
    }
)


def columns() -> dict[str, list[Any]]:
    return {name: X[name].tolist() for name in X.columns}


@pytest.mark.parametrize(
    "estimator",
    [
        LinearRegression(),
        MultiTaskLasso(0.01),
        RandomForestRegressor(5, random_state=0),
        KNeighborsRegressor(),
        MultiOutputRegressor(GradientBoostingRegressor(n_estimators=5)),
        MultiOutputRegressor(HistGradientBoostingRegressor(max_iter=5)),
        GridSearchCV(make_pipeline(StandardScaler(), LinearRegression()), {}).estimator,
    ],
    ids=lambda item: type(item).__name__,
)
def test_several_numbers_are_the_models_own(estimator: Any) -> None:
    estimator.fit(X, NUMBERS)
    answer = predict(served(estimator, X, "regression", targets=["price", "days"]), columns())
    assert answer["targets"] == ["price", "days"]
    assert np.allclose(answer["predictions"], estimator.predict(X), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    "estimator",
    [
        OneVsRestClassifier(LogisticRegression()),
        MLPClassifier((8,), max_iter=50, random_state=0),
        RandomForestClassifier(5, random_state=0),
        ExtraTreesClassifier(5, random_state=0),
        DecisionTreeClassifier(max_depth=4),
        MultiOutputClassifier(LogisticRegression()),
        KNeighborsClassifier(),
        ClassifierChain(LogisticRegression()),
    ],
    ids=lambda item: type(item).__name__,
)
def test_labels_of_a_row_are_the_models_own(estimator: Any) -> None:
    estimator.fit(X, LABELS if not isinstance(estimator, OneVsRestClassifier | MLPClassifier) else LABELS.to_numpy())
    model = served(estimator, X, "classification", targets=list(LABELS.columns))
    answer = predict(model, columns())
    assert answer["predictions"] == np.asarray(estimator.predict(X)).astype(int).tolist()
    assert answer["classes"] == [[0, 1]] * 3
    if hasattr(estimator, "predict_proba"):
        own = estimator.predict_proba(X)
        own = np.stack([each[:, 1] for each in own], axis=1) if isinstance(own, list) else own
        assert np.allclose(answer["probabilities"], own, atol=1e-4)
    else:
        assert np.allclose(answer["scores"], estimator.decision_function(X), atol=1e-3)
    model.engine.close()


def test_classes_of_several_kinds_come_back_as_they_were() -> None:
    estimator = MultiOutputClassifier(make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0))).fit(
        X, KINDS
    )
    found = exported(estimator, X, "classification", targets=list(KINDS.columns))
    assert found.no_probability == "not every one of its targets has two classes"
    model = made(found.described, found.files)
    answer = predict(model, columns())
    model.engine.close()
    assert answer["predictions"] == estimator.predict(X).tolist() and "probabilities" not in answer
    assert answer["classes"] == [["blue", "grün", "red"], ["large", "small"]]


def test_an_explanation_has_the_effects_on_each_target() -> None:
    model = served(LinearRegression().fit(X, NUMBERS), X, "regression", targets=["price", "days"])
    (found,) = explain(model, Rows.of({name: values[:1] for name, values in columns().items()}))
    for place, target in enumerate(("price", "days")):
        assert found["base_value"][target] + sum(found["shap_values"][target].values()) == pytest.approx(
            found["prediction"][place], rel=1e-3, abs=1e-2
        )
    assert abs(found["shap_values"]["days"]["größe"]) < 1e-3 < abs(found["shap_values"]["days"]["b c"])
    labels = served(
        RandomForestClassifier(5, random_state=0).fit(X, LABELS), X, "classification", targets=list(LABELS.columns)
    )
    (found,) = explain(labels, Rows.of({name: values[:1] for name, values in columns().items()}))
    assert found["explains"] == "probability" and set(found["probability"]) == set(LABELS.columns)


def test_metrics_are_means_over_the_targets_and_accuracy_asks_for_all_of_them() -> None:
    labels, predicted = np.array([[0, 1], [1, 1], [0, 0], [1, 0]]), np.array([[0, 1], [1, 0], [0, 0], [0, 0]])
    found = scores_of(
        "classification",
        [[0, 1], [0, 1]],
        labels,
        predicted,
        np.array([[0.1, 0.9], [0.8, 0.4], [0.2, 0.3], [0.4, 0.2]]),
    )
    assert found["accuracy"] == 0.5 and found["balanced_accuracy"] == 0.75 and found["roc_auc"] == 1.0
    assert scores_of("regression", [], np.array([[1.0, 10.0]]), np.array([[2.0, 13.0]])) == {"mae": 2.0, "rmse": 2.0}


def test_the_baseline_of_several_targets_is_that_of_each() -> None:
    assert Constant.of([[1.0, 10], [3.0, 20]], []).prediction == [2.0, 15.0]
    labels = Constant.of(each_row(LABELS), [[0, 1]] * 3)
    assert labels.prediction == LABELS.mode().iloc[0].tolist() and np.allclose(labels.shares, LABELS.mean())
    kinds = Constant.of(each_row(KINDS), [["blue", "grün", "red"], ["large", "small"]])
    assert kinds.prediction[0] == "red" and kinds.shares == ()


def test_a_loss_weighs_targets_of_different_sizes_alike() -> None:
    loss = Loss.of("mae", "regression", Labelled(NUMBERS, NUMBERS), [])
    assert loss is not None
    far_in_price, far_in_days = (
        NUMBERS.iloc[0].add([NUMBERS["price"].std(ddof=0), 0]),
        NUMBERS.iloc[0].add([0, NUMBERS["days"].std(ddof=0)]),
    )
    label = NUMBERS.iloc[0].tolist()
    assert loss(far_in_price.tolist(), label) == pytest.approx(loss(far_in_days.tolist(), label)) == pytest.approx(0.5)
    kinds = Loss.of("accuracy", "classification", Labelled(KINDS, KINDS), [["blue", "red"], ["large", "small"]])
    assert kinds is not None and kinds(["red", "small"], ["red", "large"]) == 0.5


@pytest.mark.parametrize(
    "labels", [NUMBERS, LABELS, KINDS, NUMBERS["price"]], ids=["numbers", "labels", "kinds", "one"]
)
def test_labels_of_any_form_are_kept_and_come_back(labels: Any, tmp_path: Path) -> None:
    rows = Labelled(X, as_labels(labels), as_labels(labels)).sample(50)
    rows.save(tmp_path, "holdout")
    found = load_labelled(tmp_path, "holdout")
    assert each_row(found.labels) == each_row(rows.labels) == each_row(found.predictions)


def test_out_of_fold_predictions_of_several_targets_are_scored() -> None:
    model = served(LinearRegression().fit(X, NUMBERS), X, "regression", targets=["price", "days"])
    assert score(model, Labelled(X, NUMBERS, NUMBERS + 1)) == pytest.approx({"mae": 1.0, "rmse": 1.0})
    assert score(model, Labelled(X, NUMBERS))["mae"] < 0.01
