"""Governance: keys, monitoring, audit, the scientists' workspace, recovery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.design.bill import NOTHING
from infra.design.decisions import Chooser, Obstacle, Option
from infra.design.price_book import PriceBook
from spec.objectives import Availability, Objectives, Regime
from spec.regions import REGIONS
from spec.service_levels import ON_SAGEMAKER, service_levels

DASHBOARDS = 4
KEYS, SIGNING_KEYS, SECRETS, ALARMS_PER_MODEL, ALARMS = 4, 3, 1, 4, 2
SERIES_PER_ALARM = {"availability": 4, "latency": 4}  # of a service level, on SageMaker; the others read two
LOG_GB = 10.0  # application, flow and control-plane logs, GB a month
METRIC_SAMPLES = 2_000 * 60 * 24 * 30  # 2,000 series a minute, what the recording rules and dashboards read
EVENTS_LOOKED_AT = 2_000_000  # management events a month that GuardDuty reads
CHECKS = 10_000  # Security Hub's checks a month
CHANGES = 600  # configuration items a month
DATA_EVENTS = 1_000_000  # reads and writes of the model and audit buckets a month
SCIENTIST_HOURS = 120  # a month at a notebook, the rest is idle and shut down
IDLE_MINUTES = 60
SPACES_GB = 10  # of a scientist's JupyterLab and Code Editor together, at the price of EC2's disks
BACKED_UP_GB = 40.0
STARTS_WITHIN_HOURS = 1  # the shortest window that AWS Backup takes


@dataclass(frozen=True)
class MonitoringDesign:
    """Retention in days, one of the values that CloudWatch Logs accepts."""

    log_retention_days: int


@dataclass(frozen=True)
class AuditDesign:
    """``data_events``: reads and writes of model and audit objects are also recorded. ``watch``: GuardDuty, Config,
    Security Hub.
    """

    data_events: bool
    watch: bool
    standards: tuple[str, ...]


@dataclass(frozen=True)
class WorkspaceDesign:
    """SageMaker Studio for the named scientists; without scientists, no Studio."""

    scientists: tuple[str, ...]
    idle_minutes: int


@dataclass(frozen=True)
class RecoveryDesign:
    """Backups in days, and hours between two of them; ``standby_region`` is empty where one region is enough."""

    backup_days: int
    backup_hours: int
    standby_region: str


def monitoring(
    objectives: Objectives, topologies: Mapping[str, str], prices: PriceBook, chooser: Chooser
) -> MonitoringDesign:
    """Keys, secrets, alarms, logs, metrics.

    Args:
        topologies: How each model is served.
    """
    alarms = ALARMS_PER_MODEL * len(objectives.models) + ALARMS
    levels = [
        level
        for name, model in objectives.models.items()
        for level in service_levels(model, objectives.availability, topologies[name], reads_features=True)
        if topologies[name] in ON_SAGEMAKER or level.name not in SERIES_PER_ALARM  # Prometheus has them on the cluster
    ]
    series = sum(2 * len(level.burns) * SERIES_PER_ALARM.get(level.name, 2) for level in levels)
    composites = sum(len({burn.urgency for burn in level.burns}) for level in levels)
    chooser.note(
        "keys and secrets",
        f"{KEYS + SIGNING_KEYS} keys, {SECRETS} secret",
        ("compliance",),
        (
            "one key for each class of data, so that access to a single class can be revoked; one for each role that"
            " signs versions off, and for what registers them"
        ),
        prices.per_unit("kms", "key", KEYS + SIGNING_KEYS) + prices.per_unit("secretsmanager", "secret", SECRETS),
    )
    days = 365 if objectives.production else 30  # CloudWatch Logs accepts only fixed values; both are among them
    cost = (
        prices.per_unit("cloudwatch", "alarm", alarms + series)
        + prices.per_unit("cloudwatch", "composite-alarm", composites)
        + prices.per_unit("cloudwatch", "dashboard", DASHBOARDS)
        + prices.per_unit("cloudwatch", "logs-ingest", LOG_GB)
        + prices.per_unit("cloudwatch", "logs-store", LOG_GB * days / 30)
        + prices.per_unit("amp", "samples", METRIC_SAMPLES / 1e7)
    )
    chooser.note(
        "monitoring",
        f"{alarms} alarms, {len(levels)} service levels, {DASHBOARDS} dashboards, logs for {days} days, Prometheus",
        tuple(f"models.{name}.quality, drift_share, latency_ms, service_levels" for name in objectives.models),
        "every objective has an alarm, and an error budget that is watched",
        cost,
    )
    return MonitoringDesign(days)


def audit(objectives: Objectives, prices: PriceBook, chooser: Chooser) -> AuditDesign:
    """The trail of who did what, and who monitors the account."""
    regimes = objectives.compliance
    strict = bool(regimes) or objectives.production
    data = prices.per_unit("cloudtrail", "data-events", DATA_EVENTS / 100_000)
    watch = (
        prices.per_unit("guardduty", "management-events", EVENTS_LOOKED_AT / 1e6)
        + prices.per_unit("securityhub", "checks", CHECKS / 1000)
        + prices.per_unit("config", "item", CHANGES)
    )
    asked = (Obstacle("reads of personal or financial data must be on record", "compliance", "[]"),) if strict else ()
    unwatched = (Obstacle("the account must be monitored for threats", "compliance", "[]"),) if strict else ()
    watched = strict and objectives.owns_account
    options = [
        Option("CloudTrail, management events", NOTHING, AuditDesign(False, False, ()), asked + unwatched),
        Option(
            "CloudTrail with data events, GuardDuty, Config, Security Hub",
            data + watch,
            AuditDesign(True, True, _standards(objectives)),
            () if not strict or watched else (Obstacle("another stack owns this account", "owns_account", True),),
        ),
        Option(
            "CloudTrail with data events; another stack monitors the account",
            data,
            AuditDesign(True, False, ()),
            () if not watched else (*unwatched,),
        ),
    ]
    forced = (
        f"compliance: [{', '.join(regimes)}]",
        f"environment: {objectives.environment}",
        f"owns_account: {str(objectives.owns_account).lower()}",
    )
    return chooser.choose("audit", options, forced, "auditors can see who read or changed a model, or the log itself")


def _standards(objectives: Objectives) -> tuple[str, ...]:
    found = [
        "standards/aws-foundational-security-best-practices/v/1.0.0",
        "standards/cis-aws-foundations-benchmark/v/3.0.0",
    ]
    if {Regime.HIPAA, Regime.SOX, Regime.SOC2} & set(objectives.compliance):
        found.append("standards/nist-800-53/v/5.0.0")
    return tuple(found)


def workspace(objectives: Objectives, prices: PriceBook, chooser: Chooser) -> WorkspaceDesign:
    """Where the scientists work."""
    people = objectives.research.scientists
    disks = prices.per_unit("ec2", "ebs-gp3", SPACES_GB * len(people))
    cost = disks + prices.per_unit("sagemaker", "ml.t3.medium", len(people) * SCIENTIST_HOURS)
    always = disks + len(people) * prices.hourly("sagemaker", "ml.t3.medium")
    forced = (f"research.scientists: {len(people)}",)
    if not people:
        chooser.note("workspace", "none", forced, "no scientists are named", NOTHING)
        return WorkspaceDesign((), IDLE_MINUTES)
    # Ties are broken by name; the option that shuts down is never more expensive.
    return chooser.choose(
        "workspace",
        [
            Option(
                f"SageMaker Studio, {len(people)} people, shut down after {IDLE_MINUTES} idle minutes",
                cost,
                WorkspaceDesign(people, IDLE_MINUTES),
            ),
            Option("the same, never shut down", always, WorkspaceDesign(people, 0)),
        ],
        forced,
        f"{SCIENTIST_HOURS} hours of work a month each; everyone has their own role",
    )


def deployment(objectives: Objectives, chooser: Chooser) -> None:
    """Where deployments run. A runner's minutes are paid as they are used, a few cents per job; they are not in the
    estimate.
    """
    source = objectives.deploys_from
    if source is None:
        chosen, forced, why = (
            "from wherever `pulumi up` is run",
            "deploys_from: none",
            "the cluster's API is reachable only from inside the network",
        )
    else:
        chosen, forced = (
            f"a runner inside the network for {source.repository}",
            f"deploys_from.repository: {source.repository}",
        )
        why = "started for each job of its workflows and removed after it; the job brings its own permissions"
    chooser.note("deployment", chosen, (forced,), why, NOTHING)


def recovery(objectives: Objectives, region: str, prices: PriceBook, chooser: Chooser) -> RecoveryDesign:
    """Backups, and a standby region on request."""
    days = 35 if Regime.SOX in objectives.compliance or objectives.production else 7
    standby = REGIONS[region].standby if objectives.availability is Availability.TWO_REGIONS else ""
    hours = objectives.recovery.rpo_hours - STARTS_WITHIN_HOURS
    storage = prices.per_unit("backup", "storage", BACKED_UP_GB)
    copies = (
        storage + prices.per_unit("s3", "standard", BACKED_UP_GB) + prices.per_unit("kms", "key", 1)
        if standby
        else NOTHING
    )
    chooser.note(
        "recovery",
        f"a backup at least every {hours} hours, kept for {days} days{f', copied to {standby}' if standby else ''}",
        (
            f"recovery.rpo_hours: {objectives.recovery.rpo_hours}",
            f"availability: {objectives.availability}",
            f"residency: {objectives.residency}",
        ),
        (
            f"data is available in {standby}; the program builds the rest there"
            if standby
            else "database, tables, models and audit log can be restored; AWS starts a backup within an hour"
        ),
        storage + copies,
    )
    return RecoveryDesign(days, hours, standby)
