"""The CLI in a copy of the project, on its own local cloud."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import psutil
import yaml

from tests.conftest import ROOT
from tests.platform import copy_project

BUILT = ROOT / ".groundplan" / "pulumi" / "bin"  # by `make pulumi`
PATH = os.pathsep.join((str(BUILT), os.environ["PATH"]))
NEEDED = ("pulumi", "pulumi-language-python", "pulumi-resource-pulumi-python")
MISSING = [name for name in NEEDED if not shutil.which(name, path=PATH)]

ACCOUNT = "123456789012"


class Cli:
    """The CLI in a copy of the project.

    Attributes:
        project: The copy's root.
        variables: Its environment variables.
    """

    def __init__(self, folder: Path, provider: dict[str, str]) -> None:
        self.project = copy_project(folder / "project")
        (self.project / ".venv").symlink_to(sys.prefix)
        (folder / "state").mkdir()
        self._region = ""
        self.variables = {
            "PATH": PATH,
            "HOME": str(folder),
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            **provider,
        }

    def __call__(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = ["pulumi", *arguments, "--non-interactive"]
        return subprocess.run(
            command,
            cwd=self.project,
            env={**self.variables, **more},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )

    def good(self, *arguments: str) -> str:
        """Its output; it must succeed."""
        done = self(*arguments)
        assert done.returncode == 0, (
            "pulumi"
            f" {' '.join(arguments)}\n{done.stdout[done.stdout.find('Diagnostics:') :][:6000]}{done.stderr[-2000:]}"
        )
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run it."""
        return subprocess.Popen(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.project,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start_and_wait(self, stack: str, made: int) -> subprocess.Popen[str]:
        """A running `up` that has created this many resources of the stack."""
        process = self.start("up", "-s", stack, "--yes", "--skip-preview")
        assert process.stdout is not None
        for number, line in enumerate(process.stdout):
            if "created" in line and number > made:
                return process
        raise AssertionError(f"`pulumi up` ended before it had made {made} resources: {process.wait()}")

    def end_what_is_left(self) -> None:
        """An engine that was interrupted or killed leaves processes: of the program, of its dynamic provider."""
        for other in psutil.process_iter():
            with suppress(psutil.Error):
                if other.environ().get("PULUMI_HOME") == self.variables["PULUMI_HOME"]:
                    other.kill()

    def stack(self, name: str, like: str = "", without: tuple[str, ...] = ()) -> None:
        """A new stack, in the account that the cloud acts as."""
        folder = self.project / "stacks"
        document = yaml.safe_load((folder / f"Pulumi.{like or name}.yaml").read_text(encoding="utf-8"))
        document["config"]["aws:allowedAccountIds"] = [ACCOUNT]
        self._region = document["config"]["aws:region"]
        document["config"] = {key: value for key, value in document["config"].items() if key not in without}
        (folder / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        self.good("stack", "init", name)

    def pack(self) -> str:
        """The pack's folder as named in a repository without a clone."""
        command = [sys.executable, "-m", "groundplan", "policy-pack"]
        return subprocess.run(
            command,
            cwd=self.project,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def edit(self, stack: str, change: Any) -> None:
        """Change a stack's objectives."""
        file = self.project / "stacks" / f"Pulumi.{stack}.yaml"
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        change(document["config"]["groundplan:objectives"])
        file.write_text(yaml.safe_dump(document), encoding="utf-8")

    def planned(self, *arguments: str) -> dict[str, set[str]]:
        """What a preview would do: operation -> URNs."""
        done = self("preview", "--json", *arguments)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        found: dict[str, set[str]] = {}
        for step in json.loads(done.stdout[done.stdout.index("{") :])["steps"]:
            found.setdefault(step["op"], set()).add(step["urn"])
        return {operation: urns for operation, urns in found.items() if operation != "same"}

    def resources(self, stack: str) -> list[dict[str, Any]]:
        """What the stack's state holds."""
        found: list[dict[str, Any]] = json.loads(self.good("stack", "export", "-s", stack))["deployment"].get(
            "resources", []
        )
        return found

    def aws(self, service: str) -> Any:
        """A client of the local cloud."""
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, region_name=self._region, endpoint_url=self.variables["AWS_ENDPOINT_URL"], **keys)


@contextmanager
def providers(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """`groundplan provider`: the process, and the variables that it prints; with options on a cloud that runs
    already.
    """
    command = [sys.executable, "-m", "groundplan", "provider", "--json", *options]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    assert line, process.stderr.read()
    try:
        yield process, json.loads(line)["variables"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@contextmanager
def running(folder: Path) -> Iterator[Cli]:
    """A local cloud, its providers, and the CLI."""
    with providers() as (_, variables):
        cli = Cli(folder, variables)
        try:
            yield cli
        finally:
            cli.end_what_is_left()


def types(urns: set[str]) -> set[str]:
    """Types of resources."""
    return {urn.split("::")[2].rpartition("$")[2] for urn in urns}


def names(urns: set[str]) -> set[str]:
    """Names of resources."""
    return {re.sub(r".*::", "", urn) for urn in urns}
