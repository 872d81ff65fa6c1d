"""Quality without outcomes: right while only the rows change, and blind to a change of the relation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipelines.monitoring.estimating import Estimation, estimation, matrix, outcomes
from pipelines.monitoring.scores import added, coded, of_classes, scores
from pipelines.training.labelled import Labelled
from tests.unit.monitoring.references import amounts, classifier, late, model, people, regressor, said


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.7])
def test_what_a_classifier_is_estimated_at_comes_true_however_the_rows_shift(shift: float) -> None:
    found = classifier(4_000).estimation
    assert isinstance(found, Estimation)
    now = people(4_000, 11, shift)
    predictions, chances = said(now)
    guess = scores(found.estimator.expected(now, np.array(predictions), chances))
    fact = scores(outcomes(np.array(predictions), chances, late(now, 12), 2))
    assert set(guess) == set(fact) == {"accuracy", "balanced_accuracy", "correct_warnings", "roc_auc"}
    for metric, value in guess.items():
        low, high = found.interval(metric, value, len(now))
        assert low <= fact[metric] <= high and high - low < 0.2, metric
    if shift == 0.7:  # its accuracy on the held-out rows would be a bad guess
        assert abs(guess["accuracy"] - fact["accuracy"]) < 0.02


@pytest.mark.parametrize("shift", [-0.4, 0.0, 0.4])
def test_what_a_regression_is_estimated_at_comes_true_however_the_rows_shift(shift: float) -> None:
    found = regressor(4_000).estimation
    assert isinstance(found, Estimation)
    now = people(3_000, 11).assign(b=lambda rows: rows["b"] + shift)
    predictions = (10 * now["a"]).to_numpy()
    guess = scores(found.estimator.expected(now, predictions, None))
    fact = scores(outcomes(predictions, None, amounts(now, 12), 0))
    low, high = found.interval("mae", guess["mae"], len(now))
    assert low <= fact["mae"] <= high
    assert guess["mae"] == pytest.approx(fact["mae"], rel=0.1), "on the held-out rows it was another"


def test_flipped_outcomes_are_not_seen_without_them() -> None:
    """The blindness that every page states: the relation is the opposite, and the estimate is the same."""
    found = classifier(4_000).estimation
    assert isinstance(found, Estimation)
    now = people(4_000, 21)
    predictions, chances = said(now)
    guess = scores(found.estimator.expected(now, np.array(predictions), chances))["accuracy"]
    truth = late(now, 22)
    good, flipped = (
        scores(outcomes(np.array(predictions), chances, each, 2))["accuracy"] for each in (truth, 1 - truth)
    )
    low, high = found.interval("accuracy", guess, len(now))
    assert low <= good <= high and flipped < low


def test_several_classes_are_estimated_too() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=6_000)})
    odds = np.exp(np.column_stack([-frame["a"], np.zeros(len(frame)), frame["a"]]))
    chances = odds / odds.sum(axis=1, keepdims=True)
    truth = (random.random(len(frame))[:, None] > chances.cumsum(axis=1)).sum(axis=1)
    told, names = chances.argmax(axis=1), ["red", "green", "blue"]
    half = len(frame) // 2
    holdout = Labelled(frame[:half].reset_index(drop=True), pd.Series([names[place] for place in truth[:half]]))
    made = estimation(model(classes=names), holdout, [names[place] for place in told[:half]], chances[:half])
    assert isinstance(made, Estimation) and set(made.off) == {"accuracy", "balanced_accuracy"}
    guess = scores(made.estimator.expected(frame[half:], told[half:], chances[half:]))
    fact = scores(outcomes(told[half:], chances[half:], truth[half:], 3))
    assert guess == pytest.approx(fact, abs=0.03)


def test_fewer_rows_have_a_wider_interval() -> None:
    found = classifier().estimation
    assert isinstance(found, Estimation)
    widths = [np.subtract(*found.interval("accuracy", 0.7, rows)[::-1]) for rows in (20, 100, 5_000)]
    assert widths[0] > widths[1] > widths[2] and found.interval("accuracy", 0.99, 20)[1] == 1.0


def test_why_nothing_is_estimated_is_said() -> None:
    assert classifier(100).estimation == "only 100 rows were held out, and 200 are needed"
    reference = classifier()
    without = estimation(model(output=""), reference.holdout, reference.predictions, None)
    assert without == "it gives no probabilities of rows that it was not trained on"
    several = estimation(model(targets=["a", "b"]), reference.holdout, [], None)
    assert several == "it predicts several targets"


def test_metrics_from_sums_are_those_of_the_rows() -> None:
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    random = np.random.default_rng(3)
    truth, told = random.integers(0, 2, 3_000), random.random(3_000)
    told = np.where(truth == 1, told**0.6, told)
    predicted, chances = (told >= 0.5).astype(int), np.column_stack([1 - told, told])
    parts = [outcomes(predicted[half], chances[half], truth[half], 2) for half in (slice(0, 1_000), slice(1_000, None))]
    found = scores(added(*parts))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert found["roc_auc"] == pytest.approx(roc_auc_score(truth, told), abs=2e-3), "in 200 bins"
    assert found["correct_warnings"] == pytest.approx(((predicted == 1) & (truth == 1)).mean())
    assert scores({"rows": 0}) == {}


def test_a_class_nobody_knows_does_not_count() -> None:
    names = ["0", "1"]
    assert coded([0, 1.0, True, "1", "maybe", None], names).tolist() == [0, 1, 1, 1, -1, -1]
    known = of_classes(np.array([0, 1, -1]), np.array([[1.0, 0], [0, 0], [0, 1]]))
    assert known["rows"] == 1


@pytest.mark.parametrize(
    ("chances", "known"),
    [
        ([0.2, 0.7], 2),
        ([[0.8, 0.2], [0.3, 0.7]], 2),
        ([0.2, None], 1),
        ([[0.1, 0.9], 0.5], 2),
        ([[0.1, 0.9], [0.1, 0.2, 0.7]], 1),
        ([None, None], 0),
    ],
    ids=["of the second class", "of each", "one has none", "of two forms", "of three classes", "none has any"],
)
def test_probabilities_come_in_two_forms(chances: list[object], known: int) -> None:
    found = matrix(chances, 2)
    assert found is None if not known else found.shape == (2, 2)
    assert not known or np.isclose(found.sum(axis=1), 1).sum() == known
