"""The rules of a contract that are metrics of the standard or queries: the result of each on the data, and whether it
is as required.

https://bitol-io.github.io/open-data-contract-standard/latest/data-quality/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from spec.contracts import Contract, Field, Rule
from spec.contracts.tables import columns_of, connection, duckdb_type, names_of, query_for, quoted, timed

if TYPE_CHECKING:
    import pyarrow as pa

MOST_SECONDS = 60  # of one query


def measured(contract: Contract, tables: Mapping[str, tuple[Contract, pa.Table]]) -> list[dict[str, Any]]:
    """The contract's metrics and queries: the result of each, and whether it is as required."""
    rules = [rule for rule in contract.rules if rule.kind != "expectation"]
    if not rules:
        return []
    database = connection()
    for other, table in tables.values():
        called = columns_of(other)
        columns = table.select([one.name for one in called.values()]).rename_columns(list(called))
        for name in names_of(other):
            database.register(name, columns)
    table = tables[contract.view][1]
    found = []
    for rule in rules:
        value, note = _measure(rule, contract, database, table.num_rows)
        holds = holds_true(rule.compare, value, json.loads(rule.value)) if value is not None else False
        if holds is None:
            value, note = None, f"the query returns {str(value)[:40]!r}, which can't be compared with {rule.value}"
        found.append(
            {
                "column": rule.about,
                "expectation": _called(rule),
                "success": bool(holds),
                "unexpected": value if value is not None else 0,
                "sample": note,
                "stops": rule.stops,
                "rule": rule.description,
            }
        )
    return found


def _called(rule: Rule) -> str:
    """A rule as text."""
    what = rule.metric if rule.kind == "library" else "query"
    return f"{what} {rule.compare} {rule.value}{' percent' if rule.percent else ''}"


def _measure(rule: Rule, contract: Contract, database: Any, rows: int) -> tuple[Any, str]:
    """The result of a metric or a query; None, and why, if it is not a single value."""
    import duckdb

    query = query_for(rule.query, contract, rule.about) if rule.kind == "sql" else _metric_query(rule, contract)
    try:
        answer = timed(database, query, MOST_SECONDS)
    except duckdb.InterruptException:
        return None, f"the query did not finish within {MOST_SECONDS} s"
    except duckdb.Error:
        return None, "the query fails on this data"
    if len(answer) != 1 or len(answer[0]) != 1 or answer[0][0] is None:
        return None, f"the query returns {len(answer)} rows, not one value"
    value = answer[0][0]
    return (100 * value / rows if rows else 0.0) if rule.percent else value, ""


def _metric_query(rule: Rule, contract: Contract) -> str:
    """SQL of one of the standard's metrics
    (https://bitol-io.github.io/open-data-contract-standard/latest/data-quality/).
    """
    arguments, table, column = json.loads(rule.arguments), quoted(contract.view), quoted(rule.about)
    item = contract.field(rule.about)
    count = f"SELECT count(*) FROM {table}"  # noqa: S608 (quoted)
    if rule.metric == "nullValues":
        return f"{count} WHERE {column} IS NULL"
    if rule.metric == "missingValues":
        same = " OR ".join(
            f"{column} = {_literal(value, item)}" for value in arguments.get("missingValues", []) if value is not None
        )
        return f"{count} WHERE {column} IS NULL{f' OR {same}' if same else ''}"
    if rule.metric == "invalidValues":
        bad = []
        if "validValues" in arguments:
            known = [
                f"{column} IS DISTINCT FROM {_literal(value, item)}"
                for value in arguments["validValues"]
                if value is not None
            ]
            bad.append(" AND ".join(known) or "true")
        if "pattern" in arguments:
            bad.append(f"NOT regexp_matches({column}::VARCHAR, {_text(arguments['pattern'])})")
        return f"{count} WHERE {column} IS NOT NULL AND ({' OR '.join(f'({part})' for part in bad)})"
    if rule.metric == "duplicateValues":
        names = [
            quoted(item.name)
            for name in arguments.get("properties", [rule.about])
            if (item := contract.field(str(name)))
        ]
        listed = ", ".join(names) or "*"
        return f"SELECT (SELECT count(*) FROM {table}) - (SELECT count(*) FROM (SELECT DISTINCT {listed} FROM {table}))"  # noqa: S608 (quoted)
    return count


def _literal(value: Any, item: Field | None) -> str:
    """A value of a rule in the column's own type; one of another type equals nothing."""
    if isinstance(value, dict | list):
        value = json.dumps(value)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"TRY_CAST({_text(text)} AS {duckdb_type(item) if item else 'VARCHAR'})"


def _text(value: Any) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def holds_true(compare: str, value: Any, wanted: Any) -> bool | None:
    """One of the standard's comparisons; None where the two can't be compared."""
    try:
        return _holds_true(compare, value, wanted)
    except (TypeError, ValueError):
        return None


def _holds_true(compare: str, value: Any, wanted: Any) -> bool:
    if compare in ("mustBe", "mustNotBe"):
        numbers = (
            isinstance(wanted, int | float)
            and not isinstance(wanted, bool)
            and isinstance(value, int | float | Decimal)
        )
        same = value == wanted or str(value).lower() == str(wanted).lower() or (numbers and float(value) == wanted)
        return bool(same) == (compare == "mustBe")
    number = float(value)
    if compare.endswith("Between"):
        return bool(wanted[0] <= number <= wanted[1]) == (compare == "mustBeBetween")
    limit = float(wanted)
    return {
        "mustBeGreaterThan": number > limit, "mustBeGreaterOrEqualTo": number >= limit,
        "mustBeLessThan": number < limit, "mustBeLessOrEqualTo": number <= limit,
    }[compare]  # fmt: skip
