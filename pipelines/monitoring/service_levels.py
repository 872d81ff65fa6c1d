"""How much of each error budget is left, by what CloudWatch and Managed Prometheus have counted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.steps.kubernetes_api import samples
from spec.outputs import Outputs, ServiceLevelOutputs
from spec.service_levels import ALL_EVENTS, BAD_EVENTS

MOST_QUERIES = 500  # of one GetMetricData
MINUTE_S = 60


def attained(outputs: Outputs, only: str = "", now: datetime | None = None) -> list[dict[str, Any]]:
    """Each service level: its ``target``, the ``events`` of its days and the ``failed`` ones among them, the share of
    good ones (``attained``, None without events), the share of the error budget that is left (``budget_left``; below 0
    where it is used up), each day's ``[events, failed]`` (``days``), and the states of its ``alarms``.

    Args:
        only: One model; empty for all.
    """
    now = now or datetime.now(UTC)
    levels = {
        (model, name): level
        for model, of in outputs.service_levels.items()
        for name, level in of.items()
        if not only or model == only
    }
    counted, states = _counted(levels, now), _states(levels)
    found = []
    for (model, name), level in levels.items():
        days = counted[model, name] if level.metrics else _by_prometheus(outputs, model, name, level.days)
        events, failed = (sum(day[place] for day in days.values()) for place in (0, 1))
        share = failed / events if events else None
        found.append(
            {
                "model": model,
                "service_level": name,
                "says": level.says,
                "target": level.target,
                "period_days": level.days,
                "events": events,
                "failed": failed,
                "attained": None if share is None else 1 - share,
                "budget_left": None if share is None else 1 - share / (1 - level.target),
                "days": {day: list(both) for day, both in sorted(days.items())},
                "alarms": {urgency: states.get(alarm, "") for urgency, alarm in level.alarms.items()},
            }
        )
    return found


def _counted(
    levels: dict[tuple[str, str], ServiceLevelOutputs], now: datetime
) -> dict[tuple[str, str], dict[str, tuple[float, float]]]:
    """Events and bad ones of each day, by CloudWatch."""
    import boto3

    asked: list[tuple[tuple[str, str], str, dict[str, Any]]] = []
    for key, level in levels.items():
        for query in level.metrics:
            asked.append((key, query["Id"], {**query, "Id": f"q{len(asked)}"}))
    values: dict[tuple[tuple[str, str], str], dict[str, float]] = {}
    days = max((level.days for level in levels.values()), default=1)
    end = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    client = boto3.client("cloudwatch") if asked else None
    for begin in range(0, len(asked), MOST_QUERIES):
        part = asked[begin : begin + MOST_QUERIES]
        assert client is not None
        pages = client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=[query for _, _, query in part], StartTime=end - timedelta(days=days), EndTime=end
        )
        places = {query["Id"]: (key, id_) for key, id_, query in part}
        for page in pages:
            for item in page["MetricDataResults"]:
                of = values.setdefault(places[item["Id"]], {})
                for moment, value in zip(item["Timestamps"], item["Values"], strict=True):
                    day = f"{moment.astimezone(UTC):%Y-%m-%d}"
                    of[day] = of.get(day, 0.0) + value
    found: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    for key, level in levels.items():
        known = {day for (of, _), each in values.items() if of == key for day in each}
        found[key] = {
            day: (
                sum(values.get((key, id_), {}).get(day, 0.0) for id_ in level.events),
                sum(values.get((key, id_), {}).get(day, 0.0) for id_ in level.failed),
            )
            for day in known
        }
    return found


def _by_prometheus(outputs: Outputs, model: str, name: str, days: int) -> dict[str, tuple[float, float]]:
    """The whole period as one day, which its recording rules add up."""
    if not outputs.prometheus:
        return {}
    of = f'{{model="{model}",service_level="{name}"}}'
    both = [list(samples(outputs.prometheus, f"{series}{days}d{of}").values()) for series in (ALL_EVENTS, BAD_EVENTS)]
    return {f"{datetime.now(UTC):%Y-%m-%d}": (both[0][0], both[1][0])} if all(both) else {}


def _states(levels: dict[tuple[str, str], ServiceLevelOutputs]) -> dict[str, str]:
    names = [alarm for level in levels.values() for alarm in level.alarms.values()]
    return {alarm["AlarmName"]: alarm["StateValue"] for alarm in described(names)}


def rings_since(alarm: dict[str, Any]) -> datetime:
    """When an alarm's state last changed. When it was last updated is later: while it is silenced, and at each look."""
    found: datetime = alarm.get("StateTransitionedTimestamp") or alarm["StateUpdatedTimestamp"]
    return found.astimezone(UTC)


def share_since(level: ServiceLevelOutputs, begin: datetime, now: datetime) -> float | None:
    """Share of bad events between two moments, to the minute; None without events, or where CloudWatch counts none."""
    import boto3

    if not level.metrics:
        return None
    asked = [{**query, "MetricStat": {**query["MetricStat"], "Period": MINUTE_S}} for query in level.metrics]
    sums: dict[str, float] = {}
    pages = boto3.client("cloudwatch").get_paginator("get_metric_data")
    # A minute that both have had a part in belongs to neither.
    start = begin.replace(second=0, microsecond=0) + timedelta(minutes=1)
    for page in pages.paginate(
        MetricDataQueries=asked, StartTime=start, EndTime=max(now, start + timedelta(minutes=1))
    ):
        for item in page["MetricDataResults"]:
            sums[item["Id"]] = sums.get(item["Id"], 0.0) + sum(item["Values"])
    events = sum(sums.get(id_, 0.0) for id_ in level.events)
    return sum(sums.get(id_, 0.0) for id_ in level.failed) / events if events else None


def described(names: list[str]) -> Iterator[dict[str, Any]]:
    """Alarms as CloudWatch describes them, of both kinds."""
    import boto3

    client = boto3.client("cloudwatch") if names else None
    for begin in range(0, len(names), 100):
        assert client is not None
        pages = client.get_paginator("describe_alarms").paginate(
            AlarmNames=names[begin : begin + 100], AlarmTypes=["CompositeAlarm", "MetricAlarm"]
        )
        for page in pages:
            yield from page["CompositeAlarms"]
            yield from page["MetricAlarms"]
