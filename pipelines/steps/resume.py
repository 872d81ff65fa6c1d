"""Deploys the newest version that two people have approved: it completes a run that stopped at its sign-off.

``python -m pipelines.steps.resume --model-folder models/NAME``; on the cluster it runs every few minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.audit_chain import asked_for, entries, served_in
from pipelines.context import Context, load_definition
from pipelines.registry.decisions import agreed
from pipelines.registry.versions import Registry
from pipelines.steps.deploy import deploy
from pipelines.steps.monitor import monitor
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
        context.write_result(step, body(context))
    return context.result("deploy")


def begin(context: Context, version: str) -> None:
    """Tell the steps of a version's run which version it is: one from another environment has left nothing."""
    known: dict[str, Any] = {}
    with suppress(GroundplanError):
        known = context.result("register")
    context.write_result("register", {**known, "version": version})


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
    arguments = parser.parse_args()
    try:
        if not arguments.outputs:
            raise UsageError(
                "no platform outputs given", where="--outputs", fix="pass --outputs, or set GROUNDPLAN_OUTPUTS"
            )
        outputs, definition = read(arguments.outputs), load_definition(Path(arguments.model_folder))
        reports = Path(arguments.reports)
        asking = Context(outputs, definition, "", reports)
        version = waiting(asking)
        if not version:
            print(f"no approved version of {definition.model} is waiting")
            return
        outcome = resume(Context(outputs, definition, run_of(asking, version), reports), version)
        print(f"{definition.model} {outcome['version']}: {outcome['outcome']}")
    except GroundplanError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
