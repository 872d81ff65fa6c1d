"""What the platform uses of a contract: one ``Contract`` for each object of its schema, which is a topic and a table
here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Literal

COMPATIBILITIES = ("BACKWARD", "BACKWARD_ALL", "FORWARD", "FORWARD_ALL", "FULL", "FULL_ALL", "NONE", "DISABLED")
FUTURE_TOLERANCE_HOURS = 24.0  # senders' clocks and time zones are wrong by hours, not by days
REASON_LENGTH = 10  # characters; less explains nothing
INTERNAL = "groundplan:"  # prefix of the columns that the raw zone adds
RETIRED = {
    "retired",
    "deleted",
    "decommissioned",
    "endoflife",
    "eol",
    "obsolete",
    "archived",
    "inactive",
    "sunset",
    "withdrawn",
    "cancelled",
    "canceled",
    "discontinued",
}
DRAFTS = {"draft", "proposed", "proposal", "development", "indevelopment", "test", "testing", "experimental", "planned"}
PARTITIONS = {"day": "%Y-%m-%d", "month": "%Y-%m"}

# ``decimal`` is a number with exact digits; ``json`` is anything that the contract does not describe further, kept as
# JSON text.
Kind = Literal[
    "integer", "number", "decimal", "string", "boolean", "timestamp", "date", "time", "object", "array", "json"
]
Limit = int | float | Decimal | datetime | date | time


@dataclass(frozen=True)
class Limits:
    """What values of a field may be (``logicalTypeOptions`` and ``enum``); None where there is no such rule.

    Attributes:
        least, most: For numbers and times; open bounds (``exclusiveMinimum``) are not allowed values themselves.
        shortest, longest: For texts in characters, for lists in items.
        pattern: Must match somewhere in a text (RE2).
        allowed: All allowed values.
    """

    least: Limit | None = None
    most: Limit | None = None
    least_open: bool = False
    most_open: bool = False
    multiple_of: int | float | None = None
    shortest: int | None = None
    longest: int | None = None
    pattern: str | None = None
    allowed: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A rule about the data as a whole (``quality``) that the gate runs.

    Attributes:
        kind: ``library`` (a metric of the standard), ``sql`` (a query that gives one number), ``expectation`` (of Great
            Expectations).
        about: Path of the field; empty where it is about the whole table.
        metric, query, expectation, arguments: What is counted, queried or expected.
        compare: The standard's comparison (``mustBe``, ``mustBeLessThan``, ...).
        percent: Whether the count is compared as a share of the rows.
        stops: Whether data that breaks it is stopped (``severity`` is not ``info`` or ``warning``).
    """

    kind: Literal["library", "sql", "expectation"]
    about: str = ""
    metric: str = ""
    query: str = ""
    expectation: str = ""
    arguments: str = ""  # JSON
    compare: str = ""
    value: str = ""  # JSON
    percent: bool = False
    stops: bool = True
    description: str = ""


@dataclass(frozen=True)
class Field:
    """A field of an event, or of an object in one.

    Attributes:
        name: In events and in the columns of tables: the contract's ``physicalName``, else its ``name``.
        title: The contract's ``name``, which its rules use.
        personal: Why it is masked (the words that say so); empty where it is not.
        not_personal: Why it contains no personal data, even if it looks like it; empty where this is not declared.
        unit: Unit of its values.
        digits, scale: For a ``decimal``.
        format: For a time as text, in the form of Java's ``DateTimeFormatter``; empty for ISO 8601.
        timezone: For times without a zone; empty where each must state it.
        fields: Fields of an ``object``.
        item: Items of an ``array``.
    """

    name: str
    kind: Kind
    title: str = ""
    description: str = ""
    required: bool = False
    unique: bool = False
    personal: str = ""
    not_personal: str = ""
    unit: str = ""
    limits: Limits = Limits()
    digits: int = 0
    scale: int = 0
    format: str = ""
    timezone: str = ""
    fields: tuple[Field, ...] = ()
    item: Field | None = None

    @property
    def stored(self) -> Kind:
        """Kind of its column: a token is a text, whatever it replaces."""
        return "string" if self.personal and not self.parts else self.kind

    @property
    def parts(self) -> tuple[Field, ...]:
        """Its parts."""
        return self.fields or ((self.item,) if self.item else ())

    def leaves(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Field]]:
        """Its innermost fields, or itself where it has no parts; ``[]`` stands for the items of a list."""
        path = (*path, self.name)
        if not self.parts:
            yield path, self
        for part in self.parts:
            yield from part.leaves(path)


