"""The real engine: every stack as users deploy it, on the local cloud as its providers. It needs the Pulumi CLI on
the PATH, and no account.
"""

from __future__ import annotations

import re

import pytest

from tests.engine.conftest import MISSING, running

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        bool(MISSING), reason=f"the Pulumi CLI is not on the PATH: no {', '.join(MISSING)}; see `make pulumi`"
    ),
]

STACKS = ("local", "dev", "staging", "prod")


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_comes_up_with_the_pack_stays_as_it_is_and_is_destroyed(
    stack: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running(tmp_path_factory.mktemp(stack)) as cli:
        cli.stack(stack)
        planned = re.search(r"\+ (\d+) to create", cli.good("preview", "-s", stack))
        assert planned
        pack = ("--policy-pack", cli.pack())
        up = cli.good("up", "-s", stack, "--yes", *pack)  # after its own preview, in which much is unknown
        assert f"+ {planned[1]} created" in up and int(planned[1]) > 250
        made = cli.resources(stack)
        builds = cli.aws("codebuild").list_builds_for_project(projectName=f"groundplan-{stack}-image")["ids"]
        assert len(builds) == 1, "the dynamic provider has built the image"
        cli.good("preview", "-s", stack, *pack, "--expect-no-changes")
        cli.good("preview", "-s", stack, "--refresh", "--expect-no-changes")
        destroyed = cli("destroy", "-s", stack, "--yes", "--skip-preview")
        left = [
            item
            for item in cli.resources(stack)
            if item.get("custom") and not item["type"].startswith(("pulumi:", "pulumi-python:"))
        ]
        tagged = cli.aws("resourcegroupstaggingapi").get_resources(
            TagFilters=[{"Key": "Project", "Values": ["groundplan"]}]
        )["ResourceTagMappingList"]
        # A deleted NAT gateway is reported for an hour; moto keeps tags of what no longer exists in Glue.
        gateways = {
            item["NatGatewayId"]
            for item in cli.aws("ec2").describe_nat_gateways()["NatGateways"]
            if item["State"] != "deleted"
        }
        there = [
            arn
            for item in tagged
            if not (arn := item["ResourceARN"]).startswith("arn:aws:glue:")
            and not (":natgateway/" in arn and not gateways)
        ]
        if stack != "prod":
            assert destroyed.returncode == 0 and not left, destroyed.stdout[-4000:]
            assert {arn.split(":")[2] for arn in there} == {
                "kms",
                "secretsmanager",
            }, f"keys and secrets have a window, and nothing else stays: {there}"
            assert (
                cli.aws("glue").get_databases()["DatabaseList"] == []
                and cli.aws("glue").list_registries()["Registries"] == []
            )
            return
        assert destroyed.returncode != 0 and "it is protected" in destroyed.stdout
        assert {item["urn"] for item in made if item.get("protect")} == {
            item["urn"] for item in left if item.get("protect")
        }
        assert {item["type"] for item in left if item.get("protect")} > {
            "aws:s3/bucket:Bucket",
            "aws:rds/instance:Instance",
            "aws:kms/key:Key",
        }
        assert len(left) < len(made) / 4
