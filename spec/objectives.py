"""Business objectives of one environment, read from the stack's structured configuration.

The stack file holds them under ``groundplan:objectives``; nothing else decides what the platform looks like.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from spec.errors import UsageError
from spec.regions import ANYWHERE, JURISDICTIONS, REGIONS, regions_of

Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
# SageMaker endpoint names and Kubernetes object names both allow this form (RFC 1123 label).
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$")]


class Objective(BaseModel):
    """Base of every objective: immutable, and no unknown key passes silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Regime(StrEnum):
    """Laws and audit standards the platform can be held to."""

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
    """Who is told what: addresses for alerts and sign-off requests."""

    product: Email
    operations: Email
    legal: Email
    finance: Email


class Target(StrEnum):
    """Where a model answers."""

    CLOUD = "cloud"
    EDGE = "edge"


class FeatureStore(StrEnum):
    """Which feature store holds what models read online."""

    FEAST = "feast"
    SAGEMAKER = "sagemaker"


class Events(Objective):
    """The event stream. ``per_second`` 0 means that there is none; ``retention_days`` is how long the lake keeps events."""

    per_second: float = Field(ge=0, le=1_000_000)
    retention_days: int = Field(ge=1, le=3650)


class Budget(Objective):
    """Monthly spend the environment may reach, in USD, and the shares of it (percent) that alert."""

    monthly_usd: float = Field(gt=0)
    # AWS takes five notifications a budget; one of them is the forecast's.
    alert_percent: Annotated[tuple[Annotated[int, Field(gt=0, le=200)], ...], Field(min_length=1, max_length=4)] = (50, 80, 100)
    # Budgets and cost reports by tag need the tags activated, which AWS refuses before a bill has seen them: about a day after
    # the first deployment.
    activate_tags: bool = False


class Research(Objective):
    """People who experiment on the platform, and how many hours of one GPU they will need a month, all together.

    The hours size the GPU pool and are part of the price; like an endpoint's requests they are expected, not allowed. What stops
    a spending that nobody planned is the pool's limit of GPUs at a time, and the budget's alerts.
    """

    scientists: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")], ...] = ()
    gpu_hours_per_month: float = Field(default=0, ge=0, le=100_000)

    @field_validator("scientists")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"named twice: {', '.join(twice)}")
        return names


class OfficeHours(Objective):
    """When the environment is used, Monday to Friday; outside of it compute is switched off. Hours of the day, local time."""

    start: int = Field(ge=0, le=23)
    end: int = Field(ge=1, le=24)
    timezone: str

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, name: str) -> str:
        from zoneinfo import available_timezones

        if name not in available_timezones():
            near = difflib.get_close_matches(name, available_timezones(), n=1)
            raise ValueError(f"no such time zone in the IANA database; {f'did you mean {near[0]}?' if near else 'for example Europe/Berlin'}")
        return name

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> OfficeHours:
        if self.end <= self.start:
            raise ValueError(f"end {self.end} is not after start {self.start}")
        return self

    @property
    def share(self) -> float:
        """Share of a week that these hours are, 0 to 1."""
        return 5 * (self.end - self.start) / (7 * 24)


class Value(Objective):
    """What the model is worth.

    One unit of improvement of ``kpi`` (an error falling by one ``unit``, or a score rising by one) is worth
    ``usd_per_unit`` for each prediction. ``correct_warnings`` is the share of predictions that warn, and rightly so.
    """

    kpi: Literal["mae", "rmse", "accuracy", "balanced_accuracy", "roc_auc", "correct_warnings"]
    unit: str = Field(min_length=1)
    usd_per_unit: float = Field(ge=0)
    predictions_per_month: int = Field(gt=0)


class Rate(Objective):
    """Requests per second an endpoint must answer."""

    average: float = Field(gt=0)
    peak: float = Field(gt=0)

    @model_validator(mode="after")
    def _peak_is_highest(self) -> Rate:
        if self.peak < self.average:
            raise ValueError(f"peak {self.peak:g} is below average {self.average:g}; peak must be at least the average")
        return self


class Retraining(Objective):
    """How often the model is trained anew, and in how many minutes it must be done."""

    every_hours: float = Field(gt=0)
    within_minutes: float = Field(gt=0)


# Of every metric that objectives can name.
HIGHER_IS_BETTER = {"mae": False, "rmse": False, "accuracy": True, "balanced_accuracy": True, "roc_auc": True, "correct_warnings": True}


class Quality(Objective):
    """The worst value of ``metric`` that may be served. Errors (mae, rmse) must stay below, scores above it."""

    metric: Literal["mae", "rmse", "accuracy", "balanced_accuracy"]
    worst: float

    @property
    def is_score(self) -> bool:
        """Whether higher is better, up to 1."""
        return HIGHER_IS_BETTER[self.metric]


