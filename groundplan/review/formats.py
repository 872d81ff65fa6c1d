"""A review for users and programs: terminal, Markdown for a pull request, SARIF 2.1.0, one HTML page, JSON."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from groundplan.review.model import Change, Finding, Grant, Review, by_severity

FORMATS = ("text", "markdown", "sarif", "html", "json")
_SARIF_LEVEL = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}
_SECURITY_SEVERITY = {
    "critical": "9.5",
    "high": "8.0",
    "medium": "5.5",
    "low": "3.0",
}  # GitHub sorts by this number, as CVSS does
_MOST_ROWS = 30


def as_json(review: Review) -> str:
    """All of it."""
    return json.dumps(review.document(), indent=1, default=str)


def verdict(review: Review) -> str:
    """One line."""
    if review.passed:
        serious = sum(finding.severity in ("critical", "high") and not finding.waived for finding in review.findings)
        only = "1 high finding is advisory" if serious == 1 else f"{serious} high findings are advisory"
        return f"passed; {only}, since no regime of the stack requires more" if serious else "passed"
    reasons = []
    if review.blocking:
        reasons.append(f"{len(review.blocking)} mandatory finding{'s' if len(review.blocking) > 1 else ''}")
    if review.cost.over_budget:
        reasons.append("over budget")
    reasons += [reason for reason in review.objectives_not_met if not review.cost.over_budget]
    return f"failed: {', '.join(reasons)}"


def _summary(review: Review) -> str:
    advisory = [f for f in review.findings if not f.mandatory and not f.waived]
    waived = [f for f in review.findings if f.waived]
    parts = [
        f"{sum(r.custom for r in review.resources)} resources",
        f"{review.controls} controls",
        f"{len(review.blocking)} mandatory findings",
    ]
    parts += [f"{len(advisory)} advisory"] if advisory else []
    parts += [f"{len(waived)} waived"] if waived else []
    parts += [f"{len(review.undecided)} checks that can be decided only after deployment"] if review.undecided else []
    return ", ".join(parts)


def _usd(value: float) -> str:
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"


def _signed(value: float) -> str:
    return f"{'-' if round(value, 2) < 0 else '+'}{_usd(abs(value))}"


def _budget(review: Review) -> str:
    cost = review.cost
    text = f"{_usd(cost.monthly_usd)} USD a month"
    if cost.budget_usd:
        text += f", {cost.monthly_usd / cost.budget_usd:.0%} of the budget of {_usd(cost.budget_usd)}"
    return text


def _prices(review: Review) -> str:
    basis = (
        "with the usage that the design expects"
        if review.cost.basis == "design"
        else "for what the program creates; excludes usage"
    )
    return f"list prices of {review.cost.region} as of {review.cost.as_of}, {basis}"


def _listed(pairs: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in pairs)


def _grant(grant: Grant) -> str:
    conditions = f" where {'; '.join(grant.conditions)}" if grant.conditions else ""
    actions = ", ".join(action.partition(":")[2] or action for action in grant.actions)
    return f"{grant.who}: {grant.access} {grant.service} ({actions}) on {', '.join(grant.resources)}{conditions}"


def _change(change: Change) -> str:
    return f"{change.name} ({change.type}){': ' + ', '.join(change.inputs) if change.inputs else ''}"


# Terminal.


def print_text(review: Review) -> None:
    """To standard output, with colours on a terminal."""
    from rich.markup import escape
    from rich.table import Table

    from groundplan import terminal

    console = terminal.console()
    console.print(
        f"[bold]{review.project}, stack {review.stack}[/bold]: {_summary(review)}  [dim][{review.seconds:.1f} s][/dim]"
    )
    for finding in by_severity(review.findings):
        colour = "dim" if finding.waived else "red" if finding.blocks else "yellow"
        state = "waived" if finding.waived else "mandatory" if finding.mandatory else "advisory"
        console.print(
            f"\n[{colour}]{finding.policy}[/{colour}] {finding.severity}, {state}:"
            f" [bold]{escape(finding.resource)}[/bold] {escape(finding.source)}"
        )
        console.print(f"  {escape(finding.message)}")
        if finding.waived:
            console.print(
                f"  [dim]waived by {finding.waived.approver} until {finding.waived.expires}:"
                f" {escape(finding.waived.reason)}[/dim]"
            )
        else:
            console.print(f"  -> {escape(finding.remediation)}  [dim]{', '.join(finding.law)}[/dim]")
    for item in review.undecided:
        console.print(
            f"[dim]undecided until deployment: {item.policy} on {escape(item.resource or 'the stack')}"
            f" ({escape(item.why)})[/dim]"
        )
    for note in (*review.notes, *(f"objective not met: {text}" for text in review.objectives_not_met)):
        console.print(note)
    if review.cost.lines:
        table = Table(
            title=f"Cost: {_budget(review)}", title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False
        )
        table.add_column()
        table.add_column(justify="right")
        for line in sorted(review.cost.lines, key=lambda line: -line.monthly_usd)[:_MOST_ROWS]:
            table.add_row(escape(f"{line.name}{' (' + line.model + ')' if line.model else ''}"), _usd(line.monthly_usd))
        console.print()
        console.print(table)
        console.print(f"[dim]{_prices(review)}[/dim]")
    for title, pairs in (
        ("billed by usage, not in the total", review.cost.by_use),
        ("not priced", review.cost.not_priced),
    ):
        if pairs:
            console.print(f"[dim]{title}: {_listed(pairs)}[/dim]")
    who = sorted({grant.who for grant in review.grants if grant.access in ("Write", "Permissions management")})
    console.print(
        f"\n{len(review.grants)} grants in policies; {len(who)} identities may write [dim](--format html or json lists"
        " who may do what to what)[/dim]"
    )
    print_comparison(console, review)
    console.print(f"\n[bold {'green' if review.passed else 'red'}]{verdict(review)}[/]")


def print_comparison(console: Any, review: Review) -> None:
    """What differs from another revision or release."""
    from rich.markup import escape

    found = review.comparison
    if found is None:
        return
    delta = review.cost.monthly_usd - found.monthly_usd_before
    console.print(f"\n[bold]Against {escape(found.revision)}[/bold]: {_counts(review)}, {_signed(delta)} USD a month")
    for change in found.resources[:_MOST_ROWS]:
        console.print(f"  {change.what:8}{escape(_change(change))}")
    if len(found.resources) > _MOST_ROWS:
        console.print(f"  ... and {len(found.resources) - _MOST_ROWS} more")
    for word, grants in (("may now", found.grants_added), ("may no longer", found.grants_gone)):
        for grant in grants:
            console.print(f"  {word}: {escape(_grant(grant))}")
    for word, deeds in (("now", found.may_added), ("no longer", found.may_gone)):
        for deed in deeds:
            console.print(f"  {word}: {escape(deed)}")
    for word, findings in (("new finding", found.findings_added), ("fixed", found.findings_gone)):
        for finding in findings:
            console.print(f"  {word}: {finding.policy} on {escape(finding.resource)}")


def _counts(review: Review) -> str:
    assert review.comparison is not None
    kinds = [change.what for change in review.comparison.resources]
    parts = [f"{kinds.count(what)} {what}" for what in ("added", "changed", "gone") if what in kinds]
    return f"resources: {', '.join(parts)}" if parts else "no resource differs"


# Markdown.


def as_markdown(review: Review) -> str:
    """For a comment on a pull request: what needs attention first, the rest folded."""
    out = [
        f"## {'✅' if review.passed else '❌'} {review.project} / {review.stack}: {verdict(review)}",
        "",
        _summary(review) + ".",
        "",
    ]
    if review.comparison:
        delta = review.cost.monthly_usd - review.comparison.monthly_usd_before
        out += [
            (
                f"Against `{review.comparison.revision}`: {_counts(review)}; **{_signed(delta)} USD a month** (now"
                f" {_budget(review)})."
            ),
            "",
        ]
    else:
        out += [f"Cost: {_budget(review)}.", ""]
    open_findings = [finding for finding in by_severity(review.findings) if not finding.waived]
    if open_findings:
        out += ["| finding | severity | resource | what is wrong | what to do | law |", "|---|---|---|---|---|---|"]
        out += [_finding_row(finding) for finding in open_findings[:_MOST_ROWS]]
        out += [f"\n... and {len(open_findings) - _MOST_ROWS} more." if len(open_findings) > _MOST_ROWS else ""]
    if review.comparison:
        out += _markdown_comparison(review)
    out += _folded("Cost by layer and model", _cost_rows(review))
    waived = [f for f in by_severity(review.findings) if f.waived]
    if waived:
        rows = [
            f"| `{f.policy}` | {_md(f.resource)} | {_md(f.waived.reason)} | {_md(f.waived.approver)} |"
            f" {f.waived.expires} |"
            for f in waived
            if f.waived
        ]
        out += _folded(
            f"{len(waived)} waived",
            ["| finding | resource | reason | approver | until |", "|---|---|---|---|---|", *rows],
        )
    if review.undecided:
        rows = [
            f"- `{item.policy}` on {_md(item.resource or 'the stack')}: {_md(item.why)}"
            for item in review.undecided[:_MOST_ROWS]
        ]
        out += _folded(f"{len(review.undecided)} checks that can be decided only after deployment", rows)
    if notes := (*review.notes, *review.objectives_not_met):
        out += ["", *(f"- {_md(note)}" for note in notes)]
    return "\n".join(out).rstrip() + "\n"


def _md(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _finding_row(f: Finding) -> str:
    mark = "**mandatory**" if f.blocks else "advisory"
    return (
        f"| `{f.policy}` ({mark}) | {f.severity} | {_md(f.resource)}<br>`{f.source}` | {_md(f.message)} |"
        f" {_md(f.remediation)} | {_md(', '.join(f.law))} |"
    )


def _folded(title: str, lines: list[str]) -> list[str]:
    return ["", "<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>"]


def _cost_rows(review: Review) -> list[str]:
    lines = sorted(review.cost.lines, key=lambda line: -line.monthly_usd)
    rows = [f"| {_md(line.name)} | {_md(line.model)} | {_usd(line.monthly_usd)} |" for line in lines]
    more = [
        f"\n{title}: {_md(_listed(pairs))}"
        for title, pairs in (
            ("Billed by usage, not in the total", review.cost.by_use),
            ("Not priced", review.cost.not_priced),
        )
        if pairs
    ]
    return ["| what | model | USD a month |", "|---|---|---:|", *rows, f"\n{_prices(review)}.", *more]


def _markdown_comparison(review: Review) -> list[str]:
    found = review.comparison
    assert found is not None
    out: list[str] = []
    if found.grants_added or found.grants_gone:
        rows = [
            f"| {word} | {_md(g.who)} | {g.access} | {_md(', '.join(g.actions))} | {_md(', '.join(g.resources))} |"
            f" {_md('; '.join(g.conditions))} |"
            for word, grants in (("**new**", found.grants_added), ("gone", found.grants_gone))
            for g in grants
        ]
        out += [
            "",
            "### Permissions",
            "",
            "| | who | access | actions | on | where |",
            "|---|---|---|---|---|---|",
            *rows[:_MOST_ROWS],
        ]
        out += [f"\n... and {len(rows) - _MOST_ROWS} more."] if len(rows) > _MOST_ROWS else []
    if found.may_added or found.may_gone:
        out += ["", "### Who may do what", ""]
        out += [
            f"- {word}: {_md(deed)}"
            for word, deeds in (("**now**", found.may_added), ("no longer", found.may_gone))
            for deed in deeds
        ]
    if found.findings_added or found.findings_gone:
        out += ["", "### New and fixed findings", ""]
        out += [
            f"- new: `{f.policy}` on {_md(f.resource)}: {_md(f.message)}" for f in found.findings_added[:_MOST_ROWS]
        ]
        out += (
            [f"- ... and {len(found.findings_added) - _MOST_ROWS} more new ones"]
            if len(found.findings_added) > _MOST_ROWS
            else []
        )
        out += [f"- fixed: `{f.policy}` on {_md(f.resource)}" for f in found.findings_gone]
    if found.resources:
        rows = [f"| {c.what} | {_md(c.name)} | `{c.type}` | {_md(', '.join(c.inputs))} |" for c in found.resources]
        out += _folded(
            f"Resources: {_counts(review).removeprefix('resources: ')}",
            ["| | name | type | inputs |", "|---|---|---|---|", *rows],
        )
    return out


# SARIF.


def as_sarif(review: Review) -> str:
    """SARIF 2.1.0 (https://docs.oasis-open.org/sarif/sarif/v2.1.0/): findings at the line of Python that created the
    resource.
    """
    rules: dict[str, dict[str, Any]] = {}
    results = []
    for finding in by_severity(review.findings):
        rules.setdefault(
            finding.policy,
            {
                "id": finding.policy,
                "shortDescription": {"text": finding.title},
                "fullDescription": {"text": f"{finding.title}. {', '.join(finding.law)}"},
                "help": {"text": finding.remediation or finding.title},
                **({"helpUri": finding.url} if finding.url else {}),
                "defaultConfiguration": {"level": _SARIF_LEVEL[finding.severity]},
                "properties": {
                    "security-severity": _SECURITY_SEVERITY[finding.severity],
                    "tags": ["security", *finding.law],
                },
            },
        )
        file, _, line = finding.source.rpartition(":")
        place = {
            "artifactLocation": {"uri": file or "Pulumi.yaml", "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": int(line) if line.isdigit() else 1},
        }
        result: dict[str, Any] = {
            "ruleId": finding.policy,
            "ruleIndex": list(rules).index(finding.policy),
            "level": _SARIF_LEVEL[finding.severity] if finding.mandatory else "note",
            "message": {"text": f"{finding.resource}: {finding.message}. {finding.remediation}"},
            "locations": [
                {
                    "physicalLocation": place,
                    "logicalLocations": [{"fullyQualifiedName": finding.urn or "stack", "kind": "resource"}],
                }
            ],
            # The same finding has the same fingerprint, wherever its line moves.
            "partialFingerprints": {"finding/v1": f"{finding.policy}|{finding.urn}|{finding.message}"},
        }
        if finding.waived:
            result["suppressions"] = [
                {
                    "kind": "external",
                    "status": "accepted",
                    "justification": (
                        f"{finding.waived.approver} until {finding.waived.expires}: {finding.waived.reason}"
                    ),
                }
            ]
        results.append(result)
    tool = {
        "name": "groundplan",
        "version": version("groundplan"),
        "semanticVersion": version("groundplan"),
        "rules": list(rules.values()),
    }
    run = {
        "tool": {"driver": tool},
        "automationDetails": {"id": f"groundplan/{review.project}/{review.stack}"},
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The project's folder"}}},
        "results": results,
        "columnKind": "unicodeCodePoints",
    }
    return json.dumps(
        {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}, indent=1
    )


# HTML.

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --bad: #c62828; --good: #2e7d32; --warn: #b26a00 }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem; text-align: left; vertical-align: top }
td { overflow-wrap: break-word } .a, code { overflow-wrap: anywhere } th { background: var(--soft) }
.n { text-align: right; white-space: nowrap }
code { font-size: .9em } .dim { opacity: .7 }
.bad { color: var(--bad) } .good { color: var(--good) } .warn { color: var(--warn) }
details { margin-top: 1rem } summary { cursor: pointer; font-weight: 600 }
"""


def as_html(review: Review) -> str:
    """One self-contained page."""
    e = html.escape
    body = [
        f"<h1>{e(review.project)}, stack {e(review.stack)}: <span"
        f" class='{'good' if review.passed else 'bad'}'>{e(verdict(review))}</span></h1>"
    ]
    body += [f"<p>{e(_summary(review))}. Cost: {e(_budget(review))}.</p>"]
    body += [f"<p class='warn'>{e(text)}</p>" for text in (*review.objectives_not_met, *review.notes)]
    found = list(by_severity(review.findings))
    body += ["<h2>Findings</h2>"]
    body += (
        [_table(("finding", "", "resource", "what is wrong", "what to do", "law"), [_html_finding(f) for f in found])]
        if found
        else ["<p>None.</p>"]
    )
    if review.undecided:
        rows = [(f"<code>{e(u.policy)}</code>", e(u.resource or "the stack"), e(u.why)) for u in review.undecided]
        body += ["<h2>Undecided until deployment</h2>", _table(("control", "resource", "why"), rows)]
    if review.comparison:
        body += _html_comparison(review)
    rows = [
        (e(line.name), e(line.model), _usd(line.monthly_usd))
        for line in sorted(review.cost.lines, key=lambda line: -line.monthly_usd)
    ]
    body += [
        "<h2>Cost</h2>",
        _table(("what", "model", "USD a month"), rows, numbers=(2,)),
        f"<p class='dim'>{e(_prices(review))}.</p>",
    ]
    for title, pairs in (
        ("Billed by usage, not in the total", review.cost.by_use),
        ("Not priced", review.cost.not_priced),
    ):
        body += [f"<p class='dim'>{title}: {e(_listed(pairs))}</p>"] if pairs else []
    people_first = ("role ", "user ", "group ")
    grants = sorted(
        review.grants,
        key=lambda grant: (not grant.who.startswith(people_first), grant.who, grant.service, grant.access),
    )
    body += [
        f"<h2>Who may do what to what</h2><details open><summary>{len(grants)} grants</summary>",
        _grants(grants),
        "</details>",
    ]
    counts: dict[str, int] = {}
    for resource in review.resources:
        if resource.custom:
            counts[resource.type] = counts.get(resource.type, 0) + 1
    kinds = [(f"<code>{e(kind)}</code>", str(count)) for kind, count in sorted(counts.items())]
    body += [
        f"<h2>Resources</h2><details><summary>{sum(counts.values())} of {len(kinds)} types</summary>",
        _table(("type", "count"), kinds, numbers=(1,)),
        "</details>",
    ]
    title = f"Review of {e(review.project)}, stack {e(review.stack)}"
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><meta name='viewport'"
        f" content='width=device-width'><title>{title}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], numbers: tuple[int, ...] = ()) -> str:
    def cell(index: int, text: str, tag: str) -> str:
        return f"<{tag}{' class=n' if index in numbers else ''}>{text}</{tag}>"

    head = "".join(cell(index, text, "th") for index, text in enumerate(heads))
    lines = ["<tr>" + "".join(cell(index, text, "td") for index, text in enumerate(row)) + "</tr>" for row in rows]
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(lines) + "\n</tbody></table>"


def _html_finding(f: Finding) -> tuple[str, ...]:
    e = html.escape
    state = ("dim", "waived") if f.waived else ("bad", "mandatory") if f.mandatory else ("warn", "advisory")
    fix = (
        f"waived by {e(f.waived.approver)} until {e(f.waived.expires)}: {e(f.waived.reason)}"
        if f.waived
        else e(f.remediation)
    )
    name = (
        f"<a href='{e(f.url, quote=True)}'><code>{e(f.policy)}</code></a>" if f.url else f"<code>{e(f.policy)}</code>"
    )
    return (
        name,
        f"<span class='{state[0]}'>{f.severity}, {state[1]}</span>",
        f"{e(f.resource)}<br><code>{e(f.source)}</code>",
        e(f.message),
        fix,
        e(", ".join(f.law)),
    )


def _grants(grants: list[Grant] | tuple[Grant, ...]) -> str:
    e = html.escape

    def wide(text: str) -> str:
        return f"<span class=a>{e(text)}</span>"  # ARNs, which can't wrap by themselves

    rows = [
        (
            wide(g.who),
            g.access,
            wide(", ".join(g.actions)),
            wide(", ".join(g.resources)),
            wide("; ".join(g.conditions)),
            f"<code>{e(g.source)}</code>",
        )
        for g in grants
    ]
    return _table(("who", "access", "actions", "on", "where", "written in"), rows)


def _html_comparison(review: Review) -> list[str]:
    e = html.escape
    found = review.comparison
    assert found is not None
    delta = review.cost.monthly_usd - found.monthly_usd_before
    body = [f"<h2>Against {e(found.revision)}</h2><p>{e(_counts(review))}; {_signed(delta)} USD a month.</p>"]
    for title, grants in (("May now", found.grants_added), ("May no longer", found.grants_gone)):
        body += [f"<h3>{title}</h3>", _grants(grants)] if grants else []
    for title, deeds in (("Roles that now may", found.may_added), ("Roles that no longer may", found.may_gone)):
        body += [f"<h3>{title}</h3><ul>", *(f"<li>{e(deed)}</li>" for deed in deeds), "</ul>"] if deeds else []
    for title, findings in (("New findings", found.findings_added), ("Fixed findings", found.findings_gone)):
        body += (
            [
                f"<h3>{title}</h3><ul>"
                + "".join(f"<li><code>{e(f.policy)}</code> {e(f.resource)}: {e(f.message)}</li>" for f in findings)
                + "</ul>"
            ]
            if findings
            else []
        )
    rows = [(c.what, e(c.name), f"<code>{e(c.type)}</code>", e(", ".join(c.inputs))) for c in found.resources]
    return body + ([_table(("", "name", "type", "inputs"), rows)] if rows else [])


RENDERERS: dict[str, Callable[[Review], str]] = {
    "markdown": as_markdown,
    "sarif": as_sarif,
    "html": as_html,
    "json": as_json,
}
