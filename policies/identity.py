"""Identity: least privilege, for people and for services."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Unpack

from policies.control import Check, Facts, Family, at, given, listed
from policies.documents import (
    STRANGERS_ACCOUNT,
    allows,
    granted,
    lets_strangers_in,
    on_everything,
    policy_of,
    strangers_own,
)
from policies.iam.conditions import holds
from policies.iam.documents import UNKNOWN, Statement
from policies.iam.matching import action_fits
from policies.iam.request import Request
from policies.stack import Item, Props, Stack

IDENTITY = Family("identity", ("GDPR 32(4)", "HIPAA 164.308(a)(4)", "HIPAA 164.312(a)(1)", "SOX 404", "SOC 2 CC6.3"))
_POLICIES = (
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/policy:Policy",
    "aws:iam/userPolicy:UserPolicy",
    "aws:iam/groupPolicy:GroupPolicy",
)
_POLICY, _ROLE, _USER = "aws:iam/policy:Policy", "aws:iam/role:Role", "aws:iam/user:User"
_GRANTS = (*_POLICIES, _ROLE)
_ATTACHMENTS = (
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment", "aws:iam/userPolicyAttachment:UserPolicyAttachment",
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment", "aws:iam/policyAttachment:PolicyAttachment",
    "aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive",
    "aws:iam/userPolicyAttachmentsExclusive:UserPolicyAttachmentsExclusive",
    "aws:iam/groupPolicyAttachmentsExclusive:GroupPolicyAttachmentsExclusive",
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
_WIDENING = (
    "iam:PutRolePolicy",
    "iam:AttachRolePolicy",
    "iam:PutUserPolicy",
    "iam:AttachUserPolicy",
    "iam:PutGroupPolicy",
    "iam:AttachGroupPolicy",
    "iam:CreatePolicyVersion",
    "iam:SetDefaultPolicyVersion",
    "iam:CreateAccessKey",
    "iam:CreateLoginProfile",
    "iam:UpdateLoginProfile",
    "iam:UpdateAssumeRolePolicy",
    "iam:DeleteRolePermissionsBoundary",
    "iam:AddUserToGroup",
)
_READING_SECRETS = (
    "secretsmanager:GetSecretValue", "ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath",
    "ssm:GetParameterHistory", "kms:Decrypt", "kms:ReEncryptFrom",
)  # fmt: skip
_READING_DATA = (
    "s3:GetObject", "s3:GetObjectVersion", "dynamodb:Scan", "dynamodb:Query", "dynamodb:GetItem",
    "dynamodb:BatchGetItem", "dynamodb:ExportTableToPointInTime",
)  # fmt: skip
_USING_KEYS = ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom")
_DESTROYING_KEYS = ("kms:ScheduleKeyDeletion", "kms:DisableKey")
_BY_A_SERVICE = ("kms:viaservice", "kms:calleraccount", "kms:encryptioncontextkeys", "kms:resourcealiases")
_ACCOUNT = re.compile(r"(?:arn:[a-z-]+:iam::)?([0-9]{12})(?::root)?")
# Of the company's own people nothing of this is known; it keeps out nobody that the statement names.
_OURS = ("aws:PrincipalOrgID", "aws:PrincipalOrgPaths", "aws:PrincipalTag/*", "aws:RequestTag/*", "aws:TagKeys",
         "aws:SourceIp", "aws:SourceVpc*", "aws:CurrentTime", "aws:RequestedRegion", "sts:RoleSessionName")  # fmt: skip
# Claims that tell what a job does or runs for, and not whose it is: the audience, or what everybody's jobs have.
_NAME_NOBODY = frozenset(
    {
        "aud", "amr", "ref", "ref_type", "ref_protected", "ref_path", "base_ref", "head_ref", "environment", "workflow",
        "event_name", "runner_environment", "repository_visibility", "run_id", "run_number", "run_attempt", "sha",
        "pipeline_source", "environment_protected", "deployment_tier", "terraform_run_phase",
    }
)  # fmt: skip
# What stands before the owner's name in the subjects of GitHub, GitLab, Terraform Cloud, Pulumi and EKS.
_BEFORE_THE_OWNER = re.compile(
    r"(?:repo|project_path|organization|repository_owner|repository_owner_id|workspace|org|user):"
    r"|system:serviceaccount:|pulumi:(?:environments|deploy):org:"
)
_STRANGERS_SUBJECT = "repo:stranger/x:ref:refs/heads/main"
# Their audience is an application of one company; https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html
_AUDIENCE_IS_ENOUGH = ("cognito-identity.amazonaws.com", "accounts.google.com", "www.amazon.com", "graph.facebook.com")


def _granting(control_id: str, title: str, **facts: Unpack[Facts]) -> Callable[[Check], Check]:
    """Register a function that checks what policies grant. One that is only the boundary of roles or users grants
    nothing: it limits what other policies grant.
    """
    facts["beside"] = (_USER, *_ATTACHMENTS)

    def register(check: Check) -> Check:
        @IDENTITY.each(control_id, title, *_GRANTS, **facts)
        def _each(item: Item, stack: Stack) -> Iterable[str]:
            return () if _only_limits(item, stack) else check(item.props)

        return check

    return register


def _only_limits(item: Item, stack: Stack) -> bool:
    if item.type != _POLICY:
        return False
    limits = any(stack.companions(item, kind, "permissionsBoundary") for kind in (_ROLE, _USER))
    return limits and not any(
        stack.companions(item, kind, key) for kind in _ATTACHMENTS for key in ("policyArn", "policyArns")
    )


@_granting(
    "iam-no-wildcards",
    "No policy allows all actions of a service on every resource",
    severity="critical",
    rules=("CIS AWS 2.14", "FSBP IAM.1"),
    fix="Name the actions and the resources that the work needs.",
    risk="Whoever gets hold of the identity can read, change or delete everything that the service holds",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege",
)
def no_wildcards(props: Props) -> Iterator[str]:
    """No statement pairs a wildcard action with a wildcard resource."""
    for statement in granted(props):
        services = {action: _service(action) for action in statement.actions or () if _whole_service(action)}
        wide = [action for action, service in services.items() if on_everything(statement, service)]
        if wide:
            yield f"{', '.join(wide)} is allowed on every resource"


@_granting(
    "iam-no-star-action",
    "No policy allows every action of AWS",
    severity="critical",
    rules=("CIS AWS 2.14", "FSBP IAM.1"),
    fix="Name the services and actions.",
    risk="Permissions include actions that nobody thought of, also those that AWS adds later",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege",
)
def no_star_action(props: Props) -> Iterator[str]:
    """Whatever the resource: a star includes services that nobody thought of."""
    for statement in granted(props):
        if statement.not_actions is not None:
            yield f"Every action except {', '.join(statement.not_actions)} is allowed"
        elif any(_service(action) == "*" and _whole_service(action) for action in statement.actions or ()):
            yield "Every action is allowed"


@_granting(
    "iam-passrole-limited",
    "Roles are passed on by name",
    severity="critical",
    fix="Name the roles in Resource, and the service in iam:PassedToService.",
    risk="Whoever holds the permission may start a program under a stronger role, and so gain that role's rights",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html",
)
def passrole_limited(props: Props) -> Iterator[str]:
    """iam:PassRole on every role is the way to every right in the account."""
    if any(_only_named(item, "iam:PassRole") and on_everything(item, "iam") for item in granted(props)):
        yield "Any role may be passed to a service"


@_granting(
    "iam-assumed-roles-named",
    "Roles are assumed by name",
    severity="high",
    fix="Name the roles in Resource.",
    risk="Whoever holds the permission can act as any role that trusts this account, also in another account",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_permissions-to-switch.html",
)
def assumed_roles_named(props: Props) -> Iterator[str]:
    """sts:AssumeRole on every role reaches each role, of any account, that trusts this one's account."""
    if any(_only_named(item, "sts:AssumeRole") and on_everything(item, "iam") for item in granted(props)):
        yield "Any role may be assumed"


