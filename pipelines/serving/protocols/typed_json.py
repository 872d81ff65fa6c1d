"""The usual JSON forms decoded and checked at once by msgspec, with types from the model's columns.

What it does not accept is not necessarily wrong: ``requests`` reads it again, and finds what is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

MAX_KEY = 2**63
MAX_NUMBER = 3.4e38  # of single precision
_TYPES: dict[str, Any] = {
    "double": Annotated[float, Meta(gt=-MAX_NUMBER, lt=MAX_NUMBER)],
    "long": Annotated[int, Meta(ge=-MAX_KEY, le=MAX_KEY - 1)],
    "boolean": bool,
    "string": str,
}
_ORDERS = 32  # of columns, that are remembered

Decode = Callable[[bytes], list[tuple[Any, ...]] | None]


class _Forms(msgspec.Struct, forbid_unknown_fields=True):
    dataframe_split: Raw | UnsetType = UNSET
    dataframe_records: Raw | UnsetType = UNSET
    instances: Raw | UnsetType = UNSET
    inputs: Raw | UnsetType = UNSET


class _Split(msgspec.Struct):
    data: Raw
    columns: list[str] | UnsetType = UNSET


def decoder(columns: Sequence[dict[str, Any]]) -> Decode:
    """A function from a body to rows in the model's order; None where the body must be looked at more closely.

    Args:
        columns: As in ``model.json``.
    """
    types = {column["name"]: _type_of(column) for column in columns}
    if not types or None in types.values():
        return lambda body: None
    names = list(types)
    forms, split = msgspec.json.Decoder(_Forms), msgspec.json.Decoder(_Split)
    records = msgspec.json.Decoder(list[_record(types)])  # type: ignore[misc]

    @lru_cache(maxsize=_ORDERS)
    def lists(order: tuple[str, ...]) -> tuple[msgspec.json.Decoder[Any], Any] | None:
        if sorted(order) != sorted(names):
            return None
        row: Any = tuple[tuple(types[name] for name in order)]  # type: ignore[misc]
        places = [order.index(name) for name in names]
        return msgspec.json.Decoder(list[row]), None if list(order) == names or len(order) == 1 else itemgetter(*places)

    own = lists(tuple(names))

    def decode(body: bytes) -> list[tuple[Any, ...]] | None:
        try:
            given = forms.decode(body)
            fields = [value for value in msgspec.structs.astuple(given) if value is not UNSET]
            if len(fields) != 1:
                return None
            if given.dataframe_split is not UNSET:
                inner = split.decode(given.dataframe_split)
                found = own if inner.columns is UNSET else lists(tuple(inner.columns))
                if found is None:
                    return None
                rows = found[0].decode(inner.data)
                return [found[1](row) for row in rows] if found[1] else rows
            if _inner(fields[0]) == b"{":
                return [msgspec.structs.astuple(row) for row in records.decode(fields[0])]
            if given.dataframe_records is not UNSET or own is None:
                return None
            found_rows: list[tuple[Any, ...]] = own[0].decode(fields[0])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return found_rows

    return decode


def _type_of(column: dict[str, Any]) -> Any:
    """The type of a column's values; None where msgspec has none that is the same."""
    kind, known = _TYPES.get(column["type"]), column.get("categories")
    if known is not None:
        if column["type"] != "string" or not known or not all(isinstance(value, str) for value in known):
            return None
        kind = Literal[tuple(known)]
    return kind | None if kind is not None and column.get("nullable") else kind


def _record(types: dict[str, Any]) -> type[msgspec.Struct]:
    """One row as an object; its fields are numbered, since a column may have any name."""
    return msgspec.defstruct(
        "Record",
        [(f"f{place}", kind) for place, kind in enumerate(types.values())],
        rename={f"f{place}": name for place, name in enumerate(types)},
        forbid_unknown_fields=True,
    )


def _inner(raw: Raw) -> bytes:
    """The first character of a list's first item."""
    return bytes(memoryview(raw)[1:40]).lstrip()[:1]
