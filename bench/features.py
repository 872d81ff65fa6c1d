"""Features by key beside the bare ``BatchGetItem`` with the same client, against moto on this machine."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from groundplan.local.services import free_port
from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import Constant
from pipelines.serving.online import OnlineFeatures, _feast, entity_id

CALLS, ROUNDS, COLUMNS, ENTITIES = 100, 3, 15, 200
TABLE, KEY = "features", "id"


def main() -> None:
    with _moto() as url:
        os.environ |= {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }
        names = [f"f{place}" for place in range(COLUMNS)]
        entity = {"key": KEY, "tables": {TABLE: names}}
        model = Model(Constant(1.0), [{"name": name, "type": "double"} for name in names], "regression", entity=entity)
        look = OnlineFeatures(model)
        _fill(names)
        kept = OnlineFeatures(Model(Constant(1.0), model.columns, "regression", entity={**entity, "cache_s": 60}))
        for count in (1, 50):
            keys = list(range(count))
            request = {TABLE: {"Keys": [{"entity_id": {"S": entity_id(KEY, key)}} for key in keys]}}
            ways: dict[str, Callable[[], Any]] = {
                "bare BatchGetItem": partial(look._client.batch_get_item, RequestItems=request),
                "features by key": partial(look, KEY, keys),
                "the same, kept": partial(kept, KEY, keys),
            }
            found: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(ROUNDS):
                for name, way in ways.items():
                    found[name].append(_median(way))
            medians = {name: statistics.median(times) for name, times in found.items()}
            bare = medians["bare BatchGetItem"]
            for name, seconds in medians.items():
                print(f"{count:>3} keys, {name:<20} {seconds * 1e3:8.3f} ms   {seconds / bare:5.2f} of bare")


def _median(way: Callable[[], Any]) -> float:
    way()
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        way()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _fill(names: list[str]) -> None:
    """The table as Feast writes it."""
    import boto3

    table = boto3.resource("dynamodb").create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "entity_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "entity_id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with table.batch_writer() as batch:
        for key in range(ENTITIES):
            values = {name: _feast().Value(double_val=key / 7).SerializeToString() for name in names}
            batch.put_item(
                Item={"entity_id": entity_id(KEY, key), "event_ts": "2026-03-01 00:00:00+00:00", "values": values}
            )


@contextmanager
def _moto() -> Iterator[str]:
    url = f"http://127.0.0.1:{(port := free_port())}"
    process = subprocess.Popen([sys.executable, "-m", "groundplan.local.moto.server", "--port", str(port)])
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()
