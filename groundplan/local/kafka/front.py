"""A proxy in front of the Kafka broker, for what the broker does differently from MSK.

It ends its ApiVersions answer with tagged fields, as the protocol allows (KIP-482, KIP-511). Clients built on
librdkafka before 2.1, kcat as distributions ship it among them, count their bytes wrongly and give up. The fields are
optional, so they are removed.

It creates each topic that a producer requests. MSK is configured not to (``auto.create.topics.enable=false``), so a
misspelt name is an error there: here that flag is cleared in Metadata requests (KIP-204).

And it does not report aborted transactions to clients that read committed events only (KIP-98):
``aborted_transactions`` finds them by the control records that the broker writes into the log, and they are added to
the answers to Fetch requests. After a member has left a group, ``groups`` looks whether the group still has its leader.
Everything else passes through untouched and unread.

For clients that identify themselves (client id ``groundplan.CALLER``) it records which requests they send, not their
content.

Run as ``python -m groundplan.local.kafka.front --port PUBLIC --broker-port PRIVATE --bucket BUCKET``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import struct
import sys
from pathlib import Path
from typing import cast

from groundplan.local.calls import CALLER_PREFIX
from groundplan.local.kafka import groups, transactions

METADATA, API_VERSIONS, INIT_PRODUCER_ID = 3, 18, 22
# Requests by their key, as far as clients send them (https://kafka.apache.org/protocol#protocol_api_keys).
NAMES = {
    0: "Produce",
    1: "Fetch",
    2: "ListOffsets",
    3: "Metadata",
    8: "OffsetCommit",
    9: "OffsetFetch",
    10: "FindCoordinator",
    11: "JoinGroup",
    12: "Heartbeat",
    13: "LeaveGroup",
    14: "SyncGroup",
    15: "DescribeGroups",
    16: "ListGroups",
    19: "CreateTopics",
    20: "DeleteTopics",
    21: "DeleteRecords",
    22: "InitProducerId",
    24: "AddPartitionsToTxn",
    25: "AddOffsetsToTxn",
    26: "EndTxn",
    28: "TxnOffsetCommit",
    32: "DescribeConfigs",
    33: "AlterConfigs",
    37: "CreatePartitions",
    42: "DeleteGroups",
    44: "IncrementalAlterConfigs",
    60: "DescribeCluster",
}
_FREE = (API_VERSIONS, 71, 72)  # what every client may request: versions, and whether its metrics are wanted (KIP-714)
HEAD = 12  # bytes of a request that identify it: length, key, version and correlation id
_log = logging.getLogger("groundplan.kafka")
FIRST_FLEXIBLE = 3  # from this version on the answer has tagged fields


class _Side(asyncio.Protocol):
    """One of the two connections of a client: to the client, or to the broker."""

    def __init__(self, link: _Link) -> None:
        self.link = link
        self.other: _Side | None = None
        self.transport: asyncio.Transport | None = None
        self.waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transports are not a subclass
        for data in self.waiting:
            self.transport.write(data)
        self.waiting.clear()

    def send(self, data: bytes) -> None:
        """Write to this side, or keep it until the side is connected."""
        if self.transport is not None:
            if not self.transport.is_closing():
                self.transport.write(data)
        elif data:
            self.waiting.append(data)

    def close(self) -> None:
        """End the connection; the other side's follows."""
        if self.transport is not None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        if self is self.link.client:
            self.other.send(self.link.requests(data))
        else:
            self.link.answers(data)

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None:
            self.other.close()


