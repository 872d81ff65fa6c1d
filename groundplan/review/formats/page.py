"""A review as one self-contained page."""

from __future__ import annotations

import html
from collections.abc import Sequence

from groundplan.review.formats.wording import (
    NOTHING_TO_DECIDE,
    Group,
    budget,
    by_resource,
    counted,
    counts,
    destroyed,
    leftovers,
    new_rights,
    prices,
    signed,
    summary,
    usd,
    verdict,
)
from groundplan.review.model import Finding, Grant, Review

STYLE = """
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
section { border-left: 3px solid var(--line); margin: 1rem 0; padding: 0 0 0 .8rem }
section h3 { font-size: 1rem; margin: 0 } section p { margin: .2rem 0 } section li { margin: .5rem 0 }
h1, h3, li, p { overflow-wrap: anywhere }
@media (max-width: 45rem) {
  body { margin: 1rem auto } ul { padding-left: 1.2rem }
  thead { display: none } tr { border-bottom: 1px solid var(--line); display: block; padding: .4rem 0 }
  td { border: 0; display: block; padding: .1rem 0 } td:empty { display: none }
  td[data-h]:not([data-h=""])::before { content: attr(data-h) ": "; opacity: .7 }
  .n { text-align: left }
}
"""


def as_html(review: Review) -> str:
    """One self-contained page."""
    e = html.escape
    body = [
        f"<h1>{e(review.project)}, stack {e(review.stack)}: <span"
        f" class='{'good' if review.passed else 'bad'}'>{e(verdict(review))}</span></h1>"
    ]
    body += [f"<p>{e(summary(review))}. Cost: {e(budget(review))}.</p>"]
    body += [f"<p class='warn'>{e(text)}</p>" for text in (*review.objectives_not_met, *review.notes)]
    body += _decisions(review)
    body += [
        "<h2>Findings</h2>",
        *(map(_section, by_resource(review.findings)) if review.findings else ["<p>None.</p>"]),
    ]
    if review.undecided:
        rows = [(f"<code>{e(u.policy)}</code>", e(u.resource or "the stack"), e(u.why)) for u in review.undecided]
        body += ["<h2>Undecided until deployment</h2>", html_table(("control", "resource", "why"), rows)]
    if review.comparison:
        body += _html_comparison(review)
    rows = [
        (e(line.name), e(line.model), usd(line.monthly_usd))
        for line in sorted(review.cost.lines, key=lambda line: -line.monthly_usd)
    ]
    body += [
        "<h2>Cost</h2>",
        html_table(("what", "model", "USD a month"), rows, numbers=(2,)),
        f"<p class='dim'>{e(prices(review))}.</p>",
    ]
    body += [f"<p class='dim'>{title[0].upper()}{title[1:]}: {e(text)}</p>" for title, text in leftovers(review)]
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
    by_type: dict[str, int] = {}
    for resource in review.resources:
        if resource.custom:
            by_type[resource.type] = by_type.get(resource.type, 0) + 1
    kinds = [(f"<code>{e(kind)}</code>", str(count)) for kind, count in sorted(by_type.items())]
    body += [
        f"<h2>Resources</h2><details><summary>{sum(by_type.values())} of {len(kinds)} types</summary>",
        html_table(("type", "count"), kinds, numbers=(1,)),
        "</details>",
    ]
    title = f"Review of {e(review.project)}, stack {e(review.stack)}"
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><meta name='viewport'"
        f" content='width=device-width'><title>{title}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def html_table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], numbers: tuple[int, ...] = ()) -> str:
    """A table; on a narrow screen each row becomes lines, each with its column's name.

    Args:
        rows: HTML of the cells.
        numbers: Columns of numbers.
    """

    def cell(index: int, text: str, tag: str) -> str:
        name = f" data-h='{html.escape(heads[index], quote=True)}'" if tag == "td" else ""
        return f"<{tag}{' class=n' if index in numbers else ''}{name}>{text}</{tag}>"

    head = "".join(cell(index, text, "th") for index, text in enumerate(heads))
    lines = ["<tr>" + "".join(cell(index, text, "td") for index, text in enumerate(row)) + "</tr>" for row in rows]
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(lines) + "\n</tbody></table>"


def _decisions(review: Review) -> list[str]:
    """What a reviewer of a change must decide."""
    if review.comparison is None:
        return []
    e = html.escape
    out = [f"<li><b>Data is lost</b>: {e(text)}</li>" for text in destroyed(review)]
    out += [
        f"<li><b>New mandatory finding</b> <code>{e(f.policy)}</code> on {e(f.resource)}: {e(f.message)}</li>"
        for f in review.comparison.findings_added
        if f.blocks
    ]
    out += [
        f"<li><b>{counted(len(actions), 'new right')} to write or decrypt</b> for {e(who)}:"
        f" <code>{e(', '.join(actions))}</code></li>"
        for who, actions in new_rights(review).items()
    ]
    nothing = [f"<li>{NOTHING_TO_DECIDE}</li>"]
    return ["<h2>To decide</h2><ul>", *(out or nothing), "</ul>"]


def _section(group: Group) -> str:
    e = html.escape
    kind = f" <code>{e(group.type)}</code>" if group.type else ""
    place = f" <code class='dim'>{e(group.source)}</code>" if group.source else ""
    rows = "\n".join(f"<li>{_finding(finding)}</li>" for finding in group.findings)
    return f"<section><h3>{e(group.name)}{kind}{place}</h3><ul>\n{rows}\n</ul></section>"


def _finding(f: Finding) -> str:
    e = html.escape
    state = ("dim", "waived") if f.waived else ("bad", "mandatory") if f.mandatory else ("warn", "advisory")
    name = (
        f"<a href='{e(f.url, quote=True)}'><code>{e(f.policy)}</code></a>" if f.url else f"<code>{e(f.policy)}</code>"
    )
    text = f"{name} <span class='{state[0]}'>{f.severity}, {state[1]}</span>: {e(f.message)}."
    if f.waived:
        return (
            f"{text}<p class='dim'>Waived by {e(f.waived.approver)} until {f.waived.expires}: {e(f.waived.reason)}</p>"
        )
    risk = f"<p class='dim'>{e(f.risk)}.</p>" if f.risk else ""
    return f"{text}{risk}<p>{e(f.remediation)} <span class='dim'>{e(', '.join(f.law))}</span></p>"


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
    return html_table(("who", "access", "actions", "on", "where", "written in"), rows)


def _html_comparison(review: Review) -> list[str]:
    e = html.escape
    found = review.comparison
    assert found is not None
    delta = review.cost.monthly_usd - found.monthly_usd_before
    body = [f"<h2>Against {e(found.revision)}</h2><p>{e(counts(review))}; {signed(delta)} USD a month.</p>"]
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
    rows = [
        (c.what, e(c.name), f"<code>{e(c.type)}</code>", e(", ".join(c.inputs)), e(", ".join(c.replacing)))
        for c in found.resources
    ]
    return body + ([html_table(("", "name", "type", "inputs", "made anew by"), rows)] if rows else [])
