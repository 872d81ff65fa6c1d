"""The MLflow server on the cluster: private, its database on RDS, its artifacts in S3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.autoscaling.v2 import HorizontalPodAutoscaler
from pulumi_kubernetes.core.v1 import Service
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from components.cluster.cluster import Cluster
from components.cluster.workloads import RESTRICTED_POD, SCRATCH, container, environment, labels, resources, spread
from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope

NAMESPACE, PORT, SCALE_AT_PERCENT = "tracking", 5000, 80


@dataclass(frozen=True, kw_only=True)
class MlflowServerArgs(Args):
    """Args:
    image_uri: The platform's image.
    database_endpoint: ``host:port`` of PostgreSQL.
    database_secret_arn: Secret with user and password, which RDS rotates.
    artifact_bucket: S3 bucket.
    replicas: Minimum number; scales up to ``max_replicas`` at 80 % CPU.
    """

    cluster: Cluster
    image_uri: pulumi.Input[str]
    database_endpoint: pulumi.Input[str]
    database_secret_arn: pulumi.Input[str]
    artifact_bucket: pulumi.Input[str]
    vpc_cidr: str
    replicas: Annotated[int, Between(1)]
    max_replicas: Annotated[int, Between(1)] = 20


class MlflowServer(Component):
    """Deployment, service, autoscaler and disruption budget.

    Attributes:
        tracking_uri: Address inside the cluster.
        vpc_tracking_uri: Address inside the VPC; empty where objects are only written to files.
    """

    def __init__(
        self, name: str, scope: Scope, args: MlflowServerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        named = {"name": "mlflow", "namespace": NAMESPACE, "labels": labels(scope, "mlflow")}
        selector = {"app.kubernetes.io/name": "mlflow"}
        child = self.child(provider=args.cluster.kubernetes)
        backend = pulumi.Output.concat(
            "postgresql+rdssecret://", args.database_endpoint, "/mlflow?secret_arn=", args.database_secret_arn
        )
        hosts = (
            f"mlflow.{NAMESPACE}.svc",
            f"mlflow.{NAMESPACE}.svc.cluster.local",
            "localhost",
            f"*.elb.{scope.region}.amazonaws.com",
        )
        command = [
            "mlflow",
            "server",
            "--host",
            "0.0.0.0",  # noqa: S104 (the pod's own network; policies close it)
            "--port",
            str(PORT),
            "--workers",
            "2",
            "--allowed-hosts",
            ",".join(f"{host}:{PORT}" for host in hosts),
        ]
        probe = {
            "httpGet": {
                "path": "/health",
                "port": PORT,
                "httpHeaders": [{"name": "Host", "value": f"localhost:{PORT}"}],
            },
            "periodSeconds": 10,
        }
        server = container(
            "mlflow",
            args.image_uri,
            command,
            resources("500m", "1Gi", "1", "2Gi"),
            env=environment(
                MLFLOW_BACKEND_STORE_URI=backend,
                MLFLOW_ARTIFACTS_DESTINATION=pulumi.Output.concat("s3://", args.artifact_bucket),
                MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
                AWS_DEFAULT_REGION=scope.region,
                HOME="/tmp",  # noqa: S108 (in the pod)
            ),
            ports=[{"containerPort": PORT, "name": "http"}],
            startup_probe={**probe, "failureThreshold": 30},
            readiness_probe=probe,
            liveness_probe={**probe, "failureThreshold": 6},
        )
        Deployment(
            name,
            metadata=named,
            spec={
                "replicas": args.replicas,
                "selector": {"matchLabels": selector},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {
                    "metadata": {"labels": labels(scope, "mlflow")},
                    "spec": {
                        "serviceAccountName": "mlflow",
                        "automountServiceAccountToken": False,
                        "securityContext": RESTRICTED_POD,
                        "containers": [server],
                        "volumes": [SCRATCH],
                        "topologySpreadConstraints": spread("mlflow"),
                        "nodeSelector": {"groundplan/pool": "cpu-spot"},
                    },
                },
            },
            # From here on the autoscaler sets the number.
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(ignore_changes=["spec.replicas"])),
        )
        # SageMaker jobs use a load balancer that is reachable only from the VPC.
        internal = {
            "service.beta.kubernetes.io/aws-load-balancer-internal": "true",
            "service.beta.kubernetes.io/aws-load-balancer-type": "nlb",
        }
        service = Service(
            name,
            metadata={**named, "annotations": internal},
            spec={
                "type": "LoadBalancer",
                "loadBalancerSourceRanges": [args.vpc_cidr],
                "selector": selector,
                "ports": [{"port": PORT, "targetPort": PORT, "name": "http"}],
            },
            opts=child,
        )
        HorizontalPodAutoscaler(
            name,
            metadata=named,
            spec={
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mlflow"},
                "minReplicas": args.replicas,
                "maxReplicas": args.max_replicas,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "cpu",
                            "target": {"type": "Utilization", "averageUtilization": SCALE_AT_PERCENT},
                        },
                    }
                ],
            },
            opts=child,
        )
        PodDisruptionBudget(
            name, metadata=named, spec={"maxUnavailable": 1, "selector": {"matchLabels": selector}}, opts=child
        )
        self.tracking_uri = f"http://mlflow.{NAMESPACE}.svc:{PORT}"
        self.vpc_tracking_uri = service.status.apply(_address)
        self.register_outputs({"tracking_uri": self.tracking_uri})


def _address(status: Any) -> str:
    """Address of the load balancer; empty until it has one."""
    entries = status.load_balancer.ingress if status and status.load_balancer else None
    return f"http://{entries[0].hostname}:{PORT}" if entries else ""
