"""Roles of services: who may assume them, and what they may do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.foundation.base import Component, Statement, policy

IAM_ROLE_NAME_LIMIT = 64  # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html


@dataclass(frozen=True)
class Role:
    """A role; ``policies`` must exist before it may do anything."""

    arn: pulumi.Output[str]
    name: pulumi.Output[str]
    policies: list[pulumi.Resource]


def service_trust(account_id: str, service: str) -> Statement:
    """Trust a service of this account only: no other account's service can be tricked into using the role (confused
    deputy).
    """
    return Statement(
        ("sts:AssumeRole",),
        principals={"Service": service},
        conditions={"StringEquals": {"aws:SourceAccount": account_id}},
    )


def own_service_trust(service: str) -> Statement:
    """Trust a service that names no account when it assumes a role. Its roles can be passed within one account only."""
    return Statement(("sts:AssumeRole",), principals={"Service": service})


def pod_trust() -> Statement:
    """Pods, through EKS Pod Identity (https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html)."""
    return Statement(("sts:AssumeRole", "sts:TagSession"), principals={"Service": "pods.eks.amazonaws.com"})


def make_role(
    owner: Component,
    name: str,
    trust: Statement,
    statements: Sequence[Statement] = (),
    *,
    purpose: str,
    managed: Sequence[str] = (),
    boundary_arn: pulumi.Input[str] | None = None,
) -> Role:
    """A role with one inline policy.

    Args:
        name: Resource name; begins with the component's, so that a renamed component keeps its roles.
        purpose: Last part of the physical name.
        managed: ARNs of AWS managed policies, where AWS requires one by name.
        boundary_arn: Permission boundary.
    """
    scope = owner.scope
    role = aws.iam.Role(
        name,
        name=scope.name(purpose, limit=IAM_ROLE_NAME_LIMIT),
        assume_role_policy=policy(trust),
        permissions_boundary=boundary_arn,
        max_session_duration=3600,
        tags=scope.tags("identity", Role=purpose),
        opts=owner.child(),
    )
    policies: list[pulumi.Resource] = []
    if statements:
        policies.append(
            aws.iam.RolePolicy(name, name=purpose, role=role.name, policy=policy(*statements), opts=owner.child())
        )
    policies += [
        aws.iam.RolePolicyAttachment(
            f"{name}-{arn.rpartition('/')[2]}", role=role.name, policy_arn=arn, opts=owner.child()
        )
        for arn in managed
    ]
    return Role(role.arn, role.name, policies)
