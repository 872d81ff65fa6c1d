"""Commands that review what a program would create or delete."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from groundplan.cli.options import AsJson, Stack
from spec.errors import GroundplanError, UsageError

PANEL = "Changes"
commands = typer.Typer()


@commands.command(rich_help_panel=PANEL)
def review(
    path: Annotated[
        Path | None, typer.Argument(help="Folder of any Pulumi project in Python. Default: this project.")
    ] = None,
    stack: Annotated[str, typer.Option(help="Stack to review; needed where there are several.")] = "",
    against: Annotated[
        str, typer.Option(metavar="REV", help="Compare with another git revision, e.g. origin/main.")
    ] = "",
    config: Annotated[
        list[str] | None,
        typer.Option(
            "--config", metavar="KEY=VALUE", help="Configuration value that overrides the stack file's. Repeatable."
        ),
    ] = None,
    pack: Annotated[
        list[Path] | None,
        typer.Option("--policy-pack", help="Policy pack to run instead of the project's. Repeatable."),
    ] = None,
    regime: Annotated[
        list[str] | None,
        typer.Option("--regime", help="Hold it to a regime, too: gdpr, hipaa, sox or soc2. Repeatable."),
    ] = None,
    fail_on: Annotated[
        str,
        typer.Option(
            metavar="SEVERITY",
            help="Fail on findings of this severity or worse: critical, high, medium, low; or never. Default: what is"
            " mandatory.",
        ),
    ] = "",
    select: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORDS",
            help="Only findings of a family, a severity or worse, a framework or a control (s3-*); commas between"
            " alternatives, repeat to narrow.",
        ),
    ] = None,
    output: Annotated[str, typer.Option("--format", help="text, markdown, sarif, html or json.")] = "text",
    out: Annotated[Path | None, typer.Option("--out", help="File to write instead of standard output.")] = None,
    limit_s: Annotated[
        float, typer.Option("--time-limit", metavar="SECONDS", min=1, help="What the program may take.")
    ] = 300,
) -> None:
    """Review what a program would create, offline: policies, permissions, manifests, cost. Exit code 1 on a mandatory
    finding or over budget.
    """
    from groundplan.local.home import find_home
    from groundplan.review.command import review as reviewed
    from groundplan.review.formats import FORMATS, RENDERERS
    from groundplan.review.formats.text import print_text

    if output not in FORMATS:
        raise UsageError(f"unknown format {output!r}", where="--format", fix=f"one of: {', '.join(FORMATS)}")
    if out and output == "text":
        raise UsageError(
            "text goes to the terminal only", where="--out", fix="choose a --format: markdown, sarif, html or json"
        )
    found = reviewed(
        path or find_home().root,
        stack,
        packs=tuple(pack or ()),
        config=tuple(config or ()),
        against=against,
        limit_s=limit_s,
        regimes=tuple(regime or ()),
        fail_on=fail_on,
        select=tuple(select or ()),
    )
    if output == "text":
        print_text(found)
    elif out:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(RENDERERS[output](found), encoding="utf-8")
            print(f"wrote {out}: {'passed' if found.passed else 'failed'}")
        except OSError as error:
            raise UsageError(
                f"can't be written: {error.strerror}", where=str(out), fix="choose another --out"
            ) from None
    else:
        print(RENDERERS[output](found), end="")
    raise typer.Exit(0 if found.passed else 1)


@commands.command(rich_help_panel=PANEL)
def render(
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write to; manifests that an earlier run left there are replaced.")
    ],
    stack: Stack = "local",
    as_json: AsJson = False,
) -> None:
    """Write every Kubernetes manifest of a stack, validated against Kubernetes and the custom resources it uses.
    Exit code 1 if one is invalid.
    """
    from groundplan.engine.kubernetes.manifests import render as rendered
    from groundplan.local.home import find_home

    found = rendered(find_home().root, stack, out)
    if as_json:
        print(json.dumps(found.document(), indent=1))
    else:
        print(
            f"{len(found.manifests)} manifests and the values of {len(found.charts)} charts in {out}, valid for"
            f" Kubernetes {found.kubernetes_version}"
        )
        for path in found.unknown:
            print(f"  known after deployment: {path}")
        for fault in found.faults:
            print(f"  invalid: {fault}", file=sys.stderr)
    raise typer.Exit(1 if found.faults else 0)


@commands.command(rich_help_panel=PANEL)
def permissions(
    stack: Stack = "prod",
    service_control: Annotated[
        list[Path] | None,
        typer.Option(
            "--service-control",
            metavar="FILE",
            help="Service control policy of your organization, one file per level. Repeatable.",
        ),
    ] = None,
    record: Annotated[
        bool,
        typer.Option(
            "--record",
            help="Add the calls that the running local platform has seen to groundplan/review/permissions/calls.json.",
        ),
    ] = False,
    seen: Annotated[
        bool,
        typer.Option(
            "--seen",
            help="List the calls of the running local platform that are not on record. Exit code 1 if there are any.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check every call that the platform makes against the policies of a stack. Exit code 1 if AWS would refuse one,
    or a role may do what it should not.
    """
    from groundplan.local.home import find_home
    from groundplan.review.permissions.record import read, write
    from groundplan.review.permissions.report import new_calls, of_platform, of_project, print_permissions

    home = find_home()
    if record or seen:
        calls = new_calls(of_platform(home))
        if record and calls:
            write([*read(), *calls])
        word = "added" if record else "not on record"
        for call in calls:
            print(
                f"{word}: {call.caller} {call.service} {call.operation}"
                f" {call.parameters}{' (missing)' if call.missing else ''}"
            )
        print(f"{len(calls)} calls are new")
        raise typer.Exit(1 if seen and calls else 0)
    found = of_project(home.root, stack, service_control or ())
    if as_json:
        print(json.dumps(found.document(), indent=1))
    else:
        print_permissions(found)
    raise typer.Exit(1 if found.refused or found.faults else 0)


