"""``groundplan prices refresh``, against answers in the form of the Price List API's GetProducts."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError

from infra.design.price_book import load_prices
from infra.design.price_list import QUERIES, refresh
from spec.errors import GroundplanError, UsageError
from tests.conftest import ROOT

TODAY = date(2026, 11, 24)


def product(usage: str, usd: str, *, begin: str = "0", **attributes: str) -> str:
    """One entry of PriceList:
    https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api-products.html.
    """
    dimension = {"unit": "Hrs", "beginRange": begin, "endRange": "Inf", "pricePerUnit": {"USD": usd}}
    terms = {"OnDemand": {"SKU.JRTCKXETXF": {"priceDimensions": {"SKU.JRTCKXETXF.6YS6EN2CT7": dimension}}}}
    return json.dumps(
        {
            "product": {"sku": "SKU", "attributes": {"usagetype": usage, "regionCode": "eu-central-1", **attributes}},
            "terms": terms,
        }
    )


class Pricing:
    """Stands in for boto3's ``pricing`` client: its requests, and the pages of its answers."""

    def __init__(self, answers: dict[str, list[str]]) -> None:
        self.answers, self.asked = answers, list[tuple[str, dict[str, str]]]()

    def get_paginator(self, name: str) -> Pricing:
        assert name == "get_products"
        return self

    def paginate(self, ServiceCode: str, Filters: list[dict[str, str]]) -> list[dict[str, Any]]:
        self.asked.append((ServiceCode, {item["Field"]: item["Value"] for item in Filters}))
        found = self.answers.get(ServiceCode, [])
        return [{"PriceList": found[:1]}, {"PriceList": found[1:]}]


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "infra" / "design" / "prices", tmp_path / "prices"))


def prices_of(book: Path) -> dict[str, str]:
    return {
        line.rsplit(",", 2)[0]: line.rsplit(",", 1)[1]
        for line in (book / "services.csv").read_text(encoding="utf-8").splitlines()[1:]
    }


def test_prices_are_read_and_what_is_not_clear_keeps_its_figure(book: Path) -> None:
    api = Pricing(
        {
            "AmazonEC2": [
                product("EUC1-BoxUsage:m5.large", "0.115", instanceType="m5.large"),
                product("EUC1-UnusedBox:m5.large", "9", instanceType="m5.large"),
                product("EUC1-NatGateway-Hours", "0.052"),
            ],
            "AmazonSageMaker": [product("EUC1-Host:ml.c5.large", "0.122"), product("EUC1-Train:ml.c5.large", "0.5")],
            "awskms": [product("eu-central-1-KMS-Keys", "3"), product("EUC1-KMS-Requests", "0.000003")],
            "AmazonEKS": [
                product("EUC1-AmazonEKS-Hours:perCluster", "0.1"),
                product("EUC1-AmazonEKS-Hours:perCluster", "0.6"),
            ],
            "AmazonDynamoDB": [product("EUC1-WriteRequestUnits", "0.7625")],  # in another unit than the book's millions
        }
    )
    before = prices_of(book)
    report = refresh(book, "eu-central-1", TODAY, api)
    after = prices_of(book)
    assert (book / "ec2-on-demand.csv").read_text(encoding="utf-8") == "instance_type,usd_per_hour\nm5.large,0.115\n"
    assert after["sagemaker,ml.c5.large"] == "0.122"
    assert float(after["kms,requests"]) == 0.03
    assert after["eks,cluster"] == before["eks,cluster"], "two prices are no price"
    assert after["kms,key"] == before["kms,key"], "another usage type"
    assert any(item.startswith("dynamodb write: ") and "a different unit" in item for item in report.kept)
    assert "eks cluster" in report.kept and (report.changed, report.same) == (2, 1)
    assert json.loads((book / "source.json").read_text()) == {"region": "eu-central-1", "as_of": "2026-11-24"}
    assert all(filters["regionCode"] == "eu-central-1" for _, filters in api.asked)
    assert len(api.asked) == len({(code, tuple(sorted(filters.items()))) for code, filters in api.asked}), (
        "nothing is requested twice"
    )


def test_nothing_is_written_where_the_api_can_not_be_asked(book: Path) -> None:
    class Closed(Pricing):
        def paginate(self, ServiceCode: str, Filters: list[dict[str, str]]) -> list[dict[str, Any]]:
            raise NoCredentialsError

    before = {path.name: path.read_bytes() for path in book.iterdir()}
    with pytest.raises(
        GroundplanError, match=r"can't be queried: Unable to locate credentials[\s\S]*pricing:GetProducts"
    ):
        refresh(book, "us-east-1", TODAY, Closed({}))
    with pytest.raises(GroundplanError, match="lists no EC2 instances"):
        refresh(book, "us-east-1", TODAY, Pricing({}))
    assert {path.name: path.read_bytes() for path in book.iterdir()} == before


def test_a_wrong_region_or_folder_is_named(book: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'mars' is not an AWS region"):
        refresh(book, "mars", TODAY, Pricing({}))
    with pytest.raises(UsageError, match=r"contains no services\.csv"):
        refresh(tmp_path, "us-east-1", TODAY, Pricing({}))


def test_every_query_belongs_to_an_item() -> None:
    items = set(load_prices().services)
    for service, pattern in QUERIES:
        assert any(
            known == service and (item == pattern or (pattern.endswith(".*") and item.startswith(pattern[:-1])))
            for known, item in items
        ), pattern
