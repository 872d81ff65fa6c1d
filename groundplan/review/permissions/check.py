"""Checks each recorded call, and what a program itself has AWS call, against the policies of a stack; and lists the
grants that nothing used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from groundplan.review.permissions import kafka
from groundplan.review.permissions.builds import needs_of
from groundplan.review.permissions.record import Call
from groundplan.review.permissions.stack import Made, Role, Stack
from policies.iam import UNKNOWN, Decision, Request, evaluate
from policies.iam.actions import Need, needed
from policies.iam.matching import action_fits, resource_fits
from spec.steps import before_people_agree
from spec.versions import APPROVERS

# Who makes a call on AWS: the first part of a caller's name, or all of it, and the roles that do the same work there.
ROLES: dict[str, tuple[str, ...]] = {
    "step": ("pipeline", "cluster-pipeline"),
    **{f"step.{step.name}": ("pipeline", "cluster-pipeline", "trainer") for step in before_people_agree()},
    "server.mlflow": ("tracking",),
    "server.model": ("serving", "cluster-serving"),
    "server.router": (
        "serving",
        "cluster-serving",
    ),  # the role of the endpoint or of the pod reads the model, and writes captured requests
    **{f"person.approve-{role}": (name,) for role, name in APPROVERS.items()},
    "person.promote": ("operations",),
    "person.release": ("releaser",),
    "person.rollback": ("operations",),
    "person.audit": ("auditor",),
    "person.catalogue": ("auditor",),
    "person.history": ("auditor",),
    "person.labels": ("data-scientist",),
    "person.watch": ("operations",),
    "person.scan": ("operations",),
    "person.lineage": ("auditor",),
    "person.trace": ("privacy",),
    "person.forget": ("privacy",),
    "person.quarantine": ("privacy",),
    "person.decide": ("privacy",),
    "person.dead-letters": ("privacy",),
    "person.replay": ("privacy",),
}
# What AWS does with a role that is passed to one of its services, so that no call of ours shows it.
# https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html,
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
_BY_SERVICES = {
    "sagemaker.amazonaws.com": (
        "ec2:*",
        "ecr:*",
        "logs:*",
        "cloudwatch:PutMetricData",
        "s3:GetObject",
        "s3:PutObject",
        "s3:ListBucket",
        "kms:CreateGrant",
        "sagemaker:AddTags",
        "sagemaker:*ProcessingJob",
        "sagemaker:*TrainingJob",
        "kms:*",
    ),
    "lambda.amazonaws.com": ("ec2:*", "ecr:*", "logs:*", "kms:*"),
    # MLflow reads its database's password, which a local file does not have; KServe lists a model's files before it
    # starts a server.
    "pods.eks.amazonaws.com": ("kms:*", "ecr:*", "secretsmanager:GetSecretValue", "s3:ListBucket"),
}
# By clients when a large upload fails, and by the gate when it rejects a batch: successful runs record none of them.
_UNSEEN = ("s3:AbortMultipartUpload", "sns:Publish")


@dataclass(frozen=True)
class Result:
    """One need of one call, on one role.

    Attributes:
        who: The caller, or the resource that has AWS call.
    """

    who: str
    operation: str
    role: str
    need: Need
    decision: Decision


@dataclass(frozen=True)
class Unused:
    """Actions that a role is allowed but no call used."""

    role: str
    actions: tuple[str, ...]
    source: Made


def roles_of(caller: str) -> tuple[str, ...]:
    """Names of the roles that make a caller's calls on AWS; empty where no role does."""
    return ROLES.get(caller) or ROLES.get(caller.partition(".")[0], ())


def check(stack: Stack, calls: Iterable[Call], resources: Iterable[Made] = ()) -> list[Result]:
    """Evaluate every call for every role that makes it.

    Args:
        resources: The program's resources: its schedules, pipelines and builds have AWS make calls, too.
    """
    found: dict[tuple[str, str, str, str, str], Result] = {}
    for call in calls:
        for short in roles_of(call.caller):
            role = stack.roles.get(f"{stack.prefix}-{short}")
            if role is None:
                continue
            try:
                wanted = list(_needs(stack, call))
            except ValueError as error:
                unknown = Need(f"{call.service}:{call.operation}", UNKNOWN)
                found[call.caller, role.name, unknown.action, "", ""] = Result(
                    call.caller, call.operation, role.name, unknown, Decision("undecided", str(error))
                )
                continue
            for need in wanted:
                key = (
                    call.caller,
                    role.name,
                    need.action,
                    need.resource,
                    json.dumps(dict(need.context), sort_keys=True),
                )
                if key not in found:
                    found[key] = Result(call.caller, call.operation, role.name, need, decide(stack, role, need))
    for item in _by_the_program(stack, resources):
        found[item.who, item.role, item.need.action, item.need.resource, ""] = item
    return list(found.values())


