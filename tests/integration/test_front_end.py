"""A web page calls a model: the component's interface and Cognito's sign-in, played by the local cloud; with ordinary
clients, and in a browser.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import json
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import jwt
import pytest

from components.models.front_end_api import Called, definition
from groundplan.local.home import State
from groundplan.local.web.addresses import front_end
from spec.outputs import Outputs
from tests.conftest import ROOT
from tests.integration.test_hosting import NAME, eventually, hosting, two_models

__all__ = ["hosting", "two_models"]  # fixtures
USER, PASSWORD = "ada@example.com", "Correct-horse-9 & <b>"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ROWS = {"instances": [[1, 1]]}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The origin of a web server of its own, and the folder that it serves: the example of the docs."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copy(ROOT / "docs" / "front-end" / "index.html", folder)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}", folder
        server.shutdown()


@pytest.fixture
def config(
    outputs: Outputs, state: State, aws: Any, page: tuple[str, Path], two_models: tuple[str, str]
) -> dict[str, str]:
    """The platform's sign-in, and an interface of its own for the page and the endpoint of these tests."""
    origin, folder = page
    assert outputs.front_end is not None
    pool, cognito, gateway = outputs.front_end.user_pool_id, aws("cognito-idp"), aws("apigateway")
    back = [f"{origin}/"]
    client = cognito.create_user_pool_client(
        UserPoolId=pool,
        ClientName="test",
        CallbackURLs=back,
        LogoutURLs=back,
        AllowedOAuthFlows=["code"],
        AllowedOAuthFlowsUserPoolClient=True,
        AllowedOAuthScopes=["openid", "email"],
    )["UserPoolClient"]["ClientId"]
    if not cognito.list_users(UserPoolId=pool)["Users"]:
        cognito.admin_create_user(UserPoolId=pool, Username=USER)
        cognito.admin_set_user_password(UserPoolId=pool, Username=USER, Password=PASSWORD, Permanent=True)
    document = definition(
        "test",
        {"probe": Called(endpoint=NAME, peak=50, key="id")},
        origin,
        outputs.region,
        f"arn:aws:iam::{outputs.account_id}:role/front-end",
        cognito.describe_user_pool(UserPoolId=pool)["UserPool"]["Arn"],
        cached=True,
    )
    api = gateway.create_rest_api(name="test")["id"]
    gateway.put_rest_api(restApiId=api, mode="overwrite", body=json.dumps(document).encode())
    deployed = gateway.create_deployment(restApiId=api)["id"]
    gateway.create_stage(restApiId=api, stageName="live", deploymentId=deployed, cacheClusterEnabled=True)
    found = front_end(
        {
            "front_end": {
                "url": f"https://{api}.execute-api.{outputs.region}.amazonaws.com/live",
                "client_id": client,
                "user_pool_id": pool,
            }
        },
        state.services["router"].url,
    )
    (folder / "config.json").write_text(json.dumps(found))
    return {**found, "origin": origin, "api": api}


def signed_in(config: dict[str, str], password: str = PASSWORD, **more: str) -> httpx.Response:
    """The answer to the sign-in's form; with PKCE's verifier as `config["verifier"]`."""
    provider = httpx.get(config["openid_configuration"]).json()
    config["verifier"] = secrets.token_urlsafe(48)
    digest = hashlib.sha256(config["verifier"].encode()).digest()
    asked = {
        "client_id": config["client_id"],
        "redirect_uri": f"{config['origin']}/",
        "response_type": "code",
        "state": "a state",
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        **more,
    }
    assert "Sign in" in httpx.get(provider["authorization_endpoint"], params=asked).text
    form = {**asked, "username": USER, "password": password}
    return httpx.post(provider["authorization_endpoint"], data=form)


