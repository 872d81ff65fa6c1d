"""The objectives themselves: allowed fields, their ranges, and what each decides."""

from __future__ import annotations

import difflib
import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from spec.regions import ANYWHERE, JURISDICTIONS

Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
# SageMaker endpoint names and Kubernetes object names both allow this form (RFC 1123 label).
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$")]


class Objective(BaseModel):
    """Base of every objective: immutable, and unknown keys are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Regime(StrEnum):
    """Laws and audit standards that the platform can be checked against."""

    GDPR = "gdpr"
    HIPAA = "hipaa"
    SOX = "sox"
    SOC2 = "soc2"


class Availability(StrEnum):
    """What may fail without the platform failing."""

    ONE_ZONE = "one-zone"
    MULTI_ZONE = "multi-zone"
    TWO_REGIONS = "two-regions"


class Stakeholders(Objective):
    """Who is notified of what: addresses for alerts and sign-off requests."""

    product: Email = Field(description="E-mail address notified of quality and drift.")
    operations: Email = Field(
        description="E-mail address notified of every alarm, and of batches that the quality gate stops."
    )
    legal: Email = Field(description="E-mail address notified of quality, drift, and personal data in quarantine.")
    finance: Email = Field(description="E-mail address notified of budgets and anomalies of cost.")


class Target(StrEnum):
    """Where a model is served."""

    CLOUD = "cloud"
    EDGE = "edge"


class FeatureStore(StrEnum):
    """Which feature store has the features that models read online."""

    FEAST = "feast"
    SAGEMAKER = "sagemaker"


class Events(Objective):
    """The event stream. ``per_second`` 0 means that there is none; ``retention_days`` is how long the lake keeps
    events.
    """

    per_second: float = Field(
        ge=0,
        le=1_000_000,
        description=(
            "Events per second that arrive, on average; 0 for none. Decides whether there is MSK, its size, and the"
            " stream's alarms."
        ),
    )
    retention_days: int = Field(
        ge=1,
        le=3650,
        description=(
            "Days that the lake keeps raw events. Decides retention and storage classes of the raw and curated zones."
        ),
    )


class Budget(Objective):
    """Maximum monthly spend of the environment, in USD, and the percentages of it that alert."""

    monthly_usd: float = Field(
        gt=0,
        description=(
            "USD a month that the environment may cost. Decides whether the design is feasible, and AWS Budgets' limit."
        ),
    )
    # AWS allows five notifications per budget; one of them is the forecast's.
    alert_percent: Annotated[tuple[Annotated[int, Field(gt=0, le=200)], ...], Field(min_length=1, max_length=4)] = (
        Field(
            default=(50, 80, 100),
            description="Percent of the budget at which finance and the owner are notified, at most four.",
        )
    )
    # Budgets and cost reports by tag need the tags activated, which AWS refuses before they appear in a bill: about a
    # day after the first deployment.
    activate_tags: bool = Field(
        default=False,
        description=(
            "Whether cost tags are activated, which AWS takes about a day after the first deployment. Budgets of"
            " single models count nothing until then."
        ),
    )


class Research(Objective):
    """People who experiment on the platform, and how many hours of one GPU they will need a month in total.

    The hours size the GPU pool and are part of the price; like an endpoint's requests they are an estimate, not a
    limit. Unplanned spending is stopped by the pool's limit of concurrent GPUs, and by the budget's alerts.
    """

    scientists: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")], ...] = Field(
        default=(),
        description="Names of the people who experiment. Decides SageMaker Studio: a profile and a role for each.",
    )
    gpu_hours_per_month: float = Field(
        default=0,
        ge=0,
        le=100_000,
        description=(
            "Hours of one GPU that they need a month in total. Decides the limit of the GPU pool, and its part of"
            " the price."
        ),
    )

    @field_validator("scientists")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"named twice: {', '.join(twice)}")
        return names


def _known_time_zone(name: str) -> str:
    from zoneinfo import available_timezones

    if name not in available_timezones():
        near = difflib.get_close_matches(name, available_timezones(), n=1)
        fix = f"did you mean {near[0]}?" if near else "for example Europe/Berlin"
        raise ValueError(f"no such time zone in the IANA database; {fix}")
    return name


TimeZone = Annotated[str, AfterValidator(_known_time_zone)]


class OfficeHours(Objective):
    """When the environment is used, Monday to Friday; outside these hours compute is switched off. Hours of the day,
    local time.
    """

    start: int = Field(
        ge=0, le=23, description="Hour of the day, local time, from which the environment is used, Monday to Friday."
    )
    end: int = Field(
        ge=1,
        le=24,
        description="Hour of the day at which it is switched off. Decides the schedules of nodes and database.",
    )
    timezone: TimeZone = Field(description="Time zone of these hours, a name from the IANA database.")

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> OfficeHours:
        if self.end <= self.start:
            raise ValueError(f"end {self.end} is not after start {self.start}")
        return self

    @property
    def share(self) -> float:
        """These hours as a share of the week, 0 to 1."""
        return 5 * (self.end - self.start) / (7 * 24)


class OffPeak(Objective):
    """The hours of each day in which little is asked of the platform, local time; they may begin before midnight."""

    start: int = Field(ge=0, le=23, description="Hour of the day, local time, at which little is asked from then on.")
    end: int = Field(ge=0, le=23, description="Hour of the day at which demand rises again.")
    timezone: TimeZone = Field(description="Time zone of these hours, a name from the IANA database.")

    @model_validator(mode="after")
    def _has_an_hour(self) -> OffPeak:
        if self.start == self.end:
            raise ValueError(f"start and end are both {self.start}; there must be at least an hour between them")
        return self


class Value(Objective):
    """What the model is worth.

    One unit of improvement of ``kpi`` (an error falling by one ``unit``, or a score rising by one) is worth
    ``usd_per_unit`` for each prediction. ``correct_warnings`` is the share of predictions that are correct warnings.
    """

    kpi: Literal["mae", "rmse", "accuracy", "balanced_accuracy", "roc_auc", "correct_warnings"] = Field(
        description=(
            "The metric by which the model's worth is counted. `correct_warnings` is the share of predictions that"
            " are correct warnings."
        )
    )
    unit: str = Field(min_length=1, description="The name of its unit, for the reports.")
    usd_per_unit: float = Field(
        ge=0,
        description=(
            "USD that one unit of improvement over the baseline is worth, for each prediction. Decides the worth that"
            " evaluation reports."
        ),
    )
    predictions_per_month: int = Field(
        gt=0, description="Predictions a month. Decides the worth a month that evaluation reports."
    )
    least_lift: float = Field(
        default=0,
        description=(
            "Improvement of the KPI over the naive baseline, in its units, below which no version is registered."
        ),
    )


class Rate(Objective):
    """Requests per second that an endpoint must answer."""

    average: float = Field(
        gt=0, description="Requests per second, on average. Decides the smallest number of instances."
    )
    peak: float = Field(gt=0, description="Requests per second at peak. Decides the largest number of instances.")

    @model_validator(mode="after")
    def _peak_is_highest(self) -> Rate:
        if self.peak < self.average:
            raise ValueError(f"peak {self.peak:g} is below average {self.average:g}; peak must be at least the average")
        return self


class Retraining(Objective):
    """How often the model is retrained, and within how many minutes."""

    every_hours: float = Field(gt=0, description="Hours between two trainings. Decides the schedule.")
    within_minutes: float = Field(
        gt=0,
        description=(
            "Minutes within which a training must finish. Decides between a SageMaker Pipeline, jobs on the cluster and"
            " a function."
        ),
    )
    run_minutes: float | None = Field(
        default=None,
        gt=0,
        description=(
            "Minutes that a run takes until people must agree, as `groundplan measure` measures it. Decides whether a"
            " function (AWS Lambda) can train."
        ),
    )
    run_gb: float | None = Field(
        default=None,
        gt=0,
        description="Gigabytes of memory that it needs, as measured. Decides the function's memory.",
    )

    @model_validator(mode="after")
    def _measured_together(self) -> Retraining:
        if (self.run_minutes is None) != (self.run_gb is None):
            raise ValueError("run_minutes and run_gb are measured together; give both or neither")
        return self


# For every metric that objectives can name.
HIGHER_IS_BETTER = {
    "mae": False,
    "rmse": False,
    "accuracy": True,
    "balanced_accuracy": True,
    "roc_auc": True,
    "correct_warnings": True,
}


class Quality(Objective):
    """The worst value of ``metric`` that may be served. Errors (mae, rmse) must stay below, scores above it."""

    metric: Literal["mae", "rmse", "accuracy", "balanced_accuracy"] = Field(
        description="The metric that decides whether a model may be served."
    )
    worst: float = Field(
        description=(
            "The worst value that may be served: an error must stay below it, a score above it. Decides evaluation's"
            " gate"
            " and the quality alarm."
        )
    )

    may_lose: float = Field(
        default=0,
        ge=0,
        le=0.5,
        description=(
            "Share, 0 to 0.5, by which this metric and the value's may be worse for a smaller and faster model. Decides"
            " whether trees are left out and weights rounded; with 0, only what answers the same is served."
        ),
    )

    @property
    def is_score(self) -> bool:
        """Whether higher is better, up to 1."""
        return HIGHER_IS_BETTER[self.metric]

    def allows(self, value: float) -> bool:
        """Whether a value of its metric may be served; one that is not a number may not."""
        return value >= self.worst if self.is_score else value <= self.worst


class Canary(Objective):
    """What a new version must have seen before it gets all of the traffic, beside the pipeline's own requests."""

    requests: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description=(
            "Requests of users that must have reached a new version before it gets all of them; 0 if those that the"
            " pipeline sends itself are enough."
        ),
    )
    wait_minutes: float = Field(
        default=60,
        gt=0,
        le=720,
        description=(
            "Minutes that a canary may wait for these requests, at most half a day. Then the version before stays,"
            " and a person decides."
        ),
    )
    shadow: bool = Field(
        default=False,
        description=(
            "Whether a new version gets copies of requests first, so that no user gets an answer of it before its"
            " errors and its quality are known."
        ),
    )


