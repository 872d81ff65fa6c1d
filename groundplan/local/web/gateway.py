"""API Gateway on one machine: REST APIs as their OpenAPI documents describe them, before the endpoints of the router.

It obeys Cognito's authorizers, the throttling and the caching of the stage's methods, mapping templates, MOCK
integrations (preflight requests) and those of SageMaker's runtime; other integrations are answered 501. An API is
called at ``/_aws/execute-api/ID/STAGE/PATH``.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions.html
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote

from groundplan.local.web.templates import TemplateError, render

Headers = list[tuple[bytes, bytes]]
Answer = tuple[int, Headers, bytes]
Invoke = Callable[[str, str, dict[bytes, bytes], bytes], Awaitable[Answer]]

PREFIX = "/_aws/execute-api/"
KNOWN_S = 2.0  # for which a definition is used before it is read again
MOST_KEPT = 10_000  # answers in the cache
_EXTENSION = "x-amazon-apigateway-"
_SAGEMAKER = re.compile(r"arn:[\w-]+:apigateway:[\w-]+:runtime\.sagemaker:path/+endpoints/([^/]+)/invocations")
_VERBS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_log = logging.getLogger("groundplan.local.web")
_POOL = re.compile(r"arn:[\w-]+:cognito-idp:([\w-]+):\d{12}:userpool/(\S+)")


class _RefusedError(Exception):
    """API Gateway answers by itself.

    Args:
        kind: https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
    """

    def __init__(self, kind: str, status: int, message: str) -> None:
        super().__init__(message)
        self.kind, self.status = kind, status


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes
    query: dict[str, str]

    def header(self, name: str) -> str:
        return self.headers.get(name.lower().encode(), b"").decode("latin-1")


@dataclass(frozen=True)
class _Method:
    """One method of an API, and what the path has in its braces."""

    template: str
    verb: str
    operation: dict[str, Any]
    path: dict[str, str]

    @cached_property
    def integration(self) -> dict[str, Any]:
        return dict(self.operation.get(f"{_EXTENSION}integration", {}))


@dataclass
class _Api:
    """An API at a stage: its document, and the stage as AWS describes it."""

    document: dict[str, Any]
    stage: dict[str, Any]
    at: float = field(default_factory=time.monotonic)

    @cached_property
    def _routes(self) -> list[tuple[re.Pattern[str], str, dict[str, Any]]]:
        """The most specific path first: literal parts before those in braces."""
        paths = (self.document.get("paths") or {}).items()
        found = [(_pattern(path), path, item) for path, item in paths if path.startswith("/") and item]
        return sorted(found, key=lambda route: (route[1].count("{"), "+}" in route[1]))

    def method(self, request: _Request) -> _Method:
        """The method that answers a request."""
        for pattern, template, item in self._routes if request.method in _VERBS else ():
            if match := pattern.fullmatch(request.path):
                named = dict(zip(re.findall(r"\{(\w+)\+?\}", template), map(unquote, match.groups()), strict=True))
                for verb in (request.method.lower(), f"{_EXTENSION}any-method"):
                    if verb in item:
                        return _Method(template, request.method, item[verb], named)
        raise _RefusedError("MISSING_AUTHENTICATION_TOKEN", 403, "Missing Authentication Token")

    def settings(self, method: _Method) -> dict[str, Any]:
        """The stage's settings of a method."""
        known: dict[str, Any] = self.stage.get("methodSettings") or {}
        path = method.template.replace("/", "~1")
        return dict(known.get(f"{path}/{method.verb}") or known.get("*/*") or {})

    def told(self, kind: str, status: int) -> Headers:
        """Headers of an answer that API Gateway gives by itself."""
        given = self.document.get(f"{_EXTENSION}gateway-responses", {})
        chosen = given.get(kind) or given.get(f"DEFAULT_{status // 100}XX") or {}
        return [
            (name.removeprefix("gatewayresponse.header.").encode(), value.strip("'").encode())
            for name, value in chosen.get("responseParameters", {}).items()
            if name.startswith("gatewayresponse.header.") and value.startswith("'")
        ]