def exchanged(config: dict[str, str], answer: httpx.Response, **other: str) -> httpx.Response:
    code = dict(parse_qsl(urlsplit(answer.headers["location"]).query))["code"]
    given = {
        "grant_type": "authorization_code",
        "client_id": config["client_id"],
        "redirect_uri": f"{config['origin']}/",
        "code": code,
        "code_verifier": config["verifier"],
    }
    provider = httpx.get(config["openid_configuration"]).json()
    return httpx.post(provider["token_endpoint"], data={**given, **other})


@pytest.fixture
def token(config: dict[str, str]) -> str:
    return str(exchanged(config, signed_in(config)).json()["id_token"])


def ask(config: dict[str, str], token: str, method: str = "POST", path: str = "/probe/invocations", **more: Any) -> Any:
    headers = {"origin": config["origin"], **({"authorization": token} if token else {}), **more.pop("headers", {})}
    return httpx.request(method, config["url"] + path, headers=headers, **more)


def test_a_signed_in_page_gets_predictions_and_explanations(config: dict[str, str], token: str) -> None:
    answer = ask(config, token, json=ROWS)
    assert answer.status_code == 200 and answer.json()["predictions"][0] == pytest.approx(10, abs=10.1)
    assert answer.headers["access-control-allow-origin"] == config["origin"]
    assert ask(config, f"Bearer {token}", json=ROWS).status_code == 200
    explained = ask(config, token, path="/probe/explain", json=ROWS)
    assert explained.status_code == 200 and explained.json()["explanations"][0]["shap_values"].keys() == {"a", "b"}
    table = ask(config, token, content="a,b\n1,1\n", headers={"content-type": "text/csv"})
    assert table.status_code == 200


def test_the_servers_own_refusals_reach_the_page(config: dict[str, str], token: str) -> None:
    refused = ask(config, token, json={"instances": [[1]]})
    assert refused.status_code == 400 and refused.json()["error"] == "Row 0 has 1 values; 2 columns are expected."
    assert refused.headers["access-control-allow-origin"] == config["origin"]
    assert ask(config, token, content="{").status_code == 400
    assert ask(config, token, content=b" " * 7_000_000).status_code == 413
    by_key = ask(config, token, "GET", "/probe/predictions/x")
    assert by_key.status_code == 400 and "no online features" in by_key.json()["error"]


@pytest.mark.parametrize("kind", ["none", "nonsense", "access", "another pool", "another key", "unsigned"])
def test_without_a_valid_token_nothing_is_answered(config: dict[str, str], token: str, aws: Any, kind: str) -> None:
    claims = jwt.decode(token, options={"verify_signature": False})
    if kind == "access":
        other = exchanged(config, signed_in(config)).json()["access_token"]
    elif kind == "another pool":
        cognito = aws("cognito-idp")
        pool = cognito.create_user_pool(PoolName="other")["UserPool"]["Id"]
        client = cognito.create_user_pool_client(UserPoolId=pool, ClientName="other")["UserPoolClient"]["ClientId"]
        cognito.admin_create_user(UserPoolId=pool, Username="eve")
        cognito.admin_set_user_password(UserPoolId=pool, Username="eve", Password=PASSWORD, Permanent=True)
        other = cognito.admin_initiate_auth(
            UserPoolId=pool,
            ClientId=client,
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": "eve", "PASSWORD": PASSWORD},
        )["AuthenticationResult"]["IdToken"]
    elif kind == "another key":
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        other = jwt.encode(claims, key, algorithm="RS256", headers={"kid": jwt.get_unverified_header(token)["kid"]})
    else:
        other = {"none": "", "nonsense": "x.y.z", "unsigned": jwt.encode(claims, None, algorithm="none")}[kind]
    answer = ask(config, other, json=ROWS)
    assert answer.status_code == 401 and answer.json() == {"message": "Unauthorized"}
    assert answer.headers["access-control-allow-origin"] == config["origin"], "or the page can't read that it is out"


