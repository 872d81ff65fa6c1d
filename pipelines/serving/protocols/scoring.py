"""Request bodies into rows: MLflow's JSON forms, CSV, NumPy, Arrow, Parquet, and rows looked up by key. Errors are
reported in one sentence.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from pipelines.serving.models.bundle import Model
from pipelines.serving.models.rows import Columns, Rows
from pipelines.serving.protocols.typed_json import MAX_KEY, MAX_NUMBER

MAX_BODY_BYTES = 6 * 1024 * 1024  # SageMaker's own limit for a real-time request
MAX_ROWS = 10_000
JSON, CSV, NUMPY = "application/json", "text/csv", "application/x-npy"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
_PARQUET_TOO = "application/x-parquet"
ACCEPTED = (JSON, CSV, NUMPY, ARROW, PARQUET)
Lookup = Callable[[str, list[Any]], Columns]
_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs", "entities")


@dataclass(frozen=True)
class Entities:
    """Keys whose features are looked up.

    Attributes:
        ignores_more: Whether features that the model does not have are left out.
    """

    key: str
    values: list[Any]
    ignores_more: bool = False


class BadRequestError(Exception):
    """A client error: a 4xx status and one sentence."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.sentence, self.status = sentence, status


def parse(model: Model, content_type: str, body: bytes) -> Rows | Entities:
    """The request's rows, checked, in the model's order.

    Args:
        content_type: One of ``ACCEPTED``; JSON in MLflow's scoring forms, or ``entities``.

    Returns:
        The rows, or the keys by which their features must be looked up first.

    Raises:
        BadRequestError: Anything the client can fix.
    """
    kind = content_type.partition(";")[0].strip().lower() or JSON
    if kind == JSON and len(body) <= MAX_BODY_BYTES:
        rows = model.decode(body)
        if rows is not None and 0 < len(rows) <= MAX_ROWS:
            return Rows(model.names, tuples=rows)
    if not body.strip():
        raise BadRequestError("The body is empty; send rows as JSON or CSV.")
    if len(body) > MAX_BODY_BYTES:
        raise BadRequestError(f"The body has {len(body)} bytes; at most {MAX_BODY_BYTES} are accepted.", 413)
    if kind == JSON:
        found = _from_json(model, body)
        if isinstance(found, Entities):
            return found
        columns: dict[str, Any] = found
    elif kind == CSV:
        columns = _numbers_of_csv(model, body) or _from_csv(model, body)
    elif kind == NUMPY:
        columns = _from_numpy(model, body)
    elif kind in (ARROW, PARQUET, _PARQUET_TOO):
        columns = _from_arrow(body, stream=kind == ARROW)
    else:
        raise BadRequestError(
            f"The content type {kind} is not supported; use {', '.join(ACCEPTED[:-1])} or {ACCEPTED[-1]}.", 415
        )
    return Rows(model.names, columns=_check(model, columns))


def _ignores_more(document: dict[str, Any]) -> bool:
    """Whether unknown columns are allowed: two versions with different inputs are compared on the same rows."""
    return isinstance(params := document.get("params"), dict) and params.get("extra_columns") == "ignore"


def _from_json(model: Model, body: bytes) -> Columns | Entities:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        document = _with_nan(body, error)
    if not isinstance(document, dict):
        raise BadRequestError(
            f"The JSON body must be an object with one of {', '.join(_FORMS)}; found {_kind(document)}."
        )
    unknown = [key for key in document if key not in (*_FORMS, "params")]
    given = [key for key in _FORMS if key in document]
    if unknown or len(given) != 1:
        found = ", ".join(map(str, [*given, *unknown])) or "nothing"
        raise BadRequestError(f"The JSON body must have exactly one of {', '.join(_FORMS)}; found {found[:200]}.")
    form, value = given[0], document[given[0]]
    if form == "entities":
        return _entities(model, value, extra=_ignores_more(document))
    columns = _from_form(model, form, value)
    return (
        {name: values for name, values in columns.items() if name in model.names}
        if _ignores_more(document)
        else columns
    )


def _with_nan(body: bytes, error: orjson.JSONDecodeError) -> Any:
    """The same where numbers are written as Python writes them: ``NaN`` is not valid JSON, but what ``json.dumps``
    writes for a missing number.

    Raises:
        BadRequestError: It is not JSON either way.
    """
    if b"NaN" in body:
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(body)
    raise BadRequestError(f"The body is not valid JSON: {error}.")