@_granting(
    "iam-secrets-named",
    "No policy reads every secret or decrypts with every key",
    severity="high",
    rules=("FSBP KMS.1", "FSBP KMS.2"),
    fix="Name the secrets, parameters and keys in Resource.",
    risk="One stolen identity may be enough to read every password and decrypt all data of the account",
    url="https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_examples.html",
)
def secrets_named(props: Props) -> Iterator[str]:
    """Whoever gets hold of the role has every password of the account."""
    for statement in granted(props):
        found = [
            action
            for action in _READING_SECRETS
            if _only_named(statement, action)
            and on_everything(statement, action.partition(":")[0], of_one_account=_in_every_region(statement, action))
            and not any(test.key.lower() in _BY_A_SERVICE for test in statement.tests)
        ]
        if found:
            yield f"{', '.join(found)} is allowed on every resource"


def _in_every_region(statement: Statement, action: str) -> bool:
    """Whether an account's own are everything: of keys those of every region."""
    return not action.startswith("kms:") or any(
        pattern.split(":")[3:4] == ["*"] for pattern in statement.resources or ()
    )


@_granting(
    "iam-data-named",
    "Policies that read data name the buckets and tables",
    severity="medium",
    fix="Name the buckets and tables in Resource.",
    risk="One stolen identity may be enough to copy all data of the account",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege",
)
def data_named(props: Props) -> Iterator[str]:
    """No reading of every object, or of every table's items; of all actions another control speaks."""
    for statement in granted(props):
        found = [
            action
            for action in _READING_DATA
            if any(action_fits(one, action) is True for one in statement.actions or () if not _whole_service(one))
            and on_everything(statement, action.partition(":")[0], of_one_account=True)
        ]
        if found:
            yield f"{', '.join(found)} is allowed on every {'object' if found[0].startswith('s3') else 'table'}"


