"""The game whose Shapley values explain a prediction, played by calling the model itself.

Its players are the columns: those of a coalition have the row's values, the others those of a background row, and what
a coalition gets is the model's mean output over the background rows (Lundberg and Lee, 2017,
https://arxiv.org/abs/1705.07874).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.serving.models.rows import Rows

Floats = npt.NDArray[np.float64]
Output = Callable[[Rows], Any]  # what is explained of each row: [rows], or [rows, targets]
AT_ONCE = 16_384  # rows of one call
MOST_ROWS = 65_536  # for playing out every coalition
FEWEST, MOST_PAIRS = 5, 200  # of permutations
PRECISE = 0.01  # a standard error that is small enough, relative to the largest value
BUDGET_S = 0.25  # for one row


@dataclass(frozen=True)
class Values:
    """Shapley values of one row.

    Attributes:
        base: What the empty coalition gets: the mean over the background rows; [1] or [targets].
        values: By column; [columns, 1] or [columns, targets].
        errors: Standard errors of an estimate, of the same shape; None where the values are exact.
    """

    base: Floats
    values: Floats
    errors: Floats | None = None


class Game:
    """The game for one row.

    Args:
        row: Its values, by column.
        background: Rows that it is compared with: a list of values for each column.
    """

    def __init__(self, row: dict[str, Any], background: dict[str, list[Any]], output: Output) -> None:
        self.names = list(row)
        self._output = output
        self._columns = [_column(row[name], background[name]) for name in self.names]
        self._count = len(self._columns[0]) - 1
        self._base: Floats | None = None

    @property
    def rows_of_all(self) -> int:
        """Rows that must be answered to play out every coalition."""
        return self._count << len(self.names) if len(self.names) < 32 else MOST_ROWS + 1

    def gets(self, coalitions: npt.NDArray[np.bool_]) -> Floats:
        """What coalitions get; [coalitions, targets].

        Args:
            coalitions: Which columns belong to each; [coalitions, columns].
        """
        at_once = max(1, AT_ONCE // self._count)
        found = [self._of_each(coalitions[start : start + at_once]) for start in range(0, len(coalitions), at_once)]
        return np.concatenate(found)

    def _of_each(self, coalitions: npt.NDArray[np.bool_]) -> Floats:
        columns = {}
        for place, name in enumerate(self.names):
            values = self._columns[place]
            mixed = np.where(coalitions[:, place, None], values[0], values[1:]).ravel()
            columns[name] = mixed if mixed.dtype.kind == "f" else mixed.tolist()
        found = np.asarray(self._output(Rows.of(columns)), dtype=float)
        mean: Floats = found.reshape(len(coalitions), self._count, -1).mean(axis=1)
        return mean

    def base(self) -> Floats:
        """What the empty coalition gets."""
        if self._base is None:
            self._base = self.gets(np.zeros((1, len(self.names)), dtype=bool))[0]
        return self._base

    def additive(self) -> Values:
        """The values of a model that adds up what each column contributes: what each column gets alone."""
        alone = self.gets(np.eye(len(self.names), dtype=bool))
        return Values(self.base(), alone - self.base())

    def played_out(self) -> Values:
        """The exact values of any model, from every coalition."""
        columns = len(self.names)
        number = np.arange(1 << columns)
        members = (number[:, None] >> np.arange(columns) & 1).astype(bool)
        gets = self.gets(members)
        sizes = members.sum(axis=1)
        weights = np.array([factorial(s) * factorial(columns - s - 1) / factorial(columns) for s in range(columns)])
        values = []
        for column in range(columns):
            without = number[~members[:, column]]
            gains = gets[without | 1 << column] - gets[without]
            values.append(weights[sizes[without]] @ gains)
        return Values(gets[0], np.array(values))

    def estimated(self, budget_s: float = BUDGET_S, seed: int = 0) -> Values:
        """An estimate from random orders of the columns, each with its reverse (Strumbelj and Kononenko, 2014,
        https://doi.org/10.1007/s10115-013-0679-x). The values add up to the prediction after each order.

        Args:
            budget_s: After so many seconds there is no further call of the model.
        """
        random = np.random.default_rng(seed)
        ends = time.perf_counter() + budget_s
        columns = len(self.names)
        samples: list[Floats] = []
        values = errors = np.zeros(0)
        while len(samples) < MOST_PAIRS:
            pairs = max(1, min(FEWEST, AT_ONCE // (2 * (columns + 1) * self._count)))
            orders = [random.permutation(columns) for _ in range(pairs)]
            each = [order for one in orders for order in (one, one[::-1])]
            gets = self.gets(np.concatenate([_prefixes(order) for order in each]))
            gets = gets.reshape(len(each), columns + 1, -1)
            gains = [_gains(order, of) for order, of in zip(each, gets, strict=True)]
            samples += [(one + reverse) / 2 for one, reverse in zip(gains[::2], gains[1::2], strict=True)]
            if len(samples) < FEWEST:
                continue
            found = np.stack(samples)
            values, errors = found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(len(samples))
            if time.perf_counter() > ends or (errors <= PRECISE * np.abs(values).max(axis=0)).all():
                break
        return Values(self.base(), values, errors)


def _column(value: Any, background: list[Any]) -> npt.NDArray[Any]:
    """The row's value, then those of the background: numbers (NaN where one is missing), or objects."""
    every = [value, *background]
    if all(item is None or (isinstance(item, int | float) and not isinstance(item, bool)) for item in every):
        return np.array([np.nan if item is None else item for item in every], dtype=float)
    found = np.empty(len(every), dtype=object)
    found[:] = every
    return found


def _prefixes(order: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """The coalitions that grow by one column after the other; [columns + 1, columns]."""
    place = np.empty(len(order), dtype=int)
    place[order] = np.arange(len(order))
    return place[None, :] < np.arange(len(order) + 1)[:, None]


def _gains(order: npt.NDArray[np.int64], gets: Floats) -> Floats:
    found = np.empty((len(order), gets.shape[1]))
    found[order] = np.diff(gets, axis=0)
    return found
