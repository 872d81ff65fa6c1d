"""``groundplan prices refresh``: the price book, read again from the AWS Price List API.

https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
An item whose price the API does not name clearly keeps its old figure and is reported: a wrong price is worse than an
old one. In the book of another region than the base one it is left out, and estimated from the base one's.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from infra.design.price_book import BASE, EC2_FILE, PRICES_FILE, SOURCE_FILE, load_prices
from spec.errors import GroundplanError, UsageError
from spec.regions import REGIONS

FARTHEST = 5.0  # prices differ between regions by less than this factor; more means that the API counts in another unit
API_REGION = "us-east-1"  # the API exists in few regions, and covers all of them
LINUX = {"operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used"}


@dataclass(frozen=True)
class Query:
    """Where an item's price is found.

    Attributes:
        service_code: The API's name of the service.
        usage: Usage type without the region's prefix (``USE1-``); ``{item}`` stands for the item's name.
        times: Factor from the API's unit to the price book's, for example 1e6 where the book counts millions.
        attributes: Further attributes the product must have.
    """

    service_code: str
    usage: str
    times: float = 1
    attributes: dict[str, str] = field(default_factory=dict)


QUERIES: dict[tuple[str, str], Query] = {
    ("sagemaker", "ml.*"): Query("AmazonSageMaker", "Host:{item}"),
    ("sagemaker", "serverless-inference"): Query("AmazonSageMaker", "ServerlessInf:Mem-2GB", 0.5),
    ("msk", "kafka.*"): Query("AmazonMSK", "Kafka.{size}"),
    ("msk", "storage"): Query("AmazonMSK", "Kafka.Storage.GP2"),
    ("eks", "cluster"): Query("AmazonEKS", "AmazonEKS-Hours:perCluster"),
    ("ec2", "nat-gateway"): Query("AmazonEC2", "NatGateway-Hours"),
    ("ec2", "nat-gateway-data"): Query("AmazonEC2", "NatGateway-Bytes"),
    ("ec2", "interface-endpoint"): Query("AmazonVPC", "VpcEndpoint-Hours"),
    ("ec2", "interface-endpoint-data"): Query("AmazonVPC", "VpcEndpoint-Bytes"),
    ("ec2", "ebs-gp3"): Query("AmazonEC2", "EBS:VolumeUsage.gp3"),
    ("elb", "alb"): Query("AWSELB", "LoadBalancerUsage", attributes={"operation": "LoadBalancing:Application"}),
    ("elb", "lcu"): Query("AWSELB", "LCUUsage", attributes={"operation": "LoadBalancing:Application"}),
    ("kms", "key"): Query("awskms", "KMS-Keys"),
    ("kms", "requests"): Query("awskms", "KMS-Requests", 1e4),
    ("secretsmanager", "secret"): Query("AWSSecretsManager", "AWSSecretsManager-Secrets"),
    ("s3", "standard"): Query("AmazonS3", "TimedStorage-ByteHrs"),
    ("s3", "standard-ia"): Query("AmazonS3", "TimedStorage-SIA-ByteHrs"),
    ("s3", "glacier-ir"): Query("AmazonS3", "TimedStorage-GIR-ByteHrs"),
    ("s3", "put"): Query("AmazonS3", "Requests-Tier1", 1e3),
    ("s3", "get"): Query("AmazonS3", "Requests-Tier2", 1e3),
    ("dynamodb", "write"): Query("AmazonDynamoDB", "WriteRequestUnits", 1e6),
    ("dynamodb", "read"): Query("AmazonDynamoDB", "ReadRequestUnits", 1e6),
    ("dynamodb", "wcu"): Query("AmazonDynamoDB", "WriteCapacityUnit-Hrs"),
    ("dynamodb", "rcu"): Query("AmazonDynamoDB", "ReadCapacityUnit-Hrs"),
    ("dynamodb", "storage"): Query("AmazonDynamoDB", "TimedStorage-ByteHrs"),
    ("rds", "db.*"): Query(
        "AmazonRDS",
        "InstanceUsage:{item}",
        attributes={"databaseEngine": "PostgreSQL", "deploymentOption": "Single-AZ"},
    ),
    ("rds", "storage-gp3"): Query(
        "AmazonRDS", "RDS:GP3-Storage", attributes={"databaseEngine": "PostgreSQL", "deploymentOption": "Single-AZ"}
    ),
    ("cloudwatch", "metric"): Query("AmazonCloudWatch", "CW:MetricMonitorUsage"),
    ("cloudwatch", "alarm"): Query("AmazonCloudWatch", "CW:AlarmMonitorUsage"),
    ("cloudwatch", "dashboard"): Query("AmazonCloudWatch", "DashboardsUsageHour"),
    ("cloudwatch", "logs-ingest"): Query("AmazonCloudWatch", "DataProcessing-Bytes"),
    ("cloudwatch", "logs-store"): Query("AmazonCloudWatch", "TimedStorage-ByteHrs"),
    ("cloudtrail", "data-events"): Query("AWSCloudTrail", "DataEventsRecorded", 1e5),
    ("config", "item"): Query("AWSConfig", "ConfigurationItemRecorded"),
    ("athena", "scanned"): Query("AmazonAthena", "DataScannedInTB"),
    ("ecr", "storage"): Query("AmazonECR", "TimedStorage-ByteHrs"),
    ("amp", "samples"): Query("AmazonPrometheus", "AMP:MetricSampleCount", 1e7),
    ("backup", "storage"): Query("AWSBackup", "WarmStorage-ByteHrs-EBS"),
    ("guardduty", "management-events"): Query("AmazonGuardDuty", "PaidEventsAnalyzed", 1e6),
    ("securityhub", "checks"): Query("AWSSecurityHub", "PaidComplianceCheck", 1e3),
    ("apigateway", "rest-requests"): Query("AmazonApiGateway", "ApiGatewayRequest", 1e6),
}


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did; ``kept`` names items that the API has no single price for."""

    as_of: date
    changed: int
    same: int
    kept: tuple[str, ...]


