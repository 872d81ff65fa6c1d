"""The raw zone: immutable Parquet files, and for each range of events a manifest that lists its files.

A manifest is written before its files, and names exactly its events (topic, partition, offsets); an empty object beside
it marks it as done. The run that takes over after a kill finds a manifest that is not done, reads the same events
again, and writes what is missing: the same bytes under the same names. Nothing is ever rewritten: objects are put only
where there is none (``If-None-Match: *``,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).

Rows with undeclared personal data are in separate files below ``quarantine/``. The manifest lists them with the
findings, so that the run that finishes a range splits it in the same way, even if a newer version of a library would
find more. Decisions about them (``quarantine``) are separate records.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from pipelines.context import Context
from pipelines.data.manifests import RangeManifest, RawFile, Runs, document_of, manifest_of, runs_of
from pipelines.data.nested import with_items, with_parts
from spec.contracts import INTERNAL, Contract, parse_contracts
from spec.errors import GroundplanError

if TYPE_CHECKING:
    import pyarrow as pa


SENT_AT, PARTITION, OFFSET = (f"{INTERNAL}{name}" for name in ("sent_at", "partition", "offset"))
# Where a row came from, and when it was first sent (milliseconds since 1970): among events with the same time, the
# order in which they were sent.
POSITION = (SENT_AT, PARTITION, OFFSET)
DECISIONS = "decisions/"  # prefix of the records; the rest of a record's key is that of the quarantined file
RELEASE, DISCARD, ERASE = "release", "discard", "erase"


@dataclass(frozen=True)
class Decided:
    """Decisions about quarantined files.

    Attributes:
        decisions: ``RELEASE`` or ``DISCARD``, by key of the file.
        erased: Partition and offset of rows of forgotten people, by key of the file.
    """

    decisions: dict[str, str] = field(default_factory=dict)
    erased: dict[str, frozenset[tuple[int, int]]] = field(default_factory=dict)

    def state(self, file: RawFile) -> str:
        """What the file's rows count as: ``rows`` that can be read, ``quarantined`` or ``discarded``."""
        return (
            {RELEASE: "rows", DISCARD: "discarded", "": "quarantined"}[self.decisions.get(file.key, "")]
            if file.quarantined
            else "rows"
        )


def positions_of(rows: pa.Table) -> list[dict[str, int]]:
    """Of each partition that rows came from, the first and last offset, and how many there are."""
    grouped = rows.group_by(PARTITION).aggregate([(OFFSET, "min"), (OFFSET, "max"), (OFFSET, "count")])
    found = [
        {
            "partition": row[PARTITION],
            "first": row[f"{OFFSET}_min"],
            "last": row[f"{OFFSET}_max"],
            "events": row[f"{OFFSET}_count"],
        }
        for row in grouped.to_pylist()
    ]
    return sorted(found, key=lambda each: each["partition"])


