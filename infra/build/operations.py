"""Monitoring, cost, schedules, audit and recovery; and where people work."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.models.endpoint import CHALLENGER, CHAMPION, endpoint_name, log_group
from components.models.trainer import function_name
from components.operations.audit import Audit, AuditArgs
from components.operations.cost import Cost, CostArgs
from components.operations.queries import SavedQueries, SavedQueriesArgs
from components.operations.recovery import REPLICATED, Recovery, RecoveryArgs
from components.operations.runner import Runner, RunnerArgs
from components.operations.schedules import Schedules, SchedulesArgs, Sleepers
from components.operations.service_levels import ServiceLevels, ServiceLevelsArgs, WatchedModel
from components.operations.triggers import Triggers, TriggersArgs
from components.operations.workspace import Workspace, WorkspaceArgs
from infra.build.cluster import OnCluster
from infra.build.data import Data
from infra.build.foundation import Foundation
from infra.build.given import Given
from infra.build.models import Models
from infra.build.retraining import Retrained
from spec.service_levels import Urgency
from spec.zones import DATA_CLASS, OUTPUTS, DataClass, Zone


@dataclass(frozen=True, kw_only=True)
class Operations:
    """What the outputs say of it."""

    cost: Cost
    service_levels: ServiceLevels


MODEL_BUDGET_MARGIN = 1.25  # a model's own budget relative to what its design costs
WORKFLOWS = ("deploy", "drift")  # by their names in .github/workflows


def build_operations(
    given: Given, base: Foundation, data: Data, models: Models, on: OnCluster, retrained: Retrained
) -> Operations:
    """The operations of a stack."""
    scope, plan, wanted, lake = given.scope, given.plan, given.wanted, data.lake
    if plan.workspace.scientists:
        zones = (Zone.CURATED, Zone.FEATURES, Zone.MODELS)
        Workspace(
            "workspace",
            scope,
            WorkspaceArgs(
                scientists=plan.workspace.scientists,
                idle_minutes=plan.workspace.idle_minutes,
                vpc_id=base.network.vpc_id,
                subnet_ids=base.network.subnet_ids,
                security_group_id=base.network.security_group_id,
                key_arn=base.keys[DataClass.INTERNAL],
                key_arns=(base.keys[DataClass.INTERNAL], base.keys[DataClass.MODELS]),
                bucket_arns=tuple(lake.arns[zone] for zone in zones),
                scratch_bucket_arn=lake.arns[Zone.FEATURES],
                boundary_arn=base.boundary.arn,
                tracking_uri=on.mlflow.vpc_tracking_uri,
                outputs_uri=f"s3://{scope.bucket_name(Zone.CURATED)}/{OUTPUTS}",
            ),
        )
    Audit(
        "audit",
        scope,
        AuditArgs(
            bucket=lake.buckets[Zone.AUDIT],
            key_arn=base.keys[DataClass.AUDIT],
            data_bucket_arns=(lake.arns[Zone.MODELS], lake.arns[Zone.AUDIT]) if plan.audit.data_events else (),
            watch=plan.audit.watch,
            standards=plan.audit.standards,
        ),
        # CloudTrail tries to write while it is being created.
        pulumi.ResourceOptions(depends_on=[lake.policies[Zone.AUDIT]]),
    )
    cost = Cost(
        "cost",
        scope,
        CostArgs(
            monthly_usd=wanted.budget.monthly_usd,
            alert_percent=wanted.budget.alert_percent,
            addresses=(wanted.stakeholders.finance, wanted.owner),
            topic_arn=models.monitoring.topic_arns["finance"],
            # A budget of less than ten dollars would alert on noise.
            model_usd={
                model: max(10.0, round(MODEL_BUDGET_MARGIN * plan.model_usd(model), 2)) for model in wanted.models
            },
            activate_tags=wanted.owns_account and wanted.budget.activate_tags,
        ),
    )
    _schedules(given, base, data, on, retrained)
    service_levels = _service_levels(given, models, retrained)
    if models.endpoints:
        groups = {model: log_group(scope, model) for model in models.endpoints}
        SavedQueries("queries", scope, SavedQueriesArgs(log_groups=groups))
    _triggers(given, models, retrained, service_levels)
    if wanted.deploys_from:
        Runner(
            "runner",
            scope,
            RunnerArgs(
                repository=wanted.deploys_from.repository,
                connection_arn=wanted.deploys_from.connection,
                workflows=WORKFLOWS,
                vpc_id=base.network.vpc_id,
                subnet_ids=base.network.subnet_ids,
                security_group_id=base.network.security_group_id,
                key_arn=base.keys[DataClass.INTERNAL],
                log_retention_days=plan.monitoring.log_retention_days,
            ),
        )
    Recovery(
        "recovery",
        scope,
        RecoveryArgs(
            key_arn=base.keys[DataClass.INTERNAL],
            backup_days=plan.recovery.backup_days,
            backup_hours=plan.recovery.backup_hours,
            resource_arns=(data.tracking.database_arn, *data.features.backed_up),
            backed_up_buckets=(data.tracking.artifact_bucket_arn, *(lake.arns[zone] for zone in REPLICATED)),
            hours=given.hours,
            standby_region=plan.recovery.standby_region,
            key_arns={data_class: base.keys[data_class] for data_class in base.standby_keys},
            buckets=lake.buckets,
            bucket_arns=lake.arns,
            data_classes=DATA_CLASS,
        ),
        base.standby_keys,
    )
    return Operations(cost=cost, service_levels=service_levels)


def _service_levels(given: Given, models: Models, retrained: Retrained) -> ServiceLevels:
    scope = given.scope
    return ServiceLevels(
        "service-levels",
        scope,
        ServiceLevelsArgs(
            models={
                name: WatchedModel(
                    levels=given.service_levels(name),
                    endpoint_name=endpoint_name(scope, name) if name in models.endpoints else "",
                    variants=(CHAMPION, CHALLENGER) if given.plan.serving[name].canary_steps else (CHAMPION,),
                    pipeline=scope.name(name, limit=256) if name in retrained.workflows else "",
                    function=function_name(scope, name) if name in retrained.trainers else "",
                    quality_alarm=models.monitoring.alarm_names[name]["quality"],
                )
                for name in given.wanted.models
            },
            topic_arns=models.monitoring.topic_arns,
        ),
    )


def _triggers(given: Given, models: Models, retrained: Retrained, levels: ServiceLevels) -> None:
    if not retrained.workflows and not retrained.trainers:
        return

    def degraded(model: str) -> list[pulumi.Input[str]]:
        """Alarms on what a model answers, as ``pipelines.canary.degraded`` looks at them."""
        pages = [levels.exported.get(model, {}).get(name, {}).get("alarms", {}) for name in ("availability", "latency")]
        return [
            models.monitoring.alarm_names[model]["quality"],
            *(page[Urgency.PAGE] for page in pages if Urgency.PAGE in page),
        ]

    Triggers(
        "triggers",
        given.scope,
        TriggersArgs(
            alarms={model: names["drift"] for model, names in models.monitoring.alarm_names.items()},
            pipelines={model: workflow.pipeline_arn for model, workflow in retrained.workflows.items()},
            functions={model: trainer.function_arn for model, trainer in retrained.trainers.items()},
            releases={model: release.pipeline_arn for model, release in retrained.releases.items()},
            degraded={model: degraded(model) for model in retrained.releases},
        ),
    )


def _schedules(given: Given, base: Foundation, data: Data, on: OnCluster, retrained: Retrained) -> None:
    plan = given.plan
    Schedules(
        "schedules",
        given.scope,
        SchedulesArgs(
            key_arn=base.keys[DataClass.INTERNAL],
            pipelines={
                model: (workflow.pipeline_name, plan.retraining[model].every_hours)
                for model, workflow in retrained.workflows.items()
            },
            functions={
                model: (trainer.function_arn, plan.retraining[model].every_hours)
                for model, trainer in retrained.trainers.items()
            },
            releases={model: release.pipeline_name for model, release in retrained.releases.items()},
            hours=given.hours,
            sleepers=(
                Sleepers(
                    cluster=on.cluster.cluster_name,
                    node_group=given.scope.name("system"),
                    nodes=plan.cluster.system_nodes,
                    database=data.tracking.database_identifier,
                )
                if given.hours
                else None
            ),
        ),
    )
