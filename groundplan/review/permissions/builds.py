"""What a CodeBuild build needs from AWS: its source, its log, its network, and what its commands do.

No record of the local cloud shows it, since nothing is built there; the project itself declares it.
https://docs.aws.amazon.com/codebuild/latest/userguide/setting-up-service-role.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from groundplan.review.permissions.stack import Stack
from policies.iam.actions import Need, needed

_PUSH = ("BatchCheckLayerAvailability", "CompleteLayerUpload", "InitiateLayerUpload", "PutImage", "UploadLayerPart")
_PULL = ("BatchGetImage", "GetDownloadUrlForLayer")
_IN_A_NETWORK = (
    "DeleteNetworkInterface",
    "DescribeDhcpOptions",
    "DescribeNetworkInterfaces",
    "DescribeSecurityGroups",
    "DescribeSubnets",
    "DescribeVpcs",
)
_REPOSITORY = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<name>[^:@\s]+)")


def needs_of(stack: Stack, project: Mapping[str, Any]) -> Iterator[Need]:
    """Every need of one build.

    Args:
        project: Inputs of ``aws.codebuild.Project``, all known.
    """
    source = project.get("source") or {}
    if source.get("type") == "S3":
        bucket, _, key = str(source.get("location", "")).partition("/")
        for action in ("s3:GetObject", "s3:GetObjectVersion"):  # what exists when the build is queued
            yield Need(action, f"arn:aws:s3:::{bucket}/{key}", because="the build's source")
    connection = (source.get("auth") or {}).get("resource", "")
    if ":connection/" in connection:
        for operation in ("GetConnection", "GetConnectionToken"):
            yield Need(f"{connection.split(':')[2]}:{operation}", connection, because="the build's source")
    logs = ((project.get("logsConfig") or {}).get("cloudwatchLogs") or {}).get(
        "groupName"
    ) or f"/aws/codebuild/{project.get('name')}"
    group = f"arn:aws:logs:{stack.region}:{stack.account}:log-group:{logs}"
    yield Need("logs:CreateLogStream", f"{group}:*", because="the build's log")
    yield Need("logs:PutLogEvents", f"{group}:log-stream:any", because="the build's log")
    yield from _network(stack, project.get("vpcConfig") or {})
    variables = {
        item["name"]: str(item.get("value", ""))
        for item in (project.get("environment") or {}).get("environmentVariables") or ()
    }
    for command in _commands(source.get("buildspec") or ""):
        yield from _command(stack, command, variables)


def _network(stack: Stack, network: Mapping[str, Any]) -> Iterator[Need]:
    because = "the build runs in the network"
    for subnet in network.get("subnets") or ():
        arn = f"arn:aws:ec2:{stack.region}:{stack.account}"
        yield Need("ec2:CreateNetworkInterface", f"{arn}:subnet/{subnet}", because=because)
        context = {"ec2:AuthorizedService": "codebuild.amazonaws.com", "ec2:Subnet": f"{arn}:subnet/{subnet}"}
        yield Need("ec2:CreateNetworkInterfacePermission", f"{arn}:network-interface/eni-any", context, because=because)
    for operation in _IN_A_NETWORK if network else ():
        yield from needed("ec2", operation, {}, stack.region, stack.account)


def _commands(text: str) -> list[str]:
    """Commands of a buildspec; none if it is a file of the source, or not readable."""
    import yaml

    try:
        spec = json.loads(text) if text.lstrip()[:1] == "{" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return []
    phases = (spec.get("phases") or {}).values() if isinstance(spec, dict) else ()
    return [str(command) for phase in phases if isinstance(phase, dict) for command in phase.get("commands") or ()]


def _command(stack: Stack, command: str, variables: Mapping[str, str]) -> Iterator[Need]:
    """What one command needs: docker's pushes and pulls, cosign's signatures, calls of the AWS CLI."""
    filled = re.sub(r"\$\{?(\w+)\}?", lambda found: variables.get(found[1], found[0]), command)
    repositories = {match[0]: match for value in (filled, *variables.values()) for match in _REPOSITORY.finditer(value)}
    signs = re.search(r"cosign\W+sign\b", command)
    operations = (
        _PUSH + _PULL
        if re.search(r"docker\s+push|--push\b", command) or signs
        else _PULL
        if "docker pull" in command
        else ()
    )
    for match in repositories.values():
        arn = f"arn:aws:ecr:{match['region']}:{match['account']}:repository/{match['name']}"
        for operation in operations:
            yield Need(f"ecr:{operation}", arn, because=command)
    if signs and (key := re.search(r"awskms:///(\S+?)[\"'\s]", f"{filled} ")):
        arn = (
            key[1]
            if key[1].startswith("arn:")
            else stack.keys.get(key[1].rpartition("/")[2].removeprefix(f"{stack.prefix}-"), "")
        )
        for operation in ("DescribeKey", "GetPublicKey", "Sign") if arn else ():
            yield Need(f"kms:{operation}", arn, because=command)
    if re.search(r"\baws ecr get-login-password\b", command):
        yield Need("ecr:GetAuthorizationToken", "*", because=command)
