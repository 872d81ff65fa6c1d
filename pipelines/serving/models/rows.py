"""Checked rows of a request on their way to the model: tuples as JSON has them, or columns as tables have them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Columns = dict[str, list[Any]]


class Rows:
    """n rows of a model's columns, in its order; None (or NaN in an array) is a missing value.

    Args:
        tuples: n tuples, one value for each column.
        columns: Instead, a list or an array of n values for each column.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        tuples: list[tuple[Any, ...]] | None = None,
        columns: dict[str, Any] | None = None,
    ) -> None:
        assert (tuples is None) != (columns is None)
        self.names, self._tuples = names, tuples
        if columns is not None:
            self.__dict__["columns"] = columns

    @classmethod
    def of(cls, columns: dict[str, Any]) -> Rows:
        """Rows of columns that are already in the model's order."""
        return cls(list(columns), columns=columns)

    def __len__(self) -> int:
        return len(self._tuples) if self._tuples is not None else len(next(iter(self.columns.values()), ()))

    @cached_property
    def columns(self) -> dict[str, Any]:
        """A list, or an array, of n values for each column."""
        return dict(zip(self.names, map(list, zip(*self._tuples or (), strict=True)), strict=True))

    @property
    def lists(self) -> Columns:
        """A list of n plain values for each column; None where one is missing."""
        return {name: _plain(values) for name, values in self.columns.items()}

    def matrix(self) -> npt.NDArray[np.float32]:
        """Numbers of shape [n, columns]; a missing one is NaN."""
        if self._tuples is not None:
            return np.array(self._tuples, dtype=np.float32)
        return np.array([self.columns[name] for name in self.names], dtype=np.float32).T


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of several requests for the same model, one after the other."""
    if len(parts) == 1:
        return parts[0]
    names = parts[0].names
    if all(part._tuples is not None for part in parts):
        return Rows(names, tuples=[row for part in parts for row in part._tuples or ()])
    return Rows(names, columns={name: _chained(part.columns[name] for part in parts) for name in names})


def _chained(parts: Iterable[Any]) -> Any:
    parts = list(parts)
    if all(isinstance(part, np.ndarray) for part in parts) and len({part.dtype for part in parts}) == 1:
        return np.concatenate(parts)  # of different types, NumPy would turn whole numbers into rounded ones
    return [value for part in parts for value in _plain(part)]


def _plain(values: Any) -> list[Any]:
    """A list as it is; of an array plain values, None for NaN."""
    if isinstance(values, list):
        return values
    return [None if value != value else value for value in values.tolist()]
