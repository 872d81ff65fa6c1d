"""Step: no model goes live with only one approval. Data science and operations must both approve, and be two people."""

from __future__ import annotations

import re
from typing import Any

from pipelines.audit_chain import append
from pipelines.context import Context, main
from pipelines.tracking import use_mlflow
from spec.errors import GroundplanError, UsageError

# The identities that sign off on one machine; everything that shows them says so.
TEST_IDENTITIES = {"data-science": "scientist@test.local", "operations": "operator@test.local"}


def signoff(context: Context) -> dict[str, Any]:
    """Check that the version has every required approval.

    On the local stack two test identities approve automatically, so that the run can continue.

    Raises:
        GroundplanError: An approval is missing, or one person gave two.
    """
    mlflow = use_mlflow()
    registered = context.result("register")
    client = mlflow.MlflowClient()
    local = context.outputs.stack == "local"
    if local:
        for role in context.outputs.approvals:
            approve(context, client, registered["version"], role, TEST_IDENTITIES[role])
    tags = client.get_model_version(context.model, registered["registry_version"]).tags
    given = {role: tags[f"approval.{role}"] for role in context.outputs.approvals if f"approval.{role}" in tags}
    missing = [role for role in context.outputs.approvals if role not in given]
    if missing:
        raise GroundplanError(
            f"{context.model} {registered['version']} lacks the approval of {' and '.join(missing)}",
            where="sign-off",
            fix=(
                f"groundplan approve {context.definition.folder} {registered['version']} --role {missing[0]} --identity"
                " you@definition.com"
            ),
        )
    if len(set(given.values())) < len(given):
        raise GroundplanError(
            "one person gave two approvals; the roles must be two people",
            where=f"{context.model} {registered['version']}",
        )
    return {"approvals": given, "test_identities": local}


def approve(context: Context, client: Any, version: str, role: str, who: str) -> None:
    """Record one approval on the registry's version and in the audit log.

    Args:
        client: An ``mlflow.MlflowClient``.
        version: For example ``v1.0.0``.

    Raises:
        UsageError: Unknown role, no such version, or not an e-mail address.
        GroundplanError: The same person has already approved in another role.
    """
    if role not in context.outputs.approvals:
        raise UsageError(
            f"unknown role {role!r}", where="--role", fix=f"one of: {', '.join(context.outputs.approvals)}"
        )
    check_identity(who)
    found = find_version(client, context.model, version)
    others = {
        key: value for key, value in found.tags.items() if key.startswith("approval.") and key != f"approval.{role}"
    }
    if who in others.values():
        raise GroundplanError(
            f"{who} has already approved {context.model} {version} in another role; two people must agree",
            where="sign-off",
        )
    append(context, who, "approve", version=version, role=role)
    client.set_model_version_tag(context.model, found.version, f"approval.{role}", who)


def check_identity(who: str) -> None:
    """Check that a person is identified by an e-mail address.

    Raises:
        UsageError: It is not an e-mail address.
    """
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", who):
        raise UsageError(f"{who!r} is not an e-mail address", where="--identity")


def find_version(client: Any, model: str, version: str) -> Any:
    """The registry's entry of a semantic version.

    Raises:
        UsageError: There is no such version; the message lists those that exist.
    """
    found = {item.tags.get("version"): item for item in client.search_model_versions(f"name='{model}'")}
    if version not in found:
        raise UsageError(
            f"{model} has no version {version}",
            where="registry",
            fix=f"one of: {', '.join(sorted(filter(None, found))) or 'none yet'}",
        )
    return found[version]


if __name__ == "__main__":
    main("signoff", signoff)
