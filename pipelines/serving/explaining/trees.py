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
    """The trees of a ``TreeEnsembleRegressor`` or ``TreeEnsembleClassifier`` (ai.onnx.ml, versions 1 to 3).

    Raises:
        NotExactError: It branches by equality, or is too large.
    """
    from onnx import helper

    given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    kind = "target" if "target_ids" in given else "class"
    outputs = int(given.get("n_targets") or max(given[f"{kind}_ids"]) + 1)
    keys = list(zip(given["nodes_treeids"], given["nodes_nodeids"], strict=True))
    if len(keys) > MOST_NODES:
        raise NotExactError(f"the trees have more than {MOST_NODES} nodes")
    place = {key: at for at, key in enumerate(keys)}
    modes = [mode.decode() for mode in given["nodes_modes"]]
    if set(modes) - {"LEAF", "BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"}:
        raise NotExactError("a tree branches by equality")
    order, parent, yes, levels = _by_level(given, keys, place, modes)
    weights = np.zeros((len(keys), outputs))
    for tree, number, output, weight in zip(
        given[f"{kind}_treeids"], given[f"{kind}_nodeids"], given[f"{kind}_ids"], given[f"{kind}_weights"], strict=True
    ):
        weights[place[tree, number], output] += weight
    if given.get("aggregate_function", b"SUM") == b"AVERAGE":
        weights /= len(set(given["nodes_treeids"]))
    limits = np.asarray(given["nodes_values"], dtype=np.float32)
    strict = np.array([mode in ("BRANCH_LT", "BRANCH_GTE") for mode in modes])
    limits[strict] = np.nextafter(limits[strict], np.float32(-np.inf))
    # A condition that asks for more is turned around: its other branch asks for less.
    upwards = np.array([mode in ("BRANCH_GT", "BRANCH_GTE") for mode in modes])
    tracks = np.asarray(given.get("nodes_missing_value_tracks_true") or [0] * len(modes), dtype=bool)
    leaves = np.flatnonzero([modes[at] == "LEAF" for at in order])
    feature = np.asarray(given["nodes_featureids"], dtype=np.intp)[order]
    inner = np.array([mode != "LEAF" for mode in modes])[order]
    return Trees(
        levels,
        parent,
        yes ^ upwards[order][parent],
        np.where(inner, feature, 0),
        limits[order],
        (tracks ^ upwards)[order],
        leaves,
        weights[order][leaves],
        np.asarray(given.get("base_values") or [0.0] * outputs, dtype=float),
        int(feature[inner].max(initial=0)) + 1,
    )


def _by_level(
    given: dict[str, Any], keys: list[tuple[int, int]], place: dict[tuple[int, int], int], modes: list[str]
) -> tuple[list[int], npt.NDArray[np.intp], npt.NDArray[np.bool_], list[int]]:
    """The nodes level by level, each one's parent (by its new place) and branch, and where levels begin."""
    children: dict[int, tuple[int, int]] = {
        at: (place[keys[at][0], given["nodes_truenodeids"][at]], place[keys[at][0], given["nodes_falsenodeids"][at]])
        for at, mode in enumerate(modes)
        if mode != "LEAF"
    }
    below = {child for both in children.values() for child in both}
    level = [(at, 0, False) for at in range(len(keys)) if at not in below]
    order, parent, yes, levels = list[int](), list[int](), list[bool](), [0]
    while level:
        under = []
        for at, above, branch in level:
            if at in children:
                first, second = children[at]
                under += [(first, len(order), True), (second, len(order), False)]
            order.append(at)
            parent.append(above)
            yes.append(branch)
        levels.append(len(order))
        level = under
    return order, np.asarray(parent, dtype=np.intp), np.asarray(yes, dtype=bool), levels


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
