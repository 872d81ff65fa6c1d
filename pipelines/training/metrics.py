"""Metrics of a model on labelled rows, by the names that objectives use."""

from __future__ import annotations

from typing import Any

from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import class_name, class_names
from pipelines.serving.models.rows import Rows
from pipelines.training.labelled import Labelled, as_columns


def score(model: Model, rows: Labelled) -> dict[str, float]:
    """Metrics of a model on labelled rows; out-of-fold predictions replace the model's own."""
    return scores_of(model.task, model.classes, *answers(model, rows))


def answers(model: Model, rows: Labelled) -> tuple[Any, Any, Any]:
    """Labels, predictions, and what ranks the rows (of two classes the second's probability or score, of several
    targets for each; else None).
    """
    import numpy as np

    if rows.predictions is not None:
        return rows.labels.to_numpy(), rows.predictions.to_numpy(), None
    found = model.answers(Rows.of(as_columns(rows.features, model.names)))
    ranks = found.beside if model.targets or len(model.classes) == 2 else None
    return (
        rows.labels.to_numpy(),
        np.asarray(found.predictions),
        ranks if ranks is None or ranks.ndim == 1 or model.targets else ranks[:, 1],
    )


def scores_of(task: str, classes: list[Any], labels: Any, predicted: Any, ranks: Any = None) -> dict[str, float]:
    """Metrics by name; for several targets the mean over them, except ``accuracy``: the share of rows in which all of
    them are right (as in scikit-learn).

    Args:
        classes: A classifier's classes; of several targets a list for each.
        labels, predicted: Of shape [n], or [n, targets].
        ranks: Of two classes the second's probability or score, shape [n]; of several targets of two classes each [n,
            targets].
    """
    import numpy as np

    if labels.ndim > 1:
        each = [
            scores_of(
                task,
                classes[target] if classes else [],
                labels[:, target],
                predicted[:, target],
                None if ranks is None else ranks[:, target],
            )
            for target in range(labels.shape[1])
        ]
        scores = {
            name: float(np.mean([one[name] for one in each])) for name in each[0] if all(name in one for one in each)
        }
        if "accuracy" in scores:
            scores["accuracy"] = float(np.mean((class_names(predicted) == class_names(labels)).all(axis=1)))
        return scores
    if task == "regression":
        errors = predicted.astype(float) - labels.astype(float)
        return {"mae": float(np.abs(errors).mean()), "rmse": float((errors**2).mean() ** 0.5)}
    actual = class_names(labels)
    right = class_names(predicted) == actual
    scores = {
        "accuracy": float(np.mean(right)),
        "balanced_accuracy": float(np.mean([right[actual == name].mean() for name in sorted(set(actual))])),
    }
    if len(classes) == 2:
        positive = actual == class_name(classes[1])
        scores["correct_warnings"] = float(np.mean(right & positive))
        if ranks is not None and 0 < positive.sum() < len(positive):
            from sklearn.metrics import roc_auc_score

            scores["roc_auc"] = float(roc_auc_score(positive, ranks))  # a score ranks like a probability
    return scores
