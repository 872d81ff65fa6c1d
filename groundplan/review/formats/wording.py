"""How every format calls the same things."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from groundplan.review.model import Change, Finding, Grant, Review, by_severity

MOST_ROWS, _MOST_NAMES = 30, 8
NOTHING_TO_DECIDE = "No data is lost, no finding is newly mandatory, nobody gets a new right to write or decrypt."
# Rights that make what is encrypted or secret readable, though AWS calls them reading.
_OPENING = frozenset(
    {
        "kms:decrypt",
        "kms:reencryptfrom",
        "secretsmanager:getsecretvalue",
        "secretsmanager:batchgetsecretvalue",
        "ssm:getparameter",
        "ssm:getparameters",
        "ssm:getparametersbypath",
        "kms:*",
        "secretsmanager:*",
        "ssm:*",
        "*",
    }
)


def verdict(review: Review) -> str:
    """One line."""
    if review.passed:
        serious = sum(finding.severity in ("critical", "high") and not finding.waived for finding in review.findings)
        only = "1 high finding is advisory" if serious == 1 else f"{serious} high findings are advisory"
        return f"passed; {only}: what it is held to doesn't require more" if serious else "passed"
    reasons = []
    if review.blocking:
        reasons.append(counted(len(review.blocking), "mandatory finding"))
    if review.cost.over_budget:
        reasons.append("over budget")
    reasons += [reason for reason in review.objectives_not_met if not review.cost.over_budget]
    return f"failed: {', '.join(reasons)}"


def summary(review: Review) -> str:
    """What was looked at, and how many findings there are."""
    advisory = [f for f in review.findings if not f.mandatory and not f.waived]
    waived = [f for f in review.findings if f.waived]
    parts = [
        f"{sum(r.custom for r in review.resources)} resources",
        f"{review.controls} controls",
        counted(len(review.blocking), "mandatory finding"),
    ]
    parts += [f"{len(advisory)} advisory"] if advisory else []
    parts += [f"{len(waived)} waived"] if waived else []
    parts += [f"{len(review.undecided)} checks that can be decided only after deployment"] if review.undecided else []
    return ", ".join(parts)


def counted(number: int, what: str) -> str:
    """A number with its noun."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def usd(value: float) -> str:
    """An amount; cents only where they matter."""
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"


def signed(value: float) -> str:
    """A difference."""
    return f"{'-' if round(value, 2) < 0 else '+'}{usd(abs(value))}"


def budget(review: Review) -> str:
    """The cost, and what share of the budget it is."""
    cost = review.cost
    text = f"{'at least ' if cost.incomplete else ''}{usd(cost.monthly_usd)} USD a month"
    if cost.budget_usd:
        text += f", {cost.monthly_usd / cost.budget_usd:.0%} of the budget of {usd(cost.budget_usd)}"
    return text


def prices(review: Review) -> str:
    """Which prices those are."""
    basis = (
        "with the usage that the design expects"
        if review.cost.basis == "design"
        else "for what the program creates; excludes usage"
    )
    return f"list prices {review.cost.source}, {basis}"


def listed(pairs: Iterable[tuple[str, int]]) -> str:
    """Types with their numbers."""
    return ", ".join(f"{count} x {kind}" for kind, count in pairs)


def leftovers(review: Review) -> list[tuple[str, str]]:
    """What the review says nothing of, by what that is."""
    found = (
        ("billed by usage, not in the total", review.cost.by_use),
        ("not priced", review.cost.not_priced),
        ("free", review.cost.free),
        ("no control for", review.uncovered),
    )
    return [(title, listed(pairs)) for title, pairs in found if pairs]


def grant_text(grant: Grant) -> str:
    """Who may do what to what."""
    conditions = f" where {'; '.join(grant.conditions)}" if grant.conditions else ""
    actions = ", ".join(action.partition(":")[2] or action for action in grant.actions)
    return f"{grant.who}: {grant.access} {grant.service} ({actions}) on {', '.join(grant.resources)}{conditions}"


def change_text(change: Change) -> str:
    """A resource with what differs; what has it made anew is said."""
    text = f"{change.name} ({change.type}){': ' + ', '.join(change.inputs) if change.inputs else ''}"
    return f"{text} (made anew, since {', '.join(change.replacing)} can't be changed)" if change.replacing else text


def counts(review: Review) -> str:
    """How many resources differ."""
    assert review.comparison is not None
    kinds = [change.what for change in review.comparison.resources]
    parts = [f"{kinds.count(what)} {what}" for what in ("added", "changed", "gone") if what in kinds]
    return f"resources: {', '.join(parts)}" if parts else "no resource differs"


@dataclass(frozen=True)
class Group:
    """The findings on one resource, or on several that one line creates and that have the same.

    Attributes:
        name: Of all of them.
        findings: Those on the first.
    """

    name: str
    type: str
    source: str
    findings: tuple[Finding, ...]


def by_resource(findings: Iterable[Finding]) -> list[Group]:
    """The findings by resource: the one with the worst finding first."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in by_severity(list(findings)):
        groups.setdefault((finding.resource, finding.type, finding.source), []).append(finding)
    alike: dict[Any, list[tuple[str, list[Finding]]]] = {}
    for (name, kind, source), found in groups.items():
        said = tuple((item.policy, item.message, item.mandatory, item.waived) for item in found)
        alike.setdefault((kind, source, said), []).append((name, found))
    return [
        Group(_names([name for name, _ in same]), kind, source, tuple(same[0][1]))
        for (kind, source, _), same in alike.items()
    ]


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def destroyed(review: Review) -> list[str]:
    """What loses data by the change."""
    found = review.comparison.resources if review.comparison else ()
    return [
        f"{change.name} ({change.type}) is deleted"
        if change.what == "gone"
        else f"{change.name} ({change.type}) is made anew, since {', '.join(change.replacing)} can't be changed"
        for change in found
        if change.destroys_data
    ]


def new_rights(review: Review) -> dict[str, list[str]]:
    """New actions that write, manage permissions or decrypt, by who may do them."""
    if review.comparison is None:
        return {}
    before = {right for grant in review.comparison.grants_gone for right in _rights(grant)}
    found: dict[str, set[str]] = {}
    for grant in review.comparison.grants_added:
        for right in _rights(grant) - before:
            who, action = right[:2]
            if grant.access in ("Write", "Permissions management") or action.lower() in _OPENING:
                found.setdefault(who, set()).add(action)
    return {who: sorted(actions) for who, actions in sorted(found.items())}


def _rights(grant: Grant) -> set[tuple[str, str, str, tuple[str, ...]]]:
    return {(grant.who, action, resource, grant.conditions) for action in grant.actions for resource in grant.resources}
