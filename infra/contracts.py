"""Data contracts in the Open Data Contract Standard (ODCS 3), as far as the platform reads them.

https://bitol-io.github.io/open-data-contract-standard/v3.0.2/
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from infra.errors import UsageError

COMPATIBILITIES = ("BACKWARD", "BACKWARD_ALL", "FORWARD", "FORWARD_ALL", "FULL", "FULL_ALL", "NONE", "DISABLED")
FUTURE_TOLERANCE_HOURS = 24  # senders' clocks and time zones are wrong by hours, not by days
PERSONAL = "personal"  # tag of fields that are tokenised before they are stored
LogicalType = Literal["integer", "number", "string", "boolean", "timestamp"]
_JSON_TYPES = {"integer": "integer", "number": "number", "string": "string", "boolean": "boolean", "timestamp": "string"}
_PARTITIONS = {"day": "%Y-%m-%d", "month": "%Y-%m"}
# The standard's names that the platform does not read, by the level they may stand at: they are no typing errors.
_ALSO_KNOWN = {
    "contract": "apiVersion status tenant domain dataProduct tags description authoritativeDefinitions support price team roles servers contractCreatedTs",
    "table": "logicalType physicalType description businessName authoritativeDefinitions tags dataGranularityDescription customProperties",
    "property": (
        "businessName physicalType physicalName primaryKeyPosition partitionKeyPosition encryptedName transformSourceObjects transformLogic "
        "transformDescription examples authoritativeDefinitions criticalDataElement"
    ),
    "options": "format",
    "sla": "valueExt element driver description",
    "quality": "name description dimension severity businessImpact method tags customProperties authoritativeDefinitions",
}


# Its rules that nothing here would check: not read is not kept.
_UNCHECKED = {
    "property": "unique",
    "options": "exclusiveMaximum exclusiveMinimum multipleOf minLength maxItems minItems uniqueItems maxProperties minProperties",
}
_CUSTOM = ("unit", "compatibility", "owner", "partition", "version", "future_tolerance_hours", "notPersonal")
REASON_LENGTH = 10  # characters; less tells nobody why
INTERNAL = "groundplan:"  # begins the names of columns that the raw zone adds
_LEVELS = (
    "latency", "generalAvailability", "endOfSupport", "endOfLife", "retention", "frequency", "timeOfAvailability", "timeToDetect", "timeToNotify",
    "timeToRepair",
)  # fmt: skip


def _near(name: str, known: Iterable[str], cutoff: float = 0.8) -> str:
    """The known name that was meant; empty if it is one, or none is near."""
    import difflib

    return "" if name in known else next(iter(difflib.get_close_matches(name, list(known), 1, cutoff)), "")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    level: ClassVar[str] = ""  # of the standard: which other names it knows there

    @model_validator(mode="before")
    @classmethod
    def _drop_what_is_not_read(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        rules = _UNCHECKED.get(cls.level, "").split()
        if held := [rule for rule in rules if given.get(rule) is not None and given[rule] is not False]:
            raise ValueError(f"nothing here would check {', '.join(held)}: write an expectation under `quality` that does")
        known = {*_ALSO_KNOWN.get(cls.level, "").split(), *rules}
        return {key: value for key, value in given.items() if key not in known}


class Bounds(_Part):
    """``logicalTypeOptions``: inclusive bounds of numbers and timestamps (ISO 8601), form and length of texts."""

    level: ClassVar[str] = "options"
    minimum: int | float | str | None = None
    maximum: int | float | str | None = None
    pattern: str | None = None
    maxLength: int | None = None  # noqa: N815 (the standard's spelling)

    @field_validator("minimum", "maximum", mode="before")
    @classmethod
    def _as_text(cls, given: Any) -> Any:
        return given.isoformat() if isinstance(given, date) else given  # YAML reads a time without quotes as one

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return pattern


class CustomProperty(_Part):
    """What the standard leaves to each platform."""

    property: str
    value: Any

    @field_validator("property")
    @classmethod
    def _is_no_slip(cls, name: str) -> str:
        if near := _near(name, _CUSTOM):
            raise ValueError(f"{name!r} is read by nobody; did you mean {near}?")
        return name


class Expectation(_Part):
    """``quality``: an expectation of Great Expectations written by hand."""

    level: ClassVar[str] = "quality"
    type: Literal["custom"]
    engine: Literal["greatExpectations"]
    implementation: dict[str, Any]


class Property(_Part):
    """One field of an event."""

    level: ClassVar[str] = "property"
    name: str
    logicalType: LogicalType  # noqa: N815
    description: str = ""
    required: bool = False
    primaryKey: bool = False  # noqa: N815
    partitioned: bool = False
    classification: str = "internal"
    tags: tuple[str, ...] = ()
    logicalTypeOptions: Bounds = Bounds()  # noqa: N815
    quality: tuple[Expectation, ...] = ()
    customProperties: tuple[CustomProperty, ...] = ()  # noqa: N815

    @model_validator(mode="before")
    @classmethod
    def _keys_are_required(cls, given: Any) -> Any:
        """What has no key can't be told from others, as in SQL."""
        if not isinstance(given, dict) or given.get("primaryKey") is not True:
            return given
        if given.get("required") is False:
            raise ValueError("a primary key can't be optional: remove `required: false`, and events without the key become dead letters")
        return {**given, "required": True}

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if name.startswith(INTERNAL):
            raise ValueError(f"names that begin with {INTERNAL!r} are the platform's own")
        return name

    @property
    def personal(self) -> bool:
        """Whether it is tokenised before it is stored."""
        return PERSONAL in self.tags

    @property
    def not_personal(self) -> str:
        """The declared reason why its values are not personal data, whatever they look like; empty if none is declared."""
        return str(_custom(self.customProperties, "notPersonal", ""))

    @property
    def unit(self) -> str:
        """Unit of its values; empty where it has none."""
        return str(_custom(self.customProperties, "unit", ""))

    @model_validator(mode="after")
    def _fits_together(self) -> Property:
        bounds = self.logicalTypeOptions
        if slips := [tag for tag in self.tags if _near(tag, (PERSONAL,))]:
            raise ValueError(f"the tag {slips[0]!r} masks nothing; did you mean {PERSONAL}?")
        for declared in (item.value for item in self.customProperties if item.property == "notPersonal"):
            if not isinstance(declared, str) or len(declared.strip()) < REASON_LENGTH:
                raise ValueError(f"notPersonal is {declared!r}; it must be a reason of at least {REASON_LENGTH} characters")
            if self.personal:
                raise ValueError(f"it is tagged {PERSONAL} and declared notPersonal ({declared!r}): remove one of the two")
        if self.personal and self.logicalType != "string":
            raise ValueError("personal fields are tokenised, so their logicalType must be string")
        for limit in (bounds.minimum, bounds.maximum):
            if limit is None:
                continue
            if self.logicalType == "timestamp":
                moment(limit)
            elif self.logicalType not in ("integer", "number"):
                raise ValueError(f"a {self.logicalType} has no minimum or maximum")
            elif isinstance(limit, str):
                raise ValueError(f"the bound {limit!r} is no number")
        if bounds.minimum is not None and bounds.maximum is not None and less(bounds.maximum, bounds.minimum):
            raise ValueError(f"the minimum {bounds.minimum} is above the maximum {bounds.maximum}: no value is allowed")
        return self


