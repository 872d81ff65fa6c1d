"""Explanations of predictions: SHAP values of the served model itself, whatever kind of model it was; exact where that
can be computed, else estimated with its error. LIME and a counterfactual are given to who asks for them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import numpy as np

from pipelines.serving.explaining.counterfactual import counterfactual
from pipelines.serving.explaining.exact import METHOD, Exact
from pipelines.serving.explaining.game import MOST_ROWS, Game, Output, Values
from pipelines.serving.explaining.lime import SAMPLES, lime
from pipelines.serving.explaining.trees import NotExactError
from pipelines.serving.explaining.words import reasons
from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import Answers, Onnx
from pipelines.serving.models.rows import Rows
from pipelines.serving.protocols.checks import BadRequestError

MAX_EXPLAINED_ROWS = 1_000
MOST_S = 20.0  # for all rows of a request
ADDITIVE = "exact (the model adds up what each column contributes)"
PLAYED_OUT = "exact (all coalitions)"
ESTIMATE = "estimate (permutations)"
LIME = f"LIME ({SAMPLES} samples)"
_CLOSE = 1e-4
METHODS = ("shap", "lime")
_PARAMS = {"method", "counterfactual", "extra_columns", "purpose"}  # the last two are about any request


def explain(model: Model, given: Rows, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """SHAP values of each row (Lundberg and Lee, 2017), compared with the background rows.

    Args:
        params: ``method``, shap or lime; ``counterfactual``, true for what would change the prediction.

    Returns:
        Per row: ``prediction``, ``explains`` (what the values add up to, less ``base_value``, the mean over the
        background rows), ``shap_values`` by column, and ``method``: exact or an estimate, the latter with
        ``standard_errors``. Explained are a regression's prediction; of a classifier the ``probability`` of the
        predicted class; where it has none, its ``score`` (of two classes the second's); where it has neither, whether
        the class is the predicted one, 1 or 0. Of several targets ``base_value``, ``shap_values`` and what is explained
        are objects with an entry for each; for a binary label, the probability or score of its positive class.
        ``reasons`` says the largest effects in words. With lime, ``weights``, ``intercept`` and ``r2`` instead.

    Raises:
        BadRequestError: More rows than are explained at once, or params that there are not.
    """
    method, counter = _wanted(model, params or {})
    if len(given) > MAX_EXPLAINED_ROWS:
        raise BadRequestError(
            f"{len(given)} rows were sent; at most {MAX_EXPLAINED_ROWS} are explained per request.", 413
        )
    answers, ends, found = model.answers(given), time.monotonic() + MOST_S, []
    columns = given.lists
    for place in range(len(given)):
        if time.monotonic() > ends:
            raise BadRequestError(
                f"{place} of {len(given)} rows could be explained within {MOST_S:g} s; send fewer at once.", 413
            )
        row = {name: values[place] for name, values in columns.items()}
        item = _explained(model, given, answers, place, row) if method == "shap" else _lime(model, answers, place, row)
        if counter:
            item["counterfactual"] = counterfactual(model, row, answers.predictions[place])
        found.append(item)
    return found


def _wanted(model: Model, params: dict[str, Any]) -> tuple[str, bool]:
    if unknown := sorted(set(params) - _PARAMS):
        raise BadRequestError(f"Unknown params {', '.join(unknown)[:80]}; there are method and counterfactual.")
    method, counter = params.get("method", "shap"), params.get("counterfactual", False)
    if method not in METHODS:
        raise BadRequestError(f"params.method is {str(method)[:40]!r}; it must be {' or '.join(METHODS)}.")
    if not isinstance(counter, bool):
        raise BadRequestError(f"params.counterfactual is {str(counter)[:40]!r}; it must be true or false.")
    if model.targets and (counter or method == "lime"):
        raise BadRequestError("Of a model with several targets there are SHAP values only.")
    if not model.background:
        raise BadRequestError("This model has no background rows to compare with, so that it can't be explained.")
    return method, counter


def _explained(model: Model, given: Rows, answers: Answers, place: int, row: dict[str, Any]) -> dict[str, Any]:
    prediction = answers.predictions[place]
    explains, output = _output(model, prediction)
    item: dict[str, Any] = {"prediction": prediction, "explains": explains}
    own = np.ravel(np.asarray(output(Rows.of({name: [value] for name, value in row.items()})), dtype=float))
    found, method = _values(model, given, place, row, prediction, output, own)
    item |= {"base_value": _told(model, found.base), "shap_values": _by_column(model, found.values), "method": method}
    if found.errors is not None:
        item["standard_errors"] = _by_column(model, found.errors)
    if model.output:
        item[model.output] = _told(model, own)
    if not model.targets:
        item["reasons"] = reasons(model, row, item)
    return item


def _values(
    model: Model, given: Rows, place: int, row: dict[str, Any], prediction: Any, output: Output, own: Any
) -> tuple[Values, str]:
    """The values of a row, by the first way that is right for the model.

    Args:
        own: The row's output, which they must add up to; [1] or [targets].
    """
    exact = exactly(model)
    if exact is not None:
        with contextlib.suppress(NotExactError):
            of = model.classes.index(prediction) if model.classes else 0
            values = exact.values(given, place, of)
            # What else the graph adds may be nothing for the background rows, which the model was trained on.
            if abs(exact.base[of] + values.sum() - own[0]) <= _CLOSE * max(exact.spread, abs(own[0])):
                return Values(exact.base[of : of + 1], values[:, None]), METHOD
    game = Game(row, model.background, output)
    if isinstance(model.engine, Onnx) and model.engine.is_linear and model.output != "probability":
        found = game.additive()
        scale = max(float(np.abs(found.values).max()), 1e-9)
        if np.abs(found.base + found.values.sum(axis=0) - own).max() <= _CLOSE * scale:
            return found, ADDITIVE
    if model.engine.quick and game.rows_of_all <= MOST_ROWS:
        return game.played_out(), PLAYED_OUT
    return game.estimated(), ESTIMATE


def exactly(model: Model) -> Exact | None:
    """How to explain a model's trees exactly, found out once."""
    with _finding_out:
        known = model.__dict__.get("_exact", False)
        if known is False:
            known = None
            with contextlib.suppress(NotExactError):
                known = Exact(model)
            model.__dict__["_exact"] = known
    return known  # type: ignore[no-any-return]


_finding_out = threading.Lock()


def _lime(model: Model, answers: Answers, place: int, row: dict[str, Any]) -> dict[str, Any]:
    prediction = answers.predictions[place]
    explains, output = _output(model, prediction)
    intercept, weights, fits = lime(Game(row, model.background, output))
    return {
        "prediction": prediction,
        "explains": explains,
        "method": LIME,
        "intercept": intercept,
        "weights": weights,
        "r2": fits,
    }


def _told(model: Model, values: Any) -> Any:
    """A number; for several targets one for each."""
    return dict(zip(model.targets, map(float, values), strict=True)) if model.targets else float(values[0])


def _by_column(model: Model, values: Any) -> dict[str, Any]:
    """Values of shape [columns, 1], or [columns, targets], by column; of several targets for each."""
    if model.targets:
        return {
            target: dict(zip(model.names, map(float, values[:, place]), strict=True))
            for place, target in enumerate(model.targets)
        }
    return dict(zip(model.names, map(float, values[:, 0]), strict=True))


def _output(model: Model, prediction: Any) -> tuple[str, Output]:
    """What is explained, and the function that gives it: a number of each row; of several targets one for each."""
    if model.task == "regression":
        return "prediction", lambda rows: model.answers(rows).predictions
    if model.targets and model.output:
        return model.output, lambda rows: model.answers(rows).beside
    if model.targets:
        return "class", lambda rows: [
            [value == wanted for value, wanted in zip(row, prediction, strict=True)]
            for row in model.answers(rows).predictions
        ]
    if not model.output:
        return "class", lambda rows: [value == prediction for value in model.answers(rows).predictions]
    picked = model.classes.index(prediction)

    def beside(rows: Rows) -> Any:
        values: Any = model.answers(rows).beside
        return values if values.ndim == 1 else values[:, picked]

    return model.output, beside
