"""Searches the parameters of a script (Optuna): trials side by side, each a nested MLflow run, the hopeless ones ended
early, within a budget of minutes or USD; the same command again continues.

Sampler: the multivariate tree-structured Parzen estimator (Bergstra et al. 2011, Falkner et al. 2018). Pruning: the
median rule (Golovin et al. 2017), on what a script logs step by step.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundplan.local.environment import child_environment
from groundplan.local.home import Home, State
from groundplan.local.inside import inside
from groundplan.local.jobs import run_steps
from groundplan.local.script_environment import python_for
from groundplan.local.up import new_run
from pipelines.context import Context, ModelDefinition, load_definition
from pipelines.steps.workflow import INSTANCE_TYPE
from spec.errors import GroundplanError, UsageError
from spec.outputs import read
from spec.steps import steps_for

LOOKED_EVERY_S = 0.5
STOP_TIMEOUT_S = 10.0
TIME_IS_UP = "ended: the time is up"
FAILURES_IN_A_ROW = 3  # then the script itself is wrong
_RANGE = re.compile(r"(-?[\d.]+(?:e-?\d+)?):(-?[\d.]+(?:e-?\d+)?)(:log)?", re.IGNORECASE)


@dataclass(frozen=True)
class Parameter:
    """One argument of the script: between two numbers (whole ones if both are), or one of several texts."""

    name: str
    low: float = 0
    high: float = 0
    whole: bool = False
    log: bool = False
    choices: tuple[str, ...] = ()

    def suggest(self, trial: Any) -> Any:
        """A value to try."""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


def parameter(text: str) -> Parameter:
    """Read ``NAME=LOW:HIGH``, ``NAME=LOW:HIGH:log`` or ``NAME=ONE,OTHER``.

    Raises:
        UsageError: It is none of them.
    """
    name, equals, told = text.partition("=")
    fix = "for example n_estimators=10:300, learning_rate=0.001:0.3:log, or criterion=gini,entropy"
    if not (name and equals and told):
        raise UsageError(f"{text!r} is not a parameter", where="--parameter", fix=fix)
    if (found := _RANGE.fullmatch(told)) is None:
        choices = tuple(part.strip() for part in told.split(","))
        if len(choices) < 2 or not all(choices):
            raise UsageError(f"{told!r} is neither a range nor a list", where=f"--parameter {name}", fix=fix)
        return Parameter(name, choices=choices)
    try:
        low, high = float(found[1]), float(found[2])
    except ValueError:
        raise UsageError(f"{told!r} is not a range of numbers", where=f"--parameter {name}", fix=fix) from None
    if low >= high or (found[3] and low <= 0):
        why = "its low end must be above 0" if low < high else "its low end must be below its high end"
        raise UsageError(f"{told!r} is not a range: {why}", where=f"--parameter {name}", fix=fix)
    whole = found[1].lstrip("-").isdigit() and found[2].lstrip("-").isdigit()
    return Parameter(name, low, high, whole=whole, log=bool(found[3]))


@dataclass(frozen=True)
class Sweep:
    """What is searched.

    Attributes:
        metric: A metric that the script logs.
        maximize: Whether more of it is better.
        trials: Most trials in all, those of earlier commands included.
        minutes: Longest time of this command; infinite for no limit.
        jobs: Trials at a time.
    """

    parameters: tuple[Parameter, ...]
    metric: str
    maximize: bool
    trials: int
    minutes: float = math.inf
    jobs: int = 2


def minutes_for(usd: float, jobs: int, region: str) -> float:
    """How long so many trials at a time may run for an amount, each on a machine of its own."""
    from infra.design.price_book import load_prices

    return usd / (load_prices(region).services["sagemaker", INSTANCE_TYPE] * jobs) * 60


@dataclass
class _Going:
    """What this command has tried so far."""

    until: float
    parent: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    failures: int = 0
    why: str = ""
    begun: int = 0


def sweep(home: Home, state: State, path: Path, wanted: Sweep, name: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Search, and return the ``best`` (``value``, ``parameters``, ``run_id``), the ``trials`` by how they ended, the
    ``run_id`` of the parent run, and the five best as ``leaders``.

    Raises:
        UsageError: There is no such script.
        GroundplanError: The first trials all failed, or none has logged the metric.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    definition = load_definition(path, name)
    with inside(home, "step.experiment"), _training_set(home, state, definition, path, say) as given:
        study = _study(home, definition, wanted)
        left = wanted.trials - len([trial for trial in study.trials if trial.state.is_finished()])
        parent = _parent(definition, wanted)
        going = _Going(time.monotonic() + wanted.minutes * 60, parent)
        python = python_for(definition.script, home.environments, say)
        environment = {
            **child_environment(home, state.services, state.region, "step.experiment"),
            **given,
            "MLFLOW_EXPERIMENT_NAME": definition.model,
        }
        trier = _Trier(home, definition, wanted, study, going, python, environment, say)
        with ThreadPoolExecutor(max_workers=wanted.jobs) as pool:
            try:
                list(pool.map(trier.one, range(max(0, left))))
            except BaseException:
                going.until = 0.0
                raise
        return _finished(study, wanted, going)


@contextmanager
def _training_set(
    home: Home, state: State, definition: ModelDefinition, path: Path, say: Callable[[str], None]
) -> Iterator[dict[str, str]]:
    """The rows that the script is given, made once for all trials."""
    from pipelines.steps.experiment import training_set

    context = Context(read(str(home.outputs_file)), definition, new_run(), home.reports)
    if definition.contracts:
        names = {"ingest", "quality"} | ({"features"} if definition.features else set())
        steps = tuple(step for step in steps_for(contract=True) if step.name in names)
        arguments = ("--name", definition.model)
        run_steps(
            home,
            state,
            steps,
            path.resolve(),
            context.run,
            arguments,
            on_done=lambda done: say(done.line),
        )
        if waiting := context.waiting():
            raise GroundplanError(f"there is nothing to train on yet: {waiting}", where=definition.model)
    with training_set(context):
        key = "GROUNDPLAN_TRAINING_SET"
        yield {key: os.environ[key]} if definition.contracts else {}


def _study(home: Home, definition: ModelDefinition, wanted: Sweep) -> Any:
    """The study of this model and metric; what was tried before is known again."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    folder = home.folder / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    # Ranges may change between two commands, lists may not (as Optuna has it).
    space = ", ".join(sorted(f"{each.name} {'|'.join(each.choices)}".strip() for each in wanted.parameters))
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / f"{definition.model}.log")))
    return optuna.create_study(
        study_name=f"{wanted.metric} over {space}",
        storage=storage,
        load_if_exists=True,
        direction="maximize" if wanted.maximize else "minimize",
        # Of trials that still run, the sampler assumes that they are bad, so that it does not try the same twice.
        sampler=optuna.samplers.TPESampler(seed=None, multivariate=True, constant_liar=wanted.jobs > 1),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
    )