@_granting(
    "iam-cant-widen-itself",
    "No policy lets its holder escalate privileges",
    severity="critical",
    fix="Leave changes of policies, roles and access keys to the deployment's own identity.",
    risk="Whoever gets hold of the identity can give it any permission, up to full control of the account",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html",
)
def cant_widen_itself(props: Props) -> Iterator[str]:
    """No writing of IAM on every resource."""
    for statement in granted(props):
        found = (
            [action for action in _WIDENING if _only_named(statement, action)]
            if on_everything(statement, "iam")
            else []
        )
        if found:
            named = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
            yield f"{named} on every resource leads to full access"


@IDENTITY.resource(
    "iam-no-administrator",
    "Nobody is made an administrator",
    *_ATTACHMENTS,
    "aws:iam/role:Role",
    severity="critical",
    rules=("CIS AWS 2.14",),
    fix="Attach a policy of what the work needs.",
    risk="One stolen identity or one mistake can destroy nearly everything in the account, backups included",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_managed-vs-inline.html",
)
def no_administrator(props: Props) -> Iterator[str]:
    """None of AWS's policies that allow almost everything."""
    for arn in [item for key in ("policyArn", "policyArns", "managedPolicyArns") for item in listed(props.get(key))]:
        if str(arn).rpartition("/")[2] in _TOO_MUCH:
            yield f"{str(arn).rpartition('/')[2]} is attached"


@IDENTITY.resource(
    "iam-trust-named",
    "Roles name who may assume them",
    "aws:iam/role:Role",
    severity="critical",
    rules=("CIS AWS 2.21",),
    fix="Name accounts, roles or services.",
    risk="Any customer of AWS, anywhere, can take on the role and use its permissions",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html",
)
def trust_named(props: Props) -> Iterator[str]:
    """Not everybody."""
    if given(props, "assumeRolePolicy") and lets_strangers_in(policy_of(props, "assumeRolePolicy")):
        yield "Anybody may assume the role"


@IDENTITY.resource(
    "iam-no-confused-deputy",
    "A service assumes a role only for its own account",
    "aws:iam/role:Role",
    severity="medium",
    fix="Add a condition on aws:SourceAccount or aws:SourceArn.",
    risk="Another customer of AWS may get the service to use this role for them, and so reach the data",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html",
)
def no_confused_deputy(props: Props) -> Iterator[str]:
    """Services that act for others are tied to the account."""
    for statement in _trusts(props):
        services = [value for kind, value in statement.principals or () if kind == "Service" and value in _DEPUTIES]
        for_another = [service for service in services if _assumed_for_another(statement, service)]
        if for_another:
            yield f"{', '.join(for_another)} may assume the role for another account"


