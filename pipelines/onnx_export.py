"""Fitted scikit-learn models as ONNX files: what is served is data, never code, and nothing is unpickled."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any

from infra.errors import GroundplanError
from pipelines.parity import DifferError, Parity, Sample, Truth, compare, known_categories, sample_rows, truth_of, within


@dataclass(frozen=True)
class Exported:
    """An ONNX model.

    Attributes:
        content: The file.
        columns: Input columns in order, each with ``name``, ``type`` (long, double, boolean, string), ``tensor`` (its type in ONNX:
            float, int64 or string), ``input`` (the ONNX input it goes into, where each has its own) and, where the model raises on any
            other value, the ``categories`` it knows.
        layout: ``matrix`` (one input) or ``columns`` (one input per column).
        output: What is served beside a classifier's classes: ``probability``, ``score`` (scikit-learn's ``decision_function``), or nothing.
        most_probable: The class is told by the probabilities, not by ONNX's own choice, which differs from scikit-learn's among equal ones.
        no_probability: Why a classifier's probabilities are not served; empty where they are.
        parity: What was compared with scikit-learn.
    """

    content: bytes
    columns: list[dict[str, Any]]
    layout: str
    output: str
    most_probable: bool
    no_probability: str
    parity: Parity


def export(model: Any, frame: Any, task: str) -> Exported:
    """Turn a fitted model into ONNX, and compare every output that is served with scikit-learn's on rows of all kinds.

    Inputs: one float tensor ``X`` of shape [n, columns] where all columns are numbers and the model takes them so, else
    one tensor of shape [n, 1] per column. The first output holds predictions, a classifier's second its probabilities or scores.
    Probabilities that the model does not have, or that the converter gets wrong, are not served: its scores are instead, or its classes alone.

    Raises:
        GroundplanError: The model can't be converted, or the two predict different values.
    """
    known = known_categories(model, frame)
    sample = sample_rows(model, frame, known)
    truth = truth_of(model, sample, task)
    failures: list[Exception] = []
    found = None
    for output in truth.outputs:
        found = _with_output(model, frame, known, sample, truth, output, failures)
        if found is not None:
            break
    if found is None:
        raise GroundplanError(
            f"{type(model).__name__} can't be served as ONNX: {_reason(model, failures)}",
            where="the logged model",
            fix="use estimators from https://onnx.ai/sklearn-onnx/supported.html",
        ) from (failures[0] if failures else None)
    return found


def _with_output(model: Any, frame: Any, known: dict[str, list[Any]], sample: Sample, truth: Truth, output: str, failures: list[Exception]) -> Exported | None:
    """The model with one kind of output beside its predictions, if a layout of its inputs gives scikit-learn's answers."""
    # Whole numbers go in as integers where the converter takes that (categories do), else as floats.
    for layout, integers in (("matrix", "float"), ("columns", "int64"), ("columns", "float")):
        columns = describe(frame, integers)
        if layout == "matrix" and any(column["tensor"] == "string" for column in columns):
            continue
        try:
            content = _convert(model, columns, layout, truth.task, raw_scores=output == "score")
            most_probable, parity = _compared(content, sample, truth, columns, layout, output)
        except Exception as error:  # the converters raise many kinds
            failures.append(error)
            continue
        described = [{**column, "categories": known[column["name"]]} if column["name"] in known else column for column in columns]
        return Exported(content, described, layout, output, most_probable, _why_none(model, truth, output, failures), parity)
    return None


def _compared(content: bytes, sample: Sample, truth: Truth, columns: list[dict[str, Any]], layout: str, output: str) -> tuple[bool, Parity]:
    """Whether classes must be told by the probabilities, and the comparison.

    Raises:
        DifferError: The answers differ either way.
    """
    try:
        return False, compare(content, sample, truth, columns, layout, output)
    except DifferError:
        if output != "probability":
            raise
        return True, compare(content, sample, truth, columns, layout, output, most_probable=True)


