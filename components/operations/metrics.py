"""Metrics of the cluster: Amazon Managed Prometheus with recording and alert rules, the collector, Grafana's
dashboards.

https://docs.aws.amazon.com/prometheus/latest/userguide/
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import ConfigMap

from components.cluster.charts import install
from components.cluster.cluster import SYSTEM_TAINT, Cluster
from components.cluster.workloads import labels
from components.foundation.args import Args, LogRetention
from components.foundation.base import Component, Scope
from components.operations.grafana import CLOUDWATCH, dashboards
from components.operations.rules import alerts, recorded
from spec.service_levels import ServiceLevel, Urgency

NAMESPACE = "monitoring"
STACK_CHART_VERSION = "77.6.0"


@dataclass(frozen=True, kw_only=True)
class MetricsArgs(Args):
    """Args:
    topic_arn: SNS topic that receives alerts.
    key_arn: Encrypts the workspace.
    levels: Service levels of the models on the cluster.
    boards: Bodies of CloudWatch's dashboards by name, which Grafana shows, too.
    """

    cluster: Cluster
    topic_arn: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    log_retention_days: LogRetention
    levels: dict[str, tuple[ServiceLevel, ...]]
    boards: dict[str, dict[str, Any]] = field(default_factory=dict)


class Metrics(Component):
    """Workspace, rules, alert manager, collector and dashboards.

    Attributes:
        workspace_id: ID of the Managed Prometheus workspace.
        prometheus: Its address.
    """

    def __init__(self, name: str, scope: Scope, args: MetricsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        tags = scope.tags("metrics")
        # AWS requires the name to begin like this, and the ARN to end in a star.
        logs = aws.cloudwatch.LogGroup(
            name,
            name=f"/aws/vendedlogs/{scope.project}/{scope.stack}/metrics",
            retention_in_days=args.log_retention_days,
            kms_key_id=args.key_arn,
            tags=tags,
            opts=self.child(),
        )
        workspace = aws.amp.Workspace(
            name,
            alias=scope.name(limit=100),
            kms_key_arn=args.key_arn,
            logging_configuration={"log_group_arn": logs.arn.apply(lambda arn: f"{arn}:*")},
            tags=tags,
            opts=self.child(),
        )
        aws.amp.RuleGroupNamespace(
            f"{name}-rules",
            name="platform",
            workspace_id=workspace.id,
            data=json.dumps(alerts(args.levels)),
            tags=tags,
            opts=self.child(),
        )
        aws.amp.AlertManagerDefinition(
            name,
            workspace_id=workspace.id,
            definition=pulumi.Output.from_input(args.topic_arn).apply(
                lambda arn: json.dumps({"alertmanager_config": json.dumps(_route(scope.region, arn))})
            ),
            opts=self.child(),
        )
        child = self.child(provider=args.cluster.kubernetes, depends_on=args.cluster.ready)
        remote = pulumi.Output.concat(workspace.prometheus_endpoint, "api/v1/remote_write")
        stack = install(
            self,
            args.cluster,
            f"{name}-stack",
            name="monitoring",
            namespace=NAMESPACE,
            chart="kube-prometheus-stack",
            version=STACK_CHART_VERSION,
            repository_opts={"repo": "https://prometheus-community.github.io/helm-charts"},
            values={
                "alertmanager": {"enabled": False},  # the managed one sends notifications
                "grafana": {
                    "serviceAccount": {"name": "grafana"},
                    "sidecar": {"dashboards": {"enabled": True, "label": "grafana_dashboard"}},
                    "additionalDataSources": [
                        {
                            "name": "CloudWatch",
                            "uid": CLOUDWATCH,
                            "type": "cloudwatch",
                            "jsonData": {"authType": "default", "defaultRegion": scope.region},
                        }
                    ],
                },
                "prometheus": {
                    "serviceAccount": {"name": "prometheus"},
                    "prometheusSpec": {
                        "retention": "6h",  # Managed Prometheus keeps the rest
                        "remoteWrite": [
                            {
                                "url": remote,
                                "sigv4": {"region": scope.region},
                                "queueConfig": {"maxSamplesPerSend": 1000},
                            }
                        ],
                        "ruleSelectorNilUsesHelmValues": False,
                        "podMonitorSelectorNilUsesHelmValues": False,
                        "tolerations": [{"key": SYSTEM_TAINT, "operator": "Exists"}],
                    },
                },
            },
            after=args.cluster.ready,
        )
        after = self.child(provider=args.cluster.kubernetes, depends_on=stack)
        CustomResource(
            f"{name}-rules",
            api_version="monitoring.coreos.com/v1",
            kind="PrometheusRule",
            metadata={"name": "platform", "namespace": NAMESPACE, "labels": labels(scope, "rules")},
            spec=recorded(),
            opts=after,
        )
        CustomResource(
            f"{name}-models",
            api_version="monitoring.coreos.com/v1",
            kind="PodMonitor",
            metadata={"name": "models", "namespace": NAMESPACE, "labels": labels(scope, "models")},
            spec={
                "namespaceSelector": {"matchNames": ["models"]},
                "selector": {"matchLabels": {"component": "predictor"}},
                "podTargetLabels": ["serving.knative.dev/revision", "serving.knative.dev/service"],
                # Knative's proxy, and the model's own server behind it, whose port Knative names.
                "podMetricsEndpoints": [
                    {"port": port, "path": "/metrics", "interval": "60s"} for port in ("http-usermetric", "user-port")
                ],
            },
            opts=after,
        )
        ConfigMap(
            f"{name}-dashboard",
            metadata={
                "name": "platform-dashboard",
                "namespace": NAMESPACE,
                "labels": {**labels(scope, "dashboard"), "grafana_dashboard": "1"},
            },
            data=dashboards(scope.stack, args.levels, args.boards),
            opts=child,
        )
        self.workspace_id, self.prometheus = workspace.id, workspace.prometheus_endpoint
        self.register_outputs({"workspace_id": workspace.id})


def _route(region: str, topic_arn: str) -> dict[str, Any]:
    """Alert manager's configuration; Managed Prometheus supports SNS as a receiver."""
    receiver = {"name": "people", "sns_configs": [{"topic_arn": topic_arn, "sigv4": {"region": region}}]}
    same_level, ticket = ["model", "service_level"], f'severity="{Urgency.TICKET}"'
    return {
        "route": {"receiver": "people", "group_by": ["alertname", "model"], "repeat_interval": "4h"},
        "receivers": [receiver],
        # As for the alarms of `service_levels`: the more urgent one speaks, and the one that explains the others.
        "inhibit_rules": [
            {"source_matchers": [f'severity="{Urgency.PAGE}"'], "target_matchers": [ticket], "equal": same_level},
            {
                "source_matchers": ['alertname="AvailabilityBudgetPage"'],
                "target_matchers": ['service_level!="availability"', 'service_level!=""'],
                "equal": ["model"],
            },
        ],
    }
