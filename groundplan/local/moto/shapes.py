"""Requests shaped and checked by botocore's service models.

Pulumi's inputs and AWS's parameters spell the same names differently (``kmsMasterKeyId``, ``KMSMasterKeyID``).
``to_request`` translates by the service model, so that a rule has to name only what really differs, and ``check``
validates a request against the model's enums, patterns and lengths, which neither boto3 nor moto does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from spec.errors import GroundplanError


class MadeUp(str):
    """A text that stands for one of AWS's own, such as an id: no form is asked of it."""


@cache
def input_shape(service: str, operation: str) -> Any:
    """Botocore's input shape of an operation (``CreateKey``) of a service (``kms``)."""
    return model(service).operation_model(operation).input_shape


@cache
def model(service: str) -> Any:
    """Botocore's model of a service."""
    from groundplan.local.moto.aws import session

    return session()._session.get_service_model(service)


def to_request(shape: Any, value: Any, where: str) -> Any:
    """``value`` (Pulumi's spelling) as the API spells it.

    Raises:
        GroundplanError: A key has no counterpart in the API: the rule would silently drop it.
    """
    if value is None:
        return None
    if shape.type_name == "structure":
        if isinstance(value, list) and len(value) == 1:  # Terraform's "block of at most one" is a list in Pulumi
            value = value[0]
        if not isinstance(value, Mapping):
            return value
        members = {name.lower(): name for name in shape.members}
        request = {}
        for key, item in value.items():
            if item is None:
                continue
            name = next((members[spelling] for spelling in spellings(key) if spelling in members), None)
            if name is None:
                raise GroundplanError(f"{key!r} is not a parameter of {shape.name}", where=where)
            request[name] = to_request(shape.members[name], item, f"{where}.{key}")
        return request
    if shape.type_name == "list":
        if isinstance(value, Mapping) and (names := _pair(shape.member)):
            return [{names[0]: k, names[1]: v} for k, v in sorted(value.items())]
        items = value if isinstance(value, list) else [value]
        return [to_request(shape.member, item, where) for item in items]
    if shape.type_name == "map" and isinstance(value, Mapping):
        return {k: to_request(shape.value, v, where) for k, v in value.items()}
    return _scalar(shape, value)


def spellings(key: str) -> tuple[str, ...]:
    """How AWS may spell a name of Pulumi's, in lower case: Pulumi makes plurals of lists, and singulars of blocks."""
    low = key.lower()
    return low, f"{low}s", low.removesuffix("s"), low.removesuffix("es")


def _pair(shape: Any) -> tuple[str, str] | None:
    """Member names of a list's elements where the list is a map in Pulumi (tags, dimensions, environments)."""
    pairs = (("Key", "Value"), ("key", "value"), ("TagKey", "TagValue"), ("Name", "Value"))
    return next((names for names in pairs if shape.type_name == "structure" and set(names) <= set(shape.members)), None)


def _scalar(shape: Any, value: Any) -> Any:
    if shape.type_name in ("integer", "long") and isinstance(value, (float, str)):
        return int(value)
    if shape.type_name in ("float", "double") and isinstance(value, (int, str)):
        return float(value)
    if shape.type_name == "string" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:g}"
    return value


def refuse_wrong(service: str, operation: str, request: Mapping[str, Any]) -> None:
    """Validate a request against its model.

    Raises:
        GroundplanError: AWS would refuse it.
    """
    shape = input_shape(service, operation)
    if shape is not None and (faults := check(shape, request)):
        raise GroundplanError(
            f"AWS would refuse this {operation}: {'; '.join(faults)}", fix="fix the component's arguments"
        )


def check(shape: Any, value: Any, path: str = "") -> list[str]:
    """What is wrong with a request: missing members, enums, patterns, lengths and ranges; empty if nothing is."""
    if value is None:
        return []
    faults: list[str] = []
    if shape.type_name == "structure":
        faults += [f"{path or shape.name}: {name} is required" for name in shape.required_members if name not in value]
        for name, item in value.items():
            if name in shape.members:
                faults += check(shape.members[name], item, f"{path}.{name}".lstrip("."))
    elif shape.type_name == "list":
        faults += _length(shape, len(value), path, "items")
        for index, item in enumerate(value):
            faults += check(shape.member, item, f"{path}[{index}]")
    elif shape.type_name == "map":
        for key, item in value.items():
            faults += check(shape.value, item, f"{path}.{key}")
    elif shape.type_name == "string" and isinstance(value, str) and not isinstance(value, MadeUp):
        allowed = shape.metadata.get("enum")
        if allowed and value not in allowed:
            faults.append(f"{path}: {value!r} is not one of {', '.join(sorted(allowed)[:12])}")
        pattern = shape.metadata.get("pattern")
        if pattern and not _matches(pattern, value):
            faults.append(f"{path}: {value!r} does not match {pattern}")
        faults += _length(shape, len(value), path, "characters")
    elif shape.type_name in ("integer", "long", "float", "double"):
        faults += _length(shape, value, path, "")
    return faults


def _length(shape: Any, size: float, path: str, unit: str) -> list[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        return [f"{path}: {size} {unit} given; at least {low}".replace("  ", " ")]
    if high is not None and size > high:
        return [f"{path}: {size} {unit} given; at most {high}".replace("  ", " ")]
    return []


@cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    # The models have Java patterns. Their Unicode classes (\\p{L}) have no counterpart in Python; those go unchecked.
    if r"\p{" in pattern or r"\P{" in pattern:
        return None
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error:
        return None


def _matches(pattern: str, value: str) -> bool:
    compiled = _compiled(pattern)
    # AWS anchors at both ends where the pattern does; elsewhere a match anywhere would let everything through.
    return compiled is None or compiled.fullmatch(value) is not None