def test_an_expired_token_is_told_apart(config: dict[str, str], token: str) -> None:
    from moto.utilities.utils import load_resource

    own = load_resource("cognitoidp/resources/jwks-private.json")
    claims = {**jwt.decode(token, options={"verify_signature": False}), "exp": int(time.time()) - 1}
    old = jwt.encode(claims, jwt.PyJWK(own, "RS256").key, "RS256", jwt.get_unverified_header(token))
    answer = ask(config, old, json=ROWS)
    assert (answer.status_code, answer.json()) == (401, {"message": "The incoming token has expired"})


def test_browsers_are_told_what_the_page_may_do(config: dict[str, str]) -> None:
    told = ask(config, "", "OPTIONS", headers={"access-control-request-method": "POST"})
    assert told.status_code == 204 and told.content == b""
    assert told.headers["access-control-allow-methods"] == "POST"
    assert "Authorization" in told.headers["access-control-allow-headers"]
    unknown = ask(config, "", "GET", "/nothing")
    assert (unknown.status_code, unknown.json()) == (403, {"message": "Missing Authentication Token"}), "as on AWS"
    elsewhere = httpx.get(config["url"].replace("/live", "/other"))
    assert (elsewhere.status_code, elsewhere.json()) == (403, {"message": "Forbidden"})


def test_more_than_the_limit_is_throttled_and_answers_by_key_are_kept(
    config: dict[str, str], token: str, aws: Any
) -> None:
    change = [
        {"op": "replace", "path": f"/~1probe~1{path}/{setting}", "value": value}
        for path, setting, value in (
            ("invocations/POST", "throttling/rateLimit", "0.1"),
            ("invocations/POST", "throttling/burstLimit", "3"),
            ("predictions~1{key}/GET", "caching/enabled", "true"),
            ("predictions~1{key}/GET", "caching/ttlInSeconds", "1"),
        )
    ]
    aws("apigateway").update_stage(restApiId=config["api"], stageName="live", patchOperations=change)
    statuses = [ask(config, token, json=ROWS).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    assert ask(config, token, path="/probe/explain", json=ROWS).status_code == 200, "it has a limit of its own"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"redirect_uri": "https://evil.example/"}, "redirect_uri is https://evil.example/; this application's are"),
        ({"client_id": "another"}, "client_id names no application"),
        ({"response_type": "token"}, "response_type must be code"),
        ({"code_challenge_method": "plain"}, "code_challenge_method must be S256"),
        ({"scope": "openid admin"}, "scope has admin; this application's are: openid, email"),
        ({"redirect_uri": '"><script>'}, "&quot;&gt;&lt;script&gt;"),
    ],
)
def test_the_sign_in_sends_nobody_elsewhere(config: dict[str, str], changed: dict[str, str], says: str) -> None:
    answer = signed_in(config, **changed)
    assert answer.status_code == 400 and "location" not in answer.headers
    assert says.replace("'", "&#x27;") in answer.text


