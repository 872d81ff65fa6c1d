"""Runs a stack's program in preview semantics: nothing is created, and values known only after deployment are unknown.

As in a first real preview, ids, ARNs and every other computed value are unknown; what depends on them is unknown, too,
and ``apply`` does not run on it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks
from pulumi.runtime.proto import provider_pb2, resource_pb2

from groundplan.engine.aliases import Aliases
from groundplan.engine.program import COMPUTED_INSIDE, DOCUMENTS, SECRET, engine_urn, project_name, run, run_file
from groundplan.engine.transforms import Transforms
from groundplan.engine.unknown import UNKNOWN
from spec.errors import GroundplanError


@dataclass(frozen=True)
class Previewed:
    """One resource of the program.

    Attributes:
        inputs: As sent to the provider, camel case; unknown values are ``UNKNOWN``.
        references: By input, the URNs of the resources that it comes from.
        aliases: URNs it may have had before.
        ignore_changes, replace_on_changes: Paths of inputs.
        protect: Whether the engine refuses to delete it.
    """

    urn: str
    type: str
    name: str
    parent: str
    custom: bool
    inputs: dict[str, Any]
    dependencies: tuple[str, ...]
    aliases: tuple[str, ...]
    protect: bool
    retain_on_delete: bool
    ignore_changes: tuple[str, ...]
    replace_on_changes: tuple[str, ...]
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class _NoLookups(Mocks):
    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        raise AssertionError("PreviewMonitor answers itself")

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], None]:
        raise GroundplanError(
            f"the program looks up {args.token} while it previews", fix="take the value as an argument instead"
        )


class PreviewMonitor(MockMonitor):
    """Answers with the inputs alone; Pulumi's SDK treats everything else as unknown."""

    def __init__(self) -> None:
        super().__init__(_NoLookups())
        self.found: dict[str, Previewed] = {}
        self._lock = threading.Lock()
        self._transforms = Transforms()
        self._aliases = Aliases()
        self.not_run: dict[str, None] = {}  # what the engine would run, and a preview here does not

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """The URN the engine would give."""
        return engine_urn(parent, type_, name)

    def registering(self, urn: str, request: Any) -> None:
        """Called with each resource as the program wants it, its transforms applied."""

    def ReadResource(self, request: Any) -> Any:  # noqa: N802 (the gRPC method's name)
        """What the program only reads exists already, but nothing about it is known."""
        urn = self.make_urn(request.parent, request.type, request.name)
        return resource_pb2.ReadResourceResponse(urn=urn, properties=request.properties)

    def Invoke(self, request: Any) -> Any:  # noqa: N802 (the gRPC method's name)
        """A resource that is another's input as a whole is identified by its URN; the rest is a look-up."""
        if request.tok != "pulumi:pulumi:getResource":
            return super().Invoke(request)  # type: ignore[no-untyped-call]
        known = struct_pb2.Struct()
        known.update({"urn": request.args["urn"], "id": "", "state": {}})
        return resource_pb2.ResourceInvokeResponse(**{"return": known})

    def Call(self, request: Any) -> Any:  # noqa: N802 (the gRPC method's name)
        """What a component's method returns is unknown until the component exists."""
        unknown = struct_pb2.Struct()
        unknown.update({"result": rpc.UNKNOWN})
        return provider_pb2.CallResponse(**{"return": unknown})

    def RegisterStackTransform(self, request: Any) -> Any:  # noqa: N802 (the gRPC method's name)
        """Apply it to every resource from now on."""
        self._transforms.add(request)
        return empty_pb2.Empty()

    def RegisterStackInvokeTransform(self, request: Any) -> Any:  # noqa: N802 (the gRPC method's name)
        """Note it: look-ups are answered as the program writes them."""
        self.not_run["transforms of look-ups"] = None
        return empty_pb2.Empty()

    def RegisterResourceHook(self, request: Any) -> Any:  # noqa: N802 (the gRPC method's name)
        """Note it: nothing is created here that a hook could come before or after."""
        self.not_run[f"the hook {request.name}"] = None
        return empty_pb2.Empty()

    def RegisterErrorHook(self, request: Any) -> Any:  # noqa: N802 (the gRPC method's name)
        """Note it."""
        return self.RegisterResourceHook(request)

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 (the gRPC method's name)
        """Note the resource; its id is unknown."""
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == "pulumi:pulumi:Stack":
            return resource_pb2.RegisterResourceResponse(urn=urn)
        self._transforms.apply(urn, request)
        self.registering(urn, request)
        item = Previewed(
            urn=urn,
            type=request.type,
            name=request.name,
            parent=request.parent,
            custom=request.custom,
            inputs=_plain(json_format.MessageToDict(request.object)),
            dependencies=tuple(sorted(request.dependencies)),
            aliases=tuple(self._aliases.of(urn, request)),
            protect=request.protect,
            retain_on_delete=request.retainOnDelete,
            ignore_changes=tuple(request.ignoreChanges),
            replace_on_changes=tuple(request.replaceOnChanges),
            references={
                key: tuple(sorted(item.urns)) for key, item in request.propertyDependencies.items() if item.urns
            },
        )
        with self._lock:
            if urn in self.found:
                raise GroundplanError(
                    f"two resources are both named {request.name!r}", where=urn, fix="give one of them another name"
                )
            self.found[urn] = item
        if request.remote:  # a component in another language: its outputs need not look like its inputs
            return resource_pb2.RegisterResourceResponse(urn=urn)
        answer = request.object
        for key in DOCUMENTS:
            if request.type.startswith("aws:") and key in answer.fields and answer.fields[key].HasField("struct_value"):
                answer[key] = rpc.UNKNOWN  # text that the program could only build from parts
        for key, parts in COMPUTED_INSIDE.get(request.type, {}).items():
            for part in parts:
                answer.get_or_create_struct(key)[part] = rpc.UNKNOWN
        return resource_pb2.RegisterResourceResponse(urn=urn, object=answer)  # no id: it is unknown


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        if rpc._special_sig_key in value:  # a secret, an archive, or an output with its dependencies
            if "assets" in value:
                return f"[{len(value['assets'])} files]"
            return (
                SECRET
                if value[rpc._special_sig_key] == rpc._special_secret_sig
                else _plain(value.get("value", UNKNOWN))
            )
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if value == rpc.UNKNOWN:
        return UNKNOWN
    return int(value) if isinstance(value, float) and value.is_integer() else value


def preview(
    root: Path, stack: str, *, config: Mapping[str, Any] | None = None, program: Callable[[], None] | None = None
) -> list[Previewed]:
    """Resources and components of a stack, in the order the program registered them.

    Args:
        root: The project's folder.
        config: Instead of the stack file's.
        program: Instead of the project's ``__main__.py``.

    Raises:
        UsageError: The objectives are invalid or can't be met.
    """
    from spec.objectives import load_config

    monitor = PreviewMonitor()
    run(
        program or (lambda: run_file(root)),
        monitor,
        stack,
        load_config(root, stack) if config is None else config,
        project=project_name(root),
        preview=True,
    )
    return list(monitor.found.values())
