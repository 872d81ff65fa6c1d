"""Rows on which a model is evaluated: from its own dataset, with its own labels, and none that it was fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

from pipelines.steps.experiment import MAX_HOLDOUT_ROWS, SEEN_BY_NONE, _holdout, _with_more
from pipelines.training.labelled import Labelled, load_labelled
from pipelines.training.recorder import Logged, Recorder

RANDOM = np.random.default_rng(6)


def data(rows: int) -> tuple[pd.DataFrame, pd.Series]:
    frame = pd.DataFrame(RANDOM.normal(size=(rows, 2)), columns=["a", "b"])
    return frame, frame["a"] + RANDOM.normal(0, 0.1, rows)


def logged(features: Any, labels: Any) -> Logged:
    return Logged(LinearRegression().fit(features, labels), features, labels)


def test_of_several_splits_that_of_the_models_own_labels_counts() -> None:
    features, one = data(100)
    other = one * -1
    model = logged(features[:60], one[:60])
    for splits in (
        [(features, one), (features, other)],
        [(features, other), (features, one)],
        [(features, one), (features, np.arange(100))],
    ):
        rows, how = _holdout(Recorder(splits=splits), model)
        assert how == SEEN_BY_NONE and len(rows) == 40 and np.allclose(rows.labels, one[60:])
    assert _holdout(Recorder(splits=[(features, other)]), model)[1] == "5-fold, out of fold", (
        "it has no labels of its own"
    )


def test_changed_training_rows_are_not_taken_for_unseen_ones() -> None:
    features, labels = data(100)
    gaps = features.mask(RANDOM.random(features.shape) < 0.2)
    rows, how = _holdout(Recorder(splits=[(gaps, labels)]), logged(gaps[:60].fillna(0), labels[:60]))
    assert how == "5-fold, out of fold" and len(rows) == 60


def test_of_many_rows_some_are_taken_by_chance_each_with_its_other_features() -> None:
    features, labels = data(3 * MAX_HOLDOUT_ROWS)
    order = np.argsort(labels.to_numpy())
    features, labels = features.iloc[order].reset_index(drop=True), labels.iloc[order].reset_index(drop=True)
    recorder = Recorder(splits=[(features, labels)], more=features.assign(more=features["a"] * 10))
    rows, how = _holdout(recorder, logged(features[:MAX_HOLDOUT_ROWS], labels[:MAX_HOLDOUT_ROWS]))
    assert len(rows) == MAX_HOLDOUT_ROWS and rows.labels.max() > labels.quantile(0.99), "not the first ones"
    wide = _with_more(rows, how, recorder)
    assert np.allclose(wide.features["more"], wide.features["a"] * 10), "each row keeps its own"
    assert np.allclose(wide.sample(100).features["more"], wide.sample(100).features["a"] * 10)
    folded, _ = _holdout(Recorder(), logged(features, labels))
    assert len(folded) == MAX_HOLDOUT_ROWS and folded.labels.max() > labels.quantile(0.99)
    assert np.corrcoef(folded.labels, folded.predictions)[0, 1] > 0.9


def test_features_and_answers_come_back_side_by_side(tmp_path: Any) -> None:
    features, labels = data(30)
    kept = Labelled(features.rename(columns={"a": "label", "b": "prediction"}), labels, labels * 2).sample(10)
    kept.save(tmp_path, "holdout")
    found = load_labelled(tmp_path, "holdout")
    assert list(found.features.columns) == ["label", "prediction"] and np.allclose(found.predictions, found.labels * 2)
    assert np.allclose(found.features["label"], kept.features["label"])
