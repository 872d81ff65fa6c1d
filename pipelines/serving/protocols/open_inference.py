"""The Open Inference Protocol (version 2) over REST, with the binary tensor data extension.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import orjson
from msgspec import UNSET, Raw, UnsetType

from pipelines.serving.ids import NAME as PREDICTION_ID
from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import Answers
from pipelines.serving.protocols.checks import BadRequestError
from pipelines.serving.protocols.tensors import (
    About,
    Tensor,
    dtype_of,
    from_binary,
    inputs_of,
    outputs_of,
    shape_of,
    tensors_of,
    to_binary,
)

HEADER_LENGTH = b"inference-header-content-length"
EXTENSIONS = ["binary_tensor_data", "model_repository"]
PLATFORMS = {"onnx": "onnxruntime_onnx"}


class _Sized(msgspec.Struct):
    binary_data_size: int | UnsetType = UNSET


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: Raw | UnsetType = UNSET
    parameters: _Sized | None = None


class _Binary(msgspec.Struct):
    binary_data: bool = False


class _Output(msgspec.Struct):
    name: str
    parameters: _Binary | None = None


class _Parameters(msgspec.Struct):
    binary_data_output: bool = False


class _Infer(msgspec.Struct):
    inputs: list[_Input]
    id: str | None = None
    outputs: list[_Output] | None = None
    parameters: _Parameters | None = None


@dataclass(frozen=True)
class Wanted:
    """What an inference request wants to have.

    Attributes:
        id: Is given back.
        outputs: By name, whether as bytes; none for all.
        binary: Whether outputs that are not named are wanted as bytes.
    """

    id: str
    outputs: dict[str, bool]
    binary: bool


_decoder = msgspec.json.Decoder(_Infer)
_lists: dict[str, tuple[msgspec.json.Decoder[Any], msgspec.json.Decoder[Any]]] = {
    kind: (msgspec.json.Decoder(list[element]), msgspec.json.Decoder(list[list[element]]))  # type: ignore[valid-type]
    for kind, element in {"f": float | None, "i": int, "u": int, "b": bool, "O": str | None}.items()
}


def parse(body: bytes, header_length: bytes | None) -> tuple[list[Tensor], Wanted]:
    """The tensors of an inference request, and what it wants to have.

    Args:
        header_length: Of the JSON before the tensors' bytes, as the header says; None where there is only JSON.

    Raises:
        BadRequestError: It is not such a request.
    """
    size = len(body)
    if header_length is not None:
        if not header_length.isdigit() or not 0 < int(header_length) <= size:
            raise BadRequestError(f"Inference-Header-Content-Length must be between 1 and the body's {size} bytes.")
        size = int(header_length)
    try:
        request = _decoder.decode(body[:size])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(_why(error)) from None
    if not request.inputs:
        raise BadRequestError("The request has no inputs.")
    tensors, rest = [], memoryview(body)[size:]
    for item in request.inputs:
        if item.parameters is None or item.parameters.binary_data_size is UNSET:
            tensors.append(_from_json(item))
            continue
        length = item.parameters.binary_data_size
        if item.data is not UNSET or not 0 <= length <= len(rest):
            raise BadRequestError(
                f"Input {item.name[:60]!r} must have data, or a binary_data_size of at most the {len(rest)} bytes that"
                " follow."
            )
        tensors.append(from_binary(item.name, item.datatype, item.shape, rest[:length]))
        rest = rest[length:]
    if rest:
        raise BadRequestError(f"{len(rest)} bytes follow that belong to no input.")
    binary = request.parameters is not None and request.parameters.binary_data_output
    outputs = {
        item.name: item.parameters.binary_data if item.parameters is not None else binary
        for item in request.outputs or ()
    }
    return tensors, Wanted(request.id or "", outputs, binary)


def _why(error: Exception) -> str:
    """In one sentence; msgspec's own names what was found and where: ``Expected `str`, got `int` - at `$.inputs```."""
    if isinstance(error, msgspec.ValidationError):
        return f"The body is not an inference request: {str(error).replace('`', '')}."
    return "The body is not valid JSON."


def _from_json(item: _Input) -> Tensor:
    dtype, shape = dtype_of(item.name, item.datatype), shape_of(item.name, item.shape)
    if item.data is UNSET:
        raise BadRequestError(f"Input {item.name[:60]!r} has no data.")
    flat, nested = _lists[np.dtype(dtype).kind]
    try:
        try:
            values: Any = flat.decode(item.data)
        except msgspec.ValidationError:
            values = [value for row in nested.decode(item.data) for value in row]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BadRequestError(f"Input {item.name[:60]!r} does not have data of {item.datatype} in rows.") from None
    if len(values) != math.prod(shape):
        raise BadRequestError(
            f"Input {item.name[:60]!r} has {len(values)} values; its shape {list(shape)} has {math.prod(shape)}."
        )
    try:
        # In double precision, so that a number that the type can't hold is refused as it was sent. None becomes NaN.
        array = np.array(values, dtype=np.float64 if np.dtype(dtype).kind == "f" else dtype)
    except OverflowError:
        raise BadRequestError(f"Input {item.name[:60]!r} has a number too large for {item.datatype}.") from None
    return Tensor(item.name, array.reshape(shape), item.datatype)


def answer(model: Model, found: Answers, wanted: Wanted, prediction_id: str) -> tuple[bytes, bytes | None]:
    """An inference response; the id is one of its parameters, since ``id`` is the client's own.

    Returns:
        The body, and the length of its JSON where bytes follow.

    Raises:
        BadRequestError: An output is wanted that the model does not have.
    """
    outputs: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for tensor in tensors_of(model, found, wanted.outputs):
        item: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.values.shape),
        }
        if wanted.outputs.get(tensor.name, wanted.binary):
            parts.append(to_binary(tensor))
            item["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            item["data"] = tensor.values.ravel().tolist()
        outputs.append(item)
    document = {
        "model_name": model.name,
        "model_version": model.version,
        "parameters": {PREDICTION_ID: prediction_id},
        "outputs": outputs,
    }
    if wanted.id:
        document["id"] = wanted.id
    head = orjson.dumps(document)
    return (b"".join([head, *parts]), str(len(head)).encode()) if parts else (head, None)


def server_metadata() -> dict[str, Any]:
    """``GET /v2``."""
    return {"name": "groundplan", "version": "2", "extensions": EXTENSIONS}


def model_metadata(model: Model) -> dict[str, Any]:
    """``GET /v2/models/NAME``."""
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": PLATFORMS.get(model.engine.kind, model.engine.kind),
        "inputs": [_told(item) for item in inputs_of(model)],
        "outputs": [_told(item) for item in outputs_of(model)],
    }


def _told(about: About) -> dict[str, Any]:
    return {"name": about.name, "datatype": about.datatype, "shape": list(about.shape)}
