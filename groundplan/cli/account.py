"""Commands that query an AWS account, or verify that a stack works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from groundplan.cli.options import AsJson, OutputsOption, Stack, model_path
from groundplan.cli.progress import progress
from spec.errors import UsageError

PANEL = "An account"
commands = typer.Typer()


@commands.command(rich_help_panel=PANEL)
def preflight(stack: Stack = "prod", as_json: AsJson = False) -> None:
    """Check that this machine and the account have what a stack needs: CLI, state, roles, zones, types, quotas.
    Exit code 1 if something is missing.
    """
    from dataclasses import asdict

    from groundplan.account.needs import needs
    from groundplan.account.preflight import preflight as looked
    from groundplan.engine.program import project_name
    from groundplan.local.home import find_home
    from groundplan.review.permissions.deployed import deployed
    from spec.objectives import load

    root = find_home().root
    config = load(root, stack)
    found = looked(
        root,
        project_name(root),
        stack,
        config.account_id,
        config.region,
        needs(deployed(root, stack)),
        _account(config.region),
    )
    if as_json:
        print(json.dumps([asdict(item) for item in found], indent=1))
    else:
        for item in found:
            print(f"{item.state:8} {item.what}: {item.says}{chr(10) + '         -> ' + item.fix if item.fix else ''}")
        counts = [
            f"{count} {state}"
            for state in ("ok", "missing", "unknown")
            if (count := sum(item.state == state for item in found))
        ]
        print(", ".join(counts))
    raise typer.Exit(1 if any(item.state == "missing" for item in found) else 0)


@commands.command(rich_help_panel=PANEL)
def bootstrap(
    repository: Annotated[
        str, typer.Option(metavar="OWNER/NAME", help="GitHub repository whose workflows may deploy.")
    ],
    stack: Stack = "prod",
    yes: Annotated[
        bool, typer.Option("--yes", help="Create what is missing. Without it, only the plan is shown.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create what an account needs once: the state's bucket and key, GitHub's identity provider, the roles that
    deploy and detect drift. Shows the plan first.
    """
    from groundplan.account.needs import needs
    from groundplan.account.plan import names_of, steps
    from groundplan.account.preflight import identity
    from groundplan.engine.program import project_name
    from groundplan.local.home import find_home
    from groundplan.review.permissions.deployed import deployed
    from spec.objectives import load

    root = find_home().root
    config = load(root, stack)
    client = _account(config.region)
    if (who := identity(config.account_id, client)).state != "ok":
        raise UsageError(who.says, where="credentials", fix=who.fix)
    stacks = [
        other
        for other in ("dev", "staging", "prod")
        if (root / "stacks" / f"Pulumi.{other}.yaml").is_file() and load(root, other).account_id == config.account_id
    ]
    plan = steps(
        project_name(root),
        config.account_id,
        config.region,
        repository,
        stacks or [stack],
        needs(deployed(root, stack)).services,
        client,
    )
    done = []
    for step in plan:
        there = step.there()
        if not there and yes:
            step.make()
        done.append({"what": step.what, "why": step.why, "state": "there" if there else "made" if yes else "to make"})
        if not as_json:
            print(f"{done[-1]['state']:8} {step.what}: {step.why}")
    names = names_of(project_name(root), config.account_id, config.region)
    login = f"pulumi login s3://{names.bucket}"
    create = f"pulumi stack init {stack} --secrets-provider 'awskms://{names.alias}?region={config.region}'"
    if as_json:
        print(json.dumps({"steps": done, "login": login, "stack": create}, indent=1))
    elif yes:
        print(f"then: {login}\n      {create}")
    elif any(item["state"] == "to make" for item in done):
        print("nothing was created; pass --yes to create it")


def _account(region: str) -> Any:
    """Creates boto3 clients with the caller's own credentials."""
    from functools import cache

    @cache
    def client(service: str) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client(
            service, region_name=region, config=Config(retries={"max_attempts": 3}, connect_timeout=10, read_timeout=30)
        )

    return client


@commands.command(rich_help_panel=PANEL)
def verify(
    model: Annotated[
        str,
        typer.Argument(
            metavar="[MODEL]",
            help="Model to test from event to prediction, by name or folder. Default: the first.",
            show_default=False,
        ),
    ] = "",
    outputs: OutputsOption = "",
    read_only: Annotated[
        bool,
        typer.Option("--read-only", help="Only read: send no event or request, create no version, set off no alarm."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the report. Default: the platform's reports.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify that a stack works and meets its objectives: one dated report, HTML and JSON. Exit code 1 if a check
    fails.
    """
    from groundplan.local.home import find_home
    from groundplan.verification.command import print_report
    from groundplan.verification.command import verify as verified
    from groundplan.verification.command import write as written
    from groundplan.verification.evidence import as_json as document
    from spec.model_folders import folder_names

    home = find_home()
    path = model_path(home.root, model or next(iter(folder_names(home.root)), ""))
    with progress() as say:
        found = verified(home, path, outputs, read_only=read_only, say=(lambda line: None) if as_json else say)
    files = written(found, out or home.reports)
    if as_json:
        print(document(found), end="")
    else:
        print_report(found)
        print(f"report: {', '.join(map(str, files))}")
    raise typer.Exit(0 if found.passed else 1)