class _Link:
    """A client's connection through to the broker."""

    def __init__(
        self,
        log: transactions.Log | None = None,
        ends: dict[tuple[str, int], transactions.Ends] | None = None,
        calls: Calls | None = None,
        bucket: str = "",
    ) -> None:
        self._calls, self._bucket = calls, bucket
        self._left: dict[int, str] = {}  # groups that a member leaves, by correlation id
        self.client, self.broker = _Side(self), _Side(self)
        self.client.other, self.broker.other = self.broker, self.client
        self._log, self._ends = log, {} if ends is None else ends
        self._pending: dict[
            int, tuple[int, int]
        ] = {}  # key and version of the requests whose answers are changed, by correlation id
        self._kept = b""
        self._answer = bytearray()
        self._work: asyncio.Task[None] | None = None
        self._passing = 0  # remaining bytes of a request that can be ignored

    def requests(self, data: bytes) -> bytes:
        """Note whose answers must be changed, let no Metadata request create a topic, and pass everything on."""
        if self._passing >= len(data):
            self._passing -= len(data)
            return data
        out, rest = data[: self._passing], self._kept + data[self._passing :]
        self._passing, self._kept = 0, b""
        while len(rest) >= HEAD:
            size, key, version, correlation = struct.unpack_from(">ihhi", rest)
            if size < HEAD - 4:  # not Kafka: the broker will refuse it
                self._passing = sys.maxsize
                return out + rest
            request = rest[: 4 + size]
            if self._calls is not None:
                self._calls.note(request, key, version)
            if key in (METADATA, transactions.FETCH, groups.LEAVE_GROUP) and len(request) < 4 + size:
                break
            if key == METADATA:
                request = without_creation(request, version)
            elif key == API_VERSIONS or (key == transactions.FETCH and transactions.reads_committed(request, version)):
                self._pending[correlation] = (key, version)
            elif key == groups.LEAVE_GROUP and self._bucket:
                self._pending[correlation] = (key, version)
                self._left[correlation] = groups.group_of(request, version)
            out, rest = out + request, rest[len(request) :]
            self._passing = 4 + size - len(request)
        self._kept = rest
        return out

    def answers(self, data: bytes) -> None:
        """Change the answers that must be changed, and pass everything on, in order."""
        if self._work is None and not self._pending:
            self.client.send(data)
            return
        self._answer += data
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._pass_on())

    async def _pass_on(self) -> None:
        try:
            while (frame := _frame(self._answer)) is not None:
                del self._answer[: 4 + len(frame)]
                (correlation,) = struct.unpack_from(">i", frame)
                key, version = self._pending.pop(correlation, (0, 0))
                if key == API_VERSIONS:
                    frame = readable(frame, version)
                elif key == transactions.FETCH and self._log is not None:
                    frame = await transactions.with_aborted(frame, version, self._ends, self._log)
                elif key == groups.LEAVE_GROUP:
                    await self._keep_led(self._left.pop(correlation))
                self.client.send(struct.pack(">i", len(frame)) + frame)
        except (OSError, EOFError, struct.error) as error:  # better no answer than one without aborted transactions
            _log.warning("an answer could not be read: %s: %s", type(error).__name__, error)
            self.client.close()
        finally:
            self._work = None
        if not self._pending and self._answer:
            rest, self._answer = bytes(self._answer), bytearray()
            self.client.send(rest)

    async def _keep_led(self, group: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if await asyncio.to_thread(groups.mend, self._bucket, group):
                _log.warning("group %s had lost its leader: the next member to join leads it", group)
        except (BotoCoreError, ClientError) as error:  # the member has left all the same
            _log.warning("group %s could not be read: %s", group, error)


_FIELD = 2  # bytes in which a request's first field says whether it is null


class Calls:
    """Which requests the platform's own clients send: client and request, each once, in a file."""

    def __init__(self, file: Path) -> None:
        self._file, self._seen = file, set[tuple[str, str]]()

    def note(self, request: bytes, key: int, version: int) -> None:
        """Record a request by its header, as far as it has arrived."""
        (size,) = struct.unpack_from(">h", request, HEAD) if len(request) >= HEAD + 2 else (-1,)
        if size < 0 or len(request) < HEAD + 2 + size + _FIELD:
            return  # no client id, or not all of it yet; the same client repeats the request
        client = request[HEAD + 2 : HEAD + 2 + size].decode("utf-8", "replace")
        if not client.startswith(CALLER_PREFIX) or key in _FREE:
            return
        name = NAMES.get(key, f"request {key}")
        if key == INIT_PRODUCER_ID and _in_a_transaction(request[HEAD + 2 + size :], version):
            name += " in a transaction"
        if (client, name) not in self._seen:
            self._seen.add((client, name))
            found = [
                {
                    "caller": client.removeprefix(CALLER_PREFIX),
                    "service": "kafka-cluster",
                    "operation": operation,
                    "parameters": {},
                }
                for client, operation in sorted(self._seen)
            ]
            self._file.write_text(json.dumps(found), encoding="utf-8")


def _in_a_transaction(body: bytes, version: int) -> bool:
    """Whether an InitProducerId request names a transactional id: its first field, which may be null."""
    if version < 2:
        return body[:_FIELD] != b"\xff\xff"
    return body[1:_FIELD] != b"\0"  # after the header's tagged fields, which are empty


class _Log:
    """Reads the broker's log directly."""

    def __init__(self, port: int) -> None:
        self._port, self._lock = port, asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __call__(self, topic: str, partition: int, offset: int) -> bytes:
        """Records from an offset on; nothing at the log's end."""
        async with self._lock:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=2 * transactions.AT_ONCE)
            reader, writer = self._streams
            try:
                writer.write(transactions.request(topic, partition, offset))
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                return transactions.records(await reader.readexactly(size))
            except (OSError, EOFError, asyncio.CancelledError):
                writer.close()
                self._streams = None
                raise


