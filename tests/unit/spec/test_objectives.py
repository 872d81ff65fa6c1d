from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from spec.errors import UsageError
from spec.objectives import load, load_config, parse, stack_schema
from spec.objectives.writing import record
from tests.conftest import set_path

CONNECTION = "arn:aws:codeconnections:us-east-1:123456789012:connection/11111111-2222-3333-4444-555555555555"
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
    ("residency", "europe", ["groundplan:objectives.residency", "'europe' given", "anywhere, or one of:", "eu"]),
    ("residency", "eu", ["aws:region", "us-east-1 is in jurisdiction 'us'", "-> use one of: eu-central-1"]),
    ("compliance", ["gdpr", "gdpr"], ["compliance", "a regime is named twice"]),
    ("compliance", "gdpr", ["compliance", "'gdpr' given", "must be a list"]),
    (
        "office_hours",
        {"start": 18, "end": 8, "timezone": "Europe/Berlin"},
        ["office_hours", "end 8 is not after start 18"],
    ),
    (
        "office_hours",
        {"start": 8, "end": 25, "timezone": "Europe/Berlin"},
        ["office_hours.end", "25 given", "less than or equal to 24"],
    ),
    (
        "office_hours",
        {"start": 8, "end": 18, "timezone": "Europe/Berln"},
        ["timezone", "'Europe/Berln' given", "did you mean Europe/Berlin?"],
    ),
    ("office_hours", {"start": 8, "end": 18}, ["office_hours.timezone is missing"]),
    (
        "office_hours",
        {"start": 8, "end": 18, "timezone": "UTC", "days": 5},
        ["office_hours.days is not a known objective", "known here: start, end, timezone"],
    ),
    ("owns_account", "perhaps", ["owns_account", "'perhaps' given", "valid boolean"]),
    ("research.scientists", ["Ada Lovelace"], ["research.scientists.0", "'Ada Lovelace' given"]),
    ("research.scientists", ["ada", "ada"], ["research.scientists", "named twice: ada"]),
    ("research.gpu_hours_per_month", -1, ["gpu_hours_per_month", "-1 given"]),
    ("research.gpu_hours", 3, ["gpu_hours is not a known objective", "did you mean `gpu_hours_per_month`?"]),
    ("deploys_from", {"repository": "example/platform"}, ["deploys_from.connection is missing"]),
    (
        "deploys_from",
        {"repository": "https://github.com/a/b", "connection": CONNECTION},
        ["deploys_from.repository", "'https://github.com/a/b' given", "OWNER/NAME"],
    ),
    (
        "deploys_from",
        {"repository": "a/b", "connection": "github"},
        ["deploys_from.connection", "'github' given", "arn:aws:codeconnections:"],
    ),
    (
        "deploys_from",
        {"repository": "a/b", "connection": CONNECTION.replace("012", "999")},
        [
            "deploys_from.connection",
            "the connection belongs to account 123456789999",
            "the stack's account is 123456789012",
            "create one in the stack's account",
        ],
    ),
    ("feature_store", "redis", ["feature_store", "'redis' given", "'feast'"]),
    ("events.per_second", float("inf"), ["events.per_second", "inf given", "finite number"]),
    ("events.per_second", 2_000_000, ["events.per_second", "2000000 given", "less than or equal to 1000000"]),
    ("events.retention_days", 7.5, ["events.retention_days", "7.5 given"]),
    ("budget.monthly_usd", float("nan"), ["budget.monthly_usd", "nan given"]),
    ("front_end", {"models": ["diabetes-rf"]}, ["front_end.origin is missing"]),
    ("front_end", {"origin": "https://a.example/", "models": ["diabetes-rf"]}, ["without a path", "a.example/"]),
    ("front_end", {"origin": "http://a.example", "models": ["diabetes-rf"]}, ["https://HOST or http://localhost"]),
    ("front_end", {"origin": "https://a.example:443", "models": ["diabetes-rf"]}, ["if it is not the usual one"]),
    ("front_end", {"origin": "https://A.example", "models": ["diabetes-rf"]}, ["in lower case"]),
    ("front_end", {"origin": "https://a.example:70000", "models": ["diabetes-rf"]}, ["must be a page's origin"]),
    ("front_end", {"origin": "https://a..example", "models": ["diabetes-rf"]}, ["must be a page's origin"]),
    ("front_end", {"origin": "https://*.a.example", "models": ["diabetes-rf"]}, ["must be a page's origin"]),
    ("front_end", {"origin": "https://a.example", "models": []}, ["front_end.models", "at least 1"]),
    ("front_end", {"origin": "https://a.example", "models": ["x"]}, ["front_end.models names x", "none of `models`"]),
    ("front_end", {"origin": "https://a.example", "models": ["diabetes-rf"] * 2}, ["names diabetes-rf twice"]),
    (
        "front_end",
        {"origin": "https://a.example", "models": ["diabetes-rf"], "cache_seconds": 9000},
        ["front_end.cache_seconds", "9000 given", "3600"],
    ),
    ("budget.alert_percent", [250], ["alert_percent.0", "250 given"]),
    ("models.diabetes-rf.target", "moon", ["target", "'moon' given", "'cloud'"]),
    ("models.diabetes-rf.gpu", "two", ["gpu", "'two' given", "valid boolean"]),
    ("models.diabetes-rf.explanations", 7, ["explanations", "7 given"]),
    (
        "models.diabetes-rf.quality",
        {"metric": "accuracy", "worst": 60},
        ["models.diabetes-rf", "quality.worst is 60; accuracy must be between 0 and 1"],
    ),
    (
        "models.diabetes-rf.quality",
        {"metric": "mae", "worst": 0},
        ["models.diabetes-rf", "quality.worst is 0; mae is an error and must be above 0"],
    ),
    ("models.diabetes-rf.quality.metric", "f1", ["quality.metric", "'f1' given"]),
    ("models.diabetes-rf.value.usd_per_unit", -0.1, ["usd_per_unit", "-0.1 given"]),
    ("models.diabetes-rf.value.unit", "", ["value.unit", "'' given"]),
    ("models.diabetes-rf.retraining.within_minutes", 0, ["within_minutes", "0 given"]),
    ("models.diabetes-rf.retraining", ..., ["models.diabetes-rf.retraining is missing"]),
    ("models.diabetes-rf.requests_per_second", 5, ["requests_per_second", "5 given"]),
    ("models", ..., ["groundplan:objectives.models is missing"]),
    ("models", {"a" * 41: {}}, ["a" * 41]),
    (
        "stakeholders.security",
        "a@b.c",
        ["stakeholders.security is not a known objective", "known here: product, operations, legal, finance"],
    ),
]


