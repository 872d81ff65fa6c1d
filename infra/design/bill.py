"""What something costs a month, item by item, and what the quantity of each item grows with.

An estimate multiplies prices by the quantities that the objectives lead to; at another load, what grows with it costs
more or less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import total_ordering

TIME = ""  # by the hour or the month, whatever the load
EVENTS = "events"


def requests(model: str) -> str:
    """What grows with a model's predictions."""
    return f"requests of {model}"


def trainings(model: str) -> str:
    """What grows with a model's trainings."""
    return f"trainings of {model}"


@dataclass(frozen=True)
class Charge:
    """One item of a bill.

    Attributes:
        service, item: As in the price book.
        quantity: Units of the price book a month.
        usd: A month.
        spot_share: Of the price on demand, that is paid for spare capacity; 1 for what is on demand.
        grows_with: ``TIME``, ``EVENTS``, ``requests(model)`` or ``trainings(model)``.
    """

    service: str
    item: str
    quantity: float
    usd: float
    grows_with: str = TIME
    spot_share: float = 1.0


@total_ordering
@dataclass(frozen=True, eq=False)
class Bill:
    """Charges of a month; bills can be added, and multiplied by a number."""

    charges: tuple[Charge, ...] = ()

    @property
    def usd(self) -> float:
        """The sum, USD a month."""
        return float(sum(charge.usd for charge in self.charges))

    def on_spot(self, share: float) -> Bill:
        """The same on spare capacity, at this share of the price on demand."""
        return Bill(tuple(replace(charge, usd=charge.usd * share, spot_share=share) for charge in self.charges))

    def with_load(self, share: Mapping[str, float]) -> float:
        """USD a month if each load were this share of the planned one; 1 for what is not named."""
        return sum(charge.usd * share.get(charge.grows_with, 1.0) for charge in self.charges)

    def __add__(self, other: Bill) -> Bill:
        return Bill((*self.charges, *other.charges))

    def __mul__(self, times: float) -> Bill:
        return Bill(tuple(replace(c, quantity=c.quantity * times, usd=c.usd * times) for c in self.charges))

    __rmul__ = __mul__

    def __truediv__(self, by: float) -> Bill:
        return self * (1 / by)

    def __neg__(self) -> Bill:
        return self * -1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bill) and self.usd == other.usd

    def __lt__(self, other: Bill) -> bool:
        return self.usd < other.usd

    __hash__ = None  # type: ignore[assignment]


NOTHING = Bill()
