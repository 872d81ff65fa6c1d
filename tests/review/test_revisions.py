"""What differs from another revision: the same resources by other names, and changes that the engine does not make."""

from __future__ import annotations

import subprocess

import pytest

from groundplan.review.command import review
from groundplan.review.model import Change, Comparison
from groundplan.review.revisions import _covered, _differing

START = """
import json
import pulumi
import pulumi_aws as aws
from pulumi import Alias, ResourceOptions as Options

class Files(pulumi.ComponentResource):
    def __init__(self, name, opts=None):
        super().__init__("our:index:Files", name, {}, opts)
        aws.s3.Bucket(f"{name}-bucket", opts=Options(parent=self))
        aws.sns.Topic("events", opts=Options(parent=self))

def role(name, opts=None):
    made = aws.iam.Role(name, assume_role_policy="{}", opts=opts)
    reads = {"Statement": [{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/*"}]}
    aws.iam.RolePolicy("reads", role=made.id, policy=json.dumps(reads))
"""
BEFORE = """
aws.kms.Key("old")
Files("one")
aws.dynamodb.Table("moved", hash_key="a", attributes=[{"name": "a", "type": "S"}])
role("reader")
aws.secretsmanager.Secret("kept", opts=Options(retain_on_delete=True))
aws.secretsmanager.Secret("lost")
aws.sqs.Queue("queue", visibility_timeout_seconds=10, tags={"a": "1", "b": "1"})
aws.ecs.TaskDefinition("task", family="f", container_definitions="[]", tags={"v": "1"})
aws.ec2.SecurityGroup("group", ingress=[
    {"protocol": "tcp", "from_port": 1, "to_port": 1, "cidr_blocks": ["10.0.0.0/8"], "description": "x"}])
aws.sns.Topic("topic", display_name="x")
"""
AFTER = """
aws.kms.Key("new", opts=Options(aliases=[Alias(name="old")]))
Files("two", opts=Options(aliases=[Alias(name="one")]))
class Store(pulumi.ComponentResource):
    def __init__(self):
        super().__init__("our:index:Store", "store")
        aws.dynamodb.Table("moved", hash_key="a", attributes=[{"name": "a", "type": "S"}],
            opts=Options(parent=self, aliases=[Alias(parent=pulumi.ROOT_STACK_RESOURCE)]))
Store()
role("writer", Options(aliases=[pulumi.create_urn("reader", "aws:iam/role:Role")]))
aws.sqs.Queue("queue", visibility_timeout_seconds=20, tags={"a": "2", "b": "2"},
    opts=Options(ignore_changes=["tags.a"]))
aws.ecs.TaskDefinition("task", family="f", container_definitions="[{}]", tags={"v": "2"},
    opts=Options(ignore_changes=["*"]))
aws.ec2.SecurityGroup("group", ingress=[
    {"protocol": "tcp", "from_port": 1, "to_port": 1, "cidr_blocks": ["10.0.0.0/8"], "description": "y"}],
    opts=Options(ignore_changes=["ingress[*].description"]))
aws.sns.Topic("topic", display_name="y", opts=Options(replace_on_changes=["displayName"]))
"""


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("revisions")
    (folder / "Pulumi.yaml").write_text("name: a\nruntime: python\n")
    (folder / "__main__.py").write_text(START + BEFORE)
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@t")
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-qm", "before")):
        subprocess.run([*git, *arguments], cwd=folder, check=True, capture_output=True)
    (folder / "__main__.py").write_text(START + AFTER)
    found = review(folder, "dev", against="HEAD").comparison
    assert found is not None
    return found


def test_what_has_another_name_is_neither_added_nor_gone(compared: Comparison) -> None:
    assert {(change.what, change.name) for change in compared.resources if change.what != "changed"} == {
        ("gone", "kept"),
        ("gone", "lost"),
    }
    assert not [finding for finding in compared.findings_added if finding.mandatory], "its findings are the old ones"
    assert not compared.grants_added and not compared.grants_gone, "its rights are the old ones"


def test_what_the_engine_ignores_is_no_change(compared: Comparison) -> None:
    changed = {change.name: change for change in compared.resources if change.what == "changed"}
    assert changed == {
        "queue": Change("changed", "aws:sqs/queue:Queue", "queue", ("tags", "visibilityTimeoutSeconds"), (), True),
        "topic": Change("changed", "aws:sns/topic:Topic", "topic", ("displayName",), ("displayName",)),
    }


def test_what_stays_in_aws_is_not_lost(compared: Comparison) -> None:
    assert [change.name for change in compared.resources if change.destroys_data] == ["lost"]


@pytest.mark.parametrize(
    ("path", "by", "covered"),
    [
        ("tags.a", "tags", True),
        ("tags", "tags.a", False),
        ("tagsAll.a", "tags", False),
        ("rules[0].port", "rules[0]", True),
        ("rules[1].port", "rules[0]", False),
        ("rules[1].port", "rules[*].port", True),
        ('tags["a.b"]', 'tags["a.b"]', True),
        ('tags["a.b"]', "tags.a", False),
        ('["a.b"].c', '["a.b"]', True),
        ("anything.at[0].all", "*", True),
    ],
)
def test_property_paths_are_read_as_pulumi_documents_them(path: str, by: str, covered: bool) -> None:
    assert _covered(path, [by]) is covered


@pytest.mark.parametrize(
    ("old", "new", "paths"),
    [
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": {"b.c": 1}}, {"a": {"b.c": 2}}, ['a["b.c"]']),
        ({"a": [{"b": 1}, 2]}, {"a": [{"b": 3}, 2]}, ["a[0].b"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a"]),
        ({}, {"a": {"b": 1}}, ["a"]),
        ({"a": 1}, {"a": 1}, []),
    ],
)
def test_differences_are_found_where_they_are(old: dict[str, object], new: dict[str, object], paths: list[str]) -> None:
    assert list(_differing("", old, new)) == paths
