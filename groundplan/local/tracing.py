"""Where something came from: a version's lineage, and the whole story of one prediction."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from groundplan.local.auditing import reading, records_of
from groundplan.local.inside import bare
from pipelines.audit.history import Period, periods
from pipelines.audit.records import ERASE, everything
from pipelines.context import Context, load_definition
from pipelines.data.captures import LATEST, Captured, find
from pipelines.lineage.graph import Graph, features_at, of_version, read
from pipelines.lineage.places import CONTRACT, FEATURES, MODEL, POSITIONS, Place
from pipelines.registry.decisions import APPROVE, REJECT
from pipelines.registry.versions import Registry
from pipelines.serving.ids import FLUSH_S, time_of
from spec.errors import GroundplanError, UsageError
from spec.outputs import LOCAL
from spec.versions import VersionRecord, check_version

LOCAL_S, LOOK_S = 10.0, 0.5  # on one machine, within which an answer is captured, and how often that is looked for


def lineage(name: str, outputs: str) -> tuple[Graph, Place, dict[str, Any]]:
    """A version's graph, its own dataset, and what the registry and the log say about it.

    Args:
        name: ``MODEL@VERSION``.

    Raises:
        UsageError: It is no such name.
        GroundplanError: Nothing is known about it.
    """
    model, at, version = name.partition("@")
    if not at:
        raise UsageError(f"{name!r} names no version", where="MODEL@VERSION", fix=f"for example {model}@v1.0.0")
    with reading(outputs, "person.lineage") as context:
        version = check_version(version)
        named, log = records_of(context, model)
        context = _about(context, named)
        record = Registry(context).record(version)
        graph, own = of_version(context, version, read(context, str(record.lineage["pipeline_run"])))
        return graph, own, _story_of_version(log, record)


def trace(prediction_id: str, outputs: str) -> dict[str, Any]:
    """The whole story of one prediction: what was asked and answered, by which version, and where that came from.

    Raises:
        UsageError: It is no prediction's id.
        GroundplanError: It was not captured.
    """
    try:
        at = time_of(prediction_id)
    except ValueError:
        raise UsageError(
            f"{prediction_id!r} is no prediction's id",
            where="PREDICTION_ID",
            fix="an answer says it as `prediction_id`",
        ) from None
    with reading(outputs, "person.trace") as context:
        found = find(context, prediction_id)
        young = datetime.now(UTC) - at < timedelta(seconds=2 * FLUSH_S)
        until = time.monotonic() + LOCAL_S * (young and context.outputs.stack == LOCAL)
        while found is None and time.monotonic() < until:
            time.sleep(LOOK_S)
            found = find(context, prediction_id)
        if found is None:
            raise GroundplanError(
                f"no captured prediction has this id; it would have been made at {at.isoformat(timespec='seconds')}",
                where=prediction_id,
                fix="captures are written once a minute: try again" if young else _why_not(),
            )
        model = _model_of(context, found)
        context = _about(context, model)
        log = [entry for entry in everything(context) if entry["model"] == model]
        served = next((each for each in periods(log) if each.overlaps(found.at, found.at)), None)
        story: dict[str, Any] = {"prediction": _told(found, model), "served": _period(served, found.version)}
        try:
            record = Registry(context).record(found.version)
        except GroundplanError as error:
            return {**story, "missing": [error.what]}
        story |= _story_of_version(log, record)
        whole = read(context, str(record.lineage["pipeline_run"]), followed=False)
        try:
            _, own = of_version(context, found.version, whole)
        except GroundplanError as error:
            return {**story, "missing": [error.what]}
        by_key = '"entities"' in str(found.request.get("data", ""))
        filled = features_at(context, found.at) if by_key else whole
        features = _features(filled, set(record.interface.inputs), looked_up=by_key)
        return {**story, **_upstream(whole, own), "features": features, "missing": []}


def _why_not() -> str:
    hours = int(LATEST.total_seconds() // 3600)
    return (
        f"it was answered by another environment, by Triton or on a device, or its capture was lost or has expired;"
        f" captures of the {hours} hours after it were read"
    )


def _about(context: Context, model: str) -> Context:
    """The context of a model; with its own code where it is within reach."""
    with suppress(GroundplanError):
        definition = load_definition(Path("models") / model)
        if definition.model == model:
            return replace(context, definition=definition)
    return bare(context.outputs, model)


def _model_of(context: Context, found: Captured) -> str:
    if found.variant == "batch":
        return found.owner
    named = {endpoint.name: model for model, endpoint in context.outputs.endpoints.items() if endpoint.name}
    prefix = f"{context.outputs.project}-{context.outputs.stack}-"
    return named.get(found.owner) or found.owner.removeprefix(prefix)


def _told(found: Captured, model: str) -> dict[str, Any]:
    rows = found.answer.get("predictions")
    return {
        "id": found.prediction_id,
        "at": found.at.isoformat(timespec="milliseconds"),
        "model": model,
        "version": found.version,
        "variant": found.variant,
        "rows": len(rows) if isinstance(rows, list) else 0,
        "answer": found.answer,
        "request": str(found.request.get("data", "")),
        "content_type": str(found.request.get("observedContentType", "")),
        "captured": found.place,
        "erased_on": found.erased_on,
    }


def _period(period: Period | None, version: str) -> dict[str, Any]:
    """What served at that moment."""
    if period is None:
        return {}
    return {
        "since": period.begin,
        "until": period.end,
        "shares": period.shares,
        "share": period.shares.get(version, 0),
        "cause": period.cause,
        "why": period.why,
        "by": period.by,
        "asked": period.asked,
        "records": list(period.records),
    }


def _story_of_version(log: list[dict[str, Any]], record: VersionRecord) -> dict[str, Any]:
    about = [entry for entry in log if entry["details"].get("version") == record.version]
    return {
        "version": {
            "name": record.name,
            "registered_at": record.registered_at,
            "change": str(record.change),
            "author": record.author,
            "artifact": record.artifact,
            "metrics": record.metrics,
            "owner": record.card.owner,
            "risk": str(record.card.risk),
        },
        "people": [
            {
                "role": entry["details"].get("role", ""),
                "who": entry["actor"],
                "decided": entry["action"],
                "at": entry["time"],
                "reason": entry["details"].get("reason", ""),
                "record": entry["sequence"],
            }
            for entry in about
            if entry["action"] in (APPROVE, REJECT)
        ],
        "run": {
            "pipeline_run": record.lineage["pipeline_run"],
            "mlflow_run": record.lineage["run_id"],
            "code": dict(record.code),
            "recipe": dict(record.recipe),
        },
        "dataset": {**record.dataset.model_dump(), "erased": _erased(about)},
    }


def _erased(about: list[dict[str, Any]]) -> list[str]:
    """When a person's rows were erased from what the version was trained or judged on."""
    return sorted({entry["time"][:10] for entry in about if entry["action"] == ERASE})