class RawZone:
    """The raw files of one topic."""

    def __init__(self, context: Context, contract: Contract) -> None:
        self._context, self._contract = context, contract
        self._bucket = context.outputs.buckets["raw"]
        self.topic, self.version = contract.topic, contract.label
        self._kept = set[str]()  # versions of the contract that are known to be stored beside the data

    def contract(self, version: str) -> Contract | None:
        """The contract under which a range was started, as it was stored then; None if it was not."""
        try:
            text = self._context.get("raw", self._contract_key(version)).decode()
        except self._context.s3.exceptions.NoSuchKey:
            return None
        found = (
            contract for contract in parse_contracts(text, self._contract_key(version)) if contract.topic == self.topic
        )
        return next(found, None)

    def _contract_key(self, version: str) -> str:
        """Below ``contracts/``: all versions under which data was ingested, so that it can be read later."""
        return f"contracts/{self.topic}/{re.sub(r'[^A-Za-z0-9._-]+', '-', version)}.yaml"

    def done(self) -> dict[int, int]:
        """For each partition, the offset up to which its events are ingested."""
        found: dict[int, int] = {}
        for key in self._keys():
            if key.endswith(".done"):
                partition, _, last = key.rpartition("/")[2].removesuffix(".done").split("-")
                found[int(partition[1:])] = max(int(last), found.get(int(partition[1:]), 0))
        return found

    def finish(self, manifest: RangeManifest) -> None:
        """Mark a range as done: its files exist, and its dead letters are sent."""
        self._put(
            f"{self._key(manifest.partition, manifest.first).removesuffix('.json')}-{manifest.last:020d}.done",
            b"",
            "text/plain",
        )

    def _keys(self) -> Iterator[str]:
        return self._context.keys("raw", f"manifests/{self.topic}/")

    def manifest(self, partition: int, first: int) -> RangeManifest | None:
        """The manifest of the range that begins at an offset, if it was started."""
        try:
            body = self._context.get("raw", self._key(partition, first))
        except self._context.s3.exceptions.NoSuchKey:
            return None
        return manifest_of(json.loads(body))

    def manifests(self) -> Iterator[RangeManifest]:
        """Finished ones, by partition and offset; of an unfinished one, files may still be missing."""
        keys = list(self._keys())
        done = {key.removesuffix(".done").rpartition("-")[0] for key in keys if key.endswith(".done")}
        for key in keys:
            if key.endswith(".json") and key.removesuffix(".json") in done:
                yield manifest_of(json.loads(self._context.get("raw", key)))

    def write(
        self,
        partition: int,
        first: int,
        last: int,
        table: pa.Table,
        *,
        events: int,
        dead_letters: int,
        apart: Mapping[tuple[str, ...], Runs] | None = None,
        quarantined: tuple[str, ...] = (),
        latest: str = "",
        deletions: pa.Table | None = None,
    ) -> RangeManifest:
        """Write a range of events: the manifest, then the files; existing objects are left unchanged.

        Args:
            apart: Offsets of rows that go to quarantine, by findings.
            quarantined: Findings for which the whole range goes there; only for finishing a range that an older version
                started like that.
            deletions: Keys that messages without a value have deleted, with their ``POSITION``.

        Raises:
            GroundplanError: S3 refuses, or another run has written other events under the same name.
        """
        made = dict(self._all_files(partition, first, table, apart or {}, whole=bool(quarantined)))
        if deletions is not None and deletions.num_rows:
            body, key = parquet(deletions), f"deletions/{self.topic}/p{partition:05d}-{first:020d}.parquet"
            made[key] = (RawFile(key, deletions.num_rows, hashlib.sha256(body).hexdigest(), deletion=True), body)
        files = tuple(file for file, _ in made.values())
        manifest = RangeManifest(
            self.topic, self.version, partition, first, last, events, dead_letters, files, quarantined, latest
        )
        if self._contract.source and self.version not in self._kept:
            self._put_once(self._contract_key(self.version), self._contract.source.encode(), "application/yaml")
            self._kept.add(self.version)
        self._put(self._key(partition, first), json.dumps(document_of(manifest), indent=1).encode(), "application/json")
        for file, body in made.values():
            self._put(file.key, body, "application/vnd.apache.parquet")
        return manifest

    def _all_files(
        self, partition: int, first: int, table: pa.Table, apart: Mapping[tuple[str, ...], Runs], *, whole: bool
    ) -> Iterator[tuple[str, tuple[RawFile, bytes]]]:
        import pyarrow.compute as pc

        name = f"p{partition:05d}-{first:020d}"
        kept = table
        for why in sorted(apart):
            rows = table.filter(_within(table, apart[why]))
            suffix = hashlib.sha256("\n".join(why).encode()).hexdigest()[:8]
            yield from self._files(f"quarantine/{self.topic}", f"{name}-{suffix}", rows, why)
        if apart:
            kept = table.filter(pc.invert(_within(table, [run for runs in apart.values() for run in runs])))
        yield from self._files(f"quarantine/{self.topic}" if whole else self.topic, name, kept, ())

    def _files(
        self, folder: str, name: str, table: pa.Table, why: tuple[str, ...]
    ) -> Iterator[tuple[str, tuple[RawFile, bytes]]]:
        import pyarrow.compute as pc

        parts = {"": table}
        if (time := self._contract.event_time) and table.num_rows:
            dates = pc.strftime(table[time], format=self._contract.partition_format)
            parts = {
                f"event_date={date}/": table.filter(pc.equal(dates, date))
                for date in sorted(pc.unique(dates).to_pylist())
            }
        for prefix, rows in parts.items():
            if rows.num_rows:
                body, key = parquet(rows), f"{folder}/{prefix}{name}.parquet"
                yield (
                    key,
                    (
                        RawFile(
                            key,
                            rows.num_rows,
                            hashlib.sha256(body).hexdigest(),
                            why,
                            runs_of(rows[OFFSET].to_pylist()) if why else (),
                        ),
                        body,
                    ),
                )

    def _put(self, key: str, body: bytes, content_type: str) -> None:
        if not self._put_once(key, body, content_type) and self._context.get("raw", key) != body:
            raise GroundplanError(
                "another run has written other events here",
                where=f"s3://{self._bucket}/{key}",
                fix=(
                    "was the topic recreated? Then give the contract's topic another name, since raw objects are never"
                    " rewritten"
                ),
            )

    def _put_once(self, key: str, body: bytes, content_type: str = "application/json") -> bool:
        """Put an object where there is none; returns whether there was none."""
        try:
            self._context.s3.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType=content_type, IfNoneMatch="*"
            )
        except (ClientError, BotoCoreError) as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
            if code not in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise GroundplanError(
                    f"the raw zone can't be written to: {error}",
                    where=f"s3://{self._bucket}/{key}",
                    fix="nothing is lost: the events stay in the topic, and the next run continues where this one"
                    " stopped",
                ) from None
            return False
        return True

    def _key(self, partition: int, first: int) -> str:
        return f"manifests/{self.topic}/p{partition:05d}-{first:020d}.json"

    def read(self) -> pa.Table:
        """Every ingested row of all manifests, without those in quarantine that were not released; each with its
        ``POSITION``.

        Raises:
            GroundplanError: A file is missing or not what its manifest says.
        """
        import pyarrow as pa

        wanted = raw_schema(self._contract)
        tables, decided = [wanted.empty_table()], self.decided()
        for manifest in self.manifests():
            for file in manifest.files:
                if decided.state(file) == "rows" and not file.deletion:
                    table = _as_now(self.file(file), wanted)
                    tables.append(_without(table, decided.erased[file.key]) if file.key in decided.erased else table)
        try:
            return pa.concat_tables(tables)
        except pa.ArrowInvalid:
            odd = next(table for table in tables if not table.schema.equals(wanted))
            changed = [
                f"{one.name} is {two.type} in older files and {one.type} now"
                for one, two in zip(wanted, odd.schema, strict=True)
                if one.type != two.type
            ]
            raise GroundplanError(
                f"the raw zone's files no longer match the contract: {'; '.join(changed)}",
                where=f"{self.topic}: contract {self.version}",
                fix="keep the old field, and give the new type another name",
            ) from None

    def deletions(self) -> pa.Table:
        """Every key that a message without a value has deleted, with its ``POSITION``.

        Raises:
            GroundplanError: A file is missing or not what its manifest says.
        """
        import pyarrow as pa

        from pipelines.data.message_keys import keys_only

        wanted = raw_schema(keys_only(self._contract))
        files = [file for manifest in self.manifests() for file in manifest.files if file.deletion]
        return pa.concat_tables([wanted.empty_table(), *(_as_now(self.file(file), wanted) for file in files)])

    def file(self, file: RawFile) -> pa.Table:
        """The rows of one file.

        Raises:
            GroundplanError: It is not what its manifest says.
        """
        body = self._context.get("raw", file.key)
        if hashlib.sha256(body).hexdigest() != file.sha256:
            raise GroundplanError(
                "is not what was written",
                where=f"s3://{self._bucket}/{file.key}",
                fix="restore the version that the manifest names",
            )
        return read_parquet(body)

    def decided(self) -> Decided:
        """Decisions about the topic's quarantined files."""
        decisions: dict[str, str] = {}
        erased: dict[str, frozenset[tuple[int, int]]] = {}
        for key in self._context.keys("raw", f"{DECISIONS}quarantine/{self.topic}/"):
            said = json.loads(self._context.get("raw", key))
            if said["decision"] == ERASE:
                erased[said["file"]] = erased.get(said["file"], frozenset()) | {
                    (number, offset) for number, offset in said["positions"]
                }
            else:
                decisions[said["file"]] = said["decision"]
        return Decided(decisions, erased)

    def decide(self, file: RawFile, said: dict[str, Any]) -> None:
        """Record a decision about a quarantined file. It is final.

        Raises:
            GroundplanError: Another decision was recorded before.
        """
        # Rows are erased one person at a time, so a file may have several such records.
        part = (
            f".{ERASE}-{hashlib.sha256(json.dumps(said['positions']).encode()).hexdigest()[:16]}"
            if said["decision"] == ERASE
            else ""
        )
        key = f"{DECISIONS}{file.key}{part}.json"
        body = json.dumps(
            {**said, "file": file.key, "rows": file.rows, "quarantined": file.quarantined}, indent=1
        ).encode()
        if not self._put_once(key, body):
            before = json.loads(self._context.get("raw", key))
            if before["decision"] != said["decision"]:
                raise GroundplanError(
                    f"{before['by']} already decided to {before['decision']} these events on {before['at'][:10]}:"
                    f" {before['reason']}",
                    where=f"s3://{self._bucket}/{key}",
                    fix="a decision is final; `groundplan forget` deletes a person's data that was released by mistake",
                )


