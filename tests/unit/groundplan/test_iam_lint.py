"""The lint of IAM documents: what AWS refuses, and permissions that reach further than they look."""

from __future__ import annotations

import json
from typing import Any

import pytest

from groundplan.review.iam import lint
from groundplan.review.model import Finding, Resource


def faults(*statements: dict[str, Any], kind: str = "aws:iam/policy:Policy", key: str = "policy") -> dict[str, Finding]:
    inputs: dict[str, Any] = {key: json.dumps({"Version": "2012-10-17", "Statement": statements})}
    found, _ = lint((Resource("urn:p", kind, "p", "", True, inputs),))
    return {item.policy: item for item in found}


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


@pytest.mark.parametrize(
    "action",
    [
        "kms:CreateGrant", "kms:PutKeyPolicy", "s3:PutBucketPolicy", "lambda:AddPermission", "sns:AddPermission",
        "ecr:SetRepositoryPolicy", "secretsmanager:PutResourcePolicy", "sqs:SetQueueAttributes", "s3:PutObject",
        "ec2:ModifySnapshotAttribute", "ec2:ModifyImageAttribute", "ec2:TerminateInstances",
    ],
)  # fmt: skip
@pytest.mark.parametrize("on", ["*", "everything of the service"])
def test_what_writes_names_its_resources(action: str, on: str) -> None:
    target = "*" if on == "*" else f"arn:aws:{action.partition(':')[0]}:*:*:*".replace("s3:*:*", "s3::")
    assert "iam-resource-named" in faults(allow(action, target))
    named = f"arn:aws:{action.partition(':')[0]}:eu-west-1:123456789012:app"
    assert "iam-resource-named" not in faults(allow(action, named))


@pytest.mark.parametrize(
    "action",
    ["cloudwatch:PutMetricData", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterfacePermission", "ec2:CreateTags",
     "xray:PutTraceSegments", "s3:ListAllMyBuckets"],
)  # fmt: skip
def test_what_has_no_resource_to_name_is_allowed_on_all(action: str) -> None:
    assert "iam-resource-named" not in faults(allow(action))


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (allow("s3:GetObject", Sid="read it"), "has the Sid 'read it', which may have letters and digits only"),
        (allow("s3:GetObject", Principal="*"), "has a Principal, which only policies of resources have"),
        (allow("sqs:SendMessage", "https://sqs.eu-west-1.amazonaws.com/1/q"), "which is neither an ARN nor *"),
        (allow("s3:GetObject", "app/*"), "names 'app/*', which is neither an ARN nor *"),
        (allow("s3:GetObject", [f"arn:aws:s3:::{'long' * 15}-{n}/*" for n in range(90)]), "6144 at most"),
    ],
)
def test_what_iam_refuses(statement: dict[str, Any], says: str) -> None:
    assert says in faults(statement)["iam-malformed"].message


def test_a_sid_stands_once() -> None:
    twice = (allow("s3:GetObject", "arn:aws:s3:::a/*", Sid="A"), allow("s3:PutObject", "arn:aws:s3:::a/*", Sid="A"))
    assert faults(*twice)["iam-malformed"].message == "Two statements have the Sid A"


def test_policies_of_resources_have_other_rules() -> None:
    statement = allow("kms:*", Principal={"AWS": "arn:aws:iam::123456789012:root"}, Sid="Enable IAM User Permissions")
    assert "iam-malformed" not in faults(statement, statement, kind="aws:kms/key:Key")
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}, "Sid": ""}
    assert not faults(trust, kind="aws:iam/role:Role", key="assumeRolePolicy")


@pytest.mark.parametrize(
    ("operator", "exists"),
    [
        ("StringEquals", True), ("stringequals", True), ("ForAnyValue:StringLike", True), ("ArnNotLikeIfExists", True),
        ("BoolIfExists", True), ("Null", True), ("NumericLessThanEquals", True), ("StringEqual", False),
        ("StringEqualz", False), ("ForAny:StringLike", False), ("NullIfExists", False), ("ARNMatches", False),
    ],
)  # fmt: skip
def test_an_operator_is_one_that_iam_has(operator: str, exists: bool) -> None:
    statement = allow("s3:GetObject", "arn:aws:s3:::a/*", Condition={operator: {"aws:SourceVpc": "vpc-1"}})
    assert ("iam-unknown-operator" in faults(statement)) != exists


@pytest.mark.parametrize(
    ("target", "fits"),
    [("arn:aws:s3:::acme", True), ("arn:aws:s3:::acme*", True), ("arn:aws:s3:::acme/*", False), ("*", True)],
)
def test_a_bucket_has_no_slash_in_its_name(target: str, fits: bool) -> None:
    assert ("iam-resource-mismatch" in faults(allow("s3:ListBucket", target))) != fits


@pytest.mark.parametrize(
    "action",
    ["lambda:UpdateFunctionCode", "ssm:SendCommand", "ssm:StartSession", "cloudformation:UpdateStack",
     ["codebuild:UpdateProject", "codebuild:StartBuild"], "sso:PutInlinePolicyToPermissionSet", "lambda:Update*"],
)  # fmt: skip
def test_the_rights_of_others_are_not_taken_over(action: Any) -> None:
    assert "iam-takeover" in faults(allow(action))
    assert "iam-takeover" not in faults(allow(action, "arn:aws:lambda:eu-west-1:123456789012:function:app"))


def test_the_owner_of_a_topic_is_a_key_of_sns() -> None:
    statement = allow("sns:Publish", Principal={"AWS": "*"}, Condition={"StringEquals": {"AWS:SourceOwner": "1"}})
    assert "iam-unknown-condition" not in faults(statement, kind="aws:sns/topicPolicy:TopicPolicy")
