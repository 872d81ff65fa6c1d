"""What every step gets: the platform's outputs, the model's definition, and a place for its results."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from pipelines.training.model_name import model_name, named_in
from pipelines.training.projects import Project, project_of
from spec.contracts import Contract
from spec.errors import GroundplanError, UsageError
from spec.feature_views import View
from spec.model_folders import Card, is_model, load_contracts, options_of, read_model_file, views_of
from spec.names import short_name
from spec.objectives import ModelObjectives
from spec.outputs import Outputs, read
from spec.steps import STEPS, Phase

SAGEMAKER_NAME_LIMIT = 63
GRAPH_ONLY = ("cluster-gpu", "edge")  # topologies in which a model has no separate process


@dataclass(frozen=True)
class ModelDefinition:
    """A folder (or a single script) with an experiment.

    Attributes:
        model: Name of the model: the requested one, else that of ``model.yaml``, else the one under which the script
            registers its model, else that of its MLflow experiment, else the folder's or script's own.
        script: The MLflow script.
        contracts: Contracts of its data's topics; none for a script that brings its own data.
        views: Feature views that are built from the contracts' tables.
        target: Name of the label; empty without a contract.
        source: ``file:function`` that yields a topic's events, to fill the topics on one machine.
        features: Module in the folder that builds the views; empty where the one contract's events are the features.
        recording: The events are from the past, replayed: "now" is the newest of them.
        project: The folder's MLflow project, if it has no experiment.py.
        options: Arguments of the source, by name.
        classes: What people call each class of the label, by the label's value.
        card: What its card says beside what is measured.
    """

    folder: Path
    model: str
    script: Path
    contracts: tuple[Contract, ...] = ()
    views: tuple[View, ...] = ()
    target: str = ""
    source: str = ""
    features: str = ""
    recording: bool = False
    project: Project | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, str] = field(default_factory=dict)
    card: Card = field(default_factory=Card)

    @property
    def asked_for(self) -> Path:
        """What people name it by: its folder, or a script that is a model by itself."""
        return self.folder if self.script.name == "experiment.py" or self.project else self.script

    @property
    def own_code(self) -> tuple[Path, ...]:
        """Files beside the script that decide what it trains on."""
        return (self.folder / f"{self.features}.py",) if self.features else ()

    def function(self, address: str) -> Any:
        """A function of the model's own code, by ``file:function``.

        Raises:
            UsageError: There is no such file or function.
        """
        import importlib.util

        file, _, name = address.partition(":")
        path = self.folder / f"{file}.py"
        spec = importlib.util.spec_from_file_location(f"example_{file}", path)
        if spec is None or spec.loader is None or not path.is_file():
            raise UsageError(
                f"names {address!r}, but {path.name} does not exist", where=str(self.folder / "model.yaml")
            )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if not hasattr(module, name):
            raise UsageError(f"names {address!r}, but {path.name} has no {name}", where=str(self.folder / "model.yaml"))
        return getattr(module, name)


def load_definition(path: Path, name: str = "", options: Mapping[str, str] | None = None) -> ModelDefinition:
    """Read a model: its folder, or one of its scripts. A script outside a model's folder is a model by itself.

    Args:
        name: The model's name, instead of the one from its folder or script.
        options: Arguments of the source, instead of their defaults.

    Raises:
        UsageError: There is no such script or folder, ``model.yaml`` is invalid, or it has no such option.
    """
    path, project = path.resolve(), None
    if path.is_file() and path.suffix in (".py", ".ipynb"):
        folder, script, default_name = path.parent, path, path.stem
    elif (path / "experiment.py").is_file():
        folder, script, default_name = path, path / "experiment.py", path.name
    elif (project := project_of(path)) is not None:
        folder, script, default_name = path, project.script, path.name
    elif path.is_dir():
        raise UsageError(
            "has no experiment.py",
            where=str(path),
            fix="name a folder with experiment.py or MLproject, a Python script or a notebook",
        )
    else:
        raise UsageError(
            "no such script or folder",
            where=str(path),
            fix="name a folder with experiment.py, a Python script or a notebook",
        )
    file = read_model_file(folder)
    if name and name != model_name(name):
        raise UsageError(
            f"{name!r} is not the name of a model",
            where="--name",
            fix=f"use lowercase letters, digits and dashes, at most 40: {model_name(name)}",
        )
    model = name or file.model or model_name(named_in(script) or default_name)
    contracts = load_contracts(folder) if is_model(folder) else ()
    where = str(folder / "model.yaml")
    if len(contracts) > 1 and not file.features:
        raise UsageError(
            "has several contracts, but no `features` that join their tables",
            where=where,
            fix="write a module of Ibis expressions, and name it in `features`",
        )
    if contracts and not file.features and file.target not in {item.name for item in contracts[0].fields}:
        raise UsageError(f"`target` must name a property of the contract, found {file.target!r}", where=where)
    views = views_of(file, contracts) if contracts else ()
    return ModelDefinition(
        folder,
        model,
        script,
        contracts,
        views,
        file.target,
        file.source,
        file.features,
        file.recording,
        project,
        options_of(file, options or {}, model),
        file.classes,
        file.card,
    )


def sandbox_objectives(task: str) -> ModelObjectives:
    """Objectives of a model that the stack file does not name: nothing is promised, so nothing is rejected."""
    metric = "rmse" if task == "regression" else "accuracy"  # as scikit-learn ranks them: by r2, and by accuracy
    return ModelObjectives.model_validate(
        {
            "value": {
                "kpi": metric,
                "unit": "points",
                "usd_per_unit": 0,
                "predictions_per_month": 1,
                "least_lift": -1e308,
            },
            "latency_ms": 1000,
            "requests_per_second": {"average": 1, "peak": 1},
            "retraining": {"every_hours": 24, "within_minutes": 60},
            "quality": {"metric": metric, "worst": 1e308 if metric == "rmse" else 0},
        }
    )


@dataclass(frozen=True)
class Wishes:
    """The options with which a run was started.

    Attributes:
        run_name, artifact: Which model to use, where the script logs several: the MLflow run's name, and the name
            passed to ``log_model``.
        take_over: Continue with a model that another script has produced until now.
        let_shrink: An online store may lose more than half of its rows.
        record_only: A run without a model that can be served is not a failure.
        reuse: What was trained on the same rows by the same code is used again.
        profile: Where the script's time goes is recorded.
        script_arguments: What the script finds in ``sys.argv``.
    """

    run_name: str = ""
    artifact: str = ""
    take_over: bool = False
    let_shrink: bool = False
    record_only: bool = False
    reuse: bool = False
    profile: bool = False
    script_arguments: tuple[str, ...] = ()

    def arguments(self) -> tuple[str, ...]:
        """As arguments of ``main``."""
        texts = (("--run-name", self.run_name), ("--artifact", self.artifact))
        flags = (
            ("--take-over", self.take_over),
            ("--let-shrink", self.let_shrink),
            ("--record-only", self.record_only),
            ("--reuse", self.reuse),
            ("--profile", self.profile),
        )
        script = ("--script-arguments", json.dumps(self.script_arguments)) if self.script_arguments else ()
        return (
            *(part for option, value in texts if value for part in (option, value)),
            *(option for option, value in flags if value),
            *script,
        )


@dataclass(frozen=True)
class Context:
    """One run of the pipeline, seen from one step.

    Attributes:
        calls: Calls of the cloud that the next record of the audit log is about.
    """

    outputs: Outputs
    definition: ModelDefinition
    run: str
    reports: Path
    wishes: Wishes = Wishes()
    calls: list[dict[str, str]] = field(default_factory=list, compare=False)

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.definition.model

    def objectives(self, task: str) -> ModelObjectives:
        """The model's objectives; the sandbox's where the stack names none."""
        return self.outputs.models.get(self.model) or sandbox_objectives(task)

    @property
    def endpoint_name(self) -> str:
        """The model's endpoint, one of the program's or the sandbox's."""
        known = self.outputs.endpoints.get(self.model)
        return (
            known.name
            if known and known.name
            else short_name(f"{self.outputs.project}-{self.outputs.stack}-{self.model}", SAGEMAKER_NAME_LIMIT)
        )

    @cached_property
    def s3(self) -> Any:
        """An S3 client; addresses and credentials come from the environment, here as on AWS."""
        import boto3

        return boto3.client("s3")

    def write_result(self, step: str, document: dict[str, Any]) -> None:
        """Store a step's result where the next steps find it (curated zone, ``runs/``)."""
        text = json.dumps(document, indent=1)
        self.put("curated", self._result_key(step), text.encode(), "application/json")
        if folder := os.environ.get("GROUNDPLAN_RESULTS"):  # where a SageMaker Pipeline reads it
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / f"{step}.json").write_text(text, encoding="utf-8")

    def result(self, step: str) -> dict[str, Any]:
        """The result of an earlier step of this run.

        Raises:
            GroundplanError: That step has not run.
        """
        try:
            document: dict[str, Any] = json.loads(self.get("curated", self._result_key(step)))
            return document
        except self.s3.exceptions.NoSuchKey:
            raise GroundplanError(
                f"step {step} has left no result in run {self.run}", where=self.model, fix="run the steps in order"
            ) from None

    def waiting(self) -> str:
        """What this run waits for: a new topic without events is not a failure, but the following steps have nothing to
        do yet.
        """
        found = self.read("curated", self._result_key("ingest"))
        return str(json.loads(found).get("waiting", "")) if found is not None else ""

    def _result_key(self, step: str) -> str:
        return f"runs/{self.model}/{self.run}/{step}.json"

    def put(self, zone: str, key: str, body: bytes, content_type: str = "application/octet-stream") -> str:
        """Store an object in a zone of the lake, encrypted with the zone's key; returns its address."""
        bucket = self.outputs.buckets[zone]
        self.s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)
        return f"s3://{bucket}/{key}"

    def keys(self, zone: str, prefix: str, after: str = "") -> Iterator[str]:
        """Keys of a zone's objects below a prefix, in order; after one of them."""
        return (item["Key"] for item in self.objects(zone, prefix, after))

    def objects(self, zone: str, prefix: str, after: str = "") -> Iterator[dict[str, Any]]:
        """The same with what S3 tells of each, such as ``LastModified``."""
        more = {"StartAfter": after} if after else {}
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.outputs.buckets[zone], Prefix=prefix, **more
        )
        for page in pages:
            yield from page.get("Contents", ())

    def folders(self, zone: str, prefix: str) -> Iterator[str]:
        """What is directly below a prefix and has objects below it, each with its last slash."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.outputs.buckets[zone], Prefix=prefix, Delimiter="/"
        )
        for page in pages:
            for found in page.get("CommonPrefixes", ()):
                yield found["Prefix"]

    def get(self, zone: str, key: str) -> bytes:
        """Read an object of a zone."""
        return self.get_address(f"s3://{self.outputs.buckets[zone]}/{key}")

    def read(self, zone: str, key: str) -> bytes | None:
        """Read an object of a zone; None where there is none."""
        try:
            return self.get(zone, key)
        except self.s3.exceptions.NoSuchKey:
            return None

    def get_address(self, address: str) -> bytes:
        """Read an ``s3://`` address."""
        bucket, _, key = address.removeprefix("s3://").partition("/")
        body: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body


