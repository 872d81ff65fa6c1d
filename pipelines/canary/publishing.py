"""Where a version is read that has no endpoint of its own, or whose endpoint is one of several ways."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.audit.records import now
from pipelines.context import Context
from pipelines.registry.approved import APPROVED
from pipelines.registry.decisions import evidence_of
from pipelines.registry.versions import Registry
from pipelines.serving.models.bundle import files_of, package, unpack
from pipelines.steps.hosting import Hosting
from pipelines.targets import triton
from pipelines.targets.served import Served


def publish(context: Context, endpoint: Hosting, version: str, files: dict[str, bytes], told: dict[str, Any]) -> None:
    """Publish a version's files.

    Batch jobs and the cluster read ``<model>/current/``, devices ``<model>/device/``, and Triton the repository
    ``<model>/triton/``, where the highest number is served
    (https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html).
    Whatever the topology, ``current`` is written: the objectives may change it.

    Args:
        told: About its origin, for devices.
    """
    # What is served is replaced last, with everything beside it that a server checks it with.
    for name, content in {**files, APPROVED: evidence_of(context, version), "model.tar.gz": package(files)}.items():
        context.put("models", f"{context.model}/current/{name}", content)
    if endpoint.settings.topology == "cluster-gpu":
        described, number = json.loads(files["model.json"]), _next_number(context)
        for name, content in triton.repository(described, files["model.onnx"], context.model, number).items():
            context.put("models", f"{context.model}/triton/{name}", content)
    if endpoint.settings.topology == "edge":
        _for_devices(context, Served(files, version, told, now()), endpoint.settings.signing_key)


def serve_again(context: Context, endpoint: Hosting, version: str) -> None:
    """Publish the files of a version that was served before."""
    stored = Registry(context).stored(version)
    with TemporaryDirectory() as folder:
        unpack(stored.artifact, Path(folder))
        files = files_of(Path(folder), version)
    publish(context, endpoint, version, files, {"run_id": stored.record.lineage["run_id"]})


def _next_number(context: Context) -> int:
    """Of a folder in Triton's repository: above all others, also for an earlier version that is served again."""
    prefix = f"{context.model}/triton/{context.model}/"
    parts = [key.removeprefix(prefix).split("/")[0] for key in context.keys("models", prefix)]
    return 1 + max((int(part) for part in parts if part.isdecimal()), default=0)


def _for_devices(context: Context, served: Served, key: str) -> None:
    """Store a device's bundle; the manifest comes last, so that no device reads one whose files are missing."""
    from pipelines.targets.device import ort
    from pipelines.targets.signing import signer

    files = ort(served, signer(key) if key else None)
    for name in sorted(files, key=lambda name: name.startswith("manifest")):
        context.put("models", f"{context.model}/device/{name}", files[name])
