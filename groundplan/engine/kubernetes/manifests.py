"""Manifests of a stack: what the program gives to Kubernetes, validated, one file per object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from groundplan.engine.kubernetes.custom_resources import SPECS, Metadata
from groundplan.engine.unknown import UNKNOWN
from spec.errors import UsageError
from spec.objectives import load_config

KUBERNETES_VERSION = "1.34"
MARK = "# Written by `groundplan render`; changes are lost.\n"
HELM_RELEASE = "kubernetes:helm.sh/v3:Release"


class Made(Protocol):
    """The parts of a resource that a manifest is built from."""

    @property
    def type(self) -> str:
        """Pulumi's type token."""

    @property
    def name(self) -> str:
        """Name of the resource."""

    @property
    def inputs(self) -> dict[str, Any]:
        """Camel case."""


@dataclass(frozen=True)
class Manifest:
    """One object; ``resource`` is the Pulumi resource that creates it."""

    resource: str
    document: dict[str, Any]

    @property
    def file_name(self) -> str:
        """Name that sorts namespaces first: kubectl applies files in the order of their names."""
        metadata = self.document.get("metadata", {})
        kind, namespace, name = self.document["kind"].lower(), metadata.get("namespace", ""), metadata.get("name", "")
        return "-".join(filter(None, ("0" if kind == "namespace" else "", namespace, kind, name))) + ".yaml"


@dataclass(frozen=True)
class Chart:
    """A Helm release: chart, version, repository, namespace and values."""

    resource: str
    document: dict[str, Any]

    @property
    def file_name(self) -> str:
        """Below ``charts/``."""
        return f"charts/{self.document['name']}.yaml"


@dataclass(frozen=True)
class Rendered:
    """What ``groundplan render`` wrote.

    Attributes:
        unknown: File and path of values that are known only after deployment.
        faults: File and reason of what Kubernetes would refuse.
    """

    manifests: list[Manifest]
    charts: list[Chart]
    unknown: list[str]
    faults: list[str]
    kubernetes_version: str = KUBERNETES_VERSION

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "kubernetes_version": self.kubernetes_version,
            "manifests": [item.file_name for item in self.manifests],
            "charts": [item.file_name for item in self.charts],
            "known_after_deployment": self.unknown,
            "faults": self.faults,
        }


def render(root: Path, stack: str, out: Path) -> Rendered:
    """Preview a stack, validate its Kubernetes objects and write them below ``out``.

    Raises:
        UsageError: The objectives are invalid, or ``out`` is a file.
    """
    _check_folder(out)
    config = load_config(root, stack)
    config.pop("kubernetes:renderYamlToDirectory", None)  # with it a program creates no charts
    from groundplan.engine.preview import preview  # loads the SDK

    manifests, charts = collect(preview(root, stack, config=config))
    items: list[Manifest | Chart] = [*manifests, *charts]
    found = Rendered(
        manifests,
        charts,
        [f"{item.file_name}: {path}" for item in items for path in unknowns(item.document)],
        [f"{item.file_name}: {fault}" for item in manifests for fault in faults(item.document, ours=True)],
    )
    write(out, manifests, charts)
    return found


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError("is a file", where=f"--out {out}", fix="name a folder")


def collect(resources: Iterable[Made]) -> tuple[list[Manifest], list[Chart]]:
    """The Kubernetes objects and Helm releases among a program's resources."""
    manifests, charts = list[Manifest](), list[Chart]()
    for resource in resources:
        if resource.type == HELM_RELEASE:
            kept: dict[str, Any] = {
                key: resource.inputs[key]
                for key in ("name", "namespace", "chart", "version", "values")
                if key in resource.inputs
            }
            repository = resource.inputs.get("repositoryOpts", {}).get("repo")
            charts.append(Chart(resource.name, {**kept, **({"repository": repository} if repository else {})}))
        elif resource.type.startswith("kubernetes:") and "apiVersion" in resource.inputs:
            manifests.append(Manifest(resource.name, resource.inputs))
    return manifests, charts


