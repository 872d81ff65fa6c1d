"""Predictions where they were captured: by their ids, or by the time of a period.

An endpoint's requests and answers are in the models zone, below ``capture/ENDPOINT/VARIANT/YYYY/MM/DD/HH/``, in files
whose names begin with the minute; those of batch jobs in the features zone, below ``batch/MODEL/out/``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

from pipelines.context import Context
from pipelines.serving.ids import ERASED_ON, NAME, time_of

FOLDER, BATCH = "capture/", "batch/"
LATEST = timedelta(hours=2)  # after its answer, an event was written or lost; SageMaker takes minutes
_EARLIEST = timedelta(minutes=1)  # of two machines' clocks
HOUR = "%Y/%m/%d/%H/"


@dataclass(frozen=True)
class Captured:
    """One request and its answer.

    Attributes:
        at: When it was answered.
        version: Of the model.
        owner: The endpoint; of a batch job the model.
        variant: Which of the endpoint's answered; ``batch`` of a batch job.
        place: Address of the file.
        request, answer: As captured; without a person's rows once they were erased.
        erased_on: When rows were erased from it; empty if none were.
    """

    prediction_id: str
    at: datetime
    version: str
    owner: str
    variant: str
    place: str
    request: dict[str, Any]
    answer: dict[str, Any]
    erased_on: str = ""


def requests_of(key: str) -> str:
    """Key of the requests that a batch job's file of answers is about, line by line."""
    return key.replace("/out/", "/in/", 1).removesuffix(".out")


def answers_of(key: str) -> str:
    """Key of the answers to a batch job's file of requests."""
    return key.replace("/in/", "/out/", 1) + ".out"


def find(context: Context, prediction_id: str) -> Captured | None:
    """A prediction by its id; None if it was never captured, or by a server that has not written yet.

    Raises:
        ValueError: It is no id of a prediction.
    """
    at, wanted = time_of(prediction_id), prediction_id.lower()
    for begin in _folders(context):
        for key in _keys(context, begin, at - _EARLIEST, at + LATEST):
            body = context.get("models", key)
            if wanted.encode() in body:
                for found in _events(context, key, body):
                    if found.prediction_id == wanted:
                        return found
    return _in_batches(context, wanted, at)


def between(context: Context, begin: datetime, end: datetime) -> Iterator[Captured]:
    """What the model's endpoint answered from one moment until before another, each variant's in its order."""
    for folder in context.folders("models", f"{FOLDER}{context.endpoint_name}/"):
        for key in _keys(context, folder, begin - _EARLIEST, end + LATEST):
            for found in _events(context, key, context.get("models", key)):
                if begin <= found.at < end:
                    yield found


def _folders(context: Context) -> Iterator[str]:
    """Each variant's of each endpoint."""
    for endpoint in context.folders("models", FOLDER):
        yield from context.folders("models", endpoint)


def _keys(context: Context, folder: str, begin: datetime, end: datetime) -> Iterator[str]:
    """Files that may have been written between two moments, the first ones first."""
    start, last = f"{folder}{begin:{HOUR}%M}", f"{folder}{end:{HOUR}%M}~"
    return takewhile(lambda key: key <= last, context.keys("models", folder, start))


def _events(context: Context, key: str, body: bytes) -> Iterator[Captured]:
    _, endpoint, variant, *_ = key.split("/")
    place = f"s3://{context.outputs.buckets['models']}/{key}"
    for line in body.splitlines():
        try:
            event = json.loads(line)
            data, told = event["captureData"], event.get("eventMetadata", {})
            answer = json.loads(data["endpointOutput"]["data"])
            prediction_id = str(answer[NAME]) if NAME in answer else ""
            at = time_of(prediction_id) if prediction_id else datetime.fromisoformat(told["inferenceTime"])
        except (ValueError, KeyError, TypeError):
            continue  # no answer of ours
        yield Captured(
            prediction_id,
            at,
            str(answer.get("model_version", "")),
            endpoint,
            variant,
            place,
            data.get("endpointInput", {}),
            answer,
            str(told.get(ERASED_ON, "")),
        )


def _in_batches(context: Context, wanted: str, at: datetime) -> Captured | None:
    """Answers of batch jobs; a job's file is written when it ends."""
    bucket = context.outputs.buckets["features"]
    for item in context.objects("features", BATCH):
        key = item["Key"]
        if "/out/" not in key or item["LastModified"] < at - _EARLIEST:
            continue
        body = context.get("features", key)
        if wanted.encode() not in body:
            continue
        for number, line in enumerate(body.splitlines()):
            answer = json.loads(line)
            if answer.get(NAME) == wanted:
                asked = context.read("features", requests_of(key)) or b""
                lines = asked.splitlines()
                request = {"data": lines[number].decode(), "encoding": "JSON"} if number < len(lines) else {}
                model, place = key.split("/")[1], f"s3://{bucket}/{key}"
                version = str(answer.get("model_version", ""))
                return Captured(wanted, at.astimezone(UTC), version, model, "batch", place, request, answer)
    return None
