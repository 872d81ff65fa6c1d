"""Calibration: what a model says beside what came true."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import Answers
from pipelines.training.calibration import calibration
from pipelines.training.labelled import Labelled

COLUMNS = [{"name": "x", "type": "double"}]


def model(task: str, answers: Answers, monkeypatch: pytest.MonkeyPatch, **told: Any) -> Model:
    made = Model(None, COLUMNS, task, **told)  # type: ignore[arg-type]
    monkeypatch.setattr(Model, "answers", lambda self, rows: answers)
    return made


def rows(labels: Any) -> Labelled:
    return Labelled(pd.DataFrame({"x": np.zeros(len(labels))}), pd.Series(labels))


def test_honest_probabilities_are_off_by_little_and_exaggerated_ones_by_much(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    true = random.uniform(0, 1, 20_000)
    labels = (random.uniform(0, 1, len(true)) < true).astype(int)
    for said, least, most in ((true, 0.0, 0.02), (true**0.2, 0.2, 1.0)):
        answers = Answers((said > 0.5).astype(int), np.column_stack([1 - said, said]))
        found = calibration(
            model(
                "classification", answers, monkeypatch, classes=[0, 1], output="probability", class_names={"1": "late"}
            ),
            rows(labels),
        )
        assert found["of"] == "the probability of late" and least <= found["error"] <= most
        assert len(found["bins"]) == 10 and sum(each["rows"] for each in found["bins"]) == len(true)
        assert found["brier"] == pytest.approx(np.mean((said - labels) ** 2))


def test_predictions_that_are_all_equal_share_a_bin(monkeypatch: pytest.MonkeyPatch) -> None:
    found = calibration(model("regression", Answers(np.full(60, 5.0)), monkeypatch), rows([4.0, 8.0] * 30))
    assert found["bins"] == [{"rows": 60, "said": 5.0, "seen": 6.0}] and found["error"] == 1.0


def test_of_several_classes_the_predicted_ones_probability_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(
        np.array(["a", "b", "c"] * 20), np.tile([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]], (20, 1))
    )
    told = {"classes": ["a", "b", "c"], "output": "probability"}
    found = calibration(model("classification", answers, monkeypatch, **told), rows(["a", "b", "x"] * 20))
    assert found["bins"][0]["seen"] == pytest.approx(2 / 3) and found["error"] == pytest.approx(0.8 - 2 / 3)


@pytest.mark.parametrize(
    ("told", "count", "why"),
    [
        ({"classes": [0, 1], "output": "score"}, 60, "it gives no probabilities"),
        ({"classes": [0, 1], "output": "probability"}, 10, "only 10 rows"),
        ({"targets": ["a", "b"]}, 60, "it predicts several targets"),
    ],
)
def test_what_can_not_be_compared_is_said(
    told: dict[str, Any], count: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Answers(np.zeros(count), np.zeros(count))
    assert calibration(model("classification", answers, monkeypatch, **told), rows([0] * count)) == {"why": why}
