"""Step: features registered in Feast (offline in S3 as Parquet, online in DynamoDB), and the training set joined from
them.

A model either declares feature views and the Ibis expressions behind them (``features`` in ``model.yaml``), or its one
contract's events are the features. DuckDB runs the expressions; at scale Athena runs the same ones
(``athena_sql``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipelines.context import Context, main
from pipelines.data.glue import DATASET, FEATURES, VIEW_TYPES, Column, keep_in_step
from pipelines.data.raw_zone import parquet, read_parquet
from spec.contracts import FUTURE_TOLERANCE_HOURS
from spec.errors import GroundplanError
from spec.feature_views import EVENT_TIME, View, free_name
from spec.outputs import Outputs

if TYPE_CHECKING:
    import pyarrow as pa

FUTURE = timedelta(hours=FUTURE_TOLERANCE_HOURS)
MOST_LOST = 0.5  # share of an online table's rows that a run may remove without confirmation
VERSION_TAG = "groundplan_dataset"


def materialize(context: Context) -> dict[str, Any]:
    """Write the features to the offline store, register the views, fill the online store, join the training set.

    The online store has the rows that are not older than the view's ``ttl_days``; a run writes what has changed since
    the last one.

    Raises:
        GroundplanError: The expressions don't produce what ``model.yaml`` declares, rows have no key, or most of an
            online table would be removed.
    """
    quality = context.result("quality")
    views = {view.name: view for view in context.definition.views}
    tables, labels = _computed(context, quality)
    offline, online = {}, {}
    now = clock(context, tables)
    for name, table in tables.items():
        _check(views[name], table)
        offline[name] = context.put("features", f"{name}/run={context.run}/features.parquet", parquet(table))
        _catalogue(context, views[name], offline[name], table.num_rows, quality["digest"])
    with TemporaryDirectory() as folder:
        store = open_store(context.outputs, context.model, views, offline, Path(folder), quality["digest"])
        for name, table in tables.items():
            online[name] = _fill_online(context, store, views[name], table, now)
        training = _training_set(context, tables, labels) if labels is not None else ""
    return {
        "views": {
            name: {
                "key": view.key,
                "features": list(view.features),
                "offline": offline[name],
                "table": context.outputs.online_tables[name],
                "entities": tables[name].num_rows,
                "online": online[name],
            }
            for name, view in views.items()
        },
        "service": service_name(context.model),
        "training_set": training,
        "sample_key": _newest_key(views, tables, now),
        "now": now.isoformat(),
    }


def clock(context: Context, tables: Mapping[str, pa.Table]) -> datetime:
    """The current time: the platform's; for a recording of the past, that of its newest event."""
    import pyarrow.compute as pc

    if context.definition.recording:
        newest: list[datetime] = [
            pc.max(table[view.time]).as_py()
            for view in context.definition.views
            if (table := tables[view.name]).num_rows
        ]
        if newest:
            return max(newest)
    return datetime.now(UTC)


def _computed(context: Context, quality: Mapping[str, Any]) -> tuple[dict[str, pa.Table], pa.Table | None]:
    """Rows of each view, and the labels where the model joins its training set from the views."""
    import pyarrow as pa

    definition = context.definition
    if not definition.features:
        view = definition.views[0]
        table = _as_features(read_parquet(context.get_address(quality["dataset"])), view)
        now = datetime.now(UTC).replace(microsecond=0)
        return {
            view.name: table.append_column(view.time, pa.array([now] * table.num_rows, type=pa.timestamp("us", "UTC")))
        }, None
    with TemporaryDirectory() as folder:
        tables = duckdb_tables(
            {name: context.get_address(item["dataset"]) for name, item in quality["datasets"].items()}, Path(folder)
        )
        made = definition.function(f"{definition.features}:features")(tables)
        labels = definition.function(f"{definition.features}:labels")(tables)
        if set(made) != {view.name for view in definition.views}:
            raise GroundplanError(
                f"returns the views {', '.join(sorted(made))}, but model.yaml declares"
                f" {', '.join(sorted(view.name for view in definition.views))}",
                where=str(definition.folder / f"{definition.features}.py"),
            )
        return {name: expression.to_pyarrow() for name, expression in made.items()}, labels.to_pyarrow()


