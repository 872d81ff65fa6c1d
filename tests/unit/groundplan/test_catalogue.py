"""The catalogue's judgements: what is late, tagged, and found; and Glue's tables."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from groundplan.local.catalogue import Entry, _late, _tags
from pipelines.context import Context, ModelDefinition
from pipelines.data.glue import Column, keep_in_step
from spec.contracts import Contract, parse_contracts
from spec.outputs import CatalogOutputs, Outputs

TEXT = """
apiVersion: v3.1.0
kind: DataContract
id: orders
version: 2.1.0
status: {status}
domain: sales
tags: [gold, eu]
schema:
  - name: orders
    properties:
      - {{name: order, logicalType: integer, primaryKey: true, required: true}}
      - {{name: email, logicalType: string{personal}}}
slaProperties:
  - {{property: retention, value: 2, unit: y}}
  - {{property: {name}, value: {value}, unit: {unit}}}
"""


def contract(
    name: str = "frequency", value: str = "1", unit: str = "d", status: str = "active", personal: str = ""
) -> Contract:
    text = TEXT.format(name=name, value=value, unit=unit, status=status, personal=personal)
    (found,) = parse_contracts(text, "contract.yaml")
    return found


@pytest.mark.parametrize(
    ("name", "value", "unit", "age", "wanted"),
    [
        ("frequency", "1", "d", 86_000, False),
        ("frequency", "1", "d", 87_000, True),
        ("latency", "4", "hours", 14_000, False),
        ("latency", "4", "hours", 15_000, True),
        ("freshness", "30", "min", 1_900, True),
        ("retention", "3", "y", 10**9, None),
        ("frequency", "1", "fortnights", 10**9, None),
        ("frequency", "1", "d", None, None),
    ],
)
def test_what_is_older_than_its_contract_promises_is_late(
    name: str, value: str, unit: str, age: float | None, wanted: bool | None
) -> None:
    assert _late(contract(name, value, unit), age) is wanted


def test_tags_are_the_contract_s_own_its_domain_and_what_it_says_of_itself() -> None:
    assert _tags(contract()) == ("gold", "eu", "sales")
    assert _tags(contract(status="draft", personal=", tags: [personal]")) == (
        "gold",
        "eu",
        "sales",
        "draft",
        "personal",
    )


def test_each_word_must_be_somewhere_in_an_entry() -> None:
    entry = Entry("dataset", "orders", "Orders", "ada@example.com", tags=("gold",), columns={"price": "number"})
    assert entry.matches([]) and entry.matches(["GOLD", "price"]) and entry.matches(["ada@"])
    assert not entry.matches(["gold", "silver"])


def test_a_table_leads_to_the_newest_file_and_a_failure_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    outputs = Outputs.model_construct(catalog=CatalogOutputs(database="shop_dev", workgroup=""))
    context = Context(outputs, ModelDefinition(Path(), "orders", Path()), "r1", Path())

    def kept(version: str) -> str:
        address = f"s3://bucket/orders/version={version}/data.parquet"
        columns = [Column("order", "bigint", "number of the order")]
        return keep_in_step(context, "dataset_orders", address, columns, says="Orders", owner="", about={"rows": 7})

    with mock_aws():
        glue = boto3.client("glue")
        kept("a")
        assert "the catalogue's table shop_dev.dataset_orders was not updated" in capsys.readouterr().out
        glue.create_database(DatabaseInput={"Name": "shop_dev"})
        for version in "ab":
            assert kept(version) == "shop_dev.dataset_orders"
            table = glue.get_table(DatabaseName="shop_dev", Name="dataset_orders")["Table"]
            assert table["StorageDescriptor"]["Location"] == f"s3://bucket/orders/version={version}/"
        assert table["Parameters"] == {"classification": "parquet", "groundplan.rows": "7"}
        assert capsys.readouterr().out == ""
