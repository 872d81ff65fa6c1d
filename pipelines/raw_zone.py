"""The raw zone: immutable Parquet files, and for each range of events a manifest that says which files hold it.

A manifest is written before its files, and names exactly the events it is about (topic, partition, offsets); an empty object beside it
says that all of it is done. Whoever takes over after a kill finds a manifest that is not, reads the same events again, and writes what
is missing: the same bytes under the same names. Nothing is ever rewritten: objects are put only where there is none (``If-None-Match: *``, https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.contracts import INTERNAL, Contract
from infra.errors import GroundplanError
from pipelines.context import Context

if TYPE_CHECKING:
    import pyarrow as pa


SENT_AT, PARTITION, OFFSET = (f"{INTERNAL}{name}" for name in ("sent_at", "partition", "offset"))
# Where a row came from, and when it was sent first (milliseconds since 1970): among events of one time, the order in which they were sent.
POSITION = (SENT_AT, PARTITION, OFFSET)


@dataclass(frozen=True)
class RawFile:
    """One Parquet file: its key in the bucket, rows, and SHA-256."""

    key: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What became of the events of one partition from ``first`` up to, not with, ``last``.

    Attributes:
        contract: Id and version of the contract they were held to.
        events: Events in the range; each is a row of a file, or a dead letter.
        quarantined: Why the rows are kept apart (undeclared personal data); empty where they are not.
        latest: Events with a later time were refused (ISO 8601): whoever writes the range again decides alike, on whatever day.
    """

    topic: str
    contract: str
    partition: int
    first: int
    last: int
    events: int
    dead_letters: int
    files: tuple[RawFile, ...]
    quarantined: tuple[str, ...] = ()
    latest: str = ""

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)


