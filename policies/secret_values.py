"""Secrets: none in code, state or environment; each one rotates, and can be restored."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pulumi_policy.proxy import UnknownValueError

from policies.containers import environment
from policies.control import Family, at, given, is_list, listed, snake_case
from policies.secret_forms import HIDDEN, looks_secret, names_a_secret, script_has_secret
from policies.settings import SWITCH
from policies.stack import Item, Props, Stack

SECRETS = Family("secrets", ("GDPR 32(1)(b)", "HIPAA 164.312(d)", "SOC 2 CC6.1"))
LONGEST_ROTATION_DAYS = 90  # FSBP SecretsManager.4
SECRETS.setting(
    "rds-password-managed",
    "The database's password is generated and managed by RDS",
    "aws:rds/instance:Instance",
    "manageMasterUserPassword",
    True,
    severity="high",
    risk="People know the password and it seldom changes, so a former employee or a leaked file opens the database",
    url="https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-secrets-manager.html",
    applies=lambda props: not given(props, "replicateSourceDb"),  # a replica has its source's
)
SECRETS.setting(
    "rds-cluster-password-managed",
    "The cluster's password is generated and managed by RDS",
    "aws:rds/cluster:Cluster",
    "manageMasterUserPassword",
    True,
    severity="high",
    risk="The password lies in code or in somebody's notes, and whoever finds it can read all of the data unnoticed",
    url="https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-secrets-manager.html",
)


def _variables(props: Props) -> Iterator[tuple[str, Any]]:
    """Environment variables of functions, models, builds, tasks and jobs, where their values are known."""
    if given(props, "containerDefinitions") or given(props, "containerProperties"):
        yield from environment(props)
    image = at(props, "sourceConfiguration.imageRepository.imageConfiguration.runtimeEnvironmentVariables")
    code = at(props, "sourceConfiguration.codeRepository.codeConfiguration.codeConfigurationValues")
    maps: list[Any] = [image, at(code, "runtimeEnvironmentVariables")]
    maps += [at(props, "environment.variables"), at(props, "primaryContainer.environment"), props.get("environment")]
    maps += [container.get("environment") for container in listed(props.get("containers"))]
    for found in maps:
        for name in (
            found if isinstance(found, Mapping) and "variables" not in found and "computeType" not in found else ()
        ):
            yield from _known(name, found)
    for variable in listed(at(props, "environment.environmentVariables")):
        if variable.get("type", "PLAINTEXT") == "PLAINTEXT":
            yield from _known("value", variable, str(variable.get("name")))


def _known(key: str, found: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    try:
        yield name or key, found[key]
    except UnknownValueError:
        return


@SECRETS.resource(
    "no-secret-in-environment",
    "No secret is in an environment variable",
    "aws:lambda/function:Function",
    "aws:sagemaker/model:Model",
    "aws:codebuild/project:Project",
    "aws:ecs/taskDefinition:TaskDefinition",
    "aws:batch/jobDefinition:JobDefinition",
    "aws:apprunner/service:Service",
    severity="critical",
    rules=("FSBP CodeBuild.2",),
    fix="Pass the ARN of a secret, and read it when the program starts.",
    risk=(
        "Everyone who may look at the service's settings sees the password, and can use it elsewhere without"
        " being noticed"
    ),
    url="https://docs.aws.amazon.com/secretsmanager/latest/userguide/best-practices.html",
)
def no_secret_in_environment(props: Props) -> Iterator[str]:
    """Neither by name nor by form."""
    for name, value in _variables(props):
        if looks_secret(name, value):
            yield f"The variable {name} seems to contain a secret"


@SECRETS.resource(
    "no-secret-in-user-data",
    "No secret is in an instance's start script",
    "aws:ec2/instance:Instance",
    "aws:ec2/launchTemplate:LaunchTemplate",
    "aws:ec2/launchConfiguration:LaunchConfiguration",
    severity="critical",
    fix="Let the instance read the secret with its role.",
    risk=(
        "Every program on the machine and many employees can read the password, and copies of it remain in"
        " machine templates"
    ),
    url="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html",
)
def no_secret_in_user_data(props: Props) -> Iterator[str]:
    """User data can be read by everything that runs on the instance; EC2 keeps none of it secret."""
    for key in ("userData", "userDataBase64"):
        script = str(props.get(key) or "")
        if script == HIDDEN:
            yield "The start script is made of a secret"
        elif script_has_secret(script):
            yield "The start script seems to contain a secret"


# Where a password is given as it is, by the type of the resource.
_PASSWORDS = {
    "aws:redshift/cluster:Cluster": ("masterPassword",),
    "aws:docdb/cluster:Cluster": ("masterPassword",),
    "aws:elasticache/replicationGroup:ReplicationGroup": ("authToken",),
    "aws:mq/broker:Broker": ("users.password",),
    "aws:memorydb/user:User": ("authenticationMode.passwords",),
    "aws:elasticache/user:User": ("passwords", "authenticationMode.passwords"),
    "aws:directoryservice/directory:Directory": ("password",),
    "aws:dms/endpoint:Endpoint": ("password",),
    "aws:fsx/windowsFileSystem:WindowsFileSystem": ("selfManagedActiveDirectory.password",),
    "aws:opensearch/domain:Domain": ("advancedSecurityOptions.masterUserOptions.masterUserPassword",),
}


@SECRETS.resource(
    "no-literal-password",
    "No password is written in the program",
    *_PASSWORDS,
    severity="critical",
    fix="Generate it (random_password, a managed password), or read it from the configuration's secrets.",
    risk="Everyone who may read the program, now or later, knows the password",
    url="https://docs.aws.amazon.com/secretsmanager/latest/userguide/best-practices.html",
)
def no_literal_password(props: Props) -> Iterator[str]:
    """A value that is known, and no secret of the configuration: of which only a review tells, since the engine hands
    its value to packs.
    """
    if os.environ.get(SWITCH) != "1":
        return
    for path in dict.fromkeys(path for paths in _PASSWORDS.values() for path in paths):
        for value in _values_at(props, path):
            if isinstance(value, str) and value and value != HIDDEN:
                yield f"{snake_case(path)} is in the program"


def _values_at(props: Any, path: str) -> Iterator[Any]:
    """What is known at a path, in each item of a list on the way."""
    first, _, rest = path.partition(".")
    if not given(props, first):
        return
    for value in _each_known(props, first):
        if rest:
            yield from _values_at(value, rest)
        else:
            yield value


def _each_known(container: Any, key: Any) -> Iterator[Any]:
    try:
        value = container[key]
    except UnknownValueError:
        return
    if is_list(value):
        for place in range(len(value)):
            yield from _each_known(value, place)
    else:
        yield value


@SECRETS.resource(
    "glue-no-secret-in-arguments",
    "No secret is in the arguments of a job",
    "aws:glue/job:Job",
    severity="critical",
    fix="Pass the ARN of a secret, or use a connection, and read it when the job starts.",
    risk="Everyone who may look at the job or its runs sees the password",
    url="https://docs.aws.amazon.com/glue/latest/dg/aws-glue-programming-python-glue-arguments.html",
)
def no_secret_in_arguments(props: Props) -> Iterator[str]:
    """Neither by name nor by form."""
    for key in ("defaultArguments", "nonOverridableArguments"):
        found = props.get(key) if given(props, key) else None
        if isinstance(found, Mapping):
            named = [pair for name in found for pair in _known(name, found)]
            yield from (
                f"The argument {name} seems to contain a secret" for name, value in named if looks_secret(name, value)
            )


@SECRETS.resource(
    "secret-not-in-program",
    "The program writes no secret's value",
    "aws:secretsmanager/secretVersion:SecretVersion",
    severity="high",
    fix="Let the secret's owner set its value, or have it generated (random_password, a rotation).",
    risk=(
        "The password stays in source code or stored configuration, where any reader or thief of the files"
        " finds it years later"
    ),
    url="https://docs.aws.amazon.com/secretsmanager/latest/userguide/best-practices.html",
)
def not_in_program(props: Props) -> Iterator[str]:
    """A value that is known before deployment is in the code or in the configuration."""
    for key in ("secretString", "secretBinary"):
        try:
            if props.get(key):
                yield f"{key} is in the program, and so in its state"
        except UnknownValueError:
            continue  # the value is generated elsewhere


@SECRETS.resource(
    "parameter-secure",
    "Parameters that contain secrets are secure strings",
    "aws:ssm/parameter:Parameter",
    severity="high",
    fix="Set type to SecureString, with a key of the stack.",
    risk="A password is stored unencrypted, and everyone with general permission to read settings sees it",
    url="https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-securestring.html",
)
def parameter_secure(props: Props) -> Iterator[str]:
    """By name."""
    name = str(props.get("name") or "")
    if names_a_secret(name) and props.get("type") != "SecureString":
        yield f"{name} is a plain {props.get('type')}"


@SECRETS.resource(
    "secret-can-be-restored",
    "A deleted secret can be restored for at least a week",
    "aws:secretsmanager/secret:Secret",
    severity="low",
    law=("SOC 2 A1.2", "GDPR 32(1)(c)"),
    fix="Set recovery_window_in_days to 7 or more.",
    risk="A password deleted by mistake is lost at once, and services or encrypted data that need it become unusable",
    url="https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_delete-secret.html",
)
def can_be_restored(props: Props) -> Iterator[str]:
    """Not at once, not in less than a week."""
    days = props.get("recoveryWindowInDays")
    if days is not None and days < 7:
        yield f"It can't be restored {days:g} days after its deletion"


@SECRETS.each(
    "secret-rotates",
    "Secrets rotate",
    "aws:secretsmanager/secret:Secret",
    beside=("aws:secretsmanager/secretRotation:SecretRotation",),
    severity="medium",
    law=(*SECRETS.law, "SOX 404"),
    rules=("FSBP SecretsManager.1",),
    fix="Create a SecretRotation for it, or waive it with the reason why its value must stay.",
    risk="A password that leaked once, perhaps years ago through a former employee, still opens the door today",
    url="https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotating-secrets.html",
)
def rotates(secret: Item, stack: Stack) -> Iterator[str]:
    """A rotation of its own."""
    rotations = stack.companions(secret, "aws:secretsmanager/secretRotation:SecretRotation", "secretId")
    if not rotations:
        yield "Its value stays as it is until somebody changes it"
    for rotation in rotations:
        days = _days(rotation.props)
        if days > LONGEST_ROTATION_DAYS:
            yield f"Its value stays the same for {days:g} days"


def _days(rotation: Props) -> float:
    """Days between two rotations, as far as they are written as days; 0 otherwise."""
    every = re.fullmatch(r"rate\((\d+) days?\)", str(at(rotation, "rotationRules.scheduleExpression") or ""))
    return float(every[1]) if every else float(at(rotation, "rotationRules.automaticallyAfterDays") or 0)
