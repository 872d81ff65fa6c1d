"""Facets that OpenLineage lacks: models, their evaluation, approvals and deployment, positions of events, contracts.

Their schema is ``facets.schema.json`` beside this file; docs/lineage.md describes them.
"""

from __future__ import annotations

from typing import Any

import attr
from openlineage.client.facet_v2 import DatasetFacet, RunFacet

SCHEMA = "https://groundplan.example/lineage/1-0-0/facets.schema.json"


def _of(name: str) -> str:
    return f"{SCHEMA}#/$defs/{name}"


@attr.define
class PositionsDatasetFacet(DatasetFacet):
    """Which events of a topic were read: of each partition the first and last offset, and how many events.

    Attributes:
        partitions: Each has ``partition``, ``first``, ``last`` and ``events``.
    """

    partitions: list[dict[str, int]]

    @staticmethod
    def _get_schema() -> str:
        return _of("PositionsDatasetFacet")


@attr.define
class ContractDatasetFacet(DatasetFacet):
    """The data contract (Open Data Contract Standard) that a dataset keeps.

    Attributes:
        sha256: Of the contract's text.
        personal: Paths of fields with personal data, which are masked.
    """

    id: str
    version: str
    sha256: str
    status: str
    personal: list[str]

    @staticmethod
    def _get_schema() -> str:
        return _of("ContractDatasetFacet")


@attr.define
class FeaturesDatasetFacet(DatasetFacet):
    """A feature view.

    Attributes:
        key: Name of the entity's key.
        entities: How many there are.
    """

    view: str
    key: str
    features: list[str]
    entities: int

    @staticmethod
    def _get_schema() -> str:
        return _of("FeaturesDatasetFacet")


@attr.define
class ModelDatasetFacet(DatasetFacet):
    """A version of a model.

    Attributes:
        sha256: Of its artifact; approvals are about that.
        run_id: Of MLflow.
        training_sha256: Of the rows and labels that it was fitted on.
    """

    model: str
    version: str
    sha256: str
    run_id: str
    training_sha256: str
    change: str
    owner: str
    risk: str

    @staticmethod
    def _get_schema() -> str:
        return _of("ModelDatasetFacet")


@attr.define
class EvaluationRunFacet(RunFacet):
    """How good a model is.

    Attributes:
        metrics, baseline: By name.
        kpi: The business KPI: ``name``, ``unit``, ``lift`` and its 95 % ``interval``.
        passed: Whether each condition of the objectives holds.
        how: Which rows it was judged on.
    """

    metrics: dict[str, float]
    baseline: dict[str, float]
    kpi: dict[str, Any]
    passed: dict[str, bool]
    rows: int
    how: str

    @staticmethod
    def _get_schema() -> str:
        return _of("EvaluationRunFacet")


@attr.define
class ApprovalsRunFacet(RunFacet):
    """Which roles have approved a version; who they are is in the audit log only."""

    version: str
    roles: list[str]

    @staticmethod
    def _get_schema() -> str:
        return _of("ApprovalsRunFacet")


@attr.define
class DeploymentRunFacet(RunFacet):
    """What came of a deployment.

    Attributes:
        outcome: ``promoted``, or what a canary without enough evidence is called.
    """

    version: str
    outcome: str
    topology: str
    verdict: str

    @staticmethod
    def _get_schema() -> str:
        return _of("DeploymentRunFacet")


@attr.define
class MonitoringRunFacet(RunFacet):
    """What was seen of requests to a version.

    Attributes:
        drift_share: Share of the columns that have drifted, 0 to 1.
    """

    version: str
    requests: int
    drift_share: float
    quality: dict[str, float]

    @staticmethod
    def _get_schema() -> str:
        return _of("MonitoringRunFacet")
