"""Folders of models, one per model: ``model.yaml``, contracts, and the feature views derived from them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from spec import contracts as standard
from spec.contracts import Contract
from spec.errors import UsageError
from spec.feature_views import View, view_of

REVISIONS = "revisions.json"  # in an image's folder of models: the revision of each
DEAD_LETTERS = ".dlq"  # suffix of a topic's dead-letter topic


class Option(BaseModel):
    """An option of the source of a model's events, set when the platform is started on one machine: ``groundplan up
    --set MODEL.OPTION=VALUE``.

    Attributes:
        default: The value if none is given.
        help: One sentence.
        pattern: Regular expression that a value must match as a whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: str
    help: str
    pattern: str = ".*"


class Risk(StrEnum):
    """Risk class of a use, as the EU's AI Act (Regulation 2024/1689) divides them; a prohibited use has no model."""

    HIGH = "high"
    LIMITED = "limited"
    MINIMAL = "minimal"


class Card(BaseModel):
    """What a model's card says beside what is measured.

    Attributes:
        intended_use: What it may be used for, and by whom.
        limits: What it must not be used for, and where it is known to be wrong.
        owner: Who answers for it.
        risk: Risk class of its use.
        slices: Columns by whose values quality is reported, and compared before a version replaces another; and whose
            groups the bias metrics compare.
        favourable: The prediction that is good for whom it is about: a class, or the least number. By default the
            second of two classes, or the median of the training labels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    intended_use: str = ""
    limits: tuple[str, ...] = ()
    owner: str = ""
    risk: Risk | None = None
    slices: tuple[str, ...] = ()
    favourable: Annotated[str, BeforeValidator(str)] = ""  # YAML reads 0 as a number


class ModelFile(BaseModel):
    """``model.yaml``.

    Attributes:
        model: Name of the model, under which the stack file has its objectives.
        target: Name of the label.
        source: ``file:function`` that yields a topic's events, to fill the topics on one machine.
        features: Module in the folder with the Ibis expressions behind ``views``; without one the events are the
            features.
        views: Feature views by name.
        options: Arguments of the source, by name.
        recording: The events are of the past, sent again: "now" is the newest of them, not the platform's clock.
        classes: What people call each class of the label, by the label's value.
        card: What the model's card says beside what is measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = ""
    target: str = ""
    source: str = ""
    features: str = ""
    views: dict[str, View] = {}
    options: dict[str, Option] = {}
    recording: bool = False
    classes: dict[Annotated[str, BeforeValidator(str)], str] = {}  # YAML reads 0 as a number
    card: Card = Card()

    def answer(self, prediction: Any) -> str:
        """A predicted class as a person would say it: ``on time (class 0)``."""
        name = self.classes.get(str(prediction))
        return f"{name} (class {prediction})" if name else f"class {prediction}"


def read_model_file(folder: Path) -> ModelFile:
    """The content of ``model.yaml``; empty if it does not exist.

    Raises:
        UsageError: The file is invalid.
    """
    import yaml

    file = folder / "model.yaml"
    if not file.is_file():
        return ModelFile()
    try:
        return ModelFile.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        said = (
            "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            if isinstance(error, ValidationError)
            else str(error)
        )
        raise UsageError(said, where=str(file), fix=f"known: {', '.join(ModelFile.model_fields)}") from None


def options_of(file: ModelFile, given: Mapping[str, str], model: str) -> dict[str, str]:
    """The source's arguments: the given ones, else the defaults.

    Raises:
        UsageError: There is no such option, or it does not accept this value.
    """
    known = {name: f"{name} ({option.help}; default {option.default})" for name, option in file.options.items()}
    for name, value in given.items():
        if name not in known:
            raise UsageError(
                f"model {model} has no option {name!r}",
                where="--set",
                fix=f"known: {'; '.join(known.values())}" if known else "its model.yaml declares none",
            )
        if not re.fullmatch(file.options[name].pattern, value):
            raise UsageError(
                f"{name} is {value!r}; expected {file.options[name].help}",
                where=f"--set {model}.{name}",
                fix=f"for example {file.options[name].default}",
            )
    return {name: given.get(name, option.default) for name, option in file.options.items()}


def views_of(file: ModelFile, contracts: tuple[Contract, ...]) -> tuple[View, ...]:
    """The feature views of a model: those it declares, or its one contract's events."""
    if file.views:
        return tuple(view.model_copy(update={"name": name}) for name, view in file.views.items())
    return tuple(view_of(contract, file.target) for contract in contracts)


def contract_files(folder: Path) -> list[Path]:
    """A model's contracts: ``contract.yaml``, or those in ``contracts/`` (``.yaml``, ``.yml`` or ``.json``)."""
    return sorted(
        path
        for ending in ("yaml", "yml", "json")
        for form in (f"contract.{ending}", f"contract.odcs.{ending}", f"contracts/*.{ending}")
        for path in folder.glob(form)
    )


def is_model(folder: Path) -> bool:
    """Whether a folder belongs to a model whose data has a contract, and does not just contain a script."""
    return (folder / "model.yaml").is_file() or bool(contract_files(folder))


def load_contracts(folder: Path) -> tuple[Contract, ...]:
    """A model's contracts, by their file names.

    Raises:
        UsageError: There is none, one can't be read, or two describe the same topic or table.
    """
    if not contract_files(folder):
        raise UsageError(
            "is a model's folder but has no data contract, so nothing would validate its data",
            where=str(folder),
            fix="write contract.yaml; `groundplan contract import` drafts one from data",
        )
    found = [(path, contract) for path in contract_files(folder) for contract in standard.load_contracts(path)]
    for place, (path, contract) in enumerate(found):
        if contract.retired:
            raise UsageError(
                f"is {contract.status}, so its events are no longer ingested",
                where=str(path),
                fix="remove the model's folder, or set `status: active`",
            )
        for other_path, other in found[:place]:
            if shared := _in_common(contract, other):
                raise UsageError(
                    f"describes the {shared}, and so does {other_path}",
                    where=str(path),
                    fix="merge the two contracts, or rename one",
                )
    return tuple(contract for _, contract in found)


