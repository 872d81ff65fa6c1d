"""Requests and answers kept in S3, in the format of SageMaker's data capture, for the ways of serving where SageMaker
does not keep them.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from pipelines.serving.ids import FLUSH_S
from pipelines.serving.models.rows import Rows
from pipelines.serving.protocols.checks import BadRequestError
from pipelines.serving.protocols.tables import CSV, TABLES, from_csv, from_table

MOST_EVENTS = (
    10_000  # kept between two writes; more are counted and dropped, since running out of memory would end the server
)
_ENCODINGS = {"application/json": "JSON", "": "JSON", "text/csv": "CSV"}
_log = logging.getLogger("groundplan.capture")


def capture_event(content_type: str, request: bytes, answer: bytes, at: float) -> dict[str, Any]:
    """One line of a capture file.

    Args:
        at: When it was answered, in seconds since 1970.
    """
    encoding = _ENCODINGS.get(content_type.partition(";")[0].strip().lower(), "BASE64")
    return {
        "captureData": {
            "endpointInput": {
                "observedContentType": content_type,
                "mode": "INPUT",
                "data": base64.b64encode(request).decode()
                if encoding == "BASE64"
                else request.decode("utf-8", "replace"),
                "encoding": encoding,
            },
            "endpointOutput": {
                "observedContentType": "application/json",
                "mode": "OUTPUT",
                "data": answer.decode("utf-8", "replace"),
                "encoding": "JSON",
            },
        },
        "eventMetadata": {
            "eventId": str(uuid.uuid4()),
            "inferenceTime": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "eventVersion": "0",
    }


def request_of(side: dict[str, Any], columns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A captured request as one of MLflow's JSON forms, whatever its content type was.

    Args:
        side: ``endpointInput``.
        columns: The model's, for tables without names; as in ``model.json``.

    Raises:
        ValueError, TypeError: It can't be read.
    """
    content = base64.b64decode(side["data"]) if side.get("encoding") == "BASE64" else str(side["data"]).encode()
    kind = str(side.get("observedContentType", "")).partition(";")[0].strip().lower()
    try:
        if kind == CSV:
            return {"inputs": from_csv(columns, content)}
        if kind in TABLES:
            found = from_table(kind, [column["name"] for column in columns], content)
            return {"inputs": Rows.of(found).lists}
    except BadRequestError as error:
        raise ValueError(error.sentence) from None
    found = json.loads(content)
    if not isinstance(found, dict):
        raise TypeError("a request is a JSON object")
    return found


def write_events(s3: Any, address: str, events: list[dict[str, Any]]) -> None:
    """Write one capture file below ``address`` (``s3://bucket/prefix/<endpoint>/<variant>``); what can't be written
    is logged as lost.
    """
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    now = datetime.now(UTC)
    key = f"{prefix}/{now:%Y/%m/%d/%H}/{now:%M-%S}-{uuid.uuid4()}.jsonl"
    try:
        s3.put_object(Bucket=bucket, Key=key, Body="\n".join(map(json.dumps, events)).encode())
    except Exception as error:  # monitoring must not take the model down
        _log.warning("capture of %d requests to %s lost: %s: %s", len(events), address, type(error).__name__, error)


class Capture:
    """Collects a model server's requests and answers, and writes them.

    Args:
        address: ``s3://bucket/prefix/<endpoint>/<variant>``.
        every_s: Seconds between two writes; 0 writes each request before it is answered, for servers that are frozen
            between requests.
    """

    def __init__(self, address: str, s3: Any, every_s: float = FLUSH_S) -> None:
        self.at_once = every_s == 0
        self._address, self._s3 = address, s3
        self._kept: list[tuple[str, bytes, bytes, float] | tuple[Rows, Callable[[], dict[str, Any]], float]] = []
        self._lost = 0
        self._lock = threading.Lock()
        if not self.at_once:
            threading.Thread(target=self._forever, args=(every_s,), daemon=True).start()

    def add(self, content_type: str, request: bytes, answer: bytes) -> None:
        """Keep one request that was answered with 200."""
        self._add((content_type, request, answer, time.time()))

    def add_rows(self, rows: Rows, answer: Callable[[], dict[str, Any]]) -> None:
        """Keep one whose body was in another protocol, as JSON; it is written when it is flushed."""
        self._add((rows, answer, time.time()))

    def _add(self, item: Any) -> None:
        with self._lock:
            if len(self._kept) >= MOST_EVENTS:
                self._lost += 1
            else:
                self._kept.append(item)

    def flush(self) -> None:
        """Write what has accumulated."""
        with self._lock:
            kept, self._kept = self._kept, []
            lost, self._lost = self._lost, 0
        if lost:
            _log.warning(
                "capture of %d requests to %s lost: more than %d between two writes", lost, self._address, MOST_EVENTS
            )
        if kept:
            write_events(self._s3, self._address, [_event(item) for item in kept])

    def _forever(self, every_s: float) -> None:
        pause = threading.Event()
        while not pause.wait(every_s):
            self.flush()


def _event(item: Any) -> dict[str, Any]:
    if isinstance(item[0], str):
        return capture_event(*item)
    rows, answer, at = item
    return capture_event(
        "application/json", json.dumps({"inputs": rows.lists}).encode(), json.dumps(answer()).encode(), at
    )
