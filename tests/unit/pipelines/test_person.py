"""Whatever is written about a person, in whatever schema: after cleaning, nothing of them is found, and everyone
else's data is unchanged.
"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data.person import Person, gone, without_person, without_rows
from pipelines.data.raw_zone import parquet, read_parquet
from pipelines.serving.models.bundle import package
from pipelines.serving.operating.capture import capture_event

pytestmark = pytest.mark.slow  # thousands of texts

SUBJECT, TOKEN = "eve@example.com", "t" + "ab" * 16
NAMES = st.text("abcdefghiß ä.", min_size=1, max_size=6).filter(lambda name: name.strip() == name)
TEXTS = st.sampled_from(["x", "y", "", TOKEN, SUBJECT, "eve"])
NUMBERS = st.one_of(st.none(), st.integers(0, 5))


@st.composite
def tables(draw: st.DrawFn) -> tuple[pa.Table, str]:
    """A table of texts and numbers, and the name of its key column."""
    texts, numbers = (
        draw(st.lists(NAMES, max_size=3, unique=True)),
        draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)),
    )
    rows = draw(st.integers(0, 8))
    columns: dict[str, Any] = {
        f"t {name}": pa.array([draw(st.one_of(st.none(), TEXTS)) for _ in range(rows)], pa.string()) for name in texts
    }
    columns |= {f"n {name}": pa.array([draw(NUMBERS) for _ in range(rows)], pa.int64()) for name in numbers}
    return pa.table(columns), draw(st.sampled_from(sorted(columns)))


@settings(deadline=None, max_examples=150)
@given(tables(), st.sets(st.one_of(st.integers(0, 5), st.sampled_from("xy")), max_size=2))
def test_tables_of_any_schema(made: tuple[pa.Table, str], keys: set[Any]) -> None:
    table, key = made
    person = Person(SUBJECT, TOKEN)
    person.add(key, keys)
    body, count = without_person("data.parquet", parquet(table), person)
    kept, rows = read_parquet(body).to_pylist(), table.to_pylist()
    theirs = [row for row in rows if row[key] in keys or any(value in (SUBJECT, TOKEN) for value in row.values())]
    assert count == len(theirs) and kept == [row for row in rows if row not in theirs]
    assert without_person("data.parquet", body, person)[1] == 0


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8), st.data())
def test_requests_of_any_form(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    mine = pd.DataFrame([rows[0]], columns=["a", "b"])
    others = pd.DataFrame(
        data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=3)), columns=["a", "b"]
    )
    person = Person(SUBJECT, TOKEN, rows=[(mine, others.astype(int) if len(others) else others)])
    shared = rows[0] in list(others.itertuples(index=False, name=None))
    wanted = [row for row in rows if shared or row != rows[0]]
    records = [dict(zip("ab", row, strict=True)) for row in rows]
    for request, form in (
        ({"dataframe_records": records}, "dataframe_records"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [list(row) for row in rows]}}, "dataframe_split"),
        ({"instances": records, "params": {"x": 1}}, "instances"),
        ({"inputs": {"a": [row[0] for row in rows], "b": [row[1] for row in rows]}}, "inputs"),
    ):
        cleaned, answer, count = without_rows(
            request, {"predictions": [row[0] for row in rows], "model_version": "v1"}, person
        )
        assert (
            count == len(rows) - len(wanted)
            and answer["predictions"] == [row[0] for row in wanted]
            and answer["model_version"] == "v1"
        )
        left: Any = cleaned[form]
        found = (
            left["data"]
            if form == "dataframe_split"
            else list(zip(left["a"], left["b"], strict=True))
            if isinstance(left, dict)
            else left
        )
        assert [tuple(row.values()) if isinstance(row, dict) else tuple(row) for row in found] == wanted


def test_what_was_asked_by_key_documents_and_packages() -> None:
    person = Person(SUBJECT, TOKEN)
    person.add("id", [7])
    event = capture_event(
        "application/json", b'{"entities": {"id": [7, 8]}}', b'{"predictions": [1, 0], "classes": [0, 1]}', 0.0
    )
    broken = capture_event("text/csv", SUBJECT.encode(), b"1", 0.0)
    body, count = without_person(
        "a.jsonl", "\n".join(map(json.dumps, (event, broken, {"note": TOKEN}))).encode(), person
    )
    first, second, third = map(json.loads, body.splitlines())
    assert count == 3 and json.loads(first["captureData"]["endpointInput"]["data"]) == {"entities": {"id": [8]}}
    assert json.loads(first["captureData"]["endpointOutput"]["data"])["predictions"] == [0]
    assert SUBJECT not in json.dumps(second) and third == {"note": "[erased]"}
    document = {"sample_key": 7, "failed": [{"sample": [f"is {TOKEN}", 7]}], "rows": 7}
    assert json.loads(without_person("features.json", json.dumps(document).encode(), person)[0]) == {
        "sample_key": None, "failed": [{"sample": ["is [erased]", 7]}], "rows": 7,
    }  # fmt: skip
    frames = (pd.DataFrame({"a": [1.0], "b": [True]}), pd.DataFrame({"a": [2.0], "b": [True]}))
    owner = Person(SUBJECT, TOKEN, rows=[frames])
    packed = package(
        {
            "model.onnx": b"model",
            "background.json": json.dumps({"columns": ["a", "b"], "data": [[1, True], [2, True]]}).encode(),
        }
    )
    cleaned, count = without_person("model.tar.gz", packed, owner)
    assert (
        count == 1
        and without_person("model.tar.gz", cleaned, owner) == (cleaned, 0)
        and without_person("model.onnx", b"x", owner) == (b"x", 0)
    )


def test_an_entity_is_the_persons_alone_only_if_it_is_gone_without_them() -> None:
    both, without = (
        pa.table({"room": ["a", "b", "c"], "uses": [3, 1, 2]}),
        pa.table({"room": ["a", "c"], "uses": [2, 2]}),
    )
    assert gone(both, without, "room") == {"b"}
