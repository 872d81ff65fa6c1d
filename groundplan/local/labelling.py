"""Outcomes of predictions from a file that people bring: checked as a whole, then stored."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from groundplan.local.experiments import on_stack
from groundplan.local.home import Home
from pipelines.audit.records import entries, served_in
from pipelines.context import Context
from pipelines.data.captures import find
from pipelines.monitoring.labels import AHEAD, Label, write
from pipelines.monitoring.scores import coded
from pipelines.registry.versions import Registry
from pipelines.serving.ids import NAME, time_of
from pipelines.serving.models.engines import class_name
from pipelines.serving.protocols.checks import MAX_ROWS
from spec.errors import GroundplanError, UsageError

_IDS, _LABELS, _ROWS = (NAME, "eventId", "event_id", "inference_id"), ("label", "outcome", "actual"), ("row",)
_SHOWN = 3  # wrong lines
LOOKED_FOR = 10  # predictions; an outcome of one that was never captured is of no use


@dataclass(frozen=True)
class Stored:
    """What was stored.

    Attributes:
        outcomes: How many.
        empty: Rows of the file without an outcome.
        begin, end: Of the predictions that they belong to.
        looked_for, captured: How many of the predictions were looked for, and how many of these were captured.
    """

    outcomes: int
    empty: int
    begin: str
    end: str
    addresses: list[str]
    looked_for: int
    captured: int


def run_labels(home: Home, path: Path, file: Path, name: str = "", outputs: str = "") -> Stored:
    """Store the outcomes in a file; all of them, or none.

    Raises:
        UsageError: The file can't be read, or has no such columns.
        GroundplanError: Some of it can't be outcomes of the model's predictions.
    """
    with on_stack(home, path, outputs, "person.labels", name) as context:
        given = list(_read(file, context.definition.target))
        told = [(place, item) for place, item in given if not _empty(item.value)]
        _check(context, told, file)
        labels = [item for _, item in told]
        if not labels:
            raise UsageError("has no outcomes: every label is empty", where=str(file))
        times = sorted(time_of(label.prediction_id) for label in labels)
        return Stored(
            len(labels),
            len(given) - len(labels),
            times[0].isoformat(timespec="minutes"),
            times[-1].isoformat(timespec="minutes"),
            write(context, labels),
            len(some := labels[:: max(1, len(labels) // LOOKED_FOR)][:LOOKED_FOR]),
            sum(_captured(context, label) for label in some),
        )


def _captured(context: Context, label: Label) -> bool:
    """Whether there is such a prediction, with such a row."""
    found = find(context, label.prediction_id)
    return found is not None and label.row < len(found.answer.get("predictions", ()))


def _read(file: Path, target: str) -> Iterator[tuple[int, Label]]:
    """Outcomes with the number of their line, or of their row in a table without lines."""
    if not file.is_file():
        raise UsageError("no such file", where=str(file))
    kind = file.suffix.lower()
    try:
        if kind in (".jsonl", ".ndjson", ".json"):
            yield from _of_lines(file, target)
            return
        import pandas as pd

        if kind == ".parquet":
            table = pd.read_parquet(file)
        elif kind in (".csv", ".tsv"):
            table = pd.read_csv(file, sep="\t" if kind == ".tsv" else ",", dtype=str, keep_default_na=False)
        else:
            raise UsageError(
                f"ends in {kind or 'nothing'}, and outcomes are read from tables",
                where=str(file),
                fix="use .csv, .jsonl or .parquet",
            )
    except UsageError:
        raise
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't be read as {kind[1:]} ({type(error).__name__})", where=str(file)) from None
    first = 2 if kind != ".parquet" else 1  # a head is a line
    names = _names([str(name) for name in table.columns], target, file)
    for number, row in enumerate(zip(*(table[name] for name in names), strict=True), first):
        yield number, _label(*row)


def _of_lines(file: Path, target: str) -> Iterator[tuple[int, Label]]:
    """A document a line: SageMaker's ground truth, or fields by their names."""
    from pipelines.monitoring.labels import values_of

    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except ValueError:
            raise UsageError("is not a JSON document", where=f"{file}, line {number}") from None
        if not isinstance(document, dict):
            raise UsageError("is not a JSON object", where=f"{file}, line {number}")
        if "groundTruthData" in document:
            try:
                told = values_of(document)
                prediction_id = str(document["eventMetadata"]["eventId"])
            except (ValueError, KeyError, TypeError):
                raise UsageError(
                    "is not ground truth as SageMaker writes it",
                    where=f"{file}, line {number}",
                    fix='{"groundTruthData": {"data": "1", "encoding": "CSV"}, "eventMetadata": {"eventId": "ID"}}',
                ) from None
            yield from ((number, Label(prediction_id, value, place)) for place, value in enumerate(told))
        else:
            names = _names(list(document), target, file, f", line {number}")
            yield number, _label(*(document[name] for name in names))


