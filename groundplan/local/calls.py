"""Which calls the local cloud receives, and from whom: each process of the platform signs with a key that names it.

Operations and parameters are read with moto's parsers of AWS's service models, whatever client sent them (boto3, Arrow,
DuckDB, the broker's Rust). Stored data is never read: of S3's requests, only address and headers.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

CALLER_PREFIX = "groundplan."
_CREDENTIAL = re.compile(r"Credential=([^/]+)/[^/]+/([^/]+)/([^/]+)/aws4_request")
_ERROR = re.compile(rb"<Code>([\w.]+)</Code>|\"__type\": ?\"([\w.#]+)\"")
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
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


@dataclass(frozen=True)
class Called:
    """A call that was answered.

    Attributes:
        caller: A named process of the platform; empty for others.
        key: The access key.
        parameters: Without what is sensitive.
        service: Name that the request is signed with.
        request: Its id.
        address: Where it came from.
    """

    caller: str
    key: str
    account: str
    region: str
    service: str
    operation: str
    parameters: dict[str, Any]
    status: int
    error: str
    request: str
    address: str
    agent: str


class Recorder:
    """WSGI middleware that records each distinct call of a process that identifies itself.

    Args:
        tell: Is told of every signed call, whoever has made it.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]], tell: Callable[[Called], None]) -> None:
        self._application, self._tell = application, tell
        self._calls: set[str] = set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer, then record what was called and whether it exists."""
        signed = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        if signed is None:
            return self._application(environ, start_response)
        key, region, service = signed.groups()
        caller = key.removeprefix(CALLER_PREFIX) if key.startswith(CALLER_PREFIX) else ""
        if service != "s3" or "delete" in parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = BytesIO(body)
        else:
            body = b""
        found = _parsed(service, environ, body)

        told: dict[str, Any] = {}

        def answered(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            told["status"] = int(status.split(" ")[0])
            told["headers"] = {name.lower(): value for name, value in headers}
            return start_response(status, headers, *more)

        answer = self._application(environ, answered)
        if found is not None and told:
            operation, parameters, shown = found
            if caller:
                call: dict[str, Any] = {
                    "caller": caller,
                    "service": service,
                    "operation": operation,
                    "parameters": _short(parameters),
                    **({"missing": True} if told["status"] == HTTPStatus.NOT_FOUND else {}),
                }
                self._calls.add(json.dumps(call, sort_keys=True))
            if told["status"] >= HTTPStatus.BAD_REQUEST:
                answer = list(answer)
            self._tell(_called(environ, caller, key, region, service, operation, shown, told, answer))
        return answer

    @property
    def calls(self) -> bytes:
        """All of them, as a JSON list."""
        return f"[{','.join(sorted(self._calls))}]".encode()


def _parsed(service: str, environ: dict[str, Any], body: bytes) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
    """A call's operation, its parameters, and those that may be shown."""
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
    return operation.name, parsed, _without_secrets(parsed, operation.input_shape) if parsed else {}


def _without_secrets(value: Any, shape: Any) -> Any:
    """Without what AWS's service models call sensitive, as CloudTrail writes it."""
    if shape is None:
        return value
    if shape.metadata.get("sensitive"):
        return HIDDEN
    if isinstance(value, dict):
        if shape.type_name == "structure":
            return {name: _without_secrets(each, shape.members.get(name)) for name, each in value.items()}
        return {name: _without_secrets(each, getattr(shape, "value", None)) for name, each in value.items()}
    return (
        [_without_secrets(each, getattr(shape, "member", None)) for each in value] if isinstance(value, list) else value
    )


def _called(
    environ: dict[str, Any],
    caller: str,
    key: str,
    region: str,
    service: str,
    operation: str,
    parameters: dict[str, Any],
    told: dict[str, Any],
    answer: Iterable[bytes],
) -> Called:
    status, error = told["status"], ""
    if status >= HTTPStatus.BAD_REQUEST and (match := _ERROR.search(b"".join(answer)[:2_000])):
        error = (match[1] or match[2]).decode()
    return Called(
        caller,
        key,
        _account(key),
        region,
        service,
        operation,
        parameters,
        status,
        error,
        told["headers"].get("x-amzn-requestid") or told["headers"].get("x-amz-request-id", ""),
        environ.get("REMOTE_ADDR", ""),
        environ.get("HTTP_USER_AGENT", ""),
    )


def _account(key: str) -> str:
    """The account of an access key, as moto finds it."""
    from moto.iam.models import get_account_id_from

    return os.environ.get("MOTO_ACCOUNT_ID") or get_account_id_from(key)


def _short(parameters: dict[str, Any]) -> dict[str, Any]:
    """Names, ARNs and switches; no bodies, and of structures only their names."""
    found: dict[str, Any] = {}
    for key, value in parameters.items():
        if isinstance(value, (bool, int)) or (isinstance(value, str) and len(value) <= _LONGEST and key != "Body"):
            found[key] = value
        elif key == "RequestItems" and isinstance(value, dict):
            found[key] = sorted(value)
        elif key == "TableInput" and isinstance(value, dict):
            found["TableName"] = value.get("Name")
        elif key == "Tags" and isinstance(value, list):
            found[key] = sorted(str(tag.get("Key")) for tag in value)
        elif key == "Delete" and isinstance(value, dict):
            found[key] = [
                {name: item[name] for name in ("Key", "VersionId") if name in item} for item in value.get("Objects", [])
            ]
    return found
