"""What the operators of a drill do, each in a process of its own, which is forked from one that has loaded everything.

A worker says through a pipe, which no limit on files reaches, what the platform has acknowledged to it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipelines.audit.records import append
from pipelines.context import Context, load_definition
from pipelines.registry.versions import Registry
from pipelines.registry.versions import TakenError as VersionTakenError
from pipelines.steps import ingest as ingestion
from spec.outputs import Outputs, read
from tests.drills.faults import Plan, suffer
from tests.versions import record

SMALL_RANGE, SMALL_BATCH = 40, 15


def context_of(outputs: str, folder: str, run: str, buckets: Mapping[str, str]) -> Context:
    """The context of a step."""
    known: Outputs = read(outputs)
    changed = known.model_copy(update={"buckets": {**known.buckets, **buckets}})
    return Context(changed, load_definition(Path(folder)), run, Path(folder).parent)


def work(task: str, given: dict[str, Any], environment: dict[str, str], plan: Plan, told: Connection) -> None:
    """Do a task under a plan; exits 0 if it was done, 3 if it was told that it can't be."""
    os.environ.clear()
    os.environ.update(environment)
    errors = os.open(given["errors"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(errors, 1)
    os.dup2(errors, 2)

    def acknowledged(what: Any) -> None:
        told.send_bytes(json.dumps(what).encode())

    suffer(plan)
    context = context_of(given["outputs"], given["folder"], given["run"], given.get("buckets", {}))
    try:
        TASKS[task](context, given, acknowledged)
    except BaseException as error:  # whatever it is: who did it is told, and tries again
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(3)
    os._exit(0)


def _ingest(context: Context, given: dict[str, Any], acknowledged: Callable[[Any], None]) -> None:
    ingestion.RANGE_EVENTS, ingestion.BATCH_EVENTS = SMALL_RANGE, SMALL_BATCH
    acknowledged(ingestion.ingest(context)["topics"])


def _append(context: Context, given: dict[str, Any], acknowledged: Callable[[Any], None]) -> None:
    for number in range(given["records"]):
        acknowledged(append(context, given["who"], "note", number=number, token=given["token"]))


def _register(context: Context, given: dict[str, Any], acknowledged: Callable[[Any], None]) -> None:
    artifact = given["artifact"].encode()
    try:
        Registry(context).add(record(given["version"], artifact, model=context.model), artifact)
    except VersionTakenError:
        acknowledged({"taken": given["version"]})
        return
    acknowledged({"registered": given["version"], "artifact": given["artifact"]})


TASKS: dict[str, Callable[[Context, dict[str, Any], Callable[[Any], None]], None]] = {
    "ingest": _ingest,
    "append": _append,
    "register": _register,
}
