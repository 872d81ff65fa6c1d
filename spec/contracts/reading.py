"""From a contract's document to what the platform uses of it, with everything that is wrong in it and everything
that is not enforced.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path as File
from typing import Any

from spec.contracts import personal, rules, standard, tables, types
from spec.contracts.document import Document, Fault, NotReadableError, Path
from spec.contracts.model import (
    COMPATIBILITIES,
    FUTURE_TOLERANCE_HOURS,
    INTERNAL,
    PARTITIONS,
    REASON_LENGTH,
    Contract,
    Field,
    Limits,
    Rule,
)
from spec.errors import UsageError

# What the platform itself reads from `customProperties`, of a contract and of a field.
OF_CONTRACT = ("compatibility", "owner", "partition", "version", "future_tolerance_hours")
OF_FIELD = ("unit", "notPersonal")
# Sections with obligations that the platform does not enforce.
_BINDING = ("servers", "roles", "price", "support", "team", "slaProperties")
_OF_TABLE, _OF_FIELD = ("relationships",), ("transformLogic", "relationships")
_STATUS = {
    "retired": "no stack ingests its events",
    "draft": "production refuses it until its owner activates it (`status: active`)",
    "deprecated": "its readers should migrate",
}
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,200}")
_STRUCT = set("<>,:")  # characters with which Hive writes types
MOST_NAME = 255


@dataclass
class Read:
    """The content of a file.

    Attributes:
        contracts: One for each object of its schema; none where there are faults.
        faults: What must be fixed.
        notes: What is kept and not enforced, and what is interpreted differently than written.
    """

    contracts: tuple[Contract, ...] = ()
    faults: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)


def read(document: Document) -> Read:
    """A contract, with every fault and every note."""
    found = Read()
    try:
        found.faults, found.notes = standard.check(document)
    except NotReadableError as error:
        return Read(faults=[error.fault])
    if found.faults:
        found.faults = sorted({*found.faults, *_other_faults(document)})
        return found
    reader = _Reader(document, document.data, found)
    contracts = reader.contracts()
    found.faults.sort()
    found.contracts = () if found.faults else contracts
    return found


def _other_faults(document: Document) -> list[Fault]:
    """What else is wrong with a contract that violates the standard, except what could follow from that."""
    left = standard.without_faults(document)
    if left is None:
        return []
    data, lost = left
    others = Read()
    _Reader(document, data, others).contracts()
    return [
        fault
        for fault in others.faults
        if not any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", f"{fault.place} {fault.says}") for name in lost)
    ]


def load_contracts(path: File) -> tuple[Contract, ...]:
    """A contract file's objects.

    Raises:
        UsageError: It can't be read, or is invalid; all errors are reported.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"is not readable text: {error.strerror if isinstance(error, OSError) else 'not UTF-8'}", where=str(path)
        ) from None
    return parse_contracts(text, str(path))


def parse_contracts(text: str, where: str) -> tuple[Contract, ...]:
    """The objects of a contract given as text.

    Raises:
        UsageError: Something is wrong with it; all of it is told.
    """
    found = read(Document(where, text))
    if found.faults:
        raise UsageError("\n".join(map(str, found.faults)))
    return found.contracts


