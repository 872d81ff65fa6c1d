"""Bytes of many events at once into columns, held to their contract; single events are looked at only where a batch fails."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from infra.contracts import Contract, Property, moment

if TYPE_CHECKING:
    import pyarrow as pa

# A line break can't stand inside of a JSON string, so no text of one event can reach into the next.
_BETWEEN = b",\n"
_YEARS = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
_OPEN, _CLOSE = ord("{"), ord("}")


@dataclass(frozen=True)
class Refused:
    """An event that is none of the contract's.

    Attributes:
        index: Its place in the batch.
        reason: ``not JSON``, ``unknown field``, ``missing field``, ``wrong type``, ``out of bounds``, or ``in the future``.
        detail: What is wrong with it, in one sentence.
    """

    index: int
    reason: str
    detail: str


class Decoder:
    """Decodes the events of one contract."""

    def __init__(self, contract: Contract) -> None:
        import msgspec

        self.contract = contract

        def kind(*, forms: bool) -> Any:
            fields = [_field(item, forms=forms) for item in contract.properties]
            return msgspec.defstruct("Event", fields, forbid_unknown_fields=True, kw_only=True, gc=False)

        # The form of texts is checked a column at a time, which is several times as fast.
        many: Any = kind(forms=False)
        self._one, self._many = msgspec.json.Decoder(kind(forms=True)), msgspec.json.Decoder(list[many])
        self._forms = [(item.name, item.logicalTypeOptions.pattern) for item in contract.properties if item.logicalTypeOptions.pattern]
        self._compiled = {name: re.compile(_whole(pattern) or "") for name, pattern in self._forms}
        self._faults = (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError)

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns of the raw zone: the contract's fields in their order; timestamps in microseconds, UTC."""
        return arrow_schema(self.contract)

    def decode(self, payloads: list[bytes], latest: datetime | None = None) -> tuple[pa.Table, list[Refused]]:
        """Columns of the good events in their order, and the others with what is wrong with them.

        Args:
            latest: An event whose time lies after it comes from a clock that is wrong.

        What a batch costs is one parse and one conversion a column. A batch in which something is wrong is parsed event by event.
        """
        import msgspec
        import pyarrow as pa

        try:
            if not all(body and body[0] == _OPEN and body[-1] == _CLOSE for body in payloads):
                raise msgspec.ValidationError("not an object")
            events = self._many.decode(b"[" + _BETWEEN.join(payloads) + b"]")
            if len(events) != len(payloads):
                raise msgspec.ValidationError("two in one")
            table = self._table(events, latest)
            self._check_forms(table)
            return table, []
        except (*self._faults, pa.ArrowInvalid, _OutOfBoundsError):
            return self._singly(payloads, latest)

    def _singly(self, payloads: list[bytes], latest: datetime | None) -> tuple[pa.Table, list[Refused]]:
        import pyarrow as pa

        events, refused = [], []
        timed = [item for item in self.contract.properties if item.logicalType == "timestamp"]
        for index, body in enumerate(payloads):
            try:
                event = self._one.decode(body)
                for item in timed:
                    _check_time(item, getattr(event, item.name), self._latest(item, latest))
                events.append(event)
            except (*self._faults, _OutOfBoundsError, pa.ArrowInvalid) as error:
                refused.append(Refused(index, *_why(error)))
        return self._table(events, latest), refused

    def _latest(self, item: Property, latest: datetime | None) -> datetime | None:
        """Only the event's own time can't lie ahead: other dates may well be of the future."""
        return latest if item.name == self.contract.event_time else None

    def _check_forms(self, table: pa.Table) -> None:
        import pyarrow.compute as pc

        for name, pattern in self._forms:
            texts = pc.unique(table[name])
            if len(texts) and not pc.all(pc.match_substring_regex(texts, pattern), skip_nulls=True).as_py():
                raise _OutOfBoundsError(name)
            # The two engines differ beyond ASCII (what is a blank, a digit); what is good alone must be good among others.
            if any(self._compiled[name].search(text) is None for text in texts.to_pylist() if text is not None and not text.isascii()):
                raise _OutOfBoundsError(name)

    def _table(self, events: list[Any], latest: datetime | None) -> pa.Table:
        import pyarrow as pa

        columns = []
        for item, field in zip(self.contract.properties, self.schema, strict=True):
            name = item.name
            if item.logicalType != "timestamp":
                columns.append(pa.array([getattr(event, name) for event in events], type=field.type))
                continue
            times = _times([getattr(event, name) for event in events])
            _check_times(item, times, self._latest(item, latest))
            columns.append(times)
        return pa.Table.from_arrays(columns, schema=self.schema)


