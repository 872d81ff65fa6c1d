"""The look-up that needs no cloud: a policy's JSON from its statements.

https://www.pulumi.com/registry/packages/aws/api-docs/iam/getpolicydocument/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def policy_document(arguments: Mapping[str, Any]) -> str:
    """The JSON of a program's statements."""
    merged = [*(arguments.get("sourcePolicyDocuments") or []), *(arguments.get("overridePolicyDocuments") or [])]
    statements = [statement for text in merged for statement in json.loads(text).get("Statement", [])]
    for given in arguments.get("statements") or []:
        item: dict[str, Any] = {"Effect": given.get("effect", "Allow")}
        for key, wire in (
            ("sid", "Sid"),
            ("actions", "Action"),
            ("notActions", "NotAction"),
            ("resources", "Resource"),
            ("notResources", "NotResource"),
        ):
            if given.get(key):
                item[wire] = given[key]
        for key, wire in (("principals", "Principal"), ("notPrincipals", "NotPrincipal")):
            if given.get(key):
                item[wire] = _principals(given[key])
        for condition in given.get("conditions") or []:
            item.setdefault("Condition", {}).setdefault(condition["test"], {})[condition["variable"]] = condition[
                "values"
            ]
        statements.append(item)
    return json.dumps({"Version": arguments.get("version", "2012-10-17"), "Statement": statements})


def _principals(given: list[dict[str, Any]]) -> Any:
    if any(item["type"] == "*" for item in given):
        return "*"
    found: dict[str, list[str]] = {}
    for item in given:
        found.setdefault(item["type"], []).extend(item["identifiers"])
    return found
