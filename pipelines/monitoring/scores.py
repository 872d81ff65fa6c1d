"""Metrics from sums that can be added: of outcomes, or of what is expected of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.serving.models.engines import class_name

RANKS = 200  # bins of the probability, for the area under the ROC curve
Known = dict[str, Any]
"""``rows``; of numbers ``absolute`` and ``squared`` errors; of classes ``confusion`` (rows by what was predicted,
columns by what is true, of shape [classes, classes]) and, of two classes, ``ranks`` (of shape [2, bins]: rows of the
first and of the second, by the second's probability).
"""


def coded(values: Any, names: list[str]) -> npt.NDArray[np.int64]:
    """The place of each of n classes among the names, however a table or a model writes it; -1 of one that is none."""
    place = {name: number for number, name in enumerate(names)}
    values = values.tolist() if hasattr(values, "tolist") else list(values)
    values = [value.item() if hasattr(value, "item") else value for value in values]
    values = [value if isinstance(value, str | int | float) else None for value in values]
    codes = {value: _place(value, place) for value in set(values)}
    return np.array([codes[value] for value in values], dtype=np.int64)


def _place(value: Any, place: dict[str, int]) -> int:
    """A text may be a class by itself (``01``), or a number or a truth value that a table has turned into a text."""
    name = class_name(value)
    if name not in place and isinstance(value, str):
        text = value.strip()
        try:
            name = class_name({"true": True, "false": False}[text.lower()] if text.isalpha() else float(text))
        except (KeyError, ValueError):
            name = text
    return place.get(name, -1)


def of_numbers(absolute: Any, squared: Any) -> Known:
    """Sums of n errors; one that is not finite does not count."""
    finite = np.isfinite(squared)
    absolute, squared = absolute[finite], squared[finite]
    return {"rows": len(absolute), "absolute": float(np.sum(absolute)), "squared": float(np.sum(squared))}


def of_classes(predicted: npt.NDArray[np.int64], likely: npt.NDArray[np.float64], ranks: Any = None) -> Known:
    """Sums over n rows.

    Args:
        predicted: Places of classes, shape [n].
        likely: Of each class, shape [n, classes]; 0 or 1 where the outcome is known. A row of no class does not count.
        ranks: Bin of each row.
    """
    classes = likely.shape[1]
    counted = (predicted >= 0) & (likely.sum(axis=1) > 0)
    if not counted.all():
        predicted, likely, ranks = predicted[counted], likely[counted], None if ranks is None else ranks[counted]
    confusion = np.column_stack([np.bincount(predicted, likely[:, place], classes) for place in range(classes)])
    found: Known = {"rows": len(predicted), "confusion": confusion.tolist()}
    if ranks is not None and classes == 2:
        found["ranks"] = [np.bincount(ranks, likely[:, place], RANKS).tolist() for place in (0, 1)]
    return found


def of_groups(groups: npt.NDArray[np.int64], number: int, predicted: Any, outcomes: Any, classes: int) -> list[Known]:
    """Sums of n rows for each of so many groups, without ranks.

    Args:
        groups: Place of each row's, shape [n].
        predicted, outcomes: Places of classes; numbers where there are no classes.
    """
    if not classes:
        errors = np.abs(predicted - outcomes)
        finite = np.isfinite(errors**2)
        groups, errors = groups[finite], errors[finite]
        sums = [np.bincount(groups, weights, number).tolist() for weights in (None, errors, errors**2)]
        return [dict(zip(("rows", "absolute", "squared"), each, strict=True)) for each in zip(*sums, strict=True)]
    valid = (predicted >= 0) & (outcomes >= 0)
    place = (groups[valid] * classes + predicted[valid]) * classes + outcomes[valid]
    confusion = np.bincount(place, minlength=number * classes**2).reshape(number, classes, classes)
    return [{"rows": int(each.sum()), "confusion": each.tolist()} for each in confusion]


def by_rank(chances: npt.NDArray[np.float64]) -> Any:
    """The bin of each row's second class; None of more than two classes."""
    if chances.shape[1] != 2:
        return None
    return np.clip(np.nan_to_num(chances[:, 1]) * RANKS, 0, RANKS - 1).astype(int)


def scores(known: Known) -> dict[str, float]:
    """Metrics by the names of the objectives; empty without rows."""
    if not known or not known["rows"]:
        return {}
    rows = known["rows"]
    if "absolute" in known:
        return {"mae": known["absolute"] / rows, "rmse": (known["squared"] / rows) ** 0.5}
    confusion = np.array(known["confusion"])
    right, true = confusion.diagonal(), confusion.sum(axis=0)
    found = {
        "accuracy": float(right.sum() / rows),
        "balanced_accuracy": float(np.mean(right[true > 0] / true[true > 0])),
    }
    if len(confusion) == 2:
        found["correct_warnings"] = float(confusion[1, 1] / rows)
        if "ranks" in known:
            first, second = np.array(known["ranks"])
            if first.sum() and second.sum():
                below = np.cumsum(first) - first
                found["roc_auc"] = float((second * (below + first / 2)).sum() / (first.sum() * second.sum()))
    return found


def added(one: Any, other: Any) -> Any:
    """Two of the same form, added up: numbers, lists of them, and what one of two documents does not have."""
    if isinstance(one, dict):
        return {
            name: added(one[name], other[name]) if name in one and name in other else one.get(name, other.get(name))
            for name in {**one, **other}
        }
    if isinstance(one, list) and one and isinstance(one[0], list):
        return [added(*pair) for pair in zip(one, other, strict=True)]
    if isinstance(one, list):
        return (np.array(one) + np.array(other)).tolist()
    return one + other
