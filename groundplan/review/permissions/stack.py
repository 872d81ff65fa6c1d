"""What a stack's program creates, as the evaluation of permissions needs it: roles and their policies, resource
policies, keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from groundplan.engine.kubernetes import manifests
from groundplan.review.permissions.arns import arn_of
from policies.iam import Policies, Policy, read
from policies.iam.actions import service_of

_ATTACHMENTS = ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "aws:iam/policyAttachment:PolicyAttachment")
# Policies of resources: the input that names the resource, and how its ARN is formed.
_OF_RESOURCES = {
    "aws:s3/bucketPolicy:BucketPolicy": ("bucket", "arn:aws:s3:::{}"),
    "aws:sns/topicPolicy:TopicPolicy": ("arn", "{}"),
    "aws:sqs/queuePolicy:QueuePolicy": ("queueUrl", "{}"),
    "aws:secretsmanager/secretPolicy:SecretPolicy": ("secretArn", "{}"),
    "aws:ecr/repositoryPolicy:RepositoryPolicy": ("repository", "{}"),
    "aws:kms/keyPolicy:KeyPolicy": ("keyId", "arn:aws:kms:{region}:{account}:key/{}"),
}
_KEYS = ("aws:kms/key:Key", "aws:kms/replicaKey:ReplicaKey")
# Resources that may contain their policy.
_WITH_A_POLICY = (
    "aws:s3/bucket:Bucket",
    "aws:sns/topic:Topic",
    "aws:sqs/queue:Queue",
    "aws:secretsmanager/secret:Secret",
    *_KEYS,
)


class Made(manifests.Made, Protocol):
    """A resource of the program with every input known."""

    @property
    def urn(self) -> str:
        """Its URN."""

    @property
    def dependencies(self) -> Sequence[str]:
        """URNs of the resources that its inputs come from."""


@dataclass(frozen=True)
class Role:
    """A role of the program."""

    name: str
    arn: str
    trust: Policy
    policies: tuple[Policy, ...]
    boundary: tuple[Policy, ...] | None
    tags: Mapping[str, str]
    source: Made


@dataclass
class Stack:
    """What the evaluation needs to know about a stack.

    Attributes:
        keys: ARN of the KMS key by the last part of its alias (a class of data).
        key_of: ARN of the KMS key by the ARN of what is encrypted with it.
        policy_of: Policy by the ARN of its resource.
        tags_of: Tags by ARN.
        way_of: Policy of the VPC endpoint by service, as IAM names it; services use it, people don't.
        kafka: ARN of the MSK cluster; empty without one.
        service_control: Policies of the organization that apply to the account; empty where none are given.
    """

    project: str
    name: str
    account: str
    region: str
    roles: dict[str, Role] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    key_of: dict[str, str] = field(default_factory=dict)
    policy_of: dict[str, Policy] = field(default_factory=dict)
    tags_of: dict[str, Mapping[str, str]] = field(default_factory=dict)
    way_of: dict[str, Policy] = field(default_factory=dict)
    service_control: tuple[Policy, ...] = ()
    kafka: str = ""

    @property
    def prefix(self) -> str:
        """Prefix of every name."""
        return f"{self.project}-{self.name}"

    @property
    def names(self) -> dict[str, str]:
        """Placeholders of the record with this stack's values."""
        keys = {f"key:{kind}": arn.rpartition("/")[2] for kind, arn in self.keys.items()}
        own = {
            "project": self.project,
            "stack": self.name,
            "account": self.account,
            "region": self.region,
            "prefix": self.prefix,
            "hive": self.prefix.replace("-", "_"),
            "name": "any",
        }
        return own | keys

    def policies(self, role: Role, action: str, resource: str) -> Policies:
        """What applies to a role's request for an action on a resource."""
        people = not any(
            kind == "Service" for statement in role.trust.statements for kind, _ in statement.principals or ()
        )
        way = None if people else self.way_of.get(action.partition(":")[0])
        # Each file may be of another level: AWS requires every level to allow the request.
        levels = tuple((policy,) for policy in self.service_control) or None
        return Policies(
            identity=role.policies,
            boundary=role.boundary,
            resource=self._policy_of(resource),
            endpoint=way,
            service_control=levels,
        )

    def key_for(self, arn: str) -> str:
        """ARN of the key that encrypts a resource; that of its kind where the record names it by a placeholder. Empty
        if there is none.
        """
        if arn in self.key_of:
            return self.key_of[arn]
        if ":secret:rds!" in arn:
            return self.key_of.get("rds", "")
        kind = arn.split(":")[2:3] == ["dynamodb"]
        return next((key for other, key in self.key_of.items() if kind and ":dynamodb:" in other), "")

    def tags_for(self, arn: str) -> Mapping[str, str]:
        """Tags of a resource of the program; RDS gives its secrets those of the instance."""
        if ":secret:rds!" in arn:
            return next((tags for other, tags in self.tags_of.items() if ":rds:" in other), {})
        return self.tags_of.get(arn, {})

    def _policy_of(self, resource: str) -> Policy | None:
        return self.policy_of.get(resource) or self.policy_of.get(
            resource.partition("/")[0] if resource.startswith("arn:aws:s3:::") else ""
        )


