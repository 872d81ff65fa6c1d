"""Arguments of components: frozen, keyword-only, and checked against the ranges that AWS documents when they are
created, before an engine sees them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_type_hints

from spec.errors import UsageError

NO_LIMIT = float("inf")


@dataclass(frozen=True)
class Between:
    """Lowest and highest allowed value, both inclusive; for a tuple, of each of its values.

    Attributes:
        unit: What is counted, for the message.
        of: The service that sets the limit, for example ``KMS``.
    """

    low: float
    high: float = NO_LIMIT
    unit: str = ""
    of: str = ""

    def fault(self, value: Any) -> str:
        """What is wrong with a value; empty if nothing is."""
        values = value if isinstance(value, tuple) else (value,)
        if all(self.low <= item <= self.high for item in values):
            return ""
        unit = f" {self.unit}" if self.unit else ""
        allowed = f"at least {self.low:g}{unit}" if self.high == NO_LIMIT else f"{self.low:g} to {self.high:g}{unit}"
        return f"is {value}; allowed: {allowed}{f' ({self.of})' if self.of else ''}"


@dataclass(frozen=True)
class OneOf:
    """The allowed values.

    Attributes:
        of: The service that sets the list.
    """

    values: tuple[Any, ...]
    of: str = ""

    def fault(self, value: Any) -> str:
        """What is wrong with a value; empty if nothing is."""
        return (
            ""
            if value in self.values
            else f"is {value!r}; allowed: {', '.join(map(str, self.values))}{f' ({self.of})' if self.of else ''}"
        )


# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
LogRetention = Annotated[
    int,
    OneOf(
        (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653),
        "CloudWatch Logs",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Args:
    """Base of every component's arguments.

    Raises:
        UsageError: A value is out of range.
    """

    def __post_init__(self) -> None:
        kind: Any = type(self)
        for name, limit in _limits(kind):
            if fault := limit.fault(getattr(self, name)):
                raise UsageError(fault, where=f"{type(self).__name__}.{name}", fix="use an allowed value")


@cache
def _limits(kind: Any) -> tuple[tuple[str, Between | OneOf], ...]:
    return tuple(_found(kind))


def _found(kind: type) -> Iterator[tuple[str, Between | OneOf]]:
    # Only these annotations are read: Pulumi's own refer to types that can't be resolved here.
    limited = {name: hint for name, hint in vars(kind)["__annotations__"].items() if _may_have_a_limit(hint)}
    holder = type(kind.__name__, (), {"__annotations__": limited, "__module__": kind.__module__})
    for name, hint in get_type_hints(holder, include_extras=True).items():
        for limit in getattr(hint, "__metadata__", ()):
            if isinstance(limit, Between | OneOf):
                yield name, limit


def _may_have_a_limit(hint: Any) -> bool:
    """Whether an annotation, as text or as an object, is one of these."""
    return hint.startswith(("Annotated[", "LogRetention")) if isinstance(hint, str) else hasattr(hint, "__metadata__")
