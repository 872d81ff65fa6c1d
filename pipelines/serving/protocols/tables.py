"""Bodies that are tables: CSV, NumPy, Arrow, Parquet; columns of values, not yet compared with a model's."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.serving.models.rows import Columns
from pipelines.serving.protocols.checks import MAX_ROWS, BadRequestError, kind_of, listed

CSV, NUMPY = "text/csv", "application/x-npy"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
TABLES = (NUMPY, ARROW, PARQUET, "application/x-parquet")


def from_csv(columns: Sequence[dict[str, Any]], body: bytes) -> dict[str, Any]:
    """Columns of a CSV file, with or without a header.

    Args:
        columns: The model's, as in ``model.json``; the order where there is no header, and the types. Where there are
            none, columns are texts, named by their places.

    Raises:
        BadRequestError: It is no such file.
    """
    return _numbers_of_csv(columns, body) or _any_csv(columns, body)


def from_table(content_type: str, names: Sequence[str], body: bytes) -> dict[str, Any]:
    """Columns of one of ``TABLES``: lists, or arrays of numbers.

    Args:
        names: Of the columns of an array that has none; without them, columns are named by their places.

    Raises:
        BadRequestError: It is no such table.
    """
    if content_type == NUMPY:
        return _from_numpy(names, body)
    return _from_arrow(body, stream=content_type == ARROW)


def from_rows(names: Sequence[str], rows: list[Any]) -> Columns:
    """Columns of a list of rows.

    Raises:
        BadRequestError: A row is not a list of as many values as there are names.
    """
    if len(set(names)) != len(names):
        raise BadRequestError("A column is named twice.")
    for index, row in enumerate(rows):
        if not isinstance(row, list):
            raise BadRequestError(f"Row {index} must be a list of values; found {kind_of(row)}.")
        if len(row) != len(names):
            raise BadRequestError(f"Row {index} has {len(row)} values; {len(names)} columns are expected.")
    return {name: [row[position] for row in rows] for position, name in enumerate(names)}


def _any_csv(columns: Sequence[dict[str, Any]], body: bytes) -> Columns:
    try:
        text = body.decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text), strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRequestError(f"The body is not valid CSV in UTF-8: {error}.") from None
    if not rows:
        raise BadRequestError("The CSV body has no rows.")
    # MLflow's CSV has a header; SageMaker's built-in algorithms send none. A first row of column names is a header.
    known = [column["name"] for column in columns]
    header = any(cell.strip() in known for cell in rows[0])
    known = known or [str(place) for place in range(len(rows[0]))]
    names = [cell.strip() for cell in rows[0]] if header else known
    found = from_rows(names, list(rows[1:] if header else rows))
    kinds = {column["name"]: column for column in columns}
    return {name: [_cell(cell, kinds.get(name, {"type": "string"})) for cell in cells] for name, cells in found.items()}


def _numbers_of_csv(columns: Sequence[dict[str, Any]], body: bytes) -> dict[str, Any] | None:
    """The same where there are only numbers, without a loop over cells; None where a closer look is needed."""
    if not columns or any(column["type"] != "double" for column in columns):
        return None
    known = [column["name"] for column in columns]
    first, _, others = body.partition(b"\n")
    head = [cell.strip() for cell in first.decode("utf-8", "replace").split(",")]
    header = any(cell in known for cell in head)
    names = head if header else known
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


def _from_numpy(names: Sequence[str], body: bytes) -> dict[str, Any]:
    """An array of shape [n, columns] in the order of names (or of n records with named fields)."""
    try:
        array = np.load(io.BytesIO(body), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, MemoryError):
        raise BadRequestError("The body is not a NumPy file (.npy) of numbers or texts.") from None
    if not isinstance(array, np.ndarray):
        raise BadRequestError("The body is a NumPy archive (.npz); send one array (.npy).")
    if array.dtype.names:
        return {name: _plain(np.atleast_1d(array[name])) for name in array.dtype.names}
    names = names or [str(place) for place in range(array.shape[-1] if array.ndim else 0)]
    if array.ndim != 2 or array.shape[1] != len(names):
        raise BadRequestError(
            f"The array has the shape {list(array.shape)}; expected [rows, {len(names)}], in the order {listed(names)}."
        )
    return {name: _plain(array[:, place]) for place, name in enumerate(names)}


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