def _as_features(table: pa.Table, view: View) -> pa.Table:
    """The events as features: exact decimals as numbers, dates and times as texts, without lists and objects."""
    import pyarrow as pa

    kinds = {"integer": pa.int64(), "number": pa.float64(), "string": pa.string(), "boolean": pa.bool_()}
    columns = {view.key: view.key_type, **view.features}
    return pa.table({name: table[name].cast(kinds[kind]) for name, kind in columns.items()})


def duckdb_tables(files: Mapping[str, bytes], folder: Path) -> dict[str, Any]:
    """Ibis tables of Parquet files, in an in-memory DuckDB database.

    Args:
        folder: Where the files are put; they are read from there when an expression runs.
    """
    import ibis

    connection = ibis.duckdb.connect()
    tables = {}
    for name, body in files.items():
        (folder / f"{name}.parquet").write_bytes(body)
        tables[name] = connection.read_parquet(str(folder / f"{name}.parquet"), table_name=name)
    return tables


def athena_sql(context: Context) -> dict[str, str]:
    """The views' SQL in Athena's dialect, over the catalogue's tables of dataset versions, which have each key once."""
    import ibis

    from pipelines.data.decode import arrow_schema

    definition = context.definition
    unbound = {
        contract.view: ibis.table(ibis.Schema.from_pyarrow(arrow_schema(contract)), name=f"{DATASET}{contract.view}")
        for contract in definition.contracts
    }
    return {
        name: str(ibis.to_sql(view, dialect="athena"))
        for name, view in definition.function(f"{definition.features}:features")(unbound).items()
    }


def _catalogue(context: Context, view: View, address: str, rows: int, dataset: str) -> None:
    kinds = {view.key: view.key_type, **view.features}
    columns = [Column(name, VIEW_TYPES[kind]) for name, kind in kinds.items()] + [Column(view.time, "timestamp")]
    keep_in_step(
        context,
        f"{FEATURES}{view.name}",
        address,
        columns,
        says=f"features of {context.model}, by {view.key}",
        owner=context.definition.card.owner,
        about={"model": context.model, "dataset": dataset, "rows": rows, "run": context.run},
    )


def _check(view: View, table: pa.Table) -> None:
    wanted = {view.key, view.time, *view.features}
    if set(table.column_names) != wanted:
        odd = sorted(set(table.column_names) ^ wanted)
        raise GroundplanError(
            f"the view {view.name} differs from model.yaml in its columns: {', '.join(odd)}", where="features"
        )
    for name, what in ((view.key, "no key"), (view.time, "no time")):
        if table[name].null_count:
            raise GroundplanError(
                f"{table[name].null_count} of the {table.num_rows} rows of the view {view.name} have {what} ({name})",
                where="features",
                fix="filter them out in the expression, if they belong to no entity",
            )


def service_name(model: str) -> str:
    """Name of the model's feature service."""
    return model.replace("-", "_")


def open_store(
    outputs: Outputs, model: str, views: Mapping[str, View], offline: Mapping[str, str], folder: Path, dataset: str = ""
) -> Any:
    """A Feast store with the entities, sources, views and the model's feature service applied.

    Args:
        offline: ``s3://`` address of the Parquet file behind each view.
        folder: Scratch folder for the store's configuration.
        dataset: Digest of the dataset version; a tag of each view, so that the registry shows its data.
    """
    from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.data_format import ParquetFormat
    from feast.types import Bool, Float64, Int64, String

    endpoint = os.environ.get("AWS_ENDPOINT_URL") or None
    kinds = {"integer": Int64, "number": Float64, "string": String, "boolean": Bool}
    online = {
        "type": "dynamodb",
        "region": outputs.region,
        "endpoint_url": endpoint,
        "table_name_template": f"{outputs.online_table_prefix}.{{table_name}}",
        "consistent_reads": False,
    }

    def store(online_store: dict[str, Any] | None) -> Any:
        config = RepoConfig(
            project=outputs.online_table_prefix.replace("-", "_"),
            provider="local",
            registry=f"s3://{outputs.buckets['features']}/feast/{model}.db",
            offline_store={"type": "dask"},
            online_store=online_store,
            entity_key_serialization_version=3,
            repo_path=folder,
        )
        return FeatureStore(config=config)

    entities: dict[str, Any] = {}
    made: list[Any] = []
    for name, view in views.items():
        if view.key not in entities:
            kind = ValueType.INT64 if view.key_type == "integer" else ValueType.STRING
            entities[view.key] = Entity(name=view.key, join_keys=[view.key], value_type=kind)
        source = FileSource(
            name=name,
            path=offline[name],
            file_format=ParquetFormat(),
            timestamp_field=view.time,
            s3_endpoint_override=endpoint,
        )
        fields = [
            Field(name=view.key, dtype=kinds[view.key_type]),
            *(Field(name=feature, dtype=kinds[kind]) for feature, kind in view.features.items()),
        ]
        made.append(
            FeatureView(
                name=name,
                entities=[entities[view.key]],
                schema=fields,
                source=source,
                online=True,
                ttl=timedelta(days=view.ttl_days),
                tags={VERSION_TAG: dataset},
            )
        )
    service = FeatureService(name=service_name(model), features=made, tags={VERSION_TAG: dataset})
    # Without its online store Feast writes its registry and leaves the tables alone: they belong to the program, and
    # Feast would remove their tags.
    store(None).apply([*entities.values(), *made, service])
    return store(online)


