"""Connections that lose no request: uvicorn's, which are told to end only between a request and the next one.

uvicorn closes idle connections when it shuts down. A client that has just sent its next request on one can't know
whether it was read, and must not send a POST again by itself (RFC 9110, 9.2.2). So an idle connection gets some time:
the next answer on it says that it ends (RFC 9112, 9.6).
"""

from __future__ import annotations

import asyncio
import os
import re
from functools import partial
from typing import Any, cast

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pipelines.serving.app import OTHERS, ModelServer

KEEP_ALIVE_S = 75  # longer than load balancers keep idle connections (60 s), so that it is they who close them
IDLE_AT_END_S = 2.0  # for clients with a request on the way
READ_S = float(os.environ.get("GROUNDPLAN_READ_SECONDS", "30"))  # for a whole request
_LATE = orjson.dumps({"error": f"The request did not arrive within {READ_S:g} s."})


_UPGRADE = re.compile(rb"(?i)\r\n(upgrade|http2-settings):")
_QUICK_PATH, _QUICK_DIGITS = b"/invocations", 6
_NOT_QUICK = {
    b"content-encoding",
    b"expect",
    b"traceparent",
    b"transfer-encoding",
    b"upgrade",
    b"x-amzn-sagemaker-custom-attributes",
}


class _Whole:
    """A transport that sends a response's head and body together: one system call, and one packet."""

    __slots__ = ("_parts", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._parts = transport, list[bytes]()
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        self._parts.append(data)
        if data.startswith(b"HTTP/1.1 100"):  # the client waits for it
            self.flush()

    def flush(self) -> None:
        if self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts.clear()

    def close(self) -> None:
        self.flush()
        self._transport.close()


class _Quick:
    """Stands for a request that is answered without ASGI, where uvicorn expects one of its own."""

    __slots__ = ("body", "disconnected", "keep_alive", "more_body", "response_complete")

    def __init__(self) -> None:
        self.body = b""
        self.keep_alive = self.more_body = True
        self.disconnected = self.response_complete = False

    @property
    def message_event(self) -> _Quick:
        """Nobody waits for it."""
        return self

    def set(self) -> None:
        """The same."""

    @property
    def response_started(self) -> bool:
        """Head and body are sent together."""
        return self.response_complete


class Connection(HttpToolsProtocol):
    """One client's connection.

    A POST to ``/invocations`` with JSON is answered without a task (``ModelServer.quick``): what uvicorn and asyncio do
    for a task takes longer than a small model.
    """

    _ending = False
    _in_part = False  # a request has arrived in part
    _reading: asyncio.TimerHandle | None = None  # waits for the rest of it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Tell the application how many requests there are, so that it knows whether to wait for others."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, OTHERS: self.tasks}
        self._out: Any = _Whole(transport)
        self._server: ModelServer = self.config.loaded_app
        self._reading = self.loop.call_later(READ_S, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_reading()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A request, or a part of one, for which there is a time limit."""
        if not self._in_part and b"pgrade" in data:  # to HTTP/2, which a server may ignore (RFC 9110, 7.8)
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"\r\nx-ignored:", head) + end + rest
        super().data_received(data)
        if not self._in_part:
            self._stop_reading()
        elif self._reading is None:
            self._reading = self.loop.call_later(READ_S, self._late)

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _late(self) -> None:
        """The client takes too long: tell it, unless an answer has begun."""
        self._reading = None
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if (
            cycle is not None and not cycle.response_complete and not cycle.more_body
        ):  # the request before has no answer
            self._reading = self.loop.call_later(READ_S, self._late)
            return
        head = b"%scontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (STATUS_LINE[408], len(_LATE)) + _LATE)
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets an error like any other."""
        body = orjson.dumps({"error": "The request is not valid HTTP."})
        head = b"%scontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (STATUS_LINE[400], len(body)) + body)
        self.transport.close()

    def on_message_begin(self) -> None:
        """Wait for the rest of a request."""
        self._in_part = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin a request."""
        if self.url == _QUICK_PATH and self._may_be_quick():
            self.cycle = cast(Any, _Quick())
        else:
            self._begin()

    def _may_be_quick(self) -> bool:
        """Whether it asks for nothing but an answer, and none is on its way."""
        if self.flow.write_paused or (self.cycle is not None and not self.cycle.response_complete):
            return False
        length = json = False
        for name, value in self.headers:
            if name == b"content-type":
                json = value == b"application/json"
            elif name == b"content-length":
                length = len(value) < _QUICK_DIGITS
            elif name in _NOT_QUICK:
                return False
        return json and length and self.parser.get_method() == b"POST" and self.parser.get_http_version() == "1.1"

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        if isinstance(self.cycle, _Quick):
            self.cycle.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Answer the request, or let the application answer it."""
        self._in_part = False
        cycle: Any = self.cycle
        if not isinstance(cycle, _Quick):
            super().on_message_complete()
            return
        cycle.more_body = False
        cycle.keep_alive = not self._ending and self.parser.should_keep_alive()
        if self._server.quick(cycle.body, partial(self._tell, cycle)):
            return
        self.cycle = cast(Any, None)  # the application answers
        self._begin()
        self.cycle.body += cycle.body
        super().on_message_complete()

    def _tell(self, cycle: _Quick, status: int, content: bytes, version: tuple[bytes, bytes]) -> None:
        if cycle.disconnected or self.transport.is_closing():
            return
        parts = [STATUS_LINE[status]]
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        parts += (b"content-type: application/json\r\n", version[0], b": ", version[1])
        if not cycle.keep_alive:
            parts.append(b"\r\nconnection: close")
        parts += (b"\r\ncontent-length: ", str(len(content)).encode(), b"\r\n\r\n", content)
        self.transport.write(b"".join(parts))
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        super().on_response_complete()

    def _begin(self) -> None:
        """Begin a request; the last one of a connection that ends."""
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.transport = self._out
            if self._ending:
                self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        """Send the response."""
        self._out.flush()
        super().on_response_complete()

    def eof_received(self) -> Any:
        """A client that sends no more, but still reads, gets its answer."""
        if self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            return True
        return None

    def shutdown(self) -> None:
        """End after the next answer, or after a while without a request."""
        self._ending = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(IDLE_AT_END_S, self._close_if_idle)
        else:
            self.cycle.keep_alive = False

    def _close_if_idle(self) -> None:
        if self.timeout_keep_alive_task is not None and not self.transport.is_closing():
            self.transport.close()
