"""Alarms and rules of every stack: each tells somebody what to do, and what they name exists."""

from __future__ import annotations

import json
import re
from typing import Any

import promql_parser
import pytest

from components.operations.rules import alerts, recorded
from groundplan.engine.preview import Previewed
from tests.conftest import ROOT
from tests.unit.infra.test_program import ALL, changed, of_type, previewed

pytestmark = pytest.mark.slow  # previews stacks
PAGES = re.compile(r"docs/runbooks/([\w-]+)\.md")


def named(resources: Any) -> dict[str, Previewed]:
    return {
        item.inputs.get("name") or item.inputs["alarmName"]: item
        for kind in ("MetricAlarm", "CompositeAlarm")
        for item in of_type(resources, kind)
    }


@pytest.mark.parametrize("stack", ALL)
def test_every_alarm_that_tells_somebody_names_a_page_that_exists(stack: str) -> None:
    telling = {name: item.inputs for name, item in named(ALL[stack]()).items() if item.inputs.get("alarmActions")}
    assert len(telling) > 8
    for name, inputs in telling.items():
        (page,) = PAGES.findall(inputs["alarmDescription"])
        text = (ROOT / "docs" / "runbooks" / f"{page}.md").read_text(encoding="utf-8")
        assert "\n" in text, name
        assert f"]({page}.md)" in (ROOT / "docs" / "runbooks" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("stack", ALL)
def test_what_an_alarm_combines_or_is_silenced_by_exists(stack: str) -> None:
    there = named(ALL[stack]())
    parts = set()
    for item in there.values():
        if rule := item.inputs.get("alarmRule"):
            parts |= set(re.findall(r'(?<!NOT )ALARM\("([^"]+)"\)', rule))
            assert set(re.findall(r'ALARM\("([^"]+)"\)', rule)) <= set(there)
        if silenced := item.inputs.get("actionsSuppressor"):
            assert silenced["alarm"] in there
    assert parts <= set(there) and parts
    assert not any(there[part].inputs.get("alarmActions") for part in parts), "one cause is told once"


def test_alarms_are_within_cloudwatch_s_limits() -> None:
    for item in named(previewed("prod")).values():
        metrics = [query["metric"] for query in item.inputs.get("metricQueries", []) if "metric" in query]
        assert len(metrics) <= 10 and len({metric["period"] for metric in metrics}) <= 1
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html: seven days at most
        assert all(metric["period"] % 60 == 0 and metric["period"] <= 604_800 for metric in metrics)
        returned = [query for query in item.inputs.get("metricQueries", []) if query.get("returnData")]
        assert len(returned) == bool(metrics)


def test_alarms_of_what_is_served_elsewhere_are_prometheus_s() -> None:
    found = changed("prod", **{"models__diabetes-rf__latency_ms": 10, "models__diabetes-rf__explanations": False})
    alarms = named(found)
    assert not [name for name in alarms if "-availability-" in name or "-latency-" in name]
    namespace = of_type(found, "RuleGroupNamespace")[0]
    groups = {group["name"] for group in json.loads(namespace.inputs["data"])["groups"]}
    assert {"slo-diabetes-rf-availability", "slo-diabetes-rf-latency", "slo-diabetes-rf-training"} <= groups


def test_every_rule_of_prometheus_can_be_read_and_has_its_page() -> None:
    found = changed("prod", **{"models__diabetes-rf__latency_ms": 10, "models__diabetes-rf__explanations": False})
    document = json.loads(of_type(found, "RuleGroupNamespace")[0].inputs["data"])
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    assert len(rules) > 40
    for rule in rules:
        promql_parser.parse(rule["expr"])
        if "alert" in rule:
            page = rule["annotations"]["runbook"]
            text = (ROOT / page).read_text(encoding="utf-8")
            assert page != "docs/runbooks/cluster.md" or f"**{rule['alert']}:**" in text
            assert rule["labels"]["severity"] in ("page", "ticket")
    assert alerts({})["groups"][0] == recorded()["groups"][0]


@pytest.mark.parametrize("stack", ALL)
def test_dashboards_fit_their_grid_and_name_what_is_published(stack: str) -> None:
    boards = {
        item.inputs["dashboardName"]: json.loads(item.inputs["dashboardBody"])
        for item in of_type(ALL[stack](), "Dashboard")
    }
    assert {name.rpartition("-")[2] for name in boards} >= {"platform", "models", "cost"}
    for body in boards.values():
        places = [(widget["x"], widget["y"]) for widget in body["widgets"]]
        assert len(set(places)) == len(places) <= 500  # CloudWatch's limit
        for widget in body["widgets"]:
            assert widget["x"] + widget["width"] <= 24
            for metric in widget["properties"]["metrics"]:
                names = [part for part in metric if isinstance(part, str)]
                assert len(names) == len(metric) - isinstance(metric[-1], dict) and len(names) % 2 == 0


def test_grafana_draws_what_is_recorded() -> None:
    found = changed("prod", **{"models__diabetes-rf__latency_ms": 10, "models__diabetes-rf__explanations": False})
    rules = json.loads(of_type(found, "RuleGroupNamespace")[0].inputs["data"])
    recorded_names = {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}
    maps = [item.inputs["data"] for item in of_type(found, "ConfigMap") if item.name == "metrics-dashboard"]
    boards = {name: json.loads(text) for name, text in maps[0].items()}
    assert {"platform.json", "service-levels.json", "cloudwatch-models.json", "cloudwatch-cost.json"} <= set(boards)
    targets = [target for board in boards.values() for panel in board["panels"] for target in panel.get("targets", [])]
    drawn = [target["expr"] for target in targets if "expr" in target]
    assert len(drawn) > 15
    for expression in drawn:
        assert promql_parser.parse(expression).name in recorded_names
    of_cloudwatch = {target["metricName"] for target in targets if "expr" not in target}
    assert {"mae", "mae_estimated", "drift_share", "return_on_cost"} <= of_cloudwatch


def test_bias_alarms_whom_the_objectives_ask() -> None:
    assert not [name for name in named(previewed("prod")) if name.endswith("-bias")]
    found = named(changed("prod", **{"models__diabetes-rf__most_bias": 0.1}))
    (alarm,) = [item.inputs for name, item in found.items() if name.endswith("-bias")]
    assert alarm["metricName"] == "bias_DPPL" and alarm["threshold"] == 0.1 and len(alarm["alarmActions"]) == 3


def test_what_degrades_is_taken_back_by_its_release_pipeline() -> None:
    rules = {item.inputs["name"]: item.inputs for item in of_type(previewed("local"), "EventRule")}
    pattern = json.loads(rules["groundplan-local-degraded-diabetes-rf"]["eventPattern"])
    assert set(pattern["detail"]["alarmName"]) == {
        f"groundplan-local-diabetes-rf-{name}" for name in ("quality", "availability-page", "latency-page")
    }
