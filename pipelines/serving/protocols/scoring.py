"""Request bodies into rows: MLflow's JSON forms, CSV, NumPy, Arrow, Parquet, and rows looked up by key. Errors are
reported in one sentence.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from pipelines.serving.models.bundle import Model
from pipelines.serving.models.rows import Columns, Rows
from pipelines.serving.online import Found
from pipelines.serving.protocols.checks import MAX_BODY_BYTES, MAX_ROWS, BadRequestError, checked, kind_of
from pipelines.serving.protocols.tables import ARROW, CSV, NUMPY, PARQUET, TABLES, from_csv, from_rows, from_table
from pipelines.serving.protocols.typed_json import MAX_KEY

JSON = "application/json"
_BOM = b"\xef\xbb\xbf"
ACCEPTED = (JSON, CSV, NUMPY, ARROW, PARQUET)
Lookup = Callable[[str, list[Any]], Found]
_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs", "entities")


@dataclass(frozen=True)
class Entities:
    """Keys whose features are looked up.

    Attributes:
        ignores_more: Whether features that the model does not have are left out.
    """

    key: str
    values: list[Any]
    ignores_more: bool = False


def parse(model: Model, content_type: str, body: bytes) -> Rows | Entities:
    """The request's rows, checked, in the model's order.

    Args:
        content_type: One of ``ACCEPTED``; JSON in MLflow's scoring forms, or ``entities``.

    Returns:
        The rows, or the keys by which their features must be looked up first.

    Raises:
        BadRequestError: Anything the client can fix.
    """
    kind = content_type.partition(";")[0].strip().lower() or JSON
    if kind == JSON and len(body) <= MAX_BODY_BYTES:
        rows = model.decode(body)
        if rows is not None and 0 < len(rows) <= MAX_ROWS:
            return Rows(model.names, tuples=rows)
    if not body.strip():
        raise BadRequestError("The body is empty; send rows as JSON or CSV.")
    if len(body) > MAX_BODY_BYTES:
        raise BadRequestError(f"The body has {len(body)} bytes; at most {MAX_BODY_BYTES} are accepted.", 413)
    if kind == JSON:
        found = _from_json(model, body)
        if isinstance(found, Entities):
            return found
        columns: dict[str, Any] = found
    elif kind == CSV:
        header = {"present": True, "absent": False}.get(_parameter(content_type, "header"))
        columns = from_csv(model.columns, body, header)
    elif kind in TABLES:
        columns = from_table(kind, model.names, body)
    else:
        raise BadRequestError(
            f"The content type {kind} is not supported; use {', '.join(ACCEPTED[:-1])} or {ACCEPTED[-1]}.", 415
        )
    return Rows(model.names, columns=checked(model, columns))


def _parameter(content_type: str, name: str) -> str:
    """A parameter of a content type; empty if it is not there."""
    for part in content_type.split(";")[1:]:
        key, _, value = part.partition("=")
        if key.strip().lower() == name:
            return value.strip().strip('"').lower()
    return ""


def params_of(content_type: str, body: bytes) -> dict[str, Any]:
    """What a request in JSON has beside its rows, as ``params``; it has been parsed before."""
    if (content_type.partition(";")[0].strip().lower() or JSON) != JSON or b'"params"' not in body:
        return {}
    try:
        params = orjson.loads(body).get("params")
    except orjson.JSONDecodeError:  # with NaN
        params = json.loads(body).get("params")
    return params if isinstance(params, dict) else {}


def _ignores_more(document: dict[str, Any]) -> bool:
    """Whether unknown columns are allowed: two versions with different inputs are compared on the same rows."""
    return isinstance(params := document.get("params"), dict) and params.get("extra_columns") == "ignore"


def _from_json(model: Model, body: bytes) -> Columns | Entities:
    body = body.removeprefix(_BOM)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        document = _with_nan(body, error)
    if not isinstance(document, dict):
        raise BadRequestError(
            f"The JSON body must be an object with one of {', '.join(_FORMS)}; found {kind_of(document)}."
        )
    unknown = [key for key in document if key not in (*_FORMS, "params")]
    given = [key for key in _FORMS if key in document]
    if unknown or len(given) != 1:
        found = ", ".join(map(str, [*given, *unknown])) or "nothing"
        raise BadRequestError(f"The JSON body must have exactly one of {', '.join(_FORMS)}; found {found[:200]}.")
    form, value = given[0], document[given[0]]
    if form == "entities":
        return _entities(model, value, extra=_ignores_more(document))
    columns = _from_form(model, form, value)
    return (
        {name: values for name, values in columns.items() if name in model.names}
        if _ignores_more(document)
        else columns
    )


def _with_nan(body: bytes, error: orjson.JSONDecodeError) -> Any:
    """The same where numbers are written as Python writes them: ``NaN`` is not valid JSON, but what ``json.dumps``
    writes for a missing number.

    Raises:
        BadRequestError: It is not JSON either way.
    """
    if b"NaN" in body or b"Infinity" in body:
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(body)
    raise BadRequestError(f"The body is not valid JSON: {error}.")


def _from_form(model: Model, form: str, value: Any) -> Columns:
    if form == "dataframe_split":
        if not isinstance(value, dict) or not isinstance(value.get("data"), list):
            raise BadRequestError("dataframe_split must be an object with columns and data.")
        names = value.get("columns", model.names)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadRequestError("dataframe_split.columns must be a list of names.")
        return from_rows(names, value["data"])
    if isinstance(value, dict):
        if not all(isinstance(item, list) for item in value.values()):
            raise BadRequestError(f"{form} as an object must have a list of values for each column.")
        return dict(value)
    if not isinstance(value, list):
        raise BadRequestError(f"{form} must be a list of rows; found {kind_of(value)}.")
    if value and all(isinstance(row, dict) for row in value):
        names = list(value[0])
        for index, row in enumerate(value):
            if set(row) != set(names):
                odd = sorted(set(row) ^ set(names))
                raise BadRequestError(f"Row {index} has other columns than row 0: {', '.join(map(repr, odd))}.")
        return {name: [row[name] for row in value] for name in names}
    if form == "dataframe_records":
        raise BadRequestError("dataframe_records must be a list of objects, one per row.")
    return from_rows(model.names, value)


def _entities(model: Model, value: Any, *, extra: bool) -> Entities:
    key = model.entity.get("key")
    if not key:
        raise BadRequestError("This model has no online features; send the rows themselves.")
    if not isinstance(value, dict) or list(value) != [key] or not isinstance(value[key], list) or not value[key]:
        raise BadRequestError(f'entities must be {{"{key}": [...]}} with at least one key.')
    if len(value[key]) > MAX_ROWS:
        raise BadRequestError(f"{len(value[key])} keys were sent; at most {MAX_ROWS} are accepted per request.", 413)
    for item in value[key]:
        if isinstance(item, int) and not isinstance(item, bool) and not -MAX_KEY <= item < MAX_KEY:
            raise BadRequestError(f"entities.{key} contains {item}, which is not a 64-bit key.")
        if isinstance(item, bool) or not isinstance(item, int | str):
            raise BadRequestError(f"entities.{key} must contain numbers or texts; found {kind_of(item)}.")
    return Entities(key, value[key], extra)


def looked_up(model: Model, entities: Entities, lookup: Lookup | None) -> tuple[Rows, float | None]:
    """The features of entities, checked like rows that were sent, and the age of the oldest in seconds, if known.

    Raises:
        BadRequestError: One has none (404), or none that the model accepts.
    """
    if lookup is None:
        raise BadRequestError("This model has no online features; send the rows themselves.")
    found = lookup(entities.key, entities.values)
    columns = found.columns
    if entities.ignores_more:
        columns = {name: values for name, values in columns.items() if name in model.names}
    return Rows(model.names, columns=checked(model, columns)), found.age_s
