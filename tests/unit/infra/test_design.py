from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.design import Design, design
from infra.design.layers import serving as served
from infra.design.price_book import load_prices
from spec.errors import UsageError
from spec.objectives import Objectives, load, parse
from spec.regions import REGIONS
from tests.conftest import ROOT, set_path

pytestmark = pytest.mark.slow  # hundreds of designs

PRICES = load_prices()
# What each way of answering adds, and how much one instance or replica takes.
LATENCY_MS = {
    "edge": served.EDGE_LATENCY_MS,
    "cluster": served.CLUSTER_LATENCY_MS,
    "cluster-gpu": served.CLUSTER_LATENCY_MS,
    "realtime": served.REALTIME_LATENCY_MS,
    "serverless": served.SERVERLESS_LATENCY_MS,
    "batch": served.BATCH_LATENCY_MS,
}
VCPUS = {instance: vcpus for instance, vcpus, _ in served.INSTANCES}


@st.composite
def models(draw: Any) -> dict[str, Any]:
    average = draw(st.floats(0.01, 2_000))
    return {
        "value": {"kpi": "mae", "unit": "points", "usd_per_unit": 1, "predictions_per_month": 100},
        "latency_ms": draw(st.floats(0.5, 1e7) | st.floats(1e7, 1e9)),
        "service_ms": draw(st.none() | st.floats(0.01, 1_000)),
        "requests_per_second": {"average": average, "peak": average * draw(st.floats(1, 20))},
        "retraining": {
            "every_hours": draw(st.floats(0.1, 1000)),
            "within_minutes": draw(st.floats(0.5, 200)),
            **draw(
                st.just({}) | st.fixed_dictionaries({"run_minutes": st.floats(0.1, 20), "run_gb": st.floats(0.1, 20)})
            ),
        },
        "quality": {"metric": "mae", "worst": 1},
        "gpu": draw(st.booleans()),
        "explanations": draw(st.booleans()),
        "target": draw(st.sampled_from(["cloud", "cloud", "cloud", "edge"])),
        "canary": draw(
            st.just({})
            | st.fixed_dictionaries({"requests": st.integers(0, 500), "shadow": st.sampled_from([False, False, True])})
        ),
    }


@st.composite
def objectives(draw: Any) -> Objectives:
    environment = draw(st.sampled_from(["dev", "staging", "prod"]))
    hours = {"start": draw(st.integers(0, 11)), "end": draw(st.integers(12, 24)), "timezone": "Europe/Berlin"}
    wanted = draw(st.dictionaries(st.sampled_from(["a", "b", "c"]), models(), min_size=1, max_size=3))
    page = {
        "origin": "https://app.example.com",
        "models": draw(st.lists(st.sampled_from(sorted(wanted)), unique=True, min_size=1)),
        "cache_seconds": draw(st.integers(0, 3600)),
    }
    return Objectives.model_validate(
        {
            "environment": environment,
            "owner": "a@b.c",
            "stakeholders": dict.fromkeys(("product", "operations", "legal", "finance"), "a@b.c"),
            "compliance": draw(st.lists(st.sampled_from(["gdpr", "hipaa", "sox", "soc2"]), unique=True)),
            "availability": draw(st.sampled_from(["one-zone", "multi-zone", "two-regions"])),
            "office_hours": None if environment == "prod" else draw(st.sampled_from([None, hours])),
            "off_peak": draw(st.sampled_from([None, {"start": 22, "end": 5, "timezone": "Europe/Berlin"}])),
            "owns_account": draw(st.booleans()),
            "events": {
                "per_second": draw(st.sampled_from([0, 1, 50, 5_000, 400_000])),
                "retention_days": draw(st.integers(1, 3650)),
            },
            "budget": {"monthly_usd": draw(st.floats(100, 1e7))},
            "research": {
                "scientists": draw(st.lists(st.sampled_from(["ada", "ben", "chi"]), unique=True)),
                "gpu_hours_per_month": draw(st.sampled_from([0, 40, 1000])),
            },
            "feature_store": draw(st.sampled_from(["feast", "sagemaker"])),
            "front_end": draw(st.sampled_from([None, page])),
            "models": wanted,
        }
    )


