"""The cluster's part of a nightly switch-off: workloads are scaled to zero before the nodes stop, and back once the
nodes have returned.

Karpenter runs on the system nodes. Without them, nothing would remove the nodes that it started: so their pods stop
first, Karpenter removes the empty nodes within minutes, and only then `components.operations.schedules` scales the
system nodes to zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.batch.v1 import CronJob
from pulumi_kubernetes.core.v1 import ServiceAccount

from components.cluster.cluster import KUBERNETES_VERSION, SYSTEM_TAINT, Cluster
from components.cluster.workloads import RESTRICTED_POD, SCRATCH, container, grant, labels, resources
from components.foundation.args import Args
from components.foundation.base import Component, Scope
from components.foundation.clock import Hours

KUBECTL_IMAGE = f"registry.k8s.io/kubectl:v{KUBERNETES_VERSION}.0"
MINUTES_BEFORE, MINUTES_AFTER = 30, 30  # the schedules' own offsets lie within these


@dataclass(frozen=True, kw_only=True)
class ClusterSleepArgs(Args):
    """Args:
    replicas: Number of replicas of each deployment during the day, by namespace.
    """

    cluster: Cluster
    replicas: dict[str, dict[str, int]]
    hours: Hours


class ClusterSleep(Component):
    """Two CronJobs per namespace, which may only scale its deployments."""

    def __init__(
        self, name: str, scope: Scope, args: ClusterSleepArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        child = self.child(provider=args.cluster.kubernetes)
        evening = (args.hours.end * 60 - MINUTES_BEFORE) % 1440
        morning = args.hours.start * 60 + MINUTES_AFTER
        for namespace, deployments in args.replicas.items():
            named = {"name": "sleeper", "namespace": namespace, "labels": labels(scope, "sleeper")}
            ServiceAccount(f"{name}-{namespace}", metadata=named, opts=child)
            rule = {
                "apiGroups": ["apps"],
                "resources": ["deployments", "deployments/scale"],
                "resourceNames": list(deployments),
                "verbs": ["get", "patch"],
            }
            account = {"kind": "ServiceAccount", "name": "sleeper", "namespace": namespace}
            grant(f"{name}-{namespace}", named, [rule], account, child)
            for purpose, minute, counts in (
                ("sleep", evening, dict.fromkeys(deployments, 0)),
                ("wake", morning, deployments),
            ):
                self._job(
                    f"{name}-{namespace}-{purpose}",
                    namespace,
                    purpose,
                    f"{minute % 60} {minute // 60} * * 1-5",
                    args.hours.timezone,
                    counts,
                    child,
                )
        self.register_outputs({"namespaces": list(args.replicas)})

    def _job(
        self,
        name: str,
        namespace: str,
        purpose: str,
        schedule: str,
        timezone: str,
        counts: dict[str, int],
        child: pulumi.ResourceOptions,
    ) -> None:
        scale = [
            container(
                f"scale-{deployment}",
                KUBECTL_IMAGE,
                ["kubectl", "scale", f"deployment/{deployment}", f"--replicas={count}", f"--namespace={namespace}"],
                resources("50m", "64Mi"),
            )
            for deployment, count in counts.items()
        ]
        CronJob(
            name,
            metadata={"name": purpose, "namespace": namespace, "labels": labels(self.scope, purpose)},
            spec={
                "schedule": schedule,
                "timeZone": timezone,
                "concurrencyPolicy": "Replace",
                "jobTemplate": {
                    "spec": {
                        "backoffLimit": 3,
                        "ttlSecondsAfterFinished": 86_400,
                        "template": {
                            "metadata": {"labels": labels(self.scope, purpose)},
                            "spec": {
                                "serviceAccountName": "sleeper",
                                "restartPolicy": "Never",
                                "securityContext": RESTRICTED_POD,
                                "containers": scale,
                                "volumes": [SCRATCH],
                                # On a system node, otherwise it would start the very node that must stop.
                                "nodeSelector": {"groundplan/pool": "system"},
                                "tolerations": [{"key": SYSTEM_TAINT, "operator": "Exists"}],
                            },
                        },
                    }
                },
            },
            opts=child,
        )
