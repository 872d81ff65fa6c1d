"""Whether a converted model gives the model's own answers: every served output, on rows of all kinds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.serving.models.engines import class_names, of_labels
from pipelines.serving.models.model_process import METHODS
from pipelines.serving.models.rows import Rows
from pipelines.training.asking import Asked
from pipelines.training.labelled import as_columns
from spec.errors import GroundplanError

if TYPE_CHECKING:
    from pipelines.serving.models.bundle import Model

TOLERANCE = 1e-3  # of a probability; of other numbers relative to their spread. ONNX computes trees in single precision
ALLOWED_SHARE = (
    1e-3  # of the rows of a kind; in single precision a value may fall on the other side of a tree's threshold
)
MOST_ROWS = 5_000
MOST_OF_A_KIND = 1_000
_UNSEEN = "\N{SNOWMAN} no category of anybody's"


class DifferError(Exception):
    """The two models give different answers."""


@dataclass(frozen=True)
class Parity:
    """The comparison.

    Attributes:
        rows: Number of compared rows, by kind: ``gaps``, ``new gaps`` (in a column that had none), ``rare`` (a rare or
            unseen category), ``extremes`` (of a number, and beyond), ``others``.
        differences: The largest difference of each served output: for classes the share of rows with another class,
                for
            probabilities absolute, for other numbers relative to their spread.
    """

    rows: dict[str, int]
    differences: dict[str, float]


@dataclass(frozen=True)
class Sample:
    """Rows to compare on.

    Attributes:
        frame: n rows.
        kinds: The kind of each row.
        gaps: Columns in which the model accepts a missing value.
        new_gaps: Those of them in which no training row has one.
    """

    frame: Any
    kinds: list[str]
    gaps: tuple[str, ...] = ()
    new_gaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Truth:
    """The model's own answers for a sample's rows.

    Attributes:
        values: ``prediction`` of shape [n], or [n, targets]; of a classifier also ``probability`` [n, classes] and
            ``score`` (``decision_function``: [n] of two classes, else [n, classes]), as far as it has them; of several
            targets [n, targets].
        classes: A classifier's classes; of several targets a list for each.
        outputs: What may be served beside the predictions, the best first; an empty one stands for nothing.
        targets: Names of the values of a prediction; none where it is one value.
    """

    task: str
    values: dict[str, Any]
    classes: list[Any]
    outputs: tuple[str, ...]
    targets: list[str] = field(default_factory=list)


def truth_of(asked: Asked, sample: Sample, task: str, targets: list[str]) -> Truth:
    """Call the model itself.

    Args:
        targets: Names of the labels that it was fitted on, if a row has several.

    Raises:
        GroundplanError: It can't predict the rows that it was fitted on, or predicts another number of values than it
            was fitted on.
    """
    rows = len(sample.frame)
    try:
        predicted = asked.ask("predict", sample.frame)
    except Exception as error:
        raise GroundplanError(
            f"{asked.name} predicts nothing from the rows that it was fitted on: {type(error).__name__}:"
            f" {(str(error).strip().splitlines() or [''])[0][:300]}",
            where="the logged model",
            fix="log a model that accepts what the fit got: rows with the same columns, as a frame or an array",
        ) from error
    width = 1 if predicted.ndim < 2 else predicted.shape[1]
    if width != max(1, len(targets)):
        raise GroundplanError(
            f"the model predicts {width} values a row but was fitted on {max(1, len(targets))}, so they can't be"
            " evaluated",
            where="the logged model",
            fix="log a model whose predict gives one value for each label",
        )
    values = {"prediction": predicted.ravel() if width == 1 else predicted}
    if task == "regression":
        return Truth(task, values, [], ("",), targets)
    classes = asked.classes
    if targets:  # for a label indicator, scikit-learn's classes are the labels, each of which is binary
        classes = classes if classes and isinstance(classes[0], list) else [[0, 1]] * width
        if any(len(each) != 2 for each in classes):
            return Truth(task, values, classes, ("",), targets)
    for name, method in METHODS.items():
        if asked.has(method):
            found = asked.ask(method, sample.frame)
            wanted = [(rows, len(classes))] + (
                [(rows,)] if name == "score" and len(classes) == 2 and not targets else []
            )
            if targets:
                found = of_labels(found, width)
            if found.shape in wanted:
                values[name] = found
    return Truth(task, values, classes, (*(name for name in ("probability", "score") if name in values), ""), targets)


def compare(served: Model, sample: Sample, truth: Truth, *, without: str = "") -> Parity:
    """Call the served model, and compare.

    Args:
        without: Kind of rows to ignore.

    Raises:
        DifferError: Its answers differ; the message says on which kind of rows.
    """
    import numpy as np

    counted = [place for place, kind in enumerate(sample.kinds) if kind != without]
    frame, kinds = sample.frame.iloc[counted], np.asarray(sample.kinds)[counted]
    answers = served.answers(Rows.of(as_columns(frame, served.names)))
    output = served.output
    expected, actual = truth.values["prediction"][counted], np.asarray(answers.predictions, dtype=object)
    if truth.task == "classification":
        off = (class_names(actual) != class_names(expected)).astype(float)
    else:
        off = np.abs(actual.astype(float) - expected.astype(float)) / _spread(expected)
    differing = {"prediction": off if off.ndim == 1 else off.max(axis=1)}
    if output:
        wanted, found = truth.values[output][counted], np.asarray(answers.beside)
        if found.shape != wanted.shape:
            raise DifferError(f"its {output} has the shape {found.shape}, the model's own {wanted.shape}")
        off = np.abs(found - wanted) / (1.0 if output == "probability" else _spread(wanted))
        differing[output] = off if off.ndim == 1 else off.max(axis=1)
    for name, off in differing.items():
        bad = ~(off <= TOLERANCE)  # a NaN is a difference
        for kind in sorted(set(kinds)):
            share = float(bad[kinds == kind].mean())
            if share > ALLOWED_SHARE:
                worst = float(np.nanmax(off[kinds == kind]))
                what = (
                    "another class"
                    if name == "prediction" and truth.task == "classification"
                    else f"a {name} that differs by up to {worst:.2g}"
                )
                raise DifferError(f"it and the model itself differ: {what} on {share:.1%} of the rows {_NAMES[kind]}")
    of_classes = {"prediction"} if truth.task == "classification" else set[str]()
    return Parity(
        {str(kind): int((kinds == kind).sum()) for kind in sorted(set(kinds))},
        {name: float(off.mean() if name in of_classes else off.max()) for name, off in differing.items()},
    )


NEW_GAPS = "new gaps"
_NAMES = {
    "gaps": "with missing values",
    NEW_GAPS: "with a value missing in a column that had none missing",
    "rare": "with rare or unseen categories",
    "extremes": "with extreme numbers",
    "others": "it was trained on",
}


def _spread(values: Any) -> Any:
    """What differences are relative to: the range of the values; for several targets that of each."""
    import numpy as np

    if not len(values):
        return 1.0
    spread = np.ptp(values.astype(float), axis=0)
    return np.where(spread > 0, spread, np.maximum(1.0, np.abs(values).max(axis=0)))


def sample_rows(asked: Asked, frame: Any, known: dict[str, list[Any]]) -> Sample:
    """Rows of all kinds.

    From the training rows those with gaps, rare categories and extremes, and random others; in addition unseen numbers
    beyond the extremes, unseen categories, and gaps where there were none, where the model accepts them.
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
        picked += list(
            found if len(found) <= MOST_OF_A_KIND else kinds[found].sample(MOST_OF_A_KIND, random_state=0).index
        )
    others = kinds.index[kinds == "others"]
    left = MOST_ROWS - len(picked)
    picked += list(others if len(others) <= left else kinds[others].sample(left, random_state=0).index)
    base = _complete_row(rows)
    beyond = _beyond(asked, base, rows, known)
    had = [column for column in rows.columns if rows[column].isna().any()]
    # A gap would turn whole numbers into floating-point ones, which can't tell large ones apart.
    exact = {column for column in rows.columns if _is_large(rows[column])}
    new = _taken_columns(asked, base, [(column, None) for column in rows.columns if column not in {*had, *exact}])
    gaps = _variants(base, [(column, None) for column in new[:MOST_PROBED]])
    whole = _stacked([rows.loc[sorted(picked)], *(frame for frame, _ in beyond), *gaps])
    told = [kind for _, kinds in beyond for kind in kinds]
    return Sample(
        whole, [*kinds[sorted(picked)], *told, *[NEW_GAPS] * len(new[:MOST_PROBED])], (*had, *new), tuple(new)
    )


