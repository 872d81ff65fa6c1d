"""Step: is the model good enough, and what is it worth? Measured on the served ONNX file, on rows it has not seen."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.audit.records import entries, served_in
from pipelines.context import Context, main
from pipelines.monitoring import findings
from pipelines.monitoring.reference import judged_by
from pipelines.registry.evaluation import other_scale, unseen_by
from pipelines.registry.versions import Registry, interface_of, other_answers
from pipelines.serving.models.bundle import Model, description, load, unpack
from pipelines.serving.models.engines import class_names
from pipelines.tracking import use_mlflow
from pipelines.training.calibration import calibration
from pipelines.training.choice import BEST
from pipelines.training.labelled import Labelled, load_labelled
from pipelines.training.metrics import answers, score, scores_of
from pipelines.training.slices import large_enough, slices_of
from spec.errors import GroundplanError
from spec.objectives import HIGHER_IS_BETTER, ModelObjectives
from spec.versions import Interface

GENERAL = (
    "mae",
    "rmse",
    "accuracy",
    "balanced_accuracy",
    "roc_auc",
)  # the others are higher for a model that always warns
RESAMPLES = 300
FEW_ROWS = 100


def evaluate(context: Context) -> dict[str, Any]:
    """Score candidate and baseline, and say whether the candidate keeps the objectives; the next step starts only then.

    Raises:
        GroundplanError: The metric of an objective does not fit the model.
    """
    mlflow = use_mlflow()
    experiment = context.result("experiment")
    objectives = context.objectives(experiment["task"])
    with TemporaryDirectory() as folder:
        path = Path(
            mlflow.artifacts.download_artifacts(
                run_id=experiment["run_id"], artifact_path="groundplan", dst_path=folder
            )
        )
        holdout, training = load_labelled(path, "holdout"), load_labelled(path, "training")
        candidate, baseline = load(path / "candidate"), load(path / "baseline")
        interface = interface_of(description(path / "candidate"))
    assert candidate is not None and baseline is not None
    scores, base = score(candidate, holdout), score(baseline, holdout.without_predictions())
    wanted = objectives.quality
    if wanted.metric not in scores or objectives.value.kpi not in scores:
        raise GroundplanError(
            f"a {experiment['task']}"
            f" {f'without probabilities or scores ({why}) ' if (why := experiment['no_probability']) else ''}has no"
            f" {wanted.metric if wanted.metric not in scores else objectives.value.kpi}; it has {', '.join(scores)}",
            where=f"groundplan:objectives.models.{context.model}",
            fix="choose a metric that the model has, in quality.metric and value.kpi",
        )
    kpi = objectives.value.kpi
    lift, monthly_usd = worth(scores[kpi], base[kpi], objectives)
    passed, because = verdict(scores, lift, len(holdout), objectives)
    low, high = lift_interval(candidate, baseline, holdout, kpi)
    usd_per_lift = objectives.value.usd_per_unit * objectives.value.predictions_per_month
    result = {
        "passed": passed,
        "because": because,
        "metrics": scores,
        "baseline": base,
        "baseline_is": "the mean of the labels" if candidate.task == "regression" else "always the most frequent class",
        "rows": len(holdout),
        "how": experiment["holdout"],
        "kpi": {
            "name": kpi,
            "unit": objectives.value.unit,
            "lift": lift,
            "interval": [low, high],
            "monthly_usd": monthly_usd,
            "monthly_usd_interval": [low * usd_per_lift, high * usd_per_lift],
        },
        "slices": by_slice(candidate, holdout, context.definition.card.slices),
        "groups": findings.held_out(judged_by("", candidate, training, holdout, context.definition.card)),
        "calibration": calibration(candidate, holdout),
        "champion": beside_champion(context, candidate, interface, holdout, experiment["holdout"]),
        "against": [
            *against(
                {name: value for name, value in scores.items() if name in (kpi, *GENERAL)},
                base,
                low,
                len(holdout),
                experiment["holdout"],
            ),
            *chosen_by_score(experiment.get("choice") or {}),
        ],
    }
    client = mlflow.MlflowClient()
    for name, value in {
        **{f"holdout_{k}": v for k, v in scores.items()},
        "kpi_lift": lift,
        "kpi_monthly_usd": monthly_usd,
    }.items():
        client.log_metric(experiment["run_id"], name, value)
    return result


def verdict(
    scores: dict[str, float], lift: float, rows: int, objectives: ModelObjectives
) -> tuple[dict[str, bool], str]:
    """Which objectives a candidate keeps, and why it does not keep the others."""
    quality, value = objectives.quality, objectives.value
    passed = {"quality": quality.allows(scores[quality.metric]), "kpi": lift >= value.least_lift}
    sentences = {
        "quality": f"{quality.metric} is {scores[quality.metric]:.4g} on {rows} rows; the worst allowed is"
        f" {quality.worst:g} (quality.worst)",
        "kpi": f"its {value.kpi} is {abs(lift):.4g} {'better' if lift >= 0 else 'worse'} than the baseline's; it must"
        f" be at least {value.least_lift:g} better (value.least_lift)",
    }
    return passed, "; ".join(sentences[name] for name, holds in passed.items() if not holds)


def worth(value: float, baseline: float, objectives: ModelObjectives) -> tuple[float, float]:
    """Lift over the baseline in units of the KPI, and what it is worth in USD a month."""
    better = better_by(value, baseline, objectives.value.kpi)
    return better, better * objectives.value.usd_per_unit * objectives.value.predictions_per_month


def better_by(value: float, baseline: float, kpi: str) -> float:
    """By how much a KPI is better than the baseline's, in its units."""
    return value - baseline if HIGHER_IS_BETTER[kpi] else baseline - value


