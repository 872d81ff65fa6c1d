"""The highest rate of requests that an endpoint answers within its objective."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from groundplan.loadtest.arrivals import Measured

STEPS = 4  # that halve what is between a rate that holds and one that does not
GROWTH = 2.0
KEPT_UP = 0.95  # of what arrives must be answered meanwhile

Measure = Callable[[float], Awaitable[Measured]]


def holds(found: Measured, within_ms: float) -> bool:
    """Whether 95 % of the answers arrived in time, all without an error, and the server kept up."""
    return (
        found.arrived > 0
        and not found.errors
        and found.p95_ms <= within_ms
        and found.answered >= KEPT_UP * found.arrived
    )


async def highest_rate(measure: Measure, start: float, within_ms: float) -> AsyncIterator[tuple[Measured, bool]]:
    """Rates that were tried, each with whether it held: doubled until one does not, then halved towards the highest.

    Args:
        start: Requests a second to begin with.
    """
    low, high, rate = 0.0, 0.0, start
    for _ in range(40):
        found = await measure(rate)
        held = holds(found, within_ms)
        yield found, held
        if held:
            low = rate
            if high:
                break
            rate *= GROWTH
        else:
            high = rate
            if low or rate < 1:
                break
            rate /= GROWTH**2
    for _ in range(STEPS if low else 0):
        rate = (low + high) / 2
        found = await measure(rate)
        held = holds(found, within_ms)
        yield found, held
        low, high = (rate, high) if held else (low, rate)
