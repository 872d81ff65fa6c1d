"""The evaluation of permissions beyond AWS's examples: undecided cases, invalid documents, what a call needs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policies.iam import UNKNOWN, Policies, Request, evaluate, read
from policies.iam.actions import action_exists, needed
from policies.iam.conditions import known
from policies.iam.matching import arn_fits, fits

ACCOUNT, REGION = "123456789012", "eu-central-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/worker"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"


def outcome(statement: Any, resource: str = "arn:aws:s3:::b/k", action: str = "s3:GetObject", **request: Any) -> str:
    policies = Policies(
        identity=(
            read(
                {"Version": "2012-10-17", "Statement": [*statement] if isinstance(statement, list) else [statement]},
                "own",
            ),
        )
    )
    return evaluate(Request(action, resource, ROLE, **request), policies).outcome


def allow(resource: Any, action: str = "s3:GetObject", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


@pytest.mark.parametrize(
    ("statement", "request_", "wanted"),
    [
        (allow(UNKNOWN), {}, "undecided"),
        (allow([UNKNOWN, "arn:aws:s3:::b/*"]), {}, "allowed"),
        (allow(f"arn:aws:s3:::{UNKNOWN}/*"), {}, "undecided"),
        (allow(f"arn:aws:sqs:::{UNKNOWN}"), {}, "denied"),
        (
            allow("*", Condition={"StringEquals": {"aws:SourceVpce": "vpce-1"}}),
            {"open_keys": ("aws:SourceVpce",)},
            "undecided",
        ),
        (allow("*", Condition={"StringEquals": {"aws:SourceVpce": "vpce-1"}}), {}, "denied"),
        (
            allow("*", Condition={"StringEquals": {"aws:ResourceTag/team": "x"}}),
            {"open_keys": ("aws:ResourceTag/*",)},
            "undecided",
        ),
        (
            allow("*", Condition={"StringEquals": {"aws:PrincipalTag/team": UNKNOWN}}),
            {"context": {"aws:PrincipalTag/team": "x"}},
            "undecided",
        ),
        (
            allow("*", Condition={"StringEquals": {"k": "x"}}),
            {"context": {"k": ["x", "y"]}},
            "undecided",
        ),  # no qualifier, several values
        ([allow("*"), {"Effect": "Deny", "Action": "s3:*", "Resource": UNKNOWN}], {}, "undecided"),
        ([allow("*"), {"Effect": "Deny", "Action": "sqs:*", "Resource": UNKNOWN}], {}, "allowed"),
    ],
)
def test_what_a_preview_cant_tell_is_undecided_and_nothing_else_is(
    statement: Any, request_: dict[str, Any], wanted: str
) -> None:
    assert outcome(statement, **request_) == wanted


def test_a_document_that_only_a_deployment_can_tell_allows_and_denies_nothing_for_sure() -> None:
    hidden, open_ = read(UNKNOWN, "later"), read({"Version": "2012-10-17", "Statement": allow("*")}, "own")
    request = Request("s3:GetObject", "arn:aws:s3:::b/k", ROLE)
    assert evaluate(request, Policies(identity=(hidden,))).outcome == "undecided"
    assert evaluate(request, Policies(identity=(open_, hidden))).outcome == "undecided", "it may hold a denial"
    assert evaluate(request, Policies(identity=(open_,), boundary=(hidden,))).outcome == "undecided"


@pytest.mark.parametrize(
    ("pattern", "value", "wanted"),
    [
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b/k", True),
        ("arn:aws:s3:::*/k", "arn:aws:s3:::b/k", True),  # S3's ARNs have no type
        ("arn:aws:iam::*:role/x", "arn:aws:iam::123456789012:role/x", True),
        ("arn:aws:sagemaker:*:*:*/x", "arn:aws:sagemaker:eu-west-1:1:model/x", None),
        ("arn:aws:sagemaker:*:*:model/*", "arn:aws:sagemaker:eu-west-1:1:model/x", True),
        ("arn:aws:sagemaker:*:model/x", "arn:aws:sagemaker:eu-west-1:1:model/x", False),
        ("arn:aws:s3*", "arn:aws:s3:::b", None),
        ("*", "*", True),
        ("arn:aws:s3:::b", "*", False),
        ("arn:aws:eks:r:1:nodegroup/c/*", f"arn:aws:eks:r:1:nodegroup/c/n/{UNKNOWN}", True),
        ("arn:aws:eks:r:1:nodegroup/d/*", f"arn:aws:eks:r:1:nodegroup/c/n/{UNKNOWN}", False),
    ],
)
def test_arns(pattern: str, value: str, wanted: bool | None) -> None:
    assert arn_fits(pattern, value) is wanted


def test_characters_of_expressions_are_characters() -> None:
    assert fits("a.c", "abc") is False and fits("a+(b)[c]", "a+(b)[c]") is True and fits("a?c", "a\nc") is True


@pytest.mark.parametrize(
    "operator", ["StringEquals", "ForAnyValue:StringLikeIfExists", "forallvalues:arnnotlike", "Null", "NotIpAddress"]
)
def test_operators_that_iam_knows(operator: str) -> None:
    assert known(operator)


@pytest.mark.parametrize("operator", ["StringEqual", "NullIfExists", "ForEach:StringLike", "BinaryLike"])
def test_an_operator_that_iam_does_not_know_is_an_error(operator: str) -> None:
    with pytest.raises(ValueError, match=operator):
        outcome(allow("*", Condition={operator: {"k": "v"}}))


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "own: is not valid JSON"),
        ([], "own: has no Statement"),
        ({"Statement": [{"Effect": "allow"}]}, "neither the effect Allow nor Deny"),
    ],
)
def test_a_document_that_is_none_is_an_error(document: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(document, "own")


def test_a_decision_names_the_statement() -> None:
    policy = read(
        json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [allow("*"), {"Sid": "No", "Effect": "Deny", "Action": "*", "Resource": "*"}],
            }
        ),
        "own",
    )
    assert (
        evaluate(Request("s3:GetObject", "arn:aws:s3:::b/k", ROLE), Policies(identity=(policy,))).reason
        == "own, statement No denies it (its own policy)"
    )
    reason = evaluate(
        Request("kms:Decrypt", KEY, ROLE), Policies(identity=(read({"Statement": allow("*", "kms:*")}, "own"),))
    ).reason
    assert reason == "the key's policy does not name it"


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "wanted"),
    [
        ("s3", "ListObjectsV2", {"Bucket": "b", "Prefix": "p/"}, [("s3:ListBucket", "arn:aws:s3:::b")]),
        ("s3", "HeadObject", {"Bucket": "b", "Key": "k"}, [("s3:GetObject", "arn:aws:s3:::b/k")]),
        (
            "s3",
            "GetObject",
            {"Bucket": "b", "Key": "k", "VersionId": "1"},
            [("s3:GetObjectVersion", "arn:aws:s3:::b/k")],
        ),
        ("s3", "UploadPart", {"Bucket": "b", "Key": "k"}, [("s3:PutObject", "arn:aws:s3:::b/k")]),
        (
            "s3",
            "CopyObject",
            {"Bucket": "b", "Key": "k", "CopySource": "/c/j"},
            [("s3:PutObject", "arn:aws:s3:::b/k"), ("s3:GetObject", "arn:aws:s3:::c/j")],
        ),
        (
            "s3",
            "DeleteObjects",
            {"Bucket": "b", "Delete": [{"Key": "k"}, {"Key": "l", "VersionId": "1"}]},
            [("s3:DeleteObject", "arn:aws:s3:::b/k"), ("s3:DeleteObjectVersion", "arn:aws:s3:::b/l")],
        ),
        ("s3", "ListBuckets", {}, [("s3:ListAllMyBuckets", "*")]),
        ("monitoring", "PutMetricData", {"Namespace": "n"}, [("cloudwatch:PutMetricData", "*")]),
        (
            "dynamodb",
            "BatchGetItem",
            {"RequestItems": ["t", "u"]},
            [
                ("dynamodb:BatchGetItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/t"),
                ("dynamodb:BatchGetItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/u"),
            ],
        ),
        (
            "secretsmanager",
            "GetSecretValue",
            {"SecretId": "s"},
            [("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:s-AbCdEf")],
        ),
        (
            "sagemaker",
            "CreateModel",
            {"ModelName": "m", "ExecutionRoleArn": ROLE, "Tags": ["a"]},
            [
                ("sagemaker:CreateModel", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model/m"),
                ("sagemaker:AddTags", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model/m"),
                ("iam:PassRole", ROLE),
            ],
        ),
        (
            "lambda",
            "Invoke",
            {"FunctionName": "f"},
            [("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f")],
        ),
    ],
)
def test_a_call_needs_what_aws_says(
    service: str, operation: str, parameters: dict[str, Any], wanted: list[tuple[str, str]]
) -> None:
    assert [(need.action, need.resource) for need in needed(service, operation, parameters, REGION, ACCOUNT)] == wanted


def test_of_an_object_that_is_not_there_only_who_may_list_is_told() -> None:
    assert [
        need.action for need in needed("s3", "GetObject", {"Bucket": "b", "Key": "k"}, REGION, ACCOUNT, missing=True)
    ] == ["s3:GetObject", "s3:ListBucket"]


def test_an_operation_without_action_is_an_error() -> None:
    assert action_exists("s3:GetObject") and not action_exists("s3:FetchObject") and not action_exists("s4:GetObject")
    with pytest.raises(ValueError, match="no action sagemaker:CreateEndpoints"):
        needed("sagemaker", "CreateEndpoints", {}, REGION, ACCOUNT)
