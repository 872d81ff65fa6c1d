"""Commands about data contracts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from groundplan.cli.options import AsJson, OutputsOption

PANEL = "Data"
commands = typer.Typer()


contract = typer.Typer(help="Data contracts.", no_args_is_help=True)
commands.add_typer(contract, name="contract", rich_help_panel=PANEL)


@contract.command("check")
def contract_check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files, and folders that are searched. Default: the contracts of all models.", show_default=False
        ),
    ] = None,
    against: Annotated[
        str,
        typer.Option(
            metavar="REV",
            help=(
                "Git revision to compare with. Default: HEAD for the models' contracts where there is git, nothing for"
                " paths."
            ),
        ),
    ] = "",
    output: Annotated[str, typer.Option("--format", help="text, json or sarif.")] = "text",
    as_json: AsJson = False,
) -> None:
    """Check data contracts (ODCS 3): that they follow their standard, that the platform can run them, and that they are
    compatible with another git revision.

    Lists all errors in all files, and what a contract says that the platform does not enforce. Exit code 1 if something
    must be fixed.
    """
    from groundplan.contracts import check as contracts
    from groundplan.local.home import find_home
    from spec.errors import UsageError

    if output not in ("text", "json", "sarif"):
        raise UsageError(f"unknown format {output!r}", where="--format", fix="text, json or sarif")
    given = [path.resolve() for path in paths or ()]
    root = Path.cwd() if given else find_home().root
    found = contracts.check(root, against or ("" if given or not contracts.in_git(root) else "HEAD"), given)
    print(
        (
            contracts.as_json
            if as_json or output == "json"
            else contracts.as_sarif
            if output == "sarif"
            else contracts.as_text
        )(found)
    )
    raise typer.Exit(1 if any(item.bad for item in found) else 0)


@contract.command("import")
def contract_import(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="CSV, Parquet, JSON lines, Avro or JSON Schema, or a datacontract.com file.", show_default=False
        ),
    ] = None,
    topic: Annotated[str, typer.Option(help="Take a sample of a topic's events instead of a file.")] = "",
    name: Annotated[str, typer.Option(help="Name of the table. Default: the file's or the schema's.")] = "",
    out: Annotated[Path | None, typer.Option(help="New file to write. Default: print it.", show_default=False)] = None,
    outputs: OutputsOption = "",
) -> None:
    """Draft a data contract (ODCS) from existing data. A sample shows what the data contains, not what its owner
    promises.
    """
    from groundplan.contracts import importing as made
    from groundplan.contracts.check import as_text, check
    from groundplan.local.home import find_home
    from spec.errors import UsageError

    if (file is None) == (not topic):
        raise UsageError(
            "needs one source for the contract",
            where="groundplan contract import",
            fix="name a file, or give --topic",
        )
    if out is not None and out.exists():
        raise UsageError("already exists", where=str(out), fix="choose another file, or remove it first")
    if file is not None:
        document = made.contract_from(file, name)
    else:
        from groundplan.local.experiments import sample_of

        document = made.contract_of_events(topic, sample_of(find_home(), topic, made.MOST_EVENTS, outputs))
    text = made.as_yaml(document)
    if out is None:
        print(text, end="")
        return
    out.write_text(text, encoding="utf-8")
    print(f"wrote {out}; its owner decides what it promises")
    print(as_text(check(Path.cwd(), "", [out.resolve()])))


@contract.command("catalogue")
def contract_catalogue() -> None:
    """Print the page of all incoming data (docs/data.md is its output)."""
    from groundplan.contracts.catalogue import catalogue
    from groundplan.local.home import find_home

    print(catalogue(find_home().root), end="")
