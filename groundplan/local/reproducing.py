"""Runs an experiment again, with the code and the data that it was run with, and compares the two."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from groundplan.local.home import Home, State
from groundplan.local.inside import inside
from groundplan.local.jobs import results, run_steps
from groundplan.local.up import new_run
from pipelines.context import Context, Wishes, load_definition
from spec.errors import GroundplanError, UsageError
from spec.outputs import read
from spec.revisions import checked_out
from spec.steps import steps_for

SAME = 1e-9  # relative difference of metrics that the same code computes twice
_TAG = "groundplan."
_RUN = re.compile(r"\d{14}-\w+")
_VERSION = re.compile(r"([a-z0-9][a-z0-9-]*)@(v\d+\.\d+\.\d+)")


def reproduce(home: Home, state: State, text: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Run an experiment again.

    Args:
        text: The ID of an MLflow run, or ``MODEL@VERSION``.

    Returns:
        ``run`` and ``again``, the IDs of both MLflow runs; ``compared``, a list of ``what``, ``then``, ``now`` and
        whether they are the ``same``; ``reproduced``, whether the model answers as it did, and has learnt from the same
        rows with the same parameters.

    Raises:
        UsageError: There is no such run, or it was not run by this platform.
        GroundplanError: Its code or its data is not there any more.
    """
    with inside(home, "person.reproduce"):
        run_id = _run_of(text)
        before = _told(run_id)
        with _code(home, before) as (path, where):
            say(f"code: {where}")
            definition = load_definition(path, before["model"])
            run = new_run()
            _same_data(Context(read(str(home.outputs_file)), definition, run, home.reports), before)
            step = next(step for step in steps_for(contract=False) if step.name == "experiment")
            wishes = Wishes(
                **json.loads(before.get("chosen", "{}")),
                script_arguments=tuple(json.loads(before.get("arguments", "[]"))),
            )
            run_steps(
                home,
                state,
                (replace(step, needs=()),),
                path,
                run,
                ("--name", before["model"], *wishes.arguments()),
                on_done=lambda done: say(done.line),
            )
            again = results(home, state, before["model"], run, (step,))["experiment"]["run_id"]
        compared = list(_compared(before, _told(again), run_id, again))
    needed = {"training rows", "parameters", "answers"}
    return {
        "run": run_id,
        "again": again,
        "compared": compared,
        "reproduced": all(each["same"] for each in compared if each["what"] in needed),
    }


def _run_of(text: str) -> str:
    import mlflow

    client, named = mlflow.MlflowClient(), _VERSION.fullmatch(text)
    if named is not None:
        known = client.search_model_versions(f"name='{named[1]}'")
        found = [version.run_id for version in known if version.tags.get("version") == named[2]]
        if not found:
            has = sorted(version.tags.get("version", "") for version in known)
            raise UsageError(
                f"there is no {text}",
                where="RUN",
                fix=f"{named[1]} has {', '.join(has)}" if has else f"no version of {named[1]} is registered",
            )
        return str(found[0])
    if _RUN.fullmatch(text):  # a run of the pipeline, as reports name it
        everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(everywhere, f"tags.`{_TAG}pipeline_run` = '{text}'")
        if runs:
            return str(runs[0].info.run_id)
    return text


def _told(run_id: str) -> dict[str, Any]:
    """What a run has on record."""
    import mlflow

    client = mlflow.MlflowClient()
    try:
        run = client.get_run(run_id)
    except mlflow.MlflowException:
        raise UsageError(
            f"the tracking server has no run {run_id!r}", where="RUN", fix="name an MLflow run, or MODEL@VERSION"
        ) from None
    tags = {key.removeprefix(_TAG): value for key, value in run.data.tags.items() if key.startswith(_TAG)}
    if "model" in tags and "training_digest" not in tags:
        raise UsageError(f"the run {run_id} logged no model, so there is nothing to compare", where="RUN")
    if "training_digest" not in tags:
        raise UsageError(
            f"the run {run_id} was not recorded by `groundplan experiment`, so what it was trained on is unknown",
            where="RUN",
        )
    script = run.data.tags.get("mlflow.source.name", "")
    return {**tags, "script": script, "parameters": dict(run.data.params), "metrics": dict(run.data.metrics)}


