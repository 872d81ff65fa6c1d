"""A review as a comment on a pull request: what a reviewer must decide first, everything else folded."""

from __future__ import annotations

from groundplan.review.formats.wording import (
    MOST_ROWS,
    NOTHING_TO_DECIDE,
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
from groundplan.review.model import Finding, Review, by_severity

_MOST_ACTIONS = 8


def as_markdown(review: Review) -> str:
    """GitHub's and GitLab's Markdown."""
    cost = budget(review)
    if review.comparison:
        cost = f"{signed(review.cost.monthly_usd - review.comparison.monthly_usd_before)} USD a month, now {cost}"
    against = f"; against `{review.comparison.revision}`: {counts(review)}" if review.comparison else ""
    out = [
        f"## {'✅' if review.passed else '❌'} {review.project} / {review.stack}: {verdict(review)}; {cost}",
        "",
        f"{summary(review)}{against}.",
    ]
    out += _decisions(review)
    open_findings = [finding for finding in review.findings if not finding.waived]
    blocking = [finding for finding in open_findings if finding.blocks]
    advisory = [finding for finding in open_findings if not finding.blocks]
    if blocking and review.comparison is None:
        out += ["", "### Mandatory findings", "", *_findings(blocking)]
    elif blocking:
        out += _folded(counted(len(blocking), "mandatory finding"), _findings(blocking))
    if advisory:
        out += _folded(counted(len(advisory), "advisory finding"), _findings(advisory))
    if review.comparison:
        out += _comparison(review)
    out += _folded("Cost by layer and model" if review.cost.basis == "design" else "Cost by type", _cost_rows(review))
    waived = [finding for finding in by_severity(review.findings) if finding.waived]
    if waived:
        rows = [
            f"| `{f.policy}` | {_md(f.resource)} | {_md(f.waived.reason)} | {_md(f.waived.approver)} |"
            f" {f.waived.expires} |"
            for f in waived
            if f.waived
        ]
        heads = ["| finding | resource | reason | approver | until |", "|---|---|---|---|---|"]
        out += _folded(f"{len(waived)} waived", [*heads, *rows])
    if review.undecided:
        rows = [
            f"- `{item.policy}` on {_md(item.resource or 'the stack')}: {_md(item.why)}"
            for item in review.undecided[:MOST_ROWS]
        ]
        out += _folded(f"{len(review.undecided)} checks that can be decided only after deployment", rows)
    unseen = [f"- {_md(note)}" for note in (*review.notes, *review.objectives_not_met)]
    unseen += [f"- {title}: {_md(text)}" for title, text in leftovers(review) if title == "no control for"]
    if unseen:
        out += _folded("What the review did not see", unseen)
    return "\n".join(out).rstrip() + "\n"


def _decisions(review: Review) -> list[str]:
    """What destroys data, what is newly mandatory, who gets rights that write or decrypt."""
    if review.comparison is None:
        return []
    out = [f"- **Data is lost**: {_md(text)}" for text in destroyed(review)]
    added = [finding for finding in review.comparison.findings_added if finding.blocks]
    out += [
        f"- **New mandatory finding** `{f.policy}` ({f.severity}) on {_md(f.resource)} `{f.source}`: {_md(f.message)}."
        f" {_md(f.remediation)}"
        for group in by_resource(added)[:MOST_ROWS]
        for f in group.findings
    ]
    for who, actions in new_rights(review).items():
        named = ", ".join(f"`{action}`" for action in actions[:_MOST_ACTIONS])
        more = f" and {len(actions) - _MOST_ACTIONS} more" if len(actions) > _MOST_ACTIONS else ""
        out.append(f"- **{counted(len(actions), 'new right')} to write or decrypt** for {_md(who)}: {named}{more}")
    if not out:
        out = [f"- {NOTHING_TO_DECIDE}"]
    return ["", "### To decide", "", *out]


def _md(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _findings(findings: list[Finding]) -> list[str]:
    """A table with a row for each resource's findings."""
    rows = ["| resource | finding | what is wrong, and what to do |", "|---|---|---|"]
    shown = 0
    for group in by_resource(findings):
        if shown >= MOST_ROWS:
            rows.append(f"\n... and {len(findings) - shown} more.")
            break
        place = f"{_md(group.name)}<br>`{group.source}`" if group.source else _md(group.name)
        for f in group.findings:
            risk = f" {_md(f.risk)}." if f.risk else ""
            rows.append(
                f"| {place} | `{f.policy}` {f.severity} | {_md(f.message)}.{risk} **{_md(f.remediation)}**"
                f" ({_md(', '.join(f.law))}) |"
            )
            place, shown = "", shown + 1
    return rows


def _folded(title: str, lines: list[str]) -> list[str]:
    return ["", "<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>"]


def _cost_rows(review: Review) -> list[str]:
    lines = sorted(review.cost.lines, key=lambda line: -line.monthly_usd)
    rows = [f"| {_md(line.name)} | {_md(line.model)} | {usd(line.monthly_usd)} |" for line in lines]
    more = [
        f"\n{title[0].upper()}{title[1:]}: {_md(text)}"
        for title, text in leftovers(review)
        if title != "no control for"
    ]
    return ["| what | model | USD a month |", "|---|---|---:|", *rows, f"\n{prices(review)}.", *more]


def _comparison(review: Review) -> list[str]:
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
        heads = ["| | who | access | actions | on | where |", "|---|---|---|---|---|---|"]
        more = [f"\n... and {len(rows) - MOST_ROWS} more."] if len(rows) > MOST_ROWS else []
        title = f"Permissions: {len(found.grants_added)} new, {len(found.grants_gone)} gone"
        out += _folded(title, [*heads, *rows[:MOST_ROWS], *more])
    if found.may_added or found.may_gone:
        out += _folded(
            f"Who may do what: {len(found.may_added)} new, {len(found.may_gone)} gone",
            [
                f"- {word}: {_md(deed)}"
                for word, deeds in (("**now**", found.may_added), ("no longer", found.may_gone))
                for deed in deeds
            ],
        )
    if found.findings_added or found.findings_gone:
        rows = [f"- new: `{f.policy}` on {_md(f.resource)}: {_md(f.message)}" for f in found.findings_added[:MOST_ROWS]]
        rows += (
            [f"- ... and {len(found.findings_added) - MOST_ROWS} more new ones"]
            if len(found.findings_added) > MOST_ROWS
            else []
        )
        rows += [f"- fixed: `{f.policy}` on {_md(f.resource)}" for f in found.findings_gone]
        out += _folded(f"Findings: {len(found.findings_added)} new, {len(found.findings_gone)} fixed", rows)
    if found.resources:
        rows = [
            f"| {c.what} | {_md(c.name)} | `{c.type}` | {_md(', '.join(c.inputs))} | {_md(', '.join(c.replacing))} |"
            for c in found.resources
        ]
        out += _folded(
            f"Resources: {counts(review).removeprefix('resources: ')}",
            ["| | name | type | inputs | made anew by |", "|---|---|---|---|---|", *rows],
        )
    return out