REGION = st.sampled_from([name for name, region in REGIONS.items() if region.standby])


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(objectives(), REGION)
def test_a_design_meets_every_objective_or_says_which_one_it_can_not(wanted: Objectives, region: str) -> None:
    try:
        plan = design(wanted, PRICES, region)
    except UsageError as error:
        assert error.where and error.fix
        return
    assert plan.monthly_usd <= wanted.budget.monthly_usd
    for name, model in wanted.models.items():
        _answers_in_time(plan, name, wanted)
        assert plan.retraining[name].kind != "sagemaker-pipeline" or model.retraining.within_minutes >= 20
        if plan.retraining[name].kind == "lambda":
            assert model.retraining.run_minutes is not None and 2 * model.retraining.run_minutes <= 15
            assert 4096 <= plan.retraining[name].memory_mb <= 10_240
            assert model.retraining.within_minutes >= 2 * model.retraining.run_minutes + 1
    spread = wanted.availability != "one-zone"
    assert plan.database.multi_az == spread and len(plan.network.zones) == min(
        3 if spread else 2, len(REGIONS[region].zones)
    )
    assert plan.network.nat_gateways == (len(plan.network.zones) if spread else 1)
    assert bool(plan.network.private_services) == bool(wanted.compliance)
    assert plan.feature_store.point_in_time_recovery or not (wanted.compliance or wanted.production)
    assert plan.feature_store.kind == wanted.feature_store
    assert (plan.streaming.kind == "none") == (wanted.events.per_second == 0)
    assert plan.audit.data_events or not (wanted.compliance or wanted.production)
    assert plan.audit.watch == (wanted.owns_account and bool(wanted.compliance or wanted.production))
    assert plan.workspace.scientists == wanted.research.scientists
    assert bool(plan.cluster.gpu_limit) == (
        wanted.research.gpu_hours_per_month > 0 or any(model.gpu for model in wanted.models.values())
    )
    standby = plan.recovery.standby_region
    assert bool(standby) == (wanted.availability == "two-regions")
    assert not standby or REGIONS[standby].jurisdiction == REGIONS[region].jurisdiction


def _answers_in_time(plan: Design, name: str, wanted: Objectives) -> None:
    model, serving = wanted.models[name], plan.serving[name]
    hop = served.FRONT_END_LATENCY_MS if name in wanted.front_end_models else 0
    assert not hop or serving.topology in ("realtime", "serverless")
    assert model.latency_ms >= LATENCY_MS[serving.topology] + hop + (model.service_ms or 0)
    assert bool(serving.schedule) == (serving.topology == "batch")
    if serving.schedule.startswith("cron"):
        assert wanted.off_peak and model.latency_ms >= served.DAILY_LATENCY_MS + (model.service_ms or 0)
        assert serving.timezone == wanted.off_peak.timezone
    assert (serving.topology == "edge") == (model.target == "edge")
    assert not (model.explanations and serving.topology in ("edge", "batch"))
    assert serving.canary_steps == ((5, 25) if serving.topology in ("realtime", "cluster") else ())
    assert serving.topology == "realtime" or not model.canary.shadow
    assert not (wanted.production and serving.topology == "serverless")
    if serving.topology == "realtime":
        gpu = serving.instance_type.startswith("ml.g")
        assert gpu == model.gpu
        takes = (
            served.REQUESTS_PER_SECOND_PER_GPU
            if gpu
            else VCPUS[serving.instance_type]
            * (1000 / model.service_ms if model.service_ms else served.REQUESTS_PER_SECOND_PER_VCPU)
        )
        assert serving.max_instances * takes >= model.requests_per_second.peak
        assert serving.min_instances >= (1 if wanted.availability == "one-zone" else 2)
    if serving.topology.startswith("cluster"):
        assert (serving.topology == "cluster-gpu") == model.gpu
        assert serving.max_instances >= serving.min_instances


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(objectives())
def test_the_chosen_option_is_never_dearer_than_a_feasible_rejected_one(wanted: Objectives) -> None:
    try:
        plan = design(wanted, PRICES, "eu-central-1")
    except UsageError:
        return
    assert plan.monthly_usd == pytest.approx(sum(decision.monthly_usd for decision in plan.decisions))
    for decision in plan.decisions:
        assert decision.because and decision.objectives
        for other in decision.rejected:
            assert other.why != "costs more" or other.monthly_usd >= decision.monthly_usd


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(objectives(), st.floats(1, 1e6))
def test_a_bigger_budget_never_changes_the_platform_for_the_worse(wanted: Objectives, more: float) -> None:
    try:
        before = design(wanted, PRICES, "eu-central-1")
    except UsageError:
        return
    richer = wanted.model_copy(
        update={"budget": wanted.budget.model_copy(update={"monthly_usd": wanted.budget.monthly_usd + more})}
    )
    assert design(richer, PRICES, "eu-central-1") == before


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(objectives(), st.floats(1, 10))
def test_a_looser_latency_never_costs_more(wanted: Objectives, factor: float) -> None:
    loose = {
        name: model.model_copy(update={"latency_ms": model.latency_ms * factor})
        for name, model in wanted.models.items()
    }
    try:
        before = design(wanted, PRICES, "eu-central-1")
    except UsageError:
        return
    assert (
        design(wanted.model_copy(update={"models": loose}), PRICES, "eu-central-1").monthly_usd
        <= before.monthly_usd + 1e-6
    )


