"""One person is forgotten wherever the platform has written: views keyed by the person, training sets,
requests, artifacts, letters.
"""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
import yaml

from pipelines.context import Context, load_definition
from pipelines.data import broker, dead_letters
from pipelines.data.masking import masking_key
from pipelines.data.people import People
from pipelines.data.raw_zone import read_parquet
from pipelines.serving.models.bundle import package
from pipelines.serving.operating.capture import capture_event
from pipelines.steps.features import materialize
from pipelines.steps.forget import forget
from pipelines.steps.ingest import ingest
from pipelines.steps.quality import check_quality
from spec.outputs import Outputs
from tests.integration.test_ingest import make_topics

SUBJECT = "guest-7"
FEATURES = """
import ibis
from ibis import _


OTHER = {"stay_id": ibis.literal("s0"), "place": ibis.literal("r0")}


def features(tables):
    stays = tables["stays"]
    guests = stays.group_by("guest").agg(event_timestamp=_.arrived.max(), nights=_.nights.sum(), spent=_.spent.sum())
    rooms = stays.group_by("room").agg(event_timestamp=_.arrived.max(), uses=_.count())
    # Under another name, as people do.
    return {"guest_view": guests, "room_view": rooms.rename(place="room"), "stay_view": stays.select("stay_id", length="nights", event_timestamp="arrived")}


def labels(tables):
    stays = tables["stays"]
    return stays.group_by("guest").agg(event_timestamp=_.arrived.max(), back=(_.count() > 3).cast("int64")).mutate(**OTHER)
"""


@pytest.fixture
def context(outputs: Outputs, tmp_path: Path, inside: None, aws: Any) -> Iterator[Context]:
    """A model whose views are keyed by the person, by the person's own things, and by things that people share."""
    topic = f"stays-{uuid.uuid4().hex[:8]}"
    folder = tmp_path / topic
    folder.mkdir()
    fields = [
        {"name": "stay_id", "logicalType": "string", "primaryKey": True},
        {"name": "arrived", "logicalType": "timestamp", "required": True, "partitioned": True},
        {"name": "guest", "logicalType": "string", "required": True, "tags": ["personal"]},
        {"name": "room", "logicalType": "string", "required": True},
        {"name": "nights", "logicalType": "integer", "required": True, "logicalTypeOptions": {"minimum": 0}},
        {"name": "spent", "logicalType": "number", "required": True},
    ]
    document = {
        "apiVersion": "v3.1.0",
        "status": "active",
        "kind": "DataContract",
        "id": topic,
        "name": topic,
        "version": "1.0.0",
    }
    (folder / "contract.yaml").write_text(
        yaml.safe_dump(document | {"schema": [{"name": "stays", "physicalName": topic, "properties": fields}]})
    )
    views = {
        "guest_view": {"key": "guest", "features": {"nights": "integer", "spent": "number"}},
        "room_view": {"key": "place", "features": {"uses": "integer"}},
        "stay_view": {"key": "stay_id", "features": {"length": "integer"}},
    }
    views = {f"{name}_{topic[-8:]}": view for name, view in views.items()}
    (folder / "model.yaml").write_text(
        yaml.safe_dump({"model": topic, "target": "back", "features": "features", "views": views})
    )
    code = FEATURES
    for name in ("guest_view", "room_view", "stay_view"):
        code = code.replace(f'"{name}"', f'"{name}_{topic[-8:]}"')
    (folder / "features.py").write_text(code)
    (folder / "experiment.py").write_text("")
    make_topics(topic)
    tables = {name: f"{outputs.online_table_prefix}.{name}" for name in views}
    for table in tables.values():
        aws("dynamodb").create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "entity_id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "entity_id", "AttributeType": "S"}],
        )
    yield Context(
        outputs.model_copy(update={"online_tables": tables}),
        load_definition(folder),
        f"t{time.time_ns()}",
        tmp_path / "reports",
    )


def stays() -> list[dict[str, Any]]:
    return [
        {
            "stay_id": f"s{n}",
            "arrived": f"2026-03-{n % 28 + 1:02}T10:00:00Z",
            "guest": f"guest-{n % 11}",
            "room": "r-only" if n == 7 else f"r{n % 5}",
            "nights": n % 4 + 1,
            "spent": float(n),
        }
        for n in range(60)
    ]


def written(context: Context) -> Iterator[tuple[str, bytes]]:
    for zone in ("curated", "features", "models", "mlflow"):
        for key in context.keys(zone, ""):
            yield f"{zone}/{key}", context.get(zone, key)