def _from_form(model: Model, form: str, value: Any) -> Columns:
    if form == "dataframe_split":
        if not isinstance(value, dict) or not isinstance(value.get("data"), list):
            raise BadRequestError("dataframe_split must be an object with columns and data.")
        names = value.get("columns", model.names)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadRequestError("dataframe_split.columns must be a list of names.")
        return _from_rows(names, value["data"])
    if isinstance(value, dict):
        if not all(isinstance(item, list) for item in value.values()):
            raise BadRequestError(f"{form} as an object must have a list of values for each column.")
        return dict(value)
    if not isinstance(value, list):
        raise BadRequestError(f"{form} must be a list of rows; found {_kind(value)}.")
    if value and all(isinstance(row, dict) for row in value):
        names = list(value[0])
        for index, row in enumerate(value):
            if set(row) != set(names):
                odd = sorted(set(row) ^ set(names))
                raise BadRequestError(f"Row {index} has other columns than row 0: {', '.join(map(repr, odd))}.")
        return {name: [row[name] for row in value] for name in names}
    if form == "dataframe_records":
        raise BadRequestError("dataframe_records must be a list of objects, one per row.")
    return _from_rows(model.names, value)


def _from_rows(names: list[str], rows: list[Any]) -> Columns:
    if len(set(names)) != len(names):
        raise BadRequestError("A column is named twice.")
    for index, row in enumerate(rows):
        if not isinstance(row, list):
            raise BadRequestError(f"Row {index} must be a list of values; found {_kind(row)}.")
        if len(row) != len(names):
            raise BadRequestError(f"Row {index} has {len(row)} values; {len(names)} columns are expected.")
    return {name: [row[position] for row in rows] for position, name in enumerate(names)}


def _from_csv(model: Model, body: bytes) -> Columns:
    try:
        text = body.decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text), strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRequestError(f"The body is not valid CSV in UTF-8: {error}.") from None
    if not rows:
        raise BadRequestError("The CSV body has no rows.")
    # MLflow's CSV has a header; SageMaker's built-in algorithms send none. A first row of column names is a header.
    header = any(cell.strip() in model.names for cell in rows[0])
    names = [cell.strip() for cell in rows[0]] if header else model.names
    columns = _from_rows(names, list(rows[1:] if header else rows))
    kinds = {column["name"]: column for column in model.columns}
    return {
        name: [_cell(cell, kinds.get(name, {"type": "string"})) for cell in cells] for name, cells in columns.items()
    }


def _numbers_of_csv(model: Model, body: bytes) -> dict[str, Any] | None:
    """The same where there are only numbers, without a loop over cells; None where a closer look is needed."""
    if any(column["type"] != "double" for column in model.columns):
        return None
    first, _, others = body.partition(b"\n")
    head = [cell.strip() for cell in first.decode("utf-8", "replace").split(",")]
    header = any(cell in model.names for cell in head)
    names = head if header else model.names
    if header and not others.strip():
        return None
    try:
        # Arguments as CSV has them: no comments, no other separators.
        values = np.loadtxt(io.BytesIO(others if header else body), delimiter=",", comments=None, ndmin=2)
    except ValueError:
        return None
    if not values.size or values.shape[1] != len(names) or len(set(names)) != len(names) or np.isnan(values).any():
        return None
    return dict(zip(names, values.T, strict=True))


def _from_numpy(model: Model, body: bytes) -> dict[str, Any]:
    """An array of shape [n, columns] in the model's order (or of n records with named fields)."""
    try:
        array = np.load(io.BytesIO(body), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, MemoryError):
        raise BadRequestError("The body is not a NumPy file (.npy) of numbers or texts.") from None
    if not isinstance(array, np.ndarray):
        raise BadRequestError("The body is a NumPy archive (.npz); send one array (.npy).")
    if array.dtype.names:
        return {name: _plain(np.atleast_1d(array[name])) for name in array.dtype.names}
    if array.ndim != 2 or array.shape[1] != len(model.names):
        raise BadRequestError(
            f"The array has the shape {list(array.shape)}; expected [rows, {len(model.names)}], in the order"
            f" {_list(model.names)}."
        )
    return {name: _plain(array[:, place]) for place, name in enumerate(model.names)}


def _plain(array: Any) -> Any:
    """Numbers as they are; texts, dates and the like as plain values."""
    if array.ndim != 1:
        raise BadRequestError("Each field of the array must be one value.")
    return (
        array
        if array.dtype.kind in "iuf"
        else array.astype(str).tolist()
        if array.dtype.kind in "SM"
        else array.tolist()
    )


