"""Runs executions of SageMaker Pipelines that were started on the local cloud, by an alarm or by a person: the same
steps, as processes.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from groundplan.local.home import Home, State
from groundplan.local.jobs import results, run_steps
from groundplan.local.moto.aws import client
from groundplan.local.up import new_run
from pipelines.context import ModelDefinition, Wishes
from spec.errors import GroundplanError
from spec.outputs import read
from spec.steps import before_people_agree, steps_for

EXECUTING, SUCCEEDED, FAILED = "Executing", "Succeeded", "Failed"
_SUCCESS = {"PipelineExecutionStatus": SUCCEEDED, "FailureReason": ""}


def run_started(
    home: Home, state: State, definition: ModelDefinition, path: Path, say: Callable[[str], None]
) -> dict[str, Any] | None:
    """Run the newest execution of the model's pipeline that was started and not run; others that wait are covered by
    it.

    Returns:
        ``run``, ``because`` and what the run's steps have left; None where nothing was started.

    Raises:
        StepError: A step failed; so has the execution.
    """
    outputs = read(str(home.outputs_file))
    # Its one step has just been taken: an alarm starts it for a version that has degraded.
    for item in _waiting(state, outputs.releases.get(definition.model)):
        _ended(state, item["PipelineExecutionArn"].rpartition("/")[2], _SUCCESS)
    pipeline = outputs.pipelines.get(definition.model)
    waiting = _waiting(state, pipeline)
    if not waiting:
        return None
    because = max(waiting, key=lambda item: item["StartTime"]).get("PipelineExecutionDescription") or "started"
    say(f"{pipeline} was started ({because}); its steps run")
    run, kept = new_run(), {step.name for step in before_people_agree()}
    steps = tuple(
        step
        for step in steps_for(contract=bool(definition.contracts), joined=bool(definition.features))
        if step.name in kept
    )
    status, reason = FAILED, "interrupted"
    try:
        run_steps(
            home,
            state,
            steps,
            path.resolve(),
            run,
            ("--name", definition.model, *Wishes(reuse=True).arguments()),
            on_done=lambda done: say(done.line),
        )
        status, reason = SUCCEEDED, ""
    except GroundplanError as error:
        reason = str(error)
        raise
    finally:
        for item in waiting:
            name = item["PipelineExecutionArn"].rpartition("/")[2]
            _ended(state, name, {"PipelineExecutionStatus": status, "FailureReason": reason})
    return {"run": run, "because": because, **results(home, state, definition.model, run, steps)}


def _waiting(state: State, pipeline: str | None) -> list[dict[str, Any]]:
    """Executions that were started and not run."""
    if not pipeline:
        return []
    sagemaker = client("sagemaker", state.services["aws"].url, state.region)
    found = sagemaker.list_pipeline_executions(PipelineName=pipeline)["PipelineExecutionSummaries"]
    return [item for item in found if item["PipelineExecutionStatus"] == EXECUTING]


def _ended(state: State, execution: str, told: dict[str, str]) -> None:
    address = f"{state.services['aws'].url}/_groundplan/executions/{execution}"
    request = urllib.request.Request(address, json.dumps(told).encode(), method="POST")  # noqa: S310 (loopback)
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310
        pass