def check_conditions(context: Context, step: str) -> None:
    """Check what must hold before a step may start, wherever it runs.

    Raises:
        GroundplanError: A condition does not hold.
    """
    for condition in next((item.conditions for item in STEPS if item.name == step), ()):
        judged = context.result(condition.step)
        if not judged["passed"][condition.name]:
            raise GroundplanError(
                judged["because"],
                where=f"groundplan:objectives.models.{context.model}",
                fix="improve the model, or change the objective together with product",
            )


def main(step: str, body: Callable[[Context], dict[str, Any]]) -> None:
    """Entry point of every step: read the arguments, run, store the result, exit 0, 1 or 2."""
    # On SIGTERM a step cleans up as after any failure: a canary must not stay half-way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog=f"pipelines.{step}")
    parser.add_argument("--model-folder", required=True, help="folder with experiment.py, or a script")
    parser.add_argument("--run", required=True, help="name of this run of the pipeline")
    parser.add_argument(
        "--outputs",
        default=os.environ.get("GROUNDPLAN_OUTPUTS"),
        help="file or s3:// address of the platform's outputs",
    )
    parser.add_argument(
        "--reports", default=os.environ.get("GROUNDPLAN_REPORTS", "reports"), help="folder for HTML pages"
    )
    parser.add_argument("--name", default="", help="name of the model, instead of its folder's")
    parser.add_argument("--options", default="{}", type=json.loads, help="JSON object of the source's arguments")
    parser.add_argument("--run-name", default="", help="MLflow run whose model is used, where the script logs several")
    parser.add_argument(
        "--artifact", default="", help="name of the logged model that is used, where the script logs several"
    )
    parser.add_argument(
        "--take-over", action="store_true", help="continue with a model that another script has produced"
    )
    parser.add_argument("--let-shrink", action="store_true", help="an online store may lose more than half of its rows")
    parser.add_argument(
        "--record-only", action="store_true", help="a run without a model that can be served is not a failure"
    )
    parser.add_argument("--profile", action="store_true", help="record where the script's time goes")
    parser.add_argument(
        "--reuse", action="store_true", help="use what was trained on the same rows by the same code again"
    )
    parser.add_argument(
        "--script-arguments", default="[]", type=json.loads, help="JSON list of the script's own arguments"
    )
    arguments = parser.parse_args()
    wishes = Wishes(
        arguments.run_name,
        arguments.artifact,
        arguments.take_over,
        arguments.let_shrink,
        arguments.record_only,
        arguments.reuse,
        arguments.profile,
        tuple(arguments.script_arguments),
    )
    with ExitStack() as output:
        _run(step, body, arguments, wishes, output)


