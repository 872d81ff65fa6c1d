"""Cost Explorer's GetCostAndUsage, answered from the local cloud's bill: periods, groups, filters by dimension and tag.

https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_GetCostAndUsage.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from groundplan.local.moto.meter import Line, Meter
from spec.billing import product


@cache
def answer_cost_explorer() -> Callable[[Meter], None]:
    """Make moto's Cost Explorer answer from the bill, in this process; returns how to give it one."""
    from moto.ce.models import CostExplorerBackend

    source: list[Meter] = []

    def get_cost_and_usage(self: Any, body: str) -> dict[str, Any]:
        if not source:
            return {"ResultsByTime": [], "DimensionValueAttributes": []}
        source[-1].read_now()
        return cost_and_usage(source[-1].lines, json.loads(body))

    CostExplorerBackend.get_cost_and_usage = get_cost_and_usage  # type: ignore[method-assign]
    return source.append


def cost_and_usage(lines: Iterable[Line], asked: Mapping[str, Any]) -> dict[str, Any]:
    """GetCostAndUsage's answer to a request."""
    from moto.core.exceptions import JsonRESTError

    try:
        return _answer(list(lines), asked)
    except (KeyError, ValueError, TypeError) as error:
        raise JsonRESTError("ValidationException", f"the local cloud can't answer this request: {error}") from None


def _answer(lines: list[Line], asked: Mapping[str, Any]) -> dict[str, Any]:
    begin, end = (_moment(asked["TimePeriod"][key]) for key in ("Start", "End"))
    periods = list(_periods(begin, end, asked.get("Granularity", "MONTHLY")))
    groups = [_grouper(group) for group in asked.get("GroupBy") or ()]
    wanted = [line for line in lines if begin <= line.hour < end and _passes(asked.get("Filter"), line)]
    metrics = {name: _METRICS[name] for name in asked.get("Metrics") or ("UnblendedCost",)}
    found = []
    for first, last in periods:
        within = [line for line in wanted if first <= line.hour < last]
        by_key: dict[tuple[str, ...], list[Line]] = {}
        for line in within:
            by_key.setdefault(tuple(group(line) for group in groups), []).append(line)
        shape = "%Y-%m-%dT%H:%M:%SZ" if asked.get("Granularity") == "HOURLY" else "%Y-%m-%d"
        found.append(
            {
                "TimePeriod": {"Start": first.strftime(shape), "End": last.strftime(shape)},
                "Total": {} if groups else _summed(within, metrics),
                "Groups": [
                    {"Keys": list(key), "Metrics": _summed(of, metrics)} for key, of in sorted(by_key.items()) if groups
                ],
                "Estimated": True,
            }
        )
    definitions = [{"Type": group["Type"], "Key": group["Key"]} for group in asked.get("GroupBy") or ()]
    return {"GroupDefinitions": definitions, "ResultsByTime": found, "DimensionValueAttributes": []}


_METRICS = {
    **dict.fromkeys(
        ("UnblendedCost", "BlendedCost", "AmortizedCost", "NetUnblendedCost", "NetAmortizedCost"), ("usd", "USD")
    ),
    **dict.fromkeys(("UsageQuantity", "NormalizedUsageAmount"), ("units", "N/A")),
}


def _summed(lines: list[Line], metrics: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    return {
        name: {"Amount": f"{sum(getattr(line, attribute) for line in lines):.10f}", "Unit": unit}
        for name, (attribute, unit) in metrics.items()
    }


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).replace(tzinfo=UTC)


def _periods(begin: datetime, end: datetime, granularity: str) -> Iterator[tuple[datetime, datetime]]:
    steps = {"HOURLY": timedelta(hours=1), "DAILY": timedelta(days=1)}
    while begin < end:
        if granularity == "MONTHLY":
            following = datetime.combine(
                date(begin.year + begin.month // 12, begin.month % 12 + 1, 1), datetime.min.time(), UTC
            )
        else:
            following = begin + steps[granularity]
        yield begin, min(following, end)
        begin = following


def _grouper(group: Mapping[str, str]) -> Callable[[Line], str]:
    key = group["Key"]
    if group["Type"] == "TAG":
        return lambda line: f"{key}${line.tags.get(key, '')}"
    return lambda line: _dimension(line, key)


def _dimension(line: Line, key: str) -> str:
    match key:
        case "SERVICE":
            return product(line.service, line.item)[1]
        case "USAGE_TYPE":
            return f"{line.service}:{line.item}"
        case "RESOURCE_ID":
            return line.resource
        case "LINKED_ACCOUNT":
            return line.account
    raise ValueError(f"the dimension {key} is not known here")


def _passes(condition: Mapping[str, Any] | None, line: Line) -> bool:
    """Whether a line passes an Expression."""
    match condition:
        case None:
            return True
        case {"And": parts}:
            return all(_passes(part, line) for part in parts)
        case {"Or": parts}:
            return any(_passes(part, line) for part in parts)
        case {"Not": part}:
            return not _passes(part, line)
        case {"Tags": {"Key": key, "Values": values}}:
            return line.tags.get(key, "") in values
        case {"Dimensions": {"Key": key, "Values": values}}:
            return _dimension(line, key) in values
    raise ValueError(f"the filter {', '.join(condition)} is not known here")
