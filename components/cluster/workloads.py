"""Building blocks of Kubernetes workloads: the labels, security context and resources of every pod of the platform."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi_kubernetes.rbac.v1 import Role, RoleBinding

from components.foundation.base import Scope

# Pod security standard "restricted": https://kubernetes.io/docs/concepts/security/pod-security-standards/
RESTRICTED_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESTRICTED_POD = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "fsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
SCRATCH = {"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}}
SCRATCH_MOUNT = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 (in the pod)


def labels(scope: Scope, name: str, **more: str) -> dict[str, str]:
    """Kubernetes' recommended labels, and the environment's name."""
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/part-of": scope.project,
        "environment": scope.stack,
        **more,
    }


def resources(cpu: str, memory: str, limit_cpu: str = "", limit_memory: str = "") -> dict[str, dict[str, str]]:
    """Requests and limits, Kubernetes quantities; by default the limit equals the request."""
    return {
        "requests": {"cpu": cpu, "memory": memory},
        "limits": {"cpu": limit_cpu or cpu, "memory": limit_memory or memory},
    }


def container(name: str, image: Any, command: list[str], sized: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A restricted container with a scratch folder, since its root file system can't be written."""
    return {
        "name": name,
        "image": image,
        "command": command,
        "resources": sized,
        "securityContext": RESTRICTED_CONTAINER,
        "volumeMounts": [SCRATCH_MOUNT],
        **more,
    }


def environment(**values: Any) -> list[dict[str, Any]]:
    """Environment variables of a container."""
    return [{"name": name, "value": value} for name, value in values.items()]


def spread(name: str) -> list[dict[str, Any]]:
    """Replicas spread over the available zones."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app.kubernetes.io/name": name}},
        }
    ]


def grant(
    name: str,
    metadata: dict[str, Any],
    rules: list[dict[str, Any]],
    subject: dict[str, Any],
    opts: pulumi.ResourceOptions,
) -> None:
    """Create a role in a namespace, and bind it to somebody."""
    Role(name, metadata=metadata, rules=rules, opts=opts)
    RoleBinding(
        name,
        metadata=metadata,
        role_ref={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": metadata["name"]},
        subjects=[subject],
        opts=opts,
    )
