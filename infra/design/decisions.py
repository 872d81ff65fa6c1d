"""How a decision is made and recorded: options, the cheapest feasible one, and the rejected ones."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

from infra.design.bill import Bill
from spec.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Rejected:
    """An option that was not chosen, what it would have cost a month, and why not."""

    option: str
    monthly_usd: float
    why: str


@dataclass(frozen=True)
class Decision:
    """One choice of one layer.

    Attributes:
        objectives: What forced it, each ``path: value`` below ``groundplan:objectives``.
        because: One sentence that explains how the objectives lead to the choice.
        bill: What it costs; a decision that saves has negative amounts.
        model: The model it was made for; empty where it applies to all.
    """

    layer: str
    chosen: str
    objectives: tuple[str, ...]
    because: str
    bill: Bill
    rejected: tuple[Rejected, ...] = ()
    model: str = ""

    @property
    def monthly_usd(self) -> float:
        """USD a month."""
        return self.bill.usd

    def document(self) -> dict[str, Any]:
        """For programs; with what is charged for, item by item."""
        found = asdict(self)
        charges = found.pop("bill")["charges"]
        return {**found, "monthly_usd": self.monthly_usd, "charges": charges}


@dataclass(frozen=True)
class Obstacle:
    """Why an option can't meet the objectives, and the nearest value of the objective with which it could.

    Attributes:
        objective: Path below ``groundplan:objectives``; empty where no objective could be relaxed.
        given: Its current value.
    """

    why: str
    objective: str = ""
    nearest: Any = None
    given: Any = None

    @property
    def distance(self) -> float:
        """How far the nearest value is from the given one, as a factor's logarithm; 0 where they are not numbers."""
        numbers = all(
            isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
            for value in (self.nearest, self.given)
        )
        return abs(math.log(self.nearest / self.given)) if numbers else 0.0


@dataclass(frozen=True)
class Option(Generic[T]):
    """One way to build a layer. ``obstacles`` is empty if it meets the objectives."""

    name: str
    bill: Bill
    value: T
    obstacles: tuple[Obstacle, ...] = ()

    @property
    def monthly_usd(self) -> float:
        """USD a month."""
        return self.bill.usd


@dataclass
class Chooser:
    """Collects the decisions of one design."""

    decisions: list[Decision] = field(default_factory=list)

    def choose(
        self, layer: str, options: Iterable[Option[T]], objectives: tuple[str, ...], because: str, model: str = ""
    ) -> T:
        """Keep the cheapest option without an obstacle; the others become the rejected alternatives.

        Raises:
            UsageError: Every option has an obstacle; the message names each, and the nearest objectives that would
                work.
        """
        ranked = sorted(options, key=lambda option: (option.monthly_usd, option.name))
        best = next((option for option in ranked if not option.obstacles), None)
        if best is None:
            raise _infeasible(layer, ranked, objectives)
        rejected = tuple(
            Rejected(
                option.name,
                option.monthly_usd,
                "; ".join(obstacle.why for obstacle in option.obstacles) or "costs more",
            )
            for option in ranked
            if option is not best
        )
        self.decisions.append(Decision(layer, best.name, objectives, because, best.bill, rejected, model))
        return best.value

    def note(self, layer: str, chosen: str, objectives: tuple[str, ...], because: str, bill: Bill) -> None:
        """Keep a decision to which there is no alternative."""
        self.decisions.append(Decision(layer, chosen, objectives, because, bill))


def _infeasible(layer: str, ranked: list[Option[T]], objectives: tuple[str, ...]) -> UsageError:
    reasons = "".join(
        f"\n  {option.name}: {'; '.join(obstacle.why for obstacle in option.obstacles)}" for option in ranked
    )
    relaxable = [option for option in ranked if all(obstacle.objective for obstacle in option.obstacles)]
    # The fewer objectives must change, and the less, the nearer. Of options that require the same changes, only the
    # cheapest is listed.
    asked: dict[tuple[tuple[str, Any], ...], Option[T]] = {}
    for option in sorted(relaxable, key=lambda option: (len(option.obstacles), option.monthly_usd)):
        asked.setdefault(tuple((obstacle.objective, obstacle.nearest) for obstacle in option.obstacles), option)
    fewest = min((len(option.obstacles) for option in asked.values()), default=0)
    nearest = sorted(
        (option for option in asked.values() if len(option.obstacles) == fewest),
        key=lambda option: sum(obstacle.distance for obstacle in option.obstacles),
    )[:3]
    ways = [
        f"{' and '.join(f'{o.objective}: {_value(o.nearest)}' for o in option.obstacles)} ({option.name},"
        f" {option.monthly_usd:,.0f} USD a month)"
        for option in nearest
    ]
    return UsageError(
        f"these objectives can't be met together: {', '.join(objectives)}{reasons}",
        where=layer,
        fix=f"nearest that works: {'; or '.join(ways)}" if ways else "relax one of the objectives named",
    )


def _value(value: Any) -> str:
    return (
        {True: "true", False: "false"}[value]
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, (int, float))
        else str(value)
    )
