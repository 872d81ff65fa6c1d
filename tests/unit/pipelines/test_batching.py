"""Requests that wait together are answered by one call, each with its own answer; a model is replaced without a lost
or a mixed one.
"""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import httpx
import pytest

from pipelines.serving.app import ModelServer
from pipelines.serving.ids import time_of
from pipelines.serving.models import batching
from pipelines.serving.models.batching import Batcher
from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import Answers, Engine
from pipelines.serving.models.rows import Rows
from pipelines.serving.protocols.checks import BadRequestError

COLUMNS = [{"name": "a", "type": "double"}]


class Doubling(Engine):
    """Answers twice a row's value, and can't answer 13."""

    def __init__(self, *, quick: bool = True, row_by_row: bool = True) -> None:
        self.quick, self.row_by_row = quick, row_by_row
        self.calls: list[int] = []
        self.closed = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def answers(self, rows: Rows) -> Answers:
        self.go_on.wait(10)
        values = rows.columns["a"]
        self.calls.append(len(values))
        if 13 in values:
            raise ValueError("13")
        return Answers([2 * value for value in values])

    def close(self) -> None:
        self.closed += 1


def model(engine: Engine, version: str = "v1") -> Model:
    return Model(engine, COLUMNS, "regression", version=version)


def rows(*values: float) -> Rows:
    return Rows(["a"], tuples=[(value,) for value in values])


def together(engine: Doubling, *parts: Rows) -> list[Any]:
    async def ask() -> list[Any]:
        batcher = Batcher(model(engine))
        return await asyncio.gather(*(batcher.answers(part) for part in parts), return_exceptions=True)

    return asyncio.run(ask())


@pytest.mark.parametrize("quick", [True, False])
def test_what_waits_together_is_one_call_and_everybody_gets_his_own_answer(quick: bool) -> None:
    engine = Doubling(quick=quick)
    found = together(engine, rows(1), rows(2, 3), rows(4))
    assert [answer.predictions for answer in found] == [[2], [4, 6], [8]] and engine.calls == [4]


@pytest.mark.parametrize("quick", [True, False])
def test_what_fails_one_request_fails_no_other(quick: bool) -> None:
    found = together(Doubling(quick=quick), rows(1), rows(13), rows(4))
    assert found[0].predictions == [2] and isinstance(found[1], ValueError) and found[2].predictions == [8]


def test_a_model_that_compares_rows_gets_each_request_by_itself() -> None:
    engine = Doubling(quick=False, row_by_row=False)
    found = together(engine, rows(1, 2), rows(3), rows(4))
    assert [answer.predictions for answer in found] == [[2, 4], [6], [8]] and engine.calls == [2, 1, 1]


@pytest.mark.parametrize("quick", [True, False])
def test_a_call_has_no_more_rows_than_the_loop_may_stand_still_for(
    quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "MOST_ROWS", 3)
    engine = Doubling(quick=quick)
    found = together(engine, rows(1, 2), rows(3), rows(4, 5), rows(6, 7, 8, 9, 10))
    assert [len(answer.predictions) for answer in found] == [2, 1, 2, 5]
    assert sorted(engine.calls) == [2, 3, 5], "one with more rows than that is computed alone"


def test_too_many_are_refused_at_once_and_the_others_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MOST_WAITING", 2)
    found = together(Doubling(), rows(1), rows(2), rows(3))
    assert found[1].predictions == [4] and isinstance(found[2], BadRequestError) and found[2].status == 429


async def send(client: httpx.AsyncClient, value: float) -> httpx.Response:
    return await client.post("/invocations", content=json.dumps({"instances": [[value]]}))


def test_the_refusal_says_when_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MOST_WAITING", 1)

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(ModelServer(model(Doubling())))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return list(await asyncio.gather(*(send(client, value) for value in range(4))))

    answers = asyncio.run(ask())
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused and all(answer.headers["retry-after"] == "1" for answer in refused)
    assert any(answer.status_code == 200 for answer in answers)


def test_a_replaced_model_answers_what_it_has_begun_and_is_closed_then() -> None:
    old, new = Doubling(quick=False), Doubling()

    async def ask() -> tuple[httpx.Response, httpx.Response, int]:
        server = ModelServer(model(old, "v1"))
        transport = httpx.ASGITransport(server)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            old.go_on.clear()
            begun = asyncio.create_task(send(client, 1))
            while not server._served.requests:  # type: ignore[union-attr]
                await asyncio.sleep(0)
            server.use(model(new, "v2"))
            later, closed = await send(client, 2), old.closed
            old.go_on.set()
            return await begun, later, closed

    begun, later, closed = asyncio.run(ask())
    assert closed == 0 and old.closed == 1 and new.closed == 0
    for answer, version, value in ((begun, "v1", 2), (later, "v2", 4)):
        told = answer.json()
        assert (told["predictions"], told["model_version"]) == ([value], version) and time_of(told["prediction_id"])
        assert answer.headers["x-groundplan-model-version"] == version
