"""A platform for each file of end-to-end tests, brought up as a newcomer would, on a laptop with other settings."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from groundplan.review.permissions import record
from spec.names import HOME
from tests.platform import assert_ok, copy_project, groundplan, processes_of

# What a work laptop may have in its environment; none of it may be used.
FOREIGN = {
    "AWS_ACCESS_KEY_ID": "AKIAREALREALREALREAL",
    "AWS_SECRET_ACCESS_KEY": "real",
    "AWS_SESSION_TOKEN": "real",
    "AWS_PROFILE": "company",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9/company",
    "MLFLOW_EXPERIMENT_NAME": "company-experiment",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
}


@pytest.fixture(scope="module")
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clone with the platform up; it must leave nothing behind."""
    folder = copy_project(tmp_path_factory.mktemp("e2e") / "a clone")  # a blank in the path, as laptops have
    try:
        done = groundplan(folder, "up", "--models", request.module.MODEL, *request.module.OPTIONS, **FOREIGN)
        (folder / "up.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
        assert_ok(done, folder)
        yield folder
        _hold_to_record(folder)
        assert "stopped" in assert_ok(groundplan(folder, "down"), folder).stdout
        assert processes_of(folder) == []
    finally:
        groundplan(folder, "down")


def _hold_to_record(folder: Path) -> None:
    """Every call that the platform made is on record (calls.json), or is added to it by `make calls`."""
    if target := os.environ.get("RECORD_CALLS_INTO"):
        assert_ok(groundplan(folder, "permissions", "--record"), folder)
        name = record.FILE.relative_to(HOME)
        shutil.copyfile(folder / name, Path(target) / name)
        return
    assert_ok(groundplan(folder, "permissions", "--seen"), folder)


@pytest.fixture(scope="module")
def status(project: Path) -> Any:
    return json.loads(assert_ok(groundplan(project, "status", "--json"), project).stdout)


@pytest.fixture(scope="module")
def shell(project: Path) -> dict[str, str]:
    """The environment of a shell after `eval "$(groundplan env)"`, on a machine with real credentials."""
    lines = assert_ok(groundplan(project, "env"), project).stdout
    command = (
        f'eval {shlex.quote(lines)}; {shlex.quote(sys.executable)} -c "import os, json;'
        ' print(json.dumps(dict(os.environ)))"'
    )
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, **FOREIGN}, capture_output=True, text=True, check=True
    )
    environment: dict[str, str] = json.loads(done.stdout)
    return environment


@pytest.fixture(scope="module")
def runtime(status: Any) -> Any:
    import boto3

    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=status["services"]["router"]["url"],
        region_name="us-east-1",
        aws_access_key_id="t",
        aws_secret_access_key="t",
    )
