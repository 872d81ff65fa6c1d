"""The load test: times from the planned arrival, the highest rate within the objective, and what is recorded."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from groundplan.loadtest.arrivals import Measured, Target, arrive
from groundplan.loadtest.run import example_body, load_test
from groundplan.loadtest.search import highest_rate
from infra.design.queueing import highest_rate as formula
from spec.errors import GroundplanError, UsageError
from tests.conftest import ROOT


class Answers(BaseHTTPRequestHandler):
    """Answers after a while."""

    protocol_version = "HTTP/1.1"
    pause_s, status = 0.0, 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(self.pause_s)
        self._send(self.status, b"{}")

    def do_GET(self) -> None:
        record = {"Record": {"examples": [{"a": 1}]}} if "good" in self.path else {}
        self._send(200, json.dumps({"components": {"schemas": record}}).encode())

    def _send(self, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} x\r\ncontent-length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def log_message(self, *args: Any) -> None:
        return


@pytest.fixture
def server() -> Iterator[Callable[..., str]]:
    started: list[ThreadingHTTPServer] = []

    def start(pause_s: float = 0.0, status: int = 200) -> str:
        handler = type("Handler", (Answers,), {"pause_s": pause_s, "status": status})
        started.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=started[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{started[-1].server_port}"

    yield start
    for one in started:
        one.shutdown()


def test_requests_arrive_at_the_rate_and_are_all_counted(server: Any) -> None:
    found = asyncio.run(arrive(Target(f"{server()}/invocations", b"{}"), 100, 2))
    assert 150 <= found.answered * 2 <= 260 and not found.errors
    assert 0 < found.p50_ms <= found.p95_ms <= found.p99_ms


def test_a_server_that_stands_still_is_seen_by_all_who_come_meanwhile() -> None:
    """Closed-loop clients send one request, and wait: they see one slow answer."""

    async def run() -> Measured:
        still_until = time.perf_counter() + 0.6

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                await asyncio.sleep(max(0.0, still_until - time.perf_counter()))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

        async with await asyncio.start_server(handle, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            return await arrive(Target(f"http://127.0.0.1:{port}/", b"{}"), 200, 1.0)

    found = asyncio.run(run())
    assert found.p95_ms > 400 and found.p50_ms > 5, "most came while it stood still"


@pytest.mark.parametrize(("servers", "service_s", "within_s"), [(1, 0.01, 0.05), (4, 0.01, 0.03), (2, 0.002, 0.1)])
def test_the_highest_rate_is_found(servers: int, service_s: float, within_s: float) -> None:
    """Of a queue whose highest rate is known."""
    from tests.unit.infra.test_queueing import simulated

    async def measure(rate: float) -> Measured:
        if rate * service_s >= servers:
            return Measured(rate, rate, servers / service_s, 0, 0, 1e9, 1e9, {})
        waits = sorted(wait + service_s for wait, _ in simulated(servers, rate, service_s, 40_000, constant=False))
        p50, p95, p99 = (waits[int(len(waits) * share)] * 1e3 for share in (0.5, 0.95, 0.99))
        return Measured(rate, rate, rate, 0, p50, p95, p99, {})

    async def run() -> list[tuple[Measured, bool]]:
        return [one async for one in highest_rate(measure, 1.0, within_s * 1e3)]

    tried = asyncio.run(run())
    highest = max(found.rate for found, held in tried if held)
    assert highest == pytest.approx(formula(servers, service_s, within_s), rel=0.12)


@pytest.mark.drill  # slow
def test_a_rate_that_nothing_holds_ends(server: Any) -> None:
    found = load_test(f"{server(0.05)}/invocations", b"{}", 1, 0.2, 0, lambda *_: None)
    assert found.highest == 0 and found.tried and not any(held for _, held in found.tried)


def test_what_refuses_the_request_is_not_measured(server: Any) -> None:
    with pytest.raises(GroundplanError, match="answers with status 400"):
        load_test(f"{server(status=400)}/invocations", b"{}", 100, 1, 0, lambda *_: None)
    with pytest.raises(GroundplanError, match="can't be reached"):
        load_test("http://127.0.0.1:9/invocations", b"{}", 100, 1, 0, lambda *_: None)


def test_the_example_is_the_documents(server: Any) -> None:
    assert json.loads(example_body(f"{server()}/good/invocations")) == {"dataframe_records": [{"a": 1}]}
    with pytest.raises(UsageError, match="has no example of a request"):
        example_body(f"{server()}/other/invocations")


def test_the_command_says_what_it_found_and_what_is_wrong(server: Any) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "groundplan", "loadtest", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    url = f"{server(0.002)}/good/invocations"
    done = run(url, "--within", "500", "--rate", "50", "--seconds", "1")
    assert done.returncode == 0, done.stderr
    assert "highest rate  50 requests a second, 95 % of them within 500 ms" in done.stdout
    found = json.loads(run(url, "--within", "0.001", "--rate", "50", "--seconds", "1", "--json").stdout)
    assert found["highest_rate"] == 0 and found["tried"][0]["holds"] is False
    for arguments, says in (
        ((url,), "name the time for an answer: --within 100"),
        (("https://x.org", "--within", "9"), "only http:// addresses are loaded"),
        ((url, "--within", "9", "--write"), "an address is no model of a stack"),
        ((url, "--within", "9", "--body", "nowhere.json"), "no such file"),
    ):
        done = run(*arguments)
        assert done.returncode == 2 and says in done.stderr, done.stderr
