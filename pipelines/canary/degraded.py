"""The platform takes a version back by itself, when an alarm begins to ring soon after it was given all requests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.audit.records import entries, serves, stack_of
from pipelines.canary.rollback import rollback
from pipelines.canary.turn import going_on
from pipelines.context import Context
from pipelines.monitoring.service_levels import described, rings_since, share_since
from pipelines.registry.decisions import Person
from pipelines.steps.kubernetes_api import samples
from spec.outputs import ServiceLevelOutputs
from spec.service_levels import BAD_SHARE, Urgency

# Later, the world has changed rather than the version: then it is trained again, or a person decides.
WATCHED = timedelta(days=7)
LEVELS = ("availability", "latency")  # whose pages count; quality has an alarm of its own
QUALITY = "quality"
LOOKS_BACK, AT_LEAST = timedelta(hours=1), timedelta(minutes=5)  # the windows of the alarm that pages first
BORNE_OUT = 6.0  # burn rate of a version's own requests: the slower of those that page


def degraded(context: Context, now: datetime | None = None) -> str:
    """Why the version in service should be taken back, as a reason; empty if nothing speaks for it.

    It was promoted at most a week ago, another one served before it that was not taken back, one of the model's alarms
    on availability, latency or quality has begun to ring since, and its own requests are bad enough: an alarm may look
    back on the version before. What has just been taken back or restored stays, so the platform never goes to and fro.
    """
    log, now = entries(context), now or datetime.now(UTC)
    if going_on(context):
        return ""  # whoever tries a version judges it, and takes it back
    serving = next((entry for entry in reversed(log) if serves(entry)), None)
    if serving is None or serving["action"] != "promote" or len(stack_of(log)) < 2:
        return ""
    since = datetime.fromisoformat(serving["time"])
    if now - since > WATCHED:
        return ""
    rings = sorted((at, name) for name, at in ringing(context, since, now).items() if at > since)
    return f"{rings[0][1]} rings since {rings[0][0]:%Y-%m-%d %H:%M} UTC" if rings else ""


def roll_back(context: Context) -> str:
    """Take a degraded version back; returns what was done, as a sentence.

    Raises:
        GroundplanError: The version before can't be served again.
    """
    if not (why := degraded(context)):
        return ""
    was, now = rollback(context, Person("pipeline", "an alarm"), why, stack_of(entries(context))[-2])
    return f"{was} was taken back, {now} serves again: {why}"


def ringing(context: Context, since: datetime, now: datetime) -> dict[str, datetime]:
    """Since when each of the model's alarms on its answers rings, by the alarm's name; without those that the requests
    since a moment do not bear out.
    """
    outputs, model = context.outputs, context.model
    levels = outputs.service_levels.get(model, {})
    pages = {
        levels[name].alarms[Urgency.PAGE]: levels[name]
        for name in LEVELS
        if name in levels and Urgency.PAGE in levels[name].alarms
    }
    quality = outputs.alarms.get(model, {}).get(QUALITY)
    found: dict[str, datetime] = {}
    for alarm in described([*pages, *([quality] if quality else [])]):
        name = alarm["AlarmName"]
        if alarm["StateValue"] != "ALARM":
            continue
        if name in pages:
            share = share_since(pages[name], max(since, now - LOOKS_BACK), now)
            if share is None or share <= BORNE_OUT * (1 - pages[name].target):
                continue
        found[name] = rings_since(alarm)
    there = any(name in levels and not levels[name].metrics for name in LEVELS)
    if outputs.prometheus and there and now - since > AT_LEAST:  # the newest five minutes are this version's
        found |= _by_prometheus(outputs.prometheus, model, levels)
    return found


def _by_prometheus(address: str, model: str, levels: Mapping[str, ServiceLevelOutputs]) -> dict[str, datetime]:
    """https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/#inspecting-alerts-during-runtime"""
    firing = samples(address, f'ALERTS{{alertstate="firing",model="{model}",severity="{Urgency.PAGE}"}}')
    since = samples(address, f'ALERTS_FOR_STATE{{model="{model}",severity="{Urgency.PAGE}"}}')
    names = {_of(series, "alertname") for series in firing}
    found = {}
    for series, value in since.items():
        name, level = _of(series, "alertname"), _of(series, "service_level")
        if name in names and level in LEVELS and level in levels:
            newest = samples(address, f'{BAD_SHARE}5m{{model="{model}",service_level="{level}"}}')
            if any(share > BORNE_OUT * (1 - levels[level].target) for share in newest.values()):
                found[name] = datetime.fromtimestamp(value, UTC)
    return found


def _of(series: tuple[tuple[str, Any], ...], label: str) -> str:
    return str(dict(series).get(label, ""))