def lift_interval(candidate: Model, baseline: Model, rows: Labelled, kpi: str) -> tuple[float, float]:
    """95 % interval of the lift in the KPI's units: the rows are resampled ``RESAMPLES`` times (percentile bootstrap,
    Efron 1979).
    """
    import numpy as np

    classes = candidate.classes
    both = [answers(candidate, rows), answers(baseline, rows.without_predictions())]
    coded = [
        [part if candidate.task == "regression" else class_names(part) for part in (labels, predicted)]
        + [ranks if kpi == "roc_auc" else None]
        for labels, predicted, ranks in both
    ]
    random, lifts = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        drawn = random.integers(len(rows), size=len(rows))
        one, other = (
            scores_of(candidate.task, classes, *(None if part is None else part[drawn] for part in known))
            for known in coded
        )
        if kpi in one and kpi in other:
            lifts.append(one[kpi] - other[kpi] if HIGHER_IS_BETTER[kpi] else other[kpi] - one[kpi])
    low, high = np.quantile(lifts, [0.025, 0.975])
    return float(low), float(high)


def beside_champion(
    context: Context, candidate: Model, interface: Interface, rows: Labelled, how: str
) -> dict[str, Any]:
    """The version in service, on rows that it was not trained on either; empty where none serves.

    Returns:
        ``version``; ``metrics`` of it and those of the candidate (``ours``) on the same ``rows``, and ``how`` they were
        chosen; or ``why`` there is no comparison.
    """
    served = served_in(entries(context))
    if not served:
        return {}
    version = served[-1]
    if rows.predictions is not None:
        return {"version": version, "why": "the script kept no rows apart"}
    with TemporaryDirectory() as folder:
        try:
            stored = Registry(context).stored(version)
            (Path(folder) / "model").mkdir()
            unpack(stored.artifact, Path(folder) / "model")
            kept, chosen = unseen_by(context, stored.record, rows, Path(folder) / "judged", how)
            champion = load(Path(folder) / "model")
        except GroundplanError as error:
            return {"version": version, "why": str(error).splitlines()[0]}
        assert champion is not None
        if missing := [name for name in champion.names if name not in kept.features.columns]:
            return {"version": version, "why": f"it takes columns that these rows do not have: {', '.join(missing)}"}
        judged = Path(folder) / "judged"
        told = other_answers(stored.record.interface, interface) or (
            other_scale(load_labelled(judged, "holdout"), kept) if stored.record.evaluation else ""
        )
        if told:
            return {"version": version, "why": told}
        kept = kept.without_predictions()
        return {
            "version": version,
            "metrics": score(champion, kept),
            "ours": score(candidate, kept),
            "rows": len(kept),
            "how": chosen,
        }


def by_slice(candidate: Model, rows: Labelled, declared: tuple[str, ...]) -> list[dict[str, Any]]:
    """The candidate's metrics on each slice of the rows that is large enough to say something."""
    labels, predicted, ranks = answers(candidate, rows)
    found = []
    for column, value, places in large_enough(slices_of(rows.features, declared)):
        parts = [part[places] if part is not None else None for part in (labels, predicted, ranks)]
        metrics = scores_of(candidate.task, candidate.classes, *parts)
        found.append({"column": column, "value": value, "rows": len(places), "metrics": metrics})
    return found


def against(scores: dict[str, float], base: dict[str, float], low: float, rows: int, how: str) -> list[str]:
    """What speaks against the figures, as sentences."""
    found = []
    for name, value in scores.items():
        other = base.get(name, value)
        if (value < other) if HIGHER_IS_BETTER[name] else (value > other):
            found.append(f"its {name} of {value:.4g} is worse than the baseline's {other:.4g}")
    if low <= 0:
        found.append("the gain over the baseline may be chance: its 95 % interval reaches 0 or below")
    if rows < FEW_ROWS:
        found.append(f"only {rows} rows were available to judge it on")
    if "trained on" in how:
        found.append("it was judged on the rows that it was trained on, which flatters it")
    elif "fold" in how:
        found.append(
            "the script kept no rows apart: judged on its training rows, each predicted by a model that was fitted"
            " without it"
        )
    return found


def chosen_by_score(choice: dict[str, Any]) -> list[str]:
    """What speaks against the figures of a model that was chosen among several, as sentences."""
    others = len(choice.get("others", ()))
    if not others or not str(choice["why"]).startswith(BEST):
        return []
    return [f"it was chosen among {others + 1} models by its score on these rows, which flatters it"]


if __name__ == "__main__":
    main("evaluate", evaluate)
