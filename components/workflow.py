"""The pipeline that retrains a model: its container image's repository and the SageMaker Pipeline itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.base import Component, Scope


@dataclass(frozen=True)
class ImageArgs:
    """Args:
    version: Tag of the image the stack runs.
    """

    version: str
    key_arn: pulumi.Input[str]


class Image(Component):
    """The repository of the one container image that pipelines and endpoints run.

    Attributes:
        uri: Repository and tag.
    """

    def __init__(self, name: str, scope: Scope, args: ImageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        repository = aws.ecr.Repository(
            name,
            name=scope.name("platform", limit=256),
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration={"scan_on_push": True},
            encryption_configurations=[{"encryption_type": "KMS", "kms_key": args.key_arn}],
            tags=scope.tags("image"),
            opts=self.child(),
        )
        aws.ecr.LifecyclePolicy(
            name,
            repository=repository.name,
            policy=json.dumps(
                {
                    "rules": [
                        {
                            "rulePriority": 1,
                            "description": "Layers that no tag holds any more",
                            "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14},
                            "action": {"type": "expire"},
                        }
                    ]
                }
            ),
            opts=self.child(),
        )
        # Known before the repository is there, so that manifests can be reviewed before a deployment.
        self.uri = f"{scope.account_id}.dkr.ecr.{scope.region}.amazonaws.com/{scope.name('platform', limit=256)}:{args.version}"
        self.register_outputs({"uri": self.uri})


@dataclass(frozen=True)
class WorkflowArgs:
    """Args:
    definition: The compiled pipeline (SageMaker's pipeline definition JSON, schema 2020-12-01).
    parameters: Default values of the pipeline's parameters, by name.
    role_arn: What the pipeline may do.
    """

    model: str
    definition: dict[str, Any]
    parameters: dict[str, pulumi.Input[str]]
    role_arn: pulumi.Input[str]


class Workflow(Component):
    """One model's SageMaker Pipeline."""

    def __init__(self, name: str, scope: Scope, args: WorkflowArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)

        def fill(values: dict[str, str]) -> str:
            parameters = [item | ({"DefaultValue": values[item["Name"]]} if values.get(item["Name"]) else {}) for item in args.definition["Parameters"]]
            return json.dumps({**args.definition, "Parameters": parameters})

        pipeline = aws.sagemaker.Pipeline(
            name,
            pipeline_name=scope.name(args.model, limit=256),
            pipeline_display_name=scope.name(args.model, limit=256),
            pipeline_definition=pulumi.Output.all(**args.parameters).apply(fill),
            role_arn=args.role_arn,
            tags=scope.tags("workflow", Model=args.model),
            opts=self.child(),
        )
        self.pipeline_name = pipeline.pipeline_name
        self.register_outputs({"pipeline_name": self.pipeline_name})
