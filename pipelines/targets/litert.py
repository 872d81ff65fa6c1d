"""A served model as a LiteRT (TensorFlow Lite) file: linear models, networks of dense layers, and tree ensembles.

Trees become tensor operations: of each row and tree the file keeps the node at which the row is, and moves all of them
one level down at a time (the "tree traversal" of Nakandala et al., OSDI 2020). Their conditions are compared in single
precision as ONNX Runtime does, so the answers are the same but for the order of the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.serving.explaining.trees import POSTS, NotExactError, Trees, attributes_of, trees_of
from pipelines.targets.litert_file import LiteRtFile

Array = npt.NDArray[Any]
_FLOATS = (1, 11)  # ONNX's numbers of single and double precision


class NotConvertibleError(Exception):
    """The model has something that has no counterpart; the message says what."""


@dataclass(frozen=True)
class _Value:
    """A computed tensor of shape [n, width]."""

    tensor: int
    width: int


def convert(described: dict[str, Any], content: bytes) -> bytes:
    """The file. Its input ``X`` has shape [n, columns], single precision; its output is a regression's predictions, a
    classifier's probabilities or scores, as the ONNX graph has them.

    Args:
        described: ``model.json``.
        content: The ONNX graph.

    Raises:
        NotConvertibleError: An operator, or a column of texts, has no counterpart.
    """
    import onnx

    graph = onnx.load_from_string(content).graph
    if described.get("targets"):
        raise NotConvertibleError("it predicts several values for each row")
    if described["task"] == "classification" and not described.get("output"):
        raise NotConvertibleError("it has neither probabilities nor scores")
    if described.get("output") == "probability" and not described.get("most_probable"):
        raise NotConvertibleError("its classes do not follow from its probabilities")
    if texts := [column["name"] for column in described["columns"] if column["tensor"] == "string"]:
        raise NotConvertibleError(f"column {texts[0]!r} is a text, which LiteRT has no operators for")
    made = _Conversion(graph, described)
    output = graph.output[-1 if described["task"] == "classification" else 0].name
    return made.file.content(made.value(output).tensor, described.get("model", "model"))


class _Conversion:
    """One graph, from its output upwards: what the output does not need is left out."""

    def __init__(self, graph: Any, described: dict[str, Any]) -> None:
        from onnx import numpy_helper

        columns = described["columns"]
        self.file = LiteRtFile(len(columns))
        self._missing = any(column.get("nullable") for column in columns)
        self._made_by = {name: node for node in graph.node for name in node.output}
        self._constants: dict[str, Array] = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
        self._values = {"X": _Value(self.file.input, len(columns))}
        if described["layout"] == "columns":
            for place, column in enumerate(columns):
                self._values[column["input"]] = self._gather(self._values["X"], np.array([place]))

    def value(self, name: str) -> _Value:
        """A tensor of the graph."""
        if name not in self._values:
            node = self._made_by.get(name)
            if node is None:
                raise NotConvertibleError("its graph uses an input that is no column")
            handle = _HANDLERS.get(node.op_type)
            if handle is None:
                raise NotConvertibleError(f"its graph has the operator {node.op_type}, which has no counterpart here")
            self._values[name] = handle(self, node, attributes_of(node))
        return self._values[name]

    def constant(self, name: str) -> Array | None:
        """A fixed tensor of the graph, None where it is computed."""
        node = self._made_by.get(name)
        if node is not None and node.op_type == "Constant":
            from onnx import numpy_helper

            if "value" not in attributes_of(node):
                raise NotConvertibleError("it has a constant in a form that is not read")
            return np.asarray(numpy_helper.to_array(attributes_of(node)["value"]))
        return self._constants.get(name)

    # Operators of ONNX.

    def same(self, node: Any, given: dict[str, Any]) -> _Value:
        """Identity, and what changes types or shapes only in name: everything here is single precision, [n, width]."""
        value = self.value(node.input[0])
        if node.op_type == "Cast" and given["to"] not in _FLOATS:
            raise NotConvertibleError("it turns numbers into others than floating-point ones")
        if node.op_type == "Reshape":
            shape = self.constant(node.input[1])
            if shape is None or len(shape) != 2 or shape[0] not in (-1, 0) or shape[1] not in (-1, value.width):
                raise NotConvertibleError("it puts values into other rows")
        return value

    def scaler(self, node: Any, given: dict[str, Any]) -> _Value:
        """https://onnx.ai/onnx/operators/onnx_aionnxml_Scaler.html."""
        moved = self._with("SUB", self.value(node.input[0]), _floats(given["offset"]))
        return self._with("MUL", moved, _floats(given["scale"]))

    def imputer(self, node: Any, given: dict[str, Any]) -> _Value:
        """https://onnx.ai/onnx/operators/onnx_aionnxml_Imputer.html, of missing values."""
        if not np.isnan(given.get("replaced_value_float", 0.0)):
            raise NotConvertibleError("it fills in values that are not missing")
        value = self.value(node.input[0])
        return self._select(self._is_nan(value), _floats(given["imputed_value_floats"]), value)

    def normalizer(self, node: Any, given: dict[str, Any]) -> _Value:
        """https://onnx.ai/onnx/operators/onnx_aionnxml_Normalizer.html."""
        value, norm = self.value(node.input[0]), given.get("norm", b"MAX")
        if norm == b"MAX":
            raise NotConvertibleError("it divides rows by their largest value")
        each = self._apply("ABS", value) if norm == b"L1" else self._binary("MUL", value, value)
        whole = self.file.operator("SUM", [each.tensor, self._fixed(_ints([1]))], (1,), keepDims=True)
        if norm == b"L2":
            whole = self.file.operator("SQRT", [whole], (1,))
        some = self.file.operator("NOT_EQUAL", [whole, self._row(_floats([0]))], (1,), bool)  # a row of zeros stays
        whole = self.file.operator("SELECT_V2", [some, whole, self._row(_floats([1]))], (1,))
        return _Value(self.file.operator("DIV", [value.tensor, whole], (value.width,)), value.width)

    def matrix(self, node: Any, given: dict[str, Any]) -> _Value:
        """MatMul and Gemm by a fixed matrix: a dense layer."""
        weights, bias = self.constant(node.input[1]), None
        fixed = {"alpha": 1.0, "beta": 1.0, "transA": 0}
        if any(given.get(key, value) != value for key, value in fixed.items()):
            raise NotConvertibleError("it multiplies by alpha, by beta, or a transposed input")
        if weights is None or weights.ndim != 2:
            raise NotConvertibleError("it multiplies two computed matrices")
        if len(node.input) > 2:
            bias = self.constant(node.input[2])
            if bias is None or bias.size not in (1, bias.shape[-1]):
                raise NotConvertibleError("it adds a computed bias")
        return self._dense(self.value(node.input[0]), weights if given.get("transB") else weights.T, bias)

    def linear(self, node: Any, given: dict[str, Any]) -> _Value:
        """LinearRegressor and LinearClassifier."""
        value = self.value(node.input[0])
        weights = _floats(given["coefficients"]).reshape(-1, value.width)
        bias = _floats(given.get("intercepts") or [0.0] * len(weights))
        classes = given.get("classlabels_ints") or given.get("classlabels_strings") or []
        return self._transformed(self._dense(value, weights, bias), given, len(classes), signed=True)

    def arithmetic(self, node: Any, given: dict[str, Any]) -> _Value:
        """Add, Sub, Mul and Div of two tensors, one of which may be fixed."""
        name = node.op_type.upper()
        first, second = (self.constant(one) for one in node.input)
        for fixed in (first, second):
            if fixed is not None and fixed.size not in (1, *fixed.shape[-1:]):
                raise NotConvertibleError("it adds another constant to each row")
        if first is not None and second is None:
            other = self.value(node.input[1])
            width = max(other.width, first.size)
            return _Value(self.file.operator(name, [self._row(first), other.tensor], (width,)), width)
        if second is not None and first is None:
            return self._with(name, self.value(node.input[0]), second)
        return self._binary(name, self.value(node.input[0]), self.value(node.input[1]))

    def softmax(self, node: Any, given: dict[str, Any]) -> _Value:
        """Over the columns of each row."""
        if given.get("axis", -1) not in (1, -1):
            raise NotConvertibleError("it compares rows with each other")
        return self._apply("SOFTMAX", self.value(node.input[0]))

    def concat(self, node: Any, given: dict[str, Any]) -> _Value:
        """Columns side by side."""
        if given.get("axis") not in (1, -1):
            raise NotConvertibleError("it puts rows below each other")
        return self._side_by_side([self.value(one) for one in node.input])

    def pick(self, node: Any, given: dict[str, Any]) -> _Value:
        """ArrayFeatureExtractor: some of the columns."""
        places = self.constant(node.input[1])
        if places is None:
            raise NotConvertibleError("it picks columns that depend on the row")
        return self._gather(self.value(node.input[0]), places.ravel())

    def trees(self, node: Any, given: dict[str, Any]) -> _Value:
        """TreeEnsembleRegressor, TreeEnsembleClassifier, and TreeEnsemble, which numbers what follows."""
        try:
            trees = trees_of(node)
        except NotExactError as error:
            raise NotConvertibleError(str(error)) from None
        value = self.value(node.input[0])
        classes = given.get("classlabels_int64s") or given.get("classlabels_strings") or []
        signed = bool((trees.weights < 0).any())
        return self._transformed(self._walk(trees, value), given, len(classes), signed=signed)

    def _walk(self, trees: Trees, value: _Value) -> _Value:
        """Each row down all trees.

        A node's second child follows the first, so a step is one table of first children and an addition. A leaf is its
        own child, and its condition compares its value with a column that is less than everything.
        """
        file, nodes, start = self.file, len(trees.feature), trees.levels[1]
        rows, feature = self._for_trees(trees, value)
        limit = np.where(trees.missing, trees.limit, np.minimum(trees.limit, np.finfo(np.float32).max))
        outputs, leaf = trees.weights.shape[1], np.zeros(nodes, dtype=bool)
        leaf[trees.leaves] = True
        feature[leaf] = rows.width - 1
        limit[leaf] = trees.weights[:, 0] if outputs == 1 else 0
        worth = np.zeros((nodes, outputs), dtype=np.float32)
        worth[leaf] = trees.weights
        child = np.zeros(nodes, dtype=np.int64)
        first = np.arange(start, nodes, 2)  # children come in pairs
        child[trees.parent[first]] = first
        order = np.arange(nodes)  # the one for rows that meet the condition goes in front
        swapped = first[~trees.yes[first]]
        order[swapped], order[swapped + 1] = swapped + 1, swapped
        child = np.where(leaf[order], np.arange(nodes), child[order])
        of_nodes = (_ints(feature[order]), _floats(limit[order]), _ints(child))
        tables = [self._fixed(one) for one in of_nodes]
        count = (start,)
        at: int | None = None
        for _ in trees.levels[2:]:
            if at is None:
                column = [self._fixed(one[:start]) for one in of_nodes]
                found = file.operator("GATHER", [rows.tensor, column[0]], count, axis=1)
                limits, children = column[1:]
            else:
                of_node, limits, children = (
                    file.operator("GATHER", [table, at], count, kind)
                    for table, kind in zip(tables, (np.int32, np.float32, np.int32), strict=True)
                )
                found = file.operator("GATHER", [rows.tensor, of_node], count, axis=1, batchDims=1)
            over = file.operator("CAST", [file.operator("GREATER", [found, limits], count, bool)], count, np.int32)
            at = file.operator("ADD", [children, over], count, np.int32)
        one = self._fixed(_ints([1]))
        if at is None:  # trees of a single leaf
            nothing = self._zero(value)
            summed = self._dense(nothing, np.zeros((outputs, 1)), trees.weights.sum(axis=0))
        elif outputs == 1:
            reached = file.operator("GATHER", [tables[1], at], count)
            summed = _Value(file.operator("SUM", [reached, one], (1,), keepDims=True), 1)
        else:
            reached = file.operator("GATHER", [self._fixed(worth[order]), at], (start, outputs))
            summed = _Value(file.operator("SUM", [reached, one], (outputs,), keepDims=False), outputs)
        return self._with("ADD", summed, trees.base) if trees.base.any() else summed

    def _for_trees(self, trees: Trees, value: _Value) -> tuple[_Value, Array]:
        """The columns that conditions are about, and each node's; the last column is less than everything.

        Conditions that are met without a value read a copy of the columns in which it is the least, others one in which
        it is the greatest.
        """
        feature = trees.feature.astype(np.int64)
        least = self._with("SUB", self._zero(value), _floats([np.inf]))
        if not self._missing:
            return self._side_by_side([value, least]), feature
        empty = self._is_nan(value)
        copies = [self._select(empty, np.full(value.width, fill, np.float32), value) for fill in (-np.inf, np.inf)]
        return self._side_by_side([*copies, least]), np.where(trees.missing, feature, feature + value.width)

    def _zero(self, value: _Value) -> _Value:
        """A column of zeros, whatever the rows have."""
        product = self._with("MUL", self._gather(value, np.array([0])), _floats([0]))
        return self._select(self._is_nan(product), _floats([0]), product)

    def _transformed(self, value: _Value, given: dict[str, Any], classes: int, *, signed: bool) -> _Value:
        """What ensembles and linear models do to their sums in the end."""
        kind = given.get("post_transform", b"NONE")
        kind = POSTS[kind] if isinstance(kind, int) else kind.decode()
        if kind not in ("NONE", "LOGISTIC", "SOFTMAX"):
            raise NotConvertibleError(f"it ends in {kind}")
        if classes == 2 and value.width == 1 and (kind == "SOFTMAX" or (kind == "NONE" and signed)):
            raise NotConvertibleError(f"its two classes come from one number by {kind}")
        if kind != "NONE":
            value = self._apply(kind, value)
        if classes != 2 or value.width != 1:
            return value
        rest = self.file.operator("SUB", [self._row(_floats([1])), value.tensor], (1,))
        return self._side_by_side([_Value(rest, 1), value])

    # Operators of LiteRT.

    def _fixed(self, values: Array) -> int:
        kind = np.float32 if values.dtype.kind == "f" else values.dtype
        return self.file.constant(values.astype(kind))

    def _row(self, values: Array) -> int:
        return self._fixed(np.asarray(values, dtype=np.float32).reshape(1, -1))

    def _apply(self, name: str, value: _Value) -> _Value:
        options = {"beta": 1.0} if name == "SOFTMAX" else {}
        return _Value(self.file.operator(name, [value.tensor], (value.width,), **options), value.width)

    def _binary(self, name: str, one: _Value, two: _Value) -> _Value:
        width = max(one.width, two.width)
        return _Value(self.file.operator(name, [one.tensor, two.tensor], (width,)), width)

    def _with(self, name: str, value: _Value, fixed: Array) -> _Value:
        width = max(value.width, np.asarray(fixed).size)
        return _Value(self.file.operator(name, [value.tensor, self._row(fixed)], (width,)), width)

    def _dense(self, value: _Value, weights: Array, bias: Array | None) -> _Value:
        """Weights of shape [outputs, inputs]."""
        width = len(weights)
        fixed = np.zeros(width) if bias is None else np.broadcast_to(np.ravel(bias), width)
        inputs = [value.tensor, self._fixed(_floats(weights)), self._fixed(_floats(fixed))]
        return _Value(self.file.operator("FULLY_CONNECTED", inputs, (width,)), width)

    def _gather(self, value: _Value, places: Array) -> _Value:
        width = len(places)
        return _Value(self.file.operator("GATHER", [value.tensor, self._fixed(_ints(places))], (width,), axis=1), width)

    def _side_by_side(self, values: list[_Value]) -> _Value:
        width = sum(value.width for value in values)
        return _Value(self.file.operator("CONCATENATION", [value.tensor for value in values], (width,), axis=1), width)

    def _is_nan(self, value: _Value) -> int:
        return self.file.operator("NOT_EQUAL", [value.tensor, value.tensor], (value.width,), bool)

    def _select(self, where: int, fixed: Array, value: _Value) -> _Value:
        return _Value(
            self.file.operator("SELECT_V2", [where, self._row(fixed), value.tensor], (value.width,)), value.width
        )


