"""Whether a converted model answers as the model itself does: every output that is served, on rows of all kinds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.errors import GroundplanError

TOLERANCE = 1e-3  # of a probability; of other numbers relative to their spread. ONNX computes trees in single precision
ALLOWED_SHARE = 1e-3  # of the rows of a kind; in single precision a value may fall on the other side of a tree's threshold
MOST_ROWS = 5_000
MOST_OF_A_KIND = 1_000
_UNSEEN = "\N{SNOWMAN} no category of anybody's"


class DifferError(Exception):
    """The two give different answers."""


@dataclass(frozen=True)
class Parity:
    """What was compared.

    Attributes:
        rows: Rows that were compared, by kind: ``gaps``, ``rare`` (a category that few rows have, or none had), ``extremes`` (of a
            number, and beyond), ``others``.
        differences: Of each output that is served the largest difference: of classes the share of rows with another one, of
            probabilities absolute, of other numbers relative to their spread.
    """

    rows: dict[str, int]
    differences: dict[str, float]


@dataclass(frozen=True)
class Sample:
    """Rows to compare on: a frame of n rows, and the kind of each."""

    frame: Any
    kinds: list[str]


@dataclass(frozen=True)
class Truth:
    """What scikit-learn says of a sample's rows.

    Attributes:
        values: ``prediction`` of shape [n]; of a classifier also ``probability`` [n, classes] and ``score`` (``decision_function``: [n] of
            two classes, else [n, classes]), as far as it has them.
        classes: A classifier's classes.
        outputs: What may be served beside the predictions, the best first; an empty one stands for nothing.
    """

    task: str
    values: dict[str, Any]
    classes: list[Any]
    outputs: tuple[str, ...]


def predictions(model: Any, frame: Any) -> Any:
    """What ``predict`` says of a frame's rows, given to it as it was fitted: scikit-learn warns when names appear or vanish."""
    return _asked(model, "predict", frame)


def _asked(model: Any, method: str, frame: Any) -> Any:
    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(getattr(model, method)(frame if hasattr(model, "feature_names_in_") else frame.to_numpy()))


def truth_of(model: Any, sample: Sample, task: str) -> Truth:
    """Ask the model itself.

    Raises:
        GroundplanError: It predicts several values a row.
    """
    values = {"prediction": predictions(model, sample.frame)}
    if values["prediction"].ndim > 1 and values["prediction"].shape[1] == 1:
        values["prediction"] = values["prediction"].ravel()
    if values["prediction"].ndim > 1:
        raise GroundplanError(
            f"the model predicts {values['prediction'].shape[1]} values a row, and an endpoint answers with one",
            where="the logged model", fix="fit and log a model for each target",
        )  # fmt: skip
    if task == "regression":
        return Truth(task, values, [], ("",))
    classes = [value.item() if hasattr(value, "item") else value for value in model.classes_]
    for name, method in (("probability", "predict_proba"), ("score", "decision_function")):
        if hasattr(model, method):
            found = _asked(model, method, sample.frame)
            wanted = [(len(sample.frame), len(classes))] + ([(len(sample.frame),)] if name == "score" and len(classes) == 2 else [])
            if found.shape in wanted:
                values[name] = found
    return Truth(task, values, classes, (*(name for name in ("probability", "score") if name in values), ""))


def compare(content: bytes, sample: Sample, truth: Truth, columns: list[dict[str, Any]], layout: str, output: str, *, most_probable: bool = False) -> Parity:
    """Ask the converted model, as the server would, and compare.

    Raises:
        DifferError: It answers differently; the message says on which kind of rows.
    """
    import numpy as np

    from pipelines.serving.bundle import Model

    served = Model(content, columns, layout, truth.task, classes=truth.classes, output=output, most_probable=most_probable)
    tensors = served.tensors({name: sample.frame[name].tolist() for name in sample.frame.columns})
    expected, actual = truth.values["prediction"], np.asarray(served.predict(tensors), dtype=object)
    if truth.task == "classification":
        differing = {"prediction": (actual.astype(str) != np.asarray(expected.tolist(), dtype=object).astype(str)).astype(float)}
    else:
        differing = {"prediction": np.abs(actual.astype(float) - expected.astype(float)) / _spread(expected)}
    if output:
        wanted, found = truth.values[output], served.beside(tensors)
        if found.shape != wanted.shape:
            raise DifferError(f"its {output} has the shape {found.shape}, scikit-learn's {wanted.shape}")
        off = np.abs(found - wanted) / (1.0 if output == "probability" else _spread(wanted))
        differing[output] = off if off.ndim == 1 else off.max(axis=1)
    kinds = np.asarray(sample.kinds)
    for name, off in differing.items():
        bad = ~(off <= TOLERANCE)  # a NaN is a difference
        for kind in sorted(set(sample.kinds)):
            share = float(bad[kinds == kind].mean())
            if share > ALLOWED_SHARE:
                worst = float(np.nanmax(off[kinds == kind]))
                what = "another class" if name == "prediction" and truth.task == "classification" else f"a {name} that differs by up to {worst:.2g}"
                raise DifferError(f"ONNX and scikit-learn differ: {what} on {share:.1%} of the rows {_NAMES[kind]}")
    of_classes = {"prediction"} if truth.task == "classification" else set[str]()
    return Parity(
        {kind: sample.kinds.count(kind) for kind in sorted(set(sample.kinds))},
        {name: float(off.mean() if name in of_classes else off.max()) for name, off in differing.items()},
    )


_NAMES = {"gaps": "with missing values", "rare": "with rare or unseen categories", "extremes": "with extreme numbers", "others": "it was trained on"}


def _spread(values: Any) -> float:
    import numpy as np

    return float(values.max() - values.min()) or max(1.0, float(np.abs(values).max()))


