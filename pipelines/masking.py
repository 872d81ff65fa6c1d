"""Personal data: tokens in the place of fields that the contract tags as personal, and a search for what nobody has tagged.

The same value always has the same token, so it still joins. Without the keys (``people``) nobody can tell the value from the token, nor
try values out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, Any

from infra.contracts import Contract, Field
from infra.errors import GroundplanError
from infra.outputs import Outputs

if TYPE_CHECKING:
    import pyarrow as pa

SECRET = "masking-key"  # noqa: S105 (its name among the outputs)
# RE2, over the distinct values of a column; candidates are then looked at more closely.
_CANDIDATES = r"@[^\s@]+\.|\+\d|\(\d{3}\)|\b0\d{2,4}[ /-]\d|\b\d{3}[-.]\d{3}[-.]\d{4}\b|(\d[ -]?){13}|(?i:\b[A-Z]{2}\d{2}[A-Z0-9 ]{11,})"
_EMAIL = re.compile(r"[^\s@,;:<>()\[\]\"]+@[\w-]+(\.[\w-]+)*\.[^\W\d_]{2,}")
_PHONE = re.compile(
    r"(?<![\w.-])(\+\d[\d ()/.-]{7,17}\d|\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|0\d{2,4}[ /]\d[\d ]{5,10}\d|0\d{2,4}-\d{6,8})(?![\w-])"
)
# Groups of characters; where the number ends among them is for the check digits to say.
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2} ?[A-Z0-9]+(?: [A-Z0-9]+)*", re.IGNORECASE)
_COUNTRY = re.compile(r"[A-Z]{2}\d{2}", re.IGNORECASE)
_CARD = re.compile(r"(?<![\w.-])\d+(?:[ -]\d+)*(?![\w-])")


def masking_key(outputs: Outputs) -> bytes:
    """The key, from Secrets Manager.

    Raises:
        GroundplanError: The secret has no value yet.
    """
    import boto3
    from botocore.exceptions import ClientError

    arn = outputs.secret_arns[SECRET]
    try:
        value: str = boto3.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
    except ClientError as error:
        raise GroundplanError(
            f"the masking key can't be read: {error.response['Error']['Message']}", where=arn, fix="give the secret a random value of 32 bytes or more"
        ) from None
    return value.encode()


class Masker:
    """Tokens for one contract; each value is computed once.

    Args:
        tokens: The token of each of some values (``People.tokens``).
    """

    def __init__(self, contract: Contract, tokens: Callable[[list[str]], dict[str, str]]) -> None:
        self._contract = contract
        self._texts = [item.name for item in contract.fields if item.kind == "string" and not item.personal]
        self._tokens, self._known = tokens, dict[str, str]()

    def mask(self, table: pa.Table) -> pa.Table:
        """The table with tokens in the place of personal values, wherever in a field they are."""
        import pyarrow as pa

        for item in self._contract.fields:
            if any(leaf.personal for _, leaf in item.leaves()):
                index = table.schema.get_field_index(item.name)
                masked = self._masked(table[item.name].combine_chunks(), item)
                table = table.set_column(index, pa.field(item.name, masked.type, nullable=not item.required), masked)
        return table

    def _masked(self, array: pa.Array, item: Field) -> pa.Array:
        """One field's values, or those of its parts."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if item.fields:
            parts = [self._masked(pc.struct_field(array, place), part) for place, part in enumerate(item.fields)]
            names = [part.name for part in item.fields]
            fields = [pa.field(name, part.type) for name, part in zip(names, parts, strict=True)]
            return pa.StructArray.from_arrays(parts, fields=fields, mask=pc.is_null(array))
        if item.item is not None:
            inner = self._masked(pc.list_flatten(array), item.item)
            lengths = pc.fill_null(pc.list_value_length(array), 0)
            offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())])
            return pa.ListArray.from_arrays(offsets, inner, type=pa.list_(inner.type), mask=pc.is_null(array))
        if not item.personal:
            return array
        encoded = array.dictionary_encode()
        values = [as_text(value) for value in encoded.dictionary.to_pylist()]
        if unknown := [value for value in values if value not in self._known]:
            self._known |= self._tokens(unknown)
        tokens = pa.array([self._known[value] for value in values], type=pa.string())
        return pa.DictionaryArray.from_arrays(encoded.indices, tokens).cast(pa.string())

    def undeclared(self, table: pa.Table) -> list[str]:
        """Personal data in fields that are not tagged: ``field: kind``, without the value."""
        import pyarrow.compute as pc

        found = []
        for name in self._texts:
            distinct = pc.unique(table[name].combine_chunks())
            candidates = distinct.filter(pc.fill_null(pc.match_substring_regex(distinct, _CANDIDATES), False)).to_pylist()
            found += sorted({f"{name}: {kind}" for value in candidates if (kind := personal_kind(value))})
        return found


def personal_kind(text: str) -> str:
    """``e-mail``, ``IBAN``, ``card number`` or ``phone number``, if the text holds one; else empty. Check digits are checked."""
    if _EMAIL.search(text):
        return "e-mail"
    if any(_iban_holds(part) for found in _IBAN.finditer(text) for part in _runs(found.group(), 34)):
        return "IBAN"
    if any(len(part) >= 13 and _luhn_holds(part) for found in _CARD.finditer(text) for part in _runs(found.group(), 19)):
        return "card number"
    return "phone number" if _PHONE.search(text) else ""


def _runs(text: str, longest: int) -> Iterator[str]:
    """Groups that stand side by side, written as one: from each group on, up to so many characters."""
    groups = re.split("[ -]", text)
    for first in range(len(groups)):
        yield from takewhile(lambda run: len(run) <= longest, accumulate(groups[first:]))


def _iban_holds(compact: str) -> bool:
    """ISO 13616: the number modulo 97 is 1."""
    return len(compact) >= 15 and _COUNTRY.match(compact) is not None and int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1


def _luhn_holds(text: str) -> bool:
    """ISO/IEC 7812."""
    digits = [int(char) for char in text if char.isdigit()][::-1]
    return sum(digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(digits)) % 10 == 0


def as_text(value: Any) -> str:
    """A personal value as its token is made of it: texts as they are, all else as JSON has it."""
    if isinstance(value, str):
        return value
    return "true" if value is True else "false" if value is False else value.isoformat() if hasattr(value, "isoformat") else str(value)