def _upstream(graph: Graph, own: Place) -> dict[str, Any]:
    """Datasets, positions and contracts behind a version."""
    topics, contracts = [], {}
    above = graph.upstream(own)
    for place, about in above.datasets.items():
        if told := about.get(CONTRACT):
            contracts[told["id"]] = {
                key: told.get(key) for key in ("id", "version", "sha256", "status", "personal")
            } | {"owner": next((each["name"] for each in about.get("ownership", {}).get("owners", ())), "")}
        if told := about.get(POSITIONS):
            topics.append(
                {
                    "raw": str(place),
                    "topic": place.name,
                    "partitions": told["partitions"],
                    "contract": about.get(CONTRACT, {}).get("id", ""),
                }
            )
    datasets = [
        {
            "place": str(place),
            "version": about["version"]["datasetVersion"],
            "rows": about.get("outputStatistics", {}).get("rowCount"),
        }
        for place, about in above.datasets.items()
        if "version" in about and MODEL not in about
    ]
    return {"datasets": datasets, "events": topics, "contracts": list(contracts.values())}


def _features(graph: Graph, inputs: set[str], *, looked_up: bool) -> list[dict[str, Any]]:
    """Feature views that a model reads, and what had filled them.

    Args:
        inputs: The model's columns.
        looked_up: Whether the prediction's features came from there, by their key.
    """
    found = {}
    for place, about in graph.datasets.items():
        if (told := about.get(FEATURES)) and inputs & set(told["features"]):
            for ran in graph.writers(place)[:1]:
                found[told["view"]] = {
                    **{key: told[key] for key in ("view", "key", "features", "entities")},
                    "looked_up": looked_up,
                    "filled_at": ran.at,
                    "filled_by_run": ran.pipeline_run,
                    "from": [str(each) for each in graph.reads[ran.run_id]],
                }
    return list(found.values())
