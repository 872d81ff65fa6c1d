"""A retraining on the same rows, with the same code and packages, gives the same model: it is not trained again.

SageMaker's own step caching compares arguments, which name the run and so never repeat; and it would find nothing in a
function or on the cluster.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pipelines.context import Context
from pipelines.training.code import code_files
from spec.errors import GroundplanError


def known(context: Context, data: str, environment: dict[str, str]) -> dict[str, Any] | None:
    """The result of an earlier experiment that this one would repeat; None where something has changed, or where its
    model is gone.

    Args:
        data: Digest of the training rows.
        environment: Versions of the packages.
    """
    import mlflow

    found = context.read("curated", _key(context, data, environment))
    if found is None:
        return None
    document: dict[str, Any] = json.loads(found)
    folder = context.definition.script.parent
    if any(_sha256(folder / name) != digest for name, digest in document["code_files"].items()):
        return None
    try:
        run = mlflow.MlflowClient().get_run(document["result"]["run_id"])
        files = mlflow.MlflowClient().list_artifacts(run.info.run_id, "groundplan")
    except mlflow.MlflowException:
        return None
    if run.info.lifecycle_stage != "active" or not files:
        return None
    return {**document["result"], "reused_from": document["run"]}


def remember(context: Context, data: str, environment: dict[str, str], result: dict[str, Any]) -> None:
    """Keep an experiment's result for those that would repeat it."""
    files = code_files(context.definition.script, context.definition.own_code)
    document = {"run": context.run, "result": result, "code_files": files}
    context.put("curated", _key(context, data, environment), json.dumps(document).encode(), "application/json")


def digest_of(frame: Any) -> str:
    """SHA-256 of a frame's rows; their order does not count."""
    import pandas as pd

    rows = pd.util.hash_pandas_object(frame, index=False).sort_values().to_numpy().tobytes()
    return hashlib.sha256(json.dumps([str(name) for name in frame.columns]).encode() + rows).hexdigest()


def _key(context: Context, data: str, environment: dict[str, str]) -> str:
    wishes, model = context.wishes, context.model
    objectives, known = context.outputs.models.get(model), context.outputs.endpoints.get(model)
    told = {
        "data": data,
        "environment": environment,
        "objectives": objectives.model_dump(mode="json") if objectives else None,
        "served": known.topology if known else "",
        "untrusted": context.outputs.untrusted_models,
        "described": [dict(context.definition.classes), list(context.definition.card.slices)],
        "arguments": [*wishes.script_arguments, wishes.run_name, wishes.artifact],
        "script": os.path.relpath(context.definition.script, context.definition.folder),
    }
    return f"runs/{context.model}/trained/{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()}.json"


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            return ""
        raise GroundplanError(f"can't be read: {error.strerror}", where=str(path)) from None
