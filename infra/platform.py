"""The program: reads one stack's objectives, draws the design, makes the components, exports the outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws

from components.base import Scope
from components.cluster_models import ClusterModel, ClusterModels, ClusterModelsArgs
from components.cost import Cost, CostArgs
from components.identity import Identity, IdentityArgs
from components.keys import DataClass, Keys, KeysArgs
from components.lake import Lake, LakeArgs, Zone
from components.monitoring import ModelAlarms, Monitoring, MonitoringArgs
from components.network import Network, NetworkArgs
from components.online_store import OnlineStore, OnlineStoreArgs
from components.secrets import Secrets, SecretsArgs
from components.serving import Endpoint, EndpointArgs
from components.streaming import Streaming, StreamingArgs, Topic
from components.tracking import Tracking, TrackingArgs
from components.workflow import Image, ImageArgs, Workflow, WorkflowArgs
from infra.contracts import example_folders, load_contracts
from infra.design import REQUESTS_PER_SECOND_PER_VCPU, Design, design
from infra.objectives import Objectives, StackConfig, parse
from infra.outputs import Outputs
from infra.prices import load_prices

ROOT = Path(__file__).parent.parent
IMAGE_VERSION = "0.1.0"
CODE_FOLDER = "/opt/groundplan"  # where the container image holds the project


def build() -> None:
    """Make the platform of the current stack. Called once, by the engine or by the local cloud.

    Raises:
        UsageError: The objectives are wrong or can't be met.
    """
    stack = parse(_config(), where=f"stacks/Pulumi.{pulumi.get_stack()}.yaml")
    wanted = stack.objectives
    plan = design(wanted, load_prices())
    scope = Scope(
        project=pulumi.get_project(), stack=pulumi.get_stack(), region=stack.region, account_id=stack.account_id, owner=wanted.owner, protect=wanted.production
    )
    pulumi.export("platform", _make(scope, stack, plan))


def _config() -> dict[str, Any]:
    aws_config, own = pulumi.Config("aws"), pulumi.Config("groundplan")
    found = {
        "aws:region": aws_config.get("region"),
        "aws:allowedAccountIds": aws_config.get_object("allowedAccountIds"),
        "groundplan:objectives": own.get_object("objectives"),
    }
    return {key: value for key, value in found.items() if value is not None}


def _make(scope: Scope, stack: StackConfig, plan: Design) -> dict[str, Any]:
    wanted = stack.objectives
    contracts = load_contracts(ROOT)
    keys = Keys("keys", scope, KeysArgs(deletion_days=plan.key_deletion_days))
    network = Network("network", scope, NetworkArgs(zones=plan.zones))
    lake = Lake("lake", scope, LakeArgs(keys.arns, {Zone.AUDIT: plan.audit_retention_days}))
    secrets = Secrets("secrets", scope, SecretsArgs(keys.arns[DataClass.RESTRICTED], ("masking-key",), plan.key_deletion_days))
    tracking = Tracking(
        "tracking",
        scope,
        TrackingArgs(
            instance_class=plan.database.instance_class,
            multi_az=plan.database.multi_az,
            storage_gb=plan.database.storage_gb,
            backup_days=plan.database.backup_days,
            subnet_ids=network.subnet_ids,
            security_group_id=network.security_group_id,
            models_key_arn=keys.arns[DataClass.MODELS],
            database_key_arn=keys.arns[DataClass.INTERNAL],
        ),
    )
    online = OnlineStore(
        "online-store",
        scope,
        OnlineStoreArgs(keys.arns[DataClass.INTERNAL], plan.point_in_time_recovery, tuple(contract.view for contract in contracts)),
    )
    identity = Identity("identity", scope, IdentityArgs(lake.arns, tracking.artifact_bucket_arn, keys.arns, online.arn_pattern))
    kafka: dict[str, Any] = {}
    if plan.streaming.kind != "none":
        streaming = Streaming(
            "streaming",
            scope,
            StreamingArgs(
                kind=plan.streaming.kind,
                subnet_ids=network.subnet_ids,
                security_group_id=network.security_group_id,
                key_arn=keys.arns[DataClass.RESTRICTED],
                log_retention_days=plan.log_retention_days,
                retention_days=plan.streaming.retention_days,
                broker_type=plan.streaming.broker_type,
                brokers=plan.streaming.brokers,
                storage_gb=plan.streaming.storage_gb,
                topics={contract.topic: Topic(contract.json_schema(), plan.streaming.partitions) for contract in contracts},
            ),
        )
        kafka = {"bootstrap_servers": streaming.bootstrap_servers, "registry": streaming.registry_name, "topics": streaming.topics}

    image = Image("image", scope, ImageArgs(IMAGE_VERSION, keys.arns[DataClass.INTERNAL]))
    endpoints = {
        model: Endpoint(
            f"endpoint-{model}",
            scope,
            EndpointArgs(
                model=model,
                instance_type=serving.instance_type,
                min_instances=serving.min_instances,
                max_instances=serving.max_instances,
                image_uri=image.uri,
                role_arn=identity.role_arns["serving"],
                key_arn=keys.arns[DataClass.MODELS],
                capture_bucket=lake.buckets[Zone.MODELS],
                subnet_ids=network.subnet_ids,
                security_group_id=network.security_group_id,
                log_retention_days=plan.log_retention_days,
                # The metric counts a minute; scale out at 70 % of what an instance of two vCPUs can take.
                target_invocations_per_instance=round(2 * REQUESTS_PER_SECOND_PER_VCPU * 60 * 0.7),
            ),
        )
        for model, serving in plan.serving.items()
    }
    cluster_models = ClusterModels(
        "cluster-models",
        scope,
        ClusterModelsArgs(
            models={model: ClusterModel(serving.min_instances, serving.max_instances, serving.canary_percent) for model, serving in plan.serving.items()},
            image_uri=image.uri,
            model_bucket=lake.buckets[Zone.MODELS],
        ),
    )
    pulumi.export("inference_services", cluster_models.names)
    monitoring = Monitoring("monitoring", scope, _alarms(wanted, endpoints, keys))
    cost = Cost("cost", scope, CostArgs(wanted.budget.monthly_usd, wanted.budget.alert_percent, (wanted.stakeholders.finance, wanted.owner)))
    definition = json.loads((Path(__file__).parent / "pipeline.json").read_text(encoding="utf-8"))
    folders = example_folders(ROOT)
    workflows = {
        model: Workflow(
            f"workflow-{model}",
            scope,
            WorkflowArgs(
                model=model,
                definition=definition,
                parameters={
                    "Example": f"{CODE_FOLDER}/examples/{folders.get(model, model)}",
                    "ImageUri": image.uri,
                    "RoleArn": identity.role_arns["pipeline"],
                    "OutputsUri": pulumi.Output.concat("s3://", lake.buckets[Zone.CURATED], "/platform/outputs.json"),
                },
                role_arn=identity.role_arns["pipeline"],
            ),
        )
        for model in wanted.models
    }
    exported = {
        "project": scope.project,
        "stack": scope.stack,
        "region": scope.region,
        "account_id": scope.account_id,
        "buckets": {**{str(zone): name for zone, name in lake.buckets.items()}, "mlflow": tracking.artifact_bucket},
        "key_arns": {str(data_class): arn for data_class, arn in keys.arns.items()},
        "role_arns": identity.role_arns,
        "secret_arns": secrets.arns,
        "network": {"subnet_ids": network.subnet_ids, "security_group_id": network.security_group_id},
        "kafka": kafka,
        "online_tables": online.tables,
        "online_table_prefix": online.table_prefix,
        "endpoints": {
            model: {
                "name": endpoint.endpoint_name,
                "instance_type": plan.serving[model].instance_type,
                "min_instances": plan.serving[model].min_instances,
                "canary_percent": plan.serving[model].canary_percent,
                "image_uri": image.uri,
            }
            for model, endpoint in endpoints.items()
        },
        "pipelines": {model: workflow.pipeline_name for model, workflow in workflows.items()},
        "alarms": monitoring.alarm_names,
        "metrics_namespace": f"Groundplan/{scope.stack}",
        "budget_name": cost.budget_name,
        "approvals": list(plan.approvals),
        "models": {model: objectives.model_dump(mode="json") for model, objectives in wanted.models.items()},
    }
    missing = set(Outputs.model_fields) ^ set(exported)
    assert not missing, f"outputs and contract differ: {missing}"
    # The pipelines on AWS read the contract from the place their `OutputsUri` parameter names.
    aws.s3.BucketObjectv2(
        "outputs",
        bucket=lake.buckets[Zone.CURATED],
        key="platform/outputs.json",
        content=pulumi.Output.json_dumps(exported),
        content_type="application/json",
        kms_key_id=keys.arns[DataClass.INTERNAL],
        opts=pulumi.ResourceOptions(parent=lake),
    )
    return exported


def _alarms(wanted: Objectives, endpoints: dict[str, Endpoint], keys: Keys) -> MonitoringArgs:
    return MonitoringArgs(
        models={
            name: ModelAlarms(
                endpoint_name=endpoints[name].endpoint_name,
                latency_ms=model.latency_ms,
                quality_metric=model.quality.metric,
                quality_worst=model.quality.worst,
                higher_is_better=model.quality.metric == "accuracy",
                drift_share=model.drift_share,
            )
            for name, model in wanted.models.items()
        },
        addresses={"operations": wanted.stakeholders.operations, "product": wanted.stakeholders.product},
        key_arn=keys.arns[DataClass.INTERNAL],
    )