def _design(config: dict[str, Any]) -> Design:
    stack = parse(config, where="f", planned=True)
    return design(stack.objectives, PRICES, stack.region)


# What can't be met, the words that say so, and the nearest that works.
INFEASIBLE = [
    ({"models.diabetes-rf.latency_ms": 5}, "latency_ms: 5", "models.diabetes-rf.latency_ms: 30 (SageMaker real-time"),
    (
        {"models.diabetes-rf.latency_ms": 5},
        "the cluster's load balancer takes about 10 ms",
        "models.diabetes-rf.latency_ms: 10 (KServe",
    ),
    (
        {"models.diabetes-rf.target": "edge"},
        "can't explain a prediction",
        "models.diabetes-rf.explanations: false (on the device",
    ),
    (
        {"models.diabetes-rf.retraining.within_minutes": 1},
        "within 1 min",
        "within_minutes: 2.5 (CronJob on the cluster",
    ),
    ({"models.diabetes-rf.retraining.every_hours": 0.01}, "would overlap the next one", "every_hours"),
    ({"events.per_second": 900_000}, "takes at most 200 MB/s", "events.per_second: 200000 (MSK Serverless"),
]


@pytest.mark.parametrize(("changes", "says", "nearest"), INFEASIBLE, ids=[str(changes) for changes, _, _ in INFEASIBLE])
def test_what_can_not_be_met_names_the_conflict_and_the_nearest_values(
    changes: dict[str, Any], says: str, nearest: str, stack_config: dict[str, Any]
) -> None:
    set_path(stack_config["groundplan:objectives"], "budget.monthly_usd", 1e9)
    for path, value in changes.items():
        set_path(stack_config["groundplan:objectives"], path, value)
    with pytest.raises(UsageError) as raised:
        _design(stack_config)
    assert "can't be met together" in str(raised.value) and says in str(raised.value) and nearest in raised.value.fix
    # The nearest is not only said to work.
    first = raised.value.fix.removeprefix("nearest that works: ").split(" (")[0]
    for part in first.split(" and "):
        path, _, value = part.partition(": ")
        set_path(stack_config["groundplan:objectives"], path, {"true": True, "false": False}.get(value, value))
    _design(stack_config)


def test_too_small_a_budget_names_what_costs_most_and_what_would_do(stack_config: dict[str, Any]) -> None:
    set_path(stack_config["groundplan:objectives"], "budget.monthly_usd", 100)
    with pytest.raises(UsageError) as raised:
        _design(stack_config)
    assert "; 100 USD is allowed" in str(raised.value) and "serving diabetes-rf" in str(raised.value)
    enough = int(raised.value.fix.split()[3])
    set_path(stack_config["groundplan:objectives"], "budget.monthly_usd", enough)
    assert enough - 1 < _design(stack_config).monthly_usd <= enough


def test_retention_follows_the_law(stack_config: dict[str, Any]) -> None:
    def audit_days(*regimes: str) -> int:
        set_path(stack_config["groundplan:objectives"], "compliance", list(regimes))
        return _design(stack_config).lake.audit_retention_days

    assert (audit_days(), audit_days("gdpr"), audit_days("hipaa"), audit_days("gdpr", "sox")) == (
        90,
        365,
        6 * 365,
        7 * 365,
    )


def test_office_hours_save_what_they_switch_off(stack_config: dict[str, Any]) -> None:
    always = _design(stack_config).monthly_usd
    stack_config["groundplan:objectives"]["office_hours"] = {"start": 8, "end": 18, "timezone": "Europe/Berlin"}
    plan = _design(stack_config)
    assert plan.monthly_usd < always and plan.decisions[-1].monthly_usd < 0


