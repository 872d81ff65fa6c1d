"""How an endpoint has answered, by what SageMaker counts: requests, errors, latency."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pipelines.context import Context
from pipelines.steps.endpoint import CHALLENGER, CHAMPION, metric_of

PERIOD_S = 3600
_COUNTED = (("Invocations", "Sum"), ("Invocation5XXErrors", "Sum"), ("ModelLatency", "Average"))


def answering(context: Context, begin: datetime, end: datetime) -> dict[str, Any]:
    """What the endpoint's variants have answered between two moments, a week apart at most.

    Returns:
        ``requests``, the share of them that failed (``error_share``), and the mean latency of the hours
        (``latency_ms``, weighted by their requests); empty where SageMaker has counted none, as on the cluster.
    """
    import boto3

    known = context.outputs.endpoints.get(context.model)
    if known is not None and not known.name:
        return {}
    queries = [
        {
            "Id": f"{metric.lower()}{place}",
            "MetricStat": {
                "Metric": metric_of(context.endpoint_name, variant, metric),
                "Period": PERIOD_S,
                "Stat": statistic,
            },
        }
        for place, variant in enumerate((CHAMPION, CHALLENGER))
        for metric, statistic in _COUNTED
    ]
    pages = boto3.client("cloudwatch").get_paginator("get_metric_data")
    found: dict[str, dict[datetime, float]] = {}
    for page in pages.paginate(MetricDataQueries=queries, StartTime=begin, EndTime=end):
        for item in page["MetricDataResults"]:
            found.setdefault(item["Id"], {}).update(zip(item["Timestamps"], item["Values"], strict=True))

    def hours(metric: str, place: int) -> dict[datetime, float]:
        return found.get(f"{metric.lower()}{place}", {})

    requests = sum(sum(hours("Invocations", place).values()) for place in (0, 1))
    if not requests:
        return {}
    errors = sum(sum(hours("Invocation5XXErrors", place).values()) for place in (0, 1))
    waited = [
        (hours("Invocations", place).get(hour, 0.0), latency)
        for place in (0, 1)
        for hour, latency in hours("ModelLatency", place).items()
    ]
    asked = sum(number for number, _ in waited)
    return {
        "requests": int(requests),
        "error_share": errors / requests,
        # SageMaker reports microseconds.
        "latency_ms": sum(number * latency for number, latency in waited) / asked / 1000 if asked else None,
    }
