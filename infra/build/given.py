"""What a stack is built from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from components.foundation.base import Scope
from components.foundation.clock import Hours
from infra.design import Design
from spec.contracts import Contract
from spec.feature_views import View
from spec.objectives import Objectives
from spec.service_levels import ServiceLevel, service_levels

VPC_CIDR = "10.40.0.0/16"
ON_LAMBDA = "lambda"


@dataclass(frozen=True, kw_only=True)
class Given:
    """Everything that the layers are built from.

    Attributes:
        root: The project's folder.
        groups: Consumer groups by topic.
        views_of: The feature views of each model.
        folders: Folder of each model in the image.
        manifests: Folder that Kubernetes objects are written to instead of being applied; empty where they are applied.
    """

    root: Path
    scope: Scope
    wanted: Objectives
    plan: Design
    contracts: list[Contract]
    views: list[View]
    groups: dict[str, tuple[str, ...]]
    views_of: dict[str, tuple[View, ...]]
    folders: dict[str, str]
    manifests: str

    @property
    def trains_on_lambda(self) -> bool:
        """Whether a model is retrained in a function."""
        return any(retraining.kind == ON_LAMBDA for retraining in self.plan.retraining.values())

    @property
    def splits_on_cluster(self) -> bool:
        """Whether two versions of a model share requests on the cluster, so that steps have to reach it."""
        return any(serving.topology == "cluster" for serving in self.plan.serving.values())

    def service_levels(self, model: str) -> tuple[ServiceLevel, ...]:
        """What is promised of one model."""
        return service_levels(
            self.wanted.models[model],
            self.wanted.availability,
            self.plan.serving[model].topology,
            reads_features=bool(self.views_of.get(model)),
        )

    @property
    def hours(self) -> Hours | None:
        """When an environment that sleeps is awake."""
        hours = self.plan.office_hours
        return Hours(hours.start, hours.end, hours.timezone) if hours else None
