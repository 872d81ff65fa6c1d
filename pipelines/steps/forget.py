"""Deletion of one person's data (GDPR Art. 17), wherever the platform writes, with evidence.

Lineage identifies the person's data, not names of columns: the views' expressions run once with the person's events and
once without, and what exists only with them belongs to the person. Every object of the lake, the models and the
tracking server's artifacts is then read, whoever wrote it, cleaned, and searched again. The raw zone is immutable and
contains only tokens (``masking``): at the end the person's key is destroyed, so that they identify nobody (``people``).
The token is kept on a list of those that datasets must no longer contain, so that the rows don't return with the next
dataset version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipelines.audit import records as audit
from pipelines.context import Context, ModelDefinition, load_definition
from pipelines.data import dead_letters, quarantine
from pipelines.data.captures import BATCH, FOLDER, answers_of
from pipelines.data.masking import masking_key
from pipelines.data.people import PEOPLE, People
from pipelines.data.person import ANSWERS, Person, answers_without, frames, gone, without_person, without_rows
from pipelines.data.raw_zone import RawZone, parquet, read_parquet
from pipelines.registry.signing import sha256
from pipelines.steps.features import duckdb_tables
from pipelines.steps.quality import FORGOTTEN, forgotten_tokens, prepare
from pipelines.training.model_name import project_root
from spec.errors import GroundplanError
from spec.feature_views import View

if TYPE_CHECKING:
    import pyarrow as pa

ZONES = ("curated", "features", "models", "mlflow")  # everything that may be changed
# What expires by itself, and can't be changed before.
KEPT = (
    (
        "raw zone: immutable until its retention ends; its tokens identify nobody, and every new dataset version omits"
        " the rows"
    ),
    (
        "quarantine: rows of the person are never released; their bytes stay until the retention ends or `groundplan"
        " quarantine discard` deletes the file"
    ),
    (
        "the topics: events as received, until their retention ends; dead letters, too, where the broker can't delete"
        " them (they are not shown or replayed)"
    ),
    "rows of features that several people share: they identify nobody",
    "running model servers: the rows that explanations compare with, until the next deployment",
)


def forget(context: Context, subject: str, actor: str) -> dict[str, Any]:
    """Forget one person. May be run again at any time; the next run finishes an interrupted one, since the key is
    destroyed last.

    Args:
        subject: The personal value as received, for example a tail number. Logs and results contain only its token.
        actor: Who requested it; recorded in the audit log.

    Returns:
        The evidence: objects with the rows that were removed, items of the online store, models whose training data
        contained the person, and what a search afterwards found (nothing).

    Raises:
        GroundplanError: The model has no personal fields, or data of the person remains afterwards.
    """
    topics = {contract.topic for contract in context.definition.contracts if contract.personal}
    if not topics:
        raise GroundplanError(
            "no contract of the model has personal fields",
            where=str(context.definition.folder),
            fix="tag them: `tags: [personal]`",
        )
    related, people = _related(context, topics), People(context, masking_key(context.outputs))
    number, person = people.number(subject), Person(subject, people.token_of(subject))
    scopes: list[Scope] = []
    for definition in related:
        scopes += _follow(replace(context, definition=definition), person)
    _compare_rows(context, related, person, scopes)
    held = list(_search(context, person, scopes))
    models = sorted(
        {*_models_of(context, related, [_address(context, *place) for place in held]), *_told_before(context, number)}
    )
    place = f"forgotten/{context.model}/{number}-{context.run}.json"
    # Before anything is removed: afterwards it is unknown which models were trained on it.
    # The number and the token are never stored together: with the masking key one could get from the person to the
    # number, and on to the token.
    begun = {
        "person": number,
        "asked_by": actor,
        "at": audit.now(),
        "models": models,
        "finished": False,
        "erased_on": people.erased_on(subject),
    }
    context.put("audit", place, json.dumps(begun, indent=1).encode(), "application/json")
    if person.token:
        context.put("curated", f"{FORGOTTEN}{person.token}.json", b"{}", "application/json")
    taken = _clean(context, person, scopes, held)
    # Also those of an earlier run that was interrupted before this.
    versions = sum(
        _delete_old_versions(context, zone, person, scopes) for zone in ZONES if zone in context.outputs.buckets
    )
    items = sum(_delete_online(context, view, scopes) for definition in related for view in definition.views)
    letters = sum(
        dead_letters.erase(context, contract.topic, subject)
        for definition in related
        for contract in definition.contracts
    )
    apart = sum(
        quarantine.erase(context, contract, person) for definition in related for contract in definition.contracts
    )
    pages = _delete_pages(context, person)
    left = [_address(context, *place) for place in _search(context, person, scopes)]
    evidence = {
        **begun,
        "topics": sorted(topics),
        "searched": [other.model for other in related],
        "entities": {name: len(found) for name, found in person.entities.items()},
        "objects": taken,
        "rows": sum(taken.values()),
        "old_versions": versions,
        "online_items": items,
        "dead_letters": letters,
        "quarantined": apart,
        "pages": pages,
        "left": len(left),
        "finished": True,
        "kept": KEPT,
    }
    address = context.put("audit", place, json.dumps(evidence, indent=1).encode(), "application/json")
    if not left and person.token:
        people.destroy(subject, str(begun["at"]))
    audit.append(context, actor, "forget", person=number, rows=evidence["rows"], online_items=items, evidence=address)
    if left:
        raise GroundplanError(
            f"{len(left)} objects still contain data of the person, for example {left[0]}",
            where=address,
            fix="run it again when no pipeline is writing",
        )
    return {**evidence, "evidence": address}


def _related(context: Context, topics: set[str]) -> list[ModelDefinition]:
    """The model, and the project's others that read one of its topics with personal fields."""
    found, root = [context.definition], project_root(context.definition.folder)
    for path in sorted(root.glob("models/*/experiment.py")) if root else ():
        other = load_definition(path.parent)
        if other.model != context.model and topics & {contract.topic for contract in other.contracts}:
            found.append(other)
    return found


