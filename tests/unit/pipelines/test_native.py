"""Models in a separate process: the same answers, and no way to escape."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from pipelines.serving.app import ModelServer
from pipelines.serving.explaining.explain import explain
from pipelines.serving.models import isolation, native
from pipelines.serving.models.bundle import Model, made
from pipelines.serving.models.native import NativeError
from pipelines.serving.models.rows import Rows
from pipelines.serving.worker import prepared
from spec.errors import GroundplanError
from tests.models import exported, predict, served

pytestmark = pytest.mark.slow  # starts processes

try:
    import lightgbm
except OSError as error:  # its wheel needs the system's OpenMP library
    pytest.skip(f"LightGBM can't be loaded here: {error}", allow_module_level=True)

RANDOM = np.random.default_rng(5)
N = 200
X = pd.DataFrame(RANDOM.normal(size=(N, 3)), columns=["a", "b", "ü m²"])
SIGNAL = X["a"] - X["b"] + RANDOM.normal(0, 0.3, N)
GAPS = X.mask(RANDOM.random(X.shape) < 0.1)
MIXED = GAPS.assign(
    kind=pd.Categorical(RANDOM.choice(["x", "y"], N)), whole=pd.array(RANDOM.choice([1, 2, None], N), dtype="Int64")
)
closed_in = pytest.mark.skipif(bool(isolation.why_not()), reason=f"no namespaces: {isolation.why_not()}")


@contextlib.contextmanager
def running(model: Model) -> Iterator[Model]:
    try:
        yield model
    finally:
        model.engine.close()


THREE = np.where(SIGNAL > 1, "high", np.where(SIGNAL < -1, "low", ""))
MODELS = {
    "XGBoost with gaps": (xgboost.XGBClassifier(n_estimators=5), GAPS, (SIGNAL > 0).astype(int), "xgboost"),
    "XGBoost with categories": (
        xgboost.XGBRegressor(n_estimators=5, enable_categorical=True),
        MIXED,
        SIGNAL,
        "xgboost",
    ),
    "LightGBM of three classes": (
        lightgbm.LGBMClassifier(n_estimators=5, verbose=-1),
        GAPS,
        THREE,
        "lightgbm",
    ),
    "LightGBM with categories": (lightgbm.LGBMRegressor(n_estimators=5, verbose=-1), MIXED, SIGNAL, "lightgbm"),
    "XGBoost in a pipeline": (
        make_pipeline(StandardScaler(), xgboost.XGBClassifier(n_estimators=5)),
        GAPS,
        (SIGNAL > 0).astype(int),
        "skops",
    ),
    "categories of the frame's own": (
        HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype"),
        MIXED,
        SIGNAL > 0,
        "skops",
    ),
    "no converter": (NearestCentroid(), X, np.where(SIGNAL > 0, "yes", "no"), "skops"),
}


EXPLAINED = ("LightGBM with categories", "no converter")


_SLOW = ("XGBoost with gaps", "LightGBM with categories", "no converter")  # as the others, with another library


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.drill) if name in _SLOW else name for name in MODELS]
)
def test_a_model_in_its_own_format_answers_as_itself_and_is_explained(name: str) -> None:
    estimator, frame, labels, flavor = MODELS[name]
    estimator.fit(frame, labels)
    task = "classification" if hasattr(estimator, "classes_") else "regression"
    found = exported(estimator, frame, task)
    assert (found.described["engine"], found.described["flavor"]) == ("native", flavor) and found.why_native
    background = {
        column: [
            None if gap else value for value, gap in zip(frame[column].tolist(), frame[column].isna(), strict=True)
        ]
        for column in frame
    }
    head = {column: values[:9] for column, values in background.items()}
    with running(made(found.described, found.files, head)) as model:
        answer = predict(model, head)
        if task == "classification":
            assert answer["predictions"] == estimator.predict(frame.head(9)).tolist()
            assert np.allclose(answer["probabilities"], estimator.predict_proba(frame.head(9)), atol=1e-6)
        else:
            assert np.allclose(answer["predictions"], estimator.predict(frame.head(9)), atol=1e-6)
        if name not in EXPLAINED:
            return
        (why,) = explain(model, Rows.of({column: values[:1] for column, values in head.items()}))
        told = why["prediction"] if task == "regression" else why["probability"]
        assert why["base_value"] + sum(why["shap_values"].values()) == pytest.approx(told, abs=1e-4)


class Prying(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Tries to escape, and reports as numbers how far it got."""

    def __init__(self, port: int = 0, files: tuple[str, ...] = ()) -> None:
        self.port, self.files = port, files

    def fit(self, rows: Any, labels: Any) -> Prying:
        self.n_features_in_ = rows.shape[1]
        return self

    def predict(self, rows: Any) -> Any:
        import os
        import pathlib
        import socket

        out = 0
        try:
            socket.create_connection(("127.0.0.1", self.port), 1)
            out += 1
        except OSError:
            pass
        for file in self.files:
            if pathlib.Path(file).exists():
                out += 10
        for place in ("/usr/bin/groundplan-was-here", f"{os.path.dirname(os.__file__)}/groundplan-was-here"):
            try:
                pathlib.Path(place).write_text("x")
                out += 100
            except OSError:
                pass
        if any(name.startswith(("AWS", "MLFLOW", "GROUNDPLAN", "SECRET")) for name in os.environ):
            out += 1_000
        if len([name for name in os.listdir("/proc") if name.isdigit()]) > 1 or os.getppid() != 0:
            out += 10_000
        status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
        out += 100_000 * (int(status["CapEff"], 16) != 0 or int(status["NoNewPrivs"]) != 1)
        return [float(out)] * len(rows)


