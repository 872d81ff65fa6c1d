"""The Open Data Contract Standard itself: which version a contract names, and whether it is valid in that version's
own JSON Schema.

https://bitol-io.github.io/open-data-contract-standard/
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from copy import deepcopy
from functools import cache
from pathlib import Path as File
from typing import Any

from spec.contracts.document import Document, Fault, Path
from spec.contracts.rules import COMPARISONS

VERSIONS = ("v3.0.0", "v3.0.1", "v3.0.2", "v3.1.0", "v3.2.0")
NEWEST = VERSIONS[-1]
MOST_SHOWN, MOST_FORM = 12, 30
_SITE = "https://bitol-io.github.io/open-data-contract-standard/"
_KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def check(document: Document) -> tuple[list[Fault], list[Fault]]:
    """Faults, and notes.

    A contract that is invalid in the version it names but valid in a newer one is treated as the newer one: many name
    an old version and use later features, including the standard's own examples. A note reports it.
    """
    data = document.data
    if fault := _another_format(document, data):
        return [fault], []
    version = data["apiVersion"]
    faults = _faults(document, data, version)
    if not faults or any(not fault.place for fault in faults):  # something that every contract needs is missing
        return faults, []
    for newer in VERSIONS[VERSIONS.index(version) + 1 :]:
        left = _faults(document, data, newer)
        if not left:
            first = min(faults)
            return [], [
                document.fault(
                    ("apiVersion",),
                    f"{version} does not have everything that is used here ({first.place}: {first.says})",
                    f"write {newer}",
                )
            ]
        faults = min(faults, left, key=len)  # the faults are what no version allows
    return faults, []


def _another_format(document: Document, data: dict[str, Any]) -> Fault | None:
    """A file that is not a contract of version 3 at all gets one sentence."""
    version = data.get("apiVersion")
    if "dataContractSpecification" in data:
        says = "is in another format (datacontract.com), not in the Open Data Contract Standard"
        return document.fault(
            ("dataContractSpecification",), says, f"`groundplan contract import {document.file}` converts it"
        )
    if isinstance(version, str) and re.match(r"v?2\.", version):
        says = (
            f"{version} of the standard has other sections than version 3 (`dataset` became `schema`, `columns` became"
            " `properties`)"
        )
        return document.fault(("apiVersion",), says, f"move it to version 3: {_SITE}")
    if version is None:
        return document.fault(
            ("apiVersion",),
            "apiVersion is missing: which version of the standard is it?",
            f"add `apiVersion: {NEWEST}`",
        )
    if version not in VERSIONS:
        near = f"v{version}" if f"v{version}" in VERSIONS else NEWEST
        return document.fault(
            ("apiVersion",),
            f"{version!r} is not a known version of the standard ({', '.join(VERSIONS)})",
            f"write {near}",
        )
    return None


@cache
def _schema(version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((File(__file__).parent / "odcs" / f"{version}.json").read_text(encoding="utf-8"))
    return found


@cache
def _validator(version: str) -> Any:
    import jsonschema_rs

    return jsonschema_rs.validator_for(_schema(version))


@cache
def names(version: str) -> frozenset[str]:
    """Every key that a version of the standard has anywhere."""

    def below(part: Any) -> Iterable[str]:
        if isinstance(part, dict):
            yield from part.get("properties", {}) if isinstance(part.get("properties"), dict) else ()
            for item in part.values():
                yield from below(item)
        elif isinstance(part, list):
            for item in part:
                yield from below(item)

    return frozenset(below(_schema(version)))


def _faults(document: Document, data: dict[str, Any], version: str) -> list[Fault]:
    says = {
        (path, _unknown(str(path[-1]), version) if name == _ODD else _said(name, what, value))
        for path, name, what, value in _errors(data, version)
    }
    return sorted(document.fault(path, *said) for path, said in says)


_ODD = "unknown key"


def _errors(data: dict[str, Any], version: str) -> list[tuple[Path, str, dict[str, Any], Any]]:
    """Where a contract violates a version of the standard, by which keyword of JSON Schema, and the value there."""
    errors = [
        (tuple(error.instance_path), error.kind.name, error.kind.as_dict(), error.instance)
        for error in _validator(version).iter_errors(data)
    ]
    # Where one part of a level is invalid, the schema also reports its valid neighbours as unknown: only keys that the
    # standard has nowhere really are.
    told = [path for path, name, _, _ in errors if name not in ("unevaluatedProperties", "additionalProperties")]
    found: list[tuple[Path, str, dict[str, Any], Any]] = []
    for path, name, what, value in errors:
        if "unexpected" in what:
            follows = name == "unevaluatedProperties" and any(other[: len(path)] == path for other in told)
            found += [
                ((*path, key), _ODD, {}, None) for key in what["unexpected"] if not (follows and key in names(version))
            ]
        else:
            found.append((path, name, what, value))
    return found


# Placeholders for parts that every contract has.
_NEEDED = {"apiVersion": NEWEST, "kind": "DataContract", "id": "_", "version": "1.0.0", "status": "active"}


def without_faults(document: Document) -> tuple[dict[str, Any], frozenset[str]] | None:
    """The contract without what violates the standard, so that the rest can be checked, too.

    Returns:
        Its data, with every part at its place, and the names of the fields that have lost something; None where too
        much is wrong.
    """
    version = document.data.get("apiVersion")
    if version not in VERSIONS:
        return None
    data, lost = deepcopy(document.data), set[str]()
    for path, name, what, _ in _errors(data, version):
        try:
            _mend(data, (*path, what["property"]) if name == "required" else path, lost)
        except (KeyError, IndexError, TypeError, AttributeError):
            continue  # already removed, together with what was around it
    holds = any(_validator(newer).is_valid(data) for newer in VERSIONS[VERSIONS.index(version) :])
    return (data, frozenset(lost)) if holds else None


def _mend(data: dict[str, Any], path: Path, lost: set[str]) -> None:
    """Replaces the part around a path with something harmless."""
    match path:
        case ("schema", int(place), "properties", int(at), *_) if isinstance(
            field := data["schema"][place]["properties"][at], dict
        ):
            called = {key: str(field[key]) for key in ("name", "physicalName") if key in field}
            data["schema"][place]["properties"][at] = {"name": "_", **called}
            lost |= set(called.values())
        case ("schema", int(place), "name"):
            data["schema"][place]["name"] = "_"
        case ("schema", int(place), str(key), *_):
            data["schema"][place].pop(key, None)
        case ("customProperties", int(place), *_):
            data["customProperties"][place] = {"property": "_", "value": "_"}
        case (str(key), *_):
            data.pop(key, None)
            data |= {key: _NEEDED[key]} if key in _NEEDED else {}


def _unknown(key: str, version: str) -> tuple[str, str]:
    near = difflib.get_close_matches(key, sorted(names(version)), 1, 0.75)
    if key in names(version):
        return (
            f"the standard ({version}) has no {key!r} here",
            "it belongs in another section, or to another type",
        )
    if newer := next((item for item in VERSIONS if key in names(item)), ""):
        return f"the standard has {key!r} only in {newer}", f"write `apiVersion: {newer}`" if newer > version else ""
    return f"the standard has no {key!r}", (
        f"did you mean {near[0]}?" if near else "put your own keys under `customProperties`"
    )


def _said(name: str, what: dict[str, Any], value: Any) -> tuple[str, str]:
    """A fault in plain words, and what to do."""
    shown = _shown(value)
    if name == "required":
        return (
            f"`{what['property']}` is missing",
            f"add it{'; for example `status: active`' if what['property'] == 'status' else ''}",
        )
    if name == "type":
        quotes = what["types"] == ["string"] and isinstance(value, int | float)
        return f"must be {' or '.join(_KINDS.get(kind, kind) for kind in what['types'])}, but is {shown}", (
            "put it in quotes" if quotes else ""
        )
    if name in ("enum", "constant"):
        options = [str(item) for item in what.get("options", [what.get("expected_value")])]
        near = difflib.get_close_matches(str(value), options, 1, 0.6)
        listed = ", ".join(options[:MOST_SHOWN]) + (" and others" if options[MOST_SHOWN:] else "")
        return f"{shown} is not one of {listed}", f"did you mean {near[0]}?" if near else ""
    if name in ("oneOf", "anyOf") or name.startswith("oneOf"):
        return _choice(what, value)
    if name == "pattern":
        form = what["pattern"] if len(what["pattern"]) < MOST_FORM else "that the standard requires here"
        return f"{shown} does not have the form {form}", (
            "for example orders.customer_id" if "[A-Za-z_]" in what["pattern"] else ""
        )
    limits = {
        "minItems": "at least",
        "maxItems": "at most",
        "minLength": "at least",
        "maxLength": "at most",
        "minimum": "at least",
        "maximum": "at most",
    }
    if name in limits:
        return f"{shown} is out of bounds: {limits[name]} {what.get('limit')}", ""
    return f"{shown} is not what the standard allows here", ""


def _choice(what: dict[str, Any], value: Any) -> tuple[str, str]:
    context = [error for branch in what.get("context", []) for error in branch]
    if isinstance(value, dict) and ("metric" in value or "query" in value or "rule" in value):
        there = [key for key in COMPARISONS if key in value]
        if len(there) == 1:
            return f"{there[0]} is {_shown(value[there[0]])}", (
                "give two numbers, the smaller first" if there[0].endswith("Between") else "give a number"
            )
        return (
            f"has {' and '.join(there)} together" if there else "has no comparison"
        ), f"give one of {', '.join(COMPARISONS)}"
    said = list(dict.fromkeys(_said(error.kind.name, error.kind.as_dict(), error.instance)[0] for error in context))
    return ("; or ".join(said[:3]) or f"{_shown(value)} is not what the standard allows here"), ""


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return (
        text
        if len(text) <= 60
        else ("a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else f"{text[:57]}...")
    )
