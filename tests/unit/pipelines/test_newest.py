"""Which event of a key is the newest: the same dataset, whatever runs took the events in, and in whatever order they
were sent again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data.dead_letters import FIRST_SENT, first_sent_ms
from pipelines.data.decode import Decoder
from pipelines.steps.ingest import _with_position, latest_time
from pipelines.steps.quality import prepare
from spec.contracts import Contract
from spec.errors import UsageError
from tests.contracts import contract_of, small

pytestmark = pytest.mark.slow  # runs the gate

TIME = datetime(2026, 5, 1, tzinfo=UTC)


def contract(*more: dict[str, Any], custom: list[dict[str, Any]] | None = None, timed: bool = True) -> Contract:
    properties: list[dict[str, Any]] = [
        {"name": "id", "logicalType": "string", "primaryKey": True},
        {"name": "v", "logicalType": "number"},
    ]
    if timed:
        properties.append({"name": "at", "logicalType": "timestamp", "required": True, "partitioned": True})
    return contract_of(small(*properties, *more, customProperties=custom or []))


@dataclass
class Message:
    """The interface of confluent-kafka's message."""

    body: bytes
    place: int
    sent_ms: int
    first_ms: int | None = None

    def value(self) -> bytes:
        return self.body

    def offset(self) -> int:
        return self.place

    def timestamp(self) -> tuple[int, int]:
        return 1, self.sent_ms

    def headers(self) -> list[tuple[str, bytes]] | None:
        return None if self.first_ms is None else [(FIRST_SENT, str(self.first_ms).encode())]


def taken_in(wanted: Contract, batches: list[tuple[int, list[Message]]]) -> pa.Table:
    """Rows of batches of messages, each of one partition."""
    decoder, tables = Decoder(wanted), []
    for partition, messages in batches:
        table, refused = decoder.decode([message.value() for message in messages])
        assert not refused
        tables.append(_with_position(table, partition, messages))
    return prepare(pa.concat_tables(tables), wanted, frozenset())[0]


@st.composite
def histories(draw: st.DrawFn) -> tuple[bool, dict[int, list[Message]]]:
    timed = draw(st.booleans())
    found: dict[int, list[Message]] = {}
    for number in range(draw(st.integers(1, 25))):
        event: dict[str, Any] = {"id": draw(st.sampled_from("abc")), "v": float(number)}
        if timed:
            event["at"] = (TIME + timedelta(hours=draw(st.integers(0, 3)))).isoformat()
        partition = draw(st.integers(0, 2))
        messages = found.setdefault(partition, [])
        # Clocks of senders are coarse, so two events may well have been sent in the same millisecond.
        replayed = draw(st.one_of(st.none(), st.integers(0, 5)))
        messages.append(Message(orjson.dumps(event), len(messages), draw(st.integers(0, 5)), replayed))
    return timed, found


def in_pieces(draw: Any, history: dict[int, list[Message]]) -> list[tuple[int, list[Message]]]:
    """The partitions cut into runs, in any order."""
    pieces: list[tuple[int, list[Message]]] = []
    for partition, messages in history.items():
        left = messages
        while left:
            size = draw(st.integers(1, len(left)))
            pieces.append((partition, left[:size]))
            left = left[size:]
    return list(draw(st.permutations(pieces)))


@settings(deadline=None, max_examples=80)
@given(histories(), st.data())
def test_the_dataset_is_the_same_whatever_the_runs(
    history: tuple[bool, dict[int, list[Message]]], data: st.DataObject
) -> None:
    timed, messages = history
    wanted = contract(timed=timed)
    one, other = (taken_in(wanted, in_pieces(data.draw, messages)) for _ in range(2))
    assert one.equals(other)
    # What one would say by hand.
    rows = [
        (orjson.loads(m.body), first_sent_ms(m), partition, m.place)
        for partition, found in messages.items()
        for m in found
    ]
    best: dict[str, tuple[Any, ...]] = {}
    for event, sent, partition, offset in rows:
        rank = (event.get("at", ""), sent, partition, offset)
        best[event["id"]] = max(best.get(event["id"], ((), 0.0)), (rank, event["v"]))
    assert dict(zip(one["id"].to_pylist(), one["v"].to_pylist(), strict=True)) == {
        key: value for key, (_, value) in best.items()
    }


def message(sent: int, place: int, first: int | None = None, **event: Any) -> Message:
    return Message(orjson.dumps(event), place, sent, first)