def sample_rows(model: Any, frame: Any, known: dict[str, list[Any]]) -> Sample:
    """Rows of all kinds.

    Of the training rows those with gaps, rare categories and extremes, and others by chance; and beyond them numbers outside of what was
    seen and categories that nobody has seen, where the model takes them.
    """
    import pandas as pd

    kinds = pd.Series("others", index=range(len(frame)))
    rows = frame.reset_index(drop=True)
    for column in rows.columns:
        series = rows[column]
        if pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series):
            if series.notna().any():
                kinds[[series.idxmin(), series.idxmax()]] = "extremes"
        else:
            firsts = series.drop_duplicates().index[:MOST_OF_A_KIND]
            counts = series.value_counts()
            rare = [index for index in firsts if counts.get(series[index], 0) <= len(rows) // 100]
            kinds[rare] = "rare"
    kinds[rows.isna().any(axis=1).to_numpy()] = "gaps"
    picked = []
    for kind in ("gaps", "rare", "extremes"):
        found = kinds.index[kinds == kind]
        picked += list(found if len(found) <= MOST_OF_A_KIND else kinds[found].sample(MOST_OF_A_KIND, random_state=0).index)
    others = kinds.index[kinds == "others"]
    left = MOST_ROWS - len(picked)
    picked += list(others if len(others) <= left else kinds[others].sample(left, random_state=0).index)
    beyond, beyond_kinds = _beyond(model, rows, known)
    whole = pd.concat([rows.loc[sorted(picked)], *beyond], ignore_index=True)
    return Sample(whole.astype(rows.dtypes.to_dict()) if beyond else whole, [*kinds[sorted(picked)], *beyond_kinds])


def _beyond(model: Any, rows: Any, known: dict[str, list[Any]]) -> tuple[list[Any], list[str]]:
    """Single rows with one value that no training row has, if the model takes them."""
    import numpy as np
    import pandas as pd

    base = _complete_row(rows)
    made, kinds = list[Any](), list[str]()
    for column in rows.columns if len(base) else ():
        series = rows[column]
        if column in known or pd.api.types.is_bool_dtype(series):
            continue
        values, kind = [_UNSEEN], "rare"
        if pd.api.types.is_numeric_dtype(series):
            low, high = series.min(), series.max()
            values, kind = [low - (high - low), high + (high - low)], "extremes"
        if all(isinstance(value, str) or (np.isfinite(value) and abs(value) < _LARGEST) for value in values):
            made += [_changed(base, column, value) for value in values]
            kinds += [kind] * len(values)
    if made and not _takes(model, pd.concat(made, ignore_index=True).astype(rows.dtypes.to_dict())):
        return [], []  # what the model itself refuses need not be compared
    return made, kinds


_LARGEST = 2**62


def _changed(base: Any, column: str, value: Any) -> Any:
    row = base.copy()
    row[column] = [value]
    return row


def _takes(model: Any, rows: Any) -> bool:
    try:
        predictions(model, rows)
    except Exception:  # each estimator has its own way to refuse
        return False
    return True


def _complete_row(frame: Any) -> Any:
    """One row with a value in each column, as far as the column has any."""
    import pandas as pd

    firsts = {column: frame[column].loc[[index]].to_numpy() for column in frame.columns if (index := frame[column].first_valid_index()) is not None}
    row = frame.head(1).reset_index(drop=True)
    return pd.DataFrame({column: firsts.get(column, row[column].to_numpy()) for column in frame.columns}).astype(frame.dtypes.to_dict()) if len(row) else row


def known_categories(model: Any, frame: Any) -> dict[str, list[Any]]:
    """The values a column may have, for each column in which the model raises on any other (an encoder with ``handle_unknown="error"``).

    Found by asking the model with values that nobody has seen: what it does with them is certain then, whatever it is made of.
    """
    import pandas as pd

    base, probes = _complete_row(frame), dict[Any, Any]()
    for column in frame.columns:
        series = frame[column]
        if pd.api.types.is_bool_dtype(series):
            if series.nunique() == 1:
                probes[column] = not series.iloc[0]
        elif pd.api.types.is_numeric_dtype(series):  # an encoder takes numbers for categories, too
            probes[column] = max((value for value in {series.max()} | _of_encoders(model, series) if value == value), default=0) + 1
        else:
            probes[column] = _UNSEEN
    if base.empty or not _takes(model, base):
        return {}
    rows = {column: _changed(base, column, value) for column, value in probes.items()}
    if not rows or _takes(model, pd.concat(rows.values(), ignore_index=True)):
        return {}
    found = {}
    for column in (column for column, row in rows.items() if not _takes(model, row)):
        values = set(frame[column].dropna().unique().tolist()) | _of_encoders(model, frame[column])
        found[str(column)] = sorted(value for value in values if _takes(model, _changed(base, column, value)))
    return found


def _of_encoders(model: Any, series: Any) -> set[Any]:
    """Values that an encoder within was told of, though no row has them; of the column's own kind."""
    import pandas as pd

    kind = (int, float) if pd.api.types.is_numeric_dtype(series) else str
    found: set[Any] = set()
    for estimator in within(model):
        for values in getattr(estimator, "categories_", []):
            found |= {value.item() if hasattr(value, "item") else value for value in values}
    return {value for value in found if isinstance(value, kind)}


def within(model: Any) -> Iterator[Any]:
    """A model and every estimator that it is made of, each once."""
    waiting, seen = [model], set[int]()
    while waiting:
        item = waiting.pop()
        if isinstance(item, list | tuple):  # of steps, of transformers with their columns
            waiting += item
        elif hasattr(item, "get_params") and id(item) not in seen:
            seen.add(id(item))
            yield item
            waiting += vars(item).values()
