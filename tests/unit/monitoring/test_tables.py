"""Captured events read at once are those that are read one by one, in whatever form they were sent."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.monitoring import tables
from pipelines.monitoring.served import Served
from pipelines.serving.ids import new_id
from pipelines.serving.models.bundle import Model
from pipelines.serving.operating.capture import capture_event
from tests.unit.monitoring.references import COLUMNS, model

NAMES = [column["name"] for column in COLUMNS]
ROW = {"a": 1.5, "b": None, "kind": "x"}


def event(request: Any, answer: dict[str, Any], kind: str = "application/json") -> str:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    told = {"model_version": "v1.0.0", "prediction_id": new_id(0), **answer}
    return json.dumps(capture_event(kind, body, json.dumps(told).encode(), 0))


def both(lines: list[str], of: Model) -> tuple[tables.Table, tables.Table]:
    """As the monitor reads it, and one by one."""
    bodies = [line.encode() for line in ("\n".join(lines[::2]), "\n".join(lines[1::2]))]
    rest, each = Served(by_key=True), Served(by_key=True)
    usual = tables.read(bodies, of, NAMES, "v1.0.0", rest)
    others = tables.of_served(rest, of, NAMES)
    for body in bodies:
        each.read(body, of.columns, "v1.0.0")
    return others if usual is None else tables.joined([usual, others]), tables.of_served(each, of, NAMES)


def rows_of(table: tables.Table) -> list[str]:
    chances = table.chances.tolist() if table.chances is not None else [None] * len(table)
    features = table.frame.astype({"a": float, "b": float}).astype(object).where(table.frame.notna(), None)
    rows = zip(table.ids, table.places, table.said.tolist(), chances, features.to_numpy().tolist(), strict=True)
    return sorted(map(repr, rows))


ONE = {"predictions": [1], "probabilities": [0.75]}
FORMS: dict[str, list[str]] = {
    "records": [event({"dataframe_records": [ROW, ROW]}, {"predictions": [1, 0], "probabilities": [0.75, 0.25]})],
    "probabilities of each class": [
        event({"dataframe_records": [ROW]}, {"predictions": [1], "probabilities": [[0.25, 0.75]]})
    ],
    "columns in another order, one left out, one more": [
        event({"dataframe_records": [{"kind": "y", "a": 2, "c": 3}]}, ONE)
    ],
    "split": [event({"dataframe_split": {"columns": ["b", "a"], "data": [[0.5, 1]]}}, ONE)],
    "instances": [event({"instances": [[1, 0.5, "x"]]}, ONE)],
    "inputs by column": [event({"inputs": {"a": [1], "b": [0.5], "kind": ["z"]}}, ONE)],
    "CSV": [event(b"a,b,kind\n1.5,,x\n", ONE, "text/csv")],
    "JSON with its encoding": [event({"dataframe_records": [ROW]}, ONE, "application/json; charset=utf-8")],
    "NaN": [event(b'{"dataframe_records": [{"a": NaN, "b": 1, "kind": "x"}]}', ONE)],
    "by key": [event({"entities": {"id": [7]}}, ONE)],
    "a text that looks like JSON": [event({"dataframe_records": [{**ROW, "kind": 'a"}]}{'}]}, ONE)],
    "a class as another type": [event({"dataframe_records": [ROW]}, {"predictions": [True], "probabilities": [0.9]})],
    "no id": [event({"dataframe_records": [ROW]}, {**ONE, "prediction_id": ""})],
}
NOTHING: dict[str, list[str]] = {
    "another version's": [event({"dataframe_records": [ROW]}, {**ONE, "model_version": "v2.0.0"})],
    "a canary's": [event({"dataframe_records": [ROW], "params": {"purpose": "canary"}}, ONE)],
    "an explanation": [event({"dataframe_records": [ROW]}, {"explanations": []})],
    "fewer predictions than rows": [event({"dataframe_records": [ROW, ROW]}, ONE)],
    "no JSON": ["captured by somebody else", '{"captureData": 7}', "[]", "null"],
    "bytes": [event(b"\x93NUMPY", ONE, "application/x-npy")],
    "nothing": [],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_request_is_read(form: str) -> None:
    found, expected = both(FORMS[form] * 3, model())
    assert len(found) == (6 if form == "records" else 3) and rows_of(found) == rows_of(expected)


@pytest.mark.parametrize("form", NOTHING)
def test_what_is_no_prediction_of_the_version_is_left_out(form: str) -> None:
    found, expected = both(NOTHING[form], model())
    assert len(found) == len(expected) == 0


@given(st.lists(st.sampled_from(sorted({*FORMS, *NOTHING} - {"probabilities of each class"})), max_size=8))
def test_forms_may_be_mixed(forms: list[str]) -> None:
    found, expected = both([line for form in forms for line in (FORMS | NOTHING)[form]], model())
    assert rows_of(found) == rows_of(expected)


def test_numbers_are_predicted_as_well() -> None:
    lines = [event({"dataframe_records": [ROW]}, {"predictions": [value]}) for value in (1, 2.5, -1e9)]
    found, expected = both(lines, model("regression"))
    assert rows_of(found) == rows_of(expected) and sorted(found.said) == [-1e9, 1, 2.5] and found.chances is None


def test_names_that_differ_in_case_only_are_kept_apart() -> None:
    columns = [{"name": "a", "type": "double"}, {"name": "A", "type": "double"}]
    of = Model(None, columns, "regression", version="v1.0.0")  # type: ignore[arg-type]
    rest = Served()
    body = event({"dataframe_records": [{"a": 1, "A": 2}]}, {"predictions": [3]}).encode()
    assert tables.read([body], of, ["a", "A"], "v1.0.0", rest) is None
    assert tables.of_served(rest, of, ["a", "A"]).frame.to_numpy().tolist() == [[1, 2]]


@pytest.mark.parametrize("name", ['it\'s "quoted"', "a b", "event", "line", "prediction", "$.a"])
def test_columns_may_have_any_name(name: str) -> None:
    of = Model(None, [{"name": name, "type": "double"}], "regression", version="v1.0.0")  # type: ignore[arg-type]
    body = event({"dataframe_records": [{name: 4.5}]}, {"predictions": [3]}).encode()
    found = tables.read([body], of, [name], "v1.0.0", Served())
    assert found is not None and found.frame[name].tolist() == [4.5] and np.isfinite(found.said).all()
