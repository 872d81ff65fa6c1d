"""The model server as its clients see it: SageMaker's contract, and its answers to bad requests."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pipelines.serving.app import ModelServer
from pipelines.serving.models.bundle import Model, unpack
from pipelines.serving.online import Found
from pipelines.serving.protocols.checks import MAX_BODY_BYTES, BadRequestError
from pipelines.training.labelled import as_columns
from tests.models import served

pytestmark = pytest.mark.slow  # trains models


@pytest.fixture(scope="module")
def numbers() -> tuple[RandomForestRegressor, pd.DataFrame]:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(120, 3)), columns=["a", "b", "c"])
    return RandomForestRegressor(10, random_state=0).fit(frame, 3 * frame["a"] + frame["b"] ** 2), frame


@pytest.fixture(scope="module")
def mixed() -> tuple[Any, pd.DataFrame]:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": random.uniform(18, 90, 200),
            "visits": random.integers(0, 9, 200),
            "city": random.choice(["Bern", "Genf"], 200),
        }
    )
    labels = np.where((frame["age"] > 50) & (frame["city"] == "Bern"), "yes", "no")
    encode = ColumnTransformer(
        [("n", StandardScaler(), ["age", "visits"]), ("c", OneHotEncoder(handle_unknown="ignore"), ["city"])]
    )
    return make_pipeline(encode, GradientBoostingClassifier(n_estimators=20, random_state=0)).fit(frame, labels), frame


def call(
    model: Model | None,
    path: str,
    body: bytes = b"",
    content_type: str = "application/json",
    method: str = "POST",
    **headers: str,
) -> httpx.Response:
    lookup = None
    if model is not None and model.entity:

        def lookup(key: str, values: list[Any]) -> Found:
            if 404 in values:
                raise BadRequestError("No features for id 404.", 404)
            return Found({name: [0.5] * len(values) for name in model.names}, 60.0)

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(ModelServer(model, lookup))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.request(method, path, content=body, headers={"content-type": content_type, **headers})

    return asyncio.run(send())


def test_every_json_form_and_csv_give_scikit_learns_answer(numbers: Any) -> None:
    estimator, frame = numbers
    model, rows = served(estimator, frame, "regression"), frame.head(4)
    expected = pytest.approx(estimator.predict(rows), rel=1e-4)
    records, lists = rows.to_dict(orient="records"), rows.to_numpy().tolist()
    for body in (
        {"dataframe_split": {"columns": list(rows.columns), "data": lists}},
        {"dataframe_split": {"data": lists}},
        {"dataframe_records": records},
        {"instances": lists},
        {"instances": records},
        {"inputs": lists},
        {"inputs": rows.to_dict(orient="list")},
    ):
        answer = call(model, "/invocations", json.dumps(body).encode())
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"] == expected and answer.json()["model_version"] == "v1.0.0"
    for text in (
        rows.to_csv(index=False),
        rows.to_csv(index=False, header=False),
        rows[["c", "a", "b"]].to_csv(index=False),
    ):
        assert call(model, "/invocations", text.encode(), "text/csv; charset=utf-8").json()["predictions"] == expected


def test_a_pipeline_on_a_frame_with_texts_is_served_and_explained(mixed: Any) -> None:
    estimator, frame = mixed
    model, rows = served(estimator, frame, "classification"), frame.head(3)
    body = json.dumps({"dataframe_records": rows.to_dict(orient="records")}).encode()
    answer = call(model, "/invocations", body).json()
    assert answer["predictions"] == estimator.predict(rows).tolist() and answer["classes"] == ["no", "yes"]
    assert np.allclose(answer["probabilities"], estimator.predict_proba(rows), atol=1e-5)
    for item in call(model, "/explain", body).json()["explanations"]:
        assert item["base_value"] + sum(item["shap_values"].values()) == pytest.approx(item["probability"], abs=1e-6)


def test_shap_values_add_up_to_prediction_minus_base_value(numbers: Any) -> None:
    estimator, frame = numbers
    body = json.dumps({"instances": frame.head(3).to_numpy().tolist()}).encode()
    model = served(estimator, frame, "regression")
    for answer in (
        call(model, "/explain", body),
        call(model, "/invocations", body, **{"x-amzn-sagemaker-custom-attributes": "explain"}),
    ):
        for item in answer.json()["explanations"]:
            assert sum(item["shap_values"].values()) == pytest.approx(item["prediction"] - item["base_value"], abs=1e-4)
            assert abs(item["shap_values"]["a"]) + abs(item["shap_values"]["b"]) > abs(item["shap_values"]["c"])


SHAPES: dict[str, tuple[Any, pd.DataFrame]] = {
    "whole numbers with gaps": (
        HistGradientBoostingClassifier(max_iter=5),
        pd.DataFrame({"a": pd.array([1, 2, None, 4] * 30, dtype="Int64"), "b": [0.5, np.nan, 1.5] * 40}),
    ),
    "booleans with gaps": (
        HistGradientBoostingClassifier(max_iter=5),
        pd.DataFrame({"a": pd.array([True, None, False, True] * 30, dtype="boolean")}),
    ),
    "a date that is not used": (
        make_pipeline(ColumnTransformer([("n", StandardScaler(), ["a"])]), LogisticRegression()),
        pd.DataFrame({"a": np.linspace(0, 1, 120), "when": pd.date_range("2020-01-01", periods=120)}),
    ),
    "narrow types": (
        LogisticRegression(),
        pd.DataFrame({"a": np.linspace(0, 1, 120, dtype="float32"), "b": np.arange(120, dtype="uint8")}),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_column_of_any_type_is_asked_for_as_it_was_learnt(name: str) -> None:
    estimator, frame = SHAPES[name]
    labels = np.arange(len(frame)) % 4 > 1
    model = served(estimator.fit(frame, labels), frame)
    columns = as_columns(frame.head(9), list(frame.columns))
    answer = call(model, "/invocations", json.dumps({"inputs": columns}).encode())
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == estimator.predict(frame.head(9)).tolist()
    if "when" in frame:
        wrong = call(model, "/invocations", json.dumps({"inputs": {"a": [1.0], "when": ["yesterday"]}}).encode())
        assert wrong.status_code == 400 and "Column 'when', row 0: 'yesterday' is not a date in ISO 8601." in wrong.text


@pytest.mark.parametrize(
    ("body", "kind", "status", "says"),
    [
        (b'{"inputs": {"a": [NaN, 1, null], "b": [1, 2, 3]}}', "application/json", 200, "predictions"),
        (b"a,b\n,2\n1,3\n", "text/csv", 200, "predictions"),
        (
            b'{"inputs": {"a": [1], "b": [null]}}',
            "application/json",
            400,
            "Column 'b', row 0: a value is missing, but the model does not accept missing values there.",
        ),
        (b'{"inputs": {"a": [1], "b": [NaN]}}', "application/json", 400, "Column 'b', row 0: a value is missing"),
        (b'{"inputs": {"a": [Infinity], "b": [1]}}', "application/json", 400, "inf is not a usable number"),
        (b'{"inputs": {"a": [NaN, 1', "application/json", 400, "not valid JSON"),
    ],
)
def test_a_missing_value_is_taken_where_the_model_takes_it(body: bytes, kind: str, status: int, says: str) -> None:
    random = np.random.default_rng(4)
    frame = pd.DataFrame({"a": random.normal(size=100), "b": random.normal(size=100)})
    prepare = ColumnTransformer([("a", SimpleImputer(), ["a"]), ("b", StandardScaler(), ["b"])])
    model = served(
        make_pipeline(prepare, LogisticRegression()).fit(frame.mask(frame > 1.5).fillna({"b": 0}), frame["a"] > 0),
        frame,
    )
    answer = call(model, "/invocations", body, kind)
    assert answer.status_code == status and says in answer.text, answer.text


BAD = [
    (b"", "application/json", 400, "The body is empty"),
    (b"   ", "application/json", 400, "The body is empty"),
    (b'{"instances": [[1, 2', "application/json", 400, "not valid JSON"),
    (b"[1, 2, 3]", "application/json", 400, "must be an object with one of"),
    (b"{}", "application/json", 400, "exactly one of dataframe_split"),
    (b'{"rows": []}', "application/json", 400, "found rows"),
    (b'{"instances": [], "inputs": []}', "application/json", 400, "found instances, inputs"),
    (b'{"instances": []}', "application/json", 400, "no rows to predict"),
    (b'{"instances": 5}', "application/json", 400, "instances must be a list of rows; found a number"),
    (b'{"instances": [[1, 2]]}', "application/json", 400, "Row 0 has 2 values; 3 columns are expected"),
    (b'{"instances": [[1, 2, 3], 7]}', "application/json", 400, "Row 1 must be a list of values; found a number"),
    (b'{"instances": [[1, 2, null]]}', "application/json", 400, "Column 'c', row 0: a value is missing"),
    (b'{"instances": [[1, "two", 3]]}', "application/json", 400, "Column 'b', row 0: 'two' is not a number"),
    (b'{"instances": [[1, true, 3]]}', "application/json", 400, "Column 'b', row 0: 'True' is not a number"),
    (b'{"instances": [[1, 1e300, 3]]}', "application/json", 400, "is not a number"),
    (b'{"instances": [[1, [2], 3]]}', "application/json", 400, "Column 'b', row 0"),
    (b'{"dataframe_records": [{"a": 1, "b": 2}]}', "application/json", 400, "Missing column c"),
    (
        b'{"dataframe_records": [{"a": 1, "b": 2, "c": 3, "d": 4}]}',
        "application/json",
        400,
        "Unknown column d; the model accepts a, b, c",
    ),
    (
        b'{"dataframe_records": [{"a": 1, "b": 2, "c": 3}, {"a": 1}]}',
        "application/json",
        400,
        "Row 1 has other columns than row 0: 'b', 'c'",
    ),
    (b'{"dataframe_records": [1]}', "application/json", 400, "must be a list of objects"),
    (b'{"dataframe_split": {"columns": ["a", "a", "b"], "data": [[1, 2, 3]]}}', "application/json", 400, "named twice"),
    (
        b'{"dataframe_split": {"columns": "abc", "data": [[1, 2, 3]]}}',
        "application/json",
        400,
        "must be a list of names",
    ),
    (b'{"dataframe_split": [1]}', "application/json", 400, "must be an object with columns and data"),
    (b'{"inputs": {"a": [1], "b": [1, 2], "c": [1]}}', "application/json", 400, "different numbers of values"),
    (b'{"inputs": {"a": 1, "b": 1, "c": 1}}', "application/json", 400, "a list of values for each column"),
    (b'{"entities": {"id": [1]}}', "application/json", 400, "no online features"),
    (b"\xff\xfe", "application/json", 400, "not valid JSON"),
    (b"a,b,c\n1,2", "text/csv", 400, "Row 0 has 2 values"),
    (b"a,b,c\n1,,3", "text/csv", 400, "a value is missing"),
    (b"a,b,c\n1,x,3", "text/csv", 400, "'x' is not a number"),
    (b'a,b,c\n1,"2,3', "text/csv", 400, "not valid CSV"),
    (b"\xff\xfe", "text/csv", 400, "not valid CSV"),
    (b"a,b,c", "text/csv", 400, "no rows to predict"),
    (b"<x/>", "application/xml", 415, "content type application/xml is not supported"),
    (b"1" * (MAX_BODY_BYTES + 1), "text/csv", 413, "at most 6291456 are accepted"),
    (json.dumps({"instances": [[1, 2, 3]] * 10_001}).encode(), "application/json", 413, "at most 10000"),
]


@pytest.mark.parametrize(("body", "content_type", "status", "says"), BAD, ids=[str(item[3]) for item in BAD])
def test_a_bad_request_gets_a_4xx_and_one_clear_sentence(
    body: bytes, content_type: str, status: int, says: str, numbers: Any
) -> None:
    model = served(*numbers, "regression")
    for path in ("/invocations", "/explain"):
        answer = call(model, path, body, content_type)
        assert answer.status_code == status
        assert says in answer.json()["error"] and answer.json()["error"].endswith(".")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            "instances",
                            "inputs",
                            "dataframe_records",
                            "dataframe_split",
                            "entities",
                            "columns",
                            "data",
                            "a",
                            "b",
                            "c",
                        ]
                    ),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=12,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    content_type=st.sampled_from(["application/json", "text/csv", "", "x"]),
)
def test_nothing_a_client_sends_is_answered_with_a_500(body: bytes, content_type: str, numbers: Any) -> None:
    assert call(served(*numbers, "regression"), "/invocations", body, content_type).status_code in (200, 400, 413, 415)


def test_entities_are_looked_up_and_a_missing_one_is_a_404(numbers: Any) -> None:
    model = served(*numbers, "regression", entity={"key": "id", "view": "v", "table": "t"})
    assert len(call(model, "/invocations", b'{"entities": {"id": [1, 2]}}').json()["predictions"]) == 2
    missing = call(model, "/invocations", b'{"entities": {"id": [404]}}')
    assert (missing.status_code, missing.json()["error"]) == (404, "No features for id 404.")
    for body, says in (
        (b'{"entities": {"no": [1]}}', 'entities must be {"id": [...]}'),
        (b'{"entities": {"id": [1.5]}}', "numbers or texts; found a number"),
    ):
        answer = call(model, "/invocations", body)
        assert answer.status_code == 400 and says in answer.json()["error"]


def test_the_server_without_a_model_lives_and_says_so() -> None:
    assert call(None, "/ping", method="GET").status_code == 200
    answer = call(None, "/invocations", b'{"instances": [[1]]}')
    assert (answer.status_code, answer.json()["error"]) == (
        503,
        "No model version has been deployed to this endpoint yet.",
    )


def test_other_paths_and_methods_are_refused(numbers: Any) -> None:
    model = served(*numbers, "regression")
    assert call(model, "/nowhere").status_code == 404
    assert call(model, "/invocations", method="GET").status_code == 405
    assert call(model, "/ping", method="GET").json() == {"status": "ready", "model": "m", "version": "v1.0.0"}


def test_a_defect_of_ours_is_a_500_without_details_and_the_server_goes_on(
    numbers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = served(*numbers, "regression")
    monkeypatch.setattr(Model, "answers", lambda self, columns: 1 / 0)
    answer = call(model, "/invocations", b'{"instances": [[1, 2, 3]]}')
    assert answer.status_code == 500 and "ZeroDivisionError" not in answer.text
    monkeypatch.undo()
    assert call(model, "/invocations", b'{"instances": [[1, 2, 3]]}').status_code == 200


@pytest.mark.parametrize("value", [1e300, 2**63, -(2**64), 1.5, True])
def test_a_whole_number_that_is_none_is_refused(value: Any, mixed: Any) -> None:
    model = served(*mixed, "classification")
    body = json.dumps({"dataframe_records": [{"age": 30, "visits": value, "city": "Bern"}]}).encode()
    assert call(model, "/invocations", body).status_code == 400


def test_a_key_of_more_than_64_bits_is_refused(numbers: Any) -> None:
    model = served(*numbers, "regression", entity={"key": "id", "view": "v", "table": "t"})
    answer = call(model, "/invocations", b'{"entities": {"id": [18446744073709551615]}}')
    assert answer.status_code == 400 and "not a 64-bit key" in answer.json()["error"]
    assert call(model, "/invocations", json.dumps({"entities": {"id": [1] * 10_001}}).encode()).status_code == 413


def _archive(*members: tuple[str, bytes, bytes]) -> bytes:
    """A package of name, type (as ``tarfile`` calls it) and content, or for a link its target."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, kind, content in members:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                entry.linkname = content.decode()
            else:
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def test_a_package_made_by_tar_is_unpacked(tmp_path: Path) -> None:
    unpack(
        _archive(
            (".", tarfile.DIRTYPE, b""), ("./model.onnx", tarfile.REGTYPE, b"a"), ("model.json", tarfile.REGTYPE, b"b")
        ),
        tmp_path,
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"model.onnx": b"a", "model.json": b"b"}


@pytest.mark.parametrize(
    "member",
    [
        ("../model.onnx", tarfile.REGTYPE, b"a"),
        ("/tmp/model.onnx", tarfile.REGTYPE, b"a"),
        ("..", tarfile.REGTYPE, b"a"),
        ("a/model.onnx", tarfile.REGTYPE, b"a"),
        ("model.onnx", tarfile.SYMTYPE, b"/etc/passwd"),
        ("model.onnx", tarfile.LNKTYPE, b"../secret"),
        ("model.onnx", tarfile.CHRTYPE, b""),
    ],
)
def test_nothing_of_a_package_gets_out_of_its_folder(member: tuple[str, bytes, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(ValueError, match="which is not a plain file at its top level"):
        unpack(_archive(("model.json", tarfile.REGTYPE, b"b"), member), folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "model.json"]
