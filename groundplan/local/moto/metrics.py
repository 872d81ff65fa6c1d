"""CloudWatch's metrics as its alarms and queries need them: values by minute, with their distribution, and metric math.

moto keeps each value as an object, has no statistics of distributions (p95, TC), and no metric math.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Series = tuple[str, str, frozenset[tuple[str, str]]]  # namespace, name, dimensions
MINUTE_S = 60
_RANGE = re.compile(r"(TC|PR)\((-?\d*\.?\d*):(-?\d*\.?\d*)\)$", re.IGNORECASE)
_PERCENTILE = re.compile(r"p(\d+(?:\.\d+)?)$", re.IGNORECASE)


@dataclass
class Minute:
    """A minute's samples of one metric.

    Attributes:
        values: How often each value came.
        summed: Samples of which only a statistic set came, and therefore no distribution.
    """

    values: Counter[float] = field(default_factory=Counter)
    summed: int = 0
    count: float = 0.0
    sum: float = 0.0
    least: float = math.inf
    most: float = -math.inf

    def add(self, datum: Mapping[str, Any]) -> None:
        """Take a ``MetricDatum`` of PutMetricData into account."""
        if statistics := datum.get("StatisticValues"):
            count, total = float(statistics["SampleCount"]), float(statistics["Sum"])
            least, most = float(statistics["Minimum"]), float(statistics["Maximum"])
            self.summed += 1
        else:
            values = [float(each) for each in datum.get("Values") or [datum.get("Value") or 0.0]]
            counts = [float(each) for each in datum.get("Counts") or [1.0] * len(values)]
            for value, times in zip(values, counts, strict=False):
                self.values[value] += times  # type: ignore[assignment]
            count, total = sum(counts), sum(v * n for v, n in zip(values, counts, strict=False))
            least, most = min(values), max(values)
        self.count += count
        self.sum += total
        self.least, self.most = min(self.least, least), max(self.most, most)


class Samples:
    """What PutMetricData has brought, by metric and minute."""

    def __init__(self) -> None:
        self._minutes: dict[Series, dict[int, Minute]] = {}

    def add(self, namespace: str, data: Iterable[Mapping[str, Any]], now: float) -> None:
        """Take samples into account."""
        for datum in data:
            series = series_of(namespace, datum["MetricName"], datum.get("Dimensions") or [])
            at = datum.get("Timestamp")
            minute = int((at.timestamp() if isinstance(at, datetime) else now) // MINUTE_S)
            self._minutes.setdefault(series, {}).setdefault(minute, Minute()).add(datum)

    def statistic(self, series: Series, name: str, begin: float, end: float) -> float | None:
        """A statistic of the minutes that begin between two times (seconds since 1970); None without samples."""
        of, first, last = self._minutes.get(series, {}), math.ceil(begin / MINUTE_S), math.ceil(end / MINUTE_S)
        if last - first < len(of):
            return statistic_of([of[minute] for minute in range(first, last) if minute in of], name)
        return statistic_of([each for minute, each in of.items() if first <= minute < last], name)


def series_of(namespace: str, name: str, dimensions: Iterable[Any]) -> Series:
    """A metric's key, from dimensions as requests or moto's objects have them."""
    pairs = ((d["Name"], d["Value"]) if isinstance(d, Mapping) else (d.name, d.value) for d in dimensions)
    return namespace, name, frozenset(pairs)


def statistic_of(minutes: list[Minute], name: str) -> float | None:
    """One of CloudWatch's statistics; None where there are no samples, or where it needs a distribution that did not
    come.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html

    Raises:
        ValueError: It is not computed here.
    """
    count = sum(each.count for each in minutes)
    if not count:
        return None
    match name:
        case "SampleCount":
            return count
        case "Sum":
            return sum(each.sum for each in minutes)
        case "Average":
            return sum(each.sum for each in minutes) / count
        case "Minimum":
            return min(each.least for each in minutes)
        case "Maximum":
            return max(each.most for each in minutes)
    if any(each.summed for each in minutes):
        return None
    values: Counter[float] = Counter()
    for each in minutes:
        values.update(each.values)
    if found := _RANGE.match(name):
        low, high = (float(end) if end else None for end in found.groups()[1:])
        inside = sum(
            n for value, n in values.items() if (low is None or value > low) and (high is None or value <= high)
        )
        return float(inside) if found[1].upper() == "TC" else 100.0 * inside / count
    if found := _PERCENTILE.match(name):
        rank, seen = float(found[1]) / 100 * count, 0.0
        for value in sorted(values):
            seen += values[value]
            if seen >= rank:
                return value
    raise ValueError(f"the local cloud does not compute the statistic {name!r}")


def metric_math(expression: str, values: Mapping[str, float | None]) -> float | None:
    """An expression over one period's values; None where what it needs is missing, or it divides by zero.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html

    Raises:
        ValueError: It uses what is not computed here; says what.
    """
    text = re.sub(r"&&|\bAND\b", " and ", re.sub(r"\|\||\bOR\b", " or ", expression)).replace("^", "**")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError:
        raise ValueError(f"{expression!r} is not an expression of metric math that is computed here") from None
    return _computed(tree.body, values)


_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: float(a**b),
}
_COMPARED: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
}
_OVER: dict[str, Callable[[list[float]], float]] = {
    "SUM": sum,
    "MAX": max,
    "MIN": min,
    "AVG": lambda values: sum(values) / len(values),
}
_ONE: dict[str, Callable[[float], float]] = {"ABS": abs, "CEIL": math.ceil, "FLOOR": math.floor}


def _computed(node: ast.expr, values: Mapping[str, float | None]) -> float | None:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            found = _computed(inner, values)
            return None if found is None else -found
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _BINARY:
            a, b = _computed(left, values), _computed(right, values)
            try:
                return None if a is None or b is None else _BINARY[type(operator)](a, b)
            except (ZeroDivisionError, OverflowError):
                return None
        case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _COMPARED:
            a, b = _computed(left, values), _computed(right, values)
            return None if a is None or b is None else float(_COMPARED[type(operator)](a, b))
        case ast.BoolOp(op=operator, values=parts):
            each = [_computed(part, values) for part in parts]
            if None in each:
                return None
            return float(all(each) if isinstance(operator, ast.And) else any(each))
        case ast.Call(func=ast.Name(id="IF"), args=[condition, yes, no]):
            found = _computed(condition, values)
            return None if found is None else _computed(yes if found else no, values)
        case ast.Call(func=ast.Name(id="FILL"), args=[inner, instead]):
            found = _computed(inner, values)
            return _computed(instead, values) if found is None else found
        case ast.Call(func=ast.Name(id=name), args=[inner]) if name in _ONE:
            found = _computed(inner, values)
            return None if found is None else float(_ONE[name](found))
        case ast.Call(func=ast.Name(id=name), args=[inner]) if name in _OVER:
            parts = inner.elts if isinstance(inner, ast.List) else [inner]
            if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id == "METRICS":
                within = [str(each.value) for each in inner.args if isinstance(each, ast.Constant)]
                known = [
                    value for id_, value in values.items() if value is not None and all(text in id_ for text in within)
                ]
            else:
                known = [value for part in parts if (value := _computed(part, values)) is not None]
            return _OVER[name](known) if known else None
    raise ValueError(f"{ast.unparse(node)!r} is metric math that is not computed here")
