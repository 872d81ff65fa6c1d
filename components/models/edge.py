"""A model on devices: each fetches the published bundle with its own certificate, through an IoT role alias, and
takes it if this stack's key has signed it.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args
from components.foundation.base import Component, Scope, Statement, policy
from components.foundation.roles import make_role, own_service_trust


@dataclass(frozen=True, kw_only=True)
class EdgeArgs(Args):
    """Args:
    bucket_arn: The models zone; devices read below ``<model>/device/``.
    key_arn: Encrypts it.
    """

    model: str
    bucket_arn: str
    key_arn: pulumi.Input[str]


def signing_alias(scope: Scope, model: str) -> str:
    """Alias of the key that signs a model's bundles."""
    return f"alias/{scope.name('edge', model, limit=128)}"


class Edge(Component):
    """Role alias and policy for the certificates of devices, and the key that signs their bundles.

    https://docs.aws.amazon.com/iot/latest/developerguide/authorizing-direct-aws.html

    Attributes:
        role_alias: Devices request credentials with it.
        policy_name: Policy to attach to a device's certificate.
        signing_key: Alias of the KMS key (RSA, 3072 bits), whose public part devices are given; known in a preview.
    """

    def __init__(self, name: str, scope: Scope, args: EdgeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        tags = scope.tags("serving", Model=args.model)
        role = make_role(
            self,
            name,
            own_service_trust("credentials.iot.amazonaws.com"),
            [
                Statement(("s3:GetObject",), (f"{args.bucket_arn}/{args.model}/device/*",)),
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
        self.signing_key = signing_alias(scope, args.model)
        key = aws.kms.Key(
            f"{name}-signing",
            description=f"{scope.project} {scope.stack}: signatures of what devices run ({args.model})",
            # KMS does not rotate asymmetric keys; with another key, every device must be visited.
            key_usage="SIGN_VERIFY",
            customer_master_key_spec="RSA_3072",
            deletion_window_in_days=30,
            tags=tags,
            opts=self.child(holds_data=True),
        )
        aws.kms.Alias(f"{name}-signing", name=self.signing_key, target_key_id=key.key_id, opts=self.child())
        self.role_alias, self.policy_name = alias.alias, allowed.name
        self.register_outputs({"role_alias": self.role_alias, "policy_name": self.policy_name})
