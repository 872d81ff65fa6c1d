"""Which of the models that a script logs is used: the requested one, the registered one, or else the best."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.serving.models.engines import class_names
from pipelines.training.labelled import Labelled
from pipelines.training.recorder import Logged
from spec.errors import GroundplanError
from spec.objectives import HIGHER_IS_BETTER, ModelObjectives

BEST = "the best by"  # begins the reason where a score has chosen


def task_of(model: Any) -> str:
    """``classification`` where the model has classes, else ``regression``."""
    return "classification" if hasattr(model, "classes_") else "regression"


def choose(
    logged: list[Logged],
    held_out: Callable[[Logged], Labelled],
    objectives: Callable[[str], ModelObjectives],
    script: Path,
    *,
    run_name: str = "",
    artifact: str = "",
) -> tuple[Logged, dict[str, Any]]:
    """The model to continue with.

    Of those that predict and were fitted in the script: the requested one; else the one that the script registers; else
    the best by the metric of the model's quality objective on rows that it has not seen.

    Args:
        held_out: Rows to compare a model on.
        objectives: The model's objectives, given its task.
        run_name, artifact: What was requested; empty where nothing was.

    Returns:
        The model, and for users: its ``name``, ``why`` it is this one, and the ``others``.

    Raises:
        GroundplanError: There is no such model, or they can't be compared.
    """
    able = [
        item
        for item in logged
        if item.features is not None and item.labels is not None and hasattr(item.model, "predict")
    ]
    if not able:
        raise GroundplanError(_why_none(logged), where=str(script), fix=_FIX)
    asked = [item for item in able if run_name in ("", item.run_name, item.run_id) and artifact in ("", item.artifact)]
    if not asked:
        wanted = " and ".join(
            f"{option} {value!r}" for option, value in (("--run", run_name), ("--artifact", artifact)) if value
        )
        raise GroundplanError(
            f"the script logged no model with {wanted}", where=str(script), fix=f"it logged: {_listed(able)}"
        )
    registered = [item for item in asked if item.registered]
    left = registered or asked
    others = [item for item in able if item not in left]
    if len(left) == 1:
        why = "" if len(able) == 1 else "requested" if len(asked) == 1 else "registered by the script"
        return left[0], {"name": left[0].name, "why": why, "others": [{"name": item.name} for item in others]}
    _check_comparable(left, script)
    metric = objectives(task_of(left[0].model)).quality.metric
    scores = [(_score(item, held_out(item), metric), item) for item in left]
    ranked = sorted(scores, key=lambda pair: pair[0], reverse=HIGHER_IS_BETTER[metric])
    return ranked[0][1], {
        "name": ranked[0][1].name,
        "why": f"{BEST} {metric}: {ranked[0][0]:.4g}",
        "others": (
            [{"name": item.name, metric: score} for score, item in ranked[1:]]
            + [{"name": item.name} for item in others]
        ),
    }


_FIX = (
    "fit a model in the script, and log it: mlflow.sklearn.log_model(model, ...); for one that is trained in the"
    " script's own loop, the rows are known from sklearn's train_test_split"
)


def _why_none(logged: list[Logged]) -> str:
    if not logged:
        return "the script logged no model"
    if all(not hasattr(item.model, "predict") for item in logged):
        return f"nothing that the script logged predicts: {_listed(logged)}"
    return "the logged model was not fitted with features and labels in this script"


def _listed(logged: list[Logged]) -> str:
    return "; ".join(dict.fromkeys(item.name for item in logged))


def _check_comparable(left: list[Logged], script: Path) -> None:
    """Models with different targets have no metric in common, even where it has the same name.

    Raises:
        GroundplanError: Their targets differ.
    """
    seen = [(task_of(item.model), set(class_names(item.known(item.labels)).ravel().tolist())) for item in left]
    first_task, first = seen[0]
    if any(task != first_task or len(labels & first) < min(len(labels), len(first)) / 2 for task, labels in seen[1:]):
        raise GroundplanError(
            f"the script logged {len(left)} models with different targets: {_listed(left)}",
            where=str(script),
            fix=("choose one with --run or --artifact, or register it: log_model(..., registered_model_name=...)"),
        )


def _score(item: Logged, rows: Labelled, metric: str) -> float:
    from pipelines.training.metrics import scores_of

    predicted = (
        rows.predictions.to_numpy()
        if rows.predictions is not None
        else item.asked.ask("predict", rows.features[list(item.frame.columns)])
    )
    labels = rows.labels.to_numpy()
    return scores_of(task_of(item.model), item.asked.classes, labels, predicted.reshape(labels.shape))[metric]
