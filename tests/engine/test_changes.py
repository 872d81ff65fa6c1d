"""The real engine, day 2: changes, manual changes, an interruption, a control that stops it."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from groundplan.engine.preview import preview
from spec.errors import GroundplanError
from tests.engine.conftest import ACCOUNT, MISSING, Cli, providers, running, types

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        bool(MISSING), reason=f"the Pulumi CLI is not on the PATH: no {', '.join(MISSING)}; see `make pulumi`"
    ),
]

MOST_ROUNDS = 20
DATA = {
    "aws:s3/bucket:Bucket",
    "aws:kms/key:Key",
    "aws:rds/instance:Instance",
    "aws:dynamodb/table:Table",
    "aws:secretsmanager/secret:Secret",
    "aws:msk/topic:Topic",
    "aws:msk/cluster:Cluster",
    "aws:eks/cluster:Cluster",
}
BUCKET, ALARM = "aws:s3/bucket:Bucket", "aws:cloudwatch/metricAlarm:MetricAlarm"
LIFECYCLE = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
PACK = ("--policy-pack", "policies")
# Different in every cloud: numbers of things, ports, suffixes of secrets' ARNs; and the region of a cluster's load
# balancer, which is not named anywhere.
RANDOM = (
    r"[0-9a-f]{8}-[0-9a-f-]{27}",
    r"(?<=[a-z]-)[0-9a-f]{17}",
    r"127\.0\.0\.1:\d+",
    r"\b(?=\w*\d)(?=\w*[a-z])\w{16,}",
    r"(?<=:secret:)[^\"]*-\w{6}(?=\")",
    r"(?<=\.elb\.)[a-z0-9-]+",
)


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    with running(tmp_path_factory.mktemp("engine")) as found:
        yield found


def test_a_mandatory_control_of_the_whole_stack_stops_it(cli: Cli) -> None:
    cli.stack("strict", like="prod", without=("groundplan:waivers",))
    stopped = cli("preview", "-s", "strict", *PACK)
    assert stopped.returncode != 0
    assert set(re.findall(r"\[mandatory\].*?(\S+)  \(", stopped.stdout)) == {
        "secret-rotates",
        "k8s-pod-security",
    }, stopped.stdout[-4000:]


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
    known = {(item.type, item.name) for item in preview(live.project, "dev", config=configuration(live, "dev"))}
    there = {
        (item["type"], item["urn"].rpartition("::")[2])
        for item in live.resources("dev")
        if not item["type"].startswith("pulumi:")
    }
    assert {item for item in known if not item[0].startswith("pulumi:")} == there


def test_groundplan_up_leaves_the_same_in_the_cloud(live: Cli, tmp_path: Path) -> None:
    """Each resource read from both clouds, the topics of both brokers, the Kubernetes objects of both."""
    from groundplan.local.moto.apply import apply

    with providers() as (_, other):
        applied = apply(
            live.project,
            "dev",
            other["AWS_ENDPOINT_URL"],
            other["KAFKA_BOOTSTRAP_SERVERS"],
            tmp_path / "state",
            tmp_path / "manifests",
            "one",
        )
        mine = told(other, {(item.type, item.name): (item.inputs, item.id) for item in applied.made})
    theirs = {
        (item["type"], item["urn"].rpartition("::")[2]): (item["inputs"], item["id"])
        for item in live.resources("dev")
        if item.get("id")
    }
    engines = told(live.variables, theirs)
    assert len(mine) > 200 and mine.keys() == engines.keys()
    assert {key: (mine[key], engines[key]) for key in mine if mine[key] != engines[key]} == {}


def told(
    variables: dict[str, str], resources: dict[tuple[str, str], tuple[dict[str, Any], str]]
) -> dict[tuple[str, str], str]:
    """Each resource's inputs as a local cloud has them, without numbers that are another's in another cloud."""
    from groundplan.local.moto.rules import rule_for

    ask, found = maker(variables), {}
    for (type_, name), (inputs, physical) in resources.items():
        rule = rule_for(type_)
        if rule is not None and rule.read is not None and rule.service:
            plain = {
                key: value for key, value in inputs.items() if not key.startswith("__") and key != "source"
            }  # files: by their hashes, or counted
            text = json.dumps(even(ask.read(type_, plain, physical, {})), sort_keys=True, default=str)
            found[type_, name] = re.sub("|".join(RANDOM), "#", text)
    return found


def even(value: Any) -> Any:
    """Numbers as floats, documents parsed, sets sorted."""
    if isinstance(value, dict):
        return {key: even(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted((even(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True, default=str))
    if isinstance(value, str) and value[:1] in "{[":
        with suppress(ValueError):
            return even(json.loads(value))
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def test_a_change_shows_what_it_changes_and_replaces_nothing_that_holds_data(live: Cli) -> None:
    file = live.project / "stacks" / "Pulumi.dev.yaml"
    for change, shown in (
        (owner, BUCKET),
        (threshold, ALARM),
        (model, "aws:sagemaker/endpoint:Endpoint"),
        (retention, LIFECYCLE),
    ):
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
    return {
        urn for operation, urns in planned.items() if "replace" in operation or "delete" in operation for urn in urns
    }


def test_a_renamed_component_keeps_its_resources_by_an_alias(live: Cli) -> None:
    program = live.project / "infra" / "build" / "data.py"
    kept = program.read_text(encoding="utf-8")
    bare = re.sub(r"(\bLake\(\s*)\"lake\"", r'\1"store"', kept)
    aliased = bare.replace(
        "Lake(",
        '__import__("functools").partial(Lake, opts=pulumi.ResourceOptions(aliases=[pulumi.Alias(name="lake")]))(',
    )
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
    bucket = next(
        item
        for item in live.resources("dev")
        if item["type"] == "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
    )
    live.aws("s3").delete_public_access_block(Bucket=bucket["id"])
    seen = live("preview", "-s", "dev", "--refresh", "--expect-no-changes")
    assert seen.returncode != 0 and "retentionInDays" in live("preview", "-s", "dev", "--refresh", "--diff").stdout
    planned = live.planned("-s", "dev", "--refresh")
    assert group["urn"] in planned["update"] and bucket["urn"] in planned["create"]
    live.good("up", "-s", "dev", "--refresh", "--yes", "--skip-preview")
    live.good("preview", "-s", "dev", "--refresh", "--expect-no-changes")


def test_an_interrupted_up_is_continued(cli: Cli) -> None:
    cli.stack("broken", like="staging")
    process = cli.start_and_wait("broken", 150)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode != 0
    continued(cli, "broken")


def test_the_state_survives_providers_that_die_half_way(cli: Cli) -> None:
    cli.stack("orphan", like="dev")
    there = ("--aws-endpoint", cli.variables["AWS_ENDPOINT_URL"], "--kafka", cli.variables["KAFKA_BOOTSTRAP_SERVERS"])
    kept = dict(cli.variables)
    with providers(*there) as (process, variables):
        cli.variables |= variables
        update = cli.start_and_wait("orphan", 150)
        process.kill()
        said = update.communicate(timeout=300)[0]
        assert update.returncode != 0 and "error:" in said
    cli.variables = kept
    delete_orphans(cli, "orphan")
    continued(cli, "orphan")


def test_the_state_survives_a_cli_that_is_killed(cli: Cli) -> None:
    cli.stack("killed", like="dev")
    update = cli.start_and_wait("killed", 150)
    update.kill()
    update.communicate(timeout=60)
    cli.end_what_is_left()
    locked = cli("up", "-s", "killed", "--yes", "--skip-preview")
    assert locked.returncode != 0 and "currently locked" in locked.stderr + locked.stdout
    assert "is locked by" in preflight(cli, "killed")
    cli.good("cancel", "killed", "--yes")
    pending = json.loads(cli.good("stack", "export", "-s", "killed"))["deployment"].get("pending_operations", [])
    said = preflight(cli, "killed")
    if pending:
        assert (
            f"{len(pending)} operations were interrupted" in said
            and pending[0]["resource"]["urn"].rpartition("::")[2] in said
        )
        delete(
            cli,
            [
                (item["resource"]["type"], item["resource"].get("inputs", {}))
                for item in pending
                if item["type"] == "creating"
            ],
        )
        cli.good("refresh", "-s", "killed", "--yes", "--skip-preview", "--clear-pending-creates")
    delete_orphans(cli, "killed")
    continued(cli, "killed")


def delete_orphans(cli: Cli, stack: str) -> None:
    """Delete manually what was created without its provider's answer being recorded: as on AWS, it is in the way. An
    update stops at the first ones, so that it takes several.
    """
    inputs = {item.name: item.inputs for item in preview(cli.project, stack, config=configuration(cli, stack))}
    for _ in range(MOST_ROUNDS):
        again = cli("up", "-s", stack, "--yes", "--skip-preview")
        found = re.findall(r"resource (\S+) \((aws:\S+)\): .*(?:Exists|Owned|Duplicate|Conflict)", again.stdout)
        if not found:
            return
        delete(cli, [(type_, inputs[name]) for name, type_ in set(found)])
    raise AssertionError(f"after {MOST_ROUNDS} updates there is still something in the way: {found}")


def delete(cli: Cli, resources: list[tuple[str, dict[str, Any]]]) -> None:
    """Delete manually what exists: a resource with its own name can't be created twice."""
    for type_, inputs in resources:
        if type_ == "aws:ec2/subnet:Subnet":  # has no name; its addresses are in the way of another one's
            ec2 = cli.aws("ec2")
            named = [{"Name": "tag:Name", "Values": [inputs["tags"]["Name"]]}]
            for subnet in ec2.describe_subnets(Filters=named)["Subnets"]:
                ec2.delete_subnet(SubnetId=subnet["SubnetId"])
            continue
        with suppress(GroundplanError, BotoCoreError, ClientError):
            maker(cli.variables).delete(type_, "by hand", {**inputs, "forceDestroy": True}, physical_name(inputs))


