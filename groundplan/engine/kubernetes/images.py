"""Which images run unsigned in a cluster: namespaces, Sigstore's policies, and what its admission controller does with
the rest.

https://docs.sigstore.dev/policy-controller/overview/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

CHART = "policy-controller"
_INCLUDE = "policy.sigstore.dev/include"
_DOCKER = ("index.docker.io/", "docker.io/", "registry-1.docker.io/")


def unmatched_by(releases: Iterable[Mapping[str, Any]]) -> str:
    """What the admission controller does with an image that no policy matches; empty where none is installed.

    Args:
        releases: Inputs of the program's Helm releases.
    """
    for release in releases:
        if release.get("chart") == CHART or str(release.get("chart", "")).endswith(f"/{CHART}"):
            data = ((release.get("values") or {}).get("webhook") or {}).get("configData") or {}
            return str(data.get("no-match-policy", "deny"))
    return ""


def matches(glob: str, image: str) -> bool:
    """Whether an image matches a policy's pattern: ``*`` stands for one segment of a path, ``**`` for any number of
    them.
    """
    parts = re.split(r"(\*\*|\*)", _full(glob))
    pattern = "".join({"*": "[^/]*", "**": ".*"}.get(part, re.escape(part)) for part in parts)
    return any(
        re.fullmatch(pattern, name)
        for name in (
            _full(image),
            _full(image.partition("@")[0]),
            _full(re.sub(r":[\w.-]+$", "", image.partition("@")[0])),
        )
    )


def _full(image: str) -> str:
    """The image with the default registry added where it names none."""
    name = next((image.removeprefix(prefix) for prefix in _DOCKER if image.startswith(prefix)), image)
    first, slash, _ = name.partition("/")
    if name == image and (first.startswith("*") or first == "localhost" or (slash and re.search(r"[.:]", first))):
        return name
    return f"index.docker.io/{name if slash or '*' in first else f'library/{name}'}"


def unchecked(image: str, labels: Mapping[str, str], policies: Iterable[Mapping[str, Any]], unmatched: str) -> str:
    """Why an image runs unchecked or is refused; empty where its signature is required, or none is required at all.

    Args:
        labels: Of its namespace.
        policies: ``spec`` of each ClusterImagePolicy.
        unmatched: As returned by ``unmatched_by``.
    """
    asked = [
        spec for spec in policies if any(matches(str(item.get("glob", "")), image) for item in spec.get("images", ()))
    ]
    watched = labels.get(_INCLUDE) == "true"
    if asked and not watched:
        return f"{image} must be signed, but is not checked: its namespace has no label {_INCLUDE}"
    if any(spec.get("mode", "enforce") == "enforce" for spec in asked):
        return ""
    if asked:
        return f"{image} may be unsigned: the policy only warns"
    return (
        f"no image policy matches {image}, so the admission controller refuses it"
        if watched and unmatched == "deny"
        else ""
    )
