"""Policy documents as controls read them: text or structure, and statements whose values may be unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from policies.control import listed

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


def everyone(statement: Mapping[str, Any]) -> bool:
    """Whether the principal is anybody, and no condition narrows it down."""
    principal = statement.get("Principal")
    anybody = principal == "*" or (isinstance(principal, Mapping) and "*" in listed(principal.get("AWS")))
    return anybody and not statement.get("Condition")