def corrections() -> Iterator[tuple[str, Contract, list[tuple[int, list[Message]]]]]:
    at = TIME.isoformat()
    later = (TIME + timedelta(hours=1)).isoformat()
    yield (
        "sent last, in another partition",
        contract(timed=False),
        [(1, [message(2, 0, id="k", v=2)]), (0, [message(1, 7, id="k", v=1)])],
    )
    yield (
        "of the newest time, though sent first",
        contract(),
        [(0, [message(1, 0, id="k", v=2, at=later), message(2, 1, id="k", v=1, at=at)])],
    )
    yield (
        "an old one that was replayed",
        contract(),
        [(0, [message(2, 1, id="k", v=2, at=at), message(9, 2, 1, id="k", v=1, at=at)])],
    )
    revision = {"name": "revision", "logicalType": "integer", "required": True}
    versioned = contract(revision, custom=[{"property": "version", "value": "revision"}])
    yield (
        "of the highest version",
        versioned,
        [(0, [message(1, 0, id="k", v=2, at=at, revision=3), message(2, 1, id="k", v=1, at=later, revision=2)])],
    )


@pytest.mark.parametrize(("name", "wanted", "batches"), corrections(), ids=[name for name, *_ in corrections()])
def test_the_correction_stands(name: str, wanted: Contract, batches: list[tuple[int, list[Message]]]) -> None:
    assert taken_in(wanted, batches)["v"].to_pylist() == [2]


@pytest.mark.parametrize("value", ["other", "v", "id"])
def test_a_version_is_a_number_or_a_time_that_every_event_has(value: str) -> None:
    with pytest.raises(
        UsageError,
        match=rf"the version field '{value}' must be a property that is required, and a number or a timestamp",
    ):
        contract(custom=[{"property": "version", "value": value}])


def test_an_event_of_the_future_is_refused_and_other_dates_may_lie_there() -> None:
    wanted = contract({"name": "due", "logicalType": "timestamp"})
    latest = latest_time(wanted, TIME)
    assert latest == datetime(2026, 5, 3, tzinfo=UTC), "a day of tolerance, to the end of that day"
    events = [
        {"id": "a", "at": TIME.isoformat(), "due": "2031-01-01T00:00:00Z"}, {"id": "b", "at": "2031-01-01T00:00:00Z"},
        {"id": "c", "at": (TIME + timedelta(hours=23)).isoformat()},
    ]  # fmt: skip
    table, (refused,) = Decoder(wanted).decode([orjson.dumps(event) for event in events], latest)
    assert table["id"].to_pylist() == ["a", "c"] and (refused.index, refused.reason) == (1, "in the future")
    assert (
        refused.detail == "at is '2031-01-01T00:00:00Z', but the platform accepts nothing from 2026-05-03 00:00 UTC on"
    )
    patient = contract(custom=[{"property": "future_tolerance_hours", "value": 24 * 365 * 10}])
    assert Decoder(patient).decode([orjson.dumps(events[1])], latest_time(patient, TIME))[1] == []
    with pytest.raises(UsageError, match="future_tolerance_hours is 'a day'; it must be a number of hours"):
        contract(custom=[{"property": "future_tolerance_hours", "value": "a day"}])


@pytest.mark.parametrize("said", [{}, {"required": False}, {"required": True}])
def test_events_without_a_key_are_refused_one_by_one_whatever_the_contract_says_of_it(said: dict[str, bool]) -> None:
    payloads = [b'{"id":"a","v":1}', b'{"v":2}', b'{"id":null,"v":3}', b'{"id":"b","v":4}']
    wanted = contract_of(
        small(
            {"name": "id", "logicalType": "string", "primaryKey": True, **said}, {"name": "v", "logicalType": "number"}
        )
    )
    table, refused = Decoder(wanted).decode(payloads)
    assert table["id"].to_pylist() == ["a", "b"]
    assert [(item.index, item.reason) for item in refused] == [(1, "missing field"), (2, "missing field")]
    assert prepare(table, wanted, frozenset())[0]["id"].to_pylist() == ["a", "b"]


def test_a_key_of_several_fields_tells_by_all_of_them_and_without_one_every_event_is_a_row() -> None:
    fields = (
        {"name": "shop", "logicalType": "string"},
        {"name": "no", "logicalType": "integer"},
        {"name": "v", "logicalType": "integer"},
    )
    both = contract_of(
        small(
            {**fields[0], "primaryKey": True, "primaryKeyPosition": 2},
            {**fields[1], "primaryKey": True, "primaryKeyPosition": 1},
            fields[2],
        )
    )
    assert both.keys == ("no", "shop")
    rows = [("a", 1, 1), ("a", 2, 2), ("b", 1, 3), ("a", 1, 4), ("a", 1, 4)]
    messages = [
        Message(orjson.dumps(dict(zip(("shop", "no", "v"), row, strict=True))), place, place)
        for place, row in enumerate(rows)
    ]
    assert taken_in(both, [(0, messages)]).to_pylist() == [
        {"shop": "a", "no": 1, "v": 4}, {"shop": "b", "no": 1, "v": 3}, {"shop": "a", "no": 2, "v": 2},
    ]  # fmt: skip
    assert taken_in(contract_of(small(*fields)), [(0, messages)]).num_rows == 5


