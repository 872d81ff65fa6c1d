"""Which calls the local cloud receives, and from whom: each process of the platform signs with a key that names it.

Operations and parameters are read with moto's parsers of AWS's service models, whatever client sent them (boto3, Arrow,
DuckDB, the broker's Rust). Stored data is never read: of S3's requests, only address and headers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

CALLER_PREFIX = "groundplan."
_CREDENTIAL = re.compile(r"Credential=([^/]+)/[^/]+/([^/]+)/([^/]+)/aws4_request")
_NAMES = {"monitoring": "cloudwatch"}  # boto3's name of a service, where it signs with another one
_LONGEST = 300  # characters of a parameter; names and ARNs are shorter


def caller_key(caller: str) -> str:
    """The access key of a process of the platform; it belongs to no account, and its secret is not checked."""
    return f"{CALLER_PREFIX}{caller}"


def caller_in(authorization: str) -> tuple[str, str]:
    """Who signed a request (SigV4) and for which service; empty where it is not a named process of the platform."""
    match = _CREDENTIAL.search(authorization)
    return (
        (match[1].removeprefix(CALLER_PREFIX), match[3]) if match and match[1].startswith(CALLER_PREFIX) else ("", "")
    )


class Recorder:
    """WSGI middleware that records each distinct call of a process that identifies itself."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._calls: set[str] = set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer, then record what was called and whether it exists."""
        caller, service = caller_in(environ.get("HTTP_AUTHORIZATION", ""))
        if not caller:
            return self._application(environ, start_response)
        if service != "s3" or "delete" in parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = BytesIO(body)
        else:
            body = b""
        found = _parsed(service, environ, body)

        def answered(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            if found is not None:
                operation, parameters = found
                call: dict[str, Any] = {
                    "caller": caller,
                    "service": service,
                    "operation": operation,
                    "parameters": parameters,
                }
                if status.startswith("404"):
                    call["missing"] = True
                self._calls.add(json.dumps(call, sort_keys=True))
            return start_response(status, headers, *more)

        return self._application(environ, answered)

    @property
    def calls(self) -> bytes:
        """All of them, as a JSON list."""
        return f"[{','.join(sorted(self._calls))}]".encode()


def _parsed(service: str, environ: dict[str, Any], body: bytes) -> tuple[str, dict[str, Any]] | None:
    from moto.core.parse import PROTOCOL_PARSERS
    from moto.core.request import Request, determine_request_protocol
    from moto.core.routing import get_service_router
    from moto.core.utils import get_service_model

    request = Request({**environ, "wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))})
    try:
        model = get_service_model(_NAMES.get(service, service))
        operation, matched = get_service_router(model.service_name).match(request)
        protocol = determine_request_protocol(model, request.content_type)
        parsed = PROTOCOL_PARSERS[protocol](operation, map_type=dict).parse(
            {
                "method": request.method,
                "values": request.values,
                "headers": request.headers,
                "body": body,
                "url_path": request.path,
                "url_params": matched,
            }
        )
    except Exception:  # a request that moto can't read is refused by moto, not by this recorder
        return None
    return operation.name, _short(parsed)


def _short(parameters: dict[str, Any]) -> dict[str, Any]:
    """Names, ARNs and switches; no bodies, and of structures only their names."""
    found: dict[str, Any] = {}
    for key, value in parameters.items():
        if isinstance(value, (bool, int)) or (isinstance(value, str) and len(value) <= _LONGEST and key != "Body"):
            found[key] = value
        elif key == "RequestItems" and isinstance(value, dict):
            found[key] = sorted(value)
        elif key == "Tags" and isinstance(value, list):
            found[key] = sorted(str(tag.get("Key")) for tag in value)
        elif key == "Delete" and isinstance(value, dict):
            found[key] = [
                {name: item[name] for name in ("Key", "VersionId") if name in item} for item in value.get("Objects", [])
            ]
    return found
