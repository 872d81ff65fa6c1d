"""The price book: list prices as dated data.

The source and date of each file are in ``infra/design/prices/README.md``.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from spec.errors import UsageError

SPOT_SHARE = 0.4  # of the on-demand price; spot prices move, 60 % off is what general-purpose types have long averaged

HOURS_PER_MONTH = 730
FOLDER = Path(__file__).parent / "prices"
PRICES_FILE, EC2_FILE, SOURCE_FILE, REGIONS_FILE = (
    "services.csv",
    "ec2-on-demand.csv",
    "source.json",
    "regions.csv",
)
REGIONS_AS_OF = "2022-09"
UNKNOWN_REGION = 1.15  # a region that regions.csv does not have
# Priced the same everywhere.
_UNIFORM = (
    ("kms", ""),
    ("secretsmanager", ""),
    ("eks", ""),
    ("route53", ""),
    ("wafv2", ""),
    ("ssm", ""),
    ("cloudwatch", "alarm"),
    ("cloudwatch", "composite-alarm"),
    ("cloudwatch", "dashboard"),
    ("cloudwatch", "metric"),
    ("ec2", "public-ipv4"),
    ("amg", ""),
    ("accelerator", ""),
)
# `db.r7g.4xlarge`, `ml.m5.large`, `r6g.large.search`: the family, and the size.
_SIZED = re.compile(
    r"^(?:ml|db|cache|kafka)?\.?([a-z]+\d+[a-z-]*)\.(\d*)(nano|micro|small|medium|large|xlarge)(\.search)?$"
)


@dataclass(frozen=True)
class PriceBook:
    """List prices in USD.

    Attributes:
        region: The region of the prices.
        as_of: Date of the newest figure.
        services: ``(service, item) -> USD`` per the unit of the source file.
        estimate: How the prices were made where the book has another region's; empty where they are the region's own.
    """

    region: str
    as_of: str
    services: dict[tuple[str, str], float]
    estimate: str = ""
    _scaled: dict[tuple[str, str], float | None] = field(default_factory=dict, repr=False, compare=False)

    def find(self, service: str, item: str) -> float | None:
        """USD per unit; of an instance that the book does not have by the price of another size of its family, since
        AWS's prices within a family are in proportion to the size; None where it has no such family.
        """
        if (service, item) in self.services:
            return self.services[service, item]
        if (service, item) not in self._scaled:
            self._scaled[service, item] = self._by_size(service, item)
        return self._scaled[service, item]

    def _by_size(self, service: str, item: str) -> float | None:
        sized = _SIZED.match(item)
        wanted = _size(sized)
        if sized is None or wanted is None:
            return None
        for (known_service, known), usd in self.services.items():
            other = _SIZED.match(known) if known_service == service else None
            if other is not None and other[1] == sized[1] and (size := _size(other)):
                return usd * wanted / size
        return None

    def hourly(self, service: str, item: str, count: float = 1) -> float:
        """USD a month of ``count`` units billed by the hour.

        Raises:
            KeyError: The price book has no such item.
        """
        return self._known(service, item) * HOURS_PER_MONTH * count

    def per_unit(self, service: str, item: str, quantity: float = 1) -> float:
        """USD of ``quantity`` units of an item billed by quantity.

        Raises:
            KeyError: The price book has no such item.
        """
        return self._known(service, item) * quantity

    def _known(self, service: str, item: str) -> float:
        found = self.find(service, item)
        if found is None:
            raise KeyError((service, item))
        return found


def _size(sized: re.Match[str] | None) -> float | None:
    """In units of ``large``; None for burstable sizes below it, whose prices double, but are listed."""
    if sized is None or sized[3] not in ("large", "xlarge"):
        return None
    return 1.0 if sized[3] == "large" else 2.0 * float(sized[2] or 1)


@cache
def load_prices(region: str = "") -> PriceBook:
    """The price book of the project.

    Args:
        region: Of which region; the book's own where it is empty. Another region's prices are estimated by how much
            that region differed, and ``estimate`` says so.

    Raises:
        UsageError: Its files can't be read.
    """
    try:
        source = json.loads((FOLDER / SOURCE_FILE).read_text(encoding="utf-8"))
        with (FOLDER / PRICES_FILE).open(encoding="utf-8", newline="") as file:
            services = {(row["service"], row["item"]): float(row["usd"]) for row in csv.DictReader(file)}
        with (FOLDER / EC2_FILE).open(encoding="utf-8", newline="") as file:
            services |= {("ec2", row["instance_type"]): float(row["usd_per_hour"]) for row in csv.DictReader(file)}
        own, as_of = source["region"], source["as_of"]
        if region in ("", own):
            return PriceBook(own, as_of, services)
        there, here = _factors(region), _factors(own)
        usual = there.get("*", UNKNOWN_REGION) / here.get("*", 1.0)
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(
            f"the price book can't be read: {type(error).__name__}: {error}",
            where=str(FOLDER),
            fix="restore it from git",
        ) from error
    scaled = {key: usd * _factor(*key, there, here, usual) for key, usd in services.items()}
    how = f"estimated from those of {own}, to which this region usually adds {usual - 1:.0%}, as of {REGIONS_AS_OF}"
    if "*" not in there:
        how = f"estimated from those of {own} with {usual - 1:.0%} added, since nothing is known of this region"
    return PriceBook(region, as_of, scaled, how)


def _factors(region: str) -> dict[str, float]:
    """By item, by how much a region differs from us-east-1."""
    with (FOLDER / REGIONS_FILE).open(encoding="utf-8", newline="") as file:
        return {row["item"]: float(row["factor"]) for row in csv.DictReader(file) if row["region"] == region}


def _factor(service: str, item: str, there: dict[str, float], here: dict[str, float], usual: float) -> float:
    if any(service == uniform and item.startswith(start) for uniform, start in _UNIFORM):
        return 1.0
    sized = _SIZED.match(item)
    family = f"ec2:{sized[1]}" if sized else f"ec2:{item.partition('.')[0]}"
    for key in (f"{service}:{item}", family):
        if key in there:
            return there[key] / here.get(key, 1.0)
    return usual
