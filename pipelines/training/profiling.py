"""Where a script's time goes: a flame graph of its main thread's calls, the machine's use while it ran, and its curves
for TensorBoard.

The folder that ``GROUNDPLAN_TENSORBOARD`` names is the script's to write event files into (``SummaryWriter``, Keras'
callback). SageMaker copies it to S3 by itself (``TensorBoardOutputConfig``); elsewhere a profiled run keeps it among
its artifacts. What the model's run has logged to MLflow is added, in a folder of its own.
"""

from __future__ import annotations

import json
import linecache
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.training.script import CELL, cells

VARIABLE = "GROUNDPLAN_TENSORBOARD"
ARTIFACTS = "profile"
SYSTEM = "system/"  # MLflow's prefix of what it measures of the machine
_SAMPLED_EVERY_S = 0.5
_STACK_EVERY_S = 0.001
_MOST = 8  # places that are worth telling
_FONTS = re.compile(r"https://fonts\.googleapis\.com[^\"')\s]*")


@dataclass
class Profile:
    """What was seen of a script; nothing where no profile was asked for.

    Attributes:
        folder: Has ``flame.html`` (one page that needs no network), ``speedscope.json`` (https://www.speedscope.app)
            and ``tensorboard/``.
        events: Folder of event files, wherever it is.
        slowest: Where the script's time went: ``where`` in its own files and the ``code`` there, ``seconds`` with
            everything called from there, and their ``share``.
    """

    folder: Path | None = None
    events: Path | None = None
    slowest: list[dict[str, Any]] = field(default_factory=list)
    _kept: Any = None

    def keep(self, run_id: str) -> dict[str, Any]:
        """Write a run's curves for TensorBoard, and store the profile with the run; returns what to tell about it."""
        if self.events is not None:
            _write_events(run_id, self.events / "mlflow")
        if self.folder is None:
            return {}
        import mlflow

        client = mlflow.MlflowClient()
        client.log_artifacts(run_id, str(self.folder), ARTIFACTS)
        measured = {}
        for name in client.get_run(run_id).data.metrics:
            # The first sample of the processors says nothing: it compares with no earlier one.
            values = [point.value for point in client.get_metric_history(run_id, name) if point.step > 0]
            if name.startswith(SYSTEM) and values:
                measured[name.removeprefix(SYSTEM)] = {"mean": fmean(values), "most": max(values)}
        return {"profile": {"slowest": self.slowest, "machine": measured, "artifacts": ARTIFACTS}}


@contextmanager
def profiled(script: Path, *, wanted: bool) -> Iterator[Profile]:
    """Profile what is run inside.

    Args:
        wanted: Whether a profile was asked for. Event files are written anyway where SageMaker collects them.
    """
    given = Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None
    if not wanted:
        yield Profile(events=given)
        return
    kept = TemporaryDirectory()
    found = Profile(Path(kept.name), given or Path(kept.name) / "tensorboard", _kept=kept)
    os.environ[VARIABLE] = str(found.events)
    try:
        with _machine(), _stacks(script, found):
            yield found
    finally:
        if given is None:
            os.environ.pop(VARIABLE, None)


@contextmanager
def _machine() -> Iterator[None]:
    """MLflow samples processors, memory, disk, network and GPUs during each run that is started inside.
    https://mlflow.org/docs/latest/ml/tracking/system-metrics/
    """
    import mlflow

    mlflow.set_system_metrics_sampling_interval(_SAMPLED_EVERY_S)
    mlflow.enable_system_metrics_logging()
    try:
        yield
    finally:
        mlflow.disable_system_metrics_logging()


@contextmanager
def _stacks(script: Path, found: Profile) -> Iterator[None]:
    from pyinstrument import Profiler
    from pyinstrument.renderers import HTMLRenderer, SpeedscopeRenderer

    assert found.folder is not None
    profiler = Profiler(interval=_STACK_EVERY_S, async_mode="disabled")
    profiler.start(target_description=script.name)
    try:
        yield
    finally:
        session = profiler.stop()
        page = _FONTS.sub("data:,", profiler.output(HTMLRenderer()))  # it looks the same without
        (found.folder / "flame.html").write_text(page, encoding="utf-8")
        (found.folder / "speedscope.json").write_text(profiler.output(SpeedscopeRenderer()), encoding="utf-8")
        found.slowest = _slowest(session, script)


def _slowest(session: Any, script: Path) -> list[dict[str, Any]]:
    """Lines of the script's own files below which most time was spent, the slowest first."""
    root, spent = session.root_frame(), dict[tuple[Path, int], float]()
    if root is None:
        return []
    waiting: list[tuple[Any, frozenset[tuple[Path, int]]]] = [(root, frozenset())]
    while waiting:
        frame, inside = waiting.pop()
        path = Path(frame.file_path or "")
        if path.is_relative_to(script.parent) and "site-packages" not in path.parts:
            # Time by line is among a frame's attributes: l12 for line 12.
            for name, seconds in frame.attributes.items():
                place = (path, int(name[1:])) if name[0] == "l" and name[1:].isdecimal() else None
                if place and place not in inside:  # a recursion is counted once
                    spent[place] = spent.get(place, 0.0) + seconds
                    inside = inside | {place}
        waiting += [(child, inside) for child in frame.children]
    return [
        {
            **_place(path, line, script),
            "seconds": round(seconds, 3),
            "share": round(seconds / max(root.time, 1e-9), 3),
        }
        for (path, line), seconds in sorted(spent.items(), key=lambda item: -item[1])[:_MOST]
    ]


def _place(path: Path, line: int, script: Path) -> dict[str, str]:
    """A line as its reader finds it; of a notebook the cell, and the line in it."""
    name = str(path.relative_to(script.parent))
    if path.suffix != ".ipynb":
        return {"where": f"{name}:{line}", "code": linecache.getline(str(path), line).strip()}
    lines, _ = cells(json.loads(path.read_text(encoding="utf-8-sig")))
    code = lines.splitlines()[:line]
    begin = max(number for number, text in enumerate(code) if text.startswith(CELL))
    cell = code[begin].removeprefix(CELL)
    return {"where": f"{name} cell {cell}, line {line - begin - 1}", "code": code[-1].strip()}


def _write_events(run_id: str, folder: Path) -> None:
    """A run's metrics, each with its steps and times, as TensorBoard reads them."""
    import mlflow
    from tensorboardX import SummaryWriter

    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    with SummaryWriter(str(folder)) as writer:
        for key in sorted(run.data.metrics):
            for point in client.get_metric_history(run_id, key):
                writer.add_scalar(key, point.value, point.step, walltime=point.timestamp / 1000)
        parameters = "\n".join(f"    {key} = {value}" for key, value in sorted(run.data.params.items()))
        writer.add_text("parameters", parameters or "none", 0)
