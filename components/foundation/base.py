"""The stack of a component, and what all components share: names, tags, protection."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pulumi

from spec.names import bucket_name, short_name


@dataclass(frozen=True)
class Scope:
    """The stack a component belongs to, passed to every component.

    Attributes:
        account_id: Twelve digits; bucket names contain it, because they are global.
        protect: Whether resources that hold data are protected from deletion.
    """

    project: str
    stack: str
    region: str
    account_id: str
    owner: str
    protect: bool

    def name(self, *parts: str, limit: int = 63) -> str:
        """A physical name: project, stack and parts joined by dashes, lower case, at most ``limit`` characters.

        A longer name is cut and ends in six characters of its hash, so that two long names stay different.
        The alphabet (a-z, 0-9, dash) is the one that every service used here accepts.
        """
        return short_name("-".join((self.project, self.stack, *parts)), limit)

    def bucket_name(self, purpose: str) -> str:
        """Name of a bucket."""
        return bucket_name(self.project, self.stack, purpose, self.account_id)

    def tags(self, component: str, **more: str) -> dict[str, str]:
        """Tags of a resource; `Project`, `Environment` and `Owner` are intended as cost-allocation tags."""
        return {
            "Project": self.project,
            "Environment": self.stack,
            "Owner": self.owner,
            "Component": component,
            "ManagedBy": "pulumi",
            **more,
        }


class Component(pulumi.ComponentResource):
    """Base of the platform's components.

    A component takes ``(name, scope, args, opts)``, creates its children with ``self.child()``, sets its outputs
    as typed attributes and calls ``register_outputs`` last. It reads no configuration and calls no cloud.
    """

    def __init__(self, name: str, scope: Scope, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(f"groundplan:platform:{type(self).__name__}", name, None, opts)
        self.scope = scope

    def child(self, *, holds_data: bool = False, **more: Any) -> pulumi.ResourceOptions:
        """Options for a child. One that holds data is protected and retained in the cloud if the stack says so."""
        if holds_data and self.scope.protect:
            more = {"protect": True, "retain_on_delete": True, **more}
        return pulumi.ResourceOptions(parent=self, **more)


@dataclass(frozen=True)
class Statement:
    """One statement of an IAM policy. ``principals`` is only for resource and trust policies."""

    actions: tuple[str, ...]
    resources: tuple[pulumi.Input[str], ...] = ()
    principals: dict[str, Any] | None = None
    conditions: dict[str, dict[str, Any]] = field(default_factory=dict)
    effect: str = "Allow"
    sid: str = ""


def policy(*statements: Statement) -> Any:
    """A policy document (IAM policy language 2012-10-17).

    JSON text where every part is known. Otherwise the document as a structure, which the provider converts to text, so
    that a preview shows, and a review reads, all of it except the ARNs that are known only after deployment.
    """
    rendered = []
    for statement in statements:
        item: dict[str, Any] = {"Effect": statement.effect, "Action": list(statement.actions)}
        if statement.sid:
            item["Sid"] = statement.sid
        if statement.resources:
            item["Resource"] = list(statement.resources)
        if statement.principals:
            item["Principal"] = statement.principals
        if statement.conditions:
            item["Condition"] = statement.conditions
        rendered.append(item)
    document = {"Version": "2012-10-17", "Statement": rendered}
    return document if _has_output(document) else json.dumps(document)


def _has_output(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_output(item) for item in value.values())
    return (
        any(_has_output(item) for item in value)
        if isinstance(value, (list, tuple))
        else isinstance(value, pulumi.Output)
    )
