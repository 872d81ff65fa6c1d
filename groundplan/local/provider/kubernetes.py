"""Pulumi's Kubernetes provider, on the local cloud: objects are validated and kept as manifests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from groundplan.engine.kubernetes.manifests import Manifest, faults, write_one
from groundplan.engine.unknown import UNKNOWN
from groundplan.local.moto.maker import Maker
from groundplan.local.moto.rules import Cloud
from spec.errors import UsageError

Properties = dict[str, Any]
# What Kubernetes refuses to change, by kind ("" for any):
# https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/ and
# https://kubernetes.io/docs/reference/kubernetes-api/
_NEVER_CHANGED = {
    "": ("apiVersion", "kind", "metadata.name", "metadata.namespace"),
    "DaemonSet": ("spec.selector",),
    "Deployment": ("spec.selector",),
    "ReplicaSet": ("spec.selector",),
    "StatefulSet": ("spec.selector", "spec.serviceName", "spec.podManagementPolicy", "spec.volumeClaimTemplates"),
    "Job": ("spec.selector", "spec.template", "spec.completionMode"),
    "Pod": ("spec.nodeName", "spec.serviceAccountName", "spec.volumes"),
    "Service": ("spec.clusterIP",),
    "PersistentVolumeClaim": ("spec.accessModes", "spec.storageClassName", "spec.volumeName", "spec.selector"),
    "StorageClass": ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"),
    "PriorityClass": ("value", "preemptionPolicy"),
    "RoleBinding": ("roleRef",),
    "ClusterRoleBinding": ("roleRef",),
    "Secret": ("type",),
}
_CHART = "kubernetes:helm.sh/"
_HEX = 8


class Kubernetes:
    """One configured provider.

    Args:
        cloud: The local cloud.
        folder: Where manifests are kept.
    """

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self._folder = folder
        self._maker = Maker(replace(cloud, manifests=lambda manifest: write_one(folder, manifest)))

    def configure(self, config: Mapping[str, Any]) -> Kubernetes:
        """The provider of a cluster: each has its own manifests, in the folder that the program names, if any."""
        given = config.get("renderYamlToDirectory")
        folder = Path(str(given)) if given and given != UNKNOWN else self._folder / _cluster(config.get("kubeconfig"))
        return Kubernetes(self._maker.cloud, folder)

    def check(
        self, token: str, name: str, olds: Properties, news: Properties, seed: bytes
    ) -> tuple[Properties, list[tuple[str, str]]]:
        """Inputs with a name, and what Kubernetes would refuse: property and reason."""
        inputs = {key: value for key, value in news.items() if value is not None}
        if "apiVersion" not in inputs or "kind" not in inputs:
            return inputs, []
        metadata = inputs.get("metadata")
        if (
            isinstance(metadata, (dict, type(None)))
            and "name" not in (metadata or {})
            and "generateName" not in (metadata or {})
        ):
            known = (
                (olds.get("metadata") or {}).get("name")
                if (olds.get("metadata") or {}).get("annotations", {}).get(_AUTONAMED)
                else None
            )
            annotations = {**(metadata or {}).get("annotations", {}), _AUTONAMED: "true"}
            inputs["metadata"] = {
                **(metadata or {}),
                "name": known or f"{name}-{seed.hex()[:_HEX] or '0' * _HEX}",
                "annotations": annotations,
            }
        return inputs, [("", said) for said in faults(inputs)]

    def diff(self, token: str, path: str) -> bool:
        """Whether a change there replaces the object."""
        kind = token.rpartition(":")[2]
        return any(
            path == known or path.startswith((f"{known}.", f"{known}["))
            for known in (*_NEVER_CHANGED[""], *_NEVER_CHANGED.get(kind, ()))
        )

    def deletes_first(self, inputs: Properties) -> bool:
        """A name that was not generated can't be used twice."""
        return not (inputs.get("metadata") or {}).get("annotations", {}).get(_AUTONAMED)

    def preview(self, token: str, name: str, inputs: Properties) -> Properties:
        """Inputs, and a state that only a cluster knows."""
        return inputs if token.startswith(_CHART) else {**inputs, "status": UNKNOWN}

    def create(self, token: str, name: str, inputs: Properties) -> tuple[str, Properties]:
        """Write it; returns id and outputs."""
        physical, outputs = self._maker.make(token, name, inputs)
        return physical, {**inputs, **outputs}

    def update(
        self,
        token: str,
        name: str,
        physical: str,
        state: Properties,
        olds: Properties,
        news: Properties,
        warn: Callable[[str], None],
    ) -> Properties:
        """Write it again; returns its new state."""
        return self.create(token, name, news)[1]

    def read(
        self, token: str, name: str, physical: str, state: Properties, inputs: Properties
    ) -> tuple[Properties, Properties] | None:
        """State and inputs as the manifest has them; None if it no longer exists."""
        if token.startswith(_CHART):
            return state, inputs
        kind = token.rpartition(":")[2]
        namespace, _, called = physical.rpartition("/")
        document = {"kind": kind, "metadata": {"namespace": namespace, "name": called}}
        for one in (document, {**document, "metadata": {"name": called}}):
            path = self._folder / Manifest("", one).file_name
            if path.is_file():
                found: Properties = yaml.safe_load(path.read_text(encoding="utf-8"))
                return {**state, **found}, found
        if not inputs:
            raise UsageError(
                f"no {kind} {physical} in {self._folder}",
                where=f"import of {name}",
                fix="the id is NAMESPACE/NAME",
            )
        return None

    def delete(self, token: str, name: str, physical: str, inputs: Properties) -> None:
        """Remove its manifest."""
        if not token.startswith(_CHART) and "kind" in inputs:
            (self._folder / Manifest("", inputs).file_name).unlink(missing_ok=True)

    def invoke(self, token: str, arguments: Properties) -> Properties:
        """Only the real provider can look up files and charts.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"the local cloud can't answer {token}", fix="write the objects in the program")


def _cluster(kubeconfig: Any) -> str:
    """A folder's name for a cluster, derived from its address, which does not change."""
    try:
        server = str(yaml.safe_load(str(kubeconfig))["clusters"][0]["cluster"]["server"])
    except (yaml.YAMLError, LookupError, TypeError):
        return "cluster"
    return hashlib.sha256(server.encode()).hexdigest()[:12]


_AUTONAMED = "pulumi.com/autonamed"
