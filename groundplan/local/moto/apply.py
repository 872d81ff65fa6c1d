"""Applies the program of one stack to the local cloud, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from groundplan.engine.program import project_name, run, run_file
from groundplan.local.moto.monitor import LocalMonitor, Record
from groundplan.local.moto.rules import Cloud
from groundplan.local.moto.sending import keeper, sender
from spec.errors import GroundplanError
from spec.objectives import load, load_config


@dataclass(frozen=True)
class Applied:
    """What one run of the program did.

    Attributes:
        records: Every resource and component, in the order they were created.
        outputs: The stack's outputs.
        deleted: Records that the program no longer has.
    """

    records: list[Record]
    outputs: dict[str, Any]
    deleted: list[Record]

    @property
    def made(self) -> list[Record]:
        """Resources that were really created."""
        return [record for record in self.records if record.applied]

    @property
    def recorded(self) -> list[Record]:
        """Resources that the local cloud can't create and only lists."""
        return [record for record in self.records if not record.applied and record.id]


def apply(
    root: Path,
    stack: str,
    endpoint: str,
    kafka_bootstrap: str,
    state_file: Path,
    manifests: Path,
    generation: str,
    program: Callable[[], None] | None = None,
) -> Applied:
    """Run the program and create its resources at ``endpoint``.

    Args:
        root: The project's folder (``Pulumi.yaml``, ``stacks/``, ``__main__.py``).
        endpoint: Address of the AWS API that plays the cloud.
        state_file: Where records are kept between runs, JSON.
        manifests: Folder for rendered Kubernetes objects.
        generation: Identifies this run of the cloud; records of another run are useless, since moto forgets.
        program: What to run instead of the project's ``__main__.py``.

    Raises:
        GroundplanError: A resource could not be created; nothing after it was.
        UsageError: The objectives are invalid.
    """
    config = load(root, stack)
    known = _load_records(state_file, generation)
    settings = load_config(root, stack)
    applies = not settings.get("kubernetes:renderYamlToDirectory")
    cloud = Cloud(
        config.region,
        config.account_id,
        sender(endpoint),
        kafka_bootstrap,
        keeper(endpoint, config.region, manifests),
        applies,
    )
    monitor = LocalMonitor(cloud, known)
    entry = program or (lambda: run_file(root))
    try:
        outputs = run(entry, monitor, stack, settings, project=project_name(root))
    finally:
        # What was created before a failure stays on record, so that the next run continues from there.
        _save_records(state_file, generation, {**{record.urn: record for record in monitor.gone}, **monitor.records})
    gone = monitor.gone
    for record in reversed(gone):
        try:
            monitor.delete(record)
        except Exception as error:
            raise GroundplanError(
                f"could not be deleted: {type(error).__name__}: {error}",
                where=f"resource {record.name} ({record.type})",
                fix="run `groundplan down`, then `groundplan up`",
            ) from error
    _save_records(state_file, generation, monitor.records)
    return Applied(list(monitor.records.values()), outputs, gone)


def _load_records(path: Path, generation: str) -> dict[str, Record]:
    if not path.is_file():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    if document["generation"] != generation:
        return {}
    return {item["urn"]: Record(**item) for item in document["resources"]}


def _save_records(path: Path, generation: str, records: Mapping[str, Record]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(
        json.dumps({"generation": generation, "resources": [asdict(record) for record in records.values()]}, indent=1),
        encoding="utf-8",
    )
    temporary.replace(path)
