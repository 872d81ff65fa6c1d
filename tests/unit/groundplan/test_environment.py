from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from groundplan.local.environment import child_environment, client_variables, shadowing, without_proxy
from groundplan.local.home import Home, Service
from groundplan.local.moto.aws import client
from groundplan.local.services import own_service
from spec.errors import GroundplanError

pytestmark = pytest.mark.slow  # starts processes

SERVICES = {name: own_service(name, 5000 + index) for index, name in enumerate(("aws", "kafka", "mlflow", "router"))}
FOREIGN = {
    "AWS_ACCESS_KEY_ID": "AKIAREAL",
    "AWS_SECRET_ACCESS_KEY": "real",
    "AWS_SESSION_TOKEN": "real",
    "AWS_PROFILE": "company",
    "AWS_ENDPOINT_URL_S3": "https://s3.company.example",
    "MLFLOW_TRACKING_URI": "https://mlflow.company.example",
    "MLFLOW_TRACKING_TOKEN": "real",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka.company.example:9092",
    "HTTPS_PROXY": "http://proxy.company.example",
}


def test_nothing_of_the_users_accounts_reaches_a_process_of_the_local_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in FOREIGN.items():
        monkeypatch.setenv(key, value)
    environment = child_environment(Home(tmp_path), SERVICES, "us-east-1")
    assert not [key for key, value in environment.items() if "company" in value or "real" in value.lower().split()]
    assert (
        environment["AWS_ACCESS_KEY_ID"] == "testing"
        and "AWS_PROFILE" not in environment
        and "AWS_SESSION_TOKEN" not in environment
    )
    assert environment["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5002"


def test_only_our_own_broker_is_given_sessions_that_others_refuse(tmp_path: Path) -> None:
    theirs = SERVICES | {"kafka": Service("kafka", "kafka.company.example:9092", owned=False)}
    found = [child_environment(Home(tmp_path), services, "us-east-1") for services in (SERVICES, theirs, {})]
    assert ["KAFKA_SESSION_TIMEOUT_MS" in environment for environment in found] == [True, False, False]


def test_clients_get_every_address_and_lose_what_would_shadow_it() -> None:
    variables = client_variables(SERVICES, "eu-central-1")
    assert variables["AWS_ENDPOINT_URL"] == "http://127.0.0.1:5000"
    assert variables["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] == "http://127.0.0.1:5003"
    assert variables["KAFKA_BOOTSTRAP_SERVERS"] == "127.0.0.1:5001"
    assert variables["AWS_DEFAULT_REGION"] == "eu-central-1"
    names = shadowing(FOREIGN)
    assert {"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "MLFLOW_REGISTRY_URI"} <= set(names) and not set(
        names
    ) & set(variables)
    assert without_proxy({"NO_PROXY": "intranet"})["no_proxy"] == "intranet,127.0.0.1,localhost"


def test_a_client_of_the_local_cloud_ignores_the_environment_and_refuses_to_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for key, value in FOREIGN.items():
        monkeypatch.setenv(key, value)
    made = client("s3", "http://127.0.0.1:9", "us-east-1")
    assert made.meta.endpoint_url == "http://127.0.0.1:9"
    assert made._request_signer._credentials.access_key == "testing"
    elsewhere = client("sts", "http://127.0.0.1:9", "us-east-1")
    elsewhere.meta.events.register_first(
        "before-send.sts", lambda request, **_: setattr(request, "url", "https://sts.amazonaws.com/") or None
    )
    with pytest.raises(GroundplanError, match=r"refused a request to sts\.amazonaws\.com"):
        elsewhere.get_caller_identity()


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('s3.us-east-1.amazonaws.com', 443), timeout=5)",
        "import socket; socket.create_connection(('169.254.169.254', 80), timeout=5)",
        "import boto3; boto3.client('sts', endpoint_url='https://sts.amazonaws.com').get_caller_identity()",
        "import urllib.request; urllib.request.urlopen('https://api.sagemaker.us-east-1.amazonaws.com', timeout=5)",
    ],
)
def test_the_guard_keeps_every_child_from_aws(code: str, tmp_path: Path, root: Path) -> None:
    environment = child_environment(Home(root), SERVICES, "us-east-1")
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "processes of the local cloud never reach AWS" in done.stderr
