"""A model on devices: each fetches the published ONNX file with its own certificate, through an IoT role alias."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args
from components.foundation.base import Component, Scope, Statement, policy
from components.foundation.roles import make_role


@dataclass(frozen=True, kw_only=True)
class EdgeArgs(Args):
    """Args:
    bucket_arn: The models zone; devices read below ``<model>/current/``.
    key_arn: Encrypts it.
    """

    model: str
    bucket_arn: str
    key_arn: pulumi.Input[str]


class Edge(Component):
    """Role alias and policy for the certificates of devices.

    https://docs.aws.amazon.com/iot/latest/developerguide/authorizing-direct-aws.html

    Attributes:
        role_alias: Devices request credentials with it.
        policy_name: Policy to attach to a device's certificate.
    """

    def __init__(self, name: str, scope: Scope, args: EdgeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        tags = scope.tags("serving", Model=args.model)
        role = make_role(
            self,
            name,
            Statement(("sts:AssumeRole",), principals={"Service": "credentials.iot.amazonaws.com"}),
            [
                Statement(("s3:GetObject",), (f"{args.bucket_arn}/{args.model}/current/*",)),
                Statement(("kms:Decrypt",), (args.key_arn,)),
            ],
            purpose=f"edge-{args.model}",
        )
        alias_name = scope.name("edge", args.model, limit=128)
        alias = aws.iot.RoleAlias(
            name, alias=alias_name, role_arn=role.arn, credential_duration=3600, tags=tags, opts=self.child()
        )
        allowed = aws.iot.Policy(
            name,
            name=scope.name("edge", args.model, limit=128),
            policy=policy(
                Statement(
                    ("iot:AssumeRoleWithCertificate",),
                    (f"arn:aws:iot:{scope.region}:{scope.account_id}:rolealias/{alias_name}",),
                )
            ),
            tags=tags,
            opts=self.child(),
        )
        self.role_alias, self.policy_name = alias.alias, allowed.name
        self.register_outputs({"role_alias": self.role_alias, "policy_name": self.policy_name})
