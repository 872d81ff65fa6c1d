"""Requests and answers kept in S3, in the format of SageMaker's data capture, for the ways of serving where SageMaker
does not keep them.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Any

FLUSH_S = 60.0
MOST_EVENTS = (
    10_000  # kept between two writes; more are counted and dropped, since running out of memory would end the server
)
_log = logging.getLogger("groundplan.capture")


def capture_event(content_type: str, request: bytes, answer: bytes, at: float) -> dict[str, Any]:
    """One line of a capture file.

    Args:
        at: When it was answered, in seconds since 1970.
    """
    encoding = "CSV" if content_type.startswith("text/csv") else "JSON"
    return {
        "captureData": {
            "endpointInput": {
                "observedContentType": content_type,
                "mode": "INPUT",
                "data": request.decode("utf-8", "replace"),
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
        self._kept: list[tuple[str, bytes, bytes, float]] = []
        self._lost = 0
        self._lock = threading.Lock()
        if not self.at_once:
            threading.Thread(target=self._forever, args=(every_s,), daemon=True).start()

    def add(self, content_type: str, request: bytes, answer: bytes) -> None:
        """Keep one request that was answered with 200."""
        with self._lock:
            if len(self._kept) >= MOST_EVENTS:
                self._lost += 1
            else:
                self._kept.append((content_type, request, answer, time.time()))

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
            write_events(self._s3, self._address, [capture_event(*item) for item in kept])

    def _forever(self, every_s: float) -> None:
        pause = threading.Event()
        while not pause.wait(every_s):
            self.flush()
