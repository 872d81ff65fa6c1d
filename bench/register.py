"""Logging a model as the platform does (requirements given), compared with MLflow's default (requirements inferred)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.pairs import compare


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
