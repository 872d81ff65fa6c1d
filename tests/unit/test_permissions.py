"""Roles as programs write them, held to calls: names that Pulumi gives, policies inside of roles, documents that are none."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from groundplan.permissions.check import check, unused
from groundplan.permissions.deployed import arn_of
from groundplan.permissions.record import Call
from groundplan.permissions.stack import Stack, stack_of

ACCOUNT, REGION = "123456789012", "eu-central-1"
GET = Call("step.quality", "s3", "GetObject", '{"Bucket": "{prefix}-raw-{account}", "Key": "{name}/{name}"}')
TRUST = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "glue.amazonaws.com"}}}


@dataclass(frozen=True)
class Item:
    type: str
    name: str
    inputs: dict[str, Any]
    dependencies: list[str] = field(default_factory=list)

    @property
    def urn(self) -> str:
        return f"urn:pulumi:dev::p::{self.type}::{self.name}"


def document(**statement: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", **statement}})


def stack(*items: Item) -> Stack:
    return stack_of(items, "p", "dev", ACCOUNT, REGION)


def role(**inputs: Any) -> Item:
    return Item("aws:iam/role:Role", "p-dev-pipeline", {"assumeRolePolicy": TRUST, **inputs})


def outcome(*items: Item, call: Call = GET) -> set[str]:
    return {result.decision.outcome for result in check(stack(*items), [call])}


@pytest.mark.parametrize(
    "items",
    [
        [role(), Item("aws:iam/rolePolicy:RolePolicy", "x", {"role": "p-dev-pipeline", "policy": document()})],
        [role(inlinePolicies=[{"name": "x", "policy": document()}])],
        [role(managedPolicyArns=["arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"])],
        [role(), Item("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "x", {"role": "p-dev-pipeline", "policyArn": "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"})],
        [role(), Item("aws:iam/policy:Policy", "own", {"policy": document()}),
         Item("aws:iam/policyAttachment:PolicyAttachment", "x", {"roles": ["p-dev-pipeline"], "policyArn": f"arn:aws:iam::{ACCOUNT}:policy/own"})],
    ],
    ids=["a policy of the role", "inside of the role", "AWS's own", "attached", "attached to several"],
)  # fmt: skip
def test_a_right_counts_however_it_is_given(items: list[Item]) -> None:
    assert outcome(*items) == {"allowed"}


def test_what_allows_nothing_and_what_is_no_document() -> None:
    assert outcome(role()) == {"denied"}
    assert outcome(role(inlinePolicies=[{"name": "x", "policy": "{"}])) == {"undecided"}
    assert outcome(role(inlinePolicies=[{"name": "x", "policy": document(Condition={"StringIs": {"a": "b"}})}])) == {"undecided"}
    assert outcome(role(), call=Call("step.quality", "s3", "FetchObject", '{"Bucket": "b", "Key": "k"}')) == {"undecided"}
    assert outcome(role(managedPolicyArns=["arn:aws:iam::aws:policy/OfTomorrow"])) == {"undecided"}


def test_services_go_by_the_vpc_endpoint_and_people_do_not() -> None:
    closed = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "*"}})
    way = Item("aws:ec2/vpcEndpoint:VpcEndpoint", "s3", {"serviceName": f"com.amazonaws.{REGION}.s3", "policy": closed})
    assert outcome(way, role(inlinePolicies=[{"name": "x", "policy": document()}])) == {"denied"}
    human = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}}
    assert outcome(way, role(assumeRolePolicy=human, inlinePolicies=[{"name": "x", "policy": document()}])) == {"allowed"}


def test_an_encrypted_bucket_asks_for_its_key_too() -> None:
    key = Item("aws:kms/key:Key", "k", {"policy": json.dumps({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "kms:*", "Resource": "*", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}})})  # fmt: skip
    arn = arn_of(key, REGION, ACCOUNT)
    rules = [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": arn}}]
    kind = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    items = [key, Item(kind, "c", {"bucket": f"p-dev-raw-{ACCOUNT}", "rules": rules})]
    results = check(stack(*items, role(inlinePolicies=[{"name": "x", "policy": document()}])), [GET])
    assert {(item.need.action, item.decision.outcome) for item in results} == {("s3:GetObject", "allowed"), ("kms:Decrypt", "denied")}
    opened = document(Action=["s3:GetObject", "kms:Decrypt"])
    assert {item.decision.outcome for item in check(stack(*items, role(inlinePolicies=[{"name": "x", "policy": opened}])), [GET])} == {"allowed"}


def test_a_grant_that_nothing_used_is_told() -> None:
    found = stack(role(inlinePolicies=[{"name": "x", "policy": document(Action=["s3:GetObject", "sqs:SendMessage"])}]))
    (left,) = unused(found, check(found, [GET]))
    assert left.actions == ("sqs:SendMessage on *",)
