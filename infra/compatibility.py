"""Whether a new version of a data contract fits the old one, as its compatibility mode asks.

The modes are the schema registry's (https://docs.aws.amazon.com/glue/latest/dg/schema-registry.html#schema-registry-compatibility):
BACKWARD: who reads by the new version can read events of the old one. FORWARD: who reads by the old version can read events of the new
one. FULL: both. Events hold no unknown fields (``additionalProperties: false``), so that a field more or less is a change, too.
"""

from __future__ import annotations

from infra.contracts import Contract, Property, less

_WIDER = {("integer", "number")}  # each integer is a number


def breaks(old: Contract, new: Contract) -> list[str]:
    """Why the new version must not follow the old one; empty if it may."""
    found = []
    if old.topic != new.topic:
        found.append(f"the topic was {old.topic} and is {new.topic}: that is another contract, with an id of its own")
    if old.key != new.key:
        found.append(f"the key was {old.key} and is {new.key}: tables and views of the old key don't join any more")
    unmasked = {p.name for p in old.properties if p.personal} - {p.name for p in new.properties if p.personal}
    found += [f"{name} was personal and would be stored as it comes" for name in sorted(unmasked & {p.name for p in new.properties})]
    masked = {p.name for p in new.properties if p.personal} - {p.name for p in old.properties if p.personal}
    found += [f"{name} becomes personal, and the raw zone holds it as it came" for name in sorted(masked & {p.name for p in old.properties})]
    modes = {new.compatibility.removesuffix("_ALL"), old.compatibility.removesuffix("_ALL")}
    if {"BACKWARD", "FULL"} & modes:
        found += [f"{why} ({_mode(old, new, 'BACKWARD')}: events of {old.version} are still in the topic)" for why in _unreadable(old, new)]
    if {"FORWARD", "FULL"} & modes:
        found += [f"{why} ({_mode(old, new, 'FORWARD')}: readers by {old.version} would refuse the new events)" for why in _unreadable(new, old)]
    if not found and old.properties != new.properties and _number(new) <= _number(old):
        found.append(f"the fields have changed, and the version is {'still' if old.version == new.version else 'now'} {new.version}: give it a higher one")
    return list(dict.fromkeys(found))


def _mode(old: Contract, new: Contract, direction: str) -> str:
    return next(mode for mode in (new.compatibility, old.compatibility) if mode.startswith((direction, "FULL")))


def _number(contract: Contract) -> tuple[int, ...]:
    return tuple(map(int, contract.version.split(".")))


def _unreadable(writer: Contract, reader: Contract) -> list[str]:
    """What events of one version hold that the other refuses."""
    written, read = ({p.name: p for p in contract.properties} for contract in (writer, reader))
    found = [f"{name} is in {writer.version} and not in {reader.version}" for name in written if name not in read]
    found += [f"{name} is required by {reader.version} and not in {writer.version}" for name, item in read.items() if item.required and name not in written]
    for name in written.keys() & read.keys():
        one, other = written[name], read[name]
        if one.logicalType != other.logicalType and (one.logicalType, other.logicalType) not in _WIDER:
            found.append(f"{name} is {one.logicalType} in {writer.version} and {other.logicalType} in {reader.version}")
        if other.required and not one.required:
            found.append(f"{name} may be empty in {writer.version} and not in {reader.version}")
        found += [f"{name}: {why}" for why in _narrower(one, other)]
    return sorted(found)


def _narrower(written: Property, read: Property) -> list[str]:
    one, other = written.logicalTypeOptions, read.logicalTypeOptions
    found = []
    if other.minimum is not None and (one.minimum is None or (str(one.minimum) != str(other.minimum) and less(one.minimum, other.minimum))):
        found.append(f"the least value is {one.minimum if one.minimum is not None else 'any'} on one side and {other.minimum} on the other")
    if other.maximum is not None and (one.maximum is None or (str(one.maximum) != str(other.maximum) and less(other.maximum, one.maximum))):
        found.append(f"the greatest value is {one.maximum if one.maximum is not None else 'any'} on one side and {other.maximum} on the other")
    if other.pattern is not None and one.pattern != other.pattern:
        found.append(f"the form is {one.pattern or 'any'} on one side and {other.pattern} on the other")
    if other.maxLength is not None and (one.maxLength is None or one.maxLength > other.maxLength):
        found.append(f"the length is up to {one.maxLength or 'any'} on one side and {other.maxLength} on the other")
    return found
