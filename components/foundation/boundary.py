"""The permission boundary: the most that any role of people or pipelines can ever be allowed, whatever its own policy
says.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args
from components.foundation.base import Component, Scope, Statement, policy


def signing(scope: Scope) -> Statement:
    """To sign what devices run. The keys are created after the roles: they are known by their aliases."""
    return Statement(
        ("kms:Sign", "kms:GetPublicKey"),
        (f"arn:aws:kms:{scope.region}:{scope.account_id}:key/*",),
        conditions={"ForAnyValue:StringLike": {"kms:ResourceAliases": f"alias/{scope.name('edge')}-*"}},
    )


@dataclass(frozen=True, kw_only=True)
class BoundaryArgs(Args):
    """Args:
    signing_key_arns: Keys that sign versions and approvals, whose own policies say who signs.
    """

    signing_key_arns: tuple[pulumi.Input[str], ...]


class Boundary(Component):
    """One managed policy, set as permission boundary of every such role.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html

    Attributes:
        arn: ARN of the policy.
    """

    def __init__(self, name: str, scope: Scope, args: BoundaryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        account, region, prefix = scope.account_id, scope.region, scope.name()

        def own(service: str, *kinds: str) -> tuple[str, ...]:
            return tuple(f"arn:aws:{service}:{region}:{account}:{kind}" for kind in kinds)

        hive = prefix.replace("-", "_")  # names of Glue databases can't contain dashes
        # By name, since a resource's type in an ARN can't contain a wildcard:
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html#arns-paths-wildcards
        kinds = "endpoint endpoint-config feature-group model model-package model-package-group pipeline"
        named = tuple(f"{kind}/{prefix}-*" for kind in kinds.split())
        # Broad in actions, narrow in resources: those whose names begin with the stack's.
        allowed = (
            Statement(("s3:*",), (f"arn:aws:s3:::{prefix}-*",)),
            Statement(("dynamodb:*",), own("dynamodb", f"table/{prefix}-*")),
            Statement(
                ("sagemaker:*",),
                own(
                    "sagemaker",
                    *named,
                    "processing-job/*",
                    "training-job/*",
                    "app/*",
                    "space/*",
                    "user-profile/*",
                    "domain/*",
                ),
            ),
            Statement(
                ("kafka-cluster:*",),
                own(
                    "kafka",
                    *(f"{kind}/{prefix}-events/*" for kind in ("cluster", "topic", "group", "transactional-id")),
                ),
            ),
            Statement(
                ("glue:*",),
                own(
                    "glue",
                    f"registry/{prefix}",
                    f"schema/{prefix}/*",
                    "catalog",
                    f"database/{hive}*",
                    f"table/{hive}*/*",
                ),
            ),
            Statement(("athena:*",), own("athena", f"workgroup/{prefix}*")),
            Statement(
                ("logs:*",), own("logs", f"log-group:/{scope.project}/{scope.stack}/*", "log-group:/aws/sagemaker/*")
            ),
            Statement(
                ("secretsmanager:GetSecretValue",),
                own("secretsmanager", f"secret:{scope.project}/{scope.stack}/*", "secret:rds!*"),
            ),
            Statement(
                (
                    "ecr:BatchCheckLayerAvailability",
                    "ecr:BatchGetImage",
                    "ecr:DescribeImageScanFindings",
                    "ecr:GetDownloadUrlForLayer",
                ),
                own("ecr", f"repository/{scope.name('platform')}"),
            ),
            Statement(("apigateway:GET",), (f"arn:aws:apigateway:{region}::/restapis/*/stages/*/exports/*",)),
            Statement(
                ("kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey", "kms:CreateGrant"), own("kms", "key/*")
            ),
            signing(scope),
            Statement(("kms:Sign", "kms:GetPublicKey"), args.signing_key_arns),
            Statement(("sns:Publish", "sns:ListSubscriptionsByTopic"), own("sns", f"{scope.name('alarms')}-*")),
            Statement(("aps:RemoteWrite", "aps:QueryMetrics"), own("aps", "workspace/*")),
            Statement(("eks:DescribeCluster",), own("eks", f"cluster/{prefix}-*")),
            Statement(("scheduler:GetSchedule",), own("scheduler", f"schedule/{prefix}/*")),
            Statement(
                ("iam:PassRole", "iam:GetRole", "iam:GetRolePolicy", "iam:ListRolePolicies"),
                (f"arn:aws:iam::{account}:role/{prefix}-*",),
            ),
            Statement(
                ("cloudwatch:PutMetricData",),
                ("*",),
                conditions={"StringEquals": {"cloudwatch:namespace": f"Groundplan/{scope.stack}"}},
            ),
            # These don't support resources: https://docs.aws.amazon.com/service-authorization/latest/reference/reference.html
            Statement(
                (
                    "ce:GetCostAndUsage",
                    "cloudtrail:DescribeTrails",
                    "cloudtrail:GetTrailStatus",
                    "cloudtrail:LookupEvents",
                    "cloudwatch:DescribeAlarms",
                    "cloudwatch:GetMetricData",
                    "cloudwatch:ListMetrics",
                    "config:DescribeComplianceByConfigRule",
                    "config:SelectResourceConfig",
                    "ec2:CreateNetworkInterface",
                    "ec2:CreateNetworkInterfacePermission",
                    "ec2:DeleteNetworkInterface",
                    "ec2:DeleteNetworkInterfacePermission",
                    "ec2:DescribeAddresses",
                    "ec2:DescribeDhcpOptions",
                    "ec2:DescribeNatGateways",
                    "ec2:DescribeNetworkInterfaces",
                    "ec2:DescribeSecurityGroups",
                    "ec2:DescribeSubnets",
                    "ec2:DescribeVolumes",
                    "ec2:DescribeVpcs",
                    "ecr:GetAuthorizationToken",
                    "elasticloadbalancing:DescribeLoadBalancers",
                    "elasticloadbalancing:DescribeTags",
                    "guardduty:GetFindings",
                    "guardduty:ListFindings",
                    "sagemaker:ListEndpoints",
                    "sagemaker:ListNotebookInstances",
                    "securityhub:GetFindings",
                    "xray:PutSpans",
                    "xray:PutTraceSegments",
                ),
                ("*",),
            ),
        )
        denied = (
            # No role may change the audit trail, or the keys.
            Statement(
                (
                    "cloudtrail:StopLogging",
                    "cloudtrail:DeleteTrail",
                    "cloudtrail:UpdateTrail",
                    "kms:ScheduleKeyDeletion",
                    "kms:DisableKey",
                ),
                ("*",),
                effect="Deny",
                sid="RecordAndKeysStay",
            ),
            Statement(("s3:BypassGovernanceRetention",), ("*",), effect="Deny", sid="LocksStay"),
        )
        made = aws.iam.Policy(
            name,
            name=scope.name("boundary", limit=128),
            description="The most that a role of this platform can be allowed",
            policy=policy(*allowed, *denied),
            tags=scope.tags("identity"),
            opts=self.child(),
        )
        self.arn = made.arn
        self.register_outputs({"arn": made.arn})