class RawZone:
    """The raw files of one topic."""

    def __init__(self, context: Context, contract: Contract) -> None:
        self._context, self._contract = context, contract
        self._bucket = context.outputs.buckets["raw"]
        self.topic, self.version = contract.topic, contract.label

    def done(self) -> dict[int, int]:
        """For each partition the offset up to which its events are taken in."""
        found: dict[int, int] = {}
        for key in self._keys():
            if key.endswith(".done"):
                partition, _, last = key.rpartition("/")[2].removesuffix(".done").split("-")
                found[int(partition[1:])] = max(int(last), found.get(int(partition[1:]), 0))
        return found

    def finish(self, manifest: Manifest) -> None:
        """Note that a range is done: its files are there, and its dead letters are sent."""
        self._put(f"{self._key(manifest.partition, manifest.first).removesuffix('.json')}-{manifest.last:020d}.done", b"", "text/plain")

    def _keys(self) -> Iterator[str]:
        return self._context.keys("raw", f"manifests/{self.topic}/")

    def manifest(self, partition: int, first: int) -> Manifest | None:
        """The manifest of the range that begins at an offset, if somebody has begun it."""
        try:
            body = self._context.get("raw", self._key(partition, first))
        except self._context.s3.exceptions.NoSuchKey:
            return None
        return _manifest(json.loads(body))

    def manifests(self) -> Iterator[Manifest]:
        """Those that are done, by partition and offset; of one that is not, files may still be missing."""
        keys = list(self._keys())
        done = {key.removesuffix(".done").rpartition("-")[0] for key in keys if key.endswith(".done")}
        for key in keys:
            if key.endswith(".json") and key.removesuffix(".json") in done:
                yield _manifest(json.loads(self._context.get("raw", key)))

    def write(
        self, partition: int, first: int, last: int, table: pa.Table, *, events: int, dead_letters: int, quarantined: tuple[str, ...] = (), latest: str = ""
    ) -> Manifest:
        """Write a range of events: the manifest, then the files; what is there already is left as it is.

        Raises:
            GroundplanError: S3 refuses, or another has written other events under the same name.
        """
        made = dict(self._files(partition, first, table, quarantined=bool(quarantined)))
        files = tuple(file for file, _ in made.values())
        manifest = Manifest(self.topic, self.version, partition, first, last, events, dead_letters, files, quarantined, latest)
        self._put(self._key(partition, first), json.dumps(asdict(manifest), indent=1).encode(), "application/json")
        for file, body in made.values():
            self._put(file.key, body, "application/vnd.apache.parquet")
        return manifest

    def _files(self, partition: int, first: int, table: pa.Table, *, quarantined: bool) -> Iterator[tuple[str, tuple[RawFile, bytes]]]:
        import pyarrow.compute as pc

        folder = f"quarantine/{self.topic}" if quarantined else self.topic
        parts = {"": table}
        if (time := self._contract.event_time) and table.num_rows:
            dates = pc.strftime(table[time], format=self._contract.partition_format)
            parts = {f"event_date={date}/": table.filter(pc.equal(dates, date)) for date in sorted(pc.unique(dates).to_pylist())}
        for prefix, rows in parts.items():
            if rows.num_rows:
                body, key = parquet(rows), f"{folder}/{prefix}p{partition:05d}-{first:020d}.parquet"
                yield key, (RawFile(key, rows.num_rows, hashlib.sha256(body).hexdigest()), body)

    def _put(self, key: str, body: bytes, content_type: str) -> None:
        try:
            self._context.s3.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type, IfNoneMatch="*")
        except (ClientError, BotoCoreError) as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
            if code not in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise GroundplanError(
                    f"the raw zone takes no objects: {error}", where=f"s3://{self._bucket}/{key}",
                    fix="nothing is lost: the events stay in the topic, and the next run begins where this one stopped",
                ) from None  # fmt: skip
            if self._context.get("raw", key) != body:
                raise GroundplanError(
                    "another run has written other events here", where=f"s3://{self._bucket}/{key}",
                    fix="was the topic made anew? Then give the contract's topic another name, since raw objects are never rewritten",
                ) from None  # fmt: skip

    def _key(self, partition: int, first: int) -> str:
        return f"manifests/{self.topic}/p{partition:05d}-{first:020d}.json"

    def read(self) -> pa.Table:
        """Every row that was taken in, of all manifests, without those in quarantine; each with its ``POSITION``.

        Raises:
            GroundplanError: A file is missing or not what its manifest says.
        """
        import pyarrow as pa

        wanted = raw_schema(self._contract)
        tables = [wanted.empty_table()]
        for manifest in self.manifests():
            for file in manifest.files if not manifest.quarantined else ():
                body = self._context.get("raw", file.key)
                if hashlib.sha256(body).hexdigest() != file.sha256:
                    raise GroundplanError("is not what was written", where=f"s3://{self._bucket}/{file.key}", fix="restore the version that the manifest names")
                tables.append(_as_now(read_parquet(body), wanted))
        return pa.concat_tables(tables)


def raw_schema(contract: Contract) -> pa.Schema:
    """Columns of the raw files: the contract's fields, and ``POSITION``."""
    import pyarrow as pa

    from pipelines.decode import arrow_schema

    schema = arrow_schema(contract)
    for name in POSITION:
        schema = schema.append(pa.field(name, pa.int64()))
    return schema


def read_parquet(body: bytes) -> pa.Table:
    """A table from Parquet."""
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(body))


def parquet(table: pa.Table) -> bytes:
    """A table as the lake keeps it: the same bytes for the same rows."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _as_now(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """A file of an older version of the contract with the columns of today's: those it lacks are empty, whole numbers may be numbers now.

    What compatible versions don't explain is left as it is, for the gate to see.
    """
    import pyarrow as pa

    if table.schema.equals(wanted):
        return table
    columns = []
    for field in wanted:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
        elif pa.types.is_integer(table.schema.field(field.name).type) and pa.types.is_floating(field.type):
            columns.append(table[field.name].cast(field.type))
        else:
            columns.append(table[field.name])
    return pa.Table.from_arrays(columns, schema=pa.schema([pa.field(f.name, c.type, f.nullable) for f, c in zip(wanted, columns, strict=True)]))


def _manifest(document: dict[str, Any]) -> Manifest:
    return Manifest(**{**document, "files": tuple(RawFile(**file) for file in document["files"]), "quarantined": tuple(document["quarantined"])})