def test_a_code_is_exchanged_once_by_who_began(config: dict[str, str]) -> None:
    wrong = signed_in(config, "wrong")
    assert wrong.status_code == 400 and "The e-mail or the password is not right." in wrong.text
    answer = signed_in(config)
    assert dict(parse_qsl(urlsplit(answer.headers["location"]).query))["state"] == "a state"
    assert exchanged(config, answer, code_verifier="another").json() == {"error": "invalid_grant"}
    assert exchanged(config, answer).json() == {"error": "invalid_grant"}, "a code that was tried is used up"
    tokens = exchanged(config, signed_in(config)).json()
    again = exchanged(config, signed_in(config), grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert ask(config, again.json()["id_token"], json=ROWS).status_code == 200
    provider = httpx.get(config["openid_configuration"]).json()
    keys = jwt.PyJWKClient(provider["jwks_uri"]).get_signing_key_from_jwt(tokens["id_token"])
    claims = jwt.decode(
        tokens["id_token"], keys.key, ["RS256"], audience=config["client_id"], issuer=provider["issuer"]
    )
    assert claims["token_use"] == "id"


def test_a_temporary_password_is_told(config: dict[str, str], outputs: Outputs, aws: Any) -> None:
    assert outputs.front_end is not None
    pool, cognito = outputs.front_end.user_pool_id, aws("cognito-idp")
    cognito.admin_set_user_password(UserPoolId=pool, Username=USER, Password="Temporary-1 horse", Permanent=False)
    try:
        answer = signed_in(config, "Temporary-1 horse")
        assert answer.status_code == 400 and "NEW_PASSWORD_REQUIRED" in answer.text
        assert "admin-set-user-password --permanent" in answer.text
    finally:
        cognito.admin_set_user_password(UserPoolId=pool, Username=USER, Password=PASSWORD, Permanent=True)


def test_what_the_program_made_is_what_clients_see(outputs: Outputs, aws: Any, state: State) -> None:
    assert outputs.front_end is not None
    api = urlsplit(outputs.front_end.url).hostname.partition(".")[0]  # type: ignore[union-attr]
    gateway = aws("apigateway")
    methods = {
        (resource["path"], verb): method["authorizationType"]
        for resource in gateway.get_resources(restApiId=api, embed=["methods"])["items"]
        for verb, method in resource.get("resourceMethods", {}).items()
    }
    assert methods["/flights-late/predictions/{key}", "GET"] == "COGNITO_USER_POOLS"
    assert methods["/diabetes-rf/explain", "POST"] == "COGNITO_USER_POOLS"
    assert {kind for (_, verb), kind in methods.items() if verb == "OPTIONS"} == {"NONE"}
    stage = gateway.get_stage(restApiId=api, stageName="live")
    assert stage["cacheClusterEnabled"] and stage["webAclArn"] and stage["accessLogSettings"]
    kept = stage["methodSettings"]["~1diabetes-rf~1predictions~1{key}/GET"]
    assert kept["cachingEnabled"] and kept["cacheTtlInSeconds"] == 60 and kept["throttlingRateLimit"] == 5
    client = aws("cognito-idp").describe_user_pool_client(
        UserPoolId=outputs.front_end.user_pool_id, ClientId=outputs.front_end.client_id
    )["UserPoolClient"]
    assert client["CallbackURLs"] == ["http://localhost:3000/"] and "ClientSecret" not in client
    assert client["AllowedOAuthFlows"] == ["code"]


def test_a_browser_signs_in_and_asks(config: dict[str, str]) -> None:
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no browser is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(f"{config['origin']}/")
        tab.get_by_role("button", name="Sign in").click()
        tab.get_by_label("E-mail").fill(USER)
        tab.get_by_label("Password").fill("wrong")
        tab.get_by_role("button", name="Sign in").click()
        tab.get_by_text("The e-mail or the password is not right.").wait_for()
        tab.get_by_label("E-mail").fill(USER)
        tab.get_by_label("Password").fill(PASSWORD)
        tab.get_by_role("button", name="Sign in").click()
        tab.get_by_text("Signed in as").wait_for()
        assert tab.url == f"{config['origin']}/", "neither code nor state stays in the address"
        tab.get_by_label("Model").fill("probe")
        tab.get_by_label("Request").fill(json.dumps(ROWS))
        tab.get_by_role("button", name="Predict").click()
        tab.get_by_text('"predictions"').wait_for()
        tab.get_by_role("button", name="Explain").click()
        tab.get_by_text('"shap_values"').wait_for()
        tab.get_by_label("Request").fill('{"instances": [[1]]}')
        tab.get_by_role("button", name="Predict").click()
        tab.get_by_text("Row 0 has 1 values; 2 columns are expected.").wait_for()
        # Another page on this machine may not read answers, even with a token.
        read = """async ([url, body]) => {
          try { return (await fetch(url, {method: "POST", headers: {authorization: "x"}, body})).status }
          catch (error) { return error.name }
        }"""
        assert tab.evaluate(read, [f"{config['url']}/probe/invocations", "{}"]) == 401
        tab.goto(config["origin"].replace("localhost", "127.0.0.1") + "/config.json")
        assert tab.evaluate(read, [f"{config['url']}/probe/invocations", "{}"]) == "TypeError"
        tab.goto(f"{config['origin']}/")
        tab.get_by_text("Sign in to ask.").wait_for()
        browser.close()


def test_what_is_kept_is_answered_again_and_again(config: dict[str, str], aws: Any) -> None:
    """Through the router: what it adds to an answer must not stay in the cache."""
    gateway = aws("apigateway")
    reply = {"statusCode": "200", "responseTemplates": {"application/json": "$context.requestId"}}
    mock = {
        "type": "mock",
        "requestTemplates": {"application/json": '{"statusCode": 200}'},
        "responses": {"default": reply},
    }
    get = {"get": {"responses": {"200": {"description": ""}}, "x-amazon-apigateway-integration": mock}}
    body = {"openapi": "3.0.1", "info": {"title": "kept"}, "paths": {"/x/": {**get, "parameters": []}, "/n": None}}
    api = gateway.import_rest_api(body=json.dumps(body).encode())["id"]
    more = {**body, "paths": {"/y": {"x-amazon-apigateway-any-method": get["get"]}}}
    gateway.put_rest_api(restApiId=api, mode="merge", body=json.dumps(more).encode())
    deployed = gateway.create_deployment(restApiId=api)["id"]
    gateway.create_stage(restApiId=api, stageName="v1", deploymentId=deployed, cacheClusterEnabled=True)
    setting = {"op": "replace", "path": "/~1x~1/GET/caching/enabled", "value": "true"}
    gateway.update_stage(restApiId=api, stageName="v1", patchOperations=[setting])
    url = config["url"].partition("/_aws")[0] + f"/_aws/execute-api/{api}/v1"
    answers = [httpx.get(f"{url}/x/") for _ in range(4)]
    assert {answer.status_code for answer in answers} == {200} and len({answer.text for answer in answers}) == 1
    assert all(len(answer.headers.get_list("content-length")) == 1 for answer in answers)
    assert len({answer.headers["x-amzn-requestid"] for answer in answers}) == 4
    assert httpx.put(f"{url}/y").status_code == 200
    methods = {
        (resource["path"], verb)
        for resource in gateway.get_resources(restApiId=api)["items"]
        for verb in resource.get("resourceMethods", {})
    }
    assert methods == {("/x", "GET"), ("/y", "ANY")}
    for wrong in (
        b"[]",
        b'{"openapi": "3.0.1", "info": {}, "paths": {"/x": {"get": {"x-amazon-apigateway-integration": {}}}}}',
    ):
        with pytest.raises(gateway.exceptions.BadRequestException):
            gateway.put_rest_api(restApiId=api, mode="overwrite", body=wrong)
    root = url.partition("/execute-api")[0]
    assert [
        httpx.get(f"{root}{path}").status_code
        for path in ("/", "/x", "/cognito", "/cognito-idp//.well-known/openid-configuration")
    ] == [404] * 4


def test_the_interface_follows_what_is_put_later(config: dict[str, str], token: str, aws: Any) -> None:
    gateway = aws("apigateway")
    document = json.loads(
        gateway.get_export(
            restApiId=config["api"], stageName="live", exportType="oas30", parameters={"extensions": "apigateway"}
        )["body"].read()
    )
    document["paths"].pop("/probe/explain")
    gateway.put_rest_api(restApiId=config["api"], mode="overwrite", body=json.dumps(document).encode())
    until = time.monotonic() + 20
    eventually(lambda: ask(config, token, path="/probe/explain", json=ROWS).status_code == 403)
    assert time.monotonic() < until and ask(config, token, json=ROWS).status_code == 200
