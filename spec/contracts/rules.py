"""Rules about the data as a whole (``quality``): those that the gate runs, and why it does not run the others.

https://bitol-io.github.io/open-data-contract-standard/latest/data-quality/
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from spec.contracts.model import Field, Rule
from spec.contracts.types import TypeFaultError, check_pattern

COMPARISONS = (
    "mustBe",
    "mustNotBe",
    "mustBeGreaterThan",
    "mustBeGreaterOrEqualTo",
    "mustBeLessThan",
    "mustBeLessOrEqualTo",
    "mustBeBetween",
    "mustNotBeBetween",
)
# The standard's metrics, and their names in versions before v3.1.0 and their tools (``rule``).
METRICS = {
    **{name: name for name in ("nullValues", "missingValues", "invalidValues", "duplicateValues", "rowCount")},
    **{
        "nullCheck": "nullValues",
        "notNull": "nullValues",
        "duplicateCount": "duplicateValues",
        "duplicates": "duplicateValues",
    },
    **{"unique": "duplicateValues", "countCheck": "rowCount", "row_count": "rowCount"},
}
_ENGINES = ("greatexpectations", "great-expectations", "great_expectations", "gx")
_NONE_OF_THEM = ("nullCheck", "notNull", "unique")  # their name says what they compare with


class NotRunError(Exception):
    """A rule that the platform does not run; the text says why."""


def rule_of(written: dict[str, Any], about: str) -> Rule:
    """A rule as the gate runs it.

    Raises:
        NotRunError: The platform does not run it.
        ValueError: It is invalid.
    """
    kind = written.get("type") or ("library" if "metric" in written or "rule" in written else "")
    shared: dict[str, Any] = {
        "about": about,
        "stops": str(written.get("severity", "")).lower() not in ("info", "warning", "warn", "low"),
        "description": str(written.get("description") or written.get("name") or ""),
    }
    if kind == "custom":
        return Rule("expectation", **shared, **_expectation(written, about))
    if kind not in ("library", "sql"):
        raise NotRunError(
            f"{kind or 'a rule without a type'} is for readers"
            if kind == "text"
            else "has neither a metric nor a query"
        )
    compare = next((name for name in COMPARISONS if name in written), "")
    value = written.get(compare) if compare else None
    if kind == "sql":
        if not compare:
            raise NotRunError("the query has no comparison (mustBe, mustBeLessThan, ...)")
        return Rule("sql", query=str(written["query"]), compare=compare, value=json.dumps(value), **shared)
    name = str(written.get("metric") or written.get("rule"))
    metric = METRICS.get(name)
    if metric is None:
        raise NotRunError(f"{name} is not a metric of the standard ({', '.join(list(METRICS)[:5])})")
    if not compare and name in _NONE_OF_THEM:
        compare, value = "mustBe", 0
    if not compare:
        raise NotRunError("the metric has no comparison (mustBe, mustBeLessThan, ...)")
    if metric in ("nullValues", "missingValues", "invalidValues") and not about:
        raise NotRunError(f"{metric} is about a field, but is set on the table")
    arguments = written.get("arguments") or {}
    return Rule(
        "library",
        metric=metric,
        arguments=json.dumps(arguments),
        compare=compare,
        value=json.dumps(value),
        percent=str(written.get("unit", "")).lower() in ("percent", "%"),
        **shared,
    )


def _expectation(written: dict[str, Any], about: str) -> dict[str, Any]:
    """An expectation of Great Expectations, in any of the forms that are in use."""
    import yaml

    engine = str(written.get("engine", ""))
    if engine.lower() not in _ENGINES:
        raise NotRunError(f"checks of {engine or 'an unnamed engine'} are not run")
    given = written.get("implementation")
    if isinstance(given, str):
        try:
            given = yaml.safe_load(given)
        except yaml.YAMLError:
            raise ValueError("its `implementation` is not valid YAML") from None
    named = given if isinstance(given, dict) else {}
    kind = named.get("expectation_type") or named.get("type")
    kwargs = named.get("kwargs") or {}
    if not kind or not isinstance(kwargs, dict):
        raise ValueError("its `implementation` must name an expectation: `type` and `kwargs`")
    if odd := sorted(set(named) - {"expectation_type", "type", "kwargs", "meta"}):
        raise ValueError(f"an expectation has no {', '.join(odd)}: give type and kwargs")
    of_a_column = str(kind).startswith("expect_column_") and "_pair_" not in str(kind)
    if about and of_a_column and "column" not in kwargs:
        kwargs = {"column": about, **kwargs}
    return {"expectation": str(kind), "arguments": json.dumps(kwargs, default=str)}


def problem(rule: Rule, fields: tuple[Field, ...]) -> str:
    """Why a rule would fail whatever the data; empty if it would not."""
    found = ""
    if rule.kind == "expectation":
        found = _problem_of_expectation(rule.expectation, json.loads(rule.arguments), fields)
    elif rule.kind == "library":
        found = _problem_of_metric(rule.metric, json.loads(rule.arguments), fields)
    if found or not rule.compare.endswith("Between"):
        return found
    bounds = json.loads(rule.value)
    if (
        not isinstance(bounds, list)
        or len(bounds) != 2
        or not all(isinstance(side, int | float) and not isinstance(side, bool) for side in bounds)
    ):
        return f"{rule.compare} is {rule.value}; expected two numbers"
    return f"{rule.compare}: {bounds[0]} is above {bounds[1]}" if bounds[0] > bounds[1] else ""


def _problem_of_expectation(name: str, arguments: dict[str, Any], fields: tuple[Field, ...]) -> str:
    known = _expectations()
    if known and name not in known:
        near = difflib.get_close_matches(name, sorted(known), 1)
        return f"Great Expectations has no {name!r}{f'; did you mean {near[0]}?' if near else ''}"
    named = [arguments[key] for key in ("column", "column_A", "column_B") if arguments.get(key) is not None]
    if "columns" in name and isinstance(arguments.get("column_list"), list) and "ordered" not in name:
        named += arguments["column_list"]
    if says := _unknown_field(named, fields):
        return says
    needs, takes = _arguments(name)
    if takes and (odd := sorted(set(arguments) - takes)):
        near = difflib.get_close_matches(odd[0], sorted(takes), 1)
        return f"{name} does not take {odd[0]!r}{f'; did you mean {near[0]}?' if near else ''}"
    missing = sorted(needs - set(arguments))
    return f"{name} needs {' and '.join(missing)}" if missing else ""


def _problem_of_metric(metric: str, arguments: dict[str, Any], fields: tuple[Field, ...]) -> str:
    if metric == "invalidValues":
        if not set(arguments) & {"validValues", "pattern"}:
            return "invalidValues needs `arguments` with `validValues` or `pattern`"
        if "validValues" in arguments and not isinstance(arguments["validValues"], list):
            return "validValues must be a list"
        if (pattern := arguments.get("pattern")) is not None:
            try:
                check_pattern(str(pattern))
            except TypeFaultError as error:
                return str(error)
    return _unknown_field(map(str, arguments.get("properties") or []), fields)


def _unknown_field(named: Iterable[Any], fields: tuple[Field, ...]) -> str:
    unknown = next((name for name in named if not any(name in (one.name, one.title) for one in fields)), None)
    return "" if unknown is None else f"is about the field {unknown!r}, which the contract does not have"


def masked_by(rule: Rule, fields: tuple[Field, ...]) -> str:
    """The masked field that a rule reads, so that it would judge tokens; empty if none. Counts of missing and of equal
    values are also valid for tokens.
    """
    masked = [one for one in fields if any(leaf.personal for _, leaf in one.leaves())]
    if rule.kind == "sql":
        words = set(re.findall(r"\w+", rule.query.lower()))
        return next(
            (
                one.name
                for one in masked
                if {one.name.lower(), one.title.lower()} & words or (rule.about == one.name and "{" in rule.query)
            ),
            "",
        )
    arguments = json.loads(rule.arguments or "{}")
    if rule.kind == "expectation" and rule.expectation in _OF_TOKENS:
        return ""
    looks = (
        rule.kind == "expectation"
        or rule.metric == "invalidValues"
        or any(value is not None for value in arguments.get("missingValues") or ())
    )
    about = {rule.about, *(str(arguments[name]) for name in ("column", "column_A", "column_B") if name in arguments)}
    return next((one.name for one in masked if looks and {one.name, one.title} & about), "")


_OF_TOKENS = (
    "expect_column_values_to_not_be_null",
    "expect_column_values_to_be_null",
    "expect_column_values_to_be_unique",
    "expect_column_to_exist",
    "expect_column_unique_value_count_to_be_between",
    "expect_column_proportion_of_unique_values_to_be_between",
    "expect_compound_columns_to_be_unique",
)


@cache
def _expectations() -> frozenset[str]:
    """Names of all expectations, from the package's source: importing it takes seconds."""
    return frozenset(
        node.module
        for node in _source("core/__init__.py")
        if isinstance(node, ast.ImportFrom) and node.module and "expect" in node.module
    )


