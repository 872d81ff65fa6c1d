"""Deploys the newest version that two people have approved: it completes a run that stopped at its sign-off.

``python -m pipelines.steps.resume --model-folder models/NAME``; on AWS a schedule starts it, with ``--monitor`` once a
day, and an alarm on what serves does, too: before anything else, a version that has degraded is taken back. On the
cluster it also starts a retraining when the drift alarm rings (``--retrain``), which EventBridge does elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.audit.records import asked_for, entries, served_in
from pipelines.canary.degraded import roll_back
from pipelines.context import Context, load_definition
from pipelines.lineage.emitting import perform
from pipelines.monitoring.service_levels import rings_since
from pipelines.registry.decisions import agreed
from pipelines.registry.versions import Registry
from pipelines.steps.deploy import deploy
from pipelines.steps.monitor import monitor
from pipelines.steps.on_lambda import TrainingError, new_run, train
from pipelines.steps.signoff import signoff
from spec.errors import GroundplanError, UsageError
from spec.outputs import read
from spec.versions import numbers


def waiting(context: Context) -> str:
    """The version that a person has asked for, else the newest with every approval that is newer than whatever was
    served or tried; empty if there is none.
    """
    log = entries(context)
    if asked := asked_for(log):
        with suppress(GroundplanError):
            agreed(context, asked)
            return asked
    tried = {entry["details"].get("version") for entry in log if _ended(entry)}
    newest = max((numbers(version) or () for version in served_in(log)), default=())
    for version in reversed(Registry(context).versions()):
        if (numbers(version) or ()) <= newest:
            return ""
        if version in tried:
            continue
        with suppress(GroundplanError):
            agreed(context, version)
            return version
    return ""


def _ended(entry: dict[str, Any]) -> bool:
    """Whether a version was tried, and a person must decide what follows."""
    return entry["action"] in ("rollback", "hold")


def run_of(context: Context, version: str) -> str:
    """The pipeline run that has registered a version, perhaps in another environment."""
    return str(Registry(context).record(version).lineage["pipeline_run"])


def resume(context: Context, version: str) -> dict[str, Any]:
    """Sign-off, deployment and monitoring of a version.

    Args:
        context: In the version's own run.

    Raises:
        GroundplanError: An approval is missing, or the version was rolled back.
    """
    begin(context, version)
    for step, body in (("signoff", signoff), ("deploy", deploy), ("monitor", monitor)):
        perform(context, step, body)
    return context.result("deploy")


def begin(context: Context, version: str) -> None:
    """Tell the steps of a version's run which version it is: one from another environment has left nothing."""
    known: dict[str, Any] = {}
    with suppress(GroundplanError):
        known = context.result("register")
    context.write_result("register", {**known, "version": version})


def look(context: Context) -> str:
    """Monitor what serves; returns what was found, as a sentence."""
    if not served_in(entries(context)):
        return f"no version of {context.model} serves yet"
    context = replace(context, run=new_run("monitor"))
    found = perform(context, "monitor", monitor)
    rings = [subject for subject, state in found["alarms"].items() if state == "ALARM"]
    return f"{found['version']}: {found['requests']} requests; alarms: {', '.join(rings) or 'none'}"


def retrain(context: Context, folder: str) -> str:
    """Retrain if the drift alarm has begun to ring since the last retraining; returns what was done, as a sentence.

    Raises:
        GroundplanError: The retraining failed.
    """
    import boto3

    name = context.outputs.alarms.get(context.model, {}).get("drift")
    found = boto3.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"] if name else []
    rings = next((alarm for alarm in found if alarm["StateValue"] == "ALARM"), None)
    if rings is None:
        return "there is no drift"
    since = rings_since(rings).isoformat()
    done = context.read("curated", key := f"runs/{context.model}/drift.json")
    if done is not None and json.loads(done)["since"] == since:
        return f"the drift since {since} has been answered by the run {json.loads(done)['run']}"
    run = new_run("drift")
    # Before it begins: one that fails is looked at, not repeated every few minutes.
    context.put("curated", key, json.dumps({"since": since, "run": run}).encode(), "application/json")
    try:
        train(folder, run, context.reports)
    except TrainingError as error:
        raise GroundplanError(str(error), where=f"retraining because of drift, run {run}") from None
    return f"retrained because of drift: run {run}"


def main() -> None:
    """Exit 0 when something was deployed or nothing is waiting, 1 on failure, 2 on a usage error."""
    parser = argparse.ArgumentParser(prog="pipelines.steps.resume")
    parser.add_argument("--model-folder", required=True, help="folder with experiment.py, or a script")
    parser.add_argument(
        "--outputs",
        default=os.environ.get("GROUNDPLAN_OUTPUTS"),
        help="file or s3:// address of the platform's outputs",
    )
    parser.add_argument(
        "--reports", default=os.environ.get("GROUNDPLAN_REPORTS", "reports"), help="folder for HTML pages"
    )
    parser.add_argument("--monitor", action="store_true", help="if nothing is waiting, monitor what serves")
    parser.add_argument(
        "--retrain", action="store_true", help="if nothing is waiting and the drift alarm rings, retrain"
    )
    arguments = parser.parse_args()
    stuck: GroundplanError | None = None
    try:
        if not arguments.outputs:
            raise UsageError(
                "no platform outputs given", where="--outputs", fix="pass --outputs, or set GROUNDPLAN_OUTPUTS"
            )
        outputs, definition = read(arguments.outputs), load_definition(Path(arguments.model_folder))
        reports = Path(arguments.reports)
        asking = Context(outputs, definition, "", reports)
        try:
            if said := roll_back(asking):
                print(said)
        except GroundplanError as error:  # what is waiting may be the cure
            stuck = error
            print(f"error: a degraded version can't be taken back: {error}", file=sys.stderr)
        version = waiting(asking)
        if not version:
            print(f"no approved version of {definition.model} is waiting")
            if arguments.monitor:
                print(f"monitored: {look(asking)}")
            if arguments.retrain:
                print(retrain(asking, arguments.model_folder))
        else:
            outcome = resume(Context(outputs, definition, run_of(asking, version), reports), version)
            print(f"{definition.model} {outcome['version']}: {outcome['outcome']}")
    except GroundplanError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    if stuck is not None:
        raise SystemExit(stuck.exit_code)


if __name__ == "__main__":
    main()