@cache
def _all_by_aws() -> dict[str, Any]:
    """AWS managed policies, as moto has them; only its file is read, since importing moto takes longer than a review
    may.
    """
    import importlib.util
    import json
    from pathlib import Path

    package = importlib.util.find_spec("moto")
    assert package is not None and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "iam" / "aws_managed_policies.py"
    spec = importlib.util.spec_from_file_location("_aws_managed_policies", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Any] = json.loads(module.aws_managed_policies_data)
    return found


def _by_aws(arn: str) -> Policy:
    """An AWS managed policy, as moto has it; unreadable where moto does not have it."""
    name = arn.rpartition("/")[2]
    found = _all_by_aws().get(name)
    return read(found["Document"], name) if found else Policy(name, (), readable=False)


def _read(document: Any, name: str) -> Policy:
    """A policy; one that AWS would refuse is treated as undecided, and the lint reports what is wrong with it."""
    try:
        return read(document, name)
    except ValueError:
        return Policy(name, (), readable=False)


def stack_of(resources: Iterable[Made], project: str, name: str, account: str, region: str) -> Stack:
    """A stack from its program's resources (``groundplan.review.permissions.deployed``)."""
    found = Stack(project, name, account, region)
    everything = list(resources)
    arns = {item.urn: arn_of(item, region, account) for item in everything}
    documents = {
        arns[item.urn]: _read(item.inputs["policy"], item.inputs.get("name", item.name))
        for item in everything
        if item.type == "aws:iam/policy:Policy"
    }
    inline: dict[str, list[Policy]] = {}
    for item in everything:
        if item.type == "aws:iam/rolePolicy:RolePolicy":
            inline.setdefault(item.inputs["role"], []).append(
                _read(item.inputs["policy"], f"{item.inputs['role']}'s policy {item.inputs.get('name', item.name)}")
            )
        elif item.type in _ATTACHMENTS:
            arn = item.inputs["policyArn"]
            for role in [item.inputs["role"]] if "role" in item.inputs else item.inputs.get("roles") or ():
                inline.setdefault(role, []).append(documents.get(arn) or _by_aws(arn))
        elif item.type == "aws:iam/role:Role":
            own = inline.setdefault(_name(item), [])
            own += [
                _read(one["policy"], f"{_name(item)}'s policy {one.get('name', '')}")
                for one in item.inputs.get("inlinePolicies") or ()
                if "policy" in one
            ]
            own += [documents.get(arn) or _by_aws(arn) for arn in item.inputs.get("managedPolicyArns") or ()]
        elif item.type in _OF_RESOURCES:
            key, form = _OF_RESOURCES[item.type]
            named = str(item.inputs[key])
            target = named if named.startswith("arn:") else form.format(named, region=region, account=account)
            if item.type == "aws:sqs/queuePolicy:QueuePolicy":
                target = next(
                    (
                        arns[other.urn]
                        for other in everything
                        if other.type == "aws:sqs/queue:Queue" and other.urn in item.dependencies
                    ),
                    target,
                )
            found.policy_of[target] = _read(item.inputs["policy"], item.name)
        elif item.type == "aws:kms/alias:Alias":
            key_arn = f"arn:aws:kms:{region}:{account}:key/{item.inputs['targetKeyId']}"
            found.keys[_name(item).removeprefix(f"alias/{found.prefix}-")] = key_arn
        if item.type == "aws:ec2/vpcEndpoint:VpcEndpoint" and item.inputs.get("policy"):
            service = (
                str(item.inputs["serviceName"]).split(f".{region}.")[-1].partition(".")[0]
            )  # com.amazonaws.REGION.sagemaker.api
            found.way_of[service_of(service)] = _read(item.inputs["policy"], f"policy of the VPC endpoint {item.name}")
        if item.type in _WITH_A_POLICY and item.inputs.get("policy"):
            found.policy_of[arns[item.urn]] = _read(item.inputs["policy"], f"policy of {item.name}")
        elif item.type in _KEYS:  # AWS gives it a default under which the account's own policies decide
            found.policy_of.setdefault(
                arns[item.urn], read(_default_key_policy(account), f"default policy of {item.name}")
            )
        if item.type in ("aws:msk/cluster:Cluster", "aws:msk/serverlessCluster:ServerlessCluster"):
            found.kafka = arns[item.urn]
        if arns[item.urn]:
            found.tags_of[arns[item.urn]] = item.inputs.get("tags") or {}
        _note_key(found, item, arns[item.urn])
    for item in everything:
        if item.type == "aws:iam/role:Role":
            name_, boundary = _name(item), item.inputs.get("permissionsBoundary")
            held = (documents.get(boundary) or _by_aws(boundary),) if boundary else None
            found.roles[name_] = Role(
                name_,
                arns[item.urn],
                _read(item.inputs["assumeRolePolicy"], f"trust policy of {name_}"),
                tuple(inline.get(name_, ())),
                held,
                item.inputs.get("tags") or {},
                item,
            )
            found.policy_of[arns[item.urn]] = found.roles[name_].trust
    return found


