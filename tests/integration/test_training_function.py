"""Retraining in a function, under Lambda's own runtime client, against the local cloud."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from groundplan.local.environment import child_environment
from groundplan.local.home import Home, State
from spec.steps import before_people_agree
from tests.lambda_runtime import invoked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Lambda's runtime interface client is for Linux")
HANDLER = "pipelines.steps.on_lambda.handler"


def environment(home: Home, state: State, folder: Path) -> dict[str, str]:
    own = child_environment(home, state.services, state.region, "step.function")
    return {**own, "GROUNDPLAN_MODEL_FOLDER": str(folder)}


@pytest.mark.drill
def test_a_function_trains_until_people_must_agree(home: Home, state: State, aws: Any) -> None:
    import mlflow

    folder = home.root / "models" / "diabetes-rf"
    assert folder.is_dir(), [path.name for path in (home.root / "models").iterdir()]
    event = {"run": "5d2b6d29-0f0c-4d0e-8e4b-3f6b6e6f9a10"}
    (kind, answer), *_ = invoked(HANDLER, [event], environment(home, state, folder), home.root, seconds=300)
    assert kind == "response", answer
    assert list(answer["seconds"]) == [step.name for step in before_people_agree()]
    assert answer["run"].endswith("3f6b6e6f9a10"[-12:]) and 0.1 < answer["memory_gb"] < 5
    client = mlflow.MlflowClient(state.services["mlflow"].url)
    version = next(iter(client.search_model_versions("name='diabetes-rf'")))
    assert version.tags["pipeline_run"] == answer["run"] and "champion" not in version.aliases


def test_what_fails_is_told_with_its_step(home: Home, state: State, tmp_path: Path) -> None:
    nowhere = environment(home, state, tmp_path / "nowhere")
    (kind, answer), *_ = invoked(HANDLER, [{}], nowhere, home.root, seconds=60)
    assert kind == "error" and answer["errorType"] == "TrainingError"
    assert answer["errorMessage"].startswith("step ingest (events from Kafka into the raw zone): ")
    assert "nowhere" in answer["errorMessage"] and "Traceback" not in answer["errorMessage"]


def test_a_run_ends_before_lambda_ends_it_and_says_where_it_was(home: Home, state: State) -> None:
    folder = home.root / "models" / "diabetes-rf"
    (kind, answer), *_ = invoked(HANDLER, [{}], environment(home, state, folder), home.root, seconds=6)
    assert kind == "error" and "was not done in time; until then: nothing" in answer["errorMessage"]