def _is_large(series: Any) -> bool:
    """Whether a column has whole numbers that are not all different in double precision."""
    return bool(series.dtype.kind in "iu" and len(series) and max(abs(int(series.min())), int(series.max())) > EXACT)


def _stacked(parts: list[Any]) -> Any:
    """Concatenated frames; columns keep the type of the first one's, except whole numbers that now have gaps."""
    import pandas as pd

    if len(parts) == 1:
        return parts[0].reset_index(drop=True)
    kinds = parts[0].dtypes.to_dict()
    whole = pd.concat(parts, ignore_index=True)
    changed = {name: kind for name, kind in kinds.items() if whole[name].dtype != kind}
    lost = {
        name
        for name, kind in changed.items()
        if isinstance(kind, pd.CategoricalDtype) and not whole[name].dropna().isin(kind.categories).all()
    }
    return whole.astype(
        {
            name: kind
            for name, kind in changed.items()
            if name not in lost and (pd.api.types.is_extension_array_dtype(kind) or not whole[name].isna().any())
        }
    )


def _variants(base: Any, changes: list[tuple[Any, Any]]) -> list[Any]:
    """Frames of the complete row with one value changed in each row, in the changes' order; None is a missing value.

    Args:
        changes: Column and value.
    """
    made = []
    for start in range(0, len(changes), MOST_PROBED):
        part = changes[start : start + MOST_PROBED]
        frame, rows = base.loc[base.index.repeat(len(part))].reset_index(drop=True), dict[Any, dict[int, Any]]()
        for row, (column, value) in enumerate(part):
            rows.setdefault(column, {})[row] = value
        made.append(frame.assign(**{column: _with_values(frame[column], values) for column, values in rows.items()}))
    return made


