"""Components for other programs, started by the engine as a plugin from the folder."""

from __future__ import annotations

import json
import sys

import pytest

from tests.engine.conftest import ACCOUNT, MISSING, running

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        bool(MISSING), reason=f"the Pulumi CLI is not on the PATH: no {', '.join(MISSING)}; see `make pulumi`"
    ),
]

# As a generated SDK of any language does: the engine has the plugin construct the component.
PROGRAM = """
import pulumi


class Lake(pulumi.ComponentResource):
    buckets: pulumi.Output[dict]

    def __init__(self, name, props):
        super().__init__("groundplan:index:Lake", name, {**props, "buckets": None, "keyArns": None}, None, True)


where = {"region": "eu-west-1", "accountId": "%s", "owner": "a@example.com"}
lake = Lake("theirs", {**where, "retentionDays": 30})
pulumi.export("buckets", lake.buckets)
"""
PROJECT = (
    "name: consumer\nruntime: {name: python, options: {virtualenv: .venv}}\nplugins: {providers: [{name: groundplan,"
    " path: %s}]}\n"
)


def test_a_program_of_another_project_has_a_lake(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(tmp_path_factory.mktemp("packaged")) as cli:
        plugin = cli.project / "components" / "plugin"
        (plugin / "venv").symlink_to(sys.prefix)
        other = cli.project.parent / "consumer"
        other.mkdir()
        (other / ".venv").symlink_to(sys.prefix)
        (other / "Pulumi.yaml").write_text(PROJECT % plugin)
        (other / "__main__.py").write_text(PROGRAM % ACCOUNT)
        cli.project = other
        cli.good("stack", "init", "test")
        cli.good("config", "set", "aws:region", "eu-west-1")
        cli.good("up", "--yes")
        buckets = json.loads(cli.good("stack", "output", "--json"))["buckets"]
        assert buckets["raw"] == f"consumer-test-raw-{ACCOUNT}" and set(buckets) == {
            "raw",
            "curated",
            "features",
            "models",
            "audit",
        }
        made = cli.resources("test")
        below = [item for item in made if item["type"].startswith("aws:") and "groundplan:index:Lake$" in item["urn"]]
        assert len(below) > 30
        cli.good("preview", "--refresh", "--expect-no-changes")
        cli.good("destroy", "--yes", "--skip-preview")
        assert [item for item in cli.resources("test") if item["type"].startswith("aws:")] == []