def _reason(model: Any, failures: list[Exception]) -> str:
    """Why there is no ONNX model, in our own words; the converter's go to the log."""
    for failure in failures:
        print(f"conversion to ONNX: {type(failure).__name__}: {failure}")
    differing = next((str(failure) for failure in failures if isinstance(failure, DifferError)), "")
    unknown = next((found[1] for failure in failures if (found := _UNKNOWN.search(str(failure)))), "")
    if differing or not failures:
        return differing or "it has no columns"
    return f"there is no converter for {unknown}" if unknown else f"the converter fails on this {type(last_step(model)).__name__}"


# How skl2onnx names an estimator that it has no converter for.
_UNKNOWN = re.compile(r"Unable to find a (?:shape calculator|converter) for type '<class '[\w.]*?(\w+)'>'")


def _why_none(model: Any, truth: Truth, output: str, failures: list[Exception]) -> str:
    if truth.task == "regression" or output == "probability":
        return ""
    name = type(last_step(model)).__name__
    if "probability" not in truth.outputs:
        return f"{name} has no predict_proba"
    return f"the probabilities of {name} don't come through the conversion: {_reason(model, failures)}"


def last_step(model: Any) -> Any:
    """The estimator that predicts: of a pipeline the last step's."""
    return last_step(model.steps[-1][1]) if hasattr(model, "steps") else model


def export_baseline(labels: list[Any], columns: list[dict[str, Any]], layout: str, task: str) -> bytes:
    """The model to beat, as ONNX with the same inputs: always the labels' mean, or the most frequent class."""
    import numpy as np
    from onnx import TensorProto, checker, helper, numpy_helper

    if task == "regression":
        constants = {"variable": np.array([[np.mean(labels)]], dtype=np.float32)}
    else:
        classes, counts = np.unique(np.asarray(labels), return_counts=True)
        if classes.dtype.kind == "f" and (classes == classes.round()).all():
            classes = classes.astype(np.int64)  # ONNX has no fractions for classes; the server gives 1.0 back as what it was
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


def _inputs(columns: list[dict[str, Any]], layout: str) -> list[tuple[str, str, int]]:
    """Name, tensor type and width of each ONNX input."""
    if layout == "matrix":
        return [("X", "float", len(columns))]
    return [(column["input"], column["tensor"], 1) for column in columns]


def _convert(model: Any, columns: list[dict[str, Any]], layout: str, task: str, *, raw_scores: bool) -> bytes:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    types = {"float": FloatTensorType, "int64": Int64TensorType, "string": StringTensorType}
    initial = [(name, types[tensor]([None, width])) for name, tensor, width in _inputs(columns, layout)]
    if layout == "columns":
        model = _renamed(model, {column["name"]: column["input"] for column in columns})
    if task == "regression":
        return bytes(to_onnx(model, initial_types=initial).SerializeToString())
    # Which options a converter takes differs by estimator; one that gives arrays by itself has no ``zipmap``.
    wanted = {"zipmap": False} | ({"raw_scores": True} if raw_scores else {})
    try:
        return bytes(to_onnx(model, initial_types=initial, options={id(last_step(model)): wanted}).SerializeToString())
    except NameError:
        del wanted["zipmap"]
        return bytes(to_onnx(model, initial_types=initial, options={id(last_step(model)): wanted}).SerializeToString())


def _renamed(model: Any, inputs: dict[str, str]) -> Any:
    """A copy of the model that picks its columns by the names of ONNX's inputs."""

    def input_of(columns: Any) -> Any:
        if isinstance(columns, str):
            return inputs.get(columns, columns)
        return [inputs.get(name, name) for name in columns] if isinstance(columns, list) else columns

    copied = copy.deepcopy(model)
    for estimator in within(copied):
        for name in ("transformers_", "transformers"):
            if hasattr(estimator, name):
                setattr(estimator, name, [(title, part, input_of(columns)) for title, part, columns in getattr(estimator, name)])
    return copied


def describe(frame: Any, integers: str = "int64") -> list[dict[str, Any]]:
    """Columns of a frame as the model server checks them."""
    from pandas.api import types

    columns: list[dict[str, Any]] = []
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
        # ONNX's own names are of few characters, and some are taken by outputs.
        columns.append({"name": str(name), "type": kind, "tensor": tensor, "input": f"c{len(columns)}"})
    return columns
