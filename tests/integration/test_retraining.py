"""Trainings that are interrupted, repeated or refused, with the steps as real processes on the local cloud."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from groundplan.local.home import Home, State
from groundplan.local.jobs import StepError, results, run_steps
from groundplan.local.up import new_run
from spec.errors import GroundplanError
from spec.outputs import Outputs
from spec.steps import steps_for

LEARNS_SLOWLY = """
import json, os, pathlib, time
import mlflow, numpy as np, pandas as pd
from sklearn.linear_model import SGDRegressor

saved = pathlib.Path(os.environ["GROUNDPLAN_CHECKPOINTS"]) / "state.json"
state = json.loads(saved.read_text()) if saved.exists() else {"epoch": 0, "coef": [0.0, 0.0], "intercept": 0.0}
random = np.random.default_rng(0)
rows = pd.DataFrame(random.normal(size=(200, 2)), columns=["a", "b"])
labels = 3 * rows["a"] - rows["b"]
with mlflow.start_run():
    mlflow.log_param("began_at", state["epoch"])
    model = SGDRegressor(random_state=0, eta0=0.05, learning_rate="constant")
    model.partial_fit(rows.iloc[:150], labels[:150])
    if state["epoch"]:
        model.coef_, model.intercept_ = np.array(state["coef"]), np.array([state["intercept"]])
    for epoch in range(state["epoch"], 12):
        model.partial_fit(rows.iloc[:150], labels[:150])
        state = {"epoch": epoch + 1, "coef": list(model.coef_), "intercept": float(model.intercept_[0])}
        half = saved.with_suffix(".half")
        half.write_text(json.dumps(state))
        half.rename(saved)
        time.sleep(0.7)
    mlflow.sklearn.log_model(model, "model")
"""


def trainings(run: str) -> list[psutil.Process]:
    """Processes that train in a run."""
    found = {}
    for process in psutil.process_iter():
        try:
            if run in process.cmdline() and "pipelines.steps.experiment" in process.cmdline():
                found[process.pid] = process
        except psutil.Error:
            continue
    # Not the one that filters what it prints, which it has forked.
    return [process for process in found.values() if process.ppid() not in found]


def test_a_killed_training_continues_from_its_checkpoint(
    home: Home, state: State, outputs: Outputs, aws: Any, tmp_path: Path
) -> None:
    script = tmp_path / "slowly.py"
    script.write_text(LEARNS_SLOWLY)
    run, said = new_run(), []
    steps = tuple(step for step in steps_for(contract=False) if step.name == "experiment")
    training = threading.Thread(
        target=lambda: run_steps(home, state, steps, script, run, on_progress=lambda step, text: said.append(text))
    )
    training.start()
    s3, key = aws("s3"), f"checkpoints/slowly/{run}/state.json"
    until = time.monotonic() + 90
    while not (kept := s3.list_objects_v2(Bucket=outputs.buckets["models"], Prefix=key).get("Contents")):
        assert training.is_alive() and time.monotonic() < until
        time.sleep(0.1)
    assert kept
    (process,) = trainings(run)
    process.kill()
    training.join(240)
    assert any(text.startswith("killed by signal 9; it is started again") for text in said), said
    log = (home.logs / "runs" / f"{run}-experiment.log").read_text(encoding="utf-8")
    found = results(home, state, "slowly", run, steps)
    assert not training.is_alive() and "experiment" in found, log
    result = found["experiment"]
    import mlflow

    client = mlflow.MlflowClient(state.services["mlflow"].url)
    began = int(client.get_run(result["run_id"]).data.params["began_at"])
    assert 0 < began < 12
    saved = json.loads(s3.get_object(Bucket=outputs.buckets["models"], Key=key)["Body"].read())
    assert saved["epoch"] == 12  # what it has saved last is kept, too


@pytest.mark.drill  # slow
def test_a_training_that_is_always_killed_is_given_up(home: Home, state: State, tmp_path: Path) -> None:
    script = tmp_path / "hungry.py"
    script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    steps = tuple(step for step in steps_for(contract=False) if step.name == "experiment")
    said: list[str] = []
    with pytest.raises(StepError, match="killed by signal 9"):
        run_steps(home, state, steps, script, new_run(), on_progress=lambda step, text: said.append(text))
    assert len(said) == steps[0].retries


def test_a_step_that_refuses_is_not_repeated(home: Home, state: State, tmp_path: Path) -> None:
    script = tmp_path / "wrong.py"
    tries = tmp_path / "tries"
    script.write_text(f"open({str(tries)!r}, 'a').write('x')\nraise ValueError('no such column')\n")
    steps = tuple(step for step in steps_for(contract=False) if step.name == "experiment")
    with pytest.raises(StepError, match="no such column"):
        run_steps(home, state, steps, script, new_run())
    assert tries.read_text() == "x"


FITS_A_LINE = """
import mlflow, numpy as np, pandas as pd
from sklearn.linear_model import Ridge
random = np.random.default_rng({seed})
rows = pd.DataFrame(random.normal(size=(200, 2)), columns=["a", "b"])
with mlflow.start_run():
    mlflow.log_param("alpha", {alpha})
    model = Ridge(alpha={alpha}).fit(rows[:150], 3 * rows["a"][:150] - rows["b"][:150])
    mlflow.log_metric("coef", model.coef_[0])
    mlflow.sklearn.log_model(model, "model")
"""


@pytest.mark.drill
def test_a_run_is_reproduced_and_what_can_not_be_is_said(
    home: Home, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from groundplan.local.experiments import run_experiment
    from groundplan.local.reproducing import reproduce

    script = tmp_path / "line.py"
    script.write_text(FITS_A_LINE.format(seed=0, alpha=1.0))
    done = run_experiment(home, script, deploy=False, say=lambda line: None)["experiment"]
    found = reproduce(home, state, done["run_id"], lambda line: None)
    assert found["reproduced"] and all(each["same"] for each in found["compared"])
    assert {"training rows", "metric coef", "answers"} <= {each["what"] for each in found["compared"]}
    script.write_text(FITS_A_LINE.format(seed=0, alpha=2.0))
    with pytest.raises(GroundplanError, match="its script has changed since, and was"):
        reproduce(home, state, done["run_id"], lambda line: None)
    with pytest.raises(GroundplanError, match="no run 'abc'"):
        reproduce(home, state, "abc", lambda line: None)
    with pytest.raises(GroundplanError, match="there is no nowhere@v1"):
        reproduce(home, state, "nowhere@v1.0.0", lambda line: None)


@pytest.mark.drill
def test_a_script_that_draws_other_rows_each_time_is_told_by_them(home: Home, state: State, tmp_path: Path) -> None:
    from groundplan.local.experiments import run_experiment
    from groundplan.local.reproducing import reproduce

    script = tmp_path / "line.py"
    script.write_text(FITS_A_LINE.format(seed="", alpha=1.0))
    done = run_experiment(home, script, deploy=False, say=lambda line: None)["experiment"]
    found = reproduce(home, state, done["pipeline_run"], lambda line: None)
    differs = {each["what"] for each in found["compared"] if not each["same"]}
    assert found["run"] == done["run_id"]
    assert not found["reproduced"] and {"training rows", "metric coef"} <= differs
