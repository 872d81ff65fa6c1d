"""Features of flights: point-in-time correct, the same in every dialect, and what the view declares."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.context import load_definition
from pipelines.data.decode import Decoder
from pipelines.steps.features import duckdb_tables
from pipelines.steps.quality import prepare
from tests import flights
from tests.flights import FOLDER

pytestmark = pytest.mark.slow  # a stream of flights

DEFINITION = load_definition(FOLDER)


def tables() -> dict[str, pa.Table]:
    found = {}
    for name in ("flights", "weather", "planes"):
        contract = flights.contract(name)
        found[name] = prepare(Decoder(contract).decode(list(flights.payloads(name)))[0], contract, frozenset())[0]
    return found


TABLES = tables()


def computed(given_tables: dict[str, pa.Table], folder: Path, view: str = "flight_before_departure") -> pa.Table:
    files = {}
    for name, table in given_tables.items():
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        files[name] = sink.getvalue().to_pybytes()
    made = DEFINITION.function("features:features")(duckdb_tables(files, folder))
    return made[view].to_pyarrow().sort_by("flight_id")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    return computed(TABLES, tmp_path_factory.mktemp("duckdb"))


def test_the_views_are_as_declared_and_have_no_gaps(known: pa.Table) -> None:
    view = next(view for view in DEFINITION.views if view.name == "flight_before_departure")
    assert set(known.column_names) == {view.key, "event_timestamp", *view.features}
    assert known.num_rows == TABLES["flights"].num_rows and not any(
        known[name].null_count for name in known.column_names
    )
    assert known["carrier_late_24h"].to_numpy().min() >= 0 and known["carrier_late_24h"].to_numpy().max() <= 1


def test_a_feature_is_what_one_would_count_by_hand(known: pa.Table) -> None:
    frame = TABLES["flights"].to_pandas()
    asked = frame.sort_values("scheduled_departure").iloc[3000]
    hour = asked.scheduled_departure.floor("h") - timedelta(hours=1)
    arrived = frame[
        (frame.carrier == asked.carrier) & frame.arrival_delay.notna() & (frame.arrived_at.dt.floor("h") < hour)
    ]
    recent = arrived[arrived.arrived_at.dt.floor("h") >= hour - timedelta(hours=24)]
    row = known.filter(pc.equal(known["flight_id"], asked.flight_id)).to_pylist()[0]
    assert row["carrier_late_24h"] == pytest.approx((recent.arrival_delay > 15).mean())
    same = frame[
        (frame.origin == asked.origin)
        & (frame.scheduled_departure.dt.floor("h") == asked.scheduled_departure.floor("h"))
    ]
    assert row["congestion"] == len(same)
    assert row["event_timestamp"] == asked.scheduled_departure - timedelta(hours=1)


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_no_feature_sees_its_future(known: pa.Table, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Whatever happens after a moment, features as of earlier times are unchanged."""
    times = known["event_timestamp"].to_pandas()
    moment = times.min() + (times.max() - times.min()) * data.draw(st.floats(0.05, 0.95))
    frame = TABLES["flights"].to_pandas()
    later = frame.departed_at > moment
    shift = data.draw(st.integers(-100, 1500))
    frame.loc[later, ["arrival_delay", "departure_delay"]] += shift
    still = frame.arrived_at > moment
    frame.loc[still, "arrival_delay"] = data.draw(st.integers(-60, 600))
    if data.draw(st.booleans()):  # events of later flights that nobody has sent
        frame.loc[later, ["departed_at", "arrived_at", "arrival_delay", "departure_delay"]] = None
    weather = TABLES["weather"].to_pandas()
    unseen = weather.observed_at + timedelta(hours=1) > moment
    weather.loc[unseen, ["wind_speed", "visibility", "humidity"]] = data.draw(st.sampled_from([0.0, 50.0]))
    changed = {
        "flights": pa.Table.from_pandas(frame, schema=TABLES["flights"].schema, preserve_index=False),
        "weather": pa.Table.from_pandas(weather, schema=TABLES["weather"].schema, preserve_index=False),
        "planes": TABLES["planes"],
    }
    after = computed(changed, tmp_path_factory.mktemp("duckdb"))
    before = pc.less_equal(known["event_timestamp"], pa.scalar(moment.to_pydatetime(), pa.timestamp("us", "UTC")))
    assert known.filter(before).equals(after.filter(before))


