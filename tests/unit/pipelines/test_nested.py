"""Objects, lists, dates, times and decimals: through decoding, masking, the gate and the lake, and found again when
a person asks for it.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from pipelines.data.decode import Decoder, arrow_schema
from pipelines.data.masking import Masker
from pipelines.data.people import token
from pipelines.data.person import Person, holds
from pipelines.data.raw_zone import parquet, read_parquet
from pipelines.steps.quality import prepare, schema_drift, validate
from spec.contracts import Contract
from spec.contracts.tables import connection, glue_type, names_of
from tests.contracts import contract_of, small

pytestmark = pytest.mark.slow  # runs the gate

KEY = b"a key of at least thirty-two bytes"
ADDRESS = [
    {"name": "street", "logicalType": "string", "tags": ["pii"]}, {"name": "zip", "logicalType": "string"},
    {"name": "lived", "logicalType": "array", "items": {"logicalType": "date"}},
]  # fmt: skip
ORDER = small(
    {"name": "id", "logicalType": "string", "primaryKey": True},
    {"name": "total", "logicalType": "number", "physicalType": "decimal(9,2)", "logicalTypeOptions": {"minimum": 0}},
    {
        "name": "ordered",
        "logicalType": "date",
        "logicalTypeOptions": {"minimum": "2020-01-01", "exclusiveMaximum": "2030-01-01"},
    },
    {"name": "at", "logicalType": "time"},
    {"name": "seen", "logicalType": "timestamp", "logicalTypeOptions": {"defaultTimezone": "Europe/Berlin"}},
    {"name": "told", "logicalType": "timestamp", "logicalTypeOptions": {"format": "dd.MM.yyyy HH:mm:ss"}},
    {"name": "to", "logicalType": "object", "properties": ADDRESS},
    {
        "name": "lines",
        "logicalType": "array",
        "logicalTypeOptions": {"maxItems": 3},
        "items": {
            "logicalType": "object",
            "properties": [
                {
                    "name": "sku",
                    "logicalType": "string",
                    "required": True,
                    "logicalTypeOptions": {"pattern": "^[A-Z]+$"},
                },
                {"name": "n", "logicalType": "integer", "logicalTypeOptions": {"minimum": 1}},
                {"name": "gift_to", "logicalType": "string", "classification": "PII"},
            ],
        },
    },
    {"name": "more", "logicalType": "object"},
    {"name": "born", "logicalType": "date", "tags": ["personal"]},
)
GOOD: dict[str, Any] = {
    "id": "a",
    "total": "12.30",
    "ordered": "2024-02-29",
    "at": "09:30:00",
    "seen": "2024-07-01T12:00:00",
    "told": "31.12.2024 23:00:00",
    "to": {"street": "Main 1", "zip": "10115", "lived": ["2020-01-01", None]},
    "lines": [{"sku": "A", "n": 2, "gift_to": "Ann"}, {"sku": "B", "n": 1, "gift_to": None}],
    "more": {"x": [1, {"y": 2}]},
    "born": "1990-05-17",
}


@pytest.fixture
def contract() -> Contract:
    return contract_of(ORDER)


def body(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def masked(contract: Contract, *events: bytes) -> pa.Table:
    table, refused = Decoder(contract).decode(list(events))
    assert not refused
    return Masker(contract, lambda values: {value: token(KEY, value) for value in values}).mask(table)


def test_every_part_of_an_event_has_its_type(contract: Contract) -> None:
    table, refused = Decoder(contract).decode(
        [body(), body(id="b", total=0.1, to=None, lines=None, more=None), body(id="c", lines=[], to={})]
    )
    assert not refused
    first, second, third = table.to_pylist()
    assert (first["total"], second["total"]) == (
        Decimal("12.30"),
        Decimal("0.10"),
    ), "exact digits, as a text or a number"
    assert first["ordered"] == date(2024, 2, 29) and first["at"] == "09:30:00"
    assert first["seen"] == datetime(2024, 7, 1, 10, tzinfo=UTC), "in its default time zone"
    assert first["told"] == datetime(2024, 12, 31, 23, tzinfo=UTC)
    assert first["to"] == {"street": "Main 1", "zip": "10115", "lived": [date(2020, 1, 1), None]}
    assert first["lines"] == [{"sku": "A", "n": 2, "gift_to": "Ann"}, {"sku": "B", "n": 1, "gift_to": None}]
    assert json.loads(first["more"]) == {"x": [1, {"y": 2}]}
    assert (second["to"], second["lines"], second["more"]) == (None, None, None)
    assert third["lines"] == [] and third["to"] == {"street": None, "zip": None, "lived": None}


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        (
            {"total": "12.345"},
            "out of bounds",
            "total is 12.345, but the field allows 9 digits, 2 of them after the point",
        ),
        ({"total": 123456789.0}, "out of bounds", "the field allows 9 digits"),
        ({"total": "-1"}, "out of bounds", "total is -1, allowed is from 0"),
        ({"total": "much"}, "wrong type", "total must be a number ('much')"),
        (
            {"ordered": "2019-12-31"},
            "out of bounds",
            "ordered is '2019-12-31', allowed is from 2020-01-01 below 2030-01-01",
        ),
        ({"ordered": "2030-01-01"}, "out of bounds", "allowed is from 2020-01-01 below 2030-01-01"),
        ({"ordered": "2023-02-29"}, "wrong type", "ordered is not a date in ISO 8601: '2023-02-29'"),
        ({"at": "25:00"}, "wrong type", "at is not a time of day in ISO 8601: '25:00'"),
        ({"seen": "noon"}, "wrong type", "seen is not a time in ISO 8601: 'noon'"),
        ({"told": "2024-12-31 23:00:00"}, "wrong type", "told is not a time as dd.MM.yyyy HH:mm:ss"),
        ({"to": {"city": "x"}}, "unknown field", "to has a field that is not in the contract"),
        ({"to": {"lived": ["x"]}}, "wrong type", "to.lived[] is not a date in ISO 8601: 'x'"),
        ({"to": "Main 1"}, "wrong type", "to must be an object, but is a text"),
        ({"lines": [{"n": 1}]}, "missing field", "lines[].sku is missing"),
        ({"lines": [{"sku": "a1"}]}, "out of bounds", "lines[].sku is 'a1', which does not match ^[A-Z]+$"),
        ({"lines": [{"sku": "A", "n": 0}]}, "out of bounds", "lines[].n must be at least 1"),
        ({"lines": [{"sku": "A"}] * 4}, "out of bounds", "lines has a length that must be at most 3"),
        ({"born": "soon"}, "wrong type", "born is not a date in ISO 8601: a value that is not shown here"),
    ],
)
def test_what_is_wrong_in_a_part_is_told_by_its_path(
    changes: dict[str, Any], reason: str, detail: str, contract: Contract
) -> None:
    table, refused = Decoder(contract).decode([body(id="1"), body(**changes), body(id="3")])
    assert table["id"].to_pylist() == ["1", "3"]
    assert [(item.index, item.reason) for item in refused] == [(1, reason)] and detail in refused[0].detail


def test_a_person_is_masked_in_every_part_and_found_in_it(contract: Contract) -> None:
    table = masked(
        contract,
        body(),
        body(id="b", to=None, lines=None, born=None),
        body(id="c", lines=[{"sku": "A", "gift_to": "Bob"}]),
    )
    assert table.schema.equals(arrow_schema(contract)) and not schema_drift(table.schema, contract)
    first = table.to_pylist()[0]
    street, ann, bob, born = (token(KEY, value) for value in ("Main 1", "Ann", "Bob", "1990-05-17"))
    assert (
        first["to"]["street"] == street
        and first["to"]["zip"] == "10115"
        and first["lines"][0]["gift_to"] == ann
        and first["born"] == born
    )
    again = read_parquet(parquet(table))
    assert again.equals(table)
    assert b"Main 1" not in parquet(table) and b"Ann" not in parquet(table)
    assert holds(again["lines"].combine_chunks(), {ann}).to_pylist() == [True, False, False]
    assert holds(again["lines"].combine_chunks(), {bob}).to_pylist() == [False, False, True]
    assert Person("Ann", ann).mask(again).to_pylist() == [True, False, False]
    assert Person("Main 1", street).mask(again).to_pylist() == [True, False, True]
    kept, counts = prepare(again, contract, frozenset({bob}))
    assert kept["id"].to_pylist() == ["a", "b"] and counts == {"duplicates": 0, "forgotten": 1, "deleted": 0}


def test_the_gate_and_queries_read_every_type(contract: Contract, tmp_path: Any) -> None:
    table = masked(contract, body(), body(id="b", to=None, lines=None))
    results, page = validate(table, contract, tmp_path)
    assert all(item["success"] for item in results), [item for item in results if not item["success"]]
    assert "total" in page.read_text(encoding="utf-8")
    database = connection([contract])
    described = {name: kind for name, kind, *_ in database.execute("DESCRIBE c").fetchall()}
    database.register("real", table)
    found = {name: kind for name, kind, *_ in database.execute("DESCRIBE real").fetchall()}
    assert described == found, "the empty table that queries are tried on is the one they run on"
    assert names_of(contract) == ("c",)
    assert [glue_type(item) for item in contract.fields] == [
        "string",
        "decimal(9,2)",
        "date",
        "string",
        "timestamp",
        "timestamp",
        "struct<street:string,zip:string,lived:array<date>>",
        "array<struct<sku:string,n:bigint,gift_to:string>>",
        "string",
        "string",
    ]


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ({}, "2024-07-01T12:00:00", None),
        ({}, "2024-07-01T12:00:00Z", 12),
        ({"timezone": False}, "2024-07-01 12:00:00", 12),
        ({"timezone": True, "defaultTimezone": "Europe/Berlin"}, "2024-07-01T12:00:00", None),
        ({"defaultTimezone": "America/New_York"}, "2024-07-01T12:00:00", 16),
        ({"defaultTimezone": "America/New_York"}, "2024-07-01T12:00:00+02:00", 10),
        ({"format": "yyyy-MM-dd HH:mm:ss"}, "2024-07-01 12:00:00", 12),
        ({"format": "yyyy-MM-dd HH:mm:ssZ"}, "2024-07-01 12:00:00+0200", 10),
        ({"format": "yyyy-MM-dd'T'HH:mm:ss.SSSXXX"}, "2024-07-01T12:00:00.000-05:00", 17),
        ({"format": "MM/dd/yyyy hh:mm a"}, "07/01/2024 12:00 PM", 12),
    ],
)
def test_a_time_is_read_as_its_contract_says(options: dict[str, Any], text: str, expected: int | None) -> None:
    item = {"name": "t", "logicalType": "timestamp", "logicalTypeOptions": options}
    contract = contract_of(small({"name": "id", "logicalType": "string", "primaryKey": True}, item))
    for alone in (True, False):
        payloads = [json.dumps({"id": "a", "t": text}).encode()] + (
            [] if alone else [b'{"id":"b","t":"2024-07-01T00:00:00Z"}']
        )
        table, _ = Decoder(contract).decode(payloads)
        found = {row["id"]: row["t"] for row in table.to_pylist()}
        assert (found["a"].hour if "a" in found else None) == expected, "alone and among others alike"


def test_files_of_an_older_version_get_todays_types_in_all_their_parts() -> None:
    from pipelines.data.raw_zone import _widened

    line = pa.struct([("n", pa.int64())])
    old = pa.array(
        [{"a": 1, "lines": [{"n": 1}, None]}, None, {"a": None, "lines": None}],
        pa.struct([("a", pa.int64()), ("lines", pa.list_(line))]),
    )
    wider = pa.struct(
        [
            ("lines", pa.list_(pa.struct([("n", pa.float64()), ("more", pa.string())]))),
            ("a", pa.decimal128(21, 2)),
            ("new", pa.bool_()),
        ]
    )
    assert _widened(old, wider).to_pylist() == [
        {"lines": [{"n": 1.0, "more": None}, None], "a": Decimal("1.00"), "new": None},
        None,
        {"lines": None, "a": None, "new": None},
    ]
    assert _widened(old, wider).type.equals(wider)
    assert _widened(pa.array([1]), pa.string()).type == pa.int64(), "what no compatible change explains is left"
    assert _widened(pa.array([10**18]), pa.decimal128(5, 2)).type == pa.int64()
