"""Libraries that the platform does not bring: installed for a script that asks for them, and served in their own format. PyTorch alone is gigabytes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from groundplan.home import find_home
from groundplan.script_environment import python_for

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
SCRIPTS = {
    "a network of three classes": ("torch", TORCH.format(outputs=3, loss="torch.nn.functional.cross_entropy(net(rows), labels)"), "torch", "score"),
    "a network of one number": ("torch", TORCH.format(outputs=1, loss="((net(rows).ravel() - labels) ** 2).mean()"), "torch", ""),
    "CatBoost of two classes": ("catboost", CATBOOST.format(kind="Classifier", labels='np.where(X["a"] > 0, "yes", "no")'), "catboost", "probability"),
    "CatBoost of a number": ("catboost", CATBOOST.format(kind="Regressor", labels='X["a"].fillna(0) * 2'), "catboost", ""),
}
DRIVER = """
import json, sys
from pathlib import Path
from pipelines.recorder import Recorder
recorder = Recorder()
recorder.install()
from pipelines.script import run_script
run_script(Path(sys.argv[1]))
from pipelines.choice import task_of
from pipelines.export import export
seen = recorder.logged[-1]
found = export(seen.asked, seen.frame, task_of(seen.model))
print(json.dumps([found.described["flavor"], found.described["output"], found.described["python"] == sys.executable, found.parity.differences]))
"""


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_gets_its_library_and_its_model_answers_as_itself(name: str, tmp_path: Path) -> None:
    asks, script, flavor, output = SCRIPTS[name]
    (tmp_path / "requirements.txt").write_text(f"{asks}\n")
    (tmp_path / "train.py").write_text(script)
    python = python_for(tmp_path / "train.py", find_home().environments, print)
    environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = [python, "-W", "ignore", "-c", DRIVER, str(tmp_path / "train.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found[:3] == [flavor, output, True] and max(found[3].values()) < 1e-3
