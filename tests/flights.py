"""The flights example on its sample of real data: four days of February 2013, with their weather and planes."""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from types import ModuleType
from typing import Any
from unittest import mock

import orjson

from spec.contracts import Contract
from tests.conftest import ROOT
from tests.contracts import Change, bent, load_one

FOLDER = ROOT / "models" / "flights-late"
IMPOSSIBLE_WIND = "EWR-2013-02-12T08"  # an hour of the real data that reports 1,048 miles an hour


def contract(name: str) -> Contract:
    return load_one(FOLDER / "contracts" / f"{name}.yaml")


def bent_contract(name: str, *changes: Change) -> Contract:
    return bent(FOLDER / "contracts" / f"{name}.yaml", *changes)


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"flights_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@cache
def events(topic: str) -> tuple[dict[str, Any], ...]:
    with mock.patch.dict(os.environ, {"GROUNDPLAN_FLIGHTS_SAMPLE": "1"}):
        return tuple(module("source").events(topic))


@cache
def payloads(topic: str) -> tuple[bytes, ...]:
    return tuple(orjson.dumps(event) for event in events(topic))
