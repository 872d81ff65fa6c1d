"""Identity: least privilege, for people and for services."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from pulumi_policy.proxy import UnknownValueError

from policies.control import Family, Props, at, given, listed
from policies.documents import allowed, everyone, granted, statements

IDENTITY = Family("identity", ("GDPR 32(4)", "HIPAA 164.308(a)(4)", "HIPAA 164.312(a)(1)", "SOX 404", "SOC 2 CC6.3"))
_POLICIES = (
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/policy:Policy",
    "aws:iam/userPolicy:UserPolicy",
    "aws:iam/groupPolicy:GroupPolicy",
)
_GRANTS = (*_POLICIES, "aws:iam/role:Role")
_ATTACHMENTS = (
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment", "aws:iam/userPolicyAttachment:UserPolicyAttachment",
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment", "aws:iam/policyAttachment:PolicyAttachment",
)  # fmt: skip
_TOO_MUCH = ("AdministratorAccess", "PowerUserAccess", "IAMFullAccess")
# Services that act for others and send the account they act for:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html
_DEPUTIES = (
    "sagemaker.amazonaws.com",
    "scheduler.amazonaws.com",
    "events.amazonaws.com",
    "config.amazonaws.com",
    "cloudtrail.amazonaws.com",
    "vpc-flow-logs.amazonaws.com",
    "codebuild.amazonaws.com",
    "backup.amazonaws.com",
    "delivery.logs.amazonaws.com",
)
_LONGEST_SESSION = 28_800
# A star, whatever stands around it: every resource, or every role, user or policy of the account.
_EVERYTHING = re.compile(r"\*|arn:[a-z*-]*:\*|arn:[a-z*-]*:iam::[0-9*]*:(\*|role/\*|user/\*|policy/\*|group/\*)")


@IDENTITY.resource(
    "iam-no-wildcards",
    "No policy allows a service's every action on every resource",
    *_GRANTS,
    severity="critical",
    law=(*IDENTITY.law, "CIS AWS 1.16"),
    fix="Name the actions and the resources that the work needs.",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege",
)
def no_wildcards(props: Props) -> Iterator[str]:
    """No statement pairs a wildcard action with a wildcard resource."""
    for statement in granted(props):
        wild = [action for action in listed(statement.get("Action")) if action == "*" or action.endswith(":*")]
        if wild and _everything(statement):
            yield f"{', '.join(wild)} is allowed on every resource"


@IDENTITY.resource(
    "iam-no-star-action",
    "No policy allows every action of AWS",
    *_GRANTS,
    severity="critical",
    law=(*IDENTITY.law, "CIS AWS 1.16"),
    fix="Name the services and actions.",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege",
)
def no_star_action(props: Props) -> Iterator[str]:
    """Whatever the resource: a star includes services nobody has thought of."""
    for statement in granted(props):
        if "*" in listed(statement.get("Action")) or given(statement, "NotAction"):
            yield "Every action is allowed" if not given(statement, "NotAction") else "Every action but some is allowed"


@IDENTITY.resource(
    "iam-passrole-limited",
    "Roles are passed on by name",
    *_GRANTS,
    severity="critical",
    fix="Name the roles in Resource, and the service in iam:PassedToService.",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html",
)
def passrole_limited(props: Props) -> Iterator[str]:
    """iam:PassRole on every role is the way to every right in the account."""
    for statement in granted(props):
        if any(
            action in ("iam:PassRole", "iam:Pass*", "iam:*") for action in listed(statement.get("Action"))
        ) and _everything(statement):
            yield "Any role may be passed to a service"


@IDENTITY.resource(
    "iam-cant-widen-itself",
    "No policy lets its holder escalate privileges",
    *_GRANTS,
    severity="critical",
    fix="Leave changes of policies, roles and access keys to the deployment's own identity.",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html",
)
def cant_widen_itself(props: Props) -> Iterator[str]:
    """No writing of IAM on every resource."""
    ways = (
        "iam:PutRolePolicy",
        "iam:AttachRolePolicy",
        "iam:PutUserPolicy",
        "iam:AttachUserPolicy",
        "iam:CreatePolicyVersion",
        "iam:CreateAccessKey",
        "iam:UpdateAssumeRolePolicy",
        "iam:DeleteRolePermissionsBoundary",
        "iam:AddUserToGroup",
    )
    for statement in granted(props):
        found = [action for action in listed(statement.get("Action")) if action in ways]
        if found and _everything(statement):
            yield f"{', '.join(found)} on every resource leads to full access"


@IDENTITY.resource(
    "iam-no-administrator",
    "Nobody is made administrator",
    *_ATTACHMENTS,
    "aws:iam/role:Role",
    severity="critical",
    law=(*IDENTITY.law, "CIS AWS 1.16"),
    fix="Attach a policy of what the work needs.",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_managed-vs-inline.html",
)
def no_administrator(props: Props) -> Iterator[str]:
    """None of AWS's policies that allow next to everything."""
    for arn in [*listed(props.get("policyArn")), *listed(props.get("managedPolicyArns"))]:
        if str(arn).rpartition("/")[2] in _TOO_MUCH:
            yield f"{str(arn).rpartition('/')[2]} is attached"