class Table(_Part):
    """One object of the contract; ``physicalName`` is the Kafka topic."""

    level: ClassVar[str] = "table"
    name: str
    physicalName: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=200)  # noqa: N815
    properties: tuple[Property, ...] = Field(min_length=1)
    quality: tuple[Expectation, ...] = ()


class ServiceLevel(_Part):
    """``slaProperties``: retention, latency and the like."""

    level: ClassVar[str] = "sla"
    property: str
    value: float | str
    unit: str = ""

    @field_validator("property")
    @classmethod
    def _is_no_slip(cls, name: str) -> str:
        if near := _near(name, _LEVELS):
            raise ValueError(f"the standard has no service level {name!r}; did you mean {near}?")
        return name


class Contract(_Part):
    """A data contract with one table."""

    level: ClassVar[str] = "contract"
    id: str
    name: str
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    kind: Literal["DataContract"]
    table: tuple[Table] = Field(alias="schema")
    slaProperties: tuple[ServiceLevel, ...] = ()  # noqa: N815
    customProperties: tuple[CustomProperty, ...] = ()  # noqa: N815

    @field_validator("customProperties")
    @classmethod
    def _custom_properties_are_known(cls, given: tuple[CustomProperty, ...]) -> tuple[CustomProperty, ...]:
        for item in given:
            if item.property == "compatibility" and item.value not in COMPATIBILITIES:
                raise ValueError(f"compatibility {item.value!r} is none of {', '.join(COMPATIBILITIES)}")
            if item.property == "future_tolerance_hours" and (isinstance(item.value, bool) or not isinstance(item.value, int | float) or item.value < 0):
                raise ValueError(f"future_tolerance_hours is {item.value!r}; it must be a number of hours, 0 or more")
            if item.property == "partition" and item.value not in _PARTITIONS:
                raise ValueError(f"partition {item.value!r} is none of {', '.join(_PARTITIONS)}")
        return given

    @property
    def compatibility(self) -> str:
        """How a new version of the schema must fit the old ones (Glue's modes)."""
        return str(_custom(self.customProperties, "compatibility", "BACKWARD"))

    @property
    def owner(self) -> str:
        """Who answers for the data."""
        return str(_custom(self.customProperties, "owner", ""))

    @property
    def version_field(self) -> str:
        """Name of the field whose highest value is an entity's newest event; empty where the event time tells that."""
        return str(_custom(self.customProperties, "version", ""))

    @property
    def future_tolerance_hours(self) -> float:
        """How far an event's time may lie ahead of the platform's clock."""
        return float(_custom(self.customProperties, "future_tolerance_hours", FUTURE_TOLERANCE_HOURS))

    @property
    def partition_format(self) -> str:
        """``strftime`` form of the event date that the raw zone is partitioned by: days, or months where a day is too little for a file."""
        return _PARTITIONS[str(_custom(self.customProperties, "partition", "day"))]

    @property
    def topic(self) -> str:
        """Kafka topic the events come on."""
        return self.table[0].physicalName

    @property
    def view(self) -> str:
        """Name of the table, and of the feature view where the events are the features."""
        return self.table[0].name

    @property
    def properties(self) -> tuple[Property, ...]:
        """Fields of one event, in order."""
        return self.table[0].properties

    @property
    def key(self) -> str:
        """Name of the field that identifies the entity."""
        return next(p.name for p in self.properties if p.primaryKey)

    @property
    def event_time(self) -> str:
        """Name of the field that tells when the event was (``partitioned: true``); empty where none does."""
        return next((p.name for p in self.properties if p.partitioned), "")

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema (draft 7) of one event."""
        properties: dict[str, Any] = {}
        for item in self.properties:
            kind: Any = _JSON_TYPES[item.logicalType]
            schema: dict[str, Any] = {"type": kind if item.required else [kind, "null"]}
            if item.description:
                schema["description"] = item.description + (f" [{item.unit}]" if item.unit else "")
            bounds = item.logicalTypeOptions
            if item.logicalType == "timestamp":
                schema["format"] = "date-time"
            else:
                schema |= {k: v for k, v in (("minimum", bounds.minimum), ("maximum", bounds.maximum)) if v is not None}
            schema |= {k: v for k, v in (("pattern", bounds.pattern), ("maxLength", bounds.maxLength)) if v is not None}
            properties[item.name] = schema
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": self.id,
            "type": "object",
            "properties": properties,
            "required": [p.name for p in self.properties if p.required],
            "additionalProperties": False,
        }


def _custom(properties: tuple[CustomProperty, ...], name: str, default: Any) -> Any:
    return next((item.value for item in properties if item.property == name), default)


def moment(text: Any) -> datetime:
    """A point in time of a contract, in UTC.

    Raises:
        ValueError: It is no time in ISO 8601.
    """
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        raise ValueError(f"the bound {text!r} is no time in ISO 8601") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def less(one: int | float | str, other: int | float | str) -> bool:
    """Numbers by size, times (ISO 8601) by the moment they name."""
    return moment(one) < moment(other) if isinstance(one, str) or isinstance(other, str) else one < other


def load_contract(path: Path) -> Contract:
    """Read one contract.

    Raises:
        UsageError: The file is missing, not YAML, or not a contract the platform can read.
    """
    import yaml

    try:
        return parse_contract(yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"not a readable data contract: {' '.join(str(error).split())}", where=str(path)) from None


def parse_contract(document: Any, where: str) -> Contract:
    """Read one contract from what its YAML holds.

    Raises:
        UsageError: It is not a contract the platform can read.
    """
    try:
        contract = Contract.model_validate(document)
    except ValidationError as error:
        lines = (f"{_place(item['loc'])}: {_said(item, document)}" for item in error.errors())
        raise UsageError("; ".join(lines), where=where, fix="see examples/flights/contracts for the form") from None
    names = [p.name for p in contract.properties]
    if sum(p.primaryKey for p in contract.properties) != 1:
        raise UsageError("exactly one property must have `primaryKey: true`", where=where)
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"the property {repeated[0]} is there twice", where=where)
    partitioned = [p for p in contract.properties if p.partitioned]
    if len(partitioned) > 1 or any(p.logicalType != "timestamp" or not p.required for p in partitioned):
        raise UsageError("`partitioned: true` is for one property: a timestamp that is required", where=where)
    if name := contract.version_field:
        orders = next((p for p in contract.properties if p.name == name), None)
        if orders is None or not orders.required or orders.logicalType not in ("integer", "number", "timestamp"):
            raise UsageError(f"the version field {name!r} must be a property that is required, and a number or a timestamp", where=f"{where}: customProperties")
    return contract


def _place(location: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in location) or "the document"


def _said(item: Any, document: Any) -> str:
    if item["type"] != "extra_forbidden":
        return str(item["msg"]).removeprefix("Value error, ")
    level = {1: "contract", 3: "table", 5: "property", 6: "options"}.get(len(item["loc"]), "")
    read: dict[str, type[_Part]] = {"contract": Contract, "table": Table, "property": Property, "options": Bounds}
    names = [*_ALSO_KNOWN.get(level, "").split(), *((field.alias or name) for name, field in (read[level].model_fields if level in read else {}).items())]
    near = _near(str(item["loc"][-1]), names, 0.6)
    return f"the standard has no such field{f'; did you mean {near}?' if near else ''}"
