"""Faults, drawn from a seed: what happens to a process, and an AWS that refuses, throttles, is slow or hangs up.

The faults are real ones: a SIGKILL at some moment, a limit of the kernel on files in place of a full disk, a proxy
between the process and the cloud. Only the clock is moved inside the process.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import socketserver
import sys
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

_THROTTLED = {
    "xml": b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
    "json": b'{"__type":"ThrottlingException","message":"Rate exceeded"}',
}
_FAILED = {
    "xml": b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>",
    "json": b'{"__type":"InternalServerException","message":"try again"}',
}
_REFUSED = {
    "xml": b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
    "json": b'{"__type":"AccessDeniedException","message":"denied"}',
}


@dataclass(frozen=True)
class Plan:
    """What happens to one process.

    Attributes:
        kill_after_s: When it is killed; 0 for never.
        file_bytes: The most that a file may have; 0 for no limit.
        clock_s: By how much its clock is wrong.
        cloud: Share of requests to AWS to which something happens, 0 to 1.
        seed: Of what happens to them.
    """

    kill_after_s: float = 0.0
    file_bytes: int = 0
    clock_s: float = 0.0
    cloud: float = 0.0
    seed: int = 0


def drawn(chance: random.Random) -> Plan:
    """A plan: each fault comes in about every third one."""
    return Plan(
        kill_after_s=10 ** chance.uniform(-2, 0.3) if chance.random() < 0.45 else 0.0,
        file_bytes=chance.choice((1, 2_000, 20_000)) if chance.random() < 0.15 else 0,
        clock_s=chance.choice((-86_400, -3_600, 3_600, 86_400 * 30)) if chance.random() < 0.25 else 0.0,
        cloud=chance.choice((0.05, 0.15, 0.3)) if chance.random() < 0.45 else 0.0,
        seed=chance.randrange(2**31),
    )


def suffer(plan: Plan) -> None:
    """Let a plan happen to this process."""
    if plan.file_bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (plan.file_bytes, plan.file_bytes))
    if plan.clock_s:
        _move_clock(plan.clock_s)
    if plan.kill_after_s:
        timer = threading.Timer(plan.kill_after_s, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()


def _move_clock(seconds: float) -> None:
    true = time.time
    time.time = lambda: true() + seconds

    class Moved(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(seconds=seconds)

    for name, module in list(sys.modules.items()):
        if name.startswith(("pipelines.", "spec.", "botocore.")) and getattr(module, "datetime", None) is datetime:
            module.datetime = Moved  # type: ignore[attr-defined]


class FlakyCloud(socketserver.ThreadingTCPServer):
    """Passes requests on to the cloud, except for those to which something happens.

    A request to which something happens is refused, throttled, failed or delayed, or its connection is cut before it
    reaches the cloud, or after: then it is done, and nobody is told.
    """

    allow_reuse_address = daemon_threads = True

    def __init__(self, target: tuple[str, int], share: float, seed: int) -> None:
        self.target, self.share, self.chance = target, share, random.Random(seed)
        self.happened: dict[str, int] = {}
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next(self) -> str:
        """What happens to the next request."""
        if self.chance.random() >= self.share:
            return ""
        kinds = ("throttled", "failed", "slow", "cut before", "cut after", "refused")
        kind = self.chance.choices(kinds, (4, 3, 3, 3, 3, 1))[0]
        self.happened[kind] = self.happened.get(kind, 0) + 1
        return kind

    def handle_error(self, *_: Any) -> None:
        """A client that went away is no news."""


class _Handler(socketserver.StreamRequestHandler):
    server: FlakyCloud

    def handle(self) -> None:
        while (head := self._head()) is not None:
            if _field(head, b"expect") == b"100-continue":  # S3's clients wait for it before they send the body
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = self.rfile.read(_length(head))
            kind = self.server.next()
            if kind == "cut before":
                return
            if kind in ("throttled", "failed", "refused"):
                self._say(kind, head)
                continue
            if kind == "slow":
                time.sleep(0.05 + 0.2 * self.server.chance.random())
            answer = self._asked(head, body)
            if kind == "cut after":
                return
            self.wfile.write(answer)

    def _head(self) -> bytes | None:
        lines = []
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            lines.append(line)
        return b"".join(lines) if lines else None

    def _say(self, kind: str, head: bytes) -> None:
        form = "json" if _field(head, b"x-amz-target") else "xml"
        status, body = {
            "throttled": (b"503 Slow Down" if form == "xml" else b"400 Bad Request", _THROTTLED[form]),
            "failed": (b"500 Internal Server Error", _FAILED[form]),
            "refused": (b"403 Forbidden" if form == "xml" else b"400 Bad Request", _REFUSED[form]),
        }[kind]
        if head.startswith(b"HEAD"):
            body = b""
        self.wfile.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))

    def _asked(self, head: bytes, body: bytes) -> bytes:
        """The cloud's whole answer, by a connection of its own."""
        lines = _without(head, b"connection:", b"expect:")
        with socket.create_connection(self.server.target) as connection:
            connection.sendall(b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body)
            parts = []
            while part := connection.recv(1 << 16):
                parts.append(part)
        answer = b"".join(parts)
        top, _, rest = answer.partition(b"\r\n\r\n")
        kept = _without(top, b"connection:", b"transfer-encoding:")
        if not any(line.lower().startswith(b"content-length:") for line in kept):
            kept.append(b"Content-Length: %d" % len(rest))
        return b"\r\n".join(kept) + b"\r\n\r\n" + rest


def _without(head: bytes, *names: bytes) -> list[bytes]:
    return [line for line in head.split(b"\r\n") if line and not line.lower().startswith(names)]


def _field(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b""


def _length(head: bytes) -> int:
    return int(_field(head, b"content-length") or 0)
