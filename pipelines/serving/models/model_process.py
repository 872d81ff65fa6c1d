"""The process of a model that is not an ONNX graph: it loads the model, then answers rows from a socket, one request at
a time.

``native.Native`` starts it in a sandbox (``isolation``); it has no access to requests, endpoints or other models.
Messages are JSON after a length of four bytes; the first one that it sends reports that the model is loaded.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pipelines.serving.models.engines import as_predictions, by_row, of_labels

MOST_BYTES = 256 * 1024 * 1024
Ask = Callable[[str, Any], Any]  # method and rows, as the model accepts them


def send(channel: socket.socket, document: dict[str, Any]) -> None:
    """Send one message."""
    body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    channel.sendall(struct.pack(">I", len(body)) + body)


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """The next message; None when the other side has closed.

    Raises:
        ValueError: It is too long.
    """
    head = _exactly(channel, 4)
    if head is None:
        return None
    (size,) = struct.unpack(">I", head)
    if size > MOST_BYTES:
        raise ValueError(f"a message of {size} bytes is too long")
    body = _exactly(channel, size)
    return None if body is None else orjson.loads(body)


def _exactly(channel: socket.socket, size: int) -> bytes | None:
    parts = []
    while size:
        part = channel.recv(min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def frame_of(described: dict[str, Any], columns: dict[str, list[Any]]) -> Any:
    """Rows as the frame that the model was fitted on: the same column types, the same way to write a missing value."""
    import pandas as pd

    kinds = {column["pandas"] for column in described["columns"]}
    if len(kinds) == 1 and (kind := kinds.pop()) in ("float32", "float64"):  # one block, in a tenth of the time
        names = [column["name"] for column in described["columns"]]
        return pd.DataFrame(np.array([columns[name] for name in names], dtype=kind).T, columns=names)
    series = {}
    for column in described["columns"]:
        values, kind, missing = columns[column["name"]], column["pandas"], column.get("missing")
        if missing == "nan":
            values = [float("nan") if value is None else value for value in values]
        if kind == "category":
            made = pd.Series(pd.Categorical(values, categories=column["levels"], ordered=column.get("ordered", False)))
        elif kind.startswith("datetime"):
            made = pd.Series(pd.to_datetime(values, format="ISO8601", utc="," in kind or None)).astype(kind)
        elif kind.startswith(("int", "uint", "bool")) and any(value is None for value in values):
            made = pd.Series(values, dtype="float64")
        else:
            made = pd.Series(values, dtype=kind)
        series[column["name"]] = made
    return pd.DataFrame(series)


def given(form: str, frame: Any) -> Any:
    """The rows in the form in which the model was fitted: a frame, a matrix of shape [n, columns], a sparse one, or
    a vector of shape [n].
    """
    if form == "vector":
        return frame.iloc[:, 0]
    if form == "matrix":
        return frame.to_numpy()
    if form == "sparse":
        from scipy.sparse import csr_matrix

        return csr_matrix(frame.to_numpy())
    return frame


def _skops(folder: Path, described: dict[str, Any]) -> Ask:
    import skops.io

    model = skops.io.load(folder / "model.skops", trusted=described["trusted"])
    return lambda method, rows: getattr(model, method)(rows)


def _pickle(folder: Path, described: dict[str, Any]) -> Ask:
    import cloudpickle

    with (folder / "model.pkl").open("rb") as file:
        model = cloudpickle.load(file)  # the reason why this process is sandboxed
    return lambda method, rows: getattr(model, method)(rows)


def _xgboost(folder: Path, described: dict[str, Any]) -> Ask:
    import xgboost

    model = (xgboost.XGBClassifier if described["classes"] else xgboost.XGBRegressor)()
    model.load_model(folder / "model.ubj")
    return lambda method, rows: getattr(model, method)(rows)


def _lightgbm(folder: Path, described: dict[str, Any]) -> Ask:
    import lightgbm

    from pipelines.serving.models.boosters import shares_of

    booster, classes = lightgbm.Booster(model_file=folder / "model.txt"), described["classes"]

    def ask(method: str, rows: Any) -> Any:
        if not classes:
            return booster.predict(rows)
        shares = shares_of(booster.predict(rows))
        return shares if method == "predict_proba" else [classes[place] for place in shares.argmax(axis=1)]

    return ask


def _catboost(folder: Path, described: dict[str, Any]) -> Ask:
    import catboost

    model = (catboost.CatBoostClassifier if described["classes"] else catboost.CatBoostRegressor)()
    model.load_model(str(folder / "model.cbm"))
    return lambda method, rows: getattr(model, method)(rows)


def _network(folder: Path, described: dict[str, Any]) -> Ask:
    from pipelines.serving.models.networks import loaded

    network = loaded(folder, described)
    return lambda method, rows: getattr(network, method)(rows)


LOADERS: dict[str, Callable[[Path, dict[str, Any]], Ask]] = {
    "skops": _skops, "pickle": _pickle, "xgboost": _xgboost, "lightgbm": _lightgbm, "catboost": _catboost,
    "torch": _network, "torchscript": _network, "keras": _network,
}  # fmt: skip
METHODS = {"probability": "predict_proba", "score": "decision_function"}


def answer(ask: Ask, described: dict[str, Any], columns: dict[str, list[Any]]) -> dict[str, Any]:
    """Predictions, and what is served beside them."""
    rows = given(described["form"], frame_of(described, columns))
    found: dict[str, Any] = {"predictions": as_predictions(ask("predict", rows))}
    if described["output"]:
        beside = ask(METHODS[described["output"]], rows)
        found["beside"] = (
            (of_labels(beside, len(described["targets"])) if described.get("targets") else by_row(beside))
            .astype(float)
            .tolist()
        )
    return found


def _fail(channel: socket.socket, error: Exception, more: str = "") -> None:
    """Report the error; the server's log gets the traceback."""
    traceback.print_exc()
    send(channel, {"error": f"{type(error).__name__}: {error}{more}"})


def main() -> None:
    """Load the model, then answer until the other side closes."""
    channel, folder = socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2])
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    try:
        ask = LOADERS[described["flavor"]](folder, described)
    except Exception as error:
        made_with = (
            ", ".join(f"{name} {version}" for name, version in described.get("needs", {}).items())
            if isinstance(error, ImportError)
            else ""
        )
        _fail(channel, error, f" (it was made with {made_with})" if made_with else "")
        return
    send(channel, {"loaded": True})
    while (message := receive(channel)) is not None:
        try:
            send(channel, answer(ask, described, message["columns"]))
        except Exception as error:
            _fail(channel, error)


if __name__ == "__main__":
    main()
    os._exit(0)  # the other side need not wait until everything imported is torn down
