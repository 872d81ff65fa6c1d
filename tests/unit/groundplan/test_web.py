"""Interfaces of API Gateway on one machine: mapping templates as people write them, routes, limits, caches, errors."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.models.front_end_api import Called, definition
from groundplan.local.web.addresses import front_end
from groundplan.local.web.gateway import Gateway
from groundplan.local.web.templates import TemplateError, render

NOTHING: dict[str, dict[str, str]] = {"path": {}, "querystring": {}, "header": {}}
SAGEMAKER = "arn:aws:apigateway:eu-central-1:runtime.sagemaker:path/endpoints/model/invocations"


@pytest.mark.parametrize(
    ("template", "body", "says", "override"),
    [
        ("$input.json('$')", '{"a": [1, "x"]}', '{"a": [1, "x"]}', {}),
        ("""{"id": "$input.path('$.user.id')"}""", '{"user": {"id": "7"}}', '{"id": "7"}', {}),
        ("#set($root = $input.path('$'))$root.items[1].name", '{"items": [{}, {"name": "b"}]}', "b", {}),
        (
            "#set($root = $input.path('$'))#if($root.toString().contains('error'))"
            "#set($context.responseOverride.status = 500){}#else$input.body#end",
            '{"error": 1}',
            "{}",
            {"status": 500},
        ),
        (
            '#if($input.path("$.status").toString().equals("FAILED"))#set($context.responseOverride.status = 422)no'
            "#elseif(1 == 1)$input.path('$.output')#end",
            '{"status": "SUCCEEDED", "output": "[1]"}',
            "[1]",
            {},
        ),
        (
            "#set($root = $input.path('$'))#set($context.responseOverride.header.Location = $root.Item.url.S)",
            '{"Item": {"url": {"S": "https://example.com/x"}}}',
            "",
            {"header": {"Location": "https://example.com/x"}},
        ),
        (
            '#set($origin = $input.params("Origin"))#if($origin.matches("https://.*[.]example[.]com"))'
            '#set($context.responseOverride.header.Access-Control-Allow-Origin = "$origin")#end{}',
            "",
            "{}",
            {"header": {"Access-Control-Allow-Origin": "https://app.example.com"}},
        ),
        (
            "{#foreach($name in $input.params().querystring.keySet())"
            '"$name": "$util.escapeJavaScript($input.params().querystring.get($name))"#if($foreach.hasNext),#end#end}',
            "",
            '{"a": "1","b": "say \\"x\\""}',
            {},
        ),
        (
            "#set($error = $util.parseJson($input.path('$.errorMessage')))$error.message",
            '{"errorMessage": "{\\"message\\": \\"m\\"}"}',
            "m",
            {},
        ),
        (
            '{"flag": $input.path("$.flag"), "none": $input.path("$.off")}',
            '{"flag": true, "off": false}',
            '{"flag": true, "none": false}',
            {},
        ),
        ("$input.path('$.name').replaceAll('(a)(b)', '$2$1')", '{"name": "xab"}', "xba", {}),
        ("$input.json('$.items[0:1]') $input.json('$.items[*]')", '{"items": [1]}', "[1] [1]", {}),
        ("$stageVariables.colour $input.params('origin')", "", "blue https://app.example.com", {}),
        ("$util.base64Encode('a b') $util.urlEncode('a b&')", "", "YSBi a+b%26", {}),
        ("$context.httpMethod $context.authorizer.claims.sub", "", "GET me", {}),
    ],
)  # fmt: skip
def test_templates_as_people_write_them(template: str, body: str, says: str, override: dict[str, Any]) -> None:
    context = {"httpMethod": "GET", "authorizer": {"claims": {"sub": "me"}}, "responseOverride": {"header": {}}}
    parameters = {**NOTHING, "header": {"Origin": "https://app.example.com"}, "querystring": {"a": "1", "b": 'say "x"'}}
    assert render(template, body, parameters, context, {"colour": "blue"}).strip() == says
    assert context["responseOverride"] == {"header": {}, **override}


@pytest.mark.parametrize(
    "reach",
    [
        "$input.__init__.__globals__",
        "$input.path.__globals__.get('json')",
        "$context.__class__.__mro__",
        "$util.parseJson.__func__",
        "#set($text = '{0.__class__}')$text.format($input)",
        "$input._parameters",
        "$context.setdefault('a', 'b')",
        "$input.params().header.__class__",
    ],
)
def test_a_template_reaches_nothing_of_python(reach: str) -> None:
    said = render(reach, "{}", NOTHING, {"a": "x"})
    assert "class" not in said.replace(reach, "") and "module" not in said, "it is printed as it stands"


@pytest.mark.parametrize(("template", "body"), [("#set($x", ""), ("$input.path('$.a')", "no JSON"), ("#set($x)", "{}")])
def test_a_template_that_can_not_be_filled_in_is_an_error(template: str, body: str) -> None:
    with pytest.raises(TemplateError):
        render(template, body, NOTHING, {})


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_any_key_reaches_the_model_as_it_was_asked(key: str) -> None:
    operation = definition(
        "t", {"m": Called(endpoint="e", peak=1, key="id")}, "https://a.example", "eu-central-1", "r", "p"
    )
    get = operation["paths"]["/m/predictions/{key}"]["get"]["x-amazon-apigateway-integration"]
    body = render(get["requestTemplates"]["application/json"], "", {**NOTHING, "path": {"key": key}}, {})
    assert json.loads(body) == {"entities": {"id": [key]}}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "sent"), [("17", 17), ("-3", -3), ("0", 0), ("007", "007"), ("x'\"", "x'\""), ("1, 2", "1, 2"), ("", "")]
)
def test_a_number_is_sent_as_one_and_nothing_else_is(key: str, sent: int | str) -> None:
    model = Called(endpoint="e", peak=1, key="id", key_type="integer")
    paths = definition("t", {"m": model}, "https://a.example", "eu-central-1", "r", "p")["paths"]
    template = paths["/m/explanations/{key}"]["get"]["x-amazon-apigateway-integration"]["requestTemplates"]
    body = render(template["application/json"], "", {**NOTHING, "path": {"key": key}}, {})
    assert json.loads(body) == {"entities": {"id": [sent]}}


class Apis:
    """An account with one API, as its client sees it, and an endpoint behind it."""

    def __init__(self, paths: dict[str, Any], stage: dict[str, Any] | None = None, **more: Any) -> None:
        self.document = {"openapi": "3.0.1", "paths": paths, **more}
        self.stage = stage or {}
        self.asked: list[tuple[str, dict[bytes, bytes], bytes]] = []
        self.answer: tuple[int, list[tuple[bytes, bytes]], bytes] = (200, [(b"etag", b"x")], b'{"a": 1}')
        self.gateway = Gateway(lambda service: self, self._invoke, self._keys)

    def get_stage(self, **which: str) -> dict[str, Any]:
        return self.stage

    def get_export(self, **which: Any) -> dict[str, Any]:
        return {"body": io.BytesIO(json.dumps(self.document).encode())}

    async def _invoke(self, name: str, path: str, headers: dict[bytes, bytes], body: bytes) -> Any:
        self.asked.append((name, headers, body))
        await asyncio.sleep(0)
        return self.answer

    async def _keys(self, pool: str) -> dict[str, Any]:
        return {"keys": []}

    def call(
        self, method: str, path: str, body: bytes = b"", query: str = "", **headers: str
    ) -> tuple[int, Any, bytes]:
        status, told, content = asyncio.run(self.gateway.answer(self.scope(method, path, query, headers), body))
        return status, dict(told), content

    def scope(self, method: str, path: str, query: str, headers: dict[str, str]) -> dict[str, Any]:
        return {
            "method": method,
            "raw_path": f"/_aws/execute-api/abc/live{path}".encode(),
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }


def operation(**integration: Any) -> dict[str, Any]:
    given = {"type": "AWS", "uri": SAGEMAKER, "responses": {"default": {"statusCode": "200"}}, **integration}
    return {"x-amazon-apigateway-integration": given}


def test_the_most_specific_path_answers_and_parts_are_decoded() -> None:
    def says(text: str) -> dict[str, Any]:
        return {"get": operation(requestTemplates={"application/json": text})}

    apis = Apis(
        {
            "/{proxy+}": {"x-amazon-apigateway-any-method": says("any $input.params('proxy')")["get"]},
            "/pets/{id}": says("pet $input.params('id') $input.params('q')"),
            "/pets/new": says("new"),
        }
    )  # fmt: skip
    for path, asked in (("/pets/new", "new"), ("/pets/a%2Fb%20c", "pet a/b c 1 2"), ("/x/y", "any x/y")):
        assert apis.call("GET", path, query="q=1+2")[0] == 200
        assert apis.asked[-1][2].decode() == asked
    assert apis.call("DELETE", "/pets/new")[0] == 200, "any method of a wider path"


def test_requests_and_answers_are_mapped() -> None:
    apis = Apis(
        {
            "/x": {
                "post": operation(
                    requestParameters={
                        "integration.request.header.X-Amzn-SageMaker-Custom-Attributes": "'explain'",
                        "integration.request.header.accept": "method.request.header.Accept",
                    },
                    responses={
                        "2\\d{2}": {
                            "statusCode": "201",
                            "responseParameters": {
                                "method.response.header.ETag": "integration.response.header.etag",
                                "method.response.header.X-Own": "'own'",
                            },
                            "responseTemplates": {"text/plain": "got $input.path('$.a')"},
                        },
                        "default": {"statusCode": "502"},
                    },
                )
            }
        }
    )
    status, headers, body = apis.call("POST", "/x", b"[1]", accept="text/csv", content_type="text/csv")
    assert (status, body, headers[b"content-type"]) == (201, b"got 1", b"text/plain")
    assert headers[b"etag"] == b"x" and headers[b"x-own"] == b"own"
    name, sent, asked = apis.asked[0]
    assert (name, asked) == ("model", b"[1]") and sent[b"x-amzn-sagemaker-custom-attributes"] == b"explain"
    assert sent[b"accept"] == sent[b"content-type"] == b"text/csv"
    apis.answer = (404, [], b"")
    assert apis.call("POST", "/x")[0] == 502


@pytest.mark.parametrize(
    ("integration", "status", "says"),
    [
        ({"type": "http_proxy", "uri": "https://example.com"}, 501, "Only integrations of SageMaker and MOCK"),
        ({"passthroughBehavior": "never"}, 415, "Unsupported Media Type"),
        ({"requestTemplates": {"application/json": "#set($x)"}}, 500, "Internal server error"),
        ({"responses": {"201": {"statusCode": "201"}}}, 500, "Internal server error"),
        ({"responses": {"\\p{Digit}+": {"statusCode": "201"}}}, 500, "Internal server error"),
        ({"responses": {"default": {"statusCode": "2xx"}}}, 500, "Internal server error"),
        ({"timeoutInMillis": "soon"}, 500, "Internal server error"),
        ({"type": "mock", "requestTemplates": {"application/json": "[1]"}}, 500, "Internal server error"),
    ],
)
def test_what_api_gateway_says_by_itself(integration: dict[str, Any], status: int, says: str) -> None:
    shown = {"responseParameters": {"gatewayresponse.header.Access-Control-Allow-Origin": "'https://a.example'"}}
    kinds = {"DEFAULT_4XX": shown, "DEFAULT_5XX": shown}
    apis = Apis({"/x": {"post": operation(**integration)}}, **{"x-amazon-apigateway-gateway-responses": kinds})
    found, headers, body = apis.call("POST", "/x")
    assert found == status and says in json.loads(body)["message"]
    assert headers[b"Access-Control-Allow-Origin"] == b"https://a.example"


def test_a_model_that_takes_too_long_is_given_up() -> None:
    apis = Apis({"/x": {"post": operation(timeoutInMillis=20)}})

    async def never(*asked: Any) -> Any:
        await asyncio.sleep(60)

    apis.gateway = Gateway(lambda service: apis, never, apis._keys)
    assert apis.call("POST", "/x")[0] == 504


@pytest.mark.parametrize(
    "scheme",
    [
        {},
        {"x-amazon-apigateway-authorizer": {"type": "request", "authorizerUri": "arn:x"}},
        {"x-amazon-apigateway-authorizer": {"type": "cognito_user_pools", "providerARNs": ["arn:aws:iam::1:user/x"]}},
    ],
)
def test_who_can_not_be_asked_for_a_token_is_not_let_in(scheme: dict[str, Any]) -> None:
    method = {**operation(), "security": [{"people": []}]}
    apis = Apis({"/x": {"post": method}}, components={"securitySchemes": {"people": scheme}})
    assert apis.call("POST", "/x")[0] == 500 and not apis.asked


def test_a_status_or_header_that_http_has_not_is_an_error() -> None:
    template = "#set($context.responseOverride.status = $input.path('$.a'))x"
    shown = {"method.response.header.X-Q": "method.request.querystring.q"}
    answer = {"statusCode": "200", "responseTemplates": {"text/plain": template}, "responseParameters": shown}
    apis = Apis({"/x": {"post": operation(responses={"default": answer})}})
    for content, query, status in (
        (b'{"a": 299}', "q=1", 299),
        (b'{"a": 99}', "", 500),
        (b'{"a": 299}', "q=a%0d%0ab", 500),
    ):
        apis.answer = (200, [], content)
        assert apis.call("POST", "/x", query=query)[0] == status


def test_who_asks_for_a_signature_is_not_served_without_one() -> None:
    apis = Apis({"/x": {"post": {**operation(), "x-amazon-apigateway-auth": {"type": "aws_iam"}}}})
    assert apis.call("POST", "/x")[0] == 500 and not apis.asked
    assert apis.call("PURGE", "/x")[0] == 403


def settings_of(**of_each: dict[str, Any]) -> dict[str, Any]:
    return {"cacheClusterEnabled": True, "methodSettings": of_each}


def test_each_method_has_its_limit() -> None:
    limit = {"throttlingRateLimit": 0.001, "throttlingBurstLimit": 2}
    stage = settings_of(**{"*/*": limit, "~1x/GET": {"throttlingRateLimit": 1e6, "throttlingBurstLimit": 1e6}})
    apis = Apis({"/x": {"post": operation(), "get": operation()}, "/y": {"post": operation()}}, stage)
    assert [apis.call("POST", "/x")[0] for _ in range(4)] == [200, 200, 429, 429]
    assert [apis.call("POST", "/y")[0] for _ in range(3)] == [200, 200, 429]
    assert {apis.call("GET", "/x")[0] for _ in range(10)} == {200}


def test_answers_are_kept_by_what_the_key_says(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("groundplan.local.web.gateway.time.monotonic", lambda: now)
    cached = {"cachingEnabled": True, "cacheTtlInSeconds": 60}
    stage = settings_of(**{"~1x~1{id}/GET": cached, "~1x~1{id}/POST": cached})
    method = operation(cacheKeyParameters=["method.request.path.id"])
    apis = Apis({"/x/{id}": {"get": method, "post": method}}, stage)
    for path in ("/x/1", "/x/2", "/x/1"):
        assert apis.call("GET", path)[0] == 200
    assert len(apis.asked) == 2, "the third is the first's"
    apis.call("POST", "/x/1")
    apis.call("POST", "/x/1")
    assert len(apis.asked) == 4, "what a body asks is never kept"
    now = 161.0
    apis.gateway._apis.clear()
    apis.answer = (500, [], b"{}")
    apis.document["paths"]["/x/{id}"]["get"] = operation(
        cacheKeyParameters=["method.request.path.id"], responses={"default": {"statusCode": "503"}}
    )
    assert apis.call("GET", "/x/1")[0] == 503 and apis.call("GET", "/x/1")[0] == 503
    assert len(apis.asked) == 6, "neither too long, nor what failed"


def test_addresses_are_those_of_this_machine() -> None:
    made = {
        "url": "https://abc123.execute-api.eu-central-1.amazonaws.com/live",
        "client_id": "c",
        "user_pool_id": "eu-central-1_x",
    }
    found = front_end({"front_end": made}, "http://127.0.0.1:1")
    assert found["url"] == "http://127.0.0.1:1/_aws/execute-api/abc123/live"
    assert found["openid_configuration"].startswith("http://127.0.0.1:1/_aws/cognito-idp/eu-central-1_x/.well-known/")
    assert front_end({"front_end": None}, "http://127.0.0.1:1") == front_end({}, "http://127.0.0.1:1") == {}
