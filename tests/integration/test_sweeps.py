"""Searching a script's parameters, with real trials and the real tracking server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from groundplan.local.home import Home, State
from groundplan.local.sweeping import Parameter, Sweep, minutes_for, parameter, sweep
from spec.errors import GroundplanError, UsageError

# The longer it learns, the nearer it comes to (x - 3)^2: what begins far away can be told early.
SCRIPT = """
import argparse, time
import mlflow
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float)
parser.add_argument("--kind", default="plain")
given = parser.parse_args()
with mlflow.start_run():
    for step in range(6):
        mlflow.log_metric("loss", (given.x - 3) ** 2 + 1 / (step + 1), step=step)
        time.sleep(0.3 if given.x > 8 else 0)
"""


@pytest.fixture
def search(home: Home, state: State, tmp_path: Path) -> Any:
    script = tmp_path / f"square-{tmp_path.name[-12:].replace('_', '-')}.py"
    script.write_text(SCRIPT)
    said: list[str] = []

    def run(*parameters: str, metric: str = "loss", **told: Any) -> tuple[dict[str, Any], list[str]]:
        said.clear()
        wanted = Sweep(tuple(map(parameter, parameters)), metric, **{"maximize": False, "trials": 4, **told})
        return sweep(home, state, script, wanted, "", said.append), said

    return run


@pytest.mark.drill  # slow
def test_trials_are_nested_runs_and_the_same_command_goes_on(search: Any, state: State) -> None:
    import mlflow

    found, said = search("x=0:9", "kind=plain,fancy", trials=4)
    assert sum(found["trials"].values()) == 4 and len(said) == 4
    client = mlflow.MlflowClient(state.services["mlflow"].url)
    parent = client.get_run(found["run_id"])
    assert parent.data.params["searched_x"] == "0:9" and parent.data.params["searched_kind"] == "plain,fancy"
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{found['run_id']}'")
    assert len(children) == 4 and {run.info.status for run in children} <= {"FINISHED", "KILLED"}
    best = client.get_run(found["best"]["run_id"])
    assert best.data.metrics["loss"] == found["best"]["value"] == min(each["value"] for each in found["leaders"])
    again, said = search("x=0:9", "kind=plain,fancy", trials=6)
    assert sum(again["trials"].values()) == 6 and len(said) == 2 and again["best"]["value"] <= found["best"]["value"]


def test_time_and_money_end_it_and_nothing_goes_on_running(search: Any) -> None:
    with pytest.raises(GroundplanError, match="there was no time for one"):
        search("x=8.5:9", minutes=0.02, trials=50)
    assert minutes_for(0.115, 2, "us-east-1") == pytest.approx(30)


@pytest.mark.parametrize(
    ("parameters", "metric", "says"),
    [
        (("y=0:9",), "loss", "the script refuses its arguments: unrecognized arguments: --y"),
        pytest.param(("x=0:9",), "gain", "it logged no gain", marks=pytest.mark.drill),
        pytest.param(("x=one,two",), "loss", "invalid float value", marks=pytest.mark.drill),
    ],
)
def test_a_script_that_can_not_be_searched_is_told_after_a_few_trials(
    search: Any, parameters: tuple[str, ...], metric: str, says: str
) -> None:
    with pytest.raises(GroundplanError) as raised:
        search(*parameters, metric=metric, trials=50)
    assert says in str(raised.value) and "no trial was completed" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("n=10:300", Parameter("n", 10, 300, whole=True)),
        ("rate=0.001:0.3:log", Parameter("rate", 0.001, 0.3, log=True)),
        ("rate=1e-4:1", Parameter("rate", 1e-4, 1)),
        ("shift=-2:2", Parameter("shift", -2, 2, whole=True)),
        ("kind=gini,entropy", Parameter("kind", choices=("gini", "entropy"))),
        ("size=8,16,32", Parameter("size", choices=("8", "16", "32"))),
    ],
)
def test_parameters_are_read(text: str, wanted: Parameter) -> None:
    assert parameter(text) == wanted


@pytest.mark.parametrize("text", ["n", "n=", "=1:2", "n=5", "n=3:1", "n=0:1:log", "n=1.2.3:4", "n=a,", "n=1:2:linear"])
def test_what_is_no_parameter_is_told_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="n_estimators=10:300"):
        parameter(text)