def raw_schema(contract: Contract) -> pa.Schema:
    """Columns of the raw files: the contract's fields, and ``POSITION``."""
    import pyarrow as pa

    from pipelines.data.decode import arrow_schema

    schema = arrow_schema(contract)
    for name in POSITION:
        schema = schema.append(pa.field(name, pa.int64()))
    return schema


def read_parquet(body: bytes) -> pa.Table:
    """A table from Parquet."""
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(body))


def parquet(table: pa.Table) -> bytes:
    """A table as stored in the lake: the same bytes for the same rows."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _as_now(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """A file of an older version of the contract with the columns of the current one: those it lacks are empty, and
    types may be wider now.

    Differences that compatible versions don't explain are left for the gate to detect.
    """
    import pyarrow as pa

    if table.schema.equals(wanted):
        return table
    columns = []
    for wished in wanted:
        if wished.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, wished.type))
        else:
            columns.append(_widened(table[wished.name].combine_chunks(), wished.type))
    return pa.Table.from_arrays(
        columns, schema=pa.schema([pa.field(f.name, c.type, f.nullable) for f, c in zip(wanted, columns, strict=True)])
    )


def _widened(array: pa.Array, wished: pa.DataType) -> pa.Array:
    """A column in a wider type: whole numbers as numbers, more digits, objects with more fields. Any other change is
    left for the gate to detect.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if kind.equals(wished):
        return array
    if pa.types.is_struct(kind) and pa.types.is_struct(wished):
        names = [field.name for field in kind]
        parts = [
            (
                _widened(pc.struct_field(array, names.index(field.name)), field.type)
                if field.name in names
                else pa.nulls(len(array), field.type)
            )
            for field in wished
        ]
        return with_parts(array, [field.name for field in wished], parts)
    if pa.types.is_list(kind) and pa.types.is_list(wished):
        return with_items(array, _widened(pc.list_flatten(array), wished.value_type))
    if pa.types.is_integer(kind) and pa.types.is_floating(wished):
        return array.cast(wished, safe=False)  # as a float reads it from an event
    if (pa.types.is_integer(kind) or pa.types.is_decimal(kind)) and pa.types.is_decimal(wished):
        try:
            return array.cast(wished)
        except pa.ArrowInvalid:
            return array
    return array


def _within(table: pa.Table, runs: Sequence[tuple[int, int]]) -> Any:
    """Which rows have their offset in a run, as an Arrow array of booleans."""
    import numpy as np
    import pyarrow as pa

    ordered = np.array(sorted(runs), dtype=np.int64).reshape(-1, 2)
    offsets = table[OFFSET].to_numpy()
    place = np.searchsorted(ordered[:, 0], offsets, side="right") - 1
    return pa.array((place >= 0) & (offsets <= ordered[place, 1]))


def _without(table: pa.Table, positions: frozenset[tuple[int, int]]) -> pa.Table:
    """The rows except those of some partitions and offsets."""
    import pyarrow as pa

    stood = zip(table[PARTITION].to_pylist(), table[OFFSET].to_pylist(), strict=True)
    return table.filter(pa.array([position not in positions for position in stood], pa.bool_()))