def _parent(definition: ModelDefinition, wanted: Sweep) -> str:
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(definition.model)
    where = client.create_experiment(definition.model) if experiment is None else experiment.experiment_id
    tags = {"groundplan.model": definition.model, "groundplan.sweep": wanted.metric}
    run = client.create_run(where, run_name=f"sweep of {wanted.metric}", tags=tags)
    for each in wanted.parameters:
        told = ",".join(each.choices) or f"{each.low:g}:{each.high:g}{':log' if each.log else ''}"
        client.log_param(run.info.run_id, f"searched_{each.name}", told)
    return str(run.info.run_id)


@dataclass
class _Trier:
    """Runs trials, each in a process of its own."""

    home: Home
    definition: ModelDefinition
    wanted: Sweep
    study: Any
    going: _Going
    python: str
    environment: dict[str, str]
    say: Callable[[str], None]

    def one(self, _: int) -> None:
        """One trial, unless the time is up."""
        import mlflow
        from optuna.trial import TrialState

        going, client = self.going, mlflow.MlflowClient()
        if time.monotonic() > going.until or going.failures >= FAILURES_IN_A_ROW:
            return
        with going.lock:
            trial = self.study.ask()
            values = {each.name: each.suggest(trial) for each in self.wanted.parameters}
            going.begun += 1
        parent = client.get_run(going.parent).info
        run = client.create_run(
            parent.experiment_id,
            run_name=f"trial {trial.number}",
            tags={"mlflow.parentRunId": going.parent, "groundplan.model": self.definition.model},
        ).info.run_id
        trial.set_user_attr("run_id", run)
        log = self.home.logs / "sweeps" / f"{self.definition.model}-{trial.number}.log"
        code, pruned = self._run(trial, run, values, log)
        history = client.get_metric_history(run, self.wanted.metric)
        value = history[-1].value if history else math.nan
        told = ", ".join(
            f"{name} {item:.4g}" if isinstance(item, float) else f"{name} {item}" for name, item in values.items()
        )
        if pruned:
            client.set_terminated(run, "KILLED")
            self.study.tell(trial, state=TrialState.FAIL if pruned == TIME_IS_UP else TrialState.PRUNED)
            self.say(f"trial {trial.number}: {told}: {pruned}")
        elif code != 0 or math.isnan(value):
            why = _why(log) if code else f"it logged no {self.wanted.metric}"
            client.set_terminated(run, "FAILED")
            self.study.tell(trial, state=TrialState.FAIL)
            with going.lock:
                going.failures += 1
                going.why = f"{why} (trial {trial.number}, {told}; the log is {os.path.relpath(log)})"
            self.say(f"trial {trial.number}: {told}: failed: {why}")
        else:
            self.study.tell(trial, value)
            going.failures = 0
            self.say(f"trial {trial.number}: {told}: {self.wanted.metric} {value:.6g}")

    def _run(self, trial: Any, run: str, values: dict[str, Any], log: Path) -> tuple[int, str]:
        """The exit code of the script, and why it was ended early."""
        import mlflow

        project = self.definition.project
        words = [f"{name}={value}" for name, value in values.items()]
        arguments = (
            list(project.arguments(tuple(words)))
            if project
            else [part for name, value in values.items() for part in (f"--{name}", str(value))]
        )
        folder = str(self.definition.folder) if project else ""
        log.parent.mkdir(parents=True, exist_ok=True)
        client, seen = mlflow.MlflowClient(), -1
        with log.open("wb") as file:
            process = subprocess.Popen(
                [
                    self.python,
                    "-m",
                    "pipelines.training.trial",
                    str(self.definition.script),
                    folder,
                    json.dumps(arguments),
                ],
                cwd=self.home.root,
                env={**self.environment, "MLFLOW_RUN_ID": run},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                while True:
                    try:
                        return process.wait(LOOKED_EVERY_S), ""
                    except subprocess.TimeoutExpired:
                        pass
                    if time.monotonic() > self.going.until:
                        return 0, TIME_IS_UP
                    for point in client.get_metric_history(run, self.wanted.metric):
                        if point.step > seen:
                            seen = point.step
                            trial.report(point.value, point.step)
                    if seen >= 0 and trial.should_prune():
                        return 0, f"ended early at step {seen}: worse than the median"
            finally:
                if process.poll() is None:
                    process.terminate()
                    try:
                        process.wait(STOP_TIMEOUT_S)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()


def _why(log: Path) -> str:
    """The reason that a script's log ends with, in one line; argparse's where it refuses the arguments."""
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    if refused := re.findall(r"^\S+: error: (.+)$", text, re.MULTILINE):
        return f"the script refuses its arguments: {refused[-1]}"
    _, marker, message = f"\n{text}".rpartition("\nerror: ")
    said = (message if marker else text).strip().splitlines() or ["it printed nothing"]
    return (said[0] if marker else said[-1])[:500]


def _finished(study: Any, wanted: Sweep, going: _Going) -> dict[str, Any]:
    import mlflow

    client = mlflow.MlflowClient()
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    counts: dict[str, int] = {}
    for trial in study.trials:
        counts[trial.state.name.lower()] = counts.get(trial.state.name.lower(), 0) + 1
    if not done:
        client.set_terminated(going.parent, "FAILED")
        raise GroundplanError(
            f"no trial was completed: {going.why or 'there was no time for one'}",
            where="sweep",
            fix="run the script by itself with such arguments, or give it more time",
        )
    ranked = sorted(done, key=lambda trial: trial.value, reverse=wanted.maximize)
    best = ranked[0]
    client.log_metric(going.parent, wanted.metric, best.value)
    for name, value in best.params.items():
        client.log_param(going.parent, name, value)
    client.set_terminated(going.parent, "FINISHED")
    leaders = [
        {"value": trial.value, "parameters": trial.params, "run_id": trial.user_attrs.get("run_id", "")}
        for trial in ranked[:5]
    ]
    return {"run_id": going.parent, "metric": wanted.metric, "trials": counts, "best": leaders[0], "leaders": leaders}