def _floats(values: Any) -> Array:
    return np.asarray(values, dtype=np.float32)


def _ints(values: Any) -> Array:
    return np.asarray(values, dtype=np.int32)


def _applied(name: str) -> Callable[[_Conversion, Any, dict[str, Any]], _Value]:
    return lambda conversion, node, given: conversion._apply(name, conversion.value(node.input[0]))


_HANDLERS: dict[str, Callable[[_Conversion, Any, dict[str, Any]], _Value]] = {
    **dict.fromkeys(("Cast", "Identity", "Reshape"), _Conversion.same),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _Conversion.arithmetic),
    **dict.fromkeys(("MatMul", "Gemm"), _Conversion.matrix),
    **dict.fromkeys(("LinearRegressor", "LinearClassifier"), _Conversion.linear),
    **dict.fromkeys(("TreeEnsembleRegressor", "TreeEnsembleClassifier", "TreeEnsemble"), _Conversion.trees),
    "ArrayFeatureExtractor": _Conversion.pick,
    "Concat": _Conversion.concat,
    "Imputer": _Conversion.imputer,
    "Normalizer": _Conversion.normalizer,
    "Scaler": _Conversion.scaler,
    "Relu": _applied("RELU"),
    "Sigmoid": _applied("LOGISTIC"),
    "Softmax": _Conversion.softmax,
    "Tanh": _applied("TANH"),
}
