"""Step: events from the topic into the raw zone, unchanged but for their form (Parquet).

On one machine the topic is first filled from the example's own source, unless events are already there.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import time
from collections.abc import Iterable
from typing import Any

from infra.contracts import Contract
from infra.errors import GroundplanError
from pipelines.context import Context, main

IDLE_TIMEOUT_S = 30.0


def ingest(context: Context) -> dict[str, Any]:
    """Read the whole topic and write it as one immutable object.

    Raises:
        GroundplanError: No broker is known, or the topic stays empty.
    """
    contract = context.example.contract
    assert contract is not None
    servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or context.outputs.kafka.bootstrap_servers
    if not servers:
        raise GroundplanError("this stack has no event stream", where="groundplan:objectives.events.per_second", fix="give a rate above 0")
    waiting = _count(servers, contract.topic)
    if waiting == 0 and context.example.source:
        _publish(servers, contract, _source(context))
        waiting = _count(servers, contract.topic)
    if waiting == 0:
        raise GroundplanError(f"topic {contract.topic} holds no events", where=servers, fix="send some, or name a `source` in example.yaml")
    good: list[dict[str, Any]] = []
    bad: list[bytes] = []
    for payload in _consume(servers, contract.topic, waiting):
        event = _event(payload, contract)
        if event is None:
            bad.append(payload)
        else:
            good.append(event)
    _send(servers, f"{contract.topic}.dlq", bad)
    _count_refused(context, len(bad))
    address = context.put("raw", f"{contract.topic}/run={context.run}/part-0.parquet", _parquet(good, contract))
    return {"raw": address, "events": len(good), "dead_letters": len(bad)}


_TYPES = {"integer": int, "number": int | float, "string": str, "boolean": bool}


def _event(payload: bytes, contract: Contract) -> dict[str, Any] | None:
    """The event, if it is one of the contract's: an object of known fields, each of its type or empty, with a key."""
    try:
        event = json.loads(payload)
    except ValueError:
        return None
    types = {item.name: _TYPES[item.logicalType] for item in contract.properties}
    if not isinstance(event, dict) or not set(event) <= set(types) or event.get(contract.key) is None:
        return None
    for name, value in event.items():
        if value is not None and (not isinstance(value, types[name]) or (isinstance(value, bool) and types[name] is not bool)):
            return None
    return event


def _source(context: Context) -> Iterable[dict[str, Any]]:
    """Events of the example's ``source: file:function``."""
    file, _, function = (context.example.source or "").partition(":")
    spec = importlib.util.spec_from_file_location("example_source", context.example.folder / f"{file}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    events: Iterable[dict[str, Any]] = getattr(module, function)()
    return events


def _publish(servers: str, contract: Contract, events: Iterable[dict[str, Any]]) -> None:
    _send(servers, contract.topic, (json.dumps(event).encode() for event in events))


def _count_refused(context: Context, refused: int) -> None:
    """The metric that the stream's alarm looks at."""
    import boto3

    boto3.client("cloudwatch").put_metric_data(
        Namespace=context.outputs.metrics_namespace, MetricData=[{"MetricName": "dead_letter_events", "Value": refused, "Unit": "Count"}]
    )


def _send(servers: str, topic: str, payloads: Iterable[bytes]) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 5})
    for payload in payloads:
        producer.produce(topic, payload)
    if producer.flush(IDLE_TIMEOUT_S):
        raise GroundplanError(f"the broker did not take all events of {topic}", where=servers)


def _consumer(servers: str) -> Any:
    from confluent_kafka import Consumer

    return Consumer({"bootstrap.servers": servers, "group.id": "groundplan-ingest", "enable.auto.commit": False, "auto.offset.reset": "earliest"})


def _partitions(consumer: Any, topic: str) -> list[Any]:
    from confluent_kafka import TopicPartition

    found = consumer.list_topics(topic, timeout=10).topics[topic]
    if found.error is not None:
        raise GroundplanError(f"topic {topic} does not exist: {found.error.str()}", fix="apply the program first")
    return [TopicPartition(topic, number, 0) for number in found.partitions]


def _count(servers: str, topic: str) -> int:
    consumer = _consumer(servers)
    try:
        return sum(high - low for low, high in (consumer.get_watermark_offsets(p, timeout=10) for p in _partitions(consumer, topic)))
    finally:
        consumer.close()


def _consume(servers: str, topic: str, count: int) -> Iterable[bytes]:
    consumer = _consumer(servers)
    try:
        consumer.assign(_partitions(consumer, topic))
        seen, deadline = 0, time.monotonic() + IDLE_TIMEOUT_S
        while seen < count:
            for message in consumer.consume(500, timeout=0.5):
                if message.error() is None:
                    seen += 1
                    deadline = time.monotonic() + IDLE_TIMEOUT_S
                    yield message.value()
            if time.monotonic() > deadline:
                raise GroundplanError(f"only {seen} of {count} events of {topic} arrived, and no more for {IDLE_TIMEOUT_S:g} s", where=servers)
    finally:
        consumer.close()


def _parquet(events: list[dict[str, Any]], contract: Contract) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"integer": pa.int64(), "number": pa.float64(), "string": pa.string(), "boolean": pa.bool_()}
    schema = pa.schema([(item.name, kinds[item.logicalType]) for item in contract.properties])
    events.sort(key=lambda event: event[contract.key])
    buffer = io.BytesIO()
    try:
        pq.write_table(pa.Table.from_pylist(events, schema=schema), buffer)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise GroundplanError(f"an event has a value of a wrong type: {error}", where=contract.topic, fix="see the contract") from None
    return buffer.getvalue()


if __name__ == "__main__":
    main("ingest", ingest)
