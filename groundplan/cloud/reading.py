"""What AWS tells of a resource, in the form of what was asked for.

The way back of ``shapes.to_request``. It is led by what was given: AWS fills in defaults and spells in its own way, and neither is a change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from groundplan.cloud.shapes import spellings

_ABSENT = object()


def as_inputs(given: Mapping[str, Any], found: Mapping[str, Any], rename: Mapping[str, str | None] | None = None) -> dict[str, Any]:
    """Inputs as they are now.

    Args:
        given: Inputs as they were given, in Pulumi's spelling.
        found: What AWS tells, in AWS's.
        rename: Pulumi's name -> AWS's, where they differ in more than spelling.

    Returns:
        ``given``, but for values that AWS tells otherwise.
    """
    members = {name.lower(): name for name in found}
    actual: dict[str, Any] = {}
    for key, value in given.items():
        target = (rename or {}).get(key, key)
        # A name that only orders a change (`GroupName`) is told under the plain one.
        names = [spelled for part in (target, key) if part for spelled in spellings(part.rpartition(".")[2])]
        name = next((members[spelled] for spelled in names if spelled in members), None)
        actual[key] = value if name is None else _told(value, found[name])
    return actual


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
    """AWS's list of pairs as a map; None where it is none."""
    for key, value in (("Key", "Value"), ("key", "value"), ("TagKey", "TagValue"), ("Name", "Value"), ("name", "value")):
        if found and all(isinstance(item, Mapping) and key in item for item in found):
            return {item[key]: item.get(value) for item in found}
    return {} if not found else None
