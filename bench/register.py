"""Logging a model as the platform does (requirements given), compared with MLflow's default (requirements inferred);
and registering a version: its number, signature, card, audit log and both registries, beside MLflow's registry alone.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.pairs import compare
from groundplan.local.environment import child_environment
from groundplan.local.home import Home
from groundplan.local.jobs import run_steps
from groundplan.local.up import bring_up, new_run, tear_down
from spec.steps import steps_for
from tests.platform import copy_project

ROUNDS = 3
# In one process that has imported everything: what is left is what each registry does.
_BOTH = """
import sys, time
from pathlib import Path
from pipelines.context import Context, load_definition
from pipelines.steps.register import register
from pipelines.tracking import use_mlflow
from spec.outputs import read
import os
mlflow, (script, *runs) = use_mlflow(), sys.argv[1:]
client = mlflow.MlflowClient()
for number, run in enumerate(runs):
    context = Context(read(os.environ["GROUNDPLAN_OUTPUTS"]), load_definition(Path(script)), run, Path("."))
    uri = context.result("experiment")["model_uri"]
    started = time.perf_counter()
    made = mlflow.register_model(uri, "plain", tags={"run": run})
    client.update_model_version("plain", made.version, description=run)
    client.set_registered_model_alias("plain", f"a{number}", made.version)
    between = time.perf_counter()
    register(context)
    print("seconds", between - started, time.perf_counter() - between)
"""


def main() -> None:
    import mlflow
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import RandomForestRegressor

    from pipelines.training.trusted_types import TRUSTED_TYPES

    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    data = load_diabetes()
    model = RandomForestRegressor(n_estimators=100, random_state=42).fit(data.data, data.target)
    with TemporaryDirectory() as folder:
        mlflow.set_tracking_uri(f"sqlite:///{Path(folder) / 'mlflow.db'}")
        mlflow.create_experiment("bench", artifact_location=(Path(folder) / "artifacts").as_uri())
        mlflow.set_experiment("bench")

        def log(**options: object) -> float:
            with mlflow.start_run():
                started = time.perf_counter()
                mlflow.sklearn.log_model(model, name="model", skops_trusted_types=list(TRUSTED_TYPES), **options)
                return time.perf_counter() - started

        given = mlflow.sklearn.get_default_pip_requirements(include_skops=True)
        log(pip_requirements=given)
        compare(
            "Logging a model",
            ("requirements given", lambda: log(pip_requirements=given)),
            ("requirements guessed", log),
            3,
            "well below 1",
        )
    _versions()


def _versions() -> None:
    with TemporaryDirectory() as folder:
        home = Home(copy_project(Path(folder) / "clone"))
        script = home.root / "models" / "diabetes-rf"
        wanted = {"ingest", "quality", "features", "experiment", "evaluate"}
        try:
            state = bring_up(home, "local", models=()).state
            steps = tuple(step for step in steps_for(contract=True) if step.name in wanted)
            runs = [new_run() for _ in range(ROUNDS + 1)]
            for run in runs:
                run_steps(home, state, steps, script, run)
            done = subprocess.run(
                [sys.executable, "-c", _BOTH, str(script), *runs],
                cwd=home.root,
                env=child_environment(home, state.services, state.region, "step.register"),
                capture_output=True,
                text=True,
                check=True,
            )
        finally:
            tear_down(home)
    pairs = [tuple(map(float, line.split()[1:])) for line in done.stdout.splitlines() if line.startswith("seconds")]
    alone, ours = (statistics.median(each) for each in zip(*pairs[1:], strict=True))  # the first one connects
    print(f"Registering a version: groundplan {ours:.2f} s (wanted: under 1 s), MLflow alone {alone:.2f} s")
