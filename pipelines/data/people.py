"""A key for each person, from which tokens are computed; once it is destroyed, tokens no longer identify anyone.

Locked data (the raw zone) and permanent data (audit, lineage) contain only tokens, and can't be cleaned when a person
asks to be forgotten. So their key is destroyed instead (crypto-shredding; NIST SP 800-88 Rev. 1, "cryptographic
erase"). Keys are kept in the curated zone, several people's in each object, under the person's number: HMAC-SHA-256 of
the value under the masking key. A key alone is not enough for a token: that also requires the masking key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from spec.errors import GroundplanError

if TYPE_CHECKING:
    from pipelines.context import Context

PEOPLE = "people/"  # below this prefix of the curated zone
SHARDS = 8
TRIES = 20  # other writers may come first
KEY_BYTES = 32
TOKEN_BYTES = 16  # 128 bits: the chance that two of a billion values share a token is 1 in 10^21


def token(key: bytes, value: str) -> str:
    """The token of one value under a key of at least 32 bytes (HMAC-SHA-256, RFC 2104, cut to 128 bits)."""
    return "t" + hmac.digest(key, value.encode(), hashlib.sha256)[:TOKEN_BYTES].hex()


class People:
    """The keys of people.

    Args:
        masking_key: From Secrets Manager; only pipelines and the role that forgets people may read it.
    """

    def __init__(self, context: Context, masking_key: bytes) -> None:
        self._context, self._masking_key = context, masking_key

    def number(self, value: str) -> str:
        """The number under which a person's key is kept; it remains after the key is destroyed, and is meaningless
        without the masking key.
        """
        return hmac.digest(self._masking_key, b"number:" + value.encode(), hashlib.sha256)[:TOKEN_BYTES].hex()

    def tokens(self, values: Iterable[str]) -> dict[str, str]:
        """The token of each value; people without a key, or whose key was destroyed, get a new one.

        Raises:
            GroundplanError: Others write without end.
        """
        numbers = {value: self.number(value) for value in values}
        keys: dict[str, str] = {}
        for shard in sorted({_shard(number) for number in numbers.values()}):
            keys |= self._keys(shard, [number for number in numbers.values() if _shard(number) == shard])
        return {
            value: token(self._masking_key + bytes.fromhex(keys[number]), value) for value, number in numbers.items()
        }

    def token_of(self, value: str) -> str:
        """The token of a value; empty where it is unknown, or its key is destroyed."""
        key = self._read(_shard(self.number(value)))[0].get(self.number(value), {}).get("key", "")
        return token(self._masking_key + bytes.fromhex(key), value) if key else ""

    def erased_on(self, value: str) -> str:
        """When the person's key was last destroyed (ISO 8601); empty if never."""
        return str(self._read(_shard(self.number(value)))[0].get(self.number(value), {}).get("erased_on", ""))

    def destroy(self, value: str, at: str) -> None:
        """Destroy a person's key, also in earlier versions of the object.

        Raises:
            GroundplanError: Others write without end.
        """
        shard, number = _shard(self.number(value)), self.number(value)
        self._change(shard, lambda people: people | {number: {"erased_on": at}})
        bucket, key = self._context.outputs.buckets["curated"], _address(shard)
        for page in self._context.s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
            for version in page.get("Versions", []):
                if not version["IsLatest"]:
                    self._context.s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])

    def _keys(self, shard: int, numbers: list[str]) -> dict[str, str]:
        def with_keys(people: dict[str, Any]) -> dict[str, Any]:
            without = [number for number in numbers if "key" not in people.get(number, {})]
            return (
                people | {number: {**people.get(number, {}), "key": secrets.token_hex(KEY_BYTES)} for number in without}
                if without
                else people
            )

        people = self._change(shard, with_keys)
        return {number: people[number]["key"] for number in numbers}

    def _read(self, shard: int) -> tuple[dict[str, Any], str]:
        try:
            answer = self._context.s3.get_object(Bucket=self._context.outputs.buckets["curated"], Key=_address(shard))
        except self._context.s3.exceptions.NoSuchKey:
            return {}, ""
        return json.loads(answer["Body"].read()), answer["ETag"]

    def _change(self, shard: int, change: Any) -> dict[str, Any]:
        """Read, change and write; retried if another writer came first, so that two writers give one person one key."""
        for _ in range(TRIES):
            people, version = self._read(shard)
            changed: dict[str, Any] = change(people)
            if changed == people:
                return people
            condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
            place = {"Bucket": self._context.outputs.buckets["curated"], "Key": _address(shard)}
            try:
                self._context.s3.put_object(
                    **place, Body=json.dumps(changed).encode(), ContentType="application/json", **condition
                )
            except ClientError as error:
                if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                    raise
                continue
            return changed
        raise GroundplanError(
            f"another run wrote first, {TRIES} times in a row",
            where=_address(shard),
            fix="run it again when fewer pipelines are writing",
        )


def _shard(number: str) -> int:
    return int(number[:4], 16) % SHARDS


def _address(shard: int) -> str:
    return f"{PEOPLE}{shard:02d}.json"
