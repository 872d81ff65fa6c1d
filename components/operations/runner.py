"""Where GitHub's workflows run inside the network: a CodeBuild project whose builds start and end with each of their
jobs.

The cluster's API and MLflow can't be reached from anywhere else. A job brings its own permissions (its workflow's
token, for the deployment's role): the runner has only those that it needs to run.
https://docs.aws.amazon.com/codebuild/latest/userguide/action-runner-overview.html
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, LogRetention
from components.foundation.base import Component, Scope, Statement
from components.foundation.roles import make_role, service_trust

_IMAGE = "aws/codebuild/ubuntu-standard:7.0"
_HOURS = 2
_QUEUED = 8  # hours that a job may wait while another one deploys


@dataclass(frozen=True, kw_only=True)
class RunnerArgs(Args):
    """Args:
    repository: GitHub repository, OWNER/NAME.
    connection_arn: The account's connection to GitHub.
    workflows: Names of the workflows whose jobs may run here; all others are refused.
    key_arn: Encrypts logs, and what a job leaves behind.
    """

    repository: str
    connection_arn: str
    workflows: tuple[str, ...]
    vpc_id: pulumi.Input[str]
    subnet_ids: list[pulumi.Output[str]]
    security_group_id: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    log_retention_days: LogRetention


class Runner(Component):
    """The project, its role, its log, and the webhook that starts it.

    Attributes:
        label: Prefix of a job's ``runs-on``; the run's number and attempt follow.
    """

    def __init__(self, name: str, scope: Scope, args: RunnerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        group_name = f"/{scope.project}/{scope.stack}/runner"
        group_arn = f"arn:aws:logs:{scope.region}:{scope.account_id}:log-group:{group_name}"
        logs = aws.cloudwatch.LogGroup(
            name,
            name=group_name,
            retention_in_days=args.log_retention_days,
            kms_key_id=args.key_arn,
            tags=scope.tags("runner"),
            opts=self.child(),
        )
        service = args.connection_arn.split(":")[
            2
        ]  # the service has had two names, and an ARN keeps the one that it was created with
        interface = f"arn:aws:ec2:{scope.region}:{scope.account_id}:network-interface/*"
        subnets = [
            pulumi.Output.concat(f"arn:aws:ec2:{scope.region}:{scope.account_id}:subnet/", subnet)
            for subnet in args.subnet_ids
        ]
        # https://docs.aws.amazon.com/codebuild/latest/userguide/auth-and-access-control-iam-identity-based-access-control.html
        role = make_role(
            self,
            name,
            service_trust(scope.account_id, "codebuild.amazonaws.com"),
            [
                Statement(("logs:CreateLogStream", "logs:PutLogEvents"), (group_arn, f"{group_arn}:*")),
                Statement((f"{service}:GetConnection", f"{service}:GetConnectionToken"), (args.connection_arn,)),
                Statement(
                    (
                        "ec2:CreateNetworkInterface",
                        "ec2:DeleteNetworkInterface",
                        "ec2:DescribeDhcpOptions",
                        "ec2:DescribeNetworkInterfaces",
                        "ec2:DescribeSecurityGroups",
                        "ec2:DescribeSubnets",
                        "ec2:DescribeVpcs",
                    ),
                    ("*",),
                ),
                Statement(
                    ("ec2:CreateNetworkInterfacePermission",),
                    (interface,),
                    conditions={
                        "StringEquals": {"ec2:AuthorizedService": "codebuild.amazonaws.com"},
                        "ArnEquals": {"ec2:Subnet": subnets},
                    },
                ),
            ],
            purpose="runner",
        )
        project = aws.codebuild.Project(
            name,
            name=scope.name("runner", limit=150),
            description=f"Runs jobs of {args.repository} inside of the network",
            service_role=role.arn,
            source={
                "type": "GITHUB",
                "location": f"https://github.com/{args.repository}.git",
                "auth": {"type": "CODECONNECTIONS", "resource": args.connection_arn},
                "git_clone_depth": 1,
            },
            artifacts={"type": "NO_ARTIFACTS"},
            environment={
                "type": "LINUX_CONTAINER",
                "compute_type": "BUILD_GENERAL1_MEDIUM",
                "image": _IMAGE,
                "image_pull_credentials_type": "CODEBUILD",
            },
            vpc_config={
                "vpc_id": args.vpc_id,
                "subnets": args.subnet_ids,
                "security_group_ids": [args.security_group_id],
            },
            encryption_key=args.key_arn,
            build_timeout=_HOURS * 60,
            queued_timeout=_QUEUED * 60,
            logs_config={"cloudwatch_logs": {"status": "ENABLED", "group_name": logs.name}},
            tags=scope.tags("runner"),
            opts=self.child(depends_on=role.policies),
        )
        aws.codebuild.Webhook(
            name,
            project_name=project.name,
            build_type="BUILD",
            filter_groups=[
                {
                    "filters": [
                        {"type": "EVENT", "pattern": "WORKFLOW_JOB_QUEUED"},
                        {"type": "WORKFLOW_NAME", "pattern": f"^({'|'.join(args.workflows)})$"},
                    ]
                }
            ],
            opts=self.child(),
        )
        self.label = f"codebuild-{scope.name('runner', limit=150)}"
        self.register_outputs({"label": self.label})
