"""The result of trying a newer release on a repository, for users and programs."""

from __future__ import annotations

from typing import Any

from groundplan import terminal
from groundplan.review.formats.text import print_comparison
from groundplan.scaffold.upgrade import Upgrade

_MOST = 12


def print_upgrade(found: Upgrade) -> None:
    """What it changes, shortest part first."""
    console = terminal.console()
    console.print(f"[bold]groundplan {found.before} -> {found.version}[/bold]")
    packages = [f"{name} {here or '(new)'} -> {there}" for name, here, there in found.packages]
    shown = ", ".join(packages[:_MOST]) + (f" and {len(packages) - _MOST} more" if len(packages) > _MOST else "")
    console.print(f"packages     {shown or 'no change'}", markup=False)
    console.print(f"objectives   {'; '.join(found.objectives) or 'no change'}", markup=False)
    console.print(
        f"files        {', '.join([*found.files, *(f'{name} (you also changed it)' for name in found.conflicts)])}",
        markup=False,
    )
    for item in found.stacks:
        if item.refused:
            console.print(f"\n[bold]Stack {item.stack}[/bold] is rejected by this release")
            console.print(f"  {item.refused}", markup=False)
        else:
            console.print(f"\n[bold]Stack {item.stack}[/bold]", end="")
            print_comparison(console, item.review)


def as_document(found: Upgrade) -> dict[str, Any]:
    """For programs."""
    from dataclasses import asdict

    return {
        "before": found.before,
        "version": found.version,
        "requirement": found.requirement,
        "packages": [{"name": name, "before": here, "now": there} for name, here, there in found.packages],
        "objectives": found.objectives,
        "files": list(found.files),
        "conflicts": list(found.conflicts),
        "stacks": [
            {"stack": item.stack, "refused": item.refused}
            | (
                {"monthly_usd": round(item.review.cost.monthly_usd, 2), "comparison": asdict(item.review.comparison)}
                if item.review
                else {}
            )
            for item in found.stacks
        ],
    }
