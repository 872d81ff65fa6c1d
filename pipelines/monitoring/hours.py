"""Hours of predictions, each counted once: a document a day and version, below ``monitoring/MODEL/VERSION/`` of the
curated zone.

An hour is counted again when a file of it is added, or changed because a person's rows were erased, or when outcomes of
its predictions have come. Nothing in these documents is about a single prediction.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from pipelines.context import Context
from pipelines.data.captures import BATCH, HOUR, requests_of
from pipelines.data.captures import FOLDER as CAPTURED
from pipelines.monitoring import labels, looked_up, tables
from pipelines.monitoring.counting import Document, counted
from pipelines.monitoring.labels import Labels, Own
from pipelines.monitoring.reference import Reference
from pipelines.monitoring.served import Served
from pipelines.monitoring.tables import Table
from spec.zones import LABELS

FOLDER = "monitoring"
FORM = 1  # of the documents; others are counted again
LATE = timedelta(hours=2)  # after its prediction, an event was written or lost
OWN_OUTCOMES = timedelta(days=7)  # for which outcomes in the platform's own data are looked for
READERS, AT_ONCE = 8, 2  # files, hours


@dataclass(frozen=True)
class File:
    """Predictions in one object.

    Attributes:
        tag: Changes with its content.
        asked: Of a batch job, the key of the requests.
    """

    zone: str
    key: str
    tag: str
    asked: str = ""


def counts(
    context: Context, reference: Reference, begin: datetime, end: datetime, own: Own
) -> dict[datetime, Document]:
    """Counts of the hours from one moment to another, of what a version has answered; those not counted yet are, and
    kept.
    """
    files = _files(context, begin, end)
    outcomes = _outcomes(context, begin - LATE, end)
    known: dict[datetime, Document] = {}
    for day in sorted({hour.date() for hour in files}):
        key = f"{FOLDER}/{context.model}/{reference.version}/{day}.json"
        kept = _kept(context.read("curated", key), reference)
        wanted = [
            _wanted(hour, files[hour], outcomes, own if hour > end - OWN_OUTCOMES else Own())
            for hour in sorted(files)
            if hour.date() == day
        ]
        if new := [each for each in wanted if kept.get(each.name, {}).get("stamp") != each.stamp]:
            _ = reference.features, reference.answers, reference.estimation, reference.slices  # made once, not in each
            with ThreadPoolExecutor(AT_ONCE) as pool:
                made = pool.map(lambda each: _count(context, reference, each), new)
                kept |= {
                    each.name: {"stamp": each.stamp, "counts": found} for each, found in zip(new, made, strict=True)
                }
            document = {"reference": _of(reference), "hours": kept}
            context.put("curated", key, orjson.dumps(document), "application/json")
        known |= {each.hour: kept[each.name]["counts"] for each in wanted}
    return known


@dataclass(frozen=True)
class _Wanted:
    """An hour to be counted: its files, keys of its outcomes, and what changes with them."""

    hour: datetime
    files: list[File]
    outcomes: list[str]
    own: Own
    stamp: str

    @property
    def name(self) -> str:
        """In the day's document."""
        return f"{self.hour:%H}"


def _wanted(
    hour: datetime, files: list[File], outcomes: dict[datetime, list[tuple[str, str, str]]], own: Own
) -> _Wanted:
    before = [hour - timedelta(hours=past) for past in range(int(LATE / timedelta(hours=1)) + 1)]
    told = sorted(item for each in before for item in outcomes.get(each, ()))
    return _Wanted(hour, files, [key for _, key, _ in told], own, _digest([FORM, files, told, own.stamp]))


def _count(context: Context, reference: Reference, wanted: _Wanted) -> Document:
    table, unknown = read(context, reference, wanted.files)
    labels_of = Labels(labels.read(context, wanted.outcomes), wanted.own)
    return counted(reference, table, labels_of) | {"unknown": unknown}


