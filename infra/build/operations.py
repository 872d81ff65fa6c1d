"""Monitoring, cost, schedules, audit and recovery; and where people work."""

from __future__ import annotations

import pulumi

from components.operations.audit import Audit, AuditArgs
from components.operations.cost import Cost, CostArgs
from components.operations.recovery import REPLICATED, Recovery, RecoveryArgs
from components.operations.runner import Runner, RunnerArgs
from components.operations.schedules import Schedules, SchedulesArgs, Sleepers
from components.operations.triggers import Triggers, TriggersArgs
from components.operations.workspace import Workspace, WorkspaceArgs
from infra.build.cluster import OnCluster
from infra.build.data import Data
from infra.build.foundation import Foundation
from infra.build.given import Given
from infra.build.models import Models
from infra.build.retraining import Retrained
from spec.zones import DATA_CLASS, OUTPUTS, DataClass, Zone

MODEL_BUDGET_MARGIN = 1.25  # a model's own budget relative to what its design costs
WORKFLOWS = ("deploy", "drift")  # by their names in .github/workflows


def build_operations(
    given: Given, base: Foundation, data: Data, models: Models, on: OnCluster, retrained: Retrained
) -> Cost:
    """The operations of a stack; its budgets."""
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
    _triggers(given, models, retrained)
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
    return cost


def _triggers(given: Given, models: Models, retrained: Retrained) -> None:
    if not retrained.workflows and not retrained.trainers:
        return
    Triggers(
        "triggers",
        given.scope,
        TriggersArgs(
            alarms={model: names["drift"] for model, names in models.monitoring.alarm_names.items()},
            pipelines={model: workflow.pipeline_arn for model, workflow in retrained.workflows.items()},
            functions={model: trainer.function_arn for model, trainer in retrained.trainers.items()},
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
