"""Commands about what is promised: service levels with their error budgets, and alarms."""

from __future__ import annotations

import json
from math import floor
from typing import Annotated, Any

import typer

from groundplan.cli.models import PANEL
from groundplan.cli.options import AsJson, OutputsOption, moments
from spec.service_levels import percent

commands = typer.Typer()
ModelOfStack = Annotated[
    str, typer.Argument(metavar="[MODEL]", help="A model's name. Default: all.", show_default=False)
]


@commands.command(rich_help_panel=PANEL)
def slo(model: ModelOfStack = "", outputs: OutputsOption = "", as_json: AsJson = False) -> None:
    """Print each service level of the last 30 days, and how much of its error budget is left. Exit code 1 if one is
    used up.
    """
    from groundplan.local.watching import service_levels
    from groundplan.terminal import console, table

    found = service_levels(model, outputs)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        shown = table("model", "service level", "promised", "kept", "error budget left", "alarms", "of the")
        for each in found:
            rings = [urgency for urgency, state in each["alarms"].items() if state == "ALARM"]
            shown.add_row(
                each["model"],
                each["service_level"],
                percent(each["target"]),
                "nothing counted yet"
                if each["attained"] is None
                else f"{percent(floor(each['attained'] * 1e6) / 1e6)} of {each['events']:,.0f}",
                _budget(each),
                ", ".join(rings) or "silent",
                each["says"],
            )
        console(markup=False).print(shown)
        print("over the last 30 days; when an alarm rings: docs/service-levels.md")
    raise typer.Exit(1 if any(each["budget_left"] is not None and each["budget_left"] <= 0 for each in found) else 0)


def _budget(level: dict[str, Any]) -> str:
    left = level["budget_left"]
    if left is None:
        return ""
    return f"{left * 100:.0f} %" if left > 0 else "used up" if left > -0.005 else f"used up, {1 - left:.1f} times over"


@commands.command(rich_help_panel=PANEL)
def alarms(
    model: ModelOfStack = "",
    every: Annotated[
        bool, typer.Option("--all", help="Also show alarms that tell nobody themselves: parts of others, guards.")
    ] = False,
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Print the stack's alarms: their states, whom they tell, and what to do. Exit code 1 if one that tells somebody
    rings.
    """
    from groundplan.local.watching import alarms as run
    from groundplan.terminal import console, table

    found = run(model, outputs)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        shown = table("state", "alarm", "since (UTC)", "tells", "what to do")
        for each in found:
            if every or not each["part"]:
                shown.add_row(
                    _STATES[each["state"]],
                    each["alarm"],
                    each["since"][:19],
                    ", ".join(map(_hears, each["tells"].items())) or "nobody itself",
                    each["runbook"],
                )
        console(markup=False).print(shown)
        for each in found:
            if each["state"] == "ALARM" and (every or not each["part"]):
                print(f"\n{each['says']}")
                if "ALARM(" not in each["why"]:  # of what others combine
                    print(f"    {each['why']}")
        hidden = sum(each["part"] for each in found)
        if hidden and not every:
            print(f"{hidden} more are parts of these or guard deployments; --all shows them")
    raise typer.Exit(1 if any(each["state"] == "ALARM" and not each["part"] for each in found) else 0)


_STATES = {"ALARM": "rings", "OK": "silent", "INSUFFICIENT_DATA": "no data yet"}


def _hears(told: tuple[str, list[str]]) -> str:
    who, addresses = told
    return who if addresses else f"{who} (no address confirmed)"


@commands.command(rich_help_panel=PANEL)
def logs(
    trace: Annotated[
        str, typer.Option("--trace", metavar="ID", help="W3C trace id: 32 hexadecimal digits of a traceparent.")
    ] = "",
    prediction: Annotated[
        str, typer.Option("--prediction", metavar="ID", help="As an answer says it (`prediction_id`).")
    ] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="For --trace on AWS: from when; 2h, 7d, or a time in UTC.")
    ] = "1d",
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Print the lines of all logs that belong to one trace, or to one prediction and its trace. Requests are logged
    where their caller samples them, or where they fail. Exit code 1 if there are none.
    """
    from groundplan.local.log_lines import lines_of

    found = lines_of(trace, prediction, moments(since, "--since")[0], outputs)
    if as_json:
        print(json.dumps(found, indent=1))
    for each in () if as_json else found:
        print(f"{each['time'] or '-':<29}  {each['source']}")
        print(f"    {_told(each['line'])}")
    if not found and not as_json:
        print("no line of a log names it: a request is logged where its caller samples it (traceparent), or it fails")
        if prediction:
            print(f"its whole story: groundplan trace {prediction}")
    raise typer.Exit(0 if found else 1)


def _told(line: dict[str, Any] | str) -> str:
    """A line in words: its message, then what else it says."""
    if isinstance(line, str):
        return line
    rest = {name: value for name, value in line.items() if name not in ("time", "level", "message", "exception")}
    text = (
        f"{line.get('level', '')} {line.get('message', '')}  {'  '.join(f'{k}={v}' for k, v in rest.items())}".strip()
    )
    return "\n    ".join([text, *str(line.get("exception", "")).splitlines()])


@commands.command(rich_help_panel=PANEL)
def mail(
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Only mails to this address.")] = "",
    as_json: AsJson = False,
) -> None:
    """Print the e-mails that this machine's platform would have sent: alarms, batches that were stopped."""
    from groundplan.local.watching import mails

    found = [each for each in mails() if not to or each["to"] == to]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for each in found:
        print(f"{each['at'][:19]}  {each['to']}  {each['subject']}")
        for line in _letter(each["text"]):
            print(f"    {line}")
    print(f"{len(found)} {'mail' if len(found) == 1 else 'mails'}; nothing has left this machine")


def _letter(text: str) -> list[str]:
    """An alarm's message in words; any other as it is."""
    try:
        alarm = json.loads(text)
        reason = alarm["NewStateReason"]
        return [alarm["AlarmDescription"], *([] if "ALARM(" in reason else [reason])]
    except (ValueError, KeyError, TypeError):
        return text.splitlines()
