"""A review as SARIF 2.1.0 (https://docs.oasis-open.org/sarif/sarif/v2.1.0/).

A rule has one result for each line of Python, whose message names every resource that the line creates.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Any

from groundplan.review.model import Finding, Review, by_severity

_LEVEL = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}
_SECURITY_SEVERITY = {  # GitHub sorts by this number, as CVSS does
    "critical": "9.5",
    "high": "8.0",
    "medium": "5.5",
    "low": "3.0",
}
_MOST_NAMED = 5


def as_sarif(review: Review) -> str:
    """Findings at the line of Python that created the resource, by paths below the root of the repository."""
    places: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in by_severity(review.findings):
        # What a waiver accepts stays apart from what is open; what has no line is one place for each resource.
        place = finding.source or finding.urn
        places.setdefault((finding.policy, place, str(finding.waived or "")), []).append(finding)
    rules: dict[str, dict[str, Any]] = {}
    results = []
    for found in places.values():
        rules.setdefault(found[0].policy, _rule(found[0]))
        results.append(_result(review, found, list(rules).index(found[0].policy)))
    tool = {
        "name": "groundplan",
        "version": version("groundplan"),
        "semanticVersion": version("groundplan"),
        "rules": list(rules.values()),
    }
    run = {
        "tool": {"driver": tool},
        "automationDetails": {"id": f"groundplan/{review.project}/{review.stack}"},
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The root of the repository"}}},
        "results": results,
        "columnKind": "unicodeCodePoints",
    }
    return json.dumps(
        {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}, indent=1
    )


def _rule(finding: Finding) -> dict[str, Any]:
    risk = f"{finding.risk}. " if finding.risk else ""
    return {
        "id": finding.policy,
        "shortDescription": {"text": finding.title},
        "fullDescription": {"text": f"{finding.title}. {risk}{', '.join(finding.law)}"},
        "help": {"text": f"{risk}{finding.remediation or finding.title}"},
        **({"helpUri": finding.url} if finding.url else {}),
        "defaultConfiguration": {"level": _LEVEL[finding.severity]},
        "properties": {
            "security-severity": _SECURITY_SEVERITY[finding.severity],
            "tags": ["security", *finding.law],
        },
    }


def _result(review: Review, found: list[Finding], rule: int) -> dict[str, Any]:
    first = found[0]
    file, _, line = first.source.rpartition(":")
    place = {
        "artifactLocation": {
            "uri": str(PurePosixPath(review.folder) / (file or "Pulumi.yaml")),
            "uriBaseId": "%SRCROOT%",
        },
        "region": {"startLine": int(line) if line.isdigit() else 1},
    }
    urns = sorted({finding.urn or "stack" for finding in found})
    result: dict[str, Any] = {
        "ruleId": first.policy,
        "ruleIndex": rule,
        "level": _LEVEL[first.severity] if any(finding.mandatory for finding in found) else "note",
        "message": {"text": _message(found)},
        "locations": [
            {
                "physicalLocation": place,
                "logicalLocations": [{"fullyQualifiedName": urn, "kind": "resource"} for urn in urns],
            }
        ],
        # What is found, and on what: neither the line nor the wording, which change without a change of the finding.
        "partialFingerprints": {
            "resource/v1": hashlib.sha256(f"{first.policy}|{review.stack}|{urns[0]}".encode()).hexdigest()
        },
    }
    if first.waived:
        result["suppressions"] = [
            {
                "kind": "external",
                "status": "accepted",
                "justification": f"{first.waived.approver} until {first.waived.expires}: {first.waived.reason}",
            }
        ]
    return result


def _message(found: list[Finding]) -> str:
    names = list(dict.fromkeys(finding.resource for finding in found))
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    messages = list(dict.fromkeys(finding.message for finding in found))
    return f"{', '.join(names[:_MOST_NAMED])}{more}: {'; '.join(messages[:_MOST_NAMED])}. {found[0].remediation}"
