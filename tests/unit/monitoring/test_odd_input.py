"""What other people bring: types, texts and files that no sample has, each a kind that came out wrong once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from groundplan.local.labelling import _empty, _read, _why
from pipelines.monitoring import findings, hours
from pipelines.monitoring.columns import Column
from pipelines.monitoring.counting import counted, counts_of
from pipelines.monitoring.drift import compare
from pipelines.monitoring.estimating import Estimation, estimation, values_of
from pipelines.monitoring.labels import Label, Labels, own_outcomes, typed
from pipelines.monitoring.labels import values_of as ground_truth
from pipelines.monitoring.months import by_month
from pipelines.monitoring.scores import coded, scores
from pipelines.monitoring.served import Served
from pipelines.monitoring.tables import Table, joined
from pipelines.serving.ids import new_id
from pipelines.training.labelled import Labelled, row_digests
from pipelines.training.slices import slices_like
from spec.errors import UsageError
from tests.unit.monitoring.references import chance, classifier, late, model, people, regressor, said

NOW = datetime(2027, 1, 1, tzinfo=UTC)


def served(frame: pd.DataFrame) -> Table:
    predictions, chances = said(frame)
    return Table(frame, np.array(predictions), chances, [str(place) for place in range(len(frame))], [0] * len(frame))


@pytest.mark.parametrize("write", [str, float, lambda value: f"{value}.0", lambda value: str(bool(value))])
def test_an_outcome_is_a_class_however_a_table_writes_it(write: Any) -> None:
    reference, frame = classifier(), people(200, 8)
    truth = late(frame, 9)
    labels = Labels({(str(place), 0): write(int(value)) for place, value in enumerate(truth)})
    found = counted(reference, served(frame), labels)
    assert found["labelled"]["outcomes"]["rows"] == found["labelled"]["expected"]["rows"] == 200
    assert scores(found["labelled"]["outcomes"])["accuracy"] == pytest.approx((truth == said(frame)[0]).mean())


def test_an_outcome_of_no_class_is_none_and_not_an_unfavourable_one() -> None:
    frame = people(100, 8)
    found = counted(classifier(), served(frame), Labels({(str(place), 0): "maybe" for place in range(100)}))
    assert "labelled" not in found or not found["labelled"]["outcomes"]["rows"]
    assert all(each["cells"]["fp"] == each["cells"]["tn"] == 0 for each in found["facets"]["kind"].values())


@pytest.mark.parametrize("classes", [["01", "02"], ["true", "false"], ["True", "False"], ["1.0", "2.0"], [False, True]])
def test_a_class_is_itself_first(classes: list[Any]) -> None:
    from pipelines.serving.models.engines import class_name

    names = [class_name(value) for value in classes]
    assert coded(classes, names).tolist() == [0, 1] and coded([str(value) for value in classes], names).tolist() == [
        0,
        1,
    ]
    assert coded([{"a": 1}, ["x"], None], names).tolist() == [-1, -1, -1]


def test_rows_that_features_do_not_tell_apart_have_no_outcome_of_their_own() -> None:
    """Of two columns of two texts each, whose outcome is it?"""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.choice(["x", "y"], 500), "b": random.choice(["p", "q"], 500)})
    context: Any = SimpleNamespace(definition=SimpleNamespace(target="late"))
    coarse = SimpleNamespace(
        training=Labelled(frame, pd.Series([0] * 500)), holdout=Labelled(frame, pd.Series([1] * 500))
    )
    nothing = pd.DataFrame({"other": [1]})
    assert len(own_outcomes(context, coarse, nothing).digests) == 0  # type: ignore[arg-type]
    fine = classifier(300)
    assert len(own_outcomes(context, fine, nothing).digests) == 300


def test_several_targets_and_scores_are_watched_without_an_estimate() -> None:
    from dataclasses import replace

    frame = people(50, 1)
    several = replace(classifier(), model=model(targets=["u", "v"]))
    found = counted(several, Table(frame, np.empty(0), None, [""] * 50, [0] * 50), Labels())
    assert found["rows"] == 50 and counts_of(found.get("answers", {})) == {}
    scored = replace(classifier(), model=model(output="score"))
    hours_of = []
    for rows in (people(40, 2), people(40, 3).assign(a=-9.0)):  # in the second, only one class
        labels = Labels({(str(place), 0): int(value) for place, value in enumerate(chance(rows) >= 0.5)})
        hours_of.append(counted(scored, served(rows), labels))
    both = findings.realised(scored, findings.total(hours_of))
    assert both["rows"] == 80 and "correct_warnings" in both["metrics"]


def test_bins_that_have_changed_are_not_added_to() -> None:
    """A person's rows are erased from the training rows of a version."""
    from dataclasses import replace

    whole = classifier()
    less = replace(whole, training=Labelled(whole.training.features[1:], whole.training.labels[1:]))
    assert hours._of(whole) == hours._of(classifier()) != hours._of(less)


