"""Tags of any resource: read and changed by the operations that the service's model has for it.

Services have similar operations, spelled in many ways (``TagResource``, ``AddTags``, ``TagQueue``; a list of pairs, a
map; the resource's ARN, its id). They are read from botocore's models; only what no model contains is listed in
``_OF_TYPE``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from groundplan.local.moto.reading import as_map
from groundplan.local.moto.rules.rule import Cloud
from groundplan.local.moto.shapes import model, to_request

_ADD, _REMOVE = (
    ("TagResource", "AddTagsToResource", "AddTags"),
    (
        "UntagResource",
        "RemoveTagsFromResource",
        "DeleteTags",
        "RemoveTags",
    ),
)
_LIST = ("ListTagsForResource", "ListTagsOfResource", "ListResourceTags", "ListTags", "GetTags")
# Types whose service has an operation for each kind of resource.
_OF_TYPE = {
    "aws:iam/role:Role": ("TagRole", "UntagRole", "ListRoleTags"),
    "aws:iam/policy:Policy": ("TagPolicy", "UntagPolicy", "ListPolicyTags"),
    "aws:sqs/queue:Queue": ("TagQueue", "UntagQueue", "ListQueueTags"),
    "aws:secretsmanager/secret:Secret": ("TagResource", "UntagResource", "DescribeSecret"),
}
# moto keeps no tags of these.
LACKING = (
    "aws:apigateway/restApi:RestApi",
    "aws:appautoscaling/target:Target",
    "aws:budgets/budget:Budget",
    "aws:cognito/userPool:UserPool",
    "aws:eks/nodeGroup:NodeGroup",
    "aws:glue/registry:Registry",
    "aws:guardduty/detector:Detector",
    "aws:iot/policy:Policy",
    "aws:iot/roleAlias:RoleAlias",
)
_BUCKET = "aws:s3/bucket:Bucket"
_BY_ID = ("ec2", "iam", "sqs", "kms", "secretsmanager")  # the others require the ARN


@dataclass(frozen=True)
class _Operations:
    add: str
    remove: str
    list: str


@cache
def _by_model(type_: str, service: str) -> _Operations | None:
    if type_ in _OF_TYPE:
        return _Operations(*_OF_TYPE[type_])
    if service in (
        "",
        "s3",
        "iam",
        "cloudtrail",
    ):  # they have no operation for every kind of resource, or it takes lists
        return None
    known = set(model(service).operation_names)
    found = [next((name for name in names if name in known), "") for names in (_ADD, _REMOVE, _LIST)]
    return _Operations(*found) if all(found) else None


def can_change(type_: str, service: str) -> bool:
    """Whether the local cloud can change the tags of a resource of this type in place."""
    if type_ in LACKING:
        return False
    return type_ == _BUCKET or service == "ec2" or _by_model(type_, service) is not None


def change(
    cloud: Cloud, type_: str, service: str, physical: str, arn: str, before: Mapping[str, str], tags: Mapping[str, str]
) -> None:
    """Give a resource these tags, and remove those of ``before`` that are not among them."""
    gone = sorted(set(before) - set(tags))
    if type_ == _BUCKET:
        pairs = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
        operation, request = (
            ("PutBucketTagging", {"Tagging": {"TagSet": pairs}}) if pairs else ("DeleteBucketTagging", {})
        )
        cloud.call("s3", operation, {"Bucket": physical, **request})
        return
    if service == "ec2":
        if gone:
            cloud.call("ec2", "DeleteTags", {"Resources": [physical], "Tags": [{"Key": key} for key in gone]})
        if tags:
            cloud.call(
                "ec2",
                "CreateTags",
                {
                    "Resources": [physical],
                    "Tags": [{"Key": key, "Value": value} for key, value in sorted(tags.items())],
                },
            )
        return
    operations = _by_model(type_, service)
    assert operations is not None
    who = physical if service in _BY_ID else arn
    if gone:
        shape, name, kind = _members(service, operations.remove)
        cloud.call(service, operations.remove, {name: who, kind: gone})
    if tags:
        shape, name, kind = _members(service, operations.add)
        cloud.call(service, operations.add, {name: who, kind: to_request(shape.members[kind], dict(tags), type_)})


def read(cloud: Cloud, type_: str, service: str, physical: str, arn: str) -> dict[str, str] | None:
    """The tags that a resource has; None where the service does not report them."""
    from botocore.exceptions import ClientError

    if type_ in LACKING:
        return None
    if type_ == _BUCKET:
        try:
            return _as_map(cloud.call("s3", "GetBucketTagging", {"Bucket": physical})["TagSet"])
        except ClientError:
            return {}
    if service == "ec2":
        return _as_map(
            cloud.call("ec2", "DescribeTags", {"Filters": [{"Name": "resource-id", "Values": [physical]}]})["Tags"]
        )
    operations = _by_model(type_, service)
    if operations is None or (service not in _BY_ID and not arn.startswith("arn:")):
        return None
    shape = model(service).operation_model(operations.list).input_shape
    name = next(iter(shape.required_members or shape.members))
    try:
        answer = cloud.call(service, operations.list, {name: physical if service in _BY_ID else arn})
    except ClientError:
        return None
    answer = answer.get("TagInfoForResource", answer)  # as WAF names it
    return next((_as_map(answer[key] or []) for key in answer if "tag" in key.lower()), None)


def _members(service: str, operation: str) -> tuple[Any, str, str]:
    """Input shape of an operation, the member that names the resource, and the one that has the tags."""
    shape = model(service).operation_model(operation).input_shape
    names = list(shape.required_members)
    kind = next(name for name in names if shape.members[name].type_name in ("list", "map"))
    return shape, next(name for name in names if name != kind), kind


def _as_map(found: Any) -> dict[str, str]:
    return dict(found) if isinstance(found, Mapping) else as_map(found) or {}
