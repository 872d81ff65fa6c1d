"""Step: the dataset's features registered in Feast; offline in S3 (Parquet), online in DynamoDB."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.contracts import Contract
from infra.outputs import Outputs
from pipelines.context import Context, main

EVENT_TIME = "event_timestamp"


def materialize(context: Context) -> dict[str, Any]:
    """Write the features to the offline store, register the view, fill the online store."""
    import io

    import pandas as pd

    contract, target = context.example.contract, context.example.target
    assert contract is not None
    now = datetime.now(UTC).replace(microsecond=0)
    frame = pd.read_parquet(io.BytesIO(context.get_address(context.result("quality")["dataset"])))
    frame = frame.drop(columns=[target] if target else []).assign(**{EVENT_TIME: now})
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    offline = context.put("features", f"{contract.view}/run={context.run}/features.parquet", buffer.getvalue())
    with TemporaryDirectory() as folder:
        store = open_store(context.outputs, contract, target, offline, Path(folder))
        store.materialize(now - timedelta(days=1), now + timedelta(seconds=1), disable_event_timestamp=False)
    features = [item.name for item in contract.properties if item.name not in (contract.key, target)]
    return {
        "view": contract.view,
        "key": contract.key,
        "features": features,
        "offline": offline,
        "table": context.outputs.online_tables[contract.view],
        "entities": len(frame),
    }


def open_store(outputs: Outputs, contract: Contract, target: str | None, offline: str, folder: Path) -> Any:
    """A Feast store with the contract's entity, source and view applied.

    Args:
        offline: ``s3://`` address of the Parquet file behind the view.
        folder: Scratch folder for the store's configuration.
    """
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.data_format import ParquetFormat
    from feast.types import Bool, Float64, Int64, String

    endpoint = os.environ.get("AWS_ENDPOINT_URL") or None
    kinds = {"integer": Int64, "number": Float64, "string": String, "boolean": Bool}
    config = RepoConfig(
        project=outputs.online_table_prefix.replace("-", "_"),
        provider="local",
        registry=f"s3://{outputs.buckets['features']}/feast/{contract.view}.db",
        offline_store={"type": "dask"},
        online_store={
            "type": "dynamodb",
            "region": outputs.region,
            "endpoint_url": endpoint,
            "table_name_template": f"{outputs.online_table_prefix}.{{table_name}}",
            "consistent_reads": False,
        },
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    store = FeatureStore(config=config)
    key = next(item for item in contract.properties if item.primaryKey)
    entity = Entity(name=contract.key, join_keys=[contract.key], value_type=ValueType.INT64 if key.logicalType == "integer" else ValueType.STRING)
    source = FileSource(name=contract.view, path=offline, file_format=ParquetFormat(), timestamp_field=EVENT_TIME, s3_endpoint_override=endpoint)
    view = FeatureView(
        name=contract.view,
        entities=[entity],
        schema=[Field(name=item.name, dtype=kinds[item.logicalType]) for item in contract.properties if item.name != target],
        source=source,
        online=True,
        ttl=timedelta(0),
        tags={"contract": f"{contract.id} {contract.version}"},
    )
    store.apply([entity, source, view])
    return store


if __name__ == "__main__":
    main("features", materialize)
