"""Containers on ECS, and the registry of their images: they run with no more than they need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError

from policies.control import Family, at, given, is_list, listed
from policies.documents import known
from policies.iam.documents import UNKNOWN
from policies.laws import LOGGING, NETWORK, TRANSIT
from policies.stack import Item, Props, Stack

CONTAINERS = Family("containers", ("GDPR 32(1)(b)", "HIPAA 164.312(a)(1)", "SOC 2 CC6.8"))
TASK, SERVICE, REPOSITORY = (
    "aws:ecs/taskDefinition:TaskDefinition",
    "aws:ecs/service:Service",
    "aws:ecr/repository:Repository",
)
_DOCS = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide"


def containers(props: Props) -> list[dict[str, Any]]:
    """The containers of a task definition.

    Raises:
        UnknownValueError: Only a deployment can tell them.
    """
    if not given(props, "containerDefinitions"):
        return []
    found = _read(props, "containerDefinitions")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _read(props: Props, key: str) -> Any:
    """What a JSON input holds; nothing where it is no JSON, which AWS refuses.

    Raises:
        UnknownValueError: Only a deployment can tell it, or a part of it.
    """
    value = props[key]
    try:
        return json.loads(value) if isinstance(value, str) else known(value)
    except ValueError:
        if UNKNOWN_STRING_VALUE in value:
            raise UnknownValueError(UNKNOWN_STRING_VALUE, [key]) from None
        return None


def _windows(props: Props) -> bool:
    return str(at(props, "runtimePlatform.operatingSystemFamily") or "").upper().startswith("WINDOWS")


@CONTAINERS.resource(
    "ecs-not-privileged",
    "Containers of ECS tasks are not privileged",
    TASK,
    severity="high",
    fix="Omit privileged in the container's definition.",
    risk="Whoever breaks into the container controls the machine and every other container on it",
    rules=("FSBP ECS.4",),
    url=f"{_DOCS}/task_definition_parameters.html#container_definition_security",
)
def not_privileged(props: Props) -> Iterator[str]:
    """No container has the host's rights."""
    for container in containers(props):
        if container.get("privileged") is True:
            yield f"The container {container.get('name')} is privileged"


@CONTAINERS.resource(
    "ecs-not-root",
    "Containers of ECS tasks don't run as root",
    TASK,
    severity="medium",
    fix='Set user in the container\'s definition, for example "1000".',
    risk="A fault in the program gives an attacker every right inside of the container, and a shorter way out of it",
    rules=("FSBP ECS.20",),
    url=f"{_DOCS}/task_definition_parameters.html#container_definition_security",
)
def not_root(props: Props) -> Iterator[str]:
    """A user is named, by name or number; Windows has no root."""
    if _windows(props):
        return
    for container in containers(props):
        user = str(container.get("user") or "").partition(":")[0]
        if user in ("", "0", "root") and UNKNOWN not in str(container.get("user")):
            who = user or "the user of its image, which is root unless the image names another"
            yield f"The container {container.get('name')} runs as {who}"


@CONTAINERS.resource(
    "ecs-own-namespaces",
    "ECS tasks don't share the host's network, processes or memory",
    TASK,
    severity="high",
    fix="Use network_mode awsvpc, and omit pid_mode and ipc_mode, or set them to task.",
    risk="A container can listen to the host's traffic, or read other programs' memory and credentials",
    rules=("FSBP ECS.1", "FSBP ECS.3"),
    url=f"{_DOCS}/task_definition_parameters.html#network_mode",
)
def own_namespaces(props: Props) -> Iterator[str]:
    """None of the three is the host's."""
    for key, what in (("networkMode", "network"), ("pidMode", "processes"), ("ipcMode", "shared memory")):
        if props.get(key) == "host":
            yield f"The task shares the host's {what}"


