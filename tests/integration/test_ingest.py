"""Ingestion against the real broker: exactly once whatever is killed, bad events to the dead letters, personal data
masked or quarantined.
"""

from __future__ import annotations

import dataclasses
import http.server
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from groundplan.local.environment import child_environment
from groundplan.local.home import Home, State
from groundplan.local.services import OWN, commands, free_port, healthy, own_service
from groundplan.local.up import _write_schemas
from pipelines.context import Context, load_definition
from pipelines.data import broker, dead_letters
from pipelines.data.raw_zone import RawZone
from pipelines.steps.ingest import ingest, publish
from spec.contracts import Contract, Field, Limits
from spec.errors import GroundplanError
from spec.model_folders import consumer_group
from spec.outputs import Outputs
from tests import flights
from tests.conftest import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]
BAD = [
    b"{truncated",
    b"null",
    orjson.dumps({**flights.events("flights")[0], "flight": "x"}),
    orjson.dumps({**flights.events("flights")[1], "more": 1}),
]


@pytest.fixture
def context(outputs: Outputs, tmp_path: Path, inside: None) -> Iterator[Context]:
    """A model with its own topics: flights, under another name."""
    topic = f"flights-{uuid.uuid4().hex[:8]}"
    folder = tmp_path / "flights"
    shutil.copytree(flights.FOLDER, folder, ignore=shutil.ignore_patterns("sample", "__pycache__", "contracts"))
    (folder / "contracts").mkdir()
    document = yaml.safe_load((flights.FOLDER / "contracts" / "flights.yaml").read_text(encoding="utf-8"))
    document["schema"][0]["physicalName"] = topic
    (folder / "contracts" / "flights.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (folder / "model.yaml").write_text(
        f"model: {topic}\nfeatures: features\nviews: {{v: {{key: flight_id, features: {{hour: integer}}}}}}\n",
        encoding="utf-8",
    )
    make_topics(topic)
    yield Context(outputs, load_definition(folder), f"t{time.time_ns()}", tmp_path)


@pytest.fixture
def run(context: Context, home: Home, state: State) -> Run:
    """The step as a process."""

    def start(die: str = "never", **env: str) -> subprocess.CompletedProcess[str]:
        environment = {**child_environment(home, state.services, state.region), **env}
        environment["PYTHONPATH"] = os.pathsep.join((environment["PYTHONPATH"], str(ROOT)))
        command = [
            sys.executable,
            "-m",
            "tests.ingest_runner",
            die,
            "--model-folder",
            str(context.definition.folder),
            "--run",
            context.run,
        ]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    return start


