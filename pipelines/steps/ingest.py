"""Step: events from the topics into the raw zone, each exactly once. Events that violate their contract go to the
dead-letter topic, events with undeclared personal data to quarantine.

Exactly once, after any kill: events are ingested in ranges of offsets. The names and bytes of a range's manifest and
files depend only on its events, so writing them twice has no effect (``raw_zone``). Dead letters identify their event;
a run that finds a range started by another checks which of them already exist. The group's offsets are committed only
for monitoring the lag; the raw zone determines where a run begins, so that offsets and files can't disagree.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from pipelines.context import Context, main
from pipelines.data import broker, dead_letters
from pipelines.data.decode import Decoder
from pipelines.data.manifests import RangeManifest, Runs, runs_of
from pipelines.data.masking import Masker, masking_key
from pipelines.data.message_keys import KeyReader, keys_only, message_key
from pipelines.data.people import People
from pipelines.data.quarantine import totals
from pipelines.data.raw_zone import OFFSET, POSITION, RawZone, raw_schema
from pipelines.data.refusals import Refused
from pipelines.privacy.personal_data import WAY_OUT, undeclared
from spec.contracts import Contract
from spec.errors import GroundplanError
from spec.model_folders import consumer_group

IDLE_TIMEOUT_S = 60.0  # a group whose member was killed needs some seconds to rebalance
RANGE_EVENTS = 131_072  # offsets of one range, which begins and ends at multiples of it
BATCH_EVENTS = 10_000
SAID_EVERY_S = 1.0


class _Reader:
    """The readers of one contract's events."""

    def __init__(self, context: Context, contract: Contract, people: People) -> None:
        self.contract = contract
        self.decoder, self.masker = Decoder(contract), Masker(contract, people.tokens)
        self.keys, self.key_masker = KeyReader(contract), Masker(keys_only(contract), people.tokens)
        self.zone = RawZone(context, contract)


@dataclass
class _Partition:
    """The progress of one partition.

    Attributes:
        reader: Reader of the topic's contract, or of the contract under which a started range was begun.
        first: Offset of the first event of the range that is being collected.
        last: Offset at which the range ends, at the latest.
        position: Offset of the next event.
        latest: Events with a later time are refused.
        begun: The manifest of another run that had begun this range.
        done: Nothing more was available when its end was reached.
    """

    reader: _Reader
    number: int
    first: int
    last: int
    position: int
    latest: datetime
    tables: list[Any] = field(default_factory=list)
    deletions: list[Any] = field(default_factory=list)
    refused: list[tuple[Any, Refused]] = field(default_factory=list)
    events: int = 0
    begun: RangeManifest | None = None
    done: bool = False


def ingest(context: Context) -> dict[str, Any]:
    """Ingest what the model's topics contain now.

    Raises:
        GroundplanError: No broker is known, a topic is missing, or S3 accepts no objects; nothing is lost then.
    """
    contracts = {contract.topic: contract for contract in context.definition.contracts}
    _fill(context, contracts)
    ingestion = _Ingestion(context, contracts)
    taken = ingestion.run()
    seconds = max(time.monotonic() - ingestion.heard_at, 1e-9)
    found = {topic: totals(RawZone(context, contract)) for topic, contract in contracts.items()}
    for topic, counts in found.items() if broker.validates() else ():
        kept_out = sum(letter.partition < 0 for letter in dead_letters.read(context, topic))
        counts["events"] += kept_out
        counts["dead_letters"] += kept_out
    _count_refused(context, sum(item.dead_letters for item in taken))
    _tell_quarantined(context, taken)
    for topic, count in ingestion.other_keys.items():
        if count:
            keys = " and ".join(contracts[topic].keys)
            print(
                f"warning: {count} of the events ingested from {topic} have a message key that is not their {keys}: a"
                " deletion by that key, or compaction of the topic, would affect other events"
            )
    empty = [topic for topic, counts in found.items() if counts["events"] == 0]
    new = sum(item.events for item in taken)
    return {
        "topics": found,
        "events": sum(counts["rows"] for counts in found.values()),
        "dead_letters": sum(counts["dead_letters"] for counts in found.values()),
        "quarantined": sum(counts["quarantined"] for counts in found.values()),
        "discarded": sum(counts["discarded"] for counts in found.values()),
        "other_keys": sum(ingestion.other_keys.values()),
        "new_events": new,
        "seconds": round(seconds, 3),
        "events_per_second": round(new / seconds),
        "lag": 0,
        **({"waiting": f"no events yet in {', '.join(empty)}"} if empty else {}),
    }


