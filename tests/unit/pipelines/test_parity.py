"""What is served equals the model's own answers: classes, probabilities, scores, and unseen values."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC, NuSVC

from pipelines.serving.explaining.explain import explain
from pipelines.serving.models.engines import Constant
from pipelines.serving.models.rows import Rows
from pipelines.training.asking import Asked
from pipelines.training.labelled import Labelled
from pipelines.training.metrics import score
from pipelines.training.parity import known_categories, sample_rows
from spec.errors import GroundplanError
from tests.models import exported, predict, served

pytestmark = pytest.mark.slow  # trains models

RANDOM = np.random.default_rng(2)
N = 300
X = pd.DataFrame(RANDOM.normal(size=(N, 4)), columns=list("abcd"))
SIGNAL = X["a"] - X["b"] + RANDOM.normal(0, 0.5, N)
TARGETS = {"two": np.where(SIGNAL > 0, "late", "early"), "three": np.digitize(SIGNAL, [-1, 1])}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "estimator",
    [
        SVC(),
        NuSVC(),
        LinearSVC(),
        SGDClassifier(random_state=0),
        Perceptron(),
        RidgeClassifier(),
        make_pipeline(StandardScaler(), SVC()),
    ],
    ids=lambda item: type(item).__name__,
)
def test_scores_are_served_as_scores_and_rank_the_rows(estimator: Any, target: str) -> None:
    labels = TARGETS[target]
    model, rows = served(estimator.fit(X, labels), X), {name: X[name].tolist() for name in X.columns}
    answer = predict(model, rows)
    assert "probabilities" not in answer and answer["predictions"] == estimator.predict(X).tolist()
    assert np.allclose(answer["scores"], estimator.decision_function(X), atol=1e-4)
    if target == "two":
        scores = score(model, Labelled(X, pd.Series(labels)))
        assert scores["roc_auc"] > 0.9
        (why,) = explain(model, Rows.of({name: values[:1] for name, values in rows.items()}))
        assert why["explains"] == "score" and "probability" not in why
        assert why["base_value"] + sum(why["shap_values"].values()) == pytest.approx(
            estimator.decision_function(X)[0], abs=1e-3
        )


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        GaussianNB(),
        RandomForestClassifier(20, random_state=0),
        HistGradientBoostingClassifier(max_iter=10),
        CalibratedClassifierCV(LinearSVC()),
        LinearDiscriminantAnalysis(),
    ],
    ids=lambda item: type(item).__name__,
)
@pytest.mark.parametrize("target", TARGETS)
def test_probabilities_are_the_models_own_or_none(estimator: Any, target: str) -> None:
    estimator.fit(X, TARGETS[target])
    answer = predict(served(estimator, X), {name: X[name].tolist() for name in X.columns})
    assert answer["predictions"] == estimator.predict(X).tolist(), "equal probabilities, too"
    if "probabilities" in answer:
        assert np.allclose(answer["probabilities"], estimator.predict_proba(X), atol=1e-4)
    else:
        assert np.allclose(answer["scores"], estimator.decision_function(X), atol=1e-3)


def test_a_refusal_names_its_cause_in_our_own_words() -> None:
    with pytest.raises(GroundplanError, match="the model predicts 2 values a row but was fitted on 1, so they can"):
        exported(LinearRegression().fit(X, X[["a", "b"]]), X, "regression")


def test_gaps_that_the_conversion_gets_wrong_are_found_however_rare_they_are() -> None:
    gaps = X.mask(np.random.default_rng(3).random(X.shape) < 0.02)
    forest = RandomForestClassifier(20, random_state=0).fit(gaps, TARGETS["two"])
    found = exported(forest, gaps, "classification")
    assert "of the rows with missing values" in found.why_native and found.described["flavor"] == "skops"
    boosted = HistGradientBoostingClassifier(max_iter=10).fit(gaps, TARGETS["two"])
    assert exported(boosted, gaps, "classification").parity.rows["gaps"] == gaps.isna().any(axis=1).sum()


def test_strict_columns_are_found_whatever_their_kind_and_gaps() -> None:
    frame = pd.DataFrame(
        {
            "n": range(1_500),
            "flag": True,
            "kind": pd.Categorical(["x", "y", "x"] * 500),
            "gap": [np.nan, 1.0, np.nan] * 500,
        }
    )
    frame.loc[::2, "gap"], frame.loc[1::2, "kind"] = 2.0, "y"
    encoders = make_column_transformer(
        (OneHotEncoder(), ["n", "flag"]), (OrdinalEncoder(categories=[["x", "y", "z"]]), ["kind"]), ("drop", ["gap"])
    )
    model = make_pipeline(encoders, LogisticRegression()).fit(frame, np.arange(1_500) % 2)
    known = known_categories(Asked(model), frame)
    assert known["kind"] == ["x", "y", "z"] and known["flag"] == [True] and len(known["n"]) == 1_500
    ranged = make_pipeline(OrdinalEncoder(categories=[[1, 2, 3, 4, 5]]), LogisticRegression()).fit(
        pd.DataFrame({"g": [1, 2, 3, 1]}), [0, 1, 0, 1]
    )
    assert known_categories(Asked(ranged), pd.DataFrame({"g": [1, 2, 3, 1]})) == {"g": [1, 2, 3, 4, 5]}


@pytest.mark.parametrize("labels", [[0.0, 1.0] * 150, [True, False] * 150, ["a", "b"] * 150, [3, 7] * 150])
def test_labels_of_every_kind_come_back_as_they_were(labels: list[Any]) -> None:
    model = served(LogisticRegression().fit(X, labels), X)
    rows = {name: X[name].tolist() for name in X.columns}
    for engine in (model.engine, Constant.of(labels, model.classes)):
        assert {type(value) for value in replace(model, engine=engine).answers(Rows.of(rows)).predictions} == {
            type(labels[0])
        }


def test_a_sample_of_many_rows_has_all_kinds() -> None:
    many = pd.DataFrame({"n": RANDOM.normal(size=20_000), "kind": RANDOM.choice(["x", "y"], 20_000)})
    many.loc[7, "kind"], many.loc[11, "n"], many.loc[13, "n"] = "rare", np.nan, 1e6
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["kind"])), LogisticRegression()
    ).fit(many[["kind"]], many["n"] > 0)
    sample = sample_rows(Asked(model), many, {})
    assert (
        len(sample.frame) <= 5_010
        and {"gaps", "new gaps", "rare", "extremes", "others"} == set(sample.kinds)
        and sample.new_gaps == ("kind",)
    )
    assert (
        sample.frame["n"].isna().any() and (sample.frame["kind"] == "rare").any() and (sample.frame["n"] >= 1e6).any()
    )


CATEGORIES = pd.DataFrame(
    {
        "kind": RANDOM.choice(["x", "y"], N),
        "grade": RANDOM.integers(1, 4, N),
        "label": RANDOM.normal(size=N),
        "größe in m²": RANDOM.normal(size=N),
    }
)


@pytest.mark.parametrize(
    ("encoder", "columns", "known"),
    [
        (OneHotEncoder(), ["kind"], {"kind": ["x", "y"]}),
        (OrdinalEncoder(), ["kind", "grade"], {"kind": ["x", "y"], "grade": [1, 2, 3]}),
        (OrdinalEncoder(categories=[["x", "y", "z"]]), ["kind"], {"kind": ["x", "y", "z"]}),
        (OneHotEncoder(handle_unknown="ignore"), ["kind"], {}),
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["kind"], {}),
    ],
)
def test_categories_that_the_model_knows_are_part_of_its_signature(
    encoder: Any, columns: list[str], known: dict[str, list[Any]]
) -> None:
    from tests.unit.pipelines.test_serving import call

    frame = CATEGORIES if "kind" not in known or columns != ["kind"] else CATEGORIES.drop(columns="grade")
    left = [name for name in frame.columns if name not in columns and name != "kind"]
    model = make_pipeline(make_column_transformer((encoder, columns), ("passthrough", left)), LogisticRegression()).fit(
        frame, SIGNAL > 0
    )
    assert known_categories(Asked(model), frame) == known
    ready, row = served(model, frame), frame.head(1).to_dict(orient="records")[0]
    assert (
        call(ready, "/invocations", json.dumps({"inputs": [row]}).encode()).json()["predictions"]
        == model.predict(frame.head(1)).tolist()
    )
    answer = call(ready, "/invocations", json.dumps({"inputs": [row | {"kind": "never"}]}).encode())
    if known:
        assert (
            answer.status_code == 400
            and f"Column 'kind', row 0: the model was not trained on 'never'; it accepts {', '.join(known['kind'])}."
            in answer.text
        )
    else:
        assert answer.json()["predictions"] == model.predict(pd.DataFrame([row | {"kind": "never"}])).tolist()