def _assumed_for_another(statement: Statement, service: str) -> bool:
    account = {"aws:SourceAccount": STRANGERS_ACCOUNT, "aws:SourceOrgID": "o-strangers0", "aws:SecureTransport": "true"}
    patterns = [value for test in statement.tests if test.key.lower() == "aws:sourcearn" for value in test.values]
    own = f"arn:aws:{service.partition('.')[0]}:us-east-1:{STRANGERS_ACCOUNT}:x"
    sources = [own, *filter(None, map(strangers_own, patterns))]
    return any(
        _may_assume(statement, Request("sts:AssumeRole", "", service, account | {"aws:SourceArn": source}))
        for source in sources
    )


@IDENTITY.resource(
    "iam-people-use-mfa",
    "People assume roles with a second factor",
    "aws:iam/role:Role",
    severity="high",
    fix="Add the condition Bool aws:MultiFactorAuthPresent true, or federate people through IAM Identity Center.",
    risk="A stolen password or access key is enough to gain the role's permissions",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_mfa_configure-api-require.html",
)
def people_use_mfa(props: Props) -> Iterator[str]:
    """A role that anybody of an account may assume requires a second factor; a condition on ExternalId or on the
    principal's ARN leaves programs only.
    """
    for statement in _trusts(props):
        for kind, value in statement.principals or ():
            account = _ACCOUNT.fullmatch(value)
            if kind != "AWS" or not account or not allows(statement, "sts:AssumeRole"):
                continue
            person = f"arn:aws:iam::{account[1]}:user/person"
            if _may_assume(statement, Request("sts:AssumeRole", "", person, {"aws:SecureTransport": "true"}, _OURS)):
                yield "It can be assumed without a second factor"
                return


@IDENTITY.resource(
    "iam-federation-narrow",
    "Federated roles name the repository or the account of the cluster that may assume them",
    "aws:iam/role:Role",
    severity="critical",
    fix="Add a condition on the token's subject (…:sub) without a leading wildcard.",
    risk="A stranger's project at the same provider can take on the role, and deploy or read in its name",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html",
)
def federation_narrow(props: Props) -> Iterator[str]:
    """With an OIDC provider such as GitHub's, the subject decides which repository comes in."""
    for statement in _trusts(props):
        providers = [value for kind, value in statement.principals or () if kind == "Federated"]
        if not providers or not allows(statement, "sts:AssumeRoleWithWebIdentity"):
            continue
        if any("/workspaces/" in provider for provider in providers):
            continue  # Bitbucket's: each workspace has its own
        if any(provider in _AUDIENCE_IS_ENOUGH for provider in providers) and any(
            test.key.lower().endswith((":aud", ":app_id")) for test in statement.tests
        ):
            continue
        claims = {test.key for test in statement.tests if ":" in test.key and not test.key.lower().startswith("aws:")}
        free = tuple(claim for claim in claims if claim.lower().rpartition(":")[2] in _NAME_NOBODY)
        subjects = [value for test in statement.tests if test.key.lower().endswith(":sub") for value in test.values]
        for subject in dict.fromkeys(("stranger", _STRANGERS_SUBJECT, *filter(None, map(_lookalike, subjects)))):
            context = {claim: subject for claim in claims if claim not in free}
            request = Request("sts:AssumeRoleWithWebIdentity", "", providers[0], context, (*_OURS, *free))
            if _may_assume(statement, request):
                whose = "Any token of the provider" if subject == "stranger" else "A stranger's project"
                yield f"{whose} may assume the role"
                break


def _lookalike(subject: str) -> str:
    """A subject of somebody else's that a pattern takes, too: one that leaves open whose it is. Empty where it does
    not.
    """
    fixed = re.split(r"[*?]", subject)[0]
    if fixed == subject:
        return ""
    leading = _BEFORE_THE_OWNER.match(fixed)
    owner = fixed[leading.end() :] if leading else fixed
    # Nobody but the company has its cluster, or what a provider of its own calls things.
    ends = not leading or leading[0].startswith("system:") or re.search(r"[:/]", owner)
    return "" if owner and ends else subject.replace("?", "x").replace("*", "stranger")


def _trusts(props: Props) -> list[Statement]:
    if not given(props, "assumeRolePolicy"):
        return []
    return [item for item in policy_of(props, "assumeRolePolicy").statements if item.effect == "Allow"]


def _may_assume(statement: Statement, request: Request) -> bool:
    """Whether a request has what the conditions of a statement want; what only a deployment can tell, none has."""
    return all(
        holds(test, request, variables=statement.variables) is not False for test in statement.tests
    ) and not any(
        UNKNOWN in value and not request.may_have(test.key) for test in statement.tests for value in test.values
    )


