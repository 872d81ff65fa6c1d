"""Data contracts in the Open Data Contract Standard (ODCS 3), as far as the platform reads them.

https://bitol-io.github.io/open-data-contract-standard/
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from infra.errors import UsageError

COMPATIBILITIES = ("BACKWARD", "BACKWARD_ALL", "FORWARD", "FORWARD_ALL", "FULL", "FULL_ALL", "NONE", "DISABLED")
_JSON_TYPES = {"integer": "integer", "number": "number", "string": "string", "boolean": "boolean"}


class _Part(BaseModel):
    # The standard has far more fields than the platform reads; those stay valid.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Bounds(_Part):
    """``logicalTypeOptions``: the inclusive range of a number."""

    minimum: float | None = None
    maximum: float | None = None


class Property(_Part):
    """One field of an event."""

    name: str
    logicalType: Literal["integer", "number", "string", "boolean"]  # noqa: N815 (the standard's spelling)
    description: str = ""
    required: bool = False
    primaryKey: bool = False  # noqa: N815
    classification: str = "internal"
    logicalTypeOptions: Bounds = Bounds()  # noqa: N815


class Table(_Part):
    """One object of the contract; ``physicalName`` is the Kafka topic."""

    name: str
    physicalName: str  # noqa: N815
    properties: tuple[Property, ...] = Field(min_length=1)


class CustomProperty(_Part):
    """What the standard leaves to each platform."""

    property: str
    value: Any


class Contract(_Part):
    """A data contract with one table."""

    id: str
    name: str
    version: str
    kind: Literal["DataContract"]
    table: tuple[Table] = Field(alias="schema")
    customProperties: tuple[CustomProperty, ...] = ()  # noqa: N815

    @field_validator("customProperties")
    @classmethod
    def _compatibility_is_known(cls, given: tuple[CustomProperty, ...]) -> tuple[CustomProperty, ...]:
        for item in given:
            if item.property == "compatibility" and item.value not in COMPATIBILITIES:
                raise ValueError(f"compatibility {item.value!r} is none of {', '.join(COMPATIBILITIES)}")
        return given

    @property
    def compatibility(self) -> str:
        """How a new version of the schema must fit the old ones (Glue's modes)."""
        return next((str(item.value) for item in self.customProperties if item.property == "compatibility"), "BACKWARD")

    @property
    def topic(self) -> str:
        """Kafka topic the events come on."""
        return self.table[0].physicalName

    @property
    def view(self) -> str:
        """Name of the feature view made of it."""
        return self.table[0].name

    @property
    def properties(self) -> tuple[Property, ...]:
        """Fields of one event, in order."""
        return self.table[0].properties

    @property
    def key(self) -> str:
        """Name of the field that identifies the entity."""
        return next(p.name for p in self.properties if p.primaryKey)

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema (draft 7) of one event."""
        properties: dict[str, Any] = {}
        for item in self.properties:
            schema: dict[str, Any] = {"type": _JSON_TYPES[item.logicalType]}
            if item.description:
                schema["description"] = item.description
            schema |= {k: v for k, v in (("minimum", item.logicalTypeOptions.minimum), ("maximum", item.logicalTypeOptions.maximum)) if v is not None}
            properties[item.name] = schema
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": self.id,
            "type": "object",
            "properties": properties,
            "required": [p.name for p in self.properties if p.required],
            "additionalProperties": False,
        }


def load_contract(path: Path) -> Contract:
    """Read one contract.

    Raises:
        UsageError: The file is missing, not YAML, or not a contract the platform can read.
    """
    import yaml

    try:
        contract = Contract.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UsageError("; ".join(lines), where=str(path), fix="see examples/diabetes/contract.yaml for the form") from None
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"not a readable data contract: {error}", where=str(path)) from None
    if sum(p.primaryKey for p in contract.properties) != 1:
        raise UsageError("exactly one property must have `primaryKey: true`", where=str(path))
    return contract


def load_contracts(root: Path) -> list[Contract]:
    """Every contract of the examples, in the order of their paths."""
    return [load_contract(path) for path in sorted(root.glob("examples/*/contract.yaml"))]


def example_folders(root: Path) -> dict[str, str]:
    """Folder name of each example by the name of its model (``model`` in ``example.yaml``, else the folder's own)."""
    import yaml

    found = {}
    for path in sorted(root.glob("examples/*/experiment.py")):
        settings = path.parent / "example.yaml"
        given = (yaml.safe_load(settings.read_text(encoding="utf-8")) or {}) if settings.is_file() else {}
        found[str(given.get("model", path.parent.name))] = path.parent.name
    return found
