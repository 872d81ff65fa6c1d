"""A request as AWS evaluates it: the caller, the action, the resource, and the known context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from policies.iam.documents import UNKNOWN


@dataclass(frozen=True)
class Request:
    """One request for an action on a resource.

    Args:
        action: ``service:Name``.
        resource: ARN, or ``*`` where the action supports none.
        principal: ARN of a user, a role or a role's session; a service (``sagemaker.amazonaws.com``); or ``anonymous``.
        context: Values of condition keys, case-insensitive. ``UNKNOWN`` where there is an unknown value.
        open_keys: Keys (prefixes end in ``*``) that the request may or may not have. Others that are not in
            ``context`` are not in the request.
        resource_account: Owner of the resource; by default the account in its ARN, else the principal's.
    """

    action: str
    resource: str
    principal: str
    context: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    open_keys: tuple[str, ...] = ()
    resource_account: str = ""

    def __post_init__(self) -> None:
        lowered = {
            key.lower(): (value,) if isinstance(value, str) else tuple(value) for key, value in self.context.items()
        }
        if self.principal.startswith("arn:"):
            lowered.setdefault("aws:principalarn", (self.role or self.principal,))
            lowered.setdefault("aws:principalaccount", (self.account,))
        object.__setattr__(self, "_values", lowered)

    def values(self, key: str) -> tuple[str, ...] | None:
        """Values of a condition key; None where the request has none."""
        found: tuple[str, ...] | None = getattr(self, "_values").get(key.lower())  # noqa: B009 (set in __post_init__, of a frozen class)
        return (UNKNOWN,) if found is None and self.may_have(key) else found

    def may_have(self, key: str) -> bool:
        """Whether it is unknown if the request has the key."""
        lowered = key.lower()
        return any(
            lowered == one.lower() or (one.endswith("*") and lowered.startswith(one[:-1].lower()))
            for one in self.open_keys
        )

    @property
    def account(self) -> str:
        """Account of the caller; empty for a service."""
        return self.principal.split(":")[4] if self.principal.startswith("arn:") else ""

    @property
    def role(self) -> str:
        """ARN of the role, where the caller is a role or its session. A session's ARN lacks the role's path."""
        if ":role/" in self.principal:
            return self.principal
        if ":assumed-role/" not in self.principal:
            return ""
        parts = self.principal.split(":")
        return f"arn:{parts[1]}:iam::{parts[4]}:role/{parts[5].split('/')[1]}"

    @property
    def owner(self) -> str:
        """Account of the resource."""
        if self.resource_account:
            return self.resource_account
        parts = self.resource.split(":", 5)
        return parts[4] if len(parts) == 6 and parts[4] and "*" not in parts[4] else self.account
