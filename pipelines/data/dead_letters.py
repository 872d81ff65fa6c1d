"""Dead letters: events that violate their contract, with the reason, their position, and their original bytes."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.context import Context
from pipelines.data import broker
from pipelines.data.decode import Decoder
from pipelines.data.refusals import Refused
from spec.contracts import Contract
from spec.errors import GroundplanError
from spec.model_folders import DEAD_LETTERS
from spec.outputs import Outputs

READ_TIMEOUT_S = 30.0
READERS = "groundplan-dead-letters"  # a group that commits nothing
OURS = "groundplan."  # prefix of our headers: senders have their own, which stay with their events
REPLAYED = f"{OURS}replayed"  # set on an event that came from the dead-letter topic
ERASED = "forgotten-letters/"  # identifiers of forgotten people's letters, below this prefix of the curated zone
FIRST_SENT = (  # of such an event: when it was first sent, so that it doesn't come after its correction
    f"{OURS}first_sent_ms"
)


Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class DeadLetter:
    """One event in the dead-letter topic.

    Attributes:
        partition, offset: Its position in its topic, which identifies it. A negative partition: the broker would not
            have accepted it there.
        letter_partition, letter_offset: Its position among the dead letters.
        timestamp_ms: When it was first sent, milliseconds since 1970.
        value: Its original bytes.
        headers: Its sender's headers, in order; a name may occur several times, and a value may be missing.
    """

    topic: str
    partition: int
    offset: int
    letter_partition: int
    letter_offset: int
    timestamp_ms: int
    reason: str
    detail: str
    contract: str
    key: bytes
    value: bytes
    headers: Headers = ()


def topic_of(topic: str) -> str:
    """The dead-letter topic of a topic."""
    return f"{topic}{DEAD_LETTERS}"


def headers(refused: Refused, contract: Contract, message: Any = None) -> list[tuple[str, Any]]:
    """The sender's headers, the reason, and its position; an event that the broker would not have accepted (``message``
    None) has none.
    """
    stood = (
        {}
        if message is None
        else {
            "partition": str(message.partition()),
            "offset": str(message.offset()),
            "timestamp_ms": str(first_sent_ms(message)),
        }
    )
    why = {
        "reason": refused.reason,
        "detail": refused.detail[:500],
        "topic": contract.topic,
        **stood,
        "contract": contract.label,
    }
    return [*senders(message), *((f"{OURS}{name}", text) for name, text in why.items())]


def senders(message: Any) -> Headers:
    """The headers of an event that are not ours."""
    return tuple(
        (name, value)
        for name, value in (message.headers() or () if message is not None else ())
        if not name.startswith(OURS)
    )


def first_sent_ms(message: Any) -> int:
    """When an event was first sent, milliseconds since 1970; for a replayed dead letter, before it became one."""
    for name, value in message.headers() or ():
        if name == FIRST_SENT and value and value.decode("ascii", "replace").removeprefix("-").isdigit():
            return int(value)
    return int(message.timestamp()[1])


def read(context: Context, topic: str) -> Iterator[DeadLetter]:
    """All dead letters of a topic, each once.

    Raises:
        GroundplanError: There is no such topic, or the broker stopped answering.
    """
    seen: set[tuple[int, int]] = set()
    for message in messages(context.outputs, topic_of(topic)):
        letter = _letter(topic, message)
        if (letter.partition, letter.offset) not in seen:
            seen.add((letter.partition, letter.offset))
            yield letter


def messages(outputs: Outputs, topic: str) -> Iterator[Any]:
    """Every message that a topic contains now.

    Raises:
        GroundplanError: There is no such topic, or the broker stopped answering.
    """
    from confluent_kafka import KafkaError, TopicPartition

    consumer = broker.consumer(outputs, READERS, **{"enable.partition.eof": True})
    with contextlib.closing(consumer):
        open_ones = set(broker.partitions(consumer, topic))
        consumer.assign([TopicPartition(topic, number, 0) for number in open_ones])
        deadline = time.monotonic() + READ_TIMEOUT_S
        while open_ones:
            for message in broker.good(consumer.consume(10_000, timeout=0.2), topic):
                deadline = time.monotonic() + READ_TIMEOUT_S
                if message.error() is None:
                    yield message
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    open_ones.discard(message.partition())
            if time.monotonic() > deadline:
                raise GroundplanError(f"the broker sent nothing for {READ_TIMEOUT_S:g} s", where=topic)


def shown(context: Context, topic: str) -> Iterator[DeadLetter]:
    """All dead letters of a topic except those of forgotten people."""
    erased = {tuple(name) for name in _erased(context, topic)}
    return (letter for letter in read(context, topic) if (letter.partition, letter.offset) not in erased)


def erase(context: Context, topic: str, subject: str) -> int:
    """Hide the letters of one person, and where the broker can, delete them from the dead-letter topic; returns their
    number.

    Nothing can be deleted from the middle of a topic. So all other letters are sent again unchanged, and then
    everything up to the topic's previous end is deleted. Readers in between find letters twice, and use each once, by
    its identifier. The local broker does not support this deletion (and neither may others): there the letters' bytes
    stay until their retention ends, but they are neither shown nor replayed.

    Args:
        subject: The personal value, as in the letters' bytes.
    """
    sought, erased = subject.encode(), _erased(context, topic)
    theirs = [letter for letter in shown(context, topic) if sought in letter.value or sought == letter.key]
    if not theirs:
        return 0
    names = [*erased, *([letter.partition, letter.offset] for letter in theirs)]
    context.put("curated", f"{ERASED}{topic}.json", json.dumps(names).encode(), "application/json")
    if not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        _rewrite(context, topic, {tuple(name) for name in names})
    return len(theirs)


def _erased(context: Context, topic: str) -> list[list[int]]:
    """Partition and offset of the letters of forgotten people."""
    try:
        found: list[list[int]] = json.loads(context.get("curated", f"{ERASED}{topic}.json"))
    except context.s3.exceptions.NoSuchKey:
        return []
    return found


def _rewrite(context: Context, topic: str, without: set[tuple[int, ...]]) -> None:
    """Send all letters except some again, then delete what was there before.

    https://kafka.apache.org/protocol#The_Messages_DeleteRecords
    """
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    found, kept, seen = list(messages(context.outputs, topic_of(topic))), [], set(without)
    for message in found:
        letter = _letter(topic, message)
        if (letter.partition, letter.offset) not in seen:
            seen.add((letter.partition, letter.offset))
            place = {f"{OURS}partition": str(letter.partition), f"{OURS}offset": str(letter.offset)}
            stood = [(name, value) for name, value in message.headers() or () if name not in place]
            kept.append(
                {
                    "topic": topic_of(topic),
                    "value": message.value(),
                    "key": message.key(),
                    "headers": [*stood, *place.items()],
                }
            )
    broker.send(broker.producer(context.outputs), kept, topic_of(topic))
    ends = {message.partition(): message.offset() + 1 for message in found}
    admin = AdminClient(broker.client_config(context.outputs))
    for result in admin.delete_records(
        [TopicPartition(topic_of(topic), number, end) for number, end in ends.items()]
    ).values():
        result.result(READ_TIMEOUT_S)


@dataclass(frozen=True)
class Replayed:
    """The result of replaying a topic's dead letters.

    Attributes:
        letters: How many were requested.
        sent: How many of them were sent now.
        before: How many had been sent earlier.
        refused: Position of each one that the broker would refuse, and why.
    """

    letters: int
    sent: int
    before: int
    refused: tuple[str, ...]


def replay(context: Context, topic: str, reason: str = "") -> Replayed:
    """Send dead letters to their topic again, each once, however often this is called.

    A header marks what is sent, so that a letter that was replayed before is recognized. Those that still violate the
    contract return as dead letters with their new position; where the broker would refuse them they are kept back.

    Args:
        reason: Only those rejected for this reason.

    Raises:
        GroundplanError: The broker does not accept them.
    """
    before = set(_replayed(context, topic))
    found = [letter for letter in shown(context, topic) if reason in ("", letter.reason)]
    letters = [letter for letter in found if f"{letter.partition}-{letter.offset}" not in before]
    earlier, refused = len(found) - len(letters), list[str]()
    if broker.validates():
        contract = next(item for item in context.definition.contracts if item.topic == topic)
        bad = {item.index: item.detail for item in Decoder(contract).decode([letter.value for letter in letters])[1]}
        refused = [
            f"{topic}@{letter.offset} still violates its contract ({bad[index]})"
            for index, letter in enumerate(letters)
            if index in bad
        ]
        letters = [letter for index, letter in enumerate(letters) if index not in bad]
    messages = (
        {
            "topic": topic,
            "value": letter.value,
            "key": letter.key or None,
            "headers": [
                *letter.headers,
                (REPLAYED, f"{letter.partition}-{letter.offset}"),
                (FIRST_SENT, str(letter.timestamp_ms)),
            ],
        }
        for letter in letters
    )
    return Replayed(len(found), broker.send(broker.producer(context.outputs), messages, topic), earlier, tuple(refused))


def _replayed(context: Context, topic: str) -> Iterator[str]:
    """Identifiers of the dead letters that were already replayed."""
    for message in messages(context.outputs, topic):
        for name, value in message.headers() or []:
            if name == REPLAYED and value:
                yield value.decode("ascii", "replace")


def _letter(topic: str, message: Any) -> DeadLetter:
    said = {
        name.removeprefix(OURS): (value or b"").decode("utf-8", "replace")
        for name, value in message.headers() or ()
        if name.startswith(OURS)
    }
    return DeadLetter(
        topic=topic,
        partition=int(said.get("partition", -1 - message.partition())),
        offset=int(said.get("offset", message.offset())),
        letter_partition=message.partition(),
        letter_offset=message.offset(),
        timestamp_ms=int(said.get("timestamp_ms", message.timestamp()[1])),
        reason=said.get("reason", "unknown"),
        detail=said.get("detail", ""),
        contract=said.get("contract", ""),
        key=message.key() or b"",
        value=message.value() or b"",
        headers=senders(message),
    )
