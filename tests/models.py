"""Served models for tests, created as the platform creates them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.serving.app import document
from pipelines.serving.models.bundle import Model, made
from pipelines.serving.models.rows import Rows
from pipelines.steps.experiment import write_served
from pipelines.training.asking import Asked
from pipelines.training.export import Exported, export


def exported(estimator: Any, frame: pd.DataFrame, task: str, **more: Any) -> Exported:
    """The served form of an estimator, called as it was fitted."""
    return export(
        Asked(estimator, "frame" if hasattr(estimator, "feature_names_in_") else "matrix"), frame, task, **more
    )


def served(
    estimator: Any, frame: pd.DataFrame, task: str = "classification", entity: dict[str, Any] | None = None, **more: Any
) -> Model:
    """The same as a model."""
    found = exported(estimator, frame, task, **more)
    return made(
        {**found.described, "model": "m", "version": "v1.0.0", "entity": entity or {}},
        found.files,
        {name: frame[name].head(20).tolist() for name in frame.columns},
    )


def predict(model: Model, columns: dict[str, list[Any]]) -> dict[str, Any]:
    """The document that ``/invocations`` answers with."""
    return document(model, model.answers(Rows.of({name: columns[name] for name in model.names})))


def write(folder: Path, estimator: Any, frame: pd.DataFrame, task: str, labels: Any, model: str) -> None:
    """``candidate`` and ``baseline`` as the experiment leaves them."""
    write_served(folder, exported(estimator, frame, task), frame, list(labels), {"model": model, "entity": {}})
