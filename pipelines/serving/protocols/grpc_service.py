"""The Open Inference Protocol (version 2) over gRPC, with the messages of NVIDIA's client, which include its own.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from pipelines.serving.models.rows import Rows
from pipelines.serving.protocols.checks import MAX_BODY_BYTES, BadRequestError
from pipelines.serving.protocols.open_inference import EXTENSIONS, PLATFORMS
from pipelines.serving.protocols.tensors import (
    BYTES,
    Tensor,
    dtype_of,
    from_binary,
    inputs_of,
    outputs_of,
    rows_of,
    shape_of,
    tensors_of,
    text_of,
    to_binary,
)

if TYPE_CHECKING:
    from pipelines.serving.app import ModelServer, Served

_STATUS = {
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
Marks = list[tuple[str, float, float]]
_log = logging.getLogger("groundplan.serving")


async def serve(server: ModelServer, address: str) -> Any:
    """Start answering; the result is gRPC's server."""
    grpc_server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", MAX_BODY_BYTES), ("grpc.so_reuseport", 1)]
    )
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(InferenceService(server), grpc_server)
    if not grpc_server.add_insecure_port(address):
        raise OSError(f"gRPC can't listen on {address}")
    await grpc_server.start()
    return grpc_server


class InferenceService(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """What the protocol's methods answer; Triton's others are not implemented (gRPC's status says so)."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server

    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's names)
        """Whether the server answers."""
        return service_pb2.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Whether there is a model."""
        return service_pb2.ServerReadyResponse(ready=self._server.model is not None)

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Whether the named model is served."""
        model = self._server.model
        return service_pb2.ModelReadyResponse(
            ready=model is not None and request.name == model.name and request.version in ("", model.version)
        )

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The server's name and extensions."""
        return service_pb2.ServerMetadataResponse(name="groundplan", version="2", extensions=EXTENSIONS)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The model's tensors."""

        async def metadata(served: Served, request: Any, marks: Marks) -> Any:
            model = served.model
            told = service_pb2.ModelMetadataResponse.TensorMetadata
            return service_pb2.ModelMetadataResponse(
                name=model.name,
                versions=[model.version],
                platform=PLATFORMS.get(model.engine.kind, model.engine.kind),
                inputs=[told(name=x.name, datatype=x.datatype, shape=x.shape) for x in inputs_of(model)],
                outputs=[told(name=x.name, datatype=x.datatype, shape=x.shape) for x in outputs_of(model)],
            )

        return await self._answered(metadata, "ModelMetadata", request, context, request.name, request.version)

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The one model."""
        model = self._server.model
        index = service_pb2.RepositoryIndexResponse.ModelIndex
        return service_pb2.RepositoryIndexResponse(
            models=[] if model is None else [index(name=model.name, version=model.version, state="READY")]
        )

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Predictions."""
        return await self._answered(
            self._infer, "ModelInfer", request, context, request.model_name, request.model_version
        )

    async def _answered(
        self,
        answer: Callable[[Served, Any, Marks], Awaitable[Any]],
        method: str,
        request: Any,
        context: Any,
        name: str,
        version: str,
    ) -> Any:
        began, server = perf_counter(), self._server
        headers = {key.encode(): value.encode() for key, value in _metadata(context) if isinstance(value, str)}
        trace = server.tracing.of(headers)
        code, sentence, found, marks = 200, "", None, list[tuple[str, float, float]]()
        with server.taken() as served:
            version_served = served.model.version if served is not None else ""
            try:
                found = await answer(server.named(served, name, version), request, marks)
            except BadRequestError as error:
                code, sentence = error.status, error.sentence
            except Exception:  # our own bug: report it, keep serving, put the details in the log
                trace = trace or server.tracing.told_anyway(headers)
                _log.exception("request failed", extra=trace.ids)
                code, sentence = 500, "The model server failed on this request; its log says why."
        seconds = perf_counter() - began
        server.metrics.answered(f"grpc/{method}", code, version_served, seconds, marks)
        if trace is not None:
            server.tracing.tell(trace, f"grpc/{method}", code, seconds, marks, {"model_version": version_served})
        if code != 200:
            status = grpc.StatusCode.INTERNAL if code == 500 else _STATUS.get(code, grpc.StatusCode.INVALID_ARGUMENT)
            await context.abort(status, sentence)
        return found

    async def _infer(self, served: Served, request: Any, marks: Marks) -> Any:
        began = perf_counter()
        rows: Rows = rows_of(served.model, _tensors(request))
        decoded = perf_counter()
        found = await served.batcher.answers(rows)
        answered = perf_counter()
        outputs = tensors_of(served.model, found, [output.name for output in request.outputs])
        response = service_pb2.ModelInferResponse(
            model_name=served.model.name, model_version=served.model.version, id=request.id
        )
        raw = bool(request.raw_input_contents)
        for tensor in outputs:
            output = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.values.shape)
            if raw:
                response.raw_output_contents.append(to_binary(tensor))
            else:
                _fill(output.contents, tensor)
        self._server.keep_rows(served, rows, found)
        marks += [("decode", began, decoded), ("encode", answered, perf_counter())]
        return response


def _metadata(context: Any) -> Iterable[tuple[str, Any]]:
    return context.invocation_metadata() or ()


def _tensors(request: Any) -> list[Tensor]:
    """The request's tensors: all of them as bytes, or each with values.

    Raises:
        BadRequestError: They are not.
    """
    inputs, raw = request.inputs, request.raw_input_contents
    if not inputs:
        raise BadRequestError("The request has no inputs.")
    if raw:
        if len(raw) != len(inputs):
            raise BadRequestError(f"There are {len(inputs)} inputs, but {len(raw)} raw_input_contents.")
        return [
            from_binary(item.name, item.datatype, item.shape, content)
            for item, content in zip(inputs, raw, strict=True)
        ]
    return [_typed(item) for item in inputs]


def _typed(item: Any) -> Tensor:
    dtype, shape = dtype_of(item.name, item.datatype), shape_of(item.name, item.shape)
    field = _CONTENTS.get(item.datatype)
    if field is None:
        raise BadRequestError(f"Input {item.name[:60]!r}: {item.datatype} can only be sent as raw_input_contents.")
    values: Any = getattr(item.contents, field)
    if len(values) != int(np.prod(shape)):
        raise BadRequestError(
            f"Input {item.name[:60]!r} has {len(values)} {field}; its shape {list(shape)} has {int(np.prod(shape))}."
        )
    if item.datatype == BYTES:
        values = [text_of(item.name, value) for value in values]
    return Tensor(item.name, np.array(values, dtype=dtype).reshape(shape), item.datatype)


def _fill(contents: Any, tensor: Tensor) -> None:
    values = tensor.values.ravel().tolist()
    if tensor.datatype == BYTES:
        values = [text.encode() for text in values]
    getattr(contents, _CONTENTS[tensor.datatype]).extend(values)