@CONTAINERS.resource(
    "ecs-read-only-root",
    "Containers of ECS tasks can't write to their root file system",
    TASK,
    severity="low",
    fix="Set readonlyRootFilesystem to true in the container's definition, and mount a volume where it writes.",
    risk="An attacker can place programs in the running container",
    rules=("FSBP ECS.5",),
    url=f"{_DOCS}/task_definition_parameters.html#container_definition_security",
)
def read_only_root(props: Props) -> Iterator[str]:
    """Every container; Windows can't."""
    for container in [] if _windows(props) else containers(props):
        if container.get("readonlyRootFilesystem") is not True:
            yield f"The container {container.get('name')} may change its own programs"


@CONTAINERS.resource(
    "ecs-logged",
    "Containers of ECS tasks log",
    TASK,
    severity="medium",
    fix="Set logConfiguration in the container's definition, for example awslogs with a group.",
    risk="Nobody can find out what the program did before it failed or was attacked",
    law=LOGGING,
    rules=("FSBP ECS.9",),
    url=f"{_DOCS}/using_awslogs.html",
)
def task_logged(props: Props) -> Iterator[str]:
    """Every container has a driver."""
    for container in containers(props):
        if not container.get("logConfiguration"):
            yield f"Nothing keeps what the container {container.get('name')} writes"


@CONTAINERS.resource(
    "ecs-volume-tls",
    "ECS tasks read their EFS volumes over TLS",
    TASK,
    severity="medium",
    fix="Set transit_encryption to ENABLED in efs_volume_configuration.",
    risk="Files can be read on their way between the file system and the container",
    law=TRANSIT,
    rules=("FSBP ECS.18",),
    url=f"{_DOCS}/efs-volumes.html",
)
def volume_tls(props: Props) -> Iterator[str]:
    """Each EFS volume."""
    for volume in listed(props.get("volumes")):
        efs = at(volume, "efsVolumeConfiguration")
        if efs is not None and efs.get("transitEncryption") != "ENABLED":
            yield f"The volume {volume.get('name')} is mounted without TLS"


@CONTAINERS.resource(
    "ecs-no-public-ip",
    "ECS services have no public address",
    SERVICE,
    "aws:ecs/taskSet:TaskSet",
    severity="high",
    fix="Omit assign_public_ip, and let a load balancer and a NAT gateway or VPC endpoints connect it.",
    risk="Anyone on the internet can try to connect to the container itself, past the load balancer",
    law=NETWORK,
    rules=("FSBP ECS.2", "FSBP ECS.16"),
    url=f"{_DOCS}/fargate-task-networking.html",
)
def service_private(props: Props) -> Iterator[str]:
    """No public address."""
    if at(props, "networkConfiguration.assignPublicIp") in (True, "ENABLED"):
        yield "Its tasks get public addresses"


@CONTAINERS.resource(
    "ecs-platform-current",
    "ECS services on Fargate run on the current platform",
    SERVICE,
    severity="low",
    fix="Omit platform_version, or set it to LATEST.",
    risk="Security fixes of the platform are missing",
    law=("SOC 2 CC7.1",),
    rules=("FSBP ECS.10",),
    url=f"{_DOCS}/platform-fargate.html",
)
def platform_current(props: Props) -> Iterator[str]:
    """Not an old version by number; 1.4.0 is what LATEST means for Linux, 1.0.0 for Windows."""
    if props.get("platformVersion") not in (None, "", "LATEST", "1.4.0", "1.0.0"):
        yield f"It stays on platform version {props['platformVersion']}"


@CONTAINERS.resource(
    "ecs-insights",
    "ECS clusters are watched",
    "aws:ecs/cluster:Cluster",
    severity="low",
    fix="Set settings with containerInsights enabled or enhanced.",
    risk="A container that restarts, or that runs out of memory, is noticed by its users first",
    law=("SOC 2 CC7.2",),
    rules=("FSBP ECS.12",),
    url="https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/ContainerInsights.html",
)
def cluster_watched(props: Props) -> Iterator[str]:
    """Container Insights are on."""
    values = {item.get("name"): item.get("value") for item in listed(props.get("settings"))}
    if values.get("containerInsights") not in ("enabled", "enhanced"):
        yield "Container Insights are off"


