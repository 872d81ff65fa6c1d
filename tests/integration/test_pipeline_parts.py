"""Parts of the pipeline against the real cloud, broker and tracking server."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from groundplan.home import Home, State
from infra.errors import GroundplanError, UsageError
from infra.outputs import Outputs
from pipelines import audit
from pipelines.context import Context, load_example


@pytest.fixture
def context(outputs: Outputs, root: Path, tmp_path: Path, inside: None) -> Context:
    return Context(outputs, load_example(root / "examples" / "diabetes"), f"t{time.time_ns()}", tmp_path)


def ingested(context: Context) -> dict[str, Any]:
    from pipelines.ingest import ingest

    result = ingest(context)
    context.write_result("ingest", result)
    return result


def test_events_pass_the_broker_into_the_raw_zone_and_bad_ones_go_to_the_dead_letter_topic(context: Context, state: State) -> None:
    import io

    from confluent_kafka import Consumer, Producer, TopicPartition

    first = ingested(context)
    assert first["events"] == 442
    producer = Producer({"bootstrap.servers": state.services["kafka"].url})
    bad = [b"{not json", b'{"patient_id": 1, "unknown": 2}']
    for payload in bad:
        producer.produce("diabetes-patients", payload)
    assert producer.flush(20) == 0
    second = ingested(context)
    assert (second["events"], second["dead_letters"]) == (442, 2)
    frame = pd.read_parquet(io.BytesIO(context.get_address(second["raw"])))
    assert len(frame) == 442 and frame.columns[0] == "patient_id"
    reader = Consumer({"bootstrap.servers": state.services["kafka"].url, "group.id": "probe", "auto.offset.reset": "earliest"})
    reader.assign([TopicPartition("diabetes-patients.dlq", partition, 0) for partition in (0, 1)])
    letters = {message.value() for message in reader.consume(10, timeout=10) if message.error() is None}
    reader.close()
    assert letters == set(bad)


def test_a_bad_batch_stops_at_the_gate_and_leaves_nothing_in_the_curated_zone(context: Context) -> None:
    import io

    from pipelines.quality import check_quality

    result = ingested(context)
    frame = pd.read_parquet(io.BytesIO(context.get_address(result["raw"])))
    frame.loc[3, "bmi"] = 12.0
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    context.write_result("ingest", {"raw": context.put("raw", f"bad/{context.run}.parquet", buffer.getvalue())})
    before = context.s3.list_objects_v2(Bucket=context.outputs.buckets["curated"], Prefix="diabetes-patients/").get("KeyCount")
    with pytest.raises(GroundplanError, match=r"fails 1 of 27 expectations: bmi: expect_column_values_to_be_between \(1 of 442 rows"):
        check_quality(context)
    assert context.s3.list_objects_v2(Bucket=context.outputs.buckets["curated"], Prefix="diabetes-patients/").get("KeyCount") == before


def test_the_servers_own_feature_reader_agrees_with_feast(context: Context, tmp_path: Path) -> None:
    from pipelines.features import materialize, open_store
    from pipelines.quality import check_quality
    from pipelines.serving.bundle import Model
    from pipelines.serving.online import OnlineFeatures
    from pipelines.serving.requests import BadRequestError

    ingested(context)
    context.write_result("quality", check_quality(context))
    result = materialize(context)
    assert (result["entities"], len(result["features"])) == (442, 10)
    contract = context.example.contract
    assert contract is not None
    store = open_store(context.outputs, contract, "target", result["offline"], tmp_path)
    keys = [17, 0, 441]
    wanted = store.get_online_features([f"{contract.view}:{name}" for name in result["features"]], [{"patient_id": key} for key in keys]).to_dict()
    columns = [{"name": name, "type": "double", "tensor": "float"} for name in result["features"]]
    reader = OnlineFeatures(Model(b"", columns, "matrix", "regression", entity={"key": "patient_id", "table": result["table"]}))
    assert reader("patient_id", keys) == {name: wanted[name] for name in result["features"]}
    with pytest.raises(BadRequestError, match="No features for patient_id 5000"):
        reader("patient_id", [17, 5000])


def test_the_audit_log_notices_a_changed_a_missing_and_a_forged_line(context: Context) -> None:
    context = Context(context.outputs, load_example(context.example.script), context.run, context.reports)  # a model of its own name
    bucket = context.outputs.buckets["audit"]
    for number in range(3):
        audit.append(context, "somebody@test.local", "approve", number=number)
    assert [entry["details"]["number"] for entry in audit.entries(context)] == [0, 1, 2]
    key = f"log/{context.model}/00000001.json"
    original = context.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    for body in (original.replace(b"somebody", b"anybody!"), None):
        if body is None:
            context.s3.delete_object(Bucket=bucket, Key=key)
        else:
            context.s3.put_object(Bucket=bucket, Key=key, Body=body)
        with pytest.raises(GroundplanError, match="is broken at line 1"):
            audit.entries(context)
    context.s3.put_object(Bucket=bucket, Key=key, Body=original)
    assert len(audit.entries(context)) == 3


def test_an_alarm_follows_its_metric(context: Context, aws: Any) -> None:
    from pipelines.monitor import alarm_states

    def put(value: float) -> str:
        datum = {"MetricName": "drift_share", "Dimensions": [{"Name": "Model", "Value": "diabetes-rf"}], "Timestamp": datetime.now(UTC), "Value": value}
        aws("cloudwatch").put_metric_data(Namespace=context.outputs.metrics_namespace, MetricData=[datum])
        return alarm_states(context)["drift"]

    assert [put(0.9), put(0.1), put(0.51), put(0.5)] == ["ALARM", "OK", "ALARM", "OK"]


def test_two_people_must_approve(context: Context, state: State) -> None:
    import mlflow

    from pipelines.signoff import approve

    client = mlflow.MlflowClient(state.services["mlflow"].url)
    client.create_registered_model(context.model)
    made = client.create_model_version(context.model, source="s3://somewhere/model", tags={"version": "v7.0.0"})
    for arguments, says in (
        (("v1.2.3", "operations", "a@b.c"), "has no version v1.2.3"),
        (("v7.0.0", "boss", "a@b.c"), "unknown role 'boss'"),
        (("v7.0.0", "operations", "me"), "'me' is not an e-mail address"),
    ):
        with pytest.raises(UsageError, match=says):
            approve(context, client, *arguments)
    approve(context, client, "v7.0.0", "operations", "a@b.c")
    with pytest.raises(GroundplanError, match=r"already approved .* in another role"):
        approve(context, client, "v7.0.0", "data-science", "a@b.c")
    approve(context, client, "v7.0.0", "data-science", "d@e.f")
    assert client.get_model_version(context.model, made.version).tags["approval.operations"] == "a@b.c"
    client.delete_registered_model(context.model)


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
