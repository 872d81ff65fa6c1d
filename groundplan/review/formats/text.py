"""A review on the terminal."""

from __future__ import annotations

from typing import Any

from groundplan.review.formats.wording import (
    MOST_ROWS,
    budget,
    by_resource,
    change_text,
    counts,
    grant_text,
    leftovers,
    prices,
    signed,
    summary,
    usd,
    verdict,
)
from groundplan.review.model import Finding, Review


def print_text(review: Review) -> None:
    """To standard output, with colours on a terminal."""
    from rich.markup import escape
    from rich.table import Table

    from groundplan import terminal

    console = terminal.console()
    console.print(
        f"[bold]{review.project}, stack {review.stack}[/bold]: {summary(review)}  [dim][{review.seconds:.1f} s][/dim]"
    )
    for group in by_resource(review.findings):
        kind = f" ({group.type})" if group.type else ""
        console.print(f"\n[bold]{escape(group.name)}[/bold]{escape(kind)} {escape(group.source)}")
        for finding in group.findings:
            _print_finding(console, finding)
    console.print()
    for item in review.undecided:
        console.print(
            f"[dim]undecided until deployment: {item.policy} on {escape(item.resource or 'the stack')}"
            f" ({escape(item.why)})[/dim]"
        )
    for note in (*review.notes, *(f"objective not met: {text}" for text in review.objectives_not_met)):
        console.print(escape(note))
    if review.cost.lines:
        table = Table(
            title=f"Cost: {budget(review)}", title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False
        )
        table.add_column()
        table.add_column(justify="right")
        for line in sorted(review.cost.lines, key=lambda line: -line.monthly_usd)[:MOST_ROWS]:
            table.add_row(escape(f"{line.name}{' (' + line.model + ')' if line.model else ''}"), usd(line.monthly_usd))
        console.print(table)
        console.print(f"[dim]{prices(review)}[/dim]")
    for title, text in leftovers(review):
        console.print(f"[dim]{title}: {escape(text)}[/dim]")
    who = sorted({grant.who for grant in review.grants if grant.access in ("Write", "Permissions management")})
    console.print(
        f"\n{len(review.grants)} grants in policies; {len(who)} identities may write [dim](--format html or json lists"
        " who may do what to what)[/dim]"
    )
    print_comparison(console, review)
    console.print(f"\n[bold {'green' if review.passed else 'red'}]{verdict(review)}[/]")


def _print_finding(console: Any, finding: Finding) -> None:
    from rich.markup import escape

    colour = "dim" if finding.waived else "red" if finding.blocks else "yellow"
    state = "waived" if finding.waived else "mandatory" if finding.mandatory else "advisory"
    console.print(f"  [{colour}]{finding.policy}[/{colour}] {finding.severity}, {state}: {escape(finding.message)}")
    if finding.waived:
        console.print(
            f"    [dim]waived by {finding.waived.approver} until {finding.waived.expires}:"
            f" {escape(finding.waived.reason)}[/dim]"
        )
        return
    if finding.risk:
        console.print(f"    [dim]{escape(finding.risk)}.[/dim]")
    console.print(f"    -> {escape(finding.remediation)}  [dim]{escape(', '.join(finding.law))}[/dim]")


def print_comparison(console: Any, review: Review) -> None:
    """What differs from another revision or release."""
    from rich.markup import escape

    found = review.comparison
    if found is None:
        return
    delta = review.cost.monthly_usd - found.monthly_usd_before
    console.print(f"\n[bold]Against {escape(found.revision)}[/bold]: {counts(review)}, {signed(delta)} USD a month")
    for change in found.resources[:MOST_ROWS]:
        lost = " [red]loses its data[/red]" if change.destroys_data else ""
        console.print(f"  {change.what:8}{escape(change_text(change))}{lost}")
    if len(found.resources) > MOST_ROWS:
        console.print(f"  ... and {len(found.resources) - MOST_ROWS} more")
    for word, grants in (("may now", found.grants_added), ("may no longer", found.grants_gone)):
        for grant in grants:
            console.print(f"  {word}: {escape(grant_text(grant))}")
    for word, deeds in (("now", found.may_added), ("no longer", found.may_gone)):
        for deed in deeds:
            console.print(f"  {word}: {escape(deed)}")
    for word, findings in (("new finding", found.findings_added), ("fixed", found.findings_gone)):
        for finding in findings:
            console.print(f"  {word}: {finding.policy} on {escape(finding.resource)}")
