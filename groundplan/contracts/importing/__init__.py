"""``groundplan contract import``: a first contract from data, a schema, a topic, or a contract of another format.

The result is a draft for a person to finish: what a sample shows is not what its owner promises.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from groundplan.contracts.importing import schemas, tables
from spec.contracts.document import Document, NotReadableError
from spec.errors import UsageError

MOST_EVENTS = 10_000  # of a sample
VERSION = "v3.1.0"  # of the standard that is written
DATA = {".csv": "CSV", ".tsv": "CSV", ".parquet": "Parquet", ".jsonl": "JSON lines", ".ndjson": "JSON lines"}


def contract_from(path: Path, name: str = "") -> dict[str, Any]:
    """A contract of a file: CSV, Parquet, JSON lines, an Avro schema, a JSON Schema, or a contract of datacontract.com.

    Raises:
        UsageError: It is none of these, or can't be read.
    """
    try:
        return _contract_from(path, name)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        raise UsageError(
            "begins like a schema, but is not valid in that schema's own standard",
            where=str(path),
            fix="validate it with that standard's own tools first",
        ) from None


def _contract_from(path: Path, name: str) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError("no such file", where=str(path))
    name = name or re.sub(r"[^a-z0-9]+", "_", path.name.split(".")[0].lower()).strip("_") or "events"
    if path.suffix.lower() in DATA:
        return contract(name, tables.properties_of_file(path, DATA[path.suffix.lower()]))
    document = _document(path)
    if document is None:
        return contract(name, tables.properties_of_file(path, "JSON lines"))
    if "dataContractSpecification" in document:
        return schemas.of_specification(document, contract)
    if document.get("type") == "record" and "fields" in document:
        return contract(
            _slug(str(document["name"])),
            schemas.of_avro(document["fields"]),
            title=str(document["name"]),
            says=str(document.get("doc", "")),
        )
    if {"properties", "allOf", "$ref"} & document.keys() and document.get("type", "object") == "object":
        return contract(
            name,
            schemas.of_json_schema(document, document),
            title=str(document.get("title", "")),
            says=str(document.get("description", "")),
        )
    if document.get("kind") == "DataContract":
        raise UsageError(
            "is already a data contract of the standard", where=str(path), fix=f"groundplan contract check {path}"
        )
    raise UsageError(
        "is neither data (CSV, Parquet, JSON lines) nor a schema (Avro, JSON Schema, datacontract.com)",
        where=str(path),
        fix="use a file with one of these extensions: .csv, .tsv, .parquet, .jsonl, .ndjson, .avsc, .json, .yaml",
    )


def contract_of_events(name: str, events: list[bytes]) -> dict[str, Any]:
    """A contract of a sample of a topic's events.

    Raises:
        UsageError: They are not JSON objects.
    """
    return contract(_slug(name), tables.properties_of_events(name, events), topic=name)


def contract(
    name: str,
    properties: list[dict[str, Any]],
    *,
    title: str = "",
    says: str = "",
    topic: str = "",
    version: str = "1.0.0",
) -> dict[str, Any]:
    """A contract with one object."""
    return {
        "apiVersion": VERSION,
        "kind": "DataContract",
        "id": name.replace("_", "-"),
        "name": title or name.replace("_", " ").capitalize(),
        "version": version,
        "status": "draft",
        **({"description": {"purpose": says}} if says else {}),
        "schema": [
            {
                "name": name,
                "physicalName": topic or name.replace("_", "-"),
                "physicalType": "topic",
                "properties": properties,
            }
        ],
    }


def as_yaml(document: dict[str, Any]) -> str:
    """The contract's text."""
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=160)
    return text


def _document(path: Path) -> dict[str, Any] | None:
    """A schema's file; None where it is JSON lines."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError("is not UTF-8 text, and its name is not that of a Parquet file", where=str(path)) from None
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and path.suffix == ".json" and all(_is_object(line) for line in lines[:3]):
        return None
    try:
        return Document(str(path), text).data
    except NotReadableError as error:
        raise UsageError(error.fault.says, where=f"{path}:{error.fault.line}", fix=error.fault.fix) from None


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_") or "events"
