"""Requests to the local cloud's AWS API: validated against AWS's models, and sent by clients that are kept. Objects for
its clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from groundplan.engine.kubernetes.manifests import Manifest, write_one
from groundplan.local.moto.aws import client
from groundplan.local.moto.kserve import KIND, KNATIVE, served
from groundplan.local.moto.shapes import refuse_wrong


def sender(endpoint: str) -> Callable[[str, str, str, Mapping[str, Any]], dict[str, Any]]:
    """A function that checks and sends AWS requests: of a region, service, operation and its parameters.

    Clients are kept, since creating one costs more than a call.
    """
    from botocore import xform_name

    clients: dict[tuple[str, str], Any] = {}

    def send(region: str, service: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        refuse_wrong(service, operation, request)
        if (region, service) not in clients:
            clients[region, service] = client(service, endpoint, region)
        return dict(getattr(clients[region, service], xform_name(operation))(**request))

    return send


def keeper(endpoint: str, region: str, folder: Path, cluster: str = "") -> Callable[[Manifest], None]:
    """A function that keeps a cluster's object as a manifest; what the local cloud plays of a cluster, it gets, too.

    Args:
        cluster: Its name; by default there is only one.
    """

    def keep(manifest: Manifest) -> None:
        import httpx

        write_one(folder, manifest)
        document = manifest.document
        played = document["kind"] == KNATIVE or (document["kind"] == KIND and served(document["spec"]["predictor"]))
        if not played:
            return
        name = cluster or next(iter(client("eks", endpoint, region).list_clusters()["clusters"]), "")
        httpx.post(f"{endpoint}/_groundplan/clusters/{name}", json=document, trust_env=False).raise_for_status()

    return keep
