"""Signing keys: one for the pipeline, which registers versions, one for each role that approves them, and one for the
audit log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope, Statement, policy
from components.foundation.keys import account_decides
from spec.versions import LOGGER


@dataclass(frozen=True, kw_only=True)
class SigningKeysArgs(Args):
    """Args:
    signers: Names of the IAM roles that may sign, by signer.
    deletion_days: Days between requesting a key's deletion and losing it, 7 to 30 (KMS's own bounds).
    standby_region: Where each key has a replica; empty for nowhere.
    witness_account: Account that may read the log's public key; empty for none.
    """

    signers: dict[str, tuple[str, ...]]
    deletion_days: Annotated[int, Between(7, 30, "days", "KMS")]
    standby_region: str = ""
    witness_account: str = ""


def signing_aliases(scope: Scope, signers: Iterable[str]) -> str:
    """ARN of each signer's alias, as JSON: known before the keys are created."""
    prefix = f"arn:aws:kms:{scope.region}:{scope.account_id}:alias"
    return json.dumps({signer: f"{prefix}/{scope.name('signing', signer)}" for signer in signers})


def _witness(account: str) -> tuple[Statement, ...]:
    if not account:
        return ()
    who = {"AWS": f"arn:aws:iam::{account}:root"}
    return (Statement(("kms:GetPublicKey",), ("*",), who, sid="WitnessReads"),)


class SigningKeys(Component):
    """One key and alias per signer, which nobody but its roles may sign with, whatever else they may do. They are of
    ECDSA on P-256; the log's is of Ed25519, since notes know nothing else (https://c2sp.org/signed-note).

    Attributes:
        arns: Key ARN by signer.
    """

    def __init__(
        self, name: str, scope: Scope, args: SigningKeysArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        self.arns: dict[str, pulumi.Output[str]] = {}
        for signer, roles in args.signers.items():
            arns = [f"arn:aws:iam::{scope.account_id}:role/{scope.name(role)}" for role in roles]
            key = aws.kms.Key(
                f"{name}-{signer}",
                description=f"{scope.project} {scope.stack}: signatures of {signer}",
                # KMS does not rotate asymmetric keys; with a new one, what the old one signed must be signed again.
                key_usage="SIGN_VERIFY",
                customer_master_key_spec="ECC_NIST_EDWARDS25519" if signer == LOGGER else "ECC_NIST_P256",
                multi_region=bool(args.standby_region),
                deletion_window_in_days=args.deletion_days,
                policy=policy(
                    account_decides(scope),
                    # An administrator who may use every key must not be able to approve for others.
                    Statement(
                        ("kms:Sign",),
                        ("*",),
                        {"AWS": "*"},
                        {"ArnNotEquals": {"aws:PrincipalArn": arns}},
                        effect="Deny",
                        sid="NobodyElseSigns",
                    ),
                    *(_witness(args.witness_account) if signer == LOGGER else ()),
                ),
                tags=scope.tags("signing"),
                opts=self.child(holds_data=True),
            )
            aws.kms.Alias(
                f"{name}-{signer}",
                name=f"alias/{scope.name('signing', signer)}",
                target_key_id=key.key_id,
                opts=self.child(),
            )
            self.arns[signer] = key.arn
            if args.standby_region:  # what was signed here must be verifiable there
                aws.kms.ReplicaKey(
                    f"{name}-{signer}-standby",
                    region=args.standby_region,
                    primary_key_arn=key.arn,
                    policy=key.policy,
                    deletion_window_in_days=args.deletion_days,
                    tags=scope.tags("signing"),
                    opts=self.child(holds_data=True),
                )
        self.register_outputs({"arns": dict(self.arns)})
