"""The local cloud as Pulumi's providers: what they make of inputs, what they refuse, what they plan. (tests/engine
has the real engine on them.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, struct_pb2
from pulumi.runtime import rpc
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from groundplan.engine.resource_types import made_up, resource_type, unknown_outputs
from groundplan.engine.unknown import UNKNOWN
from groundplan.local.moto.dry import dry
from groundplan.local.moto.lookups import look_up
from groundplan.local.moto.maker import Maker
from groundplan.local.moto.rules import RULES, Cloud
from groundplan.local.provider.aws import Aws
from groundplan.local.provider.differences import carried, differences
from groundplan.local.provider.kubernetes import Kubernetes
from groundplan.local.provider.replacing import never_changed, replaces
from groundplan.local.provider.server import serve
from spec.errors import GroundplanError, UsageError

BUCKET, SEED = "aws:s3/bucket:Bucket", bytes(range(32))


def nothing_is_sent(region: str, service: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
    raise AssertionError(f"{operation} was sent")


CLOUD = Cloud("eu-central-1", "123456789012", nothing_is_sent, "", lambda manifest: None)


@pytest.fixture
def aws() -> Aws:
    return Aws(CLOUD)


def test_a_policy_given_as_a_structure_is_text_or_unknown_while_a_part_is(aws: Aws) -> None:
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*", "Principal": "*"}],
    }
    inputs, faults = aws.check("aws:s3/bucketPolicy:BucketPolicy", "b", {}, {"bucket": "b", "policy": document}, SEED)
    assert not faults and json.loads(inputs["policy"]) == document
    document["Statement"][0]["Resource"] = UNKNOWN  # type: ignore[index]
    assert (
        aws.check("aws:s3/bucketPolicy:BucketPolicy", "b", {}, {"bucket": "b", "policy": document}, SEED)[0]["policy"]
        == UNKNOWN
    )


@pytest.mark.parametrize(
    ("token", "inputs", "says"),
    [
        (
            BUCKET,
            {"bucket": "b-1", "versoning": True},
            "versoning is not an input of aws:s3/bucket:Bucket; its inputs are",
        ),
        ("aws:iam/rolePolicy:RolePolicy", {"role": "r"}, "policy is missing"),
        (
            "aws:dynamodb/table:Table",
            {"name": "t", "ttl": {"on": True}},
            "ttl.on is unknown there; known are attributeName, enabled",
        ),
        (
            "aws:ecr/repository:Repository",
            {"name": "UPPER"},
            "AWS would refuse this CreateRepository: repositoryName: 'UPPER' does not match",
        ),
        ("aws:kms/key:Key", {"description": "x" * 8193}, "at most 8192"),
        ("aws:s3/nothing:Nothing", {}, "pulumi_aws has no type aws:s3/nothing:Nothing"),
    ],
)
def test_what_aws_or_its_provider_would_refuse_is_refused_before_anything_is_made(
    token: str, inputs: dict[str, Any], says: str, aws: Aws
) -> None:
    _, faults = aws.check(token, "name", {}, inputs, SEED)
    assert says in " | ".join(f"{key} {said}" for key, said in faults)


@pytest.mark.parametrize("part", ["bucket", "tags"])
def test_what_is_unknown_is_not_refused(part: str, aws: Aws) -> None:
    assert aws.check(BUCKET, "name", {}, {"bucket": "b-1", part: UNKNOWN}, SEED)[1] == []


@pytest.mark.parametrize(
    ("token", "key"), [(BUCKET, "bucket"), ("aws:iam/role:Role", "name"), ("aws:sqs/queue:Queue", "name")]
)
def test_who_gives_no_name_is_given_one_and_keeps_it(token: str, key: str, aws: Aws) -> None:
    given = {"assumeRolePolicy": "{}"} if "iam" in token else {}
    first, _ = aws.check(token, "events", {}, given, SEED)
    assert first[key].startswith("events-") and len(first[key]) == len("events-") + 7
    again, _ = aws.check(token, "events", first, given, bytes(32))
    assert again[key] == first[key] and not aws.deletes_first(first) and aws.deletes_first({key: "mine"})


def test_a_preview_leaves_unknown_what_only_the_cloud_tells(aws: Aws) -> None:
    of = resource_type("aws:eks/cluster:Cluster")
    assert of is not None
    told = unknown_outputs(of, {"name": "c", "vpcConfig": {"subnetIds": ["s"]}})
    assert told["arn"] == told["endpoint"] == told["vpcConfig"]["clusterSecurityGroupId"] == UNKNOWN and told[
        "vpcConfig"
    ]["subnetIds"] == ["s"]
    preview = aws.preview(BUCKET, "b", {"bucket": "b", "tags": {"a": "b"}})
    assert preview["arn"] == UNKNOWN and preview["bucket"] == "b" and preview["tagsAll"] == {"a": "b"}


@pytest.mark.parametrize("token", sorted(RULES))
def test_every_type_has_an_output_for_whatever_is_always_there(token: str) -> None:
    of = resource_type(token)
    assert of is not None and of.inputs
    made = made_up(of, "name", "eu-central-1", "123456789012")
    assert set(of.computed) >= set(made) and (
        never_changed(token) is not None or token == "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
    )
    if "arn" in of.computed:
        assert made["arn"].startswith("arn:aws:")


@pytest.mark.parametrize(
    ("token", "path", "another"),
    [
        (BUCKET, "bucket", True),
        (BUCKET, 'tags["a"]', False),
        ("aws:ec2/subnet:Subnet", "cidrBlock", True),
        ("aws:rds/instance:Instance", "identifier", True),
        ("aws:rds/instance:Instance", "instanceClass", False),
        ("aws:dynamodb/table:Table", "hashKey", True),
        ("aws:dynamodb/table:Table", "billingMode", False),
        ("aws:ecr/repository:Repository", "encryptionConfigurations[0].kmsKey", True),
        ("aws:iam/role:Role", "name", True),
        ("aws:iam/role:Role", "assumeRolePolicy", False),
        ("aws:msk/cluster:Cluster", "brokerNodeGroupInfo.clientSubnets[1]", True),
        ("aws:msk/cluster:Cluster", "brokerNodeGroupInfo.storageInfo.ebsStorageInfo.volumeSize", False),
        ("aws:glue/schema:Schema", "schemaDefinition", False),
        ("aws:cloudwatch/metricAlarm:MetricAlarm", "threshold", False),
        ("aws:lambda/function:Function", "functionName", True),
        ("aws:ec2/instance:Instance", "availabilityZone", True),
        ("aws:elasticache/replicationGroup:ReplicationGroup", "atRestEncryptionEnabled", True),
    ],
)
def test_what_cannot_be_changed_in_place_is_another_resource(token: str, path: str, another: bool) -> None:
    assert replaces(token, path) is another


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 2}, {"a": "changed"}),
        ({}, {"a": {"b": 1}}, {"a": "added"}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a.c": "removed"}),
        ({"a": [1, 2]}, {"a": [1, 3, 4]}, {"a[1]": "changed", "a[2]": "added"}),
        ({"tags": {"a b": "1"}}, {"tags": {}}, {'tags["a b"]': "removed"}),
        ({"a": None}, {"a": 1}, {"a": "added"}),
        ({"__named": "x"}, {}, {}),
        ({"a": {"b": 1}}, {"a": UNKNOWN}, {"a": "changed"}),
    ],
)
def test_differences_are_told_by_their_path(old: dict[str, Any], new: dict[str, Any], found: dict[str, str]) -> None:
    assert differences(old, new) == found


@pytest.mark.parametrize(
    ("state", "olds", "news", "found"),
    [
        ({"arn": "a", "name": "n"}, {"name": "n"}, {"name": "m"}, {"arn": "a", "name": "m"}),
        (
            {"vpc": {"group": "g", "ids": [1]}},
            {"vpc": {"ids": [1]}},
            {"vpc": {"ids": [2]}},
            {"vpc": {"group": "g", "ids": [2]}},
        ),
        ({"tags": {"a": "1"}}, {"tags": {"a": "1"}}, {"tags": {}}, {"tags": {}}),
        ({"vpc": {"ids": [1]}, "arn": "a"}, {"vpc": {"ids": [1]}}, {}, {"arn": "a"}),
    ],
)
def test_what_the_cloud_added_stays_with_new_inputs(
    state: dict[str, Any], olds: dict[str, Any], news: dict[str, Any], found: dict[str, Any]
) -> None:
    assert carried(state, olds, news) == found


def test_an_account_that_is_not_the_stacks_is_refused(aws: Aws) -> None:
    with pytest.raises(UsageError, match="acts as account 123456789012, but the stack allows only 111122223333"):
        aws.configure({"allowedAccountIds": '["111122223333"]'})
    assert (
        aws.configure({"allowedAccountIds": '["123456789012"]', "region": "eu-west-1"}).invoke(
            "aws:index/getRegion:getRegion", {}
        )["region"]
        == "eu-west-1"
    )


def test_default_tags_are_on_everything_and_no_change(aws: Aws) -> None:
    tagged = aws.configure({"defaultTags": {"tags": {"Team": "ml"}}})
    assert tagged.preview(BUCKET, "b", {"bucket": "b", "tags": {"a": "b"}})["tagsAll"] == {"Team": "ml", "a": "b"}
    assert tagged._sent(BUCKET, {"bucket": "b"})["tags"] == {"Team": "ml"}


def test_look_ups_are_answered_or_named() -> None:
    statement = {
        "sid": "s",
        "actions": ["s3:GetObject"],
        "resources": ["a", "b"],
        "principals": [{"type": "Service", "identifiers": ["x.amazonaws.com"]}],
        "conditions": [{"test": "Bool", "variable": "aws:SecureTransport", "values": ["true"]}],
    }
    made = json.loads(
        look_up(CLOUD, "aws:iam/getPolicyDocument:getPolicyDocument", {"statements": [statement]})["json"]
    )["Statement"][0]
    assert made == {
        "Sid": "s",
        "Effect": "Allow",
        "Action": ["s3:GetObject"],
        "Resource": ["a", "b"],
        "Principal": {"Service": ["x.amazonaws.com"]},
        "Condition": {"Bool": {"aws:SecureTransport": ["true"]}},
    }
    with pytest.raises(GroundplanError, match="can't answer the look-up aws:ec2/getAmi:getAmi"):
        look_up(CLOUD, "aws:ec2/getAmi:getAmi", {})


def pod(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n"},
        "spec": {"containers": [{"name": "c", "image": "i"}], **spec},
    }


def test_kubernetes_objects_are_validated_kept_read_and_removed(tmp_path: Path) -> None:
    cluster = Kubernetes(CLOUD, tmp_path)
    assert cluster.check("kubernetes:core/v1:Pod", "p", {}, pod(hostNetwork="yes"), SEED)[1]
    inputs, faults = cluster.check("kubernetes:core/v1:Pod", "p", {}, pod(), SEED)
    assert not faults
    physical, state = cluster.create("kubernetes:core/v1:Pod", "p", inputs)
    assert physical == "n/p" and cluster.read("kubernetes:core/v1:Pod", "p", physical, state, inputs) == (state, inputs)
    file = next(tmp_path.iterdir())
    file.write_text(file.read_text(encoding="utf-8").replace("image: i", "image: other"), encoding="utf-8")
    read = cluster.read("kubernetes:core/v1:Pod", "p", physical, state, inputs)
    assert read and read[1]["spec"]["containers"][0]["image"] == "other"
    cluster.delete("kubernetes:core/v1:Pod", "p", physical, inputs)
    assert cluster.read("kubernetes:core/v1:Pod", "p", physical, state, inputs) is None


@pytest.mark.parametrize(
    ("kind", "path", "another"),
    [
        ("Deployment", "spec.selector.matchLabels.a", True),
        ("Deployment", "spec.replicas", False),
        ("Job", "spec.template.spec", True),
        ("ConfigMap", "metadata.name", True),
        ("ConfigMap", "data.a", False),
    ],
)
def test_what_kubernetes_does_not_change_is_another_object(kind: str, path: str, another: bool, tmp_path: Path) -> None:
    assert Kubernetes(CLOUD, tmp_path).diff(f"kubernetes:core/v1:{kind}", path) is another


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Any]:
    server, port = serve(Kubernetes(CLOUD, tmp_path))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield provider_pb2_grpc.ResourceProviderStub(channel)
    server.stop(None)


def struct(values: dict[str, Any]) -> struct_pb2.Struct:
    return json_format.ParseDict(values, struct_pb2.Struct())


def test_over_the_protocol_secrets_come_in_plain_unknowns_stay_and_errors_are_sentences(stub: Any) -> None:
    urn = "urn:pulumi:s::p::kubernetes:core/v1:Secret::x"
    secret = {rpc._special_sig_key: rpc._special_secret_sig, "value": "word"}
    news = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "x"},
        "stringData": {"a": secret, "b": rpc.UNKNOWN},
    }
    checked = json_format.MessageToDict(stub.Check(provider_pb2.CheckRequest(urn=urn, news=struct(news))).inputs)
    assert checked["stringData"] == {"a": "word", "b": rpc.UNKNOWN}
    diff = stub.Diff(
        provider_pb2.DiffRequest(
            urn=urn, id="x", old_inputs=struct(checked), news=struct({**checked, "metadata": {"name": "y"}})
        )
    )
    assert (
        list(diff.replaces) == ["metadata"]
        and diff.deleteBeforeReplace
        and diff.detailedDiff["metadata.name"].kind == provider_pb2.PropertyDiff.UPDATE_REPLACE
    )
    with pytest.raises(
        grpc.RpcError,
        match=r"the local cloud can't answer kubernetes:yaml:decode\s+-> write the objects in the program",
    ):
        stub.Invoke(provider_pb2.InvokeRequest(tok="kubernetes:yaml:decode"))


def test_what_is_only_made_up_in_a_dry_run_may_have_any_form() -> None:
    """The second call of a rule names what the first one would have answered."""
    cloud = dry(Cloud("eu-central-1", "123456789012", lambda *_: {}, "", lambda manifest: None))
    inputs = {"name": "people", "mfaConfiguration": "OPTIONAL", "softwareTokenMfaConfiguration": {"enabled": True}}
    assert Maker(cloud).make("aws:cognito/userPool:UserPool", "people", inputs)[0] == "x"
    with pytest.raises(GroundplanError, match="AWS would refuse this CreateUserPool"):
        Maker(cloud).make("aws:cognito/userPool:UserPool", "people", {**inputs, "mfaConfiguration": "SOMETIMES"})
