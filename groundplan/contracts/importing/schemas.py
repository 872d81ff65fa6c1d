"""Properties of schemas: Avro, JSON Schema, and the Data Contract Specification of datacontract.com."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from spec.errors import UsageError

_AVRO = {
    "string": "string",
    "bytes": "string",
    "int": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "boolean": "boolean",
}
_AVRO_LOGICAL = {
    "date": "date",
    "time-millis": "time",
    "time-micros": "time",
    "timestamp-millis": "timestamp",
    "timestamp-micros": "timestamp",
    "local-timestamp-millis": "timestamp",
    "local-timestamp-micros": "timestamp",
    "uuid": "string",
}
_JSON = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "object": "object",
    "array": "array",
}
_JSON_FORMATS = {"date-time": "timestamp", "date": "date", "time": "time"}
_RULES = {
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusiveMinimum": "exclusiveMinimum",
    "exclusiveMaximum": "exclusiveMaximum",
    "multipleOf": "multipleOf",
    "minLength": "minLength",
    "maxLength": "maxLength",
    "pattern": "pattern",
    "minItems": "minItems",
    "maxItems": "maxItems",
}
_OF_TYPE = {
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength", "pattern"),
    "array": ("minItems", "maxItems"),
}
_SPECIFIED = {
    "string": "string",
    "varchar": "string",
    "text": "string",
    "number": "number",
    "decimal": "number",
    "numeric": "number",
    "int": "integer",
    "integer": "integer",
    "long": "integer",
    "bigint": "integer",
    "float": "number",
    "double": "number",
    "boolean": "boolean",
    "timestamp": "timestamp",
    "timestamp_tz": "timestamp",
    "timestamp_ntz": "timestamp",
    "date": "date",
    "time": "time",
    "array": "array",
    "object": "object",
    "record": "object",
    "struct": "object",
    "map": "object",
    "bytes": "string",
    "variant": "object",
    "json": "object",
}
MOST_DEPTH = 20
Made = Callable[..., dict[str, Any]]


def of_avro(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fields of an Avro record (https://avro.apache.org/docs/1.12.0/specification/)."""
    return [
        {
            "name": field["name"],
            **({"description": field["doc"]} if field.get("doc") else {}),
            **_avro(field["type"]),
            **_needed(field["type"]),
        }
        for field in fields
    ]


def _needed(kind: Any) -> dict[str, Any]:
    return {} if isinstance(kind, list) and "null" in kind else {"required": True}


def _avro(kind: Any) -> dict[str, Any]:
    if isinstance(kind, list):
        real = [part for part in kind if part != "null"]
        return _avro(real[0]) if len(real) == 1 else {"logicalType": "object"}
    if isinstance(kind, str):
        return {"logicalType": _AVRO.get(kind, "object")}
    name = kind.get("logicalType") or kind["type"]
    if name == "decimal" and "precision" not in kind:  # which Avro requires, but some schemas omit
        return {"logicalType": "number"}
    if name == "decimal":
        return {"logicalType": "number", "physicalType": f"decimal({kind['precision']}, {kind.get('scale', 0)})"}
    if name in _AVRO_LOGICAL:
        return {"logicalType": _AVRO_LOGICAL[name]}
    if name == "record":
        return {"logicalType": "object", "properties": of_avro(kind["fields"])}
    if name == "array":
        return {"logicalType": "array", "items": _avro(kind["items"])}
    if name == "enum":
        return {"logicalType": "string", "logicalTypeOptions": {"pattern": _one_of(kind["symbols"])}}
    return {"logicalType": "object"} if name == "map" else _avro(kind["type"])


def _one_of(values: list[Any]) -> str:
    return f"^({'|'.join(re.escape(str(value)) for value in values)})$"


def of_json_schema(part: dict[str, Any], whole: dict[str, Any]) -> list[dict[str, Any]]:
    """Properties of a JSON Schema of an object; references inside the document are followed."""
    properties: list[dict[str, Any]] = _json({"type": "object", **part}, whole).get("properties", [])
    return properties


