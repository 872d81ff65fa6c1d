"""Pulumi's resource monitor for the local cloud: what the engine would plan, created immediately with boto3.

It extends ``pulumi.runtime.mocks.MockMonitor``, Pulumi's own extension point for programs that run without an engine.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import empty_pb2
from pulumi import AssetArchive, FileArchive, FileAsset, StringAsset
from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.sync_await import _ensure_event_loop, _sync_await

from groundplan.engine.aliases import Aliases
from groundplan.engine.program import DOCUMENTS, SECRET, engine_urn
from groundplan.engine.transforms import Transforms
from groundplan.local.moto.lookups import look_up
from groundplan.local.moto.maker import Maker
from groundplan.local.moto.rules import Cloud, Inputs, rule_for
from spec.errors import GroundplanError


@dataclass
class Record:
    """One resource of the stack, as kept in the local cloud's state (no secret value is ever in it)."""

    urn: str
    type: str
    name: str
    parent: str
    id: str
    applied: bool
    inputs: dict[str, Any]
    digest: str
    outputs: dict[str, Any]
    dependencies: list[str] = field(default_factory=list)
    seconds: float = 0.0
    change: str = "created"  # created, updated, replaced, same


class LocalMocks(Mocks):
    """Answers look-ups of the program; resources go through ``LocalMonitor``."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        """Never called: the monitor creates resources itself."""
        raise AssertionError("LocalMonitor creates the resources")

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], Any]:
        """Answer a look-up.

        Raises:
            GroundplanError: The local cloud does not support this look-up.
        """
        return look_up(self._cloud, args.token, args.args), []


class LocalMonitor(MockMonitor):
    """Creates every resource that has a rule, records the others, and reuses what already exists.

    Args:
        cloud: Where resources are created.
        known: Records of the last run against the same cloud, by URN.
    """

    def __init__(self, cloud: Cloud, known: Mapping[str, Record]) -> None:
        super().__init__(LocalMocks(cloud))
        self.known = known
        self._maker = Maker(cloud)
        self.records: dict[str, Record] = {}
        self._renamed: set[str] = set()
        self._aliases = Aliases()
        self._lock = threading.Lock()
        self._transforms = Transforms()

    @property
    def gone(self) -> list[Record]:
        """Known records that the program no longer has, under this name or another."""
        return [record for urn, record in self.known.items() if urn not in self.records and urn not in self._renamed]

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """The URN the engine would give."""
        return engine_urn(parent, type_, name)

    def RegisterStackTransform(self, request: Any) -> Any:  # noqa: N802 (the gRPC method's name)
        """Apply it to every resource from now on."""
        self._transforms.add(request)
        return empty_pb2.Empty()

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 (the gRPC method's name)
        """Create or record one resource and answer with its outputs."""
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == "pulumi:pulumi:Stack":
            return resource_pb2.RegisterResourceResponse(urn=urn)
        self._transforms.apply(urn, request)
        former = self._aliases.of(urn, request)
        self._renamed.update(former)
        _ensure_event_loop()  # type: ignore[no-untyped-call]
        wrapped = rpc.deserialize_properties(request.object)
        for key in DOCUMENTS:
            if isinstance(wrapped.get(key), Mapping) and request.type.startswith("aws:"):
                wrapped[key] = json.dumps(
                    _unwrap(wrapped[key]), sort_keys=True
                )  # the wire format does not keep the order
        ignored = set(request.ignoreChanges)
        inputs = {key: _unwrap(value) for key, value in wrapped.items()}
        shown = {key: _redact(value) for key, value in wrapped.items()}
        stable = {key: value for key, value in inputs.items() if key not in ignored}
        record = Record(
            urn=urn,
            type=request.type,
            name=request.name,
            parent=request.parent,
            id="",
            applied=False,
            inputs=shown,
            digest=hashlib.sha256(json.dumps(stable, sort_keys=True, default=str).encode()).hexdigest(),
            outputs={},
            dependencies=sorted(request.dependencies),
        )
        started = time.monotonic()
        if request.custom and not request.type.startswith("pulumi:"):
            before = next((name for name in (urn, *former) if name in self.known), urn)
            self._make(record, inputs, self.known.get(before))
        record.seconds = round(time.monotonic() - started, 4)
        with self._lock:
            if urn in self.records:
                raise GroundplanError(
                    f"two resources are both named {request.name!r}", where=urn, fix="give one of them another name"
                )
            self.records[urn] = record
        # What was secret as an input stays secret as an output.
        state = {**wrapped, **record.outputs}
        self.resources[urn] = MockMonitor.ResourceRegistration(urn, record.id, state)
        answer = _sync_await(rpc.serialize_properties({k: v for k, v in state.items() if not _is_secret(v)}, {}))
        for key, value in wrapped.items():
            if _is_secret(value):
                answer[key] = request.object[key]
        return resource_pb2.RegisterResourceResponse(urn=urn, id=record.id, object=answer)

    def _make(self, record: Record, inputs: Inputs, known: Record | None) -> None:
        rule = rule_for(record.type)
        record.applied = rule is not None
        if rule is None or known is None or not known.applied:
            record.id, record.outputs = self._maker.make(record.type, record.name, inputs)
            return
        if known.digest == record.digest:
            record.id, record.outputs, record.change = known.id, known.outputs, "same"
            return
        changed = {key for key in {*known.inputs, *record.inputs} if known.inputs.get(key) != record.inputs.get(key)}
        if self._maker.can_change(record.type, changed):
            record.change = "updated"
            record.id, record.outputs = self._maker.change(
                record.type, record.name, known.inputs, inputs, known.id, known.outputs
            )
        elif rule.replaceable:
            record.change = "replaced"
            self.delete(known)
            record.id, record.outputs = self._maker.make(record.type, record.name, inputs)
        else:
            raise GroundplanError(
                f"{', '.join(sorted(changed)) or 'a secret'} changed, and the local cloud can't change that in place",
                where=f"resource {record.name} ({record.type})",
                fix="run `groundplan down`, then `groundplan up`; or undo the change",
            )

    def delete(self, record: Record) -> None:
        """Delete one resource, if its rule says how; what can't be deleted stays until the cloud is stopped."""
        if record.applied:
            self._maker.delete(record.type, record.name, record.inputs, record.id)


def _is_secret(value: Any) -> bool:
    return rpc.is_rpc_secret(value)


def _unwrap(value: Any) -> Any:
    if _is_secret(value):
        return _unwrap(rpc.unwrap_rpc_secret(value))
    if isinstance(value, AssetArchive):
        return {
            name: Path(asset.path) if isinstance(asset, FileAsset) else asset.text
            for name, asset in value.assets.items()
            if isinstance(asset, (FileAsset, StringAsset))
        }
    if isinstance(value, (FileAsset, FileArchive)):
        return Path(value.path)
    if isinstance(value, StringAsset):
        return value.text
    if isinstance(value, Mapping):
        return {key: _unwrap(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unwrap(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # the wire format has no whole numbers
    return value


def _redact(value: Any) -> Any:
    if _is_secret(value):
        return SECRET
    if isinstance(value, AssetArchive):
        return f"[{len(value.assets)} files]"
    if isinstance(value, (FileAsset, FileArchive)):
        return str(value.path)
    if isinstance(value, StringAsset):
        return value.text
    if isinstance(value, Mapping):
        return {key: _redact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_redact(item) for item in value]
    return value
