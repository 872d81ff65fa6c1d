from __future__ import annotations

import asyncio
import struct

import pytest

from groundplan.local.kafka.transactions import FETCH, Aborted, Ends, batches, reads_committed, with_aborted

DATA, ABORT, COMMIT = None, 0, 1


def zigzag(value: int) -> bytes:
    assert 0 <= value < 64
    return bytes([value << 1])


def batch(first: int, producer: int, mark: int | None, events: int = 1, attributes: int = 0x10) -> bytes:
    """A batch of format 2, as the documentation has it; its events are of no interest here."""
    record = b""
    if mark is not None:
        attributes |= 0x20
        record = (
            b"\0" + zigzag(0) + zigzag(0) + zigzag(4) + struct.pack(">hh", 0, mark) + zigzag(6) + b"\0" * 6 + zigzag(0)
        )
        record = zigzag(len(record)) + record
    rest = struct.pack(">ibIhiqqqhii", 0, 2, 0, attributes, events - 1, 0, 0, producer, 0, 0, events) + record
    return struct.pack(">qi", first, len(rest)) + rest


def answer(version: int, records: bytes, aborted: int = -1) -> bytes:
    head = struct.pack(">ii", 7, 0) + (struct.pack(">hi", 0, 0) if version >= 7 else b"")
    part = (
        struct.pack(">ihqq", 3, 0, 99, 99)
        + (struct.pack(">q", 0) if version >= 5 else b"")
        + struct.pack(">i", aborted)
    )
    return (
        head
        + struct.pack(">ih", 1, 1)
        + b"t"
        + struct.pack(">i", 1)
        + part
        + (struct.pack(">i", -1) if version >= 11 else b"")
        + struct.pack(">i", len(records))
        + records
    )


LOG = [
    batch(0, 7, DATA, 3),
    batch(3, 7, ABORT),
    batch(4, 7, DATA, 2),
    batch(6, 8, DATA, 2),
    batch(8, 7, COMMIT),
    batch(9, 5, DATA, 1, attributes=0),
    batch(10, 8, ABORT),
]


async def log(topic: str, partition: int, offset: int) -> bytes:
    assert (topic, partition) == ("t", 3)
    return b"".join([item for item in LOG if struct.unpack_from(">q", item)[0] >= offset][:2])


@pytest.mark.parametrize("version", range(4, 12))
@pytest.mark.parametrize(
    ("events", "wanted"),
    [(LOG[0:1], [(7, 0)]), (LOG[2:3], []), (LOG[2:4], [(8, 6)]), (LOG, [(7, 0), (8, 6)]), (LOG[5:6], None), ([], None)],
)
def test_an_answer_names_the_aborted_transactions_of_its_events(
    version: int, events: list[bytes], wanted: list[tuple[int, int]] | None
) -> None:
    given = answer(version, b"".join(events))
    changed = asyncio.run(with_aborted(given, version, {}, log))
    if wanted is None:
        assert changed == given
        return
    listed = b"".join(struct.pack(">qq", *item) for item in wanted)
    assert (
        changed
        == answer(version, b"".join(events), len(wanted)).replace(
            struct.pack(">i", len(wanted)), struct.pack(">i", len(wanted)) + listed, 1
        )
        or listed in changed
    )
    assert len(changed) == len(given) + len(listed)


def test_what_the_broker_names_itself_is_left_alone() -> None:
    given = (
        answer(4, LOG[0], aborted=1)[: -4 - len(LOG[0])]
        + struct.pack(">qq", 7, 0)
        + struct.pack(">i", len(LOG[0]))
        + LOG[0]
    )
    assert asyncio.run(with_aborted(given, 4, {}, log)) == given


def test_a_transaction_counts_as_aborted_only_once_its_mark_is_there() -> None:
    ends = Ends()
    assert ends.look(LOG[0]) and ends.open and not ends.aborted
    assert ends.look(LOG[1]) and not ends.open and ends.aborted == [Aborted(7, 0, 3)]
    assert not ends.look(LOG[0] + LOG[1]) and ends.next == 4


def test_a_batch_that_is_cut_off_is_not_read() -> None:
    whole = b"".join(LOG)
    for length in range(len(whole)):
        assert [item.first for item in batches(whole[:length])] == [0, 3, 4, 6, 8, 9, 10][
            : len(list(batches(whole[:length])))
        ]
    assert len(list(batches(whole))) == len(LOG)


@pytest.mark.parametrize(
    ("version", "isolation", "wanted"), [(4, 1, True), (11, 1, True), (4, 0, False), (12, 1, False), (3, 1, False)]
)
def test_only_who_reads_committed_events_is_served(version: int, isolation: int, wanted: bool) -> None:
    for client in (b"", b"rdkafka"):
        body = (
            struct.pack(">hhih", FETCH, version, 7, len(client))
            + client
            + struct.pack(">iiiib", -1, 500, 1, 2**20, isolation)
            + b"\0" * 20
        )
        assert reads_committed(struct.pack(">i", len(body)) + body, version) is wanted