@pytest.mark.parametrize(
    ("latency_ms", "quiet", "schedule"),
    [
        (1e8, True, "cron(0 22 * * ? *)"),
        (1e8, False, "rate(1 hour)"),  # nobody has said when little is asked
        (8e7, True, "rate(1 hour)"),
    ],
)
def test_what_may_take_a_day_runs_off_peak(
    stack_config: dict[str, Any], latency_ms: float, quiet: bool, schedule: str
) -> None:
    objectives = stack_config["groundplan:objectives"]
    name, model = next(iter(objectives["models"].items()))
    model |= {"latency_ms": latency_ms, "explanations": False}
    if quiet:
        objectives["off_peak"] = {"start": 22, "end": 5, "timezone": "Europe/Berlin"}
    plan = _design(stack_config)
    assert (plan.serving[name].topology, plan.serving[name].schedule) == ("batch", schedule)
    made = next(item for item in plan.decisions if item.layer == f"serving {name}")
    hourly = [item.monthly_usd for item in made.rejected if item.option == "hourly batch transform"]
    assert not schedule.startswith("cron") or hourly[0] > 5 * made.monthly_usd, "the saving is told"


def test_a_page_costs_what_it_uses_and_decides_how_a_model_is_served(stack_config: dict[str, Any]) -> None:
    objectives = stack_config["groundplan:objectives"]
    name = next(iter(objectives["models"]))
    objectives["models"][name] |= {"latency_ms": 100_000_000, "explanations": False}
    assert _design(stack_config).front_end is None and _design(stack_config).serving[name].topology == "batch"
    page = objectives["front_end"] = {"origin": "https://app.example.com", "models": [name]}
    plan = _design(stack_config)
    made = next(item for item in plan.decisions if item.layer == "front end")
    assert plan.serving[name].topology == "serverless" and plan.front_end is not None
    # One request a second: 2.592 million a month at 3.50 and 0.60 USD, and 5 + 3 USD for the firewall.
    assert made.monthly_usd == pytest.approx(2.592 * 4.1 + 8)
    page["cache_seconds"] = 60
    kept = next(item for item in _design(stack_config).decisions if item.layer == "front end")
    assert kept.monthly_usd - made.monthly_usd == pytest.approx(0.02 * 730)


@pytest.mark.parametrize(
    ("measured", "chosen", "why"),
    [
        ({}, "sagemaker-pipeline", "no run has been measured"),
        ({"run_minutes": 1, "run_gb": 0.5}, "lambda", ""),
        ({"run_minutes": 2, "run_gb": 2.6}, "lambda", ""),
        ({"run_minutes": 7.5, "run_gb": 6.6}, "sagemaker-pipeline", "costs more"),
        ({"run_minutes": 7.6, "run_gb": 0.5}, "sagemaker-pipeline", "a run of 7.6 may take twice as long"),
        ({"run_minutes": 1, "run_gb": 7}, "sagemaker-pipeline", "a run of 7 GB may grow by half"),
    ],
)
def test_a_function_trains_what_was_measured_to_fit(
    stack_config: dict[str, Any], measured: dict[str, float], chosen: str, why: str
) -> None:
    objectives = stack_config["groundplan:objectives"]
    name = next(iter(objectives["models"]))
    objectives["models"][name]["retraining"] = {"every_hours": 24, "within_minutes": 60, **measured}
    plan = _design(stack_config)
    made = next(item for item in plan.decisions if item.layer == f"retraining {name}")
    assert plan.retraining[name].kind == chosen, made
    assert not why or any(why in item.why for item in made.rejected if "Lambda" in item.option)
    if chosen == "lambda":
        needed = 1024 * max(served.LAMBDA_LEAST_GB, served.LAMBDA_LARGER * measured["run_gb"])
        assert plan.retraining[name].memory_mb == pytest.approx(needed, abs=1) and needed <= 10_240


def test_the_price_book_says_where_and_when() -> None:
    assert PRICES.region == "us-east-1" and PRICES.as_of == "2026-07-20"
    assert PRICES.hourly("ec2", "m5.large").usd == pytest.approx(0.096 * 730)
    assert (Path(ROOT) / "infra" / "design" / "prices" / "README.md").is_file()


def test_the_page_about_deploying_has_today_s_prices() -> None:
    page = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    said = re.findall(r"(?m)^\| (\w+) \| ([\d,]+) USD.*\| ([\d.]+) USD \|$", page)
    assert [stack for stack, _, _ in said] == ["dev", "staging", "prod"]
    for stack, month, hour in said:
        config = load(ROOT, stack)
        cost = design(config.objectives, load_prices(config.region), config.region).monthly_usd
        assert f"{cost:,.0f}" == month and f"{cost / 730:.2f}" == hour, stack
