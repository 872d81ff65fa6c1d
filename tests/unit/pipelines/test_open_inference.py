"""The Open Inference Protocol over REST: its forms, its binary extension, and its refusals."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.serving.app import ModelServer
from pipelines.serving.ids import time_of
from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import Answers, Engine
from pipelines.serving.models.rows import Rows
from pipelines.serving.protocols.checks import BadRequestError
from pipelines.serving.protocols.open_inference import parse
from pipelines.serving.protocols.tensors import DTYPES, Tensor, from_binary, rows_of, to_binary

NUMBERS = [{"name": "a", "type": "double"}, {"name": "b", "type": "long"}]
MIXED = [
    {"name": "size", "type": "double", "nullable": True},
    {"name": "city", "type": "string", "categories": ["Bern", "Genf"]},
    {"name": "new", "type": "boolean"},
]


class Echo(Engine):
    """Answers with the first column, or its class."""

    def answers(self, rows: Rows) -> Answers:
        values = next(iter(rows.lists.values()))
        return Answers([0.0 if value is None else value for value in values])


class Classes(Engine):
    """Answers with the first class."""

    def answers(self, rows: Rows) -> Answers:
        return Answers(["no"] * len(rows), np.tile([0.75, 0.25], (len(rows), 1)))


def model(columns: list[dict[str, Any]] = NUMBERS, classifier: bool = False) -> Model:
    if classifier:
        return Model(Classes(), columns, "classification", "m", "v1.0.0", ["no", "yes"], output="probability")
    return Model(Echo(), columns, "regression", "m", "v1.0.0")


def call(
    served: Model | None, path: str, document: Any = None, content: bytes = b"", method: str = "", **headers: str
) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(ModelServer(served)), base_url="http://x") as client:  # type: ignore[arg-type]
            body = content or (json.dumps(document).encode() if document is not None else b"")
            return await client.request(method or ("POST" if body else "GET"), path, content=body, headers=headers)

    return asyncio.run(send())


def tensor(name: str, datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def infer(served: Model, *inputs: dict[str, Any], **more: Any) -> httpx.Response:
    return call(served, "/v2/models/m/infer", {"inputs": list(inputs), **more})


def test_server_and_model_describe_themselves() -> None:
    assert call(model(), "/v2").json()["extensions"] == ["binary_tensor_data", "model_repository"]
    assert call(model(), "/v2/health/live").json() == {"live": True}
    assert call(model(), "/v2/health/ready").json() == {"ready": True}
    assert call(model(), "/v2/models/m/versions/v1.0.0/ready").json() == {"name": "m", "ready": True}
    assert call(model(), "/v2/repository/index", {}).json() == [{"name": "m", "version": "v1.0.0", "state": "READY"}]
    about = call(model(MIXED, classifier=True), "/v2/models/m").json()
    assert about["inputs"] == [
        {"name": "size", "datatype": "FP64", "shape": [-1, 1]},
        {"name": "city", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "new", "datatype": "BOOL", "shape": [-1, 1]},
    ]
    assert about["outputs"] == [
        {"name": "predictions", "datatype": "BYTES", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, 2]},
    ]


def test_without_a_model_the_server_lives_but_is_not_ready() -> None:
    assert call(None, "/v2/health/live").status_code == 200
    ready = call(None, "/v2/health/ready")
    assert (ready.status_code, ready.json()) == (503, {"ready": False})
    assert call(None, "/v2/models/m").status_code == 503


@pytest.mark.parametrize(
    "inputs",
    [
        [tensor("X", "FP32", [2, 2], [1.5, 1, 2.5, 2])],
        [tensor("input-0", "FP64", [2, 2], [[1.5, 1], [2.5, 2]])],
        [tensor("a", "FP64", [2], [1.5, 2.5]), tensor("b", "INT64", [2, 1], [[1], [2]])],
        [tensor("b", "UINT8", [2], [1, 2]), tensor("a", "FP16", [2, 1], [1.5, 2.5])],
    ],
)
def test_rows_may_come_as_one_tensor_or_as_one_for_each_column(inputs: list[dict[str, Any]]) -> None:
    answer = infer(model(), *inputs, id="7").json()
    assert time_of(answer["parameters"]["prediction_id"])
    assert answer == {
        "id": "7",
        "parameters": answer["parameters"],
        "model_name": "m",
        "model_version": "v1.0.0",
        "outputs": [{"name": "predictions", "datatype": "FP64", "shape": [2], "data": [1.5, 2.5]}],
    }


def test_texts_booleans_and_missing_values_have_their_tensors() -> None:
    inputs = [
        tensor("size", "FP64", [2], [None, 1.5]),
        tensor("city", "BYTES", [2], ["Bern", "Genf"]),
        tensor("new", "BOOL", [2], [True, False]),
    ]
    answer = infer(model(MIXED, classifier=True), *inputs, outputs=[{"name": "probabilities"}]).json()
    assert answer["outputs"] == [
        {"name": "probabilities", "datatype": "FP64", "shape": [2, 2], "data": [0.75, 0.25, 0.75, 0.25]}
    ]
    assert infer(model(MIXED, classifier=True), *inputs).json()["outputs"][0]["data"] == ["no", "no"]


def test_tensors_as_bytes_in_and_out() -> None:
    values = np.array([[1.5, 1], [2.5, 2]], dtype=np.float32).tobytes()
    head = json.dumps(
        {
            "inputs": [
                {"name": "X", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": len(values)}}
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    length = {"inference-header-content-length": str(len(head))}
    answer = call(model(), "/v2/models/m/infer", content=head + values, **length)
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/octet-stream"
    size = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:size])["outputs"]
    assert output["parameters"] == {"binary_data_size": 16} and "data" not in output
    assert np.frombuffer(answer.content[size:], dtype=np.float64).tolist() == [1.5, 2.5]


@settings(deadline=None)
@given(st.data())
def test_bytes_of_a_tensor_come_back_as_they_were(data: st.DataObject) -> None:
    datatype = data.draw(st.sampled_from(list(DTYPES)))
    count = data.draw(st.integers(0, 5))
    if datatype == "BYTES":
        values = np.array(data.draw(st.lists(st.text(), min_size=count, max_size=count)), dtype=object)
    else:
        raw = (
            data.draw(st.binary(min_size=count * DTYPES[datatype]().nbytes, max_size=count * DTYPES[datatype]().nbytes))
            if datatype == "BOOL"
            else data.draw(
                st.binary(min_size=count * DTYPES[datatype].itemsize, max_size=count * DTYPES[datatype].itemsize)
            )
        )
        values = np.frombuffer(raw, dtype=DTYPES[datatype])
    sent = Tensor("x", values, datatype)
    again = from_binary("x", datatype, [count], to_binary(sent))
    assert to_binary(again) == to_binary(sent) and again.values.shape == (count,)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.one_of(st.none(), st.integers(0, 300)))
def test_any_bytes_are_an_inference_request_or_refused(body: bytes, length: int | None) -> None:
    try:
        rows_of(model(), parse(body, None if length is None else str(length).encode())[0])
    except BadRequestError as error:
        assert error.status in (400, 413) and error.sentence.endswith(".")


_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "name": st.sampled_from(["X", "a", "b", "c"]),
                "datatype": st.sampled_from([*DTYPES, "BF16", ""]),
                "shape": st.lists(st.integers(-2, 3), max_size=3),
                "data": st.one_of(_json, st.lists(st.floats(), max_size=6), st.lists(st.integers(), max_size=6)),
            }
        ),
        max_size=3,
    )
)
def test_any_tensors_are_rows_or_refused(inputs: list[dict[str, Any]]) -> None:
    try:
        rows = rows_of(model(), parse(json.dumps({"inputs": inputs}).encode(), None)[0])
    except BadRequestError as error:
        assert error.status in (400, 413) and error.sentence.endswith(".")
    else:
        assert list(rows.columns) == ["a", "b"]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"inputs": []}, "no inputs"),
        ({"inputs": [tensor("X", "FP32", [1, 3], [1, 2, 3])]}, "[1, 3]; expected [rows, 2], in the order a, b"),
        ({"inputs": [tensor("X", "FP32", [1, 2], [1])]}, "1 values; its shape [1, 2] has 2"),
        ({"inputs": [tensor("X", "FP32", [1, 2], ["1", "2"])]}, "does not have data of FP32"),
        ({"inputs": [tensor("X", "FP128", [1, 2], [1, 2])]}, "FP128"),
        ({"inputs": [tensor("X", "INT8", [1, 2], [1, 300])]}, "too large for INT8"),
        ({"inputs": [tensor("X", "FP32", [1, 2], [1e300, 2])]}, "is not a number"),
        ({"inputs": [tensor("a", "FP32", [1], [1])]}, "Missing column b"),
        ({"inputs": [tensor("a", "FP32", [1], [1]), tensor("a", "FP32", [1], [1])]}, "named twice"),
        ({"inputs": [tensor("X", "FP32", [1, 2, 1], [1, 2])]}, "expected [rows, columns]"),
        ({"inputs": [tensor("X", "FP32", [1, 2], [1, 2])], "outputs": [{"name": "y"}]}, "Unknown output y"),
        ({"inputs": [tensor("X", "FP32", [0, 2**70], [])]}, "at most 10000 rows"),
        ({"inputs": [tensor("X", "FP32", [10**9, 2], [])]}, "at most 10000 rows"),
        ({"inputs": "x"}, "Expected array"),
        ([], "Expected object"),
    ],
)
def test_a_wrong_request_is_refused_in_a_sentence(document: Any, says: str) -> None:
    answer = call(model(), "/v2/models/m/infer", document)
    assert answer.status_code == 400 and says in answer.json()["error"], answer.text


def test_what_is_not_there_is_404_and_another_method_405() -> None:
    body = {"inputs": [tensor("X", "FP32", [1, 2], [1, 2])]}
    for path in ("/v2/models/other/infer", "/v2/models/m/versions/v9/infer", "/v2/models/m/explain", "/v2/other"):
        assert call(model(), path, body).status_code == 404, path
    assert call(model(), "/v2/models/m/infer").status_code == 405
    assert "'m' is served here" in call(model(), "/v2/models/other").json()["error"]


@pytest.mark.parametrize("length", ["0", "-1", "9999", "x", "1e3"])
def test_a_wrong_header_length_is_refused(length: str) -> None:
    answer = call(
        model(), "/v2/models/m/infer", content=b'{"inputs": []}', **{"inference-header-content-length": length}
    )
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x01", "ends in the middle"),
        (struct.pack("<I", 9) + b"abc", "ends in the middle"),
        (struct.pack("<I", 1) + b"\xff", "not UTF-8"),
        (b"", "as many texts"),
        ((struct.pack("<I", 1) + b"a") * 2, "as many texts"),
    ],
)
def test_texts_as_bytes_that_do_not_fit_are_refused(content: bytes, says: str) -> None:
    with pytest.raises(BadRequestError, match=says):
        from_binary("x", "BYTES", [1], content)


def test_deep_json_is_refused() -> None:
    deep = (
        b'{"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 2], "data": '
        + b"[" * 100_000
        + b"]" * 100_000
        + b"}]}"
    )
    assert call(model(), "/v2/models/m/infer", content=deep).status_code == 400
    assert (
        call(model(), "/invocations", content=b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}").status_code
        == 400
    )


def test_what_clients_write_as_null_is_left_out() -> None:
    inputs = [{**tensor("X", "FP32", [1, 2], [1.5, 1]), "parameters": None}]
    outputs = [{"name": "predictions", "parameters": None}]
    document = {"id": None, "parameters": None, "outputs": outputs, "inputs": inputs}
    answer = call(model(), "/v2/models/m/infer", document)
    assert answer.status_code == 200 and answer.json()["outputs"][0]["data"] == [1.5], answer.text
    assert call(model(), "/v2/models/m/infer", {**document, "outputs": None}).status_code == 200


def test_a_compressed_body_is_refused_with_a_true_sentence() -> None:
    answer = call(model(), "/invocations", content=b"\x1f\x8b", **{"content-encoding": "gzip"})
    assert answer.status_code == 415 and "Compressed bodies are not accepted" in answer.json()["error"]


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
@pytest.mark.parametrize("odd", [1.5, float("nan"), float("inf"), float("-inf"), 1e38, 3.4e38, 1e300])
@pytest.mark.parametrize("nullable", [False, True])
def test_a_matrix_is_judged_as_its_columns_are(datatype: str, odd: float, nullable: bool) -> None:
    columns = [{"name": name, "type": "double", "nullable": nullable} for name in "ab"]
    with np.errstate(over="ignore"):
        values = np.array([[1, 2], [3, odd]], dtype=DTYPES[datatype])
    whole = [Tensor("X", values, datatype)]
    single = [Tensor(name, values[:, place], datatype) for place, name in enumerate("ab")]
    found = []
    for tensors in (whole, single):
        try:
            found.append([list(map(str, column)) for column in rows_of(model(columns), tensors).lists.values()])
        except BadRequestError as error:
            found.append([error.sentence])
    assert found[0] == found[1]