@dataclass(frozen=True)
class Scope:
    """Objects of one lineage, and the entities in them that belong only to the person, by column."""

    zone: str
    prefix: str
    entities: dict[str, set[Any]]


def _follow(context: Context, person: Person) -> list[Scope]:
    """Which entities belong only to the person, and where: keys of their events, and of views' rows that would not
    exist without them.
    """
    import pyarrow.compute as pc

    definition, forgotten = context.definition, forgotten_tokens(context) - {person.token}
    tables: dict[str, tuple[pa.Table, pa.Table]] = {}
    scopes, of_views = list[Scope](), dict[str, set[Any]]()
    for contract in definition.contracts:
        raw, deletions = RawZone(context, contract).read(), RawZone(context, contract).deletions()
        tables[contract.view] = (
            prepare(raw, contract, forgotten, deletions)[0],
            prepare(raw, contract, forgotten | {person.token}, deletions)[0],
        )
        if contract.personal:
            # With a composite key no single field identifies a row's owner; then the rows are found only by their
            # tokens.
            mine = raw.filter(person.mask(raw))
            keys = set(pc.unique(mine[contract.key]).to_pylist()) if len(contract.keys) == 1 else set()
            scopes.append(Scope("curated", f"{contract.topic}/", {contract.key: keys} if keys else {}))
            if not definition.features:
                of_views[contract.view] = keys
    if definition.features:
        made = []
        for side in (0, 1):
            with TemporaryDirectory() as folder:
                given = duckdb_tables({name: parquet(pair[side]) for name, pair in tables.items()}, Path(folder))
                made.append(
                    {
                        name: view.to_pyarrow()
                        for name, view in definition.function(f"{definition.features}:features")(given).items()
                    }
                )
        of_views = {view.name: gone(made[0][view.name], made[1][view.name], view.key) for view in definition.views}
    union: dict[str, set[Any]] = {}
    for view in definition.views:
        scopes.append(Scope("features", f"{view.name}/", {view.key: of_views.get(view.name, set())}))
        union.setdefault(view.key, set()).update(of_views.get(view.name, set()))
    for zone, prefix in (
        ("features", f"training/{definition.model}/"),
        ("features", f"{BATCH}{definition.model}/"),
        ("models", f"{FOLDER}{context.endpoint_name}/"),
        ("models", f"{definition.model}/"),
        ("curated", f"runs/{definition.model}/"),
    ):
        scopes.append(Scope(zone, prefix, union))
    for scope in scopes:
        for column, values in scope.entities.items():
            person.add(column, values)
    return scopes


