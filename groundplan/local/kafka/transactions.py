"""Adds the aborted transactions to answers to Fetch requests, as Kafka does for clients that read committed events
only (KIP-98).

A consumer can't know by itself which events of a transaction to leave out: the control record that ends it comes after
them in the log. The control records that the broker has written are read ahead, first from the beginning of the log,
then from where the last read ended.

Only Fetch of versions 4 to 11 is read; the proxy reports to its clients that there are no newer ones. Formats:
https://kafka.apache.org/protocol#The_Messages_Fetch and https://kafka.apache.org/documentation/#messageformat
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

FETCH, FIRST, NEWEST = 1, 4, 11
_HEAD = struct.Struct(
    ">qiibIhiqqqhii"
)  # of a batch of records: base offset, length, epoch, magic, checksum, attributes, ...
AT_ONCE = 8 * 1024 * 1024
WAIT_MS = 500
_TRANSACTIONAL, _CONTROL = 0x10, 0x20
_ABORT = 0
Log = Callable[[str, int, int], Awaitable[bytes]]


@dataclass(frozen=True)
class Batch:
    """The header of a batch of records, and the type of a control record."""

    first: int
    last: int
    producer: int
    transactional: bool
    mark: int | None = None


@dataclass(frozen=True)
class Aborted:
    """An aborted transaction: from ``first`` to the offset of its control record."""

    producer: int
    first: int
    mark: int


@dataclass
class Ends:
    """How the transactions of one partition ended, as far as its log has been read."""

    next: int = 0
    aborted: list[Aborted] = field(default_factory=list)
    _begun: dict[int, int] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether there are transactions whose end has not been read yet."""
        return bool(self._begun)

    def look(self, records: bytes) -> bool:
        """Continue with what follows in the log; returns whether there was anything new."""
        before = self.next
        for batch in batches(records):
            if batch.first < self.next or not batch.transactional:
                self.next = max(self.next, batch.last + 1)
                continue
            if batch.mark is None:
                self._begun.setdefault(batch.producer, batch.first)
            elif (first := self._begun.pop(batch.producer, None)) is not None and batch.mark == _ABORT:
                self.aborted.append(Aborted(batch.producer, first, batch.first))
            self.next = batch.last + 1
        return self.next > before


def batches(records: bytes) -> Iterator[Batch]:
    """The headers of all complete batches of format 2; older formats have no transactions."""
    place = 0
    while place + _HEAD.size <= len(records):
        base, length, _, magic, _, attributes, last, _, _, producer, _, _, _ = _HEAD.unpack_from(records, place)
        end = place + 12 + length
        if length <= 0 or end > len(records):
            return
        if magic == 2:
            transactional = bool(attributes & _TRANSACTIONAL)
            mark = _mark(records[place + _HEAD.size : end]) if attributes & _CONTROL else None
            yield Batch(base, base + last, producer, transactional, mark)
        place = end


def _mark(record: bytes) -> int | None:
    """What a control record says: its key is a version and a type, 0 for an abort and 1 for a commit."""
    _, place = _zigzag(record, 0)  # its length
    place += 1  # attributes
    for _ in range(2):  # timestamp and offset relative to the batch's first
        _, place = _zigzag(record, place)
    size, place = _zigzag(record, place)
    return struct.unpack_from(">hh", record, place)[1] if size >= 4 and place + 4 <= len(record) else None


def varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = shift = 0
    while place < len(data):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    return value, place


def _zigzag(data: bytes, place: int) -> tuple[int, int]:
    """The same with a sign, as records encode it."""
    value, place = varint(data, place)
    return (value >> 1) ^ -(value & 1), place


def reads_committed(request: bytes, version: int) -> bool:
    """Whether a Fetch request (with its length) requests committed events only."""
    if not FIRST <= version <= NEWEST or len(request) < 14:
        return False
    client: int = struct.unpack_from(">h", request, 12)[0]
    place = 14 + max(client, 0) + 16  # replica, longest wait, least and most bytes
    return len(request) > place and request[place] == 1


async def with_aborted(answer: bytes, version: int, ends: dict[tuple[str, int], Ends], log: Log) -> bytes:
    """A Fetch answer (without its length) that lists the aborted transactions of the events in it.

    Args:
        ends: What is known of each topic's partitions; it grows.
        log: Reads records of a topic's partition from an offset on.
    """
    read = _Reader(answer)
    read.skip(4 + 4 + (6 if version >= 7 else 0))  # correlation id, throttle time; error and session
    out, copied = b"", 0
    for _ in range(read.number(">i")):
        topic = read.text()
        for _ in range(read.number(">i")):
            partition = read.number(">i")
            read.skip(2)  # error
            ends_at = read.number(">q")
            read.skip(8)  # last stable offset
            starts = read.number(">q") if version >= 5 else 0
            list_starts = read.place
            known = read.number(">i")
            read.skip(max(known, 0) * 16)
            list_ends = read.place
            read.skip(4 if version >= 11 else 0)  # preferred replica
            records = read.blob()
            heads = [batch for batch in batches(records) if batch.transactional]
            if known <= 0 and heads:
                found = await _among(
                    heads,
                    ends.setdefault((topic, partition), Ends()),
                    (starts, ends_at),
                    partial(log, topic, partition),
                )
                listed = b"".join(struct.pack(">qq", item.producer, item.first) for item in found)
                out += answer[copied:list_starts] + struct.pack(">i", len(found)) + listed
                copied = list_ends
    return out + answer[copied:]


async def _among(
    heads: list[Batch], known: Ends, reach: tuple[int, int], log: Callable[[int], Awaitable[bytes]]
) -> list[Aborted]:
    """The aborted transactions that have events among these, in the order in which they began.

    Args:
        reach: The log's first offset, and the one after its last.
    """
    lowest, highest = heads[0].first, heads[-1].last
    known.next = max(known.next, reach[0])
    while (known.next <= highest or known.open) and known.next < reach[1] and known.look(await log(known.next)):
        pass
    return sorted(
        (item for item in known.aborted if item.first <= highest and item.mark >= lowest), key=lambda item: item.first
    )


def request(topic: str, partition: int, offset: int) -> bytes:
    """A Fetch request (version 4, with its length) for a partition's records from an offset on."""
    name = topic.encode()
    body = struct.pack(">hhih", FETCH, FIRST, 0, -1) + struct.pack(">iiiib", -1, WAIT_MS, 1, AT_ONCE, 0)
    body += struct.pack(">ih", 1, len(name)) + name + struct.pack(">iiqi", 1, partition, offset, AT_ONCE)
    return struct.pack(">i", len(body)) + body


def records(answer: bytes) -> bytes:
    """The records of its answer (without its length)."""
    read = _Reader(answer)
    read.skip(4 + 4)  # correlation id, throttle time
    if not read.number(">i"):
        return b""
    read.text()
    read.skip(4 + 4 + 2 + 8 + 8)  # number of partitions, partition, error, high watermark, last stable offset
    read.skip(max(read.number(">i"), 0) * 16)
    return read.blob()


class _Reader:
    """Reads numbers and texts of an answer, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self.place = data, 0

    def skip(self, size: int) -> None:
        self.place += size

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self._data, self.place)
        self.place += struct.calcsize(form)
        return int(value)

    def text(self) -> str:
        return self._take(self.number(">h")).decode()

    def blob(self) -> bytes:
        return self._take(self.number(">i"))

    def _take(self, size: int) -> bytes:
        found = self._data[self.place : self.place + max(size, 0)]
        self.place += max(size, 0)
        return found
