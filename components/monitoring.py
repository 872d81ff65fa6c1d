"""Alarms on what the objectives promise, and the topic that tells people."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.base import Component, Scope
from components.serving import CHAMPION


@dataclass(frozen=True)
class ModelAlarms:
    """Thresholds of one model.

    Args:
        latency_ms: Alarm when the endpoint's 95th percentile is above it.
        quality_metric, quality_worst: For example ``mae`` and 60. Errors alarm above, scores below.
        drift_share: Alarm when a larger share of the columns has drifted, 0 to 1.
    """

    endpoint_name: pulumi.Input[str]
    latency_ms: float
    quality_metric: str
    quality_worst: float
    higher_is_better: bool
    drift_share: float


@dataclass(frozen=True)
class MonitoringArgs:
    """Args:
    addresses: Who is told of an alarm, e-mail addresses.
    key_arn: Encrypts the messages.
    """

    models: dict[str, ModelAlarms]
    addresses: dict[str, str]
    key_arn: pulumi.Input[str]


class Monitoring(Component):
    """Alarms per model: latency, errors, quality, drift.

    Attributes:
        alarm_names: By model, then by subject.
        topic_arn: SNS topic of all alarms.
    """

    def __init__(self, name: str, scope: Scope, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        tags = scope.tags("monitoring")
        topic = aws.sns.Topic(name, name=scope.name("alarms"), kms_master_key_id=args.key_arn, tags=tags, opts=self.child())
        for who, address in args.addresses.items():
            aws.sns.TopicSubscription(f"{name}-{who}", topic=topic.arn, protocol="email", endpoint=address, opts=self.child())
        namespace = f"Groundplan/{scope.stack}"
        self.alarm_names: dict[str, dict[str, pulumi.Output[str]]] = {}
        for model, wanted in args.models.items():
            variant = {"EndpointName": wanted.endpoint_name, "VariantName": CHAMPION}
            subjects = {
                # SageMaker reports microseconds.
                "latency": ("AWS/SageMaker", "ModelLatency", variant, "p95", wanted.latency_ms * 1000, True, 3),
                "errors": ("AWS/SageMaker", "Invocation5XXErrors", variant, "Sum", 0, True, 1),
                "quality": (namespace, wanted.quality_metric, {"Model": model}, "Average", wanted.quality_worst, not wanted.higher_is_better, 1),
                "drift": (namespace, "drift_share", {"Model": model}, "Maximum", wanted.drift_share, True, 1),
            }
            self.alarm_names[model] = {}
            for subject, (space, metric, dimensions, statistic, threshold, above, periods) in subjects.items():
                extended = statistic.startswith("p")
                alarm = aws.cloudwatch.MetricAlarm(
                    f"{name}-{model}-{subject}",
                    name=scope.name(model, subject, limit=255),
                    alarm_description=f"{model}: {subject} ({metric}) {'above' if above else 'below'} {threshold:g}, as the objectives ask",
                    namespace=space,
                    metric_name=metric,
                    dimensions=dimensions,
                    statistic=None if extended else statistic,
                    extended_statistic=statistic if extended else None,
                    comparison_operator="GreaterThanThreshold" if above else "LessThanThreshold",
                    threshold=threshold,
                    period=60 if space.startswith("AWS/") else 300,
                    evaluation_periods=periods,
                    treat_missing_data="notBreaching" if space.startswith("AWS/") else "missing",
                    alarm_actions=[topic.arn],
                    ok_actions=[topic.arn],
                    tags={**tags, "Model": model},
                    opts=self.child(),
                )
                self.alarm_names[model][subject] = alarm.name
        self.topic_arn = topic.arn
        self.register_outputs({"topic_arn": topic.arn, "alarm_names": self.alarm_names})
