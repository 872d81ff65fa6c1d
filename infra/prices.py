"""The price book: list prices as dated data, and the regions that exist.

Source and date of each file stand in ``infra/prices/README.md``.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HOURS_PER_MONTH = 730
_FOLDER = Path(__file__).parent / "prices"

# AWS commercial regions (https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html).
REGIONS = frozenset((
    "af-south-1", "ap-east-1", "ap-east-2", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3",
    "ap-south-1", "ap-south-2", "ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4",
    "ap-southeast-5", "ap-southeast-6", "ap-southeast-7", "ca-central-1", "ca-west-1", "eu-central-1",
    "eu-central-2", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-2",
    "eu-west-3", "il-central-1", "me-central-1", "me-south-1", "mx-central-1", "sa-east-1",
    "us-east-1", "us-east-2", "us-west-1", "us-west-2",
))  # fmt: skip


@dataclass(frozen=True)
class PriceBook:
    """List prices in USD.

    Attributes:
        region: The region the prices hold for; other regions are estimated with them.
        as_of: Date of the newest figure.
        services: ``(service, item) -> USD`` per the unit of the source file.
    """

    region: str
    as_of: str
    services: dict[tuple[str, str], float]

    def hourly(self, service: str, item: str, count: float = 1) -> float:
        """USD a month of ``count`` units billed by the hour.

        Raises:
            KeyError: The price book has no such item.
        """
        return self.services[service, item] * HOURS_PER_MONTH * count

    def per_unit(self, service: str, item: str, quantity: float = 1) -> float:
        """USD of ``quantity`` units of an item billed by quantity.

        Raises:
            KeyError: The price book has no such item.
        """
        return self.services[service, item] * quantity


@cache
def load_prices() -> PriceBook:
    """The price book that ships with the project (us-east-1)."""
    with (_FOLDER / "aws-list-prices-us-east-1.csv").open(encoding="utf-8", newline="") as file:
        services = {(row["service"], row["item"]): float(row["usd"]) for row in csv.DictReader(file)}
    with (_FOLDER / "ec2-on-demand-us-east-1.csv").open(encoding="utf-8", newline="") as file:
        services |= {("ec2", row["instance_type"]): float(row["usd_per_hour"]) for row in csv.DictReader(file)}
    return PriceBook(region="us-east-1", as_of="2026-07-20", services=services)