def faults(document: dict[str, Any], *, ours: bool = False) -> list[str]:
    """What is wrong with an object of Kubernetes' own API; of a custom resource only its API server can tell.

    Args:
        ours: The object is this platform's, whose custom resources have only the fields that it has a type of.
    """
    import kubernetes_validate
    from pydantic import ValidationError

    known = SPECS.get((document["apiVersion"], document["kind"])) if ours else None
    if known is None:
        try:
            return _against_schema(document)
        except kubernetes_validate.SchemaNotFoundError:
            return [_unknown_kind(document)] if ours else []
    found = []
    for model, part in ((Metadata, "metadata"), (known, "spec")):
        try:
            model.model_validate(document.get(part, {}))
        except ValidationError as error:
            found += [f"{part}.{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
    if document["kind"] == "InferenceService":
        found += [
            fault for part in ("predictor", "explainer") for fault in _pod_faults(document["spec"].get(part, {}), part)
        ]
    return found


@cache
def is_custom(api_version: str, kind: str) -> bool:
    """Whether Kubernetes itself has no such kind."""
    import kubernetes_validate

    try:
        kubernetes_validate.validate({"apiVersion": api_version, "kind": kind}, KUBERNETES_VERSION)
    except kubernetes_validate.SchemaNotFoundError:
        return True
    except kubernetes_validate.ValidationError:
        return False  # there is a schema, and an object without content violates it
    return False


def _unknown_kind(document: dict[str, Any]) -> str:
    return (
        f"{document['apiVersion']} {document['kind']} is neither part of Kubernetes {KUBERNETES_VERSION} nor a known"
        " custom resource"
    )


@cache
def _validator() -> Any:
    """The validator, which from here on reads each schema once and not for each object."""
    import kubernetes_validate
    from kubernetes_validate import utils

    utils.schema_contents = cache(utils.schema_contents)
    return kubernetes_validate


def _against_schema(document: dict[str, Any]) -> list[str]:
    """The first error that is not caused by a value known only after deployment."""
    import copy

    kubernetes_validate = _validator()
    judged, unknown = copy.deepcopy(document), set[tuple[Any, ...]]()
    while True:
        try:
            kubernetes_validate.validate(judged, KUBERNETES_VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = tuple(error.path)
            if error.instance == UNKNOWN and path:
                place = judged
                for part in path[:-1]:
                    place = place[part]
                place.pop(path[-1])
                unknown.add(path)
                continue
            if error.validator == "required" and any(known[:-1] == path for known in unknown):
                return []
            return [f"{'.'.join(map(str, path))}: {error.message}"]
        return []


def _pod_faults(spec: dict[str, Any], part: str) -> list[str]:
    """A predictor is a PodSpec with more fields: those of the pod are validated against Kubernetes' schema."""
    if not spec.get("containers"):
        return []
    pod = {
        key: spec[key]
        for key in ("containers", "volumes", "securityContext", "nodeSelector", "tolerations", "serviceAccountName")
        if key in spec
    }
    return [
        f"spec.{part}.{fault}"
        for fault in faults({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": part}, "spec": pod})
    ]


def write(folder: Path, manifests: list[Manifest], charts: list[Chart]) -> list[Path]:
    """Write every object, and every chart's values, below ``folder``; files that an earlier run wrote (they are
    marked) and that no longer exist are removed.
    """
    items: list[Manifest | Chart] = [*manifests, *charts]
    wanted = {item.file_name for item in items}
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.rglob("*.yaml"):
        if str(old.relative_to(folder)) not in wanted and old.read_text(encoding="utf-8").startswith(MARK):
            old.unlink()
    return [write_one(folder, item) for item in sorted(items, key=lambda item: item.file_name)]


def write_one(folder: Path, item: Manifest | Chart) -> Path:
    """Write one object."""
    import yaml

    path = folder / item.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MARK + yaml.safe_dump(_ordered(item.document), sort_keys=False, width=120), encoding="utf-8")
    return path


def _ordered(value: Any) -> Any:
    """Keys in a fixed order: what identifies an object first, the rest alphabetically."""
    if isinstance(value, dict):
        first = [key for key in ("apiVersion", "kind", "metadata", "name", "namespace") if key in value]
        return {key: _ordered(value[key]) for key in (*first, *sorted(set(value) - set(first)))}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def unknowns(document: Any, path: str = "") -> list[str]:
    """Paths of values that are known only after deployment."""
    if isinstance(document, dict):
        return [found for key, value in document.items() for found in unknowns(value, f"{path}.{key}".lstrip("."))]
    if isinstance(document, list):
        return [found for index, value in enumerate(document) for found in unknowns(value, f"{path}[{index}]")]
    return [path] if document == UNKNOWN else []
