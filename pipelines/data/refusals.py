"""Why events violate their contract, in words for their senders."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from pipelines.privacy.redacting import redacted
from spec.contracts import Contract, Field

MOST_SHOWN = 40  # characters of a value that a refusal shows
_CALLED = {
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "str": "a text",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
    "datetime": "a time",
}


@dataclass(frozen=True)
class Refused:
    """An event that violates the contract.

    Attributes:
        index: Its place in the batch.
        reason: ``not JSON``, ``unknown field``, ``missing field``, ``wrong type``, ``out of bounds``, or ``in the
            future``.
        detail: What is wrong with it, in one sentence.
    """

    index: int
    reason: str
    detail: str


def shown(item: Field, value: Any) -> str:
    """A value as text; for a personal value only that it exists."""
    if item.personal:
        return "a value that is not shown here"
    text = redacted(
        value.isoformat()
        if isinstance(value, datetime | date)
        else repr(value)
        if isinstance(value, str)
        else str(value)
    )
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def why(said: str, body: bytes, contract: Contract) -> tuple[str, str]:
    """Reason and detail of an event that msgspec refuses, in our words.

    Args:
        said: Msgspec's message (https://jcristharif.com/msgspec/).
    """
    place = match[1] if (match := re.search(r"at `\$\.?(.*)`$", said)) else ""
    path = re.sub(r"\[(\d+|\.\.\.)\]", "[]", place)
    if match := re.search(r"contains unknown field `(.*?)`(?: - |$)", said):
        parent = _at(contract, path)
        if parent is not None and any(leaf.personal for _, leaf in parent.leaves()):
            return "unknown field", f"{path} has a field that is not in the contract"
        return "unknown field", f"{f'{path}.' if path else ''}{redacted(match[1])} is not in the contract"
    if match := re.search(r"missing required field `(.*?)`(?: - |$)", said):
        return "missing field", f"{f'{path}.' if path else ''}{match[1]} is missing"
    item = _at(contract, path)
    if match := re.search(r"Expected `(.*?)`, got `(\w+)`", said):
        if not path:
            return "not JSON", f"it is {_CALLED.get(match[2], match[2])}, not a JSON object"
        wanted = " or ".join(
            _CALLED.get(part.strip(), part.strip()) for part in match[1].split("|") if part.strip() != "null"
        )
        return ("missing field", f"{path} is null, but the contract requires it") if match[2] == "null" else (
            "wrong type", f"{path} must be {wanted}, but is {_CALLED.get(match[2], match[2])}{_found(item, body, path)}"
        )  # fmt: skip
    if match := re.search(r"Expected `(\w+)` (of length )?(<=|>=|<|>) ([-\d.e+]+)", said):
        sides = {"<=": "at most", ">=": "at least", "<": "below", ">": "above"}
        limit = match[4].removesuffix(".0")
        what = (
            f"has a length that must be {sides[match[3]]} {limit}" if match[2] else f"must be {sides[match[3]]} {limit}"
        )
        return "out of bounds", f"{path} {what}{_found(item, body, path)}"
    if match := re.search(r"that's a multiple of ([-\d.e+]+)", said):
        return "out of bounds", f"{path} must be a multiple of {match[1]}{_found(item, body, path)}"
    if "out of range" in said:
        return "out of bounds", f"{path} is a number that does not fit in 64 bits"
    if "Invalid decimal" in said:
        return "wrong type", f"{path} must be a number{_found(item, body, path)}"
    if "surrogate" in said:
        return "not JSON", "it contains half a character (a lone surrogate)"
    if "truncated" in said:
        return "not JSON", "it ends in the middle"
    if match := re.search(r"\((?:char|byte) (\d+)\)", said):
        return "not JSON", f"it is not JSON from byte {int(match[1]) + 1} on"
    return "not JSON", "it is not UTF-8" if "UTF-8" in said or "utf-8" in said else "it is not JSON"


def _at(contract: Contract, path: str) -> Field | None:
    """The field of a path."""
    fields: tuple[Field, ...] = contract.fields
    item: Field | None = None
    left = path
    while left:
        longest_first = sorted(fields, key=lambda one: -len(one.name))
        item = next(
            (one for one in longest_first if left == one.name or left.startswith((f"{one.name}.", f"{one.name}["))),
            None,
        )
        if item is None:
            return None
        left = left[len(item.name) :]
        while left.startswith("[]") and item.item is not None:
            item, left = item.item, left[2:]
        left, fields = left.removeprefix("."), item.fields
    return item


def _found(item: Field | None, body: bytes, path: str) -> str:
    """The given value, where it may be shown and is easily found."""
    import msgspec

    if item is None or item.personal or "[]" in path:
        return ""
    try:
        value = msgspec.json.decode(body)
        for part in [path] if isinstance(value, dict) and path in value else path.split("."):
            value = value[part]
    except (msgspec.DecodeError, KeyError, TypeError, UnicodeDecodeError, RecursionError):
        return ""
    return f" ({shown(item, value)})" if not isinstance(value, dict | list) else ""
