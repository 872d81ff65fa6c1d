"""A model that predicts in batches: SageMaker transform jobs, on a schedule, over files in the features zone."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args
from components.foundation.base import Component, Scope, Statement
from components.foundation.roles import make_role, service_trust
from components.foundation.signing import signing_aliases
from spec.transform_jobs import transform_job

EMPTY_PACKAGE = base64.b64encode(gzip.compress(b"\0" * 1024, mtime=0)).decode()  # a tar without files


@dataclass(frozen=True, kw_only=True)
class BatchTransformArgs(Args):
    """Args:
    instance_type: SageMaker instance type.
    schedule, timezone: When jobs start, as EventBridge Scheduler writes it.
    bucket: Requests are below ``batch/<model>/in/``, answers below ``batch/<model>/out/``: one JSON object per
        line, in the endpoint's format.
    signers: Whose signatures a version must have to be loaded; without them, any is.
    """

    model: str
    instance_type: str
    image_uri: pulumi.Input[str]
    role_arn: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    bucket: pulumi.Input[str]
    model_bucket: pulumi.Input[str]
    subnet_ids: list[pulumi.Output[str]]
    security_group_id: pulumi.Input[str]
    schedule: str = "rate(1 hour)"
    timezone: str = ""
    signers: tuple[str, ...] = ()


class BatchTransform(Component):
    """A model and the schedule that starts its jobs.

    The container reads the model that the pipeline published last, so a schedule never names a version.

    Attributes:
        model_name: Its name in SageMaker.
    """

    def __init__(
        self, name: str, scope: Scope, args: BatchTransformArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        tags = scope.tags("serving", Model=args.model)
        # SageMaker can't create a model without an existing package; this one is empty until the pipeline publishes
        # another in its place.
        empty = aws.s3.BucketObjectv2(
            name,
            bucket=args.model_bucket,
            key=f"{args.model}/current/model.tar.gz",
            content_base64=EMPTY_PACKAGE,
            kms_key_id=args.key_arn,
            opts=self.child(ignore_changes=["contentBase64", "metadata", "tags"]),
        )
        package = pulumi.Output.concat("s3://", args.model_bucket, "/", empty.key)
        environment: dict[str, pulumi.Input[str]] = {
            "GROUNDPLAN_MODEL": args.model,
            "AWS_DEFAULT_REGION": scope.region,
        }
        if args.signers:
            environment["GROUNDPLAN_SIGNING_KEYS"] = signing_aliases(scope, args.signers)
            environment["GROUNDPLAN_PACKAGE"] = package
        model = aws.sagemaker.Model(
            name,
            name=scope.name(args.model, "batch"),
            execution_role_arn=args.role_arn,
            primary_container={
                "image": args.image_uri,
                "model_data_url": package,
                "environment": environment,
            },
            vpc_config={"subnets": args.subnet_ids, "security_group_ids": [args.security_group_id]},
            tags=tags,
            # A model can't change its image, and jobs find it by its name.
            opts=self.child(delete_before_replace=True),
        )
        job = scope.name(args.model, limit=40)
        role = make_role(
            self,
            f"{name}-scheduler",
            service_trust(scope.account_id, "scheduler.amazonaws.com"),
            [
                Statement(
                    ("sagemaker:CreateTransformJob",),
                    (f"arn:aws:sagemaker:{scope.region}:{scope.account_id}:transform-job/{job}-*",),
                ),
                Statement(("kms:Decrypt",), (args.key_arn,)),
                # The job's volume: https://docs.aws.amazon.com/sagemaker/latest/dg/api-permissions-reference.html
                Statement(
                    ("kms:CreateGrant",), (args.key_arn,), conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}}
                ),
            ],
            purpose=f"batch-{args.model}",
        )
        request = pulumi.Output.all(model=model.name, bucket=args.bucket, key=args.key_arn).apply(
            # The scheduler inserts its execution's id, since job names must be unique.
            lambda found: json.dumps(
                transform_job(
                    f"{job}-<aws.scheduler.execution-id>", of=args.model, instance_type=args.instance_type, **found
                )
            )
        )
        aws.scheduler.Schedule(
            name,
            name=scope.name(args.model, "batch", limit=64),
            group_name="default",
            schedule_expression=args.schedule,
            schedule_expression_timezone=args.timezone or None,
            flexible_time_window={"mode": "OFF"},
            kms_key_arn=args.key_arn,
            target={
                "arn": "arn:aws:scheduler:::aws-sdk:sagemaker:createTransformJob",
                "role_arn": role.arn,
                "input": request,
            },
            opts=self.child(),
        )
        self.model_name = model.name
        self.register_outputs({"model_name": model.name})
