"""Requests to the local cloud's AWS API: validated against AWS's models, and sent by clients that are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from groundplan.local.moto.aws import client
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
