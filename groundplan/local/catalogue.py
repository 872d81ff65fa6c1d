"""What there is: datasets, features and models, with owner, contract, tags, freshness, consumers and quality.

What is declared is read from the project's folders, what has happened from the lineage's events and the audit log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from groundplan.local.auditing import reading
from groundplan.local.home import find_home
from pipelines.audit.history import periods
from pipelines.audit.records import everything
from pipelines.context import Context
from pipelines.data.glue import DATASET
from pipelines.data.glue import FEATURES as FEATURE_TABLE
from pipelines.lineage.places import COMPLETE, EVALUATION, EVENTS, FEATURES, step_of
from spec.contracts import Contract
from spec.model_folders import ModelFolder, model_folders

DATASET_KIND, FEATURES_KIND, MODEL_KIND = KINDS = ("dataset", "features", "model")
# Units of service levels, as the Open Data Contract Standard writes them.
_UNITS = {"m": "minutes", "min": "minutes", "minute": "minutes", "h": "hours", "hr": "hours", "hour": "hours"} | {
    "d": "days",
    "day": "days",
    "w": "weeks",
    "week": "weeks",
}
_PROMISES = ("latency", "frequency", "freshness")


@dataclass(frozen=True)
class Entry:
    """One thing of the catalogue.

    Attributes:
        about: What it is, in a sentence.
        contract: Id and version.
        tags: Of the contract; ``personal`` where a field is; the risk class of a model.
        columns: Type by name.
        at: When it was written last, ISO 8601; empty if it never was.
        age_s: Seconds since then.
        late: Whether it is older than its contract promises; None where that promises nothing.
        quality: What the last run found, in words.
        rows: Of its newest version.
        version: A dataset's digest, a model's version.
        consumers: Who reads it.
        table: In Glue's catalogue.
    """

    kind: str
    name: str
    about: str = ""
    owner: str = ""
    contract: str = ""
    tags: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    at: str = ""
    age_s: float | None = None
    late: bool | None = None
    quality: str = ""
    rows: int | None = None
    version: str = ""
    consumers: tuple[str, ...] = ()
    table: str = ""
    path: str = ""

    def matches(self, words: list[str]) -> bool:
        """Whether each word is somewhere in it, whatever its case."""
        text = json.dumps(asdict(self), ensure_ascii=False).lower()
        return all(word.lower() in text for word in words)


def catalogue(words: list[str], kind: str, outputs: str) -> list[Entry]:
    """What there is and has all of these words.

    Args:
        kind: Only one of ``KINDS``; empty for all.
    """
    root = find_home().root
    folders = model_folders(root)
    with reading(outputs, "person.catalogue") as context:
        happened = {
            folder.model: _happened(replace(context, definition=replace(context.definition, model=folder.model)))
            for folder in folders
        }
        log = everything(context)
        found = [*_datasets(context, folders, happened, root), *_features(context, folders, happened, root)]
        found += _models(folders, happened, log, root)
    return [entry for entry in found if kind in ("", entry.kind) and entry.matches(words)]


@dataclass(frozen=True)
class _Events:
    """The newest event of each step of a model, as far as one has ended: well, or not."""

    good: dict[str, dict[str, Any]]
    failed: dict[str, str]  # when, by step; only where nothing has ended well since


def _happened(context: Context) -> _Events:
    newest: dict[tuple[str, str], tuple[datetime, str]] = {}
    for item in context.objects("curated", f"{EVENTS}{context.model}/"):
        named = step_of(item["Key"])
        known = newest.get(named)
        if known is None or item["LastModified"] >= known[0]:
            newest[named] = item["LastModified"], item["Key"]
    good, failed = {}, {}
    for (step, state), (at, key) in newest.items():
        if state == COMPLETE:
            good[step] = json.loads(context.get("curated", key))
        elif state == "FAIL" and ((step, COMPLETE) not in newest or newest[step, COMPLETE][0] < at):
            failed[step] = at.isoformat()
    return _Events(good, failed)


def _datasets(
    context: Context, folders: list[ModelFolder], happened: dict[str, _Events], root: Path
) -> Iterator[Entry]:
    readers: dict[str, list[ModelFolder]] = {}
    for folder in folders:
        for contract in folder.contracts:
            readers.setdefault(contract.topic, []).append(folder)
    for topic, reading_it in readers.items():
        contract = next(each for each in reading_it[0].contracts if each.topic == topic)
        # The reader that has checked it last.
        events = max(
            (happened[folder.model] for folder in reading_it),
            key=lambda each: each.good.get("quality", {}).get("eventTime", ""),
        )
        event = events.good.get("quality", {})
        checked: dict[str, Any] = next((each for each in event.get("inputs", ()) if each["name"] == topic), {})
        written: dict[str, Any] = next(
            (each for each in event.get("outputs", ()) if each["name"].startswith(f"{topic}/")), {}
        )
        checks = checked.get("inputFacets", {}).get("dataQualityAssertions", {}).get("assertions", [])
        hold = sum(each["success"] for each in checks)
        says = f"{hold} of {len(checks)} expectations hold" if checks else "not checked"
        if refused := events.failed.get("quality"):
            says += f"; refused {refused[:19]}"
        at, age = _when(event)
        yield Entry(
            DATASET_KIND,
            topic,
            contract.name,
            contract.owner,
            contract.label,
            _tags(contract),
            {item.name: item.stored for item in contract.fields},
            at,
            age,
            _late(contract, age),
            says,
            written.get("outputFacets", {}).get("outputStatistics", {}).get("rowCount"),
            written.get("facets", {}).get("version", {}).get("datasetVersion", ""),
            tuple(f"model {folder.model}" for folder in reading_it),
            f"{context.outputs.catalog.database}.{DATASET}{contract.view}",
            str(reading_it[0].path.relative_to(root)),
        )


def _features(
    context: Context, folders: list[ModelFolder], happened: dict[str, _Events], root: Path
) -> Iterator[Entry]:
    for folder in folders:
        event = happened[folder.model].good.get("features", {})
        at, age = _when(event)
        failed = happened[folder.model].failed.get("features")
        for view in folder.views:
            told: dict[str, Any] = next(
                (
                    each["facets"][FEATURES]
                    for each in event.get("outputs", ())
                    if each.get("facets", {}).get(FEATURES, {}).get("view") == view.name
                ),
                {},
            )
            most = view.ttl_days * 86_400
            yield Entry(
                FEATURES_KIND,
                view.name,
                f"features of {folder.model}, by {view.key}",
                folder.file.card.owner,
                ", ".join(contract.label for contract in folder.contracts),
                tuple(sorted({tag for contract in folder.contracts for tag in _tags(contract)})),
                {view.key: view.key_type, **view.features},
                at,
                age,
                age > most if most and age is not None and not folder.file.recording else None,
                f"failed {failed[:19]}" if failed else "filled" if told else "not filled",
                told.get("entities"),
                "",
                (f"model {folder.model}",),
                f"{context.outputs.catalog.database}.{FEATURE_TABLE}{view.name}",
                str(folder.path.relative_to(root)),
            )


def _models(
    folders: list[ModelFolder], happened: dict[str, _Events], log: list[dict[str, Any]], root: Path
) -> Iterator[Entry]:
    for folder in folders:
        events, card = happened[folder.model], folder.file.card
        served = periods([entry for entry in log if entry["model"] == folder.model])
        shares = served[-1].shares if served else {}
        told = events.good.get("evaluate", {}).get("run", {}).get("facets", {}).get(EVALUATION, {})
        at, age = _when(events.good.get("register", {}))
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in told.get("metrics", {}).items())
        if (failed := events.failed.get("evaluate") or events.failed.get("register")) is not None:
            metrics = f"{metrics}; the last run failed {failed[:19]}".lstrip("; ")
        yield Entry(
            MODEL_KIND,
            folder.model,
            card.intended_use,
            card.owner,
            ", ".join(contract.label for contract in folder.contracts),
            (f"risk {card.risk}",) if card.risk else (),
            {},
            at,
            age,
            None,
            metrics or "not evaluated",
            None,
            ", ".join(f"{version} {percent} %" for version, percent in shares.items()),
            (f"endpoint of {folder.model}",) if shares else (),
            "",
            str(folder.path.relative_to(root)),
        )


def _tags(contract: Contract) -> tuple[str, ...]:
    """The contract's own tags and domain, its status, and whether it has personal fields."""
    import yaml

    document = yaml.safe_load(contract.source) if contract.source else {}
    own = document.get("tags") or () if isinstance(document, dict) else ()
    domain = str(document.get("domain") or "") if isinstance(document, dict) else ""
    found = [*map(str, own), domain, "" if contract.status == "active" else contract.status]
    return tuple(dict.fromkeys(tag for tag in (*found, "personal" if contract.personal else "") if tag))


def _when(event: dict[str, Any]) -> tuple[str, float | None]:
    """When an event was, and how many seconds ago."""
    at = str(event.get("eventTime", ""))
    return at, round((datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds(), 1) if at else None


def _late(contract: Contract, age: float | None) -> bool | None:
    """Whether a dataset is older than its contract promises (``slaProperties``)."""
    for name, value, unit in contract.service_levels:
        known = _UNITS.get(unit.lower().removesuffix("s") or "d")
        if name.lower() in _PROMISES and known and age is not None:
            try:
                return age > timedelta(**{known: float(value)}).total_seconds()
            except (ValueError, OverflowError):
                continue
    return None