def physical_name(inputs: dict[str, Any]) -> str:
    return str(inputs.get("name") or inputs.get("bucket") or "")


def configuration(cli: Cli, stack: str) -> dict[str, Any]:
    from spec.objectives import load_config

    return {**load_config(cli.project, stack), "aws:allowedAccountIds": [ACCOUNT]}


def maker(variables: dict[str, str]) -> Any:
    """A client of a local cloud."""
    from groundplan.local.moto.maker import Maker
    from groundplan.local.moto.rules import Cloud
    from groundplan.local.moto.sending import sender

    return Maker(
        Cloud(
            "eu-central-1",
            ACCOUNT,
            sender(variables["AWS_ENDPOINT_URL"]),
            variables["KAFKA_BOOTSTRAP_SERVERS"],
            lambda manifest: None,
        )
    )


def preflight(cli: Cli, stack: str) -> str:
    """What `groundplan preflight` reports about the state."""
    from groundplan.account import cli_state

    return "; ".join(
        item.says for item in cli_state.look(cli.project, "groundplan", stack, cli.variables) if item.what == "state"
    )


def continued(cli: Cli, stack: str) -> None:
    """The next `up` continues from what exists."""
    begun = len(cli.resources(stack))
    assert begun > 20
    cli.good("up", "-s", stack, "--yes", "--skip-preview")
    cli.good("preview", "-s", stack, "--refresh", "--expect-no-changes")
    assert len(cli.resources(stack)) >= begun