@dataclass
class _Bucket:
    """A token bucket: ``rate`` a second, at most ``burst`` at once."""

    left: float
    at: float

    def take(self, rate: float, burst: float) -> bool:
        now = time.monotonic()
        self.left = min(burst, self.left + (now - self.at) * rate)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Gateway:
    """The REST APIs of an account.

    Args:
        client: Makes a client of an AWS service.
        invoke: Answers an InvokeEndpoint: name, path, headers, body.
        keys: Reads a user pool's public keys (a JSON Web Key Set) by its id.
    """

    def __init__(
        self, client: Callable[[str], Any], invoke: Invoke, keys: Callable[[str], Awaitable[dict[str, Any]]]
    ) -> None:
        self._client, self._invoke, self._keys = client, invoke, keys
        self._apis: dict[tuple[str, str], _Api] = {}
        self._buckets: dict[tuple[str, ...], _Bucket] = {}
        self._kept: dict[tuple[Any, ...], tuple[float, Answer]] = {}

    async def answer(self, scope: dict[str, Any], body: bytes) -> Answer:
        """Answer a request to an API."""
        raw = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        api_id, _, rest = raw.removeprefix(PREFIX).partition("/")
        stage, _, path = rest.partition("/")
        request = _Request(
            scope["method"],
            f"/{path}",
            dict(scope["headers"]),
            body,
            dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)),
        )
        api = await self._api(api_id, stage)
        if api is None:
            return _message(403, "Forbidden", [])
        try:
            return await self._play(api, (api_id, stage), request)
        except _RefusedError as refused:
            return _message(refused.status, str(refused), api.told(refused.kind, refused.status))
        except Exception as error:  # whatever a document may say
            if not isinstance(error, TemplateError):
                _log.warning("%s %s: %s: %s", request.method, raw, type(error).__name__, error)
            return _message(500, "Internal server error", api.told("DEFAULT_5XX", 500))

    async def _api(self, api_id: str, stage: str) -> _Api | None:
        known = self._apis.get((api_id, stage))
        if known is None or time.monotonic() - known.at > KNOWN_S:
            known = await asyncio.to_thread(self._read, api_id, stage)
            if known is None:
                self._apis.pop((api_id, stage), None)
                return None
            self._apis[api_id, stage] = known
        return known

    def _read(self, api_id: str, stage: str) -> _Api | None:
        from botocore.exceptions import BotoCoreError, ClientError

        client, which = self._client("apigateway"), {"restApiId": api_id, "stageName": stage}
        try:
            described = client.get_stage(**which)
            exported = client.get_export(**which, exportType="oas30", parameters={"extensions": "apigateway"})
        except (BotoCoreError, ClientError):
            return None
        return _Api(json.loads(exported["body"].read()), described)

    async def _play(self, api: _Api, which: tuple[str, str], request: _Request) -> Answer:
        method = api.method(request)
        claims = await self._claims(api, method, request)
        settings = api.settings(method)
        self._throttle(which, method, settings)
        kept = self._cached(api, which, method, settings, request)
        if kept and (known := self._kept.get(kept)) and known[0] > time.monotonic():
            return known[1]
        answer = await self._integrate(api, which, method, request, claims)
        if kept and answer[0] == 200:
            while len(self._kept) >= MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[kept] = (time.monotonic() + settings["cacheTtlInSeconds"], answer)
        return answer

    async def _claims(self, api: _Api, method: _Method, request: _Request) -> dict[str, Any]:
        """What the caller's token says of them; empty where anybody may call."""
        asked = [(name, scopes) for one in method.operation.get("security") or () for name, scopes in one.items()]
        signed = (method.operation.get(f"{_EXTENSION}auth") or {}).get("type", "NONE")
        if not asked and str(signed).upper() == "NONE":
            return {}
        if not asked:
            raise _RefusedError("AUTHORIZER_CONFIGURATION_ERROR", 500, "Only authorizers of Cognito are played here.")
        name, scopes = asked[0]
        scheme = (api.document.get("components") or {}).get("securitySchemes", {}).get(name, {})
        pools = scheme.get(f"{_EXTENSION}authorizer", {}).get("providerARNs", ())
        matches = [match for arn in pools if (match := _POOL.fullmatch(arn))]
        if not matches:
            raise _RefusedError("AUTHORIZER_CONFIGURATION_ERROR", 500, "Only authorizers of Cognito are played here.")
        token = request.header(scheme.get("name", "Authorization")).removeprefix("Bearer ").strip()
        for match in matches:
            if claims := await self._verified(token, match[1], match[2], scopes):
                return claims
        raise _RefusedError("UNAUTHORIZED", 401, "Unauthorized")

    async def _verified(self, token: str, region: str, pool: str, scopes: list[str]) -> dict[str, Any]:
        import jwt

        try:
            key = next(
                key
                for key in jwt.PyJWKSet.from_dict(await self._keys(pool)).keys
                if key.key_id == jwt.get_unverified_header(token).get("kid")
            )
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=["RS256"],
                issuer=f"https://cognito-idp.{region}.amazonaws.com/{pool}",
                options={"verify_aud": False, "require": ["exp", "iss", "token_use"]},  # any client of the pool
            )
        except jwt.ExpiredSignatureError:
            raise _RefusedError("EXPIRED_TOKEN", 401, "The incoming token has expired") from None
        except (jwt.PyJWTError, StopIteration):
            return {}
        # Where scopes are asked for, an access token is; else an identity token.
        wanted, given = "access" if scopes else "id", set(str(claims.get("scope", "")).split())
        return claims if claims["token_use"] == wanted and (not scopes or given & set(scopes)) else {}

    def _throttle(self, which: tuple[str, str], method: _Method, settings: Mapping[str, Any]) -> None:
        rate, burst = settings.get("throttlingRateLimit"), settings.get("throttlingBurstLimit")
        if rate is None or burst is None:
            return
        bucket = self._buckets.setdefault((*which, method.template, method.verb), _Bucket(burst, time.monotonic()))
        if not bucket.take(rate, burst):
            raise _RefusedError("THROTTLED", 429, "Too Many Requests")

    def _cached(
        self, api: _Api, which: tuple[str, str], method: _Method, settings: Mapping[str, Any], request: _Request
    ) -> tuple[Any, ...] | None:
        """Under which name an answer is kept; None where it is not."""
        if not (api.stage.get("cacheClusterEnabled") and settings.get("cachingEnabled") and method.verb == "GET"):
            return None
        names = method.integration.get("cacheKeyParameters", ())
        return (*which, method.template, *((name, _mapped(name, method, request)) for name in names))

    async def _integrate(
        self, api: _Api, which: tuple[str, str], method: _Method, request: _Request, claims: dict[str, Any]
    ) -> Answer:
        integration = method.integration
        context: dict[str, Any] = {
            "apiId": which[0],
            "authorizer": {"claims": claims},
            "httpMethod": method.verb,
            "identity": {"sourceIp": "127.0.0.1", "userAgent": request.header("user-agent")},
            "path": f"/{which[1]}{request.path}",
            "requestId": str(uuid.uuid4()),
            "resourcePath": method.template,
            "responseOverride": {"header": {}},
            "stage": which[1],
        }
        variables = api.stage.get("variables") or {}
        # Templates may compute for a while, and others must not wait for it.
        asked = await asyncio.to_thread(_asked, method, request, context, variables)
        kind = str(integration.get("type", "")).lower()
        if kind == "mock":
            status, content = int(json.loads(asked or b"{}").get("statusCode", 500)), b""
            told: Headers = []
        elif kind == "aws" and (match := _SAGEMAKER.fullmatch(str(integration.get("uri")))):
            sent = {b"content-type": request.headers.get(b"content-type", b"application/json")}
            for name, value in integration.get("requestParameters", {}).items():
                if name.startswith("integration.request.header."):
                    header = name.removeprefix("integration.request.header.").lower().encode()
                    sent[header] = _mapped(value, method, request).encode()
            waits = integration.get("timeoutInMillis", 29_000) / 1000
            try:
                status, told, content = await asyncio.wait_for(
                    self._invoke(match[1], "/invocations", sent, asked), waits
                )
            except TimeoutError:
                raise _RefusedError("INTEGRATION_TIMEOUT", 504, "Endpoint request timed out") from None
        else:
            raise _RefusedError("DEFAULT_5XX", 501, "Only integrations of SageMaker and MOCK are played here.")
        return await asyncio.to_thread(_response, method, request, context, variables, (status, told, content))


