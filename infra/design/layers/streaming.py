"""Streaming: no broker, MSK Serverless, or MSK with brokers of a size and number."""

from __future__ import annotations

import math
from dataclasses import dataclass

from infra.design.bill import EVENTS, NOTHING
from infra.design.decisions import Chooser, Obstacle, Option
from infra.design.price_book import PriceBook
from spec.objectives import Objectives

MEAN_EVENT_KB = 1.0
TOPIC_DAYS = 7  # a consumer that was down over a long weekend misses nothing; the lake keeps the rest
COPIES = 3


@dataclass(frozen=True)
class StreamingDesign:
    """``kind`` is none, serverless or provisioned; ``brokers`` and ``storage_gb`` (per broker) are for provisioned."""

    kind: str
    broker_type: str = ""
    brokers: int = 0
    storage_gb: int = 0
    partitions: int = 0
    retention_days: int = 1


def streaming(wanted: Objectives, zones: int, prices: PriceBook, chooser: Chooser) -> StreamingDesign:
    """The cheapest cluster that can take the events."""
    events = wanted.events
    objectives = (f"events.per_second: {events.per_second:g}", f"events.retention_days: {events.retention_days}")
    if events.per_second == 0:
        chooser.note("streaming", "none", objectives, "no events are streamed", NOTHING)
        return StreamingDesign(kind="none")
    days = min(TOPIC_DAYS, events.retention_days)
    mb_per_second = events.per_second * MEAN_EVENT_KB / 1000
    monthly_gb = mb_per_second * 86_400 * 30 / 1000
    stored_gb = monthly_gb / 30 * days
    partitions = max(2, math.ceil(events.per_second / 5_000))
    options: list[Option[StreamingDesign]] = [
        Option(
            "MSK Serverless",
            prices.hourly("msk", "serverless-cluster")
            + prices.hourly("msk", "serverless-partition", 2 * partitions)  # each topic has a dead-letter topic
            + prices.per_unit("msk", "serverless-in", monthly_gb, EVENTS)
            + prices.per_unit("msk", "serverless-out", 2 * monthly_gb, EVENTS)
            + prices.per_unit("msk", "serverless-storage", stored_gb, EVENTS),
            StreamingDesign("serverless", partitions=partitions, retention_days=days),
            # Quota: 200 MB/s in (https://docs.aws.amazon.com/msk/latest/developerguide/limits.html).
            (
                (Obstacle("takes at most 200 MB/s", "events.per_second", 200_000, events.per_second),)
                if mb_per_second > 200
                else ()
            ),
        )
    ]
    # Sustained ingress that a broker handles with replication, MB/s (MSK best practices).
    for broker, capacity in (("kafka.t3.small", 2.0), ("kafka.m7g.large", 15.6), ("kafka.m7g.xlarge", 31.2)):
        brokers = zones * max(1, math.ceil(mb_per_second / (capacity * zones)))
        copies = min(COPIES, brokers)
        storage_gb = max(10, math.ceil(stored_gb * copies / brokers * 1.3))
        obstacles = []
        if wanted.production and broker.startswith("kafka.t3"):
            obstacles.append(
                Obstacle("its CPU credits run out under steady load, which production has", "environment", "staging")
            )
        # 30 brokers per cluster and 16,384 GiB of storage per broker are MSK's own limits.
        if brokers > 30:
            obstacles.append(
                Obstacle(
                    "more than 30 brokers",
                    "events.per_second",
                    math.floor(30 // zones * zones * capacity * 1000 / MEAN_EVENT_KB),
                    events.per_second,
                )
            )
        if storage_gb > 16_384:
            obstacles.append(
                Obstacle(
                    "more storage than a broker can have",
                    "events.retention_days",
                    max(1, math.floor(16_384 * brokers / (copies * 1.3) / (monthly_gb / 30))),
                    days,
                )
            )
        options.append(
            Option(
                f"MSK, {brokers} x {broker}",
                prices.hourly("msk", broker, brokers) + prices.per_unit("msk", "storage", brokers * storage_gb),
                StreamingDesign("provisioned", broker, brokers, storage_gb, partitions, days),
                tuple(obstacles),
            )
        )
    because = f"{mb_per_second:,.2f} MB/s in; topics keep {days} days, the lake the rest"
    return chooser.choose("streaming", options, objectives, because)