class ModelObjectives(Objective):
    """Objectives of one model."""

    value: Value
    latency_ms: float = Field(gt=0)
    requests_per_second: Rate
    retraining: Retraining
    quality: Quality
    drift_share: float = Field(default=0.5, gt=0, le=1)
    explanations: bool = True
    gpu: bool = False
    target: Target = Target.CLOUD

    @model_validator(mode="after")
    def _quality_can_be_met(self) -> ModelObjectives:
        if self.quality.is_score and not 0 <= self.quality.worst <= 1:
            raise ValueError(f"quality.worst {self.quality.worst:g} is no accuracy; it lies between 0 and 1")
        if not self.quality.is_score and self.quality.worst <= 0:
            raise ValueError(f"quality.worst {self.quality.worst:g} can't be met; an error ({self.quality.metric}) is above 0")
        return self


def _in_the_form(pattern: str, says: str) -> AfterValidator:
    """A text of this form; what is not is told in words, not by the pattern."""

    def hold(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(says)
        return value

    return AfterValidator(hold)


class DeploysFrom(Objective):
    """The repository whose workflows deploy this environment, from inside of its network.

    ``connection`` is the ARN of the account's connection to GitHub, which somebody must confirm in the console once
    (https://docs.aws.amazon.com/dtconsole/latest/userguide/connections-create-github.html).
    """

    repository: Annotated[str, _in_the_form(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}", "must be OWNER/NAME, as GitHub has it")]
    connection: Annotated[
        str,
        _in_the_form(
            r"arn:aws:(codeconnections|codestar-connections):[a-z0-9-]+:\d{12}:connection/[0-9a-f-]{36}",
            "must be a connection's ARN, arn:aws:codeconnections:REGION:ACCOUNT:connection/ID",
        ),
    ]


class Objectives(Objective):
    """Everything the business wants of one environment."""

    environment: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,15}$")]
    owner: Email
    stakeholders: Stakeholders
    compliance: tuple[Regime, ...] = ()  # none: []
    residency: str = ANYWHERE  # the jurisdiction that data must not leave: eu, or a country's ISO code
    availability: Availability = Availability.ONE_ZONE
    office_hours: OfficeHours | None = None
    owns_account: bool = True  # whether this stack makes what an AWS account can have only once (GuardDuty, Config, Security Hub)
    deploys_from: DeploysFrom | None = None
    events: Events
    budget: Budget
    research: Research = Research()
    feature_store: FeatureStore = FeatureStore.FEAST
    untrusted_models: bool = False  # whether a model is served that can only be stored as a pickle, in a process that is closed in
    models: dict[ModelName, ModelObjectives] = Field(min_length=1)

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

    @property
    def production(self) -> bool:
        """Whether losing this environment's data would hurt: its stores are then protected."""
        return self.environment.startswith("prod")


class StackConfig(Objective):
    """One stack file: where the stack lives and what is wanted of it."""

    region: str
    account_id: Annotated[str, StringConstraints(pattern=r"^\d{12}$")]
    objectives: Objectives


@dataclass(frozen=True)
class Planned:
    """What can be written down, is designed and built, and does not keep its promise yet.

    Args:
        path: Below ``groundplan:objectives``; ``*`` stands for every model.
        why: What is there, and what is not.
        instead: What to write today.
    """

    path: tuple[str, ...]
    value: str | bool
    why: str
    instead: str


PLANNED = (
    Planned(
        ("availability",), Availability.TWO_REGIONS.value,
        "two-regions is planned: keys, data and tables are copied to the second region, and nothing serves from there yet", "multi-zone",
    ),
    Planned(
        ("feature_store",), FeatureStore.SAGEMAKER.value,
        "sagemaker is planned: Feature Groups are created, and no pipeline step or server reads them yet", "feast",
    ),
    Planned(
        ("models", "*", "gpu"), True,
        "gpu is planned: Triton serves the model from the cluster, and nothing captures what it is asked, so quality and drift are not watched yet", "false",
    ),
    Planned(
        ("models", "*", "target"), Target.EDGE.value,
        "edge is planned: devices may fetch the published model, and nothing tells what it is asked there, so quality and drift are not watched yet",
        "cloud",
    ),
)  # fmt: skip


def _planned_in(document: Any, path: tuple[str, ...], at: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """Places that a path with stars names in a document, each with what stands there."""
    if not path:
        return [(".".join(at), document)]
    names = list(document) if path[0] == "*" else [path[0]]
    return [found for name in names for found in _planned_in(document[name], path[1:], (*at, name))]


# A finding of the policy pack that somebody answers for; the pack itself reads it (policies/settings.py).
_WAIVER = {
    "type": "object",
    "required": ["policy", "resource", "reason", "approver", "expires"],
    "additionalProperties": False,
    "properties": {
        "policy": {"type": "string", "description": "Id of the control"},
        "resource": {"type": "string", "description": "Name of the resource, or a pattern (*); `stack` for a finding about the whole stack"},
        "reason": {"type": "string"},
        "approver": {"type": "string"},
        "expires": {"type": "string", "format": "date", "description": "Last day it holds"},
    },
}


def stack_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a stack file, for editors. Rules over several keys are not in it."""
    objectives = Objectives.model_json_schema(ref_template="#/$defs/{model}")
    definitions = objectives.pop("$defs")
    objectives["properties"]["residency"]["enum"] = [ANYWHERE, *JURISDICTIONS]
    for planned in PLANNED:
        holder = objectives if len(planned.path) == 1 else definitions[ModelObjectives.__name__]
        key = holder["properties"][planned.path[-1]]
        kind = definitions[key["$ref"].rpartition("/")[2]] if "$ref" in key else key
        kind["enum"] = [item for item in kind.get("enum", (True, False)) if item != planned.value]
        key["description"] = planned.why
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://groundplan.example/objectives.schema.json",
        "title": "A stack of Groundplan",
        "type": "object",
        "required": ["config"],
        "properties": {
            "config": {
                "type": "object",
                "required": ["aws:region", "aws:allowedAccountIds", "groundplan:objectives"],
                "properties": {
                    "aws:region": {"enum": list(REGIONS)},
                    "aws:allowedAccountIds": {"type": "array", "items": {"type": "string", "pattern": r"^\d{12}$"}, "minItems": 1, "maxItems": 1},
                    "groundplan:objectives": {"$ref": "#/$defs/Objectives"},
                    "groundplan:waivers": {"type": "array", "items": {"$ref": "#/$defs/Waiver"}},
                },
            }
        },
        "$defs": {**definitions, "Objectives": objectives, "Waiver": _WAIVER},
    }


def stack_file(root: Path, stack: str) -> Path:
    """Path of a stack's file.

    Raises:
        UsageError: There is no such stack; the message lists those that exist.
    """
    path = root / "stacks" / f"Pulumi.{stack}.yaml"
    if not path.is_file():
        known = sorted(p.name.removeprefix("Pulumi.").removesuffix(".yaml") for p in path.parent.glob("Pulumi.*.yaml"))
        raise UsageError(
            f"unknown stack {stack!r}: {path.relative_to(root)} does not exist",
            fix=f"use one of: {', '.join(known) or '(none found)'}; or write that file",
        )
    return path


def load_config(root: Path, stack: str) -> dict[str, Any]:
    """The stack file's ``config`` map, unchecked.

    Raises:
        UsageError: No such stack, or the file is not valid YAML with a ``config`` map.
    """
    import yaml

    class OnceEach(yaml.SafeLoader):
        """YAML's own loader takes the last of two equal keys and says nothing."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            names = [key.value for key, _ in node.value]
            if twice := [name for name in names if names.count(name) > 1]:
                raise yaml.constructor.ConstructorError(None, None, f"`{twice[0]}` is there twice", node.start_mark)
            return super().construct_mapping(node, deep)

    path = stack_file(root, stack)
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), OnceEach)  # noqa: S506 (a safe loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"not readable as YAML: {' '.join(str(error).split())}", where=f"stacks/{path.name}") from error
    if not isinstance(document, dict) or not isinstance(document.get("config"), dict):
        raise UsageError("has no `config:` map", where=f"stacks/{path.name}", fix="see stacks/Pulumi.local.yaml for the form")
    config: dict[str, Any] = document["config"]
    return config


