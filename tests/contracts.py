"""Contracts for tests: small ones, and modified real ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from spec.contracts import Contract, load_contracts, parse_contracts

Change = Callable[[dict[str, Any]], Any]


def contract_of(document: dict[str, Any], where: str = "contract.yaml") -> Contract:
    """The single object of a contract given as data."""
    (found,) = parse_contracts(yaml.safe_dump(document, sort_keys=False), where)
    return found


def load_one(path: Path) -> Contract:
    """The single object of a contract's file."""
    (found,) = load_contracts(path)
    return found


def small(*properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A contract ``c`` of some properties."""
    return {
        "apiVersion": "v3.1.0", "kind": "DataContract", "id": "c", "name": "c", "version": "1.0.0", "status": "active",
        "schema": [{"name": "c", "physicalName": "c", "properties": list(properties)}], **more,
    }  # fmt: skip


def bent(file: Path, *changes: Change) -> Contract:
    """A contract's file with changes."""
    return contract_of(bent_document(file, *changes))


def bent_document(file: Path, *changes: Change) -> dict[str, Any]:
    """The same as data."""
    document: dict[str, Any] = copy.deepcopy(yaml.safe_load(file.read_text(encoding="utf-8")))
    for change in changes:
        change(document)
    return document


def field(called: str, /, **values: Any) -> Change:
    """A property with other values; None removes one."""

    def change(document: dict[str, Any]) -> None:
        item = next(item for item in document["schema"][0]["properties"] if item["name"] == called)
        item.update(values)
        for key in [key for key, value in values.items() if value is None]:
            del item[key]

    return change
