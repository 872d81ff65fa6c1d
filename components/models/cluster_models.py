"""Models on the cluster: one KServe InferenceService each, on CPU with the platform's own server, on GPU with Triton.

https://kserve.github.io/website/docs/reference/crd-api (serving.kserve.io/v1beta1)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from components.cluster.cluster import Cluster
from components.cluster.karpenter import GPU_TAINT
from components.cluster.workloads import (
    RESTRICTED_POD,
    SCRATCH,
    container,
    environment,
    grant,
    labels,
    resources,
)
from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope
from components.foundation.signing import signing_aliases
from components.models.endpoint import endpoint_name
from spec.on_cluster import GATEWAY, GATEWAY_NAMESPACE, NAMESPACE, SERVED
from spec.tracing import tracing_variables

PORT, SCALE_AT_PERCENT = 8080, 80
DEPLOYERS = "groundplan:deployers"  # Kubernetes' group of those who change which version is served
POLL_S, DRAIN_S = 30, 25  # for a newer version, and for requests that have begun
TRITON_VERSION = "25.08-py3"


@dataclass(frozen=True, kw_only=True)
class ClusterModel(Args):
    """How one model runs.

    Args:
        gpu: Served by Triton on a GPU; else by the platform's server.
        explanations: Whether an explainer runs beside the predictor.
        traced: Share of the requests whose spans are sent to X-Ray, 0 to 1; not of Triton.
    """

    min_replicas: Annotated[int, Between(0)]
    max_replicas: Annotated[int, Between(1)]
    gpu: bool = False
    explanations: bool = True
    traced: Annotated[float, Between(0, 1)] = 0


@dataclass(frozen=True, kw_only=True)
class ClusterModelsArgs(Args):
    """Args:
    models: By name.
    image_uri: The platform's image; it reads the model from where the pipeline publishes it.
    model_bucket: Bucket with ``<model>/current/model.tar.gz`` and, for Triton, the repository ``<model>/triton/``.
    signers: Whose signatures a version must have to be loaded; without them, any is. Triton itself checks nothing.
    triton_image: Repository of Triton's image; the tag is added.
    """

    cluster: Cluster
    models: dict[str, ClusterModel]
    image_uri: pulumi.Input[str]
    model_bucket: str
    signers: tuple[str, ...] = ()
    triton_image: str = "nvcr.io/nvidia/tritonserver"


class ClusterModels(Component):
    """InferenceServices.

    Attributes:
        hosts: Address inside the cluster, by model.
    """

    def __init__(
        self, name: str, scope: Scope, args: ClusterModelsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        self._args = args
        self.hosts: dict[str, str] = {}
        # The pipeline decides which version of a model is served, and by how much.
        served = [f"containers[0].env[{1 if args.signers else 0}].value", "canaryTrafficPercent"]
        for model, wanted in args.models.items():
            spec: dict[str, Any] = {
                "predictor": self._triton(model, wanted) if wanted.gpu else self._server(model, wanted)
            }
            if wanted.gpu and wanted.explanations:
                # Triton predicts; the platform's server explains with the same ONNX file.
                spec["explainer"] = {
                    **self._pod(1, wanted.max_replicas),
                    "containers": [self._container(model, wanted)],
                }
            CustomResource(
                f"{name}-{model}",
                api_version="serving.kserve.io/v1beta1",
                kind="InferenceService",
                metadata={
                    "name": model,
                    "namespace": NAMESPACE,
                    "labels": labels(scope, model),
                    # Knative splits the traffic between revisions; the autoscaler looks at CPU.
                    "annotations": {
                        "serving.kserve.io/deploymentMode": "Serverless",
                        "autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev",
                        # Two versions that share the requests can also be asked one by one.
                        "serving.kserve.io/enable-tag-routing": "true",
                    },
                },
                spec=spec,
                opts=self.child(
                    provider=args.cluster.kubernetes,
                    ignore_changes=None if wanted.gpu else [f"spec.predictor.{what}" for what in served],
                ),
            )
            self.hosts[model] = f"http://{model}-predictor.{NAMESPACE}.svc"
        if any(not wanted.gpu for wanted in args.models.values()):
            self._deployers(name)
        self.register_outputs({"hosts": self.hosts})

    def _deployers(self, name: str) -> None:
        """Let the group change InferenceServices and find the gateway: nothing else of the cluster."""
        gateway = {"apiGroups": [""], "resources": ["services"], "resourceNames": [GATEWAY], "verbs": ["get"]}
        rules = {
            NAMESPACE: [
                {"apiGroups": ["serving.kserve.io"], "resources": ["inferenceservices"], "verbs": ["get", "update"]},
                {"apiGroups": ["serving.knative.dev"], "resources": ["revisions"], "verbs": ["get"]},
            ],
            GATEWAY_NAMESPACE: [gateway],
        }
        child = self.child(provider=self._args.cluster.kubernetes)
        for namespace, allowed in rules.items():
            metadata = {"name": "deployers", "namespace": namespace, "labels": labels(self.scope, "deployers")}
            group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": DEPLOYERS}
            grant(f"{name}-{namespace}", metadata, allowed, group, child)

    def _pod(self, least: int, most: int) -> dict[str, Any]:
        return {
            "minReplicas": least,
            "maxReplicas": most,
            "scaleMetric": "cpu",
            "scaleTarget": SCALE_AT_PERCENT,
            "serviceAccountName": "serving",
            "securityContext": RESTRICTED_POD,
            "volumes": [SCRATCH],
        }

    def _server(self, model: str, wanted: ClusterModel) -> dict[str, Any]:
        return {
            **self._pod(wanted.min_replicas, wanted.max_replicas),
            "containers": [self._container(model, wanted)],
            "nodeSelector": {"groundplan/pool": "cpu-spot"},
        }

    def _container(self, model: str, wanted: ClusterModel) -> dict[str, Any]:
        return container(
            "kserve-container",
            self._args.image_uri,
            ["python", "-m", "pipelines.serving"],
            resources("1", "1Gi", "2", "2Gi"),
            env=environment(
                **(
                    {"GROUNDPLAN_SIGNING_KEYS": signing_aliases(self.scope, self._args.signers)}
                    if self._args.signers
                    else {}
                ),
                # Until the first version is served, it is what has been published last.
                **{SERVED: f"s3://{self._args.model_bucket}/{model}/current/model.tar.gz"},
                **tracing_variables(model, self.scope.region, wanted.traced),
                SAGEMAKER_BIND_TO_PORT=str(PORT),
                AWS_DEFAULT_REGION=self.scope.region,
                GROUNDPLAN_CAPTURE=f"s3://{self._args.model_bucket}/capture/{endpoint_name(self.scope, model)}/cluster",
            ),
            ports=[{"containerPort": PORT, "protocol": "TCP"}],
            readinessProbe={"httpGet": {"path": "/v2/health/ready", "port": PORT}},
        )

    def _triton(self, model: str, wanted: ClusterModel) -> dict[str, Any]:
        """Triton reads the repository that the pipeline publishes, and looks for a newer version again and again.

        KServe's own server for Triton copies the repository once, when a pod starts, and would never serve another.
        """
        gpu = {"nvidia.com/gpu": "1"}
        sized = {"requests": {"cpu": "2", "memory": "4Gi", **gpu}, "limits": {"cpu": "4", "memory": "8Gi", **gpu}}
        command = [
            "tritonserver",
            f"--model-repository=s3://{self._args.model_bucket}/{model}/triton",
            "--model-control-mode=poll",
            f"--repository-poll-secs={POLL_S}",
            f"--http-port={PORT}",
            f"--exit-timeout-secs={DRAIN_S}",
        ]
        server = container(
            "kserve-container",
            f"{self._args.triton_image}:{TRITON_VERSION}",
            command,
            sized,
            env=environment(AWS_DEFAULT_REGION=self.scope.region),
            ports=[{"containerPort": PORT, "protocol": "TCP"}],
            readinessProbe={"httpGet": {"path": "/v2/health/ready", "port": PORT}},
        )
        return {
            **self._pod(wanted.min_replicas, wanted.max_replicas),
            "containers": [server],
            # Spot has the greater weight; a replica that finds no spot node starts on demand.
            "tolerations": [{"key": GPU_TAINT, "operator": "Exists", "effect": "NoSchedule"}],
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
        }
