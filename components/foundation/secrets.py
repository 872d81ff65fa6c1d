"""Secrets: the containers only. The owner sets the value, never the program, so no value is in its state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope


@dataclass(frozen=True, kw_only=True)
class SecretsArgs(Args):
    """Args:
    key_arn: KMS key that encrypts the values.
    names: Purpose of each secret, for example ``masking-key``.
    standby_region: Where each value is copied to; empty for nowhere.
    standby_key_arn: Encrypts the copies.
    recovery_days: Days a deleted secret can be restored, 7 to 30.
    """

    key_arn: pulumi.Input[str]
    names: tuple[str, ...]
    recovery_days: Annotated[int, Between(7, 30, "days", "Secrets Manager")]
    standby_region: str = ""
    standby_key_arn: pulumi.Input[str] = ""


class Secrets(Component):
    """Empty, encrypted secrets.

    Attributes:
        arns: Secret ARN by purpose.
    """

    def __init__(self, name: str, scope: Scope, args: SecretsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        self.arns: dict[str, pulumi.Output[str]] = {}
        for purpose in args.names:
            secret = aws.secretsmanager.Secret(
                f"{name}-{purpose}",
                name=f"{scope.project}/{scope.stack}/{purpose}",
                kms_key_id=args.key_arn,
                recovery_window_in_days=args.recovery_days,
                replicas=(
                    [{"region": args.standby_region, "kms_key_id": args.standby_key_arn}]
                    if args.standby_region
                    else None
                ),
                tags=scope.tags("secrets"),
                opts=self.child(holds_data=True),
            )
            self.arns[purpose] = secret.arn
        self.register_outputs({"arns": self.arns})
