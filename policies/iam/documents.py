"""IAM policy documents for evaluation: statements, principals and tests of context keys.

Grammar: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html. A value
that is known only after deployment is ``UNKNOWN``; anything that contains it is neither a match nor a mismatch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN = "(known after deployment)"


@dataclass(frozen=True)
class Test:
    """One line of a condition: an operator, a key, and the values, one of which must match."""

    operator: str
    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Statement:
    """One statement.

    Attributes:
        policy: Name of the policy that it is part of, for messages.
        index: Its place in the policy, from 0.
        principals: Pairs of kind and value (``AWS``, ``Service``, ``Federated``, ``CanonicalUser``); None where the
            element is missing.
        variables: Whether ``${...}`` is a variable there: only in the version 2012-10-17 of the language.
    """

    policy: str
    index: int
    sid: str
    effect: str
    actions: tuple[str, ...] | None
    not_actions: tuple[str, ...] | None
    resources: tuple[str, ...] | None
    not_resources: tuple[str, ...] | None
    principals: tuple[tuple[str, str], ...] | None
    not_principals: tuple[tuple[str, str], ...] | None
    tests: tuple[Test, ...]
    variables: bool

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{self.policy}, statement {self.sid or self.index + 1}"


@dataclass(frozen=True)
class Policy:
    """A policy document with its name. ``readable`` is False where it is known only after deployment."""

    name: str
    statements: tuple[Statement, ...]
    readable: bool = True


def read(document: Any, name: str) -> Policy:
    """A policy from its JSON text, or from its structure.

    Raises:
        ValueError: It is not JSON, or not a policy document.
    """
    if document == UNKNOWN:
        return Policy(name, (), readable=False)
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            raise ValueError(f"{name}: is not valid JSON") from None
    if not isinstance(document, Mapping) or "Statement" not in document:
        raise ValueError(f"{name}: has no Statement")
    found = document["Statement"]
    if found == UNKNOWN:
        return Policy(name, (), readable=False)
    variables = document.get("Version") == "2012-10-17"
    items = found if isinstance(found, list) else [found]
    return Policy(name, tuple(_statement(item, name, index, variables) for index, item in enumerate(items)))


def _statement(item: Any, policy: str, index: int, variables: bool) -> Statement:
    if not isinstance(item, Mapping) or item.get("Effect") not in ("Allow", "Deny"):
        raise ValueError(f"{policy}: statement {index + 1} has neither the effect Allow nor Deny")
    tests = tuple(
        Test(operator, key, texts(values))
        for operator, keys in (item.get("Condition") or {}).items()
        for key, values in keys.items()
    )
    return Statement(
        policy,
        index,
        str(item.get("Sid", "")),
        item["Effect"],
        _optional(item, "Action"),
        _optional(item, "NotAction"),
        _optional(item, "Resource"),
        _optional(item, "NotResource"),
        _principals(item, "Principal"),
        _principals(item, "NotPrincipal"),
        tests,
        variables,
    )


def texts(value: Any) -> tuple[str, ...]:
    """One value or a list of them, as texts; booleans and numbers as in JSON."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return tuple(item if isinstance(item, str) else json.dumps(item) for item in values)


def _optional(item: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    return texts(item[key]) if key in item else None


def _principals(item: Mapping[str, Any], key: str) -> tuple[tuple[str, str], ...] | None:
    found = item.get(key)
    if found is None:
        return None
    if not isinstance(found, Mapping):
        return tuple(("AWS", value) for value in texts(found))
    return tuple((kind, value) for kind, values in found.items() for value in texts(values))
