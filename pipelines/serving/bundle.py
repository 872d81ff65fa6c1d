"""A model as it is served: ``model.onnx`` and its description, loaded without running any code of the model's."""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_EQUAL_DIGITS = 6  # of probabilities in single precision
Tensors = dict[str, npt.NDArray[Any]]
_DTYPES: dict[str, Any] = {"float": np.float32, "int64": np.int64, "string": object}


@dataclass(frozen=True)
class Model:
    """An ONNX model and the columns it takes.

    Attributes:
        content: The ONNX file.
        columns: ``name``, ``type``, ``tensor`` and ``input`` of each column, in order; ``categories`` where the model knows no other values.
        layout: ``matrix`` (one input X) or ``columns`` (one input per column).
        classes: A classifier's classes, in the order of its probabilities or scores.
        output: What is served beside a classifier's classes: ``probability``, ``score`` (scikit-learn's ``decision_function``), or nothing.
        most_probable: A row's class is that of the highest probability, the first of equal ones: ONNX's own choice among equal ones is chance.
        entity: ``key``, and ``tables`` of the online store with the features each holds, if features can be looked up.
        background: Training rows that explanations compare with, as columns.
    """

    content: bytes
    columns: list[dict[str, Any]]
    layout: str
    task: str
    name: str = ""
    version: str = ""
    classes: list[Any] = field(default_factory=list)
    entity: dict[str, Any] = field(default_factory=dict)
    background: dict[str, list[Any]] = field(default_factory=dict)
    output: str = ""
    most_probable: bool = False

    @cached_property
    def session(self) -> Any:
        """ONNX Runtime on one thread: the server answers requests side by side, not one faster."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(self.content, options, providers=["CPUExecutionProvider"])

    @cached_property
    def _outputs(self) -> list[str]:
        return [output.name for output in self.session.get_outputs()]

    @property
    def names(self) -> list[str]:
        """Column names, in order."""
        return [column["name"] for column in self.columns]

    def tensors(self, values: dict[str, list[Any]]) -> Tensors:
        """ONNX inputs from columns of n values each: shape [n, columns] or one of shape [n, 1] per column."""
        if self.layout == "matrix":
            return {"X": np.array([values[name] for name in self.names], dtype=np.float32).T}
        return {column["input"]: np.array(values[column["name"]], dtype=_DTYPES[column["tensor"]]).reshape(-1, 1) for column in self.columns}

    def predict(self, tensors: Tensors) -> list[Any]:
        """Predictions, one per row: numbers, or classes."""
        if self.most_probable:
            return [self.classes[place] for place in np.round(self.beside(tensors), _EQUAL_DIGITS).argmax(axis=1)]
        predictions: list[Any] = self._run(tensors, self._outputs[:1])[0].ravel().tolist()
        if not self.classes:
            return predictions
        # ONNX has labels as integers or texts only; True and 1.0 come back as what they were (equal values hash alike).
        original = {value: value for value in self.classes}
        return [original.get(value, value) for value in predictions]

    def beside(self, tensors: Tensors) -> npt.NDArray[Any]:
        """A classifier's probabilities, shape [n, classes]; or its scores: [n] of two classes (for the second), else [n, classes]."""
        found = np.asarray(self._run(tensors, self._outputs[1:2])[0])
        return found[:, -1] if self.output == "score" and len(self.classes) == 2 and found.ndim == 2 else found

    def _run(self, tensors: Tensors, outputs: list[str]) -> Any:
        # A column the model ignores has no input in the graph.
        return self.session.run(outputs, {name: value for name, value in tensors.items() if name in self._input_names})

    @cached_property
    def _input_names(self) -> frozenset[str]:
        return frozenset(item.name for item in self.session.get_inputs())


def unpack(package: bytes, folder: Path) -> None:
    """Write a model's package (``model.tar.gz``) into a folder, which is all that it can write to.

    A package holds plain files side by side, so nothing else is taken out of one: no link, no device, no name that leads elsewhere.
    (``tarfile`` has a filter for that only from Python 3.11.4 on.)

    Raises:
        ValueError: It holds something else.
    """
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        for member in archive:
            name = posixpath.normpath(member.name)  # ``tar czf model.tar.gz .`` writes ./model.onnx
            source = archive.extractfile(member) if member.isfile() else None
            if source is not None and "/" not in name and name != "..":
                (folder / name).write_bytes(source.read())
            elif name != ".":
                raise ValueError(f"the package holds {member.name!r}, which is no plain file beside the others")


def load(folder: Path) -> Model | None:
    """The model in ``folder`` (SageMaker unpacks ``model.tar.gz`` to /opt/ml/model), or None if it is empty."""
    if not (folder / "model.onnx").is_file():
        return None
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    background = json.loads((folder / "background.json").read_text(encoding="utf-8"))
    rows = background["data"]
    return Model(
        content=(folder / "model.onnx").read_bytes(),
        columns=described["columns"],
        layout=described["layout"],
        task=described["task"],
        output=described.get("output", ""),
        most_probable=described.get("most_probable", False),
        name=described["model"],
        version=described.get("version", ""),
        classes=described["classes"],
        entity=described["entity"],
        background={name: [row[index] for row in rows] for index, name in enumerate(background["columns"])},
    )