def refresh(folder: Path, region: str, today: date, client: Any = None) -> Refreshed:
    """Read every price again and write the price book.

    Args:
        folder: The price book, with a folder for each region.
        client: A boto3 client of ``pricing``; None creates one.

    Raises:
        UsageError: No such region, or no price book in ``folder``.
        GroundplanError: The API can't be queried (no credentials, no permission, no network); nothing was written.
    """
    if region not in REGIONS:
        raise UsageError(f"{region!r} is not an AWS region", where="--region", fix="for example eu-central-1")
    if not (folder / BASE / PRICES_FILE).is_file():
        raise UsageError(f"contains no {BASE}/{PRICES_FILE}", where=str(folder), fix="name the folder of a price book")
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        api = _Api(client or _client(), region)
        rows, counts, kept = _services(folder, region, api)
        instances = api.instances()
    except (BotoCoreError, ClientError) as error:
        raise GroundplanError(
            f"the AWS Price List API can't be queried: {error}", fix="use credentials that may call pricing:GetProducts"
        ) from error
    if not instances:
        raise GroundplanError(
            f"the AWS Price List API lists no EC2 instances in {region}",
            fix="try again later; the price book is unchanged",
        )
    own = folder / region
    own.mkdir(exist_ok=True)
    _write(own / PRICES_FILE, ("service", "item", "unit", "usd"), rows)
    _write(
        own / EC2_FILE,
        ("instance_type", "usd_per_hour"),
        [(name, _number(usd)) for name, usd in sorted(instances.items())],
    )
    (own / SOURCE_FILE).write_text(json.dumps({"as_of": today.isoformat()}) + "\n", encoding="utf-8")
    return Refreshed(today, *counts, tuple(kept))


def _client() -> Any:
    import boto3

    return boto3.client("pricing", region_name=API_REGION)


