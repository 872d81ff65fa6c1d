"""Named tensors of the Open Inference Protocol (version 2), as REST and gRPC have them, into rows and back.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md

A model takes one tensor of shape [n, columns] in the order of its columns, whatever its name, or one of shape [n, 1] or
[n] for each column, by name. It answers with ``predictions`` and, where it is a classifier that has them,
``probabilities`` or ``scores``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.serving.models.bundle import BESIDE, Model
from pipelines.serving.models.engines import Answers, Onnx
from pipelines.serving.models.rows import Rows
from pipelines.serving.protocols.checks import MAX_ROWS, BadRequestError, checked, listed
from pipelines.serving.protocols.typed_json import MAX_NUMBER

BYTES = "BYTES"
DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    **{f"UINT{bits}": np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
    BYTES: object,
}
_OF_COLUMN = {"double": "FP64", "long": "INT64", "boolean": "BOOL", "string": BYTES, "timestamp": BYTES}
_MOST_DIMENSIONS = 2
_LENGTH = struct.Struct("<I")  # before each text


@dataclass(frozen=True)
class Tensor:
    """A tensor and its name.

    Attributes:
        values: Of the tensor's shape; texts are ``str`` in an array of objects.
    """

    name: str
    values: npt.NDArray[Any]
    datatype: str


@dataclass(frozen=True)
class About:
    """What a tensor of a model looks like; -1 is the number of rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def inputs_of(model: Model) -> list[About]:
    """The tensors that a model takes, as its own graph has them."""
    if isinstance(model.engine, Onnx) and model.engine.layout == "matrix":
        return [About("X", "FP32", (-1, len(model.columns)))]
    return [
        # A whole number that may be missing is sent as a number: there is no other way to write that it is missing.
        About(c["name"], "FP64" if c["type"] == "long" and c.get("nullable") else _OF_COLUMN[c["type"]], (-1, 1))
        for c in model.columns
    ]


def outputs_of(model: Model) -> list[About]:
    """The tensors that a model answers with."""
    several = (len(model.targets),) if model.targets else ()
    found = [About("predictions", _datatype_of(model), (-1, *several))]
    if model.task == "classification" and model.output:
        width = several or (() if model.output == "score" and len(model.classes) == 2 else (len(model.classes),))
        found.append(About(BESIDE[model.output], "FP64", (-1, *width)))
    return found


def _datatype_of(model: Model) -> str:
    """Of the predictions: of the classes' type, if they have one."""
    if not model.classes:
        return "FP64"
    classes = [value for target in model.classes for value in target] if model.targets else model.classes
    kinds = {type(value) for value in classes}
    return {bool: "BOOL", int: "INT64", float: "FP64"}.get(kinds.pop(), BYTES) if len(kinds) == 1 else BYTES


def rows_of(model: Model, tensors: Sequence[Tensor]) -> Rows:
    """A request's rows, checked.

    Raises:
        BadRequestError: The tensors are not what the model takes.
    """
    names = [tensor.name for tensor in tensors]
    if len(set(names)) != len(names):
        raise BadRequestError("An input is named twice.")
    columns: dict[str, Any]
    if len(tensors) == 1 and (names[0] not in model.names or len(model.names) == 1):
        (tensor,) = tensors
        values = tensor.values.reshape(-1, 1) if tensor.values.ndim == 1 and len(model.names) == 1 else tensor.values
        if values.ndim != _MOST_DIMENSIONS or values.shape[1] != len(model.names):
            raise BadRequestError(
                f"Input {tensor.name[:60]!r} has the shape {list(tensor.values.shape)}; expected"
                f" [rows, {len(model.names)}], in the order {listed(model.names)}."
            )
        columns = {name: values[:, place] for place, name in enumerate(model.names)}
        if _usable(model, values):
            return Rows(model.names, columns=columns)
    else:
        columns = {tensor.name: _column(tensor) for tensor in tensors}
    kinds = {column["name"]: column["type"] for column in model.columns}
    return Rows(
        model.names,
        columns=checked(model, {name: _plain(values, kinds.get(name, "")) for name, values in columns.items()}),
    )


def _usable(model: Model, values: npt.NDArray[Any]) -> bool:
    """Whether the model takes these numbers as they are, by one look at all of them: ten columns, one by one, cost more
    than the model itself. What is not usable at first sight, such as a missing value, is looked at by column.
    """
    if values.dtype not in (np.float32, np.float64) or not 0 < len(values) <= MAX_ROWS:
        return False
    plain = all(column["type"] == "double" and column.get("categories") is None for column in model.columns)
    return plain and bool((np.abs(values) < MAX_NUMBER).all())


