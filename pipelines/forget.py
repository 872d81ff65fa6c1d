"""Deletion of one person's data (GDPR Art. 17): a pass over curated zone, features, training sets and online store, with evidence.

The raw zone is immutable and holds tokens only (``masking``). The token is kept on a list of those that no dataset may hold any more,
so that the rows don't come back with the next dataset version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from infra.errors import GroundplanError
from pipelines import audit
from pipelines.context import Context
from pipelines.masking import forgettable, masking_key, token
from pipelines.quality import FORGOTTEN
from pipelines.raw_zone import RawZone, parquet, read_parquet

if TYPE_CHECKING:
    import pyarrow as pa

# What holds no value of the person that can be told without the key, or goes by itself when its retention ends.
NOT_SEARCHED = (
    "raw zone: immutable; holds the token, and every new dataset version leaves its rows out",
    "quarantine and dead letters: events as they came, until their retention ends",
    "the topics: until their retention ends",
    "captured requests and batch files: features, or keys of entities, until their retention ends",
    "training rows kept with each version of the model: features without keys or tokens",
)


def forget(context: Context, subject: str, actor: str) -> dict[str, Any]:
    """Forget one person. May be run again at any time: what to delete is told by the raw zone, which keeps the token.

    Args:
        subject: The personal value as it came in, for example a tail number. It is in no log and no result, only its token is.
        actor: Who asked for it; stands in the audit log.

    Returns:
        The evidence: objects with the rows that were taken out, items of the online store, models whose training data held the person,
        and what a search afterwards found (nothing).

    Raises:
        GroundplanError: The example has no personal fields, or something of the person is still there afterwards.
    """
    fields = {contract.topic: forgettable(contract) for contract in context.example.contracts if forgettable(contract)}
    if not fields:
        raise GroundplanError("no contract of the example has personal fields", where=str(context.example.folder), fix="tag them: `tags: [personal]`")
    known = token(masking_key(context.outputs), subject)
    keys, taken = _keys_of(context, known), dict[str, int]()
    holding = [place for place in _objects(context, fields) if _rows_of(context, place, known, keys)]
    models = _models_of(context, [f"s3://{context.outputs.buckets[zone]}/{key}" for zone, key, _ in holding])
    models = sorted({*models, *_told_before(context, known)})
    place = f"forgotten/{context.model}/{known}-{context.run}.json"
    # Before anything is taken out: afterwards nobody could tell which models it had trained.
    context.put("audit", place, json.dumps({"token": known, "asked_by": actor, "at": _now(), "models": models, "finished": False}).encode(), "application/json")
    context.put("curated", f"{FORGOTTEN}{known}.json", json.dumps({"asked_by": actor, "at": _now()}).encode(), "application/json")
    for zone, key, columns in holding:
        taken[f"s3://{context.outputs.buckets[zone]}/{key}"] = _take_out(context, zone, key, columns, known, keys)
    versions = _delete_old_versions(context, fields)
    items = _delete_online(context, keys)
    left = sum(1 for place in _objects(context, fields) if _rows_of(context, place, known, keys))
    evidence = {
        "token": known, "asked_by": actor, "at": _now(), "topics": sorted(fields), "entities": {name: len(found) for name, found in keys.items()},
        "objects": taken, "rows": sum(taken.values()), "old_versions": versions, "online_items": items, "models": models, "left": left, "finished": True,
        "not_searched": NOT_SEARCHED,
    }  # fmt: skip
    address = context.put("audit", place, json.dumps(evidence, indent=1).encode(), "application/json")
    audit.append(context, actor, "forget", token=known, rows=evidence["rows"], online_items=items, evidence=address)
    if left:
        raise GroundplanError(f"{left} objects still hold rows of the person", where=address, fix="run it again, once no pipeline writes any more")
    return {**evidence, "evidence": address}


def _told_before(context: Context, known: str) -> set[str]:
    """Models that evidence of earlier deletions of the same person names."""
    keys = list(context.keys("audit", f"forgotten/{context.model}/{known}-"))
    return {model for key in keys for model in json.loads(context.get("audit", key))["models"]}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _objects(context: Context, fields: dict[str, list[str]]) -> Iterator[tuple[str, str, list[str]]]:
    """Zone, key and personal columns of every Parquet object that may hold rows of a person."""
    for zone, prefix, columns in _places(context, fields):
        for key in context.keys(zone, prefix):
            if key.endswith(".parquet"):
                yield zone, key, columns


def _places(context: Context, fields: dict[str, list[str]]) -> list[tuple[str, str, list[str]]]:
    places = [("curated", f"{topic}/", columns) for topic, columns in fields.items()]
    return places + [("features", f"{view.name}/", []) for view in context.example.views] + [("features", f"training/{context.model}/", [])]


def _read(context: Context, zone: str, key: str) -> pa.Table:

    return read_parquet(context.get(zone, key))


def _keys_of(context: Context, known: str) -> dict[str, set[Any]]:
    """Entities that rows of the person are about, by the name of their key: each table's own, and only of tables with personal fields."""
    found: dict[str, set[Any]] = {}
    views = {view.key for view in context.example.views}
    for contract in context.example.contracts:
        columns = forgettable(contract)
        if columns and contract.key in views:
            table = RawZone(context, contract).read()
            found.setdefault(contract.key, set()).update(table.filter(_mask(table, columns, known, {}))[contract.key].drop_null().to_pylist())
    return found


