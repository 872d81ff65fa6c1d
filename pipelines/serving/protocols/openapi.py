"""The OpenAPI document of a model: what ``/openapi.json`` answers, with the model's own columns and classes.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from typing import Any

from pipelines.serving.ids import NAME as PREDICTION_ID
from pipelines.serving.models.bundle import BESIDE, Model
from pipelines.serving.protocols.checks import MAX_ROWS
from pipelines.serving.protocols.scoring import ACCEPTED, JSON
from pipelines.serving.protocols.tables import CSV
from pipelines.serving.protocols.tensors import DTYPES, inputs_of
from pipelines.serving.protocols.typed_json import MAX_KEY, MAX_NUMBER

_OCTETS = "application/octet-stream"
_VALUES: dict[str, dict[str, Any]] = {
    "double": {"type": "number", "exclusiveMinimum": -MAX_NUMBER, "exclusiveMaximum": MAX_NUMBER},
    "long": {"type": "integer", "minimum": -MAX_KEY, "maximum": MAX_KEY - 1},
    "boolean": {"type": "boolean"},
    "string": {"type": "string"},
    "timestamp": {"type": "string", "format": "date-time"},
}
_BINARY = {"type": "string", "format": "binary"}
_REFUSED = {
    "400": "The request is wrong; `error` says what, and where.",
    "404": "There is no such path, model, or entity.",
    "405": "The method is another one.",
    "408": "The body took too long to arrive.",
    "413": "More bytes or rows than are accepted.",
    "415": "The content type is not supported.",
    "429": "Too many requests are waiting; `Retry-After` says when to try again.",
    "500": "The model failed on this request.",
    "503": "No model is served.",
}


def describe(model: Model) -> dict[str, Any]:
    """The document."""
    rows = {"type": "array", "minItems": 1, "maxItems": MAX_ROWS}
    record = {
        "type": "object",
        "properties": {column["name"]: _value(column) for column in model.columns},
        "required": model.names,
        "additionalProperties": False,
        **({"examples": [model.example]} if model.example else {}),
    }
    values = [_value(column) for column in model.columns]
    row = {"type": "array", "prefixItems": values, "items": False, "minItems": len(values)}
    columns = {
        "type": "object",
        "properties": {column["name"]: {**rows, "items": _value(column)} for column in model.columns},
        "required": model.names,
        "additionalProperties": False,
        "description": "A list of values for each column, all of the same length.",
    }
    order = {"type": "array", "items": {"enum": model.names}, "uniqueItems": True, "description": "The data's order."}
    split = _object(
        {
            "columns": {**order, "minItems": len(values), "maxItems": len(values)},
            "data": {**rows, "items": {"$ref": "#/components/schemas/Row"}},
        },
        ["data"],
    )
    split["additionalProperties"] = True  # pandas writes an index
    records = {**rows, "items": {"$ref": "#/components/schemas/Record"}}
    lists = {**rows, "items": {"$ref": "#/components/schemas/Row"}}
    forms = [
        _object({"dataframe_split": split}),
        _object({"dataframe_records": records}),
        _object({"instances": {"anyOf": [records, lists]}}),
        _object({"inputs": {"anyOf": [records, lists, {"$ref": "#/components/schemas/Columns"}]}}),
    ]
    if key := model.entity.get("key"):
        keys = {**rows, "items": {"type": ["integer", "string"]}}
        forms.append(_object({"entities": _object({key: keys})}))
    body = {
        "required": True,
        "content": {
            JSON: {"schema": {"anyOf": forms}},
            CSV: {"schema": {"type": "string"}},
            **{
                kind: {"schema": {"type": "string", "format": "binary"}} for kind in ACCEPTED if kind not in (JSON, CSV)
            },
        },
    }
    name = model.name
    return {
        "openapi": "3.1.0",
        "info": {
            "title": name or "model",
            "version": model.version or "0",
            "description": f"A {model.task} of {len(values)} columns.",
        },
        "paths": {
            "/ping": {"get": _operation("Whether the server answers", {"type": "object"})},
            "/invocations": {"post": _operation("Predictions for rows", _answer(model), body)},
            "/explain": {"post": _operation("Predictions and their explanations", _explanations(), body)},
            "/metrics": {"get": _operation("Prometheus metrics", {"type": "string"}, kind="text/plain")},
            "/v2": {"get": _operation("The server's name and extensions", {"type": "object"})},
            "/v2/health/live": {"get": _operation("Whether the server lives", {"type": "object"})},
            "/v2/health/ready": {"get": _operation("Whether the model is ready", {"type": "object"})},
            f"/v2/models/{name}": {"get": _operation("The model's tensors", {"type": "object"})},
            f"/v2/models/{name}/ready": {"get": _operation("Whether the model is ready", {"type": "object"})},
            f"/v2/models/{name}/infer": {
                "post": _operation("Inference (Open Inference Protocol)", {"type": "object"}, _infer(model))
            },
        },
        "components": {
            "schemas": {
                "Record": record,
                "Row": row,
                "Columns": columns,
                "Error": _object({"error": {"type": "string"}}),
            }
        },
    }


def _value(column: dict[str, Any]) -> dict[str, Any]:
    schema = dict(_VALUES[column["type"]])
    if (known := column.get("categories")) is not None:
        schema = {"enum": list(known)}
    return {"anyOf": [schema, {"type": "null"}]} if column.get("nullable") else schema


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }


def _operation(
    summary: str, answer: dict[str, Any], body: dict[str, Any] | None = None, kind: str = JSON
) -> dict[str, Any]:
    refused = {
        status: {"description": text, "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}}
        for status, text in _REFUSED.items()
    }
    content = {kind: {"schema": answer}}
    if body is not None and _OCTETS in body["content"]:
        content[_OCTETS] = {"schema": _BINARY}
    return {
        "summary": summary,
        **({"requestBody": body} if body is not None else {}),
        "responses": {"200": {"description": "The answer.", "content": content}, **refused},
    }


def _answer(model: Model) -> dict[str, Any]:
    prediction: dict[str, Any] = {"type": "number"}
    if model.classes and not model.targets:
        prediction = {"enum": list(model.classes)}
    elif model.targets:
        prediction = {"type": "array", "minItems": len(model.targets), "maxItems": len(model.targets)}
    properties: dict[str, Any] = {
        "predictions": {"type": "array", "items": prediction},
        "model_version": {"type": "string"},
        PREDICTION_ID: {"type": "string", "format": "uuid"},
    }
    if model.targets:
        properties["targets"] = {"const": model.targets}
    if model.task == "classification":
        properties["classes"] = {"const": model.classes}
        if model.output:
            properties[BESIDE[model.output]] = {"type": "array"}
    return _object(properties, ["predictions", "model_version", PREDICTION_ID])


def _explanations() -> dict[str, Any]:
    return _object(
        {"explanations": {"type": "array", "items": {"type": "object"}}, "model_version": {"type": "string"}}
    )


def _infer(model: Model) -> dict[str, Any]:
    """A tensor for each of the model's inputs."""
    tensor = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
            "datatype": {"enum": list(DTYPES)},
            "data": {"type": "array"},
        },
        "required": ["name", "shape", "datatype", "data"],
    }
    count = len(inputs_of(model))
    inputs = {"type": "array", "items": tensor, "minItems": 1, "maxItems": max(count, len(model.columns))}
    output = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    schema = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "inputs": inputs,
            "outputs": {"type": "array", "items": output},
        },
        "required": ["inputs"],
    }
    return {
        "required": True,
        "content": {JSON: {"schema": schema}, _OCTETS: {"schema": _BINARY}},
    }