class _Reader:
    """One document on its way to contracts."""

    def __init__(self, document: Document, data: dict[str, Any], found: Read) -> None:
        self._document, self._data, self._found = document, data, found
        self._places: dict[Rule, Path] = {}

    def _fault(self, path: Path, says: str, fix: str = "") -> None:
        self._found.faults.append(self._document.fault(path, says, fix))

    def _note(self, path: Path, says: str, fix: str = "") -> None:
        self._found.notes.append(self._document.fault(path, says, fix))

    def contracts(self) -> tuple[Contract, ...]:
        data = self._data
        shared = self._shared()
        objects = data.get("schema") or []
        if not objects:
            self._note((), "has no `schema`: there are no events to ingest")
        for name in _BINDING:
            if data.get(name):
                self._note((name,), "kept, not enforced")
        described = [(place, item) for place, item in enumerate(objects) if item.get("properties")]
        for place in range(len(objects)):
            if not objects[place].get("properties"):
                self._note(("schema", place), "has no properties: nothing is ingested")
        found = tuple(self._contract(place, item, shared, several=len(described) > 1) for place, item in described)
        known = {"active", "current", "production", "live", "published", "approved", "deprecated", ""}
        if found and not (found[0].retired or found[0].draft) and found[0].status not in known:
            self._note(("status",), f"{found[0].status} is an unknown status: it is treated as active")
        if found and (
            says := _STATUS.get("retired" if found[0].retired else "draft" if found[0].draft else found[0].status)
        ):
            self._note(("status",), f"{found[0].status}: {says}")
        seen = dict[str, str]()
        for (place, _), contract in zip(described, found, strict=True):
            names = [f"topic {contract.topic.lower()}", f"table {contract.view}"]
            if twice := next((name for name in names if name in seen), ""):
                self._fault(
                    ("schema", place),
                    f"describes the {twice}, and so does {seen[twice]}",
                    "give one of them another name and physicalName",
                )
            seen |= {name: contract.object for name in names if name not in seen}
        return self._with_queries_that_run(found)

    def _with_queries_that_run(self, found: tuple[Contract, ...]) -> tuple[Contract, ...]:
        """Drop the rules whose queries don't run on the contract's objects, for which many were not written: a note
        names each.
        """
        if self._found.faults or not any(rule.kind == "sql" for contract in found for rule in contract.rules):
            return found
        made, database = [], tables.connection(found)
        for contract in found:
            kept = []
            for rule in contract.rules:
                if rule.kind == "sql" and (why := tables.why_not(rule.query, contract, rule.about, database)):
                    self._note(self._places[rule], f"kept, not enforced: {why}")
                else:
                    kept.append(rule)
            made.append(replace(contract, rules=tuple(kept)))
        return tuple(made)

    def _shared(self) -> dict[str, Any]:
        """What all objects of the contract have in common."""
        data, own = self._data, dict[str, Any]()
        for place, item in enumerate(data.get("customProperties") or ()):
            name, value, path = item.get("property"), item.get("value"), ("customProperties", place)
            if near := self._near(str(name), OF_CONTRACT):
                # A typo there would change what is promised; names that are only similar may be the author's own.
                tell = self._fault if near in ("compatibility", "future_tolerance_hours") else self._note
                tell(path, f"{name!r} is not used", f"did you mean {near}?")
            elif name == "notPersonal" or self._near(str(name), ("notPersonal",)):
                self._fault(
                    path,
                    f"{name} is about a field, but is set on the whole contract",
                    "move it to the field's own customProperties",
                )
            if name == "compatibility" and value not in COMPATIBILITIES:
                self._fault(path, f"compatibility {value!r} is not one of {', '.join(COMPATIBILITIES)}")
            elif name == "future_tolerance_hours" and (
                isinstance(value, bool) or not isinstance(value, int | float) or value < 0
            ):
                self._fault(path, f"future_tolerance_hours is {value!r}; it must be a number of hours, 0 or more")
            elif name == "partition" and value not in PARTITIONS:
                self._note(
                    path,
                    f"partition {value!r} is not one of {', '.join(PARTITIONS)}: the raw zone is partitioned by day",
                )
            elif name == "version" and not isinstance(value, str):
                self._note(path, f"version {value!r} does not name a field, and has no effect")
            else:
                own[str(name)] = value
        levels = tuple(
            (str(item["property"]), str(item["value"]), str(item.get("unit") or ""))
            for item in data.get("slaProperties") or ()
        )
        return {
            "version": str(data["version"]),
            "status": str(data.get("status") or "active").lower(),
            "compatibility": str(own.get("compatibility", "BACKWARD")),
            "owner": str(own.get("owner", "")),
            "version_field": str(own.get("version", "")),
            "future_tolerance_hours": float(own.get("future_tolerance_hours", FUTURE_TOLERANCE_HOURS)),
            "partition": str(own.get("partition", "day")),
            "service_levels": levels,
            "source": self._document.text,
        }

    @staticmethod
    def _near(name: str, known: Iterable[str]) -> str:
        return "" if name in known else next(iter(difflib.get_close_matches(name, list(known), 1, 0.8)), "")

    def _contract(self, place: int, item: dict[str, Any], shared: dict[str, Any], *, several: bool) -> Contract:
        path: Path = ("schema", place)
        name, data = str(item["name"]), self._data
        if not name.strip():
            self._fault((*path, "name"), "is empty: its table needs a name")
        topic = str(item.get("physicalName") or name)
        if not _TOPIC.fullmatch(topic):
            slug = re.sub(r"[^a-z0-9._-]+", "-", topic.lower()).strip("-")[:200] or "events"
            self._note(
                (*path, "physicalName" if item.get("physicalName") else "name"),
                f"{topic!r} is not a valid topic name: {slug} is used instead",
            )
            topic = slug
        view = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_") or "events"
        given = item["properties"]
        of_all = personal.said(data) or personal.said(item)
        fields = tuple(self._field((*path, "properties", index), one) for index, one in enumerate(given))
        self._check_names(path, fields)
        keys, time = self._keys(path, given, fields), self._event_time(path, given, fields)
        fields = tuple(replace(one, required=one.required or one.name in keys or one.name == time) for one in fields)
        fields = self._all_texts(path, given, fields, of_all)
        title = str(item.get("businessName") or data.get("name") or name)
        contract = Contract(
            id=f"{data['id']}/{name}" if several else str(data["id"]),
            name=title,
            object=name,
            topic=topic,
            view=f"t_{view}" if view[0].isdigit() else view,
            fields=fields,
            keys=keys,
            event_time=time,
            rules=tuple(self._rules(path, item, fields)),
            **shared,
        )
        for section in _OF_TABLE:
            if item.get(section):
                self._note((*path, section), "kept, not enforced")
        if several and contract.field(contract.version_field) is None:
            return replace(contract, version_field="")  # of another object
        self._check_version_field(contract)
        orders = contract.field(contract.version_field)
        return replace(contract, version_field=orders.name) if orders else contract

    def _check_version_field(self, contract: Contract) -> None:
        if not contract.version_field:
            return
        orders = contract.field(contract.version_field)
        if orders is not None and orders.personal:
            self._fault(
                ("customProperties",),
                f"the version field {contract.version_field!r} is masked, but tokens have no order",
            )
        if orders is None or not orders.required or orders.kind not in ("integer", "number", "decimal", "timestamp"):
            self._fault(
                ("customProperties",),
                f"the version field {contract.version_field!r} must be a property that is required, and a number or a"
                " timestamp",
            )

    def _check_names(self, path: Path, fields: tuple[Field, ...]) -> None:
        """Names that no engine accepts, and those that Athena and Glue confuse with each other."""
        seen = dict[str, str]()
        for index, one in enumerate(fields):
            place: Path = (*path, "properties", index)
            name = one.name
            if not name.strip() or len(name) > MOST_NAME or any(ord(char) < 32 for char in name):
                self._fault(
                    place,
                    f"{name!r} is not a valid column name: 1 to {MOST_NAME} characters, no line breaks or other control"
                    " characters",
                )
            elif name != name.strip():
                self._fault(place, f"{name!r} begins or ends with a blank, which tables don't keep")
            elif name.startswith(INTERNAL):
                self._fault(place, f"names that begin with {INTERNAL!r} are the platform's own")
            elif name.lower() in seen:
                first = seen[name.lower()]
                what = (
                    "appears twice"
                    if first == name
                    else f"and {first} are the same name for Athena and Glue, which ignore case"
                )
                self._fault(place, f"the property {name} {what}", "give one of them another name")
            seen.setdefault(name.lower(), name)

    def _field(self, path: Path, item: dict[str, Any], *, inner: bool = False) -> Field:
        """A property. A fault makes it a text, so that the others are still read."""
        name = str(item.get("physicalName") or item.get("name") or "item")
        if inner and _STRUCT & set(name):
            self._fault(
                path,
                f"the name {name!r} of an inner field contains one of the characters {' '.join(sorted(_STRUCT))}, which"
                " tables use to write types",
            )
        made = Field(
            name,
            "string",
            title=str(item.get("name") or name),
            description=str(item.get("description") or ""),
            required=item.get("required") is True,
        )
        try:
            kind, digits, scale = types.kind_of(item)
            form, zone = types.format_of(kind, item)
            made = replace(
                made,
                kind=kind,
                digits=digits,
                scale=scale,
                format=form,
                timezone=zone,
                unique=item.get("unique") is True,
            )
            made = replace(
                made,
                limits=types.limits_of(kind, item, str(item.get("logicalType") or kind), digits, scale),
                **self._parts(path, item, made),
            )
        except types.TypeFaultError as error:
            inside = (
                ("logicalTypeOptions",)
                if error.option and error.option in (item.get("logicalTypeOptions") or {})
                else ()
            )
            self._fault((*path, *inside, *((error.option,) if error.option else ())), str(error), error.fix)
        self._not_enforced(path, item, made, inner=inner)
        return self._person(path, item, self._customs(path, item, made))

    def _parts(self, path: Path, item: dict[str, Any], made: Field) -> dict[str, Any]:
        if made.kind == "object":
            fields = tuple(
                self._field((*path, "properties", index), one, inner=True)
                for index, one in enumerate(item["properties"])
            )
            self._check_names(path, fields)
            return {"fields": fields}
        if made.kind == "array":
            items = item.get("items") or {"logicalType": "number"}  # of a vector
            return {"item": replace(self._field((*path, "items"), {"name": "item", **items}, inner=True), name="[]")}
        return {}

    def _customs(self, path: Path, item: dict[str, Any], made: Field) -> Field:
        for place, custom in enumerate(item.get("customProperties") or ()):
            name, value = str(custom.get("property")), custom.get("value")
            if near := self._near(name, OF_FIELD):
                # A typo there would leave data in quarantine, or mask it; other names may be the author's own.
                tell = self._fault if near == "notPersonal" else self._note
                tell((*path, "customProperties", place), f"{name!r} is not used", f"did you mean {near}?")
            if name == "unit":
                made = replace(made, unit=str(value))
            elif name == "notPersonal":
                if not isinstance(value, str) or len(value.strip()) < REASON_LENGTH:
                    self._fault(
                        (*path, "customProperties", place),
                        "notPersonal must give the reason why the field contains no personal data",
                        "a sentence",
                    )
                else:
                    made = replace(made, not_personal=value.strip())
        return made

    def _person(self, path: Path, item: dict[str, Any], made: Field) -> Field:
        """Whether the field is masked, with all of its parts."""
        slipped, meant = personal.slip(item)
        if slipped:
            self._fault((*path, "tags"), f"the tag {slipped!r} masks nothing", f"did you mean {meant}?")
        why = personal.said(item)
        if why and made.not_personal:
            self._fault(
                path,
                f"is declared both personal ({why}) and not personal (customProperties: notPersonal)",
                "remove one of them",
            )
        if not why and item.get("criticalDataElement") is True and not made.not_personal:
            if made.parts or _names_somebody(made):
                why = "criticalDataElement"
                self._note(
                    (*path, "criticalDataElement"),
                    "is treated as personal, and masked",
                    "if it is not, add `notPersonal` with the reason under customProperties",
                )
            else:
                self._note(
                    (*path, "criticalDataElement"),
                    f"kept unmasked: a {made.kind} alone identifies nobody",
                    "tag it `personal` to have it masked",
                )
        return _masked(made, why) if why else made

    def _all_texts(
        self, path: Path, given: list[dict[str, Any]], fields: tuple[Field, ...], why: str
    ) -> tuple[Field, ...]:
        """If only the object as a whole is declared personal, all its texts are, until its fields say which."""
        if not why or any(leaf.personal for one in fields for _, leaf in one.leaves()):
            return fields

        def open_to_all(one: Field, item: dict[str, Any]) -> bool:
            return str(item.get("classification") or "").lower() == "public" or bool(one.not_personal)

        made = tuple(
            one if open_to_all(one, item) else _texts_masked(one, why) for one, item in zip(fields, given, strict=True)
        )
        masked = [one.name for one in made if any(leaf.personal for _, leaf in one.leaves())]
        says = (
            f"is personal as a whole ({why}), but no field is: all texts, dates and whole numbers are masked"
            f" ({', '.join(masked)})"
        )
        self._note(path, says, "tag the fields that are personal")
        return made

    def _keys(self, path: Path, given: list[dict[str, Any]], fields: tuple[Field, ...]) -> tuple[str, ...]:
        found = []
        for index, (item, one) in enumerate(zip(given, fields, strict=True)):
            if item.get("primaryKey") is not True:
                continue
            if one.parts:
                self._fault(
                    (*path, "properties", index, "primaryKey"),
                    f"an {one.kind} can't be the key",
                    "name a text or a whole number as the key",
                )
            if item.get("required") is False:
                self._note(
                    (*path, "properties", index, "required"),
                    "is the key: events without it become dead letters, whatever `required` says",
                )
            position = item.get("primaryKeyPosition")
            found.append((position if isinstance(position, int) and position > 0 else len(fields), index, one.name))
        if not found:
            self._note(path, "has no primary key: every event is a separate row, and features need a view with a key")
        return tuple(name for _, _, name in sorted(found))

    def _event_time(self, path: Path, given: list[dict[str, Any]], fields: tuple[Field, ...]) -> str:
        """The timestamp by which the data is partitioned is the event's time."""
        times = []
        for index, (item, one) in enumerate(zip(given, fields, strict=True)):
            if item.get("partitioned") is not True:
                continue
            if one.kind != "timestamp" or one.personal:
                self._note(
                    (*path, "properties", index, "partitioned"),
                    "not enforced: the lake is partitioned by the time of events, which must be a timestamp",
                )
                continue
            position = item.get("partitionKeyPosition")
            times.append((position if isinstance(position, int) and position > 0 else len(fields), index, one.name))
            if item.get("required") is not True:
                self._note(
                    (*path, "properties", index, "required"),
                    "is the event's time: events without it become dead letters, whatever `required` says",
                )
        for _, index, _ in sorted(times)[1:]:
            self._note(
                (*path, "properties", index, "partitioned"),
                f"not enforced: the lake is partitioned by {sorted(times)[0][2]}",
            )
        return sorted(times)[0][2] if times else ""

    def _rules(self, path: Path, item: dict[str, Any], fields: tuple[Field, ...]) -> Iterator[Rule]:
        yield from self._rules_at(path, item, "", fields)
        for index, (one, given) in enumerate(zip(fields, item["properties"], strict=True)):
            yield from self._rules_at((*path, "properties", index), given, one.name, fields)

    def _rules_at(self, path: Path, item: dict[str, Any], about: str, fields: tuple[Field, ...]) -> Iterator[Rule]:
        for place, written in enumerate(item.get("quality") or ()):
            where = (*path, "quality", place)
            try:
                rule = rules.rule_of(written, about)
                if masked := rules.masked_by(rule, fields):
                    raise rules.NotRunError(
                        f"{masked} is masked, but a token does not have the form of the value that it replaces"
                    )
                if problem := rules.problem(rule, fields):
                    self._fault(where, problem)
                self._places[rule] = where
                yield rule
            except rules.NotRunError as error:
                self._note(where, f"kept, not enforced: {error}")
            except ValueError as error:
                self._fault(where, str(error))

    def _not_enforced(self, path: Path, item: dict[str, Any], made: Field, *, inner: bool) -> None:
        options = item.get("logicalTypeOptions") or {}
        read = {
            "string": ("minLength", "maxLength", "pattern"),
            "array": ("minItems", "maxItems"),
            "timestamp": ("format", "timezone", "defaultTimezone"),
            "date": ("format",),
            "time": ("format",),
            "integer": ("format", "multipleOf"),
            "number": ("multipleOf",),
        }.get(made.kind, ())
        bounds = (
            ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
            if made.kind not in ("string", "boolean", "array", "object", "json")
            else ()
        )
        for name in options:
            if name not in (*read, *bounds) and options[name] is not False:
                self._note((*path, "logicalTypeOptions", name), "kept, not enforced")
        if item.get("enum") and made.kind in ("object", "array", "json"):
            self._note((*path, "enum"), "kept, not enforced")
        if made.kind == "integer" and options.get("format") in ("u64", "i128", "u128"):
            self._note(
                (*path, "logicalTypeOptions", "format"),
                "whole numbers above 2^63 - 1 become dead letters: columns have 64 bits with a sign",
            )
        for name in ("unique", "primaryKey", "partitioned") if inner else ("unique",) if made.parts else ():
            if item.get(name) is True:
                self._note((*path, name), "kept, not enforced")
        for place in range(len(item.get("quality") or ())) if inner else ():
            self._note((*path, "quality", place), "kept, not enforced")
        if made.limits == Limits() and made.kind == "json" and (item.get("logicalType") or item.get("physicalType")):
            self._note(path, "is kept as JSON text: the contract does not describe its parts")
        for name in _OF_FIELD:
            if item.get(name):
                self._note((*path, name), "kept, not enforced")


def _masked(one: Field, why: str) -> Field:
    """The field and all of its parts."""
    item = _masked(one.item, why) if one.item else None
    return replace(one, personal=why, fields=tuple(_masked(part, why) for part in one.fields), item=item)


def _texts_masked(one: Field, why: str) -> Field:
    if one.parts:
        return replace(
            one,
            fields=tuple(_texts_masked(part, why) for part in one.fields),
            item=_texts_masked(one.item, why) if one.item else None,
        )
    return replace(one, personal=why) if _names_somebody(one) and not one.not_personal else one


def _names_somebody(one: Field) -> bool:
    """Whether values of its kind may be names, numbers or birthdays of people, rather than amounts."""
    return one.kind in ("string", "json", "date", "integer") or (one.kind == "decimal" and one.scale == 0)
