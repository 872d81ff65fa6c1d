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

    Where objects are only written to files no release is made: the provider would hand it to Helm all the same, which
    would look for a cluster. `groundplan render` writes each chart with its values then.
    """
    if not cluster.applies:
        return list(after)
    return [Release(resource_name, **release, opts=owner.child(provider=cluster.kubernetes, depends_on=list(after)))]
