"""A day of 336,776 predictions of flights, monitored, beside Evidently's preset on the same rows; how often verdicts
are wrong, on months that differ and on a year that was shuffled; how often an estimate without outcomes holds.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

PREDICTIONS, EVENTS = 336_776, 10_000  # in a file: what a server keeps between two writes at most
ROUNDS = 3
RESAMPLINGS, SIZES = 200, (100, 1_000, 10_000, 28_000)


def main() -> None:
    from groundplan.local.environment import child_environment
    from groundplan.local.home import Home
    from groundplan.local.up import bring_up, tear_down
    from pipelines.context import Context, load_definition
    from pipelines.registry.evaluation import training_set
    from spec.outputs import read
    from tests.platform import copy_project

    with TemporaryDirectory() as folder:
        home = Home(copy_project(Path(folder) / "clone"))
        try:
            options = {"flights-late": {"months": "1-12"}}
            state = bring_up(home, "local", models=("flights-late",), options=options).state
            os.environ.update(child_environment(home, state.services, state.region))
            definition = load_definition(home.root / "models" / "flights-late")
            context = Context(read(str(home.outputs_file)), definition, "bench", Path(folder))
            frame = training_set(context)
            _speed(context, frame)
            _intervals(frame, definition)
            _false_alarms(frame, definition)
        finally:
            tear_down(home)


def _speed(context: Any, frame: Any) -> None:
    import evidently.presets  # noqa: F401 (its import is not what is measured)

    from pipelines.monitoring.drift import compare_columns
    from pipelines.monitoring.reference import reference_of
    from pipelines.steps.monitor import monitor

    reference = reference_of(context, "v1.0.0")
    names = list(reference.features)
    asked = frame.iloc[np.arange(PREDICTIONS) % len(frame)]
    _capture(context, reference, asked, names)
    ours = []
    for _ in range(ROUNDS):
        for key in list(context.keys("curated", "monitoring/")):
            context.s3.delete_object(Bucket=context.outputs.buckets["curated"], Key=key)
        started = time.perf_counter()
        found = monitor(context)
        ours.append(time.perf_counter() - started)
    started = time.perf_counter()
    monitor(context)
    again = time.perf_counter() - started
    in_memory, theirs, verdicts = [], [], {}
    for _ in range(ROUNDS):
        started = time.perf_counter()
        compare_columns(reference.training.features[names], asked[names])
        in_memory.append(time.perf_counter() - started)
        started = time.perf_counter()
        verdicts = _evidently(reference.training.features[names], asked[names])
        theirs.append(time.perf_counter() - started)
    said = {item["column"]: item["drifted"] for item in found["columns"]}
    same = [name for name in names if said[name] == verdicts[name]]
    print(f"A day of {found['requests']:,} predictions x {len(names)} features")
    print(f"  read from S3, everything found, published and drawn: {_spread(ours)}; budget: under 5 s")
    print(f"  the same day once more, its hours counted before: {again:.2f} s")
    print(f"  the drift of the rows in memory: {_spread(in_memory)}")
    print(f"  Evidently's DataDriftPreset on the rows in memory: {_spread(theirs)}")
    print(f"  ratio {np.median(theirs) / np.median(in_memory):.1f}; budget: at least 5")
    drifted = ", ".join(name for name in names if said[name]) or "none"
    print(f"  same verdict of {len(same)} of {len(names)} columns; drifted: {drifted}")
    for name in set(names) - set(same):
        print(f"    {name}: ours {said[name]}, Evidently's {verdicts[name]}")


def _capture(context: Any, reference: Any, asked: Any, names: list[str]) -> None:
    from pipelines.serving.ids import new_id
    from pipelines.serving.models.rows import Rows
    from pipelines.serving.operating.capture import capture_event
    from pipelines.training.labelled import as_columns

    found = reference.model.answers(Rows.of(as_columns(asked[names], reference.model.names)))
    chances = np.asarray(found.beside).tolist()
    rows = json.loads(asked[names].to_json(orient="records"))
    begin = datetime.now(UTC) - timedelta(hours=12)
    for start in range(0, PREDICTIONS, EVENTS):
        at = begin + timedelta(minutes=20 * start // EVENTS)
        lines = []
        for place in range(start, min(start + EVENTS, PREDICTIONS)):
            answer = {
                "predictions": [found.predictions[place]],
                "probabilities": [chances[place]],
                "model_version": "v1.0.0",
                "prediction_id": new_id(int(at.timestamp() * 1000)),
            }
            body = json.dumps({"dataframe_records": [rows[place]]}).encode()
            lines.append(json.dumps(capture_event("application/json", body, json.dumps(answer).encode(), 0)))
        key = f"capture/{context.endpoint_name}/champion/{at:%Y/%m/%d/%H/%M-%S}-bench.jsonl"
        context.put("models", key, "\n".join(lines).encode())


def _evidently(reference: Any, current: Any) -> dict[str, bool]:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=list(reference.columns))
    sides = [
        Dataset.from_pandas(each.reset_index(drop=True).astype(float), data_definition=definition)
        for each in (current, reference)
    ]
    told = json.loads(Report([DataDriftPreset()]).run(*sides).json())
    return {
        item["config"]["column"]: item["value"] >= 0.1
        for item in told["metrics"]
        if item["config"]["type"].endswith("ValueDrift")
    }


def _intervals(frame: Any, definition: Any) -> None:
    """Models of three months each, whether a flight is late and by how many minutes it departs late; estimated for
    every month that follows.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    from pipelines.monitoring.estimating import Estimation, estimation, matrix, outcomes
    from pipelines.monitoring.scores import scores
    from pipelines.serving.models.bundle import Model
    from pipelines.training.labelled import Labelled

    names = [name for view in definition.views[:1] for name in view.features]
    month = frame["event_timestamp"].dt.month
    settings = {"max_iter": 150, "learning_rate": 0.08, "random_state": 42}
    for task, target in (("classification", "late"), ("regression", "departure_delay")):
        held: Counter[str] = Counter()
        widths: dict[str, list[float]] = {}
        months = 0
        known = frame[frame[target].notna()]
        for first in range(1, 10):
            rows = known[month.loc[known.index].between(first, first + 2)].sort_values("event_timestamp")
            past, kept = rows.iloc[: len(rows) * 3 // 4], rows.iloc[len(rows) * 3 // 4 :].reset_index(drop=True)
            if task == "classification":
                made: Any = HistGradientBoostingClassifier(class_weight="balanced", **settings)
                described = Model(None, [], task, classes=[0, 1], output="probability")  # type: ignore[arg-type]
            else:
                made, described = HistGradientBoostingRegressor(**settings), Model(None, [], task)  # type: ignore[arg-type]
            made.fit(past[names], past[target])

            def ask(rows: Any, made: Any = made, task: str = task) -> tuple[Any, Any]:
                chances = matrix(made.predict_proba(rows[names]), 2) if task == "classification" else None
                return made.predict(rows[names]), chances

            found = estimation(described, Labelled(kept[names], kept[target]), *ask(kept))
            assert isinstance(found, Estimation)
            for number in range(first + 3, 13):
                later = known[month.loc[known.index] == number]
                said, chances = ask(later)
                guess = scores(found.estimator.expected(later[names], said, chances))
                fact = scores(outcomes(said, chances, later[target].to_numpy(), len(described.classes)))
                months += 1
                for metric, value in guess.items():
                    low, high = found.interval(metric, value, len(later))
                    held[metric] += low <= fact[metric] <= high
                    widths.setdefault(metric, []).append((high - low) / 2)
        print(f"Estimates without outcomes, {task}: {months} months after nine models' training")
        for metric, width in widths.items():
            print(f"  {metric}: held in {held[metric] / months:.0%}; half width {np.median(width):.3g} (median)")


def _false_alarms(frame: Any, definition: Any) -> None:
    """Months beside January to March; and rows of a shuffled year beside others of it."""
    from pipelines.monitoring.drift import compare_columns

    names = [name for view in definition.views[:1] for name in view.features]
    month = frame["event_timestamp"].dt.month
    first = frame[month <= 3][names]
    print("Months beside January to March:")
    for number in range(4, 13):
        found = compare_columns(first, frame[month == number][names])
        print(f"  {number:2}: {', '.join(sorted(item.column for item in found if item.drifted)) or '-'}")
    random = np.random.default_rng(0)
    print(f"A shuffled year, {RESAMPLINGS} resamplings:")
    for size in SIZES:
        alarms: Counter[str] = Counter()
        for _ in range(RESAMPLINGS):
            shuffled = random.permutation(len(frame))
            found = compare_columns(frame.iloc[shuffled[:28_000]][names], frame.iloc[shuffled[-size:]][names])
            alarms.update(item.column for item in found if item.drifted)
            alarms["any"] += any(item.drifted for item in found)
        print(f"  of {size:6,} rows: {alarms['any']} of {RESAMPLINGS} had a column that has drifted")


def _spread(seconds: list[float]) -> str:
    return f"{np.median(seconds):.2f} s (from {min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    main()
