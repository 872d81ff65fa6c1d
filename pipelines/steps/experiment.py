"""Step: an ordinary MLflow script run as a job, with everything recorded around it that the script does not record."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipelines.context import GRAPH_ONLY, Context, ModelDefinition, main
from pipelines.serving.models.engines import by_row
from pipelines.tracking import use_mlflow
from pipelines.training import checkpoints, reuse
from pipelines.training.choice import choose, task_of
from pipelines.training.code import code_digest, code_version
from pipelines.training.labelled import Labelled, as_columns, by_target, each_row, row_digests
from pipelines.training.model_name import check_owner, claim
from pipelines.training.packages import environment
from pipelines.training.profiling import SYSTEM, profiled
from pipelines.training.recorder import Logged, Recorder, as_frame
from pipelines.training.script import run_script
from spec.errors import GroundplanError

if TYPE_CHECKING:
    from pipelines.training.export import Exported

MAX_HOLDOUT_ROWS = 5_000
FOLDS = 5
BACKGROUND_ROWS = 50
FEW_TEXTS = 20  # of a column, so that the most frequent one does not belong to a single person
SEEN_BY_NONE = "rows the model has not seen"
CONTINUED = (
    "rows it was trained on: it continues what was fitted before, on rows that are not known, so none count as unseen"
)
TRAINED_ON = "rows it was trained on: they are too few for folds, or it can't be refitted"


def run_experiment(context: Context) -> dict[str, Any]:
    """Run the script and record what it did.

    Raises:
        UsageError: Another script produces the model of this name.
        GroundplanError: The script failed, created no run or logged no model, or the model can't be served.
    """
    check_owner(context, take_over=context.wishes.take_over)
    mlflow = use_mlflow()
    definition = context.definition
    os.environ["MLFLOW_EXPERIMENT_NAME"] = context.model
    started = time.time()
    recorder = Recorder(columns=_feature_names(context))
    recorder.install()
    with training_set(context) as given:
        data = _data_digest(context, given)
        if context.wishes.reuse and data and (found := reuse.known(context, data, environment(definition.script))):
            print(f"progress: the rows and the code are those of {found['reused_from']}, whose model is used again")
            return found
        given_arguments = context.wishes.script_arguments
        with checkpoints.kept(context), profiled(definition.script, wanted=context.wishes.profile) as profile:
            run_script(
                definition.script,
                definition.project.arguments(given_arguments) if definition.project else given_arguments,
                definition.folder if definition.project else None,
            )
        if given is not None and not recorder.splits:
            columns = [list(item.frame.columns) for item in recorder.logged if item.features is not None]
            recorder.splits = [
                (given[names], given[definition.target]) for names in columns if set(names) <= set(given.columns)
            ]
            recorder.more = given[[name for name in _feature_names(context) if given[name].notna().all()]]
    if not recorder.logged and mlflow.last_active_run() is None:
        raise GroundplanError(
            "the script created no MLflow run",
            where=str(definition.script),
            fix="call mlflow.start_run() and log something",
        )
    seconds = round(time.time() - started, 2)
    try:
        result = _record(context, recorder, seconds)
        result |= profile.keep(result["run_id"])
        if data:
            reuse.remember(context, data, environment(definition.script), result)
        return result
    except GroundplanError as error:
        if not context.wishes.record_only or context.wishes.run_name or context.wishes.artifact:
            raise
        alone = _run_alone(context, recorder, seconds, str(error))
        return alone | profile.keep(alone["run_id"])


def _record(context: Context, recorder: Recorder, seconds: float) -> dict[str, Any]:
    """Choose among the models that the script logged, and record everything needed to serve it.

    Raises:
        GroundplanError: None can be used, or it can't be served.
    """
    import mlflow

    definition = context.definition
    held_out: dict[Logged, tuple[Labelled, str]] = {}

    def holdout(item: Logged) -> Labelled:
        held_out[item] = held_out.get(item) or _holdout(recorder, item)
        return held_out[item][0]

    wishes = context.wishes
    logged, choice = choose(
        recorder.logged,
        holdout,
        context.objectives,
        definition.script,
        run_name=wishes.run_name,
        artifact=wishes.artifact,
    )
    holdout(logged)
    rows, how = held_out[logged]
    training = Labelled(logged.frame, logged.known(logged.labels))
    digest = labelled_digest(training)
    with TemporaryDirectory() as folder:
        described = _export(context, logged, training, _with_more(rows, how, recorder), Path(folder))
        mlflow.MlflowClient().log_artifacts(logged.run_id, folder, "groundplan")
    dataset = context.result("quality") if definition.contracts else {}
    tags = {
        **_tags(context, seconds),
        "groundplan.training_digest": digest,
        "groundplan.dataset_digest": dataset.get("digest", digest),
        "groundplan.dataset": dataset.get("dataset", "the script's own"),
        "groundplan.data_source": data_source(context.definition),
        "groundplan.task": described["task"],
    }
    claim(context)
    _record_run(logged.run_id, context, training, tags)
    recorded = {key.removeprefix("groundplan."): value for key, value in tags.items()}
    return {
        **recorded,
        **described,
        "holdout": how,
        "choice": choice,
        "run_id": logged.run_id,
        "model_uri": logged.uri,
        "metrics": _metrics(logged.run_id),
        "duration_s": seconds,
    }


def _metrics(run_id: str) -> dict[str, float]:
    """What the script has measured, without what MLflow has of the machine."""
    import mlflow

    measured = mlflow.MlflowClient().get_run(run_id).data.metrics
    return {key: value for key, value in measured.items() if not key.startswith(SYSTEM)}


def _tags(context: Context, seconds: float) -> dict[str, str]:
    code = code_version(context.definition.script)
    return {
        "groundplan.model": context.model,
        "groundplan.pipeline_run": context.run,
        "groundplan.code_version": code["commit"],
        "groundplan.author": code["author"],
        "groundplan.script_sha256": code["sha256"],
        "groundplan.code_digest": code_digest(context.definition.script, context.definition.own_code),
        "groundplan.environment": json.dumps(environment(context.definition.script)),
        "groundplan.arguments": json.dumps(context.wishes.script_arguments),
        "groundplan.chosen": json.dumps({"run_name": context.wishes.run_name, "artifact": context.wishes.artifact}),
        "groundplan.duration_s": str(seconds),
    }


def _run_alone(context: Context, recorder: Recorder, seconds: float, why: str) -> dict[str, Any]:
    """The record of a run without a served model, where none was requested."""
    import mlflow
    from mlflow.entities import RunTag

    found = mlflow.last_active_run()
    run_id = recorder.logged[-1].run_id if found is None else found.info.run_id
    tags = _tags(context, seconds)
    client = mlflow.MlflowClient()
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    recorded = {key.removeprefix("groundplan."): value for key, value in tags.items()}
    return {
        **recorded,
        "run_id": run_id,
        "metrics": _metrics(run_id),
        "duration_s": seconds,
        "not_served": why,
    }


@contextmanager
def training_set(context: Context) -> Iterator[Any]:
    """The training set, which the script finds through ``GROUNDPLAN_TRAINING_SET``; as a frame where the features step
    has joined it.
    """
    import pandas as pd

    definition = context.definition
    if not definition.contracts:
        yield None
        return
    # Without a features module the events that have passed the gate are the training set; the script itself decides how
    # to split them.
    address = (
        context.result("features")["training_set"] if definition.features else context.result("quality")["dataset"]
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "training.parquet"
        path.write_bytes(context.get_address(address))
        os.environ["GROUNDPLAN_TRAINING_SET"] = str(path)
        yield pd.read_parquet(path) if definition.features else None


def _data_digest(context: Context, given: Any) -> str:
    """Digest of the rows that the script is given; empty where it brings its own, which nobody knows."""
    if not context.definition.contracts:
        return ""
    return str(context.result("quality")["digest"]) if given is None else reuse.digest_of(given)


def _feature_names(context: Context) -> tuple[str, ...]:
    return tuple(name for view in context.definition.views for name in view.features)


def _units(context: Context) -> dict[str, str]:
    """Units of columns, and under the empty name the label's, as the contracts have them."""
    definition = context.definition
    found = {item.name: item.unit for contract in definition.contracts for item in contract.fields if item.unit}
    return found | ({"": found[definition.target]} if definition.target in found else {})


