"""Libraries that the platform does not include: installed for a script that requires them, and served in their own
format. PyTorch alone is gigabytes.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from groundplan.local.home import find_home
from groundplan.local.script_environment import python_for

pytestmark = pytest.mark.frameworks

TORCH = """
import mlflow
import torch
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

X, y = load_iris(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
torch.manual_seed(0)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(8, {outputs}))

    def forward(self, rows):
        return self.layers(rows)


net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
rows, labels = torch.tensor(X_train.to_numpy(), dtype=torch.float32), torch.tensor(y_train.to_numpy())
with mlflow.start_run():
    for _ in range(30):
        optimizer.zero_grad()
        loss = {loss}
        loss.backward()
        optimizer.step()
    mlflow.pytorch.log_model(net, name="model")
"""
CATBOOST = """
import mlflow
import numpy as np
import pandas as pd
from catboost import CatBoost{kind}

random = np.random.default_rng(0)
X = pd.DataFrame({{"a": random.normal(size=200), "k": random.choice(["x", "y"], 200)}}).mask(random.random((200, 2)) < 0.05).fillna({{"k": "none"}})
y = {labels}
with mlflow.start_run():
    model = CatBoost{kind}(iterations=5, verbose=0, cat_features=["k"], allow_writing_files=False).fit(X, y)
    mlflow.catboost.log_model(model, name="model")
"""
KERAS = """
import os
os.environ.setdefault("KERAS_BACKEND", "{backend}")
import keras
import mlflow
import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

X, y = load_iris(return_X_y=True)
y = {labels}
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense({outputs}, activation={activation!r})])
model.compile(optimizer="adam", loss={loss!r})
with mlflow.start_run():
    model.fit(X_train, y_train, epochs=3, validation_data=(X_test, y_test), verbose=0)
    mlflow.{flavor}.log_model(model, name="model")
"""
SCRIPTED = TORCH.format(outputs=3, loss="torch.nn.functional.cross_entropy(net(rows), labels)").replace(
    'log_model(net, name="model")', 'log_model(torch.jit.script(net), name="model", serialization_format="pickle")'
)
BRANCHING = SCRIPTED.replace(
    "return self.layers(rows)", "return self.layers(rows) if rows.sum() > 0 else -self.layers(rows)"
).replace("torch.jit.script(net)", "net")


def keras(
    outputs: int, activation: str | None, loss: str, labels: str = "y", backend: str = "torch", flavor: str = "keras"
) -> str:
    """A Keras script of iris flowers."""
    return KERAS.format(
        outputs=outputs, activation=activation, loss=loss, labels=labels, backend=backend, flavor=flavor
    )


SCRIPTS = {
    "TorchScript": ("torch", SCRIPTED, "torchscript", "score"),
    "a network that branches on its rows": ("torch", BRANCHING, "torchscript", "score"),
    "Keras, three classes": (
        "torch keras",
        keras(3, "softmax", "sparse_categorical_crossentropy"),
        "keras",
        "probability",
    ),
    "Keras, a column for each class": (
        "torch keras",
        keras(3, "softmax", "categorical_crossentropy", "keras.utils.to_categorical(y)"),
        "keras",
        "probability",
    ),
    "Keras, yes or no": (
        "torch keras",
        keras(1, "sigmoid", "binary_crossentropy", "(y == 1).astype(float)"),
        "keras",
        "probability",
    ),
    "Keras, labels of a row": (
        "torch keras",
        keras(2, "sigmoid", "binary_crossentropy", "np.c_[y > 0, X[:, 0] > 5].astype(int)"),
        "keras",
        "probability",
    ),
    "Keras, two numbers": ("torch keras", keras(2, None, "mse", "X[:, :2] * 2"), "keras", ""),
    "Keras on TensorFlow": (
        "tensorflow-cpu",
        keras(3, "softmax", "sparse_categorical_crossentropy", backend="tensorflow", flavor="tensorflow"),
        "keras",
        "probability",
    ),
    "a network of three classes": (
        "torch",
        TORCH.format(outputs=3, loss="torch.nn.functional.cross_entropy(net(rows), labels)"),
        "torch",
        "score",
    ),
    "a network of one number": (
        "torch",
        TORCH.format(outputs=1, loss="((net(rows).ravel() - labels) ** 2).mean()"),
        "torch",
        "",
    ),
    "CatBoost of two classes": (
        "catboost",
        CATBOOST.format(kind="Classifier", labels='np.where(X["a"] > 0, "yes", "no")'),
        "catboost",
        "probability",
    ),
    "CatBoost of a number": (
        "catboost",
        CATBOOST.format(kind="Regressor", labels='X["a"].fillna(0) * 2'),
        "catboost",
        "",
    ),
}
DRIVER = """
import json, sys
from pathlib import Path
from pipelines.training.recorder import Recorder
recorder = Recorder()
recorder.install()
from pipelines.training.script import run_script
run_script(Path(sys.argv[1]))
from pipelines.training.choice import task_of
from pipelines.training.export import export
seen = recorder.logged[-1]
labels = seen.known(seen.labels)
found = export(seen.asked, seen.frame, task_of(seen.model), targets=[str(name) for name in getattr(labels, "columns", [])])
print(json.dumps([found.described["flavor"], found.described["output"], found.described["python"] == sys.executable, found.parity.differences]))
"""


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_gets_its_library_and_its_model_answers_as_itself(name: str, tmp_path: Path) -> None:
    asks, script, flavor, output = SCRIPTS[name]
    (tmp_path / "requirements.txt").write_text("\n".join(asks.split()) + "\n")
    (tmp_path / "train.py").write_text(script)
    python = python_for(tmp_path / "train.py", find_home().environments, print)
    environment = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
    }
    command = [python, "-W", "ignore", "-c", DRIVER, str(tmp_path / "train.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found[:3] == [flavor, output, True] and max(found[3].values()) < 1e-3
