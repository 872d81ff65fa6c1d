"""How good a model's predictions are before their outcomes are known.

A classifier's quality is estimated from its own calibrated probabilities (CBPE: Białek, Kuberski, Perrakis and Bifet
2024, https://arxiv.org/abs/2401.08348); that of a model of numbers by a second model, which learns the size of its
errors (direct loss estimation). Both hold while outcomes depend on the features as they did on the held-out rows: what
changes in that (concept drift) they can't see, and only outcomes show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.monitoring.columns import as_numbers, is_dated
from pipelines.monitoring.scores import Known, by_rank, coded, of_classes, of_numbers, scores
from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import class_name
from pipelines.training.labelled import Labelled

LEAST_ROWS = 200  # held out; fewer can't be calibrated on
MOST_ROWS = 20_000
FOLDS = 5
MOST_BLOCKS, LEAST_BLOCK = 10, 40
CONFIDENCE = 0.95


class Estimator(Protocol):
    """Expects the outcomes of n rows."""

    def expected(self, frame: Any, said: Any, chances: Any) -> Known:
        """What ``scores`` takes, with expectations instead of outcomes.

        Args:
            frame: Their features.
            said: What was predicted, shape [n]: numbers, or places of classes.
            chances: Probabilities of shape [n, classes].
        """


@dataclass(frozen=True)
class Classes:
    """A calibrated probability for each class: ``curves``, one against the rest (isotonic regression)."""

    curves: list[Any]

    def expected(self, frame: Any, said: Any, chances: Any) -> Known:
        """See ``Estimator``."""
        likely = np.column_stack([curve.predict(chances[:, place]) for place, curve in enumerate(self.curves)])
        likely /= likely.sum(axis=1, keepdims=True)
        return of_classes(said, likely, by_rank(chances))


@dataclass(frozen=True)
class Numbers:
    """The expected size of the error, and of its square."""

    columns: list[str]
    dated: frozenset[str]
    absolute: Any
    squared: Any

    def expected(self, frame: Any, said: Any, chances: Any) -> Known:
        """See ``Estimator``."""
        inputs = _inputs(frame, self.columns, self.dated, said)
        return of_numbers(np.maximum(self.absolute.predict(inputs), 0), np.maximum(self.squared.predict(inputs), 0))


@dataclass(frozen=True)
class Estimation:
    """What estimates a version's quality, and how far it was off.

    Attributes:
        method: In words.
        off: By metric, the root mean square difference of estimate and outcome over blocks of consecutive held-out rows
            that it had not seen.
        block: Rows of a block.
        blocks: How many there were.
    """

    estimator: Estimator
    method: str
    off: dict[str, float]
    block: int
    blocks: int

    def interval(self, metric: str, value: float, rows: int) -> tuple[float, float]:
        """Where the metric of so many rows lies with a probability of 95 %, if the outcomes still depend on the
        features as they did: a block's difference, which shrinks no further for more rows, as what moved one block may
        move all of them.
        """
        from scipy.stats import t

        half = (
            float(t.ppf((1 + CONFIDENCE) / 2, self.blocks - 1)) * self.off[metric] * max(1.0, self.block / rows) ** 0.5
        )
        low, high = value - half, value + half
        return (max(low, 0.0), high if metric in ("mae", "rmse") else min(high, 1.0))


def estimation(model: Model, holdout: Labelled, predictions: Any, chances: Any) -> Estimation | str:
    """What estimates the quality of a version, from held-out rows; or, in words, why nothing can.

    Args:
        holdout: n rows with their outcomes, in the order in which the script kept them.
        predictions, chances: What the version says of them.
    """
    if model.targets:
        return "it predicts several targets"
    if len(holdout) < LEAST_ROWS:
        return f"only {len(holdout)} rows were held out, and {LEAST_ROWS} are needed"
    names = class_names_of(model)
    if names and (model.output != "probability" or chances is None):
        return "it gives no probabilities of rows that it was not trained on"
    said, truth = values_of(predictions, names), values_of(holdout.labels, names)
    told = matrix(chances, len(names)) if names else None
    usable = truth >= 0 if names else np.isfinite(truth) & np.isfinite(said)
    if told is not None:
        usable &= np.isfinite(told).all(axis=1)
    if usable.sum() < LEAST_ROWS:
        return f"only {usable.sum()} of the rows held out have an outcome, and {LEAST_ROWS} are needed"
    features, said, truth = holdout.features[usable], said[usable], truth[usable]
    told = None if told is None else told[usable]
    rows_held = len(said)

    def parts_of(rows: Any) -> tuple[Any, Any, Any, Any]:
        return features.iloc[rows], said[rows], None if told is None else told[rows], truth[rows]

    blocks = min(MOST_BLOCKS, max(FOLDS, rows_held // LEAST_BLOCK))
    parts = np.array_split(np.arange(rows_held), blocks)
    differences: dict[str, list[float]] = {}
    for fold in range(FOLDS):
        own = parts[fold * blocks // FOLDS : (fold + 1) * blocks // FOLDS]
        fitted = _fit(*parts_of(np.setdiff1d(np.arange(rows_held), np.concatenate(own))))
        for rows in own:
            frame, guessed, likely, came = parts_of(rows)
            guess, fact = (
                scores(fitted.expected(frame, guessed, likely)),
                scores(outcomes(guessed, likely, came, len(names))),
            )
            for metric in guess.keys() & fact.keys():
                differences.setdefault(metric, []).append(guess[metric] - fact[metric])
    return Estimation(
        _fit(*parts_of(np.arange(rows_held))),
        "a second model of its errors" if model.task == "regression" else "its calibrated probabilities (CBPE)",
        {metric: float(np.sqrt(np.mean(np.square(each)))) for metric, each in sorted(differences.items())},
        rows_held // blocks,
        blocks,
    )


def _fit(features: Any, said: Any, chances: Any, truth: Any) -> Estimator:
    if chances is not None:
        from sklearn.isotonic import IsotonicRegression

        # Nothing is certain because a few rows say so.
        curves = [IsotonicRegression(y_min=1e-4, y_max=1 - 1e-4, out_of_bounds="clip") for _ in range(chances.shape[1])]
        for place, curve in enumerate(curves):
            curve.fit(chances[:, place], (truth == place).astype(float))
        return Classes(curves)
    from sklearn.ensemble import HistGradientBoostingRegressor

    if len(said) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(len(said), MOST_ROWS, replace=False))
        features, said, truth = features.iloc[rows], said[rows], truth[rows]
    columns = list(features.columns)
    dated = frozenset(name for name in columns if is_dated(features[name]))
    inputs, errors = _inputs(features, columns, dated, said), np.abs(said - truth)
    made = {"max_iter": 60, "min_samples_leaf": max(20, len(said) // 50), "random_state": 0}
    absolute, squared = (HistGradientBoostingRegressor(**made).fit(inputs, size) for size in (errors, errors**2))
    return Numbers(columns, dated, absolute, squared)


def outcomes(said: Any, chances: Any, truth: Any, classes: int) -> Known:
    """What ``scores`` takes, of n rows whose outcomes are known; arguments as of ``Estimator.expected``.

    Args:
        classes: How many there are; 0 of numbers.
    """
    if not classes:
        errors = np.abs(said - truth)
        return of_numbers(errors, errors**2)
    happened = (truth[:, None] == np.arange(classes)).astype(float)
    ranked = chances is not None and np.isfinite(chances).all()
    return of_classes(said, happened, by_rank(chances) if ranked else None)


def class_names_of(model: Model) -> list[str]:
    """Names of a classifier's classes; none of a model of numbers."""
    return [class_name(name) for name in model.classes] if model.task != "regression" else []


