"""Operators that models on the cluster need: certificates, Knative with Istio's network, KServe. Only created where the
design requires them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from components.cluster.charts import install
from components.cluster.cluster import SYSTEM_TAINT, Cluster
from components.foundation.args import Args
from components.foundation.base import Component, Scope

KNATIVE = "1.21.1"  # before 1.20.1, what requests are counted by had another name (spec.on_cluster.REQUEST)
NAMESPACE = "knative-serving"  # of Knative and, since its chart creates the namespace, of its operator
_ISTIO, _ON_SYSTEM_NODES = (
    "https://istio-release.storage.googleapis.com/charts",
    [{"key": SYSTEM_TAINT, "operator": "Exists"}],
)
# Release, chart, version, repository, namespace and values, in the order they must come up.
_BEFORE: tuple[tuple[str, str, str, str, str, dict[str, Any]], ...] = (
    (
        "cert-manager",
        "cert-manager",
        "v1.18.2",
        "https://charts.jetstack.io",
        "cert-manager",
        {"crds": {"enabled": True}, "tolerations": _ON_SYSTEM_NODES},
    ),
    ("istio-base", "base", "1.27.0", _ISTIO, "istio-system", {}),
    ("istiod", "istiod", "1.27.0", _ISTIO, "istio-system", {}),
    # Knative looks for a gateway with the label istio: ingressgateway, which the chart takes from the release's name.
    (
        "istio-ingressgateway",
        "gateway",
        "1.27.0",
        _ISTIO,
        "istio-system",
        {
            "service": {
                "annotations": {
                    f"service.beta.kubernetes.io/aws-load-balancer-{key}": value
                    for key, value in (("internal", "true"), ("type", "nlb"))
                }
            }
        },
    ),
    ("knative-operator", "knative-operator", f"v{KNATIVE}", "https://knative.github.io/operator", NAMESPACE, {}),
)
# KServe looks for Knative's kinds only once, when it starts, so it must start after them.
_AFTER: tuple[tuple[str, str, str, str, str, dict[str, Any]], ...] = (
    ("kserve-crd", "oci://ghcr.io/kserve/charts/kserve-crd", "v0.15.2", "", "kserve", {}),
    ("kserve", "oci://ghcr.io/kserve/charts/kserve", "v0.15.2", "", "kserve", {}),
)


@dataclass(frozen=True, kw_only=True)
class OperatorsArgs(Args):
    """Args:
    cluster: Where they run, on its system nodes.
    """

    cluster: Cluster


class Operators(Component):
    """Helm releases, one after the other, and Knative's own between them.

    Attributes:
        ready: What InferenceServices must wait for.
    """

    def __init__(
        self, name: str, scope: Scope, args: OperatorsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        self._name, self._cluster = name, args.cluster
        self.ready: list[pulumi.Resource] = list(args.cluster.ready)
        self._install(_BEFORE)
        self._knative()
        self._install(_AFTER)
        self.register_outputs({"charts": [chart for _, chart, *_ in (*_BEFORE, *_AFTER)]})

    def _install(self, charts: tuple[tuple[str, str, str, str, str, dict[str, Any]], ...]) -> None:
        for release, chart, version, repository, namespace, values in charts:
            self.ready = install(
                self,
                self._cluster,
                f"{self._name}-{release}",
                name=release,
                namespace=namespace,
                create_namespace=True,
                chart=chart,
                version=version,
                repository_opts={"repo": repository} if repository else None,
                values=values,
                after=self.ready,
            )

    def _knative(self) -> None:
        name, scope, provider = self._name, self.scope, self._cluster.kubernetes
        serving = CustomResource(
            f"{name}-knative-serving",
            api_version="operator.knative.dev/v1beta1",
            kind="KnativeServing",
            metadata={
                "name": "knative-serving",
                "namespace": NAMESPACE,
                # The operator reports Ready once the kinds exist and the controllers run.
                "annotations": {"pulumi.com/waitFor": "condition=Ready"},
            },
            spec={
                "version": KNATIVE,
                "ingress": {"istio": {"enabled": True}},
                "config": {
                    # Fields of a restricted pod on a chosen pool, which Knative accepts only if configured to.
                    "features": {
                        f"kubernetes.podspec-{what}": "enabled"
                        for what in ("nodeselector", "securitycontext", "tolerations")
                    },
                    # Without a domain of its own, Knative has routes inside the cluster only.
                    "domain": {f"{scope.name()}.internal": ""},
                    # Nothing is measured by default: https://knative.dev/docs/serving/observability/metrics/
                    "observability": {"request-metrics-protocol": "prometheus"},
                    # The controller has no credentials for our registry, and tags there can't be moved anyway.
                    "deployment": {
                        "registries-skipping-tag-resolving": (
                            f"{scope.account_id}.dkr.ecr.{scope.region}.amazonaws.com,nvcr.io"
                        )
                    },
                },
            },
            opts=self.child(provider=provider, depends_on=self.ready),
        )
        self.ready = [serving]
