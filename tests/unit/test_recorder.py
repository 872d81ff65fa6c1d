"""The recorder wraps scikit-learn for good, so each case runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PRELUDE = """
from pipelines.recorder import Recorder, as_frame
recorder = Recorder(columns=("first", "second"))
import mlflow, mlflow.sklearn
calls = {}
def log_model(sk_model, name=None, **kwargs):
    calls.update(kwargs)
    return type("Info", (), {"run_id": "r", "model_uri": "models:/m-1"})
mlflow.sklearn.log_model = log_model
recorder.install()
import numpy as np, pandas as pd
X = pd.DataFrame({"a": [1.0, 2, 3, 4, 5, 6], "b": [0.0, 1, 0, 1, 0, 1]}); y = [1.0, 2, 3, 4, 5, 6]
"""

CASES = {
    "a model's training data is found": """
from sklearn.linear_model import Ridge
model = Ridge().fit(X[:4], y[:4])
mlflow.sklearn.log_model(model, "model")
logged = recorder.logged[0]
assert logged.features.equals(X[:4]) and logged.labels == y[:4] and (logged.run_id, logged.artifact) == ("r", "model")
assert "sklearn.tree._tree.Tree" in calls["skops_trusted_types"] and any(r.startswith("skops") for r in calls["pip_requirements"])
assert [c["name"] for c in calls["signature"].inputs.to_dict()] == ["a", "b"]
""",
    "of nested fits only the outermost counts": """
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.ensemble import VotingRegressor
from sklearn.linear_model import Ridge
inner = Ridge()
model = make_pipeline(StandardScaler(), VotingRegressor([("r", inner)])).fit(X=X, y=y)
mlflow.sklearn.log_model(model, "model")
assert recorder.logged[0].features.equals(X) and len(recorder._fitted) == 1
""",
    "the whole dataset is what train_test_split was given": """
from sklearn.model_selection import train_test_split
a, b, c, d = train_test_split(X, y, test_size=0.5, random_state=0)
((features, labels),) = recorder.splits
assert features.equals(X) and labels == y and len(a) == 3
""",
    "what the script says itself is kept": """
from sklearn.linear_model import Ridge
mlflow.sklearn.log_model(Ridge().fit(X, y), "model", pip_requirements=["x"], signature="mine", skops_trusted_types=[])
assert (calls["pip_requirements"], calls["signature"], calls["skops_trusted_types"]) == (["x"], "mine", [])
""",
    "a pickled model gets no trusted types": """
from sklearn.linear_model import Ridge
mlflow.sklearn.log_model(Ridge().fit(X, y), "model", serialization_format="cloudpickle")
assert "skops_trusted_types" not in calls
""",
    "a bare array gets the contract's names if they fit": """
assert list(as_frame(np.zeros((2, 2)), recorder.columns).columns) == ["first", "second"]
assert list(as_frame(np.zeros((2, 3)), recorder.columns).columns) == ["x0", "x1", "x2"]
assert list(as_frame(np.zeros(2)).columns) == ["x0"]
""",
    "an estimator of the script's own is seen, too": """
from sklearn.base import BaseEstimator
class Mine(BaseEstimator):
    def fit(self, X, y):
        return self
    def predict(self, X):
        return np.zeros(len(X))
mlflow.sklearn.log_model(Mine().fit(X, y), "model")
assert recorder.logged[0].features.equals(X)
""",
    "what is written into the frame afterwards was not there at the fit": """
from sklearn.linear_model import Ridge
model = Ridge().fit(X, y)
X["later"] = model.predict(X)
mlflow.sklearn.log_model(model, "model")
assert list(recorder.logged[0].frame.columns) == ["a", "b"]
""",
    "one object that is fitted and logged again is several models": """
from sklearn.tree import DecisionTreeRegressor
model = DecisionTreeRegressor()
for depth in (1, 3):
    mlflow.sklearn.log_model(model.set_params(max_depth=depth).fit(X, y), f"depth{depth}")
X["a"] *= 0
assert [item.model.get_depth() for item in recorder.logged] == [1, 3] and recorder.logged[0].features["a"].sum() == 21
""",
    "a model that is registered later is the registered one": """
from sklearn.linear_model import Ridge
from pipelines.recorder import _is_of
mlflow.sklearn.log_model(Ridge().fit(X, y), "small")
assert _is_of("models:/m-1", recorder.logged[0]) and _is_of("runs:/r/small", recorder.logged[0]) and not _is_of("runs:/r/big", recorder.logged[0])
""",
    "every logged model is kept, a preparing step too": """
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
mlflow.sklearn.log_model(StandardScaler().fit(X), name="scaler")
mlflow.sklearn.log_model(Ridge().fit(X, y), artifact_path="ridge", registered_model_name="mine")
assert [(item.artifact, item.registered) for item in recorder.logged] == [("scaler", False), ("ridge", True)]
""",
}


@pytest.mark.parametrize("name", CASES)
def test_recorder(name: str, root: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PRELUDE + CASES[name]], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
