"""Rows on which a successor is compared: without those that the version in service knows by heart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.registry import evaluation
from pipelines.training.labelled import Labelled, row_digests

HOW = "rows the model has not seen"


class Known:
    version, evaluation = "v1.0.0", "digest"


def compared(
    learnt: pd.DataFrame, rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Labelled, str]:
    def fetch(context: Any, known: Any, folder: Path) -> None:
        folder.mkdir()
        Labelled(learnt, pd.Series(np.zeros(len(learnt)))).save(folder, "training")

    monkeypatch.setattr(evaluation, "fetch", fetch)
    labelled = Labelled(rows, pd.Series(range(len(rows)), index=rows.index))
    return evaluation.unseen_by(None, Known(), labelled, tmp_path / "judged", HOW)  # type: ignore[arg-type]


FRAME = pd.DataFrame({"n": range(100), "text": [f"t{number}" for number in range(100)]})


@pytest.mark.parametrize(
    "learnt",
    [
        FRAME[:40],
        FRAME[:40].astype({"n": float}),  # as another script has read it
        FRAME[:40].astype({"n": "float32"}),
        FRAME[:40].assign(more=1),
        FRAME[["n"]][:40],
    ],
)
def test_rows_that_it_was_trained_on_are_left_out(
    learnt: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, how = compared(learnt, FRAME, tmp_path, monkeypatch)
    assert list(kept.features["n"]) == list(range(40, 100)) == list(kept.labels)
    assert how == f"{HOW}, without the 40 of 100 that v1.0.0 was trained on"


def test_where_hardly_any_are_left_all_are_used_and_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, how = compared(FRAME[:90], FRAME, tmp_path, monkeypatch)
    assert len(kept) == 100 and how == f"{HOW}; v1.0.0 was trained on 90 of 100 of them, which flatters it"


def test_other_rows_and_other_columns_are_no_reason_to_leave_any_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, learnt in enumerate((FRAME.assign(n=FRAME["n"] + 1000), FRAME.rename(columns=str.upper))):
        (place := tmp_path / str(number)).mkdir()
        kept, how = compared(learnt, FRAME, place, monkeypatch)
        assert len(kept) == 100 and how == HOW


def test_fractions_in_single_precision_and_missing_values_are_the_same_rows() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=50), "t": ["a", None] * 25, "u": [0.0, -0.0] * 25})
    other = frame.astype({"x": "float32"}).replace({"t": {None: np.nan}})
    assert list(row_digests(frame, ["x", "t", "u"])) == list(row_digests(other, ["x", "t", "u"]))
    assert len(set(row_digests(frame, ["x"]))) == 50


RANDOM = np.random.default_rng(0)
PEOPLE = pd.DataFrame(
    {"age": RANDOM.normal(50, 12, 400), "bmi": RANDOM.normal(25, 4, 400), "name": ["x"] * 400, "smokes": [True] * 400}
)


def told(theirs: pd.DataFrame, ours: pd.DataFrame) -> str:
    first, second = (Labelled(each, pd.Series(np.zeros(len(each)))) for each in (theirs, ours))
    return evaluation.other_scale(first, second)


@pytest.mark.parametrize(
    "scaled",
    [
        PEOPLE.assign(age=(PEOPLE["age"] - 50) / 12),  # StandardScaler
        PEOPLE.assign(bmi=(PEOPLE["bmi"] - 25) / 4),
        PEOPLE.assign(age=(PEOPLE["age"] - PEOPLE["age"].min()) / np.ptp(PEOPLE["age"])),  # MinMaxScaler
        PEOPLE.assign(bmi=np.log(PEOPLE["bmi"])),
        PEOPLE.assign(bmi=PEOPLE["bmi"] * 1000),
    ],
)
def test_numbers_that_a_script_has_scaled_are_told_from_those_it_has_not(scaled: pd.DataFrame) -> None:
    assert "on another scale" in told(PEOPLE, scaled) and "on another scale" in told(scaled, PEOPLE)


@pytest.mark.parametrize(
    "drifted",
    [
        PEOPLE[:200],
        PEOPLE.assign(age=PEOPLE["age"] + 40),  # everyone is older
        PEOPLE.assign(age=PEOPLE["age"] + RANDOM.normal(0, 30, 400)),
        PEOPLE.assign(bmi=np.nan),
        PEOPLE.assign(bmi=25.0),
        PEOPLE.assign(name="y", smokes=False),
        PEOPLE.drop(columns="age"),
        PEOPLE[:20].assign(age=0.5),
    ],
)
def test_drift_is_no_other_scale(drifted: pd.DataFrame) -> None:
    assert told(PEOPLE, drifted) == told(drifted, PEOPLE) == ""


def test_the_message_says_which_column_and_how() -> None:
    assert told(PEOPLE.assign(age=np.linspace(-1, 1, 400)), PEOPLE.assign(age=np.linspace(0, 100, 400))) == (
        "it takes age on another scale: -0.9 to 0.9 instead of 5 to 95"
    )