def read(context: Context, reference: Reference, files: list[File]) -> tuple[Table, int]:
    """Rows of some files that the version has answered; and of how many, asked for by key, the features are unknown."""
    model, version, columns = reference.model, reference.version, list(reference.features)
    rest = Served(by_key=True)
    with ThreadPoolExecutor(READERS) as pool:  # a file a minute: what takes time is asking for it
        bodies = list(pool.map(lambda file: context.get(file.zone, file.key), files))
    captured = [body for file, body in zip(files, bodies, strict=True) if not file.asked]
    usual = tables.read(captured, model, columns, version, rest)
    for file, body in zip(files, bodies, strict=True):
        if file.asked and (asked := context.read(file.zone, file.asked)) is not None:  # else they were deleted
            for request, line in zip(asked.splitlines(), body.splitlines(), strict=False):
                answer = json.loads(line)
                if answer.get("model_version") == version:
                    rest.add(json.loads(request), answer, model.columns)
    unknown = looked_up.fill(context, rest)
    others = tables.of_served(rest, model, columns)
    return (others if usual is None else tables.joined([usual, others])), unknown


def newest(context: Context, begin: datetime, end: datetime) -> Iterator[File]:
    """Files with predictions, the newest hours first."""
    files = _files(context, begin, end)
    for hour in sorted(files, reverse=True):
        yield from reversed(files[hour])


def _files(context: Context, begin: datetime, end: datetime) -> dict[datetime, list[File]]:
    """Files by the hour in which they were written, in order."""
    found: dict[datetime, list[File]] = defaultdict(list)
    for variant in context.folders("models", f"{CAPTURED}{context.endpoint_name}/"):
        for hour, item in _by_hour(context, "models", variant, begin, end):
            found[hour].append(File("models", item["Key"], item["ETag"]))
    for item in context.objects("features", f"{BATCH}{context.model}/out/"):
        written = item["LastModified"].astimezone(UTC)
        if begin <= written <= end:
            hour = written.replace(minute=0, second=0, microsecond=0)
            found[hour].append(File("features", item["Key"], item["ETag"], requests_of(item["Key"])))
    return found


def _outcomes(context: Context, begin: datetime, end: datetime) -> dict[datetime, list[tuple[str, str, str]]]:
    """When each file of outcomes was written, its key and its tag, by the hour of its predictions."""
    found: dict[datetime, list[tuple[str, str, str]]] = defaultdict(list)
    for hour, item in _by_hour(context, "curated", f"{LABELS}{context.model}/", begin, end):
        found[hour].append((item["LastModified"].isoformat(), item["Key"], item["ETag"]))
    return found


def _by_hour(
    context: Context, zone: str, prefix: str, begin: datetime, end: datetime
) -> Iterator[tuple[datetime, dict[str, Any]]]:
    """Objects of a folder with a folder for each hour, from one moment to another."""
    for item in context.objects(zone, prefix, f"{prefix}{begin:{HOUR}}"):
        try:
            hour = datetime.strptime(item["Key"].removeprefix(prefix)[:14], HOUR).replace(tzinfo=UTC)
        except ValueError:
            continue  # in none of them
        if hour > end:
            return
        yield hour, item


def _kept(body: bytes | None, reference: Reference) -> dict[str, Any]:
    document = orjson.loads(body) if body is not None else {}
    hours: dict[str, Any] = document["hours"] if document.get("reference") == _of(reference) else {}
    return hours


def _of(reference: Reference) -> str:
    """Changes with the bins and the groups: those of a version change if a person's rows are erased from its training
    rows.
    """
    columns = [*reference.features.values(), *reference.answers.values()]
    bins = [(column.name, column.kind, column.names, column.edges.tolist()) for column in columns]
    groups = [(name, each.names, each.edges) for name, each in reference.slices.items()]
    return _digest([reference.version, bins, groups, reference.favourable, len(reference.holdout)])


def _digest(parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
