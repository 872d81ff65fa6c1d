"""Explanations of predictions: SHAP values of the served model itself, whatever kind of model it was; exact where its
graph shows how, else estimated.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines.serving.explaining.exact import METHOD, Exact
from pipelines.serving.explaining.trees import NotExactError
from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import Answers
from pipelines.serving.models.rows import Columns, Rows
from pipelines.serving.protocols.checks import BadRequestError

MAX_EXPLAINED_ROWS = 20


ESTIMATE = "estimate (permutations)"


def explain(model: Model, given: Rows) -> list[dict[str, Any]]:
    """SHAP values of each row (Lundberg and Lee, 2017), compared with the background rows.

    Returns:
        Per row: ``prediction``, ``explains`` (what the values add up to, less ``base_value``, the mean over the
        background rows), ``shap_values`` by column, and ``method``: exact or an estimate. Explained are a regression's
        prediction; of a classifier the ``probability`` of the predicted class; where it has none, its ``score`` (of two
        classes the second's); where it has neither, whether the class is the predicted one, 1 or 0. Of several targets
        ``base_value``, ``shap_values`` and what is explained are objects with an entry for each; for a binary label,
        the probability or score of its positive class.

    Raises:
        BadRequestError: More rows than are explained at once.
    """
    if len(given) > MAX_EXPLAINED_ROWS:
        raise BadRequestError(
            f"{len(given)} rows were sent; at most {MAX_EXPLAINED_ROWS} are explained per request.", 413
        )
    answers = model.answers(given)
    exact = _exact(model)
    if exact is not None:
        with contextlib.suppress(NotExactError):
            return [_exactly(model, exact, given, answers, row) for row in range(len(given))]
    return _estimated(model, given, answers)


def _exact(model: Model) -> Exact | None:
    """How to explain a model exactly, found out once."""
    with _finding_out:
        known = model.__dict__.get("_exact", False)
        if known is False:
            known = None
            with contextlib.suppress(NotExactError):
                known = Exact(model)
            model.__dict__["_exact"] = known
    return known  # type: ignore[no-any-return]


_finding_out = threading.Lock()


def _exactly(model: Model, exact: Exact, given: Rows, answers: Answers, row: int) -> dict[str, Any]:
    prediction = answers.predictions[row]
    place = model.classes.index(prediction) if model.classes else 0
    item = {
        "prediction": prediction,
        "explains": "prediction" if model.task == "regression" else model.output,
        "base_value": float(exact.base[place]),
        "shap_values": dict(zip(model.names, map(float, exact.values(given, row, place)), strict=True)),
        "method": METHOD,
    }
    if answers.beside is not None and model.output:
        item[model.output] = float(answers.beside[row][place])
    return item


def _estimated(model: Model, given: Rows, answers: Answers) -> list[dict[str, Any]]:
    import shap

    columns, predictions = given.lists, answers.predictions
    coded = _Coding(model, columns)
    results: list[dict[str, Any]] = []
    masker = shap.maskers.Independent(coded.background, max_samples=len(coded.background))
    for row in range(len(given)):
        explained = _explained(model, predictions[row])

        def output(matrix: Any, explained: Callable[[Columns], Any] = explained) -> Any:
            return np.asarray(explained(coded.decode(matrix)), dtype=float)

        explainer = shap.explainers.Permutation(output, masker, seed=0)
        width = len(model.columns)
        found = explainer(coded.rows[row : row + 1], max_evals=10 * (2 * width + 1), silent=True)
        item = {
            "prediction": predictions[row],
            "explains": "prediction" if model.task == "regression" else model.output or "class",
            "base_value": _told(model, np.ravel(found.base_values)),
            "shap_values": _effects(model, np.asarray(found.values[0])),
            "method": ESTIMATE,
        }
        if model.output:
            item[model.output] = _told(model, np.ravel(output(coded.rows[row : row + 1])))
        results.append(item)
    return results


def _told(model: Model, values: Any) -> Any:
    """A number; for several targets one for each."""
    return dict(zip(model.targets, map(float, values), strict=True)) if model.targets else float(values[0])


def _effects(model: Model, values: Any) -> dict[str, Any]:
    """SHAP values of shape [columns], or [columns, targets], by column; of several targets for each."""
    if model.targets:
        return {
            target: dict(zip(model.names, map(float, values[:, place]), strict=True))
            for place, target in enumerate(model.targets)
        }
    return dict(zip(model.names, map(float, values), strict=True))


def _explained(model: Model, prediction: Any) -> Callable[[Columns], Any]:
    """The one number of each row that is explained; of several targets one for each."""
    if model.task == "regression":
        return lambda columns: model.answers(Rows.of(columns)).predictions
    if model.targets and model.output:
        return lambda columns: model.answers(Rows.of(columns)).beside
    if model.targets:
        return lambda columns: [
            [value == wanted for value, wanted in zip(row, prediction, strict=True)]
            for row in model.answers(Rows.of(columns)).predictions
        ]
    if not model.output:
        return lambda columns: [value == prediction for value in model.answers(Rows.of(columns)).predictions]
    picked = model.classes.index(prediction)

    def beside(columns: Columns) -> Any:
        values: Any = model.answers(Rows.of(columns)).beside
        return values if values.ndim == 1 else values[:, picked]

    return beside


class _Coding:
    """Columns as one matrix of numbers, as SHAP requires; texts are mapped to numbers of their distinct values and
    back.
    """

    def __init__(self, model: Model, columns: Columns) -> None:
        self.model = model
        self.levels = {
            column["name"]: sorted({*model.background[column["name"]], *columns[column["name"]]} - {None})
            for column in model.columns
            if column["type"] in ("string", "timestamp")
        }
        self.background, self.rows = self._encode(model.background), self._encode(columns)

    def _encode(self, columns: Columns) -> Any:
        coded = [
            (
                [math.nan if value is None else self.levels[name].index(value) for value in columns[name]]
                if name in self.levels
                else [math.nan if value is None else float(value) for value in columns[name]]
            )
            for name in self.model.names
        ]
        return np.array(coded, dtype=float).T

    def decode(self, matrix: Any) -> Columns:
        """Columns of values from a matrix of shape [n, columns]."""
        gaps = np.isnan(matrix).any(axis=0)
        return {
            name: (
                [None if math.isnan(code) else self.levels[name][int(code)] for code in matrix[:, index]]
                if name in self.levels
                else (
                    [None if math.isnan(value) else value for value in matrix[:, index].tolist()]
                    if gaps[index]
                    else matrix[:, index].tolist()
                )
            )
            for index, name in enumerate(self.model.names)
        }
