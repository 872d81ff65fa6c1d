"""The recipes of CONTRIBUTING.md work as written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.conftest import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def recipe(name: str) -> dict[str, Any]:
    (code,) = re.findall(rf"(?ms)^```python {name}\n(.*?)^```$", TEXT)
    space: dict[str, Any] = {"__name__": f"recipe_{name}"}
    exec(compile(code, f"CONTRIBUTING.md: {name}", "exec", dont_inherit=True), space)
    return space


def test_a_policy_passes_the_good_and_finds_the_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    from policies import control

    registered: dict[str, control.Control] = {}
    monkeypatch.setattr(control, "CONTROLS", registered)
    check = recipe("policy")["queue_encrypted"]
    assert list(registered) == ["queue-encrypted"]
    assert not list(check({"kmsMasterKeyId": "k"})) and list(check({}))


def test_a_component_makes_its_resource_and_refuses_what_is_out_of_range() -> None:
    import pulumi

    from components.foundation.base import Scope
    from groundplan.engine.preview import preview
    from spec.errors import UsageError

    made = recipe("component")

    def program() -> None:
        scope = Scope(
            project="p",
            stack="s",
            region="eu-central-1",
            account_id="123456789012",
            owner="me@example.com",
            protect=False,
        )
        pulumi.export("url", made["Mailbox"]("inbox", scope, made["MailboxArgs"](key_arn="k", retention_days=14)).url)

    (queue,) = [item for item in preview(ROOT, "local", config={}, program=program) if item.custom]
    assert queue.inputs["messageRetentionSeconds"] == 14 * 86_400 and queue.parent.endswith(":Mailbox::inbox")
    with pytest.raises(UsageError, match=r"MailboxArgs.retention_days: is 15; allowed: 1 to 14 days \(SQS\)"):
        made["MailboxArgs"](key_arn="k", retention_days=15)


def test_a_rule_names_a_call_that_aws_has() -> None:
    import botocore.session

    (rule,) = recipe("rule")["RULES"].values()
    operation = botocore.session.get_session().get_service_model(rule.service).operation_model(rule.operation)
    assert set(rule.rename.values()) <= set(operation.input_shape.members)


def test_a_step_is_run_as_any_other(tmp_path: Path) -> None:
    from spec.errors import GroundplanError

    made = recipe("step")

    class Context:
        model = "m"

        def __init__(self, rows: int) -> None:
            self.rows = rows

        def result(self, step: str) -> dict[str, Any]:
            assert step == "quality"
            return {"rows": self.rows}

    assert made["freshness"](Context(3)) == {"rows": 3} and made["STEP"].module == "pipelines.steps.freshness"
    with pytest.raises(GroundplanError, match="the dataset is empty"):
        made["freshness"](Context(0))


def test_a_command_runs() -> None:
    commands = recipe("command")["commands"]
    assert CliRunner().invoke(commands, ["Kiel"]).stdout == "fair in Kiel\n"
    assert CliRunner().invoke(commands, ["Kiel", "--json"]).stdout == '{"place": "Kiel", "weather": "fair"}\n'


def test_the_files_and_targets_that_it_names_exist() -> None:
    files = re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.(?:py|yaml|md))?)`", TEXT)
    assert len(files) > 10
    assert not [name for name in files if not (ROOT / name).exists() and not name.startswith("models/churn")]
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    assert set(re.findall(r"`make ([a-z]+)`", TEXT)) <= targets
