"""Requests that wait at the same moment are answered by one call of the model: its overhead is paid once, and no
request waits for another to arrive.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from time import perf_counter

from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import Answers
from pipelines.serving.models.rows import Rows, joined
from pipelines.serving.protocols.checks import BadRequestError

MOST_ROWS = 256  # of one call in the event loop; more rows are computed beside it, so that short requests overtake
MOST_WAITING = 1_000  # requests; the next one is refused
MOST_LARGE = 50  # requests that are computed beside the loop
_log = logging.getLogger("groundplan.serving")
Observe = Callable[[int, Sequence[float], float], None]


Tell = Callable[[Answers | Exception], None]
_Waiting = tuple[Rows, int, Tell, float]  # how many rows, who is told, and since when they wait (perf_counter)


class Batcher:
    """Answers requests for one model.

    Args:
        executor: Where calls run that take longer than the event loop should stand still.
        observe: Told of each call: how many rows it answered, how long each of its requests had waited, and how long it
            took, in seconds.
    """

    def __init__(self, model: Model, executor: Executor | None = None, observe: Observe | None = None) -> None:
        self.model = model
        self._executor, self._observe = executor, observe
        self._waiting: list[_Waiting] = []
        self._large = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calling: asyncio.Task[None] | None = None  # a model that is called beside the loop

    @property
    def waiting(self) -> int:
        """Requests that are waiting."""
        return len(self._waiting)

    async def answers(self, rows: Rows, alone: bool = False) -> Answers:
        """The model's answers for the rows of one request.

        Args:
            alone: There are no other requests that could be answered by the same call.

        Raises:
            BadRequestError: Too many requests are waiting (429).
        """
        # Asking for the running loop is a system call until Python 3.12.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        quick, count = self.model.engine.quick, len(rows)
        if quick and count > MOST_ROWS:
            if self._large >= MOST_LARGE:
                raise BadRequestError(f"{MOST_LARGE} large requests are waiting; try again in a second.", 429)
            began = perf_counter()
            self._large += 1
            try:
                found = await loop.run_in_executor(self._executor, self.model.answers, rows)
            finally:
                self._large -= 1
            if self._observe is not None:
                self._observe(count, (0.0,), perf_counter() - began)
            return found
        if alone and quick and not self._waiting:
            began = perf_counter()
            found = self.model.answers(rows)
            if self._observe is not None:
                self._observe(count, (0.0,), perf_counter() - began)
            return found
        answer: asyncio.Future[Answers] = loop.create_future()
        self.submit(rows, count, partial(_settle, answer))
        return await answer

    def submit(self, rows: Rows, count: int, tell: Tell) -> None:
        """Answer the rows of one request with those of others, and tell when it is done; in the event loop.

        Args:
            count: Of the rows, at most ``MOST_ROWS`` unless the model is called beside the loop.

        Raises:
            BadRequestError: Too many requests are waiting (429).
        """
        waiting = self._waiting
        if len(waiting) >= MOST_WAITING:
            raise BadRequestError(f"{MOST_WAITING} requests are waiting; try again in a second.", 429)
        loop = self._loop = self._loop or asyncio.get_running_loop()
        waiting.append((rows, count, tell, perf_counter()))
        if self.model.engine.quick:
            if len(waiting) == 1:
                loop.call_soon(self._call)  # after what else has arrived
        elif self._calling is None or self._calling.done():
            self._calling = loop.create_task(self._call_beside())

    def _call(self) -> None:
        part, began = self._next(), perf_counter()
        self._share(part, _results(self.model, [item[0] for item in part]), began)
        if self._waiting and self._loop is not None:
            self._loop.call_soon(self._call)

    async def _call_beside(self) -> None:
        """In another thread, one call after the other: such a model answers one at a time."""
        while self._waiting:
            part, began = self._next(), perf_counter()
            rows = [item[0] for item in part]
            results = await asyncio.get_running_loop().run_in_executor(self._executor, _results, self.model, rows)
            self._share(part, results, began)

    def _next(self) -> list[_Waiting]:
        """The next requests that fit into one call."""
        count, total = 1, self._waiting[0][1]
        while self.model.engine.row_by_row and count < len(self._waiting):
            total += self._waiting[count][1]
            if total > MOST_ROWS:
                break
            count += 1
        part, self._waiting = self._waiting[:count], self._waiting[count:]
        return part

    def _share(self, part: list[_Waiting], results: list[Answers | Exception], began: float) -> None:
        for (_, _, tell, _), result in zip(part, results, strict=True):
            try:
                tell(result)
            except Exception:  # the others must get theirs
                _log.exception("an answer was lost")
        if self._observe is not None:
            rows = sum([count for _, count, _, _ in part])
            self._observe(rows, [began - since for _, _, _, since in part], perf_counter() - began)


def _settle(answer: asyncio.Future[Answers], result: Answers | Exception) -> None:
    if answer.done():  # its client has gone
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)


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
