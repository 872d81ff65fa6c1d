"""What every namespace starts with: pod security, no traffic unless allowed, quotas and default limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import pulumi
import pulumi_aws as aws
from pulumi_kubernetes.core.v1 import LimitRange, Namespace, ResourceQuota, ServiceAccount
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from components.cluster.cluster import Cluster
from components.cluster.signed_images import INCLUDED
from components.cluster.workloads import labels
from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope


@dataclass(frozen=True, kw_only=True)
class NamespaceArgs(Args):
    """One namespace.

    Args:
        cpu: Most CPU of all its pods, a Kubernetes quantity; memory is four times as many GiB.
        service_accounts: Role ARN by service account; pods take it through EKS Pod Identity.
        accounts_by_chart: Whether a chart creates the service accounts.
        reachable_from: Namespaces whose pods may call this one's, in addition to its own and the monitoring.
        calls: Namespaces it may call, in addition to its own.
        port: The only port that others may call; 0 for any.
        open_to_vpc: Whether the VPC may call that port, through an internal load balancer.
        vpc_ports: Ports inside the VPC that it may call, in addition to that of AWS's endpoints: databases and brokers.
        gpus: Most GPUs.
        collector: Whether its pods scrape all others and the nodes (Prometheus): egress is open, pods are not
            restricted.
    """

    cpu: Annotated[int, Between(1, unit="vCPUs")]
    service_accounts: dict[str, pulumi.Input[str]] = field(default_factory=dict)
    accounts_by_chart: bool = False
    reachable_from: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    port: int = 0
    open_to_vpc: bool = False
    vpc_ports: tuple[int, ...] = ()
    gpus: Annotated[int, Between(0)] = 0
    collector: bool = False


@dataclass(frozen=True, kw_only=True)
class ClusterBaselineArgs(Args):
    """Args:
    service_cidr: Range of the VPC, which contains databases, brokers and interface endpoints.
    namespaces: By name.
    """

    cluster: Cluster
    service_cidr: str
    namespaces: dict[str, NamespaceArgs]


class ClusterBaseline(Component):
    """Namespaces, closed until something is allowed.

    Attributes:
        ready: What workloads must wait for.
    """

    def __init__(
        self, name: str, scope: Scope, args: ClusterBaselineArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        self._name, self._args = name, args
        self.ready: list[pulumi.Resource] = []
        for namespace, wanted in args.namespaces.items():
            self._namespace(namespace, wanted)
        self.register_outputs({"namespaces": list(args.namespaces)})

    def _namespace(self, namespace: str, wanted: NamespaceArgs) -> None:
        scope, cluster, name = self.scope, self._args.cluster, f"{self._name}-{namespace}"
        level = "privileged" if wanted.collector else "restricted"  # the node exporter reads the node's own files
        marks = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "audit", "warn")}
        made = Namespace(
            name,
            metadata={"name": namespace, "labels": {**labels(scope, namespace), **marks, **INCLUDED}},
            opts=self.child(provider=cluster.kubernetes, depends_on=cluster.ready),
        )
        self.ready.append(made)
        inside = self.child(provider=cluster.kubernetes, depends_on=[made])
        quota = {
            "requests.cpu": str(wanted.cpu),
            "requests.memory": f"{4 * wanted.cpu}Gi",
            "limits.cpu": str(2 * wanted.cpu),
            "pods": str(4 * wanted.cpu),
        }
        if wanted.gpus:
            quota["requests.nvidia.com/gpu"] = str(wanted.gpus)
        ResourceQuota(name, metadata={"name": "quota", "namespace": namespace}, spec={"hard": quota}, opts=inside)
        defaults = {
            "type": "Container",
            "default": {"cpu": "500m", "memory": "512Mi"},
            "defaultRequest": {"cpu": "100m", "memory": "128Mi"},
        }
        LimitRange(
            name, metadata={"name": "defaults", "namespace": namespace}, spec={"limits": [defaults]}, opts=inside
        )
        self._policies(namespace, wanted, inside)
        for account, role_arn in wanted.service_accounts.items():
            if not wanted.accounts_by_chart:
                ServiceAccount(
                    f"{name}-{account}",
                    metadata={"name": account, "namespace": namespace, "labels": labels(scope, account)},
                    automount_service_account_token=False,
                    opts=inside,
                )
            aws.eks.PodIdentityAssociation(
                f"{name}-{account}",
                cluster_name=cluster.cluster_name,
                namespace=namespace,
                service_account=account,
                role_arn=role_arn,
                tags=scope.tags("cluster"),
                opts=self.child(),
            )

    def _policies(self, namespace: str, wanted: NamespaceArgs, inside: pulumi.ResourceOptions) -> None:
        name = f"{self._name}-{namespace}"
        NetworkPolicy(
            f"{name}-deny",
            metadata={"name": "default-deny", "namespace": namespace},
            spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
            opts=inside,
        )
        dns = {
            "to": [_namespace("kube-system")],
            "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
        }
        # Inside the VPC: AWS's endpoints, and what the namespace needs; outside it only TLS; and EKS Pod Identity's
        # agent on the node.
        inside_vpc = {"to": [{"ipBlock": {"cidr": self._args.service_cidr}}], "ports": _ports(443, *wanted.vpc_ports)}
        outside = {
            "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16", self._args.service_cidr]}}],
            "ports": _ports(443),
        }
        agent = {"to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}], "ports": _ports(80)}
        to_namespaces = [{"to": [_namespace(target)]} for target in (namespace, *wanted.calls)]
        ingress: list[dict[str, Any]] = [{"from": [_namespace(source) for source in (namespace, "monitoring")]}]
        others = [_namespace(source) for source in wanted.reachable_from]
        if wanted.open_to_vpc:
            others.append({"ipBlock": {"cidr": self._args.service_cidr}})
        if others:
            ingress.append({"from": others, **({"ports": _ports(wanted.port)} if wanted.port else {})})
        NetworkPolicy(
            f"{name}-allow",
            metadata={"name": "platform", "namespace": namespace},
            spec={
                "podSelector": {},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": ingress,
                "egress": [{}] if wanted.collector else [dns, *to_namespaces, inside_vpc, outside, agent],
            },
            opts=inside,
        )


def _ports(*ports: int) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