def _json(part: Any, whole: dict[str, Any], depth: int = 0, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(part, dict) or depth > MOST_DEPTH:
        return {"logicalType": "object"}
    part, seen = _together(part, whole, seen)
    for choice in ("anyOf", "oneOf"):
        real = [item for item in part.get(choice) or () if not (isinstance(item, dict) and item.get("type") == "null")]
        if len(real) == 1 and isinstance(real[0], dict):
            return _json(
                {**{key: value for key, value in part.items() if key not in (choice, "properties")}, **real[0]},
                whole,
                depth + 1,
                seen,
            )
    kinds = part.get("type")
    kind = (
        _only([item for item in kinds if item != "null"])
        if isinstance(kinds, list)
        else kinds or ("object" if part["properties"] else "")
    )
    logical = (
        _JSON_FORMATS.get(str(part.get("format")), "string") if kind == "string" else _JSON.get(str(kind), "object")
    )
    made: dict[str, Any] = {"logicalType": logical}
    if part.get("description"):
        made["description"] = str(part["description"])
    allowed = _OF_TYPE.get("integer" if logical == "number" else logical, ())
    options = {
        name: part[rule]
        for rule, name in _RULES.items()
        if rule in allowed and rule in part and not isinstance(part[rule], bool)
    }
    if logical == "string" and isinstance(part.get("enum"), list) and "pattern" not in options:
        options["pattern"] = _one_of([value for value in part["enum"] if value is not None])
    if options:
        made["logicalTypeOptions"] = options
    if logical == "object" and part["properties"]:
        made["properties"] = [
            {
                "name": name,
                **_json(inner, whole, depth + 1, led),
                **({"required": True} if name in part["required"] else {}),
            }
            for name, (inner, led) in part["properties"].items()
        ]
    if logical == "array" and isinstance(part.get("items"), dict):
        made["items"] = _json(part["items"], whole, depth + 1, seen)
    return made


def _together(
    part: dict[str, Any], whole: dict[str, Any], seen: tuple[str, ...]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A schema merged with what it refers to (``$ref``) and what it is composed of (``allOf``), and the references
    that led there.

    Each of its ``properties`` is a pair: the schema, and the references that led to it.
    """
    own = {key: value for key, value in part.items() if key not in ("$ref", "allOf")}
    parts = [{**own, "properties": {name: (inner, seen) for name, inner in (part.get("properties") or {}).items()}}]
    after = seen
    if reference := part.get("$ref"):
        if reference in seen or reference == "#":  # a schema that refers to itself would never end
            return {"type": "object", "properties": {}}, seen
        found: Any = whole
        for name in str(reference).removeprefix("#/").split("/"):
            found = found.get(name.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
        more, after = _together(found if isinstance(found, dict) else {}, whole, (*seen, str(reference)))
        parts.append(more)
    for inner in part.get("allOf") or ():
        if isinstance(inner, dict):
            more, further = _together(inner, whole, seen)
            parts.append(more)
            after = (*after, *further)
    made: dict[str, Any] = {}
    for one in reversed(parts):
        made |= {**one, "properties": {**made.get("properties", {}), **one["properties"]}}
    made["required"] = [name for one in parts for name in one.get("required") or () if isinstance(name, str)]
    return made, after


def _only(kinds: list[Any]) -> str:
    """The type that the values of all these share; none where they differ: a field of any form is an object."""
    if set(kinds) == {"integer", "number"}:
        return "number"
    return str(kinds[0]) if len(kinds) == 1 else ""


def of_specification(document: dict[str, Any], make: Made) -> dict[str, Any]:
    """A contract of datacontract.com (https://github.com/datacontract/datacontract-specification) in the standard's
    form.

    Raises:
        UsageError: It has no models.
    """
    models, info = document.get("models"), document.get("info") or {}
    if not isinstance(models, dict) or not models:
        raise UsageError("has no models, so there is nothing to import", where="dataContractSpecification")
    first = make(
        next(iter(models)),
        [],
        title=str(info.get("title", "")),
        says=str(info.get("description", "")),
        version=str(info.get("version", "1.0.0")),
    )
    schema = [
        {
            "name": name,
            "physicalName": re.sub(r"[^A-Za-z0-9._-]+", "-", name),
            "physicalType": str(model.get("type", "table")),
            **({"description": str(model["description"])} if model.get("description") else {}),
            "properties": _specified(model.get("fields") or {}, document.get("definitions") or {}),
        }
        for name, model in models.items()
    ]
    status = str(info.get("status", "draft"))
    return {**first, "id": str(document.get("id", first["id"])), "status": status, "schema": schema}


def _specified(fields: dict[str, Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, **_specified_type(field or {}, definitions)} for name, field in fields.items()]


def _specified_type(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if reference := field.get("$ref"):
        field = {**definitions.get(str(reference).rpartition("/")[2], {}), **field}
    kind = str(field.get("type", "string")).lower()
    logical = _SPECIFIED.get(kind, "string")
    made: dict[str, Any] = {"logicalType": logical}
    if kind in ("decimal", "numeric") and field.get("precision"):
        made["physicalType"] = f"decimal({field['precision']}, {field.get('scale', 0)})"
    made |= {
        name: True
        for name in ("required", "unique", "primaryKey")
        if field.get(name) is True or (name == "primaryKey" and field.get("primary") is True)
    }
    made |= {name: str(field[name]) for name in ("description", "classification") if field.get(name)}
    allowed = _OF_TYPE.get("integer" if logical == "number" else logical, ())
    options = {name: field[rule] for rule, name in _RULES.items() if rule in allowed and rule in field}
    if logical == "string" and field.get("enum"):
        options["pattern"] = _one_of(field["enum"])
    if options:
        made["logicalTypeOptions"] = options
    tags = [*map(str, field.get("tags") or ()), *(["pii"] if field.get("pii") is True else [])]
    made |= {"tags": tags} if tags else {}
    if logical == "object" and field.get("fields"):
        made["properties"] = _specified(field["fields"], definitions)
    if logical == "array" and isinstance(field.get("items"), dict):
        made["items"] = _specified_type(field["items"], definitions)
    return made
