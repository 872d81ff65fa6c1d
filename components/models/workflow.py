"""The SageMaker Pipeline that retrains a model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args
from components.foundation.base import Component, Scope


@dataclass(frozen=True, kw_only=True)
class WorkflowArgs(Args):
    """Args:
    definition: The compiled pipeline (SageMaker's pipeline definition JSON, schema 2020-12-01).
    parameters: Default values of the pipeline's parameters, by name.
    role_arn: What the pipeline may do.
    key_arn: Encrypts the jobs' volumes.
    """

    model: str
    definition: dict[str, Any]
    parameters: dict[str, pulumi.Input[str]]
    role_arn: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    subnet_ids: list[pulumi.Output[str]]
    security_group_id: pulumi.Input[str]


class Workflow(Component):
    """One model's SageMaker Pipeline, its jobs in the private network."""

    def __init__(self, name: str, scope: Scope, args: WorkflowArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)

        def fill(found: dict[str, Any]) -> str:
            values = found["parameters"]
            parameters = [
                item | ({"DefaultValue": values[item["Name"]]} if values.get(item["Name"]) else {})
                for item in args.definition["Parameters"]
            ]
            network = {
                "EnableInterContainerTrafficEncryption": True,
                "EnableNetworkIsolation": False,  # jobs read events from Kafka and write to the tracking server
                "VpcConfig": {"SecurityGroupIds": [found["group"]], "Subnets": found["subnets"]},
            }
            steps = [_placed(step, network, found["key"], scope.region) for step in args.definition["Steps"]]
            return json.dumps({**args.definition, "Parameters": parameters, "Steps": steps})

        known = pulumi.Output.all(
            parameters=args.parameters, key=args.key_arn, subnets=args.subnet_ids, group=args.security_group_id
        )
        pipeline = aws.sagemaker.Pipeline(
            name,
            pipeline_name=scope.name(args.model, limit=256),
            pipeline_display_name=scope.name(args.model, limit=256),
            pipeline_definition=known.apply(fill),
            role_arn=args.role_arn,
            tags=scope.tags("workflow", Model=args.model),
            opts=self.child(),
        )
        self.pipeline_name = pipeline.pipeline_name
        self.register_outputs({"pipeline_name": self.pipeline_name})


def _placed(step: dict[str, Any], network: dict[str, Any], key_arn: str, region: str) -> dict[str, Any]:
    """A processing step with its network, its region, its volume encrypted (CreateProcessingJob)."""
    arguments = step["Arguments"]
    resources = {
        **arguments["ProcessingResources"],
        "ClusterConfig": {**arguments["ProcessingResources"]["ClusterConfig"], "VolumeKmsKeyId": key_arn},
    }
    environment = {**arguments.get("Environment", {}), "AWS_DEFAULT_REGION": region}  # boto3 reads this one
    return {
        **step,
        "Arguments": {
            **arguments,
            "NetworkConfig": network,
            "ProcessingResources": resources,
            "Environment": environment,
        },
    }