@pytest.mark.parametrize(("path", "value", "says"), BAD, ids=[f"{path}={value}"[:60] for path, value, _ in BAD])
def test_a_wrong_objective_file_gets_a_message_with_file_key_and_value(
    path: str, value: Any, says: list[str], stack_config: dict[str, Any], tmp_path: Path
) -> None:
    objectives = stack_config["groundplan:objectives"]
    objectives.setdefault("research", {})
    set_path(objectives, path, value)
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "Pulumi.wrong.yaml").write_text(yaml.safe_dump({"config": stack_config}), encoding="utf-8")
    with pytest.raises(UsageError) as raised:
        load(tmp_path, "wrong")
    message = str(raised.value)
    assert message.startswith("stacks/Pulumi.wrong.yaml: ")
    assert message.count("stacks/Pulumi.wrong.yaml") == 1, "one message for one mistake"
    assert "Traceback" not in message and "pydantic" not in message.lower()
    assert raised.value.exit_code == 2
    for part in says:
        assert part in message


def test_there_are_at_least_forty_wrong_files() -> None:
    assert len(BAD) >= 40


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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "not readable as YAML"),
        ("- 1", "has no `config:` map"),
        ("config: 3", "has no `config:` map"),
        ("config:\n  a: 1\n  a: 2\n", "`a` appears twice"),
        ("", "has no `config:` map"),
        ("config: !!python/object/apply:os.getcwd []", "not readable as YAML"),
    ],
)
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


def test_a_page_in_production_is_sent_encrypted(stack_config: dict[str, Any]) -> None:
    objectives = stack_config["groundplan:objectives"]
    objectives |= {"environment": "prod", "front_end": {"origin": "http://localhost:3000", "models": ["diabetes-rf"]}}
    with pytest.raises(UsageError, match=r"front_end\.origin is http://localhost:3000; in production"):
        parse(stack_config, where="f.yaml")


def test_production_can_not_sleep(stack_config: dict[str, Any]) -> None:
    stack_config["groundplan:objectives"] |= {
        "environment": "prod",
        "office_hours": {"start": 8, "end": 18, "timezone": "UTC"},
    }
    with pytest.raises(UsageError, match="a production environment can't have them"):
        parse(stack_config, where="f.yaml")


