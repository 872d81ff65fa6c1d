"""What every protocol checks of the rows that it read: which columns, how many rows, and each value's type."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import numpy as np

from pipelines.serving.models.bundle import Model
from pipelines.serving.protocols.typed_json import MAX_KEY, MAX_NUMBER

MAX_BODY_BYTES = 6 * 1024 * 1024  # SageMaker's own limit for a real-time request
MAX_ROWS = 10_000


class BadRequestError(Exception):
    """A client error: a 4xx status and one sentence."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.sentence, self.status = sentence, status


def checked(model: Model, columns: dict[str, Any]) -> dict[str, Any]:
    """The columns in the model's order.

    Raises:
        BadRequestError: One is missing, unknown, of another length, or has a value that the model does not accept.
    """
    wanted, given = set(model.names), set(columns)
    if wanted - given:
        raise BadRequestError(f"Missing column{_s(wanted - given)} {listed(wanted - given)}.")
    if given - wanted:
        raise BadRequestError(
            f"Unknown column{_s(given - wanted)} {listed(given - wanted)}; the model accepts {listed(model.names)}."
        )
    counts = {len(values) for values in columns.values()}
    if len(counts) > 1:
        raise BadRequestError("The columns have different numbers of values.")
    rows = counts.pop() if counts else 0
    if rows == 0:
        raise BadRequestError("The request has no rows to predict.")
    if rows > MAX_ROWS:
        raise BadRequestError(f"{rows} rows were sent; at most {MAX_ROWS} are accepted per request.", 413)
    return {
        column["name"]: _numbers(column, values) if isinstance(values, np.ndarray) else _typed(column, values)
        for column in model.columns
        for values in (columns[column["name"]],)
    }


def _numbers(column: dict[str, Any], values: Any) -> Any:
    """The same as ``_typed`` for an array of numbers, without a loop; its messages are those of the loop."""
    if column["type"] not in ("double", "long") or column.get("categories") is not None:
        return _typed(column, values.tolist())
    if values.dtype == np.float16:
        values = values.astype(np.float32)  # can be compared with larger numbers
    missing = np.isnan(values) if values.dtype.kind == "f" else np.False_
    long = column["type"] == "long"
    if values.dtype.kind == "f":
        good = (np.abs(values) < MAX_KEY) & (values == np.floor(values)) if long else np.abs(values) < MAX_NUMBER
    else:  # a signed number of 64 bits is one that the model can have
        good = values <= MAX_KEY - 1 if values.dtype.kind == "u" else np.ones(values.shape, dtype=bool)
    gaps = bool(missing.any()) and column.get("nullable")
    if gaps:
        good |= missing
    if not good.all():
        return _typed(column, values.tolist())
    return values.astype(np.int64) if long and not gaps else values


def _typed(column: dict[str, Any], values: list[Any]) -> list[Any]:
    name, kind = column["name"], column["type"]
    known, gaps = column.get("categories"), False
    for index, value in enumerate(values):
        if value is None or value != value:  # NaN
            if not column.get("nullable"):
                raise BadRequestError(
                    f"Column {name!r}, row {index}: a value is missing, but the model does not accept missing values"
                    " there."
                )
            gaps |= value is not None
            continue
        if kind == "string":
            good = isinstance(value, str)
        elif kind == "timestamp":
            good = isinstance(value, str) and _is_date(value)
        elif kind == "boolean":
            good = isinstance(value, bool)
        elif kind == "long":
            good = (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and -MAX_KEY <= value < MAX_KEY
                and value == int(value)
            )
        else:
            good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_NUMBER
        if not good:
            if value in (math.inf, -math.inf):
                raise BadRequestError(f"Column {name!r}, row {index}: {value} is not a usable number.")
            raise BadRequestError(f"Column {name!r}, row {index}: {str(value)[:80]!r} is not a {_TYPE_NAMES[kind]}.")
        if known is not None and value not in known:
            raise BadRequestError(
                f"Column {name!r}, row {index}: the model was not trained on {str(value)[:80]!r}; it accepts"
                f" {listed(known)}."
            )
    return [None if value != value else value for value in values] if gaps else values


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


_TYPE_NAMES = {
    "string": "text",
    "timestamp": "date in ISO 8601",
    "boolean": "boolean",
    "long": "whole number",
    "double": "number",
}


def kind_of(value: Any) -> str:
    """What a JSON value is, for a sentence."""
    return {list: "a list", dict: "an object", str: "a text", type(None): "null", bool: "a boolean"}.get(
        type(value), "a number"
    )


def _s(items: Any) -> str:
    return "s" if len(items) != 1 else ""


def listed(items: Any) -> str:
    """Names, for a sentence."""
    names = sorted(items) if isinstance(items, set) else list(items)
    return ", ".join(str(name)[:60] for name in names[:20]) + (", ..." if len(names) > 20 else "")
