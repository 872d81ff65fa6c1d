"""The foundation: keys, network, the boundary of every role."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.foundation.boundary import Boundary, BoundaryArgs
from components.foundation.keys import Keys, KeysArgs
from components.foundation.network import Network, NetworkArgs
from components.foundation.signing import SigningKeys, SigningKeysArgs
from components.models.mlflow_server import PORT
from components.operations.recovery import REPLICATED, StandbyKeys
from infra.build.given import VPC_CIDR, Given
from spec.on_cluster import GATEWAY_PORT
from spec.versions import APPROVERS, LOGGER, REGISTRAR
from spec.zones import DATA_CLASS, DataClass


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """What every other layer builds on.

    Attributes:
        keys: ARN of the KMS key of each class of data.
        standby_keys: Their replicas in the standby region; empty where there is none.
        standby_secrets_key: ARN of the key for copies of secrets there; empty where there is none.
        signing_keys: ARN of the key that registers versions, and of each approving role's.
    """

    keys: dict[DataClass, pulumi.Output[str]]
    standby_keys: dict[DataClass, pulumi.Output[str]]
    standby_secrets_key: pulumi.Input[str]
    signing_keys: dict[str, pulumi.Output[str]]
    network: Network
    boundary: Boundary


def build_foundation(given: Given) -> Foundation:
    """Keys, network and boundary of a stack."""
    scope, plan = given.scope, given.plan
    standby = plan.recovery.standby_region
    replicated = tuple(dict.fromkeys(DATA_CLASS[zone] for zone in REPLICATED)) if standby else ()
    witness = given.wanted.witness_account or ""
    keys = Keys(
        "keys",
        scope,
        KeysArgs(deletion_days=plan.key_deletion_days, multi_region=replicated, witness_account=witness),
    ).arns
    signing_keys = SigningKeys(
        "signing",
        scope,
        SigningKeysArgs(
            signers=_signers(given),
            deletion_days=plan.key_deletion_days,
            standby_region=standby,
            witness_account=witness,
        ),
    ).arns
    network = Network(
        "network",
        scope,
        NetworkArgs(
            zones=plan.network.zones,
            nat_gateways=plan.network.nat_gateways,
            private_services=plan.network.private_services,
            log_key_arn=keys[DataClass.AUDIT],
            log_retention_days=plan.monitoring.log_retention_days,
            private_ports=(PORT, *((GATEWAY_PORT,) if given.splits_on_cluster else ())),
            cidr=VPC_CIDR,
        ),
    )
    copies = StandbyKeys("standby-keys", scope, standby, {name: keys[name] for name in replicated}) if standby else None
    return Foundation(
        keys=keys,
        standby_keys=copies.arns if copies else {},
        standby_secrets_key=copies.secrets_arn if copies else "",
        signing_keys=signing_keys,
        network=network,
        boundary=Boundary("boundary", scope, BoundaryArgs(signing_key_arns=tuple(signing_keys.values()))),
    )


def _signers(given: Given) -> dict[str, tuple[str, ...]]:
    """Roles that may sign, by what they sign as."""
    trainer = ("trainer",) if given.trains_on_lambda else ()
    approvers = {role: (APPROVERS[role],) for role in given.plan.approvals}
    registrars = ("pipeline", "cluster-pipeline", "releaser", *trainer)
    people = ("data-scientist", "operations", "privacy")
    return {REGISTRAR: registrars, LOGGER: (*registrars, *people), **approvers}
