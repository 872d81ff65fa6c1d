"""A month's forecast from its days, and reports as AWS exports them."""

from __future__ import annotations

import gzip
import zipfile
from datetime import date, timedelta
from pathlib import Path

import boto3
import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from pipelines.monitoring.cost_reports import by_report
from pipelines.monitoring.spending import LEAST_DAYS, days_of_month, forecast
from spec.errors import UsageError

MONTH = (310.0, 280.0, 400.0)
YEAR = (date(2026, 1, 1), date(2027, 1, 1))


def days(first: date, *usd: float) -> dict[date, float]:
    return {first + timedelta(days=number): each for number, each in enumerate(usd)}


def test_equal_days_go_on_and_leave_no_doubt() -> None:
    found = forecast(days(date(2026, 11, 20), *[10.0] * 26), date(2026, 12, 16), date(2026, 12, 14), MONTH, "")
    assert found.usd == pytest.approx(310) and found.least == pytest.approx(310) == found.most
    assert found.days == 24, "the first day may have been a part of one"


def test_too_few_days_leave_the_estimate_for_what_is_left_of_the_month() -> None:
    billed = days(date(2026, 12, 28), 4.0, 9.0, 9.0)
    found = forecast(billed, date(2026, 12, 30), date(2026, 12, 29), MONTH, "it rests on the design")
    assert found.usd == pytest.approx(13 + 2 * 10) and found.least == pytest.approx(13 + 2 * 280 / 31)
    assert found.days == 0 and "1 of 3 whole days are billed, so it rests on the design" in found.says


def test_a_new_month_begins_with_the_days_of_the_last_one() -> None:
    found = forecast(days(date(2026, 11, 1), *[10.0] * 30), date(2026, 12, 1), date(2026, 11, 30), MONTH, "")
    assert found.usd == pytest.approx(310) and found.days == 29


def test_nothing_billed_at_all_is_no_error() -> None:
    found = forecast({}, date(2026, 12, 1), date(2026, 11, 29), MONTH, "it rests on the design")
    assert (found.usd, found.least, found.most) == MONTH


@given(st.integers(1, 31), st.integers(0, 60), st.floats(0.01, 1e6))
def test_the_interval_holds_the_forecast_and_never_less_than_what_is_spent(day: int, known: int, usd: float) -> None:
    today = date(2026, 12, day)
    billed = days(today - timedelta(days=known), *[usd * (1 + number % 3) for number in range(known)])
    found = forecast(billed, today, today - timedelta(days=1), MONTH, "")
    spent = sum(each for when, each in billed.items() if when.month == 12)
    assert spent <= found.least * (1 + 1e-9) and found.least <= found.usd * (1 + 1e-9) <= found.most * (1 + 2e-9)


def test_nine_of_ten_months_end_within_the_interval() -> None:
    random, within = np.random.default_rng(5), 0
    for _ in range(1_000):
        cost = random.normal(100, 15, 45)
        true = cost[14:].sum()  # December; November has 14 days of it
        known = days(date(2026, 11, 17), *cost[:24])
        found = forecast(known, date(2026, 12, 11), date(2026, 12, 10), MONTH, "")
        within += found.least <= true <= found.most
    assert 0.87 <= within / 1_000 <= 0.93
    assert days_of_month(date(2028, 2, 3)) == 29 and LEAST_DAYS > 2


HEAD = "identity/LineItemId,lineItem/UsageStartDate,lineItem/ProductCode,lineItem/ResourceId,lineItem/UnblendedCost"
OLD = f"""{HEAD},lineItem/CurrencyCode,product/ProductName,resourceTags/user:Environment,resourceTags/user:Model
a,2026-12-01T00:00:00Z,AmazonSageMaker,arn:e,1.25,USD,Amazon SageMaker,prod,risk
b,2026-12-01T01:00:00Z,AmazonSageMaker,arn:e,0.75,USD,Amazon SageMaker,prod,risk
c,2026-12-02T00:00:00Z,AmazonMSK,arn:k,3,USD,Amazon Managed Streaming for Apache Kafka,prod,
d,2026-12-02T00:00:00Z,AmazonMSK,arn:k,7,USD,Amazon Managed Streaming for Apache Kafka,dev,
e,2026-12-02T00:00:00Z,AmazonS3,,2,USD,Amazon Simple Storage Service,,
"""
TAGGED = '"{""user_environment"":""prod"",""user_model"":""risk""}"'
MSK = "Amazon Managed Streaming for Apache Kafka"
NEW = f"""line_item_usage_start_date,line_item_product_code,line_item_unblended_cost,resource_tags,product
2026-12-01 00:00:00,AmazonSageMaker,2,{TAGGED},"{{""product_name"":""Amazon SageMaker""}}"
2026-12-02 00:00:00,AmazonMSK,3,"{{""user_environment"":""prod""}}","{{""product_name"":""{MSK}""}}"
2026-12-02 00:00:00,AmazonMSK,7,"{{""user_environment"":""dev""}}",{{}}
2026-12-02 00:00:00,AmazonS3,2,,{{}}
"""
FOCUS = """BilledCost,BillingCurrency,ChargePeriodStart,ServiceName,ResourceId,Tags
2,USD,2026-12-01T00:00:00Z,Amazon SageMaker,arn:e,"{""Environment"": ""prod"", ""Model"": ""risk""}"
3,USD,2026-12-02T00:00:00Z,Amazon Managed Streaming for Apache Kafka,arn:k,"{""Environment"": ""prod""}"
7,USD,2026-12-02T00:00:00Z,Amazon Managed Streaming for Apache Kafka,arn:k,"{""Environment"": ""dev""}"
2,USD,2026-12-02T00:00:00Z,Amazon Simple Storage Service,NULL,NULL
"""