@IDENTITY.resource(
    "iam-trust-named",
    "Roles name who may assume them",
    "aws:iam/role:Role",
    severity="critical",
    fix="Name accounts, roles or services.",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html",
)
def trust_named(props: Props) -> Iterator[str]:
    """Not everybody."""
    if any(everyone(statement) for statement in allowed(props.get("assumeRolePolicy"))):
        yield "Anybody may assume the role"


@IDENTITY.resource(
    "iam-no-confused-deputy",
    "A service assumes a role only for its own account",
    "aws:iam/role:Role",
    severity="medium",
    fix="Add a condition on aws:SourceAccount or aws:SourceArn.",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html",
)
def no_confused_deputy(props: Props) -> Iterator[str]:
    """Services that act for others are tied to the account."""
    for statement in allowed(props.get("assumeRolePolicy")):
        services = listed(at(statement, "Principal.Service"))
        deputies = [service for service in services if service in _DEPUTIES]
        if deputies and "aws:Source" not in json.dumps(_plain(statement.get("Condition"))):
            yield f"{', '.join(deputies)} may assume the role for another account"


@IDENTITY.resource(
    "iam-people-use-mfa",
    "People assume roles with a second factor",
    "aws:iam/role:Role",
    severity="high",
    law=(*IDENTITY.law, "CIS AWS 1.10"),
    fix="Add the condition Bool aws:MultiFactorAuthPresent true, or federate people through IAM Identity Center.",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_mfa_configure-api-require.html",
)
def people_use_mfa(props: Props) -> Iterator[str]:
    """A role that anybody of an account may take asks for a second factor."""
    for statement in allowed(props.get("assumeRolePolicy")):
        accounts = [str(item) for item in listed(at(statement, "Principal.AWS")) if str(item).endswith(":root")]
        if accounts and str(at(statement, "Condition.Bool.aws:MultiFactorAuthPresent")).lower() != "true":
            yield "It can be assumed without a second factor"


@IDENTITY.resource(
    "iam-federation-narrow",
    "Federated roles name the repository or the account of the cluster that may assume them",
    "aws:iam/role:Role",
    severity="critical",
    fix="Add a condition on the token's subject (…:sub) without a leading wildcard.",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html",
)
def federation_narrow(props: Props) -> Iterator[str]:
    """With an OIDC provider such as GitHub's, the subject decides which repository comes in."""
    for statement in allowed(props.get("assumeRolePolicy")):
        if not at(statement, "Principal.Federated") or "sts:AssumeRoleWithWebIdentity" not in listed(
            statement.get("Action")
        ):
            continue
        conditions = statement.get("Condition") or {}
        subjects = [
            value
            for tests in conditions.values()
            for key, found in tests.items()
            if key.endswith(":sub")
            for value in listed(found)
        ]
        if not subjects or any(str(subject).startswith(("*", "repo:*")) for subject in subjects):
            yield "Any token of the provider may assume the role"


@IDENTITY.resource(
    "iam-no-access-keys",
    "Nobody has a long-lived access key",
    "aws:iam/accessKey:AccessKey",
    severity="critical",
    law=(*IDENTITY.law, "CIS AWS 1.14"),
    fix="Let people use IAM Identity Center, and programs roles.",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#bp-workloads-use-roles",
)
def no_access_keys(_props: Props) -> Iterator[str]:
    """None at all."""
    yield "A key that never expires is created, and its secret is in the state"


