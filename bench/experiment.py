"""The time that the platform adds to a script, and the share of converting and comparing a forest."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from groundplan.local.environment import child_environment
from groundplan.local.home import Home
from groundplan.local.up import bring_up, tear_down
from tests.platform import copy_project

ROUNDS = 3
# Without the platform MLflow infers requirements in a separate process, and does not store a forest as skops; neither
# is measured here.
_SCRIPT = """
import mlflow
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import train_test_split

X, y = load_diabetes(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=42)
with mlflow.start_run():
    model = RandomForestRegressor(100, random_state=42).fit(X_train, y_train)
    mlflow.log_metric("r2", model.score(X_test, y_test))
    mlflow.sklearn.log_model(model, name="model", serialization_format="cloudpickle", pip_requirements=["scikit-learn"])
"""
# All in one process, which has imported everything and run the script once: what is left is what each does.
_AROUND = """
import contextlib, io, os, runpy, sys, time
from pathlib import Path
import evidently, onnxruntime, skl2onnx, skops.io
from pipelines.context import Context, Wishes, load_definition
from pipelines.steps.experiment import run_experiment
from spec.outputs import read
from pipelines.tracking import use_mlflow
mlflow = use_mlflow()
script, number = sys.argv[1:]
os.environ["MLFLOW_EXPERIMENT_NAME"] = "plain"

def seconds(what):
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        what()
    return time.perf_counter() - started

plain = lambda: runpy.run_path(script, run_name="__main__")
seconds(plain)
alone = seconds(plain)
definition, wishes = load_definition(Path(script)), Wishes(record_only=True, take_over=True)
context = Context(read(os.environ["GROUNDPLAN_OUTPUTS"]), definition, f"bench{number}", Path("."), wishes)
print(alone, seconds(lambda: run_experiment(context)))
"""
_PARITY = """
import time, warnings
import numpy as np, pandas as pd
from sklearn.ensemble import RandomForestRegressor
from pipelines.training import onnx_export
from pipelines.training.asking import Asked
from pipelines.training.export import export
warnings.simplefilter("ignore")
random = np.random.default_rng(0)
X = pd.DataFrame(random.normal(size=(100_000, 10)), columns=[f"x{i}" for i in range(10)])
model = RandomForestRegressor(100, max_depth=12, n_jobs=-1, random_state=0).fit(X, X["x0"] * X["x1"] + X["x2"])
asked = Asked(model)
export(asked, X.head(1000), "regression")
convert, spent = onnx_export._convert, []

def timed(*arguments, **options):
    started = time.perf_counter()
    found = convert(*arguments, **options)
    spent.append(time.perf_counter() - started)
    return found

onnx_export._convert = timed
started = time.perf_counter()
export(asked, X, "regression")
print(sum(spent), time.perf_counter() - started)
"""


def main() -> None:
    with TemporaryDirectory() as folder:
        home = Home(copy_project(Path(folder) / "clone"))
        try:
            state = bring_up(home, "local", models=()).state
            environment = {**os.environ, **child_environment(home, state.services, state.region)}
            script = Path(folder) / "forest.py"
            script.write_text(_SCRIPT, encoding="utf-8")
            _print(
                "Around a script that logs a forest, after imports",
                "the script alone",
                _AROUND,
                environment,
                [str(script)],
                "2 s more",
            )
        finally:
            tear_down(home)
    _print(
        "A forest of 100 trees fitted on 100,000 rows, compared on 5,000 of all kinds",
        "conversion alone",
        _PARITY,
        dict(os.environ),
        [],
        "5 s more",
    )


def _print(title: str, peer: str, code: str, environment: dict[str, str], arguments: list[str], budget: str) -> None:
    pairs = []
    for number in range(ROUNDS):
        command = [sys.executable, "-W", "ignore", "-c", code, *arguments, *([str(number)] if arguments else [])]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        pairs.append(tuple(map(float, done.stdout.split()[-2:])))
    alone, whole = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    print(
        f"{title}\n  {peer}: {alone:.2f} s\n  whole: {whole:.2f} s, {whole - alone:.2f} s more; budget: at most"
        f" {budget}\n"
    )