def _with_values(series: Any, values: dict[int, Any]) -> Any:
    """A column with other values at some places, in its own type where that has room for them."""
    import pandas as pd

    kind, missing = series.dtype, all(value is None for value in values.values())
    fits = isinstance(kind, pd.CategoricalDtype) and all(
        value is None or value in kind.categories for value in values.values()
    )
    if missing and (pd.api.types.is_extension_array_dtype(kind) or pd.api.types.is_datetime64_any_dtype(series)):
        fits = True
    if fits:
        changed = series.copy()
        changed.iloc[list(values)] = list(values.values()) if not missing else None
        return changed
    whole = series.astype(float if missing and pd.api.types.is_numeric_dtype(series) else object)
    whole.iloc[list(values)] = [float("nan") if value is None else value for value in values.values()]
    return whole.infer_objects() if not missing else whole


def _taken(asked: Asked, base: Any, changes: list[tuple[Any, Any]], *, each: bool = True) -> list[tuple[Any, Any]]:
    """Those of some changes of one value that the model accepts; tried all at once, and one by one where it does not
    accept them all.

    Args:
        each: Whether they are also tried one by one.
    """
    taken = []
    for start in range(0, len(changes) if len(base) else 0, MOST_PROBED):
        part = changes[start : start + MOST_PROBED]
        (frame,) = _variants(base, part)
        if asked.takes(frame):
            taken += part
        elif each:
            taken += [change for row, change in enumerate(part) if asked.takes(frame.iloc[[row]].infer_objects())]
    return taken


def _taken_columns(asked: Asked, base: Any, changes: list[tuple[Any, Any]]) -> list[Any]:
    """The columns of changes that the model accepts. Thousands are not tried one by one, which would take minutes."""
    return [column for column, _ in _taken(asked, base, changes, each=len(changes) <= MOST_PROBED)]