def arrow_schema(contract: Contract) -> pa.Schema:
    """The contract's fields as Arrow columns."""
    import pyarrow as pa

    kinds = {"integer": pa.int64(), "number": pa.float64(), "string": pa.string(), "boolean": pa.bool_(), "timestamp": pa.timestamp("us", "UTC")}
    return pa.schema([pa.field(item.name, kinds[item.logicalType], nullable=not item.required) for item in contract.properties])


class _OutOfBoundsError(ValueError):
    """A timestamp outside of its contract."""


def _field(item: Property, *, forms: bool) -> Any:
    """A field as msgspec checks it: type, bounds, form and length."""
    from typing import Annotated

    from msgspec import Meta

    kinds: dict[str, Any] = {"integer": int, "number": float, "string": str, "boolean": bool, "timestamp": str}
    kind, bounds = kinds[item.logicalType], item.logicalTypeOptions
    limits: dict[str, Any] = {}
    if item.logicalType in ("integer", "number"):
        limits = {name: limit for name, limit in (("ge", bounds.minimum), ("le", bounds.maximum)) if limit is not None}
        if item.logicalType == "integer":  # within what a column of 64 bits can hold; 0.5 is a bound of whole numbers, too
            least, most = math.ceil(limits.get("ge", -(2**63))), math.floor(limits.get("le", 2**63 - 1))
            limits = {"ge": max(least, -(2**63)), "le": min(most, 2**63 - 1)}
        else:
            limits = {name: float(limit) for name, limit in limits.items()}
    elif item.logicalType == "string":
        limits = {
            name: limit for name, limit in (("pattern", _whole(bounds.pattern) if forms else None), ("max_length", bounds.maxLength)) if limit is not None
        }
    if limits:
        kind = Annotated[kind, Meta(**limits)]
    return (item.name, kind) if item.required else (item.name, kind | None, None)


def _whole(pattern: str | None) -> str | None:
    """The pattern with the end of the text for ``$``, as JSON Schema means it; Python's would let a line break stand behind it."""
    return f"{pattern[:-1]}\\Z" if pattern and pattern.endswith("$") and not pattern.endswith("\\$") else pattern


def _times(texts: list[str | None]) -> Any:
    import pyarrow as pa

    # ISO 8601 with a zone; a time without one is refused.
    return pa.array(texts, type=pa.string()).cast(pa.timestamp("us", "UTC"))


def _check_times(item: Property, times: Any, latest: datetime | None = None) -> None:
    import pyarrow.compute as pc

    bounds = item.logicalTypeOptions
    least = _YEARS[0] if bounds.minimum is None else moment(bounds.minimum)
    most = min(_YEARS[1] if bounds.maximum is None else moment(bounds.maximum), latest or _YEARS[1])
    # Compared as Arrow's numbers: Python has no year 0.
    found = pc.min_max(times)
    if found["min"].is_valid and (pc.less(found["min"], _scalar(least)).as_py() or pc.greater(found["max"], _scalar(most)).as_py()):
        raise _OutOfBoundsError


def _scalar(time: datetime) -> Any:
    import pyarrow as pa

    return pa.scalar(time, type=pa.timestamp("us", "UTC"))


def _check_time(item: Property, text: str | None, latest: datetime | None) -> None:
    if text is None:
        return
    import pyarrow as pa

    try:
        found = _times([text])
    except pa.ArrowInvalid:
        raise _OutOfBoundsError(f"wrong type: {item.name} is no time in ISO 8601 with its zone: {text[:40]!r}") from None
    try:
        _check_times(item, found)
    except _OutOfBoundsError:
        bounds = item.logicalTypeOptions
        raise _OutOfBoundsError(
            f"out of bounds: {item.name} is {text[:40]}, allowed is {bounds.minimum or _YEARS[0].date()} to {bounds.maximum or _YEARS[1].date()}"
        ) from None
    try:
        _check_times(item, found, latest)
    except _OutOfBoundsError:
        raise _OutOfBoundsError(f"in the future: {item.name} is {text[:40]}, and the platform takes nothing from {latest:%Y-%m-%d %H:%M} UTC on") from None


def _why(error: Exception) -> tuple[str, str]:
    """Reason and detail of a refused event."""
    text = str(error)
    if isinstance(error, _OutOfBoundsError):
        reason, _, detail = text.partition(": ")
        return reason, detail
    for mark, reason in (
        ("contains unknown field", "unknown field"),
        ("missing required field", "missing field"),
        ("Expected `object`", "not JSON"),
        ("<=", "out of bounds"),
        (">=", "out of bounds"),
        ("matching regex", "out of bounds"),
        ("of length", "out of bounds"),
        ("Expected", "wrong type"),
    ):
        if mark in text:
            return reason, text
    return "not JSON", text
