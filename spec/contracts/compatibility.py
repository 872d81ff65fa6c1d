"""Whether a new version of a data contract is compatible with the old one, as its compatibility mode requires.

The modes are the schema registries'
(https://docs.aws.amazon.com/glue/latest/dg/schema-registry.html#schema-registry-compatibility,
https://docs.confluent.io/platform/current/schema-registry/fundamentals/schema-evolution.html): BACKWARD: readers of
the new version can read events of the old one. FORWARD: readers of the old version can read events of the new one.
FULL: both. With ``_ALL`` (Glue) that applies to all earlier versions, not only the last. Events contain no unknown
fields (``additionalProperties: false``), so adding or removing a field is also a change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

from spec.contracts.model import Contract, Field, Limit, Limits, as_text
from spec.contracts.patterns import lengths, within

# Each value of the first is a value of the second.
_WIDER = {("integer", "number")}


def breaks(old: Contract, new: Contract) -> list[str]:
    """Why the new version must not replace the old one; empty if it may."""
    found = [*_of_the_table(old, new), *_of_people(old, new), *_of_units(old, new)]
    modes = {new.compatibility.removesuffix("_ALL"), old.compatibility.removesuffix("_ALL")}
    if {"BACKWARD", "FULL"} & modes:
        found += [
            f"{why} ({_mode(old, new, 'BACKWARD')}: events of {old.version} are still in the topic)"
            for why in unreadable(old, new)
        ]
    if {"FORWARD", "FULL"} & modes:
        found += [
            f"{why} ({_mode(old, new, 'FORWARD')}: readers of {old.version} would reject the new events)"
            for why in unreadable(new, old)
        ]
    if not found and _bare(old) != _bare(new) and _number(new) <= _number(old):
        found.append(
            f"the fields have changed, but the version is {'still' if old.version == new.version else 'now'}"
            f" {new.version}: increase it"
        )
    return list(dict.fromkeys(found))


def _of_the_table(old: Contract, new: Contract) -> Iterator[str]:
    if old.topic != new.topic:
        yield f"the topic was {old.topic} and is {new.topic}: that makes it another contract, which needs its own id"
    elif old.view != new.view:
        yield f"the table was {old.view} and is {new.view}: views and datasets of the old name don't find it"
    if old.keys != new.keys:
        was, now = (" and ".join(keys) or "none" for keys in (old.keys, new.keys))
        yield f"the key was {was} and is {now}: tables and views with the old key no longer join"
    if old.event_time != new.event_time and old.event_time:
        yield f"the event time was {old.event_time} and is {new.event_time or 'none'}: what is newest changes with it"


def _of_people(old: Contract, new: Contract) -> list[str]:
    before, after = (
        {".".join(path): bool(item.personal) for path, item in contract.leaves()} for contract in (old, new)
    )
    shared = sorted(before.keys() & after.keys())
    return [
        f"{name} was personal and would be stored unmasked" for name in shared if before[name] and not after[name]
    ] + [
        f"{name} becomes personal, but the raw zone contains it unmasked"
        for name in shared
        if after[name] and not before[name]
    ]


def _of_units(old: Contract, new: Contract) -> list[str]:
    before, after = ({item.name: item.unit for item in contract.fields} for contract in (old, new))
    changed = sorted(
        name for name in before.keys() & after.keys() if before[name] and after[name] and before[name] != after[name]
    )
    return [
        f"{name} was in {before[name]} and is in {after[name]}: the same numbers would mean other things"
        for name in changed
    ]


def _bare(contract: Contract) -> tuple[Field, ...]:
    """The fields without documentation, which makes no difference to writers and readers of events."""

    def bare(item: Field) -> Field:
        inner = bare(item.item) if item.item else None
        return replace(
            item,
            title="",
            description="",
            unit="",
            not_personal="",
            personal=str(bool(item.personal)),
            fields=tuple(map(bare, item.fields)),
            item=inner,
        )

    return tuple(map(bare, contract.fields))


def _mode(old: Contract, new: Contract, direction: str) -> str:
    return next(mode for mode in (new.compatibility, old.compatibility) if mode.startswith((direction, "FULL")))


def _number(contract: Contract) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", contract.version)))


def unreadable(writer: Contract, reader: Contract) -> list[str]:
    """What events of one version contain that the other refuses."""
    return sorted(_of_fields(writer.fields, reader.fields, "", writer.version, reader.version))


def _of_fields(written: Iterable[Field], read: Iterable[Field], above: str, writer: str, reader: str) -> Iterator[str]:
    one, other = ({item.name: item for item in fields} for fields in (written, read))
    gone, come = [name for name in one if name not in other], [name for name in other if name not in one]
    for name in gone:
        renamed = next(
            (
                new
                for new in come
                if other[new].kind == one[name].kind and other[new].description == one[name].description != ""
            ),
            "",
        )
        yield f"{above}{name} is in {writer} but not in {reader}" + (
            f", which calls it {renamed}: a new name is another field" if renamed else ""
        )
    yield from (f"{above}{name} is required by {reader} but not in {writer}" for name in come if other[name].required)
    for name in one.keys() & other.keys():
        yield from _of_field(one[name], other[name], f"{above}{name}", writer, reader)


def _of_field(one: Field, other: Field, path: str, writer: str, reader: str) -> Iterator[str]:
    if other.required and not one.required:
        yield f"{path} may be empty in {writer} but not in {reader}"
    if one.kind != other.kind and (one.kind, other.kind) not in _WIDER:
        yield f"{path} is {one.kind} in {writer} and {other.kind} in {reader}"
        return
    if one.kind == other.kind == "decimal" and (
        other.scale < one.scale or other.digits - other.scale < one.digits - one.scale
    ):
        yield (
            f"{path} has {one.digits} digits, {one.scale} after the decimal point, in {writer}, and {other.digits},"
            f" {other.scale}, in {reader}"
        )
    if (one.format, one.timezone) != (other.format, other.timezone) and not (
        one.format == other.format and not one.timezone
    ):
        yield f"{path} is written {_form(one)} in {writer} and {_form(other)} in {reader}"
    if one.kind == "object":
        yield from _of_fields(one.fields, other.fields, f"{path}.", writer, reader)
    if one.item is not None and other.item is not None:
        yield from _of_field(one.item, other.item, f"{path}[]", writer, reader)
    yield from (f"{path}: {why}" for why in _narrower(one.limits, other.limits))


def _beyond(mine: Any, mine_open: bool, limit: Any, limit_open: bool, *, below: bool) -> bool:
    """Whether one side accepts values that the limit of the other refuses; both are of the same kind."""
    if mine is None:
        return True
    if mine == limit:
        return limit_open and not mine_open
    return bool(mine < limit if below else mine > limit)


def _form(item: Field) -> str:
    form = f"as {item.format}" if item.format else "in ISO 8601"
    return f"{form}, {item.timezone} where it has no zone" if item.timezone else form


def _narrower(one: Limits, other: Limits) -> Iterator[str]:
    """Values that the first allows and the second does not."""
    if one.allowed:
        more = [value for value in one.allowed if not _takes(other, value)]
        if more:
            yield f"{', '.join(as_text(value) for value in more[:5])} is allowed on one side but not on the other"
        return
    if other.least is not None and _beyond(one.least, one.least_open, other.least, other.least_open, below=True):
        yield (
            f"the least value is {_side(one.least, one.least_open)} on one side and"
            f" {_side(other.least, other.least_open)} on the other"
        )
    if other.most is not None and _beyond(one.most, one.most_open, other.most, other.most_open, below=False):
        yield (
            f"the greatest value is {_side(one.most, one.most_open)} on one side and"
            f" {_side(other.most, other.most_open)} on the other"
        )
    if other.pattern is not None and one.pattern != other.pattern:
        fits = None if one.pattern is None else within(one.pattern, other.pattern)
        if not fits:
            unsure = ", and it is undecidable which accepts more" if one.pattern is not None and fits is None else ""
            yield f"the pattern is {one.pattern or 'any'} on one side and {other.pattern} on the other{unsure}"
    least, most = (
        lengths(one.pattern) if one.pattern is not None and (other.longest is not None or other.shortest) else (0, None)
    )
    longest = min((length for length in (one.longest, most) if length is not None), default=None)
    if other.longest is not None and (longest is None or longest > other.longest):
        yield f"the length is up to {one.longest or 'any'} on one side and {other.longest} on the other"
    if other.shortest and max(one.shortest or 0, least) < other.shortest:
        yield f"the length is from {one.shortest or 0} on one side and from {other.shortest} on the other"
    listed = f"^({'|'.join(re.escape(str(value)) for value in other.allowed)})$"
    if other.allowed and not (one.pattern is not None and within(one.pattern, listed)):
        yield "any value is allowed on one side, and only a list on the other"
    if other.multiple_of is not None and (
        one.multiple_of is None or Fraction(str(one.multiple_of)) % Fraction(str(other.multiple_of))
    ):
        yield (
            f"values are multiples of {one.multiple_of or 'any number'} on one side and of {other.multiple_of} on the"
            " other"
        )


def _takes(limits: Limits, value: Limit) -> bool:
    """Whether a value that is listed on one side lies within the other's limits."""
    if limits.allowed and value not in limits.allowed:
        return False
    if limits.least is not None and (value < limits.least or (limits.least_open and value == limits.least)):  # type: ignore[operator]
        return False
    if limits.most is not None and (value > limits.most or (limits.most_open and value == limits.most)):  # type: ignore[operator]
        return False
    if limits.multiple_of is not None and Fraction(str(value)) % Fraction(str(limits.multiple_of)):
        return False
    if not isinstance(value, str):
        return True
    long = limits.longest is not None and len(value) > limits.longest
    return (
        not long
        and len(value) >= (limits.shortest or 0)
        and (limits.pattern is None or re.search(limits.pattern, value) is not None)
    )


def _side(limit: Limit | None, is_open: bool) -> str:
    if limit is None:
        return "any"
    return f"{as_text(limit)}, not with it," if is_open else as_text(limit)
