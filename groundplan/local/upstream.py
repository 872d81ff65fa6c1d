"""Requests to a server over connections that are used again: all that a proxy needs of HTTP, at a fifth
of what a client for any server costs.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import httptools


class Answer(NamedTuple):
    """What the server answered."""

    status: int
    content_type: bytes
    body: bytes


class Pool:
    """Connections to one server."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._port, self._host = port, host
        self._idle: list[_Connection] = []

    async def post(self, path: str, headers: list[tuple[bytes, bytes]], body: bytes, timeout_s: float) -> Answer:
        """Send a request.

        A connection that ends before its first answer to a request has begun may have been closed before the request
        arrived: then it is sent once more, on a new one. What it asks for must bear to be done twice, as a prediction.

        Raises:
            ConnectionError: The server can't be reached, or ended the connection.
            TimeoutError: There was no answer in time.
        """
        head = [f"POST {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-length: {len(body)}\r\n".encode()]
        for name, value in headers:
            head += (name, b": ", value, b"\r\n")
        request = b"".join([*head, b"\r\n", body])
        while self._idle:
            connection = self._idle.pop()
            if not connection.usable:
                continue
            try:
                return await connection.send(request, timeout_s)
            except _NotBegunError:
                break
        connection = await self._connect()
        return await connection.send(request, timeout_s)

    async def _connect(self) -> _Connection:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self._idle), self._host, self._port
            )
        except OSError as error:
            raise ConnectionError(f"{self._host}:{self._port} can't be reached: {error}") from None
        return connection

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()


class _NotBegunError(ConnectionError):
    """The connection ended before an answer had begun."""


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, idle: list[_Connection]) -> None:
        self._idle = idle
        self._transport: Any = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[Answer] | None = None
        self._begun = False
        self._content_type, self._body = b"", b""

    @property
    def usable(self) -> bool:
        """Whether the server has not ended it."""
        return not self._transport.is_closing()

    def close(self) -> None:
        self._transport.close()

    async def send(self, request: bytes, timeout_s: float) -> Answer:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Answer] = loop.create_future()
        self._waiting = waiting
        self._begun, self._content_type, self._body = False, b"", b""
        self._transport.write(request)
        timer = loop.call_later(timeout_s, self._late)
        try:
            return await waiting
        except asyncio.CancelledError:  # nobody wants the answer
            self.close()
            raise
        finally:
            timer.cancel()

    def _late(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(TimeoutError("no answer in time"))
        self._waiting = None
        self.close()

    # asyncio.

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:  # an answer to nothing: the next one would be that of another request
            self.close()
            return
        self._begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"the answer is not HTTP: {error}"))
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail((ConnectionError if self._begun else _NotBegunError)("the server ended the connection"))
        if self in self._idle:
            self._idle.remove(self)

    def _fail(self, error: ConnectionError) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)

    # httptools.

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self._content_type = value

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        waiting, self._waiting = self._waiting, None
        if self._parser.should_keep_alive():
            self._idle.append(self)
        else:
            self.close()
        if waiting is not None and not waiting.done():
            waiting.set_result(Answer(self._parser.get_status_code(), self._content_type, self._body))
