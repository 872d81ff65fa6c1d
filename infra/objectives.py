"""Business objectives of one environment, read from the stack's structured configuration.

The stack file holds them under ``groundplan:objectives``; nothing else decides what the platform looks like.
"""

from __future__ import annotations

import difflib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from infra.errors import UsageError

Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
# SageMaker endpoint names and Kubernetes object names both allow this form (RFC 1123 label).
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$")]


class Objective(BaseModel):
    """Base of every objective: immutable, and no unknown key passes silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


class Events(Objective):
    """The event stream. ``per_second`` 0 means that there is none."""

    per_second: float = Field(ge=0, le=1_000_000)
    retention_days: int = Field(ge=1, le=3650)


class Budget(Objective):
    """Monthly spend the environment may reach, in USD, and the shares of it (percent) that alert."""

    monthly_usd: float = Field(gt=0)
    # AWS takes five notifications a budget; one of them is the forecast's.
    alert_percent: Annotated[tuple[Annotated[int, Field(gt=0, le=200)], ...], Field(min_length=1, max_length=4)] = (50, 80, 100)


class Value(Objective):
    """What the model is worth.

    One unit of improvement of ``kpi`` (an error falling by one ``unit``, or a score rising by one) is worth
    ``usd_per_unit`` for each prediction.
    """

    kpi: Literal["mae", "rmse", "accuracy", "roc_auc"]
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


class Quality(Objective):
    """The worst value of ``metric`` that may be served. Errors (mae, rmse) must stay below, scores above it."""

    metric: Literal["mae", "rmse", "accuracy"]
    worst: float


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


class Objectives(Objective):
    """Everything the business wants of one environment."""

    environment: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,15}$")]
    owner: Email
    stakeholders: Stakeholders
    compliance: tuple[Regime, ...] = ()
    availability: Availability = Availability.ONE_ZONE
    events: Events
    budget: Budget
    models: dict[ModelName, ModelObjectives] = Field(min_length=1)

    @property
    def production(self) -> bool:
        """Whether losing this environment's data would hurt: its stores are then protected."""
        return self.environment.startswith("prod")


class StackConfig(Objective):
    """One stack file: where the stack lives and what is wanted of it."""

    region: str
    account_id: Annotated[str, StringConstraints(pattern=r"^\d{12}$")]
    objectives: Objectives


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

    path = stack_file(root, stack)
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
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
    return parse(load_config(root, stack), where=f"stacks/Pulumi.{stack}.yaml")


def parse(config: dict[str, Any], *, where: str) -> StackConfig:
    """Check a stack's configuration map (keys as in the stack file).

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
        return StackConfig.model_validate({"region": region, "account_id": accounts[0], "objectives": config["groundplan:objectives"]})
    except ValidationError as error:
        raise UsageError("\n".join(_message(item, where) for item in error.errors())) from None


def _check_region(region: object, where: str) -> None:
    from infra.prices import REGIONS

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
    return f"{where}: {key}: {item['input']!r} given; {allowed}"


def _known_keys(path: list[str]) -> list[str]:
    """Field names of the model at ``path`` (parts as in the error location)."""
    model: Any = StackConfig
    for part in path:
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        if field is not None:
            model = field.annotation
            if not (isinstance(model, type) and issubclass(model, BaseModel)):
                model = ModelObjectives
    return list(model.model_fields)
