"""The container image: what goes into it is enough to run, its name follows its content, and a deployment waits for
its build.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from pulumi.dynamic.dynamic import serialize_provider

from components.models.built_image import Builder
from groundplan.local.services import free_port
from infra.build.image import DOCKERFILE, FOLDER, image_files, image_tag
from spec.steps import STEPS
from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # starts a server

URI = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/groundplan-prod-platform:abc"
PROPS = {"region": "eu-central-1", "project": "groundplan-prod-image", "uri": URI}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as in the image, and nothing else."""
    folder = tmp_path_factory.mktemp("image")
    for name, file in image_files(ROOT).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / name)
    return folder


def inside(image: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(image),
        "PYTHONPATH": str(image),
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }


def test_the_server_starts_from_what_is_in_the_image(image: Path) -> None:
    port = free_port()
    # As SageMaker does: the entry point with the argument `serve`.
    environment = inside(
        image, SAGEMAKER_BIND_TO_PORT=str(port), GROUNDPLAN_HOST="127.0.0.1", SM_MODEL_DIR=str(image / "none")
    )
    server = subprocess.Popen([sys.executable, "-m", "pipelines.serving", "serve"], cwd=image, env=environment)
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as answer:
                    assert answer.status == 200
                break
            except OSError:
                assert server.poll() is None, "the server ended"
                time.sleep(0.1)
        else:
            pytest.fail("the server does not answer")
    finally:
        server.terminate()
        server.wait(10)


def test_every_step_can_be_imported_in_the_image(image: Path) -> None:
    modules = [step.module for step in STEPS]
    code = f"import importlib, pathlib\nfor name in {modules}: print(importlib.import_module(name).__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=image, env=inside(image), capture_output=True, text=True, check=True
    )
    assert all(line.startswith(str(image)) for line in done.stdout.splitlines()) and len(
        done.stdout.splitlines()
    ) == len(modules)


def test_the_image_holds_no_state_and_nothing_that_only_development_needs() -> None:
    files = set(image_files(ROOT))
    assert {
        "requirements.lock",
        "pipelines/image.toml",
        DOCKERFILE,
        "spec/outputs.py",
        "models/diabetes-rf/experiment.py",
    } <= files
    assert not [
        name
        for name in files
        if name.startswith(("tests", "stacks", ".", "bench", "groundplan", "infra", "README", "docs"))
        or "__pycache__" in name
    ]
    assert f"WORKDIR {FOLDER}\n" in (ROOT / DOCKERFILE).read_text(encoding="utf-8")


def test_the_tag_follows_the_content_and_nothing_else(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text("x = 1\n")
    one, two = ({"a.py": str(tmp_path / folder / "a.py")} for folder in ("one", "two"))
    assert image_tag(one) == image_tag(two), "another place is no other image"
    (tmp_path / "two" / "a.py").write_text("x = 2\n")
    assert len({image_tag(one), image_tag(two), image_tag({"b.py": one["a.py"]})}) == 3


@pytest.fixture
def account() -> Iterator[Any]:
    with mock_aws():
        boto3.client("ecr", region_name="eu-central-1").create_repository(repositoryName="groundplan-prod-platform")
        codebuild = boto3.client("codebuild", region_name="eu-central-1")
        codebuild.create_project(
            name=PROPS["project"],
            source={"type": "S3", "location": "bucket/key.zip"},
            artifacts={"type": "NO_ARTIFACTS"},
            environment={"type": "LINUX_CONTAINER", "image": "i", "computeType": "BUILD_GENERAL1_MEDIUM"},
            serviceRole="arn:aws:iam::123456789012:role/build",
        )
        yield codebuild


def test_a_deployment_builds_the_image_once(account: Any) -> None:
    assert Builder().create(PROPS).id == URI
    assert len(account.list_builds_for_project(projectName=PROPS["project"])["ids"]) == 1
    manifest = (
        '{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": {"digest":'
        ' "sha256:0", "size": 1}, "layers": []}'
    )
    boto3.client("ecr", region_name="eu-central-1").put_image(
        repositoryName="groundplan-prod-platform", imageManifest=manifest, imageTag="abc"
    )
    Builder().create(PROPS)
    assert len(account.list_builds_for_project(projectName=PROPS["project"])["ids"]) == 1, (
        "the tag is there, and tags can't be moved"
    )


def test_a_failed_build_fails_the_deployment(account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.codebuild.models import CodeBuildBackend

    def failed(_self: Any, ids: list[str]) -> list[dict[str, Any]]:
        return [{"id": ids[0], "buildStatus": "FAILED", "logs": {"deepLink": "https://log"}}]

    monkeypatch.setattr(CodeBuildBackend, "batch_get_builds", failed)
    monkeypatch.setattr("components.models.built_image.POLL_SECONDS", 1)
    with pytest.raises(RuntimeError, match="ended with FAILED; its log: https://log"):
        Builder().create(PROPS)


def test_only_another_image_is_a_change() -> None:
    assert not Builder().diff(URI, PROPS, {**PROPS, "project": "other"}).changes
    changed = Builder().diff(URI, PROPS, {**PROPS, "uri": URI + "d"})
    assert changed.changes and changed.replaces == ["uri"] and not changed.delete_before_replace


def test_the_engines_provider_process_can_load_the_builder(tmp_path: Path) -> None:
    (tmp_path / "provider").write_text(serialize_provider(Builder()))  # type: ignore[arg-type]
    code = (
        "import base64, dill, pathlib, sys;"
        " print(dill.loads(base64.b64decode(pathlib.Path(sys.argv[1]).read_text())).create.__qualname__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "provider"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "Builder.create"
