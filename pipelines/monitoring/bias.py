"""Whether groups are treated differently: the bias metrics of Amazon SageMaker Clarify, by its names.

A facet is one value of a column, such as ``sex=2``; ``d`` are its rows and ``a`` all others. A prediction or an outcome
is favourable (1) or not (0). Everything is computed from counts, so that hours can be added.
https://docs.aws.amazon.com/sagemaker/latest/dg/clarify-measure-data-bias.html
https://docs.aws.amazon.com/sagemaker/latest/dg/clarify-measure-post-training-bias.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

PRE_TRAINING = {
    "CI": "class imbalance",
    "DPL": "difference in proportions of labels",
    "KL": "Kullback-Leibler divergence",
    "JS": "Jensen-Shannon divergence",
    "LP": "L2 norm",
    "TVD": "total variation distance",
    "KS": "Kolmogorov-Smirnov distance",
    "CDDL": "conditional demographic disparity in labels",
}
POST_TRAINING = {
    "DPPL": "difference in positive proportions in predicted labels",
    "DI": "disparate impact",
    "DCAcc": "difference in conditional acceptance",
    "DCR": "difference in conditional rejection",
    "SD": "specificity difference",
    "RD": "recall difference",
    "DAR": "difference in acceptance rates",
    "DRR": "difference in rejection rates",
    "AD": "accuracy difference",
    "TE": "treatment equality",
    "CDDPL": "conditional demographic disparity in predicted labels",
    "GE": "generalized entropy",
}
LEAST_ROWS = 30  # of a facet and of all others; fewer say nothing
CELLS = ("n", "positive", "tp", "fp", "fn", "tn")
Cells = Mapping[str, float]
"""Rows; those predicted favourably; and of the rows with an outcome the four of the confusion matrix."""


def cells(predicted: Any, outcome: Any = None, known: Any = None) -> dict[str, int]:
    """Counts of n rows.

    Args:
        predicted, outcome: Whether each is favourable.
        known: Which of the outcomes are known; none by default.
    """
    return cells_by(np.zeros(len(predicted), dtype=np.int64), 1, predicted, outcome, known)[0]


def cells_by(groups: Any, number: int, predicted: Any, outcome: Any = None, known: Any = None) -> list[dict[str, int]]:
    """The same for each of so many groups; ``groups`` has the place of each row's."""
    predicted = np.asarray(predicted, dtype=bool)
    counts = {"n": groups, "positive": groups[predicted]}
    if outcome is not None:
        of, said, came = groups[known], predicted[known], np.asarray(outcome, dtype=bool)[known]
        counts |= {"tp": of[said & came], "fp": of[said & ~came], "fn": of[~said & came], "tn": of[~said & ~came]}
    nothing = np.zeros(0, dtype=np.int64)
    columns = {name: np.bincount(counts.get(name, nothing), minlength=number).tolist() for name in CELLS}
    return [dict(zip(CELLS, each, strict=True)) for each in zip(*columns.values(), strict=True)]


def pre_training(d: Cells, a: Cells, groups: list[tuple[Cells, Cells]] | None = None) -> dict[str, float]:
    """Of labels: ``positive`` counts the favourable ones.

    Args:
        groups: The same by the values of another column, for the conditional disparity.
    """
    q_a, q_d = _share(a["positive"], a["n"]), _share(d["positive"], d["n"])
    both = np.array([[1 - q_a, q_a], [1 - q_d, q_d]])
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = both.mean(axis=0)
        found = {
            "CI": (a["n"] - d["n"]) / (a["n"] + d["n"]),
            "DPL": q_a - q_d,
            "KL": _divergence(both[0], both[1]),
            "JS": (_divergence(both[0], mean) + _divergence(both[1], mean)) / 2,
            "LP": float(np.linalg.norm(both[0] - both[1])),
            "TVD": float(np.abs(both[0] - both[1]).sum() / 2),
            "KS": float(np.abs(both[0] - both[1]).max()),
        }
    return _finite(found | ({"CDDL": _conditional(groups)} if groups else {}))


def post_training(d: Cells, a: Cells, groups: list[tuple[Cells, Cells]] | None = None) -> dict[str, float]:
    """Of predictions; those that compare with outcomes only where outcomes are known of both sides."""
    p_a, p_d = _share(a["positive"], a["n"]), _share(d["positive"], d["n"])
    found = {"DPPL": p_a - p_d, "DI": _share(p_d, p_a)} | ({"CDDPL": _conditional(groups)} if groups else {})
    if all(sum(side[name] for name in CELLS[2:]) >= LEAST_ROWS for side in (d, a)):

        def differ(upper: tuple[str, ...], lower: tuple[str, ...]) -> float:
            shares = [_share(sum(side[c] for c in upper), sum(side[c] for c in lower)) for side in (a, d)]
            return shares[0] - shares[1]

        found |= {
            "DCAcc": differ(("tp", "fn"), ("tp", "fp")),
            "DCR": -differ(("tn", "fp"), ("tn", "fn")),
            "SD": -differ(("tn",), ("tn", "fp")),
            "RD": differ(("tp",), ("tp", "fn")),
            "DAR": differ(("tp",), ("tp", "fp")),
            "DRR": -differ(("tn",), ("tn", "fn")),
            "AD": differ(("tp", "tn"), CELLS[2:]),
            "TE": -differ(("fn",), ("fp",)),
            "GE": _entropy({name: d[name] + a[name] for name in CELLS}),
        }
    return _finite(found)


def _conditional(groups: list[tuple[Cells, Cells]]) -> float:
    """The demographic disparity of ``d``, its share of the unfavourable minus its share of the favourable, as the mean
    over groups, weighted by their rows.
    """
    total, found = sum(d["n"] + a["n"] for d, a in groups), 0.0
    for d, a in groups:
        rows, positive = d["n"] + a["n"], d["positive"] + a["positive"]
        negative = _share(d["n"] - d["positive"], rows - positive, 0.0)
        found += rows * (negative - _share(d["positive"], positive, 0.0))
    return found / total if total else math.nan


def _entropy(all_rows: Cells) -> float:
    """Generalized entropy with an alpha of 2 of the benefits: 1 where the prediction is right, 2 where it is better
    than the outcome, 0 where it is worse.
    """
    benefits = np.array([1, 2, 0, 1])
    rows = np.array([all_rows[name] for name in CELLS[2:]], dtype=float)
    mean = (benefits * rows).sum() / rows.sum()
    return float((rows * ((benefits / mean) ** 2 - 1)).sum() / (2 * rows.sum()))


def _divergence(one: Any, other: Any) -> float:
    return float(np.sum(np.where(one > 0, one * np.log(one / other), 0)))


def _share(part: float, whole: float, empty: float = math.nan) -> float:
    return part / whole if whole else empty


def _finite(found: dict[str, float]) -> dict[str, float]:
    """Without those that these rows do not have: a share of nothing."""
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}