def _from_arrow(body: bytes, *, stream: bool) -> dict[str, Any]:
    """A table of Arrow's stream format, or of Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pa.ipc.open_stream(body).read_all() if stream else pq.read_table(pa.BufferReader(body))
    except (pa.ArrowException, OSError, ValueError):
        what = "an Arrow stream" if stream else "a Parquet file"
        raise BadRequestError(f"The body is not {what}.") from None
    if table.num_rows > MAX_ROWS:
        raise BadRequestError(f"{table.num_rows} rows were sent; at most {MAX_ROWS} are accepted per request.", 413)
    if len(set(table.column_names)) != table.num_columns:
        raise BadRequestError("A column is named twice.")
    return {name: _of_arrow(table[name]) for name in table.column_names}


def _of_arrow(column: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type) or (pa.types.is_integer(column.type) and not column.null_count):
        return column.to_numpy()  # a null is NaN
    if pa.types.is_temporal(column.type):
        return [None if value is None else value.isoformat() for value in column.to_pylist()]
    return column.to_pylist()


def _cell(text: str, column: dict[str, Any]) -> Any:
    """A CSV cell as JSON of the column's type; what does not fit stays text and is refused later."""
    text, kind = text.strip(), column["type"]
    if text == "" and (kind != "string" or column.get("nullable")):
        return None
    if kind in ("string", "timestamp"):
        return text
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return int(text) if kind == "long" else float(text)
    except ValueError:
        return text


def _entities(model: Model, value: Any, *, extra: bool) -> Entities:
    key = model.entity.get("key")
    if not key:
        raise BadRequestError("This model has no online features; send the rows themselves.")
    if not isinstance(value, dict) or list(value) != [key] or not isinstance(value[key], list) or not value[key]:
        raise BadRequestError(f'entities must be {{"{key}": [...]}} with at least one key.')
    if len(value[key]) > MAX_ROWS:
        raise BadRequestError(f"{len(value[key])} keys were sent; at most {MAX_ROWS} are accepted per request.", 413)
    for item in value[key]:
        if isinstance(item, int) and not isinstance(item, bool) and not -MAX_KEY <= item < MAX_KEY:
            raise BadRequestError(f"entities.{key} contains {item}, which is not a 64-bit key.")
        if isinstance(item, bool) or not isinstance(item, int | str):
            raise BadRequestError(f"entities.{key} must contain numbers or texts; found {_kind(item)}.")
    return Entities(key, value[key], extra)


def looked_up(model: Model, entities: Entities, lookup: Lookup | None) -> Rows:
    """The features of entities, checked like rows that were sent.

    Raises:
        BadRequestError: One has none (404), or none that the model accepts.
    """
    if lookup is None:
        raise BadRequestError("This model has no online features; send the rows themselves.")
    columns = lookup(entities.key, entities.values)
    if entities.ignores_more:
        columns = {name: values for name, values in columns.items() if name in model.names}
    return Rows(model.names, columns=_check(model, columns))


def _check(model: Model, columns: dict[str, Any]) -> dict[str, Any]:
    wanted, given = set(model.names), set(columns)
    if wanted - given:
        raise BadRequestError(f"Missing column{_s(wanted - given)} {_list(wanted - given)}.")
    if given - wanted:
        raise BadRequestError(
            f"Unknown column{_s(given - wanted)} {_list(given - wanted)}; the model accepts {_list(model.names)}."
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
    missing = np.isnan(values) if values.dtype.kind == "f" else np.False_
    good = np.abs(values) < MAX_NUMBER
    if column["type"] == "long" and values.dtype.kind == "f":
        good = (np.abs(values) < MAX_KEY) & (values == np.floor(values))
    if missing.any() if column.get("nullable") else False:
        good |= missing
    return values if good.all() else _typed(column, values.tolist())


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
                f" {_list(known)}."
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


def _kind(value: Any) -> str:
    return {list: "a list", dict: "an object", str: "a text", type(None): "null", bool: "a boolean"}.get(
        type(value), "a number"
    )


def _s(items: Any) -> str:
    return "s" if len(items) != 1 else ""


def _list(items: Any) -> str:
    names = sorted(items) if isinstance(items, set) else list(items)
    return ", ".join(str(name)[:60] for name in names[:20]) + (", ..." if len(names) > 20 else "")