@pytest.fixture
def report(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The same bill in each form."""
    form = request.param
    path = tmp_path / {"gzip": "r.csv.gz", "zip": "r.csv.zip", "parquet": "r.parquet"}.get(form, "r.csv")
    if form == "gzip":
        path.write_bytes(gzip.compress(NEW.encode()))
    elif form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("r-1.csv", OLD)
    elif form == "parquet":
        rows = [
            ("2026-12-01", "", 2.0, {"user_environment": "prod", "user_model": "risk"}, "Amazon SageMaker"),
            ("2026-12-02", "AmazonMSK", 3.0, {"user_environment": "prod"}, MSK),
            ("2026-12-02", "AmazonMSK", 7.0, {"user_environment": "dev"}, ""),
            ("2026-12-02", "AmazonS3", 2.0, {}, ""),
        ]
        with duckdb.connect() as database:
            database.execute(
                "CREATE TABLE r (line_item_usage_start_date TIMESTAMP, line_item_product_code VARCHAR,"
                " line_item_unblended_cost DOUBLE, resource_tags MAP(VARCHAR, VARCHAR), product MAP(VARCHAR, VARCHAR))"
            )
            for when, code, usd, tags, name in rows:
                named = {"product_name": name} if name else {}
                values = [when, code, usd, *(x for each in (tags, named) for x in (list(each), list(each.values())))]
                maps = ", ".join(["map(?::VARCHAR[], ?::VARCHAR[])"] * 2)
                database.execute(f"INSERT INTO r VALUES (?, ?, ?, {maps})", values)
            database.execute(f"COPY r TO '{path}'")
    else:
        path.write_text({"old": OLD, "new": NEW, "focus": FOCUS}[form], encoding="utf-8")
    return path


@pytest.mark.parametrize("report", ["old", "new", "focus", "gzip", "zip", "parquet"], indirect=True)
def test_a_report_is_read_in_each_form_that_aws_exports(report: Path) -> None:
    spent, says = by_report(str(report), "shop", "prod", *YEAR)
    found = sorted((each.day, each.service, each.model, each.usd) for each in spent)
    assert found == [
        (date(2026, 12, 1), "Amazon SageMaker", "risk", 2.0),
        (date(2026, 12, 2), "Amazon Managed Streaming for Apache Kafka", "", 3.0),
    ]
    assert says == "2.00 USD of it have no tag Environment, 7.00 USD are of other stacks"
    assert by_report(str(report.parent), "shop", "prod", *YEAR)[0] == spent, "a folder is read as a whole"
    assert by_report(str(report), "shop", "prod", date(2026, 11, 1), date(2026, 12, 1))[0] == []


def test_a_report_in_s3_is_read_from_its_months_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="bills")
        client.put_object(Bucket="bills", Key="cur/data/BILLING_PERIOD=2026-12/cur-00001.csv", Body=OLD.encode())
        client.put_object(Bucket="bills", Key="cur/data/BILLING_PERIOD=2026-10/cur-00001.csv", Body=b"not a report")
        client.put_object(Bucket="bills", Key="cur/metadata/cur-Manifest.json", Body=b"{}")
        spent, _ = by_report("s3://bills/cur", "shop", "prod", date(2026, 11, 1), YEAR[1])
        assert sum(each.usd for each in spent) == 5
        with pytest.raises(UsageError, match=r"can't be fetched \(NoSuchBucket\)"):
            by_report("s3://elsewhere/cur", "shop", "prod", *YEAR)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("r.csv", "a,b\n1,2\n", "has no column of days"),
        ("r.csv", "ChargePeriodStart,b\n2026-12-01,2\n", "has no column of costs"),
        ("r.csv", FOCUS.replace("USD", "EUR"), "bills in EUR; budgets and prices here are in USD"),
        ("r.csv", FOCUS.replace("2026-12-01T00:00:00Z", "soon"), "is not readable as CSV"),
        ("r.parquet", "PAR", "is not readable as PARQUET"),
        ("r.txt", OLD, "contains no cost-and-usage report"),
    ],
)
def test_what_is_no_report_is_refused_in_words(name: str, text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        by_report(str(path), "shop", "prod", *YEAR)
    assert says in str(caught.value) and str(path) in str(caught.value)
    with pytest.raises(UsageError, match="there is no such file or folder"):
        by_report(str(tmp_path / "none.csv"), "shop", "prod", *YEAR)
