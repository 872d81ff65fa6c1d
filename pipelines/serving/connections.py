"""Connections that lose no request: uvicorn's, which are told to end only between a request and the next one.

uvicorn closes idle connections when it shuts down. A client that has just sent its next request on one can't know
whether it was read, and must not send a POST again by itself (RFC 9110, 9.2.2). So an idle connection gets some time:
the next answer on it says that it ends (RFC 9112, 9.6).
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pipelines.serving.app import OTHERS

KEEP_ALIVE_S = 75  # longer than load balancers keep idle connections (60 s), so that it is they who close them
IDLE_AT_END_S = 2.0  # for clients with a request on the way
READ_S = 30.0  # for a whole request
_LATE = orjson.dumps({"error": f"The request did not arrive within {READ_S:g} s."})


class Connection(HttpToolsProtocol):
    """One client's connection."""

    _ending = False
    _reading: asyncio.TimerHandle | None = None  # while a request has arrived in part

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Tell the application how many requests there are, so that it knows whether to wait for others."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, OTHERS: self.tasks}
        self._reading = self.loop.call_later(READ_S, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_reading()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A request, or a part of one, for which there is a time limit."""
        super().data_received(data)
        cycle = self.cycle
        if cycle is not None and not cycle.more_body and not cycle.response_complete:
            if self._reading is not None:
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
        if cycle is None or cycle.response_complete or not cycle.response_started:
            head = b"%scontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.write(head % (STATUS_LINE[408], len(_LATE)) + _LATE)
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def on_headers_complete(self) -> None:
        """Begin a request; the last one of a connection that ends."""
        super().on_headers_complete()
        if self._ending and self.cycle is not None:
            self.cycle.keep_alive = False

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
