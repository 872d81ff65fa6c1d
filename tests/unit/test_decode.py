"""Events into columns: what is good comes through whole, and of what is not it is said why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.decode import Decoder
from tests import flights

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
    assert first["carrier"] == GOOD["carrier"] and first["scheduled_departure"] == datetime.fromisoformat(GOOD["scheduled_departure"])
    assert table["departure_delay"].null_count > 0, "cancelled flights have none"


BAD: list[tuple[bytes, str, str]] = [
    (b"", "not JSON", "truncated"),
    (b"\x00\xff", "not JSON", ""),
    (b"null", "not JSON", "Expected `object`"),  # crashes other parsers
    (b"[1]", "not JSON", "Expected `object`"),
    (b'"text"', "not JSON", "Expected `object`"),
    (body()[:-3], "not JSON", ""),
    (body() + body(), "not JSON", "trailing"),
    (body() + b",\n" + body(), "not JSON", "trailing"),
    (body(flight="12"), "wrong type", "$.flight"),
    (body(flight=12.5), "wrong type", "$.flight"),
    (body(flight=True), "wrong type", "$.flight"),
    (body().replace(b'"flight":', b'"flight":99999999999999999999'), "out of bounds", "$.flight"),
    (body(carrier=None), "wrong type", "$.carrier"),
    (body(scheduled_departure="yesterday"), "wrong type", "scheduled_departure is no time in ISO 8601 with its zone: 'yesterday'"),
    (body(scheduled_departure="2013-02-10T06:00:00"), "wrong type", "no time in ISO 8601 with its zone"),
    (body().replace(b'"air_time":', b'"air_time":-99999999999999999999,"x":'), "out of bounds", "$.air_time"),
    (body(scheduled_departure=1357034100), "wrong type", "$.scheduled_departure"),
    (body(surprise=1), "unknown field", "surprise"),
    (body(origin=...), "missing field", "origin"),
    (body(distance=0), "out of bounds", "$.distance"),
    (body(origin="Newark"), "out of bounds", "$.origin"),
    (body(tailnum="N12345678"), "out of bounds", "$.tailnum"),
    (body(scheduled_departure="1970-01-01T00:00:00Z"), "out of bounds", "scheduled_departure is 1970-01-01T00:00:00Z, allowed is 2012-12-31"),
    (body(scheduled_departure="0000-01-01T00:00:00Z"), "out of bounds", "scheduled_departure is 0000-01-01"),  # Python has no such year
    (body(scheduled_departure="0001-01-01T00:00:00+14:00"), "out of bounds", "scheduled_departure is 0001-01-01"),
    (body(departed_at="0000-01-01T00:00:00Z"), "out of bounds", "allowed is"),
    (body(origin="JFK\n"), "out of bounds", "$.origin"),  # before which Python's `$` would end
    (body(scheduled_departure="2099-01-01T00:00:00Z"), "out of bounds", "scheduled_departure is 2099-01-01T00:00:00Z"),
]


@pytest.mark.parametrize(("payload", "reason", "detail"), BAD)
def test_a_bad_event_is_refused_with_its_reason_and_takes_no_other_with_it(decoder: Decoder, payload: bytes, reason: str, detail: str) -> None:
    table, refused = decoder.decode([body(flight=1), payload, body(flight=3)])
    assert table["flight"].to_pylist() == [1, 3]
    assert [(item.index, item.reason) for item in refused] == [(1, reason)] and detail in refused[0].detail


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


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([body(), *(payload for payload, _, _ in BAD)])), max_size=12))
def test_every_event_is_either_a_row_or_refused(payloads: list[bytes]) -> None:
    table, refused = Decoder(flights.contract("flights")).decode(payloads)
    assert table.num_rows + len(refused) == len(payloads)
    assert table.num_rows == sum(payload == body() for payload in payloads)


def test_a_number_that_no_column_holds_is_refused_where_the_contract_has_no_bounds() -> None:
    document = flights.contract("planes").model_dump(by_alias=True)
    for item in document["schema"][0]["properties"]:
        item["logicalTypeOptions"] = {}
    open_ended = Decoder(type(flights.contract("planes")).model_validate(document))
    good = flights.payloads("planes")[0]
    table, refused = open_ended.decode([good, good.replace(b'"seats":', b'"seats":99999999999999999999999')])
    assert table.num_rows == 1 and refused[0].reason == "out of bounds"
