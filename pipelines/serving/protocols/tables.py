"""Bodies that are tables: CSV, NumPy, Arrow, Parquet; columns of values, not yet compared with a model's."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.serving.models.rows import Columns
from pipelines.serving.protocols.checks import MAX_ROWS, BadRequestError, kind_of, listed

CSV, NUMPY = "text/csv", "application/x-npy"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
_INDEX = re.compile(r"__index_level_\d+__")  # pandas' own column, in a file that it has written
TABLES = (NUMPY, ARROW, PARQUET, "application/x-parquet")


def from_csv(columns: Sequence[dict[str, Any]], body: bytes, header: bool | None = None) -> dict[str, Any]:
    """Columns of a CSV file, with or without a header.

    Args:
        columns: The model's, as in ``model.json``; the order where there is no header, and the types. Where there are
            none, columns are texts, named by their places.

        header: Whether there is one; None to find out.

    Raises:
        BadRequestError: It is no such file.
    """
    return _numbers_of_csv(columns, body, header) or _any_csv(columns, body, header)


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


def _any_csv(columns: Sequence[dict[str, Any]], body: bytes, header: bool | None) -> Columns:
    try:
        text = body.decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRequestError(f"The body is not valid CSV in UTF-8: {error}.") from None
    # An empty line is no row, except in a table of one column, where it is one without a value.
    one = max(map(len, rows), default=0) == 1
    rows = [row or [""] for row in rows if row or one]
    if not rows:
        raise BadRequestError("The CSV body has no rows.")
    known = [column["name"] for column in columns] or [str(place) for place in range(len(rows[0]))]
    first = [cell.strip() for cell in rows[0]]
    header = _is_header(columns, first) if header is None else header
    names = first if header else known
    found = from_rows(names, list(rows[1:] if header else rows))
    kinds = {column["name"]: column for column in columns}
    return {name: [_cell(cell, kinds.get(name, {"type": "string"})) for cell in cells] for name, cells in found.items()}


def _is_header(columns: Sequence[dict[str, Any]], first: list[str]) -> bool:
    """Whether a first row names columns. MLflow's CSV has a header, that of SageMaker's built-in algorithms has none.

    More than half of a header's cells are column names. Where columns are named by numbers, a row of numbers is a
    header only if it is just these names; ``text/csv; header=present`` (or ``absent``, RFC 4180) leaves no doubt.
    """
    known = [column["name"] for column in columns]
    if len(first) == len(known) and all(_is_number(cell) for cell in first):
        return first == known
    return 2 * sum(cell in known for cell in first) > len(first)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers_of_csv(columns: Sequence[dict[str, Any]], body: bytes, header: bool | None) -> dict[str, Any] | None:
    """The same where there are only numbers, without a loop over cells; None where a closer look is needed."""
    if len(columns) < 2 or any(column["type"] != "double" for column in columns):
        return None
    known = [column["name"] for column in columns]
    first, _, others = body.partition(b"\n")
    head = [cell.strip() for cell in first.decode("utf-8", "replace").split(",")]
    header = _is_header(columns, head) if header is None else header
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
    wrong = BadRequestError("The body is not a NumPy file (.npy) of numbers or texts.")
    if body.startswith(b"PK"):
        raise BadRequestError("The body is a NumPy archive (.npz); send one array (.npy).")
    try:
        stream = io.BytesIO(body)
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        # Items without bytes would allow for any number of rows.
        if dtype.hasobject or not dtype.itemsize or any(type(size) is not int for size in shape):
            raise wrong
        _few_rows(shape[0] if shape else 1)
        array = np.load(io.BytesIO(body), allow_pickle=False)
    except BadRequestError:
        raise
    except Exception:  # NumPy evaluates the header as Python, and fails in as many ways
        raise wrong from None
    if array.dtype.names:
        return {name: _plain(np.atleast_1d(array[name])) for name in array.dtype.names}
    names = names or [str(place) for place in range(array.shape[-1] if array.ndim else 0)]
    if array.ndim != 2 or array.shape[1] != len(names):
        raise BadRequestError(
            f"The array has the shape {list(array.shape)}; expected [rows, {len(names)}], in the order {listed(names)}."
        )
    return {name: _plain(array[:, place]) for place, name in enumerate(names)}


def _few_rows(count: int) -> None:
    if count > MAX_ROWS:
        raise BadRequestError(f"{count} rows were sent; at most {MAX_ROWS} are accepted per request.", 413)


def _plain(array: Any) -> Any:
    """Numbers as they are; texts, dates and the like as plain values."""
    if array.ndim != 1:
        raise BadRequestError("Each field of the array must be one value.")
    if array.dtype.kind == "S":
        try:
            return [value.decode() for value in array.tolist()]
        except UnicodeDecodeError:
            raise BadRequestError("The array has a text that is not UTF-8.") from None
    if array.dtype.kind == "M":
        return [None if np.isnat(value) else str(value) for value in array]
    return array if array.dtype.kind in "iuf" else array.tolist()


def _from_arrow(body: bytes, *, stream: bool) -> dict[str, Any]:
    """A table of Arrow's stream format, or of Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    what = "an Arrow stream" if stream else "a Parquet file"
    try:
        if stream:
            reader, batches, count = pa.ipc.open_stream(body), list[Any](), 0
            for batch in reader:
                count += batch.num_rows
                _few_rows(count)
                batches.append(batch)
            table = pa.Table.from_batches(batches, reader.schema)
        else:
            file = pq.ParquetFile(pa.BufferReader(body))
            _few_rows(file.metadata.num_rows)
            table = file.read()
        names = [name for name in table.column_names if not _INDEX.fullmatch(name)]
        if len(set(names)) != len(names):
            raise BadRequestError("A column is named twice.")
        return {name: _of_arrow(table[name]) for name in names}
    except BadRequestError:
        raise
    except Exception:  # Arrow has errors of its own, and Python's for what Python does not have
        raise BadRequestError(f"The body is not {what} of numbers, texts, booleans and dates.") from None


def _of_arrow(column: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if pa.types.is_floating(column.type) or (pa.types.is_integer(column.type) and not column.null_count):
        return column.to_numpy()  # a null is NaN
    if pa.types.is_temporal(column.type):
        return [None if value is None else value.isoformat() for value in column.to_pylist()]
    return column.to_pylist()


def _cell(text: str, column: dict[str, Any]) -> Any:
    """A CSV cell as JSON of the column's type; what does not fit stays text and is refused later."""
    kind = column["type"]
    if text.strip() == "" and (kind != "string" or (text == "" and column.get("nullable"))):
        return None
    if kind == "string":
        return text  # with its spaces: they may be a category's
    text = text.strip()
    if kind == "timestamp":
        return text
    if kind == "boolean":
        return {"true": True, "false": False, "1": True, "0": False}.get(text.lower(), text)
    if "_" in text:  # in Python, not in a table
        return text
    try:
        return int(text)
    except ValueError:
        try:
            number = float(text)
        except ValueError:
            return text
    # pandas writes whole numbers of a column with gaps as 2.0.
    return int(number) if kind == "long" and number.is_integer() else number