def _parameters(method: _Method, request: _Request) -> dict[str, dict[str, str]]:
    """What a request has besides its body; headers as clients write them, since ASGI has them in lower case."""
    headers = {name.decode("latin-1").title(): value.decode("latin-1") for name, value in request.headers.items()}
    return {"path": method.path, "querystring": request.query, "header": headers}


def _asked(method: _Method, request: _Request, context: dict[str, Any], variables: Mapping[str, str]) -> bytes:
    """The body that the integration gets."""
    templates = method.integration.get("requestTemplates", {})
    kind = request.header("content-type").partition(";")[0].strip() or "application/json"
    template = templates.get(kind)
    if template is not None:
        body = request.body.decode("utf-8", "replace")
        return render(template, body, _parameters(method, request), context, variables).encode()
    behaviour = str(method.integration.get("passthroughBehavior", "when_no_match")).lower()
    if behaviour == "never" or (behaviour == "when_no_templates" and templates):
        raise _RefusedError("UNSUPPORTED_MEDIA_TYPE", 415, "Unsupported Media Type")
    return request.body


def _response(
    method: _Method, request: _Request, context: dict[str, Any], variables: Mapping[str, str], answered: Answer
) -> Answer:
    """What the integration answered, as the method says it to its caller."""
    status, told, content = answered
    known = method.integration.get("responses", {})
    chosen = next(
        (item for pattern, item in known.items() if pattern != "default" and re.fullmatch(pattern, str(status))),
        known.get("default"),
    )
    if chosen is None:
        raise _RefusedError("API_CONFIGURATION_ERROR", 500, "Internal server error")
    given = {name.lower(): value for name, value in told}
    headers = {b"content-type": b"application/json"}
    for name, value in chosen.get("responseParameters", {}).items():
        header = name.removeprefix("method.response.header.").lower().encode()
        if value.startswith("integration.response.header."):
            found = given.get(value.removeprefix("integration.response.header.").lower().encode())
        else:
            found = _mapped(value, method, request).encode()
        if found:
            headers[header] = found
    for kind, template in chosen.get("responseTemplates", {}).items():
        headers[b"content-type"] = kind.encode()
        body = content.decode("utf-8", "replace")
        content = render(template, body, _parameters(method, request), context, variables).encode()
        break
    override = context["responseOverride"]
    overridden = {name: value for name, value in override["header"].items() if value is not None}
    headers |= {name.lower().encode(): str(value).encode() for name, value in overridden.items()}
    code = int(override.get("status") or chosen["statusCode"])
    if not 200 <= code <= 599 or any(set(name + value) & set(b"\r\n") for name, value in headers.items()):
        raise ValueError("no status or header of HTTP")
    if code == 204:
        del headers[b"content-type"]
    return code, list(headers.items()), b"" if code == 204 else content


def _mapped(expression: str, method: _Method, request: _Request) -> str:
    """A parameter's value: a text in apostrophes, or a part of the request."""
    if expression.startswith("'"):
        return expression.strip("'")
    kind, _, name = expression.removeprefix("method.request.").partition(".")
    if kind == "header":
        return request.header(name)
    return {"path": method.path, "querystring": request.query}.get(kind, {}).get(name, "")


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("".join(_parts(path)))


def _parts(path: str) -> Iterator[str]:
    for part in re.split(r"(\{\w+\+?\})", path):
        if part.startswith("{"):
            yield "(.+)" if part.endswith("+}") else "([^/]+)"
        else:
            yield re.escape(part)


def _message(status: int, text: str, headers: Headers) -> Answer:
    return status, [(b"content-type", b"application/json"), *headers], json.dumps({"message": text}).encode()
