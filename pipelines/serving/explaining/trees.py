"""Exact Shapley values of tree ensembles, read from their ONNX graph.

The game is that of interventional TreeSHAP (Lundberg et al., 2020, https://doi.org/10.1038/s42256-019-0138-9):
columns outside of a coalition have the values of a background row, and the value is the mean over the background rows.
A leaf of a tree is reached or not, so its part of the sum has a closed form: where the row alone fulfils the path's
conditions on the columns A, the background row alone those on B, and no column violates them in both, each column of A
gets ``(|A|-1)! |B|! / (|A|+|B|)!`` of the leaf's value, and each of B loses ``|A|! (|B|-1)! / (|A|+|B|)!`` of it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_COLUMNS = 63  # bits of a mask, but one
MOST_NODES = 1_000_000
Floats = npt.NDArray[np.float64]


class NotExactError(Exception):
    """The graph is not one whose values can be computed exactly; the message says why."""


POSTS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT")  # what follows a sum, by its number in version 5


def attributes_of(node: Any) -> dict[str, Any]:
    """A node's attributes by name."""
    from onnx import helper

    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


@dataclass(frozen=True)
class Trees:
    """All trees' nodes, those of a level after those of the level above.

    Attributes:
        levels: Where each level begins, and where the last one ends.
        parent: Of each node, but the first level's; [nodes].
        yes: Whether a row gets to a node by fulfilling its parent's condition; [nodes].
        feature, limit, missing: The condition of an inner node: ``value <= limit``, or without a value where
            ``missing`` is true; [nodes].
        leaves: Which nodes are leaves; [leaves].
        weights: What each leaf adds to each output; [leaves, outputs].
        base: What is added to each output in any case; [outputs].
        features: How many there are at least.
    """

    levels: list[int]
    parent: npt.NDArray[np.intp]
    yes: npt.NDArray[np.bool_]
    feature: npt.NDArray[np.intp]
    limit: npt.NDArray[np.float32]
    missing: npt.NDArray[np.bool_]
    leaves: npt.NDArray[np.intp]
    weights: Floats
    base: Floats
    features: int

    def violated(self, row: npt.NDArray[np.float32], bits: npt.NDArray[Any]) -> Any:
        """By which columns a row violates the conditions on the way to each leaf, as bits; [leaves].

        Args:
            bits: Of the column that each node's condition is about; [nodes].
        """
        values = row[self.feature]
        held = values <= self.limit
        if np.isnan(row).any():
            held |= np.isnan(values) & self.missing
        found = (held[self.parent] != self.yes) * bits[self.parent]
        found[: self.levels[1]] = 0
        for start, end in zip(self.levels[1:-1], self.levels[2:], strict=True):
            found[start:end] |= found[self.parent[start:end]]
        return found[self.leaves]


def trees_of(node: Any) -> Trees:
    """The trees of a ``TreeEnsembleRegressor`` or ``TreeEnsembleClassifier`` (ai.onnx.ml, versions 1 to 4), or of a
    ``TreeEnsemble`` (version 5).

    Raises:
        NotExactError: It branches by equality or membership, or is too large.
    """
    given = attributes_of(node)
    if any(name.endswith("_as_tensor") for name in given):
        raise NotExactError("the trees are in double precision")
    if given.get("aggregate_function", b"SUM") not in (b"SUM", b"AVERAGE", 0, 1):
        raise NotExactError("what is served is the trees' smallest or largest value")
    flat = _of_version_5(given) if node.op_type == "TreeEnsemble" else _of_older(given)
    order, parent, yes, levels = _by_level(flat)
    inner, feature = flat.yes[order] >= 0, flat.feature[order]
    leaves = np.flatnonzero(~inner)
    # A condition that asks for more is turned around: its other branch asks for less.
    return Trees(
        levels,
        parent,
        yes ^ flat.upwards[order][parent],
        np.where(inner, feature, 0),
        flat.limit[order],
        (flat.tracks ^ flat.upwards)[order],
        leaves,
        flat.weights[order][leaves],
        flat.base,
        int(feature[inner].max(initial=0)) + 1,
    )


@dataclass(frozen=True)
class _Flat:
    """Nodes in any order.

    Attributes:
        roots: Of the trees.
        yes, no: The children of each node, -1 of leaves.
        upwards: Whether a node's condition asks for more than its limit.
        tracks: Whether a missing value goes to ``yes``.
        weights: Of leaves; [nodes, outputs].
    """

    roots: npt.NDArray[np.intp]
    yes: npt.NDArray[np.intp]
    no: npt.NDArray[np.intp]
    feature: npt.NDArray[np.intp]
    limit: npt.NDArray[np.float32]
    upwards: npt.NDArray[np.bool_]
    tracks: npt.NDArray[np.bool_]
    weights: Floats
    base: Floats


_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT")  # by their numbers in version 5


