"""A closed-loop HTTP client that costs less than the servers it measures: each connection sends the same request again
as soon as it has the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class _Connection(asyncio.Protocol):
    """Sends, and notes how long each answer takes."""

    def __init__(self, request: bytes, taken: list[float], failed: list[str], ends: float, done: Any) -> None:
        self._request, self._taken, self._failed, self._ends, self._done = request, taken, failed, ends, done
        self._transport: Any = None
        self._sent, self._got, self._length, self._chunked = 0.0, b"", -1, False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._got = self._got + data if self._got else data
        if self._length < 0:
            end = self._got.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._got[:end].lower()
            at = head.find(b"content-length: ")
            self._chunked = at < 0
            self._length = 0 if at < 0 else end + 4 + int(head[at + 16 :].split(b"\r\n", 1)[0])
        if len(self._got) < self._length or (self._chunked and not self._got.endswith(b"\r\n0\r\n\r\n")):
            return
        now = time.perf_counter()
        if self._got.startswith(b"HTTP/1.1 200"):
            self._taken.append(now - self._sent)
        else:
            self._failed.append(self._got[:200].decode("utf-8", "replace"))
        self._got, self._length = b"", -1
        if now < self._ends:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None or time.perf_counter() < self._ends:
            self._failed.append(f"the connection ended: {error}")
        if not self._done.done():
            self._done.set_result(None)


async def load(url: str, body: bytes, connections: int, seconds: float) -> dict[str, Any]:
    """Load a server.

    Returns:
        ``rate`` (answers a second), ``p50_ms``, ``p99_ms``, ``failed``, and one failure.
    """
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
    request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    loop, taken, failed = asyncio.get_running_loop(), list[float](), list[str]()
    ends = time.perf_counter() + seconds
    waits = []
    for _ in range(connections):
        done = loop.create_future()
        waits.append(done)
        await loop.create_connection(
            lambda done=done: _Connection(request, taken, failed, ends, done),  # type: ignore[misc]
            parts.hostname or "127.0.0.1",
            parts.port or 80,
        )
    began = time.perf_counter()
    await asyncio.gather(*waits)
    spent = time.perf_counter() - began
    taken.sort()
    return {
        "rate": len(taken) / spent,
        "p50_ms": taken[len(taken) // 2] * 1e3 if taken else 0,
        "p99_ms": taken[int(len(taken) * 0.99)] * 1e3 if taken else 0,
        "failed": len(failed),
        "failure": failed[0] if failed else "",
    }


def main() -> None:
    import gc

    import uvloop

    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("body", type=Path)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3)
    given = parser.parse_args()
    gc.disable()
    found = uvloop.run(load(given.url, given.body.read_bytes(), given.connections, given.seconds))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
