"""Personal data: tokens in the place of fields that the contract tags as personal.

The same value always has the same token, so it still joins. Without the keys (``people``) nobody can tell the value from the token, nor
try values out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from infra.contracts import Contract
from infra.errors import GroundplanError
from infra.outputs import Outputs

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
            f"the masking key can't be read: {error.response['Error']['Message']}", where=arn, fix="give the secret a random value of 32 bytes or more"
        ) from None
    return value.encode()


class Masker:
    """Tokens for one contract; each value is computed once.

    Args:
        tokens: The token of each of some values (``People.tokens``).
    """

    def __init__(self, contract: Contract, tokens: Callable[[list[str]], dict[str, str]]) -> None:
        self._columns = [item.name for item in contract.properties if item.personal]
        self._tokens, self._known = tokens, dict[str, str]()

    def mask(self, table: pa.Table) -> pa.Table:
        """The table with tokens in the place of personal values."""
        import pyarrow as pa

        for name in self._columns:
            encoded = table[name].combine_chunks().dictionary_encode()
            values = encoded.dictionary.to_pylist()
            if unknown := [value for value in values if value not in self._known]:
                self._known |= self._tokens(unknown)
            tokens = pa.array([self._known[value] for value in values], type=pa.string())
            masked = pa.DictionaryArray.from_arrays(encoded.indices, tokens).cast(pa.string())
            table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), masked)
        return table


def forgettable(contract: Contract) -> list[str]:
    """Fields by which one person's rows are found."""
    return [item.name for item in contract.properties if item.personal]
