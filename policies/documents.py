"""Policy documents as controls read them: what they mean, by IAM's own evaluation, not how they are spelled.

A value that only a deployment can tell names one thing (an ARN, an account), and no star.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError

from policies.control import given, is_list, listed
from policies.iam.conditions import holds
from policies.iam.documents import UNKNOWN, Policy, Statement, Test, read
from policies.iam.evaluation import Policies, evaluate
from policies.iam.matching import action_fits, fits
from policies.iam.request import Request
from policies.networks import internet_among

STRANGERS_ACCOUNT = "999999999999"
STRANGER = f"arn:aws:iam::{STRANGERS_ACCOUNT}:role/stranger"
# What a stranger's request has: of an account in an organization of its own or in none, through the internet or through
# an endpoint in a network of its own.
_ALWAYS: Mapping[str, str] = {
    "aws:SecureTransport": "true",
    "aws:MultiFactorAuthPresent": "true",
    "aws:PrincipalIsAWSService": "false",
    "aws:SourceOwner": STRANGERS_ACCOUNT,
    "kms:CallerAccount": STRANGERS_ACCOUNT,
    "sns:Owner": STRANGERS_ACCOUNT,
}
_MEMBER: Mapping[str, str] = {"aws:PrincipalOrgID": "o-strangers0", "aws:PrincipalOrgPaths": "o-strangers0/r-none/"}
_OVER_THE_INTERNET: Mapping[str, str] = {"aws:SourceIp": "198.51.100.7"}
_BY_AN_ENDPOINT: Mapping[str, str] = {
    "aws:SourceVpc": "vpc-0strangers",
    "aws:SourceVpce": "vpce-0strangers",
    "aws:SourceVpcArn": f"arn:aws:ec2:us-east-1:{STRANGERS_ACCOUNT}:vpc/vpc-0strangers",
    "aws:VpceAccount": STRANGERS_ACCOUNT,
}
_STRANGERS = tuple(
    {**_ALWAYS, **way, **membership}
    for way in (_OVER_THE_INTERNET, _BY_AN_ENDPOINT)
    for membership in (_MEMBER, dict[str, str]())
)
# What who asks chooses himself, and what is always true of the resource: a condition on it keeps nobody out.
_HIS_OWN = (
    "aws:UserAgent", "aws:Referer", "aws:RequestTag/*", "aws:TagKeys", "aws:PrincipalTag/*", "aws:PrincipalType",
    "aws:RequestedRegion", "aws:CurrentTime", "aws:EpochTime", "aws:userid", "aws:username", "s3:*", "kms:ViaService",
    "kms:EncryptionContext*", "kms:GrantIsForAWSResource", "sns:Protocol", "sns:Endpoint", "lambda:*",
    "aws:VpcSourceIp", "sts:RoleSessionName", "sts:ExternalId", "sts:SourceIdentity", "aws:SourceIdentity",
    "aws:ResourceAccount", "aws:ResourceOrgID", "aws:ResourceOrgPaths", "aws:ResourceTag/*",
)  # fmt: skip
_EVERYTHING = read(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}, "everything"
)
# Services whose ARNs name the resource without its type before it.
_WITHOUT_TYPE = frozenset({"s3", "sns", "sqs", "execute-api", "codecommit"})


def known(value: Any) -> Any:
    """A value without the SDK's proxies; ``UNKNOWN`` stands for what only a deployment can tell."""
    if isinstance(value, Mapping):
        return {key: _item(value, key) for key in value}
    if is_list(value):
        return [_item(value, index) for index in range(len(value))]
    return value


def _item(container: Any, key: Any) -> Any:
    try:
        return known(container[key])
    except UnknownValueError:
        return UNKNOWN


def policy_of(props: Mapping[str, Any], key: str = "policy") -> Policy:
    """A policy document; one without statements where it is none, of which another control speaks.

    Raises:
        UnknownValueError: Only a deployment can tell the document.
    """
    try:
        found = read(known(props[key]), key)
    except (ValueError, AttributeError, TypeError):
        return Policy(key, ())
    if not found.readable:
        raise UnknownValueError(UNKNOWN_STRING_VALUE, [key])
    return found


def granted(props: Mapping[str, Any]) -> Iterator[Statement]:
    """The statements that allow, of a policy and of the policies inside of a role."""
    if given(props, "policy"):
        yield from (item for item in policy_of(props).statements if item.effect == "Allow")
    for inline in listed(props["inlinePolicies"]) if given(props, "inlinePolicies") else ():
        if given(inline, "policy"):
            yield from (item for item in policy_of(inline).statements if item.effect == "Allow")


def allows(statement: Statement, action: str) -> bool:
    """Whether a statement's actions mean an action."""
    if statement.actions is not None:
        return any(action_fits(pattern, action) is True for pattern in statement.actions)
    return statement.not_actions is not None and not any(
        action_fits(pattern, action) is True for pattern in statement.not_actions
    )


def on_everything(statement: Statement, service: str, *, of_one_account: bool = False) -> bool:
    """Whether a statement is about every resource of a service, and not only those with some tag.

    Args:
        service: As in ARNs; ``*`` for any.
        of_one_account: Whether every resource of one account, or of one region, is everything.
    """
    if any("resourcetag/" in test.key.lower() and not test.operator.startswith("Null") for test in statement.tests):
        return False
    if statement.resources is None:
        return statement.not_resources is not None
    return any(_is_everything(pattern, service, of_one_account) for pattern in statement.resources)


