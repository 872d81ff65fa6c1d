"""Captured events as columns: the usual ones read by DuckDB, which takes a fifth of the time; all others one by one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from pipelines.monitoring.estimating import class_names_of, matrix, values_of
from pipelines.monitoring.served import Served
from pipelines.serving.ids import NAME
from pipelines.serving.models.bundle import BESIDE, Model

_TYPES = {"long": "DOUBLE", "double": "DOUBLE", "boolean": "BOOLEAN"}
_PARTS = [
    f"$.captureData.{part}"
    for part in (
        "endpointInput.data",
        "endpointOutput.data",
        "endpointInput.encoding",
        "endpointInput.observedContentType",
    )
]


@dataclass(frozen=True)
class Table:
    """n rows that a version answered.

    Attributes:
        frame: Their features.
        said: What was predicted, shape [n]: places of classes, or numbers; empty of several targets.
        chances: Of shape [n, classes], NaN in rows that have none; None where none has.
        ids, places: Of each row's prediction, and its place in the request.
    """

    frame: Any
    said: Any
    chances: Any
    ids: list[str]
    places: list[int]

    def __len__(self) -> int:
        return len(self.frame)


def of_served(served: Served, model: Model, columns: Iterable[str]) -> Table:
    """Rows that were read one by one."""
    names = class_names_of(model)
    said = np.empty(0) if model.targets else values_of(served.predictions, names)
    chances = matrix(served.chances, len(names)) if names and not model.targets else None
    return Table(served.frame(columns), said, chances, served.ids, served.places)


def joined(tables: Sequence[Table]) -> Table:
    """The rows of several, one after the other."""
    import pandas as pd

    tables = [table for table in tables if len(table)] or list(tables[:1])
    if len(tables) == 1:
        return tables[0]
    classes = next((table.chances.shape[1] for table in tables if table.chances is not None), 0)
    chances = [np.full((len(table), classes), np.nan) if table.chances is None else table.chances for table in tables]
    return Table(
        pd.concat([table.frame for table in tables], ignore_index=True),
        np.concatenate([table.said for table in tables]),
        np.concatenate(chances) if classes else None,
        [each for table in tables for each in table.ids],
        [each for table in tables for each in table.places],
    )


def read(bodies: Iterable[bytes], model: Model, columns: Sequence[str], version: str, rest: Served) -> Table | None:
    """Rows of the usual requests in files of captured events: records as JSON that users have sent.

    Args:
        columns: That are wanted of each row.
        rest: Is given all other rows.

    Returns:
        None if all were read one by one: a model of several targets, or with columns whose names differ in case only.
    """
    import duckdb
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [column["name"] for column in model.columns]
    if model.targets or len({name.lower() for name in names}) < len(names):
        for body in bodies:
            rest.read(body, model.columns, version)
        return None
    types = {column["name"]: _TYPES.get(column["type"], "VARCHAR") for column in model.columns}
    beside = next((name for kind, name in BESIDE.items() if kind == model.output), "probabilities")
    asked = json.dumps({"dataframe_records": [types], "params": "JSON"})
    told = json.dumps({"predictions": ["JSON"], beside: ["JSON"], NAME: "VARCHAR", "model_version": "VARCHAR"})
    lines = pc.split_pattern(
        pa.array([body.decode("utf-8", "replace") for body in bodies], pa.large_string()), "\n"
    ).flatten()
    with duckdb.connect() as connection:
        connection.register("lines", pa.table({"line": lines}))
        try:
            _events(connection, asked, told, version, "{}")
        except duckdb.Error:  # not everything is JSON; to find out what is not takes as long again
            _events(connection, asked, told, version, "try_cast({} AS JSON)")
        for (line,) in connection.execute("SELECT line FROM events WHERE NOT usual").fetchall():
            rest.read(line.encode(), model.columns, version)
        found = connection.execute(
            f"""
            SELECT unnest(asked.dataframe_records, max_depth := 2), unnest(told.predictions) AS "prediction ",
                unnest(told.{beside}) AS "chance ", told.{NAME} AS "id ",
                unnest(range(len(told.predictions)::BIGINT)) AS "place "
            FROM events WHERE usual
            """  # noqa: S608
        ).df()
    classes = class_names_of(model)
    said = found["prediction "]
    chances = found["chance "]
    return Table(
        found[list(columns)],
        values_of(said.map({text: json.loads(text) for text in said.unique()}), classes)
        if classes
        else said.astype(float).to_numpy(),
        _matrix(chances, len(classes)) if classes else None,
        found["id "].fillna("").tolist(),
        found["place "].tolist(),
    )


def _events(connection: Any, asked: str, told: str, version: str, text: str) -> None:
    """Make the table ``events`` of the table ``lines``: what was asked and told where a request is one of the usual,
    else its line.

    Args:
        text: What makes JSON of a text.
    """
    # Names and types are the model's own, as JSON texts.
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE events AS
        SELECT usual, CASE WHEN usual THEN asked END AS asked, CASE WHEN usual THEN told END AS told,
            CASE WHEN NOT usual THEN line END AS line
        FROM (
            SELECT *, coalesce(len(asked.dataframe_records) = len(told.predictions)
                AND told.model_version = $version AND asked.params IS NULL, false) AS usual
            FROM (
                SELECT line, CASE WHEN parts[3] = 'JSON' AND parts[4] = 'application/json'
                        THEN json_transform({text.format("parts[1]")}, {_quoted(asked)}) END AS asked,
                    json_transform({text.format("parts[2]")}, {_quoted(told)}) AS told
                FROM (SELECT line, json_extract_string({text.format("line")}, {_PARTS}) AS parts FROM lines)
            )
        )
        """,  # noqa: S608
        {"version": version},
    )


def _matrix(chances: Any, classes: int) -> Any:
    """Probabilities from JSON texts: each row's a number, or a list of them."""
    return matrix(orjson.loads(f"[{','.join(chances.fillna('null'))}]"), classes)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