@pytest.fixture
def strict(context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Context]:
    """The same against a broker that validates events against the contract's schema."""
    home = Home(tmp_path / "strict")
    shutil.copytree(context.definition.folder / "contracts", home.root / "models" / "flights-late" / "contracts")
    _write_schemas(home)
    chosen = {name: own_service(name, free_port()) for name in OWN}
    started = commands(home, chosen, "us-east-1", {"mlflow": "m", "kafka": "k"})
    started["kafka"][started["kafka"].index("s3://k")] = "memory://strict/"
    running = [
        subprocess.Popen(started[name], cwd=home.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for name in ("kafka", "kafka-front")
    ]
    try:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", chosen["kafka"].url)
        monkeypatch.setenv("KAFKA_VALIDATES", "1")
        deadline = time.monotonic() + 30
        while not healthy(chosen["kafka"]):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        make_topics(context.definition.contracts[0].topic)
        yield context
    finally:
        for process in running:
            process.terminate()
            process.wait(10)


def make_topics(topic: str) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"]})
    for made in admin.create_topics([NewTopic(topic, 2, 1), NewTopic(f"{topic}.dlq", 2, 1)]).values():
        made.result(20)


def send(context: Context, payloads: list[bytes]) -> None:
    producer = broker.producer(context.outputs)
    for number, payload in enumerate(payloads):
        # A fixed time: the same events have the same bytes.
        producer.produce(
            context.definition.contracts[0].topic,
            payload,
            key=str(number),
            partition=number % 2,
            timestamp=1_700_000_000_000 + number,
        )
    assert producer.flush(30) == 0


def zone(context: Context) -> RawZone:
    return RawZone(context, context.definition.contracts[0])


def lake(context: Context) -> list[str]:
    """Every key below the topic with the hash of its bytes, as S3 has it."""
    topic, found = context.definition.contracts[0].topic, []
    for prefix in (f"{topic}/", f"manifests/{topic}/", f"quarantine/{topic}/", f"deletions/{topic}/"):
        for page in context.s3.get_paginator("list_objects_v2").paginate(
            Bucket=context.outputs.buckets["raw"], Prefix=prefix
        ):
            found += [f"{item['Key'].replace(topic, 'T')} {item['ETag']}" for item in page.get("Contents", [])]
    return sorted(found)


def letters(context: Context) -> list[dead_letters.DeadLetter]:
    return list(dead_letters.read(context, context.definition.contracts[0].topic))


def real(count: int) -> list[bytes]:
    """Real events with a bad one now and then."""
    good = list(flights.payloads("flights"))[: count - 8]
    random.Random(1).shuffle(good)
    for place, payload in enumerate(BAD * 2):
        good.insert((place + 1) * count // 9, payload)
    return good


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param((3,), id="killed", marks=pytest.mark.drill),
        pytest.param(tuple(range(10)), id="killed ten times at random", marks=pytest.mark.drill),
    ],
)
def test_a_killed_ingestion_leaves_the_same_lake_as_one_that_was_not(
    context: Context, run: Run, seeds: tuple[int, ...]
) -> None:
    payloads = real(3000)
    send(context, payloads)
    for die in ("put:2", "letters", *(f"random:{seed}" for seed in seeds)):
        assert run(die).returncode in (9, 0), die
    done = run()
    assert done.returncode == 0, done.stderr
    result = context.result("ingest")
    topic = context.definition.contracts[0].topic
    counts = result["topics"][topic]
    assert (counts["events"], counts["rows"], counts["dead_letters"]) == (3000, 2992, 8), "in = raw + dead letters"
    assert len(letters(context)) == 8
    assert raw_count(context, f"{topic}.dlq") == 8, "each dead letter was sent once"
    ids = zone(context).read()["flight_id"].to_pylist()
    assert sorted(ids) == sorted(orjson.loads(payload)["flight_id"] for payload in payloads if payload not in BAD), (
        "each event is there once"
    )

    # The same events on another topic, taken in without a kill.
    other = "undisturbed-" + uuid.uuid4().hex[:8]
    calm = again(context, other)
    send(calm, payloads)
    ranges = [
        (item.partition, item.first, item.last, item.events, item.dead_letters, item.rows)
        for item in zone(context).manifests()
    ]
    from tests import ingest_runner

    small = {"RANGE_EVENTS": ingest_runner.RANGE_EVENTS, "BATCH_EVENTS": ingest_runner.BATCH_EVENTS}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in small.items():
            patch.setattr(f"pipelines.steps.ingest.{name}", value)
        ingest(calm)
    assert [
        (item.partition, item.first, item.last, item.events, item.dead_letters, item.rows)
        for item in zone(calm).manifests()
    ] == ranges
    files = [[asdict(file) | {"key": ""} for file in item.files] for item in zone(context).manifests()]
    assert [[asdict(file) | {"key": ""} for file in item.files] for item in zone(calm).manifests()] == files, (
        "the same bytes"
    )
    assert len(lake(calm)) == len(lake(context))


def again(context: Context, topic: str) -> Context:
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"]})
    for made in admin.create_topics([NewTopic(topic, 2, 1), NewTopic(f"{topic}.dlq", 2, 1)]).values():
        made.result(20)
    contract = dataclasses.replace(context.definition.contracts[0], topic=topic)
    return dataclasses.replace(
        context, definition=dataclasses.replace(context.definition, model=topic, contracts=(contract,))
    )


def with_contract(context: Context, contract: Contract) -> Context:
    return dataclasses.replace(context, definition=dataclasses.replace(context.definition, contracts=(contract,)))


