"""Rules of the cluster's metrics, in Prometheus' own form: what is recorded, and what alerts.

Service levels of models on the cluster are recorded by the names that Sloth gives them
(https://sloth.dev/introduction/architecture/), and alert as the SRE workbook's chapter 5 says.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

from components.operations.monitoring import RUNBOOK
from spec.names import short_name
from spec.on_cluster import REQUEST, REQUEST_BUCKETS, SERVICE_LABEL, STATUS_LABEL
from spec.service_levels import (
    ALL_EVENTS,
    BAD_EVENTS,
    BAD_SHARE,
    PERIOD_DAYS,
    Burn,
    ServiceLevel,
    Urgency,
    percent,
    window_name,
)

RECORDED = {
    "namespace:cpu_used:ratio": (
        'sum by (namespace) (rate(container_cpu_usage_seconds_total{container!=""}[5m]))'
        ' / sum by (namespace) (kube_pod_container_resource_requests{resource="cpu"})'
    ),
    "model:requests:rate5m": f"sum by ({SERVICE_LABEL}) (rate({REQUEST}_count[5m]))",
    "model:latency_p95:ms": (
        f"1000 * histogram_quantile(0.95, sum by ({SERVICE_LABEL}, le) (rate({REQUEST}_bucket[5m])))"
    ),
    "pool:nodes:count": "count by (nodepool) (karpenter_nodeclaims_created_total)",
}
OBJECTIVE, BUDGET = "slo:objective:ratio", "slo:error_budget:ratio"
REMAINING = "slo:period_error_budget_remaining:ratio"
_USED, _HARD = ('kube_resourcequota{type="used"}', 'kube_resourcequota{type="hard"}')
_AT_LIMIT = "kube_horizontalpodautoscaler_status_current_replicas >= kube_horizontalpodautoscaler_spec_max_replicas"
# Alert, expression, for how long, what it says.
_ALERTS = (
    (
        "PodRestarts",
        "increase(kube_pod_container_status_restarts_total[15m]) > 3",
        "5m",
        "A container of {{ $labels.namespace }}/{{ $labels.pod }} keeps restarting",
    ),
    (
        "AutoscalerAtLimit",
        _AT_LIMIT,
        "15m",
        "{{ $labels.horizontalpodautoscaler }} is at its maximum number of replicas",
    ),
    (
        "RetrainingFailed",
        'kube_job_status_failed{namespace="pipelines"} > 0',
        "0m",
        "Job {{ $labels.job_name }} failed: the model was not retrained",
    ),
    ("NodesPending", 'sum(kube_pod_status_phase{phase="Pending"}) > 0', "15m", "Pods are waiting for a node"),
    (
        "QuotaAlmostUsed",
        f"{_USED} / on (namespace, resource, resourcequota) {_HARD} > 0.9",
        "15m",
        "{{ $labels.namespace }} has used 90 % of its {{ $labels.resource }}",
    ),
)


def recorded() -> dict[str, Any]:
    """What dashboards in the cluster read."""
    rules = [{"record": name, "expr": expression} for name, expression in RECORDED.items()]
    return {"groups": [{"name": "recorded", "interval": "60s", "rules": rules}]}


def alerts(levels: dict[str, tuple[ServiceLevel, ...]]) -> dict[str, Any]:
    """What Managed Prometheus records and alerts, which keeps samples for as long as the windows ask.

    Args:
        levels: Service levels by model; those that are not counted on the cluster are left to CloudWatch.
    """
    groups = [
        *recorded()["groups"],
        {
            "name": "alerts",
            "interval": "60s",
            "rules": [
                {
                    "alert": name,
                    "expr": expression,
                    "for": duration,
                    "labels": {"severity": str(Urgency.TICKET)},
                    "annotations": {"summary": summary, "runbook": RUNBOOK.format("cluster")},
                }
                for name, expression, duration, summary in _ALERTS
            ],
        },
    ]
    for model, of in levels.items():
        for level in of:
            if level.name in _COUNTED:
                rules = [*_records(model, level), *_burning(model, level)]
                groups.append({"name": f"slo-{model}-{level.name}", "interval": "60s", "rules": rules})
    return {"groups": groups}


def _records(model: str, level: ServiceLevel) -> Iterator[dict[str, Any]]:
    labels = _labels(model, level)
    windows = {minutes for burn in level.burns for minutes in (burn.long_minutes, burn.short_minutes)}
    for minutes in sorted({*windows, PERIOD_DAYS * 1440}):
        window = window_name(minutes)
        bad, total = _COUNTED[level.name](model, level, minutes)
        # Errors that have never occurred have no series; that is none, as long as there are events at all.
        bad = f"({bad} or 0 * {total})"
        yield {"record": f"{ALL_EVENTS}{window}", "expr": total, "labels": labels}
        yield {"record": f"{BAD_EVENTS}{window}", "expr": bad, "labels": labels}
        bad, total = (_series(f"{name}{window}", labels) for name in (BAD_EVENTS, ALL_EVENTS))
        yield {"record": f"{BAD_SHARE}{window}", "expr": f"{bad} / ({total} > 0)", "labels": labels}
    yield {"record": OBJECTIVE, "expr": f"vector({level.target:g})", "labels": labels}
    yield {"record": BUDGET, "expr": f"vector(1 - {level.target:g})", "labels": labels}
    period = _series(f"{BAD_SHARE}{PERIOD_DAYS}d", labels)
    yield {"record": REMAINING, "expr": f"1 - {period} / {_series(BUDGET, labels)}", "labels": labels}


def _burning(model: str, level: ServiceLevel) -> Iterator[dict[str, Any]]:
    labels = _labels(model, level)

    def burns(burn: Burn) -> str:
        limit = f"{round(burn.rate * level.budget, 6):g}"
        long, short = (window_name(minutes) for minutes in (burn.long_minutes, burn.short_minutes))
        return (
            f"({_series(f'{BAD_SHARE}{long}', labels)} > {limit} and {_series(f'{BAD_SHARE}{short}', labels)} > {limit}"
            f" and {_series(f'{BAD_EVENTS}{long}', labels)} >= {burn.fewest - 0.5:g})"
        )

    for urgency in dict.fromkeys(burn.urgency for burn in level.burns):
        yield {
            "alert": f"{level.name.title()}Budget{urgency.title()}",
            "expr": " or ".join(burns(burn) for burn in level.burns if burn.urgency is urgency),
            "labels": {"severity": str(urgency)},
            "annotations": {
                "summary": f"{model}: {level.name}: too few of the {level.says}; {percent(level.target)} are promised",
                "runbook": RUNBOOK.format(level.name),
            },
        }


def _availability(model: str, level: ServiceLevel, minutes: int) -> tuple[str, str]:
    of, window = f'{SERVICE_LABEL}="{model}-predictor"', window_name(minutes)
    return (
        f'sum(increase({REQUEST}_count{{{of},{STATUS_LABEL}=~"5.."}}[{window}]))',
        f"sum(increase({REQUEST}_count{{{of}}}[{window}]))",
    )


def _latency(model: str, level: ServiceLevel, minutes: int) -> tuple[str, str]:
    """Requests are known to be below the ends of buckets; between two of them, they are taken to be spread evenly, as
    ``histogram_quantile`` does.
    """
    of, window = f'{SERVICE_LABEL}="{model}-predictor"', window_name(minutes)
    assert level.limit is not None
    limit = level.limit / 1000
    place = bisect_left(REQUEST_BUCKETS, limit)
    total = f"sum(increase({REQUEST}_count{{{of}}}[{window}]))"

    def below(end: float) -> str:
        # Prometheus 3 writes 1.0 where earlier ones write 1.
        return f'sum(increase({REQUEST}_bucket{{{of},le=~"{f"{end:g}".replace(".", "[.]")}([.]0)?"}}[{window}]))'

    if place == len(REQUEST_BUCKETS):  # slower than the last end is not told apart
        return f"({total} - {below(REQUEST_BUCKETS[-1])})", total
    high, low = REQUEST_BUCKETS[place], REQUEST_BUCKETS[place - 1] if place else 0.0
    share = (limit - low) / (high - low)
    good = below(high)
    if share < 1:
        good = f"{share:.4g} * {good}" + (f" + {1 - share:.4g} * {below(low)}" if place else "")
    return f"({total} - ({good}))", total


def _training(model: str, level: ServiceLevel, minutes: int) -> tuple[str, str]:
    """Jobs of the model's CronJob that began in the window, and have ended since."""
    cron, window = short_name(f"retrain-{model}", 52), window_name(minutes)
    jobs = f'namespace="pipelines",job_name=~"{cron}-[0-9]+"'
    begun = (
        f"max by (job_name) (max_over_time(kube_job_status_start_time{{{jobs}}}[{window}])) > time() - {minutes * 60}"
    )

    def ended(how: str) -> str:
        over = f'max_over_time(kube_job_{how}{{{jobs},condition="true"}}[{window}])'
        return f"count((max by (job_name) ({over}) == 1) and on (job_name) ({begun}))"

    failed, complete = ended("failed"), ended("complete")
    return failed, f"(({failed} or vector(0)) + ({complete} or vector(0)))"


_COUNTED = {"availability": _availability, "latency": _latency, "training": _training}


def _labels(model: str, level: ServiceLevel) -> dict[str, str]:
    return {"model": model, "service_level": level.name}


def _series(name: str, labels: dict[str, str]) -> str:
    selected = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{selected}}}"
