"""The interface for web pages: a valid document, closed to who has not signed in, and no more rights than it needs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openapi_spec_validator import validate

from components.models.front_end import burst
from components.models.front_end_api import Called, definition, routes
from tests.unit.infra.test_program import everything, of_type, previewed

ORIGIN = "https://app.example.com"


@pytest.mark.parametrize(
    ("model", "paths"),
    [
        (Called(endpoint="e", peak=5), ["/m/invocations", "/m/explain"]),
        (Called(endpoint="e", peak=5, explains=False), ["/m/invocations"]),
        (Called(endpoint="e", peak=5, explains=False, key="id"), ["/m/invocations", "/m/predictions/{key}"]),
        (
            Called(endpoint="e", peak=5, key="id", key_type="integer"),
            ["/m/invocations", "/m/explain", "/m/predictions/{key}", "/m/explanations/{key}"],
        ),
    ],
)
@pytest.mark.parametrize("cached", [False, True])
def test_the_document_is_valid_and_lets_nobody_in_who_has_not_signed_in(
    model: Called, paths: list[str], cached: bool
) -> None:
    document = definition("t", {"m": model}, ORIGIN, "eu-central-1", "arn:role", "arn:pool", cached=cached)
    validate(json.loads(json.dumps(document)))
    assert list(document["paths"]) == [path for path, *_ in routes("m", model)] == paths
    for path, item in document["paths"].items():
        (verb, operation), (preflight, told) = item.items()
        assert preflight == "options" and "security" not in told, "preflight requests carry no token"
        assert operation["security"] == [{"people": []}]
        integration = operation["x-amazon-apigateway-integration"]
        assert integration["uri"].endswith(":runtime.sagemaker:path/endpoints/e/invocations")
        explained = integration.get("requestParameters", {}).values()
        assert ("'explain'" in explained) == ("expla" in path)
        assert (integration.get("cacheKeyParameters") == ["method.request.path.key"]) == (cached and verb == "get")
        for answer in (
            *integration["responses"].values(),
            *told["x-amazon-apigateway-integration"]["responses"].values(),
        ):
            assert answer["responseParameters"]["method.response.header.Access-Control-Allow-Origin"] == f"'{ORIGIN}'"


@pytest.mark.parametrize(("rate", "at_once"), [(0.1, 10), (5, 10), (200, 400), (7.2, 15)])
def test_a_page_may_ask_for_a_few_things_at_once(rate: float, at_once: int) -> None:
    assert burst(rate) == at_once


@pytest.mark.slow
def test_the_interface_may_ask_the_models_of_the_page_and_nothing_else() -> None:
    policy = next(item for item in of_type(everything(), "RolePolicy") if item.name == "front-end")
    statements: list[dict[str, Any]] = json.loads(policy.inputs["policy"])["Statement"]
    assert [statement["Action"] for statement in statements] == [["sagemaker:InvokeEndpoint"]]
    names = {arn.rpartition("/")[2] for arn in statements[0]["Resource"]}
    assert names == {"groundplan-prod-diabetes-rf", "groundplan-prod-lazy"}
    stored = {item.inputs["name"] for item in of_type(everything(), "Endpoint") if "sagemaker" in item.type}
    assert names < stored


@pytest.mark.slow
def test_what_is_kept_logged_and_limited() -> None:
    settings = {item.inputs["methodPath"]: item.inputs["settings"] for item in of_type(everything(), "MethodSettings")}
    kept = {path for path, given in settings.items() if given.get("cachingEnabled")}
    assert kept == {f"~1diabetes-rf~1{what}~1{{key}}/GET" for what in ("predictions", "explanations")}
    assert settings["~1diabetes-rf~1invocations/POST"]["throttlingRateLimit"] == 200
    assert settings["*/*"]["throttlingRateLimit"] == 400
    assert not any(given["dataTraceEnabled"] for given in settings.values()), "requests are data about people"
    pool = next(item for item in of_type(everything(), "UserPool"))
    assert pool.inputs["mfaConfiguration"] == "OPTIONAL" and not pool.protect, "the stack `everything` is no production"
    assert not of_type(previewed("prod"), "RestApi"), "no page, no interface"
