"""Operators that models on the cluster need: certificates, Knative with Istio's network, KServe. Only made where the design asks."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.helm.v3 import Release

from components.base import Component, Scope
from components.cluster import SYSTEM_TAINT, Cluster

# Chart, version, repository and namespace, in the order they must come up.
CHARTS = (
    ("cert-manager", "v1.18.2", "https://charts.jetstack.io", "cert-manager"),
    ("base", "1.27.0", "https://istio-release.storage.googleapis.com/charts", "istio-system"),
    ("istiod", "1.27.0", "https://istio-release.storage.googleapis.com/charts", "istio-system"),
    ("gateway", "1.27.0", "https://istio-release.storage.googleapis.com/charts", "istio-system"),
    ("knative-operator", "v1.19.0", "https://knative.github.io/operator", "knative-operator"),
    ("oci://ghcr.io/kserve/charts/kserve-crd", "v0.15.2", "", "kserve"),
    ("oci://ghcr.io/kserve/charts/kserve", "v0.15.2", "", "kserve"),
)


@dataclass(frozen=True)
class OperatorsArgs:
    """Args:
    cluster: Where they run, on its system nodes.
    """

    cluster: Cluster


class Operators(Component):
    """Helm releases, one after the other.

    Attributes:
        ready: What InferenceServices must wait for.
    """

    def __init__(self, name: str, scope: Scope, args: OperatorsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        self.ready: list[pulumi.Resource] = list(args.cluster.ready)
        for chart, version, repository, namespace in CHARTS:
            short = chart.rpartition("/")[2]
            release = Release(
                f"{name}-{short}",
                name=short,
                namespace=namespace,
                create_namespace=True,
                chart=chart,
                version=version,
                repository_opts={"repo": repository} if repository else None,
                values={"crds": {"enabled": True}, "tolerations": [{"key": SYSTEM_TAINT, "operator": "Exists"}]} if short == "cert-manager" else {},
                opts=self.child(provider=args.cluster.kubernetes, depends_on=self.ready),
            )
            self.ready = [release]
        serving = CustomResource(
            f"{name}-knative-serving",
            api_version="operator.knative.dev/v1beta1",
            kind="KnativeServing",
            metadata={"name": "knative-serving", "namespace": "knative-serving"},
            spec={
                "ingress": {"istio": {"enabled": True}},
                "config": {
                    # What a restricted pod on a chosen pool says, and Knative takes only when told to.
                    "features": {f"kubernetes.podspec-{what}": "enabled" for what in ("nodeselector", "securitycontext", "tolerations")},
                    # The controller has no credentials for our registry, and tags there can't be moved anyway.
                    "deployment": {"registries-skipping-tag-resolving": f"{scope.account_id}.dkr.ecr.{scope.region}.amazonaws.com,nvcr.io"},
                },
            },
            opts=self.child(provider=args.cluster.kubernetes, depends_on=self.ready),
        )
        self.ready = [serving]
        self.register_outputs({"charts": [chart for chart, *_ in CHARTS]})
