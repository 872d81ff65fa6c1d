"""What a version was judged on: held-out rows, training rows and the baseline, kept with it so that it can be judged
again wherever it goes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.registry.signing import sha256
from pipelines.registry.versions import EVALUATION, Registry
from pipelines.serving.models.bundle import Model, load, package, unpack
from pipelines.serving.models.rows import Rows
from pipelines.training.labelled import Labelled, as_columns, load_labelled, row_digests
from spec.errors import GroundplanError
from spec.versions import VersionRecord

if TYPE_CHECKING:
    from pipelines.context import Context

BASELINE, EXPECTED = "baseline.tar.gz", "expected.json"
EXPECTED_ROWS = 200
SAME = 1e-5  # relative difference of numbers that two machines compute
FEWEST_UNSEEN = 30  # rows, below which a comparison says nothing
_ROWS = ("holdout", "training")


def packed(folder: Path) -> bytes:
    """What an experiment has left in ``groundplan/``, and the candidate's answers instead of the candidate; the same
    bytes for the same content.
    """
    files = {path.name: path.read_bytes() for name in _ROWS for path in folder.glob(f"{name}*.parquet")}
    baseline = {path.name: path.read_bytes() for path in (folder / "baseline").iterdir()}
    candidate = load(folder / "candidate")
    assert candidate is not None
    expected = answered(candidate, load_labelled(folder, "holdout"))
    return package({**files, BASELINE: package(baseline), EXPECTED: json.dumps(expected).encode()})


def unseen_by(context: Context, known: VersionRecord, rows: Labelled, folder: Path, how: str) -> tuple[Labelled, str]:
    """Rows that another version was not trained on: on those that it knows by heart no successor looks better.

    Args:
        folder: For what the other version was judged on.
        how: How the rows were chosen.

    Returns:
        The rows, and how they were chosen; all of them where hardly any are left, or where nobody knows.
    """
    if not known.evaluation:
        return rows, how
    fetch(context, known, folder)
    learnt = load_labelled(folder, "training").features
    names = [name for name in learnt.columns if name in rows.features.columns]
    if not names:
        return rows, how
    fresh = ~row_digests(rows.features, names).isin(set(row_digests(learnt, names))).to_numpy()
    if fresh.all():
        return rows, how
    seen = f"{len(rows) - fresh.sum()} of {len(rows)}"
    if fresh.sum() < FEWEST_UNSEEN:
        return rows, f"{how}; {known.version} was trained on {seen} of them, which flatters it"
    kept = Labelled(rows.features[fresh], rows.labels[fresh])
    return kept, f"{how}, without the {seen} that {known.version} was trained on"


def other_scale(theirs: Labelled, ours: Labelled) -> str:
    """Why two versions can't be asked the same rows although their columns have the same names: one takes numbers that
    the other's script has scaled. Empty where both take the same.

    A column counts as scaled otherwise if the middle 90 % of its values is ten times as wide in one as in the other, or
    twice as wide and elsewhere. Drift alone moves values, but hardly stretches them so far.
    """
    for name in theirs.features.columns:
        if name not in ours.features.columns:
            continue
        first, second = (_middle(each.features[name]) for each in (theirs, ours))
        if first is None or second is None:
            continue
        wide, narrow = max(first[1] - first[0], second[1] - second[0]), min(first[1] - first[0], second[1] - second[0])
        apart = first[1] < second[0] or second[1] < first[0]
        if narrow > 0 and (wide > 10 * narrow or (apart and wide > 2 * narrow)):
            said, now = (f"{low:.4g} to {high:.4g}" for low, high in (first, second))
            return f"it takes {name} on another scale: {said} instead of {now}"
    return ""


def training_set(context: Context) -> Any:
    """The newest rows that the features step has joined, as a frame; None where there are none."""
    import io

    import pandas as pd

    newest = max(context.keys("features", f"training/{context.model}/"), default="")  # runs are named after their time
    return pd.read_parquet(io.BytesIO(context.get("features", newest))) if newest else None


def outcomes(context: Context, like: Labelled, learnt: list[Labelled], frame: Any = None) -> Labelled | None:
    """Every row whose outcome is known by now and which no version has learnt from; None without such rows.

    Args:
        like: Rows of the same columns and kind of label.
        learnt: What the versions were trained on.
        frame: The newest training set, if it has been read.
    """
    target, names = context.definition.target, list(like.features.columns)
    if frame is None:
        frame = training_set(context)
    if frame is None or hasattr(like.labels, "columns"):
        return None
    if not {*names, target} <= set(frame.columns):  # the script makes columns of its own
        return None
    frame = frame[frame[target].notna()]
    digests, judged = row_digests(frame, names), row_digests(like.features, names)
    both = digests.isin(judged).to_numpy()
    known = dict(zip(digests[both].tolist(), frame[target][both].tolist(), strict=True))
    labelled = zip(judged.tolist(), like.labels.tolist(), strict=True)
    pairs = [(known[digest], label) for digest, label in labelled if digest in known]
    if not pairs or any(one != other for one, other in pairs):  # the script makes labels of its own, too
        return None
    for rows in learnt:
        if set(names) <= set(rows.features.columns):
            fresh = ~digests.isin(row_digests(rows.features, names)).to_numpy()
            frame, digests = frame[fresh], digests[fresh]
    return Labelled(frame[names], frame[target]) if len(frame) else None


def _middle(column: Any) -> tuple[float, float] | None:
    """The range of the middle 90 % of a column's numbers; None where there are none, or too few."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return None
    known = column.dropna().astype(float)
    if len(known) < FEWEST_UNSEEN:
        return None
    low, high = known.quantile([0.05, 0.95])
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def answered(model: Model, holdout: Labelled) -> list[Any]:
    """A model's predictions of the first held-out rows, as JSON has them."""
    rows = holdout.features.head(EXPECTED_ROWS)
    found = model.answers(Rows.of(as_columns(rows, model.names))).predictions
    plain: list[Any] = json.loads(json.dumps(list(found), default=_plain))
    return plain


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def same(one: Any, other: Any) -> bool:
    """Whether two predictions of a row are the same, but for the last digits of numbers."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=SAME, abs_tol=SAME) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


def fetch(context: Context, record: VersionRecord, folder: Path) -> None:
    """Put ``holdout``, ``training`` and ``baseline`` of a version into a folder.

    Raises:
        GroundplanError: It was changed after the version was registered, or is gone.
    """
    if not record.evaluation:  # registered by a release that left it with MLflow
        _from_mlflow(record, folder)
        return
    registry = Registry(context)
    content = registry.get_file(record.version, EVALUATION)
    known = (record.evaluation, registry.erased(record.version).get(EVALUATION))
    if content is None or sha256(content) not in known:
        raise GroundplanError(
            f"what {record.name} was judged on {'is gone' if content is None else 'was changed'}",
            where=registry.address(record.version, EVALUATION),
            fix="restore the object's first version (the bucket keeps it)",
        )
    unfold(content, folder)


def unfold(content: bytes, folder: Path) -> None:
    """Unpack what ``packed`` has packed."""
    folder.mkdir(exist_ok=True)
    unpack(content, folder)
    (folder / "baseline").mkdir()
    unpack((folder / BASELINE).read_bytes(), folder / "baseline")


def _from_mlflow(record: VersionRecord, folder: Path) -> None:
    import mlflow

    mlflow.artifacts.download_artifacts(
        run_id=record.lineage["run_id"], artifact_path="groundplan", dst_path=str(folder.parent)
    )
    (folder.parent / "groundplan").rename(folder)
