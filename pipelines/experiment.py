"""Step: an ordinary MLflow script run as a job, and everything recorded around it that the script does not know of."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.errors import GroundplanError
from pipelines.context import Context, main
from pipelines.recorder import Recorder, as_frame
from pipelines.tracking import use_mlflow

MAX_HOLDOUT_ROWS = 5_000
FOLDS = 5
SEEN_BY_NONE = "rows the model has not seen"


def run_experiment(context: Context) -> dict[str, Any]:
    """Run the script and record what it did.

    Raises:
        GroundplanError: The script failed, made no run or logged no scikit-learn model, or the model can't be turned to ONNX.
    """
    mlflow = use_mlflow()
    example = context.example
    os.environ["MLFLOW_EXPERIMENT_NAME"] = context.model
    started = time.time()
    recorder = Recorder(columns=_feature_names(context))
    recorder.install()
    with _training_set(context) as given:
        _run_script(example.script)
        if given is not None and recorder.all_features is None and recorder.features is not None:
            recorder.all_features, recorder.all_labels = given[list(as_frame(recorder.features, recorder.columns).columns)], given[example.target]
            recorder.more = given[[name for name in _feature_names(context) if given[name].notna().all()]]
    run = mlflow.last_active_run()
    run_id = recorder.run_id or (run.info.run_id if run else "")
    if not run_id:
        raise GroundplanError("the script made no MLflow run", where=str(example.script), fix="call mlflow.start_run() and log something")
    if recorder.model is None:
        raise GroundplanError("the script logged no scikit-learn model", where=str(example.script), fix="call mlflow.sklearn.log_model(model, ...)")
    if recorder.features is None or recorder.labels is None:
        raise GroundplanError("the logged model was not fitted with features and labels in this script", where=str(example.script), fix="fit it there")
    seconds = round(time.time() - started, 2)
    training = as_frame(recorder.features, recorder.columns)
    digest = frame_digest(training.assign(__label__=list(recorder.labels)))
    code = code_version(example.script)
    with TemporaryDirectory() as folder:
        described = _export(context, recorder, training, Path(folder))
        mlflow.MlflowClient().log_artifacts(run_id, folder, "groundplan")
    dataset = context.result("quality") if example.contracts else {}
    tags = {
        "groundplan.model": context.model,
        "groundplan.pipeline_run": context.run,
        "groundplan.code_version": code["commit"],
        "groundplan.script_sha256": code["sha256"],
        "groundplan.training_digest": digest,
        "groundplan.dataset_digest": dataset.get("digest", digest),
        "groundplan.dataset": dataset.get("dataset", "the script's own"),
        "groundplan.environment": json.dumps(environment()),
        "groundplan.duration_s": str(seconds),
        "groundplan.task": described["task"],
    }
    _record_run(run_id, context, training, recorder, tags)
    metrics = mlflow.MlflowClient().get_run(run_id).data.metrics
    recorded = {key.removeprefix("groundplan."): value for key, value in tags.items()}
    return {**recorded, **described, "run_id": run_id, "model_uri": recorder.model_uri, "metrics": metrics, "duration_s": seconds}


@contextmanager
def _training_set(context: Context) -> Iterator[Any]:
    """The training set that the features step has joined, as a frame; the script finds it by ``GROUNDPLAN_TRAINING_SET``."""
    import pandas as pd

    address = context.result("features")["training_set"] if context.example.features else ""
    if not address:
        yield None
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "training.parquet"
        path.write_bytes(context.get_address(address))
        os.environ["GROUNDPLAN_TRAINING_SET"] = str(path)
        yield pd.read_parquet(path)


def _run_script(script: Path) -> None:
    previous, sys.argv = sys.argv, [str(script)]
    sys.path.insert(0, str(script.parent))
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as stop:
        if stop.code not in (None, 0):
            raise GroundplanError(f"the script ended with exit code {stop.code}", where=str(script)) from None
    except Exception as error:
        frames = [frame for frame in _traceback(error) if frame[0] == str(script)]
        line = f":{frames[-1][1]}" if frames else ""
        from mlflow.exceptions import MlflowException

        fix = "read each type, then add it to pipelines/trusted_types.py" if isinstance(error, MlflowException) and "untrusted" in str(error) else ""
        raise GroundplanError(f"{type(error).__name__}: {error}", where=f"{script}{line}", fix=fix) from error
    finally:
        sys.path.remove(str(script.parent))
        sys.argv = previous


def _traceback(error: BaseException) -> list[tuple[str, int]]:
    import traceback

    return [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]


def _feature_names(context: Context) -> tuple[str, ...]:
    return tuple(name for view in context.example.views for name in view.features)


def _entity(context: Context, columns: set[str]) -> dict[str, Any]:
    """Where the server finds a row's features by its key; nothing where a column is in no view."""
    views = context.example.views
    if not views or not columns <= set(_feature_names(context)) or len({view.key for view in views}) > 1:
        return {}
    tables = {context.outputs.online_tables[view.name]: [name for name in view.features if name in columns] for view in views}
    return {"key": views[0].key, "tables": {table: names for table, names in tables.items() if names}}


