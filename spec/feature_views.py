"""Feature views: tables of the feature store, declared in ``model.yaml`` or derived from a contract."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from spec import contracts as standard
from spec.contracts import Contract
from spec.errors import UsageError

EVENT_TIME = "event_timestamp"  # Feast's name for it
FeatureType = Literal["integer", "number", "string", "boolean"]


class View(BaseModel):
    """A feature view: a table of the feature store, one row per entity and point in time.

    Attributes:
        name: Also the name of its online table.
        key: The field that identifies the entity.
        features: Type by name, in order.
        ttl_days: Maximum age of online rows, by the platform's clock; 0 for any age.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="", pattern=r"^([a-z][a-z0-9_]*)?$")
    key: str
    key_type: FeatureType = "string"
    features: dict[str, FeatureType] = Field(min_length=1)
    ttl_days: int = Field(default=0, ge=0)

    @property
    def time(self) -> str:
        """Name of the column with the time of each row: ``event_timestamp``, unless a feature has that name."""
        return free_name(EVENT_TIME, (self.key, *self.features))


def free_name(name: str, taken: Iterable[str]) -> str:
    """The name, with underscores appended until it is not taken."""
    while name in taken:
        name += "_"
    return name


def view_of(contract: Contract, target: str) -> View:
    """The events as features: single values, not lists or objects.

    Raises:
        UsageError: The contract has no single key, or no field besides it and the target.
    """
    if len(contract.keys) != 1:
        raise UsageError(
            f"has {'no primary key' if not contract.keys else f'the keys {chr(44).join(contract.keys)} together'}, but"
            " a feature view needs one",
            where=f"contract {contract.id}",
            fix="mark one property `primaryKey: true`, or name `features` and `views` in model.yaml",
        )
    kinds = {item.name: feature_type(item) for item in contract.fields}
    key_type = kinds.pop(contract.key)
    features = {name: kind for name, kind in kinds.items() if kind is not None and name != target}
    if not features or key_type is None:
        raise UsageError(
            "has no field besides its key and the target, so there is nothing to predict from",
            where=f"contract {contract.id}",
            fix="name `features` and `views`",
        )
    return View(name=contract.view, key=contract.key, key_type=key_type, features=features)


def feature_type(item: standard.Field) -> FeatureType | None:
    """A field's type as a feature; None where it is not a single value."""
    kinds: dict[str, FeatureType] = {
        "integer": "integer",
        "number": "number",
        "decimal": "number",
        "boolean": "boolean",
    }
    return None if item.stored in ("object", "array", "json") else kinds.get(item.stored, "string")
