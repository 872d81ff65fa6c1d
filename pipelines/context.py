"""What every step is given: the platform's outputs, the example, and a place where steps leave their results."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from components.names import short_name
from infra.contracts import Contract, load_contract
from infra.errors import GroundplanError, UsageError
from infra.objectives import ModelObjectives
from infra.outputs import Outputs, read

MODEL_NAME_LIMIT = 40
SAGEMAKER_NAME_LIMIT = 63


@dataclass(frozen=True)
class Example:
    """A folder (or a single script) with an experiment.

    Attributes:
        model: Name of the model: the one ``example.yaml`` gives, else the folder's or script's own.
        script: The MLflow script.
        target: Name of the label in the contract; None without a contract.
        source: ``file.py:function`` that yields events, for filling the topic on one machine.
    """

    folder: Path
    model: str
    script: Path
    contract: Contract | None = None
    target: str | None = None
    source: str | None = None


def load_example(path: Path) -> Example:
    """Read an example.

    Raises:
        UsageError: There is no such script or folder, or ``example.yaml`` is wrong.
    """
    import re

    import yaml

    path = path.resolve()
    settings: dict[str, Any] = {}
    if path.is_file() and path.suffix == ".py":
        folder, script = path.parent, path
        default_name = path.stem
    elif path.is_dir():
        folder, script, default_name = path, path / "experiment.py", path.name
        file = path / "example.yaml"
        settings = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}) if file.is_file() else {}
        if not script.is_file():
            raise UsageError("has no experiment.py", where=str(path), fix="name a folder with experiment.py, or a Python script")
    else:
        raise UsageError("no such script or folder", where=str(path), fix="name a folder with experiment.py, or a Python script")
    unknown = set(settings) - {"model", "target", "source"}
    if unknown:
        raise UsageError(f"unknown keys {', '.join(sorted(unknown))}; known: model, source, target", where=str(path / "example.yaml"))
    contract_file = folder / "contract.yaml"
    contract = load_contract(contract_file) if path.is_dir() and contract_file.is_file() else None
    model = settings.get("model") or re.sub(r"[^a-z0-9]+", "-", default_name.lower()).strip("-")[:MODEL_NAME_LIMIT].strip("-") or "model"
    if contract is not None and settings.get("target") not in {p.name for p in contract.properties}:
        raise UsageError(f"`target` must name a property of contract.yaml, found {settings.get('target')!r}", where=str(path / "example.yaml"))
    return Example(folder, model, script, contract, settings.get("target"), settings.get("source"))


def sandbox_objectives(task: str) -> ModelObjectives:
    """Objectives of a model that the stack file does not name: nothing is promised, so nothing is refused."""
    metric = "mae" if task == "regression" else "accuracy"
    return ModelObjectives.model_validate(
        {
            "value": {"kpi": metric, "unit": "points", "usd_per_unit": 0, "predictions_per_month": 1},
            "latency_ms": 1000,
            "requests_per_second": {"average": 1, "peak": 1},
            "retraining": {"every_hours": 24, "within_minutes": 60},
            "quality": {"metric": metric, "worst": 1e308 if metric == "mae" else 0},
        }
    )


@dataclass(frozen=True)
class Context:
    """One run of the pipeline, seen from one step."""

    outputs: Outputs
    example: Example
    run: str
    reports: Path

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.example.model

    def objectives(self, task: str) -> ModelObjectives:
        """The model's objectives; the sandbox's where the stack names none."""
        return self.outputs.models.get(self.model) or sandbox_objectives(task)

    @property
    def endpoint_name(self) -> str:
        """The model's endpoint, one of the program's or the sandbox's."""
        known = self.outputs.endpoints.get(self.model)
        return known.name if known and known.name else short_name(f"{self.outputs.project}-{self.outputs.stack}-{self.model}", SAGEMAKER_NAME_LIMIT)

    @cached_property
    def s3(self) -> Any:
        """An S3 client; addresses and credentials come from the environment, here as on AWS."""
        import boto3

        return boto3.client("s3")

    def write_result(self, step: str, document: dict[str, Any]) -> None:
        """Leave a step's result where the next steps find it (curated zone, ``runs/``)."""
        self.put("curated", self._result_key(step), json.dumps(document, indent=1).encode(), "application/json")

    def result(self, step: str) -> dict[str, Any]:
        """The result of an earlier step of this run.

        Raises:
            GroundplanError: That step has not run.
        """
        try:
            document: dict[str, Any] = json.loads(self.get("curated", self._result_key(step)))
            return document
        except self.s3.exceptions.NoSuchKey:
            raise GroundplanError(f"step {step} has left no result in run {self.run}", where=self.model, fix="run the steps in order") from None

    def _result_key(self, step: str) -> str:
        return f"runs/{self.model}/{self.run}/{step}.json"

    def put(self, zone: str, key: str, body: bytes, content_type: str = "application/octet-stream") -> str:
        """Store an object in a zone of the lake, encrypted with the zone's key; returns its address."""
        bucket = self.outputs.buckets[zone]
        self.s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)
        return f"s3://{bucket}/{key}"

    def get(self, zone: str, key: str) -> bytes:
        """Read an object of a zone."""
        return self.get_address(f"s3://{self.outputs.buckets[zone]}/{key}")

    def get_address(self, address: str) -> bytes:
        """Read an ``s3://`` address."""
        bucket, _, key = address.removeprefix("s3://").partition("/")
        body: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body


def main(step: str, body: Callable[[Context], dict[str, Any]]) -> None:
    """Entry point of every step: read the arguments, run, leave the result, exit 0, 1 or 2."""
    # Asked to stop, a step cleans up as after any failure: a canary must not stay half-way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog=f"pipelines.{step}")
    parser.add_argument("--example", required=True, help="folder with experiment.py, or a script")
    parser.add_argument("--run", required=True, help="name of this run of the pipeline")
    parser.add_argument("--outputs", default=os.environ.get("GROUNDPLAN_OUTPUTS"), help="file or s3:// address of the platform's outputs")
    parser.add_argument("--reports", default=os.environ.get("GROUNDPLAN_REPORTS", "reports"), help="folder for pages made for people")
    arguments = parser.parse_args()
    try:
        if not arguments.outputs:
            raise UsageError("no platform outputs named", where="--outputs", fix="give --outputs, or set GROUNDPLAN_OUTPUTS")
        context = Context(read(arguments.outputs), load_example(Path(arguments.example)), arguments.run, Path(arguments.reports))
        context.write_result(step, body(context))
    except GroundplanError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except Exception as error:  # the log has the traceback; the last line says it in one sentence
        traceback.print_exc()
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
