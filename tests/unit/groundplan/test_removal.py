"""The plan of a destroy: what is deleted, what is protected, what stays and for how long."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from moto import mock_aws
from typer.testing import CliRunner

from groundplan.cli.app import app
from groundplan.review.removal import leftovers, removal
from infra.design.price_book import load_prices
from spec.errors import UsageError
from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # previews stacks


@pytest.mark.parametrize(("stack", "protected"), [("dev", 0), ("prod", 23)])
def test_everything_goes_but_what_holds_data_in_production(stack: str, protected: int) -> None:
    plan = removal(ROOT, stack, load_prices())
    assert len(plan.protected) == protected and sum(plan.goes.values()) > 250
    assert all(
        item.release.startswith(f"pulumi state unprotect -s {stack} 'urn:pulumi:{stack}::") for item in plan.protected
    )
    stays = {(item.type.rpartition(":")[2], item.name): item for item in plan.stays}
    assert (
        stays["Key", "keys-internal"].until == ("30 days" if protected else "7 days")
        and stays["Key", "keys-internal"].monthly_usd == 0.0
    )
    audit = stays["Bucket", "lake-audit"]
    assert ("not even for the account's root" in audit.release) is bool(protected) and "Object Lock" in audit.why
    assert (("Bucket", "lake-curated") in stays) is bool(protected), "outside of production a destroy empties buckets"
    assert (("Instance", "tracking") in stays) is bool(protected), "and makes no last snapshot"
    if protected:
        costs = {item.name: item.monthly_usd for item in plan.protected}
        assert costs["keys-models"] == 1.0 and (costs["tracking"] or 0) > 50 and costs["lake-raw"] is None


def test_the_command_says_it_as_a_table_and_for_programs() -> None:
    table = CliRunner().invoke(app, ["destroy", "--stack", "prod", "--plan"])
    assert table.exit_code == 0 and "23 protected" in table.output and "pulumi destroy -s prod" in table.output
    document: dict[str, Any] = json.loads(
        CliRunner().invoke(app, ["destroy", "--stack", "prod", "--plan", "--json"]).output
    )
    assert len(document["protected"]) == 23 and document["prices_as_of"]
    wrong = CliRunner().invoke(app, ["destroy", "--stack", "prod"])
    assert isinstance(wrong.exception, UsageError) and "--plan before, --leftovers after" in str(wrong.exception)


def test_leftovers_are_found_by_the_stacks_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        topics = boto3.client("sns", "eu-central-1")
        for name, stack in (("a", "dev"), ("b", "prod")):
            topics.create_topic(
                Name=name, Tags=[{"Key": "Project", "Value": "groundplan"}, {"Key": "Environment", "Value": stack}]
            )
        assert [arn.rpartition(":")[2] for arn in leftovers("groundplan", "eu-central-1", "dev")] == ["a"]
