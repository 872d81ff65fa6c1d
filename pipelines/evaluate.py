"""Step: is the model good enough, and what is it worth? Measured on the served ONNX file, on rows it has not seen."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.errors import GroundplanError
from infra.objectives import ModelObjectives
from pipelines.context import Context, main
from pipelines.serving.bundle import Model, load
from pipelines.tracking import use_mlflow

HIGHER_IS_BETTER = {"mae": False, "rmse": False, "accuracy": True, "balanced_accuracy": True, "roc_auc": True, "correct_warnings": True}


def evaluate(context: Context) -> dict[str, Any]:
    """Score candidate and baseline, and refuse a candidate that breaks the quality objective.

    Raises:
        GroundplanError: The quality objective is not met, or its metric does not fit the model.
    """
    import pandas as pd

    mlflow = use_mlflow()
    experiment = context.result("experiment")
    objectives = context.objectives(experiment["task"])
    with TemporaryDirectory() as folder:
        path = Path(mlflow.artifacts.download_artifacts(run_id=experiment["run_id"], artifact_path="groundplan", dst_path=folder))
        holdout = pd.read_parquet(path / "holdout.parquet")
        candidate, baseline = load(path / "candidate"), load(path / "baseline")
    assert candidate is not None and baseline is not None
    scores, base = score(candidate, holdout), score(baseline, holdout.drop(columns="prediction", errors="ignore"))
    wanted = objectives.quality
    if wanted.metric not in scores or objectives.value.kpi not in scores:
        raise GroundplanError(
            f"a {experiment['task']} has no {wanted.metric} or {objectives.value.kpi}; it has {', '.join(scores)}",
            where=f"groundplan:objectives.models.{context.model}",
            fix="name a metric that fits in quality.metric and value.kpi",
        )
    found = scores[wanted.metric]
    if (found < wanted.worst) if HIGHER_IS_BETTER[wanted.metric] else (found > wanted.worst):
        raise GroundplanError(
            f"{wanted.metric} is {found:.4g} on {len(holdout)} rows; the worst allowed is {wanted.worst:g}",
            where=f"groundplan:objectives.models.{context.model}.quality",
            fix="improve the model, or change the objective together with product",
        )
    lift, monthly_usd = worth(scores[objectives.value.kpi], base[objectives.value.kpi], objectives)
    result = {
        "metrics": scores,
        "baseline": base,
        "rows": len(holdout),
        "how": experiment["holdout"],
        "kpi": {"name": objectives.value.kpi, "unit": objectives.value.unit, "lift": lift, "monthly_usd": monthly_usd},
    }
    client = mlflow.MlflowClient()
    for name, value in {**{f"holdout_{k}": v for k, v in scores.items()}, "kpi_lift": lift, "kpi_monthly_usd": monthly_usd}.items():
        client.log_metric(experiment["run_id"], name, value)
    return result


def worth(value: float, baseline: float, objectives: ModelObjectives) -> tuple[float, float]:
    """Lift over the baseline in units of the KPI, and what it is worth in USD a month."""
    better = objectives.value.kpi
    lift = value - baseline if HIGHER_IS_BETTER[better] else baseline - value
    return lift, lift * objectives.value.usd_per_unit * objectives.value.predictions_per_month


def score(model: Model, frame: Any) -> dict[str, float]:
    """Metrics of a model on a frame of features and ``label``; a ``prediction`` column replaces the model's own."""
    import numpy as np
    from sklearn import metrics

    labels = frame["label"].to_numpy()
    tensors = model.tensors({name: frame[name].tolist() for name in model.names})
    predicted = frame["prediction"].to_numpy() if "prediction" in frame else np.asarray(model.predict(tensors))
    if model.task == "regression":
        return {"mae": float(metrics.mean_absolute_error(labels, predicted)), "rmse": float(metrics.root_mean_squared_error(labels, predicted))}
    right, actual = predicted.astype(str) == labels.astype(str), labels.astype(str)
    scores = {"accuracy": float(np.mean(right)), "balanced_accuracy": float(np.mean([right[actual == name].mean() for name in sorted(set(actual))]))}
    if len(model.classes) == 2:
        positive = actual == str(model.classes[1])
        scores["correct_warnings"] = float(np.mean(right & positive))
    if len(model.classes) == 2 and len(set(labels)) == 2 and "prediction" not in frame:
        scores["roc_auc"] = float(metrics.roc_auc_score(positive, model.probabilities(tensors)[:, 1]))
    return scores


if __name__ == "__main__":
    main("evaluate", evaluate)
