"""Service levels and alarms of the running platform, or of a stack whose outputs are named."""

from __future__ import annotations

import re
from typing import Any

from groundplan.local.auditing import reading
from groundplan.local.home import find_home
from groundplan.local.inside import running
from pipelines.monitoring.service_levels import attained, rings_since
from spec.errors import UsageError
from spec.outputs import Outputs

CALLER = "person.watch"
_RUNBOOK = re.compile(r"docs/runbooks/[\w-]+\.md(#[\w-]+)?")


def service_levels(model: str, outputs: str) -> list[dict[str, Any]]:
    """Each service level and its error budget.

    Raises:
        UsageError: There is no such model.
    """
    with reading(outputs, CALLER) as context:
        _known(context.outputs, model)
        if context.outputs.models and not any(context.outputs.service_levels.values()):
            raise UsageError(
                "these outputs are from before there were service levels",
                where=outputs or "the platform",
                fix="apply the program again (`pulumi up`, or `groundplan up`), and take its outputs",
            )
        return attained(context.outputs, model)


def alarms(model: str, outputs: str) -> list[dict[str, Any]]:
    """Each alarm of a stack: ``alarm``, ``state``, ``since``, ``says``, ``why`` it has its state, whom it ``tells`` and
    its ``runbook``; what others combine (``part``) tells nobody itself. Those that ring come first.

    Raises:
        UsageError: There is no such model.
    """
    import boto3

    with reading(outputs, CALLER) as context:
        of = context.outputs
        _known(of, model)
        prefix = f"{of.project}-{of.stack}-"
        pages = (
            boto3.client("cloudwatch")
            .get_paginator("describe_alarms")
            .paginate(AlarmNamePrefix=prefix, AlarmTypes=["CompositeAlarm", "MetricAlarm"])
        )
        found = [alarm for page in pages for kind in ("CompositeAlarms", "MetricAlarms") for alarm in page[kind]]
        who = {arn: name for name, arn in of.alert_topics.items()}
        listening = {name: _listeners(arn) for name, arn in of.alert_topics.items()}
    shown = []
    for alarm in found:
        name = alarm["AlarmName"].removeprefix(prefix)
        whose = max((each for each in of.models if name.startswith(f"{each}-")), key=len, default="")
        if (model and whose != model) or not (whose or name.startswith("stream-")):
            continue  # of another model, or of another stack whose name begins alike
        runbook = _RUNBOOK.search(alarm.get("AlarmDescription", ""))
        told = [who[arn] for arn in alarm.get("AlarmActions", []) if arn in who]
        since = rings_since(alarm)
        shown.append(
            {
                "alarm": name,
                "state": alarm["StateValue"],
                "since": since.isoformat(timespec="seconds"),
                "says": alarm.get("AlarmDescription", ""),
                "why": alarm.get("StateReason", ""),
                "tells": {each: listening[each] for each in told},
                "part": not told,
                "runbook": runbook[0] if runbook else "",
            }
        )
    return sorted(shown, key=lambda each: (each["state"] != "ALARM", each["part"], each["alarm"]))


def mails() -> list[dict[str, str]]:
    """The e-mails that the running platform would have sent: ``at``, ``to``, ``subject``, ``text``."""
    import httpx

    url = running(find_home()).services["aws"].url
    found: list[dict[str, str]] = httpx.get(f"{url}/_groundplan/mail", trust_env=False).json()
    return found


def _listeners(topic: str) -> list[str]:
    """Addresses that get a topic's messages, by SNS; an e-mail address only after its owner has confirmed it."""
    import boto3

    pages = boto3.client("sns").get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
    return [
        each["Endpoint"]
        for page in pages
        for each in page["Subscriptions"]
        if each["SubscriptionArn"].startswith("arn:")
    ]


def _known(outputs: Outputs, model: str) -> None:
    if model and model not in outputs.models:
        raise UsageError(
            f"no model {model!r} is in the stack's objectives",
            where="MODEL",
            fix=f"models: {', '.join(outputs.models) or 'none'}",
        )
