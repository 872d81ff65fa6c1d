"""Validates resource inputs against the types of Pulumi's providers: no unknown key, no missing one.

The provider would do the same in a real preview; the types come with the provider's Python package.
"""

from __future__ import annotations

import importlib
import inspect
import keyword
import re
from collections.abc import Mapping
from typing import Any

from pulumi.runtime import rpc


def faults(token: str, inputs: Mapping[str, Any]) -> list[str]:
    """What is wrong with the inputs (camel case) of a resource of type ``token``, for example
    ``aws:s3/bucket:Bucket``.
    """
    package, module, name = token.split(":")
    folder = module.partition("/")[0]
    found = importlib.import_module(f"pulumi_{package}.{folder}{'_' if keyword.iskeyword(folder) else ''}")
    return _check(getattr(found, name), inputs, name)


def _check(kind: type, value: Mapping[str, Any], where: str) -> list[str]:
    # The provider's spelling of names, by Python's.
    getters = {prop: getattr(kind, prop).fget for prop in dir(kind) if isinstance(getattr(kind, prop, None), property)}
    names = {prop: getattr(getter, "_pulumi_name", prop) for prop, getter in getters.items()}
    init = getattr(kind, "_internal_init", kind.__init__)  # of a resource, of a nested type
    hints = init.__annotations__
    names = {python: wire for python, wire in names.items() if python in hints}
    required = {
        names[p.name]
        for p in inspect.signature(init).parameters.values()
        if p.default is inspect.Parameter.empty and p.name in names
    }
    problems = [
        f"{where}.{name} is missing" for name in sorted(required - {k for k, v in value.items() if v is not None})
    ]
    by_wire = {wire: hints.get(python) for python, wire in names.items()}
    for key, item in value.items():
        if key not in by_wire:
            problems.append(f"{where}.{key} is no property; known: {', '.join(sorted(by_wire))}")
            continue
        nested = _nested(kind, str(by_wire[key]))
        for index, part in enumerate(item if isinstance(item, list) else [item]):
            if nested is not None and isinstance(part, Mapping) and part is not rpc.UNKNOWN:
                problems += _check(
                    nested, part, f"{where}.{key}[{index}]" if isinstance(item, list) else f"{where}.{key}"
                )
    return problems


def _nested(kind: type, hint: str) -> type | None:
    """The ``...Args`` class named in a hint such as ``Optional[Input[Sequence[Input[Union['XArgs',
    'XArgsDict']]]]]``.
    """
    if "PolicyDocumentArgs" in hint:  # a document may be text
        return None
    package = (
        kind.__module__.rpartition(".")[0]
        if not kind.__module__.endswith("_inputs")
        else kind.__module__.removesuffix("._inputs")
    )
    inputs = importlib.import_module(f"{package}._inputs")
    names = [name for name in re.findall(r"(\w+Args)\b", hint) if hasattr(inputs, name)]
    return getattr(inputs, names[0]) if names else None