def raw_count(context: Context, topic: str) -> int:
    """Messages in a topic, as a plain consumer counts them."""
    from confluent_kafka import KafkaError, TopicPartition

    consumer = broker.consumer(context.outputs, f"count-{uuid.uuid4().hex[:6]}", **{"enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, number, 0) for number in (0, 1)])
    count, open_ones = 0, {0, 1}
    while open_ones:
        for message in consumer.consume(1000, timeout=0.5):
            if message.error() is None:
                count += 1
            elif message.error().code() == KafkaError._PARTITION_EOF:
                open_ones.discard(message.partition())
    consumer.close()
    return count


def test_bad_late_and_repeated_events_and_undeclared_personal_data(context: Context) -> None:
    topic = context.definition.contracts[0].topic
    first, second = flights.events("flights")[0], flights.events("flights")[1]
    early, far = ({**first, "scheduled_departure": f"{year}-01-01T00:00:00Z"} for year in (1970, 2099))
    late = {
        **second,
        "flight_id": "2013-01-02-UA-1-EWR-0600",
        "scheduled_departure": "2013-01-02T11:00:00Z",
        "departed_at": None,
        "arrived_at": None,
    }
    send(context, [*BAD, *(orjson.dumps(item) for item in (first, first, early, far, late))])
    result = ingest(context)
    counts = result["topics"][topic]
    assert (counts["events"], counts["rows"], counts["dead_letters"]) == (9, 3, 6)
    found = {letter.value: letter for letter in letters(context)}
    assert {letter.reason for letter in found.values()} == {"not JSON", "wrong type", "unknown field", "out of bounds"}
    assert (
        found[orjson.dumps(early)].reason == "out of bounds"
        and "scheduled_departure is '1970-01-01" in found[orjson.dumps(early)].detail
    )
    assert all(
        letter.topic == topic and letter.offset >= 0 and letter.contract == "flights 1.0.0" for letter in found.values()
    )
    keys = [file.key for manifest in zone(context).manifests() for file in manifest.files]
    assert any("event_date=2013-01/" in key for key in keys), "a late event goes where its date belongs"
    table = zone(context).read()
    assert first["tailnum"] not in table["tailnum"].to_pylist() and table["tailnum"][0].as_py().startswith("t")

    from pipelines.steps.quality import prepare

    assert prepare(table, context.definition.contracts[0], frozenset())[1] == {
        "duplicates": 1,
        "forgotten": 0,
        "deleted": 0,
    }

    before = lake(context)
    dirty = {**first, "flight_id": "2013-02-10-UA-2-EWR-0600", "tailnum": "N1"}
    send(context, [orjson.dumps(dirty)])
    # Fields with a pattern can't contain an address; one without can.
    contract = context.definition.contracts[0]
    open_ended = tuple(
        dataclasses.replace(item, limits=Limits()) if item.name == "dest" else item for item in contract.fields
    )
    loose = with_contract(context, dataclasses.replace(contract, fields=open_ended))
    send(loose, [orjson.dumps({**dirty, "dest": "jane@example.com"})])
    result = ingest(loose)["topics"][topic]
    assert (result["events"], result["rows"], result["quarantined"], result["quarantined_for"]) == (
        11,
        4,
        1,
        ["dest: e-mail"],
    ), "the event, not its range"
    assert set(before) <= set(lake(context)), "nothing was rewritten"
    assert "jane@example.com" not in str(zone(loose).read()["dest"].to_pylist())
    assert any(key.startswith("quarantine/T/") for key in lake(context))


def test_dead_letters_are_replayed_once_and_come_through_when_the_contract_allows_them(context: Context) -> None:
    topic = context.definition.contracts[0].topic
    send(context, [flights.payloads("flights")[0], BAD[3], BAD[0]])
    assert ingest(context)["dead_letters"] == 2
    assert dead_letters.replay(context, topic, "not JSON").sent == 1
    assert dead_letters.replay(context, topic, "unknown field").sent == 1
    assert (again := dead_letters.replay(context, topic)).sent == 0 and again.before == again.letters > 0, (
        "each is sent once"
    )
    contract = context.definition.contracts[0]
    mended = with_contract(
        context, dataclasses.replace(contract, version="1.1.0", fields=(*contract.fields, Field("more", "integer")))
    )
    counts = ingest(mended)["topics"][topic]
    assert (counts["events"], counts["rows"], counts["dead_letters"]) == (5, 2, 3)
    assert sorted(zone(mended).read()["more"].to_pylist(), key=str) == [
        1,
        None,
    ], "files of the older version lack the column"


def test_a_range_that_a_killed_run_began_is_finished_by_the_contract_it_was_begun_by(
    context: Context, run: Run
) -> None:
    topic, file = context.definition.contracts[0].topic, context.definition.folder / "contracts" / "flights.yaml"
    send(context, real(1000))
    assert run("put:2").returncode == 9, "its manifest is there, and no file"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    document["version"] = "1.1.0"
    document["schema"][0]["properties"].append({"name": "gate", "logicalType": "string"})
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = run()
    assert done.returncode == 0, done.stderr
    counts = context.result("ingest")["topics"][topic]
    assert (counts["events"], counts["rows"], counts["dead_letters"]) == (1000, 992, 8)
    versions = {item.contract for item in zone(context).manifests()}
    assert versions == {"flights 1.0.0", "flights 1.1.0"}
    newer = RawZone(context, load_definition(context.definition.folder).contracts[0])
    assert (
        newer.read()["gate"].null_count == 992 and newer.contract("flights 1.0.0") == context.definition.contracts[0]
    ), "each version stays readable"


@pytest.mark.drill
def test_s3_that_refuses_loses_nothing(context: Context, run: Run) -> None:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.send_response(503)
            self.end_headers()

        do_GET = do_POST = do_PUT  # noqa: N815 (the handler's names)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    send(context, real(200))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        done = run(AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{server.server_port}", AWS_MAX_ATTEMPTS="1")
    finally:
        server.shutdown()
    assert done.returncode == 1 and "error:" in done.stderr and lake(context) == []
    assert run().returncode == 0
    assert zone(context).read().num_rows == 192 and len(letters(context)) == 8


def test_a_missing_topic_and_one_made_anew_are_named(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = with_contract(context, dataclasses.replace(context.definition.contracts[0], topic="nowhere"))
    with pytest.raises(GroundplanError, match="topic nowhere does not exist"):
        ingest(lost)
    send(context, real(100))
    ingest(context)
    # As if the topic had been re-created since: the raw zone is ahead of the topic. Kafka reports that, this broker
    # does not.
    for partition in (0, 1):
        end = zone(context).done()[partition]
        later = zone(context).write(
            partition, end, end + 1000, zone(context).read().slice(0, 1), events=1, dead_letters=0
        )
        zone(context).finish(later)
    send(context, real(100))
    monkeypatch.setattr("pipelines.steps.ingest.IDLE_TIMEOUT_S", 8.0)
    with pytest.raises(GroundplanError, match=r"were already ingested|sent nothing for 8 s"):
        ingest(context)


def test_a_broker_killed_in_the_middle_loses_nothing_acknowledged_and_brings_nothing_twice(
    context: Context, run: Run, home: Home, state: State
) -> None:
    import psutil

    from groundplan.local.services import supervisor_of, wait_healthy

    acknowledged: list[bytes] = []
    producer = broker.producer(context.outputs)

    def told(error: Any, message: Any) -> None:
        if error is None:
            acknowledged.append(message.value())

    def send_on(payloads: list[bytes]) -> None:
        for number, payload in enumerate(payloads):
            producer.produce(context.definition.contracts[0].topic, payload, partition=number % 2, on_delivery=told)
            producer.poll(0.0005)

    def kill() -> None:
        psutil.Process(supervisor_of(state).states()["kafka"]["pid"]).kill()

    payloads = list(flights.payloads("flights"))
    send_on(payloads[:1200])
    with ThreadPoolExecutor(2) as pool:
        taking = pool.submit(run)
        sending = pool.submit(send_on, payloads[1200:])
        deadline = time.monotonic() + 60
        while next(zone(context).manifests(), None) is None:  # till the step is in the middle of it
            assert time.monotonic() < deadline
        kill()
        sending.result(60)
        assert producer.flush(60) == 0
        taking.result(120)  # it continues, or ends with an error; either way nothing is lost
    wait_healthy(home, supervisor_of(state), state.services["kafka"], 60)
    done = run()
    assert done.returncode == 0, done.stderr
    found = zone(context).read()["flight_id"].to_pylist()
    assert len(acknowledged) == len(payloads) and len(found) == len(set(found))
    assert set(found) == {orjson.loads(payload)["flight_id"] for payload in acknowledged}


def test_an_empty_event_is_a_dead_letter_that_keeps_its_place(context: Context, run: Run) -> None:
    send(context, [b"", b""])
    assert run().returncode == 0
    found = sorted(
        (letter.partition, letter.offset, letter.value, letter.reason, letter.detail) for letter in letters(context)
    )
    assert found == [(0, 0, b"", "not JSON", "it is empty"), (1, 0, b"", "not JSON", "it is empty")]


def test_a_message_without_a_value_deletes_its_key_until_it_is_sent_again(context: Context) -> None:
    from pipelines.steps.quality import prepare

    contract, sent = context.definition.contracts[0], [flights.events("flights")[place] for place in range(4)]
    names = [event["flight_id"] for event in sent]
    producer, at = broker.producer(context.outputs), 1_700_000_000_000

    def produce(key: str | bytes | None, event: dict[str, Any] | None, after: int) -> None:
        producer.produce(
            contract.topic, None if event is None else orjson.dumps(event), key=key, partition=0, timestamp=at + after
        )

    for event, name in zip(sent, names, strict=True):
        produce(name, event, 0)
    produce(names[0], None, 1)
    produce(orjson.dumps({"flight_id": names[1]}), None, 1)  # as a connector writes keys
    produce(names[1], {**sent[1], "distance": 7}, 2)  # sent again after it was deleted
    produce(None, None, 3)
    produce(b"\xff", None, 3)
    produce("no flight", None, 3)  # does not have the form of the key
    assert producer.flush(30) == 0
    counts = ingest(context)["topics"][contract.topic]
    assert {name: counts[name] for name in ("events", "rows", "deletions", "dead_letters")} == {
        "events": 10,
        "rows": 5,
        "deletions": 2,
        "dead_letters": 3,
    }
    assert {letter.reason for letter in letters(context)} == {"tombstone"}
    assert {letter.detail for letter in letters(context)} == {
        "it deletes a key that is not the contract's flight_id",
        "it has neither a value nor a key",
    }
    found, left = prepare(zone(context).read(), contract, frozenset(), zone(context).deletions())
    assert sorted(found["flight_id"].to_pylist()) == sorted(names[1:]) and left == {
        "duplicates": 0,
        "forgotten": 0,
        "deleted": 2,
    }
    assert dict(zip(found["flight_id"].to_pylist(), found["distance"].to_pylist(), strict=True))[names[1]] == 7


def test_other_peoples_headers_survive_and_keys_that_are_others_are_told(
    context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    contract, good = context.definition.contracts[0], flights.payloads("flights")[0]
    theirs = [
        ("traceparent", b"00-1"),
        ("reason", b"mine"),
        ("topic", None),
        ("bytes", b"\xff\xfe"),
        ("twice", b"1"),
        ("twice", b"2"),
    ]
    producer = broker.producer(context.outputs)
    producer.produce(contract.topic, BAD[3], key="k", headers=theirs, partition=0)
    producer.produce(contract.topic, good, key=orjson.loads(good)["flight_id"], headers=theirs, partition=0)
    producer.produce(contract.topic, flights.payloads("flights")[1], key="another", partition=1)
    assert producer.flush(30) == 0
    result = ingest(context)
    assert result["other_keys"] == 1
    assert (
        f"1 of the events ingested from {contract.topic} have a message key that is not their flight_id"
        in capsys.readouterr().out
    )
    (letter,) = letters(context)
    assert list(letter.headers) == theirs and (letter.reason, letter.topic) == ("unknown field", contract.topic)
    assert dead_letters.replay(context, contract.topic).sent == 1
    assert ingest(context)["dead_letters"] == 2
    again = letters(context)
    assert [list(letter.headers) for letter in again] == [theirs, theirs] and len(
        {letter.timestamp_ms for letter in again}
    ) == 1


@pytest.mark.parametrize(
    "kept",
    [
        (True, False, True),
        *(pytest.param(kept, marks=pytest.mark.drill) for kept in ((False, True), (True, True, True), (False, False))),
    ],
)
def test_only_what_a_producer_committed_reaches_the_lake(context: Context, kept: tuple[bool, ...]) -> None:
    from confluent_kafka import Producer

    contract, payloads = context.definition.contracts[0], flights.payloads("flights")
    producer, sent = Producer({**broker.client_config(context.outputs), "transactional.id": contract.topic}), []
    producer.init_transactions(30)
    for number, keeps in enumerate(kept):
        batch = payloads[10 * number : 10 * number + 10]
        producer.begin_transaction()
        for payload in batch:
            producer.produce(contract.topic, payload, key=orjson.loads(payload)["flight_id"], partition=0)
        producer.flush(30)
        # Its marker takes an offset, too: those of the events have gaps.
        producer.commit_transaction(30) if keeps else producer.abort_transaction(30)
        sent += batch if keeps else []
    assert [ingest(context)["topics"][contract.topic]["rows"] for _ in range(2)] == [
        len(sent),
        len(sent),
    ]  # all that the topic has brought so far
    assert sorted(zone(context).read()["flight_id"].to_pylist()) == sorted(
        orjson.loads(payload)["flight_id"] for payload in sent
    )


Members = Callable[[int], list[subprocess.Popen[str]]]
_MEMBER = """
import sys
from confluent_kafka import Consumer
member = Consumer({"bootstrap.servers": sys.argv[1], "group.id": sys.argv[2], "session.timeout.ms": 2000,
                   "heartbeat.interval.ms": 600, "enable.auto.commit": False})
member.subscribe([sys.argv[3]], on_assign=lambda _, parts: print(len(parts), flush=True))
while True:
    member.consume(100, timeout=0.1)
"""


@pytest.fixture
def members(context: Context) -> Iterator[Members]:
    """Starts other members of the model's consumer group, which ingest nothing, until each has its partitions."""
    topic, started = context.definition.contracts[0].topic, list[subprocess.Popen[str]]()

    def start(count: int) -> list[subprocess.Popen[str]]:
        command = [sys.executable, "-c", _MEMBER, broker.servers_of(context.outputs), consumer_group(topic), topic]
        for _ in range(count):
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            assert started[-1].stdout is not None
            started[-1].stdout.readline()
        return started

    yield start
    for member in started:
        member.kill()
        member.wait()
        assert member.stdout is not None
        member.stdout.close()


@pytest.mark.parametrize("count", [2, *(pytest.param(count, marks=pytest.mark.drill) for count in (1, 3))])
def test_partitions_of_members_that_were_killed_are_ingested_too(
    context: Context, members: Members, count: int
) -> None:
    payloads = flights.payloads("flights")[:60]
    send(context, payloads)
    for member in members(count):
        member.kill()
    assert ingest(context)["events"] == 60
    assert sorted(zone(context).read()["flight_id"].to_pylist()) == sorted(
        orjson.loads(payload)["flight_id"] for payload in payloads
    )


@pytest.mark.drill
def test_events_that_come_at_once_with_their_partition_are_ingested(
    context: Context, members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = broker.consumer

    class Patient:
        """A consumer that returns seldom: what happens meanwhile comes in one call."""

        def __init__(self, *args: Any, **more: Any) -> None:
            self._consumer = made(*args, **more)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._consumer, name)

        def consume(self, most: int, timeout: float) -> Any:
            return self._consumer.consume(most, timeout=8)

    payloads = flights.payloads("flights")[:60]
    send(context, payloads)
    (other,) = members(1)
    monkeypatch.setattr(broker, "consumer", Patient)
    threading.Timer(9, other.kill).start()  # when the partition that the run has is done
    assert ingest(context)["events"] == 60
    assert sorted(zone(context).read()["flight_id"].to_pylist()) == sorted(
        orjson.loads(payload)["flight_id"] for payload in payloads
    )


def test_partitions_of_a_member_that_lives_and_ingests_nothing_are_named(
    context: Context, members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = context.definition.contracts[0].topic
    send(context, real(60))
    members(1)
    monkeypatch.setattr("pipelines.steps.ingest.IDLE_TIMEOUT_S", 6.0)
    with pytest.raises(GroundplanError, match=rf"held by another consumer .*{topic}, which .* for 6 s") as told:
        ingest(context)
    assert f"{topic}, partition " in str(told.value) and "nothing is lost" in str(told.value)


@pytest.mark.drill
def test_two_runs_at_once_ingest_each_event_once_and_both_say_so(context: Context, run: Run) -> None:
    payloads = flights.payloads("flights")
    send(context, payloads)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: run(), range(2)))
    assert [done.returncode for done in both] == [0, 0], [done.stderr for done in both]
    found = zone(context).read()["flight_id"].to_pylist()
    assert len(found) == len(set(found)) == len(payloads)


@pytest.mark.parametrize("apart_s", [0.4, *(pytest.param(s, marks=pytest.mark.drill) for s in (0.0, 0.8))])
def test_a_group_whose_leader_leaves_while_another_joins_has_a_leader_again(context: Context, apart_s: float) -> None:
    topic = context.definition.contracts[0].topic
    assigned: list[int] = []

    def member() -> Any:
        made = broker.consumer(context.outputs, f"group-of-{topic}")
        made.subscribe([topic], on_assign=lambda _, parts: assigned.append(len(parts)))
        return made

    def wait_for(consumer: Any) -> None:
        deadline = time.monotonic() + 20
        while not assigned:
            consumer.consume(100, timeout=0.1)
            assert time.monotonic() < deadline, "no partitions"

    first = member()
    wait_for(first)
    assigned.clear()
    second = member()
    for _ in range(3 + int(apart_s * 10)):
        second.consume(100, timeout=0.1)
    first.close()
    wait_for(second)
    second.close()


def test_a_stray_producer_makes_no_topic(context: Context) -> None:
    from confluent_kafka import KafkaError, Producer
    from confluent_kafka.admin import AdminClient

    told: list[Any] = []
    name = f"strray-{uuid.uuid4().hex[:8]}"
    producer = Producer({**broker.client_config(context.outputs), "message.timeout.ms": 3000})
    producer.produce(name, b"{}", on_delivery=lambda error, _: told.append(error.code()))
    producer.flush(10)
    assert told and told[0] in (KafkaError._MSG_TIMED_OUT, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
    assert name not in AdminClient(broker.client_config(context.outputs)).list_topics(timeout=10).topics


def test_a_topic_without_events_is_waited_for(context: Context) -> None:
    result = ingest(context)
    assert result["waiting"] == f"no events yet in {context.definition.contracts[0].topic}" and result["events"] == 0
    context.write_result("ingest", result)
    assert context.waiting() == result["waiting"]
    send(context, real(100))
    assert "waiting" not in ingest(context)


def test_a_broker_that_validates_refuses_bad_events_and_the_counts_add_up(strict: Context) -> None:
    from confluent_kafka import KafkaError, Producer

    contract = strict.definition.contracts[0]
    refusals = []
    client = Producer({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"]})
    for payload in BAD:
        client.produce(contract.topic, payload, on_delivery=lambda error, _: refusals.append(error and error.code()))
        client.flush(10)
    assert refusals == [KafkaError.INVALID_RECORD] * len(BAD)

    events = [
        *flights.events("flights")[:300],
        {**flights.events("flights")[300], "flight": "x"},
        *flights.events("flights")[301:600],
    ]
    assert publish(strict, contract, events) == 600
    counts = ingest(strict)["topics"][contract.topic]
    assert (counts["events"], counts["rows"], counts["dead_letters"]) == (600, 599, 1)
    (letter,) = dead_letters.read(strict, contract.topic)
    assert (letter.reason, letter.partition < 0, orjson.loads(letter.value)["flight"]) == ("wrong type", True, "x")
    assert (
        kept := dead_letters.replay(strict, contract.topic)
    ).sent == 0 and "still violates its contract" in kept.refused[0], "the broker would refuse it"