def _run(
    step: str,
    body: Callable[[Context], dict[str, Any]],
    arguments: argparse.Namespace,
    wishes: Wishes,
    output: ExitStack,
) -> None:
    try:
        if not arguments.outputs:
            raise UsageError(
                "no platform outputs given", where="--outputs", fix="pass --outputs, or set GROUNDPLAN_OUTPUTS"
            )
        definition = load_definition(Path(arguments.model_folder), arguments.name, arguments.options)
        context = Context(read(arguments.outputs), definition, arguments.run, Path(arguments.reports), wishes)
        _hide_personal_data(step, definition, output)
        if (text := context.waiting()) and step != "ingest":
            # A pipeline that reads this verdict must not take the wait for a bad model.
            judged = [condition.name for item in STEPS for condition in item.conditions if condition.step == step]
            result: dict[str, Any] = {"waiting": text} | ({"passed": dict.fromkeys(judged, True)} if judged else {})
            context.write_result(step, result)
        else:
            from pipelines.lineage.emitting import perform

            def checked(context: Context) -> dict[str, Any]:
                check_conditions(context, step)
                return body(context)

            result = perform(context, step, checked)
        if result.get("waiting"):
            print(f"waiting: {result['waiting']}")
    except GroundplanError as error:
        _fail(str(error), error.exit_code)
    except Exception as error:  # the log has the traceback; the last line says it in one sentence
        traceback.print_exc()
        _fail(f"{type(error).__name__}: {error}", 1)


def _hide_personal_data(step: str, definition: ModelDefinition, output: ExitStack) -> None:
    """What people's own code prints, and what it fails on, goes through a filter. The steps of a release say who has
    agreed, and run no such code.
    """
    from pipelines.privacy.redacting import redacted_output

    if any(each.name == step and each.phase is Phase.RELEASE for each in STEPS):
        return
    owners = {definition.card.owner, *(contract.owner for contract in definition.contracts)} - {""}
    output.enter_context(redacted_output(owners))


# SageMaker shows what a container leaves here as the reason why its training or processing job has failed:
# https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-output.html
_REASONS = (Path("/opt/ml/output/failure"), Path("/opt/ml/output/message"))
_REASON_BYTES = 1024


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    for path in _REASONS:
        if path.parent.is_dir():
            from pipelines.privacy.redacting import redacted

            path.write_bytes(redacted(message).encode()[:_REASON_BYTES])
    raise SystemExit(code) from None