class Levels(Objective):
    """What share of requests, trainings and days must be good, over 30 days; the rest is the error budget."""

    available: float | None = Field(
        default=None,
        gt=0.5,
        le=0.99999,
        description=(
            "Share of the requests that must be answered without an error of the server; without it, 0.995 in one zone,"
            " 0.999 in several, 0.9995 in two regions. Decides the alarms on its error budget."
        ),
    )
    trainings: float = Field(
        default=0.9,
        gt=0.5,
        le=0.99999,
        description="Share of the trainings that must succeed. Decides the alarms on its error budget.",
    )
    days: float = Field(
        default=0.9,
        gt=0.5,
        le=0.99999,
        description=(
            "Share of the days on which quality must be as promised, features fresh, and predictions worth more than"
            " they cost. Decides the alarms on their error budgets."
        ),
    )


class ModelObjectives(Objective):
    """Objectives of one model."""

    value: Value = Field(description="What the model is worth.")
    latency_ms: float = Field(
        gt=0,
        description=(
            "Milliseconds within which 95 % of the answers must arrive. Decides how it is served, the canary's limit"
            " and the"
            " alarm."
        ),
    )
    service_ms: float | None = Field(
        default=None,
        gt=0,
        description=(
            "Milliseconds that one CPU needs for a request, as `groundplan loadtest` measures it. Decides how many"
            " instances are planned, and at which load another is started; without it, 10 are assumed."
        ),
    )
    requests_per_second: Rate = Field(description="The rate of requests to it.")
    feature_cache_seconds: float = Field(
        default=0,
        ge=0,
        le=86_400,
        description=(
            "Seconds for which a server may use features that it has read from the online store, at most the view's"
            " ttl_days; 0 for none. Decides whether requests by key read the store each time."
        ),
    )
    retraining: Retraining = Field(description="How often it is retrained, and how fast.")
    quality: Quality = Field(description="The worst quality that may be served.")
    drift_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of the columns, 0 to 1, that may have drifted before the drift alarm.",
    )
    traced: float = Field(
        default=0,
        ge=0,
        le=1,
        description=(
            "Share of the requests, 0 to 1, whose spans are sent to X-Ray, beside those that their callers sample; 0"
            " for none. Decides whether servers send spans, and who may."
        ),
    )
    most_bias: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description=(
            "Largest difference, 0 to 1, that may be between a group's share of favourable predictions and all others'"
            " (Clarify's DPPL); without it, bias is shown and alarms nobody. Decides the bias alarm."
        ),
    )
    service_levels: Levels = Field(
        default=Levels(),
        description="How often it must be as promised. Decides service levels and their error budgets.",
    )
    canary: Canary = Field(default=Canary(), description="What a new version must have seen before it is promoted.")
    explanations: bool = Field(
        default=True,
        description=(
            "Whether it explains its predictions. Decides which ways of serving are possible, and the explainer on the"
            " cluster."
        ),
    )
    gpu: bool = Field(default=False, description="Whether it needs a GPU. Decides Triton on the cluster's GPU pool.")
    target: Target = Field(default=Target.CLOUD, description="Where it runs.")

    @model_validator(mode="after")
    def _quality_can_be_met(self) -> ModelObjectives:
        if self.quality.is_score and not 0 <= self.quality.worst <= 1:
            raise ValueError(f"quality.worst is {self.quality.worst:g}; {self.quality.metric} must be between 0 and 1")
        if not self.quality.is_score and self.quality.worst <= 0:
            raise ValueError(
                f"quality.worst is {self.quality.worst:g}; {self.quality.metric} is an error and must be above 0"
            )
        return self


