"""Smaller models: the same answers in a third of the bytes, and fewer trees where the objective allows a loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from pipelines.context import sandbox_objectives
from pipelines.serving.explaining.explain import exactly, explain
from pipelines.serving.explaining.trees import NotExactError
from pipelines.serving.models.bundle import made
from pipelines.serving.models.rows import Rows
from pipelines.training.compress import COMPACT, FULL, compress
from pipelines.training.ensembles import Ensemble, rewritten
from pipelines.training.labelled import Labelled
from spec.objectives import ModelObjectives
from tests.models import exported

DIABETES, CANCER, IRIS = (
    load(as_frame=True, return_X_y=True) for load in (load_diabetes, load_breast_cancer, load_iris)
)
RANDOM = np.random.default_rng(0)
GAPS = DIABETES[0].mask(RANDOM.random(DIABETES[0].shape) < 0.1), DIABETES[1]
ENSEMBLES: dict[str, tuple[Any, tuple[pd.DataFrame, pd.Series]]] = {
    "forest": (RandomForestRegressor(30, random_state=0), DIABETES),
    "boosted": (GradientBoostingRegressor(n_estimators=30, random_state=0), DIABETES),
    "boosted with gaps": (HistGradientBoostingRegressor(max_iter=30, random_state=0), GAPS),
    "a tree": (DecisionTreeRegressor(max_depth=4, random_state=0), DIABETES),
    "a tree of one leaf": (DecisionTreeRegressor(max_depth=1, min_samples_leaf=400), DIABETES),
    "boosted, two classes": (GradientBoostingClassifier(n_estimators=30, random_state=0), CANCER),
    "boosted by histograms": (HistGradientBoostingClassifier(max_iter=30, random_state=0), CANCER),
    "boosted, three classes": (HistGradientBoostingClassifier(max_iter=20, random_state=0), IRIS),
    "forest, two classes": (RandomForestClassifier(30, random_state=0), CANCER),
    "random trees": (ExtraTreesClassifier(30, random_state=0), CANCER),
    "a tree of two classes": (DecisionTreeClassifier(random_state=0), CANCER),
    "texts": (RandomForestClassifier(20, random_state=0), (CANCER[0], CANCER[1].map({0: "no", 1: "yes"}))),
    "after an encoder": (
        make_pipeline(
            make_column_transformer((OneHotEncoder(), ["color"]), remainder="passthrough"),
            RandomForestRegressor(20, random_state=0),
        ),
        (DIABETES[0].assign(color=RANDOM.choice(["red", "blue"], len(DIABETES[0]))), DIABETES[1]),
    ),
}


def fitted(name: str) -> tuple[Any, pd.DataFrame, str]:
    estimator, (frame, labels) = ENSEMBLES[name]
    task = "regression" if labels.dtype.kind == "f" and labels.nunique() > 10 else "classification"
    return exported(estimator.fit(frame, labels), frame, task), frame, task


def answers(described: dict[str, Any], content: bytes, frame: pd.DataFrame) -> Any:
    model = made(described, {"model.onnx": content})
    columns = {name: frame[name].tolist() for name in model.names}
    return model.answers(Rows.of(columns))


@pytest.mark.parametrize("name", ENSEMBLES)
def test_the_compact_form_answers_the_same(name: str) -> None:
    found, frame, task = fitted(name)
    assert len(found.files["model.onnx"]) < 0.6 * len(found.converted) or name.startswith("a tree of one")
    kinds = [node.op_type for node in onnx.load_from_string(found.files["model.onnx"]).graph.node]
    assert "TreeEnsemble" in kinds
    before, after = (
        answers(found.described, content, frame) for content in (found.converted, found.files["model.onnx"])
    )
    if task == "classification":
        assert before.predictions == after.predictions
        np.testing.assert_allclose(after.beside, before.beside, atol=2e-6)
    else:
        np.testing.assert_allclose(after.predictions, before.predictions, rtol=2e-6)


def test_a_form_that_has_no_room_is_left_as_it_is() -> None:
    frame, labels = IRIS
    found = exported(
        RandomForestClassifier(10, max_depth=2, random_state=0).fit(frame, labels), frame, "classification"
    )
    assert found.files["model.onnx"] == found.converted, "a leaf of three classes"
    linear = exported(LinearRegression().fit(*DIABETES), DIABETES[0], "regression")
    assert linear.files["model.onnx"] == linear.converted


@pytest.mark.parametrize("name", ["forest", "boosted with gaps", "forest, two classes", "a tree of two classes"])
def test_compact_trees_are_explained_exactly(name: str) -> None:
    found, frame, task = fitted(name)
    described = {**found.described, "model": "m", "version": "v1"}
    background = {column: frame[column].head(30).tolist() for column in frame.columns}
    values = {}
    for content in (found.converted, found.files["model.onnx"]):
        model = made(described, {"model.onnx": content}, background)
        if task == "regression":
            assert exactly(model) is not None
        rows = Rows.of({column: frame[column].tail(2).tolist() for column in model.names})
        values[content] = [one["shap_values"] for one in explain(model, rows)]
    one, two = values.values()
    for first, second in zip(one, two, strict=True):
        assert first == pytest.approx(second, abs=1e-4)


def ensemble(name: str) -> tuple[Ensemble, bytes, Any, np.ndarray]:
    found, frame, _ = fitted(name)
    node = next(
        node for node in onnx.load_from_string(found.converted).graph.node if node.op_type.startswith("TreeEnsemble")
    )
    return Ensemble.of(node), found.converted, found.described, frame.to_numpy(np.float32)


@pytest.mark.parametrize("name", ["forest", "boosted with gaps", "boosted, two classes"])
def test_pruning_cuts_what_contributes_least(name: str) -> None:
    whole, content, described, rows = ensemble(name)
    splits = (whole.first >= 0).sum()
    sums = whole.outputs(rows).sum(axis=1)
    errors = []
    for share in (0.9, 0.5, 0.2, 0.0):
        smaller = whole.pruned(whole.leaves(rows), share)
        assert (smaller.first >= 0).sum() <= share * splits + 1 and smaller.count == whole.count
        errors.append(float(((smaller.outputs(rows).sum(axis=1) - sums) ** 2).mean()))
        content_of_it = rewritten(content, smaller, labels=False)
        answered = answers(
            described, content_of_it, pd.DataFrame(rows, columns=[c["name"] for c in described["columns"]])
        )
        if described["task"] == "regression":
            expected = (smaller.outputs(rows).sum(axis=1) + smaller.trees.base)[:, 0]
            np.testing.assert_allclose(answered.predictions, expected, rtol=1e-4)
    assert errors == sorted(errors) and errors[0] < 0.05 * errors[-1]


def test_fewer_trees_are_weighed_to_come_close_to_all() -> None:
    whole, _, _, rows = ensemble("forest")
    wanted = whole.outputs(rows).sum(axis=1) + whole.trees.base

    def off(smaller: Ensemble) -> float:
        return float(((smaller.outputs(rows).sum(axis=1) + smaller.trees.base - wanted) ** 2).mean())

    half = whole.fewer(15).weighed(rows, wanted, 30)
    assert half.count == 15
    doubled = 2 * whole.trees.weights[whole.tree[whole.trees.leaves] < 15]  # half of them say as much as all of them
    plain = replace(half, trees=replace(half.trees, weights=doubled, base=whole.trees.base))
    assert off(half) < off(plain)
    assert off(whole.weighed(rows, wanted, 30)) < 1e-3 * wanted.var()


def objectives(**quality: Any) -> ModelObjectives:
    found = sandbox_objectives("regression")
    return found.model_copy(update={"quality": found.quality.model_copy(update=quality)})


def compressed(estimator: Any, may_lose: float, **quality: Any) -> Any:
    frame, labels = DIABETES
    rows = Labelled(frame[:330], labels[:330]), Labelled(frame[330:], labels[330:])
    found = exported(estimator.fit(frame[:330], labels[:330]), frame[:330], "regression")
    wanted = objectives(may_lose=may_lose, **quality)
    return compress(found.described, found.files, found.converted, *rows, wanted)


def test_the_smallest_that_loses_no_more_than_allowed_is_chosen() -> None:
    found = compressed(RandomForestRegressor(60, random_state=0), 0.05)
    table = {one.name: one for one in found.table}
    assert [*table][:2] == [FULL, COMPACT] and len(table) == 8
    chosen, full = table[found.chosen], table[FULL]
    assert chosen.loses <= 0.05 and len(found.files["model.onnx"]) == chosen.bytes
    assert chosen.bytes == min(one.bytes for one in found.table if one.loses <= 0.05 and not one.beyond)
    assert chosen.bytes < 0.5 * full.bytes and full.loses == 0 and table[COMPACT].loses == 0
    assert all(one.row_us > 0 and one.batch_ms > 0 and set(one.metrics) == set(full.metrics) for one in found.table)


def test_without_leave_only_the_same_answers_are_served() -> None:
    found = compressed(RandomForestRegressor(20, random_state=0), 0.0)
    assert found.chosen == COMPACT and len(found.table) == 8, "what leave would bring is told"
    assert min(one.loses for one in found.table) <= 0.0


def test_a_smaller_model_must_meet_the_quality_too() -> None:
    found = compressed(RandomForestRegressor(20, random_state=0), 0.5, worst=1e-6)
    assert found.chosen == COMPACT, "evaluation refuses it, and nothing else is put in its place"


def test_no_smaller_forest_answers_what_the_whole_one_never_would() -> None:
    frame, labels = CANCER
    rare = pd.Series(np.where(RANDOM.random(len(labels)) < 0.05, 1, 0))  # chance: the worst case for a fit
    for task, target in (("classification", rare), ("regression", rare * RANDOM.random(len(rare)) * 100)):
        estimator = (RandomForestClassifier if task == "classification" else RandomForestRegressor)(40, random_state=0)
        found = exported(estimator.fit(frame[:400], target[:400]), frame[:400], task)
        wanted = sandbox_objectives(task)
        wanted = wanted.model_copy(
            update={
                "quality": wanted.quality.model_copy(
                    update={"may_lose": 0.5, "worst": 1e9 if task == "regression" else 0.0}
                )
            }
        )
        rows = Labelled(frame[:400], target[:400]), Labelled(frame[400:], target[400:])
        smaller = compress(found.described, found.files, found.converted, *rows, wanted)
        values = answers(found.described, smaller.files["model.onnx"], frame)
        served = np.asarray(values.predictions if task == "regression" else values.beside, dtype=float)
        full = answers(found.described, found.converted, frame)
        whole = np.asarray(full.predictions if task == "regression" else full.beside, dtype=float)
        assert served.min() >= -1e-6 and served.max() <= (1 + 1e-6 if task == "classification" else target.max() * 1.01)
        assert np.isfinite(served).all() and smaller.chosen not in (FULL,), whole.max()


def test_weights_of_networks_are_rounded() -> None:
    scaled = make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(64, 64), max_iter=300, random_state=0))
    found = compressed(scaled, 0.2)
    table = {one.name: one for one in found.table}
    assert {"weights in half precision", "weights in 8 bits"} <= set(table)
    assert table["weights in half precision"].bytes < 0.6 * table[FULL].bytes
    assert table["weights in 8 bits"].bytes < 0.5 * table[FULL].bytes
    assert found.chosen == "weights in 8 bits", table


def test_what_is_small_already_is_not_read_again() -> None:
    found, _, _ = fitted("forest")
    node = onnx.load_from_string(found.files["model.onnx"]).graph.node[0]
    with pytest.raises(NotExactError, match="small already"):
        Ensemble.of(node)
