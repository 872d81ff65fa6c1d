"""Model endpoints on SageMaker: real-time with a champion and a challenger, serverless with one variant; one
interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between, LogRetention
from components.foundation.base import Component, Scope
from spec.names import endpoint_log_group

CHAMPION, CHALLENGER = "champion", "challenger"
SERVERLESS_MEMORY_MB = 2048
LOCAL_NVME = ("ml.g4dn.", "ml.g5.")  # among the types that a design can choose
BAKING_SECONDS = 60  # how long alarms observe the canary before the rest of the traffic follows; one alarm period


@dataclass(frozen=True, kw_only=True)
class EndpointArgs(Args):
    """Args:
    image_uri: The platform's container image; it serves ONNX files and answers 503 until a version is deployed.
    role_arn: What the container may do.
    capture_bucket: Where requests and answers are captured, under ``capture/``.
    instance_type: Empty for a serverless endpoint.
    min_instances, max_instances: Of the champion; for serverless ``max_instances`` is the most concurrent requests.
    canary_percent: Share of the capacity that is updated first.
    rollback_alarms: Alarms that roll an update back.
    """

    model: str
    instance_type: str
    min_instances: Annotated[int, Between(0)]
    max_instances: Annotated[int, Between(1)]
    canary_percent: Annotated[int, Between(0, 50, "percent", "SageMaker")]
    image_uri: pulumi.Input[str]
    role_arn: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    capture_bucket: pulumi.Input[str]
    subnet_ids: list[pulumi.Output[str]]
    security_group_id: pulumi.Input[str]
    log_retention_days: LogRetention
    target_invocations_per_minute: int
    rollback_alarms: tuple[pulumi.Output[str], ...] = ()


def endpoint_name(scope: Scope, model: str) -> str:
    """Physical name of a model's endpoint; alarms need it before the endpoint exists."""
    return scope.name(model)


def log_group(scope: Scope, model: str) -> str:
    """Name of the log group of a model's containers."""
    return endpoint_log_group(endpoint_name(scope, model))


class Endpoint(Component):
    """One model's endpoint.

    The program creates the endpoint with an empty container in its variants. From then on deployments belong to the
    pipeline: it creates models and configurations and shifts the weights, and the program leaves those alone.

    Attributes:
        endpoint_name: Physical name.
    """

    def __init__(self, name: str, scope: Scope, args: EndpointArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        tags = scope.tags("serving", Model=args.model)
        physical = endpoint_name(scope, args.model)
        aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=log_group(scope, args.model),
            retention_in_days=args.log_retention_days,
            kms_key_id=args.key_arn,
            tags=tags,
            opts=self.child(),
        )
        empty = aws.sagemaker.Model(
            name,
            name=scope.name(args.model, "empty"),
            execution_role_arn=args.role_arn,
            enable_network_isolation=False,  # the container reads the online store
            primary_container={
                "image": args.image_uri,
                "environment": {"GROUNDPLAN_MODEL": args.model, "AWS_DEFAULT_REGION": scope.region},
            },
            # A serverless endpoint can't be put into a VPC, and can't capture its requests.
            # https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html#serverless-endpoints-how-it-works-exclusions
            vpc_config=(
                {"subnets": args.subnet_ids, "security_group_ids": [args.security_group_id]}
                if args.instance_type
                else None
            ),
            tags=tags,
            # It answers 503 with any image; the pipeline's models use the image of their time.
            opts=self.child(ignore_changes=["primaryContainer.image"]),
        )
        configuration = aws.sagemaker.EndpointConfiguration(
            name,
            name=scope.name(args.model, "empty"),
            # Instances with local NVMe encrypt it in hardware, and SageMaker refuses a key for them.
            kms_key_arn=None if args.instance_type.startswith(LOCAL_NVME) else args.key_arn,
            production_variants=self._variants(args, empty.name),
            data_capture_config=self._capture(args) if args.instance_type else None,
            tags=tags,
            opts=self.child(),
        )
        endpoint = aws.sagemaker.Endpoint(
            name,
            name=physical,
            endpoint_config_name=configuration.name,
            # Deployment guardrails are for instances:
            # https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html
            deployment_config=self._guardrails(args) if args.instance_type else None,
            tags=tags,
            # Both belong to the pipeline's updates: a change of the second would also apply the first, the empty one.
            opts=self.child(ignore_changes=["endpointConfigName", "deploymentConfig"]),
        )
        if args.instance_type:
            self._scale(name, args, endpoint)
        self.endpoint_name = endpoint.name
        self.register_outputs({"endpoint_name": endpoint.name})

    def _variants(self, args: EndpointArgs, model: pulumi.Output[str]) -> list[dict[str, Any]]:
        if not args.instance_type:
            limits = {"max_concurrency": args.max_instances, "memory_size_in_mb": SERVERLESS_MEMORY_MB}
            return [
                {
                    "variant_name": CHAMPION,
                    "model_name": model,
                    "initial_variant_weight": 1.0,
                    "serverless_config": limits,
                }
            ]
        return [
            {
                "variant_name": variant,
                "model_name": model,
                "instance_type": args.instance_type,
                "initial_instance_count": instances,
                "initial_variant_weight": weight,
            }
            for variant, instances, weight in ((CHAMPION, args.min_instances, 1.0), (CHALLENGER, 1, 0.0))
        ]

    def _capture(self, args: EndpointArgs) -> dict[str, Any]:
        return {
            "enable_capture": True,
            "initial_sampling_percentage": 100,
            "destination_s3_uri": pulumi.Output.concat("s3://", args.capture_bucket, "/capture"),
            "kms_key_id": args.key_arn,
            "capture_options": [{"capture_mode": "Input"}, {"capture_mode": "Output"}],
            "capture_content_type_header": {
                "json_content_types": ["application/json"],
                "csv_content_types": ["text/csv"],
            },
        }

    def _guardrails(self, args: EndpointArgs) -> dict[str, Any]:
        """Blue/green with a canary, rolled back by alarms; `pipelines.steps.deploy` sends the same with each update."""
        found: dict[str, Any] = {
            "blue_green_update_policy": {
                "traffic_routing_configuration": {
                    "type": "CANARY",
                    "canary_size": {"type": "CAPACITY_PERCENT", "value": args.canary_percent},
                    "wait_interval_in_seconds": BAKING_SECONDS,
                },
                "termination_wait_in_seconds": BAKING_SECONDS,
                "maximum_execution_timeout_in_seconds": 1800,
            }
        }
        if args.rollback_alarms:
            found["auto_rollback_configuration"] = {"alarms": [{"alarm_name": alarm} for alarm in args.rollback_alarms]}
        return found

    def _scale(self, name: str, args: EndpointArgs, endpoint: aws.sagemaker.Endpoint) -> None:
        target = aws.appautoscaling.Target(
            name,
            service_namespace="sagemaker",
            scalable_dimension="sagemaker:variant:DesiredInstanceCount",
            resource_id=endpoint.name.apply(lambda value: f"endpoint/{value}/variant/{CHAMPION}"),
            min_capacity=args.min_instances,
            max_capacity=args.max_instances,
            opts=self.child(),
        )
        aws.appautoscaling.Policy(
            name,
            name=self.scope.name(args.model, limit=256),
            policy_type="TargetTrackingScaling",
            service_namespace=target.service_namespace,
            scalable_dimension=target.scalable_dimension,
            resource_id=target.resource_id,
            target_tracking_scaling_policy_configuration={
                "predefined_metric_specification": {"predefined_metric_type": "SageMakerVariantInvocationsPerInstance"},
                "target_value": args.target_invocations_per_minute,
            },
            opts=self.child(),
        )
