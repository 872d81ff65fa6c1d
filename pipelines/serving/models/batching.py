"""Requests that wait at the same moment are answered by one call of the model: its overhead is paid once, and no
request waits for another to arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import Answers
from pipelines.serving.models.rows import Rows, joined
from pipelines.serving.protocols.scoring import BadRequestError

MOST_ROWS = 256  # of one call in the event loop; more rows are computed beside it, so that short requests overtake
MOST_WAITING = 1_000  # requests; the next one is refused
Observe = Callable[[int, int], None]


@dataclass(frozen=True)
class _Waiting:
    rows: Rows
    answer: asyncio.Future[Answers]


class Batcher:
    """Answers requests for one model.

    Args:
        executor: Where calls run that take longer than the event loop should stand still.
        observe: Told of each call: how many requests and rows it answered.
    """

    def __init__(self, model: Model, executor: Executor | None = None, observe: Observe | None = None) -> None:
        self.model = model
        self._executor, self._observe = executor, observe
        self._waiting: list[_Waiting] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calling: asyncio.Task[None] | None = None  # a model that is called beside the loop

    @property
    def waiting(self) -> int:
        """Requests that are waiting."""
        return len(self._waiting)

    async def answers(self, rows: Rows) -> Answers:
        """The model's answers for the rows of one request.

        Raises:
            BadRequestError: Too many requests are waiting (429).
        """
        # Asking for the running loop is a system call until Python 3.12.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        quick = self.model.engine.quick
        if quick and len(rows) > MOST_ROWS:
            found = await loop.run_in_executor(self._executor, self.model.answers, rows)
            if self._observe is not None:
                self._observe(1, len(rows))
            return found
        if len(self._waiting) >= MOST_WAITING:
            raise BadRequestError(f"{MOST_WAITING} requests are waiting; try again in a second.", 429)
        answer: asyncio.Future[Answers] = loop.create_future()
        self._waiting.append(_Waiting(rows, answer))
        if quick:
            if len(self._waiting) == 1:
                loop.call_soon(self._call)  # after what else has arrived
        elif self._calling is None or self._calling.done():
            self._calling = loop.create_task(self._call_beside())
        return await answer

    def _call(self) -> None:
        part = self._next()
        self._share(part, _results(self.model, [item.rows for item in part]))
        if self._waiting and self._loop is not None:
            self._loop.call_soon(self._call)

    async def _call_beside(self) -> None:
        """In another thread, one call after the other: such a model answers one at a time."""
        while self._waiting:
            part = self._next()
            rows = [item.rows for item in part]
            self._share(
                part, await asyncio.get_running_loop().run_in_executor(self._executor, _results, self.model, rows)
            )

    def _next(self) -> list[_Waiting]:
        """The next requests that fit into one call."""
        count, total = 1, len(self._waiting[0].rows)
        while self.model.engine.row_by_row and count < len(self._waiting):
            total += len(self._waiting[count].rows)
            if total > MOST_ROWS:
                break
            count += 1
        part, self._waiting = self._waiting[:count], self._waiting[count:]
        return part

    def _share(self, part: list[_Waiting], results: list[Answers | Exception]) -> None:
        for item, result in zip(part, results, strict=True):
            if item.answer.done():  # its client has gone
                continue
            if isinstance(result, Exception):
                item.answer.set_exception(result)
            else:
                item.answer.set_result(result)
        if self._observe is not None:
            self._observe(len(part), sum(len(item.rows) for item in part))


def _results(model: Model, parts: list[Rows]) -> list[Answers | Exception]:
    """The answers for each request, or why there are none: after a call for all of them has failed, they are called one
    by one, since one may be what the model can't answer.
    """
    try:
        found = model.answers(joined(parts))
    except Exception as error:
        return [error] if len(parts) == 1 else [result for rows in parts for result in _results(model, [rows])]
    if len(parts) == 1:
        return [found]
    results: list[Answers | Exception] = []
    start = 0
    for rows in parts:
        results.append(found.part(start, start + len(rows)))
        start += len(rows)
    return results
