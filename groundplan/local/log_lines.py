"""Lines of logs that belong together: those of one trace, or of one prediction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from groundplan.local.auditing import reading
from groundplan.local.home import find_home
from groundplan.local.watching import CALLER
from pipelines.serving.ids import time_of
from pipelines.serving.operating.logs import TRACE
from spec.errors import UsageError
from spec.names import endpoint_log_group
from spec.outputs import Outputs

HEX = set("0123456789abcdef")
AROUND = timedelta(minutes=15)  # of a prediction, in which its lines are looked for
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
MOST_LINES = 10_000
Line = dict[str, Any]


def lines_of(trace: str, prediction: str, since: datetime, outputs: str) -> list[Line]:
    """The lines of a trace, or those that name a prediction and all of their traces, oldest first; each with its
    ``source``, ``time`` where it has one, and ``line``, the parsed JSON or the text.

    Raises:
        UsageError: The trace or the prediction is none.
    """
    if bool(trace) == bool(prediction):
        raise UsageError("name either a trace or a prediction", where="--trace, --prediction")
    wanted = (trace or prediction).lower()
    if trace and (len(wanted) != 32 or not set(wanted) <= HEX):
        raise UsageError(
            f"{trace!r} is no trace id", where="--trace", fix="32 hexadecimal digits, the second part of a traceparent"
        )
    begin, end = since, datetime.now(UTC) + timedelta(minutes=1)
    if prediction:
        try:
            at = time_of(prediction)
            if not EARLIEST < at < end + AROUND:
                raise ValueError("of no time in which there were predictions")
        except (ValueError, OverflowError):
            raise UsageError(
                f"{prediction!r} is no prediction's id", where="--prediction", fix="as an answer says it: prediction_id"
            ) from None
        begin, end = at - AROUND, at + AROUND
    search = _of_stack(outputs, begin, end) if outputs else _of_home
    found = list(search(wanted))
    for other in {str(line["line"].get(TRACE)) for line in found if isinstance(line["line"], dict)} - {wanted, "None"}:
        found += [line for line in search(other) if line not in found]
    return sorted(found, key=lambda line: line["time"])


def _of_home(wanted: str) -> Iterator[Line]:
    """In the files of this machine's platform."""
    folder = find_home().logs
    for path in sorted(folder.rglob("*.log")):
        with path.open(encoding="utf-8", errors="replace") as file:
            for text in file:
                if wanted in text:
                    yield _line(str(path.relative_to(folder)), text.strip())


def _of_stack(outputs: str, begin: datetime, end: datetime) -> Callable[[str], Iterator[Line]]:
    """In the log groups of a stack's endpoints."""
    import boto3
    from botocore.exceptions import ClientError

    def search(wanted: str) -> Iterator[Line]:
        with reading(outputs, CALLER) as context:
            client = boto3.client("logs")
            for group in _groups(context.outputs):
                pages = client.get_paginator("filter_log_events").paginate(
                    logGroupName=group,
                    filterPattern=json.dumps(wanted),
                    startTime=int(begin.timestamp() * 1000),
                    endTime=int(end.timestamp() * 1000),
                    PaginationConfig={"MaxItems": MOST_LINES},
                )
                try:
                    for page in pages:
                        yield from (_line(group, event["message"]) for event in page["events"])
                except ClientError as error:
                    if error.response["Error"]["Code"] != "ResourceNotFoundException":  # nothing was ever logged
                        raise

    return search


def _groups(outputs: Outputs) -> list[str]:
    return [endpoint_log_group(endpoint.name) for endpoint in outputs.endpoints.values() if endpoint.name]


def _line(source: str, text: str) -> Line:
    try:
        line = json.loads(text)
    except ValueError:
        line = text
    line = line if isinstance(line, dict) else text
    time = str(line.get("time", "")) if isinstance(line, dict) else ""
    return {"source": str(Path(source)), "time": time, "line": line}
