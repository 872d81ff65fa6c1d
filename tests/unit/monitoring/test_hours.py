"""Hours are counted once: again when files, outcomes, or rows of a person change, and never otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
from moto import mock_aws

from pipelines.context import Context, ModelDefinition
from pipelines.monitoring import findings, hours
from pipelines.monitoring.labels import Label, Own, read, write
from pipelines.monitoring.scores import scores
from pipelines.serving.ids import new_id
from pipelines.serving.operating.capture import capture_event
from spec.outputs import Outputs
from tests.unit.monitoring.references import classifier, late, people, said

BEGIN = datetime(2026, 3, 30, 10, tzinfo=UTC)
NOW = BEGIN + timedelta(hours=6)
BUCKETS = {zone: f"watched-{zone}" for zone in ("curated", "features", "models")}
REFERENCE = classifier()


@pytest.fixture
def context() -> Iterator[Context]:
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        for bucket in BUCKETS.values():
            s3.create_bucket(Bucket=bucket)
        outputs = Outputs.model_construct(buckets=BUCKETS, endpoints={}, project="watched", stack="dev")
        made = Context(outputs, ModelDefinition(Path(), "people", Path()), "run", Path())
        made.__dict__["s3"] = s3
        yield made


def capture(context: Context, at: datetime, frame: pd.DataFrame, version: str = "v1.0.0", name: str = "a") -> list[str]:
    """A file of one-row requests; returns their ids."""
    predictions, chances = said(frame)
    ids = [new_id(int(at.timestamp() * 1000) + place) for place in range(len(frame))]
    lines = []
    for row, prediction, chance, prediction_id in zip(
        frame.to_dict("records"), predictions, chances[:, 1], ids, strict=True
    ):
        answer = {"predictions": [prediction], "probabilities": [chance], "model_version": version}
        answer["prediction_id"] = prediction_id
        body = json.dumps({"dataframe_records": [row]}).encode()
        lines.append(json.dumps(capture_event("application/json", body, json.dumps(answer).encode(), 0)))
    key = f"capture/{context.endpoint_name}/champion/{at:%Y/%m/%d/%H/%M-%S}-{name}.jsonl"
    context.put("models", key, "\n".join(lines).encode())
    return ids


def counted(context: Context, own: Own = Own()) -> dict[datetime, Any]:  # noqa: B008
    return hours.counts(context, REFERENCE, BEGIN - timedelta(days=1), NOW, own)


def test_an_hour_is_read_once_and_again_when_it_grows(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    capture(context, BEGIN, people(50, 5))
    capture(context, BEGIN + timedelta(hours=1), people(30, 6))
    whole = counted(context)
    assert {hour.hour: each["rows"] for hour, each in whole.items()} == {10: 50, 11: 30}
    asked: list[str] = []
    read_file = Context.get

    def get(self: Context, zone: str, key: str) -> bytes:
        asked.append(key)
        return read_file(self, zone, key)

    monkeypatch.setattr(Context, "get", get)
    assert counted(context) == whole and not [key for key in asked if key.startswith("capture/")]
    capture(context, BEGIN + timedelta(hours=1, minutes=5), people(20, 7), name="b")
    assert counted(context)[BEGIN + timedelta(hours=1)]["rows"] == 50
    assert {key.split("/")[6] for key in asked if key.startswith("capture/")} == {"11"}
    (document,) = context.keys("curated", "monitoring/people/v1.0.0/")
    assert b'"x"' in context.get("curated", document), "names of groups are the reference's"
    assert not any(each.encode() in context.get("curated", document) for each in capture(context, NOW, people(1, 1)))


def test_the_sum_of_hours_is_the_count_of_all(context: Context) -> None:
    frame = people(300, 5)
    for place in range(3):
        capture(context, BEGIN + timedelta(hours=place), frame[place * 100 : (place + 1) * 100])
    parts = findings.total(list(counted(context).values()))
    for key in list(context.keys("models", "capture/")) + list(context.keys("curated", "monitoring/")):
        for bucket in BUCKETS.values():
            context.s3.delete_object(Bucket=bucket, Key=key)
    capture(context, BEGIN, frame)
    (whole,) = counted(context).values()
    assert parts["rows"] == whole["rows"] == 300
    for name, (counts, sums) in whole["features"].items():
        assert parts["features"][name][0] == counts and parts["features"][name][1] == pytest.approx(sums)
    assert scores(parts["expected"]) == pytest.approx(scores(whole["expected"]))
    assert parts["facets"]["kind"] == whole["facets"]["kind"]


def test_outcomes_that_come_late_are_joined_by_their_id(context: Context) -> None:
    frame = people(400, 8)
    ids, truth = capture(context, BEGIN, frame), late(frame, 9)
    before = findings.realised(REFERENCE, findings.total(list(counted(context).values())))
    assert before == {"rows": 0, "metrics": {}, "concept_drift": {}}
    write(context, [Label(each, str(value)) for each, value in zip(ids, truth, strict=True)])
    after = findings.realised(REFERENCE, findings.total(list(counted(context).values())))
    assert after["rows"] == 400 and after["concept_drift"] == {}
    assert after["metrics"]["accuracy"] == pytest.approx((truth == said(frame)[0]).mean())


def test_flipped_outcomes_are_concept_drift(context: Context) -> None:
    frame = people(400, 8)
    ids, truth = capture(context, BEGIN, frame), 1 - late(frame, 9)
    write(context, [Label(each, int(value)) for each, value in zip(ids, truth, strict=True)])
    found = findings.realised(REFERENCE, findings.total(list(counted(context).values())))
    assert {"accuracy", "balanced_accuracy"} <= set(found["concept_drift"])
    assert found["concept_drift"]["accuracy"]["outcome"] < found["concept_drift"]["accuracy"]["low"]


def test_a_later_outcome_replaces_the_earlier_one(context: Context) -> None:
    (prediction_id,) = capture(context, BEGIN, people(1, 3))
    files = [write(context, [Label(prediction_id, value)])[0].removeprefix("s3://watched-curated/") for value in "10"]
    assert files == sorted(files), "within a second, which is all that S3 tells, the name decides"
    assert read(context, files) == {(prediction_id, 0): "0"} and read(context, files[::-1]) == {(prediction_id, 0): "1"}


def test_ground_truth_as_sagemaker_takes_it_is_read(context: Context) -> None:
    """The form in AWS's guide, written by another program; two rows of one request, the second not known yet."""
    ids = [new_id(int(BEGIN.timestamp() * 1000)) for _ in range(3)]
    lines = [
        {
            "groundTruthData": {"data": "1", "encoding": "CSV"},
            "eventMetadata": {"eventId": ids[0].upper()},
            "eventVersion": "0",
        },
        {
            "groundTruthData": {"data": "0\n", "encoding": "CSV"},
            "eventMetadata": {"eventId": ids[1]},
            "eventVersion": "0",
        },
        {"groundTruthData": {"data": "[1, 0]", "encoding": "JSON"}, "eventMetadata": {"eventId": ids[2]}},
        {"something": "else"},
    ]
    context.put("curated", "labels/people/x.jsonl", "\n".join([*map(json.dumps, lines), "{"]).encode())
    assert read(context, ["labels/people/x.jsonl"]) == {
        (ids[0], 0): "1",
        (ids[1], 0): "0",
        (ids[2], 0): 1,
        (ids[2], 1): 0,
    }


