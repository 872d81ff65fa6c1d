"""Features of flights, written once as Ibis expressions: DuckDB runs them on one machine, Athena on AWS.

Point-in-time correct: a row of ``flight_before_departure`` contains only what was known an hour before the scheduled
departure.
Times are counted in whole hours; an arrival within an hour counts from the next hour on. Plain joins and window frames
only, so that every SQL dialect that Ibis compiles for has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
from ibis import _

if TYPE_CHECKING:
    from ibis.expr.types import IntegerColumn, Table

LATE_MINUTES = 15  # the industry's own bound: https://www.transtats.bts.gov/
LEAD_HOURS = 1
HOUR_S = 3600
DAY_H, WEEK_H, RECENT_H = 24, 168, 6
USUAL = 0.22  # share of late flights, where nothing is known yet
UNKNOWN = -1  # of whole numbers


def features(tables: dict[str, Table]) -> dict[str, Table]:
    """The views of ``model.yaml``: each with its key, ``event_timestamp`` and features.

    Args:
        tables: ``flights``, ``weather``, ``planes`` as in their contracts.
    """
    flights = _with_hours(tables["flights"])
    asked = flights.select(
        "flight_id", "scheduled_departure", "carrier", "origin", "tailnum", "distance", "asked_h", "scheduled_h"
    )
    arrivals = flights.filter(_.arrived_at.notnull() & _.arrival_delay.notnull())
    landed = arrivals.mutate(known_h=_hour(_.arrived_at) + 1, late=(_.arrival_delay > LATE_MINUTES).cast("int64"))
    left = flights.filter(_.departed_at.notnull() & _.departure_delay.notnull()).mutate(
        known_h=_hour(_.departed_at) + 1
    )

    found = asked
    for columns in (
        _recent(
            asked, landed, "carrier", {"carrier_late_24h": ("late", DAY_H), "carrier_late_7d": ("late", WEEK_H)}, USUAL
        ),
        _recent(asked, landed, "origin", {"origin_late_6h": ("late", RECENT_H)}, USUAL),
        _recent(asked, left, "origin", {"origin_departure_delay_6h": ("departure_delay", RECENT_H)}, 0.0),
    ):
        key = columns.columns[0]
        found = found.left_join(columns, [key, "asked_h"], rname="{name}_right").drop(f"{key}_right", "asked_h_right")
    # The schedule is known long before: how many flights are scheduled in the same hour.
    crowd = flights.group_by(["origin", "scheduled_h"]).agg(congestion=_.count())
    found = found.left_join(crowd, ["origin", "scheduled_h"], rname="{name}_right").drop(
        "origin_right", "scheduled_h_right"
    )
    found = _with_weather(found, tables["weather"])
    found = _with_planes(found, tables["planes"])
    before = found.select(
        "flight_id",
        event_timestamp=_.scheduled_departure - ibis.interval(hours=LEAD_HOURS),
        hour=_.scheduled_departure.hour().cast("int64"),
        weekday=_.scheduled_departure.day_of_week.index().cast("int64"),
        distance=_.distance.cast("int64"),
        carrier_late_24h=_.carrier_late_24h.coalesce(USUAL),
        carrier_late_7d=_.carrier_late_7d.coalesce(USUAL),
        origin_late_6h=_.origin_late_6h.coalesce(USUAL),
        origin_departure_delay_6h=_.origin_departure_delay_6h.coalesce(0.0),
        congestion=_.congestion.cast("int64"),
        wind_speed=_.wind_speed.coalesce(10.0),
        visibility=_.visibility.coalesce(10.0),
        precipitation=_.precipitation.coalesce(0.0),
        humidity=_.humidity.coalesce(60.0),
        pressure=_.pressure.coalesce(1017.0),
        plane_age=_.plane_age.coalesce(UNKNOWN).cast("int64"),
        seats=_.seats.coalesce(UNKNOWN).cast("int64"),
    )
    departed = flights.filter(_.departed_at.notnull() & _.departure_delay.notnull())
    return {
        "flight_before_departure": before,
        "flight_departed": departed.select(
            "flight_id", event_timestamp=_.departed_at, departure_delay=_.departure_delay.cast("int64")
        ),
    }


def labels(tables: dict[str, Table]) -> Table:
    """What to predict: whether a flight arrived more than 15 minutes late, with the time of the prediction.

    Cancelled and diverted flights have no arrival, and are left out.
    """
    arrived = tables["flights"].filter(_.arrival_delay.notnull() & _.departed_at.notnull())
    # As late as any feature of any version is known: when the flight has left, but not earlier than an hour before its
    # scheduled departure.
    asked = ibis.greatest(_.departed_at, _.scheduled_departure - ibis.interval(hours=LEAD_HOURS))
    return arrived.select("flight_id", event_timestamp=asked, late=(_.arrival_delay > LATE_MINUTES).cast("int64"))


def _hour(time: IntegerColumn) -> IntegerColumn:
    """Whole hours since 1970."""
    return (time.epoch_seconds() / HOUR_S).floor().cast("int64")


def _with_hours(flights: Table) -> Table:
    scheduled = _hour(flights.scheduled_departure)
    return flights.mutate(scheduled_h=scheduled, asked_h=scheduled - LEAD_HOURS)


def _recent(asked: Table, events: Table, key: str, wanted: dict[str, tuple[str, int]], usual: float) -> Table:
    """Means over the last hours before each hour with a prediction: one row per key and hour, columns as in
    ``wanted``.

    Args:
        events: With ``known_h``, the first hour in which the event is known.
        wanted: Column that is averaged, and hours to look back, by the name of the mean.
    """
    values = sorted({column for column, _hours in wanted.values()})
    known = events.group_by([key, "known_h"]).agg(n=_.count(), **{name: events[name].sum() for name in values})
    hours = (
        asked.select(key, known_h=_.asked_h)
        .distinct()
        .mutate(n=ibis.literal(0, "int64"), **{name: ibis.literal(0, "int64") for name in values})
    )
    spine = known.select(key, "known_h", "n", *values).cast(dict.fromkeys(("n", *values), "int64")).union(hours)
    # The hour of the prediction and the hours before it; the same hour may have both events and predictions, so hours
    # are summed first.
    spine = spine.group_by([key, "known_h"]).agg(n=_.n.sum(), **{name: spine[name].sum() for name in values})
    means = {}
    for name, (column, hours_back) in wanted.items():
        window = ibis.range_window(group_by=spine[key], order_by=spine.known_h, preceding=hours_back - 1, following=0)
        count, total = spine.n.sum().over(window), spine[column].sum().over(window)
        means[name] = ibis.ifelse(count > 0, total.cast("float64") / count.cast("float64"), usual)
    return spine.select(key, asked_h=spine.known_h, **means)


def _with_weather(found: Table, weather: Table) -> Table:
    """What was measured in the hour before the prediction's."""
    columns = ("wind_speed", "visibility", "precipitation", "humidity", "pressure")
    known = weather.mutate(known_h=_hour(weather.observed_at) + 1)
    known = known.group_by(["origin", "known_h"]).agg(**{name: known[name].max() for name in columns})
    joined = found.left_join(
        known, [found.origin == known.origin, found.asked_h == known.known_h], rname="{name}_right"
    )
    return joined.drop("origin_right", "known_h")


def _with_planes(found: Table, planes: Table) -> Table:
    known = planes.select("tailnum", "seats", built="year")
    joined = found.left_join(known, "tailnum", rname="{name}_right").drop("tailnum_right")
    return joined.mutate(plane_age=joined.scheduled_departure.year() - joined.built)
