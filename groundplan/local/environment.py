"""The environment of the local cloud: for its own processes (pinned, nothing inherited that could lead elsewhere)
and for the user's shell.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from groundplan.local.calls import caller_key
from groundplan.local.home import Home, Service
from groundplan.local.moto.aws import ACCESS_KEY, SECRET_KEY

# These variables were meant for other places: an account, a company's tracking server, a proxy to the outside.
_FOREIGN = ("AWS_", "MLFLOW_", "KAFKA_", "DATABRICKS_", "SAGEMAKER_", "SM_", "PULUMI_", "FEAST_", "BOTO_")
_LINEAGE = "OPENLINEAGE_"  # kept where it leads to this machine
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def client_variables(services: Mapping[str, Service], region: str) -> dict[str, str]:
    """What ordinary clients read: addresses, region, test credentials."""
    variables = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    names = {
        "aws": ("AWS_ENDPOINT_URL",),
        "router": ("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME",),
        "kafka": ("KAFKA_BOOTSTRAP_SERVERS",),
        "mlflow": ("MLFLOW_TRACKING_URI",),
    }
    for service, keys in names.items():
        if service in services:
            variables |= dict.fromkeys(keys, services[service].url)
    if "aws" in services:
        variables |= dict.fromkeys(("MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT"), services["aws"].url)
    return variables


# Variables that would take an ordinary client back to the user's own account or servers.
_SHADOWING = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_RUN_ID",
)
QUICK_SESSION_MS = "2000"  # tansu forms a group only after half of its first member's session timeout
_OURS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME")


def shadowing(environment: Mapping[str, str]) -> list[str]:
    """Names to unset in the user's shell, so that clients go to the local platform and nowhere else."""
    return [
        *_SHADOWING,
        *sorted(name for name in environment if name.startswith("AWS_ENDPOINT_URL_") and name not in _OURS),
    ]


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """The user's ``no_proxy`` list with loopback added."""
    known = [part for part in (environment.get("NO_PROXY") or environment.get("no_proxy") or "").split(",") if part]
    hosts = ",".join(dict.fromkeys([*known, "127.0.0.1", "localhost"]))
    return {"NO_PROXY": hosts, "no_proxy": hosts}


def child_environment(home: Home, services: Mapping[str, Service], region: str, caller: str = "") -> dict[str, str]:
    """The whole environment of a process of the local cloud: pinned addresses, test credentials, and the guard.

    Args:
        caller: The process's name in the record of calls; calls of a process without one are not recorded.
    """
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(_FOREIGN) and key.lower() not in _PROXIES and key != "PYTHONPATH"
    }
    if urlsplit(inherited.get("OPENLINEAGE_URL", "")).hostname not in ("127.0.0.1", "localhost", "::1"):
        inherited = {key: value for key, value in inherited.items() if not key.startswith(_LINEAGE)}
    guard = Path(__file__).parent / "guard"
    nothing = os.devnull
    return {
        **inherited,
        **client_variables(services, region),
        **({"AWS_ACCESS_KEY_ID": caller_key(caller), "KAFKA_CLIENT_ID": caller_key(caller)} if caller else {}),
        "AWS_CONFIG_FILE": nothing,
        "AWS_SHARED_CREDENTIALS_FILE": nothing,
        "AWS_ALLOW_HTTP": "true",  # the Kafka broker's S3 client requires this before it talks to loopback
        "GROUNDPLAN_HOME": str(home.folder),
        "GROUNDPLAN_OUTPUTS": str(home.outputs_file),
        **({"KAFKA_VALIDATES": "1"} if home.schemas.is_dir() else {}),
        **({"KAFKA_SESSION_TIMEOUT_MS": QUICK_SESSION_MS} if (kafka := services.get("kafka")) and kafka.owned else {}),
        "PYTHONPATH": os.pathsep.join((str(guard), str(home.root))),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
        # Trying a blueprint must not send telemetry from a laptop.
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "FEAST_USAGE": "false",
        "SAGEMAKER_TELEMETRY_OPT_OUT": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
        "GIT_PYTHON_REFRESH": "quiet",
        "NO_PROXY": "127.0.0.1,localhost",
        # Threads of numerical libraries that wait by spinning take the cores from the other services.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
