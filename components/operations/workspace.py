"""The scientists' workspace: a private SageMaker Studio domain; for each a profile, a role, a JupyterLab and a Code
Editor, which shut down when idle and know the platform when they start.
"""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass
from typing import Annotated

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope, Statement
from components.foundation.roles import make_role, service_trust

APPS = {"JupyterLab": "jupyter_lab_app_settings", "CodeEditor": "code_editor_app_settings"}
INSTANCE_TYPE, DISK_GB = "ml.t3.medium", 5  # what a space begins with; its owner may choose another instance


@dataclass(frozen=True, kw_only=True)
class WorkspaceArgs(Args):
    """Args:
    scientists: Names; each gets a profile.
    idle_minutes: Minutes after which an idle notebook is shut down, 60 to 525600 (SageMaker's own bounds).
    bucket_arns: Buckets that scientists may read: curated, features, models.
    scratch_bucket_arn: Bucket in which each writes below ``scratch/<name>/``.
    key_arn: Encrypts the home folders.
    key_arns: Keys of the buckets.
    tracking_uri: Of the MLflow server, inside the VPC; empty where its address is not known to the program.
    outputs_uri: ``s3://`` address of the stack's outputs.
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
    tracking_uri: pulumi.Input[str]
    outputs_uri: str


def first_steps(tracking_uri: str, outputs_uri: str, region: str) -> str:
    """What a space runs when it starts: its terminals and its Python kernels find MLflow, the stack's outputs and the
    region. Whatever a scientist has set is kept.
    https://docs.aws.amazon.com/sagemaker/latest/dg/studio-lifecycle-configurations.html
    """
    variables = {
        "MLFLOW_TRACKING_URI": tracking_uri,
        "GROUNDPLAN_OUTPUTS": outputs_uri,
        "AWS_DEFAULT_REGION": region,
    }
    variables = {name: value for name, value in variables.items() if value}
    exports = "\n".join(
        f'[ -n "${{{name}:-}}" ] || export {name}={shlex.quote(value)}' for name, value in variables.items()
    )
    settings = "\n".join(f"os.environ.setdefault({name!r}, {value!r})" for name, value in variables.items())
    return f"""#!/bin/bash
set -eu
cat > "$HOME/.groundplan.sh" <<'END'
{exports}
END
touch "$HOME/.bashrc"
grep -qxF '. "$HOME/.groundplan.sh"' "$HOME/.bashrc" || printf '\\n%s\\n' '. "$HOME/.groundplan.sh"' >> "$HOME/.bashrc"
mkdir -p "$HOME/.ipython/profile_default/startup"
cat > "$HOME/.ipython/profile_default/startup/00-groundplan.py" <<'END'
import os
{settings}
END
"""


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
        start = {app: self._lifecycle(app) for app in APPS}
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
                **{settings: self._settings(start[app].arn) for app, settings in APPS.items()},
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
            profile = aws.sagemaker.UserProfile(
                f"{name}-{scientist}",
                domain_id=domain.id,
                user_profile_name=scientist,
                user_settings={"execution_role": role.arn, "security_groups": [args.security_group_id]},
                tags={**tags, "Scientist": scientist},
                opts=self.child(),
            )
            self.role_arns[scientist] = role.arn
            for app in APPS:
                self._space(scientist, app, domain, profile, start[app].arn)
        self.domain_id = domain.id
        self.register_outputs({"domain_id": domain.id, "role_arns": self.role_arns})

    def _lifecycle(self, app: str) -> aws.sagemaker.StudioLifecycleConfig:
        args, scope = self._args, self.scope
        script = pulumi.Output.from_input(args.tracking_uri).apply(
            lambda uri: first_steps(uri, args.outputs_uri, scope.region)
        )
        return aws.sagemaker.StudioLifecycleConfig(
            f"{self._name}-{app.lower()}",
            studio_lifecycle_config_name=scope.name("start", app.lower(), limit=63),
            studio_lifecycle_config_app_type=app,
            studio_lifecycle_config_content=script.apply(lambda text: base64.b64encode(text.encode()).decode()),
            tags=scope.tags("workspace"),
            opts=self.child(),
        )

    def _settings(self, start_arn: pulumi.Input[str]) -> dict[str, object]:
        return {
            "app_lifecycle_management": {
                "idle_settings": {
                    "lifecycle_management": "ENABLED",
                    "idle_timeout_in_minutes": self._args.idle_minutes,
                }
            },
            "default_resource_spec": {"instance_type": INSTANCE_TYPE, "lifecycle_config_arn": start_arn},
            "lifecycle_config_arns": [start_arn],
        }

    def _space(
        self,
        scientist: str,
        app: str,
        domain: aws.sagemaker.Domain,
        profile: aws.sagemaker.UserProfile,
        start_arn: pulumi.Input[str],
    ) -> None:
        """A private space; nothing runs, and is paid for but its disk, until its owner starts it."""
        aws.sagemaker.Space(
            f"{self._name}-{scientist}-{app.lower()}",
            domain_id=domain.id,
            space_name=f"{scientist}-{app.lower()}",
            ownership_settings={"owner_user_profile_name": profile.user_profile_name},
            space_sharing_settings={"sharing_type": "Private"},
            space_settings={
                "app_type": app,
                APPS[app]: {
                    "default_resource_spec": {"instance_type": INSTANCE_TYPE, "lifecycle_config_arn": start_arn}
                },
                "space_storage_settings": {"ebs_storage_settings": {"ebs_volume_size_in_gb": DISK_GB}},
            },
            tags={**self.scope.tags("workspace"), "Scientist": scientist},
            opts=self.child(),
        )

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