def _source(name: str) -> list[ast.stmt]:
    spec = find_spec("great_expectations")
    files = [Path(folder, "expectations", name) for folder in (spec.submodule_search_locations or () if spec else ())]
    return [node for file in files if file.is_file() for node in ast.parse(file.read_text("utf-8")).body]


@cache
def _classes(name: str) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in _source(name) if isinstance(node, ast.ClassDef)}


@cache
def _arguments(expectation: str) -> tuple[frozenset[str], frozenset[str]]:
    """The required and the accepted arguments of an expectation, from the fields of its class and its base classes;
    empty if unknown.
    """
    known = {**_classes("expectation.py"), **_classes(f"core/{expectation}.py")}
    named = expectation.replace("_", "")
    left, needs, takes = [name for name in known if name.lower() == named], set[str](), set[str]()
    for name in left:
        node = known[name]
        left += [base.id for base in node.bases if isinstance(base, ast.Name) and base.id in known]
        for field in node.body:
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and "ClassVar" not in ast.unparse(field.annotation)
            ):
                if field.target.id not in takes and _is_needed(field):
                    needs.add(field.target.id)
                takes.add(field.target.id)
    return frozenset(needs), frozenset(takes)


def _is_needed(field: ast.AnnAssign) -> bool:
    """A field of pydantic without a default (https://docs.pydantic.dev/1.10/usage/models/#required-fields)."""
    may_be_none = any(word in ast.unparse(field.annotation) for word in ("Optional", "None"))
    if field.value is None:
        return not may_be_none
    if not isinstance(field.value, ast.Call) or not ast.unparse(field.value.func).endswith("Field"):
        return False
    first = field.value.args[0] if field.value.args else None
    named = {keyword.arg for keyword in field.value.keywords}
    return (
        isinstance(first, ast.Constant) and first.value is ...
        if first is not None
        else not (may_be_none or named & {"default", "default_factory"})
    )
