"""The components for other programs: the schema that Pulumi reads, and what each creates."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from pulumi.provider.experimental.component import ComponentProvider

from components.plugin import packaged
from groundplan.engine.preview import Previewed, preview
from groundplan.engine.program import DOCUMENTS
from groundplan.engine.resource_types import faults, resource_type
from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # previews stacks

PLUGIN = ROOT / "components" / "plugin"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/k"
WHERE = {"region": "eu-west-1", "account_id": "123456789012", "owner": "a@example.com"}
GIVEN: dict[str, dict[str, Any]] = {
    "Lake": {"retention_days": 30, "raw_lock_days": 7},
    "Endpoint": {
        "model": "churn",
        "instance_type": "ml.m5.large",
        "min_instances": 1,
        "max_instances": 2,
        "image_uri": "i",
        "role_arn": "arn:aws:iam::123456789012:role/r",
        "key_arn": KEY,
        "capture_bucket": "b",
        "subnet_ids": ["subnet-1"],
        "security_group_id": "sg-1",
    },
    "Budget": {
        "monthly_usd": 100,
        "alert_percent": [50, 100],
        "addresses": ["a@example.com"],
        "topic_arn": "arn:aws:sns:eu-west-1:123456789012:t",
        "model_usd": {"churn": 20},
    },
    "ClusterPools": {
        "cluster_name": "theirs",
        "node_role": "their-nodes",
        "kubeconfig": "{}",
        "node_key_arn": KEY,
        "zones": ["a", "b"],
        "cpu_limit": 32,
        "gpu_limit": 1,
    },
}


def made(kind: str, **more: Any) -> list[Previewed]:
    return preview(
        ROOT,
        "dev",
        config={},
        program=lambda: getattr(packaged, kind)("their", {**WHERE, **GIVEN[kind], **more}) and None,
    )


def test_the_schema_has_every_component_with_its_inputs_described_by_unit_or_form() -> None:
    resources = json.loads(ComponentProvider(packaged.COMPONENTS, "groundplan", None, "0.1.0").schema)["resources"]
    assert set(resources) == {f"groundplan:index:{kind}" for kind in GIVEN}
    lake, pools = resources["groundplan:index:Lake"], resources["groundplan:index:ClusterPools"]
    assert lake["requiredInputs"] == ["accountId", "owner", "region", "retentionDays"] and {
        "buckets",
        "keyArns",
    } == set(lake["properties"])
    assert lake["inputProperties"]["retentionDays"] == {
        "type": "integer",
        "plain": True,
        "description": "Days after which events are deleted.",
    }
    assert "plain" not in pools["inputProperties"]["kubeconfig"] and "gpuLimit" not in pools["requiredInputs"]
    assert all(resource["description"] for resource in resources.values())


@pytest.mark.parametrize("kind", GIVEN)
def test_what_a_component_makes_holds_to_awss_types_and_lies_below_it(kind: str) -> None:
    found = made(kind)
    assert f"groundplan:index:{kind}" in {item.type for item in found}
    custom = [item for item in found if item.type.startswith("aws:")]
    assert custom and all(f"groundplan:index:{kind}" in item.urn for item in custom)
    wrong = [
        fault for item in custom if (of := resource_type(item.type)) for fault in faults(of, given_as_text(item.inputs))
    ]
    assert not wrong


def given_as_text(inputs: dict[str, Any]) -> dict[str, Any]:
    """Policies in the provider's form."""
    return {
        key: json.dumps(value) if key in DOCUMENTS and isinstance(value, dict) else value
        for key, value in inputs.items()
    }


def test_pools_are_those_of_the_cluster_that_is_named() -> None:
    found = made("ClusterPools")
    rights = next(str(item.inputs["policy"]) for item in found if item.type == "aws:iam/rolePolicy:RolePolicy")
    assert "cluster/theirs" in rights and "role/their-nodes" in rights and "groundplan-dev-cluster" not in rights
    classes = [item.inputs for item in found if item.inputs.get("kind") == "EC2NodeClass"]
    assert {item["spec"]["role"] for item in classes} == {"their-nodes"} and len(classes) == 2
    assert all(
        item["spec"]["subnetSelectorTerms"] == [{"tags": {"karpenter.sh/discovery": "theirs"}}] for item in classes
    )
    assert not [
        item
        for item in made("ClusterPools", gpu_limit=None)
        if item.inputs.get("metadata", {}).get("name") == "gpu-spot"
    ]


def test_a_lake_is_protected_where_it_is_asked_for() -> None:
    assert not any(item.protect for item in made("Lake"))
    assert sum(item.protect for item in made("Lake", protect=True)) >= 9, "five buckets and four keys"


def test_the_plugin_asks_for_no_older_packages_than_the_project() -> None:
    own = {line.split(">=")[0]: line for line in (PLUGIN / "requirements.txt").read_text().split()}
    project = (ROOT / "pyproject.toml").read_text()
    assert own and all(f'"{line}"' in project for line in own.values())
    assert yaml.safe_load((PLUGIN / "PulumiPlugin.yaml").read_text())["runtime"]["name"] == "python"
