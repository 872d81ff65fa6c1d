"""Rows with their labels: features and labels side by side, never in one frame, so that column names can't clash."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Labelled:
    """Rows of a dataset.

    Attributes:
        features: A DataFrame of n rows, columns named as the script named them.
        labels: A Series of n labels; for several targets a DataFrame with a column for each.
        predictions: Out-of-fold predictions of the same form; None where the model still has to predict the rows.
    """

    features: Any
    labels: Any
    predictions: Any = None

    def __len__(self) -> int:
        return len(self.features)

    def sample(self, rows: int) -> Labelled:
        """A reproducible random sample of this many rows, in order; all rows if there are fewer. The index is kept."""
        if len(self) <= rows:
            return self
        import numpy as np

        kept = np.sort(np.random.default_rng(0).choice(len(self), rows, replace=False))
        return Labelled(
            *(None if part is None else part.iloc[kept] for part in (self.features, self.labels, self.predictions))
        )

    def without_predictions(self) -> Labelled:
        """The same rows, for a model to predict."""
        return replace(self, predictions=None)

    def records(self) -> list[dict[str, Any]]:
        """The features of each row as a request has them; a missing value is null."""
        columns = as_columns(self.features, list(self.features.columns))
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def save(self, folder: Path, name: str) -> None:
        """Write ``NAME.parquet`` (the features) and ``NAME-answers.parquet``: ``label`` and, if there are any,
        ``prediction``; of several targets ``label TARGET`` and ``prediction TARGET`` for each.
        """
        import pandas as pd

        self.features.reset_index(drop=True).to_parquet(folder / f"{name}.parquet")
        answers: dict[str, list[Any]] = {}
        for part, known in (("label", self.labels), ("prediction", self.predictions)):
            if known is not None:
                answers |= (
                    {f"{part} {target}": list(known[target]) for target in known.columns}
                    if hasattr(known, "columns")
                    else {part: list(known)}
                )
        pd.DataFrame(answers).to_parquet(folder / f"{name}-answers.parquet")


def load_labelled(folder: Path, name: str) -> Labelled:
    """Read what ``Labelled.save`` has written."""
    import pandas as pd

    features, answers = (
        pd.read_parquet(folder / f"{name}.parquet").reset_index(drop=True),
        pd.read_parquet(folder / f"{name}-answers.parquet"),
    )
    found = {}
    for part in ("label", "prediction"):
        several = [column for column in answers.columns if column.startswith(f"{part} ")]
        found[part] = (
            answers[several].rename(columns=lambda column, part=part: column.removeprefix(f"{part} "))
            if several
            else answers.get(part)
        )
    return Labelled(features, found["label"], found["prediction"])


def row_digests(frame: Any, names: list[str]) -> Any:
    """A number for each row of some columns; equal values have the same one, however they are stored: numbers count
    in single precision, and all missing values are one.
    """
    import pandas as pd
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    def plain(column: Any) -> Any:
        if is_numeric_dtype(column) or is_bool_dtype(column):
            return column.astype("float32").astype(float) + 0.0  # there is no -0
        return column.astype(object).where(column.notna(), "").map(str)

    return pd.util.hash_pandas_object(pd.DataFrame({name: plain(frame[name]) for name in names}), index=False)


def as_columns(frame: Any, names: list[str]) -> dict[str, list[Any]]:
    """Columns of a frame as a request has them: plain values, dates in ISO 8601, and None where a value is missing."""
    found = {}
    for name in names:
        series = frame[name]
        values = [value.isoformat() for value in series] if hasattr(series, "dt") else series.tolist()
        gaps = series.isna()
        found[name] = (
            [None if gap else value for value, gap in zip(values, gaps, strict=True)] if gaps.any() else values
        )
    return found


def as_labels(labels: Any) -> Any:
    """Labels of any form as a Series of n values, numbered from 0; several a row as a DataFrame, its columns named
    as the script did, or y0, y1, ...
    """
    import numpy as np
    import pandas as pd

    if isinstance(labels, pd.Series):
        return labels.reset_index(drop=True)
    if hasattr(labels, "toarray"):  # a label indicator may be sparse
        labels = labels.toarray()
    if isinstance(labels, pd.DataFrame) and labels.shape[1] > 1:
        return labels.reset_index(drop=True).rename(columns=str)
    array = labels.to_numpy() if isinstance(labels, pd.DataFrame) else np.asarray(labels)
    if array.ndim > 1 and array.shape[1] > 1:
        return pd.DataFrame(array, columns=[f"y{place}" for place in range(array.shape[1])])
    return pd.Series(array.ravel())


def by_target(labels: Any, name: str = "label") -> Any:
    """Labels as a DataFrame, a column for each target; a single one has a name given."""
    return labels if hasattr(labels, "columns") else labels.to_frame(name)


def each_row(labels: Any) -> list[Any]:
    """Labels or predictions as plain values, one per row; for several targets a list per row."""
    if not hasattr(labels, "columns"):
        return list(labels.tolist())
    return [list(row) for row in zip(*(labels[target].tolist() for target in labels.columns), strict=True)]
