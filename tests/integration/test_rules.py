"""Every resource of a stack is read back as given, accepts other tags, shows manual changes, and is deleted without a
trace.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from groundplan.local.moto import rules, tags
from groundplan.local.moto.alarms import evaluate_alarms
from groundplan.local.moto.maker import Maker
from groundplan.local.moto.monitor import Record
from groundplan.local.moto.rest_apis import keep_definitions
from groundplan.local.moto.rules import Cloud, rule_for
from groundplan.local.moto.server import _allow_plain_http, sign_with_ed25519
from groundplan.local.provider.aws import Aws
from spec.errors import GroundplanError, UsageError
from tests.conftest import everything
from tests.integration.test_stacks import ACCOUNT, InProcess

REGION = "eu-central-1"
# What stays, as with Pulumi's own provider: it belongs to something else, or can't be reverted.
STAY = {
    "aws:apigateway/account:Account",
    "aws:apigateway/methodSettings:MethodSettings",
    "aws:cfg/recorderStatus:RecorderStatus",
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
    "aws:s3/bucketVersioning:BucketVersioning",
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
    "aws:sns/topicPolicy:TopicPolicy",
}


@dataclass
class Made:
    maker: Maker
    records: list[Record]

    def one(self, type_: str, name: str = "") -> Record:
        return next(record for record in self.records if record.type == type_ and name in record.name)

    def now(self, record: Record) -> dict[str, Any]:
        """What differs from what was given."""
        found = self.maker.read(record.type, record.inputs, record.id, record.outputs)
        assert found is not None, record.name
        return {key: found.get(key) for key in {*found, *record.inputs} if found.get(key) != record.inputs.get(key)}


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    topic = rules.RULES["aws:msk/topic:Topic"]  # tested on the real broker elsewhere
    rules.RULES["aws:msk/topic:Topic"] = replace(
        topic, make=lambda cloud, inputs: (inputs["name"], {}), read=None, delete=None
    )
    _allow_plain_http()
    keep_definitions()
    evaluate_alarms()
    sign_with_ed25519()
    try:
        with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
            account = InProcess()
            records = [
                record
                for record in account.apply("everything", everything())
                if record.applied and rule_for(record.type) is not rules.cluster.MANIFEST
            ]
            yield Made(Maker(Cloud(REGION, ACCOUNT, account._send, "", lambda manifest: None)), records)
    finally:
        rules.RULES["aws:msk/topic:Topic"] = topic


def test_everything_is_read_as_it_was_given(made: Made) -> None:
    assert len({record.type for record in made.records}) > 75
    assert {record.name: now for record in made.records if (now := made.now(record))} == {}
    unread = {record.type for record in made.records if (rule := rule_for(record.type)) and rule.read is None}
    assert unread == {"aws:msk/topic:Topic"}


def test_nothing_is_made_from_what_is_not_known(made: Made) -> None:
    """What is only recorded has the outputs that others need."""

    def holes(value: Any) -> bool:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return (isinstance(value, list) and None in value) or any(map(holes, inner))

    assert [record.name for record in made.records if holes(record.inputs)] == []


def test_every_type_takes_other_tags_or_is_told_to_take_none(made: Made) -> None:
    tagged = {record.type: record for record in made.records if record.inputs.get("tags")}
    changed = 0
    for type_, record in tagged.items():
        rule = rule_for(type_)
        assert rule is not None
        if not made.maker.can_change(type_, {"tags"}):
            assert type_ in tags.LACKING or rule.replaceable, type_
            continue
        if type_ in tags.LACKING:
            continue
        kept = dict(list(record.inputs["tags"].items())[1:])
        other = {**record.inputs, "tags": {**kept, "added": "yes"}}
        made.maker.change(type_, record.name, record.inputs, other, record.id, record.outputs)
        found = made.maker.read(type_, other, record.id, record.outputs)
        assert found is not None and found["tags"] == other["tags"], type_
        made.maker.change(type_, record.name, other, record.inputs, record.id, record.outputs)
        changed += 1
    assert changed > 40


def test_what_is_imported_by_its_id_is_as_it_was_given_or_refused(made: Made) -> None:
    """`pulumi import` of a resource about which nothing else is known."""
    provider, whole, structures, refused = Aws(made.maker.cloud), 0, set[str](), set[str]()
    for record in made.records:
        region = str(record.inputs.get("region", REGION))
        try:
            found = of_region(provider, region).read(record.type, record.name, record.id, {}, {})
        except UsageError as error:
            assert "by its id" in str(error) and "let the program create it" in str(error)
            refused.add(record.type)
            continue
        assert found is not None, record.name
        state, inputs = found
        again = of_region(provider, region).read(record.type, record.name, record.id, state, inputs)
        assert again is not None and again[1] == inputs, f"{record.name}: a refresh after the import finds a difference"
        same = {key for key, value in inputs.items() if alike(value, record.inputs.get(key))}
        whole += {key for key in record.inputs if key not in ("region", "tagsAll")} <= same
        structures |= {
            f"{record.type.rpartition(':')[2]}.{key}"
            for key in same
            if isinstance(record.inputs[key], (dict, list)) and key != "tags"
        }
    assert whole > len(made.records) / 3
    assert structures > {
        "BucketServerSideEncryptionConfiguration.rules",
        "EndpointConfiguration.productionVariants",
        "MetricAlarm.dimensions",
        "Model.vpcConfig",
        "Project.environment",
        "Repository.encryptionConfigurations",
        "VpcEndpoint.routeTableIds",
    }
    assert len(refused) < 34, "what needs more than an id, or is not told whole"


def of_region(provider: Aws, region: str) -> Aws:
    return provider.configure({"region": region})


def alike(told: Any, given: Any) -> bool:
    """Whether they are the same value; JSON texts by their content."""
    if isinstance(told, str) and isinstance(given, str) and given[:1] == "{":
        return bool(json.loads(told) == json.loads(given))
    return bool(told == given)


def test_a_change_by_hand_is_seen(made: Made) -> None:
    def client(service: str) -> Any:
        return boto3.client(service, region_name=REGION)

    bucket = made.one("aws:s3/bucket:Bucket", "raw").id
    alarm = made.one("aws:cloudwatch/metricAlarm:MetricAlarm")
    group, role, key = (
        made.one("aws:cloudwatch/logGroup:LogGroup"),
        made.one("aws:iam/rolePolicy:RolePolicy"),
        made.one("aws:kms/key:Key", "keys-internal"),
    )
    wanted = {
        name: alarm.inputs[given]
        for name, given in {"MetricName": "metricName", "Namespace": "namespace"}.items()
        if given in alarm.inputs
    }
    hands: list[tuple[Record, set[str], Any]] = [
        (
            made.one("aws:s3/bucketVersioning:BucketVersioning", "raw"),
            {"versioningConfiguration"},
            lambda: client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}),
        ),
        (
            made.one("aws:s3/bucket:Bucket", "raw"),
            {"tags"},
            lambda: client("s3").put_bucket_tagging(
                Bucket=bucket, Tagging={"TagSet": [{"Key": "Owner", "Value": "nobody"}]}
            ),
        ),
        (
            made.one("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "raw"),
            {"blockPublicAcls"},
            lambda: client("s3").put_public_access_block(
                Bucket=bucket,
                PublicAccessBlockConfiguration={
                    "BlockPublicAcls": False,
                    "IgnorePublicAcls": True,
                    "BlockPublicPolicy": True,
                    "RestrictPublicBuckets": True,
                },
            ),
        ),
        (
            made.one("aws:s3/bucketPolicy:BucketPolicy", "raw"),
            {"policy"},
            lambda: client("s3").put_bucket_policy(Bucket=bucket, Policy='{"Version":"2012-10-17","Statement":[]}'),
        ),
        (
            group,
            {"retentionInDays"},
            lambda: client("logs").put_retention_policy(logGroupName=group.id, retentionInDays=1),
        ),
        (
            role,
            {"policy"},
            lambda: client("iam").put_role_policy(
                RoleName=role.inputs["role"],
                PolicyName=role.inputs["name"],
                PolicyDocument='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}',
            ),
        ),
        (key, {"enableKeyRotation"}, lambda: client("kms").disable_key_rotation(KeyId=key.id)),
        (
            alarm,
            {"threshold"},
            lambda: client("cloudwatch").put_metric_alarm(
                AlarmName=alarm.id,
                **wanted,
                Threshold=123456.0,
                EvaluationPeriods=int(alarm.inputs["evaluationPeriods"]),
                ComparisonOperator=alarm.inputs["comparisonOperator"],
            ),
        ),
    ]
    for record, properties, change in hands:
        change()
        found = set(made.now(record))
        assert properties <= found, f"{record.type}: {found}"
        inputs = record.inputs
        if record.type != "aws:s3/bucketVersioning:BucketVersioning":
            made.maker.change(record.type, record.name, dict.fromkeys(properties), inputs, record.id, record.outputs)
            assert not set(made.now(record)) & properties, record.type


def test_a_lock_that_moto_can_not_change_is_told(made: Made) -> None:
    s3 = boto3.client("s3", region_name=REGION)
    s3.create_bucket(
        Bucket="locked", ObjectLockEnabledForBucket=True, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    version = s3.put_object(Bucket="locked", Key="k", Body=b"v")["VersionId"]
    inputs = {"bucket": "locked", "rule": {"defaultRetention": {"mode": "GOVERNANCE", "days": 1}}}
    with pytest.raises(GroundplanError, match="the lock of a bucket that contains objects changed") as raised:
        made.maker.make("aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration", "lock", inputs)
    assert "groundplan down" in str(raised.value)
    s3.delete_object(Bucket="locked", Key="k", VersionId=version)
    s3.delete_bucket(Bucket="locked")


def test_what_is_deleted_by_hand_is_gone_and_everything_goes(made: Made) -> None:
    for record in reversed(made.records):
        inputs = {**record.inputs, "forceDestroy": True, "forceDelete": True}
        if "deletionProtectionEnabled" in inputs:
            made.maker.change(
                record.type,
                record.name,
                inputs,
                {**inputs, "deletionProtectionEnabled": False},
                record.id,
                record.outputs,
            )
        if record.type == "aws:secretsmanager/secretRotation:SecretRotation":  # it is deleted together with the secret
            continue
        made.maker.delete(record.type, record.name, inputs, record.id)
        if record.type not in STAY and (rule := rule_for(record.type)) and rule.read is not None:
            assert made.maker.read(record.type, inputs, record.id, record.outputs) is None, record.type
    assert (
        boto3.client("s3").list_buckets()["Buckets"] == []
        and boto3.client("dynamodb", REGION).list_tables()["TableNames"] == []
    )
    own = [role for role in boto3.client("iam").list_roles()["Roles"] if "groundplan" in role["RoleName"]]
    assert own == []