def _in_common(one: Contract, other: Contract) -> str:
    """The topic or table that two contracts both describe; empty if none."""
    topics = [{contract.topic, f"{contract.topic}{DEAD_LETTERS}"} for contract in (one, other)]
    if shared := sorted(topics[0] & topics[1]):
        return f"topic {shared[0]}"
    return f"table {one.view}" if one.view == other.view else ""


@dataclass(frozen=True)
class ModelFolder:
    """One model's folder.

    Attributes:
        path: Contains ``experiment.py``.
    """

    path: Path
    file: ModelFile
    contracts: tuple[Contract, ...]

    @property
    def model(self) -> str:
        """Name of the model: ``model`` in ``model.yaml``, else the folder's own."""
        return self.file.model or self.path.name

    @cached_property
    def views(self) -> tuple[View, ...]:
        """The feature views."""
        return views_of(self.file, self.contracts)


def model_folders(root: Path) -> list[ModelFolder]:
    """The folders below ``models/``, by name.

    Raises:
        UsageError: A file in one is invalid, or two have the same model.
    """
    found: dict[str, ModelFolder] = {}
    for path in sorted(root.glob("models/*/experiment.py")):
        folder = ModelFolder(path.parent, read_model_file(path.parent), load_contracts(path.parent))
        other = found.setdefault(folder.model, folder)
        if other is not folder:
            raise UsageError(
                f"has the same model name as {_shown(other.path, root)}: {folder.model}",
                where=_shown(folder.path, root),
                fix="name another `model` in one model.yaml",
            )
    return list(found.values())


def folder_names(root: Path) -> dict[str, str]:
    """Name of each folder below ``models/`` by its model; its contracts are not read.

    Raises:
        UsageError: A ``model.yaml`` is invalid.
    """
    return {
        read_model_file(path.parent).model or path.parent.name: path.parent.name
        for path in sorted(root.glob("models/*/experiment.py"))
    }


def folders_of(root: Path, models: Collection[str]) -> list[ModelFolder]:
    """The folders of some models; a model without one (its data comes from elsewhere, or it does not exist yet) is left
    out.

    Raises:
        UsageError: A file in one is invalid, or two have the same model.
    """
    return [folder for folder in model_folders(root) if folder.model in models]


def shared(folders: Iterable[ModelFolder]) -> tuple[list[Contract], list[View]]:
    """Every contract and view of some models, each once: models share what they define in the same way.

    Raises:
        UsageError: Two models define the same topic, table or view differently.
    """
    contracts: list[tuple[Path, Contract]] = []
    views: dict[str, tuple[Path, View, Any]] = {}
    for folder in folders:
        for contract in folder.contracts:
            if any(contract == other for _, other in contracts):
                continue
            for other_path, other in contracts:
                if common := _in_common(contract, other):
                    raise UsageError(
                        f"its contract {contract.id} of the {common} differs from the one of {_name(other_path)}",
                        where=_name(folder.path),
                        fix="give both the same contract, or this one its own topic and table",
                    )
            contracts.append((folder.path, contract))
        for view in folder.views if folder.contracts else ():
            made = (
                folder.file.recording,
                (
                    (folder.path / f"{folder.file.features}.py").read_text(encoding="utf-8")
                    if folder.file.features
                    else ""
                ),
            )
            other_path, other_view, other_made = views.setdefault(view.name, (folder.path, view, made))
            if view != other_view or made != other_made:
                why = _differing(view, other_view) or (
                    "the code of its features" if made[1] != other_made[1] else "`recording`"
                )
                raise UsageError(
                    f"its view {view.name} differs from the one of {_name(other_path)}: {why}",
                    where=_name(folder.path),
                    fix="declare the same view in both, or give this one a different name under `views`",
                )
    return [contract for _, contract in contracts], [view for _, view, _ in views.values()]


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def refuse_drafts(contracts: Iterable[Contract]) -> None:
    """Keep contracts out of production that their owners do not guarantee yet.

    Raises:
        UsageError: A contract is a draft.
    """
    if drafts := [contract.id for contract in contracts if contract.draft]:
        raise UsageError(
            f"{', '.join(drafts)} {'is a draft' if len(drafts) == 1 else 'are drafts'}, and a production environment"
            " accepts only active contracts",
            where="data contracts",
            fix="set `status: active` once their owners guarantee them",
        )


def _shown(folder: Path, root: Path) -> str:
    return str(folder.relative_to(root)) if folder.is_relative_to(root) else str(folder)


def _differing(one: View, other: View) -> str:
    fields = [name for name in View.model_fields if getattr(one, name) != getattr(other, name)]
    return "; ".join(f"{name} {getattr(one, name)!r}, there {getattr(other, name)!r}" for name in fields)


def consumer_group(model: str) -> str:
    """Consumer group in which a model's ingestion reads its topics."""
    return f"groundplan-ingest-{model}"


def consumer_groups(folders: Iterable[ModelFolder]) -> dict[str, tuple[str, ...]]:
    """Consumer groups by topic; models that share a topic each read it in their own group."""
    found: dict[str, tuple[str, ...]] = {}
    for folder in folders:
        for contract in folder.contracts:
            found[contract.topic] = (*found.get(contract.topic, ()), consumer_group(folder.model))
    return found
