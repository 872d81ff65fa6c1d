"""Rows that a version answered, as they were captured: what was asked, what it said, and under which id."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import orjson

from pipelines.context import Context
from pipelines.data.captures import FOLDER
from pipelines.serving.ids import NAME
from pipelines.serving.models.bundle import BESIDE
from pipelines.serving.operating.capture import request_of

_JSON = "application/json"


@dataclass
class Served:
    """n rows, each with its prediction.

    Attributes:
        rows: By column.
        chances: Probabilities or scores; None where the model gives none.
        ids, places: Of the prediction, and the row's place in its request; an id is empty where the server gave none.
        by_key: Whether rows are taken that were asked for by their key; they have nothing but the key.
        looked_up: Which of the n these are.
    """

    by_key: bool = False

    rows: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    chances: list[Any] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    looked_up: list[int] = field(default_factory=list)

    def add(self, request: dict[str, Any], answer: dict[str, Any], columns: list[dict[str, Any]]) -> None:
        """Rows of a request in one of the served JSON forms, with what was answered.

        Raises:
            ValueError, TypeError, AttributeError: It is in none of the forms.
        """
        if "dataframe_records" in request:
            rows = request["dataframe_records"]
        elif self.by_key and isinstance(request.get("entities"), dict):
            rows = _by_column(request["entities"])
        elif "dataframe_split" in request:
            names = request["dataframe_split"].get("columns") or [column["name"] for column in columns]
            rows = [dict(zip(names, row, strict=True)) for row in request["dataframe_split"]["data"]]
        elif isinstance(given := request.get("instances", request.get("inputs")), list):
            names = [column["name"] for column in columns]
            rows = [row if isinstance(row, dict) else dict(zip(names, row, strict=True)) for row in given]
        elif isinstance(given, dict):
            rows = _by_column(given)
        else:
            return
        predictions = answer["predictions"]
        if len(rows) != len(predictions):
            return
        chances = next((answer[name] for name in BESIDE.values() if name in answer), None)
        if "entities" in request:
            self.looked_up += range(len(self.rows), len(self.rows) + len(rows))
        self.rows += rows
        self.predictions += predictions
        self.chances += chances if chances is not None else [None] * len(rows)
        self.ids += [answer.get(NAME, "")] * len(rows)
        self.places += range(len(rows))

    def read(self, body: bytes, columns: list[dict[str, Any]], version: str, purpose: str = "") -> None:
        """Add what one version has answered, from a file of captured events; what is none of ours is left out."""
        for line in body.splitlines():
            try:
                event = orjson.loads(line)["captureData"]
                answer = _loads(event["endpointOutput"]["data"])
                if answer.get("model_version") != version:
                    continue
                asked = event["endpointInput"]
                plain = asked.get("encoding") == "JSON" and asked.get("observedContentType") == _JSON
                request = _loads(asked["data"]) if plain else request_of(asked, columns)
                if (request.get("params") or {}).get("purpose", "") == purpose:
                    self.add(request, answer, columns)
            except (ValueError, KeyError, AttributeError, TypeError):
                continue

    def leave_out(self, places: set[int]) -> None:
        """Forget some of the n rows."""
        if not places:
            return
        kept = [place for place in range(len(self.rows)) if place not in places]
        for name in ("rows", "predictions", "chances", "ids", "places"):
            each = getattr(self, name)
            setattr(self, name, [each[place] for place in kept])
        looked_up = set(self.looked_up)
        self.looked_up = [number for number, place in enumerate(kept) if place in looked_up]

    def frame(self, columns: Iterable[str]) -> Any:
        """The rows as a frame; a column that a row does not have is missing in it."""
        import pandas as pd

        names = list(columns)
        try:
            values: Iterable[Any] = zip(*map(itemgetter(*names), self.rows), strict=True) if len(names) > 1 else ()
            found = dict(zip(names, map(list, values), strict=True))
        except (KeyError, ValueError):
            found = {name: [row.get(name) for row in self.rows] for name in names}
        return pd.DataFrame({name: pd.Series(column) for name, column in found.items()})


def _loads(text: str) -> Any:
    """JSON, or what has NaN beside it."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def _by_column(values: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def captured(
    context: Context, columns: list[dict[str, Any]], version: str, variant: str = "", purpose: str = ""
) -> Served:
    """Rows that one version answered, from the endpoint's data capture.

    Args:
        columns: As in ``model.json``.
        variant: Only what this one has answered.
        purpose: What the requests were sent for; those of users, and of a deployment's end, have none.
    """
    served = Served()
    for key in context.keys("models", f"{FOLDER}{context.endpoint_name}/{f'{variant}/' if variant else ''}"):
        served.read(context.get("models", key), columns, version, purpose)
    return served
