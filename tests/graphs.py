"""Changes of served graphs: versions that fail, are slow, or are wrong somewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import TensorProto, helper


def plus(expression: str) -> Callable[[Path], None]:
    """Adds something to every prediction of a regressor.

    Args:
        expression: Nodes in ONNX's text syntax that make ``more`` (float[?,1]) of ``X``, the rows.
    """

    def change(path: Path) -> None:
        model = onnx.load(path)
        (output,) = model.graph.output
        for node in model.graph.node:
            node.output[:] = ["known" if name == output.name else name for name in node.output]
        added = onnx.parser.parse_graph(f"more (float[N,K] X) => (float[N,1] more) {{ {expression} }}")
        model.graph.node.extend(added.node)
        model.graph.node.append(helper.make_node("Add", ["known", "more"], [output.name]))
        assert output.type.tensor_type.elem_type == TensorProto.FLOAT
        onnx.checker.check_model(model)
        onnx.save(model, path)

    return change


def _column(place: int) -> str:
    return f"""
        place = Constant<value = int64[1] {{{place}}}>()
        column = Gather<axis = 1>(X, place)
    """


def shifted(by: float) -> Callable[[Path], None]:
    """Wrong by the same everywhere."""
    return plus(
        _column(0)
        + f"""
        zero = Sub(column, column)
        by = Constant<value = float[1] {{{by}}}>()
        more = Add(zero, by)
    """
    )


def wrong_where(place: int, value: float, by: float) -> Callable[[Path], None]:
    """Wrong where a column has a value."""
    return plus(
        _column(place)
        + f"""
        value = Constant<value = float[1] {{{value}}}>()
        there = Equal(column, value)
        number = Cast<to = 1>(there)
        by = Constant<value = float[1] {{{by}}}>()
        more = Mul(number, by)
    """
    )


def failing_above(place: int, value: float) -> Callable[[Path], None]:
    """Fails for requests with a row in which a column is above a value: it looks up what is not there."""
    return plus(
        _column(place)
        + f"""
        value = Constant<value = float[1] {{{value}}}>()
        there = Greater(column, value)
        number = Cast<to = 7>(there)
        far = Constant<value = int64[1] {{99}}>()
        index = Mul(number, far)
        table = Constant<value = float[2] {{0.0, 0.0}}>()
        more = Gather(table, index)
    """
    )


def slow(size: int) -> Callable[[Path], None]:
    """Multiplies two square matrices for every request."""
    return plus(
        _column(0)
        + f"""
        zero = Sub(column, column)
        axes = Constant<value = int64[2] {{0, 1}}>()
        nothing = ReduceSum<keepdims = 1>(zero, axes)
        shape = Constant<value = int64[2] {{{size}, {size}}}>()
        square = Expand(nothing, shape)
        product = MatMul(square, square)
        total = ReduceSum<keepdims = 1>(product, axes)
        more = Add(zero, total)
    """
    )
