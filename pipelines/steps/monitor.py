"""Step: how good what serves still is, and whether it is asked what it was made for: drift, quality with and without
outcomes, bias, freshness, cost; published as metrics, whose alarms follow.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.audit.records import entries, served_in
from pipelines.context import Context, main
from pipelines.monitoring import drawings, drift, findings, hours, page
from pipelines.monitoring.answering import answering
from pipelines.monitoring.counting import Document, counts_of
from pipelines.monitoring.labels import own_outcomes, typed
from pipelines.monitoring.months import TIME, by_month
from pipelines.monitoring.reference import Reference, reference_of
from pipelines.monitoring.seasons import in_season
from pipelines.monitoring.service_levels import described
from pipelines.registry.evaluation import training_set
from pipelines.steps.evaluate import better_by
from pipelines.training.labelled import row_digests
from spec.errors import GroundplanError
from spec.objectives import HIGHER_IS_BETTER, ModelObjectives
from spec.service_levels import oldest_hours

CAPTURE_DELAY_S = 5.0
ENDPOINTS = ("realtime", "serverless", "cluster")  # each deployment sends them requests
WINDOW = timedelta(days=1)  # of the drift; longer where it has few rows
LONGEST, ENOUGH_ROWS = timedelta(days=7), 200
OUTCOMES_FOR = timedelta(days=30)  # for which predictions wait for their outcomes
HOURS_A_MONTH = 730


def monitor(context: Context) -> dict[str, Any]:
    """Compare what was served with the training data, and publish what was found as CloudWatch metrics.

    Raises:
        GroundplanError: No version serves.
    """
    history = served_in(entries(context))
    if not history:
        raise GroundplanError(
            f"no version of {context.model} is in service yet",
            where="registry",
            fix="groundplan experiment models/... --deploy",
        )
    reference = reference_of(context, history[-1])
    frame = training_set(context) if context.definition.features else None
    counts, now = _counted(context, reference, frame), datetime.now(UTC)
    objectives = context.objectives(reference.model.task)
    recent = _window(counts, now, LONGEST, lambda each: each["rows"])
    rows = findings.total(list(recent.values()))
    found: dict[str, Any] = {
        "version": reference.version,
        "requests": rows["rows"],
        "window": {"begin": min(recent, default=now).isoformat(), "end": now.isoformat()},
        "drift_share": 0.0,
        "drifted_columns": [],
        "columns": [],
        "quality": {},
        "allowed": {
            "drift_share": objectives.drift_share,
            objectives.quality.metric: objectives.quality.worst,
            "higher_is_better": HIGHER_IS_BETTER[objectives.quality.metric],
        },
        "blind": findings.BLIND,
        "report": "",
        "notes": [],
    }
    if rows["rows"]:
        found |= _drift(context, reference, rows, recent, frame)
        found |= _quality(reference, rows, counts, objectives)
        found["facets"] = findings.facets(reference, rows)
        found["days"] = _days(reference, counts)
        found["by_month"] = (
            by_month(frame, context.definition.target, reference.training.features) if frame is not None else []
        )
    else:
        found["notes"].append("nobody has asked it in the last seven days, as far as its requests were captured")
    found["feature_age_hours"] = _feature_age(context, now)
    found["usd_per_thousand"] = _cost(context, rows["rows"], min(recent, default=now), now)
    found["earned_per_thousand"] = _earned(reference, found.get("realised", {}), objectives)
    found["answering"] = answering(context, min(recent, default=now - WINDOW), now)
    found["notes"] += _waiting(found, counts, now)
    _publish(context, found, objectives)
    found["alarms"] = alarm_states(context)
    if rows["rows"]:
        found["report"] = str(page.write(context.model, found, context.reports / f"{context.model}-monitoring.html"))
    return found


def _counted(context: Context, reference: Reference, frame: Any) -> dict[datetime, Document]:
    """Counts of the last hours; where a deployment has just sent its requests, they are waited for: an endpoint writes
    what it captured with a delay.
    """
    known = context.outputs.endpoints.get(context.model)
    waits = (known.topology if known else "realtime") in ENDPOINTS
    own, until = own_outcomes(context, reference, frame), time.monotonic() + CAPTURE_DELAY_S
    while True:
        now = datetime.now(UTC)
        counts = hours.counts(context, reference, now - OUTCOMES_FOR, now, own)
        if any(each["rows"] for each in counts.values()) or not waits or time.monotonic() > until:
            return counts
        time.sleep(0.5)


def _window(
    counts: dict[datetime, Document], end: datetime, longest: timedelta, rows: Callable[[Document], int]
) -> dict[datetime, Document]:
    """Hours of the day before a moment that have rows; where those are few, as many more as it takes."""
    found: dict[datetime, Document] = {}
    for hour in sorted((hour for hour, each in counts.items() if rows(each)), reverse=True):
        enough = sum(map(rows, found.values())) >= ENOUGH_ROWS
        if hour <= end - longest or (hour <= end - WINDOW and enough):
            break
        found[hour] = counts[hour]
    return found


def _drift(
    context: Context, reference: Reference, rows: Document, recent: dict[datetime, Document], frame: Any
) -> dict[str, Any]:
    current, said = counts_of(rows["features"]), counts_of(rows.get("answers", {}))
    columns, season = reference.features, ""
    if frame is not None and not context.definition.recording:  # whose time is not that of the predictions
        features = reference.training.features
        columns, season = in_season(columns, features, _times(frame, features), sorted(recent))
    found = drift.compare(columns, current)
    drifted = sorted(item.column for item in found if item.drifted)
    share, odd = findings.unexpected(reference.features, current)
    notes = []
    if rows["rows"] < drift.LEAST_ROWS:
        notes.append(
            f"only {rows['rows']} rows: at least {drift.LEAST_ROWS} are needed to say whether they have changed"
        )
    if rows["unknown"]:
        notes.append(f"{rows['unknown']:,} more were asked for by keys whose features are not known any more")
    return {
        "drift_share": len(drifted) / len(found),
        "drifted_columns": drifted,
        "columns": findings.as_rows(found),
        "answers": findings.as_rows(drift.compare(reference.answers, said)),
        "season": season,
        "unexpected_share": share,
        "unexpected": odd,
        "notes": notes,
        "drawing": str(_draw(context, reference, found, recent)),
    }


def _quality(
    reference: Reference, rows: Document, counts: dict[datetime, Document], objectives: ModelObjectives
) -> dict[str, Any]:
    """As it turned out for the newest predictions with outcomes, which come late; the estimate is of the window."""
    newest = max((hour for hour, each in counts.items() if _outcomes(each)), default=None)
    known = {} if newest is None else _window(counts, newest + timedelta(hours=1), OUTCOMES_FOR, _outcomes)
    realised = findings.realised(reference, findings.total(list(known.values())))
    realised["begin"] = min(known).isoformat() if known else ""
    metric = objectives.quality.metric
    quality = {metric: realised["metrics"][metric]} if realised["rows"] and metric in realised["metrics"] else {}
    return {"quality": quality, "realised": realised, "estimated": findings.estimated(reference, rows)}


def _outcomes(counts: Document) -> int:
    return int(counts.get("labelled", {}).get("outcomes", {}).get("rows", 0))


def _days(reference: Reference, counts: dict[datetime, Document]) -> list[dict[str, Any]]:
    """Each day's rows, and its metrics, as estimated and as they turned out."""
    by_day: dict[str, list[Document]] = {}
    for hour, each in sorted(counts.items()):
        if each["rows"]:
            by_day.setdefault(f"{hour:%Y-%m-%d}", []).append(each)
    found = []
    for day, documents in by_day.items():
        rows = findings.total(documents)
        estimated, realised = findings.estimated(reference, rows), findings.realised(reference, rows)
        found.append({"day": day, "rows": rows["rows"], "estimated": estimated["metrics"], "realised": realised})
    return found


