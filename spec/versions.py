"""What is known about a version of a model: its record, which is signed and never changes, and decisions about it."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from spec.errors import UsageError
from spec.model_folders import Card

LOGGER = "log"  # who signs the state of the audit log: whoever writes into it, with a key of its own
REGISTRAR = "registry"  # who signs registrations: the pipeline, with a key of its own
# The IAM role whose people approve, by what they approve as.
APPROVERS = {"data-science": "data-scientist", "operations": "operations"}
_VERSION = re.compile(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


class _Frozen(BaseModel):
    # A metric may be infinite or not a number, which JSON doesn't have.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Change(StrEnum):
    """Why a version has its number (https://semver.org, applied to a model's interface and to how it is made)."""

    FIRST = "first version"
    MAJOR = "inputs or outputs changed"
    MINOR = "data source or parameters or code changed"
    PATCH = "trained again in the same way"


class Dataset(_Frozen):
    """What it was trained on.

    Attributes:
        place: Address of the curated dataset; of a script's own data, what the script names.
        digest: SHA-256 of the dataset.
        training_digest: SHA-256 of the rows and labels that the model was fitted on.
    """

    place: str
    digest: str
    training_digest: str
    rows: NonNegativeInt


class Kpi(_Frozen):
    """The business KPI's gain over the baseline, in its units, and in USD a month; each with its 95 % interval."""

    name: str
    unit: str
    lift: float
    interval: tuple[float, float]
    monthly_usd: float
    monthly_usd_interval: tuple[float, float]


class Slice(_Frozen):
    """A part of the evaluated rows, and the metrics on it."""

    column: str
    value: str
    rows: NonNegativeInt
    metrics: dict[str, float]


class Interface(_Frozen):
    """What requests and answers look like; a change of it is a new major version.

    Attributes:
        inputs: Type of each column, in order.
        outputs: ``task``, ``classes``, ``targets``, and what is served beside the prediction.
    """

    inputs: dict[str, str]
    outputs: dict[str, Any]


class VersionRecord(_Frozen):
    """Everything that is known about a version when it is registered.

    Attributes:
        version: ``v`` and a semantic version.
        change: Why it has this number.
        author: E-mail address of who changed the model's code last; empty where that is unknown.
        recipe: SHA-256 of each part of how it is made: ``code``, ``parameters``, ``data``.
        environment: Versions of Python and of the packages that affect models.
        lineage: ``contracts`` (versions by id), ``views``, ``pipeline_run``, ``run_id``, and the ``previous`` version.
        files: SHA-256 of each file of the artifact.
        artifact: SHA-256 of ``model.tar.gz``, which the approvals are bound to.
        evaluation: SHA-256 of ``evaluation.tar.gz``, what it was judged on; empty if that was left with MLflow only.
    """

    model: str
    version: str = Field(pattern=f"^{_VERSION.pattern}$")
    change: Change
    registered_at: str
    author: str
    interface: Interface
    recipe: dict[str, str]
    dataset: Dataset
    parameters: dict[str, str]
    metrics: dict[str, float]
    baseline: dict[str, float]
    kpi: Kpi
    slices: tuple[Slice, ...] = ()
    evaluated_on: str
    code: dict[str, str]
    environment: dict[str, str]
    lineage: dict[str, Any]
    signature: dict[str, Any] | None
    files: dict[str, str]
    artifact: str
    evaluation: str = ""
    card: Card

    @property
    def task(self) -> str:
        """``regression`` or ``classification``."""
        return str(self.interface.outputs["task"])

    @property
    def name(self) -> str:
        """``MODEL@VERSION``."""
        return f"{self.model}@{self.version}"


class Decision(_Frozen):
    """What one person decided about a version, in one role.

    Attributes:
        by: E-mail address on one machine; on AWS the name of the session, which is that of the IAM user.
        through: How the person was identified: an ARN, a reviewed deployment on GitHub or GitLab, or ``local``.
        decided_at: ISO 8601, UTC.
    """

    role: str
    approved: bool
    by: str
    reason: str
    through: str
    decided_at: str


def numbers(version: str) -> tuple[int, int, int] | None:
    """Major, minor and patch of ``v1.2.3``; None where it is none."""
    match = _VERSION.fullmatch(version)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def alias_of(version: str) -> str:
    """A version's alias in MLflow's registry, which allows no dots: ``models:/NAME@v1-0-0``."""
    return version.replace(".", "-")


def check_version(version: str) -> str:
    """A version as a user writes it, with or without its ``v``.

    Raises:
        UsageError: It is not a semantic version.
    """
    full = version if version.startswith("v") else f"v{version}"
    if numbers(full) is None:
        raise UsageError(f"{version!r} is not a version", where="VERSION", fix="write it as v1.2.0")
    return full