def test_nothing_of_a_person_is_left_wherever_it_was_written(context: Context) -> None:
    topic = context.definition.contracts[0].topic
    producer = broker.producer(context.outputs)
    bad = [orjson.dumps({**stays()[0], "guest": guest, "more": 1}) for guest in (SUBJECT, "guest-8")]
    for payload in [*map(orjson.dumps, stays()), *bad]:
        producer.produce(topic, payload)
    assert producer.flush(30) == 0
    assert ingest(context)["dead_letters"] == 2
    context.write_result("quality", check_quality(context))
    made = materialize(context)
    context.write_result("features", {**made, "sample_key": "s7"})
    people = People(context, masking_key(context.outputs))
    known = people.token_of(SUBJECT)
    assert len(known) == 33 and people.tokens([SUBJECT]) == {SUBJECT: known} and people.token_of("nobody") == ""
    theirs = [stay for stay in stays() if stay["guest"] == SUBJECT]
    asked = {
        "entities": {"stay_id": ["s7", "s8"]},
        "dataframe_records": [{"nights": sum(s["nights"] for s in theirs), "spent": sum(s["spent"] for s in theirs)}],
    }
    lines = [
        json.dumps(
            capture_event("application/json", json.dumps({form: value}).encode(), b'{"predictions": [1, 0]}', 0.0)
        )
        for form, value in asked.items()
    ]
    context.put("models", f"capture/{context.endpoint_name}/champion/a.jsonl", "\n".join(lines).encode())
    assert read_parquet(context.get_address(made["training_set"])).num_rows == 11, (
        "a label without features is a row, too"
    )
    training = read_parquet(context.get_address(made["training_set"])).to_pandas()[["nights", "spent"]]
    background = json.dumps({"columns": ["nights", "spent"], "data": training.to_numpy().tolist()}).encode()
    context.put(
        "models", f"{context.model}/x/model.tar.gz", package({"background.json": background, "model.onnx": b"x"})
    )
    for name, frame in (("training", training), ("training-answers", pd.DataFrame({"label": range(len(training))}))):
        buffer = io.BytesIO()
        frame.to_parquet(buffer)
        context.put("mlflow", f"1/{context.model}/artifacts/groundplan/{name}.parquet", buffer.getvalue())
    page = context.reports / "page.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(f"<p>for example {known}</p>")

    found = forget(context, SUBJECT, "dpo@example.com")
    assert found["left"] == 0 and found["dead_letters"] == 1 and found["pages"] == 1 and not page.exists()
    assert found["entities"] == {
        "stay_id": len(theirs),
        "guest": 1,
        "place": 1,
    }, "the room that nobody else has had; rooms that are shared stay"
    assert found["online_items"] == len(theirs) + 2

    ids = {stay["stay_id"] for stay in theirs}
    for name, body in written(context):
        if name.startswith("curated/forgotten/"):
            continue
        assert known.encode() not in body and SUBJECT.encode() not in body, name
        if name.endswith(".parquet"):
            table = read_parquet(body)
            for column in table.column_names:
                values = set(table[column].to_pylist())
                assert known not in values and (column != "stay_id" or not ids & values) and "r-only" not in values, (
                    name
                )
    lines = context.get("models", f"capture/{context.endpoint_name}/champion/a.jsonl").splitlines()
    captured = [json.loads(line)["captureData"] for line in lines]
    assert {json.loads(line)["eventMetadata"]["erasedOn"] for line in lines} == {found["at"][:10]}
    assert [json.loads(line["endpointInput"]["data"]) for line in captured] == [
        {"entities": {"stay_id": ["s8"]}},
        {"dataframe_records": []},
    ]
    assert json.loads(captured[0]["endpointOutput"]["data"])["predictions"] == [0]
    kept, answers = (
        read_parquet(context.get("mlflow", f"1/{context.model}/artifacts/groundplan/{name}.parquet"))
        for name in ("training", "training-answers")
    )
    assert kept.num_rows == answers.num_rows == len(training) - 1, "the answers go with their rows"
    assert context.result("features")["sample_key"] is None
    letters = {orjson.loads(letter.value)["guest"] for letter in dead_letters.shown(context, topic)}
    assert letters == {"guest-8"}, "other people's letters stay"

    # Locked data no longer identifies anyone: neither the evidence nor the keys reveal the token.
    evidence = context.get_address(found["evidence"]).decode()
    assert known not in evidence and SUBJECT not in evidence and people.number(SUBJECT) in evidence
    assert people.token_of(SUBJECT) == "" and people.erased_on(SUBJECT) == found["at"]
    keys = b"".join(context.get("curated", key) for key in context.keys("curated", "people/"))
    assert known.encode() not in keys and people.tokens([SUBJECT])[SUBJECT] != known, "who comes back is somebody else"
    people.destroy(SUBJECT, found["at"])

    # Another run restores nothing, and others are unchanged.
    again = Context(context.outputs, context.definition, f"{context.run}-2", context.reports)
    again.write_result("quality", check_quality(again))
    view = next(iter(materialize(again)["views"].values()))
    assert view["entities"] == 10
    once_more = forget(again, SUBJECT, "dpo@example.com")
    assert (once_more["rows"], once_more["online_items"], once_more["dead_letters"], once_more["erased_on"]) == (
        0,
        0,
        0,
        found["at"],
    )


def test_two_writers_give_one_person_one_key(context: Context) -> None:
    from concurrent.futures import ThreadPoolExecutor

    values = [f"p{n}-{context.run}" for n in range(40)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: People(context, b"k" * 32).tokens(values), range(6)))
    assert all(item == found[0] for item in found) and len(set(found[0].values())) == len(values)
