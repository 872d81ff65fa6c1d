"""Message keys: whether they match the contract's key, and what a message without a value (a tombstone) deletes.

In a topic a key with no value means that the key's entity was deleted (https://kafka.apache.org/documentation/#compaction).
The raw zone keeps that, as it keeps events; every later dataset leaves the entity out, unless one of its events was
sent later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipelines.data.decode import Decoder
from pipelines.data.refusals import Refused
from spec.contracts import Contract

if TYPE_CHECKING:
    import pyarrow as pa

BETWEEN = "|"  # the parts of a key of several fields, where it is a text


def message_key(contract: Contract, event: dict[str, Any]) -> str | None:
    """The message key, which keeps one entity's events in one partition, in order."""
    parts = [str(event[name]) for name in contract.keys]
    if len(parts) > 1 and any(BETWEEN in part for part in parts):
        return json.dumps({name: event[name] for name in contract.keys})
    return BETWEEN.join(parts) or None


def keys_only(contract: Contract) -> Contract:
    """The contract of a deletion: the key, and nothing else."""
    fields = [item for name in contract.keys for item in contract.fields if item.name == name]
    return replace(contract, fields=tuple(fields), event_time="", version_field="", rules=())


class KeyReader:
    """Reads the keys of one contract's messages: a text, a number, a JSON text, or a JSON object that has the key's
    fields.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._fields = keys_only(contract).fields
        self._decoder = Decoder(keys_only(contract)) if contract.keys else None

    def read(self, keys: Sequence[bytes | None]) -> tuple[pa.Table | None, list[Refused]]:
        """Columns of the keys that can be read, in order, and why the others can't; None if the contract has no key."""
        if self._decoder is None:
            return None, [
                Refused(place, "tombstone", "it has no value, but the contract has no key that it could delete")
                for place in range(len(keys))
            ]
        events = [self._event(key) for key in keys]
        table, refused = self._decoder.decode([event or b"{}" for event in events])
        names = " and ".join(self._contract.keys)
        said = {True: f"it deletes a key that is not the contract's {names}", False: "it has neither a value nor a key"}
        return table, [replace(item, reason="tombstone", detail=said[bool(keys[item.index])]) for item in refused]

    def others(self, table: pa.Table, keys: Sequence[bytes | None]) -> int:
        """How many rows have a message key other than the contract's; those without one are not counted."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self._fields or not any(keys):
            return 0
        if len(self._fields) == 1 and self._fields[0].kind in ("string", "integer"):
            mine = table[self._fields[0].name].combine_chunks().cast(pa.string()).cast(pa.binary())
            differ = pc.fill_null(pc.not_equal(mine, pa.array(keys, pa.binary())), fill_value=False)
            if not pc.any(differ).as_py():
                return 0
            places = [place for place, other in enumerate(differ.to_pylist()) if other]
        else:
            places = [place for place, key in enumerate(keys) if key is not None]
        # Different bytes may still be the same key, as JSON or a number.
        wanted = table.select([item.name for item in self._fields]).take(places).to_pylist()
        found, refused = self.read([keys[place] for place in places])
        bad = {item.index for item in refused}
        read: list[dict[str, Any]] = found.to_pylist() if found is not None else []
        kept = (row for place, row in enumerate(wanted) if place not in bad)
        return len(bad) + sum(1 for one, other in zip(read, kept, strict=True) if one != other)

    def _event(self, key: bytes | None) -> bytes | None:
        """The key as an event without other fields."""
        import msgspec

        if not key:
            return None
        try:
            said: Any = msgspec.json.decode(key)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = None
        names = [item.name for item in self._fields]
        if isinstance(said, dict):
            return json.dumps({name: said[name] for name in names}).encode() if set(names) <= set(said) else None
        try:
            text = said if isinstance(said, str) else key.decode()
        except UnicodeDecodeError:
            return None
        parts = text.split(BETWEEN) if len(names) > 1 else [text]
        if len(parts) != len(names):
            return None
        return json.dumps(
            {item.name: _typed(item.kind, part) for item, part in zip(self._fields, parts, strict=True)}
        ).encode()


def _typed(kind: str, text: str) -> Any:
    """A part of a key in its type; an invalid one stays text, which the decoder refuses."""
    if kind == "integer" and re.fullmatch(r"-?[0-9]+", text):
        return int(text)
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    if kind == "number" and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?", text):
        return float(text)
    return text
