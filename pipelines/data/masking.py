"""Personal data: tokens in place of fields that the contract tags as personal.

The same value always has the same token, so it still joins. Without the keys (``people``) nobody can derive the value
from the token, or find it by trying values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipelines.data.nested import with_items, with_parts
from spec.contracts import Contract, Field
from spec.errors import GroundplanError
from spec.outputs import Outputs

if TYPE_CHECKING:
    import pyarrow as pa

SECRET = "masking-key"  # noqa: S105 (its name among the outputs)


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
            f"the masking key can't be read: {error.response['Error']['Message']}",
            where=arn,
            fix="give the secret a random value of 32 bytes or more",
        ) from None
    return value.encode()


class Masker:
    """Tokens for one contract; each value is computed once.

    Args:
        tokens: Returns the token of each of some values (``People.tokens``).
    """

    def __init__(self, contract: Contract, tokens: Callable[[list[str]], dict[str, str]]) -> None:
        self._contract = contract
        self._tokens, self._known = tokens, dict[str, str]()

    def mask(self, table: pa.Table) -> pa.Table:
        """The table with tokens in place of personal values, wherever in a field they are."""
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
            return with_parts(array, [part.name for part in item.fields], parts)
        if item.item is not None:
            return with_items(array, self._masked(pc.list_flatten(array), item.item))
        if not item.personal:
            return array
        encoded = array.dictionary_encode()
        values = [as_text(value) for value in encoded.dictionary.to_pylist()]
        if unknown := [value for value in values if value not in self._known]:
            self._known |= self._tokens(unknown)
        tokens = pa.array([self._known[value] for value in values], type=pa.string())
        return pa.DictionaryArray.from_arrays(encoded.indices, tokens).cast(pa.string())


def as_text(value: Any) -> str:
    """A personal value in the form from which its token is computed: texts unchanged, everything else as JSON."""
    if isinstance(value, str):
        return value
    return (
        "true"
        if value is True
        else "false"
        if value is False
        else value.isoformat()
        if hasattr(value, "isoformat")
        else str(value)
    )
