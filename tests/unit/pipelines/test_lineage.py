"""Lineage: what each step tells of itself, how it is kept and sent, and what can be read from it."""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import jsonschema_rs
import pytest
from moto import mock_aws

from pipelines.context import Context, load_definition
from pipelines.lineage.emitting import parent_id, perform
from pipelines.lineage.graph import Graph, features_at, of_version, read
from pipelines.lineage.places import EVENTS, REFUSED, UNSENT
from spec.errors import GroundplanError
from spec.outputs import CatalogOutputs, Kafka, NetworkOutputs, Outputs

SPEC = os.environ.get("OPENLINEAGE_SPEC", "")  # the folder `spec` of github.com/OpenLineage/OpenLineage
FACETS = Path(__file__).parents[3] / "pipelines" / "lineage" / "facets.schema.json"
BUCKETS = {name: f"shop-dev-{name}" for name in ("raw", "curated", "features", "models", "audit")}
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: orders
version: 2.1.0
status: active
schema:
  - name: orders
    properties:
      - {name: order, logicalType: integer, primaryKey: true, required: true}
      - {name: email, logicalType: string, tags: [personal]}
      - {name: price, logicalType: number, required: true, description: what was paid}
"""
RESULTS: dict[str, dict[str, Any]] = {
    "ingest": {"topics": {"orders": {"rows": 90, "files": 2}}},
    "quality": {
        "datasets": {
            "orders": {
                "dataset": "s3://shop-dev-curated/orders/version=aa/data.parquet",
                "digest": "aa" * 32,
                "rows": 80,
                "checks": [
                    {"column": "order", "expectation": "expect_column_values_to_be_unique", "success": True},
                    {"column": "", "expectation": "expect_table_row_count_to_be_between", "success": False},
                ],
                "positions": [{"partition": 0, "first": 0, "last": 99, "events": 90}],
            }
        }
    },
    "features": {
        "views": {
            "orders": {
                "key": "order",
                "features": ["price"],
                "entities": 80,
                "offline": "s3://shop-dev-features/orders/run=r1/features.parquet",
                "table": "shop-dev-online.orders",
                "online": {"items": 70},
            }
        },
        "training_set": "",
    },
    "experiment": {
        "run_id": "m1",
        "dataset": "s3://shop-dev-curated/orders/version=aa/data.parquet",
        "dataset_digest": "aa" * 32,
        "training_digest": "bb" * 32,
        "code_version": "c" * 40,
    },
    "evaluate": {
        "metrics": {"mae": 1.5, "odd": float("inf")},
        "baseline": {"mae": 2.0},
        "kpi": {"name": "mae", "unit": "USD", "lift": 0.5, "interval": [0.1, 0.9], "monthly_usd": 7},
        "passed": {"quality": True, "kpi": True},
        "rows": 20,
        "how": "rows the model has not seen",
    },
    "register": {"version": "v1.0.0", "artifact": "dd" * 32, "change": "first version"},
    "signoff": {"approvals": {"operations": "ben@example.com", "data-science": "ada@example.com"}},
    "deploy": {"version": "v1.0.0", "outcome": "promoted", "topology": "realtime", "verdict": "better"},
    "monitor": {"version": "v1.0.0", "requests": 9, "drift_share": 0.25, "quality": {"mae": 1.4}},
}


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    folder = tmp_path / "models" / "orders"
    folder.mkdir(parents=True)
    (folder / "contract.yaml").write_text(CONTRACT)
    (folder / "model.yaml").write_text("target: price\ncard: {intended_use: x, owner: ada@example.com, risk: high}\n")
    (folder / "experiment.py").write_text("")
    with mock_aws():
        for bucket in BUCKETS.values():
            boto3.client("s3").create_bucket(Bucket=bucket)
        outputs = Outputs.model_construct(
            project="shop",
            stack="dev",
            region="us-east-1",
            account_id="111122223333",
            buckets=BUCKETS,
            kafka=Kafka.model_construct(bootstrap_servers="b-1.example.com:9098,b-2.example.com:9098"),
            network=NetworkOutputs(subnet_ids=(), security_group_id=""),
            catalog=CatalogOutputs(database="", workgroup=""),
            endpoints={},
            models={},
            lineage_url="",
        )
        yield Context(outputs, load_definition(folder), "r1", tmp_path)


def run(context: Context, *steps: str) -> None:
    for step in steps or RESULTS:
        perform(context, step, lambda _, step=step: RESULTS[step])


def events(context: Context, prefix: str = EVENTS) -> list[dict[str, Any]]:
    found = [json.loads(context.get("curated", key)) for key in context.keys("curated", prefix)]
    return sorted(found, key=lambda event: (event["eventTime"], event["eventType"] != "START"))


def facets_of(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from event["run"].get("facets", {}).values()
    yield from event["job"].get("facets", {}).values()
    for dataset in (*event.get("inputs", ()), *event.get("outputs", ())):
        for kind in ("facets", "inputFacets", "outputFacets"):
            yield from dataset.get(kind, {}).values()


def test_each_step_tells_when_it_begins_and_what_it_has_read_and_written(context: Context) -> None:
    run(context)
    found = events(context)
    assert [event["eventType"] for event in found].count("START") == len(RESULTS) == len(found) / 2
    by_run: dict[str, list[str]] = {}
    for event in found:
        assert uuid.UUID(event["run"]["runId"]).version == 7
        assert event["run"]["facets"]["parent"]["run"]["runId"] == parent_id(context)
        by_run.setdefault(event["run"]["runId"], []).append(event["eventType"])
    assert set(map(tuple, by_run.values())) == {("START", "COMPLETE")}
    told = {event["job"]["name"]: event for event in found if event["eventType"] == "COMPLETE"}
    assert told["orders.ingest"]["inputs"][0]["namespace"] == "kafka://b-1.example.com:9098"
    assert [each["name"] for each in told["orders.features"]["outputs"]] == [
        "orders/run=r1/features.parquet",
        "table/shop-dev-online.orders",
    ]
    contract = told["orders.ingest"]["inputs"][0]["facets"]["groundplan_contract"]
    assert (contract["id"], contract["version"], contract["personal"]) == ("orders", "2.1.0", ["email"])
    assert told["orders.evaluate"]["run"]["facets"]["groundplan_evaluation"]["metrics"] == {"mae": 1.5}
    assert told["orders.signoff"]["run"]["facets"]["groundplan_approvals"]["roles"] == ["data-science", "operations"]
    assert "ben@example.com" not in json.dumps(found), "people are in the audit log"


def test_our_own_facets_keep_their_schema(context: Context) -> None:
    schema = json.loads(FACETS.read_text())
    base = {"type": "object", "required": ["_producer", "_schemaURL"]}
    core = {"$defs": {"DatasetFacet": base, "RunFacet": base}}
    known = {schema["$id"]: schema, "https://openlineage.io/spec/2-0-2/OpenLineage.json": core}
    run(context)
    seen = set()
    for event in events(context):
        for facet in facets_of(event):
            if (url := facet["_schemaURL"]).startswith(schema["$id"]):
                told = jsonschema_rs.validator_for({"$ref": url}, retriever=lambda uri: known[uri.partition("#")[0]])
                told.validate(facet)
                seen.add(url.rpartition("/")[2])
                with pytest.raises(jsonschema_rs.ValidationError):
                    told.validate({"_producer": facet["_producer"]})
    assert seen == set(schema["$defs"])


@pytest.mark.drill
@pytest.mark.skipif(not SPEC, reason="set OPENLINEAGE_SPEC to the folder `spec` of OpenLineage")
def test_every_event_is_valid_by_openlineage_s_own_schemas(context: Context) -> None:
    folder = Path(SPEC)
    files = [folder / "OpenLineage.json", *(folder / "facets").glob("*.json"), FACETS]
    known = {document["$id"]: document for document in map(json.loads, (file.read_text() for file in files))}
    run(context)

    def valid(url: str, document: dict[str, Any]) -> None:
        found = jsonschema_rs.validator_for({"$ref": url}, retriever=lambda uri: known[uri.partition("#")[0]])
        found.validate(document)

    for event in events(context):
        valid("https://openlineage.io/spec/2-0-2/OpenLineage.json", event)
        for facet in facets_of(event):
            valid(facet["_schemaURL"], facet)


def test_a_step_that_fails_says_so_and_not_what_it_had_read(context: Context) -> None:
    def fails(_: Context) -> dict[str, Any]:
        raise GroundplanError("the value jane@example.com is wrong")

    with pytest.raises(GroundplanError):
        perform(context, "quality", fails)
    begun, failed = events(context)
    assert (begun["eventType"], failed["eventType"]) == ("START", "FAIL")
    assert "jane" not in json.dumps(failed) and failed["run"]["facets"]["errorMessage"]["message"]


class Endpoint:
    """An OpenLineage endpoint: it answers with a status, and keeps what it was sent."""

    def __init__(self) -> None:
        self.status, self.got = 201, list[dict[str, Any]]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/api/v1/lineage"
                if outer.status < 300:
                    outer.got.append(body)
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()
    yield found
    found.stop()


def names(found: list[dict[str, Any]]) -> list[str]:
    return [f"{event['job']['name']} {event['eventType']}" for event in found]


@pytest.mark.parametrize("how", ["variable", "stack"])
def test_events_are_sent_where_a_variable_or_the_stack_says(
    how: str, context: Context, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "variable":
        monkeypatch.setenv("OPENLINEAGE_URL", endpoint.url)
    else:
        object.__setattr__(context, "outputs", context.outputs.model_copy(update={"lineage_url": endpoint.url}))
    run(context, "ingest")
    assert endpoint.got == events(context) and names(endpoint.got) == ["orders.ingest START", "orders.ingest COMPLETE"]


def test_an_endpoint_that_is_down_loses_nothing(
    context: Context, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")  # nothing listens at the discard port
    run(context, "ingest")
    assert "can't be reached" in capsys.readouterr().out and len(events(context, UNSENT)) == 2
    monkeypatch.setenv("OPENLINEAGE_URL", endpoint.url)
    endpoint.status = 503
    run(context, "quality")
    assert len(events(context, UNSENT)) == 4 and endpoint.got == []
    endpoint.status = 201
    run(context, "features")
    assert names(endpoint.got) == [
        f"orders.{step} {state}" for step in ("ingest", "quality", "features") for state in ("START", "COMPLETE")
    ]
    assert events(context, UNSENT) == [] and endpoint.got == events(context)


def test_an_event_that_is_refused_is_kept_and_holds_nothing_up(
    context: Context, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", endpoint.url)
    endpoint.status = 422
    run(context, "ingest")
    assert "refuses an event (422)" in capsys.readouterr().out
    assert len(events(context, REFUSED)) == 2 and events(context, UNSENT) == []
    endpoint.status = 201
    run(context, "quality")
    assert names(endpoint.got) == ["orders.quality START", "orders.quality COMPLETE"]


def test_what_can_not_be_kept_stops_no_step(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    odd = {**RESULTS["quality"], "datasets": {}}
    assert perform(context, "quality", lambda _: odd) == odd
    assert "lineage was not recorded (KeyError)" in capsys.readouterr().out


def test_a_version_leads_back_to_the_events_it_was_made_of(context: Context) -> None:
    run(context)
    run(Context(context.outputs, context.definition, "r2", context.reports), "ingest", "quality", "features")
    later = Context(context.outputs, context.definition, "monitor-1", context.reports)
    run(later, "monitor")
    graph, own = of_version(context, "v1.0.0", read(context, "r1"))
    assert str(own) == "s3://shop-dev-models/registry/orders/v1.0.0"
    assert {ran.pipeline_run for ran in graph.runs.values()} == {"r1"}
    above = [str(place) for place in graph.upstream(own).datasets]
    assert above == [
        "s3://shop-dev-models/registry/orders/v1.0.0",
        "mlflow://shop-dev/runs/m1/model",
        "s3://shop-dev-curated/orders/version=aa/data.parquet",
        "s3://shop-dev-raw/orders",
        "kafka://b-1.example.com:9098/orders",
    ]
    assert {ran.step for ran in graph.runs.values()} == {
        "ingest",
        "quality",
        "experiment",
        "register",
        "signoff",
        "deploy",
    }
    dot = graph.dot()
    assert dot.startswith("digraph lineage {") and dot.count("->") == sum(
        len(graph.reads[run_id]) + len(graph.writes[run_id]) for run_id in graph.runs
    )
    document = graph.document()
    assert json.loads(json.dumps(document)) == document and len(document["runs"]) == 6
    with pytest.raises(GroundplanError, match=r"no lineage was kept of orders v9\.0\.0"):
        of_version(context, "v9.0.0", read(context, "r1"))


def test_features_are_those_of_the_run_that_had_filled_the_store_then(context: Context) -> None:
    run(context, "quality", "features")
    (ran,) = features_at(context, datetime.now(UTC) + timedelta(seconds=2)).runs.values()
    assert (ran.step, ran.pipeline_run) == ("features", "r1")
    assert features_at(context, datetime.now(UTC) - timedelta(hours=1)).runs == {}


def test_what_was_not_finished_is_in_no_graph() -> None:
    graph = Graph()
    graph.add({"eventType": "FAIL"}, "r1")
    assert graph.runs == {}
