"""A contract of several objects, with exact amounts, dates, time zones, objects and lists, from its events to
features and to a person's deletion.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from pipelines.context import Context, load_definition
from pipelines.data import broker, dead_letters
from pipelines.data.raw_zone import read_parquet
from pipelines.steps.features import athena_sql, materialize
from pipelines.steps.forget import forget
from pipelines.steps.ingest import ingest
from pipelines.steps.quality import check_quality
from spec.outputs import Outputs
from tests.contracts import small
from tests.integration.test_ingest import make_topics

FEATURES = """
from ibis import _


def features(tables):
    orders = tables["orders"]
    lines = tables["line_items"].group_by("order_id").agg(lines=_.count(), dearest=_.price.max().cast("float64"))
    joined = orders.left_join(lines, "order_id")
    columns = {"total": orders.total.cast("float64"), "lines": lines.lines, "dearest": lines.dearest, "labels": orders.labels.length()}
    columns["country"] = orders.customer.country
    return {"VIEW": joined.select(order_id=orders.order_id, event_timestamp=orders.ordered_at, **columns)}


def labels(tables):
    return tables["orders"].select("order_id", event_timestamp="ordered_at", late=_.late.cast("int64"))
"""


@pytest.fixture
def context(outputs: Outputs, tmp_path: Path, inside: None, aws: Any) -> Iterator[Context]:
    name = f"shop_{uuid.uuid4().hex[:8]}"
    customer = [
        {"name": "email", "logicalType": "string", "classification": "PII"},
        {"name": "country", "logicalType": "string"},
    ]
    local = {"format": "dd.MM.yyyy HH:mm", "defaultTimezone": "Europe/Berlin"}
    document = small(
        {"name": "order_id", "logicalType": "string", "primaryKey": True},
        {
            "name": "ordered_at",
            "logicalType": "timestamp",
            "partitioned": True,
            "required": True,
            "logicalTypeOptions": local,
        },
        {
            "name": "total",
            "logicalType": "number",
            "physicalType": "decimal(10, 2)",
            "quality": [{"metric": "nullValues", "mustBe": 0}],
        },
        {"name": "due", "logicalType": "date"},
        {"name": "customer", "logicalType": "object", "properties": customer},
        {"name": "labels", "logicalType": "array", "items": {"logicalType": "string"}},
        {"name": "late", "logicalType": "boolean", "required": True},
        id=name,
    )
    document["schema"][0] |= {"name": "orders", "physicalName": f"{name}.orders"}
    orphans = "SELECT count(*) FROM line_items l LEFT JOIN orders o USING (order_id) WHERE o.order_id IS NULL"
    document["schema"].append(
        {
            "name": "line_items",
            "physicalName": f"{name}.lines",
            "quality": [{"type": "sql", "query": orphans, "mustBe": 0, "severity": "warning"}],
            "properties": [
                {"name": "order_id", "logicalType": "string", "primaryKey": True},
                {"name": "line", "logicalType": "integer", "primaryKey": True},
                {"name": "price", "logicalType": "number", "physicalType": "numeric(8,2)"},
            ],
        }
    )
    kinds = {"total": "number", "lines": "integer", "dearest": "number", "country": "string", "labels": "integer"}
    (tmp_path / "contract.yaml").write_text(yaml.safe_dump(document))
    views = {name: {"key": "order_id", "features": kinds}}
    settings = {
        "model": name.replace("_", "-"),
        "target": "late",
        "features": "features",
        "views": views,
        "recording": True,
    }
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "features.py").write_text(FEATURES.replace("VIEW", name))
    (tmp_path / "experiment.py").write_text("")
    table = f"{outputs.online_table_prefix}.{name}"
    aws("dynamodb").create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "entity_id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "entity_id", "AttributeType": "S"}],
    )
    example = load_definition(tmp_path)
    for contract in example.contracts:
        make_topics(contract.topic)
    yield Context(
        outputs.model_copy(update={"online_tables": {name: table}}), example, f"t{time.time_ns()}", tmp_path / "reports"
    )


def sent(context: Context) -> None:
    chance, producer = random.Random(1), broker.producer(context.outputs)
    orders, lines = context.definition.contracts
    for number in range(60):
        order, at = f"o{number}", datetime(2026, 3, 1) + timedelta(hours=7 * number)  # noqa: DTZ001 (in Berlin)
        prices = [Decimal(chance.randint(1, 9999)) / 100 for _ in range(chance.randint(1, 4))]
        for line, price in enumerate(prices):
            producer.produce(
                lines.topic, orjson.dumps({"order_id": order, "line": line, "price": str(price)}), key=f"{order}|{line}"
            )
        event = {
            "order_id": order,
            "ordered_at": f"{at:%d.%m.%Y %H:%M}",
            "total": str(sum(prices)),
            "due": f"{at.date() + timedelta(3)}",
            "late": number % 3 == 0,
            "customer": None if number == 5 else {"email": f"c{number % 7}@example.com", "country": "DE"},
            "labels": ["gift"] * (number % 3),
        }
        producer.produce(orders.topic, orjson.dumps(event), key=order)
    producer.produce(orders.topic, orjson.dumps({**event, "order_id": "bad", "total": "1.234"}), key="bad")
    producer.produce(lines.topic, orjson.dumps({"order_id": "nobody", "line": 0, "price": 1}), key="nobody|0")
    producer.produce(lines.topic, None, key="o1|0")
    assert producer.flush(30) == 0


def test_every_part_of_a_contract_reaches_the_features(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    sent(context)
    taken = ingest(context)
    orders, lines = context.definition.contracts
    assert (
        taken["other_keys"] == 0
        and taken["topics"][orders.topic]["dead_letters"] == 1
        and taken["topics"][lines.topic]["deletions"] == 1
    )
    (letter,) = dead_letters.read(context, orders.topic)
    assert letter.detail == "total is 1.234, but the field allows 10 digits, 2 of them after the point"
    context.write_result("quality", checked := check_quality(context))
    assert checked["deleted"] == 1 and "warning: contract" in capsys.readouterr().out, (
        "a rule that only warns stops nothing"
    )
    assert checked["datasets"]["line_items"]["warnings"] == ["table: query mustBe 0 (1 of 147 rows)"]
    table = read_parquet(context.get_address(checked["datasets"]["orders"]["dataset"]))
    first = next(row for row in table.to_pylist() if row["order_id"] == "o0")
    assert first["ordered_at"] == datetime(2026, 2, 28, 23, tzinfo=UTC) and isinstance(first["total"], Decimal)
    assert first["customer"]["email"].startswith("t") and first["customer"]["country"] == "DE"

    made = materialize(context)
    (view,) = made["views"].values()
    assert (view["entities"], view["online"]["items"]) == (60, 60)
    assert read_parquet(context.get_address(made["training_set"])).num_rows == 60
    assert '"customer"."country"' in next(iter(athena_sql(context).values()))

    context.write_result("features", {**made, "sample_key": "o0"})
    found = forget(context, "c3@example.com", "dpo@example.com")
    theirs = [number for number in range(60) if number % 7 == 3]
    assert found["left"] == 0 and found["entities"]["order_id"] == len(theirs) and found["online_items"] == len(theirs)
    again = check_quality(context)
    assert read_parquet(context.get_address(again["datasets"]["orders"]["dataset"])).num_rows == 60 - len(theirs)
