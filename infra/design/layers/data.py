"""Data: the lake's storage classes, the online feature store, and the tracking server's database."""

from __future__ import annotations

import math
from dataclasses import dataclass

from infra.design.bill import EVENTS, NOTHING, Bill, requests
from infra.design.decisions import Chooser, Obstacle, Option
from infra.design.layers.streaming import MEAN_EVENT_KB
from infra.design.price_book import PriceBook
from spec.objectives import Availability, FeatureStore, Objectives, Regime

COLD_DAYS = (30, 90)  # days until objects move to Standard-IA, then to Glacier Instant Retrieval
PARQUET_SHARE = 0.25  # columnar and compressed, relative to the events' JSON
CAPACITY_USED = 0.7  # DynamoDB's autoscaling target, so that a rise is met before it throttles
SCAN_LIMIT_GB = {True: 1_000, False: 100}  # most that one Athena query may read, in production and elsewhere


@dataclass(frozen=True)
class LakeDesign:
    """Days are counted from an object's creation; ``raw_lock_days`` is how long nobody can change or delete a raw
    object.
    """

    retention_days: int
    raw_lock_days: int
    cold_days: tuple[int, ...]
    audit_retention_days: int
    scan_limit_gb: int


@dataclass(frozen=True)
class FeatureStoreDesign:
    """The online store.

    Attributes:
        kind: feast (its tables on DynamoDB) or sagemaker (Feature Groups).
        read_units, write_units: Provisioned capacity a second, from which autoscaling starts; 0 where each request is
            paid.
    """

    kind: str
    point_in_time_recovery: bool
    read_units: int = 0
    write_units: int = 0


@dataclass(frozen=True)
class DatabaseDesign:
    """The tracking server's PostgreSQL."""

    instance_class: str
    multi_az: bool
    storage_gb: int
    backup_days: int


def lake(objectives: Objectives, prices: PriceBook, chooser: Chooser) -> LakeDesign:
    """Storage classes and retention. Raw and curated both keep every event for ``events.retention_days``."""
    events = objectives.events
    daily_gb = 2 * events.per_second * MEAN_EVENT_KB * 86_400 / 1e6 * PARQUET_SHARE

    def cost(cold: tuple[int, ...]) -> Bill:
        total, start = NOTHING, 0
        for storage_class, end in zip(
            ("standard", "standard-ia", "glacier-ir"), (*cold, events.retention_days), strict=False
        ):
            end = min(end, events.retention_days)
            total += prices.per_unit("s3", storage_class, daily_gb * max(0, end - start), EVENTS)
            start = end
        return total

    # Moving objects costs, too: one request each; files of an hour's events.
    moves = prices.per_unit("s3", "put", 2 * 24 * 30 * 2 / 1000) if events.per_second else NOTHING
    cold: tuple[int, ...] = chooser.choose(
        "lake",
        [
            Option("S3 Standard throughout", cost(()), ()),
            Option(
                f"S3, after {COLD_DAYS[0]} days Standard-IA, after {COLD_DAYS[1]} Glacier Instant Retrieval",
                cost(COLD_DAYS) + moves,
                COLD_DAYS,
            ),
        ],
        (f"events.retention_days: {events.retention_days}", f"events.per_second: {events.per_second:g}"),
        f"{daily_gb * events.retention_days:,.0f} GB of Parquet once retention is reached",
    )
    audit_days = _audit_retention(objectives)
    chooser.note(
        "lake: retention",
        f"events {events.retention_days} days, then deleted; audit log {audit_days} days, locked",
        (f"compliance: [{', '.join(objectives.compliance)}]", f"events.retention_days: {events.retention_days}"),
        _audit_reason(objectives),
        NOTHING,
    )
    return LakeDesign(
        events.retention_days, events.retention_days, cold, audit_days, SCAN_LIMIT_GB[objectives.production]
    )


def _audit_retention(objectives: Objectives) -> int:
    if Regime.SOX in objectives.compliance:
        return 7 * 365
    if Regime.HIPAA in objectives.compliance:
        return 6 * 365
    return 365 if objectives.compliance else 90


