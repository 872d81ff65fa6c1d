"""The rules of a contract that are metrics of the standard or queries: what each gives on the data, and whether that is what it must be.

https://bitol-io.github.io/open-data-contract-standard/latest/data-quality/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from infra.contracts import Contract, Rule
from infra.contracts.tables import connection, names_of, query_for, quoted

if TYPE_CHECKING:
    import pyarrow as pa


def measured(contract: Contract, tables: Mapping[str, tuple[Contract, pa.Table]]) -> list[dict[str, Any]]:
    """The contract's metrics and queries: what each gives, and whether that is what it must be."""
    rules = [rule for rule in contract.rules if rule.kind != "expectation"]
    if not rules:
        return []
    database = connection()
    for other, table in tables.values():
        for name in names_of(other):
            database.register(name, table)
    table = tables[contract.view][1]
    found = []
    for rule in rules:
        value, note = _measure(rule, contract, database, table.num_rows)
        found.append(
            {
                "column": rule.about, "expectation": _called(rule), "success": value is not None and holds_true(rule.compare, value, json.loads(rule.value)),
                "unexpected": value if value is not None else 0, "sample": note, "stops": rule.stops, "rule": rule.description,
            }
        )  # fmt: skip
    return found


def _called(rule: Rule) -> str:
    """A rule for people."""
    what = rule.metric if rule.kind == "library" else "query"
    return f"{what} {rule.compare} {rule.value}{' percent' if rule.percent else ''}"


def _measure(rule: Rule, contract: Contract, database: Any, rows: int) -> tuple[Any, str]:
    """What a metric or a query gives; None, and why, if it gives no single value."""
    import duckdb

    query = query_for(rule.query, contract, rule.about) if rule.kind == "sql" else _metric_query(rule, contract)
    try:
        answer = database.execute(query).fetchall()
    except duckdb.Error:
        return None, "the query fails on this data"
    if len(answer) != 1 or len(answer[0]) != 1 or answer[0][0] is None:
        return None, f"the query gives {len(answer)} rows, not one value"
    value = answer[0][0]
    return (100 * value / rows if rows else 0.0) if rule.percent else value, ""


def _metric_query(rule: Rule, contract: Contract) -> str:
    """SQL of one of the standard's metrics (https://bitol-io.github.io/open-data-contract-standard/latest/data-quality/)."""
    arguments, table, column = json.loads(rule.arguments), quoted(contract.view), quoted(rule.about)
    count = f"SELECT count(*) FROM {table}"  # noqa: S608 (quoted)
    if rule.metric == "nullValues":
        return f"{count} WHERE {column} IS NULL"
    if rule.metric == "missingValues":
        texts = [value for value in arguments.get("missingValues", []) if value is not None]
        same = f" OR {column}::VARCHAR IN ({', '.join(map(_text, texts))})" if texts else ""
        return f"{count} WHERE {column} IS NULL{same}"
    if rule.metric == "invalidValues":
        bad = []
        if "validValues" in arguments:
            bad.append(f"{column}::VARCHAR NOT IN ({', '.join(map(_text, arguments['validValues']))})")
        if "pattern" in arguments:
            bad.append(f"NOT regexp_matches({column}::VARCHAR, {_text(arguments['pattern'])})")
        return f"{count} WHERE {column} IS NOT NULL AND ({' OR '.join(bad)})"
    if rule.metric == "duplicateValues":
        names = [quoted(item.name) for name in arguments.get("properties", [rule.about]) if (item := contract.field(str(name)))]
        listed = ", ".join(names) or "*"
        return f"SELECT (SELECT count(*) FROM {table}) - (SELECT count(*) FROM (SELECT DISTINCT {listed} FROM {table}))"  # noqa: S608 (quoted)
    return count


def _text(value: Any) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def holds_true(compare: str, value: Any, wanted: Any) -> bool:
    """One of the standard's comparisons."""
    if compare in ("mustBe", "mustNotBe"):
        same = value == wanted or str(value).lower() == str(wanted).lower() or (isinstance(wanted, int | float) and float(value) == wanted)
        return bool(same) == (compare == "mustBe")
    number = float(value)
    if compare.endswith("Between"):
        return bool(wanted[0] <= number <= wanted[1]) == (compare == "mustBeBetween")
    limit = float(wanted)
    return {
        "mustBeGreaterThan": number > limit, "mustBeGreaterOrEqualTo": number >= limit,
        "mustBeLessThan": number < limit, "mustBeLessOrEqualTo": number <= limit,
    }[compare]  # fmt: skip
