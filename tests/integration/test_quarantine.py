"""Quarantine against the real broker: single events are quarantined, and a named person's decision is final."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from groundplan.local.environment import child_environment
from groundplan.local.home import Home, State
from pipelines.audit import records as audit
from pipelines.context import Context, load_definition
from pipelines.data import quarantine
from pipelines.data.raw_zone import RawZone, parquet
from pipelines.steps.forget import _related, forget
from pipelines.steps.ingest import ingest
from pipelines.steps.quality import forgotten_tokens, prepare
from spec.errors import GroundplanError, UsageError
from spec.outputs import Outputs
from tests.conftest import ROOT
from tests.contracts import contract_of
from tests.integration.test_ingest import lake, make_topics, send

WHO, WHY = "legal@example.com", "codes of our own shops, no people"
CARD = "4111111111111111"


def document(topic: str, **note: Any) -> dict[str, Any]:
    fields = [
        {"name": "order_id", "logicalType": "string", "primaryKey": True},
        {"name": "at", "logicalType": "timestamp", "required": True, "partitioned": True},
        {"name": "guest", "logicalType": "string", "required": True, "tags": ["personal"]},
        {"name": "note", "logicalType": "string"} | note,
        {"name": "code", "logicalType": "string"},
    ]
    head = {
        "apiVersion": "v3.1.0",
        "status": "active",
        "kind": "DataContract",
        "id": topic,
        "name": topic,
        "version": "1.0.0",
    }
    return head | {"schema": [{"name": "orders", "physicalName": topic, "properties": fields}]}


def orders(count: int = 40) -> list[dict[str, Any]]:
    """Orders of two days; a few contain personal data, and one key occurs twice."""
    notes = {3: "ask joe@example.com", 4: "call +49 30 901820", 17: "ask joe@example.com", 30: "from guest-7"}
    return [
        {
            "order_id": f"o{number % 38}",
            "at": f"2026-03-{number % 2 + 1:02}T10:00:{number:02}Z",
            "guest": f"guest-{number % 9}",
            "note": notes.get(number),
            "code": CARD if number in (4, 22) else "A1",
        }
        for number in range(count)
    ]


def bytes_of(events: list[dict[str, Any]]) -> list[bytes]:
    return [orjson.dumps(event) for event in events]


@pytest.fixture
def context(outputs: Outputs, tmp_path: Path, inside: None, aws: Any) -> Iterator[Context]:
    topic = f"orders-{uuid.uuid4().hex[:8]}"
    folder = tmp_path / topic
    folder.mkdir()
    (folder / "contract.yaml").write_text(yaml.safe_dump(document(topic)), encoding="utf-8")
    (folder / "model.yaml").write_text(yaml.safe_dump({"model": topic, "target": "code"}), encoding="utf-8")
    (folder / "experiment.py").write_text("", encoding="utf-8")
    make_topics(topic)
    table = f"{outputs.online_table_prefix}.{topic}"
    aws("dynamodb").create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "entity_id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "entity_id", "AttributeType": "S"}],
    )
    yield Context(
        outputs.model_copy(update={"online_tables": {"orders": table}}),
        load_definition(folder),
        f"t{time.time_ns()}",
        tmp_path,
    )


def topic_of(context: Context) -> str:
    return context.definition.contracts[0].topic


def zone(context: Context) -> RawZone:
    return RawZone(context, context.definition.contracts[0])


def counts(context: Context) -> tuple[int, ...]:
    found = quarantine.totals(zone(context))
    assert found["events"] == found["rows"] + found["dead_letters"] + found["quarantined"] + found["discarded"], (
        "every event is accounted for"
    )
    return tuple(found[name] for name in ("events", "rows", "dead_letters", "quarantined", "discarded"))


def dataset(context: Context) -> bytes:
    contract = context.definition.contracts[0]
    return parquet(prepare(RawZone(context, contract).read(), contract, forgotten_tokens(context))[0])


def renamed(context: Context, **note: Any) -> Context:
    """The same on a separate topic, with another field ``note``."""
    topic = f"orders-{uuid.uuid4().hex[:8]}"
    make_topics(topic)
    return replace(
        context,
        definition=replace(context.definition, model=topic, contracts=(contract_of(document(topic, **note), topic),)),
    )


def test_single_events_are_set_apart_and_every_count_adds_up(
    context: Context, aws: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    send(context, [*bytes_of(orders()), b"{"])
    result = ingest(context)
    topic = topic_of(context)
    found = result["topics"][topic]
    assert (found["events"], found["rows"], found["dead_letters"], found["quarantined"], found["discarded"]) == (
        41,
        36,
        1,
        4,
        0,
    )
    assert found["quarantined_for"] == ["code: card number", "note: e-mail", "note: phone number"] and (
        result["quarantined"],
        result["discarded"],
    ) == (4, 0)
    kept = zone(context).read()
    assert kept.num_rows == 36 and "guest-7" in "".join(filter(None, kept["note"].to_pylist())), (
        "a text that looks like nobody's data stays"
    )
    assert not {"ask joe@example.com", CARD} & set(kept["note"].to_pylist() + kept["code"].to_pylist())

    said = capsys.readouterr().out
    assert (
        f"warning: {topic}: 4 events contain undeclared personal data and were quarantined (code: card number, note:"
        " e-mail, note: phone number)" in said
    )
    assert "notPersonal" in said and "groundplan quarantine release" in said and "joe@" not in said
    held = quarantine.held(context, context.definition.contracts[0])
    assert [(item.found, item.rows) for item in held] == [
        (("note: e-mail",), 2), (("code: card number",), 1), (("note: phone number", "code: card number"), 1),
    ]  # fmt: skip
    for file in (file for item in held for file in item.files):
        table = zone(context).file(file)
        assert file.key.startswith(f"quarantine/{topic}/event_date=2026-03-0") and all(
            guest.startswith("t") for guest in table["guest"].to_pylist()
        )
    assert all(datetime.now(UTC) - datetime.fromisoformat(item.since) < timedelta(hours=1) for item in held)

    query = {
        "Namespace": context.outputs.metrics_namespace,
        "MetricName": "quarantined_events",
        "Period": 86400,
        "Statistics": ["Maximum"],
    }
    now = datetime.now(UTC)
    points = aws("cloudwatch").get_metric_statistics(
        **query, StartTime=now - timedelta(days=1), EndTime=now + timedelta(days=1)
    )["Datapoints"]
    assert max(point["Maximum"] for point in points) == 4
    ingest(context)
    assert counts(context) == (41, 36, 1, 4, 0), "once"


@pytest.mark.drill  # a minute
def test_a_killed_ingestion_sets_the_same_events_apart(
    context: Context, home: Home, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [{**event, "order_id": f"{place}"} for place, event in enumerate(orders(60) * 20)]
    send(context, bytes_of(events))
    environment = {**child_environment(home, state.services, state.region), "PYTHONPATH": str(ROOT)}
    for die in ("put:2", "put:5", "put:9", "never"):
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
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == (0 if die == "never" else 9), done.stderr
    assert counts(context) == (1200, 1120, 0, 80, 0)

    from tests import ingest_runner

    monkeypatch.setattr("pipelines.steps.ingest.RANGE_EVENTS", ingest_runner.RANGE_EVENTS)
    calm = renamed(context)
    send(calm, bytes_of(events))
    ingest(calm)
    one, other = (
        [(file.rows, file.quarantined, file.offsets) for item in zone(part).manifests() for file in item.files]
        for part in (context, calm)
    )
    assert one == other and len(lake(calm)) == len(lake(context))
    assert sorted(zone(context).read()["order_id"].to_pylist()) == sorted(zone(calm).read()["order_id"].to_pylist())


def test_a_range_that_was_begun_is_parted_as_it_was_then(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    send(context, bytes_of(orders()))
    with monkeypatch.context() as patch:
        patch.setattr(RawZone, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(context)
    before = lake(context)
    monkeypatch.setattr("pipelines.steps.ingest.undeclared", lambda *_: {})  # as if a library had learned since
    ingest(context)
    assert set(before) <= set(lake(context)) and quarantine.totals(zone(context))["quarantined"] >= 2, (
        "the first partition's"
    )


def test_ranges_that_were_set_apart_as_a_whole_stay_readable(context: Context) -> None:
    send(context, bytes_of(orders()))
    clean = renamed(context, customProperties=[{"property": "notPersonal", "value": WHY}])
    send(clean, bytes_of([{**event, "code": "A1"} for event in orders()]))
    ingest(clean)
    rows = zone(clean).read()
    manifest = zone(context).write(
        0, 0, 500, rows, events=rows.num_rows, dead_letters=0, quarantined=("note: e-mail", "note: phone number")
    )
    written = json.loads(context.get("raw", f"manifests/{topic_of(context)}/p00000-{0:020d}.json"))
    assert written["quarantined"] == ["note: e-mail", "note: phone number"] and set(written["files"][0]) == {
        "key",
        "rows",
        "sha256",
    }, "as it always was"
    zone(context).finish(manifest)
    assert counts(context) == (40, 0, 0, 40, 0) and zone(context).read().num_rows == 0
    (held,) = quarantine.held(context, context.definition.contracts[0])
    assert (held.found, held.rows, held.fields) == (("note: e-mail", "note: phone number"), 40, {"note"})
    quarantine.release(context, context.definition.contracts[0], ["note"], WHO, WHY)
    assert counts(context) == (40, 40, 0, 0, 0) and zone(context).read().num_rows == 40


@pytest.mark.drill
def test_a_late_release_makes_the_dataset_that_would_have_been_without_a_quarantine(context: Context) -> None:
    contract = context.definition.contracts[0]
    events = [{**event, "code": "A1"} for event in orders()]
    declared = renamed(context, customProperties=[{"property": "notPersonal", "value": WHY}])
    for part in (context, declared):
        send(part, bytes_of(events[:20]))
        ingest(part)
        send(part, bytes_of(events[20:]))
        ingest(part)
    assert quarantine.totals(zone(declared))["quarantined"] == 0
    before = dataset(context)
    assert before != dataset(declared)
    assert quarantine.release(context, contract, [], WHO, WHY) == {
        "topic": contract.topic,
        "rows": 3,
        "files": 2,
        "left": 0,
    }
    assert dataset(context) == dataset(declared), "late, and as if it had come in order"
    assert counts(context)[1:] == (40, 0, 0, 0)
    assert quarantine.release(context, contract, [], WHO, WHY)["rows"] == 0 and dataset(context) == dataset(declared), (
        "once"
    )
    (line,) = audit.entries(context)
    details = {
        "topic": contract.topic,
        "rows": 3,
        "files": 2,
        "found": ["note: e-mail", "note: phone number"],
        "reason": WHY,
    }
    assert (line["actor"], line["action"], line["details"]) == (WHO, "release", details)


def test_a_field_is_released_or_discarded_by_itself_and_a_decision_stands(context: Context) -> None:
    contract = context.definition.contracts[0]
    send(context, bytes_of(orders()))
    ingest(context)
    waiting = quarantine.held(context, contract)
    assert quarantine.release(context, contract, ["code"], WHO, WHY) == {
        "topic": contract.topic,
        "rows": 1,
        "files": 1,
        "left": 3,
    }, "not what holds more"
    found = quarantine.discard(context, contract, ["code"], WHO, "real cards of real people")
    assert (found["rows"], found["files"], found["left"]) == (1, 1, 2), "whatever else it holds"
    assert counts(context) == (40, 37, 0, 2, 1)
    again = quarantine.discard(context, contract, ["code"], WHO, "real cards of real people")
    assert (again["rows"], again["left"]) == (0, 2) and len(audit.entries(context)) == 2
    gone = next(
        file for item in waiting if item.found == ("note: phone number", "code: card number") for file in item.files
    )
    if found["deleted"]:
        assert gone.key not in list(context.keys("raw", f"quarantine/{contract.topic}/"))
    with pytest.raises(
        GroundplanError,
        match=rf"{WHO} already decided to discard these events on 20\d\d-\d\d-\d\d: real cards of real people",
    ):
        zone(context).decide(
            gone, {"decision": "release", "by": "other@example.com", "at": "2026-01-01", "reason": "second thoughts"}
        )
    with pytest.raises(
        UsageError,
        match=(
            rf"--field: no quarantined event of {contract.topic} has a finding in the field 'guest'\n  -> one of: code,"
            r" note"
        ),
    ):
        quarantine.release(context, contract, ["guest"], WHO, WHY)
    with pytest.raises(
        UsageError, match="--reason: the reason 'because' is too short\n  -> write at least 10 characters"
    ):
        quarantine.discard(context, contract, [], WHO, "because")


def test_what_the_bucket_locks_is_never_read_and_deleted_later(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError

    contract = context.definition.contracts[0]
    send(context, bytes_of(orders()))
    ingest(context)

    def locked(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "Object Lock"}}, "DeleteObject")

    with monkeypatch.context() as patch:
        patch.setattr(context.s3, "delete_object", locked)
        found = quarantine.discard(context, contract, [], WHO, "real cards of real people")
        assert (found["rows"], found["deleted"], found["locked"]) == (4, 0, 3)
    assert counts(context) == (40, 36, 0, 0, 4) and zone(context).read().num_rows == 36
    later = quarantine.discard(context, contract, [], WHO, "real cards of real people")
    assert (later["rows"], later["deleted"] + later["locked"]) == (0, 3)


@pytest.mark.drill  # a minute
def test_a_forgotten_person_is_taken_out_of_the_quarantine(context: Context) -> None:
    import feast  # noqa: F401 (all of it: forget alone loads the part that a server needs, and other tests of this process need the rest)

    contract = context.definition.contracts[0]
    events = [{**event, "code": "A1"} for event in orders()] + [
        {**orders()[1], "order_id": "x", "note": "joe@example.com knows guest-3; guest-33 does not"}
    ]
    send(context, bytes_of(events))
    ingest(context)
    assert counts(context) == (41, 37, 0, 4, 0)
    assert context.definition in _related(context, {contract.topic})
    # guest-3's own order with an address, and one that only mentions guest-3
    assert forget(context, "guest-3", "dpo@example.com")["quarantined"] == 2
    assert counts(context) == (41, 37, 0, 2, 2)
    assert forget(context, "guest-3", "dpo@example.com")["quarantined"] == 0
    assert [item.erased for item in quarantine.held(context, contract) if item.erased] == [2]
    assert quarantine.release(context, contract, [], WHO, WHY)["rows"] == 2
    table = zone(context).read()
    assert (
        counts(context) == (41, 39, 0, 0, 2)
        and table.num_rows == 39
        and "guest-3;" not in str(table["note"].to_pylist())
    )


def test_the_commands_list_release_and_discard(context: Context, home: Home) -> None:
    send(context, bytes_of(orders()))
    ingest(context)
    topic, folder = topic_of(context), context.definition.folder

    def groundplan(*words: str) -> tuple[int, str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "groundplan", "quarantine", *words, "--model", str(folder)]
        done = subprocess.run(
            command, cwd=home.root, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout + done.stderr

    code, said = groundplan("list")
    assert (
        code == 0
        and topic in said
        and "note: phone number, code: card number" in said
        and "4 events await a decision" in said
        and "notPersonal" in said
    )
    code, said = groundplan("list", "--json")
    found = json.loads(said)
    assert code == 0 and sum(item["rows"] for item in found) == 4
    assert (
        found[0]["topic"] == topic
        and found[0]["found"] == [{"field": "note", "kind": "e-mail"}]
        and found[0]["since"]
        and len(found[0]["files"]) == 1
    )
    assert groundplan("release", topic, "--field", "note", "--identity", WHO, "--reason", WHY) == (
        0,
        f"{topic}: 2 events released; 2 still await a decision\n",
    )
    code, said = groundplan("discard", topic, "--identity", WHO, "--reason", "real cards of real people")
    assert (
        code == 0 and said.startswith(f"{topic}: 2 events discarded, ") and "; 0 events still await a decision" in said
    )
    assert groundplan("list") == (0, "nothing is in quarantine\n")
    code, said = groundplan("release", "nope", "--identity", WHO, "--reason", WHY)
    assert code == 2 and f"TOPIC: no contract describes topic 'nope'\n  -> one of: {topic}" in said
    code, said = groundplan("release", topic, "--identity", "me", "--reason", WHY)
    assert code == 2 and "--identity: 'me' is not an e-mail address" in said
    assert [entry["action"] for entry in audit.entries(context)] == ["release", "discard"]
