"""What a scientist's space runs when it starts, in a real shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.operations.workspace import first_steps

TRACKING, OUTPUTS = "http://mlflow.internal:5000", "s3://groundplan-prod-curated-1/platform/outputs.json"


def started(home: Path, script: str, times: int = 1) -> None:
    for _ in range(times):
        subprocess.run(
            ["bash", "-s"], input=script, env={"HOME": str(home), "PATH": os.environ["PATH"]}, text=True, check=True
        )


def in_shell(home: Path, name: str, **env: str) -> str:
    command = f'. "$HOME/.bashrc"; printf %s "${name}"'
    done = subprocess.run(
        ["bash", "-c", command], env={"HOME": str(home), **env}, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_terminals_and_kernels_find_the_platform(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("alias ll='ls -l'\n")
    started(tmp_path, first_steps(TRACKING, OUTPUTS, "eu-central-1"), times=3)
    assert in_shell(tmp_path, "MLFLOW_TRACKING_URI") == TRACKING
    assert in_shell(tmp_path, "GROUNDPLAN_OUTPUTS") == OUTPUTS
    assert (tmp_path / ".bashrc").read_text().count("groundplan") == 1, "a space is started again and again"
    settings = next((tmp_path / ".ipython" / "profile_default" / "startup").iterdir())
    done = subprocess.run(
        [sys.executable, "-c", f"exec(open({str(settings)!r}).read()); print(os.environ['AWS_DEFAULT_REGION'])"],
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "eu-central-1"


@pytest.mark.parametrize("before", ["export FOO=1", "# I removed .groundplan.sh\nexport FOO=1\n", "export FOO=1\n\n"])
def test_a_file_of_the_scientist_s_own_stays_as_it_is(tmp_path: Path, before: str) -> None:
    (tmp_path / ".bashrc").write_text(before)
    started(tmp_path, first_steps(TRACKING, OUTPUTS, "eu-central-1"), times=2)
    assert (tmp_path / ".bashrc").read_text().startswith(before)
    assert in_shell(tmp_path, "FOO") == "1" and in_shell(tmp_path, "MLFLOW_TRACKING_URI") == TRACKING


@pytest.mark.parametrize(
    "value", ['http://a"b', "http://it's", "http://a$(touch pwned)b", "http://x`id`", "http://a\\nb"]
)
def test_a_value_is_taken_literally(tmp_path: Path, value: str) -> None:
    started(tmp_path, first_steps(value, OUTPUTS, "eu-central-1"))
    assert in_shell(tmp_path, "MLFLOW_TRACKING_URI") == value


def test_what_a_scientist_has_set_is_kept(tmp_path: Path) -> None:
    started(tmp_path, first_steps(TRACKING, OUTPUTS, "eu-central-1"))
    assert in_shell(tmp_path, "MLFLOW_TRACKING_URI", MLFLOW_TRACKING_URI="http://mine") == "http://mine"


def test_an_address_that_is_not_known_is_not_set(tmp_path: Path) -> None:
    started(tmp_path, first_steps("", OUTPUTS, "eu-central-1"))
    assert in_shell(tmp_path, "MLFLOW_TRACKING_URI") == ""


@pytest.mark.parametrize("region", ["eu-central-1", "us-gov-west-1"])
def test_it_fits_what_sagemaker_accepts(region: str) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateStudioLifecycleConfig.html"""
    import base64

    assert len(base64.b64encode(first_steps(TRACKING, OUTPUTS, region).encode())) <= 16_384