def _names(found: list[str], target: str, file: Path, place: str = "") -> list[str]:
    """The columns with the id, the label and, if there is one, the row."""
    chosen = []
    for known in (_IDS, (*_LABELS, *([target] if target else ()))):
        name = next((name for name in known if name in found), None)
        if name is None:
            raise UsageError(
                f"has no column {known[0]}; it has {', '.join(found) or 'none'}",
                where=f"{file}{place}",
                fix=f"name the prediction's id {NAME}, its outcome {'label' if not target else f'label or {target}'}",
            )
        chosen.append(name)
    return [*chosen, *(name for name in _ROWS if name in found)]


def _label(prediction_id: Any, value: Any, row: Any = 0) -> Label:
    value = value.item() if hasattr(value, "item") else value
    value = float(value) if isinstance(value, Decimal) else value
    try:
        place = int(row or 0)
    except (TypeError, ValueError):
        place = -1
    return Label(str(prediction_id).strip(), value.strip() if isinstance(value, str) else value, place)


def _empty(value: Any) -> bool:
    """Nothing, in any of the ways in which tables have it."""
    return value is None or (isinstance(value, str) and value == "") or str(value) in ("nan", "<NA>", "NaT")


def _check(context: Context, told: list[tuple[int, Label]], file: Path) -> None:
    """Raises a GroundplanError that names the first wrong ones, and how many there are of each kind."""
    served = served_in(entries(context))
    if not served:
        raise GroundplanError(
            f"no version of {context.model} has served yet, so nothing was predicted", where="registry"
        )
    outputs = Registry(context).record(served[-1]).interface.outputs
    if outputs["targets"]:
        raise GroundplanError(
            f"{context.model} predicts several targets; its outcomes can't be taken yet", where="MODEL"
        )
    classes = [class_name(name) for name in outputs["classes"]]
    latest = datetime.now(UTC) + AHEAD
    wrong: dict[str, list[str]] = {}
    for number, label in told:
        if why := _why(label, classes, latest):
            wrong.setdefault(why, []).append(f"{label.prediction_id if 'id' in why else label.value!r} (line {number})")
    if not wrong:
        return
    counted = Counter({why: len(those) for why, those in wrong.items()})
    parts = [f"{number:,} {why}: {_some(wrong[why])}" for why, number in counted.most_common()]
    raise GroundplanError(
        f"nothing was stored, as of {len(told):,} outcomes {'; '.join(parts)}",
        where=str(file),
        fix=f"a {NAME} is in each answer of the model; known classes: {', '.join(sorted(classes))}"
        if classes
        else f"a {NAME} is in each answer of the model",
    )


def _why(label: Label, classes: list[str], latest: datetime) -> str:
    """What is wrong with an outcome, in words; empty if nothing."""
    try:
        at = time_of(label.prediction_id)
    except ValueError:
        return "have no id of a prediction"
    if at > latest:
        return "have the id of a prediction in the future"
    if not 0 <= label.row < MAX_ROWS:
        return "have no number of a row, 0 for the first"
    if not isinstance(label.value, str | int | float):
        return "have a label that is neither a text nor a number"
    if classes:
        return "" if coded([label.value], classes)[0] >= 0 else "have a label that is no class of the model"
    try:
        finite = math.isfinite(float(label.value) ** 2)
    except (OverflowError, ValueError):
        finite = False
    return "" if finite else "have a label that is not a number"


def _some(found: Iterable[str]) -> str:
    found = list(found)
    more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    return f"{', '.join(islice(found, _SHOWN))}{more}"
