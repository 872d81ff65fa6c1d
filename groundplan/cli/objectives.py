"""Commands about objectives, and the prices that designs use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from groundplan.cli.options import AsJson, Stack

PANEL = "Objectives"
commands = typer.Typer()


@commands.command(rich_help_panel=PANEL)
def explain(
    stack: Stack = "local",
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="Change an objective and print what that changes, e.g. models.NAME.latency_ms=20.",
        ),
    ] = None,
    alternatives: Annotated[
        bool, typer.Option("--all", help="Print every rejected alternative, not only the most relevant ones.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print what the objectives lead to: each decision, the reason, the cost, and the rejected alternatives."""
    from groundplan.cli.explain import explain as explained
    from groundplan.cli.explain import print_explained
    from groundplan.local.home import find_home

    found = explained(find_home().root, stack, tuple(changes or ()))
    if as_json:
        print(json.dumps(found.document(), indent=1))
    else:
        print_explained(found, alternatives=alternatives)


@commands.command(rich_help_panel=PANEL)
def schema() -> None:
    """Print the JSON Schema of stack files, for editors (stacks/objectives.schema.json is its output)."""
    from spec.objectives import stack_schema

    print(json.dumps(stack_schema(), indent=1))


prices = typer.Typer(help="The price book that designs use.", no_args_is_help=True)
commands.add_typer(prices, name="prices", rich_help_panel=PANEL)


@prices.command("refresh")
def refresh_prices(
    region: Annotated[str, typer.Option(help="Region whose list prices are read.")] = "us-east-1",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the price book. Default: infra/design/prices of this project.")
    ] = None,
) -> None:
    """Read a region's prices from the AWS Price List API into the price book.

    Needs credentials that may call pricing:GetProducts.
    """
    from datetime import UTC, datetime

    from groundplan.local.home import find_home
    from infra.design.price_book import BASE
    from infra.design.price_list import refresh

    report = refresh(out or find_home().root / "infra" / "design" / "prices", region, datetime.now(UTC).date())
    print(f"{report.changed} prices changed, {report.same} are unchanged, as of {report.as_of} in {region}")
    what = "kept" if region == BASE else "still estimated"
    for item in report.kept:
        print(f"  {what} (the API has no single price for it): {item}")