def _audit_reason(objectives: Objectives) -> str:
    if Regime.SOX in objectives.compliance:
        return "SOX section 802: audit records are kept for seven years"
    if Regime.HIPAA in objectives.compliance:
        return "45 CFR 164.316(b)(2)(i): documentation is kept for six years"
    return "a year for audits" if objectives.compliance else "no regulation requires more than a quarter"


def feature_store(objectives: Objectives, prices: PriceBook, chooser: Chooser) -> FeatureStoreDesign:
    """What serves features online."""
    each = {name: model.requests_per_second.average for name, model in objectives.models.items()}
    reads_per_second = sum(each.values())
    writes_per_second = objectives.events.per_second  # every event may change its entity's features
    reads, writes = (rate * 86_400 * 30 / 1e6 for rate in (reads_per_second, writes_per_second))
    read_units, write_units = (
        max(1, math.ceil(rate / CAPACITY_USED)) for rate in (reads_per_second, writes_per_second)
    )
    recovery = bool(objectives.compliance) or objectives.production

    def used(service: str, read: str, write: str) -> Bill:
        total = prices.per_unit(service, write, writes, EVENTS)
        for name, rate in each.items():
            total += prices.per_unit(service, read, rate * 86_400 * 30 / 1e6, requests(name))
        return total

    def only(kind: FeatureStore) -> tuple[Obstacle, ...]:
        wanted = objectives.feature_store
        return (
            () if wanted is kind else (Obstacle(f"feature_store: {wanted} is requested", "feature_store", kind.value),)
        )

    return chooser.choose(
        "feature store",
        [
            Option(
                "Feast on DynamoDB, paid per request",
                used("dynamodb", "read", "write"),
                FeatureStoreDesign("feast", recovery),
                only(FeatureStore.FEAST),
            ),
            Option(
                f"Feast on DynamoDB, {read_units:,} read and {write_units:,} write units provisioned",
                prices.hourly("dynamodb", "rcu", read_units) + prices.hourly("dynamodb", "wcu", write_units),
                FeatureStoreDesign("feast", recovery, read_units, write_units),
                only(FeatureStore.FEAST),
            ),
            Option(
                "SageMaker Feature Groups",
                used("sagemaker", "feature-store-online-read", "feature-store-online-write"),
                FeatureStoreDesign("sagemaker", recovery),
                only(FeatureStore.SAGEMAKER),
            ),
        ],
        (
            f"feature_store: {objectives.feature_store}",
            f"events.per_second: {writes_per_second:g}",
            *(
                f"models.{name}.requests_per_second.average: {model.requests_per_second.average:g}"
                for name, model in objectives.models.items()
            ),
        ),
        f"{reads:,.1f} million reads and {writes:,.1f} million writes a month",
    )


def database(objectives: Objectives, prices: PriceBook, chooser: Chooser) -> DatabaseDesign:
    """Size and copies of the tracking server's PostgreSQL."""
    multi_az = objectives.availability is not Availability.ONE_ZONE
    backup_days = 35 if Regime.SOX in objectives.compliance else 7
    copies = 2 if multi_az else 1
    options = []
    for instance_class, big_enough in (
        ("db.t4g.micro", not objectives.production),
        ("db.t4g.medium", True),
        ("db.m6g.large", True),
    ):
        cost = prices.hourly("rds", instance_class, copies) + prices.per_unit("rds", "storage-gp3", 20 * copies)
        value = DatabaseDesign(instance_class, multi_az, storage_gb=20, backup_days=backup_days)
        obstacles = () if big_enough else (Obstacle("1 GiB of memory is too little for production"),)
        options.append(
            Option(f"PostgreSQL on {instance_class}{', in two zones' if multi_az else ''}", cost, value, obstacles)
        )
    because = f"MLflow's runs and registry; backups for {backup_days} days"
    return chooser.choose(
        "tracking",
        options,
        (f"availability: {objectives.availability}", f"environment: {objectives.environment}"),
        because,
    )
