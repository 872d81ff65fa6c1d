"""The load that an estimate is compared at: what was measured, once it was measured for long enough."""

from __future__ import annotations

import pytest

from groundplan.local.costs import Asked, _month, _shares, _whence
from infra.design import design
from infra.design.bill import requests
from infra.design.price_book import load_prices
from spec.objectives import load_config, parse
from tests.conftest import ROOT

CONFIG = parse(load_config(ROOT, "local"), where="local")
WANTED = CONFIG.objectives
DAY_S = 86_400.0


def asked(seconds: float, predictions: float = 0.0, counted: bool = True) -> dict[str, Asked]:
    return {name: Asked(predictions, predictions, seconds, counted) for name in WANTED.models}


def test_minutes_are_no_load_and_hours_are() -> None:
    assert _shares(WANTED, asked(70, 380)) == {} and _shares(WANTED, asked(DAY_S, 5, counted=False)) == {}
    planned = WANTED.models["diabetes-rf"].requests_per_second.average
    half = _shares(WANTED, asked(DAY_S, planned * DAY_S / 2))
    assert half[requests("diabetes-rf")] == pytest.approx(0.5)
    assert _shares(WANTED, asked(DAY_S))[requests("diabetes-rf")] == 0.0, "nobody asks"


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (asked(70, 380), "the planned load (measured for 70 seconds, too short)"),
        (asked(2.5 * DAY_S, 9), "the load measured over 2 days"),
        (asked(0, 0, counted=False), "the design at the planned load;"),
    ],
)
def test_what_the_estimate_rests_on_is_said(known: dict[str, Asked], says: str) -> None:
    assert says in _whence(known)


def test_a_month_lies_between_no_requests_and_the_peaks() -> None:
    prices = load_prices(CONFIG.region)
    plan = design(WANTED, prices, CONFIG.region)
    usd, least, most = _month(plan, WANTED, prices, asked(70, 380))
    assert usd == pytest.approx(plan.monthly_usd) and least < usd < most
    busy, _, at_most = _month(plan, WANTED, prices, asked(DAY_S, 50 * DAY_S))
    assert busy > usd and at_most >= busy, "more than was planned"
