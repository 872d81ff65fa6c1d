"""Features by key: how old they may be, how long they are kept, and what happens when the store fails."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import Constant
from pipelines.serving.online import OnlineFeatures, _feast, entity_id
from pipelines.serving.protocols.checks import BadRequestError

DAY = 86_400.0


class Store:
    """DynamoDB's BatchGetItem over rows in memory: two tables, of each entity its time and features."""

    def __init__(self, **tables: dict[Any, tuple[datetime, dict[str, float]]]) -> None:
        self.tables, self.reads, self.error = tables, 0, None  # type: dict[str, Any], int, Exception | None

    def batch_get_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:
        self.reads += 1
        if self.error is not None:
            raise self.error
        value, found = _feast().Value, {}
        for table, asked in RequestItems.items():
            wanted = {key["entity_id"]["S"] for key in asked["Keys"]}
            found[table] = [
                {
                    "entity_id": {"S": entity_id("id", key)},
                    "event_ts": {"S": str(at)},
                    "values": {
                        "M": {
                            name: {"B": value(double_val=number).SerializeToString()}
                            for name, number in features.items()
                        }
                    },
                }
                for key, (at, features) in self.tables[table].items()
                if entity_id("id", key) in wanted
            ]
        return {"Responses": found}


def reader(store: Store, *, nullable: bool = False, **entity: Any) -> OnlineFeatures:
    tables = {table: list(next(iter(rows.values()))[1]) for table, rows in store.tables.items()}
    columns = [
        {"name": name, "type": "double", **({"nullable": True} if nullable else {})}
        for names in tables.values()
        for name in names
    ]
    model = Model(Constant(1.0), columns, "regression", entity={"key": "id", "tables": tables, **entity})
    return OnlineFeatures(model, store)


def store_of(age: timedelta) -> Store:
    now = datetime.now(UTC)
    return Store(
        slow={1: (now - age, {"a": 1.0}), 2: (now, {"a": 2.0})},
        fast={1: (now, {"b": 10.0}), 2: (now, {"b": 20.0})},
    )


def test_the_age_of_the_oldest_is_told() -> None:
    found = reader(store_of(timedelta(hours=5)))("id", [2, 1])
    assert found.columns == {"a": [2.0, 1.0], "b": [20.0, 10.0]}
    assert found.age_s == pytest.approx(5 * 3_600, abs=60)


def test_what_is_too_old_is_missing_as_in_training() -> None:
    found = reader(store_of(timedelta(days=5)), nullable=True, max_age_s={"slow": 3 * DAY})("id", [1, 2])
    assert found.columns == {"a": [None, 2.0], "b": [10.0, 20.0]}


def test_a_model_that_needs_it_says_how_old_it_is() -> None:
    with pytest.raises(
        BadRequestError, match=r"features of id 1 are 5 days old; at most 3 days are allowed\."
    ) as raised:
        reader(store_of(timedelta(days=5)), max_age_s={"slow": 3 * DAY})("id", [1])
    assert raised.value.status == 404


def test_of_a_recording_the_age_counts_from_its_end() -> None:
    then = datetime(2013, 3, 29, tzinfo=UTC)
    store = Store(slow={1: (then - timedelta(days=1), {"a": 1.0})})
    found = reader(store, max_age_s={"slow": 3 * DAY}, as_of=then.isoformat())("id", [1])
    assert found.age_s == DAY and found.columns == {"a": [1.0]}


def test_features_are_kept_for_as_long_as_allowed_and_no_longer(monkeypatch: Any) -> None:
    store, clock = store_of(timedelta(0)), [1_000.0]
    monkeypatch.setattr("pipelines.serving.online.time", SimpleNamespace(monotonic=lambda: clock[0], time=time.time))
    look = reader(store, cache_s=60)
    assert look("id", [1]).columns == look("id", [1]).columns and store.reads == 1
    look("id", [1, 2])  # of two, only the other one is read
    assert store.reads == 2
    store.tables["slow"][1] = datetime.now(UTC), {"a": 9.0}
    assert look("id", [1]).columns["a"] == [1.0]
    clock[0] += 61
    assert look("id", [1]).columns["a"] == [9.0] and store.reads == 3
    never = reader(store)
    never("id", [1]), never("id", [1])
    assert store.reads == 5


def test_kept_features_grow_old_too(monkeypatch: Any) -> None:
    store, clock = store_of(timedelta(days=3) - timedelta(hours=1)), [time.time()]
    monkeypatch.setattr(
        "pipelines.serving.online.time", SimpleNamespace(monotonic=lambda: clock[0], time=lambda: clock[0])
    )
    look = reader(store, cache_s=7_200, max_age_s={"slow": 3 * DAY})
    look("id", [1])
    clock[0] += 3_700
    with pytest.raises(BadRequestError, match="days old"):
        look("id", [1])
    assert store.reads == 1


@pytest.mark.parametrize(
    "error",
    [
        ConnectTimeoutError(endpoint_url="http://dynamodb"),
        ClientError({"Error": {"Code": "ProvisionedThroughputExceededException", "Message": ""}}, "BatchGetItem"),
    ],
)
def test_a_store_that_fails_is_told_without_its_own_words(error: Exception) -> None:
    store = store_of(timedelta(0))
    store.error = error
    with pytest.raises(BadRequestError, match=r"The online store does not answer \(\w+\)") as raised:
        reader(store)("id", [1])
    assert raised.value.status == 503


def test_a_store_that_never_answers_all_is_not_asked_for_ever(monkeypatch: Any) -> None:
    monkeypatch.setattr(
        "pipelines.serving.online.time",
        SimpleNamespace(sleep=lambda seconds: None, time=time.time, monotonic=time.monotonic),
    )
    store = store_of(timedelta(0))
    whole = store.batch_get_item
    monkeypatch.setattr(
        store, "batch_get_item", lambda RequestItems: {"Responses": {}, "UnprocessedKeys": RequestItems}
    )
    look = reader(store)
    with pytest.raises(BadRequestError, match="can't answer that much") as raised:
        look("id", [1])
    assert raised.value.status == 503
    parts = iter([{"UnprocessedKeys": True}, {}])
    monkeypatch.setattr(
        store,
        "batch_get_item",
        lambda RequestItems: whole(RequestItems) | ({"UnprocessedKeys": RequestItems} if next(parts) else {}),
    )
    assert look("id", [1]).columns == {"a": [1.0], "b": [10.0]}


def test_a_feature_that_was_added_later_is_missing_and_times_without_a_zone_are_utc(monkeypatch: Any) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    store = store_of(timedelta(0))
    store.tables["slow"][1] = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1), {}
    look = reader(store, nullable=True)
    look._tables["slow"] = ["a"]
    found = look("id", [1])
    monkeypatch.undo()
    time.tzset()
    assert found.columns["a"] == [None] and found.age_s == pytest.approx(3_600, abs=60)


def test_an_entity_that_is_in_no_table_is_named() -> None:
    with pytest.raises(BadRequestError, match=r"No features for id 7\."):
        reader(store_of(timedelta(0)))("id", [1, 7])