def _times(frame: Any, features: Any) -> Any:
    """When each training row was; NaT where it is not in the training set any more."""
    import pandas as pd

    names = [name for name in features.columns if name in frame]
    if not names:
        return pd.Series(pd.NaT, index=range(len(features)), dtype="datetime64[ns, UTC]")
    known = dict(zip(row_digests(typed(frame[names], features), names).tolist(), frame[TIME].tolist(), strict=True))
    digests = row_digests(typed(features[names], features), names).tolist()
    return pd.to_datetime(pd.Series([known.get(digest) for digest in digests]), utc=True)


def _draw(context: Context, reference: Reference, found: list[Any], recent: dict[datetime, Document]) -> Any:
    """Evidently's page of the newest rows; they are read again, as only their counts are kept."""
    import pandas as pd

    frames: list[Any] = []
    for file in hours.newest(context, min(recent), max(recent) + timedelta(hours=1)):
        frames.append(hours.read(context, reference, [file])[0].frame)
        if sum(map(len, frames)) >= drawings.MOST_DRAWN:
            break
    path = context.reports / f"{context.model}-drift.html"
    return drawings.draw(reference.training.features, pd.concat(frames, ignore_index=True), found, path)


def _waiting(found: dict[str, Any], counts: dict[datetime, Document], now: datetime) -> list[str]:
    """What is said where outcomes should have come by now."""
    oldest = min((hour for hour, each in counts.items() if each["rows"]), default=now)
    if not found["requests"] or found["realised"]["rows"] or now - oldest < WINDOW:
        return []
    return [f"no outcome is known of predictions up to {(now - oldest).days} days old; groundplan labels brings them"]


