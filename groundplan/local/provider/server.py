"""Serves a provider over the engine's protocol.

https://github.com/pulumi/pulumi/blob/master/proto/pulumi/provider.proto
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any, Protocol

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime import rpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, plugin_pb2, provider_pb2, provider_pb2_grpc

from groundplan.engine.unknown import UNKNOWN
from groundplan.local.provider.differences import ADDED, REMOVED, carried, differences
from spec.errors import GroundplanError

VERSION = "999.0.0"  # newer than any that a program requires
Properties = dict[str, Any]


class Provider(Protocol):
    """What a cloud does for the engine. Unknown values are ``groundplan.engine.unknown.UNKNOWN``."""

    def configure(self, config: Mapping[str, Any]) -> Provider:
        """The provider of this configuration."""

    def check(
        self, token: str, name: str, olds: Properties, news: Properties, seed: bytes
    ) -> tuple[Properties, list[tuple[str, str]]]:
        """Inputs as they are stored, and what is wrong with them."""

    def diff(self, token: str, path: str) -> bool:
        """Whether a change there replaces the resource."""

    def deletes_first(self, inputs: Properties) -> bool:
        """Whether the old one must be deleted before another can be created."""

    def preview(self, token: str, name: str, inputs: Properties) -> Properties:
        """Outputs as far as they are known before the resource exists."""

    def create(self, token: str, name: str, inputs: Properties) -> tuple[str, Properties]:
        """Create it; returns id and state."""

    def update(
        self,
        token: str,
        name: str,
        physical: str,
        state: Properties,
        olds: Properties,
        news: Properties,
        warn: Callable[[str], None],
    ) -> Properties:
        """Change it; returns its new state."""

    def read(
        self, token: str, name: str, physical: str, state: Properties, inputs: Properties
    ) -> tuple[Properties, Properties] | None:
        """Current state and inputs; None if it no longer exists."""

    def delete(self, token: str, name: str, physical: str, inputs: Properties) -> None:
        """Delete it."""

    def invoke(self, token: str, arguments: Properties) -> Properties:
        """Answer a look-up."""


def serve(provider: Provider, port: int = 0) -> tuple[grpc.Server, int]:
    """Serve a provider on this machine.

    Returns:
        The running server, and its port.
    """
    server = grpc.server(
        futures.ThreadPoolExecutor(8),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(_Servicer(provider), server)
    found = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, found


class _Servicer(provider_pb2_grpc.ResourceProviderServicer):
    def __init__(self, provider: Provider) -> None:
        self._unconfigured = provider
        # Attached by port, every provider of a program (of two regions, of two clusters) uses this one server, each
        # over its own connection.
        self._of: dict[str, Provider] = {}
        self._engines: dict[str, str] = {}
        self._lock = threading.Lock()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=VERSION)

    def Attach(self, request: Any, context: Any) -> Any:
        self._engines[context.peer()] = request.address
        return empty_pb2.Empty()

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        changed = sorted(differences(_values(request.old_inputs), _values(request.news)))
        kind = provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(changes=kind, diffs=changed)

    def Configure(self, request: Any, context: Any) -> Any:
        with _told(context), self._lock:
            self._of[context.peer()] = self._unconfigured.configure(_values(request.args))
        return provider_pb2.ConfigureResponse(supportsPreview=True, acceptSecrets=False, acceptResources=False)

    def Check(self, request: Any, context: Any) -> Any:
        with _told(context):
            inputs, faults = self._provider(context).check(
                _token(request.urn),
                _name(request.urn),
                _values(request.olds),
                _values(request.news),
                request.randomSeed,
            )
        return provider_pb2.CheckResponse(
            inputs=_struct(inputs),
            failures=[provider_pb2.CheckFailure(property=path, reason=said) for path, said in faults],
        )

    def Diff(self, request: Any, context: Any) -> Any:
        provider, token = self._provider(context), _token(request.urn)
        old, new = _values(request.old_inputs or request.olds), _values(request.news)
        found = {path: kind for path, kind in differences(old, new).items() if path not in request.ignoreChanges}
        replaced = {path for path in found if provider.diff(token, path)}
        kinds = {path: _kind(kind, path in replaced) for path, kind in found.items()}
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if found else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=sorted({_top(path) for path in found}),
            replaces=sorted({_top(path) for path in replaced}),
            deleteBeforeReplace=bool(replaced) and provider.deletes_first(new),
            detailedDiff={path: provider_pb2.PropertyDiff(kind=kind, inputDiff=True) for path, kind in kinds.items()},
            hasDetailedDiff=True,
        )

    def Create(self, request: Any, context: Any) -> Any:
        provider, token, name, inputs = (
            self._provider(context),
            _token(request.urn),
            _name(request.urn),
            _values(request.properties),
        )
        with _told(context):
            if request.preview:
                return provider_pb2.CreateResponse(properties=_struct(provider.preview(token, name, inputs)))
            physical, state = provider.create(token, name, inputs)
        return provider_pb2.CreateResponse(id=physical, properties=_struct(state))

    def Read(self, request: Any, context: Any) -> Any:
        with _told(context):
            found = self._provider(context).read(
                _token(request.urn),
                _name(request.urn),
                request.id,
                _values(request.properties),
                _values(request.inputs),
            )
        if found is None:
            return provider_pb2.ReadResponse()
        return provider_pb2.ReadResponse(id=request.id, properties=_struct(found[0]), inputs=_struct(found[1]))

    def Update(self, request: Any, context: Any) -> Any:
        provider, token, name = self._provider(context), _token(request.urn), _name(request.urn)
        state, olds, news = _values(request.olds), _values(request.old_inputs), _values(request.news)
        with _told(context):
            if request.preview:
                return provider_pb2.UpdateResponse(properties=_struct(carried(state, olds, news)))
            state = provider.update(
                token, name, request.id, state, olds, news, lambda said: self._warn(context, request.urn, said)
            )
        return provider_pb2.UpdateResponse(properties=_struct(state))

    def Delete(self, request: Any, context: Any) -> Any:
        with _told(context):
            inputs = _values(request.old_inputs) or _values(request.properties)
            self._provider(context).delete(_token(request.urn), _name(request.urn), request.id, inputs)
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:
        with _told(context):
            return provider_pb2.InvokeResponse(
                **{"return": _struct(self._provider(context).invoke(request.tok, _values(request.args)))}
            )

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def _provider(self, context: Any) -> Provider:
        return self._of.get(context.peer(), self._unconfigured)

    def _warn(self, context: Any, urn: str, said: str) -> None:
        if address := self._engines.get(context.peer()):
            with grpc.insecure_channel(address) as channel:
                engine_pb2_grpc.EngineStub(channel).Log(
                    engine_pb2.LogRequest(severity=engine_pb2.WARNING, message=said, urn=urn)
                )


class _told:  # noqa: N801 (used as a function)
    """Errors inside are reported to the engine as one sentence."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, GroundplanError):
            self._context.abort(grpc.StatusCode.UNKNOWN, str(error))
        if isinstance(error, Exception):
            self._context.abort(grpc.StatusCode.UNKNOWN, f"{type(error).__name__}: {error}")


def _kind(kind: str, replaces: bool) -> Any:
    name = {ADDED: "ADD", REMOVED: "DELETE"}.get(kind, "UPDATE")
    return provider_pb2.PropertyDiff.Kind.Value(f"{name}_REPLACE" if replaces else name)


def _top(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


def _token(urn: str) -> str:
    return str(urn.split("::")[2].rpartition("$")[2])


def _name(urn: str) -> str:
    return "::".join(urn.split("::")[3:])


def _values(properties: struct_pb2.Struct) -> Properties:
    found: Properties = _read(json_format.MessageToDict(properties))
    return found


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        kind = value.get(rpc._special_sig_key)
        if kind == rpc._special_secret_sig:
            return _read(value["value"])
        if kind == rpc._special_output_value_sig:
            return _read(value["value"]) if "value" in value else UNKNOWN
        if kind:  # files and archives: the engine wants them back as they came
            return value
        return {key: _read(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_read(item) for item in value]
    if value == rpc.UNKNOWN:
        return UNKNOWN
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _written(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _written(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_written(item) for item in value]
    return rpc.UNKNOWN if value == UNKNOWN else value


def _struct(values: Properties) -> struct_pb2.Struct:
    return json_format.ParseDict(_written(values), struct_pb2.Struct())
