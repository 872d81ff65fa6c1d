"""The SageMaker Pipeline that retrains a model."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope


@dataclass(frozen=True, kw_only=True)
class WorkflowArgs(Args):
    """Args:
    definition: The compiled pipeline (SageMaker's pipeline definition JSON, schema 2020-12-01).
    parameters: Default values of the pipeline's parameters, by name.
    role_arn: What the pipeline may do.
    key_arn: Encrypts the jobs' volumes.
    results_key_arn: Encrypts what jobs write to S3.
    spot_minutes: How long a training may take with its waits for spare capacity (managed spot training); 0 for
        capacity that is not taken away.
    training_minutes: Longest time that a training may run.
    """

    model: str
    definition: dict[str, Any]
    parameters: dict[str, pulumi.Input[str]]
    role_arn: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    results_key_arn: pulumi.Input[str]
    spot_minutes: Annotated[float, Between(0, 40_320, "minutes", "SageMaker")] = 0  # 28 days
    training_minutes: Annotated[float, Between(1, 40_320, "minutes", "SageMaker")] = 60
    subnet_ids: list[pulumi.Output[str]]
    security_group_id: pulumi.Input[str]


class Workflow(Component):
    """One model's SageMaker Pipeline, its jobs in the private network.

    Attributes:
        pipeline_name, pipeline_arn: Physical name and ARN.
    """

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
            placed = _Placed(args, network, scope.region, found["key"], found["results_key"])
            steps = [placed(step) for step in args.definition["Steps"]]
            return json.dumps({**args.definition, "Parameters": parameters, "Steps": steps})

        known = pulumi.Output.all(
            parameters=args.parameters,
            key=args.key_arn,
            results_key=args.results_key_arn,
            subnets=args.subnet_ids,
            group=args.security_group_id,
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
        self.pipeline_name, self.pipeline_arn = pipeline.pipeline_name, pipeline.arn
        self.register_outputs({"pipeline_name": self.pipeline_name})


@dataclass(frozen=True)
class _Placed:
    """Puts compiled steps into the network, and encrypts what they write."""

    args: WorkflowArgs
    network: dict[str, Any]
    region: str
    key_arn: str
    results_key_arn: str

    def __call__(self, step: dict[str, Any]) -> dict[str, Any]:
        """The step as its service takes it."""
        made = {"Processing": self._processing, "Training": self._training, "Condition": self._condition}
        return {**step, "Arguments": made.get(step["Type"], dict)(step["Arguments"])}

    def _processing(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """CreateProcessingJob."""
        resources = arguments["ProcessingResources"]
        outputs = arguments.get("ProcessingOutputConfig")
        return {
            **arguments,
            "NetworkConfig": self.network,
            "ProcessingResources": {"ClusterConfig": {**resources["ClusterConfig"], "VolumeKmsKeyId": self.key_arn}},
            **({"ProcessingOutputConfig": {**outputs, "KmsKeyId": self.results_key_arn}} if outputs else {}),
            "Environment": self._environment(arguments),
        }

    def _training(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """CreateTrainingJob; on spot capacity it waits for its turn, and continues from its checkpoints."""
        longest = math.ceil(self.args.training_minutes * 60)
        stopping = {"MaxRuntimeInSeconds": longest}
        spot = self.args.spot_minutes > 0
        if spot:
            stopping["MaxWaitTimeInSeconds"] = max(longest, math.ceil(self.args.spot_minutes * 60))
        return {
            **arguments,
            "EnableManagedSpotTraining": spot,
            "EnableNetworkIsolation": self.network["EnableNetworkIsolation"],
            "EnableInterContainerTrafficEncryption": self.network["EnableInterContainerTrafficEncryption"],
            "VpcConfig": self.network["VpcConfig"],
            "StoppingCondition": stopping,
            "OutputDataConfig": {**arguments["OutputDataConfig"], "KmsKeyId": self.results_key_arn},
            "ResourceConfig": {**arguments["ResourceConfig"], "VolumeKmsKeyId": self.key_arn},
            "Environment": self._environment(arguments),
        }

    def _condition(self, arguments: dict[str, Any]) -> dict[str, Any]:
        inner = {name: [self(step) for step in arguments[name]] for name in ("IfSteps", "ElseSteps")}
        return {**arguments, **inner}

    def _environment(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments.get("Environment", {}), "AWS_DEFAULT_REGION": self.region}  # boto3 reads this one