@contextmanager
def _code(home: Home, before: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """The script as it was: from its commit, else the file that is there, if it is unchanged."""
    script = Path(before["script"])
    commit = before["code_version"]
    inside_project = script.is_absolute() and script.is_relative_to(home.root)
    if inside_project and re.fullmatch(r"[0-9a-f]{40,64}", commit):
        with ExitStack() as stack:
            folder = None
            with suppress(UsageError):  # another clone; the file may still be the same
                folder = stack.enter_context(checked_out(home.root, commit, where="run"))
            if folder is not None:
                yield _named(folder / script.relative_to(home.root)), f"commit {commit[:12]}"
                return
    if not script.is_file():
        raise GroundplanError(
            f"its script is not there any more, and it was run as {commit}",
            where=str(script),
            fix="put the script back; then its run can be repeated",
        )
    if hashlib.sha256(script.read_bytes()).hexdigest() != before["script_sha256"]:
        was = "was never committed" if not commit.partition("-")[0].isalnum() else f"was run as {commit[:12]}, changed"
        raise GroundplanError(
            f"its script has changed since, and {was}",
            where=str(script),
            fix="commit a script before it is run; then any run can be repeated",
        )
    yield _named(script), f"{script}, unchanged"


def _named(script: Path) -> Path:
    """What people name it by."""
    return script.parent if script.name == "experiment.py" else script


def _same_data(context: Context, before: dict[str, Any]) -> None:
    """Let the new run begin with what the data steps of the earlier one have left."""
    if not context.definition.contracts:
        return
    earlier = replace(context, run=before["pipeline_run"])
    joined = bool(context.definition.features)
    documents = {step: earlier.result(step) for step in ("quality", *(("features",) if joined else ()))}
    address = documents["features"]["training_set"] if joined else documents["quality"]["dataset"]
    try:
        context.get_address(address)
    except context.s3.exceptions.NoSuchKey:
        raise GroundplanError(
            f"its data is not there any more: {address}", where="events.retention_days", fix="keep data longer"
        ) from None
    for step, document in documents.items():
        context.write_result(step, document)


def _compared(before: dict[str, Any], now: dict[str, Any], run_id: str, again: str) -> Iterator[dict[str, Any]]:
    def told(what: str, one: Any, other: Any, *, same: bool | None = None) -> dict[str, Any]:
        return {"what": what, "then": one, "now": other, "same": one == other if same is None else same}

    yield told("script", before["script_sha256"][:12], now["script_sha256"][:12])
    yield told("code it imports", before["code_digest"][:12], now["code_digest"][:12])
    yield told("dataset", before["dataset_digest"][:12], now["dataset_digest"][:12])
    yield told("training rows", before["training_digest"][:12], now["training_digest"][:12])
    yield told("parameters", before["parameters"], now["parameters"])
    packages, current = (json.loads(each["environment"]) for each in (before, now))
    changed = {name for name in packages.keys() | current.keys() if packages.get(name) != current.get(name)}
    yield told(
        "packages",
        {name: packages.get(name, "") for name in sorted(changed)},
        {name: current.get(name, "") for name in sorted(changed)},
    )
    for name in sorted(before["metrics"].keys() & now["metrics"].keys()):
        one, other = before["metrics"][name], now["metrics"][name]
        same = math.isclose(one, other, rel_tol=SAME, abs_tol=SAME) or (math.isnan(one) and math.isnan(other))
        yield told(f"metric {name}", one, other, same=same)
    yield _answers(run_id, again)


def _answers(run_id: str, again: str) -> dict[str, Any]:
    """What both models answer on the rows that the first one was judged on."""
    import mlflow

    from pipelines.registry.evaluation import answered, same
    from pipelines.serving.models.bundle import load
    from pipelines.training.labelled import load_labelled

    with TemporaryDirectory() as folder:
        places = [
            Path(
                mlflow.artifacts.download_artifacts(
                    run_id=each, artifact_path="groundplan", dst_path=f"{folder}/{each}"
                )
            )
            for each in (run_id, again)
        ]
        rows = load_labelled(places[0], "holdout")
        models = [load(place / "candidate") for place in places]
        answers = [answered(model, rows) for model in models if model is not None]
    other = sum(not same(*pair) for pair in zip(*answers, strict=True))
    count = len(answers[0])
    return {"what": "answers", "then": f"{count} rows", "now": f"{other} of {count} differ", "same": other == 0}
