"""LiteRT files answer as the ONNX graphs that they are made from."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from pipelines.serving.models.bundle import made
from pipelines.serving.models.rows import Rows
from pipelines.targets.litert import NotConvertibleError, convert
from tests.models import exported

RANDOM = np.random.default_rng(7)
FRAME = pd.DataFrame(RANDOM.normal(size=(300, 5)), columns=list("abcde"))
GAPS = FRAME.mask(RANDOM.random(FRAME.shape) < 0.15)
NUMBER = 3 * FRAME["a"] + np.sin(2 * FRAME["b"]) + 1
TWO = (FRAME["a"] + FRAME["b"] > 0).astype(int)
THREE = pd.Series(np.digitize(FRAME["c"], [-0.5, 0.5]))

MODELS = {
    "linear": (LinearRegression(), FRAME, NUMBER),
    "scaled": (make_pipeline(StandardScaler(), Ridge()), FRAME, NUMBER),
    "normalized": (make_pipeline(Normalizer(), Ridge()), FRAME, NUMBER),
    "filled in": (make_pipeline(SimpleImputer(), StandardScaler(), Ridge()), GAPS, NUMBER),
    "logistic": (make_pipeline(MinMaxScaler(), LogisticRegression()), FRAME, TWO),
    "logistic, three classes": (LogisticRegression(), FRAME, THREE),
    "scores": (SGDClassifier(random_state=0), FRAME, TWO),
    "network": (MLPRegressor(hidden_layer_sizes=(16, 8), max_iter=40, random_state=0), FRAME, NUMBER),
    "network of two classes": (MLPClassifier((8,), max_iter=40, random_state=0), FRAME, TWO),
    "network of three": (
        make_pipeline(StandardScaler(), MLPClassifier((8,), activation="tanh", max_iter=40, random_state=0)),
        FRAME,
        THREE,
    ),
    "rows of zeros": (make_pipeline(Normalizer(norm="l1"), Ridge()), FRAME.where(FRAME["a"] > 0, 0.0), NUMBER),
    "single leaves with gaps": (HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=300), GAPS, NUMBER),
    "tree": (DecisionTreeRegressor(random_state=0), FRAME, NUMBER),
    "tree of one leaf": (DecisionTreeRegressor(max_depth=1, min_samples_leaf=200, random_state=0), FRAME, NUMBER),
    "tree of classes": (DecisionTreeClassifier(random_state=0), FRAME, THREE),
    "forest": (RandomForestRegressor(20, random_state=0), FRAME, NUMBER),
    "random trees": (ExtraTreesRegressor(20, random_state=0), FRAME, NUMBER),
    "forest of two classes": (RandomForestClassifier(20, random_state=0), FRAME, TWO),
    "forest of three": (RandomForestClassifier(20, random_state=0), FRAME, THREE),
    "boosted": (GradientBoostingClassifier(n_estimators=20, random_state=0), FRAME, TWO),
    "boosted with gaps": (HistGradientBoostingRegressor(max_iter=20, random_state=0), GAPS, NUMBER),
    "boosted classes with gaps": (HistGradientBoostingClassifier(max_iter=20, random_state=0), GAPS, THREE),
    "boosted, missing by itself": (
        HistGradientBoostingRegressor(max_iter=20, random_state=0),
        GAPS,
        NUMBER.where(GAPS["d"].notna(), 9.0),
    ),
    "whole numbers": (
        RandomForestClassifier(10, random_state=0),
        FRAME.assign(d=(FRAME["d"] * 1000).astype(int), e=FRAME["e"] > 0),
        TWO,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_those_of_the_onnx_graph(name):
    from ai_edge_litert.interpreter import Interpreter

    estimator, frame, labels = MODELS[name]
    task = "regression" if labels.dtype.kind == "f" else "classification"
    found = exported(estimator.fit(frame, labels), frame, task)
    described = {**found.described, "model": "m"}
    assert described["engine"] == "onnx"
    content = convert(described, found.files["model.onnx"])

    model = made(described, found.files)
    rows = Rows.of({column: frame[column].tolist() for column in model.names})
    answers = model.engine.answers(rows)
    wanted = np.asarray(answers.predictions if answers.beside is None else answers.beside, dtype=float)
    interpreter = Interpreter(model_content=content)
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    for count in (len(frame), 1):
        interpreter.resize_tensor_input(source["index"], [count, len(model.names)])
        interpreter.allocate_tensors()
        matrix = np.array([frame[column] for column in model.names], dtype=np.float32).T[:count]
        interpreter.set_tensor(source["index"], matrix)
        interpreter.invoke()
        given = interpreter.get_tensor(target["index"])
        if described["output"] == "score" and given.ndim == 2 and len(model.classes) == 2:
            given = given[:, -1]
        np.testing.assert_allclose(given.reshape(wanted[:count].shape), wanted[:count], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("node", "more", "says"),
    [
        (("Softmax", ["X"], {"axis": 0}), {}, "compares rows with each other"),
        (("Cast", ["X"], {"to": 7}), {}, "others than floating-point"),
        (("Reshape", ["X", "s"], {}), {"s": np.array([1, -1])}, "puts values into other rows"),
        (("Gemm", ["X", "w", "X"], {}), {"w": np.ones((2, 2), np.float32)}, "adds a computed bias"),
        (("Gemm", ["X", "w"], {"alpha": 2.0}), {"w": np.ones((2, 2), np.float32)}, "multiplies by alpha"),
        (("Add", ["X", "c"], {}), {"c": np.ones((3, 1), np.float32)}, "another constant to each row"),
        (("MatMul", ["X", "X"], {}), {}, "two computed matrices"),
        (("Concat", ["X", "X"], {"axis": 0}), {}, "rows below each other"),
    ],
)
def test_what_would_be_ignored_is_refused(node, more, says):
    from onnx import TensorProto, helper, numpy_helper

    kind, inputs, attributes = node
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, ["Y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(values, name) for name, values in more.items()],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    columns = [{"name": name, "tensor": "float", "input": name} for name in "ab"]
    with pytest.raises(NotConvertibleError, match=says):
        convert({"task": "regression", "layout": "matrix", "columns": columns}, content)


def test_classes_that_do_not_follow_from_probabilities_are_refused():
    found = exported(LogisticRegression().fit(FRAME, TWO), FRAME, "classification")
    described = {**found.described, "most_probable": False}
    with pytest.raises(NotConvertibleError, match="do not follow from its probabilities"):
        convert(described, found.files["model.onnx"])


def test_texts_are_refused_by_name():
    frame = FRAME.assign(color=["red", "blue", "green"] * 100)
    encoder = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    found = exported(encoder.fit(frame[["color"]], TWO), frame[["color"]], "classification")
    with pytest.raises(NotConvertibleError, match="column 'color' is a text"):
        convert(found.described, found.files["model.onnx"])


def test_an_operator_without_a_counterpart_is_named():
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Erf", ["X"], ["variable"])],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("variable", TensorProto.FLOAT, [None, 1])],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    onnx.checker.check_model(content)
    described = {"task": "regression", "layout": "matrix", "columns": [{"name": "a", "tensor": "float", "input": "c0"}]}
    with pytest.raises(NotConvertibleError, match="operator Erf"):
        convert(described, content)
