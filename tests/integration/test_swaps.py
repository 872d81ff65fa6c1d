"""Versions are replaced under load: no request is lost, and each is answered whole by the version that it names."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groundplan.local.home import State
from groundplan.local.upstream import Pool
from pipelines.serving.models.bundle import files_of, package
from pipelines.steps.endpoint import EndpointClient
from spec.outputs import Outputs
from tests.integration.test_hosting import NAME, eventually, hosting, two_models, write_bundle
from tests.integration.test_model_server import running

__all__ = ["hosting", "two_models"]  # fixtures
BODY = json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 1]]}}).encode()
SAYS = {"v1.0.0": 10.0, "v1.1.0": 20.0}  # what each version answers
CLIENTS = 16
DRILL = pytest.mark.parametrize("total", [1_500, pytest.param(100_000, marks=pytest.mark.drill)])


async def flood(port: int, path: str, total: int, swap: Callable[[int], Any]) -> tuple[Counter[str], list[str], int]:
    """Ask ``total`` times over kept connections, while ``swap(n)`` is called again and again.

    Returns:
        Answers by version, what went wrong, and how often was swapped.
    """
    pool, answered, wrong, asked = Pool(port), Counter[str](), list[str](), 0

    async def client() -> None:
        nonlocal asked
        while asked < total:
            asked += 1
            try:
                answer = await pool.post(path, [(b"content-type", b"application/json")], BODY, 20)
            except (ConnectionError, TimeoutError) as error:
                wrong.append(repr(error))
                continue
            found = json.loads(answer.body) if answer.status == 200 else {}
            version = str(found.get("model_version"))
            if version not in SAYS or abs(found["predictions"][0] - SAYS[version]) > 0.01:
                wrong.append(f"{answer.status} {answer.body[:120]!r}")
            answered[version] += 1

    clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
    swaps = 0
    while not all(one.done() for one in clients):
        await asyncio.to_thread(swap, swaps)
        swaps += 1
        await asyncio.sleep(0.2)
    await asyncio.gather(*clients)
    pool.close()
    return answered, wrong, swaps


@DRILL
def test_an_endpoints_new_configurations_lose_nothing(
    two_models: tuple[str, str], hosting: EndpointClient, state: State, total: int
) -> None:
    def swap(number: int) -> None:
        hosting.point({"champion": two_models[(number + 1) % 2]}, {"champion": 1.0}, label=f"swap-{number}")

    port = state.services["router"].port
    answered, wrong, swaps = asyncio.run(flood(port, f"/endpoints/{NAME}/invocations", total, swap))
    assert not wrong, wrong[:3]
    assert sum(answered.values()) == total and min(answered[name] for name in SAYS) > 0 and swaps >= 1


@DRILL
def test_published_versions_and_new_workers_lose_nothing(
    outputs: Outputs, aws: Any, tmp_path: Path, inside: None, total: int
) -> None:
    packages = {
        version: package(files_of(write_bundle(tmp_path / version, value), version)) for version, value in SAYS.items()
    }
    where = {"Bucket": outputs.buckets["models"], "Key": "probe/current/model.tar.gz"}
    s3 = aws("s3")

    def put(number: int) -> None:
        s3.put_object(**where, Body=packages[list(SAYS)[number % 2]])

    put(0)
    address = f"s3://{where['Bucket']}/{where['Key']}"
    settings = {"GROUNDPLAN_PUBLISHED": address, "GROUNDPLAN_PUBLISHED_SECONDS": "0.3", "GROUNDPLAN_WORKERS": "2"}
    with running(tmp_path, tmp_path, **settings) as server:
        eventually(lambda: len(server.workers) == 2)

        def swap(number: int) -> None:
            put(number + 1)
            time.sleep(1)
            if number % 8 == 4:
                server.process.send_signal(signal.SIGHUP)
                time.sleep(1)

        answered, wrong, swaps = asyncio.run(flood(server.port, "/invocations", total, swap))
        assert not wrong, wrong[:3]
        assert sum(answered.values()) == total and swaps >= 1
        assert total < 10_000 or min(answered[name] for name in SAYS) > 100
