"""A fitted model in the form in which it is served: an ONNX graph where that gives the same answers, else its own
format in a separate process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.training import native_export, onnx_export
from pipelines.training.asking import Asked
from pipelines.training.compress import compact
from pipelines.training.parity import Parity, Sample, Truth, known_categories, sample_rows, truth_of
from spec.errors import GroundplanError


@dataclass(frozen=True)
class Exported:
    """What is served.

    Attributes:
        files: Files by name, in addition to ``model.json``.
        described: Most of ``model.json``: ``engine`` and what it needs, ``columns``, ``task``, ``classes``, ``output``.
        parity: The comparison with the model itself.
        why_native: Why it is not an ONNX graph; empty where it is one.
        no_probability: Why a classifier's probabilities are not served; empty where they are.
        converted: The ONNX file as the converter wrote it; empty where there is none.
    """

    files: dict[str, bytes]
    described: dict[str, Any]
    parity: Parity
    why_native: str = ""
    no_probability: str = ""
    converted: bytes = b""


def export(
    asked: Asked,
    frame: Any,
    task: str,
    *,
    targets: list[str] | None = None,
    untrusted: bool = False,
    graph_only: bool = False,
) -> Exported:
    """The best way of serving that gives the model's own answers.

    An ONNX graph that lacks the model's probabilities is used only if its own format is not possible.

    Args:
        frame: The rows that it was fitted on.
        targets: Names of the labels, if a row has several.
        untrusted: Whether a model may be served that runs its own code when it is loaded.
        graph_only: Whether only graphs can be served where it goes.

    Raises:
        GroundplanError: There is none.
    """
    known = known_categories(asked, frame)
    sample = sample_rows(asked, frame, known)
    truth = truth_of(asked, sample, task, targets or [])
    columns = describe(frame, known, sample.gaps)
    failures: list[Exception] = []
    graph = onnx_export.convert(asked, columns, sample, truth, failures)
    if graph is not None and (graph_only or graph[1]["output"] == truth.outputs[0]):
        return _of_graph(graph, asked, sample, truth, failures)
    why = onnx_export.reason(asked, failures)
    try:
        files, described, parity = native_export.store(
            asked, frame, columns, sample, truth, why, untrusted=untrusted and graph is None
        )
    except GroundplanError:
        if graph is None:
            raise
        return _of_graph(graph, asked, sample, truth, failures)
    return Exported(files, described, parity, why, _why_none(asked, truth, described["output"], failures))


def _of_graph(
    graph: onnx_export.Attempt, asked: Asked, sample: Sample, truth: Truth, failures: list[Exception]
) -> Exported:
    files, described, parity = graph
    converted = files["model.onnx"]
    if smaller := compact(converted, described, sample, truth):
        files, parity = {**files, "model.onnx": smaller[0]}, smaller[1]
    none = _why_none(asked, truth, described["output"], failures)
    return Exported(files, described, parity, no_probability=none, converted=converted)


def _why_none(asked: Asked, truth: Truth, output: str, failures: list[Exception]) -> str:
    if truth.task == "regression" or output == "probability":
        return ""
    if "probability" not in truth.outputs:
        if truth.targets and any(len(each) != 2 for each in truth.classes):
            return "not every one of its targets has two classes"
        return f"{asked.name} has no predict_proba"
    return f"the probabilities of {asked.name} are lost in the conversion: {onnx_export.reason(asked, failures)}"


def describe(frame: Any, known: dict[str, list[Any]], gaps: tuple[str, ...]) -> list[dict[str, Any]]:
    """Columns of a frame as the model server validates them.

    Raises:
        GroundplanError: A column contains what a request can't.
    """
    from pandas.api import types

    columns: list[dict[str, Any]] = []
    for name in frame.columns:
        series = frame[name]
        of = series.cat.categories if hasattr(series, "cat") else series
        kind = (
            "boolean"
            if types.is_bool_dtype(of)
            else (
                "long"
                if types.is_integer_dtype(of)
                else (
                    "double"
                    if types.is_numeric_dtype(of)
                    else "timestamp"
                    if types.is_datetime64_any_dtype(of)
                    else "string"
                )
            )
        )
        if kind == "string":
            kind = _of_objects(str(name), series)
        column = {"name": str(name), "type": kind}
        columns.append(
            {
                **column,
                **({"nullable": True} if name in gaps else {}),
                **({"categories": known[name]} if name in known else {}),
            }
        )
    return columns


def _of_objects(name: str, series: Any) -> str:
    """The type of a column of Python objects.

    Raises:
        GroundplanError: It contains what a request can't, or values of several types.
    """
    kinds = {type(value) for value in series.dropna().unique().tolist()}
    if kinds <= {bool}:
        return "boolean" if kinds else "string"
    if kinds <= {int}:
        return "long"
    if kinds <= {int, float}:
        return "double"
    if kinds <= {str}:
        return "string"
    raise GroundplanError(
        f"column {name!r} contains {' and '.join(sorted(kind.__name__ for kind in kinds))}, but a request has one of:"
        " numbers, booleans, texts, dates",
        where="the logged model",
        fix="give the column one type before the fit: frame[name].astype(str), or pd.to_datetime(frame[name])",
    )
