"""What answers inside of a served model: an ONNX graph in this process, a constant, or (``native``) a process of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Columns = dict[str, list[Any]]
_EQUAL_DIGITS = 6  # of probabilities in single precision
_DTYPES: dict[str, Any] = {"float": np.float32, "int64": np.int64, "string": object}


@dataclass(frozen=True)
class Answers:
    """Of n rows.

    Attributes:
        predictions: Numbers or classes, n of them.
        beside: A classifier's probabilities, shape [n, classes]; or its scores: [n] of two classes (for the second), else [n, classes].
            None where nothing is served beside the predictions.
    """

    predictions: list[Any]
    beside: npt.NDArray[Any] | None = None


class Engine(ABC):
    """Answers rows that have been checked.

    Attributes:
        quick: Whether it answers in less time than a thread takes to start.
    """

    quick = True

    def start(self) -> None:  # noqa: B027 (a constant has nothing to load)
        """Load what there is to load, before the first request."""

    @abstractmethod
    def answers(self, columns: Columns) -> Answers:
        """Columns of n values each; None is a missing value."""

    def close(self) -> None:  # noqa: B027 (most have started nothing)
        """End what was started."""


@dataclass(frozen=True)
class Constant(Engine):
    """The model to beat: always the labels' mean, or the most frequent class with the classes' shares."""

    prediction: Any
    shares: tuple[float, ...] = ()

    @classmethod
    def of(cls, labels: list[Any], classes: list[Any]) -> Constant:
        """That of labels: of a regression where there are no classes."""
        if not classes:
            return cls(float(np.mean(np.asarray(labels, dtype=float))))
        counts = Counter(map(str, labels))
        shares = tuple(counts[str(name)] / len(labels) for name in classes)
        return cls(classes[int(np.argmax(shares))], shares)

    def answers(self, columns: Columns) -> Answers:
        """The same for every row."""
        rows = len(next(iter(columns.values())))
        return Answers([self.prediction] * rows, np.tile(self.shares, (rows, 1)) if self.shares else None)


@dataclass(frozen=True)
class Onnx(Engine):
    """An ONNX graph.

    Attributes:
        content: The file.
        columns: ``name``, ``tensor`` (float, int64 or string) and ``input`` (the ONNX input it goes into) of each, in order.
        layout: ``matrix`` (one input X) or ``columns`` (one input per column).
        classes: A classifier's classes.
        output: What its second output holds: ``probability``, ``score``, or nothing that is served.
        most_probable: A row's class is that of the highest probability, the first of equal ones: ONNX's own choice among equal ones is chance.
    """

    content: bytes
    columns: list[dict[str, Any]]
    layout: str
    classes: list[Any]
    output: str = ""
    most_probable: bool = False

    def start(self) -> None:
        """Load the graph."""
        _ = self._session

    def answers(self, columns: Columns) -> Answers:
        """One run of the graph."""
        # A column the model ignores has no input in the graph.
        found = self._session.run(self._outputs, {name: value for name, value in self._tensors(columns).items() if name in self._inputs})
        beside = np.asarray(found[1]) if self.output else None
        if beside is not None and self.output == "score" and len(self.classes) == 2 and beside.ndim == 2:
            beside = beside[:, -1]
        if self.most_probable and beside is not None:
            return Answers([self.classes[place] for place in np.round(beside, _EQUAL_DIGITS).argmax(axis=1)], beside)
        return Answers(found[0].ravel().tolist(), beside)

    def _tensors(self, values: Columns) -> dict[str, npt.NDArray[Any]]:
        """ONNX inputs: shape [n, columns] or one of shape [n, 1] per column; a missing number is NaN, as ONNX has it."""
        if self.layout == "matrix":
            return {"X": np.array([values[column["name"]] for column in self.columns], dtype=np.float32).T}
        return {column["input"]: np.array(values[column["name"]], dtype=_DTYPES[column["tensor"]]).reshape(-1, 1) for column in self.columns}

    @cached_property
    def _session(self) -> Any:
        """ONNX Runtime on one thread: the server answers requests side by side, not one faster."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(self.content, options, providers=["CPUExecutionProvider"])

    @cached_property
    def _outputs(self) -> list[str]:
        return [output.name for output in self._session.get_outputs()][: 2 if self.output else 1]

    @cached_property
    def _inputs(self) -> frozenset[str]:
        return frozenset(item.name for item in self._session.get_inputs())
