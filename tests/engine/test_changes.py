"""The real engine, day 2: changes, a hand that meddles, an interruption, a control that stops it."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.conftest import ACCOUNT, MISSING, Cli, running, types

pytestmark = [pytest.mark.engine, pytest.mark.skipif(bool(MISSING), reason=f"the Pulumi CLI is not on the PATH: no {', '.join(MISSING)}; see `make pulumi`")]

DATA = {
    "aws:s3/bucket:Bucket", "aws:kms/key:Key", "aws:rds/instance:Instance", "aws:dynamodb/table:Table", "aws:secretsmanager/secret:Secret",
    "aws:msk/topic:Topic", "aws:msk/cluster:Cluster", "aws:eks/cluster:Cluster",
}  # fmt: skip
BUCKET, ALARM = "aws:s3/bucket:Bucket", "aws:cloudwatch/metricAlarm:MetricAlarm"
LIFECYCLE = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
PACK = ("--policy-pack", "policies")


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    with running(tmp_path_factory.mktemp("engine")) as found:
        yield found


def test_a_mandatory_control_of_the_whole_stack_stops_it(cli: Cli) -> None:
    cli.stack("strict", like="prod", without=("groundplan:waivers",))
    stopped = cli("preview", "-s", "strict", *PACK)
    assert stopped.returncode != 0
    assert set(re.findall(r"\[mandatory\].*?(\S+)  \(", stopped.stdout)) == {"secret-rotates", "k8s-pod-security"}, stopped.stdout[-4000:]


@pytest.fixture(scope="module")
def live(cli: Cli) -> Cli:
    """Stack dev, up."""
    cli.stack("dev")
    cli.good("up", "-s", "dev", "--yes", "--skip-preview")
    return cli


def owner(objectives: dict[str, Any]) -> None:
    objectives["owner"] = "somebody@example.com"


def threshold(objectives: dict[str, Any]) -> None:
    objectives["models"]["diabetes-rf"]["latency_ms"] += 20


def model(objectives: dict[str, Any]) -> None:
    objectives["models"]["another"] = {**objectives["models"]["diabetes-rf"]}


def retention(objectives: dict[str, Any]) -> None:
    objectives["events"]["retention_days"] *= 2


def test_the_state_and_the_program_in_process_hold_the_same_resources(live: Cli) -> None:
    from groundplan.preview import preview
    from infra.objectives import load_config

    known = {(item.type, item.name) for item in preview(live.project, "dev", config={**load_config(live.project, "dev"), "aws:allowedAccountIds": [ACCOUNT]})}
    there = {(item["type"], item["urn"].rpartition("::")[2]) for item in live.resources("dev") if not item["type"].startswith("pulumi:")}
    assert {item for item in known if not item[0].startswith("pulumi:")} == there


def test_a_change_shows_what_it_changes_and_replaces_nothing_that_holds_data(live: Cli) -> None:
    file = live.project / "stacks" / "Pulumi.dev.yaml"
    for change, shown in ((owner, BUCKET), (threshold, ALARM), (model, "aws:sagemaker/endpoint:Endpoint"), (retention, LIFECYCLE)):
        kept = file.read_text(encoding="utf-8")
        live.edit("dev", change)
        planned = live.planned("-s", "dev")
        file.write_text(kept, encoding="utf-8")
        assert shown in types({urn for urns in planned.values() for urn in urns}), f"{change.__name__}: {planned}"
        assert not types(lost(planned)) & DATA, f"{change.__name__}: {planned}"
    for change in (owner, threshold, model, retention):
        live.edit("dev", change)
    live.good("up", "-s", "dev", "--yes", "--skip-preview")
    live.good("preview", "-s", "dev", "--refresh", "--expect-no-changes")


def lost(planned: dict[str, set[str]]) -> set[str]:
    """URNs that are replaced or deleted."""
    return {urn for operation, urns in planned.items() if "replace" in operation or "delete" in operation for urn in urns}


def test_a_renamed_component_keeps_its_resources_by_an_alias(live: Cli) -> None:
    program = live.project / "infra" / "program.py"
    kept = program.read_text(encoding="utf-8")
    bare = re.sub(r"(\bLake\(\s*)\"lake\"", r'\1"store"', kept)
    aliased = bare.replace("Lake(", '__import__("functools").partial(Lake, opts=pulumi.ResourceOptions(aliases=[pulumi.Alias(name="lake")]))(')
    assert kept != bare != aliased
    try:
        for text, keeps in ((aliased, True), (bare, False)):
            program.write_text(text, encoding="utf-8")
            planned = live.planned("-s", "dev")
            assert bool(types(lost(planned)) & DATA) is not keeps, planned
    finally:
        program.write_text(kept, encoding="utf-8")


def test_what_somebody_does_by_hand_is_found(live: Cli) -> None:
    urns = {item["type"]: item for item in live.resources("dev") if item["type"] == "aws:cloudwatch/logGroup:LogGroup"}
    group = urns["aws:cloudwatch/logGroup:LogGroup"]
    live.aws("logs").put_retention_policy(logGroupName=group["id"], retentionInDays=1)
    bucket = next(item for item in live.resources("dev") if item["type"] == "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")
    live.aws("s3").delete_public_access_block(Bucket=bucket["id"])
    seen = live("preview", "-s", "dev", "--refresh", "--expect-no-changes")
    assert seen.returncode != 0 and "retentionInDays" in live("preview", "-s", "dev", "--refresh", "--diff").stdout
    planned = live.planned("-s", "dev", "--refresh")
    assert group["urn"] in planned["update"] and bucket["urn"] in planned["create"]
    live.good("up", "-s", "dev", "--refresh", "--yes", "--skip-preview")
    live.good("preview", "-s", "dev", "--refresh", "--expect-no-changes")


def test_an_interrupted_up_is_continued(cli: Cli) -> None:
    cli.stack("broken", like="staging")
    process = cli.start("up", "-s", "broken", "--yes", "--skip-preview")
    assert process.stdout is not None
    for number, line in enumerate(process.stdout):
        if "created" in line and number > 150:
            break
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait(120) != 0
    begun = len(cli.resources("broken"))
    assert begun > 20
    cli.good("up", "-s", "broken", "--yes", "--skip-preview")
    cli.good("preview", "-s", "broken", "--refresh", "--expect-no-changes")
    assert len(cli.resources("broken")) > begun