@dataclass(frozen=True)
class Contract:
    """One object of a data contract.

    Attributes:
        id, version: The contract's; with the object's name where it has several.
        name: For users.
        topic: Kafka topic of its events, and their prefix in the lake.
        view: Name of the table, and of the feature view where the events are the features.
        object: Its name in the contract.
        fields: Fields of one event, in order.
        keys: Names of the fields that identify an entity; none where every event is a separate row.
        event_time: Name of the field with the event's time; empty where there is none.
        version_field: Name of the field whose highest value marks an entity's newest event; empty where the event time
            does.
        rules: Rules about the table as a whole.
        service_levels: Property, value and unit, as text.
        source: The file's text, so that data can keep the contract under which it was ingested.
        status: The contract's (``active``, ``draft``, ``deprecated``, ``retired``, ...), in lower case.
    """

    id: str
    version: str
    name: str
    topic: str
    view: str
    fields: tuple[Field, ...]
    object: str = ""
    keys: tuple[str, ...] = ()
    event_time: str = ""
    version_field: str = ""
    rules: tuple[Rule, ...] = ()
    status: str = "active"
    compatibility: str = "BACKWARD"
    owner: str = ""
    future_tolerance_hours: float = FUTURE_TOLERANCE_HOURS
    partition: str = "day"
    service_levels: tuple[tuple[str, str, str], ...] = ()
    source: str = field(default="", compare=False, repr=False)

    @property
    def retired(self) -> bool:
        """Whether its owner has retired it: its events are no longer ingested."""
        return _letters(self.status) in RETIRED

    @property
    def draft(self) -> bool:
        """Whether its owner does not guarantee it yet: production refuses it."""
        return _letters(self.status) in DRAFTS

    @property
    def partition_format(self) -> str:
        """``strftime`` form of the event date by which the raw zone is partitioned: days, or months where a day has too
        little data for a file.
        """
        return PARTITIONS[self.partition]

    @property
    def label(self) -> str:
        """Id and version."""
        return f"{self.id} {self.version}"

    @property
    def key(self) -> str:
        """Name of the one field that identifies the entity.

        Raises:
            ValueError: There is none, or several together.
        """
        if len(self.keys) != 1:
            raise ValueError(f"the contract {self.id} has {len(self.keys)} key fields, not one")
        return self.keys[0]

    def field(self, name: str) -> Field | None:
        """A field by its name, or by its title."""
        return next((item for item in self.fields if item.name == name), None) or next(
            (item for item in self.fields if item.title == name), None
        )

    def leaves(self) -> Iterator[tuple[tuple[str, ...], Field]]:
        """All innermost fields with their paths."""
        for item in self.fields:
            yield from item.leaves()

    @property
    def personal(self) -> bool:
        """Whether any field is masked."""
        return any(item.personal for _, item in self.leaves())

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema (draft 7) of one event."""
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": self.id,
            **_object(self.fields),
        }


def _letters(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalpha())


def _object(fields: tuple[Field, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {item.name: _json_schema(item) for item in fields},
        "required": [item.name for item in fields if item.required],
        "additionalProperties": False,
    }


_JSON_TYPES: dict[str, Any] = {
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "object": "object",
    "array": "array",
    "json": None,
}


def _json_schema(item: Field) -> dict[str, Any]:
    kind, limits = _JSON_TYPES.get(item.kind, "string"), item.limits
    schema: dict[str, Any] = {}
    if item.kind == "decimal":  # exact digits may also be sent as text
        kind = ["number", "string"]
    if item.kind == "object":
        schema = _object(item.fields)
    elif item.item is not None:
        schema["items"] = _json_schema(item.item)
    if kind is not None:
        kinds = kind if isinstance(kind, list) else [kind]
        schema["type"] = kind if item.required else [*kinds, "null"]
    if item.description:
        schema["description"] = item.description + (f" [{item.unit}]" if item.unit else "")
    if item.kind == "timestamp" and not item.format and not item.timezone:
        schema["format"] = "date-time"
    if item.kind in ("integer", "number"):
        names = {
            "least": "exclusiveMinimum" if limits.least_open else "minimum",
            "most": "exclusiveMaximum" if limits.most_open else "maximum",
        }
        schema |= {name: getattr(limits, side) for side, name in names.items() if getattr(limits, side) is not None}
        schema |= {"multipleOf": limits.multiple_of} if limits.multiple_of is not None else {}
    lengths = (
        ("minItems", "maxItems")
        if item.kind == "array"
        else ("minLength", "maxLength")
        if item.kind == "string"
        else ()
    )
    schema |= {
        name: value
        for name, value in zip(lengths, (limits.shortest, limits.longest), strict=False)
        if value is not None
    }
    if limits.pattern is not None:
        schema["pattern"] = limits.pattern
    if limits.allowed:
        schema["enum"] = [*limits.allowed, *(() if item.required else (None,))]
    return schema


def as_text(limit: Limit | None) -> str:
    """A bound for users: times in ISO 8601."""
    return limit.isoformat().replace("+00:00", "Z") if isinstance(limit, date | time) else str(limit)


def moment(text: Any) -> datetime:
    """A point in time of a contract, in UTC.

    Raises:
        ValueError: It is not a time in ISO 8601.
    """
    found = text if isinstance(text, datetime) else datetime.fromisoformat(str(text))
    return found if found.tzinfo else found.replace(tzinfo=UTC)