def _needs(stack: Stack, call: Call) -> Iterator[Need]:
    try:
        parameters = call.filled(stack.names)
    except KeyError:
        return  # the stack has no such key, so nothing needs it
    if call.service == kafka.SERVICE:
        yield from kafka.needs_of(call.operation, stack.kafka)
        return
    for need in needed(call.service, call.operation, parameters, stack.region, stack.account, missing=call.missing):
        yield need
        yield from of_keys(stack, need)
    if call.operation == "CreateEndpointConfig" and "KmsKeyId" in parameters:
        context = {
            "kms:GrantIsForAWSResource": "true",
            "kms:ViaService": f"sagemaker.{stack.region}.amazonaws.com",
            "kms:CallerAccount": stack.account,
        }
        yield Need(
            "kms:CreateGrant",
            parameters["KmsKeyId"],
            context,
            because="SageMaker encrypts the volume of the endpoint's instances",
        )


def of_keys(stack: Stack, need: Need) -> Iterator[Need]:
    """The permissions that a resource's encryption requires of its users."""
    service, _, name = need.action.partition(":")
    target = need.resource.partition("/")[0] if service == "s3" else need.resource
    key = stack.key_for(target)
    if not key:
        return
    actions: tuple[str, ...] = ()
    if service == "s3" and name in ("GetObject", "GetObjectVersion"):
        actions = ("kms:Decrypt",)
    elif service == "s3" and name == "PutObject":
        actions = ("kms:GenerateDataKey",)
    elif service == "sns" and name == "Publish":
        actions = ("kms:GenerateDataKey", "kms:Decrypt")
    elif (service == "dynamodb" and name != "ListTagsOfResource") or (
        service == "secretsmanager" and name == "GetSecretValue"
    ):
        actions = ("kms:Decrypt",)
    for action in actions:
        context = {
            "kms:ViaService": f"{service}.{stack.region}.amazonaws.com",
            "kms:CallerAccount": stack.account,
            "aws:SecureTransport": "true",
        }
        yield Need(
            action, key, context, (*need.open_keys, "kms:EncryptionContext*"), because=f"{target} is encrypted with it"
        )


def decide(stack: Stack, role: Role, need: Need) -> Decision:
    """Whether a role may do what is needed."""
    tags = {f"aws:ResourceTag/{key}": value for key, value in stack.tags_for(need.resource).items()}
    own = {f"aws:PrincipalTag/{key}": value for key, value in role.tags.items()}
    open_keys = tuple(key for key in need.open_keys if key != "aws:ResourceTag/*" or not tags)
    everywhere = {
        "aws:RequestedRegion": stack.region,
        "aws:SecureTransport": "true",
    }  # boto3 uses TLS, in the stack's region
    request = Request(
        need.action, need.resource, role.arn, {**everywhere, **tags, **own, **need.context}, open_keys, stack.account
    )
    try:
        return evaluate(request, stack.policies(role, need.action, need.resource))
    except ValueError as error:  # an operator that IAM does not have
        return Decision("undecided", str(error))


