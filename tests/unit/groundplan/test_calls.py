"""What the local cloud records of the calls of processes that identify themselves, whatever client sent them."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest

from groundplan.local.calls import HIDDEN, Called, Recorder, caller_in, caller_key
from groundplan.local.moto.trail import event_of


def asked(
    service: str,
    method: str,
    path: str,
    query: str = "",
    body: bytes = b"",
    caller: str = "step.deploy",
    status: str = "200 OK",
    told: list[Called] | None = None,
    **headers: str,
) -> tuple[list[Any], bytes]:
    """The calls that are noted of one request, and the body that the application was given."""
    given: list[bytes] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        given.append(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        start_response(status, [])
        return [b""]

    key = caller_key(caller) if caller else "AKIAREAL"
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "HTTP_HOST": "127.0.0.1",
        "wsgi.url_scheme": "http",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": BytesIO(body),
        "HTTP_AUTHORIZATION": (
            f"AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host,"
            " Signature=0"
        ),
        **{(name if name == "CONTENT_TYPE" else f"HTTP_{name}"): value for name, value in headers.items()},
    }
    recorder = Recorder(application, told.append if told is not None else lambda _: None)
    recorder(environ, lambda *_: None)
    return json.loads(recorder.calls), given[0]


def of(service: str, operation: str, **parameters: Any) -> dict[str, Any]:
    return {"caller": "step.deploy", "service": service, "operation": operation, "parameters": parameters}


def test_s3_is_read_by_its_address_and_headers_alone() -> None:
    calls, body = asked("s3", "PUT", "/bucket/a/b.txt", body=b"secret", X_AMZ_SERVER_SIDE_ENCRYPTION="aws:kms")
    assert (
        calls[0]["parameters"].items()
        >= {
            "Bucket": "bucket",
            "Key": "a/b.txt",
            "ServerSideEncryption": "aws:kms",
        }.items()
    )
    assert body == b"secret" and "secret" not in json.dumps(calls)
    assert asked("s3", "GET", "/bucket", "list-type=2&prefix=a/")[0][0]["operation"] == "ListObjectsV2"
    assert asked("s3", "GET", "/bucket/a", "versionId=1")[0][0]["parameters"] == {
        "Bucket": "bucket",
        "Key": "a",
        "VersionId": "1",
    }
    assert asked("s3", "HEAD", "/bucket/a", status="404 NOT FOUND")[0][0]["missing"] is True


def test_every_protocol_is_read() -> None:
    target = {"X_AMZ_TARGET": "SageMaker.CreateModel", "CONTENT_TYPE": "application/x-amz-json-1.1"}
    request = {
        "ModelName": "m",
        "ExecutionRoleArn": "arn:aws:iam::1:role/r",
        "PrimaryContainer": {"Image": "i"},
        "Tags": [{"Key": "b", "Value": "x"}, {"Key": "a", "Value": "y"}],
    }
    calls, body = asked("sagemaker", "POST", "/", body=json.dumps(request).encode(), **target)
    assert (
        calls
        == [of("sagemaker", "CreateModel", ModelName="m", ExecutionRoleArn="arn:aws:iam::1:role/r", Tags=["a", "b"])]
        and json.loads(body) == request
    )
    form = b"Action=Publish&Version=2010-03-31&TopicArn=arn%3Aaws%3Asns%3Aus-east-1%3A1%3At&Message=" + b"x" * 400
    calls, _ = asked("sns", "POST", "/", body=form, CONTENT_TYPE="application/x-www-form-urlencoded")
    assert calls == [of("sns", "Publish", TopicArn="arn:aws:sns:us-east-1:1:t")], "a message is no name"
    items = {"RequestItems": {"u": [], "t": []}}
    calls, _ = asked(
        "dynamodb",
        "POST",
        "/",
        body=json.dumps(items).encode(),
        X_AMZ_TARGET="DynamoDB_20120810.BatchWriteItem",
        CONTENT_TYPE="application/x-amz-json-1.0",
    )
    assert calls == [of("dynamodb", "BatchWriteItem", RequestItems=["t", "u"])]


@pytest.mark.parametrize("caller", ["", "step.x"])
def test_who_has_no_name_is_not_noted(caller: str) -> None:
    calls, _ = asked("s3", "GET", "/bucket/a", caller=caller)
    assert bool(calls) == bool(caller)


def test_what_can_not_be_read_is_left_to_the_server() -> None:
    calls, body = asked(
        "sagemaker", "POST", "/", body=b"{", X_AMZ_TARGET="SageMaker.Nothing", CONTENT_TYPE="application/x-amz-json-1.1"
    )
    assert calls == [] and body == b"{"
    assert caller_in("Bearer x") == ("", "") and caller_in(
        "AWS4-HMAC-SHA256 Credential=testing/1/r/s3/aws4_request"
    ) == ("", "")


def events(*arguments: Any, **more: Any) -> list[dict[str, Any]]:
    told: list[Called] = []
    asked(*arguments, **more, told=told)
    return [event for called in told if (event := event_of(called)) is not None]


def test_the_trail_is_told_of_every_caller_in_cloudtrail_s_form() -> None:
    update = {"EndpointName": "e", "EndpointConfigName": "c"}
    told = {"X_AMZ_TARGET": "SageMaker.UpdateEndpoint", "CONTENT_TYPE": "application/x-amz-json-1.1"}
    body = json.dumps(update).encode()
    (ours,) = events("sagemaker", "POST", "/", body=body, **told)
    assert ours["userIdentity"]["arn"] == "arn:aws:sts::123456789012:assumed-role/step.deploy/groundplan"
    assert ours["requestParameters"] == {"endpointName": "e", "endpointConfigName": "c"} and not ours["readOnly"]
    assert (ours["eventSource"], ours["eventName"]) == ("sagemaker.amazonaws.com", "UpdateEndpoint")
    assert "errorCode" not in ours and ours["eventCategory"] == "Management"
    (theirs,) = events("sagemaker", "POST", "/", body=body, caller="", status="400 BAD REQUEST", **told)
    assert theirs["userIdentity"]["arn"] == "arn:aws:iam::123456789012:user/AKIAREAL" and theirs["errorCode"]
    (stored,) = events("s3", "PUT", "/bucket/a/b.txt", body=b"secret")
    assert stored["eventCategory"] == "Data" and stored["resources"][0]["ARN"] == "arn:aws:s3:::bucket/a/b.txt"
    assert events("dynamodb", "POST", "/", X_AMZ_TARGET="DynamoDB_20120810.GetItem", body=b"{}") == []


@pytest.mark.parametrize(
    ("service", "target", "given"),
    [
        ("secretsmanager", "secretsmanager.PutSecretValue", {"SecretId": "s", "SecretString": "hush"}),
        (
            "cognito-idp",
            "AWSCognitoIdentityProviderService.AdminSetUserPassword",
            {"Username": "u", "Password": "hush"},
        ),
        ("ssm", "AmazonSSM.PutParameter", {"Name": "n", "Value": "hush"}),
    ],
)
def test_secrets_are_in_no_trail(service: str, target: str, given: dict[str, str]) -> None:
    body = json.dumps(given).encode()
    (found,) = events(service, "POST", "/", body=body, X_AMZ_TARGET=target, CONTENT_TYPE="application/x-amz-json-1.1")
    assert "hush" not in json.dumps(found) and HIDDEN in json.dumps(found)
