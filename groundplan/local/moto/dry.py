"""A cloud to which nothing is sent: requests are validated against AWS's models, and answered with what the models
say an answer contains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from groundplan.local.moto.rules import Cloud
from groundplan.local.moto.shapes import MadeUp, model, refuse_wrong

_DEEPEST = 8  # some shapes contain themselves


def dry(cloud: Cloud) -> Cloud:
    """The same cloud, as far as its models go."""
    return replace(cloud, send=_answer, kafka_bootstrap="", manifests=lambda manifest: None)


def _answer(region: str, service: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
    refuse_wrong(service, operation, request)
    shape = model(service).operation_model(operation).output_shape
    return _example(shape, 0) if shape is not None else {}


def _example(shape: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        return None
    if shape.type_name == "structure":
        return {name: _example(member, depth + 1) for name, member in shape.members.items()}
    if shape.type_name == "list":
        return [_example(shape.member, depth + 1)]
    if shape.type_name == "map":
        return {}
    return {"boolean": False, "integer": 1, "long": 1, "float": 1.0, "double": 1.0, "blob": b""}.get(
        shape.type_name, MadeUp("x")
    )
