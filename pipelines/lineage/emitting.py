"""Tells of each step's run in OpenLineage's events: kept in the curated zone, and sent where the stack says.

An event that can't be sent waits beside the others, and is sent before the next one; nothing is lost, and no step
fails for it.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipelines.lineage.places import COMPLETE, EVENTS, REFUSED, UNSENT
from spec.steps import STEPS

if TYPE_CHECKING:
    from pipelines.context import Context

PRODUCER = "https://groundplan.example/groundplan"
INTEGRATION = "GROUNDPLAN"
TIMEOUT_S = 3.0
MOST_AT_ONCE = 100  # events that waited, sent by one step
_ENGINE = "groundplan"


@dataclass
class Emitter:
    """Tells of one run of a step.

    Attributes:
        run_id: Of this attempt.
    """

    context: Context
    step: str
    run_id: str = field(default_factory=lambda: _new_uuid())

    def started(self) -> None:
        """The step has begun."""
        _try(self._emit, "START", {})

    def completed(self, result: dict[str, Any]) -> None:
        """The step has ended, with a result."""
        _try(self._emit, COMPLETE, result)

    def failed(self) -> None:
        """The step has failed. Why is in its log: a message may contain what was read."""
        from openlineage.client.facet_v2 import error_message_run

        told = error_message_run.ErrorMessageRunFacet("the step failed; its log says why", "PYTHON")
        _try(self._emit, "FAIL", {}, {"errorMessage": told})

    def _emit(self, state: str, result: dict[str, Any], more: Mapping[str, Any] | None = None) -> None:
        from openlineage.client.event_v2 import Job, Run, RunEvent, RunState, set_producer
        from openlineage.client.facet_v2 import documentation_job, job_type_job, parent_run, processing_engine_run
        from openlineage.client.serde import Serde

        from pipelines.lineage.steps import Told, told

        set_producer(PRODUCER)
        outputs = self.context.outputs
        namespace = f"{outputs.project}-{outputs.stack}"
        found = told(self.step, self.context, result) if state == COMPLETE else Told()
        parent = parent_run.ParentRunFacet(
            parent_run.Run(parent_id(self.context)), parent_run.Job(namespace, self.context.model)
        )
        title = next((step.title for step in STEPS if step.name == self.step), "")
        event = RunEvent(
            eventTime=datetime.now(UTC).isoformat(timespec="milliseconds"),
            producer=PRODUCER,
            eventType=RunState[state],
            run=Run(
                self.run_id,
                {
                    "parent": parent,
                    "processing_engine": processing_engine_run.ProcessingEngineRunFacet(_version(), _ENGINE),
                    **found.run,
                    **(more or {}),
                },
            ),
            job=Job(
                namespace,
                f"{self.context.model}.{self.step}",
                {
                    "jobType": job_type_job.JobTypeJobFacet("BATCH", INTEGRATION, "STEP"),
                    "documentation": documentation_job.DocumentationJobFacet(title),
                    **found.job,
                },
            ),
            inputs=found.inputs,
            outputs=found.outputs,
        )
        body = Serde.to_json(event).encode()
        name = f"{self.context.model}/{self.context.run}/{self.step}-{state}-{self.run_id}.json"
        self.context.put("curated", EVENTS + name, body, "application/json")
        if _is_sent(self.context):
            send(self.context, event, body)


def perform(context: Context, step: str, body: Callable[[Context], dict[str, Any]]) -> dict[str, Any]:
    """Run a step, store its result, and tell of its beginning and its end.

    What can't be told is printed, and stops nothing.
    """
    emitter = Emitter(context, step)
    emitter.started()
    try:
        result = body(context)
        context.write_result(step, result)
    except BaseException:
        emitter.failed()
        raise
    emitter.completed(result)
    return result


def _try(tell: Any, *arguments: Any) -> None:
    try:
        tell(*arguments)
    except Exception as error:
        print(f"warning: lineage was not recorded ({type(error).__name__})")


def parent_id(context: Context) -> str:
    """The id of a run of the whole pipeline, the same in every step."""
    outputs = context.outputs
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{outputs.project}-{outputs.stack}/{context.model}/{context.run}"))


def _is_sent(context: Context) -> bool:
    """Whether events are sent somewhere: by OpenLineage's own variables, or as the stack says."""
    named = any(name == "OPENLINEAGE_URL" or name.startswith("OPENLINEAGE__TRANSPORT") for name in os.environ)
    return named or bool(context.outputs.lineage_url)


def send(context: Context, event: Any, body: bytes) -> None:
    """Send what has waited, then an event; what can't be sent waits."""
    transport = _transport(context.outputs.lineage_url)
    waiting = [key for key, _ in zip(context.keys("curated", UNSENT), range(MOST_AT_ONCE), strict=False)]
    for key in waiting:
        kept = context.read("curated", key)
        if kept is None:
            continue
        outcome = _sent(transport, kept)
        if outcome == UNSENT:
            _keep(context, UNSENT, event, body)
            return
        if outcome == REFUSED:
            context.put("curated", key.replace(UNSENT, REFUSED, 1), kept, "application/json")
        context.s3.delete_object(Bucket=context.outputs.buckets["curated"], Key=key)
    if outcome := _sent(transport, body):
        _keep(context, outcome, event, body)


def _keep(context: Context, where: str, event: Any, body: bytes) -> None:
    context.put("curated", f"{where}{event.eventTime}-{event.run.runId}-{event.eventType.value}.json", body)


def _sent(transport: Any, body: bytes) -> str:
    """Send an event; where it goes if it can't be sent, else empty."""
    import requests

    try:
        transport.emit(json.loads(body))
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 500
        if 400 <= status < 500 and status not in (401, 403, 408, 429):
            print(f"warning: the lineage endpoint refuses an event ({status}); it is kept in {REFUSED}")
            return REFUSED
        print(f"warning: the lineage endpoint answers {status}; the event waits, and is sent later")
        return UNSENT
    except Exception as error:
        print(f"warning: the lineage endpoint can't be reached ({type(error).__name__}); the event waits")
        return UNSENT
    return ""


def _transport(address: str) -> Any:
    """OpenLineage's own, by its own variables; one that does not answer must not hold a step up.

    Args:
        address: The stack's, where no variable says otherwise.
    """
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    url, key = os.environ.get("OPENLINEAGE_URL"), os.environ.get("OPENLINEAGE_API_KEY")
    if not url and any(name.startswith("OPENLINEAGE__TRANSPORT") for name in os.environ):
        return OpenLineageClient().transport
    told = {"url": url or address, "timeout": TIMEOUT_S, "retry": {"total": 1, "connect": 0, "read": 0}}
    told |= {"endpoint": endpoint} if (endpoint := os.environ.get("OPENLINEAGE_ENDPOINT")) else {}
    told |= {"auth": {"type": "api_key", "apiKey": key}} if key else {}
    return HttpTransport(HttpConfig.from_dict(told))


def _new_uuid() -> str:
    from openlineage.client.uuid import generate_new_uuid

    return str(generate_new_uuid())


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("groundplan")
    except PackageNotFoundError:
        return "unknown"
