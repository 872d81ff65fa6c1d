"""What served when, on the running platform or a stack whose outputs are named."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from groundplan.local.auditing import reading, records_of
from pipelines.audit.history import Period, periods
from pipelines.context import Context
from pipelines.data.captures import FOLDER, between
from spec.errors import UsageError

FIRST_IDS = 5  # of a version's predictions


def history(
    model: str, outputs: str, at: tuple[datetime, datetime] | None = None, *, predictions: bool = False
) -> dict[str, Any]:
    """The periods of a model's life.

    Args:
        at: Only those that have a moment in common with this span.
        predictions: Also, how many predictions fell under each.

    Raises:
        UsageError: There is no record about the model, or nothing served then.
    """
    with reading(outputs, "person.trace" if predictions else "person.history") as context:
        name, log = records_of(context, model)
        context = replace(context, definition=replace(context.definition, model=name))
        found = periods(log)
        if at:
            found = [period for period in found if period.overlaps(*at)]
            if not found:
                raise UsageError(
                    f"no version of {context.model} had been tried by then",
                    where="--at",
                    fix=f"groundplan history {context.model} shows every period",
                )
        told = [
            {**asdict(period), **({"predictions": _predictions(context, period)} if predictions else {})}
            for period in found
        ]
        bucket = context.outputs.buckets["models"]
        return {
            "model": context.model,
            "captured": f"s3://{bucket}/{FOLDER}{context.endpoint_name}/",
            "periods": told,
        }


def _predictions(context: Context, period: Period) -> dict[str, dict[str, Any]]:
    """Of each version, how many predictions it made in a period, and the ids of the first ones."""
    begin = datetime.fromisoformat(period.begin)
    end = datetime.fromisoformat(period.end) if period.end else datetime.now(UTC)
    counts, first = Counter[str](), dict[str, list[str]]()
    for found in between(context, begin, end):
        counts[found.version] += 1
        if found.prediction_id and len(first.setdefault(found.version, [])) < FIRST_IDS:
            first[found.version].append(found.prediction_id)
    return {version: {"answers": counts[version], "first": first.get(version, [])} for version in sorted(counts)}
