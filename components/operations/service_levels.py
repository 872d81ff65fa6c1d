"""Service levels as alarms: for each pair of windows in which an error budget may burn, two, and one that needs both.

https://sre.google/workbook/alerting-on-slos/
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Create_Composite_Alarm.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args
from components.foundation.base import Component, Scope
from components.models.endpoint import CHALLENGER, CHAMPION
from components.operations.monitoring import RUNBOOK, told
from spec.service_levels import PERIOD_DAYS, Burn, ServiceLevel, Urgency, window_name

_PIPELINES = "AWS/Sagemaker/ModelBuildingPipeline"
_SETTLES_S = 60  # in which the more urgent alarm may still follow, and has not ended for good


@dataclass(frozen=True)
class Counted:
    """A statistic of a CloudWatch metric that counts events: SampleCount, Sum, or TC(a:b), the samples in a range.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html
    """

    namespace: str
    metric: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str


@dataclass(frozen=True)
class Indicator:
    """What a service level counts, added up: all events, and the bad ones. Bad ones rather than good ones, as what
    does not arrive then rings nobody.
    """

    events: tuple[Counted, ...]
    failed: tuple[Counted, ...]

    @property
    def counted(self) -> dict[Counted, str]:
        """The id of each metric, by which ``all`` and ``bad`` name it."""
        return {each: f"m{place}" for place, each in enumerate(dict.fromkeys((*self.events, *self.failed)))}

    @property
    def all(self) -> str:
        """All events, as metric math."""
        return self._added(self.events)

    @property
    def bad(self) -> str:
        """Bad events, as metric math."""
        return self._added(self.failed)

    def _added(self, of: tuple[Counted, ...]) -> str:
        """A metric without samples counts nothing."""
        return f"({' + '.join(f'FILL({self.counted[each]}, 0)' for each in of)})"


@dataclass(frozen=True, kw_only=True)
class WatchedModel(Args):
    """Where one model's events are counted.

    Args:
        variants: Of the endpoint; several while two versions share the requests.
        pipeline, function: What trains it; both empty where CloudWatch does not see it.
    """

    levels: tuple[ServiceLevel, ...]
    endpoint_name: str = ""
    variants: tuple[str, ...] = (CHAMPION, CHALLENGER)
    pipeline: str = ""
    function: str = ""
    quality_metric: str
    higher_is_better: bool


@dataclass(frozen=True, kw_only=True)
class ServiceLevelsArgs(Args):
    """Args:
    topic_arns: SNS topic by stakeholder.
    """

    models: dict[str, WatchedModel]
    topic_arns: Mapping[str, pulumi.Input[str]]


class ServiceLevels(Component):
    """Alarms on error budgets. Only those that need both windows notify anybody.

    A ticket stays silent while the same level pages; and while a model's requests fail, none of its other levels
    tells anybody, as they suffer from it.

    Attributes:
        exported: By model and level: target, period, metrics as CloudWatch takes them, alarms by urgency.
    """

    def __init__(
        self, name: str, scope: Scope, args: ServiceLevelsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        self._name, self._topics = name, args.topic_arns
        self.exported: dict[str, dict[str, dict[str, Any]]] = {}
        for model, watched in args.models.items():
            loudest = ""
            for level in watched.levels:
                indicator = indicator_of(level, watched, model, f"Groundplan/{scope.stack}")
                if indicator is None:
                    continue
                alarms = self._watch(model, level, indicator, loudest)
                if level.name == "availability" and Urgency.PAGE in alarms:
                    loudest = alarms[Urgency.PAGE]
                self.exported.setdefault(model, {})[level.name] = {
                    "says": level.says,
                    "target": level.target,
                    "days": PERIOD_DAYS,
                    "metrics": [_as_query(id_, each) for each, id_ in indicator.counted.items()],
                    "events": [indicator.counted[each] for each in indicator.events],
                    "failed": [indicator.counted[each] for each in indicator.failed],
                    "alarms": {str(urgency): alarm for urgency, alarm in alarms.items()},
                }
        self.register_outputs({"models": list(args.models)})

    def _watch(self, model: str, level: ServiceLevel, indicator: Indicator, loudest: str) -> dict[Urgency, str]:
        """The alarms of one level; returns those that notify, by urgency."""
        pairs: dict[Urgency, list[str]] = {}
        members: dict[Urgency, list[pulumi.Resource]] = {}
        for burn in level.burns:
            both = [
                self._window(model, level, indicator, burn, minutes, fewest)
                for minutes, fewest in ((burn.long_minutes, burn.fewest), (burn.short_minutes, 1))
            ]
            rule = " AND ".join(f'ALARM("{alarm}")' for alarm, _ in both)
            pairs.setdefault(burn.urgency, []).append(f"({rule})")
            members.setdefault(burn.urgency, []).extend(resource for _, resource in both)
        made: dict[Urgency, str] = {}
        louder: pulumi.Resource | None = None
        for urgency, rules in pairs.items():
            alarm = self.scope.name(model, level.name, str(urgency), limit=255)
            silenced_by = made.get(Urgency.PAGE) or loudest
            actions = told(self._topics, level.name)
            louder = aws.cloudwatch.CompositeAlarm(
                f"{self._name}-{model}-{level.name}-{urgency}",
                alarm_name=alarm,
                alarm_description=(
                    f"{model}: {level.name}: too few of the {level.says}; {level.target:.2%} are promised."
                    f" {'Act at once' if urgency is Urgency.PAGE else 'Act within days'}: {RUNBOOK.format(level.name)}"
                ),
                alarm_rule=" OR ".join(rules),
                alarm_actions=actions,
                ok_actions=actions,
                actions_suppressor=(
                    {"alarm": silenced_by, "wait_period": _SETTLES_S, "extension_period": _SETTLES_S}
                    if silenced_by
                    else None
                ),
                tags=self.scope.tags("service-levels", Model=model),
                opts=self.child(depends_on=[*members[urgency], *([louder] if louder else [])]),
            )
            made[urgency] = alarm
        return made

    def _window(
        self, model: str, level: ServiceLevel, indicator: Indicator, burn: Burn, minutes: int, fewest: int
    ) -> tuple[str, pulumi.Resource]:
        """An alarm on the share of bad events in one window; without events, or with too few bad ones, it is OK."""
        alarm = self.scope.name(model, level.name, f"burn{burn.rate:g}", window_name(minutes), limit=255)
        queries: list[dict[str, Any]] = [
            {
                "id": id_,
                "return_data": False,
                "metric": {
                    "namespace": each.namespace,
                    "metric_name": each.metric,
                    "dimensions": dict(each.dimensions),
                    "stat": each.statistic,
                    "period": minutes * 60,
                },
            }
            for each, id_ in indicator.counted.items()
        ]
        queries.append(
            {
                "id": "share",
                "expression": f"IF({indicator.bad} >= {fewest}, {indicator.bad} / {indicator.all}, 0)",
                "label": "share of bad events",
                "return_data": True,
            }
        )
        made = aws.cloudwatch.MetricAlarm(
            f"{self._name}-{model}-{level.name}-burn{burn.rate:g}-{window_name(minutes)}",
            name=alarm,
            alarm_description=(
                f"{model}: {level.name}: in {window_name(minutes)}, its error budget of {level.budget:.2%} burns more"
                f" than {burn.rate:g} times too fast"
            ),
            metric_queries=queries,
            comparison_operator="GreaterThanThreshold",
            threshold=round(burn.rate * level.budget, 6),
            evaluation_periods=1,
            treat_missing_data="notBreaching",
            tags=self.scope.tags("service-levels", Model=model),
            opts=self.child(),
        )
        return alarm, made


def indicator_of(level: ServiceLevel, watched: WatchedModel, model: str, namespace: str) -> Indicator | None:
    """Where CloudWatch counts the events of a level; None where it does not see them."""

    def daily(metric: str, bad: str) -> Indicator:
        """The monitor's results; ``bad`` is the range of those that are."""
        of = (namespace, metric, (("Model", model),))
        return Indicator((Counted(*of, "SampleCount"),), (Counted(*of, f"TC({bad})"),))

    match level.name:
        case "availability" | "latency" if watched.endpoint_name:
            of = [(("EndpointName", watched.endpoint_name), ("VariantName", variant)) for variant in watched.variants]
            if level.limit is None:
                events, failed = ("Invocations", "Sum"), ("Invocation5XXErrors", "Sum")
            else:  # SageMaker reports microseconds
                events, failed = ("ModelLatency", "SampleCount"), ("ModelLatency", f"TC({level.limit * 1000:g}:)")
            return Indicator(
                tuple(Counted("AWS/SageMaker", events[0], each, events[1]) for each in of),
                tuple(Counted("AWS/SageMaker", failed[0], each, failed[1]) for each in of),
            )
        case "training" if watched.pipeline:
            ended, failed_ = (
                Counted(_PIPELINES, f"Execution{how}", (("PipelineName", watched.pipeline),), "Sum")
                for how in ("Succeeded", "Failed")
            )
            return Indicator((ended, failed_), (failed_,))
        case "training" if watched.function:
            begun, failed_ = (
                Counted("AWS/Lambda", metric, (("FunctionName", watched.function),), "Sum")
                for metric in ("Invocations", "Errors")
            )
            return Indicator((begun,), (failed_,))
        case "freshness":
            return daily("feature_age_hours", f"{level.limit:g}:")
        case "quality":
            worst = f"{level.limit:g}"
            return daily(watched.quality_metric, f":{worst}" if watched.higher_is_better else f"{worst}:")
        case "value":
            return daily("return_on_cost", f":{level.limit:g}")
    return None


def _as_query(id_: str, counted: Counted) -> dict[str, Any]:
    """A query of days, as CloudWatch's GetMetricData takes it."""
    dimensions = [{"Name": name, "Value": value} for name, value in counted.dimensions]
    metric = {"Namespace": counted.namespace, "MetricName": counted.metric, "Dimensions": dimensions}
    return {"Id": id_, "MetricStat": {"Metric": metric, "Period": 86_400, "Stat": counted.statistic}}