@closed_in
def test_there_is_no_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text("secret")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        model = Prying(
            server.getsockname()[1],
            (str(tmp_path / "credentials"), str(Path(__file__).parents[3] / "stacks"), str(Path.home() / ".bashrc")),
        )
        free = model.fit(X, SIGNAL).predict(X.head(1))[0]
        assert free >= 1_021, "outside it sees them all"
        with running(pickled(model)) as closed:
            assert closed.answers(Rows.of({"a": [1.0]})).predictions == [0.0]


def pickled(model: Any) -> Model:
    """A model of this module, served as a pickle."""
    module = sys.modules[type(model).__module__]
    cloudpickle.register_pickle_by_value(module)
    try:
        content: bytes = cloudpickle.dumps(model)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    described = {
        "engine": "native",
        "flavor": "pickle",
        "untrusted": True,
        "form": "frame",
        "task": "regression",
        "classes": [],
        "output": "",
        "columns": [{"name": "a", "type": "double", "pandas": "float64"}],
    }
    return made(described, {"model.pkl": content})


class Behaving(Prying):
    """Does what its name says, by the first value: 1 waits, 2 allocates memory, 3 raises, 4 dies."""

    def predict(self, rows: Any) -> Any:
        import os

        what = rows["a"].iloc[0]
        if what == 1:
            time.sleep(60)
        if what == 2:
            bytearray(200 << 30)
        if what == 3:
            raise ValueError("not these rows")
        if what == 4:
            os._exit(3)
        return rows["a"] * 2


@closed_in
def test_what_the_process_does_wrong_is_said_and_the_next_request_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "ANSWER_TIMEOUT_S", 3.0)
    with running(pickled(Behaving())) as model:
        for value, says in (
            (1, "the model did not answer within 3 s, and its process was killed"), (2, "the model raised MemoryError"),
            (3, "the model raised ValueError: not these rows"), (4, "the model's process ended with exit code 3"),
        ):  # fmt: skip
            with pytest.raises(NativeError, match=says):
                model.answers(Rows.of({"a": [float(value)]}))
            assert model.answers(Rows.of({"a": [5.0]})).predictions == [10.0]


def test_what_runs_code_when_it_is_loaded_needs_leave_and_a_process_that_is_closed_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = make_pipeline(FunctionTransformer(lambda rows: rows * 2), LogisticRegression()).fit(X, SIGNAL > 0)
    with pytest.raises(GroundplanError, match=r"not in a data-only format .*\n.*allow it by `untrusted_models: true`"):
        exported(pipeline, X, "classification")
    monkeypatch.setattr(isolation, "why_not", lambda: "darwin has no namespaces")
    with pytest.raises(NativeError, match="its process can't be sandboxed here: darwin has no namespaces"):
        pickled(Behaving()).engine.start()
    estimator = NearestCentroid().fit(X, SIGNAL > 0)
    with running(served(estimator, X)) as model:
        found = model.answers(Rows.of({name: X[name].tolist() for name in X})).predictions
        assert found == estimator.predict(X).tolist(), "data alone is served there, too"


@closed_in
def test_with_leave_a_pickle_is_served_too() -> None:
    pipeline = make_pipeline(FunctionTransformer(lambda rows: rows * 2), LogisticRegression()).fit(X, SIGNAL > 0)
    with running(served(pipeline, X, untrusted=True)) as model:
        assert np.allclose(
            model.answers(Rows.of({name: X[name].tolist() for name in X})).beside, pipeline.predict_proba(X)
        )


def test_a_process_is_started_once_and_ends_when_another_model_is_used() -> None:
    estimator = NearestCentroid().fit(X, np.where(SIGNAL > 0, "yes", "no"))
    with running(served(estimator, X)) as model:
        assert isinstance(model.engine, native.Native)
        prepared(model)
        process = model.engine._process
        assert process is not None and process.poll() is None
        server = ModelServer(None)
        server.use(model)
        with server.taken() as taken:
            assert taken is not None and model.engine._process is process, "loaded before, and not again"
            server.use(None)
            assert process.poll() is None, "a call from another thread is still on its way"
        assert process.poll() is not None and model.engine._process is None