def _feature_age(context: Context, now: datetime) -> float | None:
    """Hours since the oldest of the online views was filled; None without any."""
    ages = []
    for view in context.definition.views:
        filled = [item["LastModified"] for item in context.objects("features", f"{view.name}/online/run=")]
        if filled:
            ages.append((now - max(filled)).total_seconds() / 3600)
    return max(ages, default=None)


def _cost(context: Context, rows: int, begin: datetime, now: datetime) -> float | None:
    """USD that a thousand predictions cost, of what the design says the model costs a month; None where unknown."""
    known = context.outputs.endpoints.get(context.model)
    if known is None or not known.monthly_usd or not rows:
        return None
    lasted = max((now - begin).total_seconds() / 3600, 1.0)
    return known.monthly_usd / HOURS_A_MONTH * lasted / rows * 1000


def _earned(reference: Reference, realised: dict[str, Any], objectives: ModelObjectives) -> float | None:
    """USD that a thousand predictions earned, by the KPI of those with known outcomes; None where too few are known."""
    kpi = objectives.value.kpi
    known = realised.get("metrics", {})
    if realised.get("rows", 0) < findings.FEW or kpi not in known or kpi not in reference.baseline:
        return None
    return better_by(known[kpi], reference.baseline[kpi], kpi) * objectives.value.usd_per_unit * 1000


