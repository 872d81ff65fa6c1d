"""What the program needs to know of the examples: their contracts, and the feature views that are made of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.contracts import Contract, load_contract
from infra.errors import UsageError

FeatureType = Literal["integer", "number", "string", "boolean"]


class View(BaseModel):
    """A feature view: a table of the feature store, one row an entity and point in time.

    Attributes:
        name: Also that of its online table.
        key: The entity's field.
        features: Type by name, in order.
        ttl_days: How old rows may be that are put online; 0 for any age.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="", pattern=r"^([a-z][a-z0-9_]*)?$")
    key: str
    key_type: FeatureType = "string"
    features: dict[str, FeatureType] = Field(min_length=1)
    ttl_days: int = Field(default=0, ge=0)


class Settings(BaseModel):
    """``example.yaml``.

    Attributes:
        model: Name of the model, under which the stack file has its objectives.
        target: Name of the label.
        source: ``file:function`` that yields events of a topic, for filling the topics on one machine.
        features: Module in the folder with the Ibis expressions behind ``views``; without one the events are the features.
        views: Feature views by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = ""
    target: str = ""
    source: str = ""
    features: str = ""
    views: dict[str, View] = {}


def read_settings(folder: Path) -> Settings:
    """An example's settings; empty ones where there is no ``example.yaml``.

    Raises:
        UsageError: The file is wrong.
    """
    import yaml

    file = folder / "example.yaml"
    if not file.is_file():
        return Settings()
    try:
        return Settings.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()) if isinstance(error, ValidationError) else str(error)
        raise UsageError(said, where=str(file), fix=f"known: {', '.join(Settings.model_fields)}") from None


def views_of(settings: Settings, contracts: tuple[Contract, ...]) -> tuple[View, ...]:
    """The feature views of an example: those it declares, or its one contract's events."""
    if settings.views:
        return tuple(view.model_copy(update={"name": name}) for name, view in settings.views.items())
    return tuple(_of_contract(contract, settings.target) for contract in contracts)


def _of_contract(contract: Contract, target: str) -> View:
    kinds: dict[str, Any] = {p.name: "string" if p.logicalType == "timestamp" else p.logicalType for p in contract.properties}
    key_type = kinds.pop(contract.key)
    kinds.pop(target, None)
    return View(name=contract.view, key=contract.key, key_type=key_type, features=kinds)


def contract_files(folder: Path) -> list[Path]:
    """An example's contracts: ``contract.yaml``, or those in ``contracts/``."""
    return sorted([*folder.glob("contract.yaml"), *folder.glob("contracts/*.yaml")])


def load_contracts(folder: Path) -> tuple[Contract, ...]:
    """An example's contracts, by their file names."""
    return tuple(load_contract(path) for path in contract_files(folder))


def examples(root: Path) -> Iterator[tuple[Path, Settings, tuple[Contract, ...]]]:
    """Folder, settings and contracts of every example, by name."""
    for path in sorted(root.glob("examples/*/experiment.py")):
        yield path.parent, read_settings(path.parent), load_contracts(path.parent)


def example_folders(root: Path) -> dict[str, str]:
    """Folder name of each example by the name of its model (``model`` in ``example.yaml``, else the folder's own)."""
    return {settings.model or folder.name: folder.name for folder, settings, _ in examples(root)}


def consumer_group(model: str) -> str:
    """Group in which a model's ingestion reads its topics."""
    return f"groundplan-ingest-{model}"


def consumer_groups(root: Path) -> dict[str, str]:
    """Consumer group by topic."""
    return {contract.topic: consumer_group(settings.model or folder.name) for folder, settings, contracts in examples(root) for contract in contracts}
