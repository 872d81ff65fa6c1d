"""Features of rows that were asked for by their key: what the online store had at that time."""

from __future__ import annotations

import io
from collections import defaultdict
from datetime import datetime
from typing import Any

from pipelines.context import Context
from pipelines.monitoring.served import Served
from pipelines.serving.ids import time_of


def fill(context: Context, served: Served) -> int:
    """Give each row that was asked for by its key its features; returns how many have none any more, which are left
    out.

    The features step keeps what it has put online, run by run; a row gets what the last run before it had left.
    """
    import pyarrow.parquet as pq

    unknown = set(served.looked_up)
    for view in context.definition.views:
        there = sorted(
            (item["LastModified"], item["Key"])
            for item in context.objects("features", f"{view.name}/online/run=")
            if item["Key"].endswith("/rows.parquet")
        )
        asked: dict[str, list[int]] = defaultdict(list)
        for row in served.looked_up:
            if view.key in served.rows[row] and there:
                asked[_before(there, served.ids[row])].append(row)
        for key, rows in asked.items():
            table = pq.read_table(io.BytesIO(context.get("features", key)), columns=[view.key, *view.features])
            known = {str(item.pop(view.key)): item for item in table.to_pylist()}
            for row in rows:
                if (found := known.get(str(served.rows[row][view.key]))) is not None:
                    served.rows[row] = {**served.rows[row], **found}
                    unknown.discard(row)
    served.leave_out(unknown)
    return len(unknown)


def _before(there: list[tuple[datetime, str]], prediction_id: str) -> str:
    """The last one before a prediction; the first if none is, and the last if its time is unknown."""
    try:
        at = time_of(prediction_id)
    except ValueError:
        return there[-1][1]
    earlier: list[Any] = [key for written, key in there if written <= at]
    return str(earlier[-1] if earlier else there[0][1])
