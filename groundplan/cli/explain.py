"""``groundplan explain``: what the objectives lead to, why, at what cost, and what a changed objective would change."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.design import Design, design
from infra.design.price_book import SPOT_AS_OF, PriceBook, load_prices
from spec.errors import UsageError
from spec.objectives import StackConfig, load_config, parse


@dataclass(frozen=True)
class Explained:
    """A stack's design, and the design with some objectives changed (None if none was changed)."""

    stack: str
    config: StackConfig
    plan: Design
    prices: PriceBook
    changes: tuple[str, ...] = ()
    changed: Design | None = None
    changed_config: StackConfig | None = None

    def document(self) -> dict[str, Any]:
        """For programs."""
        found = {
            "stack": self.stack,
            "region": self.config.region,
            "budget_monthly_usd": self.config.objectives.budget.monthly_usd,
            "prices_as_of": self.prices.as_of,
            "prices_region": self.prices.region,
            "prices_estimate": self.prices.estimate,
            **_document(self.plan),
        }
        if self.changed is not None:
            found["set"] = {
                "changes": list(self.changes),
                "differences": differences(self.plan, self.changed),
                **_document(self.changed),
            }
        return found


def _document(plan: Design) -> dict[str, Any]:
    decisions = [decision.document() for decision in plan.decisions]
    return {
        "monthly_usd": round(plan.monthly_usd, 2),
        "monthly_usd_by_model": {m: round(plan.model_usd(m), 2) for m in plan.serving},
        "decisions": decisions,
    }


def explain(root: Path, stack: str, changes: tuple[str, ...] = ()) -> Explained:
    """Design a stack, and design it again with ``changes``, each ``path=value`` below ``groundplan:objectives``.

    Raises:
        UsageError: The objectives, or a change, are invalid or can't be met.
    """
    where = f"stacks/Pulumi.{stack}.yaml"
    config = load_config(root, stack)
    parsed = parse(config, where=where)
    prices = load_prices(parsed.region)
    plan = design(parsed.objectives, prices, parsed.region)
    if not changes:
        return Explained(stack, parsed, plan, prices)
    other = copy.deepcopy(config)
    for change in changes:
        _set(other["groundplan:objectives"], change)
    changed = parse(other, where="--set")
    return Explained(stack, parsed, plan, prices, changes, design(changed.objectives, prices, changed.region), changed)


def _set(objectives: dict[str, Any], change: str) -> None:
    import yaml

    path, equals, text = change.partition("=")
    if not equals or not path:
        raise UsageError(
            f"expected PATH=VALUE, got {change!r}", where="--set", fix="for example --set budget.monthly_usd=5000"
        )
    place: Any = objectives
    *parents, last = path.split(".")
    for depth, part in enumerate(parents):
        if not isinstance(place.setdefault(part, {}) if isinstance(place, dict) else place, dict):
            raise UsageError(f"{'.'.join(parents[: depth + 1])} has no objectives below it", where=f"--set {change}")
        place = place[part]
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"{text!r} is not a YAML value", where=f"--set {change}") from None


def differences(before: Design, after: Design) -> list[dict[str, Any]]:
    """Decisions that differ: layer, the choice before and after (empty where there is none), USD a month of both."""
    first, second = ({decision.layer: decision for decision in plan.decisions} for plan in (before, after))
    found = []
    for layer in [*first, *(layer for layer in second if layer not in first)]:
        one, two = first.get(layer), second.get(layer)
        if (
            one is None
            or two is None
            or (one.chosen, round(one.monthly_usd, 2)) != (two.chosen, round(two.monthly_usd, 2))
        ):
            found.append(
                {
                    "layer": layer,
                    "before": one.chosen if one else "",
                    "after": two.chosen if two else "",
                    "monthly_usd_before": round(one.monthly_usd, 2) if one else 0.0,
                    "monthly_usd_after": round(two.monthly_usd, 2) if two else 0.0,
                    "because": two.because if two else "",
                    "objectives": list(two.objectives) if two else [],
                }
            )
    return found


def print_explained(found: Explained, *, alternatives: bool) -> None:
    """The same for people; all rejected options only on request."""
    from rich.markup import escape

    from groundplan import terminal

    console = terminal.console()
    plan, budget = found.plan, found.config.objectives.budget.monthly_usd
    if found.changed is None:
        shown = terminal.table(
            "layer",
            "objectives",
            "decision",
            "because",
            "USD a month",
            title=f"Stack {found.stack} ({found.config.region})",
        )
        shown.columns[4].justify = "right"
        for decision in plan.decisions:
            cells = (decision.layer, "\n".join(decision.objectives), decision.chosen, decision.because)
            shown.add_row(*map(escape, cells), f"{decision.monthly_usd:,.2f}")
            feasible = [other for other in decision.rejected if other.why == "costs more"]
            telling = [
                other
                for other in decision.rejected
                if other.monthly_usd < decision.monthly_usd and other.why != "costs more"
            ] + feasible[:1]
            for other in decision.rejected if alternatives else telling:
                shown.add_row(
                    "",
                    "",
                    *(
                        f"[dim]{escape(cell)}[/dim]"
                        for cell in (f"not {other.option}", other.why, f"{other.monthly_usd:,.2f}")
                    ),
                )
        console.print(shown)
    else:
        _print_changes(found)
        plan = found.changed
        assert found.changed_config is not None
        budget = found.changed_config.objectives.budget.monthly_usd
    console.print(
        f"\n[bold]{plan.monthly_usd:,.2f}[/bold] of {budget:,.2f} USD a month ({plan.monthly_usd / budget:.0%})", end=""
    )
    by_model = "; ".join(f"{model} {plan.model_usd(model):,.2f}" for model in plan.serving)
    console.print(f", of which by model: {by_model}; the rest is shared")
    how = f" ({found.prices.estimate})" if found.prices.estimate else ""
    console.print(
        f"List prices of {found.prices.region} as of {found.prices.as_of}{how}; spare capacity as of {SPOT_AS_OF};"
        " excludes traffic between zones, tax and discounts"
    )


def _print_changes(found: Explained) -> None:
    from rich.markup import escape

    from groundplan import terminal

    console = terminal.console()
    assert found.changed is not None
    console.print(f"[bold]Stack {found.stack}[/bold] with {escape(', '.join(found.changes))}\n")
    rows = differences(found.plan, found.changed)
    if not rows:
        console.print("No decision changes.")
        return
    shown = terminal.table("layer", "now", "then", "USD a month", "because")
    shown.columns[3].justify = "right"
    for row in rows:
        delta = row["monthly_usd_after"] - row["monthly_usd_before"]
        shown.add_row(
            *map(
                escape,
                (row["layer"], row["before"] or "(none)", row["after"] or "(none)", f"{delta:+,.2f}", row["because"]),
            )
        )
    console.print(shown)
    console.print(
        f"\n{found.plan.monthly_usd:,.2f} -> {found.changed.monthly_usd:,.2f} USD a month"
        f" ({found.changed.monthly_usd - found.plan.monthly_usd:+,.2f})"
    )