def _seen_in(zone: str, key: str, person: Person, scopes: list[Scope]) -> Person:
    """The person with the entities that apply to an object."""
    entities: dict[str, set[Any]] = {}
    for scope in scopes:
        if scope.zone == zone and key.startswith(scope.prefix):
            for column, values in scope.entities.items():
                entities.setdefault(column, set()).update(values)
    return person.within(entities)


def _compare_rows(context: Context, related: list[ModelDefinition], person: Person, scopes: list[Scope]) -> None:
    """Note the person's rows of features, and everyone else's: artifacts of models and captured requests have no
    keys.
    """
    for definition in related:
        columns = [name for view in definition.views for name in view.features]
        places = (
            [("features", f"training/{definition.model}/")]
            if definition.features
            else [("curated", f"{item.topic}/version=") for item in definition.contracts]
        )
        for zone, prefix in places:
            for key in context.keys(zone, prefix):
                if key.endswith(".parquet"):
                    table = read_parquet(context.get(zone, key))
                    person.rows.append(frames(table, _seen_in(zone, key, person, scopes).mask(table), columns))


def _objects(context: Context) -> Iterator[tuple[str, str]]:
    """Zone and key of every object that may contain data of a person."""
    for zone in ZONES:
        for key in context.keys(zone, "") if zone in context.outputs.buckets else ():
            if not (zone == "curated" and key.startswith((FORGOTTEN, PEOPLE))):
                yield zone, key


def _without(
    context: Context, zone: str, key: str, everywhere: Person, scopes: list[Scope]
) -> tuple[dict[str, bytes], int]:
    """The objects that replace one, by key, and how many rows or values are removed. Some have a second object with
    matching rows.
    """
    body, person = context.get(zone, key), _seen_in(zone, key, everywhere, scopes)
    if "/out/" in key and key.endswith(".out"):
        return {}, 0  # handled with the requests
    if zone == "features" and key.startswith(BATCH) and "/in/" in key:
        return _of_batch(context, key, body, person)
    if key.endswith(ANSWERS):
        return {}, 0
    cleaned, count = without_person(key, body, person)
    found = {key: cleaned} if count else {}
    answers = f"{key.removesuffix('.parquet')}{ANSWERS}"
    if count and zone == "mlflow" and key.endswith(("training.parquet", "holdout.parquet")):
        found[answers] = answers_without(body, context.get(zone, answers), person)
    return found, count


def _of_batch(context: Context, key: str, body: bytes, person: Person) -> tuple[dict[str, bytes], int]:
    out = answers_of(key)
    try:
        answers = [json.loads(line) for line in context.get("features", out).splitlines()]
    except context.s3.exceptions.NoSuchKey:
        answers = []
    requests = [json.loads(line) for line in body.splitlines()]
    pairs = [
        without_rows(request, answers[place] if place < len(answers) else {}, person)
        for place, request in enumerate(requests)
    ]
    count = sum(removed for _, _, removed in pairs)
    if not count:
        return {}, 0
    found = {key: "\n".join(json.dumps(request) for request, _, _ in pairs).encode()}
    return found | ({out: "\n".join(json.dumps(answer) for _, answer, _ in pairs).encode()} if answers else {}), count


def _search(context: Context, person: Person, scopes: list[Scope]) -> Iterator[tuple[str, str]]:
    """Zone and key of every object that contains data of the person."""
    return ((zone, key) for zone, key in _objects(context) if _without(context, zone, key, person, scopes)[1])


