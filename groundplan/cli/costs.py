"""``groundplan cost``: what the platform costs, what it will have cost, what is saved and what is wasted."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from groundplan.cli.models import PANEL
from groundplan.cli.options import AsJson, OutputsOption

commands = typer.Typer()


@commands.command(rich_help_panel=PANEL)
def cost(
    outputs: OutputsOption = "",
    report: Annotated[
        str,
        typer.Option(
            metavar="REPORT",
            help=(
                "Read what is billed from a cost-and-usage report (CUR 2.0, CUR or FOCUS; CSV or Parquet; file, folder"
                " or s3:// address) instead of Cost Explorer."
            ),
        ),
    ] = "",
    idle_days: Annotated[
        float, typer.Option("--idle-days", min=0.05, metavar="DAYS", help="How long a resource must have been unused.")
    ] = 7,
    as_json: AsJson = False,
) -> None:
    """Print what the platform costs: estimate and bill by service, cost and value of each model, the month's forecast
    against the budget, what is saved, what is idle. Exit code 1 if the forecast is over the budget.
    """
    from groundplan.local.costs import costs

    found = costs(outputs, report, idle_days)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        _print(found)
    raise typer.Exit(1 if found["forecast"]["usd"] > found["budget_usd"] else 0)


def _print(found: dict[str, Any]) -> None:
    from groundplan.terminal import console

    out = console(markup=False)
    for title, rows in (
        (f"Stack {found['stack']} ({found['region']}), USD", _services(found)),
        ("Models, USD; predictions of this month", _models(found)),
    ):
        print(title)
        out.print(rows)
    prices, forecast, budget = found["prices"], found["forecast"], found["budget_usd"]
    over = ", OVER the budget" if forecast["usd"] > budget else ""
    print(
        f"This month will have cost {forecast['usd']:,.0f} USD ({forecast['least']:,.0f} to {forecast['most']:,.0f}) of"
        f" the {budget:,.0f} that it may: {forecast['budget_share']:.0%}{over}"
    )
    print(f"  {forecast['says']}")
    print(f"  day {found['day_of_month']} of {found['days_of_month']}; billed by {found['source']}")
    if found["report_says"]:
        print(f"  {found['report_says']}")
    if not found["spent_usd"] and not found["report_says"] and found["stack"] != "local":
        print("  nothing is billed with the tags of this stack yet: they must be activated (budget.activate_tags)")
    how = f" ({prices['estimate']})" if prices["estimate"] else ""
    print(f"  list prices of {prices['region']} as of {prices['as_of']}{how}, before tax and discounts")
    for used, title in ((True, "Saved by the design"), (False, "Could be saved")):
        if rows := [saving for saving in found["savings"] if saving["used"] is used]:
            print(f"\n{title}, USD a month")
            out.print(_savings(rows))
    print()
    if found["idle"]:
        print(f"Idle for {_days(found['idle_days'])}, or for as long as it exists, USD a month")
        out.print(_idle(found["idle"]))
    else:
        print(f"Nothing is idle for {_days(found['idle_days'])}")
    if found["dearest"]:
        print("\nDearest resources of the report, USD this month")
        out.print(_dearest(found["dearest"]))


def _days(number: float) -> str:
    return f"{number:g} day{'s' if number != 1 else ''}"


def _right(shown: Any, *columns: int) -> Any:
    for column in columns:
        shown.columns[column].justify = "right"
    return shown


def _services(found: dict[str, Any]) -> Any:
    from groundplan.terminal import table

    shown = _right(table("service", "estimated a month", "at the measured load", "billed this month"), 1, 2, 3)
    for each in found["services"]:
        cells = (each["estimate_usd"], each["at_measured_load_usd"])
        shown.add_row(each["service"], *(f"{usd:,.2f}" for usd in cells), _small(each["spent_usd"]))
    shown.add_row(
        "all",
        f"{found['estimate_usd']:,.2f}",
        f"{found['at_measured_load_usd']:,.2f}",
        _small(found["spent_usd"]),
    )
    return shown


def _models(found: dict[str, Any]) -> Any:
    from groundplan.terminal import table

    names = (
        "estimated a month",
        "planned per 1,000",
        "billed this month",
        "predictions",
        "billed per 1,000",
        "earned per 1,000",
        "earned per USD",
    )
    shown = _right(table("model", *names), *range(1, 8))
    for each in found["models"]:
        counted = each["predictions"]
        shown.add_row(
            each["model"],
            f"{each['estimate_usd']:,.2f}",
            _thousand(each["planned_usd_per_thousand"]),
            _small(each["spent_usd"]),
            "not counted" if counted is None else f"{counted:,.0f}",
            _thousand(each["usd_per_thousand"]),
            _thousand(each["usd_earned_per_thousand"]),
            "" if each["return_on_cost"] is None else f"{each['return_on_cost']:,.2f}",
        )
    return shown


def _thousand(usd: float | None) -> str:
    return "" if usd is None else f"{usd:,.3f}"


def _small(usd: float) -> str:
    return f"{usd:,.2f}" if abs(usd) >= 1 or not usd else f"{usd:,.4f}"


def _savings(rows: list[dict[str, Any]]) -> Any:
    from groundplan.terminal import table

    shown = _right(table("by", "of", "USD", "share", "if"), 2, 3)
    for each in rows:
        shown.add_row(each["kind"], each["of"], f"{each['monthly_usd']:,.2f}", f"{each['share']:.0%}", each["assumes"])
    return shown


def _idle(rows: list[dict[str, Any]]) -> Any:
    from groundplan.terminal import table

    shown = _right(table("resource", "what", "since (UTC)", "USD", "advice"), 3)
    for each in rows:
        usd = "not known" if each["monthly_usd"] is None else f"{each['monthly_usd']:,.2f}"
        shown.add_row(each["resource"], each["says"], each["since"][:16], usd, each["advice"])
    return shown


def _dearest(rows: list[dict[str, Any]]) -> Any:
    from groundplan.terminal import table

    shown = _right(table("resource", "service", "USD"), 2)
    for each in rows:
        shown.add_row(each["resource"], each["service"], _small(each["usd"]))
    return shown