@pytest.mark.parametrize(
    "document",
    [
        {"groundTruthData": "1"},
        {"groundTruthData": None},
        {"groundTruthData": {"encoding": "JSON", "data": '{"label": 1}'}},
        {"groundTruthData": {"encoding": "JSON", "data": "[[1]]"}},
        {"groundTruthData": {"encoding": "JSON", "data": "{"}},
        {},
    ],
)
def test_what_is_no_ground_truth_is_refused_and_stops_nothing(document: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        ground_truth(document)
    file = tmp_path / "truth.jsonl"
    file.write_text(json.dumps({**document, "eventMetadata": {"eventId": new_id(0)}}), encoding="utf-8")
    with pytest.raises(UsageError, match=r"is not ground truth|has no column prediction_id"):
        list(_read(file, "late"))


def test_numbers_that_are_none_do_not_count() -> None:
    reference, frame = regressor(), people(60, 5)
    predictions = np.where(np.arange(60) == 3, np.nan, 10 * frame["a"])
    table = Table(frame, predictions, None, [str(place) for place in range(60)], [0] * 60)
    labels = {(str(place), 0): value for place, value in enumerate([*[1.0] * 57, 1e200, float("inf"), "nan"])}
    found = counted(reference, table, Labels(labels))
    assert found["labelled"]["outcomes"]["rows"] == 56 and np.isfinite(found["labelled"]["outcomes"]["squared"])
    json.dumps(found, allow_nan=False)


def test_held_out_rows_without_an_outcome_are_not_learnt_from() -> None:
    reference = regressor(600)
    gaps = reference.holdout.labels.mask(np.arange(600) % 3 == 0)
    found = estimation(reference.model, Labelled(reference.holdout.features, gaps), reference.predictions, None)
    assert isinstance(found, Estimation)
    few = reference.holdout.labels.mask(np.arange(600) % 4 != 0)
    why = estimation(reference.model, Labelled(reference.holdout.features, few), reference.predictions, None)
    assert why == "only 150 of the rows held out have an outcome, and 200 are needed"


def test_rare_categories_of_the_training_rows_are_not_new() -> None:
    names = pd.Series([f"c{number % 1000}" for number in range(10_000)])
    column = Column.of("c", names)
    assert findings.unexpected({"c": column}, {"c": column.count(names)}) == (0.0, [])


@pytest.mark.parametrize("days", [60, 10], ids=["numbers", "categories"])
def test_times_are_sent_as_texts(days: int) -> None:
    times = pd.Series(pd.date_range("2026-01-01", periods=days, freq="D").repeat(50))
    column, texts = Column.of("t", times), times.map(lambda value: value.isoformat())
    assert not compare({"t": column}, {"t": column.count(texts)})[0].drifted
    assert findings.unexpected({"t": column}, {"t": column.count(texts)})[0] == 0
    later = texts.map(lambda text: text.replace("2026", "2027"))
    assert compare({"t": column}, {"t": column.count(later)})[0].drifted
    frame, sent = pd.DataFrame({"t": times}), pd.DataFrame({"t": texts})
    digests = [row_digests(typed(each, frame), ["t"]).tolist() for each in (frame, sent)]
    assert digests[0] == digests[1]
    aware = pd.DataFrame({"t": times.dt.tz_localize("Europe/Berlin")})
    assert typed(aware, aware)["t"].iloc[0] == typed(frame, frame)["t"].iloc[0] - 3600


def test_times_and_categories_are_estimated_from_as_they_are_sent() -> None:
    random = np.random.default_rng(0)
    days = pd.Series(pd.date_range("2026-01-01", periods=1_000, freq="h"))
    frame = pd.DataFrame({"t": days, "k": pd.Categorical(random.choice([1, 2], 1_000))})
    labels = pd.Series(random.normal(size=1_000) * np.where(np.arange(1_000) > 500, 20, 1))
    found = estimation(model("regression"), Labelled(frame, labels), [0.0] * 1_000, None)
    assert isinstance(found, Estimation)
    sent = pd.DataFrame({"t": days.map(lambda value: value.isoformat()), "k": frame["k"].astype(float)})
    both = [scores(found.estimator.expected(rows, np.zeros(1_000), None))["mae"] for rows in (frame, sent)]
    assert both[0] == pytest.approx(both[1]) and both[0] > 5


def test_long_numbers_are_different_numbers() -> None:
    column = Column.of("n", pd.Series([10_000_001, 10_000_002, 10_000_003] * 50))
    assert compare({"n": column}, {"n": column.count(pd.Series([10_000_009.0] * 150))})[0].drifted
    assert not compare({"n": column}, {"n": column.count(pd.Series([10_000_001.0, 10_000_002.0, 10_000_003.0] * 50))})[
        0
    ].drifted
    divided = slices_like(pd.DataFrame({"n": [1_000_001, 1_000_002]}), ("n",))["n"]
    assert divided.labels(pd.Series([1_000_001.0, 1_000_002.0])).tolist() == ["1000001", "1000002"]


def test_targets_of_texts_have_no_mean() -> None:
    frame = pd.DataFrame(
        {
            "event_timestamp": pd.date_range("2026-01-01", periods=60, freq="D", tz="UTC"),
            "late": ["late", "ok"] * 30,
            "a": np.arange(60.0),
            "b": np.arange(60.0),
        }
    )
    found = by_month(frame, "late", pd.DataFrame({"a": np.arange(60.0), "b": ["x"] * 60}))
    assert [(each["month"], each["rows"], each["outcome"]) for each in found] == [
        ("2026-01", 31, None),
        ("2026-02", 28, None),
        ("2026-03", 1, None),
    ]
    assert by_month(frame.assign(late=[True, False] * 30), "late", frame[["a"]])[1]["outcome"] == 0.5


def test_categories_with_gaps_divide_rows() -> None:
    column = pd.Series(pd.Categorical(["x", "y", None] * 10))
    assert set(slices_like(pd.DataFrame({"k": column}), ("k",))["k"].labels(column)) == {"x", "y", "missing"}


def test_what_is_favourable_by_default_is_above_the_median() -> None:
    from dataclasses import replace

    zeros = replace(regressor(), training=Labelled(people(100, 1), pd.Series([0.0] * 60 + [5.0] * 40)))
    assert zeros.favourable is not None and zeros.favourable.least == 5.0
    assert replace(zeros, training=Labelled(people(100, 1), pd.Series([7.0] * 100))).favourable is None
    flags = replace(classifier(), model=model(classes=[False, True]), favourable_is="True")
    assert flags.favourable is not None and flags.favourable.name == "1"


def test_one_request_without_probabilities_leaves_the_others_theirs() -> None:
    frame = people(100, 2)
    whole = served(frame)
    none = Table(frame[:1], whole.said[:1], None, ["x"], [0])
    table = joined([whole, none])
    found = counted(classifier(), table, Labels({("x", 0): 1, ("1", 0): 0}))
    assert found["rows"] == 101 and found["expected"]["rows"] == 100
    assert found["labelled"]["outcomes"]["rows"] == 2 and found["labelled"]["expected"]["rows"] == 1


def test_rows_by_key_without_features_are_left_out() -> None:
    found = Served(by_key=True)
    found.add({"entities": {"id": [1, 2, 3]}}, {"predictions": [0, 1, 0]}, [])
    found.add({"instances": [[1.0]]}, {"predictions": [1]}, [{"name": "a"}])
    found.leave_out({0, 2})
    assert found.rows == [{"id": 2}, {"a": 1.0}] and found.predictions == [1, 1] and found.looked_up == [0]


@pytest.mark.parametrize(
    ("label", "classes", "why"),
    [
        (Label(new_id(0), "1.0"), ["0", "1"], ""),
        (Label(new_id(0), "nonsense"), ["0", "1"], "no class of the model"),
        (Label(new_id(0), "nan"), [], "not a number"),
        (Label(new_id(0), 1e200), [], "not a number"),
        (Label(new_id(0), [1]), [], "neither a text nor a number"),
        (Label(new_id(0), 1, 10**9), [], "no number of a row"),
        (Label("17", 1), [], "no id of a prediction"),
        (Label(new_id(2**47), 1), [], "in the future"),
    ],
)
def test_a_wrong_outcome_is_said_to_be_one(label: Label, classes: list[str], why: str) -> None:
    found = _why(label, classes, NOW)
    assert (why in found) if why else not found


@pytest.mark.parametrize("dtype", ["Int64", "string", "boolean", "Float64", "object"])
def test_labels_of_any_type_are_read_from_parquet(dtype: str, tmp_path: Path) -> None:
    odd: dict[str, list[Any]] = {"string": ["1", None], "boolean": [True, None], "object": [Decimal("1.5"), None]}
    values = odd.get(dtype, [1, None])
    file = tmp_path / "labels.parquet"
    pd.DataFrame({"prediction_id": ["a", "b"], "label": pd.Series(values, dtype=dtype)}).to_parquet(file)
    found = [item.value for _, item in _read(file, "")]
    assert [_empty(value) for value in found] == [False, True]
    json.dumps(found[0])


@pytest.mark.parametrize("text", ["\ufeff{}", "{}\r\n", "\n{}\n\n"], ids=["byte order mark", "Windows", "empty lines"])
def test_lines_of_json_may_be_written_anywhere(text: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text(text.replace("{}", json.dumps({"prediction_id": "a", "late": 1})), encoding="utf-8", newline="")
    assert [item for _, item in _read(file, "late")] == [Label("a", 1)]


def test_numbers_are_taken_from_whatever_holds_them() -> None:
    assert np.array_equal(
        values_of(np.array(["1.5", None, "x", 2], dtype=object), []), [1.5, np.nan, np.nan, 2], equal_nan=True
    )
