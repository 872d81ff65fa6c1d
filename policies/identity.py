"""Identity: least privilege."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from policies.control import control


@control(
    "iam-no-wildcards", "No policy allows every action on every resource",
    "aws:iam/rolePolicy:RolePolicy", "aws:iam/policy:Policy",
    severity="critical", frameworks=("GDPR Art. 32(4)", "HIPAA 164.312(a)(1)", "SOX 404", "SOC 2 CC6.3", "CIS AWS 1.16"),
    remediation="Name the actions and the resources that the work needs.",
    url="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html#grant-least-privilege",
)  # fmt: skip
def no_wildcards(props: Mapping[str, Any]) -> Iterator[str]:
    """No statement pairs a wildcard action with a wildcard resource."""
    document = props.get("policy")
    statements = (json.loads(document) if isinstance(document, str) else document or {}).get("Statement", [])
    for statement in [statements] if isinstance(statements, dict) else statements:
        actions, resources = _list(statement.get("Action")), _list(statement.get("Resource"))
        wild = [action for action in actions if action == "*" or action.endswith(":*")]
        if statement.get("Effect") == "Allow" and wild and "*" in resources:
            yield f"{', '.join(wild)} is allowed on every resource"


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])