def _entity(context: Context, columns: set[str]) -> dict[str, Any]:
    """Where the server finds a row's features by its key, and for how long they count; nothing where a column is in no
    view.
    """
    views = context.definition.views
    if not views or not columns <= set(_feature_names(context)) or len({view.key for view in views}) > 1:
        return {}
    tables = context.outputs.online_tables
    read = [(view, names) for view in views if (names := [name for name in view.features if name in columns])]
    ages = {tables[view.name]: view.ttl_days * 86_400 for view, _ in read if view.ttl_days}
    objectives = context.outputs.models.get(context.model)
    cached_s = min((objectives.feature_cache_seconds if objectives else 0.0), *ages.values(), float("inf"))
    replayed = context.definition.recording and context.definition.features
    return {
        "key": views[0].key,
        "tables": {tables[view.name]: names for view, names in read},
        **({"max_age_s": ages} if ages else {}),
        **({"cache_s": cached_s} if cached_s else {}),
        **({"as_of": context.result("features")["now"]} if replayed else {}),
    }


def _export(context: Context, logged: Logged, training: Labelled, rows: Labelled, folder: Path) -> dict[str, Any]:
    """Write what serving, evaluation and monitoring need: the model and its baseline, the training rows, rows that it
    has not seen.
    """
    from pipelines.training.compress import COMPACT, FULL, compress
    from pipelines.training.export import export

    task = task_of(logged.model)
    targets = [str(name) for name in getattr(training.labels, "columns", [])]
    known = context.outputs.endpoints.get(context.model)
    exported = export(
        logged.asked,
        training.features,
        task,
        targets=targets,
        untrusted=context.outputs.untrusted_models,
        graph_only=known is not None and known.topology in GRAPH_ONLY,
    )
    names = [column["name"] for column in exported.described["columns"]]
    entity = _entity(context, set(names)) if exported.described["engine"] == "onnx" else {}
    example = _example(training.features[names]) if set(names) <= set(training.features.columns) else {}
    shared = {
        "model": context.model,
        "entity": entity,
        "example": example,
        "units": _units(context),
        "class_names": dict(context.definition.classes),
    }
    compressed = None
    objectives = context.outputs.models.get(context.model)
    if exported.converted and objectives is not None and not targets:
        compressed = compress(exported.described, exported.files, exported.converted, training, rows, objectives)
        if compressed.chosen not in (FULL, COMPACT):
            write_served(folder / "uncompressed", exported, training.features, each_row(training.labels), shared)
        exported = replace(exported, files=compressed.files)
    write_served(folder, exported, training.features, each_row(training.labels), shared)
    training.save(folder, "training")
    rows.save(folder, "holdout")
    return {
        "task": task,
        "rows": len(training),
        "holdout_rows": len(rows),
        "parity": asdict(exported.parity),
        "served_as": exported.described.get("flavor", exported.described["engine"]),
        "why_native": exported.why_native,
        "no_probability": exported.no_probability,
        "columns": names,
        "example": example,
        "compression": {"chosen": compressed.chosen, "table": [asdict(one) for one in compressed.table]}
        if compressed
        else None,
    }


