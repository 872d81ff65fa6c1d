"""Applies the program of one stack to the local cloud, in this process."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import runpy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from groundplan.cloud.monitor import LocalMocks, LocalMonitor, Record
from groundplan.cloud.rules import Cloud
from groundplan.cloud.shapes import check, input_shape
from infra.errors import GroundplanError
from infra.objectives import load, load_config

PROJECT = "groundplan"


@dataclass(frozen=True)
class Applied:
    """What one run of the program did.

    Attributes:
        records: Every resource and component, in the order they were made.
        outputs: The stack's outputs.
        deleted: Records that the program no longer has.
    """

    records: list[Record]
    outputs: dict[str, Any]
    deleted: list[Record]

    @property
    def made(self) -> list[Record]:
        """Resources made for real."""
        return [record for record in self.records if record.applied]

    @property
    def recorded(self) -> list[Record]:
        """Resources that the local cloud can't make and only lists."""
        return [record for record in self.records if not record.applied and record.id]


def apply(
    root: Path, stack: str, endpoint: str, kafka_bootstrap: str, state_file: Path, manifests: Path, generation: str, program: Callable[[], None] | None = None
) -> Applied:
    """Run the program and make its resources at ``endpoint``.

    Args:
        root: The project's folder (``Pulumi.yaml``, ``stacks/``, ``infra/``).
        endpoint: Address of the AWS API that plays the cloud.
        state_file: Where records are kept between runs, JSON.
        manifests: Folder for rendered Kubernetes objects.
        generation: Names this life of the cloud; records of another life are worthless, since moto forgets.
        program: What to run instead of ``infra/__main__.py``.

    Raises:
        GroundplanError: A resource could not be made; nothing after it was.
        UsageError: The objectives are wrong.
    """
    from groundplan.kubernetes.manifests import write_one

    config = load(root, stack)
    known = _load_records(state_file, generation)
    cloud = Cloud(config.region, config.account_id, _sender(endpoint), kafka_bootstrap, lambda manifest: write_one(manifests, manifest))
    monitor = LocalMonitor(LocalMocks(config.account_id, config.region), cloud, known)
    entry = program or (lambda: _run_file(root / "infra"))
    try:
        outputs = run(entry, monitor, stack, load_config(root, stack))
    finally:
        # What was made before a failure is kept on record, so that the next run goes on from there.
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


def run(program: Callable[[], None], monitor: Any, stack: str, config: Mapping[str, Any], *, preview: bool = False, project: str = PROJECT) -> dict[str, Any]:
    """Run a Pulumi program against a monitor and return its stack outputs, resolved.

    Raises:
        GroundplanError: What the program or the monitor raised; other errors come through as they are.
    """
    import pulumi
    from pulumi.runtime import settings
    from pulumi.runtime.stack import run_pulumi_func

    logging.getLogger("pulumi").setLevel(logging.CRITICAL)
    # A run that failed leaves its unfinished work behind, tied to an event loop that is gone.
    settings.SETTINGS.rpc_manager.clear()
    settings.SETTINGS.outputs.clear()
    settings.set_root_resource(None)  # type: ignore[arg-type]
    pulumi.runtime.set_all_config({key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()})
    quiet = logging.getLogger("groundplan.pulumi")
    quiet.setLevel(logging.CRITICAL)

    async def whole() -> None:
        """Run the program and wait for its outputs: the SDK's own wait begins anew with all that are left after each one."""
        program()
        outputs = settings.SETTINGS.outputs
        while outputs:
            pending = list(outputs)
            outputs.clear()
            done, unfinished = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
            outputs.update(unfinished)
            if unfinished or any(task.cancelled() or task.exception() for task in done):
                outputs.update(done)
                return  # the SDK finds the failure and says so

    async def main() -> dict[str, Any]:
        # A failure is raised; asyncio would tell once more of every output that waited for it.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        pulumi.runtime.set_mocks(monitor.mocks, project=project, stack=stack, preview=preview, monitor=monitor, logger=quiet)
        await run_pulumi_func(whole)
        root = settings.get_root_resource()
        exported = getattr(root, "outputs", {})
        return await pulumi.Output.all(**exported).future(with_unknowns=preview) or {}

    # Thousands of classes are made while the provider's package is imported; looking for garbage among them took a third of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        # asyncio.run also ends what a failure has left unfinished: coroutines that only the garbage collector would find
        # have crashed CPython 3.11.
        return asyncio.run(main())
    except Exception as error:
        for cause in causes(error):
            if isinstance(cause, GroundplanError):
                raise cause from None
        raise
    finally:
        if collecting:
            gc.enable()


def causes(error: BaseException) -> list[BaseException]:
    """An error and what led to it, each once: the SDK raises some of its errors from one another."""
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


def _run_file(folder: Path) -> None:
    runpy.run_path(str(folder), run_name="__main__")


def _sender(endpoint: str) -> Callable[[str, str, str, Mapping[str, Any]], dict[str, Any]]:
    """A function that checks and sends AWS requests; clients are kept, since making one costs more than a call."""
    from botocore import xform_name

    from groundplan.cloud.aws import client

    clients: dict[tuple[str, str], Any] = {}

    def send(region: str, service: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        shape = input_shape(service, operation)
        if shape is not None and (faults := check(shape, request)):
            raise GroundplanError(f"AWS would refuse this {operation}: {'; '.join(faults)}", fix="mend the component's arguments")
        if (region, service) not in clients:
            clients[region, service] = client(service, endpoint, region)
        return dict(getattr(clients[region, service], xform_name(operation))(**request))

    return send


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
    temporary.write_text(json.dumps({"generation": generation, "resources": [asdict(record) for record in records.values()]}, indent=1), encoding="utf-8")
    temporary.replace(path)
