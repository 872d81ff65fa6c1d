"""A KServe InferenceService of the ONNX file, and the canary by which it replaces another version.

Written for the release that the platform installs, 0.15, on Knative: `canaryTrafficPercent` splits the traffic between
the revision before and this one (https://kserve.github.io/website/docs/model-serving/predictive-inference). The
`spec.canary` of 0.20 is not used: that release does not route to it yet (kserve#5912 and #5984 came later), and it
refuses autoscaling for the canary.
"""

from __future__ import annotations

from typing import Any

import yaml

from pipelines.targets import triton
from pipelines.targets.served import Files, Served, Stack

NAMESPACE, SCALE_AT_PERCENT, CANARY_PERCENT = "models", 80, 5
_ORIGIN = "groundplan"


def build(served: Served, stack: Stack) -> Files:
    """Two manifests, and what KServe's server for ONNX, Triton, reads: a repository of this model alone."""
    graph = served.graph("kserve")
    repository = triton.repository(served.described, graph, served.name)
    return {
        "inference-service.yaml": _yaml(inference_service(served, stack)),
        "canary.yaml": _yaml(inference_service(served, stack, CANARY_PERCENT)),
        **{f"repository/{name}": content for name, content in repository.items()},
    }


def inference_service(served: Served, stack: Stack, canary_percent: int | None = None) -> dict[str, Any]:
    """The object.

    Args:
        canary_percent: Share of the traffic that this version gets beside the one that is served; None for all of it.
    """
    sized = {"cpu": "1", "memory": "1Gi"}
    predictor: dict[str, Any] = {
        "minReplicas": max(stack.min_instances, 2),
        "maxReplicas": max(stack.max_instances, 2),
        "scaleMetric": "cpu",
        "scaleTarget": SCALE_AT_PERCENT,
        "serviceAccountName": "serving",
        "model": {
            "modelFormat": {"name": "onnx"},
            "protocolVersion": "v2",
            "storageUri": f"s3://{stack.bucket}/{served.name}/packages/{served.version}/repository",
            "resources": {"requests": sized, "limits": sized},
        },
    }
    if canary_percent is not None:
        predictor["canaryTrafficPercent"] = canary_percent
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": served.name,
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/name": served.name, "app.kubernetes.io/part-of": _ORIGIN},
            "annotations": {
                "serving.kserve.io/deploymentMode": "Serverless",
                "autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev",
                "groundplan/version": served.version,
            },
        },
        "spec": {"predictor": predictor},
    }


def _yaml(document: dict[str, Any]) -> bytes:
    return yaml.safe_dump(document, sort_keys=False).encode()