def _by_the_program(stack: Stack, resources: Iterable[Made]) -> Iterator[Result]:
    """Schedules start what they name; pipelines create a job for each step; builds fetch, build and push."""
    by_arn = {role.arn: role for role in stack.roles.values()}
    for item in resources:
        if item.type == "aws:scheduler/schedule:Schedule":
            target = item.inputs["target"]
            role, what = by_arn.get(target["roleArn"]), str(target["arn"])
            if role is None:
                continue
            if what.startswith("arn:aws:scheduler:::aws-sdk:"):
                service, operation = what.split(":")[-2:]
                operation = operation[0].upper() + operation[1:]
                parameters = {
                    key: value
                    for key, value in json.loads(target.get("input") or "{}").items()
                    if isinstance(value, str)
                }
            elif ":pipeline/" in what:
                service, operation, parameters = (
                    "sagemaker",
                    "StartPipelineExecution",
                    {"PipelineName": what.rpartition("/")[2]},
                )
            else:
                continue
            for need in needed(service, operation, parameters, stack.region, stack.account):
                yield Result(f"schedule {item.name}", operation, role.name, need, decide(stack, role, need))
            if item.inputs.get("kmsKeyArn"):
                context = {"kms:ViaService": f"scheduler.{stack.region}.amazonaws.com"}
                need = Need(
                    "kms:Decrypt",
                    item.inputs["kmsKeyArn"],
                    context,
                    because="the schedule's input is encrypted with it",
                )
                yield Result(f"schedule {item.name}", "", role.name, need, decide(stack, role, need))
        elif item.type == "aws:codebuild/project:Project" and item.inputs.get("serviceRole") in by_arn:
            role = by_arn[item.inputs["serviceRole"]]
            for need in needs_of(stack, item.inputs):
                for each in (need, *of_keys(stack, need)):
                    yield Result(f"build {item.name}", "", role.name, each, decide(stack, role, each))
        elif item.type == "aws:sagemaker/pipeline:Pipeline" and item.inputs.get("roleArn") in by_arn:
            role = by_arn[item.inputs["roleArn"]]
            passed = Need(
                "iam:PassRole",
                role.arn,
                {"iam:PassedToService": "sagemaker.amazonaws.com"},
                because="the steps run with the pipeline's role",
            )
            for kind in _job_kinds(item.inputs.get("pipelineDefinition")):
                job = f"arn:aws:sagemaker:{stack.region}:{stack.account}:{kind.lower()}-job/pipelines-any"
                for need in (Need(f"sagemaker:Create{kind}Job", job), passed):
                    yield Result(
                        f"pipeline {item.name}", f"Create{kind}Job", role.name, need, decide(stack, role, need)
                    )
        elif item.type == "aws:cloudwatch/eventTarget:EventTarget" and item.inputs.get("roleArn") in by_arn:
            role = by_arn[item.inputs["roleArn"]]
            if ":pipeline/" in (what := str(item.inputs["arn"])):
                parameters = {"PipelineName": what.rpartition("/")[2]}
                for need in needed("sagemaker", "StartPipelineExecution", parameters, stack.region, stack.account):
                    yield Result(
                        f"rule {item.name}", "StartPipelineExecution", role.name, need, decide(stack, role, need)
                    )


def _job_kinds(definition: Any) -> list[str]:
    """Kinds of jobs that a pipeline's steps are, those behind conditions included."""
    if not isinstance(definition, str):
        return ["Processing"]
    found: set[str] = set()
    steps = list(json.loads(definition)["Steps"])
    while steps:
        step = steps.pop()
        arguments = step.get("Arguments") or {}
        steps += [*arguments.get("IfSteps", ()), *arguments.get("ElseSteps", ())]
        if step["Type"] in ("Processing", "Training"):
            found.add(step["Type"])
    return sorted(found)


def unused(stack: Stack, results: Iterable[Result]) -> list[Unused]:
    """Actions of the platform's own roles that are allowed, but that no call used.

    Only for roles with a record, and not for people's: they use consoles, which no record shows.
    """
    by_role: dict[str, list[Need]] = {}
    for result in results:
        by_role.setdefault(result.role, []).append(result.need)
    found = []
    for name, needs in sorted(by_role.items()):
        role = stack.roles[name]
        services = [
            value
            for statement in role.trust.statements
            for kind, value in statement.principals or ()
            if kind == "Service"
        ]
        if not services:
            continue
        by_service = (*_UNSEEN, *(pattern for service in services for pattern in _BY_SERVICES.get(service, ())))
        left = []
        for policy in role.policies:
            for statement in policy.statements:
                for action in statement.actions or () if statement.effect == "Allow" else ():
                    used = any(
                        action_fits(action, need.action) and _on(statement.resources or ("*",), need) for need in needs
                    )
                    if not used and not any(action_fits(pattern, action) for pattern in by_service):
                        left.append(
                            f"{action} on"
                            f" {', '.join(resource.rpartition(':')[2] for resource in statement.resources or ('*',))}"
                        )
        if left:
            found.append(Unused(name, tuple(dict.fromkeys(left)), role.source))
    return found


def _on(patterns: Iterable[str], need: Need) -> bool:
    request = Request(need.action, need.resource, "arn:aws:iam::000000000000:role/any")
    return any(resource_fits(pattern, request, variables=False) is not False for pattern in patterns)
