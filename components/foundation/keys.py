"""Encryption keys: one customer-managed KMS key per data class, each rotating every year."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope, Statement, policy
from spec.zones import DataClass

AUTO_SCALING_ROLE = "aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"


def account_decides(scope: Scope) -> Statement:
    """In a key's policy: who may use it is decided by IAM's policies.

    https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
    """
    return Statement(
        ("kms:*",), ("*",), {"AWS": f"arn:aws:iam::{scope.account_id}:root"}, sid="AccountDecidesThroughIam"
    )


@dataclass(frozen=True, kw_only=True)
class KeysArgs(Args):
    """Args:
    deletion_days: Days between requesting a key's deletion and losing it, 7 to 30 (KMS's own bounds).
    multi_region: Classes whose key can have a replica in a standby region.
    witness_account: Account that may decrypt objects of the audit zone which its bucket lets it read; empty for none.
    """

    deletion_days: Annotated[int, Between(7, 30, "days", "KMS")]
    multi_region: tuple[DataClass, ...] = ()
    witness_account: str = ""


class Keys(Component):
    """One key and alias per data class.

    Attributes:
        arns: Key ARN by data class.
    """

    def __init__(self, name: str, scope: Scope, args: KeysArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        self.arns: dict[DataClass, pulumi.Output[str]] = {}
        for data_class in DataClass:
            key = aws.kms.Key(
                f"{name}-{data_class}",
                description=f"{scope.project} {scope.stack}: {data_class} data",
                enable_key_rotation=True,
                deletion_window_in_days=args.deletion_days,
                policy=policy(
                    account_decides(scope),
                    Statement(
                        ("kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey"),
                        ("*",),
                        {
                            "Service": [
                                "aps.amazonaws.com",
                                "budgets.amazonaws.com",
                                "cloudtrail.amazonaws.com",
                                "cloudwatch.amazonaws.com",
                                "config.amazonaws.com",
                                "costalerts.amazonaws.com",
                                "events.amazonaws.com",
                                "sns.amazonaws.com",
                            ]
                        },
                        {"StringEquals": {"aws:SourceAccount": scope.account_id}},
                        sid="ServicesOfThisAccount",
                    ),
                    # Nodes' volumes are created by EC2 Auto Scaling's own role, which has no other access to a key.
                    # https://docs.aws.amazon.com/autoscaling/ec2/userguide/key-policy-requirements-EBS-encryption.html
                    Statement(
                        (
                            "kms:Encrypt",
                            "kms:Decrypt",
                            "kms:ReEncrypt*",
                            "kms:GenerateDataKey*",
                            "kms:DescribeKey",
                            "kms:CreateGrant",
                        ),
                        ("*",),
                        {"AWS": f"arn:aws:iam::{scope.account_id}:root"},
                        {
                            "ArnEquals": {
                                "aws:PrincipalArn": f"arn:aws:iam::{scope.account_id}:role/{AUTO_SCALING_ROLE}"
                            }
                        },
                        sid="VolumesOfNodes",
                    ),
                    # CloudWatch Logs names the log group in the encryption context instead of a source account.
                    Statement(
                        ("kms:Decrypt", "kms:Encrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"),
                        ("*",),
                        {"Service": f"logs.{scope.region}.amazonaws.com"},
                        {
                            "ArnLike": {
                                "kms:EncryptionContext:aws:logs:arn": (
                                    f"arn:aws:logs:{scope.region}:{scope.account_id}:log-group:*"
                                )
                            }
                        },
                        sid="LogsOfThisAccount",
                    ),
                    *(self._witness(args.witness_account) if data_class is DataClass.AUDIT else ()),
                ),
                multi_region=data_class in args.multi_region,
                tags=scope.tags("keys", DataClass=data_class),
                opts=self.child(holds_data=True),
            )
            aws.kms.Alias(
                f"{name}-{data_class}",
                name=f"alias/{scope.name(data_class)}",
                target_key_id=key.key_id,
                opts=self.child(),
            )
            self.arns[data_class] = key.arn
        self.register_outputs({"arns": {str(k): v for k, v in self.arns.items()}})

    def _witness(self, account: str) -> tuple[Statement, ...]:
        if not account:
            return ()
        through = {"StringEquals": {"kms:ViaService": f"s3.{self.scope.region}.amazonaws.com"}}
        who = {"AWS": f"arn:aws:iam::{account}:root"}
        return (Statement(("kms:Decrypt",), ("*",), who, through, sid="WitnessReads"),)
