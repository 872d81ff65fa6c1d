"""Shared by all tests: a stack file to bend, and frames to train on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture
def stack_config() -> dict[str, Any]:
    """The local stack's configuration, to be changed at will."""
    document = yaml.safe_load((ROOT / "stacks" / "Pulumi.local.yaml").read_text(encoding="utf-8"))
    return copy.deepcopy(document["config"])


def set_path(document: dict[str, Any], path: str, value: Any) -> None:
    """Set (or with ``...`` remove) the value at a dotted path."""
    *parents, last = path.split(".")
    for key in parents:
        document = document[key]
    if value is ...:
        del document[last]
    else:
        document[last] = value