def _is_everything(pattern: str, service: str, of_one_account: bool) -> bool:
    if UNKNOWN in pattern:
        return False
    parts = pattern.split(":", 5)
    if len(parts) < 6:
        probe = f"arn:aws:{service if service != '*' else 'any'}:us-east-1:{STRANGERS_ACCOUNT}:any/any"
        return fits(pattern, probe) is True
    if service != "*" and action_fits(parts[2], service) is not True:
        return False
    if re.fullmatch(r"[*?/:]*\*[*?/:]*", parts[5]):
        return True
    anywhere = of_one_account or parts[2] == "iam" or not parts[4].strip("*?")
    return anywhere and parts[2] not in _WITHOUT_TYPE and re.fullmatch(r"[\w-]+[/:][*/:]*\*", parts[5]) is not None


def refuses(policy: Policy, action: str, resource: str, context: Mapping[str, str]) -> bool | None:
    """Whether a resource's policy denies a request of somebody whom everything else allows it; None where it can't be
    told.
    """
    request = Request(action, resource, STRANGER, context, resource_account=STRANGERS_ACCOUNT)
    outcome = evaluate(request, Policies(identity=(_EVERYTHING,), resource=policy)).outcome
    return {"denied": True, "allowed": False, "undecided": None}[outcome]


def lets_strangers_in(policy: Policy) -> list[Statement]:
    """The statements of a resource's policy that let in anybody of any account, and that no other statement takes
    back.
    """
    everything = [_settled(item) for item in policy.statements]
    return [item for item in everything if item.effect == "Allow" and _for_strangers(item, everything)]


def _for_strangers(statement: Statement, everything: list[Statement]) -> bool:
    if not _everybody(statement):
        return False
    return any(
        all(_met(test, request, statement) for test in statement.tests)
        and not any(item.effect == "Deny" and _denies(item, request) for item in everything)
        for request in _requests_of_strangers(statement)
    )


def _requests_of_strangers(statement: Statement) -> Iterator[Request]:
    """Requests that strangers can make: by roles and from resources of their own, which they name as they like."""
    patterns = {
        key: [value for test in statement.tests if test.key.lower() == key for value in test.values]
        for key in ("aws:principalarn", "aws:sourcearn")
    }
    callers = [STRANGER, *filter(None, map(strangers_own, patterns["aws:principalarn"]))]
    # A service that acts for him tells whose resource it acts for.
    sources = [
        {},
        *(
            {"aws:SourceArn": arn, "aws:SourceAccount": STRANGERS_ACCOUNT}
            for arn in filter(None, map(strangers_own, patterns["aws:sourcearn"]))
        ),
    ]
    for action in statement.actions or ("x:x",):
        for resource in statement.resources or ("",):
            for caller in callers:
                for source in sources:
                    for context in _STRANGERS:
                        yield Request(_one(action), _one(resource), caller, {**context, **source}, _HIS_OWN)


def strangers_own(pattern: str) -> str:
    """A stranger's role or resource that a pattern of ARNs fits; empty where there is none: the pattern names the
    account, or a bucket, whose name nobody else has.
    """
    parts = pattern.split(":", 5)
    if len(parts) < 6:
        if not pattern.endswith("*"):
            return ""
        parts += ["*"] * (6 - len(parts))
    if parts[2] == "s3":
        name = parts[5].partition("/")[0]
        return "" if not re.match(r"[*?]", name) else f"arn:aws:s3:::{_one(parts[5])}"
    if not re.search(r"[*?]", parts[4]):
        # Without an account, as those of interfaces in some examples, it is nobody's own.
        return "" if parts[4] or not re.match(r"[*?]", parts[5]) else _one(":".join(parts))
    parts[4] = STRANGERS_ACCOUNT
    return _one(":".join(parts))


def _met(test: Test, request: Request, statement: Statement) -> bool:
    """Whether a stranger can have what one line of a condition wants."""
    if test.key.lower() == "aws:sourceip" and test.operator.lower().startswith("ipaddress"):
        return bool(internet_among(test.values))
    return holds(test, request, variables=statement.variables) is not False


def _everybody(statement: Statement) -> bool:
    if statement.not_principals is not None:
        return not any(value == "*" for _, value in statement.not_principals)
    return any(kind == "AWS" and value == "*" for kind, value in statement.principals or ())


def _denies(statement: Statement, request: Request) -> bool:
    on = statement.resources is None or any(fits(pattern, request.resource) is True for pattern in statement.resources)
    return (
        on
        and _everybody(statement)
        and allows(statement, request.action)
        and all(holds(test, request, variables=statement.variables) is True for test in statement.tests)
    )


def _one(pattern: str) -> str:
    """One of the things that a pattern fits."""
    return pattern.replace("*", "x").replace("?", "x")


def _settled(statement: Statement) -> Statement:
    """What only a deployment can tell as one thing of the company's, which is no stranger's."""
    ours = "known-after-deployment"

    def settled(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if values is None else tuple(value.replace(UNKNOWN, ours) for value in values)

    return replace(
        statement,
        resources=settled(statement.resources),
        tests=tuple(replace(test, values=settled(test.values) or ()) for test in statement.tests),
    )
