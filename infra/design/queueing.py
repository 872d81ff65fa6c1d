"""How many requests a second so many servers answer in time (Erlang's C formula for the queue M/M/c).

Requests arrive at random, each is answered by one server (a CPU), and those that find none free wait in one queue. Real
answers vary less than the exponential times of the formula, so that it promises rather too little than too much.

Erlang (1917); Gross et al., "Fundamentals of Queueing Theory", 2.4.
"""

from __future__ import annotations

from math import exp

_STEPS = 60  # of a bisection: the result is exact to its last digit


def share_that_waits(servers: int, load: float) -> float:
    """Erlang's C: the share of requests that find no server free.

    Args:
        load: Arrivals a second times seconds of service; less than ``servers``.
    """
    if load >= servers:
        return 1.0
    blocked = 1.0  # Erlang's B, by its recursion
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return servers * blocked / (servers - load * (1 - blocked))


def share_in_time(servers: int, rate: float, service_s: float, within_s: float) -> float:
    """The share of requests that are answered within a time: what waits for longer than is left after the service does
    not.
    """
    load = rate * service_s
    if load >= servers or within_s < service_s:
        return 0.0
    waits = share_that_waits(servers, load)
    return 1 - waits * exp(-(servers / service_s - rate) * (within_s - service_s))


def highest_rate(servers: int, service_s: float, within_s: float, share: float = 0.95) -> float:
    """Requests a second of which a share is answered in time; 0 if the service alone takes too long."""
    low, high = 0.0, servers / service_s
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if share_in_time(servers, middle, service_s, within_s) >= share else (low, middle)
    return low
