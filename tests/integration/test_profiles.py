"""Profiles of real runs: read back with TensorBoard's own reader, and by whoever opens the page without a network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from groundplan.local.experiments import run_experiment
from groundplan.local.home import Home, State
from pipelines.context import Wishes

SCRIPT = """
import os, time
import mlflow, numpy as np, pandas as pd
from helper import slowly
from sklearn.linear_model import Ridge
from tensorboardX import SummaryWriter

random = np.random.default_rng(0)
rows = pd.DataFrame(random.normal(size=(200, 2)), columns=["a", "b"])
with mlflow.start_run(), SummaryWriter(os.path.join(os.environ["GROUNDPLAN_TENSORBOARD"], "own")) as writer:
    mlflow.log_param("alpha", 1.0)
    for epoch in range(5):
        slowly()
        mlflow.log_metric("loss", 1 / (epoch + 1), step=epoch)
        writer.add_scalar("own/loss", 2 / (epoch + 1), epoch)
    model = Ridge().fit(rows[:150], 3 * rows["a"][:150] - rows["b"][:150])
    mlflow.sklearn.log_model(model, "model")
"""
HELPER = """
import time

def slowly(depth=3):
    if depth:
        return slowly(depth - 1)
    until = time.perf_counter() + 0.4
    while time.perf_counter() < until:
        sum(range(1000))
"""


@pytest.fixture(scope="module")
def profiled(home: Home, state: State, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The result of a profiled run, and its artifacts."""
    import mlflow

    folder = tmp_path_factory.mktemp("profile")
    (folder / "curved.py").write_text(SCRIPT)
    (folder / "helper.py").write_text(HELPER)
    done = run_experiment(home, folder / "curved.py", wishes=Wishes(profile=True), deploy=False, say=lambda line: None)[
        "experiment"
    ]
    client = mlflow.MlflowClient(state.services["mlflow"].url)
    return done, Path(client.download_artifacts(done["run_id"], "profile", str(folder)))


def test_time_is_told_by_line_and_a_recursion_once(profiled: tuple[dict[str, Any], Path]) -> None:
    slowest = profiled[0]["profile"]["slowest"]
    by_line = {each["where"]: each for each in slowest}
    assert any(each["code"] == "slowly()" and each["seconds"] > 1.5 for each in slowest)
    recursion = next(each for each in slowest if each["code"] == "return slowly(depth - 1)")
    assert recursion["where"].startswith("helper.py:") and 1.5 < recursion["seconds"] < 4
    assert all(0 <= each["share"] <= 1 for each in by_line.values())


def test_the_machine_is_measured_but_is_no_metric_of_the_model(
    profiled: tuple[dict[str, Any], Path], state: State
) -> None:
    import mlflow

    done, _ = profiled
    assert done["metrics"].keys() == {"loss"}
    machine = done["profile"]["machine"]
    assert {"cpu_utilization_percentage", "system_memory_usage_megabytes"} <= machine.keys()
    assert 0 < machine["cpu_utilization_percentage"]["mean"] <= machine["cpu_utilization_percentage"]["most"] <= 100
    client = mlflow.MlflowClient(state.services["mlflow"].url)
    assert len(client.get_metric_history(done["run_id"], "system/cpu_utilization_percentage")) >= 2


def test_tensorboard_reads_the_curves(profiled: tuple[dict[str, Any], Path]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = profiled[1] / "tensorboard"
    ours = EventAccumulator(str(folder / "mlflow")).Reload()
    assert [(point.step, round(point.value, 4)) for point in ours.Scalars("loss")] == [
        (0, 1.0), (1, 0.5), (2, 0.3333), (3, 0.25), (4, 0.2),
    ]  # fmt: skip
    times = [point.wall_time for point in ours.Scalars("loss")]
    assert times == sorted(times) and times[-1] - times[0] > 1, "of the run, not of the copy"
    assert "system/cpu_utilization_percentage" in ours.Tags()["scalars"]
    own = EventAccumulator(str(folder / "own")).Reload()
    assert next(point.value for point in own.Scalars("own/loss")) == 2.0


def test_the_page_needs_no_network(profiled: tuple[dict[str, Any], Path]) -> None:
    page = (profiled[1] / "flame.html").read_text(encoding="utf-8")
    outside = set(re.findall(r"https?://[^\"'\s)<>\\]+", page)) - {"http://www.w3.org/2000/svg"}
    assert not outside and "slowly" in page
    scope = json.loads((profiled[1] / "speedscope.json").read_text(encoding="utf-8"))
    assert "slowly" in {frame["name"] for frame in scope["shared"]["frames"]}


def test_of_a_notebook_the_cell_is_named(tmp_path: Path) -> None:
    from pipelines.training.profiling import _place
    from pipelines.training.script import cells

    notebook = tmp_path / "nb.ipynb"
    code = [["import time\n", "%matplotlib inline\n", "time.sleep(1)"], ["time.sleep(2)"]]
    written = {"cells": [{"cell_type": "code", "source": each} for each in code]}
    written["cells"].insert(1, {"cell_type": "markdown", "source": ["text"]})
    notebook.write_text(json.dumps(written))
    lines = cells(written)[0].splitlines()
    for text, where in (("time.sleep(1)", "nb.ipynb cell 1, line 3"), ("time.sleep(2)", "nb.ipynb cell 3, line 1")):
        assert _place(notebook, lines.index(text) + 1, notebook) == {"where": where, "code": text}


def test_without_a_profile_nothing_is_added(home: Home, state: State, tmp_path: Path) -> None:
    import mlflow

    script = tmp_path / "plain.py"
    script.write_text(
        "import mlflow, os\nassert 'GROUNDPLAN_TENSORBOARD' not in os.environ\n"
        "with mlflow.start_run():\n    mlflow.log_metric('m', 1)\n"
    )
    done = run_experiment(home, script, wishes=Wishes(record_only=True), deploy=False, say=lambda line: None)[
        "experiment"
    ]
    client = mlflow.MlflowClient(state.services["mlflow"].url)
    assert "profile" not in done and client.list_artifacts(done["run_id"], "profile") == []
    assert set(client.get_run(done["run_id"]).data.metrics) == {"m"}


def test_where_sagemaker_collects_them_the_curves_are_left_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from pipelines.training.profiling import profiled as profile

    monkeypatch.setenv("GROUNDPLAN_TENSORBOARD", str(tmp_path / "collected"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    try:
        with profile(tmp_path / "script.py", wanted=False) as found, mlflow.start_run() as run:
            mlflow.log_metric("loss", 0.5, step=3)
        assert found.keep(run.info.run_id) == {}
    finally:
        mlflow.set_tracking_uri(None)
    (point,) = EventAccumulator(str(tmp_path / "collected" / "mlflow")).Reload().Scalars("loss")
    assert (point.step, point.value) == (3, 0.5)
