from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.errors import UsageError
from infra.objectives import load, parse
from tests.conftest import set_path

BAD = [
    # path in groundplan:objectives, value (... removes it), what the message must say
    ("budget.monthly_usd", -5, ["groundplan:objectives.budget.monthly_usd", "-5 given", "greater than 0"]),
    ("budget.monthly_usd", "much", ["groundplan:objectives.budget.monthly_usd", "'much' given", "valid number"]),
    ("budget", ..., ["groundplan:objectives.budget is missing"]),
    ("budget.alert_percent", [0], ["alert_percent.0", "0 given"]),
    ("budget.alert_percent", [], ["alert_percent", "at least 1"]),
    ("budget.alert_percent", [10, 20, 30, 40, 50], ["alert_percent", "at most 4"]),
    ("models.diabetes-rf.latency_ms", 0, ["models.diabetes-rf.latency_ms", "0 given", "greater than 0"]),
    ("models.diabetes-rf.latency_ms", ..., ["models.diabetes-rf.latency_ms is missing"]),
    ("models.diabetes-rf.latencyms", 100, ["latencyms is not a known objective", "did you mean `latency_ms`?"]),
    ("models.diabetes-rf.value.kpi", "profit", ["value.kpi", "'profit' given", "'mae'"]),
    ("models.diabetes-rf.value.predictions_per_month", 0, ["predictions_per_month", "0 given"]),
    ("models.diabetes-rf.requests_per_second.peak", 0.5, ["requests_per_second", "peak 0.5 is below average 1"]),
    ("models.diabetes-rf.drift_share", 2, ["drift_share", "2 given", "less than or equal to 1"]),
    ("models.diabetes-rf.quality.metric", ..., ["quality.metric is missing"]),
    ("models.diabetes-rf.retraining.every_hours", -1, ["retraining.every_hours", "-1 given"]),
    ("models", {}, ["groundplan:objectives.models", "at least 1"]),
    ("models", {"Bad Name": {}}, ["Bad Name"]),
    ("complience", ["gdpr"], ["complience is not a known objective", "did you mean `compliance`?"]),
    ("compliance", ["pci"], ["compliance.0", "'pci' given", "'gdpr'"]),
    ("availability", "always", ["availability", "'always' given", "one-zone"]),
    ("owner", "nobody", ["groundplan:objectives.owner", "'nobody' given"]),
    ("stakeholders.finance", ..., ["stakeholders.finance is missing"]),
    ("stakeholders.legal", 3, ["stakeholders.legal", "3 given"]),
    ("events.per_second", -1, ["events.per_second", "-1 given"]),
    ("events.retention_days", 0, ["events.retention_days", "0 given"]),
    ("environment", "Prod!", ["groundplan:objectives.environment", "'Prod!' given"]),
]


@pytest.mark.parametrize(("path", "value", "says"), BAD, ids=[f"{path}={value}"[:60] for path, value, _ in BAD])
def test_a_wrong_objective_gets_a_message_with_file_key_and_value(path: str, value: Any, says: list[str], stack_config: dict[str, Any]) -> None:
    set_path(stack_config["groundplan:objectives"], path, value)
    with pytest.raises(UsageError) as raised:
        parse(stack_config, where="stacks/Pulumi.local.yaml")
    message = str(raised.value)
    assert message.startswith("stacks/Pulumi.local.yaml: ")
    assert raised.value.exit_code == 2
    for part in says:
        assert part in message


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("aws:region", "us-eats-1", "'us-eats-1' is not an AWS region\n  -> did you mean us-east-1?"),
        ("aws:region", 7, "7 is not an AWS region"),
        ("aws:allowedAccountIds", ["12"], "aws:allowedAccountIds: '12' given"),
        ("aws:allowedAccountIds", [], "exactly one account id"),
        ("groundplan:objectives", ..., "`groundplan:objectives` is missing"),
        ("aws:region", ..., "`aws:region` is missing"),
    ],
)
def test_a_wrong_stack_setting_gets_a_message(key: str, value: Any, says: str, stack_config: dict[str, Any]) -> None:
    if value is ...:
        del stack_config[key]
    else:
        stack_config[key] = value
    with pytest.raises(UsageError) as raised:
        parse(stack_config, where="f.yaml")
    assert says in str(raised.value)


def test_every_wrong_key_is_named_at_once(stack_config: dict[str, Any]) -> None:
    set_path(stack_config["groundplan:objectives"], "budget.monthly_usd", -1)
    set_path(stack_config["groundplan:objectives"], "models.diabetes-rf.latency_ms", 0)
    with pytest.raises(UsageError) as raised:
        parse(stack_config, where="f.yaml")
    assert "budget.monthly_usd" in str(raised.value) and "latency_ms" in str(raised.value)


def test_an_unknown_stack_names_those_that_exist(root: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown stack 'lokal'.*\n.*local"):
        load(root, "lokal")


@pytest.mark.parametrize(("text", "says"), [("a: [", "not readable as YAML"), ("- 1", "has no `config:` map"), ("config: 3", "has no `config:` map")])
def test_a_stack_file_that_is_no_stack_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "Pulumi.x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as raised:
        load(tmp_path, "x")
    assert says in str(raised.value) and "stacks/Pulumi.x.yaml" in str(raised.value)


def test_objectives_can_not_be_changed(root: Path) -> None:
    objectives = load(root, "local").objectives
    with pytest.raises(ValueError, match="frozen"):
        objectives.budget.monthly_usd = 1.0  # type: ignore[misc]
