"""Features of one entity by its key, straight from Feast's DynamoDB table.

Feast's own reader takes five seconds to import; the table's layout and the key's hash are Feast's (its modules are
used, without its package's ``__init__``), and a test checks that both readers give the same answer.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.serving.models.bundle import Model
from pipelines.serving.models.rows import Columns
from pipelines.serving.protocols.checks import BadRequestError

_BATCH = 100  # keys per BatchGetItem, DynamoDB's limit


class OnlineFeatures:
    """Looks features up for one model."""

    def __init__(self, model: Model) -> None:
        import boto3

        self._model, self._client = model, boto3.client("dynamodb")
        _feast()

    def __call__(self, key: str, values: list[Any]) -> Columns:
        """Columns of features, in the order of ``values``.

        Raises:
            BadRequestError: An entity is not in the online store (404).
        """
        tables: dict[str, list[str]] = self._model.entity["tables"]
        ids = [entity_id(key, value) for value in values]
        found: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in tables}
        unique = list(dict.fromkeys(ids))
        size = _BATCH // len(tables)
        for start in range(0, len(unique), size):
            keys = [{"entity_id": {"S": item}} for item in unique[start : start + size]]
            request = {table: {"Keys": keys} for table in tables}
            while request:
                answer = self._client.batch_get_item(RequestItems=request)
                for table, items in answer["Responses"].items():
                    found[table] |= {item["entity_id"]["S"]: item["values"]["M"] for item in items}
                request = answer.get("UnprocessedKeys") or {}
        missing = [
            str(value)
            for value, item in zip(values, ids, strict=True)
            if not all(item in known for known in found.values())
        ]
        if missing:
            raise BadRequestError(f"No features for {key} {', '.join(missing[:10])}.", 404)
        return {
            name: [_decode(found[table][item][name]["B"]) for item in ids]
            for table, names in tables.items()
            for name in names
        }


def entity_id(key: str, value: int | str) -> str:
    """The table's partition key of one entity: Feast's hash of the serialized key, version 3."""
    feast = _feast()
    wrapped = feast.Value(int64_val=value) if isinstance(value, int) else feast.Value(string_val=value)
    return str(feast.compute_entity_id(feast.EntityKey(join_keys=[key], entity_values=[wrapped]), 3))


def _decode(serialized: bytes) -> Any:
    value = _feast().Value.FromString(serialized)
    kind = value.WhichOneof("val")
    return getattr(value, kind) if kind else None


@cache
def _feast() -> Any:
    """Feast's key hash and value messages."""
    if "feast" not in sys.modules:
        spec = importlib.util.find_spec("feast")
        assert spec is not None and spec.origin is not None
        for name, folder in (
            ("feast", ""),
            ("feast.infra", "infra"),
            ("feast.infra.online_stores", "infra/online_stores"),
        ):
            bare = types.ModuleType(name)
            bare.__path__ = [str(Path(spec.origin).parent / folder)]
            sys.modules[name] = bare
    import mmh3
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    def compute_entity_id(entity_key: Any, version: int) -> str:
        return mmh3.hash_bytes(serialize_entity_key(entity_key, entity_key_serialization_version=version)).hex()

    return types.SimpleNamespace(EntityKey=EntityKey, Value=Value, compute_entity_id=compute_entity_id)
