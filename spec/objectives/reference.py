"""The objectives as a page: ``python -m spec.objectives.reference > docs/objectives.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from spec.objectives.schema import stack_schema

_HEAD = """# Objectives
Made by `make docs` from `spec/objectives/model.py`.

Everything that a stack is, is drawn from these fields of `stacks/Pulumi.<stack>.yaml`, below `groundplan:objectives`.
A wrong value is refused with the file, the key, what was given and what is allowed;
`groundplan explain --stack STACK --set PATH=VALUE` shows what another value would change.
"""


def page() -> str:
    """The page, in Markdown."""
    schema = stack_schema()
    definitions: dict[str, Any] = schema["$defs"]
    rows = [f"| {' | '.join(row)} |" for row in _rows(definitions["Objectives"], definitions, "")]
    return "\n".join([_HEAD, "| field | takes | default | meaning | decides |", "|---|---|---|---|---|", *rows, ""])


def _rows(of: dict[str, Any], definitions: dict[str, Any], prefix: str) -> Iterator[tuple[str, ...]]:
    for name, field in of["properties"].items():
        path, below = f"{prefix}{name}", _object(field, definitions)
        meaning, _, decides = field.get("description", "").partition(" Decides ")
        default = "needed" if name in of.get("required", ()) else "" if below else f"`{_text(field.get('default'))}`"
        takes = "" if below else _takes(field, definitions)
        yield f"`{path}`", takes, default, meaning, decides[:1].upper() + decides[1:]
        if below:
            yield from _rows(
                below,
                definitions,
                f"{path}.NAME." if "additionalProperties" in field or "patternProperties" in field else f"{path}.",
            )


def _object(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any] | None:
    """The fields below, if this is an object of its own."""
    kinds = [field, *field.get("anyOf", ()), *field.get("allOf", ()), *field.get("patternProperties", {}).values()]
    more = field.get("additionalProperties")
    for kind in (*kinds, *([more] if isinstance(more, dict) else [])):
        if "$ref" in kind and "properties" in (found := definitions[kind["$ref"].rpartition("/")[2]]):
            return dict(found)
    return None


def _takes(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Type, range or choices, in words."""
    if "$ref" in field:
        field = {
            **definitions[field["$ref"].rpartition("/")[2]],
            **{key: value for key, value in field.items() if key != "$ref"},
        }
    if "enum" in field:
        return ", ".join(f"`{_text(item)}`" for item in field["enum"])
    if "const" in field:
        return f"`{_text(field['const'])}`"
    if field.get("type") == "array":
        return f"list of: {_takes(field['items'], definitions)}"
    kind = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true`, `false`"}.get(
        field.get("type", ""), ""
    )
    bounds = [
        text.format(f"{field[key]:,g}" if not isinstance(field[key], int) else f"{field[key]:,}")
        for key, text in (
            ("minimum", "from {}"),
            ("exclusiveMinimum", "above {}"),
            ("maximum", "to {}"),
            ("exclusiveMaximum", "below {}"),
        )
        if key in field
    ]
    return " ".join([kind, *bounds])


def _text(value: Any) -> str:
    return (
        {True: "true", False: "false", None: "none"}.get(value, str(value))
        if isinstance(value, bool) or value is None
        else str(value)
    )


if __name__ == "__main__":
    sys.stdout.write(page())