def _services(folder: Path, region: str, api: _Api) -> tuple[list[tuple[str, ...]], tuple[int, int], list[str]]:
    rows: list[tuple[str, ...]] = []
    kept, changed, same = list[str](), 0, 0
    before = load_prices.__wrapped__(region, folder).services  # not one that was read before the last refresh
    with (folder / BASE / PRICES_FILE).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            service, item = row["service"], row["item"]
            old = before[service, item]
            query = QUERIES.get((service, item)) or QUERIES.get((service, f"{item.split('.')[0]}.*"))
            found = api.price(query, item) if query else None
            if found is not None and not old / FARTHEST <= found <= old * FARTHEST:
                kept.append(
                    f"{service} {item}: {_number(found)} instead of {old:g}, which suggests a different unit, not"
                    " a different price"
                )
                found = None
            elif found is None:
                kept.append(f"{service} {item}")
            elif abs(found - old) > 1e-12:
                changed += 1
            else:
                same += 1
            if found is not None or region == BASE:
                rows.append((service, item, row["unit"], row["usd"] if found is None else _number(found)))
    return rows, (changed, same), kept


class _Api:
    """GetProducts of one region; each service is queried once."""

    def __init__(self, client: Any, region: str) -> None:
        self._client, self._region = client, region
        self._products: dict[tuple[str, str], list[tuple[dict[str, str], float]]] = {}

    def price(self, query: Query, item: str) -> float | None:
        """The one price of an item, in the price book's unit; None if there is none, or more than one."""
        usage = query.usage.format(item=item, size=item.removeprefix("kafka."))
        products = self._of(query.service_code, usage)
        found = {
            usd
            for attributes, usd in products
            if re.fullmatch(rf"([A-Z]{{2,4}}\d?-)?{re.escape(usage)}", attributes.get("usagetype", ""))
            and all(attributes.get(key) == value for key, value in query.attributes.items())
        }
        return round(found.pop() * query.times, 12) if len(found) == 1 else None

    def instances(self) -> dict[str, float]:
        """On-demand price of every EC2 instance type, Linux, USD an hour."""
        found = {}
        for attributes, usd in self._ask("AmazonEC2", LINUX):
            if re.fullmatch(r"([A-Z]{2,4}\d?-)?BoxUsage:.+", attributes.get("usagetype", "")):
                found[attributes["instanceType"]] = usd
        return found

    def _of(self, service_code: str, usage: str) -> list[tuple[dict[str, str], float]]:
        # EC2 alone has a hundred thousand products a region; its NAT gateways and volumes have separate groups.
        group = (
            {"NatGateway": "NAT Gateway", "EBS": "Storage"}.get(re.split(r"[-:]", usage)[0], "")
            if service_code == "AmazonEC2"
            else ""
        )
        if (service_code, group) not in self._products:
            self._products[service_code, group] = list(
                self._ask(service_code, {"productFamily": group} if group else {})
            )
        return self._products[service_code, group]

    def _ask(self, service_code: str, attributes: dict[str, str]) -> Iterator[tuple[dict[str, str], float]]:
        filters = [
            {"Type": "TERM_MATCH", "Field": key, "Value": value}
            for key, value in {"regionCode": self._region, **attributes}.items()
        ]
        for page in self._client.get_paginator("get_products").paginate(ServiceCode=service_code, Filters=filters):
            for text in page["PriceList"]:
                product = json.loads(text)
                usd = _on_demand(product)
                if usd is not None:
                    yield product["product"].get("attributes", {}), usd


def _on_demand(product: dict[str, Any]) -> float | None:
    """USD of the first tier that costs anything; free tiers are left out, as in the rest of the price book."""
    tiers = [
        (float(dimension.get("beginRange", 0)), float(dimension["pricePerUnit"]["USD"]))
        for term in product.get("terms", {}).get("OnDemand", {}).values()
        for dimension in term["priceDimensions"].values()
        if "USD" in dimension["pricePerUnit"]
    ]
    return next((usd for _, usd in sorted(tiers) if usd > 0), None)


def _number(value: float) -> str:
    return f"{value:.12f}".rstrip("0").rstrip(".")


def _write(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.write_text(buffer.getvalue(), encoding="utf-8")
