"""The recorder wraps scikit-learn permanently, so the cases run in a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # trains models

PRELUDE = """
from pipelines.training.recorder import Recorder, as_frame
recorder = Recorder(columns=("first", "second"))
import mlflow, mlflow.sklearn
calls = {}
def log(cls, artifact_path, flavor, **kwargs):
    calls.clear()
    calls.update(kwargs)
    return type("Info", (), {"run_id": "r", "model_uri": "models:/m-1"})
mlflow.models.Model.log = classmethod(log)
recorder.install()
import numpy as np, pandas as pd
X = pd.DataFrame({"a": [1.0, 2, 3, 4, 5, 6], "b": [0.0, 1, 0, 1, 0, 1]}); y = [1.0, 2, 3, 4, 5, 6]
"""

CASES = {
    "a model's training data is found": (
        """
from sklearn.linear_model import Ridge
model = Ridge().fit(X[:4], y[:4])
mlflow.sklearn.log_model(model, "model")
logged = recorder.logged[0]
assert logged.features.equals(X[:4]) and logged.labels == y[:4] and (logged.run_id, logged.artifact) == ("r", "model")
assert "sklearn.tree._tree.Tree" in calls["skops_trusted_types"] and any(r.startswith("skops") for r in calls["pip_requirements"])
assert [c["name"] for c in calls["signature"].inputs.to_dict()] == ["a", "b"]
"""
    ),
    "of nested fits only the outermost counts": (
        """
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.ensemble import VotingRegressor
from sklearn.linear_model import Ridge
inner = Ridge()
model = make_pipeline(StandardScaler(), VotingRegressor([("r", inner)])).fit(X=X, y=y)
mlflow.sklearn.log_model(model, "model")
assert recorder.logged[0].features.equals(X) and len(recorder._fitted) == 1
"""
    ),
    "the whole dataset is what train_test_split was given": (
        """
from sklearn.model_selection import train_test_split
a, b, c, d = train_test_split(X, y, test_size=0.5, random_state=0)
((features, labels),) = recorder.splits
assert features.equals(X) and labels == y and len(a) == 3
"""
    ),
    "what the script says itself is kept": (
        """
from sklearn.linear_model import Ridge
mlflow.sklearn.log_model(Ridge().fit(X, y), "model", pip_requirements=["x"], signature="mine", skops_trusted_types=[])
assert (calls["pip_requirements"], calls["signature"], calls["skops_trusted_types"]) == (["x"], "mine", [])
"""
    ),
    "a pickled model gets no trusted types": (
        """
from sklearn.linear_model import Ridge
mlflow.sklearn.log_model(Ridge().fit(X, y), "model", serialization_format="cloudpickle")
assert not calls["skops_trusted_types"]
"""
    ),
    "a bare array gets the contract's names if they fit": (
        """
assert list(as_frame(np.zeros((2, 2)), recorder.columns).columns) == ["first", "second"]
assert list(as_frame(np.zeros((2, 3)), recorder.columns).columns) == ["x0", "x1", "x2"]
assert list(as_frame(np.zeros(2)).columns) == ["x0"]
"""
    ),
    "an estimator of the script's own is seen, too": (
        """
from sklearn.base import BaseEstimator
class Mine(BaseEstimator):
    def fit(self, X, y):
        return self
    def predict(self, X):
        return np.zeros(len(X))
mlflow.sklearn.log_model(Mine().fit(X, y), "model")
assert recorder.logged[0].features.equals(X)
"""
    ),
    "what is written into the frame afterwards was not there at the fit": (
        """
from sklearn.linear_model import Ridge
model = Ridge().fit(X, y)
X["later"] = model.predict(X)
mlflow.sklearn.log_model(model, "model")
assert list(recorder.logged[0].frame.columns) == ["a", "b"]
"""
    ),
    "one object that is fitted and logged again is several models": (
        """
from sklearn.tree import DecisionTreeRegressor
model = DecisionTreeRegressor()
for depth in (1, 3):
    mlflow.sklearn.log_model(model.set_params(max_depth=depth).fit(X, y), f"depth{depth}")
X["a"] *= 0
assert [item.model.get_depth() for item in recorder.logged] == [1, 3] and recorder.logged[0].features["a"].sum() == 21
"""
    ),
    "a model that is registered later is the registered one": (
        """
from sklearn.linear_model import Ridge
from pipelines.training.recorder import _is_of
mlflow.sklearn.log_model(Ridge().fit(X, y), "small")
assert _is_of("models:/m-1", recorder.logged[0]) and _is_of("runs:/r/small", recorder.logged[0]) and not _is_of("runs:/r/big", recorder.logged[0])
"""
    ),
    "the best one of a search was fitted with the search's rows": (
        """
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
search = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2).fit(X, y)
mlflow.sklearn.log_model(search.best_estimator_, name="best")
mlflow.sklearn.log_model(search, name="search")
assert all(item.features.equals(X) for item in recorder.logged) and type(recorder.logged[1].asked.model) is Ridge
"""
    ),
    "a model without a hash is found, and forgotten once it is gone": (
        """