@IDENTITY.resource(
    "iam-no-users",
    "People have no IAM users",
    "aws:iam/user:User",
    "aws:iam/userLoginProfile:UserLoginProfile",
    severity="high",
    law=(*IDENTITY.law, "CIS AWS 1.15"),
    fix="Let people use IAM Identity Center.",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#bp-users-federation-idp",
)
def no_users(_props: Props) -> Iterator[str]:
    """None at all."""
    yield "An IAM user is created, outside the company's directory"


@IDENTITY.resource(
    "iam-groups-not-users",
    "Permissions are not attached to single users",
    "aws:iam/userPolicy:UserPolicy",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment",
    severity="medium",
    law=(*IDENTITY.law, "CIS AWS 1.15"),
    fix="Attach them to a role or a group.",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html",
)
def groups_not_users(_props: Props) -> Iterator[str]:
    """None at all."""
    yield "A permission is attached to one user, where a review won't look for it"


@IDENTITY.resource(
    "iam-session-ends",
    "Sessions end within a working day",
    "aws:iam/role:Role",
    severity="low",
    law=("SOC 2 CC6.1", "HIPAA 164.312(a)(2)(iii)"),
    fix=f"Set max_session_duration to {_LONGEST_SESSION} seconds at most.",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use.html",
)
def session_ends(props: Props) -> Iterator[str]:
    """Eight hours at most; AWS would allow twelve."""
    if (props.get("maxSessionDuration") or 3600) > _LONGEST_SESSION:
        yield f"A session lasts {props['maxSessionDuration']:g} s"


@IDENTITY.resource(
    "eks-no-cluster-admin",
    "Nobody is a permanent administrator of the cluster",
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
    severity="high",
    law=(*IDENTITY.law, "CIS EKS 4.1.1"),
    fix="Use AmazonEKSEditPolicy or AmazonEKSViewPolicy.",
    url="https://docs.aws.amazon.com/eks/latest/userguide/access-policy-permissions.html",
)
def no_cluster_admin(props: Props) -> Iterator[str]:
    """Neither of the two policies."""
    if (
        str(props.get("policyArn", "")).endswith(("AmazonEKSClusterAdminPolicy", "AmazonEKSAdminPolicy"))
        and at(props, "accessScope.type") == "cluster"
    ):
        yield "It grants full access to the cluster"


@IDENTITY.resource(
    "kms-use-is-separate",
    "Whoever uses a key may not delete it",
    *_GRANTS,
    severity="high",
    law=("SOX 404", "SOC 2 CC6.3", "GDPR 32(1)(b)"),
    fix="Leave kms:ScheduleKeyDeletion and kms:DisableKey to an administrator's role.",
    url="https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html",
)
def key_use_separate(props: Props) -> Iterator[str]:
    """Separation of duties."""
    for statement in granted(props):
        actions = listed(statement.get("Action"))
        if any(action in ("kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:*") for action in actions):
            yield (
                f"{', '.join(action for action in actions if action.startswith('kms:'))} lets whoever reads the data"
                " destroy it"
            )


@IDENTITY.resource(
    "iam-document-valid",
    "Policy documents are JSON with statements",
    *_GRANTS,
    severity="high",
    law=("SOX 404", "SOC 2 CC8.1"),
    fix="Write Version 2012-10-17 and statements with Effect, Action and Resource.",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html",
)
def document_valid(props: Props) -> Iterator[str]:
    """A document that can't be read would be refused by AWS, or say something else than is meant."""
    for key in ("policy", "assumeRolePolicy"):
        if given(props, key):
            document = props[key]
            if not statements(document):
                yield f"{key} has no statements"
            elif "2012-10-17" not in str(document if isinstance(document, str) else document.get("Version")):
                yield f"{key} is not of version 2012-10-17"


def _everything(statement: Props) -> bool:
    for resource in (item for key in ("Resource", "NotResource") for item in _known(statement, key)):
        if _EVERYTHING.fullmatch(resource):
            return True
    return given(statement, "NotResource")


def _known(statement: Props, key: str) -> Iterator[str]:
    """Resources that can be told before a deployment; the others name one thing each, and no star."""
    value = statement.get(key)
    if isinstance(value, str):
        yield value
        return
    if value is None:
        return
    for index in range(len(value)):
        try:
            yield str(value[index])
        except UnknownValueError:
            continue


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return (
        [_plain(item) for item in listed(value)]
        if not isinstance(value, (str, int, float, bool, type(None)))
        else value
    )