@pytest.mark.parametrize(
    ("bounds", "good", "bad"),
    [
        ({"minimum": 0.5, "maximum": 99.5}, [1, 99], [0, 100]),
        ({"minimum": 0, "maximum": 2**63 - 1}, [0, 2**63 - 1], [-1, 2**63]),
        ({"maximum": 2**53 + 1}, [2**53 + 1], [2**53 + 2]),
        ({"minimum": -(2**53) - 1}, [-(2**53) - 1], [-(2**53) - 2]),
        ({"minimum": -1e30, "maximum": 1e30}, [-(2**63), 2**63 - 1], [2**63]),
    ],
)
def test_bounds_of_whole_numbers_are_exact(bounds: dict[str, Any], good: list[int], bad: list[int]) -> None:
    wanted = contract({"name": "n", "logicalType": "integer", "logicalTypeOptions": bounds}, timed=False)
    table, refused = Decoder(wanted).decode(
        [orjson.dumps({"id": str(n)})[:-1] + b',"n":%d}' % n for n in [*good, *bad]]
    )
    assert table["n"].to_pylist() == good and len(refused) == len(bad)


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        (b"a", [{"id": "a"}]),
        (b'"a"', [{"id": "a"}]),
        (b'{"id":"a"}', [{"id": "a"}]),
        (b'{"id":"a","more":1}', [{"id": "a"}]),
        (b"7", [{"id": "7"}]),
        (b'{"other":"a"}', []),
        (b"", []),
        (None, []),
        (b"\xff", []),
        (b'{"id":7}', []),
    ],
)
def test_a_messages_key_is_read_in_the_forms_that_are_in_use(key: bytes | None, wanted: list[dict[str, Any]]) -> None:
    from pipelines.data.message_keys import KeyReader

    table, refused = KeyReader(contract(timed=False)).read([key])
    assert (
        table is not None
        and table.to_pylist() == wanted
        and [item.reason for item in refused] == ([] if wanted else ["tombstone"])
    )


def test_a_key_of_several_fields_is_read_and_compared() -> None:
    from pipelines.data.message_keys import KeyReader, message_key

    fields = (
        {"name": "shop", "logicalType": "string", "primaryKey": True},
        {"name": "no", "logicalType": "integer", "primaryKey": True},
    )
    both = contract_of(small(*fields, {"name": "v", "logicalType": "integer"}))
    reader = KeyReader(both)
    table, refused = reader.read(
        [b"a|1", b'{"no":2,"shop":"b"}', b"a", b"a|x", message_key(both, {"shop": "c", "no": 3}).encode()]
    )  # type: ignore[union-attr]
    assert table is not None and table.to_pylist() == [
        {"shop": "a", "no": 1},
        {"shop": "b", "no": 2},
        {"shop": "c", "no": 3},
    ]
    assert [item.index for item in refused] == [2, 3]
    rows = pa.table({"shop": ["a", "b", "c"], "no": [1, 2, 3], "v": [0, 0, 0]})
    assert reader.others(rows, [b"a|1", b"b|3", None]) == 1
    nobody = KeyReader(contract_of(small({"name": "v", "logicalType": "integer"})))
    assert nobody.read([b"a"])[0] is None and nobody.others(rows, [b"a", b"b", b"c"]) == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(0, 5)), max_size=12), st.randoms())
def test_what_is_deleted_does_not_depend_on_when_it_was_taken_in(
    history: list[tuple[str, bool, int]], chance: Any
) -> None:
    """Each entry: key, whether it is a deletion, and when it was sent."""
    from pipelines.data.message_keys import KeyReader, keys_only
    from pipelines.data.raw_zone import raw_schema

    wanted = contract(timed=False)
    rows, gone = [raw_schema(wanted).empty_table()], [raw_schema(keys_only(wanted)).empty_table()]
    entries = list(enumerate(history))
    chance.shuffle(entries)  # in whatever runs
    for place, (key, deletes, sent) in entries:
        message = Message(b"", place, sent)
        if deletes:
            table = KeyReader(wanted).read([key.encode()])[0]
            gone.append(_with_position(table, 0, [message]))
        else:
            rows.append(
                _with_position(Decoder(wanted).decode([orjson.dumps({"id": key, "v": place})])[0], 0, [message])
            )
    found = prepare(pa.concat_tables(rows), wanted, frozenset(), pa.concat_tables(gone))[0]
    expected = {}
    for key in "ab":
        ordered = sorted((sent, place, deletes) for place, (name, deletes, sent) in enumerate(history) if name == key)
        if ordered and not ordered[-1][2]:
            expected[key] = ordered[-1][1]
    assert dict(zip(found["id"].to_pylist(), found["v"].to_pylist(), strict=True)) == expected