def _export(context: Context, recorder: Recorder, training: Any, folder: Path) -> dict[str, Any]:
    """Write what serving, evaluation and monitoring need: ONNX models, the training rows, rows the model has not seen."""
    from pipelines import onnx_export

    task = "classification" if hasattr(recorder.model, "classes_") else "regression"
    labels = list(recorder.labels)
    exported = onnx_export.export(recorder.model, training, task)
    baseline = onnx_export.export_baseline(labels, exported.columns, exported.layout, task)
    holdout, how = _holdout(recorder, training, task)
    if recorder.more is not None and how == SEEN_BY_NONE:  # a champion with other inputs is asked the same rows
        holdout = holdout.join(recorder.more[[name for name in recorder.more.columns if name not in holdout.columns]])
    entity = _entity(context, {column["name"] for column in exported.columns})
    description = {
        "model": context.model,
        "task": task,
        "classes": onnx_export.classes(recorder.model),
        "columns": exported.columns,
        "layout": exported.layout,
        "entity": entity,
    }
    for name, content in (("candidate", exported.content), ("baseline", baseline)):
        target = folder / name
        target.mkdir()
        (target / "model.onnx").write_bytes(content)
        (target / "model.json").write_text(json.dumps(description), encoding="utf-8")
        training.sample(min(50, len(training)), random_state=0).to_json(target / "background.json", orient="split", index=False)
    training.assign(label=labels).to_parquet(folder / "training.parquet")
    holdout.to_parquet(folder / "holdout.parquet")
    return {
        "task": task,
        "rows": len(training),
        "holdout_rows": len(holdout),
        "holdout": how,
        "onnx_difference": exported.difference,
        "columns": [c["name"] for c in exported.columns],
    }


def _holdout(recorder: Recorder, training: Any, task: str) -> tuple[Any, str]:
    """Rows with labels for an honest evaluation: those of the dataset that no fit has seen, else out-of-fold predictions.

    Returns:
        A frame of the features, ``label``, and for out-of-fold rows ``prediction``; and how it was made.
    """
    if recorder.all_features is not None and recorder.all_labels is not None:
        whole = as_frame(recorder.all_features, recorder.columns)
        if list(whole.columns) == list(training.columns):
            import pandas as pd

            seen = set(pd.util.hash_pandas_object(training, index=False))
            fresh = ~pd.util.hash_pandas_object(whole, index=False).isin(seen).to_numpy()
            if fresh.any() and not fresh.all():  # none seen: the script changed the rows, and they can't be told apart
                labels = pd.Series(list(recorder.all_labels))
                rows = whole[fresh].assign(label=labels[fresh].to_numpy())
                return rows.sample(MAX_HOLDOUT_ROWS, random_state=0) if len(rows) > MAX_HOLDOUT_ROWS else rows, SEEN_BY_NONE
    from sklearn.base import clone
    from sklearn.model_selection import cross_val_predict

    folds = min(FOLDS, len(training))
    predicted = cross_val_predict(clone(recorder.model), recorder.features, recorder.labels, cv=folds)
    return training.assign(label=list(recorder.labels), prediction=predicted).head(MAX_HOLDOUT_ROWS), f"{folds}-fold, out of fold"


def _record_run(run_id: str, context: Context, training: Any, recorder: Recorder, tags: dict[str, str]) -> None:
    from mlflow import MlflowClient
    from mlflow.data.pandas_dataset import from_pandas
    from mlflow.entities import DatasetInput, InputTag, RunTag

    client = MlflowClient()
    dataset = from_pandas(training.assign(label=list(recorder.labels)), source=tags["groundplan.dataset"], targets="label", name=context.model)
    client.log_inputs(run_id, [DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", "training")])])
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def code_version(script: Path) -> dict[str, str]:
    """The commit the script is at (with ``-dirty`` if it was changed since), and its SHA-256."""
    sha = hashlib.sha256(script.read_bytes()).hexdigest()

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=script.parent, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD") or "no git"
    dirty = bool(git("status", "--porcelain", "--", script.name))
    return {"commit": commit + ("-dirty" if dirty else ""), "sha256": sha}


def environment() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a model is."""
    from importlib.metadata import version

    packages = ("mlflow", "scikit-learn", "numpy", "pandas", "skl2onnx", "onnxruntime")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def frame_digest(frame: Any) -> str:
    """SHA-256 over column names and row hashes, in order."""
    import pandas as pd

    rows = pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()
    return hashlib.sha256(json.dumps(list(frame.columns)).encode() + rows).hexdigest()


if __name__ == "__main__":
    main("experiment", run_experiment)
