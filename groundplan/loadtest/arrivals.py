"""An open-loop client: requests arrive when they arrive, as those of independent users, and not when the one before has
been answered. So a server that stands still for a second is seen by all who came in that second (see "coordinated
omission", https://www.scylladb.com/2021/04/22/on-coordinated-omission/).
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from groundplan.local.upstream import Answer, Pool

TIMEOUT_S = 10.0
MOST_AT_ONCE = 2_000  # requests without an answer; the server is far behind, and more would measure this client
_PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Measured:
    """What a rate of arrivals met.

    Attributes:
        rate: Requests a second that were to arrive.
        arrived: Requests a second that did, by chance.
        answered: Requests a second that were answered with 200 until all were done.
        late: How late this client was with its requests, at most; where that is much, it is the client that is
            measured.
        p50_ms, p95_ms, p99_ms: Time from the planned arrival to the answer.
        errors: How many got no answer or another status, by what they got.
    """

    rate: float
    arrived: float
    answered: float
    late_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: dict[str, int]


class Target:
    """Where requests go.

    Args:
        url: http only.
        body: Of every request.
    """

    def __init__(self, url: str, body: bytes, content_type: str = "application/json") -> None:
        parts = urlsplit(url)
        self._path = parts.path or "/"
        self._pool = Pool(parts.port or 80, parts.hostname or "127.0.0.1")
        self._body, self._headers = body, [(b"content-type", content_type.encode())]

    async def send(self) -> Answer:
        """One request.

        Raises:
            ConnectionError, TimeoutError: There was no answer.
        """
        return await self._pool.post(self._path, self._headers, self._body, TIMEOUT_S)


async def one_by_one(target: Target, count: int) -> tuple[float, Answer]:
    """The median time of requests that do not wait for each other, in ms, and one answer.

    Raises:
        ConnectionError, TimeoutError: There was no answer.
    """
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        answer = await target.send()
        taken.append((time.perf_counter() - began) * 1e3)
        if answer.status != 200:
            break
    return sorted(taken)[len(taken) // 2], answer


async def arrive(target: Target, rate: float, seconds: float, seed: int = 0) -> Measured:
    """Send requests at random times (a Poisson process) of a rate a second."""
    chance = random.Random(seed)  # noqa: S311 (no secret)
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    taken: list[float] = []
    errors: dict[str, int] = {}
    tasks: set[asyncio.Task[None]] = set()
    late = at = 0.0
    arrived = 0

    async def one(planned: float) -> None:
        try:
            answer = await target.send()
        except (ConnectionError, TimeoutError) as error:
            errors[str(error)] = errors.get(str(error), 0) + 1
            return
        if answer.status == 200:
            taken.append((time.perf_counter() - planned) * 1e3)
        else:
            errors[f"status {answer.status}"] = errors.get(f"status {answer.status}", 0) + 1

    while (at := at + chance.expovariate(rate)) < seconds:
        arrived += 1
        wait = began + at - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        else:
            late = max(late, -wait)
            if not arrived % 16:
                await asyncio.sleep(0)  # let answers in
        if len(tasks) >= MOST_AT_ONCE:
            errors["not sent: the server is behind"] = errors.get("not sent: the server is behind", 0) + 1
            continue
        task = loop.create_task(one(began + at))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.wait(tasks)
    spent = max(seconds, time.perf_counter() - began)
    taken.sort()
    p50, p95, p99 = (taken[min(len(taken) - 1, len(taken) * p // 100)] if taken else 0.0 for p in _PERCENTILES)
    return Measured(rate, arrived / seconds, len(taken) / spent, late * 1e3, p50, p95, p99, errors)
