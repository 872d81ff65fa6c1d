"""What would change a prediction: another value of one column, or of a few, as they occur in the training data."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.serving.models.bundle import Model
from pipelines.serving.models.rows import Rows

MOST_CHANGES = 3
MOST_VALUES = 12  # that are tried for a column
LARGE = 0.5  # of the predictions' spread over the background rows: what counts as another number


def counterfactual(model: Model, row: dict[str, Any], prediction: Any) -> dict[str, Any] | None:
    """The change of as few columns as possible, and among those of the least, after which the model predicts another
    class (or, of a regression, a number that is further away than half of the standard deviation of its predictions).

    One column after the other is changed, the most promising first: a smaller change of several columns may exist.

    Args:
        row: Its values, by column.

    Returns:
        ``changes`` by column (``from``, ``to``) and the ``prediction`` that follows; None where up to
        ``MOST_CHANGES`` changes do not suffice.
    """
    tried = {name: _values(model.background[name], row[name]) for name in row}
    goal = _Goal(model, prediction)
    now, changes = dict(row), dict[str, Any]()
    for _ in range(MOST_CHANGES):
        options = [(name, value) for name, values in tried.items() if name not in changes for value in values]
        if not options:
            return None
        columns = {name: [value if name == changed else now[name] for changed, value in options] for name in row}
        answers = model.answers(Rows.of(columns))
        reached, promise = goal.of(answers)
        cost = np.array([_distance(model.background[name], row[name], value) for name, value in options])
        best = (
            int(np.lexsort((cost, -promise, ~reached))[0])
            if not reached.any()
            else int(min(np.flatnonzero(reached), key=lambda place: cost[place]))
        )
        name, value = options[best]
        now[name] = value
        changes[name] = {"from": row[name], "to": value}
        if reached[best]:
            return {"changes": changes, "prediction": answers.predictions[best]}
    return None


class _Goal:
    """When a prediction is another one, and how near an answer is to that."""

    def __init__(self, model: Model, prediction: Any) -> None:
        self._model, self._prediction = model, prediction
        if model.task == "regression":
            found = np.asarray(model.answers(Rows.of(model.background)).predictions, dtype=float)
            self._least = LARGE * float(found.std())

    def of(self, answers: Any) -> tuple[Any, Any]:
        """Whether each answer is another prediction, and how promising it is; [rows]."""
        if self._model.task == "regression":
            away = np.abs(np.asarray(answers.predictions, dtype=float) - self._prediction)
            return away > self._least, away
        reached = np.array([value != self._prediction for value in answers.predictions])
        if answers.beside is None or self._model.targets:
            return reached, reached.astype(float)
        beside = np.asarray(answers.beside, dtype=float)
        place = self._model.classes.index(self._prediction)
        if beside.ndim == 1:  # scores of the second of two classes
            return reached, -beside if place else beside
        return reached, -beside[:, place]


def _values(background: list[Any], own: Any) -> list[Any]:
    """Values of a column that are tried: the distinct ones, of many some from the least to the largest."""
    known = sorted({value for value in background if value is not None})
    if len(known) > MOST_VALUES:
        places = np.linspace(0, len(known) - 1, MOST_VALUES).round().astype(int)
        known = [known[place] for place in places]
    return [value for value in known if value != own]


def _distance(background: list[Any], before: Any, after: Any) -> float:
    """How much a value changes: of a number in standard deviations, of anything else one."""
    numbers = [value for value in background if isinstance(value, int | float) and not isinstance(value, bool)]
    if before is None or len(numbers) < 2 or isinstance(after, str | bool) or isinstance(before, str | bool):
        return 1.0
    return float(abs(after - before) / (float(np.std(numbers)) or 1.0))
