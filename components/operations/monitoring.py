"""Alarms on what the objectives promise, the topics that notify people, and dashboards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope, Statement, policy
from components.models.endpoint import CHAMPION
from components.operations.dashboards import PLATFORM, Shown, dashboards
from spec.service_levels import GUARDS


@dataclass(frozen=True, kw_only=True)
class ModelAlarms(Args):
    """Thresholds of one model.

    Args:
        endpoint_name: SageMaker endpoint; empty for a model that is served elsewhere, whose latency and errors
            CloudWatch does not see.
        latency_ms: Alarm when the endpoint's 95th percentile is above it.
        quality_metric, quality_worst: For example ``mae`` and 60. Errors alarm above, scores below.
        drift_share: Alarm when a larger share of the columns has drifted, 0 to 1.
        most_bias: Alarm when a group's share of favourable predictions differs by more from all others', 0 to 1; None
            for no alarm.
    """

    endpoint_name: str
    latency_ms: Annotated[float, Between(0, unit="ms")]
    quality_metric: str
    quality_worst: float
    higher_is_better: bool
    drift_share: Annotated[float, Between(0, 1)]
    most_bias: Annotated[float, Between(0, 1)] | None = None


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs(Args):
    """Args:
    addresses: Who is notified of an alarm, e-mail addresses by stakeholder. Operations gets every alarm, product
        those on quality, drift, bias and value, finance those on cost and value, legal those on quality, drift and
        bias, where decisions about people can go wrong, and those on undeclared personal data.
    key_arn: Encrypts the messages.
    events_per_second: What the stream is designed for; consumers more than ten minutes of it behind raise an
        alarm. 0 for no stream.
    kafka_cluster: Name of the MSK cluster.
    topics: Consumer groups by topic; each has an alarm on its lag.
    """

    models: dict[str, ModelAlarms]
    addresses: dict[str, str]
    key_arn: pulumi.Input[str]
    events_per_second: Annotated[float, Between(0)] = 0
    kafka_cluster: str = ""
    topics: dict[str, tuple[str, ...]] = field(default_factory=dict)


# The subjects that each stakeholder is notified of; operations of all but those that only guard a deployment.
SUBJECTS_OF: dict[str, tuple[str, ...]] = {
    "product": ("quality", "drift", "bias", "value"),
    "legal": ("quality", "drift", "bias", "quarantined"),
    "finance": ("value",),
}
RUNBOOK = "docs/runbooks/{}.md"  # what to do, by subject
LAG_MINUTES = 10
BIAS = "bias_DPPL"  # the monitor's


class Monitoring(Component):
    """Alarms per model: quality, drift, and an endpoint's latency and errors; of the stream: lag, rejected events,
    events in quarantine; and dashboards.

    Attributes:
        alarm_names: By model, then by subject.
        stream_alarms: By subject.
        topic_arns: SNS topic by stakeholder.
        dashboards: Their bodies by name.
    """

    def __init__(
        self, name: str, scope: Scope, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        tags = scope.tags("monitoring")
        self._tags = tags
        self.topic_arns: dict[str, pulumi.Output[str]] = {}
        for who, address in args.addresses.items():
            topic = aws.sns.Topic(
                f"{name}-{who}",
                name=scope.name("alarms", who, limit=256),
                kms_master_key_id=args.key_arn,
                tags=tags,
                opts=self.child(),
            )
            aws.sns.TopicPolicy(
                f"{name}-{who}", arn=topic.arn, policy=policy(*self._publishers(topic.arn)), opts=self.child()
            )
            aws.sns.TopicSubscription(
                f"{name}-{who}", topic=topic.arn, protocol="email", endpoint=address, opts=self.child()
            )
            self.topic_arns[who] = topic.arn
        namespace = f"Groundplan/{scope.stack}"
        self.alarm_names: dict[str, dict[str, pulumi.Output[str]]] = {}
        for model, wanted in args.models.items():
            variant: dict[str, pulumi.Input[str]] = {"EndpointName": wanted.endpoint_name, "VariantName": CHAMPION}
            subjects: dict[str, tuple[str, str, dict[str, pulumi.Input[str]], str, float, bool, int]] = {
                # SageMaker reports microseconds.
                "latency": ("AWS/SageMaker", "ModelLatency", variant, "p95", wanted.latency_ms * 1000, True, 3),
                "errors": ("AWS/SageMaker", "Invocation5XXErrors", variant, "Sum", 0, True, 1),
                "quality": (
                    namespace,
                    wanted.quality_metric,
                    {"Model": model},
                    "Average",
                    wanted.quality_worst,
                    not wanted.higher_is_better,
                    1,
                ),
                "drift": (namespace, "drift_share", {"Model": model}, "Maximum", wanted.drift_share, True, 1),
            }
            if not wanted.endpoint_name:
                subjects = {subject: subjects[subject] for subject in ("quality", "drift")}
            if wanted.most_bias is not None:
                subjects["bias"] = (namespace, BIAS, {"Model": model}, "Maximum", wanted.most_bias, True, 1)
            self.alarm_names[model] = {}
            for subject, (space, metric, dimensions, statistic, threshold, above, periods) in subjects.items():
                self.alarm_names[model][subject] = self._alarm(
                    f"{name}-{model}-{subject}",
                    scope.name(model, subject, limit=255),
                    f"{model}: {metric} is {'above' if above else 'below'} the {threshold:g} that the objectives"
                    f" {'allow' if above else 'ask for'}",
                    subject,
                    Metric(space, metric, dimensions, statistic),
                    threshold,
                    above=above,
                    periods=periods,
                    model=model,
                )
        self.stream_alarms: dict[str, pulumi.Output[str]] = {}
        if args.events_per_second:
            lag = args.events_per_second * 60 * LAG_MINUTES
            behind_on = {
                f"lag-{topic}{f'-{group}' if place else ''}": {
                    "Cluster Name": args.kafka_cluster,
                    "Consumer Group": group,
                    "Topic": topic,
                }
                for topic, groups in args.topics.items()
                for place, group in enumerate(groups)
            }
            for subject, behind, limit, periods, what in (
                *(
                    (
                        subject,
                        Metric("AWS/Kafka", "SumOffsetLag", dict(dimensions), "Maximum"),
                        lag,
                        3,
                        f"consumers are more than {LAG_MINUTES} minutes of events behind",
                    )
                    for subject, dimensions in behind_on.items()
                ),
                (
                    "refused",
                    Metric(namespace, "dead_letter_events", {}, "Sum"),
                    args.events_per_second * 300 * 0.01,
                    3,
                    "more than 1 % of the events violate their contract",
                ),
                # One is enough: undeclared personal data has no purpose and no retention (GDPR Art. 5).
                (
                    "quarantined",
                    Metric(namespace, "quarantined_events", {}, "Sum"),
                    0,
                    1,
                    "events contain undeclared personal data: see `groundplan quarantine list`",
                ),
            ):
                self.stream_alarms[subject] = self._alarm(
                    f"{name}-stream-{subject}",
                    scope.name("stream", subject, limit=255),
                    f"stream: {what}",
                    subject,
                    behind,
                    limit,
                    above=True,
                    periods=periods,
                )
        shown = {
            model: Shown(wanted.endpoint_name, wanted.quality_metric, wanted.latency_ms)
            for model, wanted in args.models.items()
        }
        self.dashboards = dashboards(scope, shown, args.kafka_cluster, args.topics)
        for kind, body in self.dashboards.items():
            aws.cloudwatch.Dashboard(
                name if kind == PLATFORM else f"{name}-{kind}",
                dashboard_name=scope.name(kind, limit=255),
                dashboard_body=json.dumps(body),
                opts=self.child(),
            )
        self.register_outputs({"topic_arns": self.topic_arns, "alarm_names": self.alarm_names})

    def _publishers(self, topic_arn: pulumi.Output[str]) -> tuple[Statement, ...]:
        """Alarms, budgets, Managed Prometheus and cost anomalies of this account may publish; never without TLS."""
        services = [f"{service}.amazonaws.com" for service in ("aps", "budgets", "cloudwatch", "costalerts")]
        own = {"StringEquals": {"aws:SourceAccount": self.scope.account_id}}
        return (
            Statement(("sns:Publish",), (topic_arn,), {"Service": services}, own, sid="ServicesOfThisAccount"),
            Statement(
                ("sns:Publish",),
                (topic_arn,),
                {"AWS": "*"},
                {"Bool": {"aws:SecureTransport": "false"}},
                effect="Deny",
                sid="OnlyTls",
            ),
        )

    def _alarm(
        self,
        name: str,
        physical: str,
        description: str,
        subject: str,
        metric: Metric,
        threshold: float,
        *,
        above: bool,
        periods: int,
        model: str = "",
    ) -> pulumi.Output[str]:
        actions = [] if subject in GUARDS else told(self.topic_arns, subject)
        runbook = subject.partition("-")[0]  # lag-TOPIC
        extended, of_aws = metric.statistic.startswith("p"), metric.namespace.startswith("AWS/")
        alarm = aws.cloudwatch.MetricAlarm(
            name,
            name=physical,
            alarm_description=description if subject in GUARDS else f"{description}. {RUNBOOK.format(runbook)}",
            namespace=metric.namespace,
            metric_name=metric.name,
            dimensions=metric.dimensions,
            statistic=None if extended else metric.statistic,
            extended_statistic=metric.statistic if extended else None,
            comparison_operator="GreaterThanThreshold" if above else "LessThanThreshold",
            threshold=threshold,
            period=60 if of_aws else 300,
            evaluation_periods=periods,
            # The monitor publishes once a day: until then its last result holds, and rings nobody anew.
            treat_missing_data="notBreaching" if of_aws else "ignore",
            alarm_actions=actions,  # that it is over is no mail: its first result would be one, too
            tags={**self._tags, "Model": model} if model else self._tags,
            opts=self.child(),
        )
        alarm_name: pulumi.Output[str] = alarm.name
        return alarm_name


def told(topics: Mapping[str, pulumi.Input[str]], subject: str) -> list[pulumi.Input[str]]:
    """Topics of those who are notified of a subject."""
    return [arn for who, arn in topics.items() if subject in SUBJECTS_OF.get(who, (subject,))]


@dataclass(frozen=True)
class Metric:
    """A CloudWatch metric; ``statistic`` is one of CloudWatch's, or a percentile such as p95."""

    namespace: str
    name: str
    dimensions: dict[str, pulumi.Input[str]]
    statistic: str
