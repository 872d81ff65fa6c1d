"""What AWS reports about a resource, in the form in which it was requested.

The inverse of ``shapes.to_request``. It is guided by the given inputs: AWS fills in defaults and uses its own spelling,
and neither is a change.
"""

from __future__ import annotations

import collections.abc
import json
import typing
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi import _types

from groundplan.local.moto.shapes import spellings

_ABSENT = object()


def as_inputs(
    given: Mapping[str, Any], found: Mapping[str, Any], rename: Mapping[str, str | None] | None = None
) -> dict[str, Any]:
    """Inputs as they are now.

    Args:
        given: Inputs as they were given, in Pulumi's spelling.
        found: What AWS reports, in AWS's spelling.
        rename: Pulumi's name -> AWS's, where they differ in more than spelling.

    Returns:
        ``given``, except for values that differ in AWS.
    """
    members = {name.lower(): name for name in found}
    actual: dict[str, Any] = {}
    for key, value in given.items():
        name = _member(members, key, rename or {})
        actual[key] = value if name is None else _told(value, found[name])
    return actual


def of_type(
    hints: Mapping[str, Any], found: Mapping[str, Any], rename: Mapping[str, str | None] | None = None
) -> dict[str, Any]:
    """Inputs of a resource for which none were given: everything of its type that AWS reports.

    Args:
        hints: Python type of each input, by Pulumi's name.
        found, rename: As in ``as_inputs``.
    """
    members = {name.lower(): name for name in found}
    told = {
        key: _typed(hint, found[name]) for key, hint in hints.items() if (name := _member(members, key, rename or {}))
    }
    return {key: value for key, value in told.items() if value not in (None, "", [], {})}


def _member(members: Mapping[str, str], key: str, rename: Mapping[str, str | None]) -> str | None:
    """AWS's name of an input in its responses."""
    # A name that only requests a change (`GroupName`) is returned under the plain one.
    names = [spelled for part in (rename.get(key, key), key) if part for spelled in spellings(part.rpartition(".")[2])]
    return next((members[spelled] for spelled in names if spelled in members), None)


def _typed(hint: Any, found: Any) -> Any:
    """A value in the form of its type; None where AWS's form has no counterpart in it."""
    for kind in _alternatives(hint):
        arguments, origin = typing.get_args(kind), typing.get_origin(kind)
        if origin is collections.abc.Sequence:
            items = [_typed(arguments[0], item) for item in (found if isinstance(found, list) else [found])]
            value: Any = None if None in items else items
        elif origin is collections.abc.Mapping:
            value = as_map(found) if isinstance(found, list) else found if isinstance(found, Mapping) else None
        elif kind is str:
            value = (
                json.dumps(found, sort_keys=True)
                if isinstance(found, Mapping)
                else None
                if isinstance(found, list)
                else str(found)
            )
        elif kind is bool:
            value = found if isinstance(found, bool) else {"true": True, "false": False}.get(str(found).lower())
        elif kind in (int, float):
            value = _number(found)
        else:
            value = (
                of_type(_types.input_type_types(kind), found)
                if _types.is_input_type(kind) and isinstance(found, Mapping)
                else None
            )
        if value is not None:
            return value
    return None


def _alternatives(hint: Any) -> list[Any]:
    """A value with its outputs resolved: it is known."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) is typing.Union else (hint,)
    return [
        kind
        for kind in kinds
        if typing.get_origin(kind) not in (collections.abc.Awaitable, pulumi.Output) and kind is not type(None)
    ]


def _number(found: Any) -> int | float | None:
    try:
        number = float(found)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() else number


def _told(given: Any, found: Any) -> Any:
    if found is None or given is None:
        return given
    if isinstance(given, bool):
        return found if isinstance(found, bool) else given
    if isinstance(given, (int, float)):
        return found if isinstance(found, (int, float)) and not isinstance(found, bool) and found != given else given
    if isinstance(given, str):
        return _text(given, found)
    if isinstance(given, Mapping):
        if isinstance(found, list):
            found = as_map(found)
        return as_inputs(given, found) if isinstance(found, Mapping) else given
    if isinstance(given, list):
        return _listed(given, found)
    return given


def _text(given: str, found: Any) -> Any:
    if isinstance(found, Mapping) and given and given in found.values():  # `{"PermissionsBoundaryArn": ...}`
        return given
    if isinstance(found, Mapping) or (isinstance(found, str) and found != given):
        try:
            if json.loads(given) == (found if isinstance(found, Mapping) else json.loads(found)):
                return given
        except ValueError:
            pass
        return json.dumps(found, sort_keys=True) if isinstance(found, Mapping) else found
    if isinstance(found, bool):
        return given if given.lower() == str(found).lower() else str(found).lower()
    if isinstance(found, (int, float)):
        try:
            return given if float(given) == float(found) else f"{found:g}"
        except ValueError:
            return given
    return given


def _listed(given: list[Any], found: Any) -> Any:
    if isinstance(found, Mapping):
        return [as_inputs(given[0], found)] if len(given) == 1 and isinstance(given[0], Mapping) else given
    if not isinstance(found, list):
        return given
    if all(not isinstance(item, (Mapping, list)) for item in [*given, *found]):
        return given if sorted(map(str, given)) == sorted(map(str, found)) else found
    if len(given) == len(found) and all(isinstance(item, Mapping) for item in [*given, *found]):
        return [as_inputs(one, other) for one, other in zip(given, found, strict=True)]
    return given


def as_map(found: list[Any]) -> dict[str, Any] | None:
    """AWS's list of pairs as a map; None where it is not one."""
    for key, value in (
        ("Key", "Value"),
        ("key", "value"),
        ("TagKey", "TagValue"),
        ("Name", "Value"),
        ("name", "value"),
    ):
        if found and all(isinstance(item, Mapping) and key in item for item in found):
            return {item[key]: item.get(value) for item in found}
    return {} if not found else None
