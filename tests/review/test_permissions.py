"""The record of calls, checked against every stack, and against programs that allow less or more than they should."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from groundplan.review.command import review
from groundplan.review.permissions.record import Call, Names, generalised, read, write
from groundplan.review.permissions.report import Permissions, findings, new_calls, of_project, page_of
from spec.errors import UsageError
from tests.conftest import ROOT

_LEFT_OUT = shutil.ignore_patterns(".venv", ".git", ".groundplan", "__pycache__", "tests", "bench", "docs")


@pytest.fixture(scope="module")
def prod() -> Permissions:
    return of_project(ROOT, "prod")


@pytest.mark.parametrize("stack", ["local", "dev", "staging", "prod"])
def test_no_recorded_call_is_refused_and_every_role_may_do_what_it_is_for(stack: str, prod: Permissions) -> None:
    found = prod if stack == "prod" else of_project(ROOT, stack)
    assert len(found.calls) > 100 and len(found.results) > 250
    assert [
        (item.who, item.role, item.need.action, item.need.resource, item.decision.reason) for item in found.refused
    ] == []
    assert [(item.who, item.need.action, item.decision.reason) for item in found.undecided] == []
    assert found.faults == []


def test_the_page_is_current() -> None:
    assert page_of(ROOT, "prod") == (ROOT / "docs" / "permissions.md").read_text(encoding="utf-8"), "make docs"


def bent(folder: Path, file: str, change: Callable[[str], str]) -> Path:
    """A copy of the project with one file changed."""
    shutil.copytree(ROOT, folder, ignore=_LEFT_OUT)
    path = folder / file
    before = path.read_text(encoding="utf-8")
    path.write_text(change(before), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != before
    return folder


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        (
            "components/foundation/identity.py",
            '("dynamodb:BatchWriteItem", "dynamodb:DescribeTable")',
            '("dynamodb:DescribeTable",)',
            (
                "step.features: dynamodb:BatchWriteItem on"
                " arn:aws:dynamodb:us-east-1:123456789012:table/groundplan-local-online.any would be refused: no"
                " statement of its"
            ),
        ),
        pytest.param(
            "components/foundation/identity.py",
            '_USE_KEY = ("kms:Decrypt", "kms:GenerateDataKey")',
            '_USE_KEY = ("kms:Decrypt",)',
            "would be refused: no statement of its policies allows it; arn:aws:s3:::groundplan-local-audit-123456789012"
            " is encrypted with it",
            marks=pytest.mark.drill,
        ),
        pytest.param(
            "components/foundation/boundary.py",
            'Statement(("s3:*",)',
            'Statement(("s3:List*",)',
            "would be refused: its permission boundary does not allow it",
            marks=pytest.mark.drill,
        ),
        (
            "components/foundation/identity.py",
            '("sagemaker:InvokeEndpoint", "sagemaker:DescribeEndpoint"), (endpoints,)',
            '("sagemaker:UpdateEndpoint", "sagemaker:DescribeEndpoint"), (endpoints, configs)',
            "data-scientist may promote, but is not meant to",
        ),
    ],
)
def test_a_program_that_allows_less_or_more_is_told(file: str, old: str, new: str, says: str, tmp_path: Path) -> None:
    folder = bent(tmp_path / "project", file, lambda text: text.replace(old, new, 1))
    found = review(folder, "local")
    told = [
        finding.message for finding in found.findings if finding.policy in ("iam-call-refused", "iam-role-as-meant")
    ]
    assert any(says in message for message in told), told
    assert not found.passed


def test_a_review_shows_who_may_do_what_since(tmp_path: Path) -> None:
    folder = bent(tmp_path / "project", "README.md", lambda text: f"{text}\n")
    for command in (
        ("init", "-q"),
        ("add", "-A"),
        ("-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "as it was"),
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    path = folder / "components" / "foundation" / "identity.py"
    path.write_text(
        path.read_text(encoding="utf-8").replace(
            "*self._read(Zone.CURATED, Zone.FEATURES, Zone.MODELS),",
            "*self._read(Zone.RAW, Zone.CURATED, Zone.FEATURES, Zone.MODELS),",
            1,
        )
    )
    found = review(folder, "local", against="HEAD").comparison
    assert found is not None and (found.may_added, found.may_gone) == (("data-scientist may read raw",), ())


def test_what_differs_from_run_to_run_is_a_placeholder() -> None:
    names = Names(
        "groundplan", "local", "123456789012", "us-east-1", {"481f2631-5049-40c6-b609-685f5644c10f": "models"}
    )
    raw = [
        {
            "caller": "step.deploy",
            "service": "s3",
            "operation": "PutObject",
            "parameters": {
                "Bucket": "groundplan-local-models-123456789012",
                "Key": "diabetes-rf/v1/model.tar.gz",
                "ContentLength": 7,
            },
        },
        {
            "caller": "step.deploy",
            "service": "s3",
            "operation": "PutObject",
            "parameters": {
                "Bucket": "groundplan-local-models-123456789012",
                "Key": "flights-late/v2/model.tar.gz",
                "ContentLength": 9,
            },
        },
        {
            "caller": "step.deploy",
            "service": "sagemaker",
            "operation": "CreateEndpointConfig",
            "parameters": {
                "EndpointConfigName": "groundplan-local-diabetes-rf-v1-2026",
                "KmsKeyId": "arn:aws:kms:us-east-1:123456789012:key/481f2631-5049-40c6-b609-685f5644c10f",
            },
        },
        {
            "caller": "step.ingest",
            "service": "s3",
            "operation": "GetObject",
            "missing": True,
            "parameters": {"Bucket": "groundplan-local-raw-123456789012", "Key": "manifests/a/b.json"},
        },
        {
            "caller": "server.kafka",
            "service": "s3",
            "operation": "GetObject",
            "parameters": {"Bucket": "b", "Key": "k"},
        },
    ]
    assert [(call.operation, json.loads(call.parameters), call.missing) for call in generalised(raw, names)] == [
        ("PutObject", {"Bucket": "{prefix}-models-{account}", "Key": "{name}/{name}"}, False),
        (
            "CreateEndpointConfig",
            {"EndpointConfigName": "{prefix}-{name}", "KmsKeyId": "arn:aws:kms:{region}:{account}:key/{key:models}"},
            False,
        ),
        ("GetObject", {"Bucket": "{prefix}-raw-{account}", "Key": "manifests/{name}"}, True),
    ]


def test_a_call_that_is_not_on_record_is_found(tmp_path: Path) -> None:
    file = tmp_path / "calls.json"
    known, new = (
        Call("step.deploy", "s3", "PutObject", '{"Bucket": "b"}'),
        Call("step.deploy", "s3", "DeleteObject", '{"Bucket": "b"}'),
    )
    write([known], file)
    assert read(file) == [known] and new_calls([known, new, Call("server.kafka", "s3", "GetObject", "{}")], file) == [
        new
    ]
    assert file.read_text(encoding="utf-8").count("\n") == 3


def test_findings_have_a_place(prod: Permissions) -> None:
    sources = {role.source.urn: "components/foundation/roles.py:54" for role in prod.stack.roles.values()}
    assert all(item.source for item in findings(prod, sources))


def test_a_policy_of_the_organization_counts(tmp_path: Path) -> None:
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    elsewhere = {
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": {"StringNotEquals": {"aws:RequestedRegion": "eu-central-1"}},
    }
    for name, statements in (
        ("home", [everything, elsewhere]),
        ("no-deletion", [everything, {"Effect": "Deny", "Action": "s3:Delete*", "Resource": "*"}]),
    ):
        (tmp_path / name).write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}), encoding="utf-8")
    assert of_project(ROOT, "prod", [tmp_path / "home"]).refused == [], "prod is at home there"
    refused = {
        item.need.action for item in of_project(ROOT, "prod", [tmp_path / "home", tmp_path / "no-deletion"]).refused
    }
    assert refused == {"s3:DeleteObjectVersion"}
    (tmp_path / "none").write_text("{")
    with pytest.raises(UsageError, match="is not valid JSON"):
        of_project(ROOT, "prod", [tmp_path / "none"])