def _fill_online(context: Context, store: Any, view: View, table: pa.Table, now: datetime) -> dict[str, int]:
    """Update the online table from the state after the last run to the view's last days; returns how many items were
    written and deleted.

    Feast's own ``materialize_incremental`` uses the event time, and would leave out late and corrected rows. Here the
    rows of both runs are compared: changed rows are written, those older than ``ttl_days`` are deleted, and the rest is
    left alone. The online rows are also kept as an object; a run that ends in the middle leaves a marker, and the next
    one writes everything.

    Raises:
        GroundplanError: It would lose most of its rows, which was not allowed; it is unchanged.
    """
    import boto3

    resource = boto3.resource("dynamodb").Table(context.outputs.online_tables[view.name])
    wanted, made = _newest_rows(view, table, now), str(resource.creation_date_time)
    before = [item for item in _online_mark(context, view) if item["table"] == made]
    olds = [(item["key"], read_parquet(context.get("features", item["rows"]))) for item in before]
    there = {(key, value) for key, old in olds for value in old[key].to_pylist()}
    if wanted.num_rows < (1 - MOST_LOST) * len(there) and not context.wishes.let_shrink:
        raise GroundplanError(
            f"the online table of the view {view.name} has {len(there)} rows and would keep {wanted.num_rows}: "
            f"the others are older than {view.ttl_days} days before {now:%Y-%m-%d %H:%M} UTC, or no longer in the data",
            where="features",
            fix=(
                "is a clock wrong, or has the stream stopped? If this is intended, run `groundplan experiment` with"
                " --let-shrink"
            ),
        )
    own = {"key": view.key, "rows": f"{view.name}/online/run={context.run}/rows.parquet", "table": made}
    context.put("features", own["rows"], parquet(wanted))
    _mark_online(context, view, [*before, own])

    changed, kept = wanted, {(view.key, value) for value in wanted[view.key].to_pylist()}
    if len(olds) == 1 and olds[0][1].schema.equals(wanted.schema):
        import ibis

        changed = (
            ibis.difference(ibis.memtable(wanted), ibis.memtable(olds[0][1])).to_pyarrow().cast(wanted.schema)
        )  # absent values equal each other here
    if changed.num_rows:
        feature_view = store.get_feature_view(view.name)
        store.provider.online_write_batch(store.config, feature_view, _online_rows(view, changed), None)
        times = changed[view.time].to_pylist()
        store.registry.apply_materialization(feature_view, store.project, min(times), max(times))
    _delete_online(resource, there - kept)
    _mark_online(context, view, [own])
    return {"items": wanted.num_rows, "written": changed.num_rows, "deleted": len(there - kept)}


def _online_rows(view: View, table: pa.Table) -> list[tuple[Any, dict[str, Any], datetime, None]]:
    """Rows as Feast writes them: key, values, time. Feast itself builds them from pandas frames, where whole numbers
    become floats.
    """
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    fields = {"integer": "int64_val", "number": "double_val", "string": "string_val", "boolean": "bool_val"}

    def wrapped(value: Any, kind: str) -> Any:
        return Value() if value is None else Value(**{fields[kind]: value})

    return [
        (
            EntityKey(join_keys=[view.key], entity_values=[wrapped(row[view.key], view.key_type)]),
            {name: wrapped(row[name], kind) for name, kind in view.features.items()},
            row[view.time],
            None,
        )
        for row in table.to_pylist()
    ]


