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
