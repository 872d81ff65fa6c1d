"""A stand-in for the providers of AWS and Kubernetes, so that the real engine can run the program without an account.

``python -m tests.engine.provider``: as a provider's own program, it prints the port at which it serves Pulumi's provider protocol
(https://github.com/pulumi/pulumi/blob/master/proto/pulumi/provider.proto). It keeps nothing: the engine's state holds all there is.
"""

from __future__ import annotations

import importlib
import json
import typing
import uuid
from concurrent import futures
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi import _types
from pulumi.runtime import rpc
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

REGION = "eu-central-1"
DOCUMENTS = ("policy", "assumeRolePolicy")  # inputs of which AWS's provider makes JSON text, once all of one is known


def checked(token: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs as the provider keeps them."""
    found = dict(inputs)
    for key in DOCUMENTS:
        if token.startswith("aws:") and isinstance(found.get(key), dict):
            text = json.dumps(found[key], sort_keys=True)
            found[key] = rpc.UNKNOWN if rpc.UNKNOWN in text else text
    return found


def computed(token: str, name: str) -> dict[str, Any]:
    """What the cloud would add: each output that is always there, made up after its type."""
    package, module, kind = token.split(":")
    if package != "aws":
        return {"status": {"loadBalancer": {"ingress": [{"hostname": f"{name}.elb.{REGION}.amazonaws.com"}]}}} if kind == "Service" else {}
    of = getattr(importlib.import_module(f"pulumi_aws.{module.partition('/')[0]}"), kind)
    made = {key: _made_up(hint, key, token, name) for key, hint in _types.resource_types(of).items()}
    return {key: value for key, value in made.items() if value is not None}


def _made_up(hint: Any, key: str, token: str, name: str) -> Any:
    if typing.get_origin(hint) is typing.Union:  # optional, or of several forms
        return None
    if key == "region":
        return REGION
    if hint is str:
        return f"arn:aws:{token.split(':')[1].partition('/')[0]}:{REGION}:123456789012:{name}" if key.lower().endswith("arn") else f"{name}-{key}"
    if hint in (int, float):
        return 1
    if hint is bool:
        return False
    arguments = typing.get_args(hint)
    if arguments and arguments[0] is not str:
        return [_made_up(arguments[0], key, token, name)]
    if arguments:
        return {} if len(arguments) == 2 else [f"{name}-{key}"]
    if isinstance(hint, type) and _types.is_output_type(hint):
        nested = {inner: _types.unwrap_optional_type(kind) for inner, kind in _types.output_type_types(hint).items()}
        return {inner: _made_up(kind, inner, token, name) for inner, kind in nested.items()}
    return None


def _dict(properties: struct_pb2.Struct) -> dict[str, Any]:
    return json_format.MessageToDict(properties)


def _struct(values: dict[str, Any]) -> struct_pb2.Struct:
    return json_format.ParseDict(values, struct_pb2.Struct())


def _token(urn: str) -> str:
    return urn.split("::")[2].rpartition("$")[2]


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """Answers as a cloud would in which everything works."""

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version="99.0.0")

    def Attach(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        return self.Diff(request, context)

    def Configure(self, request: Any, context: Any) -> Any:
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Check(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=_struct(checked(_token(request.urn), _dict(request.news))))

    def Diff(self, request: Any, context: Any) -> Any:
        old, new = _dict(request.old_inputs), _dict(request.news)
        changed = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
        changes = provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(changes=changes, diffs=changed)

    def Create(self, request: Any, context: Any) -> Any:
        if request.preview:
            return provider_pb2.CreateResponse(properties=request.properties)
        token, inputs, name = _token(request.urn), _dict(request.properties), request.urn.rpartition("::")[2]
        made = {**computed(token, name), **inputs}
        for key, value in computed(token, name).items():  # parts that AWS adds inside of what was given
            if isinstance(value, dict) and isinstance(inputs.get(key), dict):
                made[key] = {**value, **inputs[key]}
        return provider_pb2.CreateResponse(id=f"{name}-{uuid.uuid4().hex[:8]}", properties=_struct(made))

    def Read(self, request: Any, context: Any) -> Any:
        return provider_pb2.ReadResponse(id=request.id, properties=request.properties, inputs=request.inputs)

    def Update(self, request: Any, context: Any) -> Any:
        return provider_pb2.UpdateResponse(properties=_struct({**_dict(request.olds), **_dict(request.news)}))

    def Delete(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()


def main() -> None:
    """Serve until the engine ends the process."""
    # One request at a time: the types are imported on the way.
    server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.max_receive_message_length", -1)])
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Provider(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
