"""The data that comes in, month by month, beside the rows that a version was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

PSI_BINS, PSI_LEAST = 10, 1e-4
TIME = "event_timestamp"


def by_month(frame: Any, target: str, reference: Any) -> list[dict[str, Any]]:
    """Each month's rows, the mean of the outcome (None of texts), and the largest population stability index of a
    feature with its name: the sum of ``(p - q) * ln(p / q)`` over ten bins of equal share in the reference.

    Args:
        frame: A model's newest training set, with the time of each row.
        reference: Features of the rows that the version was trained on.
    """
    import pandas as pd

    columns = [
        name
        for name in reference.columns
        if name in frame
        and all(pd.api.types.is_numeric_dtype(each[name]) for each in (frame, reference))
        and reference[name].notna().any()
    ]
    if not columns:
        return []
    times = frame[TIME].dt
    numbers, month_of = np.unique((12 * times.year + times.month - 1).to_numpy(), return_inverse=True)
    names = [f"{number // 12}-{number % 12 + 1:02}" for number in numbers]
    psi = np.zeros((len(names), len(columns)))
    for place, column in enumerate(columns):
        values, known = frame[column].to_numpy(dtype=float), reference[column].to_numpy(dtype=float)
        # Missing ones come last.
        edges = np.append(np.unique(np.nanquantile(known, np.linspace(0, 1, PSI_BINS + 1)[1:-1])), np.inf)
        bins = len(edges) + 1
        wanted = np.bincount(np.searchsorted(edges, known, side="right"), minlength=bins) / len(known)
        counts = np.bincount(
            month_of * bins + np.searchsorted(edges, values, side="right"), minlength=len(names) * bins
        ).reshape(len(names), -1)
        shares, wanted = (
            np.maximum(counts / counts.sum(axis=1, keepdims=True), PSI_LEAST),
            np.maximum(wanted, PSI_LEAST),
        )
        psi[:, place] = ((shares - wanted) * np.log(shares / wanted)).sum(axis=1)
    numeric = pd.api.types.is_numeric_dtype(frame[target])  # or a truth value; texts have no mean
    outcomes = (frame[target].astype(float) if numeric else frame[TIME].isna()).groupby(month_of).agg(["size", "mean"])
    return [
        {
            "month": name,
            "rows": int(outcomes.loc[index, "size"]),
            "outcome": round(float(outcomes.loc[index, "mean"]), 4) if numeric else None,
            "psi": round(float(psi[index].max()), 4),
            "column": columns[int(psi[index].argmax())],
        }
        for index, name in enumerate(names)
    ]