@IDENTITY.resource(
    "iam-no-access-keys",
    "Nobody has a long-lived access key",
    "aws:iam/accessKey:AccessKey",
    severity="critical",
    rules=("CIS AWS 2.12", "FSBP IAM.3"),
    fix="Let people use IAM Identity Center, and programs roles.",
    risk="A leaked key works for whoever finds it, from anywhere, until somebody notices and revokes it",
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
    rules=("CIS AWS 2.19",),
    fix="Let people use IAM Identity Center.",
    risk="People who leave the company may keep their access, which its directory knows nothing of",
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
    rules=("CIS AWS 2.13", "FSBP IAM.2"),
    fix="Attach them to a role or a group.",
    risk="Permissions of single people may be overlooked in reviews, and outlive a change of job",
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
    risk="Somebody who takes over a session left open can work with it for up to twelve hours",
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
    rules=("CIS EKS 4.1.1",),
    fix="Use AmazonEKSEditPolicy or AmazonEKSViewPolicy.",
    risk="One stolen identity is enough to read, change or delete everything that runs in the cluster",
    url="https://docs.aws.amazon.com/eks/latest/userguide/access-policy-permissions.html",
)
def no_cluster_admin(props: Props) -> Iterator[str]:
    """Neither of the two policies."""
    if (
        str(props.get("policyArn", "")).endswith(("AmazonEKSClusterAdminPolicy", "AmazonEKSAdminPolicy"))
        and at(props, "accessScope.type") == "cluster"
    ):
        yield "It grants full access to the cluster"


@_granting(
    "kms-use-is-separate",
    "Users of a key may not delete it",
    severity="high",
    law=("SOX 404", "SOC 2 CC6.3", "GDPR 32(1)(b)"),
    fix="Leave kms:ScheduleKeyDeletion and kms:DisableKey to an administrator's role.",
    risk="One person, or one stolen identity, can make data unreadable for good by deleting its key",
    url="https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html",
)
def key_use_separate(props: Props) -> Iterator[str]:
    """Separation of duties."""
    statements = list(granted(props))
    if not any(allows(item, action) for item in statements for action in _USING_KEYS):
        return  # an administrator's
    destroying = [action for action in _DESTROYING_KEYS if any(_only_named(item, action) for item in statements)]
    if destroying:
        yield f"{', '.join(destroying)} lets whoever uses the key destroy what it encrypts"


@IDENTITY.resource(
    "iam-document-valid",
    "Policy documents are JSON with statements",
    *_GRANTS,
    severity="high",
    law=("SOX 404", "SOC 2 CC8.1"),
    fix="Write Version 2012-10-17 and statements with Effect, Action and Resource.",
    risk="AWS refuses the deployment, or the policy allows or forbids something else than was intended",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html",
)
def document_valid(props: Props) -> Iterator[str]:
    """A document that can't be read would be refused by AWS, or mean something else than intended."""
    for key in ("policy", "assumeRolePolicy"):
        if given(props, key):
            document = props[key]
            if not _has_statements(document):
                yield f"{key} has no statements"
            elif "2012-10-17" not in str(document if isinstance(document, str) else document.get("Version")):
                yield f"{key} is not of version 2012-10-17"


def _has_statements(document: Any) -> bool:
    """Whether it is JSON, or a structure, with a statement; what is wrong with one is another check's matter."""
    try:
        found = json.loads(document) if isinstance(document, str) else document
        return isinstance(found, Mapping) and bool(len(listed(found["Statement"])))
    except (ValueError, KeyError):
        return False


def _whole_service(action: str) -> bool:
    """Whether a pattern means every action of a service."""
    name = action.partition(":")[2] if ":" in action else action
    return "*" in name and not name.strip("*?")


def _service(action: str) -> str:
    service = action.partition(":")[0].lower() if ":" in action else "*"
    return service if service.strip("*?") else "*"


def _only_named(statement: Statement, action: str) -> bool:
    """Whether a statement allows an action by its service's name: of a star another control speaks."""
    patterns = statement.actions or ()
    return any(_service(one) != "*" and action_fits(one, action) is True for one in patterns)
