"""What answers inside a served model: an ONNX graph in this process, a constant, or (``native``) a separate process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.serving.models.rows import Rows

EQUAL_DIGITS = 6  # of probabilities in single precision
_DTYPES: dict[str, Any] = {"float": np.float32, "int64": np.int64, "string": object}


@dataclass(frozen=True)
class Answers:
    """Answers for n rows.

    Attributes:
        predictions: Numbers or classes, n of them; for several targets n lists of them.
        beside: A classifier's probabilities, shape [n, classes]; or its scores: [n] of two classes (for the second),
            else [n, classes]. Of several targets of two classes each those of the second, [n, targets]. None where
            nothing is served beside the predictions.
    """

    predictions: list[Any]
    beside: npt.NDArray[Any] | None = None

    def part(self, start: int, end: int) -> Answers:
        """Those for some of the rows."""
        return Answers(self.predictions[start:end], None if self.beside is None else self.beside[start:end])


def class_name(value: Any) -> str:
    """A class as text for comparison: ``True``, 1 and 1.0 are the same class, however a label, a model or ONNX writes
    it.
    """
    if isinstance(value, bool | np.bool_) or (isinstance(value, float | np.floating) and value.is_integer()):
        return str(int(value))
    return str(value)


def class_names(values: Any) -> npt.NDArray[Any]:
    """The same for an array of any shape."""
    array = np.asarray(values)
    if array.dtype.kind == "U":
        return array
    flat = array.ravel().tolist()
    names = {value: class_name(value) for value in set(flat)}
    return np.array([names[value] for value in flat], dtype=str).reshape(array.shape)


def by_row(found: Any) -> Any:
    """A model's output as an array of n rows: [n], or [n, outputs]; several targets, each with its own array, are put
    side by side.
    """
    if hasattr(found, "toarray"):
        return found.toarray()
    if isinstance(found, list) and found and np.ndim(found[0]) == 2:
        return np.concatenate(found, axis=1)
    array = np.asarray(found)
    return np.concatenate(list(array), axis=1) if array.ndim == 3 else array


def as_predictions(found: Any) -> list[Any]:
    """Predictions as plain values, one per row; for several targets a list per row."""
    array = by_row(found)
    plain: list[Any] = (array.ravel() if array.ndim < 2 or array.shape[1] == 1 else array).tolist()
    return plain


def of_labels(found: Any, targets: int) -> Any:
    """For several targets of two classes each: the second's probability or score, shape [n, targets], whether it is
    given alone or after the first's.
    """
    array = by_row(found)
    return array[:, 1::2] if array.ndim == 2 and array.shape[1] == 2 * targets else array


class Engine(ABC):
    """Answers validated rows.

    Attributes:
        kind: What it runs: onnx, constant, or a library's name.
        quick: Whether it answers in less time than a thread takes to start.
        row_by_row: Whether an answer depends on its own row alone, so that the rows of several requests may be answered
            together.
    """

    kind = "constant"
    quick = True
    row_by_row = True

    def start(self) -> None:  # noqa: B027 (a constant has nothing to load)
        """Load everything before the first request."""

    @abstractmethod
    def answers(self, rows: Rows) -> Answers:
        """The answers for n rows."""

    def close(self) -> None:  # noqa: B027 (most have started nothing)
        """Stop what was started."""


@dataclass(frozen=True)
class Constant(Engine):
    """The model to beat: always the labels' mean, or the most frequent class with the classes' shares; for several
    targets a list of these.
    """

    prediction: Any
    shares: tuple[float, ...] = ()

    @classmethod
    def of(cls, labels: list[Any], classes: list[Any]) -> Constant:
        """The baseline of labels; for a regression where there are no classes."""
        if labels and isinstance(labels[0], list):
            each = [
                cls.of(list(target), classes[place] if classes else [])
                for place, target in enumerate(zip(*labels, strict=True))
            ]
            known = tuple(one.shares[1] for one in each) if all(len(one.shares) == 2 for one in each) else ()
            return cls([one.prediction for one in each], known)
        if not classes:
            return cls(float(np.mean(np.asarray(labels, dtype=float))))
        counts = Counter(map(class_name, labels))
        shares = tuple(counts[class_name(name)] / len(labels) for name in classes)
        return cls(classes[int(np.argmax(shares))], shares)

    def answers(self, rows: Rows) -> Answers:
        """The same for every row."""
        shares = np.tile(self.shares, (len(rows), 1)) if self.shares else None
        return Answers([self.prediction] * len(rows), shares)


@dataclass(frozen=True)
class Onnx(Engine):
    """An ONNX graph.

    Attributes:
        content: The file.
        columns: ``name``, ``tensor`` (float, int64 or string) and ``input`` (the ONNX input it goes into) of each, in
            order.
        layout: ``matrix`` (one input X) or ``columns`` (one input per column).
        classes: A classifier's classes; of several targets a list for each.
        output: Its last output: ``probability``, ``score``, or nothing that is served.
        most_probable: A row's class is the one with the highest probability, the first of equal ones: ONNX's own choice
            among equal ones is arbitrary. The graph need not have the class as an output.
    """

    content: bytes
    columns: list[dict[str, Any]]
    layout: str
    classes: list[Any]
    output: str = ""
    most_probable: bool = False
    kind = "onnx"

    def start(self) -> None:
        """Load the graph."""
        _ = self._session

    def answers(self, rows: Rows) -> Answers:
        """One run of the graph, for labels and probabilities together."""
        found = self.run(self.tensors(rows))
        beside = None
        if self.output and self.classes and isinstance(self.classes[0], list):
            beside = of_labels(found[-1], len(self.classes))
        elif self.output:
            beside = np.asarray(found[-1])
            if self.output == "score" and len(self.classes) == 2 and beside.ndim == 2:
                beside = beside[:, -1]
        if self.most_probable and beside is not None:
            return Answers([self.classes[place] for place in np.round(beside, EQUAL_DIGITS).argmax(axis=1)], beside)
        return Answers(as_predictions(found[0]), beside)

    def run(self, tensors: dict[str, npt.NDArray[Any]]) -> list[Any]:
        """The outputs that are served, as ONNX Runtime returns them."""
        found: list[Any] = self._session.run(self._outputs, tensors)
        return found

    def tensors(self, rows: Rows) -> dict[str, npt.NDArray[Any]]:
        """ONNX inputs: shape [n, columns] or one of shape [n, 1] per column; a missing number is NaN, as ONNX has it. A
        column that the model ignores has no input in the graph.
        """
        if self.layout == "matrix":
            return {"X": rows.matrix()}
        return {
            name: np.asarray(rows.columns[column], dtype=dtype).reshape(-1, 1) for column, name, dtype in self._wanted
        }

    @cached_property
    def is_linear(self) -> bool:
        """Whether its predictions are a weighted sum; what happens to the columns before is not looked at."""
        import onnx

        nodes = {node.op_type for node in onnx.load_from_string(self.content).graph.node}
        return bool(nodes & {"LinearRegressor", "LinearClassifier"})

    @cached_property
    def _wanted(self) -> list[tuple[str, str, Any]]:
        """Column, input of the graph, and its type."""
        inputs = {item.name for item in self._session.get_inputs()}
        return [
            (column["name"], column["input"], _DTYPES[column["tensor"]])
            for column in self.columns
            if column["input"] in inputs
        ]

    @cached_property
    def _session(self) -> Any:
        return session_of(self.content)

    @cached_property
    def _outputs(self) -> list[str]:
        return [output.name for output in self._session.get_outputs()][: 2 if self.output else 1]


def session_of(content: bytes) -> Any:
    """ONNX Runtime on one thread: the server answers requests in parallel, instead of one faster."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