@commands.command(rich_help_panel=PANEL)
def compliance(
    framework: Annotated[str, typer.Option(help="gdpr, hipaa, sox or soc2.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    stack: Stack = "prod",
    as_json: AsJson = False,
) -> None:
    """Write the evidence for a framework as HTML and CSV: controls, resources, waivers and manual duties.
    Exit code 1 if a rule fails.
    """
    from dataclasses import asdict

    from groundplan.local.home import find_home
    from groundplan.review.command import review as reviewed
    from groundplan.review.compliance import framework_named, write
    from policies.settings import read_settings
    from spec.objectives import load_config

    chosen, root = framework_named(framework), find_home().root
    config = load_config(root, stack)
    settings = read_settings(config.get("groundplan:objectives"), config.get("groundplan:waivers"), stack)
    rows, files = write(out, reviewed(root, stack), settings, chosen)
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1, default=str))
    else:
        for row in rows:
            print(
                f"{row.reference:26} {row.state:17} {len(row.controls):3} controls, {len(row.satisfied):3}"
                f" resources{'; ' + row.who if row.people else ''}"
            )
        print(f"written: {', '.join(map(str, files))}")
    raise typer.Exit(1 if any(row.state == "failing" for row in rows) else 0)


@commands.command(rich_help_panel=PANEL)
def destroy(
    stack: Stack = "local",
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="What is deleted, what is protected and why, what stays for how long, and what that costs."
        ),
    ] = False,
    left: Annotated[
        bool,
        typer.Option(
            "--leftovers",
            help="After a destroy: what still has the stack's tags (uses your credentials). Exit code 1 if anything"
            " does.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what `pulumi destroy` deletes and what it leaves. Destroys nothing itself."""
    from groundplan.local.home import find_home

    root = find_home().root
    if plan == left:
        raise UsageError(
            "needs either --plan or --leftovers",
            where="groundplan destroy",
            fix="--plan before, --leftovers after; `pulumi destroy -s STACK` destroys the stack",
        )
    if left:
        _leftovers(root, stack, as_json=as_json)
        return
    from groundplan.review.removal import print_removal, removal
    from infra.design.price_book import load_prices
    from spec.objectives import load

    found = removal(root, stack, load_prices(load(root, stack).region))
    if as_json:
        print(json.dumps(found.document(), indent=1))
    else:
        print_removal(found)


def _leftovers(root: Path, stack: str, *, as_json: bool) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    from groundplan.engine.program import project_name
    from groundplan.review.removal import leftovers
    from spec.objectives import load_config

    try:
        found = leftovers(project_name(root), str(load_config(root, stack).get("aws:region", "")), stack)
    except (BotoCoreError, ClientError) as error:
        raise GroundplanError(
            f"the account can't be queried: {error}", where="AWS credentials", fix="log in to the stack's account"
        ) from None
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(found) if found else f"nothing has the tags of stack {stack}")
    raise typer.Exit(1 if found else 0)
