"""Policy documents as controls read them: text or structure, and statements whose values may be unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from policies.control import given, listed

DOCUMENTS = ("policy", "assumeRolePolicy")


def statements(document: Any) -> list[Mapping[str, Any]]:
    """Statements of a policy document; none where it is no document."""
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            return []
    found = document.get("Statement") if isinstance(document, Mapping) else None
    return [item for item in listed(found) if isinstance(item, Mapping)]


def allowed(document: Any) -> Iterator[Mapping[str, Any]]:
    """The statements that allow."""
    for statement in statements(document):
        if statement.get("Effect") == "Allow":
            yield statement


# Conditions that leave only some principals; others, such as one that asks for TLS, leave everybody.
_NARROWING = (
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceorgid",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:principalarn",
    "aws:principalaccount",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:sourceip",
    "aws:sourceowner",
    "kms:calleraccount",
    "kms:viaservice",
)


def granted(props: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The statements that allow, of a policy and of the policies inside of a role."""
    if given(props, "policy"):
        yield from allowed(props["policy"])
    for inline in listed(props["inlinePolicies"]) if given(props, "inlinePolicies") else ():
        yield from allowed(inline.get("policy"))


def everyone(statement: Mapping[str, Any]) -> bool:
    """Whether the principal is anybody, and no condition leaves only some."""
    principal = statement.get("Principal")
    anybody = principal == "*" or (isinstance(principal, Mapping) and "*" in listed(principal.get("AWS")))
    tests = statement.get("Condition") or {}
    return anybody and not any(str(key).lower() in _NARROWING for operator in tests for key in tests[operator])
