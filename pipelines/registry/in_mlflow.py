"""A copy of each version in MLflow's registry, for whoever looks there; what is served is said by the audit log."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pipelines.registry.versions import Registry
from pipelines.tracking import use_mlflow
from spec.versions import VersionRecord, alias_of

if TYPE_CHECKING:
    from pipelines.context import Context

CHAMPION = "champion"


def copy(context: Context, record: VersionRecord, source: str = "") -> str:
    """The version in MLflow's registry, made unless it exists; returns its number there.

    Args:
        source: MLflow's address of the model; by default that of the version's own folder, since a version that came
            from another environment has no run here.
    """
    mlflow = use_mlflow()
    client = mlflow.MlflowClient()
    _ensure_model(mlflow, client, context)
    with suppress(mlflow.MlflowException):
        return str(client.get_model_version_by_alias(context.model, alias_of(record.version)).version)
    tags = {
        "version": record.version,
        "change": record.change,
        "author": record.author,
        "artifact_sha256": record.artifact,
        "dataset_digest": record.dataset.digest,
        "training_digest": record.dataset.training_digest,
        "metrics": json.dumps(record.metrics),
        "kpi_monthly_usd": f"{record.kpi.monthly_usd:.2f}",
        "code_version": record.code["commit"],
        "pipeline_run": record.lineage["pipeline_run"],
    }
    made = (
        mlflow.register_model(source, record.model, tags=tags)
        if source
        else client.create_model_version(record.model, Registry(context).address(record.version), tags=tags)
    )
    run_id = record.lineage["run_id"]
    client.update_model_version(record.model, made.version, description=f"{record.version}: run {run_id}")
    client.set_registered_model_alias(record.model, alias_of(record.version), made.version)
    return str(made.version)


def signed_off(context: Context, record: VersionRecord, approvals: dict[str, str]) -> None:
    """Copy who has approved a version.

    Args:
        approvals: Who, by role.
    """
    client, number = use_mlflow().MlflowClient(), copy(context, record)
    for role, who in approvals.items():
        client.set_model_version_tag(context.model, number, f"approval.{role}", who)


def serve(context: Context, record: VersionRecord) -> None:
    """Have MLflow's ``champion`` be the version that is served."""
    use_mlflow().MlflowClient().set_registered_model_alias(context.model, CHAMPION, copy(context, record))


def _ensure_model(mlflow: Any, client: Any, context: Context) -> None:
    try:
        client.create_registered_model(context.model, description=f"Model {context.model} of {context.outputs.project}")
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