def _newest_rows(view: View, table: pa.Table, now: datetime) -> pa.Table:
    """The online rows: for each entity the newest row that is neither in the future nor older than ``ttl_days``."""
    import ibis

    rows, place = ibis.memtable(table), free_name("place", table.column_names)
    rows = rows.filter(rows[view.time] <= now + FUTURE)
    if view.ttl_days:
        rows = rows.filter(rows[view.time] >= now - timedelta(days=view.ttl_days))
    order = ibis.row_number().over(group_by=view.key, order_by=[ibis.desc(view.time), *sorted(view.features)])
    return (
        rows.mutate(**{place: order})
        .filter(ibis._[place] == 0)
        .drop(place)
        .order_by(view.key)
        .to_pyarrow()
        .cast(table.schema)
    )


def _online_mark(context: Context, view: View) -> list[dict[str, str]]:
    """Objects with the rows that are online; more than one if a run ended in the middle."""
    try:
        found: list[dict[str, str]] = json.loads(context.get("features", f"{view.name}/online.json"))
    except context.s3.exceptions.NoSuchKey:
        return []
    return found


def _mark_online(context: Context, view: View, items: list[dict[str, str]]) -> None:
    context.put("features", f"{view.name}/online.json", json.dumps(items).encode(), "application/json")


def _delete_online(resource: Any, entities: set[tuple[str, Any]]) -> None:
    from pipelines.serving.online import entity_id

    with resource.batch_writer() as batch:
        for key, value in entities:
            batch.delete_item(Key={"entity_id": entity_id(key, value)})


def _training_set(context: Context, tables: Mapping[str, pa.Table], labels: pa.Table) -> str:
    """Write the labels with the features of the model's views as known at each label's time; returns the address."""
    joined = as_of(labels, context.definition.views, tables)
    order = [(EVENT_TIME, "ascending"), *((name, "ascending") for name in labels.column_names if name != EVENT_TIME)]
    return context.put(
        "features", f"training/{context.model}/run={context.run}/training.parquet", parquet(joined.sort_by(order))
    )


def as_of(labels: pa.Table, views: Sequence[View], tables: Mapping[str, pa.Table]) -> pa.Table:
    """A point-in-time join: for each label and view, the entity's newest row that is neither later nor older than
    ``ttl_days``.

    Every label stays, and unknown values are empty. Feast's own join drops a label, with the features of all other
    views, where one view has only later rows of its entity, and turns whole numbers next to missing ones into floats;
    so DuckDB joins.
    """
    import duckdb

    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    joined, connection = labels, duckdb.connect()
    for view in views:
        connection.register("labels", joined)
        connection.register("rows", tables[view.name])
        key, time, features = quoted(view.key), quoted(view.time), [quoted(name) for name in view.features]
        known = f"r.{time} >= l.{quoted(EVENT_TIME)} - INTERVAL {view.ttl_days} DAY" if view.ttl_days else "true"
        order = ", ".join(sorted(features))
        # Names are quoted.
        once = f"SELECT * FROM rows QUALIFY row_number() OVER (PARTITION BY {key}, {time} ORDER BY {order}) = 1"  # noqa: S608
        columns = ", ".join(f"CASE WHEN {known} THEN r.{name} END AS {name}" for name in features)
        joined = connection.execute(
            f"SELECT l.*, {columns} FROM labels l ASOF LEFT JOIN ({once}) r"  # noqa: S608
            f" ON l.{key} = r.{key} AND l.{quoted(EVENT_TIME)} >= r.{time}"
        ).to_arrow_table()
    return joined


def _newest_key(views: Mapping[str, View], tables: Mapping[str, pa.Table], now: datetime) -> Any:
    """Key of an entity that is in every view's online table, for an example request."""
    common = None
    for name, view in views.items():
        keys = set(_newest_rows(view, tables[name], now)[view.key].to_pylist())
        common = keys if common is None else common & keys
    ordered = sorted(common or ())
    return ordered[min(17, len(ordered) - 1)] if ordered else None


if __name__ == "__main__":
    main("features", materialize)