def values_of(values: Any, names: list[str]) -> Any:
    """Predictions or outcomes of shape [n]: places of classes, or numbers."""
    if names:
        return coded(values, names)
    import pandas as pd

    return as_numbers(pd.Series(values), dated=False)


def matrix(chances: Any, classes: int) -> Any:
    """Probabilities of shape [n, classes]; of two classes a model may tell the second's alone. NaN in rows without any;
    None if no row has any.
    """
    if not hasattr(chances, "dtype"):
        rows = list(chances)
        nothing = [float("nan")] * classes
        rows = [_each(row, classes) or nothing for row in rows] if any(_odd(row, rows[0]) for row in rows) else rows
        chances = np.array(rows, dtype=float)
    told = np.column_stack([1 - chances, chances]) if chances.ndim == 1 and classes == 2 else chances
    return told if told.ndim == 2 and told.shape[1] == classes and np.isfinite(told).any() else None


def _odd(row: Any, like: Any) -> bool:
    """Whether a row's probabilities are none, or of another form than others'."""
    return (
        row is None
        or isinstance(row, list) != isinstance(like, list)
        or (isinstance(row, list) and len(row) != len(like))
    )


def _each(row: Any, classes: int) -> list[float] | None:
    """A probability for each class; None if there are none."""
    if isinstance(row, list):
        return [float("nan") if value is None else float(value) for value in row] if len(row) == classes else None
    return [1 - row, row] if isinstance(row, int | float) and classes == 2 else None


def _inputs(frame: Any, columns: list[str], dated: frozenset[str], said: Any) -> npt.NDArray[np.float64]:
    """Numbers of shape [n, columns + 1]; texts by a hash, as trees only divide."""
    import pandas as pd

    found = []
    for name in columns:
        column = frame[name]
        numbers = as_numbers(column, dated=name in dated)
        if not pd.api.types.is_numeric_dtype(column) and name not in dated:
            texts = pd.util.hash_pandas_object(column.astype(object).map(str), index=False).to_numpy() % 997
            numbers = np.where(np.isfinite(numbers) | column.isna().to_numpy(), numbers, texts.astype(float))
        found.append(numbers)
    return np.column_stack([*found, np.asarray(said, dtype=float)])
