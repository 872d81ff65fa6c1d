"""Writes LiteRT files (TensorFlow Lite's FlatBuffers), with the classes of their schema that ai-edge-litert carries.

https://ai.google.dev/edge/litert; the schema is https://github.com/google-ai-edge/LiteRT, tflite/schema/schema.fbs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_OF_OLD_CODES = 127  # operators' codes grew beyond a byte; below, readers expect both fields
_IDENTIFIER = b"TFL3"


class LiteRtFile:
    """A graph of one input and one output, both of shape [n, width].

    Tensors are named by their numbers. Every computed tensor's first axis is the rows', whose number may change.
    """

    def __init__(self, width: int) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema: Any = schema
        self._buffers = [schema.BufferT()]  # the first is, by the specification, empty
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[int] = []
        self.input = self._tensor("X", np.dtype(np.float32), (width,))

    def constant(self, values: npt.NDArray[Any]) -> int:
        """A tensor of fixed values."""
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), dtype=np.uint8)
        self._buffers.append(buffer)
        return self._add(f"c{len(self._tensors)}", values.dtype, list(values.shape), None, len(self._buffers) - 1)

    def operator(
        self, name: str, inputs: Sequence[int], shape: Sequence[int], dtype: Any = np.float32, **options: Any
    ) -> int:
        """Add an operator; returns its output, of shape [n, *shape].

        Args:
            name: As the schema writes it, for example ``SELECT_V2``.
            options: The fields of its options, for example ``axis``.
        """
        schema = self._schema
        code = getattr(schema.BuiltinOperator, name)
        if code not in self._codes:
            self._codes.append(code)
        output = self._tensor(f"t{len(self._tensors)}", np.dtype(dtype), tuple(shape))
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = self._codes.index(code), list(inputs), [output]
        if kind := _OPTIONS.get(name):
            made.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            made.builtinOptions = getattr(schema, f"{kind}T")()
            for key, value in options.items():
                setattr(made.builtinOptions, key, value)
        self._operators.append(made)
        return output

    def content(self, output: int, name: str) -> bytes:
        """The file.

        Args:
            name: What the graph is, for people.
        """
        import flatbuffers

        schema = self._schema
        graph, signature, model = schema.SubGraphT(), schema.SignatureDefT(), schema.ModelT()
        graph.tensors, graph.operators, graph.name = self._tensors, self._operators, name
        graph.inputs, graph.outputs = [self.input], [output]
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs, signature.outputs = [self._named("X", self.input)], [self._named("Y", output)]
        model.version, model.description = 3, name
        model.subgraphs, model.signatureDefs, model.buffers = [graph], [signature], self._buffers
        model.operatorCodes = [self._code(code) for code in self._codes]
        builder = flatbuffers.Builder(sum(len(buffer.data) for buffer in self._buffers[1:]) + 65_536)
        builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
        return bytes(builder.Output())

    def _tensor(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
        return self._add(name, dtype, [1, *shape], [-1, *shape], 0)

    def _add(self, name: str, dtype: np.dtype[Any], shape: list[int], signature: list[int] | None, buffer: int) -> int:
        made = self._schema.TensorT()
        made.name, made.shape, made.shapeSignature, made.buffer = name, shape, signature, buffer
        made.type = getattr(self._schema.TensorType, _TYPES[dtype.name])
        made.hasRank = True
        self._tensors.append(made)
        return len(self._tensors) - 1

    def _named(self, name: str, tensor: int) -> Any:
        made = self._schema.TensorMapT()
        made.name, made.tensorIndex = name, tensor
        return made

    def _code(self, code: int) -> Any:
        made = self._schema.OperatorCodeT()
        made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, _MOST_OF_OLD_CODES), 1
        return made


_TYPES = {"float32": "FLOAT32", "int32": "INT32", "int64": "INT64", "bool": "BOOL"}
_OPTIONS = {
    "ADD": "AddOptions",
    "CAST": "CastOptions",
    "CONCATENATION": "ConcatenationOptions",
    "DIV": "DivOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GATHER": "GatherOptions",
    "GREATER": "GreaterOptions",
    "MUL": "MulOptions",
    "NOT_EQUAL": "NotEqualOptions",
    "SELECT_V2": "SelectV2Options",
    "SOFTMAX": "SoftmaxOptions",
    "SUB": "SubOptions",
    "SUM": "ReducerOptions",
}
