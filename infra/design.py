"""From objectives to a design: for each layer the cheapest option that meets every objective.

``design`` is a pure function: no Pulumi, no AWS, no clock. Each decision keeps what forced it and what was
turned down, so that the platform can explain itself to the people who pay for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from infra.errors import UsageError
from infra.objectives import Availability, Events, ModelObjectives, Objectives, Regime
from infra.prices import PriceBook

# One vCPU of a serving instance answers at least this many single-row requests a second with ONNX Runtime.
# Deliberately low against what bench/ measures, so that a design holds for models ten times larger.
REQUESTS_PER_SECOND_PER_VCPU = 100
# What each way of serving adds to the model's own time, at the 95th percentile.
REALTIME_LATENCY_MS = 30
SERVERLESS_LATENCY_MS = 4000  # a cold start of a container with a scientific Python environment
MEAN_EVENT_KB = 1.0

T = TypeVar("T")


@dataclass(frozen=True)
class Rejected:
    """An option that was not chosen, what it would have cost a month, and why not."""

    option: str
    monthly_usd: float
    why: str


@dataclass(frozen=True)
class Decision:
    """One choice: what, because of which objectives, at what price, instead of what."""

    layer: str
    chosen: str
    because: tuple[str, ...]
    monthly_usd: float
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True)
class StreamingDesign:
    """``kind`` is none, serverless or provisioned; ``brokers`` and ``storage_gb`` (each broker's) hold for provisioned."""

    kind: str
    broker_type: str = ""
    brokers: int = 0
    storage_gb: int = 0
    partitions: int = 0
    retention_days: int = 1


@dataclass(frozen=True)
class DatabaseDesign:
    """The tracking server's PostgreSQL."""

    instance_class: str
    multi_az: bool
    storage_gb: int
    backup_days: int


@dataclass(frozen=True)
class ServingDesign:
    """One model's endpoint: instances of one variant (min, max) and the share of traffic a canary gets."""

    topology: str
    instance_type: str
    min_instances: int
    max_instances: int
    canary_percent: int


@dataclass(frozen=True)
class Design:
    """Everything the components need to know, and the decisions that led there."""

    zones: int
    streaming: StreamingDesign
    database: DatabaseDesign
    serving: dict[str, ServingDesign]
    key_deletion_days: int
    log_retention_days: int
    audit_retention_days: int
    point_in_time_recovery: bool
    approvals: tuple[str, ...]
    decisions: tuple[Decision, ...]

    @property
    def monthly_usd(self) -> float:
        """The estimate of the whole environment, USD a month."""
        return sum(decision.monthly_usd for decision in self.decisions)


@dataclass(frozen=True)
class _Option(Generic[T]):
    name: str
    monthly_usd: float
    value: T
    obstacle: str = ""  # why this option can't meet the objectives; empty if it can


@dataclass
class _Chooser:
    decisions: list[Decision] = field(default_factory=list)

    def choose(self, layer: str, options: Iterable[_Option[T]], because: tuple[str, ...]) -> T:
        """Keep the cheapest option without an obstacle; the others become the rejected alternatives."""
        ranked = sorted(options, key=lambda option: (option.monthly_usd, option.name))
        best = next((option for option in ranked if not option.obstacle), None)
        if best is None:
            reasons = "; ".join(f"{option.name}: {option.obstacle}" for option in ranked)
            raise UsageError(f"no option meets the objectives ({', '.join(because)}): {reasons}", where=layer, fix="relax one of the objectives named")
        rejected = tuple(Rejected(option.name, option.monthly_usd, option.obstacle or "costs more") for option in ranked if option is not best)
        self.decisions.append(Decision(layer, best.name, because, best.monthly_usd, rejected))
        return best.value


def design(objectives: Objectives, prices: PriceBook) -> Design:
    """The cheapest platform that meets every objective.

    Raises:
        UsageError: No option meets the objectives of a layer, or the whole costs more than the budget;
            the message names the objectives in conflict and what would work.
    """
    chooser = _Chooser()
    zones = _zones(objectives, chooser)
    result = Design(
        zones=zones,
        streaming=_streaming(objectives.events, zones, prices, chooser),
        database=_database(objectives, prices, chooser),
        serving={name: _serving(name, model, objectives, prices, chooser) for name, model in objectives.models.items()},
        key_deletion_days=30 if objectives.production else 7,
        log_retention_days=_log_retention(objectives),
        audit_retention_days=_audit_retention(objectives),
        point_in_time_recovery=bool(objectives.compliance) or objectives.production,
        approvals=("data-science", "operations"),
        decisions=(),
    )
    chooser.decisions.append(_fixed_costs(objectives, prices))
    result = Design(**{**vars(result), "decisions": tuple(chooser.decisions)})
    if result.monthly_usd > objectives.budget.monthly_usd:
        dearest = max(result.decisions, key=lambda decision: decision.monthly_usd)
        raise UsageError(
            f"the cheapest platform that meets the objectives costs {result.monthly_usd:,.0f} USD a month; {objectives.budget.monthly_usd:,.0f} USD is allowed",
            where="groundplan:objectives.budget.monthly_usd",
            fix=f"allow at least {math.ceil(result.monthly_usd)} USD, or relax what costs most: {dearest.layer} "
            f"({dearest.chosen}, {dearest.monthly_usd:,.0f} USD, because of {', '.join(dearest.because)})",
        )
    return result


def _zones(objectives: Objectives, chooser: _Chooser) -> int:
    # MSK asks for two zones even where one would do: https://docs.aws.amazon.com/msk/latest/developerguide/msk-create-cluster.html
    zones = 2 if objectives.availability is Availability.ONE_ZONE else 3
    chooser.decisions.append(Decision("network", f"private subnets in {zones} zones", (f"availability: {objectives.availability}",), 0.0))
    return zones


def _streaming(events: Events, zones: int, prices: PriceBook, chooser: _Chooser) -> StreamingDesign:
    because = (f"events.per_second: {events.per_second:g}", f"events.retention_days: {events.retention_days}")
    if events.per_second == 0:
        chooser.decisions.append(Decision("streaming", "none", because, 0.0))
        return StreamingDesign(kind="none")
    monthly_gb = events.per_second * MEAN_EVENT_KB * 86_400 * 30 / 1e6
    stored_gb = monthly_gb / 30 * events.retention_days
    partitions = max(2, math.ceil(events.per_second / 5_000))
    options: list[_Option[StreamingDesign]] = [
        _Option(
            "MSK Serverless",
            prices.hourly("msk", "serverless-cluster")
            + prices.hourly("msk", "serverless-partition", partitions)
            + prices.per_unit("msk", "serverless-in", monthly_gb)
            + prices.per_unit("msk", "serverless-out", 2 * monthly_gb)
            + prices.per_unit("msk", "serverless-storage", stored_gb),
            StreamingDesign("serverless", partitions=partitions, retention_days=events.retention_days),
            # Quota: 200 MB/s in (https://docs.aws.amazon.com/msk/latest/developerguide/limits.html).
            obstacle="more than 200 MB/s" if events.per_second * MEAN_EVENT_KB > 200_000 else "",
        )
    ]
    # Sustained ingress a broker takes with replication, MB/s (MSK best practices).
    for broker, mb_per_second in (("kafka.t3.small", 2.0), ("kafka.m7g.large", 15.6), ("kafka.m7g.xlarge", 31.2)):
        wanted = events.per_second * MEAN_EVENT_KB / 1000
        brokers = zones * max(1, math.ceil(wanted / (mb_per_second * zones)))
        storage_gb = max(10, math.ceil(stored_gb * zones / brokers * 1.3))
        options.append(
            _Option(
                f"MSK provisioned, {brokers} x {broker}",
                prices.hourly("msk", broker, brokers) + prices.per_unit("msk", "storage", brokers * storage_gb),
                StreamingDesign("provisioned", broker, brokers, storage_gb, partitions, events.retention_days),
                # 16,384 GiB of storage a broker and 30 brokers a cluster are MSK's own limits.
                obstacle="more storage than a broker can have" if storage_gb > 16_384 else "more than 30 brokers" if brokers > 30 else "",
            )
        )
    return chooser.choose("streaming", options, because)


def _database(objectives: Objectives, prices: PriceBook, chooser: _Chooser) -> DatabaseDesign:
    multi_az = objectives.availability is not Availability.ONE_ZONE
    backup_days = 35 if Regime.SOX in objectives.compliance else 7
    options = []
    for instance_class, big_enough in (("db.t4g.micro", not objectives.production), ("db.t4g.medium", True), ("db.m6g.large", True)):
        copies = 2 if multi_az else 1
        cost = prices.hourly("rds", instance_class, copies) + prices.per_unit("rds", "storage-gp3", 20 * copies)
        value = DatabaseDesign(instance_class, multi_az, storage_gb=20, backup_days=backup_days)
        options.append(_Option(instance_class, cost, value, "" if big_enough else "1 GiB of memory is too little for production"))
    return chooser.choose("tracking database", options, (f"availability: {objectives.availability}",))


def _serving(name: str, model: ModelObjectives, objectives: Objectives, prices: PriceBook, chooser: _Chooser) -> ServingDesign:
    because = (f"models.{name}.latency_ms: {model.latency_ms:g}", f"models.{name}.requests_per_second.peak: {model.requests_per_second.peak:g}")
    seconds_busy = model.requests_per_second.average * 86_400 * 30 * 0.05
    serverless_obstacle = (
        f"a cold start takes about {SERVERLESS_LATENCY_MS} ms"
        if model.latency_ms < SERVERLESS_LATENCY_MS
        else "serverless endpoints have no variants, so no canary"
    )
    options: list[_Option[ServingDesign]] = [
        _Option(
            "SageMaker serverless",
            prices.per_unit("sagemaker", "serverless-inference", 2 * seconds_busy),
            ServingDesign("serverless", "", 0, max(1, math.ceil(model.requests_per_second.peak)), 0),
            serverless_obstacle,
        )
    ]
    for instance, vcpus, gpu in (
        ("ml.c5.large", 2, False),
        ("ml.c5.xlarge", 4, False),
        ("ml.m5.large", 2, False),
        ("ml.g4dn.xlarge", 4, True),
        ("ml.g5.xlarge", 4, True),
    ):
        capacity = vcpus * REQUESTS_PER_SECOND_PER_VCPU
        floor = 1 if objectives.availability is Availability.ONE_ZONE else 2
        least = max(floor, math.ceil(model.requests_per_second.average / capacity))
        most = max(least, math.ceil(model.requests_per_second.peak / capacity)) + 1
        obstacle = (
            f"the network and the container take about {REALTIME_LATENCY_MS} ms"
            if model.latency_ms < REALTIME_LATENCY_MS
            else "no GPU"
            if model.gpu and not gpu
            else "answers no faster than a CPU here"
            if gpu and not model.gpu
            else ""
        )
        # The champion's instances and one for the challenger: both variants are always there.
        cost = prices.hourly("sagemaker", instance, least + 1)
        options.append(_Option(f"SageMaker real-time, {least} + 1 x {instance}", cost, ServingDesign("realtime", instance, least, most, 5), obstacle))
    return chooser.choose(f"serving {name}", options, because)


def _log_retention(objectives: Objectives) -> int:
    return 365 if objectives.production else 30  # CloudWatch Logs takes only fixed values; both are among them


def _audit_retention(objectives: Objectives) -> int:
    if Regime.SOX in objectives.compliance:
        return 7 * 365  # SOX section 802: seven years
    if Regime.HIPAA in objectives.compliance:
        return 6 * 365  # 45 CFR 164.316(b)(2)(i): six years
    return 365 if objectives.compliance else 90


def _fixed_costs(objectives: Objectives, prices: PriceBook) -> Decision:
    keys, secrets, alarms = 4, 1, 4 * len(objectives.models) + 1
    cost = prices.per_unit("kms", "key", keys) + prices.per_unit("secretsmanager", "secret", secrets) + prices.per_unit("cloudwatch", "alarm", alarms)
    return Decision("keys, secrets, alarms", f"{keys} keys, {secrets} secret, {alarms} alarms", ("compliance", "quality and drift of each model"), cost)