def load(root: Path, stack: str) -> StackConfig:
    """Read and check one stack's file.

    Raises:
        UsageError: Anything wrong with the file; one message names every wrong key.
    """
    return parse(load_config(root, stack), where=f"stacks/Pulumi.{stack}.yaml", planned=bool(os.environ.get("GROUNDPLAN_PLANNED")))


def parse(config: dict[str, Any], *, where: str, planned: bool = False) -> StackConfig:
    """Check a stack's configuration map (keys as in the stack file).

    Args:
        planned: Take what is planned and not finished, for those who work on it.

    Raises:
        UsageError: A value is missing, unknown or out of bounds.
    """
    for key in ("aws:region", "aws:allowedAccountIds", "groundplan:objectives"):
        if key not in config:
            raise UsageError(f"`{key}` is missing", where=where, fix="see stacks/Pulumi.local.yaml for the form")
    region, accounts = config["aws:region"], config["aws:allowedAccountIds"]
    _check_region(region, where)
    if not isinstance(accounts, list) or len(accounts) != 1:
        raise UsageError(f"must be a list of exactly one account id, found {accounts!r}", where=f"{where}: aws:allowedAccountIds")
    try:
        stack = StackConfig.model_validate({"region": region, "account_id": accounts[0], "objectives": config["groundplan:objectives"]})
    except ValidationError as error:
        raise UsageError("\n".join(_message(item, where) for item in _causes(error.errors()))) from None
    _check_residency(stack, where)
    _check_connection(stack, where)
    wanted = stack.objectives.model_dump(mode="json")
    for row in () if planned else PLANNED:
        for place, value in _planned_in(wanted, row.path):
            if value == row.value:
                raise UsageError(row.why, where=f"{where}: groundplan:objectives.{place}", fix=f"use {row.instead}")
    return stack


