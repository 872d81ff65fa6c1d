"""Rows with what is known of them: features and labels side by side, never in one frame, so that no name of a column is taken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra.errors import GroundplanError


@dataclass(frozen=True)
class Labelled:
    """Rows of a dataset.

    Attributes:
        features: A DataFrame of n rows, columns named as the script named them.
        labels: A Series of n labels.
        predictions: A Series of n predictions that were made out of fold; None where the rows are for the model to predict.
    """

    features: Any
    labels: Any
    predictions: Any = None

    def __len__(self) -> int:
        return len(self.features)

    def sample(self, rows: int) -> Labelled:
        """So many rows by chance, always the same ones, in their order; all where there are no more. Their numbers in the index stay."""
        if len(self) <= rows:
            return self
        import numpy as np

        kept = np.sort(np.random.default_rng(0).choice(len(self), rows, replace=False))
        return Labelled(*(None if part is None else part.iloc[kept] for part in (self.features, self.labels, self.predictions)))

    def without_predictions(self) -> Labelled:
        """The same rows, for a model to predict."""
        return replace(self, predictions=None)

    def save(self, folder: Path, name: str) -> None:
        """Write ``NAME.parquet`` (the features) and ``NAME-answers.parquet`` (``label`` and, if there are any, ``prediction``)."""
        import pandas as pd

        self.features.reset_index(drop=True).to_parquet(folder / f"{name}.parquet")
        answers = {"label": list(self.labels)} | ({} if self.predictions is None else {"prediction": list(self.predictions)})
        pd.DataFrame(answers).to_parquet(folder / f"{name}-answers.parquet")


def load_labelled(folder: Path, name: str) -> Labelled:
    """What ``Labelled.save`` has written."""
    import pandas as pd

    features, answers = pd.read_parquet(folder / f"{name}.parquet").reset_index(drop=True), pd.read_parquet(folder / f"{name}-answers.parquet")
    return Labelled(features, answers["label"], answers.get("prediction"))


def as_columns(frame: Any, names: list[str]) -> dict[str, list[Any]]:
    """Columns of a frame as a request has them: plain values, dates in ISO 8601, and None where a value is missing."""
    found = {}
    for name in names:
        series = frame[name]
        values = [value.isoformat() for value in series] if hasattr(series, "dt") else series.tolist()
        gaps = series.isna()
        found[name] = [None if gap else value for value, gap in zip(values, gaps, strict=True)] if gaps.any() else values
    return found


def as_labels(labels: Any) -> Any:
    """Labels of any form as a Series of n values, numbered from 0.

    Raises:
        GroundplanError: There are several a row.
    """
    import numpy as np
    import pandas as pd

    if isinstance(labels, pd.Series):
        return labels.reset_index(drop=True)
    array = labels.to_numpy() if isinstance(labels, pd.DataFrame) else np.asarray(labels)
    if array.ndim > 1 and array.shape[1] > 1:
        raise GroundplanError(
            f"the model was fitted on {array.shape[1]} labels a row, and an endpoint answers with one", where="the logged model",
            fix="fit and log a model for each label",
        )  # fmt: skip
    return pd.Series(array.ravel())