def _in_the_form(pattern: str, says: str) -> AfterValidator:
    """A text of this form; errors are described in words, not by the pattern."""

    def hold(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(says)
        return value

    return AfterValidator(hold)


class DeploysFrom(Objective):
    """The repository whose workflows deploy this environment, from inside its network.

    ``connection`` is the ARN of the account's connection to GitHub, which must be confirmed once in the console
    (https://docs.aws.amazon.com/dtconsole/latest/userguide/connections-create-github.html).
    """

    repository: Annotated[
        str,
        _in_the_form(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}", "must be OWNER/NAME, as on GitHub"),
    ] = Field(description="OWNER/NAME on GitHub.")
    connection: Annotated[
        str,
        _in_the_form(
            r"arn:aws:(codeconnections|codestar-connections):[a-z0-9-]+:\d{12}:connection/[0-9a-f-]{36}",
            "must be a connection's ARN, arn:aws:codeconnections:REGION:ACCOUNT:connection/ID",
        ),
    ] = Field(description="ARN of the account's connection to GitHub. Decides the CodeBuild runner inside the network.")


_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL})*"
_PORT = r":([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"


class Recovery(Objective):
    """What a disaster may cost: the recovery point and recovery time objectives (RPO, RTO) of ISO 22301 and NIST SP
    800-34.
    """

    rpo_hours: int = Field(
        default=24,
        ge=2,
        le=168,
        description=(
            "Hours of which the data may be lost at most. Decides how often databases, tables, models and the audit"
            " log are backed up."
        ),
    )
    rto_hours: int = Field(
        default=8,
        ge=1,
        le=168,
        description="Hours after which models must be served again. `groundplan restore` measures it.",
    )


