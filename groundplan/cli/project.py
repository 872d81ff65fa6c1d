"""Commands that write a project's own folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from groundplan.cli.options import AsJson

PANEL = "Your own models"
commands = typer.Typer()
add = typer.Typer(help="Add to the project.", no_args_is_help=True)
commands.add_typer(add, name="add", rich_help_panel=PANEL)


@add.command("model")
def add_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model: small letters, digits and dashes.")],
    source: Annotated[Path, typer.Option("--from", metavar="FILE", help="CSV file with a sample of the data.")],
    target: Annotated[str, typer.Option(metavar="COLUMN", help="Column that the model predicts.")] = "",
    key: Annotated[str, typer.Option(metavar="COLUMN", help="Column that tells the rows apart. Default: one that does; else the rows are numbered.")] = "",
    stack: Annotated[str, typer.Option("--stack", "-s", help="Stack that gets the model's objectives.")] = "local",
    as_json: AsJson = False,
) -> None:
    """Write a model's folder (contract, event source, experiment, test) from a CSV file, and its objectives; all of it or nothing."""
    from groundplan.local.home import find_home
    from groundplan.scaffold.model import add_model as added

    root = find_home().root
    found = added(root, name, source, target, key, stack)
    if as_json:
        print(json.dumps({"folder": str(found.folder), "stack_file": str(found.stack_file), "task": found.task, "key": found.key, "rows": found.rows}))
        return
    how = "rows are numbered" if found.numbered else f"rows are told apart by {found.key}"
    print(f"wrote {found.folder.relative_to(root)}: {found.task} of {target}, {found.rows:,} rows, {how}")
    print(f"wrote its objectives into {found.stack_file.relative_to(root)}: what it is worth, and the worst quality, are for you to say")
    print("next: groundplan up")
