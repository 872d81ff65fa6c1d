"""What the counts of a version's predictions mean: drift, quality with and without outcomes, bias."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from pipelines.monitoring import bias
from pipelines.monitoring.columns import CATEGORIES, NUMBERS, Column, Counts
from pipelines.monitoring.counting import Document, cells_of, divided_by
from pipelines.monitoring.counting import facets as counted_facets
from pipelines.monitoring.estimating import Estimation, class_names_of, values_of
from pipelines.monitoring.reference import Reference
from pipelines.monitoring.scores import added, scores

FEW = 30  # outcomes, below which a metric says nothing
BLIND = (
    "An estimate without outcomes holds while outcomes depend on the features as they did on the held-out rows. It is"
    " blind to a change in that (concept drift); only outcomes show it: groundplan labels."
)


def total(documents: list[Document]) -> Document:
    """The sum of hours; of none no rows."""
    found: Document = {"rows": 0}
    for document in documents:
        found = added(found, document)
    return found


def unexpected(columns: dict[str, Column], counts: dict[str, tuple[Counts, Any]]) -> tuple[float, list[dict[str, Any]]]:
    """The share of values that training never had: outside of its range, of a new category, or missing where none were;
    and the columns with some, the worst first.
    """
    values, odd = 0, 0
    worst: list[dict[str, Any]] = []
    for name, column in columns.items():
        count = counts[name][0]
        rows = int(count.sum())
        found = {"outside": 0, "new": 0, "missing": 0 if column.counts[-1] else int(count[-1])}
        if column.kind == NUMBERS:
            found["outside"] = int(count[0] + count[-2])
        elif column.kind == CATEGORIES:
            found["new"] = 0 if column.counts[-2] else int(count[-2])  # training has had rarer ones, too
        values, odd = values + rows, odd + sum(found.values())
        if any(found.values()):
            worst.append({"column": name, "rows": rows, **found})
    worst.sort(key=lambda item: -(item["outside"] + item["new"] + item["missing"]) / item["rows"])
    return odd / values if values else 0.0, worst


def estimated(reference: Reference, counts: Document) -> dict[str, Any]:
    """Metrics that are expected of the rows, each with ``value``, ``low`` and ``high``; ``method``, or ``why`` there is
    no estimate.
    """
    found = reference.estimation
    if not isinstance(found, Estimation):
        return {"why": found, "metrics": {}}
    return {"method": found.method, "metrics": _with_intervals(found, counts.get("expected", {}))}


def _with_intervals(found: Estimation, expected: dict[str, Any]) -> dict[str, dict[str, float]]:
    metrics = {}
    for name, value in scores(expected).items():
        if name in found.off:
            low, high = found.interval(name, value, expected["rows"])
            metrics[name] = {"value": value, "low": low, "high": high}
    return metrics


def realised(reference: Reference, counts: Document) -> dict[str, Any]:
    """Metrics of the rows whose outcome is known: ``rows``, ``metrics``; and ``concept_drift``, those that lie outside
    of what was expected of the same rows, with what was.
    """
    labelled = counts.get("labelled", {})
    outcomes = labelled.get("outcomes", {"rows": 0})
    metrics = scores(outcomes)
    drift = {}
    if isinstance(reference.estimation, Estimation) and outcomes["rows"] >= FEW:
        for name, told in _with_intervals(reference.estimation, labelled.get("expected", {})).items():
            if name in metrics and not told["low"] <= metrics[name] <= told["high"]:
                drift[name] = {**told, "outcome": metrics[name]}
    return {"rows": outcomes["rows"], "metrics": metrics, "concept_drift": drift}


def facets(reference: Reference, counts: Document) -> list[dict[str, Any]]:
    """Bias metrics of each group that is large enough, and so are all others: ``pre_training`` of the labels it was
    trained on, ``post_training`` of what was served; and the metrics of its rows with known outcomes.
    """
    before = _trained_on(reference)
    found = []
    for column, values in counts.get("facets", {}).items():
        order = {name: place for place, name in enumerate(reference.slices[column].names)}
        for value, own in sorted(values.items(), key=lambda item: (order.get(item[0], len(order)), item[0])):
            others = [each for name, each in values.items() if name != value]
            item: dict[str, Any] = {"column": column, "value": value, "rows": own["rows"]}
            if own["rows"] < bias.LEAST_ROWS or sum(each["rows"] for each in others) < bias.LEAST_ROWS:
                found.append({**item, "note": f"fewer than {bias.LEAST_ROWS} rows"})
                continue
            if own.get("outcomes", {}).get("rows", 0) >= bias.LEAST_ROWS:
                item["metrics"] = scores(own["outcomes"])
                item["outcomes"] = own["outcomes"]["rows"]
            if "cells" in own:
                groups = _conditional(counts["groups"].get(column, {}), value)
                item["post_training"] = bias.post_training(own["cells"], _sum(each["cells"] for each in others), groups)
                item["pre_training"] = before.get(column, {}).get(value, {})
            found.append(item)
    return found


def held_out(reference: Reference) -> list[dict[str, Any]]:
    """The same of the held-out rows, before the version serves."""
    if reference.model.targets or not reference.slices:
        return []
    names, rows = class_names_of(reference.model), reference.holdout
    said, truth = values_of(reference.predictions, names), values_of(rows.labels, names)
    counts = counted_facets(reference, rows.features, said, np.ones(len(rows), dtype=bool), truth)
    return facets(reference, {"facets": counts[0], "groups": counts[1]})


def _trained_on(reference: Reference) -> dict[str, dict[str, dict[str, float]]]:
    """Bias metrics of the training labels, by column and value."""
    favourable, rows = reference.favourable, reference.training
    if favourable is None:
        return {}
    names = class_names_of(reference.model)
    cells, groups = cells_of(divided_by(reference, rows.features), favourable.of(values_of(rows.labels, names), names))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for column, by_value in cells.items():
        for value, own in by_value.items():
            others = _sum(each for name, each in by_value.items() if name != value)
            if min(own["n"], others["n"]) >= bias.LEAST_ROWS:
                conditional = _conditional(groups.get(column, {}), value)
                found.setdefault(column, {})[value] = bias.pre_training(own, others, conditional)
    return found


def _conditional(groups: dict[str, Any], value: str) -> list[tuple[Any, Any]] | None:
    nothing = dict.fromkeys(bias.CELLS, 0)
    found = [
        (own.get(value, nothing), _sum(each for name, each in own.items() if name != value)) for own in groups.values()
    ]
    return found or None


def _sum(parts: Any) -> dict[str, float]:
    total = dict.fromkeys(bias.CELLS, 0.0)
    for part in parts:
        total = {name: total[name] + part[name] for name in bias.CELLS}
    return total


def as_rows(found: list[Any]) -> list[dict[str, Any]]:
    """Verdicts on columns, as JSON."""
    return [asdict(item) for item in found]
