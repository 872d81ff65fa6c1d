"""The real engine: the program as people type it, against stand-ins for its providers. It needs the Pulumi CLI on the PATH, and no account."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from tests.conftest import ROOT
from tests.platform import copy_project

NEEDED = ("pulumi", "pulumi-language-python", "pulumi-resource-pulumi-python")
MISSING = [name for name in NEEDED if not shutil.which(name)]
pytestmark = [pytest.mark.engine, pytest.mark.skipif(bool(MISSING), reason=f"the Pulumi CLI is not on the PATH: no {', '.join(MISSING)}")]

ACCOUNT, REGION = "123456789012", "eu-central-1"  # moto's account; where the stacks lie
DATA = {"aws:s3/bucket:Bucket", "aws:kms/key:Key", "aws:rds/instance:Instance", "aws:dynamodb/table:Table", "aws:secretsmanager/secret:Secret"}


class Cli:
    """The CLI in a copy of the project.

    Attributes:
        project: The copy's root.
    """

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.project = copy_project(folder / "project")
        (self.project / ".venv").symlink_to(sys.prefix)
        plugins, state = folder / "plugins", folder / "state"
        plugins.mkdir()
        state.mkdir()
        for provider in ("aws", "kubernetes"):
            plugin = plugins / f"pulumi-resource-{provider}"
            plugin.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m tests.engine.provider "$@"\n')
            plugin.chmod(0o755)
        self._environment = {
            "PATH": f"{plugins}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder), "PULUMI_HOME": str(folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{state}", "PULUMI_CONFIG_PASSPHRASE": "test", "PULUMI_SKIP_UPDATE_CHECK": "true",
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_ENDPOINT_URL": endpoint,
        }  # fmt: skip

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["pulumi", *arguments, "--non-interactive"]
        return subprocess.run(command, cwd=self.project, env=self._environment, capture_output=True, text=True, timeout=500, check=False)

    def good(self, *arguments: str) -> str:
        """What it says; it must succeed."""
        done = self(*arguments)
        assert done.returncode == 0, f"pulumi {' '.join(arguments)}\n{done.stdout[-6000:]}{done.stderr[-2000:]}"
        return done.stdout

    def stack(self, name: str, like: str = "", without: tuple[str, ...] = ()) -> None:
        """A new stack, whose account is moto's."""
        folder = self.project / "stacks"
        document = yaml.safe_load((folder / f"Pulumi.{like or name}.yaml").read_text(encoding="utf-8"))
        document["config"]["aws:allowedAccountIds"] = [ACCOUNT]
        document["config"] = {key: value for key, value in document["config"].items() if key not in without}
        (folder / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        self.good("stack", "init", name)

    def resources(self, stack: str) -> list[dict[str, Any]]:
        """What the stack's state holds."""
        found: list[dict[str, Any]] = json.loads(self.good("stack", "export", "-s", stack))["deployment"].get("resources", [])
        return found


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """Where the image's build finds AWS."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory, aws: str) -> Cli:
    return Cli(tmp_path_factory.mktemp("engine"), aws)


def client(service: str, endpoint: str) -> Any:
    return boto3.client(service, region_name=REGION, endpoint_url=endpoint, aws_access_key_id="test", aws_secret_access_key="test")


def build_project(stack: str, endpoint: str) -> str:
    """The image's repository and build, which a stand-in does not make; the build's name."""
    name = f"groundplan-{stack}-image"
    client("ecr", endpoint).create_repository(repositoryName=f"groundplan-{stack}-platform")
    client("codebuild", endpoint).create_project(
        name=name,
        source={"type": "S3", "location": "bucket/key.zip"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "i", "computeType": "BUILD_GENERAL1_MEDIUM"},
        serviceRole=f"arn:aws:iam::{ACCOUNT}:role/build",
    )
    return name


@pytest.mark.parametrize("stack", ["dev", "staging", "prod"])
def test_a_stack_comes_up_with_the_pack_stays_as_it_is_and_is_destroyed(stack: str, cli: Cli, aws: str) -> None:
    build = build_project(stack, aws)
    cli.stack(stack)
    planned = re.search(r"\+ (\d+) to create", cli.good("preview", "-s", stack))
    assert planned
    up = cli.good("up", "-s", stack, "--yes", "--policy-pack", "policies")  # after a preview of its own, in which much is unknown
    assert f"+ {planned[1]} created" in up and int(planned[1]) > 300
    assert len(client("codebuild", aws).list_builds_for_project(projectName=build)["ids"]) == 1, "the dynamic provider has built the image"
    cli.good("preview", "-s", stack, "--policy-pack", "policies", "--expect-no-changes")
    cli.good("refresh", "-s", stack, "--yes", "--skip-preview", "--expect-no-changes")
    made = cli.resources(stack)
    destroyed = cli("destroy", "-s", stack, "--yes", "--skip-preview")
    left = [item for item in cli.resources(stack) if item.get("custom") and not item["type"].startswith(("pulumi:", "pulumi-python:"))]
    if stack != "prod":
        assert destroyed.returncode == 0 and not left
        return
    assert destroyed.returncode != 0 and "it is protected" in destroyed.stdout
    assert {item["urn"] for item in made if item.get("protect")} == {item["urn"] for item in left if item.get("protect")}
    assert {item["type"] for item in left if item.get("protect")} > DATA and len(left) < len(made) / 4


def test_a_mandatory_control_of_the_whole_stack_stops_it(cli: Cli) -> None:
    cli.stack("strict", like="prod", without=("groundplan:waivers",))
    stopped = cli("preview", "-s", "strict", "--policy-pack", "policies")
    assert stopped.returncode != 0
    assert set(re.findall(r"\[mandatory\].*?(\S+)  \(", stopped.stdout)) == {"secret-rotates", "k8s-pod-security"}, stopped.stdout[-4000:]
