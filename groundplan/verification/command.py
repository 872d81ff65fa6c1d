"""``groundplan verify``: which checks run where, and the report that is written."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from groundplan.local.home import Home
from groundplan.verification import stored, working
from groundplan.verification.evidence import Check, Report, as_html, as_json
from spec.errors import UsageError
from spec.outputs import read


def verify(home: Home, folder: Path, outputs_at: str, *, read_only: bool, say: Callable[[str], None]) -> Report:
    """Verify the platform of this machine; or the stack on AWS whose outputs are named, with the caller's credentials.

    Args:
        read_only: Only read: no event, no version, no request, no alarm.

    Raises:
        GroundplanError: Nothing is running.
        UsageError: There are no outputs to read.
    """
    from groundplan.local.inside import running

    local = not outputs_at
    state = running(home) if local else None
    outputs = read(outputs_at or str(home.outputs_file))

    @cache
    def client(service: str) -> Any:
        if state is not None:
            from groundplan.local.moto.aws import client as of_local_cloud

            return of_local_cloud(
                service, state.services["router" if service == "sagemaker-runtime" else "aws"].url, state.region
            )
        import boto3

        return boto3.client(service, region_name=outputs.region)

    report = Report(
        outputs.stack,
        f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        _where(local, outputs.account_id, outputs.region),
        _revision(home.root),
    )
    say("reading back what is stored and configured")
    stored.look(report, outputs, client)
    stored.refusals(report, outputs, client, local=local)
    if read_only:
        report.checks.append(Check(working.AREA, "an event, a version, requests, an alarm", "not tried", "--read-only"))
    elif local:
        working.run(report, home, outputs, client, folder, say)
    else:
        _on_aws(report, outputs, client)
    return report


def _on_aws(report: Report, outputs: Any, client: Any) -> None:
    """Endpoints are not called for a prediction: only their data shows which entities exist."""
    report.checks.append(
        Check(
            working.AREA,
            "an event goes through the pipeline",
            "not tried",
            "on AWS the stack's own schedule starts it, and people sign it off; `groundplan verify` on this machine"
            " runs it",
        )
    )
    for model, alarms in sorted(outputs.alarms.items()):
        with report.looking(working.AREA, f"an alarm of {model}"):
            report.checks.append(working.alarm_of(client("cloudwatch"), alarms))


def _where(local: bool, account: str, region: str) -> str:
    return "the local cloud (moto): it enforces no permission and no quota" if local else f"account {account}, {region}"


def _revision(root: Path) -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def write(report: Report, out: Path) -> list[Path]:
    """Write the report as a page and as JSON; their names have its date.

    Raises:
        UsageError: ``out`` is a file, or can't be written.
    """
    name = f"verify-{report.stack}-{report.begun[:10]}"
    files = {out / f"{name}.html": as_html(report), out / f"{name}.json": as_json(report)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"can't be written: {error.strerror}", where=f"--out {out}", fix="choose another folder"
        ) from None
    return list(files)


def print_report(report: Report) -> None:
    """To standard output."""
    from rich.markup import escape

    from groundplan import terminal

    console = terminal.console()
    colours = {"passed": "green", "failed": "red", "evaluated": "yellow", "not tried": "dim"}
    for area in dict.fromkeys(check.area for check in report.checks):
        console.print(f"\n[bold]{area}[/bold]")
        for check in (item for item in report.checks if item.area == area):
            wanted = (
                f"  [dim](wanted: {escape(check.wanted)})[/dim]" if check.wanted and check.state == "failed" else ""
            )
            console.print(
                f"  [{colours[check.state]}]{check.state:9}[/{colours[check.state]}] {escape(check.what)}:"
                f" {escape(check.found)}{wanted}"
            )
    for line in report.left:
        console.print(f"left behind: {escape(line)}")
    console.print(f"\n[bold]{report.verdict}[/bold]")
