"""What the design saves: each amount is the difference between two bills."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra.design import Design, design
from infra.design.price_book import PriceBook, load_prices
from infra.design.savings import Saving, savings
from spec.objectives import Objectives, load_config, parse
from tests.conftest import ROOT


def planned(stack: str, prices: PriceBook | None = None, **changed: Any) -> tuple[Objectives, Design, PriceBook]:
    config = parse(load_config(ROOT, stack), where=stack)
    wanted, book = config.objectives.model_copy(update=changed), prices or load_prices(config.region)
    return wanted, design(wanted, book, config.region, within_budget=False), book


def by_kind(found: list[Saving]) -> dict[tuple[str, str], Saving]:
    return {(saving.kind, saving.of): saving for saving in found}


@pytest.mark.parametrize("stack", ["local", "dev", "staging", "prod"])
def test_spare_capacity_saves_what_the_same_design_costs_more_on_demand(stack: str) -> None:
    wanted, plan, book = planned(stack)
    _, on_demand, _ = planned(stack, replace(book, spot={"*": 1.0}))
    told = [saving for saving in savings(wanted, plan, book) if saving.kind == "spare capacity" and saving.used]
    # Less to pay for also leaves less to switch off.
    schedule = {"schedule"} if wanted.office_hours else set()
    costs = [sum(each.monthly_usd for each in of.decisions if each.layer not in schedule) for of in (on_demand, plan)]
    assert sum(saving.monthly_usd for saving in told) == pytest.approx(costs[0] - costs[1], abs=0.05)
    assert all(0.5 < saving.share < 0.8 for saving in told)


def test_office_hours_are_told_as_used_or_as_possible() -> None:
    wanted, plan, book = planned("dev")
    without, always, _ = planned("dev", office_hours=None)
    used = by_kind(savings(wanted, plan, book))["off-peak", "schedule"]
    assert used.used and used.monthly_usd == pytest.approx(always.monthly_usd - plan.monthly_usd)
    possible = by_kind(savings(without, always, book))["off-peak", "schedule"]
    assert not possible.used and "office_hours is not set" in possible.assumes and possible.monthly_usd > 0


def test_serverless_is_compared_with_instances_that_wait() -> None:
    dev = by_kind(savings(*planned("dev")))["serverless", "serving diabetes-rf"]
    assert dev.used and dev.share > 0.9
    staging = by_kind(savings(*planned("staging")))["serverless", "serving diabetes-rf"]
    assert not staging.used and "cold start" in staging.assumes, "says which objective is in the way"


def test_autoscaling_saves_the_instances_of_peaks() -> None:
    wanted, _, _ = planned("staging")
    model = wanted.models["diabetes-rf"]
    rate = model.requests_per_second.model_copy(update={"peak": 2_000.0})
    models = {"diabetes-rf": model.model_copy(update={"requests_per_second": rate})}
    wanted, plan, book = planned("staging", models=models)
    serving = plan.serving["diabetes-rf"]
    saved = by_kind(savings(wanted, plan, book))["autoscaling", "serving diabetes-rf"]
    more = serving.max_instances - 1 - serving.min_instances
    assert more > 0 and saved.monthly_usd == pytest.approx(book.hourly("sagemaker", serving.instance_type, more).usd)


def test_nothing_that_saves_nothing_is_told_and_the_used_come_first() -> None:
    for stack in ("local", "dev", "staging", "prod"):
        found = savings(*planned(stack))
        assert found and all(saving.monthly_usd >= 0.01 and 0 < saving.share <= 1 for saving in found)
        used = [saving.used for saving in found]
        assert used == sorted(used, reverse=True)
