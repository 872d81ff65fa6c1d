"""Connections of the endpoint router to its model servers: used again, and replaced when a server has ended them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from groundplan.local.services import free_port
from groundplan.local.upstream import Answer, Pool

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/x\r\ncontent-length: 2\r\n\r\nok"


def with_server(handle: Handle, use: Callable[[Pool], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        pool = Pool(server.sockets[0].getsockname()[1])
        try:
            return await use(pool)
        finally:
            pool.close()
            server.close()

    return asyncio.run(run())


async def read(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head, await reader.readexactly(length)


async def ask(pool: Pool, body: bytes = b"x") -> Answer:
    return await pool.post("/p", [(b"content-type", b"text/y")], body, 5)


def test_a_request_arrives_as_it_is_and_a_connection_is_used_again() -> None:
    seen, connections = [], 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            seen.append(await read(reader))
            for part in (ANSWER[:30], ANSWER[30:]):
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.01)

    async def use(pool: Pool) -> list[Answer]:
        return [await ask(pool, b"one"), await ask(pool, b"two")]

    answers = with_server(handle, use)
    assert answers == [Answer(200, b"text/x", b"ok")] * 2 and connections == 1
    head, body = seen[0]
    assert body == b"one" and head.startswith(b"POST /p HTTP/1.1\r\n") and b"content-type: text/y\r\n" in head


def test_requests_at_once_have_connections_of_their_own() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read(reader)
            await asyncio.sleep(0.02)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    async def use(pool: Pool) -> list[Answer]:
        return list(await asyncio.gather(*(ask(pool, str(place).encode()) for place in range(20))))

    assert [answer.body for answer in with_server(handle, use)] == [str(place).encode() for place in range(20)]


def test_a_connection_that_the_server_has_ended_is_replaced() -> None:
    """Both where it says so with its answer, and where it does not answer the second request."""
    for answer in (ANSWER.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), ANSWER):

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes = answer) -> None:
            await read(reader)
            writer.write(answer)
            if answer is ANSWER:
                await reader.read(1)  # the next request has come
            writer.close()

        async def use(pool: Pool) -> list[Answer]:
            return [await ask(pool) for _ in range(3)]

        assert [found.status for found in with_server(handle, use)] == [200] * 3


@pytest.mark.parametrize(
    ("sent", "says"),
    [(b"", "ended the connection"), (ANSWER[:40], "ended the connection"), (b"SSH-2.0\r\n", "not HTTP")],
)
def test_a_server_that_does_not_answer_is_an_error(sent: bytes, says: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read(reader)
        writer.write(sent)
        writer.close()

    with pytest.raises(ConnectionError, match=says):
        with_server(handle, ask)


def test_a_server_that_takes_too_long_and_one_that_is_not_there_are_errors() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with pytest.raises(TimeoutError, match="no answer in time"):
        with_server(handle, lambda pool: pool.post("/p", [], b"", 0.05))
    with pytest.raises(ConnectionError, match="can't be reached"):
        asyncio.run(ask(Pool(free_port())))


def test_who_no_longer_wants_an_answer_leaves_no_connection_with_it() -> None:
    answered = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        while True:
            _, body = await read(reader)
            if body == b"slow":
                await asyncio.sleep(0.1)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            answered += 1

    async def use(pool: Pool) -> bytes:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await ask(pool, b"slow")
        return (await ask(pool, b"next")).body

    assert with_server(handle, use) == b"next"


def test_an_answer_to_nothing_is_nobodys() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read(reader)
            answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
            writer.write(answer)
            await asyncio.sleep(0.01)
            writer.write(answer)

    async def use(pool: Pool) -> list[bytes]:
        found = []
        for body in (b"one", b"two"):
            found += [(await ask(pool, body)).body]
            await asyncio.sleep(0.05)
        return [*found, *(answer.body for answer in await asyncio.gather(ask(pool, b"a"), ask(pool, b"b")))]

    assert with_server(handle, use) == [b"one", b"two", b"a", b"b"]
