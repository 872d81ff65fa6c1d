"""Versions for tests: records of models that nobody has trained, and people who have approved them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.context import Context
from pipelines.registry.decisions import Person, decide
from pipelines.registry.signing import sha256
from pipelines.registry.versions import Registry, interface_of
from pipelines.serving.models.bundle import description, files_of, package
from spec.model_folders import Card
from spec.versions import Change, Dataset, Kpi, VersionRecord

DESCRIBED = {
    "task": "regression",
    "classes": [],
    "columns": [{"name": "a", "type": "double"}, {"name": "b", "type": "double"}],
}


def record(version: str = "v1.0.0", artifact: bytes = b"", **changes: Any) -> VersionRecord:
    """A version's record."""
    known: dict[str, Any] = {
        "model": "some-model",
        "version": version,
        "change": Change.FIRST,
        "registered_at": "2026-01-01T00:00:00+00:00",
        "author": "author@example.com",
        "interface": interface_of(DESCRIBED),
        "recipe": {"code": "c", "parameters": "p", "data": "d"},
        "dataset": Dataset(place="s3://curated/one.parquet", digest="d", training_digest="t", rows=60),
        "parameters": {"depth": "3"},
        "metrics": {"mae": 1.5, "rmse": 2.0},
        "baseline": {"mae": 3.0, "rmse": 4.0},
        "kpi": Kpi(
            name="mae",
            unit="points",
            lift=1.5,
            interval=(1.0, 2.0),
            monthly_usd=1500,
            monthly_usd_interval=(1000, 2000),
        ),
        "evaluated_on": "rows the model has not seen",
        "code": {"commit": "abc", "script_sha256": "0" * 64},
        "environment": {"python": "3.11"},
        "lineage": {"run_id": "run", "pipeline_run": "r1", "contracts": {}, "views": [], "previous": ""},
        "signature": None,
        "files": {},
        "artifact": sha256(artifact),
        "card": Card(),
    }
    return VersionRecord.model_validate(known | changes)


def stored(
    context: Context, folder: Path, version: str = "v1.0.0", judged: bytes = b"", **changes: Any
) -> VersionRecord:
    """A version in the registry of an environment, signed.

    Args:
        folder: Of the served model.
        judged: What it was judged on, packed.
    """
    files = files_of(folder, version)
    artifact = package(files)
    known = {
        "model": context.model,
        "interface": interface_of(description(folder)),
        "files": {name: sha256(content) for name, content in files.items()},
    }
    made = record(version, artifact, **known, evaluation=sha256(judged) if judged else "", **changes)
    Registry(context).add(made, artifact, judged)
    return made


def approved(context: Context, version: str = "v1.0.0") -> None:
    """Two people who approve it."""
    for role in context.outputs.approvals:
        decide(context, version, role, Person(f"{role}@example.com", "local"), approved=True)