def _example(features: Any) -> dict[str, Any]:
    """Example values of a request: the median of each number, the most frequent of few texts. No row of the data is
    repeated, since it may belong to a person; where a column has many texts, there is no example.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    found: dict[str, Any] = {}
    for name, column in features.items():
        known = column.dropna()
        if len(known) and is_numeric_dtype(column) and not is_bool_dtype(column):
            middle = known.sort_values().iloc[len(known) // 2].item()
            found[str(name)] = round(middle, 6) if isinstance(middle, float) else middle
        elif len(known) and known.nunique() <= FEW_TEXTS:
            common = known.mode().iloc[0]
            found[str(name)] = common.item() if hasattr(common, "item") else common
        else:
            return {}
    return found


def write_served(folder: Path, exported: Exported, features: Any, labels: list[Any], shared: dict[str, Any]) -> None:
    """Write the model (``candidate``) and the baseline, each with its description and rows to compare explanations
    with.

    Args:
        shared: Further entries of both descriptions.
    """
    from pipelines.serving.models.engines import Constant

    described = exported.described
    constant = Constant.of(labels, described["classes"])
    told = {key: described[key] for key in ("task", "classes", "columns", "targets") if key in described} | {
        "output": "probability" if constant.shares else ""
    }
    baseline = {"engine": "constant", "prediction": constant.prediction, "shares": constant.shares, **told}
    sample = features.sample(min(BACKGROUND_ROWS, len(features)), random_state=0)
    columns = as_columns(sample, list(sample.columns))
    background = {"columns": list(columns), "data": list(zip(*columns.values(), strict=True))}
    for name, files, what in (("candidate", exported.files, described), ("baseline", {}, baseline)):
        target = folder / name
        target.mkdir(parents=True)
        for file, content in {
            **files,
            "model.json": json.dumps({**shared, **what}).encode(),
            "background.json": json.dumps(background).encode(),
        }.items():
            (target / file).write_bytes(content)


def _holdout(recorder: Recorder, logged: Logged) -> tuple[Labelled, str]:
    """Rows with labels for an honest evaluation: those of the dataset that no fit has seen, else out-of-fold
    predictions; and how they were obtained.
    """
    from sklearn.base import clone
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, cross_val_predict

    if logged.kept_apart is not None:
        apart = logged.kept_apart
        return Labelled(apart.features, logged.known(apart.labels)).sample(MAX_HOLDOUT_ROWS), SEEN_BY_NONE
    if logged.partly:
        known = Labelled(logged.frame, logged.known(logged.labels))
        return known.sample(MAX_HOLDOUT_ROWS), CONTINUED
    for features, labels in reversed(recorder.splits):
        if (fresh := _unseen(features, labels, logged)) is not None:
            return fresh.sample(MAX_HOLDOUT_ROWS), SEEN_BY_NONE
    known, frame = logged.known(logged.labels), logged.frame.reset_index(drop=True)
    several = hasattr(known, "columns")  # folds can't be stratified by several labels
    rows = row_digests(frame, list(frame.columns)).to_numpy()
    copies = len(set(rows)) < len(rows)  # of one row, such as oversampled ones: all of them in the same fold
    folds = min(
        FOLDS,
        len(known),
        *([known.value_counts().min()] if task_of(logged.model) == "classification" and not several else []),
    )
    try:
        stratified = task_of(logged.model) == "classification" and not several
        grouped = (StratifiedGroupKFold if stratified else GroupKFold)(folds) if copies else folds
        predicted = cross_val_predict(
            clone(logged.model), logged.features, known, cv=grouped, groups=rows if copies else None
        )
    except Exception as error:  # a class or a category with one row, a model that can't be refitted
        print(f"not evaluated out of fold: {type(error).__name__}: {error}")
        return Labelled(frame, known).sample(MAX_HOLDOUT_ROWS), TRAINED_ON
    return Labelled(frame, known, _like(known, predicted)).sample(MAX_HOLDOUT_ROWS), f"{folds}-fold, out of fold"


def _like(labels: Any, predicted: Any) -> Any:
    """Predictions in the form of the labels."""
    import pandas as pd

    if hasattr(labels, "columns"):
        return pd.DataFrame(by_row(predicted), columns=labels.columns)
    return pd.Series(by_row(predicted).ravel())


def _unseen(features: Any, labels: Any, logged: Logged) -> Labelled | None:
    """Rows of a dataset that the model was not fitted on; None where it was not fitted on unchanged rows of this
    dataset with these labels.

    If a script has changed its training rows after the split (for example filled their gaps), they can't be
    identified.
    """
    import pandas as pd

    whole, training = as_frame(features, logged.columns).reset_index(drop=True), logged.frame
    if list(whole.columns) != list(training.columns) or len(whole) <= len(training):
        return None
    whole_labels, known = logged.known(labels), logged.known(logged.labels)

    def digests(frame: Any, of: Any) -> Any:
        parts = [part for _, part in by_target(of).items()]
        numbers = [
            pd.to_numeric(part, errors="coerce").astype(float) for part in parts
        ]  # True, 1 and 1.0 are the same label
        texts = {
            f"{_LABEL}{place}": (number if number.notna().all() else parts[place]).map(str).to_numpy()
            for place, number in enumerate(numbers)
        }
        return pd.util.hash_pandas_object(frame.reset_index(drop=True).assign(**texts), index=False)

    # Rows with the same features count as the same: a copy of a training row has been seen, whatever its label.
    if not digests(training, known).isin(set(digests(whole, whole_labels))).all():
        return None
    seen = set(pd.util.hash_pandas_object(training, index=False))
    fresh = ~pd.util.hash_pandas_object(whole, index=False).isin(seen).to_numpy()
    return Labelled(whole[fresh], whole_labels[fresh]) if fresh.any() else None


_LABEL = "groundplan:label"


def _with_more(rows: Labelled, how: str, recorder: Recorder) -> Labelled:
    """The same rows with every feature of the dataset: a champion with other inputs is called with the same rows."""
    if recorder.more is None or how != SEEN_BY_NONE:
        return rows
    more = recorder.more.reset_index(drop=True)  # numbered like the whole dataset, and the rows keep their numbers
    return replace(
        rows, features=rows.features.join(more[[name for name in more.columns if name not in rows.features.columns]])
    )


def _record_run(run_id: str, context: Context, training: Labelled, tags: dict[str, str]) -> None:
    from mlflow import MlflowClient
    from mlflow.data.pandas_dataset import from_pandas
    from mlflow.entities import DatasetInput, InputTag, RunTag

    client = MlflowClient()
    labels = by_target(training.labels, context.definition.target or "label")
    named = {}
    for column in labels.columns:
        name = str(column)
        while name in training.features.columns:
            name = f"{name} (label)"
        named[name] = labels[column].to_numpy()
    frame = training.features.assign(**named)
    # MLflow supports one target.
    dataset = from_pandas(
        frame,
        source=tags["groundplan.dataset"],
        targets=next(iter(named)) if len(named) == 1 else None,
        name=context.model,
    )
    client.log_inputs(
        run_id, [DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", "training")])]
    )
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def data_source(definition: ModelDefinition) -> str:
    """SHA-256 of what the data is by contract: other rows of the same tables change nothing in it."""
    told = {
        "contracts": {each.id: str(each.version) for each in definition.contracts},
        "views": [view.model_dump(mode="json") for view in definition.views],
        "target": definition.target,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def labelled_digest(rows: Labelled) -> str:
    """SHA-256 over column names, row hashes and labels, in order."""
    import pandas as pd

    parts = (rows.features, by_target(rows.labels))
    hashes = b"".join(pd.util.hash_pandas_object(part, index=False).to_numpy().tobytes() for part in parts)
    return hashlib.sha256(json.dumps(list(rows.features.columns)).encode() + hashes).hexdigest()


if __name__ == "__main__":
    main("experiment", run_experiment)
