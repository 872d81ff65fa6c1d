"""Versions to monitor, without a registry: what they were trained and judged on, and what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pipelines.monitoring.reference import Reference
from pipelines.serving.models.bundle import Model
from pipelines.training.labelled import Labelled

COLUMNS = [{"name": "a", "type": "double"}, {"name": "b", "type": "double"}, {"name": "kind", "type": "string"}]


def people(rows: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a": random.normal(shift, 1, rows),
            "b": random.normal(size=rows),
            "kind": random.choice(["x", "y", "z"], rows, p=[0.5, 0.3, 0.2]),
        }
    )


def chance(frame: pd.DataFrame) -> Any:
    """The true probability of the second class; the model knows it up to a distortion."""
    return 1 / (1 + np.exp(-(1.5 * frame["a"] + frame["b"]).to_numpy()))


def late(frame: pd.DataFrame, seed: int) -> Any:
    return (np.random.default_rng(seed).random(len(frame)) < chance(frame)).astype(int)


def said(frame: pd.DataFrame) -> tuple[list[int], Any]:
    """Predictions and probabilities of a model that exaggerates."""
    told = chance(frame) ** 0.5
    return (told >= 0.5).astype(int).tolist(), np.column_stack([1 - told, told])


def model(task: str = "classification", **more: Any) -> Model:
    found = {"classes": [0, 1], "output": "probability"} if task == "classification" else {}
    return Model(None, COLUMNS, task, "people", "v1.0.0", **{**found, **more})  # type: ignore[arg-type]


def classifier(rows: int = 2_000, **more: Any) -> Reference:
    training, holdout = people(rows, 1), people(rows, 2)
    predictions, chances = said(holdout)
    return Reference(
        "v1.0.0",
        model(),
        Labelled(training, pd.Series(late(training, 3))),
        Labelled(holdout, pd.Series(late(holdout, 4))),
        predictions,
        chances,
        **{"declared": ("kind",), **more},
    )


def amounts(frame: pd.DataFrame, seed: int) -> Any:
    """Numbers whose noise grows with ``b``: some rows are harder."""
    noise = np.random.default_rng(seed).normal(size=len(frame)) * np.exp(frame["b"])
    return (10 * frame["a"] + 5 * noise).to_numpy()


def regressor(rows: int = 2_000) -> Reference:
    training, holdout = people(rows, 1), people(rows, 2)
    return Reference(
        "v1.0.0",
        model("regression"),
        Labelled(training, pd.Series(amounts(training, 3))),
        Labelled(holdout, pd.Series(amounts(holdout, 4))),
        (10 * holdout["a"]).tolist(),
        None,
        declared=("kind",),
    )
