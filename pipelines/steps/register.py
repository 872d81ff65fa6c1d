"""Step: the candidate becomes a version, with everything known about it: signed in the models zone, and copied to the
registries of MLflow and SageMaker.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.audit.records import append, entries, now, refusals
from pipelines.context import Context, main
from pipelines.registry import evaluation, in_mlflow
from pipelines.registry.card import page
from pipelines.registry.mirror import Mirror
from pipelines.registry.signing import sha256
from pipelines.registry.versions import CARD, RECORD, Registry, TakenError, interface_of, next_version
from pipelines.serving.models.bundle import description, files_of, package
from pipelines.tracking import use_mlflow
from spec.errors import GroundplanError
from spec.versions import Dataset, Kpi, Slice, VersionRecord, numbers

_ATTEMPTS = 20  # of numbers that another registration took first


def register(context: Context) -> dict[str, Any]:
    """Register the run's model under the next semantic version; the same run again completes what was interrupted.

    Raises:
        GroundplanError: The evaluation has left no metrics, or others register without a pause.
    """
    mlflow = use_mlflow()
    experiment, evaluated = context.result("experiment"), context.result("evaluate")
    if not evaluated.get("metrics") or "kpi" not in evaluated:
        with refusals(context, "pipeline", run_id=experiment["run_id"]):
            raise GroundplanError(
                f"the run {experiment['run_id']} of {context.model} has no metrics, so it can't be registered",
                where="register",
                fix="run the evaluation again",
            )
    run = mlflow.MlflowClient().get_run(experiment["run_id"])
    signature = mlflow.models.get_model_info(experiment["model_uri"]).signature
    known = {
        "parameters": dict(run.data.params),
        "signature": signature.to_dict() if signature else None,
        "experiment": experiment,
        "evaluation": evaluated,
    }
    with TemporaryDirectory() as folder:
        path = Path(
            mlflow.artifacts.download_artifacts(
                run_id=experiment["run_id"], artifact_path="groundplan", dst_path=folder
            )
        )
        record = add_version(context, path / "candidate", evaluation.packed(path), known)
    return {**publish(context, record, experiment["model_uri"]), "signature": known["signature"]}


def add_version(context: Context, candidate: Path, judged_on: bytes, known: dict[str, Any]) -> VersionRecord:
    """Give the model in a folder the next number that is free, and store it.

    Args:
        judged_on: Held-out rows, training rows and baseline, packed.
        known: ``parameters``, ``signature``, and the results of the steps ``experiment`` and ``evaluate``.
    """
    registry, run_id = Registry(context), known["experiment"]["run_id"]
    known_there = {
        found.tags["version"]: found.run_id
        for found in use_mlflow().MlflowClient().search_model_versions(f"name='{context.model}'")
        if numbers(found.tags.get("version", ""))
    }
    if before := _registered(registry, run_id, known_there):
        registry.add(before, package(files_of(candidate, before.version)), judged_on if before.evaluation else b"")
        return before
    interface, recipe = interface_of(description(candidate)), _recipe(known)
    for _ in range(_ATTEMPTS):
        stored = registry.versions()
        latest = _readable(registry, stored[-1]) if stored else None
        version, change = next_version(latest, interface, recipe, [*stored, *known_there])
        files = files_of(candidate, version)
        artifact = package(files)
        record = VersionRecord(
            model=context.model,
            version=version,
            change=change,
            registered_at=now(),
            interface=interface,
            recipe=recipe,
            files={name: sha256(content) for name, content in files.items()},
            artifact=sha256(artifact),
            evaluation=sha256(judged_on),
            lineage={
                "pipeline_run": context.run,
                "run_id": run_id,
                "contracts": {each.id: each.version for each in context.definition.contracts},
                "views": [view.name for view in context.definition.views],
                "previous": latest.version if latest else "",
            },
            card=context.definition.card,
            **_told(known),
        )
        try:
            registry.add(record, artifact, judged_on)
        except TakenError:
            continue
        return record
    raise GroundplanError(f"{_ATTEMPTS} versions of {context.model} were taken by others meanwhile", where="register")


def _registered(registry: Registry, run_id: str, known_there: dict[str, str]) -> VersionRecord | None:
    """The version that this run has registered before, perhaps not completely.

    Args:
        known_there: Run of each version that MLflow has.
    """
    of_run = [version for version, run in known_there.items() if run == run_id]
    for version in dict.fromkeys([*registry.unsigned(), *of_run]):
        record = _readable(registry, version)
        if record is not None and record.lineage.get("run_id") == run_id:
            return record
    return None


def _readable(registry: Registry, version: str) -> VersionRecord | None:
    """A version's record; None where there is none or somebody has broken it, which must not block later versions."""
    try:
        return registry.record(version)
    except GroundplanError:
        return None


def publish(context: Context, record: VersionRecord, source: str) -> dict[str, Any]:
    """Write a stored version's card, copy it to both registries, and log it.

    Args:
        source: MLflow's address of the model.
    """
    registry = Registry(context)
    card = page(record)
    registry.put_file(record.version, CARD, card.encode())
    context.reports.mkdir(parents=True, exist_ok=True)
    shown = context.reports / f"{context.model}-{record.version}-card.html"
    shown.write_text(card, encoding="utf-8")
    number = in_mlflow.copy(context, record, source)
    package_arn = Mirror(context).add(record, registry.address(record.version))
    told = {"version": record.version, "artifact": record.artifact}
    logged = [each["details"] for each in entries(context) if each["action"] == "register"]
    if not any(told.items() <= details.items() for details in logged):
        append(
            context,
            "pipeline",
            "register",
            **told,
            change=record.change,
            run_id=record.lineage["run_id"],
            dataset_digest=record.dataset.digest,
            metrics={name: value for name, value in record.metrics.items() if math.isfinite(value)},
        )
    return {
        "version": record.version,
        "change": record.change,
        "registry_version": number,
        "artifact": record.artifact,
        "author": record.author,
        "record": registry.address(record.version, RECORD),
        "card": str(shown),
        "model_package": package_arn,
    }


def _recipe(known: dict[str, Any]) -> dict[str, str]:
    experiment = known["experiment"]
    return {
        "code": experiment["code_digest"],
        "parameters": sha256(json.dumps(known["parameters"], sort_keys=True).encode()),
        "data": experiment["data_source"],
    }


def _told(known: dict[str, Any]) -> dict[str, Any]:
    experiment, evaluation = known["experiment"], known["evaluation"]
    return {
        "author": experiment["author"],
        "dataset": Dataset(
            place=experiment["dataset"],
            digest=experiment["dataset_digest"],
            training_digest=experiment["training_digest"],
            rows=experiment["rows"],
        ),
        "parameters": known["parameters"],
        "metrics": evaluation["metrics"],
        "baseline": evaluation["baseline"],
        "kpi": Kpi.model_validate(evaluation["kpi"]),
        "slices": tuple(Slice.model_validate(each) for each in evaluation.get("slices", ())),
        "evaluated_on": evaluation["how"],
        "code": {"commit": experiment["code_version"], "script_sha256": experiment["script_sha256"]},
        "environment": json.loads(experiment["environment"]),
        "signature": known["signature"],
    }


if __name__ == "__main__":
    main("register", register)
