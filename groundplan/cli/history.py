"""Commands about what happened: what served when and why."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from groundplan.cli.models import PANEL
from groundplan.cli.options import AsJson, ModelArgument, OutputsOption, moments

commands = typer.Typer()
_CAUSES = {
    "share": "tried",
    "promote": "promoted",
    "rollback": "taken back",
    "hold": "not promoted",
    "restore": "restored",
}


@commands.command(rich_help_panel=PANEL)
def history(
    model: ModelArgument,
    at: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="What served then: 2026-03-31 (the whole day), 2026-03-31T14:30 (UTC), or 2h, 7d ago."
        ),
    ] = "",
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Also count the captured predictions of each period (reads them all).")
    ] = False,
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Print what served when, with which share, why, who asked for it and who had agreed; read from the audit log."""
    from groundplan.local.history import history as run

    found = run(model, outputs, moments(at, "--at") if at else None, predictions=predictions or bool(at))
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for period in found["periods"]:
        print(f"{_time(period['begin'])} to {_time(period['end']) if period['end'] else 'now':<19}  {_shares(period)}")
        for line in _about(period):
            print(f"    {line}")
    print(f"captured requests and answers: {found['captured']}")


def _time(text: str) -> str:
    return text[:19]


def _shares(period: dict[str, Any]) -> str:
    served = ", ".join(f"{version} {percent} %" for version, percent in period["shares"].items()) or "no version"
    return served + (f"; {period['shadow']} as a shadow" if period["shadow"] else "")


def _about(period: dict[str, Any]) -> list[str]:
    cause = _CAUSES.get(period["cause"], period["cause"])
    found = [f"{cause} by {period['by']}" + (f": {period['why']}" if period["why"] else "")]
    if period["asked"]:
        found.append(f"asked for by {period['asked']}")
    for version, people in period["agreed"].items():
        found.append(f"{version} was approved by " + ", ".join(f"{who} ({role})" for role, who in people.items()))
    for version, told in period.get("predictions", {}).items():
        first = f", first {told['first'][0]}" if told["first"] else ""
        found.append(f"{version or 'no version'} made {told['answers']} captured predictions{first}")
    records = ", ".join(map(str, period["records"]))
    return [*found, f"run {period['run']}; audit log: {records}"]
