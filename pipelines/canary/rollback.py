"""A person takes a version back: a canary ends, or an earlier version is served again."""

from __future__ import annotations

from typing import Any

from pipelines.audit.records import append, entries, refusals, served_in, serves, stack_of
from pipelines.canary.publishing import serve_again
from pipelines.canary.turn import going_on, take_back
from pipelines.context import Context
from pipelines.registry.decisions import Person, agreed
from pipelines.steps.hosting import hosting
from pipelines.steps.monitor import ENDPOINTS
from spec.errors import GroundplanError, UsageError


def rollback(context: Context, person: Person, reason: str, to: str = "") -> tuple[str, str]:
    """Serve an earlier version again; returns the version that was served or tried until now, and the one that is
    served, empty if none is.

    A version that is being tried is taken back; without ``to``, or with the one that is served, nothing else is.

    Args:
        to: By default the version that was served before; those that were taken back don't count.

    Raises:
        UsageError: There is no reason.
        GroundplanError: Nothing was served before, that version was never served, is no longer approved, or has no
            configuration to go back to.
    """
    with refusals(context, person.name, version=to):
        if not reason.strip():
            raise UsageError("a rollback needs a reason", where="--reason", fix="say what is wrong")
        log = entries(context)
        served, endpoint, tried = served_in(log), hosting(context), going_on(context)
        now = served[-1] if served else ""
        if tried and to in ("", now):
            take_back(context, person.name)
            if before := tried.get("before"):
                endpoint.use(before, guarded=False)
            if now:
                serve_again(context, endpoint, now)
            append(context, person.name, "rollback", version=tried["version"], to=now, reason=reason.strip())
            return str(tried["version"]), now
        target = _earlier(context, log, to)
        agreed(context, target)
        config = _config_of(log, target)
        if endpoint.settings.topology in ENDPOINTS and not config:
            raise GroundplanError(
                f"{context.model} {target} was never served by an endpoint, so it has no configuration to go back to",
                where="rollback",
                fix=f"deploy it again: groundplan promote {context.definition.asked_for} {target}",
            )
        take_back(context, person.name)
        if config:
            endpoint.use(config, guarded=False)
        serve_again(context, endpoint, target)
    append(context, person.name, "rollback", version=now, to=target, reason=reason.strip(), endpoint_config=config)
    return now, target


def _earlier(context: Context, log: list[dict[str, Any]], to: str) -> str:
    served, stack = served_in(log), stack_of(log)
    if not served:
        raise GroundplanError(f"no version of {context.model} is served", where="rollback")
    now = served[-1]
    before = list(dict.fromkeys(version for version in served if version != now))
    if not before:
        raise GroundplanError(
            f"{context.model} {now} is the first version that was served; there is none before it", where="rollback"
        )
    if not to and len(stack) < 2:
        raise GroundplanError(
            f"every version of {context.model} that was served before {now} was taken back",
            where="rollback",
            fix=f"name one: --to {before[-1]}",
        )
    target = to or stack[-2]
    if target not in before:
        what = "is served now" if target == now else "was never served"
        raise GroundplanError(f"{context.model} {target} {what}", where="rollback", fix=f"one of: {', '.join(before)}")
    return target


def _config_of(log: list[dict[str, Any]], version: str) -> str:
    """The endpoint's configuration with which a version was served last; empty if it never was."""
    configs = (entry["details"].get("endpoint_config") for entry in reversed(log) if serves(entry) == version)
    return next((str(config) for config in configs if config), "")
