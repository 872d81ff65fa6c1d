"""Lines of logs that belong together, in files and in CloudWatch Logs."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from groundplan.local import log_lines
from groundplan.local.log_lines import lines_of
from pipelines.serving.ids import new_id
from spec.errors import UsageError

TRACE, OTHER = "0af7651916cd43dd8448eb211c80319c", "1" * 32
DAY = datetime.now(UTC) - timedelta(days=1)


def line(at: str, message: str, **more: str) -> str:
    return json.dumps({"time": f"2026-11-30T10:00:{at}", "level": "INFO", "message": message, **more})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(log_lines, "find_home", lambda: SimpleNamespace(logs=tmp_path))
    (tmp_path / "runs").mkdir()
    return tmp_path


def test_a_prediction_leads_to_its_trace_in_every_file(home: Path) -> None:
    prediction = new_id()
    (home / "model-a.log").write_text(
        "\n".join(
            [line("02", "answered", trace_id=TRACE, prediction_id=prediction), line("03", "else", trace_id=OTHER)]
        )
    )
    (home / "router.log").write_text(f"not json {OTHER}\n" + line("01", "came in", trace_id=TRACE) + "\n")
    (home / "runs" / "x.log").write_bytes(b"\xff\xfe broken\n")
    found = lines_of("", prediction, DAY, "")
    assert [(each["source"], each["line"]["message"]) for each in found] == [
        ("router.log", "came in"),
        ("model-a.log", "answered"),
    ]
    assert f"not json {OTHER}" in [each["line"] for each in lines_of(OTHER.upper(), "", DAY, "")]


@pytest.mark.parametrize(
    ("trace", "prediction", "says"),
    [
        ("", "", "name either a trace or a prediction"),
        (TRACE, "01a22e94-4b21-7d96-9116-bfbef912478b", "name either a trace or a prediction"),
        ("xyz", "", "'xyz' is no trace id"),
        (TRACE[:-1] + "g", "", "is no trace id"),
        ("", "5", "'5' is no prediction's id"),
        ("", TRACE, "is no prediction's id"),
        ("", "e677d21f-d7ff-7000-8000-000000000000", "is no prediction's id"),
        ("", "00000000-0000-7000-8000-000000000000", "is no prediction's id"),
    ],
)
def test_what_is_no_id_is_told(home: Path, trace: str, prediction: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        lines_of(trace, prediction, DAY, "")


def test_a_stack_s_log_groups_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, now = new_id(), int(time.time() * 1000)

    @contextmanager
    def reading(outputs: str, caller: str) -> Any:
        endpoints = {name: SimpleNamespace(name=name and f"groundplan-dev-{name}") for name in ("a", "b", "")}
        yield SimpleNamespace(outputs=SimpleNamespace(endpoints=endpoints))

    monkeypatch.setattr(log_lines, "reading", reading)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        logs = boto3.client("logs")
        group = "/aws/sagemaker/Endpoints/groundplan-dev-a"  # the other has never logged
        logs.create_log_group(logGroupName=group)
        logs.create_log_stream(logGroupName=group, logStreamName="s")
        texts = [line("01", "in", trace_id=TRACE), line("02", "out", trace_id=TRACE, prediction_id=prediction), "other"]
        events = [{"timestamp": now, "message": text} for text in texts]
        logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=events)
        found = lines_of("", prediction, DAY, "outputs.json")
    assert [each["line"]["message"] for each in found] == ["in", "out"] and found[0]["source"] == group