def _frame(buffer: bytearray) -> bytes | None:
    """The first complete frame of a buffer, without its length; None if it is incomplete."""
    if len(buffer) < 4:
        return None
    (size,) = struct.unpack_from(">i", buffer)
    return bytes(buffer[4 : 4 + size]) if len(buffer) >= 4 + size else None


def without_creation(request: bytes, version: int) -> bytes:
    """A Metadata request with topic creation switched off; versions before 4 have no such flag.

    https://kafka.apache.org/protocol#The_Messages_Metadata
    """
    # After this flag come those for authorized operations of the cluster (8 to 10) and of topics (from 8 on), and
    # tagged fields (from 9 on).
    place = {4: 1, 5: 1, 6: 1, 7: 1, 8: 3, 9: 4, 10: 4}.get(version, 3 if version > 10 else 0)
    tagged = version >= 9 and request[-1] != 0
    if not place or tagged or len(request) < HEAD + place or request[-place] != 1:
        return request
    return request[:-place] + b"\0" + (request[1 - place :] if place > 1 else b"")


def readable(frame: bytes, version: int) -> bytes:
    """An ApiVersions answer with no tagged fields at its end, and no newer Fetch than ``transactions`` can read.

    From version 3 on it consists of: correlation id, error, keys, throttle time, tagged fields. An answer of another
    form, such as the version 0 that reports an unsupported version, is returned as it is.
    """
    (error,) = struct.unpack_from(">h", frame, 4)
    flexible = version >= FIRST_FLEXIBLE
    if flexible:
        count, position = transactions.varint(frame, 6)
        count -= 1
    elif len(frame) >= 10:
        count, position = struct.unpack_from(">i", frame, 6)[0], 10
    else:
        return frame
    if error or not 0 <= count <= len(frame):
        return frame
    changed = bytearray(frame)
    for _ in range(count):
        if position + 6 > len(frame):
            return frame
        key, _, newest = struct.unpack_from(">hhh", frame, position)
        if key == transactions.FETCH:
            struct.pack_into(">h", changed, position + 4, min(newest, transactions.NEWEST))
        position = _skip_tags(frame, position + 6) if flexible else position + 6
        if position > len(frame):
            return frame
    end = position + 4
    return bytes(changed[:end]) + b"\0" if flexible and end < len(frame) else bytes(changed)


def _skip_tags(data: bytes, position: int) -> int:
    count, position = transactions.varint(data, position)
    for _ in range(min(count, len(data))):
        _, position = transactions.varint(data, position)
        size, position = transactions.varint(data, position)
        position += size
        if position > len(data):
            break
    return position


async def serve(port: int, broker_port: int, calls: Path | None = None, bucket: str = "") -> None:
    """Listen on loopback until cancelled; ``bucket`` is the broker's."""
    noted = Calls(calls) if calls else None
    loop = asyncio.get_running_loop()
    log, ends = _Log(broker_port), dict[tuple[str, int], transactions.Ends]()

    def accept() -> asyncio.Protocol:
        link = _Link(log, ends, noted, bucket)

        async def connect() -> None:
            try:
                await loop.create_connection(lambda: link.broker, "127.0.0.1", broker_port)
            except OSError:
                link.client.close()

        tasks.add(task := loop.create_task(connect()))
        task.add_done_callback(tasks.discard)
        return link.client

    tasks: set[asyncio.Task[None]] = set()
    server = await loop.create_server(accept, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--broker-port", type=int, required=True)
    parser.add_argument("--calls", type=Path, help="file that records what the platform's own clients request")
    parser.add_argument("--bucket", default="", help="bucket in which the broker keeps its groups")
    arguments = parser.parse_args()
    import uvloop

    uvloop.run(serve(arguments.port, arguments.broker_port, arguments.calls, arguments.bucket))


if __name__ == "__main__":
    main()