def test_two_regions_need_a_second_region_under_the_same_law(stack_config: dict[str, Any]) -> None:
    stack_config["aws:region"] = "eu-central-2"
    set_path(stack_config["groundplan:objectives"], "availability", "two-regions")
    with pytest.raises(
        UsageError, match=r"AWS has none in jurisdiction 'ch' besides eu-central-2\n  -> use multi-zone"
    ):
        parse(stack_config, where="f.yaml")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("availability", "two-regions", r"nothing serves from there yet\n  -> use multi-zone"),
        ("feature_store", "sagemaker", r"no pipeline step or server reads them yet\n  -> use feast"),
        ("models.diabetes-rf.gpu", True, r"quality and drift are not watched yet\n  -> use false"),
        ("models.diabetes-rf.target", "edge", r"quality and drift are not watched yet\n  -> use cloud"),
    ],
)
def test_what_is_planned_and_not_finished_is_refused_in_one_sentence(
    stack_config: dict[str, Any], name: str, value: str | bool, says: str
) -> None:
    set_path(stack_config["groundplan:objectives"], name, value)
    called = "gpu" if value is True else value
    with pytest.raises(UsageError, match=rf"f\.yaml: groundplan:objectives\.{name}: {called} is planned: .*{says}"):
        parse(stack_config, where="f.yaml")
    assert parse(stack_config, where="f.yaml", planned=True)
    import jsonschema

    faults = jsonschema.Draft202012Validator(stack_schema()).iter_errors({"config": stack_config})
    assert [str(value) in fault.message for fault in faults] == [True], "an editor marks it"


def test_the_schema_for_editors_is_current_and_holds_for_every_stack(root: Path) -> None:
    import jsonschema

    written = json.loads((root / "stacks" / "objectives.schema.json").read_text(encoding="utf-8"))
    assert written == stack_schema(), "run `make docs`"
    validator = jsonschema.Draft202012Validator(written)
    files = sorted(root.glob("stacks/Pulumi.*.yaml"))
    assert len(files) == 4
    for file in files:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        validator.validate(document)
        assert file.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=objectives.schema.json\n")
        document["config"]["groundplan:objectives"]["complience"] = []
        assert not validator.is_valid(document)


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_what_is_measured_is_recorded_and_nothing_else_changes(stack: str, root: Path, tmp_path: Path) -> None:
    text = (root / "stacks" / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8")
    path = tmp_path / f"Pulumi.{stack}.yaml"
    path.write_text(text, encoding="utf-8")
    before = load_config(root, stack)["groundplan:objectives"]["models"]
    for service_ms, minutes in ((1.23456, 3), (2.5, 0.75)):
        for model in before:
            record(path, ("models", model), {"service_ms": service_ms}, "groundplan loadtest")
            measured = {"run_minutes": minutes, "run_gb": 1.5}
            record(path, ("models", model, "retraining"), measured, "groundplan measure")
    after = yaml.safe_load(path.read_text(encoding="utf-8"))["config"]["groundplan:objectives"]["models"]
    for model in before.values():
        model |= {"service_ms": 2.5}
        model["retraining"] |= {"run_minutes": 0.75, "run_gb": 1.5}
    assert after == before
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(text.splitlines()) + len(before), "retraining is on one line"
    assert {line for line in text.splitlines() if "#" in line} <= set(lines), "comments stay"
    with pytest.raises(UsageError, match=r"has no models\.other"):
        record(path, ("models", "other"), {"service_ms": 1}, "groundplan loadtest")


def test_a_measured_number_goes_into_a_block_too(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.x.yaml"
    path.write_text(
        "config:\n  groundplan:objectives:\n    models:\n      m:\n        retraining: # why\n"
        "          every_hours: 24\n          within_minutes: 60\n",
        encoding="utf-8",
    )
    for gigabytes in (2, 3):
        place = ("models", "m", "retraining")
        record(path, place, {"run_minutes": 1.234, "run_gb": gigabytes}, "groundplan measure")
    found = yaml.safe_load(path.read_text(encoding="utf-8"))["config"]["groundplan:objectives"]["models"]["m"]
    assert found["retraining"] == {"every_hours": 24, "within_minutes": 60, "run_minutes": 1.23, "run_gb": 3}
    assert "# why" in path.read_text() and path.read_text().count("# measured by groundplan measure") == 2
