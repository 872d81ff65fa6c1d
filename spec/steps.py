"""The steps from data to endpoint, each declared here once: processes on one machine, a SageMaker Pipeline or a CronJob
on AWS.

``python -m pipelines.steps.workflow`` compiles them, the design uses their number, and what each produces is
summarised by its name (``groundplan.local.summary``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Phase(StrEnum):
    """The phase of a model's life that a step belongs to."""

    DATA = "data"  # only where there is a data contract
    MODEL = "model"
    RELEASE = "release"  # waits until two people have approved


@dataclass(frozen=True)
class Condition:
    """What must hold before a step may start: ``passed.NAME`` in the result of the step that judges it, which says
    under ``because`` why it does not.
    """

    step: str
    name: str


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: Also the name of its module, of its result document and of its log.
        needs: Steps that must be done before.
        title: What it does, for users.
        imports: Packages that it needs and that take seconds to import; they may be imported before it starts.
        conditions: What must hold before it may start.
        retries: How often it is started again when its machine failed; what a step refuses by itself is not repeated.
        interruptible: Whether it runs on spare capacity (spot), which may be taken away: it continues from its
            checkpoints.
        scheduled: Arguments that it is given in runs that a schedule or an alarm starts.
    """

    name: str
    phase: Phase
    needs: tuple[str, ...]
    title: str
    imports: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    retries: int = 0
    interruptible: bool = False
    scheduled: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """Run as ``python -m MODULE``."""
        return f"pipelines.steps.{self.name}"


RETRIES = 2
STEPS = (
    Step("ingest", Phase.DATA, (), "events from Kafka into the raw zone", retries=RETRIES),
    Step(
        "quality",
        Phase.DATA,
        ("ingest",),
        "quality gate, then a dataset version in the curated zone",
        imports=("great_expectations",),
        retries=RETRIES,
    ),
    Step(
        "features",
        Phase.DATA,
        ("quality",),
        "feature view registered, online store filled",
        imports=("feast", "ibis", "duckdb"),
        retries=RETRIES,
    ),
    Step(
        "experiment",
        Phase.MODEL,
        ("quality", "features"),
        "the MLflow script, run as a job",
        imports=("skl2onnx",),
        retries=RETRIES,
        interruptible=True,
        scheduled=("--reuse",),
    ),
    Step(
        "evaluate",
        Phase.MODEL,
        ("experiment",),
        "quality and business KPI on rows the model has not seen",
        retries=RETRIES,
    ),
    Step(
        "register",
        Phase.MODEL,
        ("evaluate",),
        "a version in the model registry",
        conditions=(Condition("evaluate", "quality"), Condition("evaluate", "kpi")),
        retries=RETRIES,
    ),
    Step("signoff", Phase.RELEASE, ("register",), "two people agree"),
    Step("deploy", Phase.RELEASE, ("signoff", "features"), "canary, comparison, promotion or rollback"),
    Step("monitor", Phase.RELEASE, ("deploy",), "drift and quality of what was served", imports=("evidently",)),
)
# Continues a run once people have approved; on AWS a schedule starts it, and it also looks at what serves.
RELEASE = Step("resume", Phase.RELEASE, (), "deploys what two people have approved, and monitors what serves")


def before_people_agree() -> tuple[Step, ...]:
    """The steps that a run takes without people."""
    return tuple(step for step in STEPS if step.phase is not Phase.RELEASE)


def steps_for(*, contract: bool, joined: bool = True) -> tuple[Step, ...]:
    """The steps of a model; without a data contract the data steps are omitted.

    Args:
        joined: Whether the script reads a training set that the features step joins; if not, the two run side by side.
    """
    kept = {step.name for step in STEPS if contract or step.phase is not Phase.DATA}

    def needs(step: Step) -> tuple[str, ...]:
        return tuple(
            name for name in step.needs if name in kept and (joined or (step.name, name) != ("experiment", "features"))
        )

    return tuple(replace(step, needs=needs(step)) for step in STEPS if step.name in kept)
