"""Roles as programs write them, checked against calls: names that Pulumi generates, policies inside roles, invalid
documents.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from groundplan.review.permissions.arns import arn_of
from groundplan.review.permissions.check import check, unused
from groundplan.review.permissions.record import Call
from groundplan.review.permissions.stack import Stack, stack_of

ACCOUNT, REGION = "123456789012", "eu-central-1"
GET = Call("step.quality", "s3", "GetObject", '{"Bucket": "{prefix}-raw-{account}", "Key": "{name}/{name}"}')
TRUST = {
    "Version": "2012-10-17",
    "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "glue.amazonaws.com"}},
}


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
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", **statement},
        }
    )


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
        [
            role(),
            Item(
                "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
                "x",
                {"role": "p-dev-pipeline", "policyArn": "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"},
            ),
        ],
        [
            role(),
            Item("aws:iam/policy:Policy", "own", {"policy": document()}),
            Item(
                "aws:iam/policyAttachment:PolicyAttachment",
                "x",
                {"roles": ["p-dev-pipeline"], "policyArn": f"arn:aws:iam::{ACCOUNT}:policy/own"},
            ),
        ],
    ],
    ids=["a policy of the role", "inside of the role", "AWS's own", "attached", "attached to several"],
)
def test_a_right_counts_however_it_is_given(items: list[Item]) -> None:
    assert outcome(*items) == {"allowed"}


def test_what_allows_nothing_and_what_is_no_document() -> None:
    assert outcome(role()) == {"denied"}
    assert outcome(role(inlinePolicies=[{"name": "x", "policy": "{"}])) == {"undecided"}
    assert outcome(role(inlinePolicies=[{"name": "x", "policy": document(Condition={"StringIs": {"a": "b"}})}])) == {
        "undecided"
    }
    assert outcome(role(), call=Call("step.quality", "s3", "FetchObject", '{"Bucket": "b", "Key": "k"}')) == {
        "undecided"
    }
    assert outcome(role(managedPolicyArns=["arn:aws:iam::aws:policy/OfTomorrow"])) == {"undecided"}


def test_services_go_by_the_vpc_endpoint_and_people_do_not() -> None:
    closed = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "*"},
        }
    )
    way = Item("aws:ec2/vpcEndpoint:VpcEndpoint", "s3", {"serviceName": f"com.amazonaws.{REGION}.s3", "policy": closed})
    assert outcome(way, role(inlinePolicies=[{"name": "x", "policy": document()}])) == {"denied"}
    human = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        },
    }
    assert outcome(way, role(assumeRolePolicy=human, inlinePolicies=[{"name": "x", "policy": document()}])) == {
        "allowed"
    }


def test_an_encrypted_bucket_asks_for_its_key_too() -> None:
    key = Item(
        "aws:kms/key:Key",
        "k",
        {
            "policy": json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": {
                        "Effect": "Allow",
                        "Action": "kms:*",
                        "Resource": "*",
                        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                    },
                }
            )
        },
    )
    arn = arn_of(key, REGION, ACCOUNT)
    rules = [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": arn}}]
    kind = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    items = [key, Item(kind, "c", {"bucket": f"p-dev-raw-{ACCOUNT}", "rules": rules})]
    results = check(stack(*items, role(inlinePolicies=[{"name": "x", "policy": document()}])), [GET])
    assert {(item.need.action, item.decision.outcome) for item in results} == {
        ("s3:GetObject", "allowed"),
        ("kms:Decrypt", "denied"),
    }
    opened = document(Action=["s3:GetObject", "kms:Decrypt"])
    assert {
        item.decision.outcome
        for item in check(stack(*items, role(inlinePolicies=[{"name": "x", "policy": opened}])), [GET])
    } == {"allowed"}


def test_a_grant_that_nothing_used_is_told() -> None:
    found = stack(role(inlinePolicies=[{"name": "x", "policy": document(Action=["s3:GetObject", "sqs:SendMessage"])}]))
    (left,) = unused(found, check(found, [GET]))
    assert left.actions == ("sqs:SendMessage on *",)


BUILD = {
    "Version": "2012-10-17",
    "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "codebuild.amazonaws.com"}},
}
REPOSITORY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/team/app"
# In the forms in which CodeBuild's own guide writes a buildspec: YAML and JSON.
PUSHES = """
version: 0.2
phases:
  pre_build:
    commands:
      - aws ecr get-login-password --region $AWS_DEFAULT_REGION | docker login --username AWS --password-stdin $REPOSITORY_URI
  build:
    commands:
      - docker build -t $REPOSITORY_URI:latest .
  post_build:
    commands:
      - docker push $REPOSITORY_URI:latest
