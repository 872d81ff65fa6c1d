"""Network: how many zones, egress, and private endpoints of AWS services."""

from __future__ import annotations

from dataclasses import dataclass

from infra.design.bill import NOTHING
from infra.design.decisions import Chooser, Obstacle, Option
from infra.design.price_book import PriceBook
from spec.objectives import Availability, Objectives
from spec.regions import REGIONS

# Services that the platform calls; with these endpoints regulated data never leaves AWS's network.
PRIVATE_SERVICES = (
    "ecr.api",
    "ecr.dkr",
    "kms",
    "logs",
    "monitoring",
    "sagemaker.api",
    "sagemaker.runtime",
    "secretsmanager",
    "sqs",
    "sts",
)
NAT_GB = 50.0  # container images and packages, GB a month


@dataclass(frozen=True)
class NetworkDesign:
    """``zones`` are letters, so that no look-up is needed; ``nat_gateways`` is 1, or one per zone."""

    zones: tuple[str, ...]
    nat_gateways: int
    private_services: tuple[str, ...]


def network(objectives: Objectives, region: str, prices: PriceBook, chooser: Chooser) -> NetworkDesign:
    """Zones, NAT gateways and interface endpoints."""
    availability = objectives.availability
    forced = (f"availability: {availability}",)
    # Two even where one would do: MSK and EKS both require subnets in two zones.
    # https://docs.aws.amazon.com/msk/latest/developerguide/msk-create-cluster.html
    zones = tuple(REGIONS[region].zones)[: 2 if availability is Availability.ONE_ZONE else 3]
    chooser.note(
        "network",
        f"private subnets in {len(zones)} zones",
        forced,
        "MSK and EKS require two zones; surviving the failure of a zone requires more",
        NOTHING,
    )
    hourly, traffic = prices.hourly("ec2", "nat-gateway"), prices.per_unit("ec2", "nat-gateway-data", NAT_GB)
    single = (
        ()
        if availability is Availability.ONE_ZONE
        else (Obstacle("its zone's failure would cut off the others", "availability", "one-zone"),)
    )
    gateways = chooser.choose(
        "network: way out",
        [
            Option("one NAT gateway", hourly + traffic, 1, single),
            Option(f"a NAT gateway in each of {len(zones)} zones", len(zones) * hourly + traffic, len(zones)),
        ],
        forced,
        "nodes fetch images and packages; nothing comes in",
    )
    cost = len(PRIVATE_SERVICES) * len(zones) * prices.hourly("ec2", "interface-endpoint")
    through_nat = (
        ()
        if not objectives.compliance
        else (Obstacle(f"{_regimes(objectives)}: calls that carry data stay on AWS's network", "compliance", "[]"),)
    )
    services: tuple[str, ...] = chooser.choose(
        "network: AWS services",
        [
            Option("through NAT; S3 and DynamoDB through gateway endpoints", NOTHING, (), through_nat),
            Option(f"{len(PRIVATE_SERVICES)} interface endpoints in {len(zones)} zones", cost, PRIVATE_SERVICES),
        ],
        (f"compliance: [{_regimes(objectives)}]",),
        "regulated data does not use AWS's public addresses",
    )
    return NetworkDesign(zones, gateways, services)


def _regimes(objectives: Objectives) -> str:
    return ", ".join(objectives.compliance)
