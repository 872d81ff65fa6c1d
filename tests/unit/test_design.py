from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.design import REALTIME_LATENCY_MS, REQUESTS_PER_SECOND_PER_VCPU, design
from infra.errors import UsageError
from infra.objectives import Objectives, parse
from infra.prices import load_prices
from tests.conftest import ROOT, set_path

PRICES = load_prices()


@st.composite
def objectives(draw: Any) -> Objectives:
    average = draw(st.floats(0.01, 2_000))
    model = {
        "value": {"kpi": "mae", "unit": "points", "usd_per_unit": 1, "predictions_per_month": 100},
        "latency_ms": draw(st.floats(1, 10_000)),
        "requests_per_second": {"average": average, "peak": average * draw(st.floats(1, 20))},
        "retraining": {"every_hours": 24, "within_minutes": 5},
        "quality": {"metric": "mae", "worst": 1},
        "gpu": draw(st.booleans()),
    }
    return Objectives.model_validate(
        {
            "environment": draw(st.sampled_from(["dev", "prod"])),
            "owner": "a@b.c",
            "stakeholders": dict.fromkeys(("product", "operations", "legal", "finance"), "a@b.c"),
            "compliance": draw(st.lists(st.sampled_from(["gdpr", "hipaa", "sox", "soc2"]), unique=True)),
            "availability": draw(st.sampled_from(["one-zone", "multi-zone", "two-regions"])),
            "events": {"per_second": draw(st.sampled_from([0, 1, 50, 5_000, 400_000])), "retention_days": draw(st.integers(1, 400))},
            "budget": {"monthly_usd": draw(st.floats(1, 1e6))},
            "models": {"m": model},
        }
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(objectives())
def test_a_design_meets_every_objective_or_says_which_one_it_can_not(wanted: Objectives) -> None:
    try:
        plan = design(wanted, PRICES)
    except UsageError as error:
        assert error.fix and (error.where or error.what)
        return
    assert plan.monthly_usd <= wanted.budget.monthly_usd
    model, serving = wanted.models["m"], plan.serving["m"]
    assert model.latency_ms >= REALTIME_LATENCY_MS
    vcpus = 2 if serving.instance_type.endswith(".large") else 4
    assert serving.max_instances * vcpus * REQUESTS_PER_SECOND_PER_VCPU >= model.requests_per_second.peak
    assert serving.instance_type.startswith("ml.g") == model.gpu
    assert (plan.streaming.kind == "none") == (wanted.events.per_second == 0)
    assert plan.point_in_time_recovery or not (wanted.compliance or wanted.production)
    assert plan.database.multi_az == (wanted.availability != "one-zone")
    for decision in plan.decisions:
        for other in decision.rejected:
            assert other.why != "costs more" or other.monthly_usd >= decision.monthly_usd


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(objectives(), st.floats(1, 1e6))
def test_a_bigger_budget_never_changes_the_platform_for_the_worse(wanted: Objectives, more: float) -> None:
    try:
        before = design(wanted, PRICES)
    except UsageError:
        return
    richer = wanted.model_copy(update={"budget": wanted.budget.model_copy(update={"monthly_usd": wanted.budget.monthly_usd + more})})
    assert design(richer, PRICES) == before


def test_too_small_a_budget_names_what_costs_most_and_what_would_do(stack_config: dict[str, Any]) -> None:
    set_path(stack_config["groundplan:objectives"], "budget.monthly_usd", 100)
    with pytest.raises(UsageError) as raised:
        design(parse(stack_config, where="f").objectives, PRICES)
    assert "costs 242 USD a month; 100 USD is allowed" in str(raised.value)
    assert "allow at least 243 USD" in str(raised.value) and "serving diabetes-rf" in str(raised.value)


def test_an_impossible_latency_says_why_each_option_fails(stack_config: dict[str, Any]) -> None:
    set_path(stack_config["groundplan:objectives"], "models.diabetes-rf.latency_ms", 5)
    with pytest.raises(UsageError, match=r"latency_ms: 5[\s\S]*SageMaker serverless: a cold start[\s\S]*relax") as raised:
        design(parse(stack_config, where="f").objectives, PRICES)
    assert raised.value.where == "serving diabetes-rf"


def test_retention_follows_the_law(stack_config: dict[str, Any]) -> None:
    def audit_days(*regimes: str) -> int:
        set_path(stack_config["groundplan:objectives"], "compliance", list(regimes))
        return design(parse(stack_config, where="f").objectives, PRICES).audit_retention_days

    assert (audit_days(), audit_days("gdpr"), audit_days("hipaa"), audit_days("gdpr", "sox")) == (90, 365, 6 * 365, 7 * 365)


def test_the_price_book_says_where_and_when() -> None:
    assert PRICES.region == "us-east-1" and PRICES.as_of == "2026-07-20"
    assert PRICES.hourly("ec2", "m5.large") == pytest.approx(0.096 * 730)
    assert (Path(ROOT) / "infra" / "prices" / "README.md").is_file()