import gc
from sklearn.linear_model import Ridge
class Bare(Ridge):
    def __eq__(self, other):
        return True
    def fit(self, X, y):
        return super().fit(X, y)
one, other = Bare().fit(X[:3], y[:3]), Bare().fit(X, y)
mlflow.sklearn.log_model(one, name="one")
assert len(recorder.logged[0].frame) == 3 and len(recorder._fitted) == 2
calls.clear()
del one, other
gc.collect()
assert len(recorder._fitted) == 0
"""
    ),
    "rows of several partial fits are put together": (
        """
from sklearn.linear_model import SGDRegressor
model = SGDRegressor()
for part in (slice(0, 2), slice(2, 4), slice(4, 6)):
    model.partial_fit(X[part], y[part])
mlflow.sklearn.log_model(model, name="model")
assert len(recorder.logged[0].frame) == 6 and list(recorder.logged[0].labels) == y
model.fit(X[:3], y[:3])
mlflow.sklearn.log_model(model, name="model")
assert len(recorder.logged[1].frame) == 3
"""
    ),
    "a batch that comes in every epoch counts once": (
        """
from sklearn.linear_model import SGDRegressor
values = np.asarray(X, dtype=float)
for rows in (values.tolist(), values, pd.DataFrame(values).rename(columns=str)):
    model = SGDRegressor()
    for epoch in range(5):
        for part in (slice(0, 2), slice(2, 6)):
            model.partial_fit(rows[part], y[part])
    mlflow.sklearn.log_model(model, name="model")
    assert len(recorder.logged[-1].frame) == 6 and list(recorder.logged[-1].labels) == y
"""
    ),
    "of shuffled epochs the split tells what was learnt and what was kept apart": (
        """
import random
from sklearn.linear_model import SGDRegressor
from sklearn.model_selection import train_test_split
few = pd.DataFrame({"a": [0.0, 1, 2] * 100, "b": [0.0, 1] * 150}); label = few["a"] + few["b"]
train, test, known, apart = train_test_split(few, label, test_size=0.2, random_state=0)
model, places = SGDRegressor(), list(range(len(train)))
for epoch in range(3):
    random.shuffle(places)
    for start in range(0, len(places), 100):
        chosen = places[start:start + 100]
        model.partial_fit(train.iloc[chosen], known.iloc[chosen])
mlflow.sklearn.log_model(model, name="model")
found = recorder.logged[-1]
assert len(found.frame) == 240 and len(found.kept_apart) == 60, (len(found.frame), found.kept_apart)
assert sorted(found.kept_apart.labels) == sorted(apart) and not found.partly
"""
    ),
    "a model that goes on from a checkpoint has not only seen what it is fitted on now": (
        """
import copy
from sklearn.linear_model import SGDRegressor
from sklearn.model_selection import train_test_split
random = np.random.default_rng(0)
many = pd.DataFrame(random.normal(size=(100, 2)), columns=["a", "b"]); label = many["a"]
before = copy.deepcopy(SGDRegressor())
before.coef_, before.intercept_, before.t_, before.n_features_in_ = np.zeros(2), np.zeros(1), 2.0, 2
before.partial_fit(many[:5], label[:5])
mlflow.sklearn.log_model(before, name="alone")
assert recorder.logged[-1].partly and recorder.logged[-1].kept_apart is None
train, test, known, apart = train_test_split(many, label, random_state=0)
again = copy.deepcopy(before)
again.partial_fit(train[:20], known[:20])
mlflow.sklearn.log_model(again, name="split")
found = recorder.logged[-1]
assert len(found.frame) == 75 and len(found.kept_apart) == 25 and not found.partly
"""
    ),
    "rows that were oversampled leave what was kept apart as it is": (
        """
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
random = np.random.default_rng(0)
many = pd.DataFrame(random.normal(size=(100, 2)), columns=["a", "b"]); label = pd.Series([0] * 90 + [1] * 10)
train, test, known, apart = train_test_split(many, label, stratify=label, random_state=0)
more = pd.concat([train, *[train[known == 1]] * 8]); answers = pd.concat([known, *[known[known == 1]] * 8])
mlflow.sklearn.log_model(LogisticRegression().fit(more, answers), name="model")
assert len(recorder.logged[-1].kept_apart) == 25 and len(recorder.logged[-1].frame) == len(more)
mlflow.sklearn.log_model(LogisticRegression().fit(many, label), name="everything")
assert recorder.logged[-1].kept_apart is None
"""
    ),
    "of two splits the first one's rest was seen by no fit": (
        """
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
random = np.random.default_rng(0)
many = pd.DataFrame(random.normal(size=(100, 2)), columns=["a", "b"]); label = many["a"]
rest, test, others, apart = train_test_split(many, label, test_size=20, random_state=0)
train, tune, known, _ = train_test_split(rest, others, test_size=10, random_state=0)
mlflow.sklearn.log_model(Ridge().fit(train, known), name="model")
assert sorted(recorder.logged[-1].kept_apart.labels) == sorted(apart)
"""
    ),
    "a method that exists with some arguments only works as it does without": (
        """
