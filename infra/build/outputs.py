"""What a stack passes to the pipelines: the contract of ``spec.outputs``, filled in."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_aws as aws

from components.models.front_end import FrontEnd
from infra.build.cluster import OnCluster, counted_there
from infra.build.data import Data
from infra.build.foundation import Foundation
from infra.build.given import Given
from infra.build.models import Models
from infra.build.operations import Operations
from infra.build.retraining import Retrained
from spec.outputs import Outputs
from spec.service_levels import PERIOD_DAYS
from spec.zones import OUTPUTS, DataClass, Zone


def outputs(
    given: Given,
    base: Foundation,
    data: Data,
    models: Models,
    on: OnCluster,
    retrained: Retrained,
    operations: Operations,
) -> dict[str, Any]:
    """Everything that ``spec.outputs`` promises, exported and stored where the pipelines read it."""
    scope, plan, wanted, lake = given.scope, given.plan, given.wanted, data.lake
    exported = {
        "project": scope.project,
        "stack": scope.stack,
        "region": scope.region,
        "account_id": scope.account_id,
        "buckets": {
            **{str(zone): name for zone, name in lake.buckets.items()},
            "mlflow": data.tracking.artifact_bucket,
        },
        "key_arns": {str(data_class): arn for data_class, arn in base.keys.items()},
        "role_arns": data.identity.role_arns,
        "secret_arns": data.secrets.arns,
        "network": {"subnet_ids": base.network.subnet_ids, "security_group_id": base.network.security_group_id},
        "cluster_name": on.cluster.cluster_name,
        "prometheus": on.prometheus,
        "image_uri": models.image.uri,
        "catalog": {"database": data.catalog.database, "workgroup": data.catalog.workgroup},
        "kafka": data.kafka,
        "online_tables": data.features.tables,
        "online_table_prefix": data.features.prefix,
        "endpoints": {
            model: {
                "name": models.endpoints[model].endpoint_name if model in models.endpoints else "",
                "topology": serving.topology,
                "instance_type": serving.instance_type,
                "min_instances": serving.min_instances,
                "max_instances": serving.max_instances,
                "canary_steps": list(serving.canary_steps),
                "signing_key": models.signing_keys.get(model, ""),
                "monthly_usd": round(plan.model_usd(model), 2),
            }
            for model, serving in plan.serving.items()
        },
        "front_end": _front_end(models.front_end),
        "pipelines": {model: workflow.pipeline_name for model, workflow in retrained.workflows.items()},
        "releases": {model: release.pipeline_name for model, release in retrained.releases.items()},
        "alarms": models.monitoring.alarm_names,
        "service_levels": {model: _levels(given, operations, model) for model in wanted.models},
        "metrics_namespace": f"Groundplan/{scope.stack}",
        "alert_topics": dict(models.monitoring.topic_arns),
        "budget_name": operations.cost.budget_name,
        "approvals": list(plan.approvals),
        "signing_keys": base.signing_keys,
        "untrusted_models": wanted.untrusted_models,
        "residency": wanted.residency,
        "lineage_url": wanted.lineage_url or "",
        "models": {model: objectives.model_dump(mode="json") for model, objectives in wanted.models.items()},
    }
    missing = set(Outputs.model_fields) ^ set(exported)
    assert not missing, f"outputs and contract differ: {missing}"
    # The pipelines on AWS read the contract from the place their `OutputsUri` parameter names.
    aws.s3.BucketObjectv2(
        "outputs",
        bucket=lake.buckets[Zone.CURATED],
        key=OUTPUTS,
        content=pulumi.Output.json_dumps(exported),
        content_type="application/json",
        kms_key_id=base.keys[DataClass.INTERNAL],
        opts=pulumi.ResourceOptions(parent=lake),
    )
    return exported


def _levels(given: Given, operations: Operations, model: str) -> dict[str, Any]:
    """Where CloudWatch does not count a level's events, Managed Prometheus does, by the level's name."""
    watched = operations.service_levels.exported.get(model, {})
    by_prometheus = {
        level.name: {"says": level.says, "target": level.target, "days": PERIOD_DAYS}
        for level in counted_there(given, model)
    }
    return {**watched, **by_prometheus}


def _front_end(made: FrontEnd | None) -> dict[str, Any] | None:
    if made is None:
        return None
    return {
        "url": made.url,
        "openid_configuration": pulumi.Output.concat(made.issuer, "/.well-known/openid-configuration"),
        "user_pool_id": made.user_pool_id,
        "client_id": made.client_id,
        "sign_in": made.sign_in,
    }
