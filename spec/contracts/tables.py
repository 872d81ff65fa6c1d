"""A contract's objects as tables: their columns in DuckDB's and in Glue's types, and queries tried on empty tables."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from spec.contracts.model import Contract, Field

_DUCKDB = {
    "integer": "BIGINT",
    "number": "DOUBLE",
    "string": "VARCHAR",
    "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMPTZ",
    "date": "DATE",
    "time": "VARCHAR",
    "json": "VARCHAR",
}
_GLUE = {
    "integer": "bigint",
    "number": "double",
    "string": "string",
    "boolean": "boolean",
    "timestamp": "timestamp",
    "date": "date",
    "time": "string",
    "json": "string",
}
MOST_MEMORY, MOST_SECONDS = "2GB", 5.0
_PLACES = re.compile(r"\$?\{\s*(object|table|property|column|field)\s*\}")


def duckdb_type(one: Field) -> str:
    """A column's type in DuckDB."""
    kind = one.stored
    if kind == "decimal":
        return f"DECIMAL({one.digits}, {one.scale})"
    if kind == "object":
        return f"STRUCT({', '.join(f'{quoted(part.name)} {duckdb_type(part)}' for part in one.fields)})"
    if kind == "array" and one.item is not None:
        return f"{duckdb_type(one.item)}[]"
    return _DUCKDB[kind]


def glue_type(one: Field) -> str:
    """A column's type in Glue's catalogue (Hive's types)."""
    kind = one.stored
    if kind == "decimal":
        return f"decimal({one.digits},{one.scale})"
    if kind == "object":
        return f"struct<{','.join(f'{part.name}:{glue_type(part)}' for part in one.fields)}>"
    if kind == "array" and one.item is not None:
        return f"array<{glue_type(one.item)}>"
    return _GLUE[kind]


def quoted(name: str) -> str:
    """A quoted name, which SQL accepts in any form."""
    return '"' + name.replace('"', '""') + '"'


def query_for(query: str, contract: Contract, about: str) -> str:
    """A rule's query with names in place of the standard's ``${object}`` and ``${property}``."""
    names = {"object": contract.view, "table": contract.view, "property": about, "column": about, "field": about}
    return _PLACES.sub(lambda match: quoted(names[match[1]]), query).strip().rstrip(";")


def names_of(contract: Contract) -> tuple[str, ...]:
    """Names that a query may use for the table."""
    return tuple(dict.fromkeys((contract.view, contract.topic, contract.object)))


def columns_of(contract: Contract) -> dict[str, Field]:
    """Names that a query may use for the columns: the fields, and the contract's own names for them where no field has
    that name.
    """
    fields = {one.name: one for one in contract.fields}
    taken = {name.lower() for name in fields}
    for one in contract.fields:
        if one.title and one.title.lower() not in taken:
            fields[one.title] = one
            taken.add(one.title.lower())
    return fields


def connection(contracts: Iterable[Contract] = ()) -> Any:
    """An in-memory DuckDB without access to files or the network, with an empty table for each contract."""
    import duckdb

    made = duckdb.connect(
        config={
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "TimeZone": "UTC",
            "memory_limit": MOST_MEMORY,
            "temp_directory": "",
        }
    )
    taken = set[str]()
    for contract in contracts:
        for name in names_of(contract):
            if name.lower() not in taken:
                taken.add(name.lower())
                columns = ", ".join(
                    f"{quoted(called)} {duckdb_type(one)}" for called, one in columns_of(contract).items()
                )
                made.execute(f"CREATE TABLE {quoted(name)} ({columns})")
    return made


def timed(database: Any, query: str, seconds: float) -> list[tuple[Any, ...]]:
    """A query's rows.

    Raises:
        duckdb.InterruptException: It timed out.
        duckdb.Error: It fails.
    """
    from threading import Timer

    timer = Timer(seconds, database.interrupt)
    timer.start()
    try:
        rows: list[tuple[Any, ...]] = database.execute(query).fetchall()
    finally:
        timer.cancel()
    return rows


def why_not(query: str, contract: Contract, about: str, database: Any) -> str:
    """Why a query does not run on the contract's tables; empty if it does."""
    import duckdb

    try:
        statements = duckdb.extract_statements(query_for(query, contract, about))
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            return "it is not a single query"
        timed(database, f"EXPLAIN {query_for(query, contract, about)}", MOST_SECONDS)
    except (duckdb.InterruptException, duckdb.OutOfMemoryException):
        return "the query takes too long, even on no data"
    except duckdb.CatalogException as error:
        missing = re.search(r"Table with name (\S+) does not exist", str(error))
        return (
            f"the query is about {missing[1]}, which is not an object of the contract"
            if missing
            else "the query uses a function that DuckDB does not have"
        )
    except duckdb.BinderException as error:
        missing = re.search(r'Referenced column "([^"]+)"|does not have a column named "([^"]+)"', str(error))
        name = next((part for part in (missing.groups() if missing else ()) if part), "")
        return (
            f"the query is about {name}, which is not a field of the object"
            if name
            else "the query does not fit the object's fields"
        )
    except duckdb.Error:
        return "the query is not valid DuckDB SQL"
    return ""
