"""Every stack comes up in process, against moto: complete documents, names within AWS's limits, stacks that don't
collide.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from groundplan.engine.program import run, run_file
from groundplan.local.moto import rules
from groundplan.local.moto.alarms import evaluate_alarms
from groundplan.local.moto.monitor import LocalMonitor, Record
from groundplan.local.moto.rest_apis import keep_definitions
from groundplan.local.moto.rules import Cloud
from groundplan.local.moto.server import _allow_plain_http, sign_with_ed25519
from groundplan.local.moto.shapes import check, input_shape
from spec.errors import GroundplanError
from spec.objectives import load_config, parse
from tests.conftest import ROOT, everything
from tests.unit.infra.test_program import STACKS

ACCOUNT = "123456789012"  # moto's
_turn = threading.RLock()  # moto's backends are not thread-safe


class InProcess:
    """An AWS account in this process, and the stacks applied to it."""

    def __init__(self) -> None:
        from botocore import xform_name

        clients: dict[tuple[str, str], Any] = {}

        def send(region: str, service: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
            if faults := check(input_shape(service, operation), request):
                raise GroundplanError(f"AWS would refuse this {operation}: {'; '.join(faults)}")
            with _turn:
                if (region, service) not in clients:
                    clients[region, service] = boto3.client(service, region_name=region)
                return dict(getattr(clients[region, service], xform_name(operation))(**request))

        self._send = send

    def apply(self, stack: str, config: dict[str, Any], project: str = "groundplan") -> list[Record]:
        """Create a stack; the account is moto's, whatever the stack's file says."""
        config = json.loads(json.dumps(config).replace(config["aws:allowedAccountIds"][0], ACCOUNT))
        region = parse(config, where="test", planned=True).region
        monitor = LocalMonitor(Cloud(region, ACCOUNT, self._send, "127.0.0.1:1", lambda manifest: None), {})
        run(lambda: run_file(ROOT), monitor, stack, config, project=project)
        return list(monitor.records.values())


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics are tested on the real broker elsewhere."""
    topic = rules.RULES["aws:msk/topic:Topic"]
    monkeypatch.setitem(
        rules.RULES, "aws:msk/topic:Topic", replace(topic, make=lambda cloud, inputs: (inputs["name"], {}))
    )


@pytest.fixture
def cloud() -> Iterator[InProcess]:
    _allow_plain_http()
    keep_definitions()
    evaluate_alarms()
    sign_with_ed25519()
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        yield InProcess()


# The others are its subsets; the review previews each of them.
@pytest.mark.parametrize("stack", [*(pytest.param(name, marks=pytest.mark.drill) for name in STACKS), "everything"])
def test_a_stack_comes_up_and_its_documents_are_strict(stack: str, cloud: InProcess) -> None:
    records = cloud.apply(stack, everything() if stack == "everything" else load_config(ROOT, stack))
    made = [record for record in records if record.applied]
    assert len(made) > 200
    assert boto3.client("s3").list_buckets()["Buckets"] and boto3.client("iam").list_roles()["Roles"]
    statements = [(record.name, statement) for record in records for statement in _statements(record)]
    assert len(statements) > 100
    for name, statement in statements:
        # In a key's policy the star is the key itself.
        if statement["Effect"] == "Allow" and not name.startswith(("keys-", "signing-", "standby-keys-")):
            wild = [action for action in statement["Action"] if "*" in action]
            assert not (wild and "*" in statement.get("Resource", [])), f"{name}: {statement}"
    reading = ("Get", "List", "Describe", "Lookup", "Select", "Decrypt")
    auditor = [statement for name, statement in statements if name == "identity-auditor" and "Resource" in statement]
    assert auditor and all(
        action.split(":")[1].startswith(reading) for statement in auditor for action in statement["Action"]
    )
    for record in records:
        if record.type == "aws:iam/role:Role":
            _check_role(record)


def _statements(record: Record) -> list[dict[str, Any]]:
    texts = [record.inputs.get(key) for key in ("policy", "assumeRolePolicy")]
    return [
        statement
        for text in texts
        if isinstance(text, str) and "Statement" in text
        for statement in json.loads(text)["Statement"]
    ]


def _check_role(record: Record) -> None:
    trust = json.loads(record.inputs["assumeRolePolicy"])["Statement"][0]
    if record.name.startswith(("identity-", "workspace")):
        assert record.inputs["permissionsBoundary"].endswith("-boundary"), record.name
    service = trust["Principal"].get("Service", "")
    # These tell IAM of no account; their roles can be passed within one account only.
    untold = ("pods.eks", "ec2", "credentials.iot", "apigateway", "lambda")
    if service and service not in {f"{name}.amazonaws.com" for name in untold}:
        assert "aws:SourceAccount" in trust["Condition"]["StringEquals"], record.name


def _names(records: list[Record]) -> set[tuple[str, str]]:
    """Physical names, by type; names inside a named resource may be equal."""
    inside = {
        "aws:iam/rolePolicy:RolePolicy",
        "aws:amp/ruleGroupNamespace:RuleGroupNamespace",
        "aws:msk/topic:Topic",
        "aws:s3/bucketObjectv2:BucketObjectv2",
    }
    inside |= {
        "aws:glue/catalogTable:CatalogTable",
        "aws:glue/schema:Schema",
        "aws:sagemaker/userProfile:UserProfile",
        "aws:eks/addon:Addon",
    }
    keys = ("name", "bucket", "identifier", "clusterName", "domainName", "pipelineName", "dashboardName", "alias")
    found = set()
    for record in records:
        if record.type.startswith("aws:") and record.type not in inside:
            found |= {(record.type, str(record.inputs[key])) for key in keys if key in record.inputs}
    return found


def test_two_stacks_in_one_account_do_not_collide(cloud: InProcess) -> None:
    first = load_config(ROOT, "staging")
    second = load_config(ROOT, "staging")
    second["groundplan:objectives"] |= {"environment": "staging-b", "owns_account": False}
    one, two = cloud.apply("staging", first), cloud.apply("staging-b", second)
    assert not _names(one) & _names(two)


@pytest.mark.parametrize(
    ("project", "stack", "model"),
    [
        pytest.param("p" * 30, "s" * 30, "m" * 40, marks=pytest.mark.drill),
        pytest.param(
            "a-company-with-a-long-name-inc",
            "production-of-the-third-region",
            "a-model-that-has-forty-characters-exactl",
            marks=pytest.mark.drill,
        ),
        pytest.param("g", "p", "m", marks=pytest.mark.drill),
    ],
)
def test_names_stay_within_awss_limits_whatever_project_stack_and_model_are_called(
    project: str, stack: str, model: str, cloud: InProcess
) -> None:
    config = load_config(ROOT, "prod")
    models = config["groundplan:objectives"]["models"]
    config["groundplan:objectives"]["models"] = {
        model: models["diabetes-rf"],
        "x" * 40: {**models["diabetes-rf"], "target": "edge", "explanations": False},
    }
    records = cloud.apply(stack, config, project)
    names = [name for type_, name in _names(records)]
    assert len(names) > 60
    role_names = [record.inputs["name"] for record in records if record.type == "aws:iam/role:Role"]
    assert len(set(role_names)) == len(role_names) and max(map(len, role_names)) <= 64
    assert max(len(record.inputs["bucket"]) for record in records if record.type == "aws:s3/bucket:Bucket") <= 63
