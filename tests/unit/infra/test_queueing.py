"""The queueing formula, compared with queues that are simulated."""

from __future__ import annotations

import heapq
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.design import design
from infra.design.price_book import load_prices
from infra.design.queueing import highest_rate, share_in_time, share_that_waits
from spec.errors import UsageError
from spec.objectives import parse


def simulated(servers: int, rate: float, service_s: float, count: int, constant: bool) -> list[tuple[float, float]]:
    """The wait and the service of each request, first come first served."""
    chance = random.Random(7)
    free, at, found = [0.0] * servers, 0.0, []
    for _ in range(count):
        at += chance.expovariate(rate)
        begins = max(at, heapq.heappop(free))
        takes = service_s if constant else chance.expovariate(1 / service_s)
        heapq.heappush(free, begins + takes)
        found.append((begins - at, takes))
    return found[count // 10 :]


@pytest.mark.parametrize(("servers", "used"), [(1, 0.5), (1, 0.9), (2, 0.7), (4, 0.8), (8, 0.9), (16, 0.6)])
def test_the_share_that_waits_is_that_of_a_simulated_queue(servers: int, used: float) -> None:
    service_s = 0.01
    waits = [wait for wait, _ in simulated(servers, used * servers / service_s, service_s, 200_000, constant=False)]
    assert sum(wait > 0 for wait in waits) / len(waits) == pytest.approx(
        share_that_waits(servers, used * servers), abs=0.02
    )


@pytest.mark.parametrize(
    ("servers", "used", "within_s"), [(1, 0.5, 0.03), (2, 0.8, 0.05), (4, 0.9, 0.04), (8, 0.7, 0.012)]
)
def test_the_share_in_time_is_that_of_a_simulated_queue(servers: int, used: float, within_s: float) -> None:
    """The formula has random waits and a constant service; where the service is constant, more are in time."""
    service_s = 0.01
    rate = used * servers / service_s
    told = share_in_time(servers, rate, service_s, within_s)
    waits = [wait for wait, _ in simulated(servers, rate, service_s, 200_000, constant=False)]
    assert sum(wait + service_s <= within_s for wait in waits) / len(waits) == pytest.approx(told, abs=0.02)
    steady = simulated(servers, rate, service_s, 200_000, constant=True)
    assert sum(wait + takes <= within_s for wait, takes in steady) / len(steady) >= told - 0.005


def test_known_values() -> None:
    """Of a single server the share that waits is its load; two at half of it: a third."""
    assert share_that_waits(1, 0.3) == pytest.approx(0.3)
    assert share_that_waits(2, 1.0) == pytest.approx(1 / 3)
    assert share_that_waits(3, 3.0) == 1.0
    assert highest_rate(1, 0.2, 0.1) == 0 and share_in_time(1, 1, 0.2, 0.1) == 0


@given(st.integers(1, 64), st.floats(0.0001, 0.1), st.floats(1.1, 100))
def test_the_highest_rate_is_in_time_and_grows_with_servers_and_patience(
    servers: int, service_s: float, times: float
) -> None:
    within_s = service_s * times
    rate = highest_rate(servers, service_s, within_s)
    assert 0 <= rate <= servers / service_s
    assert share_in_time(servers, rate, service_s, within_s) >= 0.95 - 1e-6
    assert highest_rate(servers + 1, service_s, within_s) >= rate
    assert highest_rate(servers, service_s, 2 * within_s) >= rate - 1e-6


def test_a_measured_time_of_a_request_decides_instances(stack_config: dict[str, Any]) -> None:
    """A hundred times faster than assumed costs less; three times slower more, or takes another way of serving."""
    objectives = stack_config["groundplan:objectives"]
    objectives["budget"]["monthly_usd"] = 100_000
    name = next(iter(objectives["models"]))
    model = objectives["models"][name]
    model |= {"latency_ms": 100, "requests_per_second": {"average": 900, "peak": 2000}}
    designs = {}
    for service_ms in (None, 0.1, 10, 30):
        model.pop("service_ms", None)
        if service_ms is not None:
            model["service_ms"] = service_ms
        found = design(parse(stack_config, where="test").objectives, load_prices(), "us-east-1")
        designs[service_ms] = found.monthly_usd
    assert designs[0.1] < designs[None] <= designs[10] < designs[30]
    slow = {**model, "service_ms": 120}
    objectives["models"][name] = slow
    with pytest.raises(UsageError, match="and the model take about 150 ms"):
        design(parse(stack_config, where="test").objectives, load_prices(), "us-east-1")
