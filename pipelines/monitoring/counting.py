"""Served rows as counts that can be added: an hour is counted once, and a day is the sum of its hours."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.monitoring import bias
from pipelines.monitoring.columns import Counts, Sums
from pipelines.monitoring.estimating import Estimation, class_names_of, outcomes, values_of
from pipelines.monitoring.labels import Labels
from pipelines.monitoring.reference import PREDICTION, Reference
from pipelines.monitoring.scores import Known, of_groups
from pipelines.monitoring.tables import Table

Document = dict[str, Any]
"""Counts of some rows, as JSON: ``rows``; ``features`` and ``answers`` (counts and sums by column); ``expected`` (what
``scores`` takes, estimated); ``labelled`` with the ``outcomes`` of rows whose outcome is known, and what was
``expected`` of them; ``facets`` and, for conditional metrics, ``groups``.
"""


def counted(reference: Reference, table: Table, labels: Labels) -> Document:
    """Count the rows that one version has answered."""
    rows, frame, said, chances = len(table), table.frame, table.said, table.chances
    if not rows:
        return {"rows": 0}
    found: Document = {
        "rows": rows,
        "features": {name: _pair(column.count(frame[name])) for name, column in reference.features.items()},
    }
    if reference.model.targets:
        return found
    names = class_names_of(reference.model)
    known, outcome = labels.of(table, reference)
    truth = np.full(rows, -1) if names else np.full(rows, np.nan)
    truth[known] = values_of(outcome[known], names)
    known &= (truth >= 0) & (said >= 0) if names else np.isfinite(truth) & np.isfinite(said)
    found["answers"] = _answers(reference, said, names, chances)
    estimated = reference.estimation
    told = np.ones(rows, dtype=bool) if chances is None else np.isfinite(chances).all(axis=1)
    if isinstance(estimated, Estimation) and (chances is not None or not names):
        found["expected"] = _expected(estimated, table, told)
    if known.any():
        likely = chances[known] if chances is not None and reference.model.output == "probability" else None
        found["labelled"] = {"outcomes": outcomes(said[known], likely, truth[known], len(names))}
        if "expected" in found:
            found["labelled"]["expected"] = _expected(estimated, table, known & told)  # type: ignore[arg-type]
    if reference.slices:
        found["facets"], found["groups"] = facets(reference, frame, said, known, truth)
    return found


def _expected(estimated: Estimation, table: Table, rows: Any) -> Known:
    chances = None if table.chances is None else table.chances[rows]
    return estimated.estimator.expected(table.frame[rows], table.said[rows], chances)


def counts_of(document: dict[str, Any]) -> dict[str, tuple[Counts, Sums]]:
    """``features`` or ``answers`` as arrays."""
    return {
        name: (np.array(counts, dtype=np.int64), np.array(sums, dtype=float))
        for name, (counts, sums) in document.items()
    }


def _pair(counted: tuple[Counts, Sums]) -> list[list[float]]:
    return [each.tolist() for each in counted]


def _answers(reference: Reference, said: Any, names: list[str], chances: Any) -> Document:
    import pandas as pd

    found = {}
    for name, column in reference.answers.items():
        if name == PREDICTION:
            values = np.array([*names, "another"], dtype=object)[said] if names else said
        else:
            values = chances[:, 1] if chances is not None else np.full(len(said), np.nan)
        found[name] = _pair(column.count(pd.Series(values)))
    return found


def facets(reference: Reference, frame: Any, said: Any, known: Any, truth: Any) -> tuple[Document, Document]:
    """``facets`` and ``groups`` of n rows: of each value of each column that divides them, cells of the bias metrics
    and outcomes; and cells once more by the values of the next column.
    """
    favourable, names = reference.favourable, class_names_of(reference.model)
    divided = divided_by(reference, frame)
    by_column: Document = {}
    for name, (codes, values) in divided.items():
        rows = np.bincount(codes, minlength=len(values)).tolist()
        by_column[name] = {value: {"rows": number} for value, number in zip(values, rows, strict=True)}
        turned_out = of_groups(codes[known], len(values), said[known], truth[known], len(names))
        for each, outcome in zip(by_column[name].values(), turned_out, strict=True):
            if outcome["rows"]:
                each["outcomes"] = outcome
    if favourable is None:
        return by_column, {}
    cells, groups = cells_of(divided, favourable.of(said, names), favourable.of(truth, names), known)
    for name, by_value in cells.items():
        for value, counts in by_value.items():
            by_column[name][value]["cells"] = counts
    return by_column, groups


Divided = dict[str, tuple[Any, list[str]]]
"""By column, the place of each of n rows' value, and the values."""


def divided_by(reference: Reference, frame: Any) -> Divided:
    """How n rows are divided into groups."""
    import pandas as pd

    factorized = {name: pd.factorize(each.labels(frame[name])) for name, each in reference.slices.items()}
    return {name: (codes, [str(value) for value in values]) for name, (codes, values) in factorized.items()}


def cells_of(divided: Divided, good: Any, came: Any = None, known: Any = None) -> tuple[Document, Document]:
    """Cells of the bias metrics by column and value; and by column, value of the next column, and value."""
    cells: Document = {}
    groups: Document = {}
    columns = list(divided)
    for place, (name, (codes, values)) in enumerate(divided.items()):
        cells[name] = dict(zip(values, bias.cells_by(codes, len(values), good, came, known), strict=True))
        if len(columns) > 1:
            others, named = divided[columns[(place + 1) % len(columns)]]
            both = bias.cells_by(codes * len(named) + others, len(values) * len(named), good)
            groups[name] = {
                group: {value: both[at * len(named) + number] for at, value in enumerate(values)}
                for number, group in enumerate(named)
            }
    return cells, groups
