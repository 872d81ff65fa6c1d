"""The models for the cluster: a KServe InferenceService each, rendered as manifests that a cluster's GitOps can take.

https://kserve.github.io/website/docs/reference/crd-api (serving.kserve.io/v1beta1)
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes import Provider
from pulumi_kubernetes.apiextensions import CustomResource

from components.base import Component, Scope

NAMESPACE = "models"
PORT = 8080


@dataclass(frozen=True)
class ClusterModel:
    """Replicas, and the share of traffic (percent) a new revision gets at first."""

    min_replicas: int
    max_replicas: int
    canary_percent: int


@dataclass(frozen=True)
class ClusterModelsArgs:
    """Args:
    models: By name.
    image_uri: The platform's image; it reads the model that KServe puts under /mnt/models.
    model_bucket: Bucket with ``<model>/current/``.
    """

    models: dict[str, ClusterModel]
    image_uri: pulumi.Input[str]
    model_bucket: pulumi.Input[str]


class ClusterModels(Component):
    """InferenceServices, written to ``rendered/`` until the stack has a cluster to apply them to."""

    def __init__(self, name: str, scope: Scope, args: ClusterModelsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        renderer = Provider(f"{name}-manifests", render_yaml_to_directory=f"rendered/{scope.stack}", opts=self.child())
        self.names: list[str] = []
        for model, wanted in args.models.items():
            CustomResource(
                f"{name}-{model}",
                api_version="serving.kserve.io/v1beta1",
                kind="InferenceService",
                metadata={
                    "name": model,
                    "namespace": NAMESPACE,
                    "labels": {"app.kubernetes.io/name": model, "app.kubernetes.io/part-of": scope.project, "environment": scope.stack},
                },
                spec={
                    "predictor": {
                        "minReplicas": wanted.min_replicas,
                        "maxReplicas": wanted.max_replicas,
                        "scaleMetric": "cpu",
                        "scaleTarget": 80,
                        "canaryTrafficPercent": wanted.canary_percent,
                        "serviceAccountName": "serving",
                        "containers": [
                            {
                                "name": "kserve-container",
                                "image": args.image_uri,
                                "command": ["python", "-m", "pipelines.serving"],
                                "env": [
                                    {"name": "STORAGE_URI", "value": pulumi.Output.concat("s3://", args.model_bucket, f"/{model}/current")},
                                    {"name": "SM_MODEL_DIR", "value": "/mnt/models"},
                                    {"name": "SAGEMAKER_BIND_TO_PORT", "value": str(PORT)},
                                ],
                                "ports": [{"containerPort": PORT, "protocol": "TCP"}],
                                "readinessProbe": {"httpGet": {"path": "/ping", "port": PORT}},
                                "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}},
                                "securityContext": {
                                    "allowPrivilegeEscalation": False,
                                    "readOnlyRootFilesystem": True,
                                    "runAsNonRoot": True,
                                    "capabilities": {"drop": ["ALL"]},
                                    "seccompProfile": {"type": "RuntimeDefault"},
                                },
                            }
                        ],
                    }
                },
                opts=self.child(provider=renderer),
            )
            self.names.append(model)
        self.register_outputs({"names": self.names})
