"""A person takes a version back: the endpoint serves the configuration of an earlier one again."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.audit_chain import append, entries, refusals, served_in
from pipelines.canary.publishing import publish
from pipelines.canary.turn import take_back
from pipelines.context import Context
from pipelines.registry.decisions import Person, agreed
from pipelines.serving.models.bundle import files_of, unpack
from pipelines.steps.endpoint import EndpointClient
from pipelines.steps.monitor import ENDPOINTS
from spec.errors import GroundplanError, UsageError


def rollback(context: Context, person: Person, reason: str, to: str = "") -> tuple[str, str]:
    """Serve an earlier version again; returns the version that was served until now, and the one that is, empty if none
    is.

    A version that is being tried is taken back first; without ``to``, nothing else is.

    An endpoint's configuration still exists, so nothing is made new for it; without an endpoint, the version's files
    are published again.

    Args:
        to: By default the version that was served before.

    Raises:
        UsageError: There is no reason.
        GroundplanError: Nothing was served before, that version was never served, is no longer approved, or is not
            served by an endpoint.
    """
    with refusals(context, person.name, version=to):
        if not reason.strip():
            raise UsageError("a rollback needs a reason", where="--reason", fix="say what is wrong")
        log = entries(context)
        served, endpoint = served_in(log), EndpointClient(context)
        if (tried := take_back(context, person.name)) and not to:
            if before := tried.get("before"):
                endpoint.use(before, guarded=False)
            append(context, person.name, "rollback", version=tried["version"], reason=reason.strip())
            return str(tried["version"]), served[-1] if served else ""
        if not served:
            raise GroundplanError(f"no version of {context.model} is served", where="rollback")
        now = served[-1]
        before = [version for version in served if version != now]
        if not before:
            raise GroundplanError(
                f"{context.model} {now} is the first version that was served; there is none before it", where="rollback"
            )
        target = to or before[-1]
        if target not in before:
            what = "is served now" if target == now else "was never served"
            raise GroundplanError(
                f"{context.model} {target} {what}", where="rollback", fix=f"one of: {', '.join(dict.fromkeys(before))}"
            )
        stored, _ = agreed(context, target)
        config = next(
            (
                str(entry["details"]["endpoint_config"])
                for entry in reversed(log)
                if entry["details"].get("version") == target and entry["details"].get("endpoint_config")
            ),
            "",
        )
        if endpoint.settings.topology in ENDPOINTS and not config:
            raise GroundplanError(
                f"{context.model} {target} was never served by an endpoint, so it has no configuration to go back to",
                where="rollback",
                fix=f"deploy it again: groundplan promote {context.definition.asked_for} {target}",
            )
        if config:
            endpoint.use(config, guarded=False)
        with TemporaryDirectory() as folder:
            unpack(stored.artifact, Path(folder))
            files = files_of(Path(folder), target)
        publish(context, endpoint, target, files, {"run_id": stored.record.lineage["run_id"]})
    append(context, person.name, "rollback", version=now, to=target, reason=reason.strip(), endpoint_config=config)
    return now, target