from sklearn.neural_network import MLPClassifier
network = MLPClassifier(hidden_layer_sizes=(3,), random_state=0)
network.partial_fit(X, [0, 1, 0, 1, 0, 1], classes=[0, 1])
mlflow.sklearn.log_model(network, name="model")
assert len(recorder.logged[-1].frame) == 6
assert hasattr(network, "partial_fit") and not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")
"""
    ),
    "a class of the script's own goes to other processes as it does without": (
        """
import cloudpickle, sys
from sklearn.base import BaseEstimator
class Mine(BaseEstimator):
    def fit(self, X, y):
        self.fitted_ = len(X)
        return self
loaded = cloudpickle.loads(cloudpickle.dumps(Mine))
assert loaded().fit(X, y).fitted_ == 6 and len(recorder._fitted) == 0
from sklearn.model_selection import GridSearchCV
"""
    ),
    "requirements of the script's own are kept beside the platform's": (
        """
from sklearn.linear_model import Ridge
mlflow.sklearn.log_model(Ridge().fit(X, y), name="model", extra_pip_requirements=["mine==1"])
assert "mine==1" in calls["pip_requirements"] and calls["extra_pip_requirements"] is None
assert any(r.startswith("scikit-learn") for r in calls["pip_requirements"])
mlflow.sklearn.log_model(Ridge().fit(X, y), name="model", conda_env={"name": "x"})
assert calls.get("pip_requirements") is None and calls["conda_env"] == {"name": "x"}
"""
    ),
    "boosters that are trained by functions are seen": (
        """
import lightgbm, xgboost
data = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "b"]); target = (data["a"] > 0).astype(int)
for objective, kind in (("binary:logistic", "ClassBooster"), ("reg:squarederror", "Booster")):
    model = xgboost.train({"objective": objective}, xgboost.DMatrix(data, label=target), 3)
    mlflow.xgboost.log_model(model, name="model")
    seen = recorder.logged[-1]
    assert type(seen.model).__name__ == kind and seen.frame.equals(data) and list(seen.labels) == list(target)
    raw = model.predict(xgboost.DMatrix(data))
    found = seen.model.predict_proba(data)[:, 1] if kind == "ClassBooster" else seen.model.predict(data)
    assert np.allclose(found, raw)
model = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(data, label=target), 3)
mlflow.lightgbm.log_model(model, name="model")
assert np.allclose(recorder.logged[-1].model.predict_proba(data)[:, 1], model.predict(data)) and recorder.logged[-1].features.equals(data)
"""
    ),
    "a model of MLflow's own kind is asked as MLflow asks it": (
        """
from sklearn.model_selection import train_test_split
class Twice(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["a"] * 2
a, b, c, d = train_test_split(X, y, test_size=0.5, random_state=0)
mlflow.pyfunc.log_model(name="twice", python_model=Twice())
seen = recorder.logged[0]
assert seen.asked.name == "Twice" and seen.asked.ask("predict", X).tolist() == [2, 4, 6, 8, 10, 12]
assert seen.features.equals(a) and seen.kept_apart.features.equals(b.reset_index(drop=True)) and list(seen.kept_apart.labels) == d
"""
    ),
    "a sparse matrix and a series are asked as they were given": (
        """
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge
mlflow.sklearn.log_model(Ridge().fit(csr_matrix(X.to_numpy()), y), name="sparse")
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
texts = pd.Series(["a good one", "a bad one"] * 3, name="review")
mlflow.sklearn.log_model(make_pipeline(TfidfVectorizer(), Ridge()).fit(texts, y), name="texts")
sparse, texts_seen = recorder.logged
assert sparse.asked.form == "sparse" and np.allclose(sparse.asked.ask("predict", sparse.frame), sparse.model.predict(X.to_numpy()))
assert texts_seen.asked.form == "vector" and list(texts_seen.frame.columns) == ["review"] and len(texts_seen.asked.ask("predict", texts_seen.frame)) == 6
"""
    ),
    "every logged model is kept, a preparing step too": (
        """
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
mlflow.sklearn.log_model(StandardScaler().fit(X), name="scaler")
mlflow.sklearn.log_model(Ridge().fit(X, y), artifact_path="ridge", registered_model_name="mine")
assert [(item.artifact, item.registered) for item in recorder.logged] == [("scaler", False), ("ridge", True)]
"""
    ),
}


DRIVER = """
import json, sys, traceback
failed = {}
for name, case in json.loads(sys.stdin.read()).items():
    calls.clear()
    recorder.logged, recorder.splits, recorder.parts, recorder._fitted = [], [], [], {}
    space = dict(globals(), X=X.copy(), y=list(y))
    try:
        exec(case, space)
    except Exception:
        failed[name] = traceback.format_exc()
print(json.dumps(failed))
"""


@pytest.fixture(scope="module")
def failed() -> Any:
    """What each case says that went wrong; all in one process, since MLflow takes seconds to import."""
    command = [sys.executable, "-W", "ignore", "-c", PRELUDE + DRIVER]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[3], input=json.dumps(CASES), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", CASES)
def test_recorder(name: str, failed: Any) -> None:
    assert name not in failed, failed[name]
