"""The story of a prediction begins with finding it: among an hour of captures, beside reading the whole hour."""

from __future__ import annotations

import json
import os
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from moto import mock_aws

from pipelines.context import Context, ModelDefinition
from pipelines.data.captures import FOLDER, find
from pipelines.serving.ids import new_id
from pipelines.serving.operating.capture import capture_event
from spec.outputs import Outputs

ENDPOINTS, FILES, EVENTS, ASKED = 3, 60, 500, 15  # files are written each minute
BUCKETS = {"models": "bench-models", "features": "bench-features"}
_ROW = json.dumps({"instances": [[0.1] * 10]}).encode()


def filled(s3: Any, begin: datetime) -> list[str]:
    """An hour of each endpoint; returns the ids."""
    ids = []
    for endpoint in range(ENDPOINTS):
        for minute in range(FILES):
            lines = []
            for number in range(EVENTS):
                at = begin + timedelta(minutes=minute, seconds=60 * number / EVENTS)
                ids.append(new_id(int(at.timestamp() * 1000)))
                answer = {"predictions": [1.5], "model_version": "v1.0.0", "prediction_id": ids[-1]}
                lines.append(json.dumps(capture_event("application/json", _ROW, json.dumps(answer).encode(), 0)))
            written = begin + timedelta(minutes=minute + 1)
            key = f"{FOLDER}bench-{endpoint}/champion/{written:%Y/%m/%d/%H/%M-%S}-{minute}.jsonl"
            s3.put_object(Bucket=BUCKETS["models"], Key=key, Body="\n".join(lines).encode())
    return ids


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    random.seed(0)
    with mock_aws():
        s3 = boto3.client("s3")
        for bucket in BUCKETS.values():
            s3.create_bucket(Bucket=bucket)
        ids = filled(s3, datetime(2026, 3, 31, 10, tzinfo=UTC))
        outputs = Outputs.model_construct(buckets=BUCKETS, endpoints={}, project="bench", stack="dev")
        context = Context(outputs, ModelDefinition(Path(), "bench", Path()), "bench", Path())
        assert all(find(context, one) for one in random.sample(ids, 3))
        found = statistics.median(seconds(partial(find, context, one)) for one in random.sample(ids, ASKED))

        def whole() -> None:
            for key in context.keys("models", FOLDER):
                for line in context.get("models", key).splitlines():
                    json.loads(line)

        hour = seconds(whole)
    faster = f"{hour / found:.0f} x faster than reading the hour"
    print(f"find one of {len(ids):,} predictions of an hour: {1000 * found:.0f} ms, {faster}")


if __name__ == "__main__":
    main()
