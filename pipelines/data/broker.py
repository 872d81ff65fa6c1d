"""Clients of the event stream: MSK with IAM over TLS, or the broker that ``KAFKA_BOOTSTRAP_SERVERS`` names."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from spec.errors import GroundplanError
from spec.outputs import Outputs

SESSION_TIMEOUT_MS = 6000  # a member that was killed holds its partitions no longer than this; brokers refuse less
FETCH_WAIT_MS = 100  # a topic's end is seen after it
_FETCH_BYTES = 8 * 1024 * 1024
MOST_BYTES = 10 * 1024 * 1024  # of one event; brokers accept less by default
SEND_TIMEOUT_S = 60.0


def servers_of(outputs: Outputs) -> str:
    """Bootstrap servers.

    Raises:
        GroundplanError: The stack has no stream.
    """
    found = os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or outputs.kafka.bootstrap_servers
    if not found:
        raise GroundplanError(
            "this stack has no event stream", where="groundplan:objectives.events.per_second", fix="set a rate above 0"
        )
    return found


def client_config(outputs: Outputs) -> dict[str, Any]:
    """The configuration of every client. A broker named by the environment is used as it is; the stack's own is MSK,
    with IAM.
    """
    config: dict[str, Any] = {
        "bootstrap.servers": servers_of(outputs),
        "logger": _quiet_logger(),
        "client.id": os.environ.get("KAFKA_CLIENT_ID", "groundplan"),
    }
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return config
    from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

    def fresh_token(_: Any) -> tuple[str, float]:
        text, expires_ms = MSKAuthTokenProvider.generate_auth_token(outputs.region)
        return text, expires_ms / 1000

    # https://docs.aws.amazon.com/msk/latest/developerguide/configure-clients-for-iam-access-control.html
    return {**config, "security.protocol": "SASL_SSL", "sasl.mechanisms": "OAUTHBEARER", "oauth_cb": fresh_token}


def consumer(outputs: Outputs, group: str, **more: Any) -> Any:
    """A consumer that sees committed events only, from the beginning, and commits nothing by itself."""
    from confluent_kafka import Consumer

    session_ms = int(os.environ.get("KAFKA_SESSION_TIMEOUT_MS", SESSION_TIMEOUT_MS))
    return Consumer(
        {
            **client_config(outputs),
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": session_ms // 3,
            "fetch.wait.max.ms": FETCH_WAIT_MS,
            "fetch.max.bytes": _FETCH_BYTES,
            "max.partition.fetch.bytes": _FETCH_BYTES,
            "queued.max.messages.kbytes": 65536,
            **more,
        }
    )


def producer(outputs: Outputs) -> Any:
    """An idempotent producer."""
    from confluent_kafka import Producer

    limits = {"message.max.bytes": MOST_BYTES, "queue.buffering.max.messages": 500_000}
    return Producer(
        {**client_config(outputs), "enable.idempotence": True, "linger.ms": 20, "compression.type": "lz4", **limits}
    )


def validates() -> bool:
    """Whether the broker itself validates events against their contracts, which MSK never does."""
    return bool(os.environ.get("KAFKA_VALIDATES"))


def send(
    client: Any, messages: Iterable[Mapping[str, Any]], where: str, said: Callable[[int], None] = lambda count: None
) -> int:
    """Send messages (arguments of ``Producer.produce``) and wait until the broker has acknowledged each; returns their
    number.

    Raises:
        GroundplanError: The broker refused one, or did not accept them in time.
    """
    from confluent_kafka import KafkaException

    failed: list[str] = []

    def delivered(error: Any, message: Any) -> None:
        if error is not None:
            failed.append(f"{message.topic()}: {error.str()}")

    count = 0
    for message in messages:
        while True:
            try:
                client.produce(**message, on_delivery=delivered)
                break
            except BufferError:
                client.poll(0.1)
            except KafkaException as error:
                raise GroundplanError(
                    f"the Kafka client refuses an event: {error.args[0].str()}", where=where
                ) from None
        count += 1
        if count % 1000 == 0:
            client.poll(0)
            said(count)
    left = client.flush(SEND_TIMEOUT_S)
    if failed or left:
        why = failed[0] if failed else f"{left} were not acknowledged within {SEND_TIMEOUT_S:g} s"
        raise GroundplanError(
            f"the broker did not accept all events: {why}",
            where=where,
            fix="run it again: nothing is ingested or sent twice",
        )
    return count


def good(messages: Iterable[Any], where: str) -> list[Any]:
    """Events and ends of partitions among what a consumer received.

    Raises:
        GroundplanError: The broker reported an error that waiting does not fix.
    """
    from confluent_kafka import KafkaError

    found = []
    passing = (
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._MAX_POLL_EXCEEDED,
    )
    for message in messages:
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            found.append(message)
        elif error.code() not in passing and not error.retriable():
            raise GroundplanError(f"the broker reported: {error.str()}", where=where)
    return found


def partitions(client: Any, topic: str) -> list[int]:
    """Numbers of a topic's partitions.

    Raises:
        GroundplanError: There is no such topic.
    """
    found = client.list_topics(topic, timeout=10).topics[topic]
    if found.error is not None or not found.partitions:
        why = found.error.str() if found.error is not None else "it has no partitions"
        raise GroundplanError(
            f"topic {topic} does not exist: {why}",
            where="Kafka",
            fix="apply the program first: it creates the contract's topic",
        )
    return sorted(found.partitions)


def _quiet_logger() -> logging.Logger:
    """Librdkafka's own messages (a broker that disappeared and returned) go to the log at debug level."""
    logger = logging.getLogger("groundplan.kafka")
    logger.setLevel(logging.ERROR)
    return logger
