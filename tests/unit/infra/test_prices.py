"""``groundplan prices refresh``, against answers in the form of the Price List API's GetProducts."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError

from infra.design.bill import NOTHING, requests
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


def prices_of(book: Path, region: str) -> dict[str, str]:
    return {
        line.rsplit(",", 2)[0]: line.rsplit(",", 1)[1]
        for line in (book / region / "services.csv").read_text(encoding="utf-8").splitlines()[1:]
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
    before = load_prices("eu-central-1", book)
    report = refresh(book, "eu-central-1", TODAY, api)
    after = prices_of(book, "eu-central-1")
    own = (book / "eu-central-1" / "ec2-on-demand.csv").read_text(encoding="utf-8")
    assert own == "instance_type,usd_per_hour\nm5.large,0.115\n"
    assert after["sagemaker,ml.c5.large"] == "0.122"
    assert float(after["kms,requests"]) == 0.03
    assert "eks,cluster" not in after, "two prices are no price"
    assert "kms,key" not in after, "another usage type"
    assert any(item.startswith("dynamodb write: ") and "a different unit" in item for item in report.kept)
    assert "eks cluster" in report.kept and report.changed + report.same == len(after)
    assert json.loads((book / "eu-central-1" / "source.json").read_text()) == {"as_of": "2026-11-24"}
    assert load_prices("us-east-1", book) == load_prices(), "another region's book stays as it is"
    load_prices.cache_clear()
    found = load_prices("eu-central-1", book)
    assert (found.as_of, found.services["sagemaker", "ml.c5.large"]) == ("2026-11-24", 0.122)
    assert found.services["eks", "cluster"] == before.services["eks", "cluster"], "estimated as before"
    assert found.find("ec2", "m5.xlarge") == pytest.approx(0.23) and found.find("ec2", "m4.large") is None
    assert found.estimate.startswith(f"{len(found.services) - len(after) - 1} of {len(found.services)} estimated from")
    assert all(filters["regionCode"] == "eu-central-1" for _, filters in api.asked)
    assert len(api.asked) == len({(code, tuple(sorted(filters.items()))) for code, filters in api.asked}), (
        "nothing is requested twice"
    )


def test_nothing_is_written_where_the_api_can_not_be_asked(book: Path) -> None:
    class Closed(Pricing):
        def paginate(self, ServiceCode: str, Filters: list[dict[str, str]]) -> list[dict[str, Any]]:
            raise NoCredentialsError

    before = {path: path.read_bytes() for path in book.rglob("*.*") if path.is_file()}
    with pytest.raises(
        GroundplanError, match=r"can't be queried: Unable to locate credentials[\s\S]*pricing:GetProducts"
    ):
        refresh(book, "us-east-1", TODAY, Closed({}))
    with pytest.raises(GroundplanError, match="lists no EC2 instances"):
        refresh(book, "us-east-1", TODAY, Pricing({}))
    assert {path: path.read_bytes() for path in book.rglob("*.*") if path.is_file()} == before


def test_a_wrong_region_or_folder_is_named(book: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'mars' is not an AWS region"):
        refresh(book, "mars", TODAY, Pricing({}))
    with pytest.raises(UsageError, match=r"contains no us-east-1/services\.csv"):
        refresh(tmp_path, "us-east-1", TODAY, Pricing({}))


def test_every_query_belongs_to_an_item() -> None:
    items = set(load_prices().services)
    for service, pattern in QUERIES:
        assert any(
            known == service and (item == pattern or (pattern.endswith(".*") and item.startswith(pattern[:-1])))
            for known, item in items
        ), pattern


def test_a_region_is_estimated_where_it_has_no_prices_and_says_by_how_much() -> None:
    usual = load_prices("eu-central-1")
    assert "adds 20%" in usual.estimate or "adds 1" in usual.estimate or "adds 2" in usual.estimate
    assert usual.services["ec2", "m5.large"] > load_prices().services["ec2", "m5.large"]
    assert usual.services["kms", "key"] == 1.0, "the same everywhere"
    unknown = load_prices("mx-central-1")
    assert "15% added, since nothing is known of this region" in unknown.estimate
    assert unknown.services["ec2", "m5.large"] == pytest.approx(1.15 * 0.096)
    assert load_prices().estimate == ""


def test_spare_capacity_has_the_price_of_the_family_and_region() -> None:
    here, there = load_prices(), load_prices("eu-central-1")
    assert here.spot_share("m5.large") == here.spot_share("ml.m5.xlarge") == 0.31
    assert there.spot_share("g4dn.xlarge") != here.spot_share("g4dn.xlarge")
    assert here.spot_share("z99.large") == here.spot["*"], "the median of the region"
    assert load_prices("mx-central-1").spot_share("z99.large") in (0.4, load_prices("mx-central-1").spot.get("*"))
    assert all(0 < share <= 1 for share in here.spot.values())


def test_a_bill_is_added_up_and_grows_with_its_load() -> None:
    book = load_prices()
    asked = book.per_unit("apigateway", "rest-requests", 2, requests("m"))
    bill = book.hourly("ec2", "m5.large", 2) + 3 * asked / 3
    assert bill.usd == pytest.approx(2 * 0.096 * 730 + 2 * 3.5)
    assert bill.with_load({requests("m"): 0.5}) == pytest.approx(2 * 0.096 * 730 + 3.5)
    assert bill.with_load({requests("other"): 0.0}) == bill.usd and NOTHING.usd == 0.0
    spare = bill.on_spot(0.25)
    assert spare.usd == pytest.approx(bill.usd / 4) and {charge.spot_share for charge in spare.charges} == {0.25}
    assert (bill + -bill).usd == 0 and bill > NOTHING and sum([bill, bill], start=NOTHING) == 2 * bill