def _of_older(given: dict[str, Any]) -> _Flat:
    kind = "target" if "target_ids" in given else "class"
    classes = len(given.get("classlabels_int64s") or given.get("classlabels_strings") or [])
    outputs = int(given.get("n_targets") or max(max(given[f"{kind}_ids"]) + 1, classes if classes > 2 else 1))
    _small_enough(len(given["nodes_treeids"]))
    tree, number = np.asarray(given["nodes_treeids"]), np.asarray(given["nodes_nodeids"])
    width = int(number.max()) + 1
    keys = tree * width + number
    by_key = np.argsort(keys)

    def place(trees: Any, numbers: Any) -> Any:
        return by_key[np.searchsorted(keys, np.asarray(trees) * width + np.asarray(numbers), sorter=by_key)]

    modes = np.array(given["nodes_modes"])
    leaf = modes == b"LEAF"
    codes = _codes([mode.decode() for mode in modes.tolist()], leaf)
    yes, no = np.full(len(keys), -1, dtype=np.intp), np.full(len(keys), -1, dtype=np.intp)
    yes[~leaf] = place(tree[~leaf], np.asarray(given["nodes_truenodeids"])[~leaf])
    no[~leaf] = place(tree[~leaf], np.asarray(given["nodes_falsenodeids"])[~leaf])
    roots = np.ones(len(keys), dtype=bool)
    roots[yes[~leaf]] = roots[no[~leaf]] = False
    weights = np.zeros((len(keys), outputs))
    at = place(given[f"{kind}_treeids"], given[f"{kind}_nodeids"])
    np.add.at(weights, (at, np.asarray(given[f"{kind}_ids"])), np.asarray(given[f"{kind}_weights"], dtype=float))
    if given.get("aggregate_function", b"SUM") == b"AVERAGE":
        weights /= int(roots.sum())
    return _Flat(
        np.flatnonzero(roots),
        yes,
        no,
        np.asarray(given["nodes_featureids"], dtype=np.intp),
        _limits(np.asarray(given["nodes_values"], dtype=np.float32), codes),
        codes >= 2,
        np.asarray(given.get("nodes_missing_value_tracks_true") or [0] * len(keys), dtype=bool),
        weights,
        np.asarray(given.get("base_values") or [0.0] * outputs, dtype=float),
    )


def _of_version_5(given: dict[str, Any]) -> _Flat:
    from onnx import numpy_helper

    feature = np.asarray(given["nodes_featureids"], dtype=np.intp)
    targets = np.asarray(given["leaf_targetids"])
    inner, leaves = len(feature), len(targets)
    _small_enough(inner + leaves)
    modes = numpy_helper.to_array(given["nodes_modes"]).tolist()
    codes = _codes([_MODES[mode] if mode < len(_MODES) else "" for mode in modes], np.zeros(inner, dtype=bool))
    nowhere = np.full(leaves, -1)
    yes, no = (
        np.append(np.asarray(given[f"nodes_{way}nodeids"]) + inner * np.asarray(given[f"nodes_{way}leafs"]), nowhere)
        for way in ("true", "false")
    )
    # A leaf alone is written as a node whose branches lead to the same leaf.
    weights = np.zeros((inner + leaves, int(given["n_targets"])))
    weights[inner + np.arange(leaves), targets] = numpy_helper.to_array(given["leaf_weights"])
    roots = np.asarray(given["tree_roots"], dtype=np.intp)
    if given.get("aggregate_function", 1) == 0:
        weights /= len(roots)
    none, rest = np.zeros(inner, dtype=np.int64), np.zeros(leaves)
    limit = _limits(numpy_helper.to_array(given["nodes_splits"]).astype(np.float32), codes)
    return _Flat(
        roots,
        yes.astype(np.intp),
        no.astype(np.intp),
        np.append(feature, rest).astype(np.intp),
        np.append(limit, rest).astype(np.float32),
        np.append(codes >= 2, rest).astype(bool),
        np.append(np.asarray(given.get("nodes_missing_value_tracks_true") or none), rest).astype(bool),
        weights,
        np.zeros(weights.shape[1]),
    )


def _small_enough(nodes: int) -> None:
    if nodes > MOST_NODES:
        raise NotExactError(f"the trees have more than {MOST_NODES} nodes")


def _codes(modes: list[str], leaf: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The modes of nodes by their numbers; 0 of leaves."""
    known = {mode: number for number, mode in enumerate(_MODES)} | {"LEAF": 0}
    if set(modes) - set(known):
        raise NotExactError("a tree branches by equality")
    return np.where(leaf, 0, np.array([known[mode] for mode in modes], dtype=np.int64))


def _limits(limits: npt.NDArray[np.float32], codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Limits that a value must not exceed, also where it must be less."""
    below = np.nextafter(limits, np.float32(-np.inf))
    return np.where((codes == 1) | (codes == 2), below, limits).astype(np.float32)


def _by_level(flat: _Flat) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.bool_], list[int]]:
    """The nodes level by level, children side by side; each one's parent (by its new place) and branch, and where
    levels begin.
    """
    order, parent, yes, levels = [flat.roots], [np.zeros(len(flat.roots), dtype=np.intp)], [], [0, len(flat.roots)]
    yes.append(np.zeros(len(flat.roots), dtype=bool))
    while True:
        level = order[-1]
        above = np.flatnonzero(flat.yes[level] >= 0)
        if not len(above):
            break
        order.append(np.stack([flat.yes[level[above]], flat.no[level[above]]], axis=1).ravel())
        parent.append(np.repeat(above + levels[-2], 2))
        yes.append(np.tile([True, False], len(above)))
        levels.append(levels[-1] + 2 * len(above))
        if levels[-1] > 2 * MOST_NODES:
            raise NotExactError("the trees share nodes")
    return np.concatenate(order), np.concatenate(parent), np.concatenate(yes), levels


