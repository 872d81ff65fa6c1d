"""Names that events and their readers share."""

from __future__ import annotations

from dataclasses import dataclass

from spec.zones import LINEAGE

MODEL, POSITIONS, CONTRACT, FEATURES = (
    "groundplan_model",
    "groundplan_positions",
    "groundplan_contract",
    "groundplan_features",
)
EVALUATION, APPROVALS, DEPLOYMENT, MONITORING = (
    "groundplan_evaluation",
    "groundplan_approvals",
    "groundplan_deployment",
    "groundplan_monitoring",
)
EVENTS, UNSENT, REFUSED = f"{LINEAGE}events/", f"{LINEAGE}unsent/", f"{LINEAGE}refused/"
COMPLETE = "COMPLETE"


def step_of(key: str) -> tuple[str, str]:
    """The step that an event's key names, and the kind of the event."""
    step, kind, _ = key.rpartition("/")[2].split("-", 2)
    return step, kind


@dataclass(frozen=True)
class Place:
    """A dataset's name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
