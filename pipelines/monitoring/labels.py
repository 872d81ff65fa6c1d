"""Outcomes of predictions, which come later: each names the prediction that it belongs to.

They lie in the curated zone, below ``labels/MODEL/YYYY/MM/DD/HH/`` by the hour (UTC) in which the prediction was made,
in the form of SageMaker Model Monitor's ground truth: a JSON document a line, with ``groundTruthData`` and the
prediction's id as ``eventMetadata.eventId``. A request of several rows has a value for each, one a line.
https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-merge.html

Where the platform has an outcome itself, because the same row is in the model's own data, it needs no label.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.context import Context
from pipelines.data.captures import HOUR
from pipelines.monitoring.columns import as_numbers, is_dated
from pipelines.monitoring.tables import Table
from pipelines.serving.ids import time_of
from pipelines.training.labelled import each_row, row_digests
from spec.zones import LABELS

if TYPE_CHECKING:
    from pipelines.monitoring.reference import Reference

MOST_ALIKE = 0.1  # share of rows of the platform's own data that have the features of another
AHEAD = timedelta(minutes=5)  # that another machine's clock may be


@dataclass(frozen=True)
class Own:
    """Outcomes that the platform's own data has, by the digest of a row's features.

    Attributes:
        stamp: Changes with them.
        digests, outcomes: Of n rows, sorted by their digests.
    """

    stamp: str = ""
    digests: Any = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    outcomes: Any = field(default_factory=lambda: np.zeros(0, dtype=object))


@dataclass(frozen=True)
class Labels:
    """Outcomes by the id of a prediction and the place of its row, and those that the platform has itself."""

    by_id: dict[tuple[str, int], Any] = field(default_factory=dict)
    own: Own = field(default_factory=Own)

    def of(self, table: Table, reference: Reference) -> tuple[Any, Any]:
        """Which of n rows have a known outcome, and the outcomes: two arrays of shape [n]."""
        outcome = np.full(len(table), None, dtype=object)
        known = np.zeros(len(table), dtype=bool)
        if len(self.own.digests):
            digests = row_digests(typed(table.frame, reference.training.features), list(table.frame.columns)).to_numpy()
            places = np.minimum(np.searchsorted(self.own.digests, digests), len(self.own.digests) - 1)
            known = self.own.digests[places] == digests
            outcome[known] = self.own.outcomes[places[known]]
        if self.by_id:
            for place, both in enumerate(zip(table.ids, table.places, strict=True)):
                if both in self.by_id:
                    outcome[place], known[place] = self.by_id[both], True
        return known, outcome


def typed(frame: Any, like: Any) -> Any:
    """The same rows in the types of others, so that equal ones have equal digests."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    found = {}
    for name in frame.columns:
        kind = like[name].dtype
        kind = getattr(getattr(kind, "categories", None), "dtype", kind)  # of pandas' categories their own
        if is_numeric_dtype(kind) or is_bool_dtype(kind) or is_dated(like[name]):
            found[name] = as_numbers(frame[name], dated=is_dated(like[name]))
    return frame.assign(**found)


def own_outcomes(context: Context, reference: Reference, training_set: Any) -> Own:
    """Outcomes of held-out rows, or of all that have come since; never of rows that the version has learnt from, and
    none where features do not tell rows apart.
    """
    from pipelines.registry.evaluation import outcomes

    names = list(reference.training.features.columns)
    later = outcomes(context, reference.holdout, [reference.training], training_set)
    rows = later if later is not None else reference.holdout
    digests = row_digests(typed(rows.features[names], reference.training.features), names).to_numpy()
    distinct, places, times = np.unique(digests, return_index=True, return_counts=True)
    if (times > 1).sum() > MOST_ALIKE * len(distinct):
        return Own()
    values, once = np.empty(len(rows), dtype=object), times == 1
    values[:] = each_row(rows.labels)
    return Own(f"{once.sum()}-{int(distinct[once].sum()):x}", distinct[once], values[places[once]])


def folder_of(model: str, hour: datetime) -> str:
    """Where the outcomes of an hour's predictions are."""
    return f"{LABELS}{model}/{hour.astimezone(UTC):{HOUR}}"


def read(context: Context, keys: Iterable[str]) -> dict[tuple[str, int], Any]:
    """Outcomes of some files; of two for the same prediction, the later one holds."""
    found: dict[tuple[str, int], Any] = {}
    for key in keys:
        for line in context.get("curated", key).splitlines():
            try:
                document = json.loads(line)
                prediction_id, values = str(document["eventMetadata"]["eventId"]).lower(), values_of(document)
            except (ValueError, KeyError, TypeError):
                continue  # no ground truth
            found |= {(prediction_id, place): value for place, value in enumerate(values) if value != ""}
    return found


def values_of(document: dict[str, Any]) -> list[Any]:
    """The outcome of each row of a request, from a document of ground truth.

    Raises:
        ValueError, KeyError, TypeError: It is none.
    """
    told = document["groundTruthData"]
    if not isinstance(told, dict):
        raise TypeError("groundTruthData is an object")
    if told.get("encoding") != "JSON":
        return [part.strip() for part in str(told["data"]).split("\n")]
    value = json.loads(told["data"])
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str | int | float | None) for each in values):
        raise TypeError("an outcome is a text or a number")
    return ["" if each is None else each for each in values]


@dataclass(frozen=True)
class Label:
    """One outcome.

    Attributes:
        row: Place of its row in the request.
    """

    prediction_id: str
    value: Any
    row: int = 0


def write(context: Context, labels: Iterable[Label]) -> list[str]:
    """Store outcomes; returns the addresses. Of two for the same prediction, the one that is stored later holds.

    Raises:
        ValueError: Of an id that no server has given.
    """
    import hashlib

    hours: dict[str, dict[str, dict[int, Any]]] = {}
    for label in labels:
        hour = folder_of(context.model, time_of(label.prediction_id))
        hours.setdefault(hour, {}).setdefault(label.prediction_id.lower(), {})[label.row] = label.value
    bodies = {}
    for folder, by_id in sorted(hours.items()):
        lines = [
            json.dumps(
                {
                    "groundTruthData": {
                        "data": json.dumps([rows.get(place) for place in range(max(rows) + 1)]),
                        "encoding": "JSON",
                    },
                    "eventMetadata": {"eventId": prediction_id},
                    "eventVersion": "0",
                }
            )
            for prediction_id, rows in sorted(by_id.items())
        ]
        body = "\n".join(lines).encode()
        # S3 tells when it was written to the second; what follows within it is later by its name.
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{hashlib.sha256(body).hexdigest()[:16]}"
        bodies[f"{folder}{name}.jsonl"] = body
    return [context.put("curated", key, body, "application/json") for key, body in bodies.items()]
