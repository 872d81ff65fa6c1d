"""Fitted scikit-learn models as ONNX files: what is served is data, never code, and nothing is unpickled."""

from __future__ import annotations

import copy
import re
from typing import Any

from pipelines.serving.models.bundle import made
from pipelines.training.asking import Asked, last_step
from pipelines.training.parity import NEW_GAPS, DifferError, Parity, Sample, Truth, compare

Attempt = tuple[dict[str, bytes], dict[str, Any], Parity]


def convert(
    asked: Asked, columns: list[dict[str, Any]], sample: Sample, truth: Truth, failures: list[Exception]
) -> Attempt | None:
    """Turn a fitted model into ONNX, and compare every output that is served with the model's own on rows of all kinds.

    Inputs: one float tensor ``X`` of shape [n, columns] where all columns are numbers and the model takes them so, else
    one tensor of shape [n, 1] per column. The first output holds predictions, a classifier's second its probabilities
    or scores. Probabilities that the model does not have, or that the converter gets wrong, are not served: its scores
    are served instead, or only its classes.

    Args:
        columns: As returned by ``export.describe``.
        failures: Collects errors.

    Returns:
        Files, description and comparison; None where the answers differ, or there is no converter.
    """
    for output in truth.outputs:
        # Whole numbers are passed as integers where the converter accepts that (for categories), else as floats.
        for layout, integers in (("matrix", "float"), ("columns", "int64"), ("columns", "float")):
            tensors = [{**column, **_tensor(place, column, integers)} for place, column in enumerate(columns)]
            if layout == "matrix" and any(column["tensor"] == "string" for column in tensors):
                continue
            try:
                content = _convert(asked, tensors, layout, truth.task, raw_scores=output == "score")
                described = {
                    "engine": "onnx",
                    "layout": layout,
                    "output": output,
                    "task": truth.task,
                    "classes": truth.classes,
                }
                described |= {"targets": truth.targets} if truth.targets else {}
                return _compared({"model.onnx": content}, described, tensors, sample, truth)
            except Exception as error:  # the converters raise many kinds
                failures.append(error)
    return None


def _tensor(place: int, column: dict[str, Any], integers: str) -> dict[str, str]:
    """A column's name as an ONNX input. ONNX names allow few characters, and some are taken by outputs."""
    return {
        "tensor": {"string": "string", "timestamp": "string", "double": "float"}.get(column["type"], integers),
        "input": f"c{place}",
    }


def _compared(
    files: dict[str, bytes], described: dict[str, Any], columns: list[dict[str, Any]], sample: Sample, truth: Truth
) -> Attempt:
    """The description with which the answers equal the model's own.

    Classes may have to be derived from the probabilities, and values may be missing only where they were in training.

    Raises:
        DifferError: The answers differ in either case.
    """
    only_known = [
        {key: value for key, value in column.items() if key != "nullable" or column["name"] not in sample.new_gaps}
        for column in columns
    ]
    attempts = [
        ({**described, "columns": taken, "most_probable": most_probable}, without)
        for taken, without in ((columns, ""), *([(only_known, NEW_GAPS)] if sample.new_gaps else []))
        for most_probable in ((True, False) if described["output"] == "probability" and not truth.targets else (False,))
    ]
    failure: Exception = DifferError("it has no columns")
    for attempt, without in attempts:
        try:
            return files, attempt, compare(made(attempt, files), sample, truth, without=without)
        except Exception as error:  # an engine can also refuse a value in many ways
            if attempt["most_probable"] == attempts[0][0]["most_probable"]:  # the other way is the less likely one
                failure = error
    raise failure


def reason(asked: Asked, failures: list[Exception]) -> str:
    """Why there is no ONNX model, in our own words; the converter's messages go to the log."""
    for line in dict.fromkeys(
        f"{type(failure).__name__}: {(str(failure).strip().splitlines() or [''])[0]}" for failure in failures
    ):
        print(f"conversion to ONNX: {line}")
    differing = next((str(failure) for failure in failures if isinstance(failure, DifferError)), "")
    unknown = next((found[1] for failure in failures if (found := _UNKNOWN.search(str(failure)))), "")
    if differing or not failures:
        return differing or "it has no columns"
    unknown = asked.name if unknown == type(asked.model).__name__ else unknown
    return f"there is no converter for {unknown}" if unknown else f"the converter fails on this {asked.name}"


# How skl2onnx reports an estimator without a converter.
_UNKNOWN = re.compile(r"Unable to find a (?:shape calculator|converter) for type '<class '[\w.]*?(\w+)'>'")


def _inputs(columns: list[dict[str, Any]], layout: str) -> list[tuple[str, str, int]]:
    """Name, tensor type and width of each ONNX input."""
    if layout == "matrix":
        return [("X", "float", len(columns))]
    return [(column["input"], column["tensor"], 1) for column in columns]


def _convert(asked: Asked, columns: list[dict[str, Any]], layout: str, task: str, *, raw_scores: bool) -> bytes:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    types = {"float": FloatTensorType, "int64": Int64TensorType, "string": StringTensorType}
    initial = [(name, types[tensor]([None, width])) for name, tensor, width in _inputs(columns, layout)]
    model = asked.model
    if layout == "columns":
        model = _renamed(asked, {column["name"]: column["input"] for column in columns})
    if task == "regression":
        return bytes(to_onnx(model, initial_types=initial).SerializeToString())
    # Which options a converter accepts differs by estimator; one that returns arrays by default has no ``zipmap``.
    wanted = {"zipmap": False} | ({"raw_scores": True} if raw_scores else {})
    try:
        return bytes(to_onnx(model, initial_types=initial, options={id(last_step(model)): wanted}).SerializeToString())
    except NameError:
        del wanted["zipmap"]
        return bytes(to_onnx(model, initial_types=initial, options={id(last_step(model)): wanted}).SerializeToString())


def _renamed(asked: Asked, inputs: dict[str, str]) -> Any:
    """A copy of the model that selects its columns by the names of ONNX's inputs."""

    def input_of(columns: Any) -> Any:
        if isinstance(columns, str):
            return inputs.get(columns, columns)
        return [inputs.get(name, name) for name in columns] if isinstance(columns, list) else columns

    copied = copy.deepcopy(asked.model)
    for estimator in Asked(copied).parts():
        for name in ("transformers_", "transformers"):
            if hasattr(estimator, name):
                setattr(
                    estimator,
                    name,
                    [(title, part, input_of(columns)) for title, part, columns in getattr(estimator, name)],
                )
    return copied
