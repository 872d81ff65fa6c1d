"""Explanations that are exact: of models whose ONNX graph ends in a tree ensemble that adds up to what is served."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.serving.explaining.trees import MOST_COLUMNS, Floats, NotExactError, Trees, TreeShap, trees_of
from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import Onnx, session_of
from pipelines.serving.models.rows import Rows

METHOD = "exact (interventional TreeSHAP)"
_CLOSE = 1e-4  # relative to the outputs' spread: what single precision leaves
_PROBES = 3  # other background rows whose values a column gets, to find the features that are made of it


class TreeInput:
    """What the one tree ensemble of a graph is given: what happens to the columns before has happened.

    Attributes:
        trees: The ensemble's; the graph itself, which is many times larger, is not kept.
        direct: Whether that is the graph's own input.

    Raises:
        NotExactError: The graph has none, or several, or they can't be read.
    """

    def __init__(self, engine: Onnx) -> None:
        import onnx

        graph = onnx.load_from_string(engine.content)
        nodes = [node for node in graph.graph.node if node.op_type.startswith("TreeEnsemble")]
        if len(nodes) != 1:
            raise NotExactError("its graph does not have one tree ensemble")
        self._engine, self.trees, self._name = engine, trees_of(nodes[0]), str(nodes[0].input[0])
        self._session = _session_to(graph, self._name)
        self._inputs = {item.name for item in self._session.get_inputs()} if self._session else {self._name}
        self.direct = self._session is None

    def __call__(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Features of shape [rows, features]."""
        tensors = self._engine.tensors(rows)
        if self._session is None:
            return np.asarray(tensors[self._name], dtype=np.float32)
        given = {key: value for key, value in tensors.items() if key in self._inputs}
        (found,) = self._session.run([self._name], given)
        return np.asarray(found, dtype=np.float32)


class Exact:
    """Shapley values of a model's columns, compared with its background rows.

    Args:
        model: One target; its ONNX graph has one tree ensemble.

    Attributes:
        base: Mean output of the background rows; [outputs].
        spread: How much what is served varies over the background rows.

    Raises:
        NotExactError: The graph is another one, or what it serves is no sum over its trees.
    """

    def __init__(self, model: Model) -> None:
        if not isinstance(model.engine, Onnx) or model.targets or len(model.names) > MOST_COLUMNS:
            raise NotExactError("it is no ONNX graph with one target and few columns")
        if not model.background:
            raise NotExactError("there are no background rows")
        self._model, self._input = model, TreeInput(model.engine)
        self._background = model.background
        features = self._features(model.background)
        trees = self._input.trees
        if len(model.classes) == 2:
            trees = _of_two_classes(trees)
        if trees.features > features.shape[1]:
            raise NotExactError("its trees have more features than their input")
        self._owner = self._owners(features)
        self._trees, self._known = trees, features
        self._shap = self._of(self._owner)
        sums = np.stack([self._shap.outputs(row) for row in features])
        self.spread = self._check(sums)
        self.base = sums.mean(axis=0)

    def _of(self, owner: npt.NDArray[np.int64]) -> TreeShap:
        return TreeShap(self._trees, owner, self._known, len(self._model.names))

    def values(self, rows: Rows, place: int, output: int) -> Floats:
        """The values of one row; [columns].

        Args:
            place: Of the row.
            output: Of the trees: 0 of a regression, else the place of the class.

        Raises:
            NotExactError: A feature of this row is made of several columns.
        """
        one = {name: values[place : place + 1] for name, values in rows.lists.items()}
        (features,) = self._features(one)
        if not self._input.direct:
            self._separable(one, features)
        return self._shap.values(features, output)

    def _features(self, columns: dict[str, Any]) -> npt.NDArray[np.float32]:
        """What the trees are given; [rows, features]."""
        return self._input(Rows.of(columns))

    def _owners(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """The column of each feature: the one whose change changes it."""
        if self._input.direct:
            return np.arange(features.shape[1], dtype=np.int64)
        owner = np.full(features.shape[1], -1, dtype=np.int64)
        for column, name in enumerate(self._model.names):
            for shift in range(1, _PROBES + 1):
                values = self._background[name]
                moved = {**self._background, name: [*values[-shift:], *values[:-shift]]}
                self._claim(owner, column, np.any(_differ(self._features(moved), features), axis=0))
        return owner

    def _claim(self, owner: npt.NDArray[np.int64], column: int, changed: npt.NDArray[np.bool_]) -> None:
        if (owner[changed] >= 0).any() and (owner[changed][owner[changed] >= 0] != column).any():
            raise NotExactError("a feature is made of several columns")
        owner[changed] = column

    def _separable(self, one: dict[str, Any], features: npt.NDArray[np.float32]) -> None:
        """Check that the row's features are each made of one column, and find those that no background row shows."""
        names, first = self._model.names, {name: values[:1] for name, values in self._background.items()}
        count = len(names)
        # Row i has the values of a background row but for column i.
        mixed = {
            name: [one[name][0] if place == column else first[name][0] for place in range(count)]
            for column, name in enumerate(names)
        }
        changed, (before,) = self._features(mixed), self._features(first)
        owner = self._owner.copy()
        for column in range(count):
            self._claim(owner, column, _differ(changed[column], before))
        assembled = np.where(owner < 0, before, changed[np.maximum(owner, 0), np.arange(len(owner))])
        if _differ(assembled, features).any():
            raise NotExactError("a feature is made of several columns")
        if (owner != self._owner).any():
            self._owner, self._shap = owner, self._of(owner)

    def _check(self, sums: Floats) -> float:
        """That what is served is the trees' sum; how much it varies."""
        found = self._model.answers(Rows.of(self._background))
        if self._model.task == "regression":
            served = np.asarray(found.predictions, dtype=float).reshape(-1, 1)
        elif self._model.output == "probability" and found.beside is not None:
            served = np.asarray(found.beside, dtype=float)
        else:
            raise NotExactError("it serves neither numbers nor probabilities")
        spread = max(float(np.ptp(served)), 1e-6)
        if served.shape != sums.shape or np.abs(served - sums).max() > _CLOSE * spread:
            raise NotExactError("what it serves is no sum over its trees")
        return spread


def _of_two_classes(trees: Trees) -> Trees:
    """Some graphs have only the second class's probability: the first's is the rest."""
    weights, base = trees.weights, trees.base
    if weights.shape[1] == 2 and weights[:, 0].any():
        return trees
    second, at = weights[:, -1], base[-1]
    return replace(trees, weights=np.stack([-second, second], axis=1), base=np.array([1 - at, at]))


def _session_to(graph: Any, output: str) -> Any:
    """The part of a graph that computes one of its inner values; None where that is an input."""
    from onnx import TensorProto, helper

    if output in {item.name for item in graph.graph.input}:
        return None
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return session_of(graph.SerializeToString())


def _differ(one: npt.NDArray[np.float32], two: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    return np.asarray((one != two) & ~(np.isnan(one) & np.isnan(two)), dtype=bool)
