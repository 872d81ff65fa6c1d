"""Features of one entity by its key, straight from Feast's DynamoDB table: kept for a while where the objectives allow
it, and not used beyond their age.

Feast's own reader takes five seconds to import; the table's layout and the key's hash are Feast's (its modules are
used, without its package's ``__init__``), and a test checks that both readers give the same answer.
"""

from __future__ import annotations

import importlib.util
import sys
import time
import types
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.serving.models.bundle import Model
from pipelines.serving.models.rows import Columns
from pipelines.serving.protocols.checks import BadRequestError

_BATCH = 100  # keys per BatchGetItem, DynamoDB's limit
MOST_KEPT = 100_000  # items
CONNECT_S, READ_S, ATTEMPTS = 1, 2, 3
MOST_CONNECTIONS = 100  # as many as there may be look-ups at once
_Row = tuple[float, dict[str, Any]]  # its time, in seconds since 1970, and its features


@dataclass(frozen=True)
class Found:
    """Features of several entities.

    Attributes:
        columns: In the order of the entities.
        age_s: Of the oldest of them; None where ages are unknown.
    """

    columns: Columns
    age_s: float | None = None


class OnlineFeatures:
    """Looks features up for one model.

    Its ``entity`` has ``key``, ``tables`` with the features of each, and, where they apply: ``max_age_s`` of each table
    (the view's ``ttl_days``), ``cache_s``, for how long a server may use what it has read, and ``as_of``, the time that
    counts as now (of a recording of the past).

    Args:
        client: For DynamoDB; by default one is made.
    """

    def __init__(self, model: Model, client: Any = None) -> None:
        if client is None:
            import boto3
            from botocore.config import Config

            limits = Config(
                connect_timeout=CONNECT_S,
                read_timeout=READ_S,
                retries={"total_max_attempts": ATTEMPTS},
                max_pool_connections=MOST_CONNECTIONS,
            )
            client = boto3.client("dynamodb", config=limits)
        self._model, self._client = model, client
        self._tables: dict[str, list[str]] = model.entity["tables"]
        self._most: dict[str, float] = model.entity.get("max_age_s", {})
        self._cache_s = float(model.entity.get("cache_s", 0))
        as_of = model.entity.get("as_of")
        self._as_of = _seconds(as_of) if as_of else None
        self._empty = {column["name"] for column in model.columns if column.get("nullable")}
        self._kept: OrderedDict[tuple[str, str], tuple[float, _Row]] = OrderedDict()
        _feast()

    def __call__(self, key: str, values: list[Any]) -> Found:
        """Features in the order of ``values``. What is older than its view allows is a missing value, as in training.

        Raises:
            BadRequestError: An entity is not in the online store, or the model can't do without what is too old (404);
                the store doesn't answer (503).
        """
        ids = [entity_id(key, value) for value in values]
        found = self._items(list(dict.fromkeys(ids)))
        missing = [
            str(value)
            for value, item in zip(values, ids, strict=True)
            if not all(item in known for known in found.values())
        ]
        if missing:
            raise BadRequestError(f"No features for {key} {', '.join(missing[:10])}.", 404)
        now, oldest = self._as_of or time.time(), 0.0
        columns: Columns = {name: [] for names in self._tables.values() for name in names}
        for table, names in self._tables.items():
            most, known = self._most.get(table, 0), found[table]
            for value, item in zip(values, ids, strict=True):
                at, row = known[item]
                age = now - at
                oldest = max(oldest, age)
                if most and age > most:
                    row = self._without(names, key, value, age, most)
                for name in names:
                    columns[name].append(row[name])
        return Found(columns, oldest)

    def _without(self, names: list[str], key: str, value: Any, age: float, most: float) -> dict[str, Any]:
        """A row of missing values instead of one that is too old."""
        if not self._empty.issuperset(names):
            raise BadRequestError(
                f"The features of {key} {value} are {_days(age)} old; at most {_days(most)} are allowed.", 404
            )
        return dict.fromkeys(names)

    def _items(self, ids: list[str]) -> dict[str, dict[str, _Row]]:
        """Rows by table and entity."""
        found: dict[str, dict[str, _Row]] = {table: {} for table in self._tables}
        wanted = ids
        if self._cache_s:
            now = time.monotonic()
            for table, known in found.items():
                for item in ids:
                    kept = self._kept.get((table, item))
                    if kept is not None and kept[0] > now:
                        known[item] = kept[1]
            wanted = [item for item in ids if not all(item in known for known in found.values())]
        size = max(1, _BATCH // len(self._tables))
        for start in range(0, len(wanted), size):
            keys = [{"entity_id": {"S": item}} for item in wanted[start : start + size]]
            request: dict[str, Any] = {table: {"Keys": keys} for table in self._tables}
            for attempt in range(ATTEMPTS * 2):
                if attempt:
                    time.sleep(0.01 * 2**attempt)  # it has refused a part: too much is asked of it
                answer = self._read(request)
                for table, items in answer["Responses"].items():
                    for item in items:
                        self._take(found[table], table, item)
                request = answer.get("UnprocessedKeys") or {}
                if not request:
                    break
            else:
                raise BadRequestError("The online store can't answer that much; try again in a second.", 503)
        return found

    def _read(self, request: dict[str, Any]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return self._client.batch_get_item(RequestItems=request)
        except (BotoCoreError, ClientError) as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
            raise BadRequestError(f"The online store does not answer ({code}); try again in a second.", 503) from None

    def _take(self, known: dict[str, _Row], table: str, item: dict[str, Any]) -> None:
        identity, values = item["entity_id"]["S"], item["values"]["M"]
        # A feature that was added to a view is missing in rows that were written before.
        row = (
            _seconds(item["event_ts"]["S"]),
            {name: _decode(values[name]["B"]) if name in values else None for name in self._tables[table]},
        )
        known[identity] = row
        if self._cache_s:
            self._kept[table, identity] = time.monotonic() + self._cache_s, row
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)


def _seconds(text: str) -> float:
    """A time in ISO 8601, in UTC where it names no zone, as seconds since 1970."""
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _days(seconds: float) -> str:
    for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"


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