def _publish(context: Context, found: dict[str, Any], objectives: ModelObjectives) -> None:
    """As CloudWatch metrics; what is not known is not published, so that no alarm rests on it."""
    import boto3

    metrics: dict[str, float | None] = {
        "predictions": float(found["requests"]),
        "feature_age_hours": found["feature_age_hours"],
        "usd_per_thousand_predictions": found["usd_per_thousand"],
    }
    if found["columns"] and found["requests"] >= drift.LEAST_ROWS:
        metrics |= {"drift_share": found["drift_share"], "unexpected_share": found["unexpected_share"]}
        metrics["prediction_drift"] = max((item["effect"] for item in found["answers"]), default=None)
    if (realised := found.get("realised")) and realised["rows"] >= findings.FEW:
        metrics |= found["quality"]
        metrics["outcomes"] = float(realised["rows"])
        if "why" not in found["estimated"]:
            metrics["concept_drift"] = float(len(realised["concept_drift"]))
    if (earned := found["earned_per_thousand"]) is not None:
        metrics["usd_earned_per_thousand_predictions"] = earned
        if found["usd_per_thousand"]:
            metrics["return_on_cost"] = earned / found["usd_per_thousand"]
    if told := found.get("estimated", {}).get("metrics", {}).get(objectives.quality.metric):
        metrics |= {f"{objectives.quality.metric}_estimated": told["value"]}
    treated = [item["post_training"] for item in found.get("facets", []) if "post_training" in item]
    for name in ("DPPL", "RD", "AD"):
        if values := [each[name] for each in treated if name in each]:
            metrics[f"bias_{name}"] = max(map(abs, values))
    today = datetime.now(UTC)
    metrics |= (counted := _missed(context, found, objectives, today))
    boto3.client("cloudwatch").put_metric_data(
        Namespace=context.outputs.metrics_namespace,
        MetricData=[
            {
                "MetricName": name,
                "Dimensions": [{"Name": "Model", "Value": context.model}],
                "Timestamp": datetime.now(UTC),
                "Value": value,
            }
            for name, value in metrics.items()
            if value is not None
        ],
    )
    _count(context, found, counted, today)


def _missed(
    context: Context, found: dict[str, Any], objectives: ModelObjectives, today: datetime
) -> dict[str, float | None]:
    """Whether each service level of days was missed, 1 or 0; without those that this day has counted already, and
    without those of outcomes that an earlier day has counted.
    """
    quality = found.get("quality", {}).get(objectives.quality.metric)
    earned, cost = found["earned_per_thousand"], found["usd_per_thousand"]
    missed: dict[str, float | None] = {}
    if found["feature_age_hours"] is not None:
        missed["freshness_missed"] = float(found["feature_age_hours"] > oldest_hours(objectives))
    if _outcomes_of(found) not in (None, _kept(context, "outcomes").get("counted")):
        if quality is not None and found["realised"]["rows"] >= findings.FEW:
            missed["quality_missed"] = float(not objectives.quality.allows(quality))
        if earned is not None and cost:
            missed["value_missed"] = float(earned < cost)
    known = _kept(context, f"{today:%Y-%m-%d}")
    return {name: value for name, value in missed.items() if name not in known}


def _count(context: Context, found: dict[str, Any], counted: dict[str, float | None], today: datetime) -> None:
    """A day counts once, however often it is looked at, and outcomes count on one day."""
    if counted:
        _keep(context, day := f"{today:%Y-%m-%d}", {**_kept(context, day), **counted})
    if {"quality_missed", "value_missed"} & counted.keys():
        _keep(context, "outcomes", {"counted": _outcomes_of(found)})


def _outcomes_of(found: dict[str, Any]) -> str | None:
    """What tells one set of known outcomes from another."""
    realised = found.get("realised")
    return f"{realised['rows']} from {realised['begin']}: {realised['metrics']}" if realised else None


def _kept(context: Context, name: str) -> dict[str, Any]:
    known = context.read("curated", f"monitoring/{context.model}/levels/{name}.json")
    return dict(json.loads(known)) if known else {}


def _keep(context: Context, name: str, told: dict[str, Any]) -> None:
    key = f"monitoring/{context.model}/levels/{name}.json"
    context.put("curated", key, json.dumps(told).encode(), "application/json")


def alarm_states(context: Context) -> dict[str, str]:
    """State of each of the model's alarms, and of those of its service levels: OK, ALARM or INSUFFICIENT_DATA."""
    names = dict(context.outputs.alarms.get(context.model, {}))
    for level, told in context.outputs.service_levels.get(context.model, {}).items():
        names |= {f"{level} {urgency}": alarm for urgency, alarm in told.alarms.items()}
    states = {alarm["AlarmName"]: alarm["StateValue"] for alarm in described(list(names.values()))}
    return {subject: states[name] for subject, name in names.items() if name in states}


if __name__ == "__main__":
    main("monitor", monitor)
