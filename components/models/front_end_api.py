"""The interface that web pages call, as API Gateway's extension of OpenAPI 3 describes it.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

TIMEOUT_MS = 29_000  # the most that API Gateway waits
PREFLIGHT_SECONDS = 7200  # the longest for which Chromium remembers what a page may call
ORIGIN = "Access-Control-Allow-Origin"
_ATTRIBUTES = "integration.request.header.X-Amzn-SageMaker-Custom-Attributes"
# What the model's server refuses reaches the page as that server said it; SageMaker wraps it into a 424.
_REFUSED = (
    "#set($context.responseOverride.status = $input.path('$.OriginalStatusCode'))$input.path('$.OriginalMessage')"
)
_NOT_NOW = '{"message": "The model can\'t be asked at the moment; try again."}'
_TOO_LARGE = '{"error": "The request is larger than the model\'s endpoint accepts."}'
_KEY = "$input.params('key')"
_QUOTED = rf'''"$util.escapeJavaScript({_KEY}).replaceAll("\\'", "'")"'''  # JSON knows no \'
_NUMBER = f"#if({_KEY}.matches('-?(0|[1-9][0-9]*)')){_KEY}#else{_QUOTED}#end"


@dataclass(frozen=True, kw_only=True)
class Called:
    """A model that pages call.

    Attributes:
        endpoint: Its SageMaker endpoint.
        peak: Requests a second that are let through.
        explains: Whether it explains its predictions.
        key, key_type: By which its features are read; empty where the rows must be sent.
    """

    endpoint: str
    peak: float
    explains: bool = True
    key: str = ""
    key_type: str = "string"


def definition(
    title: str,
    models: Mapping[str, Called],
    origin: str,
    region: str,
    role_arn: pulumi.Input[str],
    user_pool_arn: pulumi.Input[str],
    *,
    cached: bool = False,
) -> dict[str, Any]:
    """The document; ARNs may be outputs.

    Args:
        origin: Of the page that may call.
        cached: Whether answers by key are kept.
    """
    paths: dict[str, Any] = {}
    for name, model in models.items():
        for path, method, explained, by_key in routes(name, model):
            operation = _operation(model, region, role_arn, origin, explained=explained, by_key=by_key, cached=cached)
            paths[path] = {method.lower(): operation, "options": _preflight(method, origin)}
            if by_key:
                for told in paths[path].values():
                    told["parameters"] = [{"name": "key", "in": "path", "required": True, "schema": {"type": "string"}}]
    return {
        "openapi": "3.0.1",
        "info": {"title": title, "description": "Predictions and explanations for signed-in people.", "version": "1"},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "people": {
                    "type": "apiKey",
                    "name": "Authorization",
                    "in": "header",
                    "x-amazon-apigateway-authtype": "cognito_user_pools",
                    "x-amazon-apigateway-authorizer": {"type": "cognito_user_pools", "providerARNs": [user_pool_arn]},
                }
            }
        },
        # A page can't read an answer without this header, not even that its token has expired.
        "x-amazon-apigateway-gateway-responses": {
            kind: {"responseParameters": {f"gatewayresponse.header.{ORIGIN}": f"'{origin}'"}}
            for kind in ("DEFAULT_4XX", "DEFAULT_5XX")
        },
    }


def routes(name: str, model: Called) -> list[tuple[str, str, bool, bool]]:
    """Path and method of each way to call a model, whether it explains, and whether it takes a key."""
    ways = [("/invocations", "POST", False, False)]
    if model.explains:
        ways.append(("/explain", "POST", True, False))
    if model.key:
        ways.append(("/predictions/{key}", "GET", False, True))
    if model.key and model.explains:
        ways.append(("/explanations/{key}", "GET", True, True))
    return [(f"/{name}{path}", method, explained, by_key) for path, method, explained, by_key in ways]


def _operation(
    model: Called,
    region: str,
    role_arn: pulumi.Input[str],
    origin: str,
    *,
    explained: bool,
    by_key: bool,
    cached: bool,
) -> dict[str, Any]:
    shown = {f"method.response.header.{ORIGIN}": f"'{origin}'"}
    asked = {_ATTRIBUTES: "'explain'"} if explained else {}
    integration: dict[str, Any] = {
        "type": "aws",
        "httpMethod": "POST",
        "uri": f"arn:aws:apigateway:{region}:runtime.sagemaker:path/endpoints/{model.endpoint}/invocations",
        "credentials": role_arn,
        "timeoutInMillis": TIMEOUT_MS,
        "passthroughBehavior": "when_no_templates",
        "responses": {
            "default": {"statusCode": "200", "responseParameters": shown},
            "424": {
                "statusCode": "400",
                "responseParameters": shown,
                "responseTemplates": {"application/json": _REFUSED},
            },
            "413": {
                "statusCode": "413",
                "responseParameters": shown,
                "responseTemplates": {"application/json": _TOO_LARGE},
            },
            r"4(?!24|13)\d{2}|5\d{2}": {
                "statusCode": "503",
                "responseParameters": shown,
                "responseTemplates": {"application/json": _NOT_NOW},
            },
        },
    }
    operation: dict[str, Any] = {
        "security": [{"people": []}],
        "responses": {status: _described(ORIGIN) for status in ("200", "400", "413", "503")},
        "x-amazon-apigateway-integration": integration,
    }
    if by_key:
        key = _NUMBER if model.key_type == "integer" else _QUOTED
        asked["integration.request.header.Content-Type"] = "'application/json'"
        integration["passthroughBehavior"] = "never"
        integration["requestTemplates"] = {"application/json": f'{{"entities": {{"{model.key}": [{key}]}}}}'}
        if cached:
            integration["cacheKeyParameters"] = ["method.request.path.key"]
    if asked:
        integration["requestParameters"] = asked
    return operation


def _preflight(method: str, origin: str) -> dict[str, Any]:
    """What a browser asks before a page's request: https://fetch.spec.whatwg.org/#cors-preflight-fetch."""
    told = {
        ORIGIN: origin,
        "Access-Control-Allow-Methods": method,
        "Access-Control-Allow-Headers": "Authorization,Content-Type",
        "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
    }
    return {
        "responses": {"204": _described(*told)},
        "x-amazon-apigateway-integration": {
            "type": "mock",
            "requestTemplates": {"application/json": '{"statusCode": 204}'},
            "passthroughBehavior": "never",
            "responses": {
                "default": {
                    "statusCode": "204",
                    "responseParameters": {
                        f"method.response.header.{name}": f"'{value}'" for name, value in told.items()
                    },
                }
            },
        },
    }


def _described(*headers: str) -> dict[str, Any]:
    return {"description": "", "headers": {name: {"schema": {"type": "string"}} for name in headers}}
