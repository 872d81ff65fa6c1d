"""Shared by all tests: a stack file to modify, and frames to train on."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml

# A shell that was pointed at a platform (`groundplan env`), or at an account, must not be affected by the tests.
for name in [
    name for name in os.environ if name.startswith(("AWS_", "MLFLOW_", "KAFKA_", "FEAST_", "SAGEMAKER_", "GROUNDPLAN_"))
]:
    del os.environ[name]
os.environ["GROUNDPLAN_PLANNED"] = "1"  # planned, unfinished objectives must not break either
ROOT = Path(__file__).parent.parent
# A busy machine is no fault of the code.
hypothesis.settings.register_profile("groundplan", deadline=None)
hypothesis.settings.load_profile("groundplan")


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture
def stack_config() -> dict[str, Any]:
    """The local stack's configuration without its front end, for tests to modify."""
    document = yaml.safe_load((ROOT / "stacks" / "Pulumi.local.yaml").read_text(encoding="utf-8"))
    config: dict[str, Any] = copy.deepcopy(document["config"])
    del config["groundplan:objectives"]["front_end"]
    return config


def set_path(document: dict[str, Any], path: str, value: Any) -> None:
    """Set (or with ``...`` remove) the value at a dotted path."""
    *parents, last = path.split(".")
    for key in parents:
        document = document[key]
    if value is ...:
        del document[last]
    else:
        document[last] = value


def everything() -> dict[str, Any]:
    """Stack prod's configuration with every option: a standby region, and every way of serving."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "stacks" / "Pulumi.prod.yaml").read_text(encoding="utf-8"))[
        "config"
    ]
    objectives = config["groundplan:objectives"]
    model = {**objectives["models"]["diabetes-rf"], "traced": 0.05, "most_bias": 0.2}
    account = config["aws:allowedAccountIds"][0]
    connection = f"arn:aws:codeconnections:eu-central-1:{account}:connection/11111111-2222-3333-4444-555555555555"
    objectives |= {"deploys_from": {"repository": "example/platform", "connection": connection}}
    objectives |= {
        "availability": "two-regions",
        "environment": "test",
        "office_hours": {"start": 6, "end": 24, "timezone": "Europe/Berlin"},
    }
    page = {"origin": "https://app.example.com", "models": ["diabetes-rf", "lazy"], "cache_seconds": 60}
    objectives |= {"front_end": page}
    objectives["budget"]["monthly_usd"] = 1e6
    objectives["models"] = {
        "real-time": model,
        "flights-late": model,
        "diabetes-rf": model,
        "gpu": {**model, "gpu": True},
        "batch": {**model, "latency_ms": 4e6, "explanations": False},
        "edge": {**model, "target": "edge", "explanations": False},
        "quick": {**model, "latency_ms": 20},
        "nightly": {**model, "retraining": {"every_hours": 24, "within_minutes": 60, "run_minutes": 1.5, "run_gb": 2}},
        "lazy": {**model, "latency_ms": 5000, "retraining": {"every_hours": 1, "within_minutes": 60}},
    }
    return config