def _address(context: Context, zone: str, key: str) -> str:
    return f"s3://{context.outputs.buckets[zone]}/{key}"


def _clean(context: Context, person: Person, scopes: list[Scope], held: list[tuple[str, str]]) -> dict[str, int]:
    """Write the found objects without the person; returns the removed rows, by address."""
    taken = {}
    for zone, key in held:
        written, taken[_address(context, zone, key)] = _without(context, zone, key, person, scopes)
        for name, body in written.items():
            context.put(zone, name, body)
            _on_record(context, zone, name, body)
    return taken


def _on_record(context: Context, zone: str, key: str, body: bytes) -> None:
    """A version's files are signed; that one has another digest now is said by the audit log of its model."""
    folder, _, rest = key.partition("/")
    model, version, name = (*rest.split("/"), "", "", "")[:3]
    if zone == "models" and folder == "registry" and name:
        of_model = replace(context, definition=replace(context.definition, model=model))
        audit.append(of_model, "pipeline", audit.ERASE, version=version, files={name: sha256(body)})


def _delete_old_versions(context: Context, zone: str, person: Person, scopes: list[Scope]) -> int:
    """Delete earlier versions of objects that contain data of the person; returns how many there were."""
    count, bucket = 0, context.outputs.buckets[zone]
    for page in context.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in page.get("Versions", []):
            if version["IsLatest"]:
                continue
            place = {"Bucket": bucket, "Key": version["Key"], "VersionId": version["VersionId"]}
            body = context.s3.get_object(**place)["Body"].read()
            name = version["Key"] if not version["Key"].endswith(".out") else f"{version['Key']}.jsonl"
            if (
                version["Key"].endswith(ANSWERS)
                or without_person(name, body, _seen_in(zone, version["Key"], person, scopes))[1]
            ):
                context.s3.delete_object(**place)
                count += 1
    return count


def _delete_online(context: Context, view: View, scopes: list[Scope]) -> int:
    """Delete the items of a view's entities; returns how many there were."""
    import boto3

    from pipelines.serving.online import entity_id

    client, count = boto3.client("dynamodb"), 0
    keys = {
        value
        for scope in scopes
        if (scope.zone, scope.prefix) == ("features", f"{view.name}/")
        for value in scope.entities[view.key]
    }
    for value in sorted(keys):
        key = {"entity_id": {"S": entity_id(view.key, value)}}
        count += "Attributes" in client.delete_item(
            TableName=context.outputs.online_tables[view.name], Key=key, ReturnValues="ALL_OLD"
        )
    return count


def _delete_pages(context: Context, person: Person) -> int:
    """Delete report pages that name the person; the next run creates them again. Returns how many there were."""
    named = [
        page
        for page in context.reports.rglob("*.html")
        if any(text in page.read_text(encoding="utf-8") for text in person.names)
    ]
    for page in named:
        page.unlink()
    return len(named)


def _models_of(context: Context, related: list[ModelDefinition], held: list[str]) -> list[str]:
    """Versions of the models that were trained on a dataset that contained the person: people decide whether to retrain
    them.
    """
    from pipelines.tracking import use_mlflow

    mlflow = use_mlflow()
    client = mlflow.MlflowClient()
    found = []
    for definition in related:
        for version in client.search_model_versions(f"name='{definition.model}'"):
            name = str(version.tags.get("version", version.version))
            # One that came from another environment has no run here, but it brought its rows.
            run = client.get_run(version.run_id) if version.run_id else None
            datasets = run.data.tags.get("groundplan.dataset", "") if run else ""
            brought = f"/registry/{definition.model}/{name}/"
            if any(address in datasets or brought in address for address in held):
                found.append(name if definition.model == context.model else f"{definition.model} {name}")
    return sorted(found)


def _told_before(context: Context, known: str) -> set[str]:
    """Models named by the evidence of earlier deletions of the same person."""
    keys = list(context.keys("audit", f"forgotten/{context.model}/{known}-"))
    return {model for key in keys for model in json.loads(context.get("audit", key))["models"]}