"""
PULLS = json.dumps({"version": 0.2, "phases": {"build": {"commands": [f"docker pull {REPOSITORY}:1"]}}})


def build(buildspec: str = "", **more: Any) -> Item:
    inputs = {
        "name": "p-dev-image",
        "serviceRole": f"arn:aws:iam::{ACCOUNT}:role/p-dev-build",
        "source": {"type": "NO_SOURCE", "buildspec": buildspec},
        **more,
    }
    inputs["environment"] = {"environmentVariables": [{"name": "REPOSITORY_URI", "value": REPOSITORY}]}
    return Item("aws:codebuild/project:Project", "image", inputs)


def of_build(*statements: dict[str, Any]) -> Item:
    inline = [{"name": "x", "policy": json.dumps({"Version": "2012-10-17", "Statement": list(statements)})}]
    return Item("aws:iam/role:Role", "p-dev-build", {"assumeRolePolicy": BUILD, "inlinePolicies": inline})


@pytest.mark.parametrize(
    ("project", "wanted"),
    [
        (build(), {"logs:CreateLogStream", "logs:PutLogEvents"}),
        (build(PUSHES), {"ecr:GetAuthorizationToken", "ecr:PutImage", "ecr:UploadLayerPart", "ecr:BatchGetImage"}),
        (build(PULLS), {"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}),
        (build(source={"type": "S3", "location": "p-dev-code/app.zip"}), {"s3:GetObject", "s3:GetObjectVersion"}),
        (
            build(
                source={
                    "type": "GITHUB",
                    "auth": {"resource": f"arn:aws:codestar-connections:{REGION}:{ACCOUNT}:connection/x"},
                }
            ),
            {"codestar-connections:GetConnectionToken"},
        ),
        (
            build(vpcConfig={"vpcId": "vpc-1", "subnets": ["subnet-1"], "securityGroupIds": ["sg-1"]}),
            {"ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission", "ec2:DescribeVpcs"},
        ),
        (build("{"), {"logs:PutLogEvents"}),
        (build("version: 0.2\nphases:\n  build:\n"), {"logs:PutLogEvents"}),
        (build(source={"type": "CODEPIPELINE", "buildspec": None}, vpcConfig=None), {"logs:PutLogEvents"}),
    ],
    ids=[
        "a log",
        "a push",
        "a pull",
        "a source",
        "a connection",
        "a network",
        "a file that is none",
        "a phase without commands",
        "a file of the source",
    ],
)
def test_a_build_needs_what_its_project_says(project: Item, wanted: set[str]) -> None:
    refused = {
        result.need.action
        for result in check(stack(project, of_build()), [], [project])
        if result.decision.outcome == "denied"
    }
    assert wanted <= refused
    assert ("ecr:PutImage" in refused) is ("ecr:PutImage" in wanted) and ("s3:GetObject" in refused) is (
        "s3:GetObject" in wanted
    )
    allowed = of_build({"Effect": "Allow", "Action": [*refused, "ecr:DeleteRepository"], "Resource": "*"})
    results = check(stack(project, allowed), [], [project])
    assert {result.decision.outcome for result in results} == {"allowed"}
    assert [item.actions for item in unused(stack(project, allowed), results)] == [("ecr:DeleteRepository on *",)]


def test_a_key_without_a_policy_has_the_one_that_aws_gives_it() -> None:
    signs = json.dumps(
        {
            "version": 0.2,
            "phases": {"build": {"commands": ["cosign sign --key awskms:///alias/p-dev-signing $REPOSITORY_URI"]}},
        }
    )
    project, rights = build(signs), {"Effect": "Allow", "Action": ["kms:*", "ecr:*", "logs:*"], "Resource": "*"}
    key = Item("aws:kms/key:Key", "signing", {})
    number = arn_of(key, REGION, ACCOUNT).rpartition("/")[2]
    alias = Item("aws:kms/alias:Alias", "signing", {"name": "alias/p-dev-signing", "targetKeyId": number})
    results = check(stack(project, of_build(rights), key, alias), [], [project])
    assert {result.need.action for result in results} > {"kms:Sign", "kms:GetPublicKey"} and {
        result.decision.outcome for result in results
    } == {"allowed"}
    other = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/else"},
            "Action": "kms:*",
            "Resource": "*",
        },
    }
    for closed in (Item("aws:kms/key:Key", "signing", {"policy": json.dumps(other)}), key):
        policy = (
            [Item("aws:kms/keyPolicy:KeyPolicy", "signing", {"keyId": number, "policy": json.dumps(other)})]
            if closed is key
            else []
        )
        refused = {
            item.need.action
            for item in check(stack(project, of_build(rights), closed, alias, *policy), [], [project])
            if item.decision.outcome == "denied"
        }
        assert refused == {"kms:Sign", "kms:GetPublicKey", "kms:DescribeKey"}


def test_what_is_asked_of_kafka_needs_its_own_permissions() -> None:
    cluster = Item("aws:msk/serverlessCluster:ServerlessCluster", "events", {"clusterName": "p-dev-events"})
    arn = arn_of(cluster, REGION, ACCOUNT)
    topics, groups = arn.replace(":cluster/", ":topic/"), arn.replace(":cluster/", ":group/")
    reads = [
        Call("step.ingest", "kafka-cluster", name, "{}")
        for name in ("Metadata", "FindCoordinator", "JoinGroup", "Fetch", "OffsetCommit")
    ]

    def refused(*statements: tuple[list[str], list[str]]) -> set[str]:
        inline = [
            {
                "name": "x",
                "policy": json.dumps(
                    {
                        "Version": "2012-10-17",
                        "Statement": [
                            {"Effect": "Allow", "Action": actions, "Resource": resources}
                            for actions, resources in statements
                        ],
                    }
                ),
            }
        ]
        found = check(stack(cluster, role(inlinePolicies=inline)), reads)
        return {result.need.action.partition(":")[2] for result in found if result.decision.outcome != "allowed"}

    connect, read = (
        (["kafka-cluster:Connect"], [arn]),
        (
            ["kafka-cluster:*Topic", "kafka-cluster:ReadData"],
            [f"{topics}/*"],
        ),
    )
    group = (["kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"], [f"{groups}/*"])
    assert refused(connect, read, group) == set()
    assert refused(connect, read) == {"AlterGroup", "DescribeGroup"} and refused(read, group) == {"Connect"}
    assert refused(connect, group, (["kafka-cluster:*"], [arn])) == {"DescribeTopic", "ReadData"}
    assert check(stack(role()), reads) == [], "a stack without a stream"
    unknown = check(stack(cluster, role()), [Call("step.ingest", "kafka-cluster", "request 77", "{}")])
    assert [(item.decision.outcome, item.decision.reason) for item in unknown] == [
        ("undecided", "it is not known which permission Kafka's request 77 needs")
    ]


def test_every_permission_that_kafka_needs_is_one_of_iams() -> None:
    from groundplan.review.permissions.kafka import _NEEDED, SERVICE
    from policies.iam.actions import action_exists

    assert [
        action for needs in _NEEDED.values() for action, _ in needs if not action_exists(f"{SERVICE}:{action}")
    ] == []
