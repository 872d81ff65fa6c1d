"""Cluster: the permanent nodes, the pools that grow and shrink, and the hours it is switched off."""

from __future__ import annotations

import math
from dataclasses import dataclass

from infra.design.bill import NOTHING, Bill
from infra.design.decisions import Chooser, Obstacle, Option
from infra.design.price_book import PriceBook
from spec.objectives import Availability, Objectives, OfficeHours

TRACKING_VCPUS = 1  # each replica of the MLflow server
GPU_TYPE, POOL_TYPE = "g4dn.xlarge", "m5.large"


@dataclass(frozen=True)
class ClusterDesign:
    """The cluster.

    Attributes:
        system_nodes: On-demand nodes that run Karpenter, DNS and the operators.
        cpu_limit: Most vCPUs that Karpenter may start.
        gpu_limit: Most GPUs; 0 means that there are no GPU pools.
        tracking_replicas: Replicas of the MLflow server.
    """

    system_node_type: str
    system_nodes: int
    cpu_limit: int
    gpu_limit: int
    tracking_replicas: int
    max_replicas: int


def cluster(objectives: Objectives, zones: int, prices: PriceBook, chooser: Chooser) -> ClusterDesign:
    """System nodes, CPU and GPU pools."""
    availability, production = objectives.availability, objectives.production
    forced = (f"availability: {availability}", f"environment: {objectives.environment}")
    # Each zone has one, so that Karpenter and DNS survive a zone; never fewer than two, so that they survive a node.
    nodes = max(2, zones if availability is not Availability.ONE_ZONE else 2)
    control_plane = prices.hourly("eks", "cluster")
    node_type = chooser.choose(
        "cluster",
        [
            Option(
                f"EKS, {nodes} x {kind} for the system",
                control_plane + prices.hourly("ec2", kind, nodes) + prices.per_unit("ec2", "ebs-gp3", 30 * nodes),
                kind,
                (
                    (
                        Obstacle(
                            "its CPU credits run out under steady load, which production has", "environment", "staging"
                        ),
                    )
                    if burst and production
                    else ()
                ),
            )
            for kind, burst in (("t3.large", True), ("m5.large", False), ("m5.xlarge", False))
        ],
        forced,
        "MLflow and the operators run on it; Karpenter starts and stops everything else",
    )
    replicas = 1 if availability is Availability.ONE_ZONE else 2
    spot = (prices.hourly("ec2", POOL_TYPE) / 2).on_spot(prices.spot_share(POOL_TYPE))
    chooser.note(
        "cluster: CPU pool",
        f"Karpenter on spot, {replicas * TRACKING_VCPUS} vCPU at all times",
        forced,
        f"{replicas} replica{'s' if replicas > 1 else ''} of the MLflow server; it is stateless, so a spot node may be"
        " reclaimed",
        replicas * TRACKING_VCPUS * spot,
    )
    gpus = _gpus(objectives, prices, chooser)
    # Karpenter's limit protects against mistakes: four times what is planned, and never under 64 vCPUs.
    wanted = sum(math.ceil(model.requests_per_second.peak / 100) for model in objectives.models.values())
    return ClusterDesign(node_type, nodes, max(64, 4 * wanted), gpus, replicas, max_replicas=20)


def _gpus(objectives: Objectives, prices: PriceBook, chooser: Chooser) -> int:
    """Most GPUs."""
    hours = objectives.research.gpu_hours_per_month
    serving = [name for name, model in objectives.models.items() if model.gpu]
    forced = (f"research.gpu_hours_per_month: {hours:g}", *(f"models.{name}.gpu: true" for name in serving))
    if not serving and not hours:
        chooser.note("cluster: GPU pools", "none", forced, "no model and no experiment needs one", NOTHING)
        return 0
    on_demand, spot = prices.per_unit("ec2", GPU_TYPE, hours), prices.spot_share(GPU_TYPE)
    # A serving GPU stays; its cost is part of the model's serving. This covers the experiments' hours.
    limit = len(serving) * 4 + math.ceil(hours / 160) * 2
    chooser.choose(
        "cluster: GPU pools",
        [
            Option(f"{GPU_TYPE} on spot, on demand if spot is unavailable", on_demand.on_spot(spot), None),
            Option(f"{GPU_TYPE} on demand only", on_demand, None),
        ],
        forced,
        "experiments can be repeated when a spot node is reclaimed; nodes run only while something needs a GPU",
    )
    return limit


def schedule(
    objectives: Objectives, answers_on_cluster: tuple[str, ...], running: Bill, chooser: Chooser
) -> OfficeHours | None:
    """When compute is switched off; ``running`` is what it costs. Models on the cluster keep it running."""
    hours = objectives.office_hours
    if hours is not None and answers_on_cluster:
        chooser.note(
            "schedule",
            "always on",
            ("office_hours",),
            f"{', '.join(answers_on_cluster)} is served from the cluster, also at night",
            NOTHING,
        )
        return None
    if hours is None:
        chooser.note("schedule", "always on", ("office_hours: none",), "no office hours are set", NOTHING)
        return None
    saved = running * (1 - hours.share)
    chooser.note(
        "schedule",
        f"nodes and database off outside {hours.start}:00 to {hours.end}:00, and on weekends",
        (f"office_hours: {hours.start}-{hours.end} {hours.timezone}",),
        f"used {hours.share:.0%} of the week; endpoints stay",
        -saved,
    )
    return hours