def _mask(table: pa.Table, columns: list[str], known: str, keys: dict[str, set[Any]]) -> Any:
    """Which rows are the person's: by a personal column, or by the entity they are about."""
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = pa.array([False] * table.num_rows)
    for name in columns:
        if name in table.column_names:
            mask = pc.or_(mask, pc.fill_null(pc.equal(table[name], known), fill_value=False))
    for name, values in keys.items():
        if name in table.column_names and values:
            mask = pc.or_(mask, pc.is_in(table[name], pa.array(sorted(values), type=table.schema.field(name).type)))
    return mask


def _rows_of(context: Context, place: tuple[str, str, list[str]], known: str, keys: dict[str, set[Any]]) -> int:
    """How many rows of an object are the person's."""
    import pyarrow.compute as pc

    zone, key, columns = place
    return int(pc.sum(_mask(_read(context, zone, key), columns, known, keys)).as_py() or 0)


def _take_out(context: Context, zone: str, key: str, columns: list[str], known: str, keys: dict[str, set[Any]]) -> int:
    """Write the object without the person's rows; how many there were."""
    import pyarrow.compute as pc

    table = _read(context, zone, key)
    kept = table.filter(pc.invert(_mask(table, columns, known, keys)))
    context.put(zone, key, parquet(kept))
    return int(table.num_rows - kept.num_rows)


def _delete_old_versions(context: Context, fields: dict[str, list[str]]) -> int:
    """Delete what the bucket keeps of earlier versions of these objects, by a run before this one, too; how many there were."""
    count = 0
    for zone, prefix, _ in _places(context, fields):
        bucket = context.outputs.buckets[zone]
        for page in context.s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
            for version in page.get("Versions", []):
                if version["Key"].endswith(".parquet") and not version["IsLatest"]:
                    context.s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
                    count += 1
    return count


def _delete_online(context: Context, keys: dict[str, set[Any]]) -> int:
    """Delete the entities' items; how many there were."""
    import boto3

    from pipelines.serving.online import entity_id

    client, count = boto3.client("dynamodb"), 0
    for view in context.example.views:
        table = context.outputs.online_tables[view.name]
        for value in sorted(keys.get(view.key, ())):
            old = client.delete_item(TableName=table, Key={"entity_id": {"S": entity_id(view.key, value)}}, ReturnValues="ALL_OLD")
            count += "Attributes" in old
    return count


def _models_of(context: Context, addresses: list[str]) -> list[str]:
    """Versions of the model that were trained on a dataset that held the person: whether to train them anew is for people to say."""
    from pipelines.tracking import use_mlflow

    mlflow = use_mlflow()
    client = mlflow.MlflowClient()
    found = []
    for version in client.search_model_versions(f"name='{context.model}'"):
        datasets = client.get_run(version.run_id).data.tags.get("groundplan.dataset", "")
        if any(address in datasets for address in addresses):
            found.append(version.tags.get("version", version.version))
    return sorted(found)
