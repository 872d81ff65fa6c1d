"""The price book: list prices as dated data.

The source and date of each file are in ``infra/design/prices/README.md``.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from spec.errors import UsageError

SPOT_SHARE = 0.4  # of the on-demand price; spot prices move, 60 % off is what general-purpose types have long averaged

HOURS_PER_MONTH = 730
FOLDER = Path(__file__).parent / "prices"
PRICES_FILE, EC2_FILE, SOURCE_FILE = "services.csv", "ec2-on-demand.csv", "source.json"


@dataclass(frozen=True)
class PriceBook:
    """List prices in USD.

    Attributes:
        region: The region of the prices; other regions are estimated with them.
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
    """The price book of the project.

    Raises:
        UsageError: Its files can't be read.
    """
    try:
        source = json.loads((FOLDER / SOURCE_FILE).read_text(encoding="utf-8"))
        with (FOLDER / PRICES_FILE).open(encoding="utf-8", newline="") as file:
            services = {(row["service"], row["item"]): float(row["usd"]) for row in csv.DictReader(file)}
        with (FOLDER / EC2_FILE).open(encoding="utf-8", newline="") as file:
            services |= {("ec2", row["instance_type"]): float(row["usd_per_hour"]) for row in csv.DictReader(file)}
        return PriceBook(region=source["region"], as_of=source["as_of"], services=services)
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(
            f"the price book can't be read: {type(error).__name__}: {error}",
            where=str(FOLDER),
            fix="restore it from git",
        ) from error
