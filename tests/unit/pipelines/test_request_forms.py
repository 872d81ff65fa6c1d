"""Every form of a request gives the same rows; the quick way to read JSON accepts nothing that the careful one would
not.
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import Constant
from pipelines.serving.models.rows import Rows, joined
from pipelines.serving.operating.capture import capture_event, request_of
from pipelines.serving.protocols.checks import BadRequestError, checked
from pipelines.serving.protocols.scoring import JSON, _from_json, parse
from pipelines.serving.protocols.tables import ARROW, CSV, NUMPY, PARQUET

MIXED = [
    {"name": "size", "type": "double"},
    {"name": "count", "type": "long", "nullable": True},
    {"name": "a name, with a comma", "type": "string", "categories": ["x", "y"]},
    {"name": "good", "type": "boolean"},
]
NUMBERS = [{"name": "a", "type": "double"}, {"name": "b", "type": "double", "nullable": True}]


def model(columns: list[dict[str, Any]]) -> Model:
    return Model(Constant(0), columns, "regression")


def lists(found: Any) -> dict[str, list[Any]]:
    assert isinstance(found, Rows)
    return found.lists


_values = st.one_of(
    st.floats(-10, 10),
    st.integers(-5, 5),
    st.sampled_from([2**63, 10**40, 1e300, "x", "y", "z", None, True, False, [1]]),
)
_row = st.lists(_values, min_size=4, max_size=4)
_record = st.fixed_dictionaries({column["name"]: _values for column in MIXED})
_order = st.permutations([column["name"] for column in MIXED])


@settings(max_examples=400, deadline=None)
@given(
    body=st.one_of(
        st.lists(_row, max_size=3).map(lambda rows: {"instances": rows}),
        st.lists(_row, max_size=3).map(lambda rows: {"inputs": rows}),
        st.lists(_record, max_size=3).map(lambda rows: {"dataframe_records": rows}),
        st.tuples(_order, st.lists(_row, max_size=3)).map(
            lambda both: {"dataframe_split": {"columns": both[0], "data": both[1]}}
        ),
        st.tuples(_order, st.lists(_row, max_size=3)).map(
            lambda both: {"dataframe_split": {"columns": [*both[0][:3], both[0][0]], "data": both[1]}}
        ),
    )
)
def test_the_quick_way_agrees_with_the_careful_one(body: dict[str, Any]) -> None:
    mixed, text = model(MIXED), json.dumps(body).encode()
    quick = mixed.decode(text)
    if not quick:
        return
    careful = checked(mixed, _from_json(mixed, text))  # type: ignore[arg-type]
    assert Rows(mixed.names, tuples=quick).lists == careful


def test_the_quick_way_reads_the_usual_bodies() -> None:
    mixed = model(MIXED)
    record = {"good": True, "size": 1, "count": None, "a name, with a comma": "x"}
    row = [1.0, None, "x", True]
    for body in (
        {"dataframe_split": {"columns": list(record), "data": [list(record.values())]}},
        {"dataframe_split": {"data": [row]}},
        {"dataframe_records": [record]},
        {"instances": [row]},
        {"inputs": [record]},
    ):
        assert mixed.decode(json.dumps(body, indent=1).encode()) == [(1.0, None, "x", True)], body


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


TABLE = pa.table({"b": [0.5, None], "a": pa.array([1, 2], pa.int32())})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (JSON, b'{"instances": [[1, 0.5], [2, null]]}'),
        (CSV, b"a,b\n1,0.5\n2,\n"),
        (NUMPY, npy(np.array([[1, 0.5], [2, np.nan]], dtype=np.float32))),
        (NUMPY, npy(np.array([(0.5, 1), (np.nan, 2)], dtype=[("b", "f8"), ("a", "i4")]))),
        (ARROW, stream(TABLE)),
        (PARQUET, parquet(TABLE)),
        ("application/x-parquet", parquet(TABLE)),
    ],
)
def test_every_form_gives_the_same_rows(kind: str, body: bytes) -> None:
    found = parse(model(NUMBERS), kind, body)
    assert lists(found) == {"a": [1, 2], "b": [0.5, None]}
    assert np.array_equal(found.matrix(), np.array([[1, 0.5], [2, np.nan]], dtype=np.float32), equal_nan=True)  # type: ignore[union-attr]


def test_tables_have_texts_truths_and_dates() -> None:
    columns = [*MIXED, {"name": "day", "type": "timestamp"}]
    table = pa.table(
        {
            "size": [1.5], "count": pa.array([None], pa.int64()),
            "a name, with a comma": pa.array(["x"]).dictionary_encode(),
            "good": [True], "day": pa.array([0], pa.date32()),
        }
    )  # fmt: skip
    expected = {"size": [1.5], "count": [None], "a name, with a comma": ["x"], "good": [True], "day": ["1970-01-01"]}
    assert lists(parse(model(columns), ARROW, stream(table))) == expected
    assert lists(parse(model(columns), PARQUET, parquet(table))) == expected


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        (NUMPY, b"nothing", "not a NumPy file"),
        (NUMPY, npy(np.array([[object()]], dtype=object)), "not a NumPy file"),
        (NUMPY, npy(np.zeros((2, 3))), "has the shape [2, 3]; expected [rows, 2], in the order a, b"),
        (NUMPY, npy(np.zeros(2)), "has the shape [2]"),
        (NUMPY, npy(np.array([[np.nan, 1]])), "Column 'a', row 0: a value is missing"),
        (NUMPY, npy(np.array([[np.inf, 1]])), "Column 'a', row 0: inf is not a usable number"),
        (NUMPY, npy(np.array([["x", "y"]])), "Column 'a', row 0: 'x' is not a number"),
        (NUMPY, npy(np.zeros((0, 2))), "no rows"),
        (ARROW, b"nothing", "not an Arrow stream"),
        (PARQUET, b"nothing", "not a Parquet file"),
        (PARQUET, parquet(pa.table({"a": [1.0]})), "Missing column b"),
        (PARQUET, parquet(pa.table({"a": ["x"], "b": [1.0]})), "Column 'a', row 0: 'x' is not a number"),
        (ARROW, stream(pa.table({"a": [None, 1.0], "b": [1.0, 2.0]})), "Column 'a', row 0: a value is missing"),
        (ARROW, stream(pa.table({"a": np.zeros(10_001), "b": np.zeros(10_001)})), "at most 10000"),
        ("text/plain", b"x", "text/plain is not supported; use application/json, text/csv, application/x-npy"),
    ],
)
def test_a_bad_table_is_one_clear_sentence(kind: str, body: bytes, says: str) -> None:
    with pytest.raises(BadRequestError) as error:
        parse(model(NUMBERS), kind, body)
    assert says in error.value.sentence and error.value.sentence.endswith(".") and error.value.status < 500


def test_rows_of_several_requests_are_put_together_whatever_their_form() -> None:
    numbers = model(NUMBERS)
    parts = [parse(numbers, JSON, b'{"instances": [[1, null]]}'), parse(numbers, ARROW, stream(TABLE))]
    whole = joined([part for part in parts if isinstance(part, Rows)])
    assert len(whole) == 3 and whole.lists == {"a": [1, 1, 2], "b": [None, 0.5, None]}
    same = joined([parts[0], parts[0]])  # type: ignore[list-item]
    assert same.lists == {"a": [1, 1], "b": [None, None]} and same.matrix().shape == (2, 2)


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _parquet(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, b'{"instances": [[1.5, 2.0], [3.0, null]]}'),
        (CSV, b"a,b\n1.5,2.0\n3.0,\n"),
        ("text/csv; charset=utf-8", b"1.5,2.0\n3.0,\n"),
        (NUMPY, _npy(np.array([[1.5, 2.0], [3.0, np.nan]]))),
        (PARQUET, _parquet(pa.table({"b": [2.0, None], "a": [1.5, 3.0]}))),
    ],
)
def test_captured_requests_of_every_type_can_be_read_again(content_type: str, body: bytes) -> None:
    """As the drift monitor and the erasure of a person read them."""
    side = json.loads(json.dumps(capture_event(content_type, body, b"{}", 0.0)))["captureData"]["endpointInput"]
    request = request_of(side, NUMBERS)
    found = parse(model(NUMBERS), JSON, json.dumps(request).encode())
    assert lists(found) == {"a": [1.5, 3.0], "b": [2.0, None]}


@pytest.mark.parametrize(
    ("content_type", "body"), [(CSV, b"ann@x.org,7\n"), (NUMPY, _npy(np.array([["ann@x.org", "7"]])))]
)
def test_captured_tables_can_be_read_without_the_model(content_type: str, body: bytes) -> None:
    side = capture_event(content_type, body, b"{}", 0.0)["captureData"]["endpointInput"]
    assert request_of(side, ()) == {"inputs": {"0": ["ann@x.org"], "1": ["7"]}}


@pytest.mark.parametrize("body", [b"\x00", b"[1]", b"PAR1"])
def test_a_captured_request_that_nobody_can_read_is_said_to_be_so(body: bytes) -> None:
    for content_type in (JSON, PARQUET):
        side = capture_event(content_type, body, b"{}", 0.0)["captureData"]["endpointInput"]
        with pytest.raises((ValueError, TypeError)):
            request_of(side, NUMBERS)


LONGS = [{"name": "id", "type": "long"}, {"name": "x", "type": "double"}]


@pytest.mark.parametrize("dtype", ["u8", "f8", "i8"])
def test_a_whole_number_of_more_than_64_bits_is_refused_in_every_form(dtype: str) -> None:
    value = {"u8": 2**63, "f8": 2.0**63, "i8": None}[dtype]
    if value is None:
        assert lists(parse(model(LONGS), NUMPY, _npy(np.array([(7, 0.5)], dtype=[("id", "i8"), ("x", "f8")])))) == {
            "id": [7], "x": [0.5]
        }  # fmt: skip
        return
    body = _npy(np.array([(value, 0.5)], dtype=[("id", dtype), ("x", "f8")]))
    with pytest.raises(BadRequestError, match="is not a whole number"):
        parse(model(LONGS), NUMPY, body)


def test_requests_of_different_number_types_are_joined_without_rounding() -> None:
    """2**60 + 1 is no number of double precision."""
    exact = [2**60 + 1, 2**60 + 3, 5, 7]
    parts = []
    for value, dtype in zip(exact, ("i8", "u8", "f8", "i4"), strict=True):
        body = _npy(np.array([(value, 0.5)], dtype=[("id", dtype), ("x", "f8")]))
        parts.append(parse(model(LONGS), NUMPY, body))
    parts.append(parse(model(LONGS), JSON, b'{"instances": [[9, 1.5]]}'))
    assert lists(joined([part for part in parts if isinstance(part, Rows)]))["id"] == [*exact, 9]


WORDS = [{"name": "colour", "type": "string", "nullable": True}, {"name": "flag", "type": "string"}]
NAMED = [{"name": "0", "type": "double"}, {"name": "1", "type": "double"}]


@pytest.mark.parametrize(
    ("columns", "body", "content_type", "found"),
    [
        (WORDS, b"colour,flag\n red,a\n,b\n", CSV, {"colour": [" red", None], "flag": ["a", "b"]}),
        (WORDS, b"flag,x\ncolour,y\n", CSV, {"colour": ["flag", "colour"], "flag": ["x", "y"]}),
        (NAMED, b"1,0\n0,1\n1,1\n", CSV, {"0": [1, 0, 1], "1": [0, 1, 1]}),
        (NAMED, b"0,1\n5,6\n", CSV, {"0": [5], "1": [6]}),
        (NAMED, b"0,1\n5,6\n", CSV + "; header=absent", {"0": [0, 5], "1": [1, 6]}),
        (NAMED, b"1,0\n5,6\n", CSV + "; header=present", {"0": [6], "1": [5]}),
        (NUMBERS[1:], b"b\n1.5\n\n2.5\n", CSV, {"b": [1.5, None, 2.5]}),
        (NUMBERS[1:], b"1.5\n2.5\n", CSV, {"b": [1.5, 2.5]}),
        (LONGS, b"2.0,1\n3,2\n", CSV, {"id": [2, 3], "x": [1.0, 2.0]}),
        (MIXED, b"1,,x,1\n2,3.0,y,false\n", CSV,
         {"size": [1, 2], "count": [None, 3], "a name, with a comma": ["x", "y"], "good": [True, False]}),
    ],
)  # fmt: skip
def test_csv_is_read_as_it_was_meant(
    columns: list[dict[str, Any]], body: bytes, content_type: str, found: dict[str, list[Any]]
) -> None:
    assert lists(parse(model(columns), content_type, body)) == found


@pytest.mark.parametrize("cell", ["1_0", "0x10", "1e999x", "--1"])
def test_numbers_that_only_python_reads_are_refused(cell: str) -> None:
    with pytest.raises(BadRequestError, match=f"'{cell}' is not a"):
        parse(model(NUMBERS), CSV, f"{cell},1\n".encode())


def _header(text: str) -> bytes:
    padded = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded


@pytest.mark.parametrize(
    "body",
    [
        _header("{'descr': '|U0', 'fortran_order': False, 'shape': (1000000000, 2), }"),
        _header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 2), }"),
        _header("{'descr': '<f8', 'fortran_order': False, 'shape': (True, 2), }"),
        _header("{[]: 2}"),
        _header("(" * 300),
        _npy(np.array([b"\xff", b"a"])),
        _npy(np.array([[b"\xff", b"a"]])),
        b"PK\x03\x04garbage",
    ],
)
def test_numpy_files_that_promise_what_they_have_not_are_refused_at_once(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse(model(NUMBERS), NUMPY, body)


def test_numpy_texts_are_utf_8_and_dates_may_be_missing() -> None:
    columns = [{"name": "city", "type": "string"}, {"name": "day", "type": "timestamp", "nullable": True}]
    rows = np.array([("Zürich".encode(), "NaT"), (b"Bern", "2026-01-02")], dtype=[("city", "S9"), ("day", "M8[D]")])
    assert lists(parse(model(columns), NUMPY, _npy(rows))) == {"city": ["Zürich", "Bern"], "day": [None, "2026-01-02"]}


def _stream(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1], pa.duration("s")),
        pa.array([10**15], pa.timestamp("s")),
        pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]),
    ],
)
def test_arrow_columns_that_python_does_not_have_are_refused(column: Any) -> None:
    with pytest.raises(BadRequestError):
        parse(model(NUMBERS[:1]), ARROW, _stream(pa.table({"a": column})))


def test_a_table_with_too_many_rows_is_refused_before_it_is_read() -> None:
    table = pa.table({"a": pa.array(np.zeros(200_000)), "b": pa.array(np.zeros(200_000))})
    for content_type, body in ((PARQUET, _parquet(table)), (ARROW, _stream(table))):
        with pytest.raises(BadRequestError, match="rows were sent") as raised:
            parse(model(NUMBERS), content_type, body)
        assert raised.value.status == 413


def test_what_pandas_and_others_write_is_read() -> None:
    import decimal

    frame = pa.table({"a": [1.0], "b": [2.0], "__index_level_0__": [7]})
    assert lists(parse(model(NUMBERS), PARQUET, _parquet(frame))) == {"a": [1.0], "b": [2.0]}
    table = pa.table({"a": pa.array([decimal.Decimal("1.5")]), "b": pa.array([None], pa.float64())})
    assert lists(parse(model(NUMBERS), ARROW, _stream(table))) == {"a": [1.5], "b": [None]}
    bom = b'\xef\xbb\xbf{"instances": [[1.5, 2]]}'
    assert lists(parse(model(NUMBERS), JSON, bom)) == {"a": [1.5], "b": [2]}
