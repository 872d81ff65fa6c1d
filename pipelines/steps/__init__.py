"""The steps from data to endpoint, in order: run here as processes, compiled for AWS by ``pipelines.steps.workflow``."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: Also the name of its result document and of its log.
        module: Run as ``python -m <module>``.
        needs: Steps that must be done before.
        title: What it does, for people.
        needs_contract: Only for examples with a data contract.
        imports: Packages that it needs and that take seconds to import; whoever starts steps may have them ready.
    """

    name: str
    module: str
    needs: tuple[str, ...]
    title: str
    needs_contract: bool = False
    imports: tuple[str, ...] = ()


STEPS = (
    Step("ingest", "pipelines.steps.ingest", (), "events from Kafka into the raw zone", needs_contract=True),
    Step(
        "quality",
        "pipelines.steps.quality",
        ("ingest",),
        "quality gate, then a dataset version in the curated zone",
        needs_contract=True,
        imports=("great_expectations",),
    ),
    Step(
        "features",
        "pipelines.steps.features",
        ("quality",),
        "feature view registered, online store filled",
        needs_contract=True,
        imports=("feast", "ibis", "duckdb"),
    ),
    Step("experiment", "pipelines.steps.experiment", ("quality", "features"), "the MLflow script, run as a job", imports=("skl2onnx",)),
    Step("evaluate", "pipelines.steps.evaluate", ("experiment",), "quality and business KPI on rows the model has not seen"),
    Step("register", "pipelines.steps.register", ("evaluate",), "a version in the model registry"),
    Step("signoff", "pipelines.steps.signoff", ("register",), "two people agree"),
    Step("deploy", "pipelines.steps.deploy", ("signoff", "features"), "canary, comparison, promotion or rollback"),
    Step("monitor", "pipelines.steps.monitor", ("deploy",), "drift and quality of what was served", imports=("evidently",)),
)


def steps_for(*, contract: bool, joined: bool = True) -> tuple[Step, ...]:
    """The steps of a model; without a data contract the data steps fall away.

    Args:
        joined: Whether the script reads a training set that the features step joins; if not, the two run side by side.
    """
    kept = {step.name for step in STEPS if contract or not step.needs_contract}

    def needs(step: Step) -> tuple[str, ...]:
        return tuple(name for name in step.needs if name in kept and (joined or (step.name, name) != ("experiment", "features")))

    return tuple(replace(step, needs=needs(step)) for step in STEPS if step.name in kept)
