"""The scientists' workspace: a private SageMaker Studio domain, a profile and a role for each, shut down when idle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope, Statement
from components.foundation.roles import make_role, service_trust


@dataclass(frozen=True, kw_only=True)
class WorkspaceArgs(Args):
    """Args:
    scientists: Names; each gets a profile.
    idle_minutes: Minutes after which an idle notebook is shut down, 60 to 525600 (SageMaker's own bounds).
    bucket_arns: Buckets that scientists may read: curated, features, models.
    scratch_bucket_arn: Bucket in which each writes below ``scratch/<name>/``.
    key_arn: Encrypts the home folders.
    key_arns: Keys of the buckets.
    """

    scientists: tuple[str, ...]
    idle_minutes: Annotated[int, Between(60, 525_600, "minutes", "SageMaker Studio")]
    vpc_id: pulumi.Input[str]
    subnet_ids: list[pulumi.Output[str]]
    security_group_id: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    key_arns: tuple[pulumi.Input[str], ...]
    bucket_arns: tuple[str, ...]
    scratch_bucket_arn: str
    boundary_arn: pulumi.Input[str]


class Workspace(Component):
    """Studio.

    Attributes:
        domain_id: ID of the domain.
        role_arns: Role ARN by scientist.
    """

    def __init__(
        self, name: str, scope: Scope, args: WorkspaceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        self._args = args
        tags = scope.tags("workspace")
        nobody = make_role(
            self,
            name,
            service_trust(scope.account_id, "sagemaker.amazonaws.com"),
            purpose="workspace",
            boundary_arn=args.boundary_arn,
        )
        domain = aws.sagemaker.Domain(
            name,
            domain_name=scope.name("workspace"),
            auth_mode="IAM",
            vpc_id=args.vpc_id,
            subnet_ids=args.subnet_ids,
            app_network_access_type="VpcOnly",
            kms_key_id=args.key_arn,
            # Without a personal profile there is nothing to do here: the default role has no permissions.
            default_user_settings={
                "execution_role": nobody.arn,
                "security_groups": [args.security_group_id],
                "jupyter_lab_app_settings": {
                    "app_lifecycle_management": {
                        "idle_settings": {
                            "lifecycle_management": "ENABLED",
                            "idle_timeout_in_minutes": args.idle_minutes,
                        }
                    }
                },
                "sharing_settings": {"notebook_output_option": "Disabled"},
            },
            domain_settings={
                "execution_role_identity_config": "USER_PROFILE_NAME"
            },  # the audit trail then names the person
            retention_policy={"home_efs_file_system": "Retain" if scope.protect else "Delete"},
            tags=tags,
            opts=self.child(),
        )
        self.role_arns: dict[str, pulumi.Output[str]] = {}
        for scientist in args.scientists:
            role = make_role(
                self,
                f"{name}-{scientist}",
                service_trust(scope.account_id, "sagemaker.amazonaws.com"),
                self._rights(scientist),
                purpose=f"scientist-{scientist}",
                boundary_arn=args.boundary_arn,
            )
            aws.sagemaker.UserProfile(
                f"{name}-{scientist}",
                domain_id=domain.id,
                user_profile_name=scientist,
                user_settings={"execution_role": role.arn, "security_groups": [args.security_group_id]},
                tags={**tags, "Scientist": scientist},
                opts=self.child(),
            )
            self.role_arns[scientist] = role.arn
        self.domain_id = domain.id
        self.register_outputs({"domain_id": domain.id, "role_arns": self.role_arns})

    def _rights(self, scientist: str) -> list[Statement]:
        args, scope = self._args, self.scope
        readable = tuple(f"{arn}/*" for arn in args.bucket_arns)
        here = f"arn:aws:sagemaker:{scope.region}:{scope.account_id}"
        return [
            Statement(("s3:GetObject", "s3:GetObjectVersion"), readable),
            Statement(("s3:ListBucket",), args.bucket_arns),
            Statement(("s3:PutObject", "s3:DeleteObject"), (f"{args.scratch_bucket_arn}/scratch/{scientist}/*",)),
            Statement(("kms:Decrypt", "kms:GenerateDataKey"), args.key_arns),
            Statement(
                (
                    "sagemaker:CreateApp",
                    "sagemaker:DeleteApp",
                    "sagemaker:DescribeApp",
                    "sagemaker:CreateSpace",
                    "sagemaker:DescribeSpace",
                ),
                (f"{here}:app/*/{scientist}/*", f"{here}:space/*"),
            ),
            Statement(
                (
                    "sagemaker:StartPipelineExecution",
                    "sagemaker:DescribePipeline",
                    "sagemaker:DescribePipelineExecution",
                ),
                (f"{here}:pipeline/{scope.name()}-*",),
            ),
            Statement(
                ("sagemaker:InvokeEndpoint", "sagemaker:DescribeEndpoint"), (f"{here}:endpoint/{scope.name()}-*",)
            ),
        ]