class FrontEnd(Objective):
    """The web page that calls models from people's browsers, after they have signed in."""

    origin: Annotated[
        str,
        _in_the_form(
            rf"https://{_HOST}(?!:443$)({_PORT})?|http://localhost(?!:80$)({_PORT})?",
            "must be a page's origin as browsers send it: https://HOST or http://localhost:PORT, in lower case, without"
            " a path, and with a port only if it is not the usual one",
        ),
    ] = Field(
        description=(
            "Origin of the page, such as https://app.example.com. Decides which page browsers let call, and where the"
            " sign-in leads back to."
        )
    )
    models: Annotated[tuple[ModelName, ...], Field(min_length=1)] = Field(
        description="Models that it calls. Decides the interface's paths, and its limits by their peak rates."
    )
    cache_seconds: int = Field(
        default=0,
        ge=0,
        le=3600,
        description=(
            "Seconds for which an answer by key may be given again, at most an hour; 0 for none. Decides whether"
            " there is a cache."
        ),
    )


class Objectives(Objective):
    """Everything the business wants from one environment."""

    environment: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,15}$")] = Field(
        description="Name of the environment. If it begins with `prod`, it is production: protected, always on."
    )
    owner: Email = Field(description="Who is responsible for the environment; in every resource's tags.")
    stakeholders: Stakeholders = Field(description="Who is notified of what. Decides the alert topics.")
    compliance: tuple[Regime, ...] = Field(
        default=(),
        description="Laws and audit standards. Decides mandatory policies, locks and retention, what is audited.",
    )
    residency: str = Field(
        default=ANYWHERE,
        description=(
            "The jurisdiction that data must not leave: `eu`, or a country's ISO code. Decides which regions are"
            " allowed."
        ),
    )
    availability: Availability = Field(
        default=Availability.ONE_ZONE,
        description=(
            "What may fail without the platform failing. Decides zones, NAT gateways, the database's standby, the"
            " second region."
        ),
    )
    office_hours: OfficeHours | None = Field(
        default=None, description="When it is used; outside these hours, compute is switched off."
    )
    off_peak: OffPeak | None = Field(
        default=None,
        description="When little is asked of it. Decides when models that may answer a day later are run.",
    )
    owns_account: bool = Field(
        default=True,
        description=(
            "Whether this stack creates what an AWS account can have only once. Decides GuardDuty, Config, Security"
            " Hub, cost tags, and API Gateway's role for logs in the region."
        ),
    )
    deploys_from: DeploysFrom | None = Field(
        default=None, description="The repository whose workflows deploy it, from inside its network."
    )
    recovery: Recovery = Field(default=Recovery(), description="What a disaster may cost.")
    witness_account: Annotated[str, _in_the_form(r"\d{12}", "must be an AWS account's id, 12 digits")] | None = Field(
        default=None,
        description=(
            "AWS account whose witness countersigns the audit log (`groundplan audit witness`). Decides who else may"
            " read the log's hashes; its records stay closed to it."
        ),
    )
    lineage_url: (
        Annotated[
            str,
            _in_the_form(
                rf"https?://{_HOST}({_PORT})?(/[\w./~%-]*)?", "must be an address: https://HOST[:PORT][/PATH]"
            ),
        ]
        | None
    ) = Field(
        default=None,
        description=(
            "Address of an OpenLineage endpoint, such as Marquez or DataHub. Decides where lineage is sent, beside the"
            " lake."
        ),
    )
    events: Events = Field(description="The event stream.")
    budget: Budget = Field(description="What it may cost.")
    research: Research = Field(default=Research(), description="People who experiment.")
    front_end: FrontEnd | None = Field(
        default=None,
        description=(
            "The web page that calls models. Decides the interface before the endpoints, its sign-in and its firewall."
        ),
    )
    feature_store: FeatureStore = Field(
        default=FeatureStore.FEAST, description="Where the features are that models read online."
    )
    untrusted_models: bool = Field(
        default=False,
        description="Whether a model is served that can only be stored as a pickle, in an isolated process.",
    )
    models: dict[ModelName, ModelObjectives] = Field(
        description=(
            "The models by name; ``{}`` before there is one. Each gets its own data, endpoint, alarms, retraining and"
            " budget."
        )
    )

    @field_validator("residency")
    @classmethod
    def _jurisdiction_is_known(cls, value: str) -> str:
        if value not in (ANYWHERE, *JURISDICTIONS):
            raise ValueError(f"must be {ANYWHERE}, or one of: {', '.join(JURISDICTIONS)}")
        return value

    @field_validator("compliance")
    @classmethod
    def _each_regime_once(cls, regimes: tuple[Regime, ...]) -> tuple[Regime, ...]:
        if len(set(regimes)) < len(regimes):
            raise ValueError("a regime is named twice")
        return regimes

    @model_validator(mode="after")
    def _production_never_sleeps(self) -> Objectives:
        if self.production and self.office_hours is not None:
            raise ValueError("office_hours switch the platform off at night; a production environment can't have them")
        return self

    @model_validator(mode="after")
    def _lineage_is_encrypted(self) -> Objectives:
        if self.production and self.lineage_url and not self.lineage_url.startswith("https:"):
            raise ValueError(f"lineage_url is {self.lineage_url}; in production, it must be sent encrypted (https)")
        return self

    @model_validator(mode="after")
    def _front_end_can_be_met(self) -> Objectives:
        if self.front_end is None:
            return self
        if twice := sorted({name for name in self.front_end.models if self.front_end.models.count(name) > 1}):
            raise ValueError(f"front_end.models names {', '.join(twice)} twice")
        if unknown := [name for name in self.front_end.models if name not in self.models]:
            raise ValueError(f"front_end.models names {', '.join(unknown)}, which is none of `models`")
        if self.production and not self.front_end.origin.startswith("https:"):
            raise ValueError(
                f"front_end.origin is {self.front_end.origin}; in production, it must be a page that is sent encrypted"
            )
        return self

    @property
    def front_end_models(self) -> tuple[str, ...]:
        """Models that the web page calls."""
        return self.front_end.models if self.front_end else ()

    @property
    def production(self) -> bool:
        """Whether losing this environment's data would do harm: its stores are then protected."""
        return self.environment.startswith("prod")


class StackConfig(Objective):
    """One stack file: the stack's account and region, and its objectives."""

    region: str
    account_id: Annotated[str, StringConstraints(pattern=r"^\d{12}$")]
    objectives: Objectives
