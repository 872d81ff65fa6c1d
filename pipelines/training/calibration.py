"""Whether a model's figures can be taken at their word: probabilities as frequencies, predicted numbers as means."""

from __future__ import annotations

from typing import Any

from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import class_name, class_names
from pipelines.serving.models.rows import Rows
from pipelines.training.labelled import Labelled, as_columns

BINS = 10
LEAST_ROWS = 50  # fewer say nothing about ten bins


def calibration(model: Model, rows: Labelled) -> dict[str, Any]:
    """Compare what a model says with what came true, in up to ten bins of as many rows.

    Returns:
        ``bins``, each with ``rows``, the mean of what was ``said`` and of what was ``seen``; ``error``, the mean
        difference of the two, weighted by rows (the expected calibration error of Naeini et al. 2015; in the label's
        unit for numbers); ``of`` what; for probabilities of two classes ``brier`` (Brier 1950). Only ``why`` where
        there is nothing to compare.
    """
    import numpy as np

    if model.targets:
        return {"why": "it predicts several targets"}
    if len(rows) < LEAST_ROWS:
        return {"why": f"only {len(rows)} rows"}
    labels = rows.labels.to_numpy()
    if model.task == "regression":
        told = rows.predictions
        if told is None:
            told = model.answers(Rows.of(as_columns(rows.features, model.names))).predictions
        return _compared(np.asarray(told, dtype=float), labels.astype(float), "the prediction")
    if model.output != "probability":
        return {"why": "it gives no probabilities"}
    if rows.predictions is not None:
        return {"why": "its rows were predicted out of fold, without probabilities"}
    found = model.answers(Rows.of(as_columns(rows.features, model.names)))
    said, actual = np.asarray(found.beside, dtype=float), class_names(labels)
    if len(model.classes) == 2:
        second, name = said if said.ndim == 1 else said[:, 1], class_name(model.classes[1])
        came = (actual == name).astype(float)
        compared = _compared(second, came, f"the probability of {model.class_names.get(name, name)}")
        return {**compared, "brier": float(np.mean((second - came) ** 2))}
    right = (class_names(np.asarray(found.predictions)) == actual).astype(float)
    return _compared(said.max(axis=1), right, "the probability of the predicted class")


def _compared(said: Any, seen: Any, of: str) -> dict[str, Any]:
    """In bins between quantiles, so that each holds enough rows; equal values share one."""
    import numpy as np

    edges = np.unique(np.quantile(said, np.linspace(0, 1, BINS + 1)[1:-1]))
    place = np.searchsorted(edges, said, side="right")
    bins = [
        {"rows": int(inside.sum()), "said": float(said[inside].mean()), "seen": float(seen[inside].mean())}
        for number in range(len(edges) + 1)
        if (inside := place == number).any()
    ]
    error = sum(each["rows"] * abs(each["said"] - each["seen"]) for each in bins) / len(said)
    return {"of": of, "error": float(error), "bins": bins}
