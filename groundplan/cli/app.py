"""The command line, one file per group of commands. Heavy libraries are imported by the commands that need them, never
at the top.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from groundplan.cli import (
    account,
    audit,
    changes,
    contracts,
    costs,
    data,
    history,
    loadtest,
    models,
    objectives,
    package,
    platform,
    project,
    recovery,
    scan,
    watching,
)
from spec.errors import GroundplanError

app = typer.Typer(
    name="groundplan",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"groundplan {version('groundplan')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """An MLOps platform on AWS, designed from business objectives; it also runs in full on one laptop."""


for group in (
    platform,
    recovery,
    project,
    models,
    watching,
    costs,
    audit,
    history,
    scan,
    loadtest,
    package,
    data,
    contracts,
    objectives,
    changes,
    account,
):
    app.add_typer(group.commands)


def main() -> None:
    """Entry point: errors that a user can fix become one message and an exit code (1 failure, 2 usage error)."""
    try:
        app(standalone_mode=True)
    except GroundplanError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output is gone
        sys.exit(1)


if __name__ == "__main__":
    main()