def _causes(errors: list[Any]) -> list[Any]:
    """The mistakes themselves, without what only follows from them: a list's length without its wrong items, what a wrong name holds."""
    names = [item["loc"][:-1] for item in errors if item["loc"][-1] == "[key]"]

    def follows(item: Any) -> bool:
        place = item["loc"]
        below_a_wrong_name = place[-1] != "[key]" and any(place[: len(name)] == name for name in names)
        of_wrong_items = item["type"] == "too_short" and any(len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in errors)
        return below_a_wrong_name or of_wrong_items

    return [item for item in errors if not follows(item)]


def _check_connection(stack: StackConfig, where: str) -> None:
    source = stack.objectives.deploys_from
    if source is not None and (account := source.connection.split(":")[4]) != stack.account_id:
        raise UsageError(
            f"the connection is of account {account}, and the stack's account is {stack.account_id}",
            where=f"{where}: groundplan:objectives.deploys_from.connection",
            fix="make one in the stack's account: in the console, Developer Tools, Settings, Connections",
        )


def _check_residency(stack: StackConfig, where: str) -> None:
    wanted = stack.objectives
    if stack.region not in regions_of(wanted.residency):
        raise UsageError(
            f"{stack.region} lies in jurisdiction {REGIONS[stack.region].jurisdiction!r}, and groundplan:objectives.residency is {wanted.residency!r}",
            where=f"{where}: aws:region",
            fix=f"use one of: {', '.join(regions_of(wanted.residency))}",
        )
    if wanted.availability is Availability.TWO_REGIONS and not REGIONS[stack.region].standby:
        able = [name for name in regions_of(wanted.residency) if REGIONS[name].standby]
        raise UsageError(
            f"two-regions given, but AWS has no second region in jurisdiction {REGIONS[stack.region].jurisdiction!r} beside {stack.region}",
            where=f"{where}: groundplan:objectives.availability",
            fix=f"use multi-zone{', or one of these regions: ' + ', '.join(able) if able else ''}",
        )


def _check_region(region: object, where: str) -> None:
    if region not in REGIONS:
        near = difflib.get_close_matches(str(region), REGIONS, n=1)
        raise UsageError(
            f"{region!r} is not an AWS region",
            where=f"{where}: aws:region",
            fix=f"did you mean {near[0]}?" if near else "for example us-east-1 or eu-central-1",
        )


def _message(item: Any, where: str) -> str:
    """One line for one Pydantic error: file, key, what was given, what is allowed."""
    path = [str(part) for part in item["loc"] if part != "[key]"]
    key = ".".join(path)
    key = {"account_id": "aws:allowedAccountIds"}.get(key, key.replace("objectives", "groundplan:objectives", 1))
    if item["type"] == "missing":
        return f"{where}: {key} is missing\n  -> add it; the form is in stacks/Pulumi.local.yaml"
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _known_keys(path[:-1]), n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(_known_keys(path[:-1]))}"
        return f"{where}: {key} is not a known objective\n  -> {hint}"
    allowed = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if isinstance(item["input"], dict):  # a rule over several keys names them itself
        return f"{where}: {key}: {allowed}"
    return f"{where}: {key}: {item['input']!r} given; {allowed}"


def _known_keys(path: list[str]) -> list[str]:
    """Field names of the model at ``path`` (parts as in the error location)."""
    model: type[BaseModel] = StackConfig
    for part in path:
        field = model.model_fields.get(part)
        if field is None:
            continue  # the name of a model
        kinds = (field.annotation, *get_args(field.annotation))
        model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(model.model_fields)
