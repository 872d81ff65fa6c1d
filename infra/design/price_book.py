"""The price book: list prices as dated data, by region.

The source and date of each file are in ``infra/design/prices/README.md``.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from infra.design.bill import TIME, Bill, Charge
from spec.errors import UsageError

HOURS_PER_MONTH = 730
FOLDER = Path(__file__).parent / "prices"
BASE = "us-east-1"  # the region whose book is complete
PRICES_FILE, EC2_FILE, SOURCE_FILE = "services.csv", "ec2-on-demand.csv", "source.json"  # of a region
REGIONS_FILE, SPOT_FILE = "regions.csv", "spot.csv"  # of all regions
REGIONS_AS_OF, SPOT_AS_OF = "2022-09", "2025-06"
UNKNOWN_REGION = 1.15  # a region that regions.csv does not have
UNKNOWN_SPOT = 0.4  # of the on-demand price; where spot.csv knows neither the family nor the region
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
Prices = dict[tuple[str, str], float]


@dataclass(frozen=True)
class PriceBook:
    """List prices in USD.

    Attributes:
        region: The region of the prices.
        as_of: Date of the newest figure.
        services: ``(service, item) -> USD`` per the unit of the source file.
        estimate: How the prices were made where the book has another region's; empty where they are the region's own.
        spot: By family of instance types, spot prices as a share of the on-demand ones; ``*`` for the median.
    """

    region: str
    as_of: str
    services: Prices
    estimate: str = ""
    spot: Mapping[str, float] = field(default_factory=dict)
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

    def spot_share(self, instance_type: str = "") -> float:
        """Price of spare capacity, as a share of the on-demand price."""
        family = instance_type.removeprefix("ml.").partition(".")[0]
        return self.spot.get(family, self.spot.get("*", UNKNOWN_SPOT))

    def hourly(self, service: str, item: str, count: float = 1) -> Bill:
        """A month of ``count`` units billed by the hour.

        Raises:
            KeyError: The price book has no such item.
        """
        return self.per_unit(service, item, HOURS_PER_MONTH * count)

    def per_unit(self, service: str, item: str, quantity: float = 1, grows_with: str = TIME) -> Bill:
        """``quantity`` units of an item billed by quantity.

        Raises:
            KeyError: The price book has no such item.
        """
        found = self.find(service, item)
        if found is None:
            raise KeyError((service, item))
        return Bill((Charge(service, item, quantity, found * quantity, grows_with),))


def _size(sized: re.Match[str] | None) -> float | None:
    """In units of ``large``; None for burstable sizes below it, whose prices double, but are listed."""
    if sized is None or sized[3] not in ("large", "xlarge"):
        return None
    return 1.0 if sized[3] == "large" else 2.0 * float(sized[2] or 1)


@cache
def load_prices(region: str = BASE, folder: Path = FOLDER) -> PriceBook:
    """The prices of a region. What the project has no price of its own of is estimated from the base region's by how
    much the region differed, and ``estimate`` says so.

    Raises:
        UsageError: Files of the price book can't be read.
    """
    region = region or BASE
    try:
        as_of, services = _own(folder / BASE)
        spot = dict(_column(folder / SPOT_FILE, region, "family", "share"))
        if region == BASE:
            return PriceBook(BASE, as_of, services, spot=spot)
        there, here = (dict(_column(folder / REGIONS_FILE, one, "item", "factor")) for one in (region, BASE))
        usual = there.get("*", UNKNOWN_REGION) / here.get("*", 1.0)
        scaled = {key: usd * _factor(*key, there, here, usual) for key, usd in services.items()}
        how = f"estimated from those of {BASE}"
        if "*" in there:
            how += f", to which this region usually adds {usual - 1:.0%}, as of {REGIONS_AS_OF}"
        else:
            how += f" with {usual - 1:.0%} added, since nothing is known of this region"
        if (folder / region / SOURCE_FILE).is_file():
            as_of, own = _own(folder / region)
            # What EC2 does not list in a region does not exist there.
            guessed = {key for key in scaled if key not in own and not _machine(*key)}
            scaled = {key: usd for key, usd in scaled.items() if key in guessed} | own
            how = f"{len(guessed)} of {len(scaled)} {how}" if guessed else ""
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(
            f"the price book can't be read: {type(error).__name__}: {error}",
            where=str(folder),
            fix="restore it from git",
        ) from error
    return PriceBook(region, as_of, scaled, how, spot)


def _own(folder: Path) -> tuple[str, Prices]:
    """Date and prices of one region's files."""
    source = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))
    with (folder / PRICES_FILE).open(encoding="utf-8", newline="") as file:
        found = {(row["service"], row["item"]): float(row["usd"]) for row in csv.DictReader(file)}
    with (folder / EC2_FILE).open(encoding="utf-8", newline="") as file:
        found |= {("ec2", row["instance_type"]): float(row["usd_per_hour"]) for row in csv.DictReader(file)}
    return source["as_of"], found


def _column(path: Path, region: str, key: str, value: str) -> Iterator[tuple[str, float]]:
    """A region's rows of a file of all regions."""
    with path.open(encoding="utf-8", newline="") as file:
        yield from ((row[key], float(row[value])) for row in csv.DictReader(file) if row["region"] == region)


def _machine(service: str, item: str) -> bool:
    return service == "ec2" and _SIZED.match(item) is not None


def _factor(service: str, item: str, there: Mapping[str, float], here: Mapping[str, float], usual: float) -> float:
    if any(service == uniform and item.startswith(start) for uniform, start in _UNIFORM):
        return 1.0
    sized = _SIZED.match(item)
    family = f"ec2:{sized[1]}" if sized else f"ec2:{item.partition('.')[0]}"
    for key in (f"{service}:{item}", family):
        if key in there:
            return there[key] / here.get(key, 1.0)
    return usual
