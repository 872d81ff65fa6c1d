"""Secrets: none in code, state or environment; each one rotates, and can be restored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pulumi_policy.proxy import UnknownValueError

from policies.containers import environment
from policies.control import Family, at, given, listed
from policies.stack import Item, Props, Stack

SECRETS = Family("secrets", ("GDPR 32(1)(b)", "HIPAA 164.312(d)", "SOC 2 CC6.1"))
_NAMES = re.compile(
    r"(password|passwd|secret|(?:^|_)pass(?:$|_)|(?:^|_|[a-z])token$|api_?key|access_?key|private_?key|credential)",
    re.IGNORECASE,
)
# Numbers, switches, and what people write where a program wants a value and there is none.
_NONE_AT_ALL = re.compile(
    r"[\d.]+|true|false|none|null|nil|empty|unused|dummy|placeholder|n/?a|not[-_ ]?(needed|used|required|set)|-",
    re.IGNORECASE,
)
_POINTERS = re.compile(
    r"(arn|name|id|uri|url|path|file|ref)$", re.IGNORECASE
)  # they say where a secret is, not what it is
LONGEST_ROTATION_DAYS = 90  # FSBP SecretsManager.4
_VALUES = re.compile(
    r"AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE"
    r" KEY-----|ghp_[A-Za-z0-9]{36}|xox[bp]-[0-9A-Za-z-]{10,}|://[^/:@\s]+:[^/@\s]+@"
)

SECRETS.setting(
    "rds-password-managed",
    "The database's password is generated and managed by RDS",
    "aws:rds/instance:Instance",
    "manageMasterUserPassword",
    True,
    severity="high",
    risk="People know the password and it seldom changes, so a former employee or a leaked file opens the database",
    url="https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-secrets-manager.html",
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


def looks_secret(name: str, value: Any) -> bool:
    """Whether a variable seems to contain a secret's value: by its name, or by the form of the value."""
    if not isinstance(value, str) or not value or _NONE_AT_ALL.fullmatch(value):
        return False
    return bool(_VALUES.search(value)) or bool(
        _NAMES.search(name) and not _POINTERS.search(name) and not value.startswith(("arn:", "/", "$(", "{{"))
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
    """User data can be read by everything that runs on the instance."""
    script = str(props.get("userData") or "")
    assigned = re.findall(r"(?m)^\s*(?:export\s+)?([A-Za-z_]+)=[\"']?([^\s\"'$]+)", script)
    if _VALUES.search(script) or any(looks_secret(name, value) for name, value in assigned):
        yield "The start script seems to contain a secret"


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
    if _NAMES.search(name) and not _POINTERS.search(name) and props.get("type") != "SecureString":
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
