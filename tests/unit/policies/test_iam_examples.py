"""AWS's documented examples of policies, each with requests whose outcome is documented.

Policies are rewritten from what each page describes; names and numbers come from the pages.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from policies.iam import Grant, Policies, Request, evaluate, read

ACCOUNT, OTHER = "123456789012", "111122223333"
USER = f"arn:aws:iam::{ACCOUNT}:user/JohnDoe"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/worker"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/build"
IAM = "https://docs.aws.amazon.com/IAM/latest/UserGuide/"
S3 = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/"
KMS = "https://docs.aws.amazon.com/kms/latest/developerguide/"
ORG = "https://docs.aws.amazon.com/organizations/latest/userguide/"


class Example(NamedTuple):
    page: str
    says: str
    outcome: str
    action: str
    resource: str
    policies: Policies
    principal: str = USER
    context: dict[str, Any] = {}  # noqa: RUF012 (never changed)


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": action, "Resource": resource, **more}


def document(*statements: dict[str, Any], name: str = "policy", version: str = "2012-10-17") -> Any:
    return read({"Version": version, "Statement": list(statements)}, name)


def identity(*statements: dict[str, Any], **more: Any) -> Policies:
    return Policies(identity=(document(*statements),), **more)


def resource(*statements: dict[str, Any], **more: Any) -> Policies:
    return Policies(resource=document(*statements, name="resource"), **more)


def when(operator: str, key: str, value: Any) -> dict[str, Any]:
    return {"Condition": {operator: {key: value}}}


OPERATORS = f"{IAM}reference_policies_elements_condition_operators.html"
SETS = f"{IAM}reference_policies_condition-single-vs-multi-valued-context-keys.html"
VARIABLES = f"{IAM}reference_policies_variables.html"
LOGIC = f"{IAM}reference_policies_evaluation-logic.html"
BOUNDARY = f"{IAM}access_policies_boundaries.html"
CROSS = f"{IAM}reference_policies_evaluation-logic-cross-account.html"
NOT_ACTION = f"{IAM}reference_policies_elements_notaction.html"
NOT_RESOURCE = f"{IAM}reference_policies_elements_notresource.html"
NOT_PRINCIPAL = f"{IAM}reference_policies_elements_notprincipal.html"
PRINCIPAL = f"{IAM}reference_policies_elements_principal.html"
ACTION = f"{IAM}reference_policies_elements_action.html"
RESOURCE = f"{IAM}reference_policies_elements_resource.html"
ABAC = f"{IAM}tutorial_attribute-based-access-control.html"
SESSIONS = f"{IAM}access_policies.html"
BUCKETS = f"{S3}example-bucket-policies.html"
S3_USERS = f"{S3}example-policies-s3.html"
SCPS = f"{ORG}orgs_manage_policies_scps_examples.html"

_OBJECT, _BUCKET = "arn:aws:s3:::amzn-s3-demo-bucket/report.csv", "arn:aws:s3:::amzn-s3-demo-bucket"
_INSTANCE = f"arn:aws:ec2:us-east-2:{ACCOUNT}:instance/i-0abc"
_KEY = f"arn:aws:kms:us-west-2:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
_KEY_FOR_ACCOUNT = {
    "Effect": "Allow",
    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "Action": "kms:*",
    "Resource": "*",
}
_TABLE = f"arn:aws:dynamodb:us-east-2:{ACCOUNT}:table/GameScores"
_TAGGED = allow(
    "iam:*AccessKey*",
    f"arn:aws:iam::{ACCOUNT}:user/*",
    **when("StringEquals", "aws:PrincipalTag/job-category", "iamuser-admin"),
)
_MFA_OR_LONG = deny("*", **when("BoolIfExists", "aws:MultiFactorAuthPresent", "false"))
_NETWORKS = allow("*", **when("IpAddress", "aws:SourceIp", ["203.0.113.0/24", "2001:DB8:1234:5678::/64"]))
_HOME = allow(
    "s3:*", ["arn:aws:s3:::amzn-s3-demo-bucket/${aws:username}", "arn:aws:s3:::amzn-s3-demo-bucket/${aws:username}/*"]
)
_LISTING = allow("s3:ListBucket", _BUCKET, **when("StringLike", "s3:prefix", ["", "home/", "home/${aws:username}/*"]))
_ATTRIBUTES = allow(
    "dynamodb:GetItem", _TABLE, **when("ForAllValues:StringEquals", "dynamodb:Attributes", ["ID", "Message", "Tags"])
)
_REGIONS = deny(["ec2:*", "rds:*"], **when("StringNotEquals", "aws:RequestedRegion", ["eu-central-1", "eu-west-1"]))
_ENCRYPTED = {
    "Effect": "Deny",
    "Principal": "*",
    **deny("s3:PutObject", f"{_BUCKET}/*"),
    **when("StringNotEquals", "s3:x-amz-server-side-encryption", "aws:kms"),
}
_TLS = {
    "Effect": "Deny",
    "Principal": "*",
    **deny("s3:*", [_BUCKET, f"{_BUCKET}/*"]),
    **when("Bool", "aws:SecureTransport", "false"),
}
_ROLE_TRUST = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
_MAXIMUM = document(allow(["s3:*", "cloudwatch:*", "ec2:*"]), name="boundary")
_PROJECT = "arn:aws:secretsmanager:us-east-2:123456789012:secret:peg-eng-1"
_ABAC = allow(
    "secretsmanager:GetSecretValue",
    "*",
    Condition={
        "StringEquals": {
            "aws:ResourceTag/access-project": "${aws:PrincipalTag/access-project}",
            "aws:ResourceTag/access-team": "${aws:PrincipalTag/access-team}",
        }
    },
)
_QUEUE, _TOPIC = f"arn:aws:sqs:us-east-2:{ACCOUNT}:queue", f"arn:aws:sns:us-east-2:{ACCOUNT}:topic"
_FROM_BUCKET = {
    "Principal": {"Service": "s3.amazonaws.com"}, **allow("sns:Publish", _TOPIC),
    "Condition": {"ArnLike": {"aws:SourceArn": _BUCKET}, "StringEquals": {"aws:SourceAccount": ACCOUNT}},
}  # fmt: skip


def _ec2(operator: str, key: str, value: Any) -> Policies:
    return identity(allow("ec2:StartInstances", f"arn:aws:ec2:*:{ACCOUNT}:instance/*", **when(operator, key, value)))


EXAMPLES = [
    # Condition operators.
    Example(
        OPERATORS,
        "StringEquals: a principal with the tag",
        "allowed",
        "iam:CreateAccessKey",
        USER,
        identity(_TAGGED),
        context={"aws:PrincipalTag/job-category": "iamuser-admin"},
    ),
    Example(
        OPERATORS,
        "StringEquals knows upper and lower case",
        "denied",
        "iam:CreateAccessKey",
        USER,
        identity(_TAGGED),
        context={"aws:PrincipalTag/job-category": "IamUser-Admin"},
    ),
    Example(
        OPERATORS, "without the key the condition is false", "denied", "iam:CreateAccessKey", USER, identity(_TAGGED)
    ),
    Example(
        OPERATORS,
        "keys are not case-sensitive",
        "allowed",
        "iam:CreateAccessKey",
        USER,
        identity(_TAGGED),
        context={"AWS:principaltag/JOB-category": "iamuser-admin"},
    ),
    Example(
        OPERATORS,
        "StringEqualsIgnoreCase",
        "allowed",
        "ec2:StartInstances",
        _INSTANCE,
        _ec2("StringEqualsIgnoreCase", "ec2:ResourceTag/Owner", "johndoe"),
        context={"ec2:ResourceTag/Owner": "JohnDoe"},
    ),
    Example(
        OPERATORS,
        "StringNotEquals without the key is true",
        "allowed",
        "ec2:StartInstances",
        _INSTANCE,
        _ec2("StringNotEquals", "ec2:ResourceTag/Stage", "prod"),
    ),
    Example(
        OPERATORS,
        "StringNotEquals of several values: none may be it",
        "denied",
        "ec2:StartInstances",
        _INSTANCE,
        _ec2("StringNotEquals", "ec2:ResourceTag/Stage", ["prod", "staging"]),
        context={"ec2:ResourceTag/Stage": "staging"},
    ),
    Example(
        OPERATORS,
        "StringLike with a wildcard",
        "allowed",
        "s3:ListBucket",
        _BUCKET,
        identity(_LISTING),
        context={"s3:prefix": "home/JohnDoe/2012/", "aws:username": "JohnDoe"},
    ),
    Example(
        OPERATORS,
        "StringLike with a variable: another user's folder",
        "denied",
        "s3:ListBucket",
        _BUCKET,
        identity(_LISTING),
        context={"s3:prefix": "home/Jane/", "aws:username": "JohnDoe"},
    ),
    Example(
        OPERATORS,
        "StringLike: ? is one character",
        "allowed",
        "ec2:StartInstances",
        _INSTANCE,
        _ec2("StringLike", "ec2:ResourceTag/Stage", "dev?"),
        context={"ec2:ResourceTag/Stage": "dev1"},
    ),
    Example(
        OPERATORS,
        "StringNotLike without the key is true",
        "allowed",
        "ec2:StartInstances",
        _INSTANCE,
        _ec2("StringNotLike", "ec2:ResourceTag/Stage", "prod*"),
    ),
    Example(
        OPERATORS,
        "NumericLessThanEquals: at most 10 keys",
        "allowed",
        "s3:ListBucket",
        _BUCKET,
        identity(allow("s3:ListBucket", _BUCKET, **when("NumericLessThanEquals", "s3:max-keys", "10"))),
        context={"s3:max-keys": "10"},
    ),
    Example(
        OPERATORS,
        "NumericLessThanEquals: more",
        "denied",
        "s3:ListBucket",
        _BUCKET,
        identity(allow("s3:ListBucket", _BUCKET, **when("NumericLessThanEquals", "s3:max-keys", "10"))),
        context={"s3:max-keys": "11"},
    ),
    Example(
        OPERATORS,
        "NumericGreaterThan of a text that is no number",
        "denied",
        "s3:ListBucket",
        _BUCKET,
        identity(allow("s3:ListBucket", _BUCKET, **when("NumericGreaterThan", "s3:max-keys", "10"))),
        context={"s3:max-keys": "many"},
    ),
    Example(
        OPERATORS,
        "DateGreaterThan: a session begun since",
        "allowed",
        "sts:TagSession",
        ROLE,
        Policies(
            identity=(document(allow("sts:TagSession")),),
            resource=document(
                {
                    **_ROLE_TRUST,
                    "Action": "sts:TagSession",
                    **when("DateGreaterThan", "aws:TokenIssueTime", "2020-01-01T00:00:01Z"),
                }
            ),
        ),
        context={"aws:TokenIssueTime": "2020-06-01T00:00:00Z"},
    ),
    Example(
        OPERATORS,
        "DateLessThan: too late",
        "denied",
        "s3:GetObject",
        _OBJECT,
        identity(allow("s3:GetObject", **when("DateLessThan", "aws:CurrentTime", "2020-06-30T23:59:59Z"))),
        context={"aws:CurrentTime": "2020-07-01T00:00:00Z"},
    ),
    Example(
        OPERATORS,
        "dates as seconds since 1970",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        identity(allow("s3:GetObject", **when("DateLessThan", "aws:EpochTime", "1593561599"))),
        context={"aws:EpochTime": "1593000000"},
    ),
    Example(
        OPERATORS,
        "Bool: with a second factor",
        "allowed",
        "iam:CreateVirtualMFADevice",
        USER,
        identity(allow("iam:*", **when("Bool", "aws:MultiFactorAuthPresent", "true"))),
        context={"aws:MultiFactorAuthPresent": "true"},
    ),
    Example(
        OPERATORS,
        "Bool without the key is false",
        "denied",
        "iam:CreateVirtualMFADevice",
        USER,
        identity(allow("iam:*", **when("Bool", "aws:MultiFactorAuthPresent", "true"))),
    ),
    Example(
        OPERATORS,
        "BinaryEquals compares byte for byte",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        identity(allow("s3:GetObject", **when("BinaryEquals", "key", "QmluYXJ5VmFsdWVJbkJhc2U2NA=="))),
        context={"key": "QmluYXJ5VmFsdWVJbkJhc2U2NA=="},
    ),
    Example(
        OPERATORS,
        "BinaryEquals: another value",
        "denied",
        "s3:GetObject",
        _OBJECT,
        identity(allow("s3:GetObject", **when("BinaryEquals", "key", "QmluYXJ5VmFsdWVJbkJhc2U2NA=="))),
        context={"key": "AAAA"},
    ),
    Example(
        OPERATORS,
        "IpAddress: within the network",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        identity(_NETWORKS),
        context={"aws:SourceIp": "203.0.113.7"},
    ),
    Example(
        OPERATORS,
        "IpAddress: IPv6",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        identity(_NETWORKS),
        context={"aws:SourceIp": "2001:db8:1234:5678::1"},
    ),
    Example(
        OPERATORS,
        "IpAddress: outside",
        "denied",
        "s3:GetObject",
        _OBJECT,
        identity(_NETWORKS),
        context={"aws:SourceIp": "198.51.100.1"},
    ),
    Example(
        OPERATORS,
        "NotIpAddress: all but the network",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        identity(allow("*", **when("NotIpAddress", "aws:SourceIp", "192.0.2.0/24"))),
        context={"aws:SourceIp": "198.51.100.1"},
    ),
    Example(
        OPERATORS,
        "ArnEquals: a topic sends to a queue",
        "allowed",
        "sqs:SendMessage",
        _QUEUE,
        resource(
            {
                "Principal": {"Service": "sns.amazonaws.com"},
                **allow("sqs:SendMessage", _QUEUE, **when("ArnEquals", "aws:SourceArn", _TOPIC)),
            }
        ),
        "sns.amazonaws.com",
        {"aws:SourceArn": _TOPIC},
    ),
    Example(
        OPERATORS,
        "ArnEquals: another topic",
        "denied",
        "sqs:SendMessage",
        _QUEUE,
        resource(
            {
                "Principal": {"Service": "sns.amazonaws.com"},
                **allow("sqs:SendMessage", _QUEUE, **when("ArnEquals", "aws:SourceArn", _TOPIC)),
            }
        ),
        "sns.amazonaws.com",
        {"aws:SourceArn": f"{_TOPIC}-2"},
    ),
    Example(
        OPERATORS,
        "ArnLike: each of the six parts by itself",
        "denied",
        "sqs:SendMessage",
        _QUEUE,
        resource(
            {
                "Principal": {"Service": "sns.amazonaws.com"},
                **allow("sqs:SendMessage", _QUEUE, **when("ArnLike", "aws:SourceArn", "arn:aws:sns:*:topic")),
            }
        ),
        "sns.amazonaws.com",
        {"aws:SourceArn": _TOPIC},
    ),
    Example(
        OPERATORS,
        "ArnNotLike without the key is true",
        "denied",
        "sqs:SendMessage",
        _QUEUE,
        identity(
            allow("sqs:*"),
            deny("sqs:SendMessage", "*", **when("ArnNotLike", "aws:PrincipalArn", f"arn:aws:iam::{OTHER}:role/*")),
        ),
    ),
    Example(
        OPERATORS,
        "IfExists: the key is there and differs",
        "denied",
        "ec2:StartInstances",
        _INSTANCE,
        _ec2("StringLikeIfExists", "ec2:InstanceType", ["t1.*", "t2.*", "m3.*"]),
        context={"ec2:InstanceType": "c5.large"},
    ),
    Example(
        OPERATORS,
        "IfExists: the key is there and fits",
        "allowed",
        "ec2:StartInstances",
        _INSTANCE,
        _ec2("StringLikeIfExists", "ec2:InstanceType", ["t1.*", "t2.*", "m3.*"]),
        context={"ec2:InstanceType": "t2.micro"},
    ),
    Example(
        OPERATORS,
        "IfExists: the key isn't there",
        "allowed",
        "ec2:StartInstances",
        _INSTANCE,
        _ec2("StringLikeIfExists", "ec2:InstanceType", ["t1.*", "t2.*", "m3.*"]),
    ),
    Example(
        OPERATORS,
        "BoolIfExists denies without a second factor",
        "denied",
        "s3:GetObject",
        _OBJECT,
        identity(allow("*"), _MFA_OR_LONG),
        context={"aws:MultiFactorAuthPresent": "false"},
    ),
    Example(
        OPERATORS,
        "BoolIfExists denies long-lived keys, which have no such key",
        "denied",
        "s3:GetObject",
        _OBJECT,
        identity(allow("*"), _MFA_OR_LONG),
    ),
    Example(
        OPERATORS,
        "Null true: no temporary credentials",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        identity(allow("*", **when("Null", "aws:TokenIssueTime", "true"))),
    ),
    Example(
        OPERATORS,
        "Null true: with temporary credentials",
        "denied",
        "s3:GetObject",
        _OBJECT,
        identity(allow("*", **when("Null", "aws:TokenIssueTime", "true"))),
        context={"aws:TokenIssueTime": "2020-06-01T00:00:00Z"},
    ),
    # Several keys, several values.
    Example(
        f"{IAM}reference_policies_condition-logic-multiple-context-keys-or-values.html",
        "all of the keys must fit",
        "denied",
        "s3:GetObject",
        _OBJECT,
        identity(
            allow(
                "s3:GetObject",
                "*",
                Condition={
                    "StringEquals": {"aws:PrincipalTag/department": "finance", "aws:PrincipalTag/role": "audit"}
                },
            )
        ),
        context={"aws:PrincipalTag/department": "finance", "aws:PrincipalTag/role": "sales"},
    ),
    Example(
        f"{IAM}reference_policies_condition-logic-multiple-context-keys-or-values.html",
        "one of the values must fit",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        identity(allow("s3:GetObject", "*", Condition={"StringEquals": {"aws:PrincipalTag/role": ["audit", "sales"]}})),
        context={"aws:PrincipalTag/role": "sales"},
    ),
    Example(
        SETS,
        "ForAllValues: a part of the list",
        "allowed",
        "dynamodb:GetItem",
        _TABLE,
        identity(_ATTRIBUTES),
        context={"dynamodb:Attributes": ["ID", "Tags"]},
    ),
    Example(
        SETS,
        "ForAllValues: one that is not in the list",
        "denied",
        "dynamodb:GetItem",
        _TABLE,
        identity(_ATTRIBUTES),
        context={"dynamodb:Attributes": ["ID", "UserName"]},
    ),
    Example(SETS, "ForAllValues without the key is true", "allowed", "dynamodb:GetItem", _TABLE, identity(_ATTRIBUTES)),
    Example(
        SETS,
        "ForAnyValue: one of them fits",
        "denied",
        "dynamodb:GetItem",
        _TABLE,
        identity(
            allow("dynamodb:*"),
            deny(
                "dynamodb:GetItem",
                "*",
                **when("ForAnyValue:StringEquals", "dynamodb:Attributes", ["ID", "PostDateTime"]),
            ),
        ),
        context={"dynamodb:Attributes": ["UserName", "PostDateTime"]},
    ),
    Example(
        SETS,
        "ForAnyValue: none of them fits",
        "allowed",
        "dynamodb:GetItem",
        _TABLE,
        identity(
            allow("dynamodb:*"),
            deny(
                "dynamodb:GetItem",
                "*",
                **when("ForAnyValue:StringEquals", "dynamodb:Attributes", ["ID", "PostDateTime"]),
            ),
        ),
        context={"dynamodb:Attributes": ["UserName"]},
    ),
    Example(
        SETS,
        "ForAnyValue without the key is false",
        "denied",
        "ec2:CreateTags",
        _INSTANCE,
        identity(allow("ec2:CreateTags", "*", **when("ForAnyValue:StringEquals", "aws:TagKeys", ["environment"]))),
    ),
    # Variables.
    Example(
        VARIABLES,
        "the own folder of a bucket",
        "allowed",
        "s3:PutObject",
        "arn:aws:s3:::amzn-s3-demo-bucket/JohnDoe/a.txt",
        identity(_HOME),
        context={"aws:username": "JohnDoe"},
    ),
    Example(
        VARIABLES,
        "another's folder",
        "denied",
        "s3:PutObject",
        "arn:aws:s3:::amzn-s3-demo-bucket/Jane/a.txt",
        identity(_HOME),
        context={"aws:username": "JohnDoe"},
    ),
    Example(
        VARIABLES,
        "a role's session has no user name",
        "denied",
        "s3:PutObject",
        "arn:aws:s3:::amzn-s3-demo-bucket/JohnDoe/a.txt",
        identity(_HOME),
        SESSION,
    ),
    Example(
        VARIABLES,
        "a default value stands in",
        "allowed",
        "s3:GetObject",
        "arn:aws:s3:::amzn-s3-demo-bucket-default/a",
        identity(allow("s3:GetObject", "arn:aws:s3:::amzn-s3-demo-bucket-${aws:PrincipalTag/team, 'default'}/*")),
    ),
    Example(
        VARIABLES,
        "${*} is a star and no wildcard",
        "denied",
        "s3:GetObject",
        "arn:aws:s3:::amzn-s3-demo-bucket/x",
        identity(allow("s3:GetObject", "arn:aws:s3:::amzn-s3-demo-bucket/${*}")),
    ),
    Example(
        VARIABLES,
        "${*} is a star",
        "allowed",
        "s3:GetObject",
        "arn:aws:s3:::amzn-s3-demo-bucket/*",
        identity(allow("s3:GetObject", "arn:aws:s3:::amzn-s3-demo-bucket/${*}")),
    ),
    Example(
        VARIABLES,
        "version 2008-10-17 has no variables",
        "denied",
        "s3:PutObject",
        "arn:aws:s3:::amzn-s3-demo-bucket/JohnDoe/a.txt",
        Policies(identity=(document(_HOME, version="2008-10-17"),)),
        context={"aws:username": "JohnDoe"},
    ),
    # Elements.
    Example(
        ACTION,
        "actions are not case-sensitive",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        identity(allow("S3:getobject")),
    ),
    Example(
        ACTION, "wildcards within the name", "allowed", "iam:ListAccessKeys", USER, identity(allow("iam:*AccessKey*"))
    ),
    Example(
        ACTION,
        "a wildcard does not reach another service",
        "denied",
        "sqs:SendMessage",
        _QUEUE,
        identity(allow("s3:*")),
    ),
    Example(
        NOT_ACTION,
        "Allow with NotAction: all but deleting a bucket",
        "allowed",
        "s3:PutObject",
        _OBJECT,
        identity({"Effect": "Allow", "NotAction": "s3:DeleteBucket", "Resource": "arn:aws:s3:::*"}),
    ),
    Example(
        NOT_ACTION,
        "Allow with NotAction leaves that out",
        "denied",
        "s3:DeleteBucket",
        _BUCKET,
        identity({"Effect": "Allow", "NotAction": "s3:DeleteBucket", "Resource": "arn:aws:s3:::*"}),
    ),
    Example(
        NOT_ACTION,
        "Deny with NotAction alone allows nothing",
        "denied",
        "iam:ListUsers",
        "*",
        identity(
            {
                "Effect": "Deny",
                "NotAction": "iam:*",
                "Resource": "*",
                **when("BoolIfExists", "aws:MultiFactorAuthPresent", "false"),
            }
        ),
    ),
    Example(
        NOT_ACTION,
        "Deny with NotAction: what it names is left to others",
        "allowed",
        "iam:ListUsers",
        "*",
        identity(
            allow("*"),
            {
                "Effect": "Deny",
                "NotAction": "iam:*",
                "Resource": "*",
                **when("BoolIfExists", "aws:MultiFactorAuthPresent", "false"),
            },
        ),
    ),
    Example(
        NOT_RESOURCE,
        "Deny on all but one bucket",
        "denied",
        "s3:GetObject",
        "arn:aws:s3:::other/a",
        identity(
            allow("s3:*"),
            {
                "Effect": "Deny",
                "Action": "s3:*",
                "NotResource": ["arn:aws:s3:::HRBucket/Payroll", "arn:aws:s3:::HRBucket/Payroll/*"],
            },
        ),
    ),
    Example(
        NOT_RESOURCE,
        "Deny on all but one bucket: that one",
        "allowed",
        "s3:GetObject",
        "arn:aws:s3:::HRBucket/Payroll/june",
        identity(
            allow("s3:*"),
            {
                "Effect": "Deny",
                "Action": "s3:*",
                "NotResource": ["arn:aws:s3:::HRBucket/Payroll", "arn:aws:s3:::HRBucket/Payroll/*"],
            },
        ),
    ),
    Example(
        RESOURCE,
        "a wildcard reaches over slashes",
        "allowed",
        "s3:GetObject",
        "arn:aws:s3:::amzn-s3-demo-bucket/a/b/c.txt",
        identity(allow("s3:GetObject", "arn:aws:s3:::amzn-s3-demo-bucket/*")),
    ),
    Example(
        RESOURCE,
        "? is one character",
        "denied",
        "s3:GetObject",
        "arn:aws:s3:::amzn-s3-demo-bucket/12",
        identity(allow("s3:GetObject", "arn:aws:s3:::amzn-s3-demo-bucket/?")),
    ),
    Example(
        RESOURCE, "a bucket is not its objects", "denied", "s3:GetObject", _OBJECT, identity(allow("s3:*", _BUCKET))
    ),
    Example(
        f"{IAM}reference-arns.html",
        "a wildcard in the type of the resource: forbidden here, used in examples for EC2",
        "undecided",
        "ec2:StartInstances",
        _INSTANCE,
        identity(allow("ec2:StartInstances", f"arn:aws:ec2:*:{ACCOUNT}:*/i-0abc")),
    ),
    Example(
        f"{IAM}reference-arns.html",
        "a wildcard in the name of the resource",
        "allowed",
        "ec2:StartInstances",
        _INSTANCE,
        identity(allow("ec2:StartInstances", f"arn:aws:ec2:*:{ACCOUNT}:instance/i-0*")),
    ),
    # Principals.
    Example(
        PRINCIPAL,
        "a bucket policy names a user",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        resource({"Principal": {"AWS": USER}, **allow("s3:GetObject", _OBJECT)}),
    ),
    Example(
        PRINCIPAL,
        "a bucket policy names the account only: its own policies decide",
        "denied",
        "s3:GetObject",
        _OBJECT,
        resource({"Principal": {"AWS": ACCOUNT}, **allow("s3:GetObject", _OBJECT)}),
    ),
    Example(
        PRINCIPAL,
        "everybody",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        resource({"Principal": "*", **allow("s3:GetObject", _OBJECT)}),
    ),
    Example(
        PRINCIPAL,
        "everybody, without credentials, too",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        resource({"Principal": "*", **allow("s3:GetObject", _OBJECT)}),
        "anonymous",
    ),
    Example(
        PRINCIPAL,
        "a user is named, and nobody in particular asks",
        "denied",
        "s3:GetObject",
        _OBJECT,
        resource({"Principal": {"AWS": USER}, **allow("s3:GetObject", _OBJECT)}),
        "anonymous",
    ),
    Example(
        PRINCIPAL,
        "a role's ARN stands for its sessions",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        resource({"Principal": {"AWS": ROLE}, **allow("s3:GetObject", _OBJECT)}),
        SESSION,
    ),
    Example(
        PRINCIPAL,
        "a session's ARN is this one session",
        "denied",
        "s3:GetObject",
        _OBJECT,
        resource({"Principal": {"AWS": SESSION}, **allow("s3:GetObject", _OBJECT)}),
        f"{SESSION}-2",
    ),
    Example(
        PRINCIPAL,
        "a service",
        "allowed",
        "sts:AssumeRole",
        ROLE,
        resource(
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Principal": {"Service": ["ecs.amazonaws.com", "elasticloadbalancing.amazonaws.com"]},
            }
        ),
        "ecs.amazonaws.com",
    ),
    Example(
        PRINCIPAL,
        "another service",
        "denied",
        "sts:AssumeRole",
        ROLE,
        resource({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ecs.amazonaws.com"}}),
        "lambda.amazonaws.com",
    ),
    Example(
        NOT_PRINCIPAL,
        "Deny with NotPrincipal: another user",
        "denied",
        "s3:GetObject",
        _OBJECT,
        identity(
            allow("s3:*"),
            resource=document(
                {
                    "Effect": "Deny",
                    "NotPrincipal": {"AWS": [f"arn:aws:iam::{ACCOUNT}:user/Bob"]},
                    "Action": "s3:*",
                    "Resource": [_BUCKET, f"{_BUCKET}/*"],
                }
            ),
        ),
    ),
    Example(
        NOT_PRINCIPAL,
        "Deny with NotPrincipal: the user that it names",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        identity(
            allow("s3:*"),
            resource=document(
                {
                    "Effect": "Deny",
                    "NotPrincipal": {"AWS": [USER]},
                    "Action": "s3:*",
                    "Resource": [_BUCKET, f"{_BUCKET}/*"],
                }
            ),
        ),
    ),
    Example(
        NOT_PRINCIPAL,
        "with a permission boundary it denies whomever it names",
        "denied",
        "s3:GetObject",
        _OBJECT,
        identity(
            allow("s3:*"),
            boundary=(document(allow("*")),),
            resource=document(
                {"Effect": "Deny", "NotPrincipal": {"AWS": [ROLE]}, "Action": "s3:*", "Resource": f"{_BUCKET}/*"}
            ),
        ),
        ROLE,
    ),
    # How it is decided.
    Example(LOGIC, "by default everything is denied", "denied", "s3:GetObject", _OBJECT, Policies()),
    Example(
        LOGIC,
        "one statement that allows is enough",
        "allowed",
        "s3:ListBucket",
        _BUCKET,
        identity(allow("s3:ListBucket", _BUCKET), allow("ec2:*")),
    ),
    Example(
        LOGIC,
        "a denial outweighs whatever allows",
        "denied",
        "s3:ListBucket",
        _BUCKET,
        identity(allow("s3:*"), deny("s3:ListBucket", _BUCKET)),
    ),
    Example(
        LOGIC,
        "a denial in the bucket's policy, too",
        "denied",
        "s3:GetObject",
        _OBJECT,
        identity(allow("s3:*"), resource=document({"Principal": "*", **deny("s3:GetObject", _OBJECT)})),
    ),
    Example(
        LOGIC,
        "within an account either policy is enough",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        resource({"Principal": {"AWS": USER}, **allow("s3:GetObject", _OBJECT)}, identity=(document(allow("ec2:*")),)),
    ),
    Example(
        CROSS,
        "across accounts both must allow: only the identity does",
        "denied",
        "s3:GetObject",
        _OBJECT,
        identity(allow("s3:*")),
        f"arn:aws:iam::{OTHER}:user/Carlos",
    ),
    Example(
        CROSS,
        "across accounts both must allow: only the bucket does",
        "denied",
        "s3:GetObject",
        _OBJECT,
        resource({"Principal": {"AWS": OTHER}, **allow("s3:GetObject", _OBJECT)}),
        f"arn:aws:iam::{OTHER}:user/Carlos",
    ),
    Example(
        CROSS,
        "across accounts both allow",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        identity(allow("s3:*"), resource=document({"Principal": {"AWS": OTHER}, **allow("s3:GetObject", _OBJECT)})),
        f"arn:aws:iam::{OTHER}:user/Carlos",
    ),
    Example(
        BOUNDARY,
        "Shirley: the boundary without a policy allows nothing",
        "denied",
        "s3:GetObject",
        _OBJECT,
        Policies(boundary=(_MAXIMUM,)),
    ),
    Example(
        BOUNDARY,
        "Shirley: both allow",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        identity(allow("s3:*"), boundary=(_MAXIMUM,)),
    ),
    Example(
        BOUNDARY,
        "Shirley: the boundary leaves IAM out",
        "denied",
        "iam:CreateUser",
        USER,
        identity(allow("iam:CreateUser"), boundary=(_MAXIMUM,)),
    ),
    Example(
        BOUNDARY,
        "a denial in the boundary",
        "denied",
        "s3:GetObject",
        _OBJECT,
        identity(
            allow("s3:*"),
            boundary=(
                document(allow("s3:*"), deny("*", "*", **when("StringNotEquals", "aws:PrincipalTag/team", "x"))),
            ),
        ),
    ),
    Example(
        BOUNDARY,
        "a bucket policy that names a user is not held to its boundary",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        resource({"Principal": {"AWS": USER}, **allow("s3:GetObject", _OBJECT)}, boundary=(document(allow("ec2:*")),)),
    ),
    Example(
        BOUNDARY,
        "one that names a role is",
        "denied",
        "s3:GetObject",
        _OBJECT,
        resource({"Principal": {"AWS": ROLE}, **allow("s3:GetObject", _OBJECT)}, boundary=(document(allow("ec2:*")),)),
        SESSION,
    ),
    Example(
        BOUNDARY,
        "one that names the role's session is not",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        resource(
            {"Principal": {"AWS": SESSION}, **allow("s3:GetObject", _OBJECT)}, boundary=(document(allow("ec2:*")),)
        ),
        SESSION,
    ),
    Example(
        SESSIONS,
        "a session policy: what both allow",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        identity(allow("s3:*"), session=(document(allow("s3:GetObject")),)),
        SESSION,
    ),
    Example(
        SESSIONS,
        "a session policy takes away",
        "denied",
        "s3:PutObject",
        _OBJECT,
        identity(allow("s3:*"), session=(document(allow("s3:GetObject")),)),
        SESSION,
    ),
    Example(
        SESSIONS,
        "a session policy gives nothing",
        "denied",
        "ec2:StartInstances",
        _INSTANCE,
        identity(allow("s3:*"), session=(document(allow("*")),)),
        SESSION,
    ),
    # Service and resource control policies.
    Example(
        f"{ORG}orgs_manage_policies_scps_evaluation.html",
        "each level must allow",
        "denied",
        "ec2:StartInstances",
        _INSTANCE,
        identity(allow("*"), service_control=((document(allow("*")),), (document(allow("s3:*")),))),
    ),
    Example(
        f"{ORG}orgs_manage_policies_scps_evaluation.html",
        "they give nothing",
        "denied",
        "s3:GetObject",
        _OBJECT,
        Policies(service_control=((document(allow("*")),),)),
    ),
    Example(
        SCPS,
        "other regions are denied",
        "denied",
        "ec2:StartInstances",
        _INSTANCE,
        identity(allow("*"), service_control=((document(allow("*"), _REGIONS),),)),
        context={"aws:RequestedRegion": "us-east-2"},
    ),
    Example(
        SCPS,
        "a region that is used",
        "allowed",
        "ec2:StartInstances",
        _INSTANCE,
        identity(allow("*"), service_control=((document(allow("*"), _REGIONS),),)),
        context={"aws:RequestedRegion": "eu-west-1"},
    ),
    Example(
        SCPS,
        "nobody leaves the organization",
        "denied",
        "organizations:LeaveOrganization",
        "*",
        identity(allow("*"), service_control=((document(allow("*"), deny("organizations:LeaveOrganization")),),)),
    ),
    Example(
        f"{ORG}orgs_manage_policies_rcps.html",
        "a resource control policy denies others than the organization's",
        "denied",
        "s3:GetObject",
        _OBJECT,
        identity(
            allow("s3:*"),
            resource_control=(
                (
                    document(
                        {
                            "Principal": "*",
                            **deny("s3:*", "*", **when("StringNotEqualsIfExists", "aws:PrincipalOrgID", "o-1")),
                        }
                    ),
                ),
            ),
        ),
        context={"aws:PrincipalOrgID": "o-2"},
    ),
    Example(
        f"{ORG}orgs_manage_policies_rcps.html",
        "and leaves what it does not deny",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        identity(
            allow("s3:*"),
            resource_control=(
                (
                    document(
                        {
                            "Principal": "*",
                            **deny("s3:*", "*", **when("StringNotEqualsIfExists", "aws:PrincipalOrgID", "o-1")),
                        }
                    ),
                ),
            ),
        ),
        context={"aws:PrincipalOrgID": "o-1"},
    ),
    Example(
        "https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-access.html",
        "an endpoint's policy must allow, too",
        "denied",
        "s3:PutObject",
        _OBJECT,
        identity(allow("s3:*"), endpoint=document({"Principal": "*", **allow("s3:GetObject")})),
    ),
    Example(
        "https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-access.html",
        "an endpoint's policy allows",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        identity(allow("s3:*"), endpoint=document({"Principal": "*", **allow("s3:GetObject")})),
    ),
    # S3.
    Example(
        BUCKETS,
        "only objects encrypted with KMS",
        "denied",
        "s3:PutObject",
        _OBJECT,
        identity(allow("s3:*"), resource=document(_ENCRYPTED)),
        context={"s3:x-amz-server-side-encryption": "AES256"},
    ),
    Example(
        BUCKETS,
        "an object encrypted with KMS",
        "allowed",
        "s3:PutObject",
        _OBJECT,
        identity(allow("s3:*"), resource=document(_ENCRYPTED)),
        context={"s3:x-amz-server-side-encryption": "aws:kms"},
    ),
    Example(
        BUCKETS,
        "only over TLS",
        "denied",
        "s3:GetObject",
        _OBJECT,
        identity(allow("s3:*"), resource=document(_TLS)),
        context={"aws:SecureTransport": "false"},
    ),
    Example(
        BUCKETS,
        "over TLS",
        "allowed",
        "s3:GetObject",
        _OBJECT,
        identity(allow("s3:*"), resource=document(_TLS)),
        context={"aws:SecureTransport": "true"},
    ),
    Example(
        S3_USERS,
        "listing a bucket is allowed on the bucket, not on its objects",
        "denied",
        "s3:ListBucket",
        _BUCKET,
        identity(allow("s3:ListBucket", f"{_BUCKET}/*")),
    ),
    Example(
        S3_USERS,
        "a user's own folder by its prefix",
        "allowed",
        "s3:ListBucket",
        _BUCKET,
        identity(allow("s3:ListBucket", _BUCKET, **when("StringEquals", "s3:prefix", "Development/"))),
        context={"s3:prefix": "Development/"},
    ),
    # KMS.
    Example(
        f"{KMS}key-policy-default.html",
        "the key's policy lets IAM decide, and IAM allows",
        "allowed",
        "kms:Decrypt",
        _KEY,
        identity(allow("kms:Decrypt", _KEY), resource=document(_KEY_FOR_ACCOUNT)),
    ),
    Example(
        f"{KMS}key-policy-default.html",
        "without that statement policies of IAM have no effect",
        "denied",
        "kms:Decrypt",
        _KEY,
        identity(
            allow("kms:Decrypt", _KEY),
            resource=document({"Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": "kms:*", "Resource": "*"}),
        ),
    ),
    Example(
        f"{KMS}key-policy-default.html",
        "the account alone allows nobody",
        "denied",
        "kms:Decrypt",
        _KEY,
        resource(_KEY_FOR_ACCOUNT),
    ),
    Example(
        f"{KMS}key-policy-default.html",
        "a key user, named by the key's policy",
        "allowed",
        "kms:Encrypt",
        _KEY,
        resource(
            {"Effect": "Allow", "Principal": {"AWS": USER}, "Action": ["kms:Encrypt", "kms:Decrypt"], "Resource": "*"}
        ),
    ),
    Example(
        f"{KMS}conditions-kms.html",
        "kms:ViaService: asked by another service",
        "denied",
        "kms:Decrypt",
        _KEY,
        identity(
            allow("kms:Decrypt", _KEY, **when("StringEquals", "kms:ViaService", "s3.us-west-2.amazonaws.com")),
            resource=document(_KEY_FOR_ACCOUNT),
        ),
        context={"kms:ViaService": "ec2.us-west-2.amazonaws.com"},
    ),
    Example(
        f"{KMS}conditions-kms.html",
        "a value of the encryption context",
        "allowed",
        "kms:Decrypt",
        _KEY,
        resource(
            {
                "Effect": "Allow",
                "Principal": {"AWS": ROLE},
                "Action": "kms:Decrypt",
                "Resource": "*",
                **when("StringEquals", "kms:EncryptionContext:AppName", "ExampleApp"),
            }
        ),
        ROLE,
        {"kms:EncryptionContext:AppName": "ExampleApp"},
    ),
    Example(
        f"{KMS}grants.html",
        "a grant allows what it names",
        "allowed",
        "kms:Decrypt",
        _KEY,
        resource(_KEY_FOR_ACCOUNT, grants=(Grant(_KEY, ROLE, ("kms:Decrypt",)),)),
        ROLE,
    ),
    Example(
        f"{KMS}grants.html",
        "a grant allows nothing else",
        "denied",
        "kms:Encrypt",
        _KEY,
        resource(_KEY_FOR_ACCOUNT, grants=(Grant(_KEY, ROLE, ("kms:Decrypt",)),)),
        ROLE,
    ),
    Example(
        f"{KMS}alias-authorization.html",
        "an alias has no policy",
        "allowed",
        "kms:DeleteAlias",
        f"arn:aws:kms:us-west-2:{ACCOUNT}:alias/test",
        identity(allow("kms:DeleteAlias")),
    ),
    # Roles.
    Example(
        f"{IAM}id_roles_create_for-user.html",
        "the trust policy names the account: the user's own policy decides",
        "denied",
        "sts:AssumeRole",
        ROLE,
        resource(_ROLE_TRUST),
    ),
    Example(
        f"{IAM}id_roles_create_for-user.html",
        "both allow",
        "allowed",
        "sts:AssumeRole",
        ROLE,
        identity(allow("sts:AssumeRole", ROLE), resource=document(_ROLE_TRUST)),
    ),
    Example(
        f"{IAM}id_roles_create_for-user.html",
        "the trust policy does not name the account",
        "denied",
        "sts:AssumeRole",
        ROLE,
        identity(allow("sts:AssumeRole", ROLE), resource=document({**_ROLE_TRUST, "Principal": {"AWS": OTHER}})),
    ),
    Example(
        f"{IAM}id_roles_common-scenarios_third-party.html",
        "another's external id",
        "denied",
        "sts:AssumeRole",
        ROLE,
        identity(
            allow("sts:*"),
            resource=document(
                {**_ROLE_TRUST, "Principal": {"AWS": OTHER}, **when("StringEquals", "sts:ExternalId", "12345")}
            ),
        ),
        f"arn:aws:iam::{OTHER}:role/vendor",
        {"sts:ExternalId": "98765"},
    ),
    Example(
        f"{IAM}id_roles_use_passrole.html",
        "a role is passed to another service than is named",
        "denied",
        "iam:PassRole",
        ROLE,
        identity(allow("iam:PassRole", ROLE, **when("StringEquals", "iam:PassedToService", "ec2.amazonaws.com"))),
        context={"iam:PassedToService": "lambda.amazonaws.com"},
    ),
    Example(
        f"{IAM}confused-deputy.html",
        "S3 publishes for a bucket of the account",
        "allowed",
        "sns:Publish",
        _TOPIC,
        resource(_FROM_BUCKET),
        "s3.amazonaws.com",
        {"aws:SourceArn": _BUCKET, "aws:SourceAccount": ACCOUNT},
    ),
    Example(
        f"{IAM}confused-deputy.html",
        "S3 publishes for another's bucket",
        "denied",
        "sns:Publish",
        _TOPIC,
        resource(_FROM_BUCKET),
        "s3.amazonaws.com",
        {"aws:SourceArn": _BUCKET, "aws:SourceAccount": OTHER},
    ),
    Example(
        ABAC,
        "tags of who asks and of the secret agree",
        "allowed",
        "secretsmanager:GetSecretValue",
        _PROJECT,
        identity(_ABAC),
        SESSION,
        {
            "aws:PrincipalTag/access-project": "peg",
            "aws:PrincipalTag/access-team": "eng",
            "aws:ResourceTag/access-project": "peg",
            "aws:ResourceTag/access-team": "eng",
        },
    ),
    Example(
        ABAC,
        "tags of another team",
        "denied",
        "secretsmanager:GetSecretValue",
        _PROJECT,
        identity(_ABAC),
        SESSION,
        {
            "aws:PrincipalTag/access-project": "peg",
            "aws:PrincipalTag/access-team": "qas",
            "aws:ResourceTag/access-project": "peg",
            "aws:ResourceTag/access-team": "eng",
        },
    ),
    Example(
        "https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html",
        "nobody can be denied it",
        "allowed",
        "sts:GetCallerIdentity",
        "*",
        identity(deny("sts:*")),
    ),
    Example(
        f"{IAM}access_policies_managed-vs-inline.html",
        "AWS's own policies can't be changed",
        "denied",
        "iam:CreatePolicyVersion",
        "arn:aws:iam::aws:policy/ReadOnlyAccess",
        identity(allow("*")),
    ),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"{index}: {item.says}" for index, item in enumerate(EXAMPLES)])
def test_documented_examples_come_out_as_documented(example: Example) -> None:
    decision = evaluate(
        Request(example.action, example.resource, example.principal, example.context, resource_account=ACCOUNT),
        example.policies,
    )
    assert decision.outcome == example.outcome, f"{example.page}: {decision.reason}"


def test_there_are_enough_of_them() -> None:
    assert len(EXAMPLES) >= 80
