"""Properties of data: DuckDB detects the columns and their types, the rest is counted."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spec.contracts.tables import quoted
from spec.errors import UsageError

MOST_ROWS = 100_000  # of a sample
_LOGICAL = {
    "bigint": "integer",
    "integer": "integer",
    "smallint": "integer",
    "tinyint": "integer",
    "ubigint": "integer",
    "uinteger": "integer",
    "hugeint": "integer",
    "usmallint": "integer",
    "utinyint": "integer",
    "double": "number",
    "float": "number",
    "varchar": "string",
    "uuid": "string",
    "boolean": "boolean",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamp with time zone": "timestamp",
    "timestamp_s": "timestamp",
    "timestamp_ms": "timestamp",
    "timestamp_ns": "timestamp",
}
_READERS = {"CSV": "read_csv_auto", "Parquet": "read_parquet", "JSON lines": "read_json_auto"}


def properties_of_file(path: Path, form: str) -> list[dict[str, Any]]:
    """Columns of a file, in order.

    Raises:
        UsageError: It can't be read as the format that its name suggests, or contains no rows.
    """
    import duckdb

    reader = _READERS[form]
    options = ", format='newline_delimited'" if form == "JSON lines" else ""
    text = str(path).replace("'", "''")
    try:
        rows = duckdb.connect().sql(f"SELECT * FROM {reader}('{text}'{options}) LIMIT {MOST_ROWS}").to_arrow_table()  # noqa: S608 (quoted)
    except duckdb.Error:
        raise UsageError(
            f"can't be read as {form}", where=str(path), fix="does its extension match its format?"
        ) from None
    if (
        form == "JSON lines" and rows.column_names == ["json"] and not path.read_bytes().lstrip().startswith(b"{")
    ):  # DuckDB's name for a column without fields
        raise UsageError("contains values that are not JSON objects", where=str(path))
    return _properties(rows, where=str(path))


def properties_of_events(topic: str, events: list[bytes]) -> list[dict[str, Any]]:
    """Fields of events.

    Raises:
        UsageError: There are none, or they are not JSON objects.
    """
    if not events:
        raise UsageError("contains no events to sample", where=f"topic {topic}")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "events.jsonl"
        file.write_bytes(b"\n".join(b" ".join(event.splitlines()) for event in events))
        try:
            return properties_of_file(file, "JSON lines")
        except UsageError:
            raise UsageError("contains events that are not JSON objects", where=f"topic {topic}") from None


def _properties(rows: Any, where: str) -> list[dict[str, Any]]:
    import duckdb

    if not rows.num_rows:
        raise UsageError("contains no rows to sample", where=where)
    database = duckdb.connect()
    database.register("rows", rows)
    kinds = database.sql("SELECT * FROM rows").types
    counts = ", ".join(f"count({quoted(name)}), count(DISTINCT {quoted(name)})" for name in rows.column_names)
    counted = database.sql(f"SELECT {counts} FROM rows").fetchall()[0]  # noqa: S608 (quoted)
    found = []
    for index, (name, kind) in enumerate(zip(rows.column_names, kinds, strict=True)):
        there, different = counted[2 * index : 2 * index + 2]
        item = {"name": name, **_type(kind)}
        if there == rows.num_rows:
            item["required"] = True
        if personal := _personal(rows, name, item):
            item["tags"] = ["personal"]
            item["description"] = f"looks like: {personal}"
        found.append((item, there == different == rows.num_rows))
    _name_the_key(found)
    return [item for item, _ in found]


def _type(kind: Any) -> dict[str, Any]:
    """A DuckDB type in the standard's terms."""
    name = str(kind.id).lower()
    if name == "struct":
        return {
            "logicalType": "object",
            "properties": [{"name": part, **_type(inner)} for part, inner in kind.children],
        }
    if name in ("list", "array"):
        return {"logicalType": "array", "items": _type(kind.children[0][1])}
    if name == "decimal":
        sizes = dict(kind.children)
        return {"logicalType": "number", "physicalType": f"decimal({sizes['precision']}, {sizes['scale']})"}
    logical = (
        _LOGICAL.get(name) or _LOGICAL.get(str(kind).lower()) or ("object" if name in ("map", "json") else "string")
    )
    made: dict[str, Any] = {"logicalType": logical}
    if logical == "timestamp" and "zone" not in str(kind).lower():
        made["logicalTypeOptions"] = {"defaultTimezone": "UTC"}  # for its author to check
    return made


def _name_the_key(found: list[tuple[dict[str, Any], bool]]) -> None:
    """The first field that identifies all rows and is named like a key, or else the first that identifies them."""
    unique = [item for item, alone in found if alone and item["logicalType"] in ("string", "integer")]
    named = [
        item for item in unique if item["name"].lower().rstrip("_").endswith(("id", "key", "uuid", "number", "no"))
    ]
    first = [item for item in unique if item is found[0][0]]
    for item in (named or first)[:1]:
        item["primaryKey"] = True


def _personal(rows: Any, name: str, item: dict[str, Any]) -> str:
    """The kinds of personal data that a text column contains."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if item["logicalType"] != "string" or not (
        pa.types.is_string(rows[name].type) or pa.types.is_large_string(rows[name].type)
    ):
        return ""

    from pipelines.privacy.personal_data import CANDIDATES, kinds

    texts = pc.unique(rows[name].combine_chunks())
    candidates = texts.filter(pc.fill_null(pc.match_substring_regex(texts, CANDIDATES), False)).to_pylist()
    return ", ".join(sorted({kind for text in candidates for kind in kinds(text)}))