def _beyond(asked: Asked, base: Any, rows: Any, known: dict[str, list[Any]]) -> list[tuple[Any, list[str]]]:
    """Frames of rows with one value that no training row has, if the model accepts them, each with the kinds of its
    rows.
    """
    import numpy as np
    import pandas as pd

    changes, kinds = list[tuple[Any, Any]](), list[str]()
    for column in rows.columns[:MOST_PROBED] if len(base) else ():
        series = rows[column]
        if (
            column in known
            or pd.api.types.is_bool_dtype(series)
            or pd.api.types.is_datetime64_any_dtype(series)
            or isinstance(series.dtype, pd.CategoricalDtype)
        ):
            continue
        values, kind = [_UNSEEN], "rare"
        if pd.api.types.is_numeric_dtype(series):
            low, high = series.min(), series.max()
            values, kind = [low - (high - low), high + (high - low)], "extremes"
        if all(isinstance(value, str) or (np.isfinite(value) and abs(value) < _LARGEST) for value in values):
            changes += [(column, value) for value in values]
            kinds += [kind] * len(values)
    made = [
        (frame, kinds[place * MOST_PROBED : (place + 1) * MOST_PROBED])
        for place, frame in enumerate(_variants(base, changes))
    ]
    return (
        made if all(asked.takes(frame) for frame, _ in made) else []
    )  # what the model itself refuses need not be compared


MOST_PROBED = 500  # rows at once, and columns that are tried one by one
EXACT = 2**53  # the largest whole number up to which double precision has them all
_LARGEST = 2**62


def _complete_row(frame: Any) -> Any:
    """One row with a value in each column, as far as the column has any."""
    import pandas as pd

    row = frame.head(1).reset_index(drop=True)
    if not len(row) or not row.isna().to_numpy().any():
        return row
    firsts = {
        column: frame[column].loc[[index]].to_numpy()
        for column in frame.columns
        if (index := frame[column].first_valid_index()) is not None
    }
    return pd.DataFrame({column: firsts.get(column, row[column].to_numpy()) for column in frame.columns}).astype(
        frame.dtypes.to_dict()
    )


def known_categories(asked: Asked, frame: Any) -> dict[str, list[Any]]:
    """The allowed values of a column: for a column of categories, and for each column in which the model raises on any
    other value.

    The latter (an encoder with ``handle_unknown="error"``) are found by calling the model with unseen values, which
    works whatever it consists of.
    """
    import pandas as pd

    base, probes = _complete_row(frame), dict[Any, Any]()
    for column in frame.columns:
        series = frame[column]
        if pd.api.types.is_datetime64_any_dtype(series):
            continue
        if pd.api.types.is_bool_dtype(series):
            if series.nunique() == 1:
                probes[column] = not series.dropna().iloc[0]
        elif pd.api.types.is_numeric_dtype(series):  # an encoder also accepts numbers as categories
            probes[column] = (
                max((value for value in {series.max()} | _of_encoders(asked, series) if value == value), default=0) + 1
            )
        else:
            probes[column] = _UNSEEN
    if base.empty or not asked.takes(base):
        return {}
    typed = {column for column in frame.columns if isinstance(frame[column].dtype, pd.CategoricalDtype)}
    free = {column for column in _taken_columns(asked, base, list(probes.items())) if column not in typed}
    found = {}
    for column in (column for column in probes if column not in free):
        values = set(frame[column].dropna().unique().tolist()) | _of_encoders(asked, frame[column])
        if column in typed:
            values |= set(frame[column].cat.categories.tolist())
        found[str(column)] = sorted(value for _, value in _taken(asked, base, [(column, value) for value in values]))
    return found


def _of_encoders(asked: Asked, series: Any) -> set[Any]:
    """Values that an inner encoder was configured with, though no row has them; of the column's own type."""
    import pandas as pd

    kind = (int, float) if pd.api.types.is_numeric_dtype(series) else str
    found: set[Any] = set()
    for estimator in asked.parts():
        for values in getattr(estimator, "categories_", []):
            found |= {value.item() if hasattr(value, "item") else value for value in values}
    return {value for value in found if isinstance(value, kind)}
