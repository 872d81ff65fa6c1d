"""The year of flights: ingestion compared with a consumer that does nothing, the gate, the features, and one online
read compared with a bare GetItem.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from bench.pairs import compare

ROUNDS = 5
READS = 300


def main() -> None:
    from groundplan.local.environment import child_environment
    from groundplan.local.home import Home
    from groundplan.local.up import bring_up, tear_down
    from pipelines.context import Context, load_definition
    from spec.outputs import read
    from tests.platform import copy_project

    with TemporaryDirectory() as folder:
        home = Home(copy_project(Path(folder) / "clone"))
        try:
            state = bring_up(home, "local", models=()).state
            data = os.environ.get(
                "GROUNDPLAN_HOME", str(Path.cwd() / ".groundplan")
            )  # the data's package is fetched once
            os.environ.update(child_environment(home, state.services, state.region) | {"GROUNDPLAN_HOME": data})
            context = Context(
                read(str(home.outputs_file)),
                load_definition(home.root / "models" / "flights-late", options={"months": "1-12"}),
                "bench",
                Path(folder),
            )
            _ingestion(context)
            tables = _gate(context)
            _features(context, tables, Path(folder))
            _online(context)
        finally:
            tear_down(home)


def _ingestion(context: Any) -> None:
    from dataclasses import replace

    from pipelines.steps import ingest

    ingest._fill(context, {contract.topic: contract for contract in context.definition.contracts})
    flights = replace(context.definition, contracts=(context.definition.contracts[0],), source="")
    alone = type(context)(context.outputs, flights, context.run, context.reports)
    events = _bare(alone)[1]
    compare(
        f"Taking in {events:,} flights: validated, masked, scanned, as Parquet in S3",
        ("groundplan", lambda: _ingest(alone)),
        ("consume in batches, read the values, do nothing", lambda: _bare(alone)[0]),
        ROUNDS,
        "no more than 2",
    )
    whole = type(context)(context.outputs, replace(context.definition, source=""), context.run, context.reports)
    context.write_result("ingest", ingest.ingest(whole))


def _ingest(context: Any) -> float:
    """Seconds from the first event to the last range's end; joining the group is left out, as on the other side."""
    from pipelines.steps import ingest

    topic, bucket = context.definition.contracts[0].topic, context.outputs.buckets["raw"]
    for prefix in (f"{topic}/", f"manifests/{topic}/"):
        for page in context.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                context.s3.delete_object(Bucket=bucket, Key=item["Key"])
    began = 0.0
    take = ingest._Ingestion._take

    def first(self: Any, messages: Any) -> None:
        nonlocal began
        began = began or time.perf_counter()
        take(self, messages)

    ingest._Ingestion._take = first  # type: ignore[method-assign]
    try:
        written = ingest._Ingestion(context, {topic: context.definition.contracts[0]}).run()
    finally:
        ingest._Ingestion._take = take  # type: ignore[method-assign]
    assert sum(item.rows for item in written) > 0
    return time.perf_counter() - began


def _bare(context: Any) -> tuple[float, int]:
    from confluent_kafka import KafkaError

    from pipelines.data import broker
    from pipelines.steps import ingest

    topic = context.definition.contracts[0].topic
    consumer = broker.consumer(context.outputs, f"bare-{time.time_ns()}", **{"enable.partition.eof": True})
    open_ones = set(broker.partitions(consumer, topic))
    consumer.subscribe([topic])
    count, began = 0, 0.0
    while open_ones:
        messages = consumer.consume(ingest.BATCH_EVENTS, timeout=0.2)
        if messages:
            began = began or time.perf_counter()
        values = [message.value() for message in messages if message.error() is None]
        count += len(values)
        open_ones -= {
            message.partition()
            for message in messages
            if message.error() is not None and message.error().code() == KafkaError._PARTITION_EOF
        }
    seconds = time.perf_counter() - began
    consumer.close()
    return seconds, count


def _gate(context: Any) -> Any:
    import great_expectations  # noqa: F401 (its import is not what is measured)

    from pipelines.data.raw_zone import RawZone
    from pipelines.steps.quality import check_quality, prepare, validate

    contract = context.definition.contracts[0]
    table, _ = prepare(RawZone(context, contract).read(), contract, frozenset())
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        results, _page = validate(table, contract, context.reports)
        seconds.append(time.perf_counter() - started)
    print(
        f"Gate of {table.num_rows:,} rows, {len(results)} expectations: {_spread(seconds)}; budget: under 1.5 s after"
        " import\n"
    )
    context.write_result("quality", check_quality(context))
    return context.result("quality")


def _features(context: Any, quality: Any, folder: Path) -> None:
    from pipelines.steps.features import duckdb_tables

    files = {name: context.get_address(item["dataset"]) for name, item in quality["datasets"].items()}
    seconds = []
    for number in range(ROUNDS):
        place = folder / f"duckdb{number}"
        place.mkdir()
        started = time.perf_counter()
        made = context.definition.function("features:features")(duckdb_tables(files, place))
        rows = [expression.to_pyarrow().num_rows for expression in made.values()]
        seconds.append(time.perf_counter() - started)
    print(f"Features of the year ({rows[0]:,} flights): {_spread(seconds)}; budget: under 10 s\n")


def _online(context: Any) -> None:
    import boto3

    from pipelines.serving.models.bundle import Model
    from pipelines.serving.online import OnlineFeatures, entity_id
    from pipelines.steps.features import materialize

    found = materialize(context)
    view = found["views"]["flight_before_departure"]
    names = view["features"][:12]
    reader = OnlineFeatures(
        Model(
            cast("Any", None),  # nothing is predicted
            [{"name": name} for name in names],
            "matrix",
            "regression",
            entity={"key": "flight_id", "tables": {view["table"]: names}},
        )
    )
    client, key = boto3.client("dynamodb"), found["sample_key"]
    item = entity_id("flight_id", key)
    reader("flight_id", [key])

    def ours() -> float:
        started = time.perf_counter()
        for _ in range(READS):
            reader("flight_id", [key])
        return (time.perf_counter() - started) / READS

    def bare() -> float:
        started = time.perf_counter()
        for _ in range(READS):
            client.get_item(TableName=view["table"], Key={"entity_id": {"S": item}})
        return (time.perf_counter() - started) / READS

    compare(
        f"Online read of one entity's {len(names)} features",
        ("groundplan", ours),
        ("a bare GetItem", bare),
        ROUNDS,
        "no more than 2",
    )


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s (from {min(seconds):.2f} to {max(seconds):.2f})"
