"""Commands that create your own repository, and add to it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from groundplan.cli.options import AsJson

PANEL = "Your own models"
commands = typer.Typer()
add = typer.Typer(help="Add to the project.", no_args_is_help=True)
commands.add_typer(add, name="add", rich_help_panel=PANEL)


@commands.command(rich_help_panel=PANEL)
def init(
    name: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Name of the project; names of resources begin with it. Default: the folder's."
        ),
    ] = "",
    requirement: Annotated[
        str,
        typer.Option(
            "--groundplan",
            metavar="REQUIREMENT",
            help="Release to depend on, as a pip requirement. Default: the running one.",
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Create your own repository in an empty folder: stacks, models, tests, CI; groundplan is its dependency."""
    from groundplan.scaffold.repository import write_repository

    found = write_repository(Path.cwd(), name, requirement)
    if as_json:
        print(json.dumps({"name": found.name, "requirement": found.requirement, "files": found.files}))
        return
    print(f"wrote the project {found.name}: {len(found.files)} files, which depend on {found.requirement}")
    if found.only_here:
        print(
            "this is a path on this machine: others can't install from it. Name a release in requirements.txt before"
            " you share the repository"
        )
    print("next: make up")


@commands.command(rich_help_panel=PANEL)
def upgrade(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="A version, a URL, or a wheel.")],
    yes: Annotated[bool, typer.Option("--yes", help="Upgrade without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a newer release changes in packages, objectives, resources, permissions and cost of each stack; then
    upgrade, if you confirm.
    """
    from groundplan.local.home import find_home
    from groundplan.scaffold.upgrade import take, try_upgrade

    found = try_upgrade(find_home().root, release)
    if as_json:
        from groundplan.scaffold.upgrade_text import as_document

        print(json.dumps(as_document(found), indent=1, default=str))
    else:
        from groundplan.scaffold.upgrade_text import print_upgrade

        print_upgrade(found)
    if not yes and (as_json or not sys.stdin.isatty() or not typer.confirm("\nUpgrade?")):
        if not as_json:
            print("nothing was changed; pass --yes to upgrade")
        raise typer.Exit(1 if found.refused else 0)
    left = take(found)
    if not as_json:
        print(f"wrote {', '.join(found.files)}")
        for name in left:
            print(f"{name}: you and the release both changed it; merge what you want, then delete it")
        print("next: make test, then commit")


@commands.command("policy-pack", rich_help_panel=PANEL)
def policy_pack() -> None:
    """Print the folder of the policy pack, for Pulumi: pulumi up --policy-pack "$(groundplan policy-pack)"."""
    from groundplan.local.home import find_home
    from groundplan.scaffold.repository import write_policy_pack

    print(write_policy_pack(find_home().folder))


@add.command("model")
def add_model(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the model: lowercase letters, digits and dashes.")
    ],
    source: Annotated[Path, typer.Option("--from", metavar="FILE", help="CSV file with a sample of the data.")],
    target: Annotated[str, typer.Option(metavar="COLUMN", help="Column that the model predicts.")] = "",
    key: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="Column that identifies the rows. Default: a column with unique values, else a row number.",
        ),
    ] = "",
    stack: Annotated[str, typer.Option("--stack", "-s", help="Stack that gets the model's objectives.")] = "local",
    as_json: AsJson = False,
) -> None:
    """Write a model's folder (contract, event source, experiment, test) from a CSV file, and its objectives: all of
    it or nothing.
    """
    from groundplan.local.home import find_home
    from groundplan.scaffold.model import add_model as added

    root = find_home().root
    found = added(root, name, source, target, key, stack)
    if as_json:
        print(
            json.dumps(
                {
                    "folder": str(found.folder),
                    "stack_file": str(found.stack_file),
                    "task": found.task,
                    "key": found.key,
                    "rows": found.rows,
                }
            )
        )
        return
    how = "rows are numbered" if found.numbered else f"rows are identified by {found.key}"
    print(f"wrote {found.folder.relative_to(root)}: {found.task} of {target}, {found.rows:,} rows, {how}")
    print(
        f"wrote its objectives into {found.stack_file.relative_to(root)}: set what it is worth and its worst quality"
        " there"
    )
    print("next: groundplan up")
