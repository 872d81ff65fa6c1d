"""A first contract from data or a schema: the result is valid in the standard, and for its source data."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from groundplan.contracts.importing import as_yaml, contract_from, contract_of_events
from pipelines.data.decode import Decoder
from spec.contracts import Contract, parse_contracts
from spec.errors import UsageError
from tests import flights

ROWS: list[dict[str, Any]] = [
    {
        "order_id": f"A-{n}",
        "total": n * 1.5,
        "n": n,
        "paid": n % 2 == 0,
        "day": "2024-02-29",
        "at": "2024-02-29T10:00:00Z",
        "note": None if n else "x",
    }
    for n in range(20)
]


def made(document: dict[str, Any]) -> Contract:
    """The contract, through its text and the check that every contract goes through."""
    (found,) = parse_contracts(as_yaml(document), "made.yaml")
    return found


def kinds(contract: Contract) -> dict[str, str]:
    return {item.name: item.kind for item in contract.fields}


WANTED = {
    "order_id": "string",
    "total": "number",
    "n": "integer",
    "paid": "boolean",
    "day": "date",
    "at": "timestamp",
    "note": "string",
}


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl", "json"])
def test_data_becomes_a_contract_that_its_own_events_hold_to(form: str, tmp_path: Path) -> None:
    file = tmp_path / f"Web Orders.{form}"
    lines = [orjson.dumps(row) for row in ROWS]
    if form == "csv":
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.DictWriter(opened, ROWS[0])
            writer.writeheader()
            writer.writerows(ROWS)
    elif form == "parquet":
        table = pa.Table.from_pylist(ROWS)
        for name, kind in (("day", pa.date32()), ("at", pa.timestamp("us", "UTC"))):
            table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
        pq.write_table(table, file)
    else:
        file.write_bytes(b"\n".join(lines))
    contract = made(contract_from(file))
    assert (contract.id, contract.topic, contract.view, contract.keys) == (
        "web-orders",
        "web-orders",
        "web_orders",
        ("order_id",),
    )
    assert kinds(contract) == WANTED and contract.draft
    assert {item.name for item in contract.fields if not item.required} == {"note"}
    if form != "csv":
        assert Decoder(contract).decode(lines)[1] == []


def test_a_topics_sample_becomes_a_contract_and_personal_data_in_it_is_seen() -> None:
    events = [
        orjson.dumps({"id": n, "who": f"jane{n}@example.com", "to": {"zip": "10115", "lines": [{"n": 1}]}})
        for n in range(5)
    ]
    contract = made(contract_of_events("Shop.Orders", events))
    assert (contract.topic, contract.view, contract.keys) == ("Shop.Orders", "shop_orders", ("id",))
    assert contract.field("who").personal and not contract.field("to").personal  # type: ignore[union-attr]
    assert {".".join(path): item.kind for path, item in contract.leaves()} == {
        "id": "integer",
        "who": "string",
        "to.zip": "string",
        "to.lines.[].n": "integer",
    }
    assert Decoder(contract).decode(events)[1] == []
    real = list(flights.payloads("planes"))
    assert Decoder(made(contract_of_events("planes", real))).decode(real)[1] == [], "of real events, too"


def test_an_avro_schema_becomes_a_contract(tmp_path: Path) -> None:
    file = tmp_path / "order.avsc"
    amount = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
    line = {"type": "record", "name": "Line", "fields": [{"name": "sku", "type": "string"}]}
    fields = [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}, "doc": "its number"},
        {"name": "amount", "type": ["null", amount]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["NEW", "PAID"]}},
        {"name": "lines", "type": {"type": "array", "items": line}},
        {"name": "labels", "type": {"type": "map", "values": "string"}},
        {"name": "either", "type": ["string", "int"]},
    ]
    file.write_text(
        json.dumps({"type": "record", "name": "OrderPlaced", "namespace": "shop", "doc": "An order", "fields": fields})
    )
    contract = made(contract_from(file))
    assert (contract.view, contract.topic) == ("order_placed", "order-placed")
    assert kinds(contract) == {
        "id": "string",
        "amount": "decimal",
        "at": "timestamp",
        "state": "string",
        "lines": "array",
        "labels": "json",
        "either": "json",
    }
    assert contract.field("amount").required is False and contract.field("at").required  # type: ignore[union-attr]
    assert contract.field("state").limits.pattern == "^(NEW|PAID)$"  # type: ignore[union-attr]


def test_a_json_schema_becomes_a_contract_that_takes_the_same(tmp_path: Path) -> None:
    import jsonschema

    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Reading",
        "type": "object",
        "required": ["id", "where"],
        "properties": {
            "id": {"type": "integer", "minimum": 1, "exclusiveMaximum": 100},
            "at": {"type": ["string", "null"], "format": "date-time"},
            "unit": {"type": "string", "enum": ["C", "F"]},
            "where": {"$ref": "#/$defs/place"},
            "values": {"type": "array", "items": {"type": "number"}, "maxItems": 3},
            "self": {"$ref": "#"},
        },
        "$defs": {
            "place": {
                "type": "object",
                "required": ["lat"],
                "properties": {"lat": {"type": "number", "minimum": -90, "maximum": 90}},
            }
        },
    }
    file = tmp_path / "reading.schema.json"
    file.write_text(json.dumps(schema, indent=1))
    contract = made(contract_from(file))
    for event in (
        {"id": 1, "where": {"lat": 3.5}},
        {"id": 100, "where": {"lat": 1}},
        {"id": 2, "where": {"lat": 91}},
        {"id": 3, "where": {}},
        {"where": {"lat": 1}},
        {"id": 4, "where": {"lat": 1}, "unit": "K"},
        {"id": 5, "where": {"lat": 1}, "values": [1, 2, 3, 4]},
        {"id": 6, "where": {"lat": 1}, "unit": "C"},
    ):
        wanted = jsonschema.Draft202012Validator(schema).is_valid(event)
        assert (not Decoder(contract).decode([orjson.dumps(event)])[1]) == wanted, event


@pytest.mark.parametrize("root", [{"allOf": [{"$ref": "#/definitions/reading"}]}, {"$ref": "#/definitions/reading"}])
def test_what_a_json_schema_is_put_together_of_comes_together(tmp_path: Path, root: dict[str, Any]) -> None:
    import jsonschema

    schema = {
        **root,
        "definitions": {
            "named": {
                "type": "object",
                "required": ["id"],
                "properties": {"id": {"type": "string", "maxLength": 3}, "size": {"type": ["integer", "number"]}},
            },
            "reading": {
                "allOf": [
                    {"$ref": "#/definitions/named"},
                    {"properties": {"more": {"allOf": [{"$ref": "#/definitions/named"}, {"required": ["size"]}]}}},
                ],
                "required": ["more"],
                "properties": {
                    "any": {"type": ["string", "integer"]},
                    "self": {"allOf": [{"$ref": "#/definitions/reading"}]},
                },
            },
        },
    }
    file = tmp_path / "reading.json"
    file.write_text(json.dumps(schema, indent=1))
    contract = made(contract_from(file))
    assert kinds(contract) == {"id": "string", "size": "number", "more": "object", "any": "json", "self": "json"}
    for event in (
        {"id": "a", "more": {"id": "b", "size": 1}}, {"id": "a", "more": {"id": "b"}}, {"more": {"id": "b", "size": 1}},
        {"id": "a", "more": {"id": "long", "size": 1}},
        {"id": "a", "size": 2.5, "more": {"id": "b", "size": 1}},
    ):  # fmt: skip
        wanted = jsonschema.Draft7Validator(schema).is_valid(event)
        assert (not Decoder(contract).decode([orjson.dumps(event)])[1]) == wanted, event


def test_a_contract_of_datacontract_com_becomes_one_of_the_standard(tmp_path: Path) -> None:
    document = {
        "dataContractSpecification": "1.1.0",
        "id": "urn:shop:orders",
        "info": {"title": "Orders", "version": "2.1.0", "status": "active", "description": "all"},
        "models": {
            "orders": {
                "type": "table",
                "fields": {
                    "order_id": {"$ref": "#/definitions/order_id"},
                    "total": {"type": "decimal", "precision": 10, "scale": 2, "required": True},
                    "customer": {
                        "type": "record",
                        "fields": {"email": {"type": "text", "pii": True, "classification": "sensitive"}},
                    },
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "state": {"type": "string", "enum": ["new", "paid"]},
                },
            },
            "line items": {"fields": {"no": {"type": "int", "primary": True, "minimum": 1}}},
        },
        "definitions": {
            "order_id": {
                "type": "string",
                "format": "uuid",
                "primaryKey": True,
                "required": True,
                "description": "the order",
            }
        },
    }
    file = tmp_path / "datacontract.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    first, second = parse_contracts(as_yaml(contract_from(file)), "made.yaml")
    assert (first.version, first.keys, second.keys, second.topic) == ("2.1.0", ("order_id",), ("no",), "line-items")
    assert kinds(first) == {
        "order_id": "string",
        "total": "decimal",
        "customer": "object",
        "tags": "array",
        "state": "string",
    }
    assert [".".join(path) for path, item in first.leaves() if item.personal] == ["customer.email"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("nothing.csv", None, "no such file"),
        ("a.parquet", b"no parquet", "can't be read as Parquet"),
        ("a.csv", b"a,b\n", "contains no rows to sample"),
        ("a.json", b"[1, 2", "is not valid YAML from here on"),
        ("a.yaml", b"hello: 1", "is neither data (CSV, Parquet, JSON lines) nor a schema"),
        ("a.bin", b"\xff\xfe\x00", "is not UTF-8 text"),
        ("a.yaml", b"kind: DataContract", "is already a data contract of the standard"),
        ("a.yaml", b"dataContractSpecification: 1.1.0", "has no models"),
        ("a.jsonl", b"1\n2\n", "contains values that are not JSON objects"),
    ],
)
def test_what_no_contract_can_be_made_of_is_told(name: str, content: bytes | None, says: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=says.replace("(", r"\(").replace(")", r"\)")):
        contract_from(tmp_path / name)


def test_events_that_are_no_objects_are_told() -> None:
    for events in ([], [b"not json"], [b"[1]"]):
        with pytest.raises(UsageError, match="topic t: contains"):
            contract_of_events("t", events)


def test_what_refers_to_itself_or_may_be_null_becomes_a_contract(tmp_path: Path) -> None:
    node = {
        "type": "object",
        "properties": {
            "left": {"$ref": "#/$defs/node"},
            "right": {"$ref": "#/$defs/node"},
            "more": {"$ref": "#/$defs/node"},
        },
    }
    schema = {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "tree": {"$ref": "#/$defs/node"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "$defs": {"node": node},
    }
    (tmp_path / "tree.json").write_text(json.dumps(schema, indent=1))
    contract = made(contract_from(tmp_path / "tree.json"))
    assert kinds(contract) == {"id": "integer", "tree": "object", "note": "string"}
    assert Decoder(contract).decode([b'{"id":1,"tree":{"left":{"left":{}}},"note":null}'])[1] == []


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"record","fields":[{}]}',
        '{"type":"object","properties":{"a":{"required":true,"properties":3}}}',
        "dataContractSpecification: 1\nmodels: {a: 1}",
    ],
)
def test_a_schema_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UsageError, match="begins like a schema, but is not valid in that schema's own standard"):
        contract_from(tmp_path / "x.yaml")