def test_other_versions_and_erased_rows_are_not_counted(context: Context) -> None:
    capture(context, BEGIN, people(40, 5))
    capture(context, BEGIN, people(40, 6), "v2.0.0", name="b")
    assert findings.total(list(counted(context).values()))["rows"] == 40
    capture(context, BEGIN, people(39, 5))  # the same file without a person's row
    assert findings.total(list(counted(context).values()))["rows"] == 39


def test_batch_jobs_are_counted_by_the_hour_in_which_they_ended(context: Context) -> None:
    lines = [{"dataframe_records": [row]} for row in people(5, 1).to_dict("records")]
    answers = [{"predictions": [1], "probabilities": [0.7], "model_version": "v1.0.0"}] * 5
    for key, documents in (("in/day.jsonl", lines), ("out/day.jsonl.out", answers), ("out/gone.jsonl.out", answers)):
        context.put("features", f"batch/people/{key}", "\n".join(map(json.dumps, documents)).encode())
    now = datetime.now(UTC)
    found = hours.counts(context, REFERENCE, now - timedelta(hours=2), now + timedelta(hours=1), Own())
    assert findings.total(list(found.values()))["rows"] == 5


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ({"a": [None] * 40, "b": [None] * 40, "kind": [None] * 40}, {"a", "b", "kind"}),
        ({"a": [99.0] * 40, "b": [0.0] * 40, "kind": ["new"] * 40}, {"a", "b", "kind"}),
        ({"a": [0.1], "b": [0.1], "kind": ["x"]}, set()),
    ],
    ids=["all missing", "out of range, and a new category", "one row"],
)
def test_odd_rows_are_counted_and_said(context: Context, rows: dict[str, list[Any]], says: set[str]) -> None:
    from pipelines.monitoring.counting import counts_of
    from pipelines.monitoring.drift import compare

    frame = pd.DataFrame(rows)
    lines = [
        json.dumps(
            capture_event(
                "application/json",
                json.dumps({"dataframe_records": [row]}).encode(),
                json.dumps({"predictions": [1], "probabilities": [0.5], "model_version": "v1.0.0"}).encode(),
                0,
            )
        )
        for row in frame.to_dict("records")
    ]
    key = f"capture/{context.endpoint_name}/champion/{BEGIN:%Y/%m/%d/%H/%M-%S}-odd.jsonl"
    context.put("models", key, "\n".join(lines).encode())
    found = findings.total(list(counted(context).values()))
    verdicts = compare(REFERENCE.features, counts_of(found["features"]))
    assert {item.column for item in verdicts if item.drifted} == says
    assert all(item.note == "only 1 rows" for item in verdicts) or len(frame) > 1
