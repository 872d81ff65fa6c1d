"""Retraining in a function: AWS Lambda runs the steps until people must agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between, LogRetention
from components.foundation.base import Component, Scope

HANDLER = "pipelines.steps.on_lambda.handler"
LONGEST_SECONDS = 900
WRITABLE_MB = 10_240


def function_name(scope: Scope, model: str) -> str:
    """Physical name of the function that trains a model."""
    return scope.name(model, "train", limit=64)


@dataclass(frozen=True, kw_only=True)
class TrainerArgs(Args):
    """Args:
    folder: Folder of the model in the image.
    role_arn: What the function may do.
    key_arn: Encrypts the function's environment and its log.
    failures_topic_arn: Who hears of a run that failed.
    """

    model: str
    folder: str
    image_uri: pulumi.Input[str]
    memory_mb: Annotated[int, Between(128, 10_240, "MB", "Lambda")]
    role_arn: pulumi.Input[str]
    outputs_uri: str
    tracking_uri: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    subnet_ids: list[pulumi.Output[str]]
    security_group_id: pulumi.Input[str]
    failures_topic_arn: pulumi.Input[str]
    log_retention_days: LogRetention


class Trainer(Component):
    """One model's function. A deployment takes longer than a function may run, so a pipeline of one job releases.

    Attributes:
        function_arn: What the schedule invokes.
    """

    def __init__(self, name: str, scope: Scope, args: TrainerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        tags = scope.tags("workflow", Model=args.model)
        physical = function_name(scope, args.model)
        logs = aws.cloudwatch.LogGroup(
            name,
            name=f"/{scope.project}/{scope.stack}/train/{args.model}",
            retention_in_days=args.log_retention_days,
            kms_key_id=args.key_arn,
            tags=tags,
            opts=self.child(),
        )
        function = aws.lambda_.Function(
            name,
            name=physical,
            description=f"Retrains {args.model} until people must agree",
            package_type="Image",
            image_uri=args.image_uri,
            image_config={"entry_points": ["python", "-m", "awslambdaric"], "commands": [HANDLER]},
            architectures=["x86_64"],
            role=args.role_arn,
            timeout=LONGEST_SECONDS,
            memory_size=args.memory_mb,
            ephemeral_storage={"size": WRITABLE_MB},
            vpc_config={"subnet_ids": args.subnet_ids, "security_group_ids": [args.security_group_id]},
            kms_key_arn=args.key_arn,
            environment={
                "variables": {
                    "GROUNDPLAN_MODEL_FOLDER": args.folder,
                    "GROUNDPLAN_OUTPUTS": args.outputs_uri,
                    "MLFLOW_TRACKING_URI": args.tracking_uri,
                    "HOME": "/tmp",  # noqa: S108 (all that Lambda lets a function write)
                }
            },
            logging_config={"log_format": "Text", "log_group": logs.name},
            tags=tags,
            opts=self.child(),
        )
        aws.lambda_.FunctionEventInvokeConfig(
            name,
            function_name=function.name,
            maximum_retry_attempts=0,  # what failed is looked at; the next run comes by itself
            destination_config={"on_failure": {"destination": args.failures_topic_arn}},
            opts=self.child(),
        )
        self.function_arn = function.arn
        self.register_outputs({"function_arn": function.arn})
