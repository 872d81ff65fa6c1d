"""Step: the candidate becomes a version in the MLflow registry, with everything known about it."""

from __future__ import annotations

import json
import re
from typing import Any

from pipelines.audit_chain import append
from pipelines.context import Context, main
from pipelines.tracking import use_mlflow


def register(context: Context) -> dict[str, Any]:
    """Register the run's model under the next semantic version.

    The major number rises when the inputs change, the minor one when data or parameters do, the patch number otherwise.
    """
    mlflow = use_mlflow()
    client = mlflow.MlflowClient()
    experiment, evaluation = context.result("experiment"), context.result("evaluate")
    run = client.get_run(experiment["run_id"])
    try:
        client.create_registered_model(context.model, description=f"Model {context.model} of {context.outputs.project}")
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    identity = {
        "columns": json.dumps(experiment["columns"]),
        "dataset_digest": experiment["dataset_digest"],
        "training_digest": experiment["training_digest"],
        "params": json.dumps(run.data.params, sort_keys=True),
    }
    version = next_version(
        [dict(found.tags) for found in client.search_model_versions(f"name='{context.model}'")], identity
    )
    tags = {
        "version": version,
        **identity,
        "metrics": json.dumps(evaluation["metrics"]),
        "kpi_monthly_usd": f"{evaluation['kpi']['monthly_usd']:.2f}",
        "compression": json.dumps(experiment.get("compression")),
        "code_version": experiment["code_version"],
        "pipeline_run": context.run,
    }
    made = mlflow.register_model(experiment["model_uri"], context.model, tags=tags)
    client.update_model_version(context.model, made.version, description=f"{version}: run {experiment['run_id']}")
    # MLflow allows no dots in an alias: models:/NAME@v1-0-0
    client.set_registered_model_alias(context.model, version.replace(".", "-"), made.version)
    signature = mlflow.models.get_model_info(experiment["model_uri"]).signature
    append(
        context,
        "pipeline",
        "register",
        version=version,
        run_id=experiment["run_id"],
        dataset_digest=identity["dataset_digest"],
        metrics=evaluation["metrics"],
    )
    return {
        "version": version,
        "registry_version": made.version,
        "signature": signature.to_dict() if signature else None,
        **identity,
    }


def next_version(known: list[dict[str, str]], identity: dict[str, str]) -> str:
    """The semantic version that follows the tags of the known versions."""
    numbered = [
        (tuple(map(int, match.groups())), tags)
        for tags in known
        if (match := re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)", tags.get("version", "")))
    ]
    if not numbered:
        return "v1.0.0"
    (major, minor, patch), latest = max(numbered, key=lambda item: item[0])
    if latest.get("columns") != identity["columns"]:
        return f"v{major + 1}.0.0"
    if any(latest.get(key) != identity[key] for key in ("dataset_digest", "training_digest", "params")):
        return f"v{major}.{minor + 1}.0"
    return f"v{major}.{minor}.{patch + 1}"


if __name__ == "__main__":
    main("register", register)
