"""What Pulumi's SDK says about a type: its inputs, and what a provider adds to them."""

from __future__ import annotations

import importlib
import inspect
import keyword
import sys
import threading
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pulumi import _types

from groundplan.engine.program import COMPUTED_INSIDE
from groundplan.engine.shapes import listed, shaped
from groundplan.engine.unknown import UNKNOWN

_loading = threading.Lock()  # the SDK's packages import one another, in any order


@dataclass(frozen=True)
class ResourceType:
    """A resource type of a provider's SDK.

    Attributes:
        inputs: Python type of each input, by Pulumi's name.
        required: Inputs that must be given.
        computed: Python type of each output that always exists and either can't be an input or need not be given.
    """

    token: str
    inputs: Mapping[str, Any]
    required: frozenset[str]
    computed: Mapping[str, Any]


@cache
def resource_type(token: str) -> ResourceType | None:
    """The type of a token such as ``aws:s3/bucket:Bucket``; None where the SDK has no class for it."""
    package, _, rest = token.partition(":")
    module, _, kind = rest.rpartition(":")
    name = module.partition("/")[0]
    with _loading:
        try:
            home = importlib.import_module(
                f"pulumi_{package}"
                + (f".{name}_" if keyword.iskeyword(name) else f".{name}" if name not in ("", "index") else "")
            )
            of = getattr(home, kind)
            module_of = sys.modules[of.__module__]
            # Where a structure of the package already has the name.
            arguments = getattr(module_of, f"{kind}InitArgs", None) or getattr(module_of, f"{kind}Args")
        except (ImportError, AttributeError):
            return None
        names = _types.input_type_py_to_pulumi_names(arguments)
        parameters = inspect.signature(arguments.__init__).parameters
        required = frozenset(
            names[key]
            for key, parameter in parameters.items()
            if key in names and parameter.default is inspect.Parameter.empty
        )
        hints = _types._raw_return_hints(of)
        computed = {
            key: inner for key, hint in hints.items() if not _optional(inner := (typing.get_args(hint) or (hint,))[0])
        }
        return ResourceType(token, _types.input_type_types(arguments), required, computed)


def _optional(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def faults(of: ResourceType, inputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Inputs that the type does not have, and those that it lacks: name and what is wrong."""
    found = [(key, f"is missing, but {of.token} requires it") for key in sorted(of.required - set(inputs))]
    for key, value in inputs.items():
        if key.startswith("__"):
            continue
        if key not in of.inputs:
            found.append((key, f"is not an input of {of.token}; its inputs are {', '.join(sorted(of.inputs))}"))
        else:
            found += [(f"{key}{path}", said) for path, said in _inside(of.inputs[key], value)]
    return found


def _inside(hint: Any, value: Any) -> list[tuple[str, str]]:
    """The same inside structures whose type is known."""
    arguments = typing.get_args(hint)
    of = next(
        (
            kind
            for kind in (hint, *arguments, *(inner for one in arguments for inner in typing.get_args(one)))
            if _is_arguments(kind)
        ),
        None,
    )
    if of is None or value == UNKNOWN:
        return []
    found = []
    for index, item in enumerate(value if isinstance(value, list) else [value]):
        if not isinstance(item, Mapping):
            continue
        known, place = _types.input_type_types(of), f"[{index}]" if isinstance(value, list) else ""
        for key, inner in item.items():
            if key not in known:
                found.append((f"{place}.{key}", f"is unknown there; known are {', '.join(sorted(known))}"))
            else:
                found += [(f"{place}.{key}{path}", said) for path, said in _inside(known[key], inner)]
    return found


def _is_arguments(kind: Any) -> bool:
    return isinstance(kind, type) and _types.is_input_type(kind)


def unknown_outputs(of: ResourceType, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a preview can't know: each output that only the cloud provides, also inside given structures."""
    found: dict[str, Any] = {key: UNKNOWN for key in of.computed if key not in inputs}
    for key, parts in COMPUTED_INSIDE.get(of.token, {}).items():
        if isinstance(inputs.get(key), Mapping):
            found[key] = {**dict.fromkeys(parts, UNKNOWN), **inputs[key]}
    return found


def _class(hint: Any) -> Any:
    return hint if isinstance(hint, type) else object


def made_up(of: ResourceType, name: str, region: str, account: str) -> dict[str, Any]:
    """A value of the right form for each output that the cloud provides; its real values replace these."""
    service = of.token.split(":")[1].partition("/")[0]
    found = {key: _made_up(hint, key, service, name, region, account) for key, hint in of.computed.items()}
    return {key: value for key, value in found.items() if value is not None}


def _made_up(hint: Any, key: str, service: str, name: str, region: str, account: str) -> Any:
    """Inside a structure that the cloud provides, what is optional for a program has a value, too."""
    arguments = typing.get_args(hint)
    if _optional(hint) or typing.get_origin(hint) is typing.Union:
        inner = [kind for kind in arguments if kind is not type(None)]
        return _made_up(inner[0], key, service, name, region, account)
    if hint is str:
        return shaped(service, key, name, region, account)
    if hint in (int, float):
        return 1
    if hint is bool:
        return False
    if arguments and typing.get_origin(hint) not in (dict,) and len(arguments) == 1:
        one = _made_up(arguments[0], key, service, name, region, account)
        return [] if one is None else listed(key, one)
    if arguments:
        return {}
    if _types.is_output_type(_class(hint)):
        return {
            inner: _made_up(kind, inner, service, name, region, account) for inner, kind in _outputs_of(hint).items()
        }
    return None


@cache
def _outputs_of(structure: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _types._raw_return_hints(structure)
    return found