def _column(tensor: Tensor) -> Any:
    shape = tensor.values.shape
    if len(shape) == _MOST_DIMENSIONS and shape[1] == 1:
        return tensor.values[:, 0]
    if len(shape) != 1:
        raise BadRequestError(f"Input {tensor.name[:60]!r} has the shape {list(shape)}; expected [rows, 1] or [rows].")
    return tensor.values


def _plain(values: npt.NDArray[Any], kind: str) -> Any:
    """Numbers as an array; booleans and texts as a list. A tensor of numbers has a boolean as 0 or 1."""
    if kind == "boolean" and values.dtype.kind in "iuf":
        return [bool(value) if value in (0, 1) else value for value in values.tolist()]
    return values if values.dtype.kind in "iuf" else values.tolist()


def tensors_of(model: Model, found: Answers, wanted: Iterable[str] = ()) -> list[Tensor]:
    """An answer's tensors.

    Args:
        wanted: Which of them; all, if none is named.

    Raises:
        BadRequestError: The model does not have one of them.
    """
    about = {item.name: item for item in outputs_of(model)}
    names = list(wanted) or list(about)
    if unknown := [name for name in names if name not in about]:
        raise BadRequestError(f"Unknown output {listed(unknown)}; the model has {listed(about)}.")
    values = {"predictions": found.predictions, **({} if found.beside is None else _beside(model, found))}
    return [Tensor(name, _array(values[name], about[name].datatype), about[name].datatype) for name in names]


def _beside(model: Model, found: Answers) -> dict[str, Any]:
    return {BESIDE[model.output]: found.beside} if model.output else {}


def _array(values: Any, datatype: str) -> npt.NDArray[Any]:
    if datatype != BYTES:
        return np.asarray(values, dtype=DTYPES[datatype])
    array = np.asarray(values, dtype=object)
    return np.array([str(value) for value in array.ravel()], dtype=object).reshape(array.shape)


def dtype_of(name: str, datatype: str) -> Any:
    """NumPy's type of a datatype.

    Raises:
        BadRequestError: There is none.
    """
    if datatype not in DTYPES:
        raise BadRequestError(f"Input {name[:60]!r} has the datatype {datatype[:20]!r}; use one of {listed(DTYPES)}.")
    return DTYPES[datatype]


def shape_of(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """A tensor's shape.

    Raises:
        BadRequestError: It is none that a model takes.
    """
    if not 1 <= len(shape) <= _MOST_DIMENSIONS or any(size < 0 for size in shape):
        raise BadRequestError(f"Input {name[:60]!r} has the shape {list(shape)[:8]}; expected [rows, columns].")
    if any(size > MAX_ROWS for size in shape):
        raise BadRequestError(f"Input {name[:60]!r} has the shape {list(shape)}; at most {MAX_ROWS} rows are accepted.")
    return tuple(shape)


def from_binary(name: str, datatype: str, shape: Sequence[int], content: bytes | memoryview) -> Tensor:
    """A tensor from its bytes: little-endian, row after row; before each text its length in four bytes.

    Raises:
        BadRequestError: The bytes don't fit the shape.
    """
    dtype, size = dtype_of(name, datatype), shape_of(name, shape)
    count = math.prod(size)
    if datatype == BYTES:
        return Tensor(name, _texts(name, content, count).reshape(size), datatype)
    expected = count * np.dtype(dtype).itemsize
    if len(content) != expected:
        raise BadRequestError(
            f"Input {name[:60]!r} has {len(content)} bytes; {expected} are expected for {datatype} of the shape"
            f" {list(size)}."
        )
    return Tensor(name, np.frombuffer(content, dtype=dtype).reshape(size), datatype)


def _texts(name: str, content: bytes | memoryview, count: int) -> npt.NDArray[Any]:
    found: list[str] = []
    place = 0
    while place < len(content) and len(found) <= count:
        end = place + _LENGTH.size
        size = _LENGTH.unpack_from(content, place)[0] if end <= len(content) else len(content)
        if end + size > len(content):
            raise BadRequestError(f"Input {name[:60]!r} ends in the middle of a text.")
        found.append(text_of(name, bytes(content[end : end + size])))
        place = end + size
    if len(found) != count:
        raise BadRequestError(f"Input {name[:60]!r} does not have as many texts as its shape says ({count}).")
    return np.array(found, dtype=object)


def text_of(name: str, value: bytes) -> str:
    """A text of a tensor.

    Raises:
        BadRequestError: It is not UTF-8.
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadRequestError(f"Input {name[:60]!r} has a text that is not UTF-8.") from None


def to_binary(tensor: Tensor) -> bytes:
    """The bytes of a tensor."""
    if tensor.datatype != BYTES:
        return tensor.values.tobytes()
    texts = [text.encode() for text in tensor.values.ravel()]
    return b"".join(part for text in texts for part in (_LENGTH.pack(len(text)), text))
