"""Decodes the bytes of many events into columns and validates them against their contract; single events are checked
only if a batch as a whole is invalid.

Msgspec checks what it can while parsing (types, bounds of numbers, lengths); the rest is checked column by column.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pipelines.data.refusals import Refused, shown, why
from spec.contracts import Contract, Field
from spec.contracts.model import as_text
from spec.contracts.types import strptime_of

if TYPE_CHECKING:
    import pyarrow as pa

# A JSON string can't contain a line break, so no text of one event can extend into the next.
_BETWEEN = b",\n"
_YEARS = (datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
_OPEN, _CLOSE = ord("{"), ord("}")
MOST_DEEP = 500  # nesting of lists and objects, whatever Python itself would accept
_TEXTS, _BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"'), re.compile(rb"[\[\]{}]")


class Decoder:
    """Decodes the events of one contract."""

    def __init__(self, contract: Contract) -> None:
        import msgspec

        self.contract = contract
        event: Any = _struct("Event", contract.fields)
        self._one, self._many = msgspec.json.Decoder(event), msgspec.json.Decoder(list[event])
        self._faults = (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError)
        # Brackets of one event could be closed in the next, if a field may contain any JSON.
        self._together = not any(item.parts or item.kind == "json" for item in contract.fields)

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns of events as received: the contract's fields in order; timestamps in microseconds, UTC."""
        return arrow_schema(self.contract, stored=False)

    def decode(self, payloads: list[bytes], latest: datetime | None = None) -> tuple[pa.Table, list[Refused]]:
        """Columns of the valid events in order, and the others with what is wrong with them.

        Args:
            latest: An event with a later time comes from a wrong clock.

        A batch costs one parse and one conversion per column. A batch that does not match the contract as a whole is
        parsed event by event.
        """
        import msgspec

        refused: dict[int, Refused] = {}
        try:
            if not self._together or not all(body and body[0] == _OPEN and body[-1] == _CLOSE for body in payloads):
                raise msgspec.ValidationError("not one by one")
            events, places = self._many.decode(b"[" + _BETWEEN.join(payloads) + b"]"), range(len(payloads))
            if len(events) != len(payloads):
                raise msgspec.ValidationError("two in one")
        except self._faults:
            events, places = self._singly(payloads, refused)  # type: ignore[assignment]
        columns = _Columns(self.contract, latest)
        table = columns.table(events, self.schema)
        for index, (reason, detail) in columns.faults.items():
            refused[places[index]] = Refused(places[index], reason, detail)
        return table, [refused[index] for index in sorted(refused)]

    def _singly(self, payloads: list[bytes], refused: dict[int, Refused]) -> tuple[list[Any], list[int]]:
        events, places = [], []
        for index, body in enumerate(payloads):
            try:
                event = self._event(body)
                if _depth(body) > MOST_DEEP:
                    raise RecursionError
                events.append(event)
                places.append(index)
            except RecursionError:
                refused[index] = Refused(index, "not JSON", "it is nested too deep")
            except self._faults as error:
                refused[index] = Refused(index, *why(str(error), body, self.contract))
        return events, places

    def _event(self, body: bytes) -> Any:
        """One event; 1.0 is also a whole number (JSON Schema Validation 2020-12, 6.1.1), as pandas writes columns with
        gaps.

        Raises:
            msgspec.DecodeError: It does not match the contract.
        """
        import msgspec

        try:
            return self._one.decode(body)
        except msgspec.ValidationError as error:
            if "got `float`" not in str(error):
                raise
        event = self._loose.decode(body)
        _settle(self.contract.fields, event)
        return self._one.decode(msgspec.json.encode(event))

    @cached_property
    def _loose(self) -> Any:
        import msgspec

        return msgspec.json.Decoder(_struct("Event", self.contract.fields, loose=True))