def test_athenas_sql_is_compiled_and_gives_the_same_on_duckdb(known: pa.Table) -> None:
    import duckdb
    import ibis
    import sqlglot

    unbound = {name: ibis.table(ibis.Schema.from_pyarrow(table.schema), name=name) for name, table in TABLES.items()}
    views = DEFINITION.function("features:features")(unbound)
    connection = duckdb.connect()
    for name, table in TABLES.items():
        connection.register(name, table)
    connection.execute("SET TimeZone='UTC'")
    for name, expression in views.items():
        athena = ibis.to_sql(expression, dialect="athena")
        assert "ASOF" not in athena.upper()
        translated = sqlglot.transpile(athena, read="athena", write="duckdb")[0]
        found = connection.execute(translated).to_arrow_table()
        if name == "flight_before_departure":
            assert found.sort_by("flight_id").cast(known.schema).equals(known)


def at(*days: float) -> pa.Array:
    from datetime import UTC, datetime

    return pa.array(
        [datetime(2026, 1, 10, tzinfo=UTC) + timedelta(days=day) for day in days], pa.timestamp("us", "UTC")
    )


def test_every_label_stays_with_what_was_known_when_it_was_asked() -> None:
    from pipelines.steps.features import as_of
    from spec.feature_views import View

    guests = View(name="guests", key="guest", features={"account": "integer", "vip": "boolean"})
    rooms = View(name="rooms", key="room", features={"uses": "integer"}, ttl_days=2)
    labels = pa.table(
        {
            "guest": ["a", "a", "b", "c", None],
            "room": ["r", "r", "r", "r", "r"],
            "event_timestamp": at(0, 2, 2, 2, 2),
            "y": [1, 2, 3, 4, 5],
        }
    )
    tables = {
        "guests": pa.table(
            {
                "guest": ["a", "a", "b"],
                "event_timestamp": at(-1, 1, 5),
                "account": pa.array([2**60 + 1, None, 7]),
                "vip": [True, False, True],
            }
        ),
        "rooms": pa.table({"room": ["r", "r"], "event_timestamp": at(-9, -1), "uses": [1, 2]}),
    }
    found = as_of(labels, [guests, rooms], tables).sort_by("y")
    assert found.column_names == ["guest", "room", "event_timestamp", "y", "account", "vip", "uses"]
    assert found["y"].to_pylist() == [1, 2, 3, 4, 5], "one whose features are all of later is not dropped"
    assert found["account"].to_pylist() == [2**60 + 1, None, None, None, None] and found["account"].type == pa.int64()
    assert found["vip"].to_pylist() == [True, False, None, None, None]
    assert found["uses"].to_pylist() == [2, None, None, None, None], "older than two days"


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 99)), max_size=20),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=10),
    st.sampled_from([0, 1, 3]),
)
def test_a_label_gets_the_newest_row_that_is_not_later(
    rows: list[tuple[str, int, int]], asked: list[tuple[str, int]], ttl: int
) -> None:
    from pipelines.steps.features import as_of
    from spec.feature_views import View

    once = {(key, day): value for key, day, value in rows}
    view = View(name="v", key="k", features={"f": "integer"}, ttl_days=ttl)
    keys = pa.array([key for key, _ in once], pa.string())
    table = pa.table(
        {"k": keys, "event_timestamp": at(*(day for _, day in once)), "f": pa.array(list(once.values()), pa.int64())}
    )
    labels = pa.table(
        {
            "k": [key for key, _ in asked],
            "event_timestamp": at(*(day for _, day in asked)),
            "n": list(range(len(asked))),
        }
    )
    found = as_of(labels, [view], {"v": table}).sort_by("n")["f"].to_pylist()
    for (key, day), value in zip(asked, found, strict=True):
        known = [
            (then, number)
            for (owner, then), number in once.items()
            if owner == key and then <= day and (not ttl or then >= day - ttl)
        ]
        assert value == (max(known)[1] if known else None)
