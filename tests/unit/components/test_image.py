"""The image's build, as far as it can be read without one: its specification, its commands, its bill of materials."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from groundplan.engine.preview import preview
from spec.objectives import stack_names
from tests.conftest import ROOT

# https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html#build-spec-ref-syntax
TOP = {"version", "run-as", "env", "proxy", "batch", "phases", "reports", "artifacts", "cache"}
PHASES = {"install", "pre_build", "build", "post_build"}
OF_A_PHASE = {"run-as", "on-failure", "commands", "finally"}
GIVEN_BY_CODEBUILD = {"CODEBUILD_BUILD_SUCCEEDING"}


@cache
def projects() -> list[Any]:
    found = []
    for stack in stack_names(ROOT):
        found += [(stack, item.inputs) for item in preview(ROOT, stack) if item.type.endswith(":Project")]
    return [(stack, inputs) for stack, inputs in found if (inputs.get("source") or {}).get("buildspec")]


def test_every_build_specification_is_one_that_codebuild_reads() -> None:
    found = projects()
    assert {stack for stack, _ in found} == set(stack_names(ROOT))
    for stack, inputs in found:
        spec = json.loads(inputs["source"]["buildspec"])
        assert str(spec["version"]) == "0.2" and spec.keys() <= TOP, stack
        assert spec["phases"] and spec["phases"].keys() <= PHASES
        given = {each["name"] for each in inputs["environment"]["environmentVariables"]} | GIVEN_BY_CODEBUILD
        for name, phase in spec["phases"].items():
            assert phase.keys() <= OF_A_PHASE | ({"runtime-versions"} if name == "install" else set())
            assert phase["commands"] and all(isinstance(command, str) for command in phase["commands"])
        commands = [command for phase in spec["phases"].values() for command in phase["commands"]]
        # One instance of the shell runs them all (version 0.2), so what one sets, later ones read.
        script = "\n".join(commands)
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        needs = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", script)) - set(re.findall(r"(?m)^([A-Z_]+)=", script))
        assert needs <= given, f"{stack}: {needs - given}"


def test_what_is_signed_is_a_digest_and_so_is_what_is_attested() -> None:
    _, inputs = projects()[0]
    commands = json.loads(inputs["source"]["buildspec"])["phases"]["post_build"]["commands"]
    cosign = [command for command in commands if "cosign" in command]
    assert ["sign" in cosign[0], "attest" in cosign[1]] == [True, True] and len(cosign) == 2
    assert all(command.endswith('"$IMAGE_DIGEST"') and '--key "$SIGNING_KEY"' in command for command in cosign)
    assert commands[0].startswith("test") and commands.index(cosign[0]) > commands.index('docker push "$IMAGE_URI"')


@pytest.mark.drill  # it reads every installed package
def test_the_image_s_command_for_its_bill_of_materials_works(tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    line = next(
        line
        for line in (ROOT / "pipelines" / "Dockerfile").read_text(encoding="utf-8").splitlines()
        if "cyclonedx-py" in line
    )
    command = line.removeprefix("RUN ").split()
    done = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "sbom.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found = {component["name"]: component for component in json.loads(text)["components"]}
    assert {"numpy", "onnxruntime", "mlflow"} <= found.keys() and found["mlflow"]["licenses"]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert re.search(r"(?m)^cyclonedx-bom==", lock), "the image has the tool, and every hash of it"
