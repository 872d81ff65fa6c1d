"""Programs whose project has an environment of its own: they run there, and are reviewed like any other."""

from __future__ import annotations

import ast
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from groundplan.review.command import review
from groundplan.review.errors import ReviewError
from groundplan.review.model import Review
from spec.errors import GroundplanError, UsageError
from tests.conftest import ROOT

Reviewing = Callable[..., Review]


def environment(folder: Path, *, sdk: bool = True) -> Path:
    """A virtualenv with a module ``only_theirs``, and Pulumi's packages by way of those that the tests run with."""
    venv.EnvBuilder(with_pip=False).create(folder)
    packages = next(folder.glob("lib/python3.*/site-packages"))
    (packages / "only_theirs.py").write_text("NAME = 'theirs'\n")
    if sdk:
        (packages / "pulumi.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder


@pytest.fixture
def reviewing(tmp_path: Path) -> Reviewing:
    environment(tmp_path / "venv")

    def run(code: str, *config: str, limit_s: float = 120) -> Review:
        (tmp_path / "Pulumi.yaml").write_text("name: a\nruntime: {name: python, options: {virtualenv: venv}}\n")
        (tmp_path / "__main__.py").write_text(code)
        return review(tmp_path, "dev", config=config, limit_s=limit_s)

    return run


def test_a_program_runs_with_its_own_interpreter_and_packages(
    reviewing: Reviewing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    found = reviewing(
        """
import json, os, sys
import only_theirs
import pulumi
import pulumi_aws as aws

assert "groundplan" not in sys.modules and os.environ["PYTHONPATH"] == "/nowhere"
assert os.environ["VIRTUAL_ENV"] == sys.prefix and os.environ["PATH"].startswith(f"{sys.prefix}/bin")
assert pulumi.get_project() == "a" and pulumi.get_stack() == "dev"
assert not pulumi.runtime.is_dry_run() or aws.get_availability_zones().names


class Files(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("our:index:Files", name)
        self.bucket = aws.s3.Bucket(f"{name}-bucket", opts=pulumi.ResourceOptions(parent=self))


files = Files(only_theirs.NAME)
aws.s3.BucketPolicy(
    "open",
    bucket=files.bucket.id,
    policy=files.bucket.arn.apply(
        lambda arn: json.dumps(
            {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": f"{arn}/*"}]}
        )
    ),
)
aws.sns.Topic("topic", name=pulumi.Config().require_secret("topic"))
pulumi.export("bucket", files.bucket.arn)
""",
        "topic=events",
    )
    by_name = {resource.name: resource for resource in found.resources}
    assert set(by_name) == {"theirs", "theirs-bucket", "open", "topic"}
    assert by_name["theirs-bucket"].source == "__main__.py:16" and by_name["open"].source == "__main__.py:20"
    assert by_name["theirs-bucket"].parent == by_name["theirs"].urn
    assert by_name["topic"].inputs["name"] != "events", "a secret is not shown"
    public = {f.resource: f.message for f in found.findings if f.policy == "policy-not-public"}
    assert set(public) == {"open"} and "decided with stand-ins" in public["open"]
    assert "aws:index/getAvailabilityZones:getAvailabilityZones" in "".join(found.notes)


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        ("import nowhere", ReviewError, ("__main__.py:1", "No module named 'nowhere'", "venv: pip install nowhere")),
        ("def f(:", ReviewError, ("SyntaxError",)),
        ("import sys\nsys.exit(3)", ReviewError, ("__main__.py:2", "SystemExit: 3")),
        ("import os\nos._exit(4)", ReviewError, ("ended with code 4",)),
        (
            "import pulumi\nc = pulumi.Config()\nc.require('b')\nc.require_int('d')\nraise ValueError('x')",
            UsageError,
            ("a:b, a:d", "ended at", "__main__.py:5"),
        ),
        ("import pulumi\npulumi.log.error('a bad thing')", GroundplanError, ("logged errors: a bad thing",)),
        (
            "import socket\nsocket.create_connection(('api.example.com', 443))",
            ReviewError,
            ("__main__.py:2", "requested api.example.com:443"),
        ),
        ("import time\nwhile True:\n    time.sleep(1)", ReviewError, ("__main__.py:3", "has not ended")),
        (
            "import pulumi_aws as aws\naws.sns.Topic('t')\naws.sns.Topic('t')",
            GroundplanError,
            ("urn:pulumi:dev::a::aws:sns/topic:Topic::t", "both named 't'"),
        ),
    ],
    ids=["package", "syntax", "exit", "killed", "configuration", "log", "network", "endless", "twice"],
)
def test_what_goes_wrong_there_is_told_as_elsewhere(
    reviewing: Reviewing, code: str, error: type[Exception], said: tuple[str, ...]
) -> None:
    with pytest.raises(error) as raised:
        reviewing(code, limit_s=5 if "time" in code else 120)
    assert all(part in str(raised.value) for part in said), str(raised.value)


def test_an_environment_without_pulumi_is_not_used(tmp_path: Path) -> None:
    environment(tmp_path / "venv", sdk=False)
    (tmp_path / "Pulumi.yaml").write_text("name: a\nruntime: {name: python, options: {virtualenv: venv}}\n")
    (tmp_path / "__main__.py").write_text("import pulumi_aws as aws\naws.sns.Topic('t')\n")
    found = review(tmp_path, "dev")
    assert [resource.name for resource in found.resources] == ["t"]
    assert f"no Pulumi SDK in {tmp_path / 'venv'}: reviewed with groundplan's packages" in found.notes


@pytest.mark.parametrize("name", ["guest", "offline"])
def test_what_runs_there_needs_no_newer_python_and_none_of_our_packages(name: str) -> None:
    tree = ast.parse((ROOT / f"groundplan/engine/{name}.py").read_text(encoding="utf-8"), feature_version=(3, 8))
    at_the_top = {
        module.partition(".")[0]
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for module in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [item.name for item in node.names])
    }
    assert at_the_top <= sys.stdlib_module_names
