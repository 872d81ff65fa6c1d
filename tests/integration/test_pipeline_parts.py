"""Parts of the pipeline against the real cloud, broker and tracking server."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest

from groundplan.local.home import Home, State
from pipelines.context import Context, load_definition
from spec.contracts import Rule
from spec.errors import GroundplanError
from spec.feature_views import View
from spec.outputs import Outputs


@pytest.fixture
def context(outputs: Outputs, root: Path, tmp_path: Path, inside: None) -> Context:
    return Context(outputs, load_definition(root / "models" / "diabetes-rf"), f"t{time.time_ns()}", tmp_path)


def ingested(context: Context) -> dict[str, Any]:
    from pipelines.steps.ingest import ingest

    result = ingest(context)
    context.write_result("ingest", result)
    return result


def test_events_pass_the_broker_into_the_raw_zone_and_bad_ones_go_to_the_dead_letter_topic(
    context: Context, state: State
) -> None:
    from confluent_kafka import Producer

    from pipelines.data import dead_letters
    from pipelines.data.raw_zone import RawZone

    first = ingested(context)
    assert first["events"] == 442
    producer = Producer({"bootstrap.servers": state.services["kafka"].url})
    bad = [b"{not json", b'{"patient_id": 1, "unknown": 2}']
    for payload in bad:
        producer.produce("diabetes-patients", payload)
    assert producer.flush(20) == 0
    second = ingested(context)
    assert (second["events"], second["dead_letters"], second["new_events"]) == (442, 2, 2)
    assert second["topics"]["diabetes-patients"] == {
        "events": 444,
        "rows": 442,
        "dead_letters": 2,
        "quarantined": 0,
        "discarded": 0,
        "deletions": 0,
        "files": 2,
        "quarantined_for": [],
    }
    table = RawZone(context, context.definition.contracts[0]).read()
    assert table.num_rows == 442 and table.column_names[0] == "patient_id"
    letters = {
        letter.value: (letter.reason, letter.topic) for letter in dead_letters.read(context, "diabetes-patients")
    }
    assert letters == {bad[0]: ("not JSON", "diabetes-patients"), bad[1]: ("unknown field", "diabetes-patients")}
    assert ingested(context)["new_events"] == 0, "what was taken in is not taken in again"


def test_a_bad_batch_stops_at_the_gate_tells_operations_and_leaves_nothing_in_the_curated_zone(
    context: Context, aws: Any
) -> None:
    from pipelines.steps.ingest import publish
    from pipelines.steps.quality import check_quality

    # Each value is within its bounds; the gate must detect the patient without a sex.
    contract = context.definition.contracts[0]
    rule = Rule(
        "expectation", expectation="expect_column_mean_to_be_between", arguments='{"column": "bmi", "min_value": 1}'
    )
    strict = Context(
        context.outputs,
        replace(context.definition, contracts=(replace(contract, rules=(rule,)),)),
        context.run,
        context.reports,
    )
    ingested(context)
    assert publish(context, contract, []) == 0
    before = context.s3.list_objects_v2(Bucket=context.outputs.buckets["curated"], Prefix="diabetes-patients/").get(
        "KeyCount"
    )
    queue = aws("sqs").create_queue(QueueName=f"told-{context.run[-8:]}")["QueueUrl"]
    arn = aws("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    aws("sns").subscribe(TopicArn=context.outputs.alert_topics["operations"], Protocol="sqs", Endpoint=arn)
    with pytest.raises(
        GroundplanError,
        match=r"value drift: the batch of 442 rows fails 1 of 28 expectations: bmi: expect_column_mean_to_be_between",
    ):
        check_quality(strict)
    assert (
        context.s3.list_objects_v2(Bucket=context.outputs.buckets["curated"], Prefix="diabetes-patients/").get(
            "KeyCount"
        )
        == before
    )
    told = aws("sqs").receive_message(QueueUrl=queue)["Messages"][0]["Body"]
    assert "Quality gate: diabetes-patients rejected" in told and "expect_column_mean_to_be_between" in told
    assert "bmi" in (context.reports / "diabetes-patients-quality.html").read_text(encoding="utf-8")


def test_the_servers_own_feature_reader_agrees_with_feast(context: Context, tmp_path: Path) -> None:
    from pipelines.serving.models.bundle import Model
    from pipelines.serving.online import OnlineFeatures
    from pipelines.serving.protocols.checks import BadRequestError
    from pipelines.steps.features import materialize, open_store
    from pipelines.steps.quality import check_quality

    ingested(context)
    context.write_result("quality", check_quality(context))
    view = context.definition.views[0]
    result = materialize(context)["views"][view.name]
    assert (result["entities"], len(result["features"])) == (442, 10)
    store = open_store(context.outputs, context.model, {view.name: view}, {view.name: result["offline"]}, tmp_path)
    keys = [17, 0, 441]
    wanted = store.get_online_features(
        [f"{view.name}:{name}" for name in result["features"]], [{"patient_id": key} for key in keys]
    ).to_dict()
    columns = [{"name": name, "type": "double", "tensor": "float"} for name in result["features"]]
    entity = {"key": "patient_id", "tables": {result["table"]: result["features"]}}
    reader = OnlineFeatures(Model(b"", columns, "matrix", "regression", entity=entity))
    found = reader("patient_id", keys)
    assert found.columns == {name: wanted[name] for name in result["features"]}
    assert found.age_s is not None and 0 <= found.age_s < 600
    with pytest.raises(BadRequestError, match="No features for patient_id 5000"):
        reader("patient_id", [17, 5000])


def test_the_online_store_is_brought_from_run_to_run(context: Context, tmp_path: Path, aws: Any) -> None:
    from pipelines.data.raw_zone import parquet
    from pipelines.steps.features import _fill_online, open_store
    from spec.feature_views import EVENT_TIME

    view = View(
        name="filled", key="patient_id", key_type="integer", features={"bmi": "number", "stage": "integer"}, ttl_days=2
    )
    name = view.name
    table_name = f"{context.outputs.online_table_prefix}.{name}"

    def make_table() -> None:
        aws("dynamodb").create_table(
            TableName=table_name,
            KeySchema=[{"AttributeName": "entity_id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "entity_id", "AttributeType": "S"}],
        )

    make_table()
    outputs = context.outputs.model_copy(update={"online_tables": {name: table_name}})
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def run(
        run: str, rows: list[tuple[int, int, float, int | None]], view: View = view
    ) -> tuple[dict[str, int], dict[str, list[Any]]]:
        """Day, patient, bmi and stage of each row; what was done, and what is online afterwards."""
        table = pa.table(
            {
                "patient_id": [row[1] for row in rows],
                "bmi": [row[2] for row in rows],
                "stage": pa.array([row[3] for row in rows], pa.int64()),
                EVENT_TIME: pa.array([start + timedelta(days=row[0]) for row in rows], pa.timestamp("us", "UTC")),
            }
        )
        at = Context(outputs, context.definition, run, context.reports)
        address = at.put("features", f"{name}/run={run}/features.parquet", parquet(table))
        store = open_store(outputs, "filled", {name: view}, {name: address}, tmp_path)
        done = _fill_online(at, store, view, table, start + timedelta(days=max(row[0] for row in rows)))
        found = store.get_online_features(
            [f"{name}:bmi", f"{name}:stage"], [{"patient_id": key} for key in range(1, 6)]
        ).to_dict()
        return done, found

    first = [(0, 1, 20.0, 1), (1, 2, 21.0, None), (2, 3, 22.0, 3)]
    done, found = run("a", first)
    assert (done, found["bmi"]) == ({"items": 3, "written": 3, "deleted": 0}, [20.0, 21.0, 22.0, None, None])
    # Nothing changed, absent values among it; nothing is written.
    assert run("b", first)[0] == {"items": 3, "written": 0, "deleted": 0}
    # One corrected, one new, one that came late, and one that has become too old.
    done, found = run("c", [first[0], (1, 2, 30.0, 2), first[2], (3, 4, 23.0, 4), (1, 5, 24.0, 5)])
    assert (done, found["bmi"]) == ({"items": 4, "written": 3, "deleted": 1}, [None, 30.0, 22.0, 23.0, 24.0])
    assert found["stage"] == [None, 2, 3, 4, 5]
    # Longer is kept what was dropped before; then shorter.
    third = [first[0], (1, 2, 30.0, 2), first[2], (3, 4, 23.0, 4), (1, 5, 24.0, 5)]
    done, found = run("d", third, view.model_copy(update={"ttl_days": 9}))
    assert (done, found["bmi"]) == ({"items": 5, "written": 1, "deleted": 0}, [20.0, 30.0, 22.0, 23.0, 24.0])
    assert run("e", third)[0] == {"items": 4, "written": 0, "deleted": 1}
    # A run that dies after it has written: the next one leaves nothing of it behind.
    with (
        mock.patch("pipelines.steps.features._delete_online", side_effect=RuntimeError("killed")),
        pytest.raises(RuntimeError, match="killed"),
    ):
        run("f", [(3, 1, 99.0, 9), (3, 2, 99.0, 9)])
    done, found = run("g", third)
    assert (done, found["bmi"]) == ({"items": 4, "written": 4, "deleted": 1}, [None, 30.0, 22.0, 23.0, 24.0])
    # The table was re-created.
    aws("dynamodb").delete_table(TableName=table_name)
    time.sleep(1.1)  # moto reports the time of creation in seconds
    make_table()
    assert run("h", third)[0] == {"items": 4, "written": 4, "deleted": 0}


def test_a_wrong_clock_neither_empties_the_online_store_nor_do_numbers_change_on_their_way(
    context: Context, tmp_path: Path, aws: Any
) -> None:
    from pipelines.context import Wishes
    from pipelines.data.raw_zone import parquet
    from pipelines.steps.features import _fill_online, open_store
    from spec.feature_views import EVENT_TIME

    view = View(
        name="clocked",
        key="patient_id",
        key_type="integer",
        features={"account": "integer", "place": "string"},
        ttl_days=2,
    )
    table_name = f"{context.outputs.online_table_prefix}.{view.name}"
    aws("dynamodb").create_table(
        TableName=table_name,
        KeySchema=[{"AttributeName": "entity_id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "entity_id", "AttributeType": "S"}],
    )
    outputs = context.outputs.model_copy(update={"online_tables": {view.name: table_name}})
    now = datetime(2026, 1, 10, tzinfo=UTC)

    def run(run: str, days: list[float], now: datetime = now, wishes: Wishes = Wishes()) -> dict[str, int]:  # noqa: B008
        table = pa.table(
            {
                "patient_id": list(range(len(days))),
                "account": pa.array([None if n == 1 else 2**60 + n for n in range(len(days))], pa.int64()),
                "place": [f"p{n}" for n in range(len(days))],
                EVENT_TIME: pa.array([now - timedelta(days=day) for day in days], pa.timestamp("us", "UTC")),
            }
        )
        at = Context(outputs, context.definition, run, context.reports, wishes)
        address = at.put("features", f"{view.name}/run={run}/features.parquet", parquet(table))
        store = open_store(outputs, "clocked", {view.name: view}, {view.name: address}, tmp_path)
        done = _fill_online(at, store, view, table, now)
        found = store.get_online_features(
            [f"{view.name}:account", f"{view.name}:place"], [{"patient_id": key} for key in range(4)]
        ).to_dict()
        assert found["place"] == ["p0", "p1", "p2", "p3"]
        assert found["account"] == [2**60, None, 2**60 + 2, 2**60 + 3], "beyond 2**53, beside an absent value"
        return done

    assert run("a", [1, 1, 1, 1]) == {"items": 4, "written": 4, "deleted": 0}
    # An event from 2031 replaces no other, and isn't online itself.
    assert run("b", [1, 1, 1, 1, -1900]) == {"items": 4, "written": 0, "deleted": 0}
    with pytest.raises(
        GroundplanError, match=r"has 4 rows and would keep 0: the others are older than 2 days before 2026-03-01"
    ):
        run("c", [51, 51, 51, 51], now + timedelta(days=50))
    assert run("d", [1, 1, 1, 1]) == {
        "items": 4,
        "written": 0,
        "deleted": 0,
    }, "a run that stops leaves everything as it was"
    with pytest.raises(AssertionError):  # nobody is found any more
        run("e", [51, 51, 51, 51], now + timedelta(days=50), Wishes(let_shrink=True))


def test_an_alarm_follows_its_metric(context: Context, aws: Any) -> None:
    from pipelines.steps.monitor import alarm_states

    def put(value: float) -> str:
        datum = {
            "MetricName": "drift_share",
            "Dimensions": [{"Name": "Model", "Value": "diabetes-rf"}],
            "Timestamp": datetime.now(UTC),
            "Value": value,
        }
        aws("cloudwatch").put_metric_data(Namespace=context.outputs.metrics_namespace, MetricData=[datum])
        return alarm_states(context)["drift"]

    assert [put(0.9), put(0.1), put(0.51), put(0.5)] == ["ALARM", "OK", "ALARM", "OK"]


def test_a_secret_has_a_value_that_is_nowhere_on_disk(aws: Any, outputs: Outputs, home: Home) -> None:
    value = aws("secretsmanager").get_secret_value(SecretId=outputs.secret_arns["masking-key"])["SecretString"]
    assert len(value) == 48
    for path in home.folder.rglob("*"):
        if path.is_file() and path.stat().st_size < 5_000_000:
            assert value.encode() not in path.read_bytes(), path


def test_a_step_without_its_predecessor_says_so(context: Context) -> None:
    with pytest.raises(GroundplanError, match="step quality has left no result"):
        context.result("quality")
    assert json.dumps(context.outputs.approvals) == '["data-science", "operations"]'
