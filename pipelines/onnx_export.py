"""Fitted scikit-learn models as ONNX files: what is served is data, never code, and nothing is unpickled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.errors import GroundplanError

TOLERANCE = 1e-3  # relative to the spread of the predictions; ONNX computes trees in single precision
CHECKED_ROWS = 500


@dataclass(frozen=True)
class Exported:
    """An ONNX model.

    Attributes:
        content: The file.
        columns: Input columns in order, each with ``name``, ``type`` (long, double, boolean, string) and ``tensor``
            (the ONNX input it goes into: float, int64 or string).
        layout: ``matrix`` (one input) or ``columns`` (one input per column).
        difference: Largest difference from scikit-learn on training rows: for a regression relative to the spread
            of its predictions, for a classification the share of rows with another class.
    """

    content: bytes
    columns: list[dict[str, str]]
    layout: str
    difference: float


def export(model: Any, frame: Any, task: str) -> Exported:
    """Turn a fitted model into ONNX and compare the two on training rows.

    Inputs: one float tensor ``X`` of shape [n, columns] where all columns are numbers and the model takes them so, else
    one tensor of shape [n, 1] per column. The first output holds predictions, a classifier's second its probabilities.

    Raises:
        GroundplanError: The model can't be converted, or the two differ by more than ``TOLERANCE``.
    """
    failure: Exception | None = None
    # Whole numbers go in as integers where the converter takes that (categories do), else as floats.
    for layout, integers in (("matrix", "float"), ("columns", "int64"), ("columns", "float")):
        columns = describe(frame, integers)
        if layout == "matrix" and any(column["tensor"] == "string" for column in columns):
            continue
        try:
            content = _convert(model, columns, layout, task)
            difference = _difference(model, content, frame, columns, layout, task)
        except Exception as error:  # the converters raise many kinds
            failure = failure or error
            continue
        if difference <= TOLERANCE:
            return Exported(content, columns, layout, difference)
        failure = GroundplanError(f"ONNX and scikit-learn differ by {difference:.2g} (at most {TOLERANCE:g} is allowed)")
    reason = str(failure).strip().splitlines()[0] if failure else "it has no columns"
    raise GroundplanError(
        f"{type(model).__name__} can't be served as ONNX: {reason}",
        where="the logged model",
        fix="use estimators from https://onnx.ai/sklearn-onnx/supported.html",
    ) from failure


def export_baseline(labels: list[Any], columns: list[dict[str, str]], layout: str, task: str) -> bytes:
    """The model to beat, as ONNX with the same inputs: always the labels' mean, or the most frequent class."""
    import numpy as np
    from onnx import TensorProto, checker, helper, numpy_helper

    if task == "regression":
        constants = {"variable": np.array([[np.mean(labels)]], dtype=np.float32)}
    else:
        classes, counts = np.unique(np.asarray(labels), return_counts=True)
        top = classes[np.argmax(counts)]
        kind: Any = np.int64 if np.issubdtype(classes.dtype, np.integer) or classes.dtype == bool else object
        constants = {"label": np.array([top], dtype=kind), "probabilities": (counts / counts.sum()).astype(np.float32).reshape(1, -1)}
    inputs = [helper.make_tensor_value_info(name, _ONNX_TYPES[tensor], [None, width]) for name, tensor, width in _inputs(columns, layout)]
    nodes = [
        helper.make_node("Shape", [inputs[0].name], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["rows"], axis=0),
    ]
    weights, outputs = [numpy_helper.from_array(np.array([0], dtype=np.int64), "zero")], []
    for name, value in constants.items():
        rank = value.ndim
        weights.append(numpy_helper.from_array(value, f"{name}_value"))
        size = "rows"
        if rank == 2:
            weights.append(numpy_helper.from_array(np.array([value.shape[1]], dtype=np.int64), f"{name}_width"))
            nodes.append(helper.make_node("Concat", ["rows", f"{name}_width"], [f"{name}_size"], axis=0))
            size = f"{name}_size"
        nodes.append(helper.make_node("Expand", [f"{name}_value", size], [name]))
        tensor = TensorProto.STRING if value.dtype == object else helper.np_dtype_to_tensor_dtype(value.dtype)
        outputs.append(helper.make_tensor_value_info(name, tensor, [None] * rank))
    graph = helper.make_graph(nodes, "baseline", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def classes(model: Any) -> list[Any]:
    """A classifier's classes as plain Python values, in the order of its probabilities; empty for a regressor."""
    return [value.item() if hasattr(value, "item") else value for value in getattr(model, "classes_", [])]


_ONNX_TYPES = {"float": 1, "int64": 7, "string": 8}  # onnx.TensorProto's numbers


def _inputs(columns: list[dict[str, str]], layout: str) -> list[tuple[str, str, int]]:
    """Name, tensor type and width of each ONNX input."""
    if layout == "matrix":
        return [("X", "float", len(columns))]
    return [(column["name"], column["tensor"], 1) for column in columns]


def _convert(model: Any, columns: list[dict[str, str]], layout: str, task: str) -> bytes:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    types = {"float": FloatTensorType, "int64": Int64TensorType, "string": StringTensorType}
    initial = [(name, types[tensor]([None, width])) for name, tensor, width in _inputs(columns, layout)]
    options = {"zipmap": False} if task == "classification" else None
    return bytes(to_onnx(model, initial_types=initial, options=options).SerializeToString())


def _difference(model: Any, content: bytes, frame: Any, columns: list[dict[str, str]], layout: str, task: str) -> float:
    import numpy as np

    from pipelines.serving.bundle import Model

    sample = frame.head(CHECKED_ROWS)
    # scikit-learn warns when names appear or vanish between fit and predict; give it what it was fitted on.
    expected = np.asarray(model.predict(sample if hasattr(model, "feature_names_in_") else sample.to_numpy()))
    served = Model(content, columns, layout, task, classes=classes(model))
    actual = served.predict(served.tensors({name: sample[name].tolist() for name in sample.columns}))
    if task == "classification":
        return float(np.mean(np.asarray(actual).astype(str) != expected.astype(str)))
    spread = float(expected.max() - expected.min()) or max(1.0, float(np.abs(expected).max()))
    return float(np.abs(np.asarray(actual, dtype=float).ravel() - expected.ravel()).max() / spread)


def describe(frame: Any, integers: str = "int64") -> list[dict[str, str]]:
    """Columns of a frame as the model server checks them."""
    from pandas.api import types

    columns = []
    for name in frame.columns:
        series = frame[name]
        if types.is_bool_dtype(series):
            kind, tensor = "boolean", integers
        elif types.is_integer_dtype(series):
            kind, tensor = "long", integers
        elif types.is_numeric_dtype(series):
            kind, tensor = "double", "float"
        else:
            kind, tensor = "string", "string"
        columns.append({"name": str(name), "type": kind, "tensor": tensor})
    return columns