@CONTAINERS.resource(
    "ecs-exec-logged",
    "What people type into containers is logged",
    "aws:ecs/cluster:Cluster",
    severity="medium",
    fix="Set configuration.execute_command_configuration.logging to OVERRIDE with a log group, or to DEFAULT.",
    risk="Somebody can change or copy data inside of a container without a trace",
    law=LOGGING,
    url=f"{_DOCS}/ecs-exec.html",
)
def exec_logged(props: Props) -> Iterator[str]:
    """ECS Exec logs unless it is told not to."""
    if at(props, "configuration.executeCommandConfiguration.logging") == "NONE":
        yield "Sessions of ECS Exec are not logged"


@CONTAINERS.each(
    "ecr-scanned",
    "Images are scanned for known weaknesses",
    REPOSITORY,
    beside=("aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration",),
    severity="high",
    fix="Set image_scanning_configuration with scan_on_push, or a RegistryScanningConfiguration for the account.",
    risk="An image with a publicly known weakness goes into production unnoticed",
    law=("SOC 2 CC7.1", "HIPAA 164.308(a)(1)"),
    rules=("FSBP ECR.1",),
    url="https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-scanning.html",
)
def images_scanned(repository: Item, stack: Stack) -> Iterator[str]:
    """The repository's own setting, or the account's."""
    if any(stack.beside(repository, "aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration")):
        return
    if at(repository.props, "imageScanningConfiguration.scanOnPush") is not True:
        yield "Nothing scans what is pushed to it"


@CONTAINERS.resource(
    "ecr-tags-stay",
    "A tag of an image always means the same image",
    REPOSITORY,
    severity="medium",
    fix="Set image_tag_mutability to IMMUTABLE.",
    risk="An image that was tested can be replaced by another one of the same name",
    law=("SOX 404", "SOC 2 CC8.1"),
    rules=("FSBP ECR.2",),
    url="https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html",
)
def tags_stay(props: Props) -> Iterator[str]:
    """Immutable, with exceptions or without."""
    if not str(props.get("imageTagMutability") or "").startswith("IMMUTABLE"):
        yield "A tag may be moved to another image"


@CONTAINERS.resource(
    "batch-not-privileged",
    "Batch jobs are not privileged",
    "aws:batch/jobDefinition:JobDefinition",
    severity="high",
    fix="Omit privileged in container_properties.",
    risk="Whoever breaks into the job controls the machine and every other job on it",
    url="https://docs.aws.amazon.com/batch/latest/userguide/job_definition_parameters.html",
)
def batch_not_privileged(props: Props) -> Iterator[str]:
    """The job's container."""
    if batch_container(props).get("privileged") is True:
        yield "The job's container is privileged"


def batch_container(props: Props) -> dict[str, Any]:
    """The container of a Batch job.

    Raises:
        UnknownValueError: Only a deployment can tell it.
    """
    found = _read(props, "containerProperties") if given(props, "containerProperties") else {}
    return found if isinstance(found, dict) else {}


@CONTAINERS.resource(
    "codebuild-logged",
    "Builds log",
    "aws:codebuild/project:Project",
    severity="medium",
    fix="Leave CloudWatch logs or S3 logs enabled in logs_config.",
    risk="Nobody can tell what a build did, or what it put into the product",
    law=LOGGING,
    rules=("FSBP CodeBuild.4",),
    url="https://docs.aws.amazon.com/codebuild/latest/userguide/getting-started-build-log-console.html",
)
def build_logged(props: Props) -> Iterator[str]:
    """CloudWatch is on unless it is switched off."""
    cloudwatch, bucket = at(props, "logsConfig.cloudwatchLogs.status"), at(props, "logsConfig.s3Logs.status")
    if cloudwatch == "DISABLED" and bucket != "ENABLED":
        yield "Both of its logs are off"


def environment(props: Props) -> Iterator[tuple[str, Any]]:
    """The environment variables of a task's or a job's containers, with those values that are known."""
    found = containers(props) if given(props, "containerDefinitions") else [batch_container(props)]
    for container in found:
        for variable in container.get("environment") or () if is_list(container.get("environment")) else ():
            if isinstance(variable, dict) and variable.get("value") != UNKNOWN:
                yield str(variable.get("name")), variable.get("value")
