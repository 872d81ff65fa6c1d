"""Helm charts, where there is a cluster to install them in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.helm.v3 import Release

from components.cluster.cluster import Cluster, ForeignCluster
from components.foundation.base import Component


def install(
    owner: Component,
    cluster: Cluster | ForeignCluster,
    resource_name: str,
    *,
    after: Sequence[pulumi.Resource],
    **release: Any,
) -> list[pulumi.Resource]:
    """A release, and what must wait for it.

    Where objects are only written to files, no release is created: the provider would still pass it to Helm, which
    would look for a cluster. In that case, `groundplan render` writes each chart with its values.
    """
    if not cluster.applies:
        return list(after)
    return [Release(resource_name, **release, opts=owner.child(provider=cluster.kubernetes, depends_on=list(after)))]