class _Ingestion:
    """One run of the consumer group's member."""

    def __init__(self, context: Context, contracts: dict[str, Contract]) -> None:
        self._context, self._contracts = context, contracts
        self._people = People(
            context, masking_key(context.outputs) if any(contract.personal for contract in contracts.values()) else b""
        )
        self._readers = {topic: _Reader(context, contract, self._people) for topic, contract in contracts.items()}
        self.other_keys = dict.fromkeys(contracts, 0)
        self._partitions: dict[tuple[str, int], _Partition] = {}
        self._written: list[RangeManifest] = []
        self.heard_at = time.monotonic()  # when the first event came; joining a group takes seconds

    def run(self) -> list[RangeManifest]:
        """Run until the end of every partition was reached; returns the ranges it wrote.

        Partitions that another member of the group has, or had when it was killed, are waited for: either it ingests
        them, or the broker gives them to this one.
        """
        outputs = self._context.outputs
        # The broker reports a partition's end as a separate event: control records of transactions have offsets, but
        # are not events.
        self._consumer = broker.consumer(outputs, consumer_group(self._context.model), **{"enable.partition.eof": True})
        try:
            self._bounds = self._offsets()
            self._producer = broker.producer(outputs)
            assigned = False
            said = heard = time.monotonic()
            looked, others = 0.0, dict[tuple[str, int], int]()

            def assign(_: Any, parts: list[Any]) -> None:
                nonlocal assigned, heard
                self._begin(parts)
                assigned, heard = True, time.monotonic()

            def revoke(*_: Any) -> None:
                nonlocal assigned
                self._partitions.clear()
                assigned = False

            def own_done() -> bool:
                return assigned and all(item.done for item in self._partitions.values())

            self._consumer.subscribe(list(self._contracts), on_assign=assign, on_revoke=revoke)
            while True:
                # It may bring other partitions and their first events at once.
                messages = broker.good(
                    self._consumer.consume(BATCH_EVENTS, timeout=0.2), "the consumer of " + ", ".join(self._contracts)
                )
                now = time.monotonic()
                if messages and not own_done():
                    if not self._written and not any(item.events for item in self._partitions.values()):
                        self.heard_at = now
                    heard = now
                    self._take(messages)
                elif now - heard > IDLE_TIMEOUT_S:
                    raise self._nothing_heard(others if assigned else {})
                if now - said > SAID_EVERY_S:
                    said = now
                    self._say()
                if own_done() and now - looked > SAID_EVERY_S:
                    before, others, looked = others, self._left_to_others(), now
                    if not others:
                        return self._written
                    if others != before:
                        heard = now
        finally:
            self._consumer.close()

    def _offsets(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Offsets of each partition's first event and after its last, as they are now."""
        from confluent_kafka import TopicPartition

        return {
            (topic, number): self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
            for topic in self._contracts
            for number in broker.partitions(self._consumer, topic)
        }

    def _left_to_others(self) -> dict[tuple[str, int], int]:
        """The partitions of other members that are not ingested to where they ended when this run began, each with the
        offset up to which they are.
        """
        places = [place for place, (low, high) in self._bounds.items() if place not in self._partitions and low < high]
        done = {topic: self._readers[topic].zone.done() for topic in {topic for topic, _ in places}}
        reached = {(topic, number): done[topic].get(number, 0) for topic, number in places}
        return {place: offset for place, offset in reached.items() if offset < self._bounds[place][1]}

    def _nothing_heard(self, others: dict[tuple[str, int], int]) -> GroundplanError:
        if others:
            return GroundplanError(
                f"held by another consumer of the group {consumer_group(self._context.model)}, which ingested nothing"
                f" for {IDLE_TIMEOUT_S:g} s",
                where=", ".join(f"{topic}, partition {number}" for topic, number in others),
                fix="end it, then run this again: nothing is lost",
            )
        return GroundplanError(
            f"the broker sent nothing for {IDLE_TIMEOUT_S:g} s",
            where=broker.servers_of(self._context.outputs),
            fix="check that it is up; nothing is lost, and the next run continues where this one stopped",
        )

    def _begin(self, assigned: list[Any]) -> None:
        """Seek to where the raw zone ends in each partition. What another member had collected but not written is read
        again.
        """
        done = {topic: reader.zone.done() for topic, reader in self._readers.items()}
        self._partitions = {}
        for part in assigned:
            place = (part.topic, part.partition)
            start = done[place[0]].get(place[1], 0)
            first = self._bounds[place][0]
            if start < first:
                print(
                    f"warning: events {start} to {first} of {place[0]}, partition {place[1]}, were"
                    " deleted from the topic and never ingested"
                )
            self._partitions[place] = self._next_range(place[0], place[1], max(start, first))
        self._consumer.assign([self._at(partition) for partition in self._partitions.values()])

    def _next_range(self, topic: str, number: int, first: int) -> _Partition:
        """The range that begins there. One that another run had started is finished under the contract under which it
        was started.
        """
        reader = self._readers[topic]
        begun = reader.zone.manifest(number, first)
        if begun and begun.contract != reader.zone.version:
            before = reader.zone.contract(begun.contract)
            if before is None:
                raise GroundplanError(
                    f"events from {first} on were started under the contract {begun.contract} and never finished, and"
                    " the contract has changed since",
                    where=f"{topic}, partition {number}",
                    fix="let ingestion finish once with the old contract, then change it",
                )
            reader = _Reader(self._context, before, self._people)
        last = begun.last if begun else (first // RANGE_EVENTS + 1) * RANGE_EVENTS
        latest = (
            datetime.fromisoformat(begun.latest)
            if begun and begun.latest
            else latest_time(reader.contract, datetime.now(UTC))
        )
        return _Partition(reader, number, first, last, first, latest, begun=begun)

    def _at(self, partition: _Partition) -> Any:
        from confluent_kafka import TopicPartition

        return TopicPartition(partition.reader.contract.topic, partition.number, partition.position)

    def _take(self, messages: list[Any]) -> None:
        from confluent_kafka import KafkaError

        by_place: dict[tuple[str, int], list[Any]] = {}
        for message in messages:
            place = (message.topic(), message.partition())
            if message.error() is None:
                by_place.setdefault(place, []).append(message)
            elif message.error().code() == KafkaError._PARTITION_EOF:
                self._sort_in(place, by_place.pop(place, []))
                self._end(place, message.offset())
        for place, found in by_place.items():
            self._sort_in(place, found)

    def _sort_in(self, place: tuple[str, int], found: list[Any]) -> None:
        while found and (partition := self._partitions.get(place)) and not partition.done:
            inside = (
                found
                if found[-1].offset() < partition.last
                else [item for item in found if item.offset() < partition.last]
            )
            if inside:
                self._gather(partition, inside)
            found = found[len(inside) :]
            if found or partition.position >= partition.last:
                self._write(partition, partition.last)

    def _end(self, place: tuple[str, int], offset: int) -> None:
        """Nothing more is available: what was collected becomes a separate range."""
        partition = self._partitions.get(place)
        if partition is None or partition.done:
            return
        self._check_offset(partition, offset)
        if offset > partition.first:
            self._write(partition, min(offset, partition.last))
        self._partitions[place].done = True

    def _gather(self, partition: _Partition, messages: list[Any]) -> None:
        self._check_offset(partition, messages[0].offset())
        live, values = messages, [item.value() for item in messages]
        if None in values:
            live, values = (
                [item for item in messages if item.value() is not None],
                [value for value in values if value is not None],
            )
        table, refused = partition.reader.decoder.decode(values, partition.latest)
        bad = {item.index for item in refused}
        kept = [item for place, item in enumerate(live) if place not in bad] if bad else live
        partition.tables.append(_with_position(table, partition.number, kept))
        partition.refused += [
            (live[item.index], item if values[item.index] else replace(item, detail="it is empty")) for item in refused
        ]
        self.other_keys[partition.reader.contract.topic] += partition.reader.keys.others(
            table, [item.key() for item in kept]
        )
        if live is not messages:
            self._delete(partition, [item for item in messages if item.value() is None])
        partition.events += len(messages)
        partition.position = messages[-1].offset() + 1

    def _delete(self, partition: _Partition, messages: list[Any]) -> None:
        """Messages without a value delete their keys."""
        table, refused = partition.reader.keys.read([item.key() for item in messages])
        partition.refused += [(messages[item.index], item) for item in refused]
        bad = {item.index for item in refused}
        if table is not None:
            partition.deletions.append(
                _with_position(
                    table, partition.number, [item for place, item in enumerate(messages) if place not in bad]
                )
            )

    def _write(self, partition: _Partition, last: int) -> None:
        """One range, up to ``last``: files, then its dead letters, then the mark that it is done."""
        import pyarrow as pa

        reader = partition.reader
        topic, zone = reader.contract.topic, reader.zone
        table = pa.concat_tables(partition.tables) if partition.tables else raw_schema(reader.contract).empty_table()
        table = reader.masker.mask(table)
        deletions = reader.key_masker.mask(pa.concat_tables(partition.deletions)) if partition.deletions else None
        manifest = zone.write(
            partition.number,
            partition.first,
            last,
            table,
            events=partition.events,
            dead_letters=len(partition.refused),
            deletions=deletions,
            apart=_apart(partition, table),
            quarantined=partition.begun.quarantined if partition.begun else (),
            latest=partition.latest.isoformat(),
        )
        self._send_dead_letters(partition)
        zone.finish(manifest)
        self._written.append(manifest)
        self._commit(partition, last)
        self._partitions[topic, partition.number] = self._next_range(topic, partition.number, last)

    def _check_offset(self, partition: _Partition, offset: int) -> None:
        if offset < partition.position:
            raise GroundplanError(
                f"the topic ends at or before offset {offset}, and events up to {partition.position} were already"
                " ingested",
                where=f"{partition.reader.contract.topic}, partition {partition.number}",
                fix=(
                    "the topic was recreated: give the contract's topic another name, since raw objects are never"
                    " rewritten"
                ),
            )

    def _send_dead_letters(self, partition: _Partition) -> None:
        """Send each once: those that an earlier run has sent are not sent again."""
        topic = partition.reader.contract.topic
        sent = set()
        if partition.begun and partition.refused:
            sent = {
                (letter.partition, letter.offset)
                for letter in dead_letters.read(self._context, topic)
                if partition.first <= letter.offset
            }
        letters = (
            {
                "topic": dead_letters.topic_of(topic),
                "value": message.value(),
                "key": message.key(),
                "headers": dead_letters.headers(refused, partition.reader.contract, message),
            }
            for message, refused in partition.refused
            if (message.partition(), message.offset()) not in sent
        )
        broker.send(self._producer, letters, dead_letters.topic_of(topic))

    def _commit(self, partition: _Partition, last: int) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        try:
            self._consumer.commit(
                offsets=[TopicPartition(partition.reader.contract.topic, partition.number, last)], asynchronous=False
            )
        except KafkaException as error:  # another member has the partition now; it begins where the raw zone ends
            print(f"warning: the group's offset was not committed: {error.args[0].str()}")

    def _lag(self) -> int:
        """Events that the broker has reported but that have not arrived yet."""
        ends = [
            (self._consumer.get_watermark_offsets(self._at(item), cached=True), item.position)
            for item in self._partitions.values()
            if not item.done
        ]
        return sum(max(0, end[1] - position) for end, position in ends if end)

    def _say(self) -> None:
        """For progress displays: `groundplan up` reads these lines from the step's log."""
        events = sum(item.events for item in self._written) + sum(
            partition.events for partition in self._partitions.values()
        )
        if events:
            rate = events / max(time.monotonic() - self.heard_at, 1e-9)
            print(f"progress: {events:,} events ingested, {rate:,.0f} a second, lag {self._lag():,}", flush=True)


def _apart(partition: _Partition, table: Any) -> dict[tuple[str, ...], Runs]:
    """Offsets of the rows that go to quarantine, by findings. A range that another run started is split as its manifest
    says, not scanned again.
    """
    if partition.begun:
        return partition.begun.apart
    return {
        why: runs_of(table[OFFSET].take(places).to_pylist())
        for why, places in undeclared(table, partition.reader.contract).items()
    }


def latest_time(contract: Contract, now: datetime) -> datetime:
    """The latest allowed event time: the end of the day up to which the contract tolerates wrong clocks.

    A whole day, so that two runs decide the same.
    """
    tolerated = now + timedelta(hours=contract.future_tolerance_hours)
    return datetime(tolerated.year, tolerated.month, tolerated.day, tzinfo=UTC) + timedelta(days=1)


def _with_position(table: Any, number: int, messages: list[Any]) -> Any:
    """The rows with where they came from and when they were first sent."""
    import pyarrow as pa

    columns = (
        [dead_letters.first_sent_ms(message) for message in messages],
        [number] * len(messages),
        [message.offset() for message in messages],
    )
    for name, values in zip(POSITION, columns, strict=True):
        table = table.append_column(name, pa.array(values, type=pa.int64()))
    return table


def _fill(context: Context, contracts: dict[str, Contract]) -> None:
    """On one machine: fill each topic that is empty from the model's own source."""
    if not context.definition.source or not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return  # a user's own stream is not filled with a model's events
    client = broker.consumer(context.outputs, "groundplan-probe")
    try:
        from confluent_kafka import TopicPartition

        empty = [
            topic
            for topic in contracts
            if all(
                low == high
                for name in (topic, dead_letters.topic_of(topic))
                for low, high in (
                    client.get_watermark_offsets(TopicPartition(name, p), timeout=10)
                    for p in broker.partitions(client, name)
                )
            )
        ]
    finally:
        client.close()
    if empty:
        source = context.definition.function(context.definition.source)
        for topic in empty:
            publish(context, contracts[topic], source(topic, **context.definition.options))


def publish(context: Context, contract: Contract, events: Iterable[dict[str, Any]]) -> int:
    """Send events, keyed so that one entity's keep their order.

    A broker that validates them refuses a whole batch for one bad event; so bad events become dead letters before they
    are sent.

    Raises:
        GroundplanError: The broker does not accept them.
    """
    import orjson

    at = time.monotonic()

    def said(count: int) -> None:
        nonlocal at
        if time.monotonic() - at > SAID_EVERY_S:
            at = time.monotonic()
            print(f"progress: {count:,} events of {contract.topic} sent", flush=True)

    messages: Iterable[dict[str, Any]]
    messages = (
        {"topic": contract.topic, "value": orjson.dumps(event), "key": message_key(contract, event)} for event in events
    )
    kept_out: list[Refused] = []
    sent = broker.send(
        broker.producer(context.outputs),
        _checked(contract, messages, kept_out) if broker.validates() else messages,
        contract.topic,
        said,
    )
    if kept_out:
        _count_refused(context, len(kept_out))
    return sent


def _checked(
    contract: Contract, messages: Iterable[dict[str, Any]], kept_out: list[Refused]
) -> Iterator[dict[str, Any]]:
    """The messages, with bad ones replaced by their dead letters."""
    decoder, left = Decoder(contract), iter(messages)
    while batch := list(islice(left, BATCH_EVENTS)):
        refused = {item.index: item for item in decoder.decode([message["value"] for message in batch])[1]}
        kept_out += refused.values()
        for index, message in enumerate(batch):
            bad = refused.get(index)
            yield (
                message
                if bad is None
                else {
                    **message,
                    "topic": dead_letters.topic_of(contract.topic),
                    "headers": dead_letters.headers(bad, contract),
                }
            )


def _count_refused(context: Context, refused: int) -> None:
    """The metric that the stream's alarm uses."""
    import boto3

    boto3.client("cloudwatch").put_metric_data(
        Namespace=context.outputs.metrics_namespace,
        MetricData=[{"MetricName": "dead_letter_events", "Value": refused, "Unit": "Count"}],
    )


def _tell_quarantined(context: Context, taken: Iterable[RangeManifest]) -> None:
    """Publish the metric that the quarantine's alarm watches, and print what to do."""
    import boto3

    rows: dict[str, int] = {}
    why: dict[str, set[str]] = {}
    for manifest in taken:
        for file in manifest.files:
            if file.quarantined or manifest.quarantined:
                rows[manifest.topic] = rows.get(manifest.topic, 0) + file.rows
                why.setdefault(manifest.topic, set()).update(file.quarantined or manifest.quarantined)
    boto3.client("cloudwatch").put_metric_data(
        Namespace=context.outputs.metrics_namespace,
        MetricData=[{"MetricName": "quarantined_events", "Value": sum(rows.values()), "Unit": "Count"}],
    )
    for topic, count in rows.items():
        print(
            f"warning: {topic}: {count:,} events contain undeclared personal data and were quarantined"
            f" ({', '.join(sorted(why[topic]))})\n  -> {WAY_OUT}"
        )


if __name__ == "__main__":
    main("ingest", ingest)
