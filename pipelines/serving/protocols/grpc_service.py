"""The Open Inference Protocol (version 2) over gRPC, with the messages of NVIDIA's client, which include its own.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from pipelines.serving.ids import NAME as PREDICTION_ID
from pipelines.serving.ids import new_id
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
Answer = Callable[["Served | None", Any, Marks], Any]
_log = logging.getLogger("groundplan.serving")


THREADS = 4  # more of them wait for each other
MOST_AT_ONCE = 1_000  # calls; gRPC refuses the next one as RESOURCE_EXHAUSTED


def serve(server: ModelServer, address: str) -> Any:
    """Start answering, in threads: a call takes half as long as in gRPC's own event loop.

    Returns:
        gRPC's server.
    """
    grpc_server = grpc.server(
        ThreadPoolExecutor(THREADS, thread_name_prefix="grpc"),
        options=[("grpc.max_receive_message_length", MAX_BODY_BYTES), ("grpc.so_reuseport", 1)],
        maximum_concurrent_rpcs=MOST_AT_ONCE,
    )
    grpc_server.add_generic_rpc_handlers([Inference(server).handler()])
    if not grpc_server.add_insecure_port(address):
        raise OSError(f"gRPC can't listen on {address}")
    grpc_server.start()
    return grpc_server


class Inference:
    """The protocol's methods; gRPC's status says that Triton's others are not implemented."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._methods: dict[str, tuple[type[Any], Answer]] = {
            "ServerLive": (service_pb2.ServerLiveRequest, self._live),
            "ServerReady": (service_pb2.ServerReadyRequest, self._ready),
            "ModelReady": (service_pb2.ModelReadyRequest, self._model_ready),
            "ServerMetadata": (service_pb2.ServerMetadataRequest, self._about),
            "ModelMetadata": (service_pb2.ModelMetadataRequest, self._about_model),
            "RepositoryIndex": (service_pb2.RepositoryIndexRequest, self._index),
            "ModelInfer": (service_pb2.ModelInferRequest, self._infer),
        }

    def handler(self) -> Any:
        """For gRPC's server. Messages are decoded here: what gRPC says of one that can't be is neither a client's error
        nor English.
        """
        methods = {
            name: grpc.unary_unary_rpc_method_handler(
                partial(self._answered, f"grpc/{name}", kind, answer),
                response_serializer=lambda message: message.SerializeToString(),
            )
            for name, (kind, answer) in self._methods.items()
        }
        return grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)

    def _answered(self, route: str, kind: type[Any], answer: Answer, body: bytes, context: Any) -> Any:
        began, server = perf_counter(), self._server
        headers = {
            key.encode(): value.encode() for key, value in context.invocation_metadata() or () if isinstance(value, str)
        }
        trace = server.tracing.of(headers)
        code, sentence, found, marks = 200, "", None, list[tuple[str, float, float]]()
        with server.taken() as served:
            version = served.model.version if served is not None else ""
            try:
                found = answer(served, kind.FromString(body), marks)
            except DecodeError:
                code, sentence = 400, f"The request is not a message of the type {kind.__name__}."
            except BadRequestError as error:
                code, sentence = error.status, error.sentence
            except Exception:  # our own bug: report it, keep serving, put the details in the log
                trace = trace or server.tracing.told_anyway(headers)
                _log.exception("request failed", extra=trace.ids)
                code, sentence = 500, "The model server failed on this request; its log says why."
        seconds = perf_counter() - began
        server.metrics.of_threads(route, code, version, seconds, marks)
        if trace is not None:
            told = {"model_version": version}
            if found is not None and PREDICTION_ID in getattr(found, "parameters", {}):
                told[PREDICTION_ID] = found.parameters[PREDICTION_ID].string_param
            server.tracing.tell(trace, route, code, began, marks, told)
        if code != 200:
            status = grpc.StatusCode.INTERNAL if code == 500 else _STATUS.get(code, grpc.StatusCode.INVALID_ARGUMENT)
            context.abort(status, sentence)
        return found

    def _live(self, served: Served | None, request: Any, marks: Marks) -> Any:
        return service_pb2.ServerLiveResponse(live=True)

    def _ready(self, served: Served | None, request: Any, marks: Marks) -> Any:
        return service_pb2.ServerReadyResponse(ready=served is not None)

    def _model_ready(self, served: Served | None, request: Any, marks: Marks) -> Any:
        return service_pb2.ModelReadyResponse(
            ready=served is not None
            and request.name == served.model.name
            and request.version in ("", served.model.version)
        )

    def _about(self, served: Served | None, request: Any, marks: Marks) -> Any:
        return service_pb2.ServerMetadataResponse(name="groundplan", version="2", extensions=EXTENSIONS)

    def _about_model(self, served: Served | None, request: Any, marks: Marks) -> Any:
        model = self._server.named(served, request.name, request.version).model
        told = service_pb2.ModelMetadataResponse.TensorMetadata
        return service_pb2.ModelMetadataResponse(
            name=model.name,
            versions=[model.version],
            platform=PLATFORMS.get(model.engine.kind, model.engine.kind),
            inputs=[told(name=x.name, datatype=x.datatype, shape=x.shape) for x in inputs_of(model)],
            outputs=[told(name=x.name, datatype=x.datatype, shape=x.shape) for x in outputs_of(model)],
        )

    def _index(self, served: Served | None, request: Any, marks: Marks) -> Any:
        index = service_pb2.RepositoryIndexResponse.ModelIndex
        models = [] if served is None else [index(name=served.model.name, version=served.model.version, state="READY")]
        return service_pb2.RepositoryIndexResponse(models=models)

    def _infer(self, found_served: Served | None, request: Any, marks: Marks) -> Any:
        began, served = perf_counter(), self._server.named(found_served, request.model_name, request.model_version)
        rows: Rows = rows_of(served.model, _tensors(request))
        decoded = perf_counter()
        found = served.model.answers(rows)
        answered = perf_counter()
        self._server.metrics.called_in_thread(len(rows), answered - decoded)
        outputs = tensors_of(served.model, found, [output.name for output in request.outputs])
        response = service_pb2.ModelInferResponse(
            model_name=served.model.name, model_version=served.model.version, id=request.id
        )
        prediction_id = new_id()
        response.parameters[PREDICTION_ID].string_param = prediction_id
        raw = bool(request.raw_input_contents)
        for tensor in outputs:
            output = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.values.shape)
            if raw:
                response.raw_output_contents.append(to_binary(tensor))
            else:
                _fill(output.contents, tensor)
        self._server.keep_rows(served, rows, found, prediction_id)
        ended = perf_counter()
        marks += [("decode", began, decoded), ("predict", decoded, answered), ("encode", answered, ended)]
        return response


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
    try:
        return Tensor(item.name, np.array(values, dtype=dtype).reshape(shape), item.datatype)
    except OverflowError:
        raise BadRequestError(f"Input {item.name[:60]!r} has a number too large for {item.datatype}.") from None


def _fill(contents: Any, tensor: Tensor) -> None:
    values = tensor.values.ravel().tolist()
    if tensor.datatype == BYTES:
        values = [text.encode() for text in values]
    getattr(contents, _CONTENTS[tensor.datatype]).extend(values)
