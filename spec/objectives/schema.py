"""The JSON Schema of stack files, for editors."""

from __future__ import annotations

from typing import Any

from spec.objectives.model import ModelObjectives, Objectives
from spec.objectives.planned import PLANNED
from spec.regions import ANYWHERE, JURISDICTIONS, REGIONS

# An accepted exception to the policy pack; the pack itself reads it (policies/settings.py).
_WAIVER = {
    "type": "object",
    "required": ["policy", "resource", "reason", "approver", "expires"],
    "additionalProperties": False,
    "properties": {
        "policy": {"type": "string", "description": "Id of the control"},
        "resource": {
            "type": "string",
            "description": "Name of the resource, or a pattern (*); `stack` for a finding about the whole stack",
        },
        "reason": {"type": "string"},
        "approver": {"type": "string"},
        "expires": {"type": "string", "format": "date", "description": "Last day on which it is valid"},
    },
}


def stack_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a stack file, for editors. It does not contain rules over several keys."""
    objectives = Objectives.model_json_schema(ref_template="#/$defs/{model}")
    definitions = objectives.pop("$defs")
    objectives["properties"]["residency"]["enum"] = [ANYWHERE, *JURISDICTIONS]
    for planned in PLANNED:
        holder = objectives if len(planned.path) == 1 else definitions[ModelObjectives.__name__]
        key = holder["properties"][planned.path[-1]]
        kind = definitions[key["$ref"].rpartition("/")[2]] if "$ref" in key else key
        kind["enum"] = [item for item in kind.get("enum", (True, False)) if item != planned.value]
        meaning, decides, what = key.get("description", "").partition(" Decides ")
        key["description"] = f"{meaning} ({planned.why}.){decides}{what}"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://groundplan.example/objectives.schema.json",
        "title": "A stack of Groundplan",
        "type": "object",
        "required": ["config"],
        "properties": {
            "config": {
                "type": "object",
                "required": ["aws:region", "aws:allowedAccountIds", "groundplan:objectives"],
                "properties": {
                    "aws:region": {"enum": list(REGIONS)},
                    "aws:allowedAccountIds": {
                        "type": "array",
                        "items": {"type": "string", "pattern": r"^\d{12}$"},
                        "minItems": 1,
                        "maxItems": 1,
                    },
                    "groundplan:objectives": {"$ref": "#/$defs/Objectives"},
                    "groundplan:waivers": {"type": "array", "items": {"$ref": "#/$defs/Waiver"}},
                },
            }
        },
        "$defs": {**definitions, "Objectives": objectives, "Waiver": _WAIVER},
    }
