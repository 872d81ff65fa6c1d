"""From objectives to a design: for each layer the cheapest option that meets every objective.

``design`` is a pure function: no Pulumi, no AWS, no clock. Each decision records what forced it and what was
rejected, so that the platform can explain itself to the people who pay for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from infra.design.decisions import Chooser, Decision
from infra.design.layers import cluster, data, front_end, governance, network, serving, streaming
from infra.design.layers.cluster import ClusterDesign
from infra.design.layers.data import DatabaseDesign, FeatureStoreDesign, LakeDesign
from infra.design.layers.front_end import FrontEndDesign
from infra.design.layers.governance import AuditDesign, MonitoringDesign, RecoveryDesign, WorkspaceDesign
from infra.design.layers.network import NetworkDesign
from infra.design.layers.serving import RetrainingDesign, ServingDesign
from infra.design.layers.streaming import StreamingDesign
from infra.design.price_book import PriceBook
from spec.errors import UsageError
from spec.objectives import Objectives, OfficeHours
from spec.versions import APPROVERS

# What office hours can switch off: decisions of these layers, less what costs the same day and night.
SWITCHED_OFF = ("cluster", "cluster: CPU pool", "tracking")
APPROVALS = tuple(APPROVERS)


@dataclass(frozen=True)
class Design:
    """Everything the components need to know, and the decisions that led there."""

    network: NetworkDesign
    streaming: StreamingDesign
    lake: LakeDesign
    feature_store: FeatureStoreDesign
    database: DatabaseDesign
    cluster: ClusterDesign
    serving: dict[str, ServingDesign]
    retraining: dict[str, RetrainingDesign]
    front_end: FrontEndDesign | None
    monitoring: MonitoringDesign
    audit: AuditDesign
    workspace: WorkspaceDesign
    recovery: RecoveryDesign
    office_hours: OfficeHours | None
    key_deletion_days: int
    approvals: tuple[str, ...]
    decisions: tuple[Decision, ...]

    @property
    def monthly_usd(self) -> float:
        """The estimate of the whole environment, USD a month."""
        return sum(decision.monthly_usd for decision in self.decisions)

    def model_usd(self, model: str) -> float:
        """The part of the estimate that one model alone causes, USD a month."""
        return sum(decision.monthly_usd for decision in self.decisions if decision.model == model)


def design(objectives: Objectives, prices: PriceBook, region: str, *, within_budget: bool = True) -> Design:
    """The cheapest platform that meets every objective.

    Args:
        within_budget: Whether a platform that costs more than the budget is refused.

    Raises:
        UsageError: No option meets the objectives of a layer, or the whole costs more than the budget;
            the message names the objectives in conflict and what would work.
    """
    chooser = Chooser()
    net = network.network(objectives, region, prices, chooser)
    zones = len(net.zones)
    parts = {
        "network": net,
        "streaming": streaming.streaming(objectives, zones, prices, chooser),
        "lake": data.lake(objectives, prices, chooser),
        "feature_store": data.feature_store(objectives, prices, chooser),
        "database": data.database(objectives, prices, chooser),
        "cluster": cluster.cluster(objectives, zones, prices, chooser),
        "serving": {name: serving.serving(name, objectives, prices, chooser) for name in objectives.models},
        "retraining": {name: serving.retraining(name, objectives, prices, chooser) for name in objectives.models},
        "front_end": front_end.front_end(objectives, prices, chooser),
    }
    topologies = {name: plan.topology for name, plan in parts["serving"].items()}  # type: ignore[attr-defined]
    parts |= {
        "monitoring": governance.monitoring(objectives, topologies, prices, chooser),
        "audit": governance.audit(objectives, prices, chooser),
        "workspace": governance.workspace(objectives, prices, chooser),
        "recovery": governance.recovery(objectives, region, prices, chooser),
    }
    governance.deployment(objectives, chooser)
    switched = (decision.bill for decision in chooser.decisions if decision.layer in SWITCHED_OFF)
    running = sum(switched, start=-prices.hourly("eks", "cluster"))
    on_cluster = tuple(name for name, topology in topologies.items() if topology.startswith("cluster"))
    office_hours = cluster.schedule(objectives, on_cluster, running, chooser)
    result = Design(
        **parts,  # type: ignore[arg-type]
        office_hours=office_hours,
        key_deletion_days=30 if objectives.production else 7,
        approvals=APPROVALS,
        decisions=tuple(chooser.decisions),
    )
    if within_budget:
        _within_budget(objectives, result)
    return result


def _within_budget(objectives: Objectives, result: Design) -> None:
    if result.monthly_usd <= objectives.budget.monthly_usd:
        return
    dearest = sorted(result.decisions, key=lambda decision: -decision.monthly_usd)[:3]
    causes = "".join(
        f"\n  {d.monthly_usd:>9,.0f} USD  {d.layer}: {d.chosen}, because of {', '.join(d.objectives)}" for d in dearest
    )
    raise UsageError(
        f"the cheapest platform that meets the objectives costs {result.monthly_usd:,.0f} USD a month;"
        f" {objectives.budget.monthly_usd:,.0f} USD is allowed. The largest costs:{causes}",
        where="groundplan:objectives.budget.monthly_usd",
        fix=f"allow at least {math.ceil(result.monthly_usd)} USD, or relax one of these",
    )
