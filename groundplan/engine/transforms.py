"""Transforms that a program registers (``register_resource_transform``, ``ResourceOptions(transforms=...)``), applied
as Pulumi's engine applies them: the resource's own, then those of its parents, then the stack's.

https://www.pulumi.com/docs/iac/concepts/resources/options/transforms/
"""

from __future__ import annotations

from typing import Any

import grpc
from pulumi.runtime.proto import callback_pb2, callback_pb2_grpc, resource_pb2

_TIMEOUT_S = 60.0


class Transforms:
    """The transforms of one run of a program."""

    def __init__(self) -> None:
        self._of_stack: list[Any] = []
        self._of: dict[str, list[Any]] = {}  # by URN: its own and those of its parents
        self._channels: dict[str, Any] = {}

    def add(self, callback: Any) -> None:
        """A ``Callback`` of the whole stack."""
        self._of_stack.append(callback)

    def apply(self, urn: str, request: Any) -> None:
        """Change a ``RegisterResourceRequest`` in place."""
        own = [*request.transforms, *self._of.get(request.parent, ())]
        if own:
            self._of[urn] = own
        for callback in (*own, *self._of_stack):
            self._one(callback, request)

    def _one(self, callback: Any, request: Any) -> None:
        told = resource_pb2.TransformRequest(
            type=request.type,
            name=request.name,
            custom=request.custom,
            parent=request.parent,
            properties=request.object,
            options=resource_pb2.TransformResourceOptions(
                protect=request.protect,
                provider=request.provider,
                ignore_changes=request.ignoreChanges,
                retain_on_delete=request.retainOnDelete,
                depends_on=request.dependencies,
                aliases=request.aliases,
                version=request.version,
            ),
        )
        answer = resource_pb2.TransformResponse.FromString(self._call(callback, told.SerializeToString()))
        if answer.HasField("properties"):
            request.object.CopyFrom(answer.properties)
        if not answer.HasField("options"):
            return
        options = answer.options
        if options.HasField("protect"):
            request.protect = options.protect
        if options.HasField("retain_on_delete"):
            request.retainOnDelete = options.retain_on_delete
        request.provider = options.provider
        for to, changed in (
            (request.ignoreChanges, options.ignore_changes),
            (request.dependencies, options.depends_on),
            (request.aliases, options.aliases),
        ):
            del to[:]
            to.extend(changed)

    def _call(self, callback: Any, told: bytes) -> bytes:
        if callback.target not in self._channels:
            self._channels[callback.target] = grpc.insecure_channel(callback.target)
        stub = callback_pb2_grpc.CallbacksStub(self._channels[callback.target])
        asked = callback_pb2.CallbackInvokeRequest(token=callback.token, request=told)
        answer: bytes = stub.Invoke(asked, timeout=_TIMEOUT_S).response
        return answer
