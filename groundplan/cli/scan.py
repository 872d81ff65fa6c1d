"""``groundplan scan``: what an attacker would try first."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from groundplan.cli.models import PANEL
from groundplan.cli.options import AsJson, OutputsOption

commands = typer.Typer()


@commands.command(rich_help_panel=PANEL)
def scan(
    outputs: OutputsOption = "",
    only: Annotated[
        str,
        typer.Option(
            metavar="CHECKS", help="Make only these, separated by commas: secrets, packages, image, headers, tls, api."
        ),
    ] = "",
    record: Annotated[
        bool, typer.Option("--record", help="Write the result into evidence/penetration-tests, for `compliance`.")
    ] = False,
    osv_url: Annotated[
        str, typer.Option(metavar="URL", help="Ask this mirror of osv.dev's query API about packages, instead of PyPI.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Look for secrets in files, known vulnerabilities of packages and image, and weaknesses of the interface for
    pages: headers, TLS, requests that it must refuse. A token in GROUNDPLAN_TOKEN lets requests pass the sign-in.
    Exit code 1 if something must be fixed.
    """
    from groundplan.local.home import find_home
    from groundplan.scan.run import record as write
    from groundplan.scan.run import scan as run
    from groundplan.terminal import console, table

    wanted = tuple(name.strip() for name in only.split(",") if name.strip())
    found = run(outputs, wanted, os.environ.get("GROUNDPLAN_TOKEN", ""), osv_url)
    if as_json:
        print(json.dumps(found.document(), indent=1))
    else:
        shown = table("check", "result", "what was looked at")
        for check in found.checks:
            result = f"{check.open} to fix" if check.open else "not made" if not check.made else "nothing to fix"
            shown.add_row(check.name, result, check.did)
        console(markup=False).print(shown)
        flaws = [flaw for check in found.checks for flaw in check.flaws]
        if flaws:
            listed = table("severity", "where", "what", "what to do")
            for flaw in flaws:
                listed.add_row(flaw.severity, flaw.where, flaw.says, flaw.fix)
            console(markup=False).print(listed)
    if record:
        home = find_home()
        written = write(home.root, found).relative_to(home.root)
        rest = f"; it is no evidence for what was not made: {', '.join(found.not_made)}" if found.not_made else ""
        typer.echo(f"recorded in {written}: commit it{rest}", err=as_json)
    raise typer.Exit(1 if found.open else 0)
