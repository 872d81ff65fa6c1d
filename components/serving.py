"""Model endpoints: SageMaker real-time endpoints with a champion and a challenger variant."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.base import Component, Scope

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class EndpointArgs:
    """Args:
    image_uri: The platform's container image; it serves ONNX files and answers 503 until a version is deployed.
    role_arn: What the container may do.
    capture_bucket: Where requests and answers are captured, under ``capture/``.
    """

    model: str
    instance_type: str
    min_instances: int
    max_instances: int
    image_uri: pulumi.Input[str]
    role_arn: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    capture_bucket: pulumi.Input[str]
    subnet_ids: list[pulumi.Output[str]]
    security_group_id: pulumi.Input[str]
    log_retention_days: int
    target_invocations_per_instance: int


class Endpoint(Component):
    """One model's endpoint.

    The program makes the endpoint with an empty container in both variants. From then on deployments belong to the
    pipeline: it makes models and configurations and moves the weights, and the program leaves those alone.
    """

    def __init__(self, name: str, scope: Scope, args: EndpointArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        tags = scope.tags("serving", Model=args.model)
        physical = scope.name(args.model)
        aws.cloudwatch.LogGroup(
            f"{name}-logs", name=f"/aws/sagemaker/Endpoints/{physical}", retention_in_days=args.log_retention_days, tags=tags, opts=self.child()
        )
        empty = aws.sagemaker.Model(
            name,
            name=scope.name(args.model, "empty"),
            execution_role_arn=args.role_arn,
            enable_network_isolation=False,  # the container reads the online store
            primary_container={"image": args.image_uri, "environment": {"GROUNDPLAN_MODEL": args.model}},
            vpc_config={"subnets": args.subnet_ids, "security_group_ids": [args.security_group_id]},
            tags=tags,
            opts=self.child(),
        )

        def variant(variant_name: str, instances: int, weight: float) -> dict[str, object]:
            return {
                "variant_name": variant_name,
                "model_name": empty.name,
                "instance_type": args.instance_type,
                "initial_instance_count": instances,
                "initial_variant_weight": weight,
            }

        configuration = aws.sagemaker.EndpointConfiguration(
            name,
            name=scope.name(args.model, "empty"),
            kms_key_arn=args.key_arn,
            production_variants=[variant(CHAMPION, args.min_instances, 1.0), variant(CHALLENGER, 1, 0.0)],
            data_capture_config={
                "enable_capture": True,
                "initial_sampling_percentage": 100,
                "destination_s3_uri": pulumi.Output.concat("s3://", args.capture_bucket, "/capture"),
                "kms_key_id": args.key_arn,
                "capture_options": [{"capture_mode": "Input"}, {"capture_mode": "Output"}],
                "capture_content_type_header": {"json_content_types": ["application/json"], "csv_content_types": ["text/csv"]},
            },
            tags=tags,
            opts=self.child(),
        )
        endpoint = aws.sagemaker.Endpoint(
            name,
            name=physical,
            endpoint_config_name=configuration.name,
            tags=tags,
            opts=self.child(ignore_changes=["endpointConfigName"]),
        )
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
            name=scope.name(args.model),
            policy_type="TargetTrackingScaling",
            service_namespace=target.service_namespace,
            scalable_dimension=target.scalable_dimension,
            resource_id=target.resource_id,
            target_tracking_scaling_policy_configuration={
                "predefined_metric_specification": {"predefined_metric_type": "SageMakerVariantInvocationsPerInstance"},
                "target_value": args.target_invocations_per_instance,
            },
            opts=self.child(),
        )
        self.endpoint_name = endpoint.name
        self.register_outputs({"endpoint_name": endpoint.name})
