"""Step: no model goes live with only one approval. Data science and operations must both approve, and be two people."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import boto3

from pipelines.audit.records import refusals
from pipelines.context import Context, main
from pipelines.registry import in_mlflow
from pipelines.registry.decisions import Person, agreed, decide, decisions
from pipelines.registry.mirror import APPROVED, Mirror
from pipelines.registry.versions import Registry
from spec.outputs import LOCAL

# The identities that sign off on one machine; everything that shows them says so.
TEST_IDENTITIES = {"data-science": "scientist@test.local", "operations": "operator@test.local"}


def signoff(context: Context) -> dict[str, Any]:
    """Check that the version has every required approval, and that they are about what was registered.

    On the local stack test identities approve automatically where nobody has decided, so that the run can continue.

    Raises:
        GroundplanError: An approval is missing or void, one person gave two, or somebody has rejected it.
    """
    version = context.result("register")["version"]
    local = context.outputs.stack == LOCAL
    if local:
        registry = Registry(context)
        given = decisions(registry, registry.stored(version))
        for role in context.outputs.approvals:
            if role not in given:
                with _as_a_person(role):
                    decide(replace(context), version, role, Person(TEST_IDENTITIES[role], LOCAL), approved=True)
    with refusals(context, "pipeline", version=version):
        stored, found = agreed(context, version)
    approvals = {role: decision.by for role, decision in found.items()}
    in_mlflow.signed_off(context, stored.record, approvals)
    said = "; ".join(f"{role}: {each.by}{f' ({each.reason})' if each.reason else ''}" for role, each in found.items())
    Mirror(context).decided(version, APPROVED, said)
    tested = local and bool(set(approvals.values()) & set(TEST_IDENTITIES.values()))
    return {"approvals": approvals, "test_identities": tested}


@contextmanager
def _as_a_person(role: str) -> Iterator[None]:
    """Calls to the local cloud are on record as this role's, which this step has no right to make."""
    before = os.environ.get("AWS_ACCESS_KEY_ID")
    os.environ["AWS_ACCESS_KEY_ID"] = f"groundplan.person.approve-{role}"
    boto3.setup_default_session()
    try:
        yield
    finally:
        if before is None:
            del os.environ["AWS_ACCESS_KEY_ID"]
        else:
            os.environ["AWS_ACCESS_KEY_ID"] = before
        boto3.setup_default_session()


if __name__ == "__main__":
    main("signoff", signoff)