_FEW = 16  # columns, of whose masks each value may have a place in a table


class TreeShap:
    """Shapley values of the columns, compared with background rows.

    Args:
        trees: Of the ensemble.
        owner: The column that each feature is made of, -1 where it is the same in all rows; [features].
        background: Features of the background rows; [rows, features].
    """

    def __init__(
        self, trees: Trees, owner: npt.NDArray[np.int64], background: npt.NDArray[np.float32], columns: int
    ) -> None:
        if columns > MOST_COLUMNS:
            raise NotExactError(f"there are more than {MOST_COLUMNS} columns")
        kind = next(dtype for bits, dtype in ((16, np.uint16), (32, np.uint32), (64, np.uint64)) if columns < bits)
        self._trees, self._columns, self._kind = trees, columns, kind
        # A feature that is made of no column is the same for everybody: where it rules a leaf out, it does so for all.
        bits = np.left_shift(np.uint64(1), np.where(owner < 0, columns, owner).astype(np.uint64))
        self._bits = bits[trees.feature].astype(kind)
        masks = np.stack([trees.violated(row, self._bits) for row in background], axis=1)  # [leaves, rows]
        order = np.sort(masks, axis=1)
        new = np.ones(order.shape, dtype=bool)
        new[:, 1:] = order[:, 1:] != order[:, :-1]
        flat = np.flatnonzero(new.ravel())
        self._leaf = (flat // order.shape[1]).astype(np.intp)
        ends = np.minimum(np.append(flat[1:], new.size), (self._leaf + 1) * order.shape[1])
        self._theirs = order.ravel()[flat]
        self._share = (ends - flat) / len(background)
        self._worth: dict[int, Floats] = {}
        # What a coalition of a and one of b columns gain and lose, at a * (columns + 1) + b.
        most = columns + 1
        self._a = np.bitwise_count(self._theirs).astype(np.int32) * most
        self._gain = np.array([_share(a - 1, b, a + b) if a else 0.0 for a in range(most) for b in range(most)])
        self._loss = np.array([_share(a, b - 1, a + b) if b else 0.0 for a in range(most) for b in range(most)])
        self._mine, self._both = np.empty_like(self._theirs), np.empty_like(self._theirs)
        self._met = np.empty(len(self._theirs), dtype=bool)
        every = np.arange(2 << columns)[:, None] if columns < _FEW else None
        self._table = None if every is None else (every >> np.arange(columns) & 1).astype(float)
        self._one_at_a_time = threading.Lock()

    def values(self, row: npt.NDArray[np.float32], output: int) -> Floats:
        """The Shapley value of each column for one row of features; [columns]."""
        with self._one_at_a_time:  # the arrays are used again: new ones would take most of the time
            return self._values(row, output)

    def _values(self, row: npt.NDArray[np.float32], output: int) -> Floats:
        if output not in self._worth:
            self._worth[output] = self._trees.weights[self._leaf, output] * self._share
        np.take(self._trees.violated(row, self._bits), self._leaf, out=self._mine, mode="clip")
        np.bitwise_and(self._mine, self._theirs, out=self._both)
        met = np.flatnonzero(np.equal(self._both, 0, out=self._met))
        mine, theirs = self._mine[met], self._theirs[met]
        at = self._a[met] + np.bitwise_count(mine)
        worth = self._worth[output][met]
        return self._by_column(theirs, worth * self._gain[at]) - self._by_column(mine, worth * self._loss[at])

    def _by_column(self, masks: Any, values: Floats) -> Floats:
        if self._table is not None:
            return np.asarray(np.bincount(masks, weights=values, minlength=len(self._table)) @ self._table)
        places = np.arange(self._columns, dtype=self._kind)
        return np.asarray(values @ (masks[:, None] >> places & self._kind(1)).astype(float))

    def outputs(self, row: npt.NDArray[np.float32]) -> Floats:
        """What the trees add up to for one row of features; [outputs]."""
        return np.asarray(
            self._trees.weights[self._trees.violated(row, self._bits) == 0].sum(axis=0) + self._trees.base
        )


def _share(first: int, second: int, whole: int) -> float:
    return factorial(first) * factorial(second) / factorial(whole)