def _default_key_policy(account: str) -> dict[str, Any]:
    """https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html"""
    everything = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    return {"Version": "2012-10-17", "Statement": [everything]}


def _name(item: Made) -> str:
    """Its physical name; Pulumi's where the program sets none."""
    return str(item.inputs.get("name", item.name))


def _note_key(stack: Stack, item: Made, arn: str) -> None:
    """Which key encrypts what."""
    inputs: Mapping[str, Any] = item.inputs
    if item.type.startswith("aws:s3/bucketServerSideEncryptionConfiguration"):
        for rule in inputs.get("rules", ()):
            key = (rule.get("applyServerSideEncryptionByDefault") or {}).get("kmsMasterKeyId")
            if key:
                stack.key_of[f"arn:aws:s3:::{inputs['bucket']}"] = key
    elif item.type == "aws:secretsmanager/secret:Secret" and inputs.get("kmsKeyId"):
        stack.key_of[arn] = inputs["kmsKeyId"]
    elif item.type == "aws:sns/topic:Topic" and inputs.get("kmsMasterKeyId"):
        stack.key_of[arn] = inputs["kmsMasterKeyId"]
    elif item.type == "aws:dynamodb/table:Table" and (inputs.get("serverSideEncryption") or {}).get("kmsKeyArn"):
        stack.key_of[arn] = inputs["serverSideEncryption"]["kmsKeyArn"]
    elif item.type == "aws:rds/instance:Instance" and inputs.get("masterUserSecretKmsKeyId"):
        stack.key_of["rds"] = inputs["masterUserSecretKmsKeyId"]
