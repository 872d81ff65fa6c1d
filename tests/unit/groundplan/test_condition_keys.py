"""Condition keys: those that AWS has, and those that the requests of a statement have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from groundplan.review.iam import lint
from groundplan.review.model import Finding, Resource


def faults(actions: str | list[str], operator: str, key: str) -> list[Finding]:
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*", "Condition": {operator: {key: "x"}}}
    inputs: dict[str, Any] = {"policy": json.dumps({"Version": "2012-10-17", "Statement": [statement]})}
    found, _ = lint((Resource("urn:p", "aws:iam/policy:Policy", "p", "", True, inputs),))
    return [item for item in found if item.policy not in ("iam-resource-named", "iam-resource-ignored")]


@pytest.mark.parametrize(
    ("actions", "key"),
    [
        ("s3:ListBucket", "s3:prefix"),
        ("s3:GetObject", "s3:ExistingObjectTag/team"),
        (["s3:GetObject", "s3:ListBucket"], "s3:prefix"),  # one of them has it
        ("s3:*", "S3:Prefix"),
        ("s3:*", "aws:SourceVpce"),
        ("kms:Decrypt", "kms:EncryptionContext:aws:s3:arn"),
        ("kms:Decrypt", "kms:ViaService"),
        ("kms:CreateGrant", "kms:GrantIsForAWSResource"),
        ("iam:PassRole", "iam:PassedToService"),
        ("iam:CreateServiceLinkedRole", "iam:AWSServiceName"),
        ("sts:AssumeRole", "iam:ResourceTag/team"),
        ("sts:AssumeRoleWithWebIdentity", "token.actions.githubusercontent.com:sub"),
        ("sts:AssumeRoleWithWebIdentity", "oidc.eks.eu-central-1.amazonaws.com/id/ABC:aud"),
        ("s3:GetObject", "lambda:SourceFunctionArn"),  # a session's
        ("ec2:TerminateInstances", "ec2:ResourceTag/Name"),
        ("secretsmanager:GetSecretValue", "secretsmanager:ResourceTag/team"),
        ("dynamodb:GetItem", "dynamodb:LeadingKeys"),
        ("*", "s3:prefix"),
        ("sagemaker:*", "aws:ResourceTag/team"),
        ("ec2:RunInstances", "aws:RequestTag/team"),
    ],
)
def test_keys_that_requests_have_are_no_fault(actions: str | list[str], key: str) -> None:
    assert not faults(actions, "StringEquals", key)


@pytest.mark.parametrize(
    ("actions", "key", "meant"),
    [
        ("s3:GetObject", "aws:SourceAcount", "aws:SourceAccount"),
        ("s3:GetObject", "aws:SourceVPCEndpoint", ""),
        ("s3:ListBucket", "s3:prefixes", "s3:prefix"),
        ("kms:Decrypt", "kms:ViaServices", "kms:ViaService"),
        ("s3:GetObject", "s4:prefix", ""),
        ("s3:GetObject", "aws:PrincipalTags/team", ""),
    ],
)
def test_keys_that_aws_does_not_have_are_found(actions: str, key: str, meant: str) -> None:
    (fault,) = faults(actions, "StringEquals", key)
    assert (fault.policy, fault.mandatory) == ("iam-unknown-condition", True)
    assert fault.message == f"AWS has no condition key {key}: the condition never holds"
    assert not meant or fault.remediation == f"Write {meant}."


@pytest.mark.parametrize(
    ("actions", "operator", "key", "comes_to"),
    [
        ("s3:GetObject", "StringEquals", "s3:prefix", "never"),
        ("s3:GetObject", "StringLike", "ec2:Region", "never"),
        (["ec2:StartInstances", "ec2:StopInstances"], "StringEquals", "s3:prefix", "never"),
        ("s3:PutObject", "StringNotEquals", "iam:PassedToService", "always"),
        ("s3:PutObject", "StringEqualsIfExists", "iam:PassedToService", "always"),
        ("s3:PutObject", "ForAllValues:StringEquals", "dynamodb:Attributes", "always"),
    ],
)
def test_keys_that_no_request_of_the_statement_has_are_found(
    actions: str | list[str], operator: str, key: str, comes_to: str
) -> None:
    (fault,) = faults(actions, operator, key)
    assert (fault.policy, fault.mandatory) == ("iam-condition-absent", False)
    assert f"has the condition key {key}: the condition {comes_to} holds" in fault.message


@pytest.mark.parametrize(
    ("action", "severity", "said"),
    [
        ("s3:GetObjekt", "high", "AWS has no action s3:GetObjekt"),
        ("sagmaker:CreateEndpoint", "high", "AWS has no action sagmaker:CreateEndpoint"),
        ("tomorrowservice:Get", "medium", "has no service tomorrowservice"),  # newer than the list, or retired
    ],
)
def test_a_service_that_is_not_listed_may_be_newer(action: str, severity: str, said: str) -> None:
    (fault,) = faults(action, "StringEquals", "aws:SourceIp")
    assert (fault.policy, fault.severity) == ("iam-unknown-action", severity) and said in fault.message
