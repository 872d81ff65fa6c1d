"""Events into columns: valid events come through complete, invalid ones get a reason."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data.decode import Decoder
from tests import flights
from tests.contracts import contract_of, field, small

GOOD = flights.events("flights")[0]


def body(**changes: Any) -> bytes:
    return orjson.dumps({key: value for key, value in {**GOOD, **changes}.items() if value is not ...})


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder(flights.contract("flights"))


def test_real_events_become_the_contracts_columns(decoder: Decoder) -> None:
    table, refused = decoder.decode(list(flights.payloads("flights")))
    assert table.num_rows == 3569 and not refused and table.schema == decoder.schema
    first = table.slice(0, 1).to_pylist()[0]
    assert first["carrier"] == GOOD["carrier"] and first["scheduled_departure"] == datetime.fromisoformat(
        GOOD["scheduled_departure"]
    )
    assert table["departure_delay"].null_count > 0, "cancelled flights have none"


BAD: list[tuple[bytes, str, str]] = [
    (b"", "not JSON", "it ends in the middle"),
    (b"\x00\xff", "not JSON", "it is not JSON from byte 1 on"),
    (b"null", "not JSON", "it is null, not a JSON object"),  # crashes other parsers
    (b"[1]", "not JSON", "it is a list, not a JSON object"),
    (b'"text"', "not JSON", "it is a text, not a JSON object"),
    (body()[:-3], "not JSON", "it is not JSON from byte"),
    (body() + body(), "not JSON", "it is not JSON from byte"),
    (body() + b",\n" + body(), "not JSON", "it is not JSON from byte"),
    (b'{"flight_id":"\xff"}', "not JSON", "it is not UTF-8"),
    (body(flight="12"), "wrong type", "flight must be a whole number, but is a text ('12')"),
    (body(flight=12.5), "wrong type", "flight must be a whole number, but is a number (12.5)"),
    (body(flight=True), "wrong type", "flight must be a whole number, but is true or false (True)"),
    (body().replace(b'"flight":', b'"flight":99999999999999999999'), "out of bounds", "flight must be at most 9999"),
    (body(carrier=None), "missing field", "carrier is null, but the contract requires it"),
    (
        body(scheduled_departure="yesterday"),
        "wrong type",
        "scheduled_departure is not a time in ISO 8601 with its zone: 'yesterday'",
    ),
    (body(scheduled_departure="2013-02-10T06:00:00"), "wrong type", "not a time in ISO 8601 with its zone"),
    (
        body().replace(b'"air_time":', b'"air_time":-99999999999999999999,"x":'),
        "out of bounds",
        "air_time must be at least",
    ),
    (
        body(scheduled_departure=1357034100),
        "wrong type",
        "scheduled_departure must be a text, but is a whole number (1357034100)",
    ),
    (body(surprise=1), "unknown field", "surprise is not in the contract"),
    (body(origin=...), "missing field", "origin is missing"),
    (body(distance=0), "out of bounds", "distance must be at least 1 (0)"),
    (body(origin="Newark"), "out of bounds", "origin is 'Newark', which does not match ^[A-Z]{3}$"),
    (body(tailnum="N12345678"), "out of bounds", "tailnum has a length that must be at most 8"),
    (
        body(scheduled_departure="1970-01-01T00:00:00Z"),
        "out of bounds",
        "scheduled_departure is '1970-01-01T00:00:00Z', allowed is from 2012-12-31",
    ),
    (body(scheduled_departure="0000-01-01T00:00:00Z"), "out of bounds", "allowed is from"),  # Python has no such year
    (body(scheduled_departure="0001-01-01T00:00:00+14:00"), "out of bounds", "allowed is from"),
    (body(departed_at="0000-01-01T00:00:00Z"), "out of bounds", "allowed is from 2012-12-31"),
    (
        body(origin="JFK\n"),
        "out of bounds",
        "origin is 'JFK\\n', which does not match",
    ),  # before which Python's `$` would end
    (
        body(scheduled_departure="2099-01-01T00:00:00Z"),
        "out of bounds",
        "scheduled_departure is '2099-01-01T00:00:00Z'",
    ),
]


@pytest.mark.parametrize(("payload", "reason", "detail"), BAD)
def test_a_bad_event_is_refused_with_its_reason_and_takes_no_other_with_it(
    decoder: Decoder, payload: bytes, reason: str, detail: str
) -> None:
    table, refused = decoder.decode([body(flight=1), payload, body(flight=3)])
    assert table["flight"].to_pylist() == [1, 3]
    assert [(item.index, item.reason) for item in refused] == [(1, reason)] and detail in refused[0].detail
    assert not any(word in refused[0].detail for word in ("Expected", "`", "$.", "JSON is malformed")), (
        "no library's own words"
    )


def test_events_that_only_together_are_json_are_refused_each(decoder: Decoder) -> None:
    whole = body()
    half = len(whole) // 2
    _, refused = decoder.decode([whole[:half], whole[half:], body() + b",\n" + body()])
    assert len(refused) == 3
    split = whole.index(b'"carrier"')
    table, refused = decoder.decode([whole[: split - 1] + b"}", b"{" + whole[split:], whole])
    assert (table.num_rows, [item.index for item in refused]) == (1, [0, 1])


def test_a_time_in_another_zone_is_stored_in_utc(decoder: Decoder) -> None:
    table, _ = decoder.decode([body(scheduled_departure="2013-02-10T06:00:00-05:00")])
    assert table["scheduled_departure"].to_pylist() == [datetime(2013, 2, 10, 11, tzinfo=UTC)]


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from([body(), *(payload for payload, _, _ in BAD)])), max_size=12
    )
)
def test_every_event_is_either_a_row_or_refused(payloads: list[bytes]) -> None:
    table, refused = Decoder(flights.contract("flights")).decode(payloads)
    assert table.num_rows + len(refused) == len(payloads)
    assert table.num_rows == sum(payload == body() for payload in payloads)


def test_a_number_that_no_column_holds_is_refused_where_the_contract_has_no_bounds() -> None:
    open_ended = Decoder(flights.bent_contract("planes", field("seats", logicalTypeOptions={})))
    good = flights.payloads("planes")[0]
    table, refused = open_ended.decode([good, good.replace(b'"seats":', b'"seats":99999999999999999999999')])
    assert table.num_rows == 1 and refused[0].reason == "out of bounds"


FREE = small(
    {"name": "id", "logicalType": "string", "primaryKey": True},
    {"name": "f", "logicalType": "object"},
    {"name": "l", "logicalType": "array", "items": {"logicalType": "object"}},
)


@pytest.mark.parametrize(
    ("payload", "reason", "detail"),
    [
        (b'{"id":"a","f":"\xff"}', "not JSON", "f is not valid UTF-8"), (b'{"id":"\\ud800"}', "not JSON", ""),
        (b'{"id":"a","f":' + b"[" * 5000 + b"]" * 5000 + b"}", "not JSON", "it is nested too deep"),
        (b'{"id":"a","f":' + b'{"a":' * 600 + b"1" + b"}" * 601, "not JSON", "it is nested too deep"),
        (b'{"id":' + b"[" * 5000 + b"]" * 5000 + b"}", "wrong type", "id must be a text"),
    ],
)  # fmt: skip
def test_no_event_blocks_its_topic(payload: bytes, reason: str, detail: str) -> None:
    table, refused = Decoder(contract_of(FREE)).decode([b'{"id":"1"}', payload, b'{"id":"3"}'])
    assert table["id"].to_pylist() == ["1", "3"] and [item.index for item in refused] == [1]
    assert refused[0].reason == reason and detail in refused[0].detail


def test_many_brackets_are_not_deep() -> None:
    wide = b'{"id":"a","f":{"t":"' + b"[" * 2000 + b'\\"{","l":[' + b",".join([b"[{}]"] * 2000) + b"]}}"
    table, refused = Decoder(contract_of(FREE)).decode([wide])
    assert table.num_rows == 1 and refused == []


def test_a_whole_number_may_be_written_with_a_point() -> None:
    count = {"logicalType": "integer", "logicalTypeOptions": {"minimum": 0, "maximum": 9}}
    contract = contract_of(
        small(
            {"name": "id", "logicalType": "string", "primaryKey": True},
            {"name": "n", **count},
            {"name": "o", "logicalType": "object", "properties": [{"name": "n", **count}]},
            {"name": "l", "logicalType": "array", "items": {"logicalType": "integer"}},
            {"name": "j", "logicalType": "object"},
            {"name": "d", "logicalType": "number", "physicalType": "decimal(38,18)"},
        )
    )
    exact = b"12345678901234567890.123456789012345678"
    good = b'{"id":"a","n":3.0,"o":{"n":1e0},"l":[-0.0,2,3.0,null],"j":{"x":1.0},"d":' + exact + b"}"
    table, refused = Decoder(contract).decode(
        [
            good,
            b'{"id":"b","n":1.5}',
            b'{"id":"c","n":10.0}',
            b'{"id":"d","o":{"n":1e300}}',
            b'{"id":"e","n":1.0,"d":true}',
        ]
    )
    assert table.to_pylist() == [
        {
            "id": "a",
            "n": 3,
            "o": {"n": 1},
            "l": [0, 2, 3, None],
            "j": '{"x":1.0}',
            "d": Decimal("12345678901234567890.123456789012345678"),
        }
    ]
    assert [item.detail for item in refused] == [
        "n must be a whole number, but is a number (1.5)",
        "n must be at most 9 (10.0)",
        "o.n must be a whole number, but is a number (1e+300)",
        "d must be a number, but is true or false (True)",
    ]


def test_lists_of_anything_are_kept_and_events_can_not_be_joined() -> None:
    decoder = Decoder(contract_of(FREE))
    table, refused = decoder.decode([b'{"id":"a","l":[{"x":1},null,[2],"t"]}'])
    assert not refused and table["l"].to_pylist() == [['{"x":1}', None, "[2]", '"t"']]
    assert len(decoder.decode([b'{"id":"a","l":[{}', b"{}]}", b'{"id":"b"},\n{"id":"c"}'])[1]) == 3


@pytest.mark.parametrize(
    ("values", "good", "bad"),
    [
        ({"logicalType": "number", "logicalTypeOptions": {"multipleOf": 0.01}}, ["19.99", "0.07", "1"], ["0.001"]),
        ({"logicalType": "integer", "logicalTypeOptions": {"multipleOf": 2.5}}, ["5", "0"], ["4"]),
        ({"logicalType": "date", "enum": [{"value": "2024-01-01"}]}, ['"2024-01-01"'], ['"2025-01-01"']),
        (
            {"logicalType": "number", "physicalType": "decimal(5,2)", "enum": [{"value": 1.5}]},
            ["1.5", '"1.50"'],
            ["1.51"],
        ),
        (
            {
                "logicalType": "number",
                "physicalType": "decimal(5,2)",
                "logicalTypeOptions": {"maximum": 1000, "exclusiveMinimum": 0.001},
            },
            ["999.99", "0.01"],
            ["0"],
        ),
        ({"logicalType": "string", "logicalTypeOptions": {"minLength": 2.0, "maxLength": 10**30}}, ['"ab"'], ['"a"']),
        ({"logicalType": "number", "logicalTypeOptions": {"maximum": 10**400}}, ["1e300"], []),
        ({"logicalType": "date"}, ['"9999-12-31"', '"0001-01-01"'], ['"0000-01-01"']),
        ({"logicalType": "timestamp"}, ['"9999-12-31T23:59:59Z"', '"2024-01-01T10:00:00.123456789Z"'], []),
        (
            {"logicalType": "timestamp", "logicalTypeOptions": {"format": "dd/MM/yyyy HH:mm:ss'Z'"}},
            ['"31/12/2024 10:00:00Z"'],
            ['"31/12/2024 10:00:00"'],
        ),
    ],
)
def test_rules_of_types_hold_to_the_last_digit_alone_and_among_others(
    values: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    wanted = contract_of(
        small({"name": "id", "logicalType": "string", "primaryKey": True}, {"name": "v", **values}, apiVersion="v3.2.0")
    )
    payloads = [f'{{"id":"a","v":{text}}}'.encode() for text in (*good, *bad)]
    table, refused = Decoder(wanted).decode(payloads)
    assert table.num_rows == len(good) and [item.index for item in refused] == list(range(len(good), len(payloads)))
    assert [bool(Decoder(wanted).decode([payload])[1]) for payload in payloads] == [False] * len(good) + [True] * len(
        bad
    )
    assert table.to_pylist()


@pytest.mark.parametrize(
    "kind",
    [
        {"logicalType": "object"},
        {"logicalType": "string"},
        {"logicalType": "array", "items": {"logicalType": "object"}},
    ],
)
def test_what_an_object_must_hold_is_missing_only_where_the_object_is_there(kind: dict[str, Any]) -> None:
    part = {"name": "p", "required": True, **kind}
    decoder = Decoder(contract_of(small({"name": "id", "logicalType": "string", "primaryKey": True, "required": True}, {
        "name": "o", "logicalType": "object", "properties": [part]
    })))  # fmt: skip
    payloads = [
        orjson.dumps({"id": str(place), **more})
        for place, more in enumerate(({}, {"o": None}, {"o": {}}, {"o": {"p": None}}))
    ]
    table, refused = decoder.decode(payloads)
    assert table["id"].to_pylist() == ["0", "1"] and [(item.index, item.reason) for item in refused] == [
        (2, "missing field"),
        (3, "missing field"),
    ]
