"""The look-up that needs no cloud: a policy's JSON from its statements, as AWS's provider builds it.

https://www.pulumi.com/registry/packages/aws/api-docs/iam/getpolicydocument/
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from groundplan.engine.unknown import UNKNOWN

_LISTS = (
    ("actions", "Action"),
    ("notActions", "NotAction"),
    ("resources", "Resource"),
    ("notResources", "NotResource"),
)


def policy_document(arguments: Mapping[str, Any]) -> str:
    """The JSON of a program's statements, between the documents that they add to and those that override them;
    ``UNKNOWN`` if one of those can be known only after deployment.

    Args:
        arguments: Of the look-up, in camel case. ``sourceJson`` and ``overrideJson`` are those of older providers.

    Raises:
        ValueError: A document to add to, or to override with, is not JSON.
    """
    own = {
        "Version": arguments.get("version") or "2012-10-17",
        "Id": arguments.get("policyId"),
        "Statement": [_statement(given) for given in arguments.get("statements") or []],
    }
    before = [arguments.get("sourceJson"), *(arguments.get("sourcePolicyDocuments") or [])]
    after = [arguments.get("overrideJson"), *(arguments.get("overridePolicyDocuments") or [])]
    if any(text == UNKNOWN for text in (*before, *after)):
        return UNKNOWN
    merged: dict[str, Any] = {"Version": "", "Statement": []}
    for document in (*_parsed(before), own, *_parsed(after)):
        _merge(merged, document)
    return json.dumps(merged)


def _parsed(texts: list[str | None]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in texts if text]


def _merge(into: dict[str, Any], document: Mapping[str, Any]) -> None:
    """Add a document's statements; one replaces an earlier one with the same Sid."""
    into["Version"] = max(into["Version"], document.get("Version", ""))
    if document.get("Id"):
        into["Id"] = document["Id"]
    statements = document.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        same = [
            index
            for index, other in enumerate(into["Statement"])
            if statement.get("Sid") and other.get("Sid") == statement["Sid"]
        ]
        if same:
            into["Statement"][same[0]] = statement
        else:
            into["Statement"].append(statement)


def _statement(given: Mapping[str, Any]) -> dict[str, Any]:
    # The SDK sends the keys of a plain dictionary as they are, and its documentation has them in snake case.
    given = {re.sub(r"_(\w)", lambda found: found[1].upper(), key): value for key, value in given.items()}
    item: dict[str, Any] = {"Sid": given["sid"]} if given.get("sid") else {}
    item["Effect"] = given.get("effect") or "Allow"
    item |= {wire: _with_variables(given[key]) for key, wire in _LISTS if given.get(key)}
    for key, wire in (("principals", "Principal"), ("notPrincipals", "NotPrincipal")):
        if given.get(key):
            item[wire] = _principals(given[key])
    conditions: dict[str, dict[str, list[Any]]] = {}
    for condition in given.get("conditions") or []:
        tests = conditions.setdefault(condition["test"], {})
        tests.setdefault(condition["variable"], []).extend(_with_variables(condition["values"]))
    return item | ({"Condition": conditions} if conditions else {})


def _principals(given: list[dict[str, Any]]) -> Any:
    found: dict[str, list[Any]] = {}
    for item in given:
        found.setdefault(item["type"], []).extend(_with_variables(item["identifiers"]))
    return "*" if found == {"*": ["*"]} else found


def _with_variables(texts: Any) -> list[Any]:
    """IAM's variables may be written ``&{aws:username}``, which programs with templates of their own need."""
    listed = texts if isinstance(texts, list) else [texts]
    return [text.replace("&{", "${") if isinstance(text, str) else text for text in listed]