def _depth(body: bytes) -> int:
    """The nesting depth of lists and objects; an upper bound where that is within the limit."""
    if body.count(b"[") + body.count(b"{") <= MOST_DEEP:
        return 0
    deepest = depth = 0
    for bracket in _BRACKETS.findall(_TEXTS.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


class _Columns:
    """Columns of events, and what is wrong with single ones."""

    def __init__(self, contract: Contract, latest: datetime | None) -> None:
        self._contract, self._latest = contract, latest
        self.faults: dict[int, tuple[str, str]] = {}

    def table(self, events: list[Any], schema: pa.Schema) -> pa.Table:
        """The events without those that have a fault."""
        import pyarrow as pa

        columns = [
            self._column(item, [getattr(event, name) for event in events], item.name, None)
            for item, name in zip(self._contract.fields, _slots(self._contract.fields), strict=True)
        ]
        table = pa.Table.from_arrays(columns, schema=schema)
        if not self.faults:
            return table
        keep = [True] * table.num_rows
        for index in self.faults:
            keep[index] = False
        return table.filter(pa.array(keep))

    def _column(self, item: Field, values: list[Any], path: str, rows: list[int] | None) -> pa.Array:
        """One field of all events.

        Args:
            rows: The event of each value; None where each value belongs to a separate event.
        """
        import pyarrow as pa

        kind = _arrow_type(item, stored=False)
        if item.kind == "object":
            parts = [
                self._column(
                    part,
                    [None if value is None else getattr(value, name) for value in values],
                    f"{path}.{part.name}",
                    rows,
                )
                for part, name in zip(item.fields, _slots(item.fields), strict=True)
            ]
            return pa.StructArray.from_arrays(
                parts, fields=list(kind), mask=pa.array([value is None for value in values], pa.bool_())
            )
        if item.kind == "array" and item.item is not None:
            offsets, inner, of_rows = [0], list[Any](), list[int]()
            for place, value in enumerate(values):
                inner += value or ()
                of_rows += [place if rows is None else rows[place]] * len(value or ())
                offsets.append(len(inner))
            missing = pa.array([value is None for value in values], pa.bool_())
            return pa.ListArray.from_arrays(
                pa.array(offsets, pa.int32()),
                self._column(item.item, inner, f"{path}[]", of_rows),
                type=kind,
                mask=missing,
            )
        array = self._leaf(item, values, path, rows, kind)
        self._check(item, array, values, path, rows)
        return array

    def _leaf(self, item: Field, values: list[Any], path: str, rows: list[int] | None, kind: pa.DataType) -> pa.Array:
        import pyarrow as pa

        if item.kind == "json":
            read = [_json_text(value) for value in values]
            self._refuse([text is _NO_TEXT for text in read], rows, "not JSON", lambda _: f"{path} is not valid UTF-8")
            if item.required:  # no bytes at all: its parent object is missing, or msgspec has refused the event
                null = [text is None and value is not None for text, value in zip(read, values, strict=True)]
                self._refuse(null, rows, "missing field", lambda _: f"{path} is missing")
            values = [None if text is _NO_TEXT else text for text in read]
        elif item.kind == "decimal":
            return self._decimals(item, values, path, rows, kind)
        elif item.kind in ("timestamp", "date", "time"):
            return self._times(item, values, path, rows, kind)
        return pa.array(values, type=kind)

    def _decimals(
        self, item: Field, values: list[Any], path: str, rows: list[int] | None, kind: pa.DataType
    ) -> pa.Array:
        import pyarrow as pa

        try:
            return pa.array(values, type=kind)
        except pa.ArrowInvalid:
            bad = [value is not None and not _fits(value, item) for value in values]
            self._refuse(
                bad,
                rows,
                "out of bounds",
                lambda at: (
                    f"{path} is {shown(item, values[at])}, but the field allows {item.digits} digits, {item.scale} of"
                    " them after the point"
                ),
            )
            return pa.array([None if wrong else value for value, wrong in zip(values, bad, strict=True)], type=kind)

    def _times(
        self, item: Field, values: list[str | None], path: str, rows: list[int] | None, kind: pa.DataType
    ) -> pa.Array:
        import pyarrow as pa

        if item.kind != "time" and not item.format:
            texts = pa.array(values, type=pa.string())
            try:
                return texts.cast(kind)  # ISO 8601; a timestamp with its zone
            except pa.ArrowInvalid:
                pass
            if item.kind == "timestamp":
                try:
                    return texts.cast(pa.timestamp("ns", "UTC")).cast(
                        kind, safe=False
                    )  # Java's clocks have nanoseconds
                except pa.ArrowInvalid:
                    pass
        known = {text: _moment(item, text) for text in dict.fromkeys(values) if text is not None}
        form = (
            f"as {item.format}"
            if item.format
            else "in ISO 8601" + (" with its zone" if item.kind == "timestamp" and not item.timezone else "")
        )
        self._refuse(
            [text is not None and known[text] is None for text in values],
            rows,
            "wrong type",
            lambda at: f"{path} is not a {_NAMED[item.kind]} {form}: {shown(item, values[at])}",
        )
        made = [None if text is None else known[text] for text in values]
        return pa.array([value.isoformat() if isinstance(value, time) else value for value in made], type=kind)

    def _check(self, item: Field, array: pa.Array, values: list[Any], path: str, rows: list[int] | None) -> None:
        """Bounds that msgspec does not support, patterns of texts, and lists of allowed values."""
        import pyarrow as pa
        import pyarrow.compute as pc

        limits = item.limits
        if limits.pattern is not None:
            self._refuse_where(
                _over_distinct(array, lambda texts: pc.invert(pc.match_substring_regex(texts, limits.pattern))),
                values,
                item,
                rows,
                lambda value: f"{path} is {value}, which does not match {limits.pattern}",
            )
        if limits.multiple_of is not None:
            step = limits.multiple_of
            self._refuse_where(
                _over_distinct(
                    array,
                    lambda numbers: pa.array(
                        [not _is_multiple(number, step) for number in numbers.to_pylist()], pa.bool_()
                    ),
                ),
                values,
                item,
                rows,
                lambda value: f"{path} is {value}, which is not a multiple of {step}",
            )
        if limits.allowed:
            allowed = pa.array(
                [value.isoformat() if isinstance(value, time) else value for value in limits.allowed], type=array.type
            )
            listed = ", ".join(map(as_text, limits.allowed))
            self._refuse_where(
                pc.invert(pc.is_in(array, allowed)),
                values,
                item,
                rows,
                lambda value: f"{path} is {value}, allowed is {listed}",
            )
        if item.kind not in ("timestamp", "date", "decimal", "time"):
            return
        least, most = limits.least, limits.most
        if item.kind in ("timestamp", "date"):  # what Arrow has beyond, Python has not
            first, last = _YEARS if item.kind == "timestamp" else (_YEARS[0].date(), _YEARS[1].date())
            least, most = least or first, most or last
        below = (
            None
            if least is None
            else (pc.less_equal if limits.least_open else pc.less)(array, _scalar(least, array.type))
        )
        above = (
            None
            if most is None
            else (pc.greater_equal if limits.most_open else pc.greater)(array, _scalar(most, array.type))
        )
        for side in (below, above):
            if side is not None:
                self._refuse_where(
                    side, values, item, rows, lambda value: f"{path} is {value}, allowed is {_range(item, least, most)}"
                )
        # Only the event's own time can't be in the future: other dates may well be.
        if self._latest is not None and rows is None and path == self._contract.event_time:
            late = pc.greater(array, _scalar(self._latest, array.type))
            self._refuse_where(
                late,
                values,
                item,
                rows,
                lambda value: (
                    f"{path} is {value}, but the platform accepts nothing from {self._latest:%Y-%m-%d %H:%M} UTC on"
                ),
                "in the future",
            )

    def _refuse_where(
        self,
        mask: Any,
        values: list[Any],
        item: Field,
        rows: list[int] | None,
        says: Callable[[str], str],
        reason: str = "out of bounds",
    ) -> None:
        """The original values for which the mask is true; it has no effect on missing ones."""
        import pyarrow.compute as pc

        if pc.any(mask).as_py():
            there = [bool(wrong) and value is not None for wrong, value in zip(mask.to_pylist(), values, strict=True)]
            self._refuse(there, rows, reason, lambda at: says(shown(item, values[at])))

    def _refuse(self, bad: list[bool], rows: list[int] | None, reason: str, says: Callable[[int], str]) -> None:
        for place, wrong in enumerate(bad):
            row = place if rows is None else rows[place]
            if wrong and row not in self.faults:
                self.faults[row] = (reason, says(place))


def arrow_schema(contract: Contract, *, stored: bool = True) -> pa.Schema:
    """The contract's fields as Arrow columns: as in tables, with tokens for personal values, or as received."""
    import pyarrow as pa

    return pa.schema(
        [pa.field(item.name, _arrow_type(item, stored=stored), nullable=not item.required) for item in contract.fields]
    )


def _arrow_type(item: Field, *, stored: bool) -> pa.DataType:
    import pyarrow as pa

    kind = item.stored if stored else item.kind
    if kind == "decimal":
        return pa.decimal128(item.digits, item.scale)
    if kind == "object":
        return pa.struct([pa.field(part.name, _arrow_type(part, stored=stored)) for part in item.fields])
    if kind == "array" and item.item is not None:
        return pa.list_(_arrow_type(item.item, stored=stored))
    kinds = {
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "timestamp": pa.timestamp("us", "UTC"),
        "date": pa.date32(),
    }
    return kinds.get(kind, pa.string())


def _slots(fields: tuple[Field, ...]) -> list[str]:
    """Names of a struct's attributes: fields may have names that attributes can't."""
    return [f"f{place}" for place in range(len(fields))]


def _settle(fields: tuple[Field, ...], event: Any) -> None:
    """Converts numbers that are whole to integers, in place."""
    for slot, item in zip(_slots(fields), fields, strict=True):
        setattr(event, slot, _settled(item, getattr(event, slot)))


def _settled(item: Field, value: Any) -> Any:
    if value is None:
        return None
    if item.kind == "object":
        _settle(item.fields, value)
    elif item.item is not None:
        return [_settled(item.item, one) for one in value]
    elif item.kind == "integer" and isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return value


def _struct(name: str, fields: tuple[Field, ...], *, loose: bool = False) -> Any:
    """What msgspec decodes events into.

    Args:
        loose: Whole numbers may be written with a decimal point, and bounds are not checked.
    """
    import msgspec

    slots = _slots(fields)
    described: list[Any] = []
    for slot, item in zip(slots, fields, strict=True):
        kind = _msgspec_type(item, loose=loose)
        if item.required:
            described.append((slot, kind))
        else:
            described.append((slot, kind if item.kind == "json" else kind | None, None))
    rename = {slot: item.name for slot, item in zip(slots, fields, strict=True)}
    return msgspec.defstruct(name, described, forbid_unknown_fields=True, kw_only=True, gc=False, rename=rename)


def _msgspec_type(item: Field, *, loose: bool = False) -> Any:
    """A field as msgspec checks it."""
    from decimal import Decimal
    from typing import Annotated

    from msgspec import Meta, Raw

    if item.kind == "json":
        return Raw  # also accepts null
    if item.kind == "object":
        return _struct("Part", item.fields, loose=loose)
    kinds: dict[str, Any] = {"integer": int, "number": float, "boolean": bool, "decimal": Decimal}
    kind: Any = kinds.get(item.kind, str)
    if item.item is not None:
        inner = _msgspec_type(item.item, loose=loose)
        either: Any = inner if item.item.required or item.item.kind == "json" else inner | None
        kind = list[either]
    if loose:
        return int | float if item.kind == "integer" else kind
    limits, given = item.limits, dict[str, Any]()
    if item.kind in ("integer", "number"):
        given = _numeric(item)
    elif item.kind in ("string", "array"):
        given = {"min_length": limits.shortest, "max_length": limits.longest}
    given = {name: value for name, value in given.items() if value is not None}
    return Annotated[kind, Meta(**given)] if given else kind


def _numeric(item: Field) -> dict[str, Any]:
    limits = item.limits
    if item.kind == "number":
        sides = {"gt" if limits.least_open else "ge": limits.least, "lt" if limits.most_open else "le": limits.most}
        return {name: None if side is None else float(side) for name, side in sides.items()}  # type: ignore[arg-type]
    # Within the range of a 64-bit column; 0.5 can also be a bound of whole numbers.
    least: Any = -(2**63) if limits.least is None else limits.least
    most: Any = 2**63 - 1 if limits.most is None else limits.most
    low = math.floor(least) + 1 if limits.least_open else math.ceil(least)
    high = math.ceil(most) - 1 if limits.most_open else math.floor(most)
    return {"ge": max(low, -(2**63)), "le": min(high, 2**63 - 1)}


_NAMED = {"timestamp": "time", "date": "date", "time": "time of day"}


def _moment(item: Field, text: str) -> datetime | date | time | None:
    """One time as text; None if it is not a time."""
    try:
        if item.kind == "time":
            return datetime.strptime(text, strptime_of(item.format)).time() if item.format else time.fromisoformat(text)  # noqa: DTZ007 (of a day)
        found = datetime.strptime(text, strptime_of(item.format)) if item.format else _iso(item, text)  # noqa: DTZ007 (its zone follows)
        if item.kind == "date" or found is None:
            return found.date() if isinstance(found, datetime) else found
        if found.tzinfo is None:
            if not item.timezone:
                return None
            from zoneinfo import ZoneInfo

            found = found.replace(tzinfo=ZoneInfo(item.timezone))
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _iso(item: Field, text: str) -> Any:
    """Parsed by Arrow, so that a text means the same alone and among others; without a zone by Python."""
    import pyarrow as pa

    text = re.sub(r"([.,]\d{6})\d+", r"\1", text)
    try:
        return pa.array([text]).cast(_arrow_type(item, stored=False))[0].as_py()
    except (pa.ArrowInvalid, ValueError, OverflowError):
        return datetime.fromisoformat(text) if item.kind == "timestamp" and item.timezone else None


_NO_TEXT = object()


def _json_text(value: Any) -> Any:
    """The value of a field that may contain anything; msgspec has not checked its bytes."""
    if value is None:
        return None
    try:
        text = bytes(value).decode()
    except UnicodeDecodeError:
        return _NO_TEXT
    return None if text == "null" else text


def _is_multiple(number: Any, step: Any) -> bool:
    """By the written digits: 0.07 is a multiple of 0.01, though as a float it is not."""
    from decimal import Decimal

    return number is None or Decimal(str(number)) % Decimal(str(step)) == 0


def _fits(value: Any, item: Field) -> bool:
    import pyarrow as pa

    try:
        pa.array([value], type=_arrow_type(item, stored=False))
    except pa.ArrowInvalid:
        return False
    return True


def _over_distinct(array: pa.Array, asked: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """A result for each value, computed once for each distinct one."""
    encoded = array.dictionary_encode()
    return asked(encoded.dictionary).take(encoded.indices)


def _scalar(value: Any, kind: pa.DataType) -> Any:
    import pyarrow as pa

    return pa.scalar(value.isoformat() if isinstance(value, time) else value, type=kind)


def _range(item: Field, least: Any, most: Any) -> str:
    """Bounds in words."""
    sides = ([f"{'above' if item.limits.least_open else 'from'} {as_text(least)}"] if least is not None else []) + (
        [f"{'below' if item.limits.most_open else 'to'} {as_text(most)}"] if most is not None else []
    )
    return " ".join(sides)
