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
MOST_CONDITIONS = 4_000_000
Floats = npt.NDArray[np.float64]


class NotExactError(Exception):
    """The graph is not one whose values can be computed exactly; the message says why."""


@dataclass(frozen=True)
class Leaves:
    """The leaves of all trees: what a row must fulfil to reach each of them, and what it adds.

    Attributes:
        start: Where each leaf's conditions begin; [leaves].
        feature, low, high, missing: Of each condition: a row fulfils it with ``low < value <= high``, or without a
            value where ``missing`` is true.
        weights: What each leaf adds to each output; [leaves, outputs].
        base: What is added to each output in any case; [outputs].
    """

    start: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int32]
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]
    missing: npt.NDArray[np.bool_]
    weights: Floats
    base: Floats
    features: int

    def violated(self, row: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Which conditions a row of features violates."""
        values = row[self.feature]
        held = (values > self.low) & (values <= self.high)
        held |= np.isnan(values) & self.missing
        return ~held


def leaves_of(node: Any) -> Leaves:
    """The leaves of a ``TreeEnsembleRegressor`` or ``TreeEnsembleClassifier`` (ai.onnx.ml, versions 1 to 3).

    Raises:
        NotExactError: It branches by equality, or is too large.
    """
    from onnx import helper

    given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    kind = "target" if "target_ids" in given else "class"
    outputs = int(given.get("n_targets") or max(given[f"{kind}_ids"]) + 1)
    place = {key: at for at, key in enumerate(zip(given["nodes_treeids"], given["nodes_nodeids"], strict=True))}
    weights = np.zeros((len(place), outputs))
    for tree, number, output, weight in zip(
        given[f"{kind}_treeids"], given[f"{kind}_nodeids"], given[f"{kind}_ids"], given[f"{kind}_weights"], strict=True
    ):
        weights[place[tree, number], output] += weight
    modes = [mode.decode() for mode in given["nodes_modes"]]
    if set(modes) - {"LEAF", "BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"}:
        raise NotExactError("a tree branches by equality")
    thresholds = np.asarray(given["nodes_values"], dtype=np.float32)
    tracks = list(given.get("nodes_missing_value_tracks_true") or [0] * len(modes))
    below, inf = np.float32(-np.inf), np.float32(np.inf)
    start: list[int] = []
    feature: list[int] = []
    low, high, missing, kept = list[Any](), list[Any](), list[bool](), list[int]()
    trees = list(given["nodes_treeids"])
    inner = {
        (trees[at], child)
        for at, mode in enumerate(modes)
        if mode != "LEAF"
        for child in (given["nodes_truenodeids"][at], given["nodes_falsenodeids"][at])
    }
    for root in [key for key in place if key not in inner]:
        waiting: list[tuple[int, dict[int, tuple[Any, Any, bool]]]] = [(place[root], {})]
        while waiting:
            at, path = waiting.pop()
            if modes[at] == "LEAF":
                start.append(len(feature))
                kept.append(at)
                for column, (least, most, without) in path.items():
                    feature.append(column)
                    low.append(least)
                    high.append(most)
                    missing.append(without)
                if len(feature) > MOST_CONDITIONS:
                    raise NotExactError(f"the trees have more than {MOST_CONDITIONS} conditions")
                continue
            column, limit, mode = given["nodes_featureids"][at], thresholds[at], modes[at]
            if mode in ("BRANCH_LT", "BRANCH_GTE"):
                limit = np.nextafter(limit, below)
            least, most, without = path.get(column, (below, inf, True))
            under = (least, min(most, limit), without)
            over = (max(least, limit), most, without)
            downwards = mode in ("BRANCH_LEQ", "BRANCH_LT")
            yes, no = (under, over) if downwards else (over, under)
            for child, (least, most, _), allowed in (
                (given["nodes_truenodeids"][at], yes, bool(tracks[at])),
                (given["nodes_falsenodeids"][at], no, not tracks[at]),
            ):
                waiting.append((place[trees[at], child], {**path, column: (least, most, without and allowed)}))
    base = np.asarray(given.get("base_values") or [0.0] * outputs, dtype=float)
    found = weights[kept]
    if given.get("aggregate_function", b"SUM") == b"AVERAGE":
        found = found / len(set(trees))
    return Leaves(
        np.asarray(start, dtype=np.int64),
        np.asarray(feature, dtype=np.int32),
        np.asarray(low, dtype=np.float32),
        np.asarray(high, dtype=np.float32),
        np.asarray(missing, dtype=bool),
        found,
        base,
        int(max(feature, default=0)) + 1,
    )


_FEW = 16  # columns, of whose masks each value may have a place in a table


class TreeShap:
    """Shapley values of the columns, compared with background rows.

    Args:
        leaves: Of the ensemble.
        owner: The column that each feature is made of, -1 where it is the same in all rows; [features].
        background: Features of the background rows; [rows, features].
    """

    def __init__(
        self, leaves: Leaves, owner: npt.NDArray[np.int64], background: npt.NDArray[np.float32], columns: int
    ) -> None:
        if columns > MOST_COLUMNS:
            raise NotExactError(f"there are more than {MOST_COLUMNS} columns")
        kind = next(dtype for bits, dtype in ((16, np.uint16), (32, np.uint32), (64, np.uint64)) if columns < bits)
        self._leaves, self._columns, self._kind = leaves, columns, kind
        # A feature that is made of no column is the same for everybody: where it rules a leaf out, it does so for all.
        bits = np.left_shift(np.uint64(1), np.where(owner < 0, columns, owner).astype(np.uint64))
        self._bits = bits[leaves.feature].astype(kind)
        # Trees of one leaf have no condition; ``reduceat`` needs each start to have one.
        self._with = np.diff(np.append(leaves.start, len(leaves.feature))) > 0
        self._starts = leaves.start[self._with]
        masks = np.stack([self._mask(row) for row in background], axis=1)  # [leaves, rows]
        order = np.sort(masks, axis=1)
        new = np.ones(order.shape, dtype=bool)
        new[:, 1:] = order[:, 1:] != order[:, :-1]
        flat = np.flatnonzero(new.ravel())
        self._leaf = (flat // order.shape[1]).astype(np.intp)
        ends = np.minimum(np.append(flat[1:], new.size), (self._leaf + 1) * order.shape[1])
        self._theirs = order.ravel()[flat]
        self._share = (ends - flat) / len(background)
        self._a = np.bitwise_count(self._theirs)
        self._worth: dict[int, Floats] = {}
        most = columns + 1
        self._gain = np.array([_share(a - 1, b, a + b) if a else 0.0 for a in range(most) for b in range(most)])
        self._loss = np.array([_share(a, b - 1, a + b) if b else 0.0 for a in range(most) for b in range(most)])
        self._mine, self._both = np.empty_like(self._theirs), np.empty_like(self._theirs)
        self._met = np.empty(len(self._theirs), dtype=bool)
        every = np.arange(2 << columns)[:, None] if columns < _FEW else None
        self._table = None if every is None else (every >> np.arange(columns) & 1).astype(float)
        self._one_at_a_time = threading.Lock()

    def _mask(self, row: npt.NDArray[np.float32]) -> Any:
        """The columns by which a row violates each leaf's conditions, as bits."""
        wrong = self._bits * self._leaves.violated(row)
        if self._with.all():
            return np.bitwise_or.reduceat(wrong, self._starts)
        found = np.zeros(len(self._leaves.start), dtype=self._kind)
        if len(wrong):
            found[self._with] = np.bitwise_or.reduceat(wrong, self._starts)
        return found

    def values(self, row: npt.NDArray[np.float32], output: int) -> Floats:
        """The Shapley value of each column for one row of features; [columns]."""
        with self._one_at_a_time:  # the arrays are used again: new ones would take most of the time
            return self._values(row, output)

    def _values(self, row: npt.NDArray[np.float32], output: int) -> Floats:
        if output not in self._worth:
            self._worth[output] = self._leaves.weights[self._leaf, output] * self._share
        np.take(self._mask(row), self._leaf, out=self._mine, mode="clip")
        np.bitwise_and(self._mine, self._theirs, out=self._both)
        met = np.flatnonzero(np.equal(self._both, 0, out=self._met))
        mine, theirs = self._mine[met], self._theirs[met]
        at = self._a[met].astype(np.int64) * (self._columns + 1) + np.bitwise_count(mine)
        worth = self._worth[output][met]
        return self._by_column(theirs, worth * self._gain[at]) - self._by_column(mine, worth * self._loss[at])

    def _by_column(self, masks: Any, values: Floats) -> Floats:
        if self._table is not None:
            return np.asarray(np.bincount(masks, weights=values, minlength=len(self._table)) @ self._table)
        places = np.arange(self._columns, dtype=self._kind)
        return np.asarray(values @ (masks[:, None] >> places & self._kind(1)).astype(float))

    def outputs(self, row: npt.NDArray[np.float32]) -> Floats:
        """What the trees add up to for one row of features; [outputs]."""
        return np.asarray(self._leaves.weights[self._mask(row) == 0].sum(axis=0) + self._leaves.base)


def _share(first: int, second: int, whole: int) -> float:
    return factorial(first) * factorial(second) / factorial(whole)
