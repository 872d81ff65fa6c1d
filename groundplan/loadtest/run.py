"""``groundplan loadtest``: measure an endpoint, find the highest rate within its objective, record a request's time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from typing import Any

from groundplan.loadtest.arrivals import Measured, Target, arrive, one_by_one
from groundplan.loadtest.search import highest_rate, holds
from spec.errors import GroundplanError, UsageError

ALONE = 200  # requests for the time of one
FEWEST = 20  # for a percentile
LATE_MS = 20.0  # of this client, from which on it is the client that is measured


@dataclass(frozen=True)
class Result:
    """What was found.

    Attributes:
        alone_ms: Median time of a request when there is no other.
        highest: The highest rate that held, in requests a second; 0 if none did.
        tried: Each rate with what it met, and whether it held.
    """

    url: str
    within_ms: float
    alone_ms: float
    highest: float
    tried: list[tuple[Measured, bool]]

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        tried = [{**asdict(found), "holds": held} for found, held in self.tried]
        return {
            "url": self.url,
            "within_ms": self.within_ms,
            "alone_ms": self.alone_ms,
            "highest_rate": self.highest,
            "tried": tried,
        }


def load_test(
    url: str, body: bytes, within_ms: float, seconds: float, rate: float, say: Callable[[Measured, bool], None]
) -> Result:
    """Load an endpoint.

    Args:
        within_ms: Time in which 95 % of the answers must arrive.
        seconds: For each rate.
        rate: A single rate, in requests a second; 0 to find the highest that holds.
        say: Told of each rate.

    Raises:
        GroundplanError: The endpoint does not answer this request with 200.
    """
    return asyncio.run(_load_test(url, body, within_ms, seconds, rate, say))


async def _load_test(
    url: str, body: bytes, within_ms: float, seconds: float, rate: float, say: Callable[[Measured, bool], None]
) -> Result:
    target, tried = Target(url, body), list[tuple[Measured, bool]]()
    try:
        alone_ms, answer = await one_by_one(target, ALONE)
    except (ConnectionError, TimeoutError) as error:
        raise GroundplanError(f"no answer: {error}", where=url) from None
    if answer.status != 200:
        text = answer.body.decode("utf-8", "replace")[:300]
        raise GroundplanError(f"answers with status {answer.status}: {text}", where=url, fix="send another --body")

    def note(found: Measured, held: bool) -> None:
        tried.append((found, held))
        say(found, held)

    def measure(now: float) -> Coroutine[Any, Any, Measured]:
        return arrive(target, now, max(seconds, FEWEST / now))

    start = rate or max(1.0, 250 / alone_ms)
    if rate or alone_ms > within_ms:  # what takes too long alone is not in time with others
        found = await measure(start)
        note(found, holds(found, within_ms))
    else:
        async for found, held in highest_rate(measure, start, within_ms):
            note(found, held)
    highest = max((found.rate for found, held in tried if held), default=0.0)
    return Result(url, within_ms, alone_ms, highest, tried)


def example_body(url: str) -> bytes:
    """A request that the endpoint's OpenAPI document has an example for.

    Raises:
        UsageError: There is none.
    """
    import httpx

    address = url.removesuffix("/invocations") + "/openapi.json"
    try:
        found = httpx.get(address, timeout=10, trust_env=False)
        examples = found.json()["components"]["schemas"]["Record"]["examples"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        raise UsageError(
            f"{address} has no example of a request", where=url, fix="name a file with one: --body"
        ) from None
    return json.dumps({"dataframe_records": examples[:1]}).encode()
