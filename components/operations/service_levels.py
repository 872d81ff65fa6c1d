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
from components.operations.dashboards import PIPELINES
from components.operations.monitoring import RUNBOOK, told
from spec.service_levels import PERIOD_DAYS, Burn, ServiceLevel, Urgency, percent, window_name

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
        quality_alarm: Rings with each bad result; while it does, the level's own alarm tells nobody.
    """

    levels: tuple[ServiceLevel, ...]
    endpoint_name: str = ""
    variants: tuple[str, ...] = (CHAMPION, CHALLENGER)
    pipeline: str = ""
    function: str = ""
    quality_alarm: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class ServiceLevelsArgs(Args):
    """Args:
    topic_arns: SNS topic by stakeholder.
    """

    models: dict[str, WatchedModel]
    topic_arns: Mapping[str, pulumi.Input[str]]


class ServiceLevels(Component):
    """Alarms on error budgets. Only those that need both windows notify anybody.

    A ticket does not ring while the same level pages; and while a model's availability pages, none of its other levels
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
            loudest: aws.cloudwatch.CompositeAlarm | None = None
            for level in watched.levels:
                indicator = indicator_of(level, watched, model, f"Groundplan/{scope.stack}")
                if indicator is None:
                    continue
                silencer = watched.quality_alarm if level.name == "quality" else loudest and loudest.alarm_name
                made = self._watch(model, level, indicator, silencer, loudest)
                if level.name == "availability":
                    loudest = made.get(Urgency.PAGE)
                self.exported.setdefault(model, {})[level.name] = {
                    "says": level.says,
                    "target": level.target,
                    "days": PERIOD_DAYS,
                    "metrics": [_as_query(id_, each) for each, id_ in indicator.counted.items()],
                    "events": [indicator.counted[each] for each in indicator.events],
                    "failed": [indicator.counted[each] for each in indicator.failed],
                    "alarms": {
                        str(urgency): scope.name(model, level.name, str(urgency), limit=255) for urgency in made
                    },
                }
        self.register_outputs({"models": list(args.models)})

    def _watch(
        self,
        model: str,
        level: ServiceLevel,
        indicator: Indicator,
        silencer: pulumi.Input[str] | None,
        loudest: pulumi.Resource | None,
    ) -> dict[Urgency, aws.cloudwatch.CompositeAlarm]:
        """The alarms of one level; returns those that notify, by urgency.

        Args:
            silencer: Name of the alarm during which they tell nobody; CloudWatch wants it to exist.
            loudest: What it is, if it is made here.
        """
        rules: dict[Urgency, list[str]] = {}
        members: dict[Urgency, list[pulumi.Resource]] = {}
        for burn in level.burns:
            windows = {burn.short_minutes: 1, burn.long_minutes: burn.fewest}
            both = [self._window(model, level, indicator, burn, *window) for window in windows.items()]
            rule = " AND ".join(f'ALARM("{alarm}")' for alarm, _ in both)
            rules.setdefault(burn.urgency, []).append(f"({rule})")
            members.setdefault(burn.urgency, []).extend(resource for _, resource in both)
        made: dict[Urgency, aws.cloudwatch.CompositeAlarm] = {}
        for urgency, either in rules.items():
            rule, page = " OR ".join(either), made.get(Urgency.PAGE)
            if page is not None:
                rule = f'({rule}) AND NOT ALARM("{self.scope.name(model, level.name, Urgency.PAGE, limit=255)}")'
            actions = told(self._topics, level.name)
            made[urgency] = aws.cloudwatch.CompositeAlarm(
                f"{self._name}-{model}-{level.name}-{urgency}",
                alarm_name=self.scope.name(model, level.name, urgency, limit=255),
                alarm_description=(
                    f"{model}: {level.name}: too few of the {level.says}; {percent(level.target)} are promised."
                    f" {'Act at once' if urgency is Urgency.PAGE else 'Act within days'}: {RUNBOOK.format(level.name)}"
                ),
                alarm_rule=rule,
                alarm_actions=actions,  # one that becomes more urgent ends, too; that would be a mail that all is well
                actions_suppressor=(
                    {"alarm": silencer, "wait_period": _SETTLES_S, "extension_period": _SETTLES_S} if silencer else None
                ),
                tags=self.scope.tags("service-levels", Model=model),
                opts=self.child(
                    depends_on=[*members[urgency], *(each for each in (page, loudest) if each is not None)]
                ),
            )
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
                f"{model}: {level.name}: in {window_name(minutes)}, its error budget of {percent(level.budget)} burns"
                f" more than {burn.rate:g} times too fast"
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
    match level.name:
        case "availability" | "latency" if watched.endpoint_name:
            of = [(("EndpointName", watched.endpoint_name), ("VariantName", variant)) for variant in watched.variants]
            if level.limit is None:
                events, failed = ("Invocations", "Sum"), ("Invocation5XXErrors", "Sum")
            else:  # SageMaker reports microseconds
                events, failed = ("ModelLatency", "SampleCount"), ("ModelLatency", f"TC({round(level.limit * 1000)}:)")
            return Indicator(
                tuple(Counted("AWS/SageMaker", events[0], each, events[1]) for each in of),
                tuple(Counted("AWS/SageMaker", failed[0], each, failed[1]) for each in of),
            )
        case "training" if watched.pipeline:
            ended, failed_ = (
                Counted(PIPELINES, f"Execution{how}", (("PipelineName", watched.pipeline),), "Sum")
                for how in ("Succeeded", "Failed")
            )
            return Indicator((ended, failed_), (failed_,))
        case "training" if watched.function:
            begun, failed_ = (
                Counted("AWS/Lambda", metric, (("FunctionName", watched.function),), "Sum")
                for metric in ("Invocations", "Errors")
            )
            return Indicator((begun,), (failed_,))
        case "freshness" | "quality" | "value":  # the monitor's, once a day: 1 where it was missed, else 0
            missed = (namespace, f"{level.name}_missed", (("Model", model),))
            return Indicator((Counted(*missed, "SampleCount"),), (Counted(*missed, "Sum"),))
    return None


def _as_query(id_: str, counted: Counted) -> dict[str, Any]:
    """A query of days, as CloudWatch's GetMetricData takes it."""
    dimensions = [{"Name": name, "Value": value} for name, value in counted.dimensions]
    metric = {"Namespace": counted.namespace, "MetricName": counted.metric, "Dimensions": dimensions}
    return {"Id": id_, "MetricStat": {"Metric": metric, "Period": 86_400, "Stat": counted.statistic}}
