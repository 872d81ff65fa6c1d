"""What happens to users' requests while two versions answer them, by what their host reports and captures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.canary.evidence import ALPHA, QUALITY_MARGIN, Finding, Outcome, Rate, Split, p_larger
from pipelines.context import Context
from pipelines.monitoring.served import captured
from pipelines.serving.models.engines import class_name
from pipelines.steps.endpoint import CANARY, CHALLENGER, CHAMPION, Counts
from pipelines.steps.hosting import Hosting
from pipelines.training.labelled import Labelled, row_digests

MOST_COMPARED, LEAST_COMPARED = 500, 30  # users' rows that the champion answers, too
AGREEMENT = "agreement"


@dataclass(frozen=True)
class Users:
    """Requests from a moment on in which the pipeline itself asks nothing."""

    percent: int
    _counts: Callable[[], dict[str, Counts]]

    @classmethod
    def from_now(cls, endpoint: Hosting, percent: int) -> Users:
        """Waits until what the pipeline has asked is not counted any more."""
        return cls(percent, endpoint.requests_from_now())

    def counted(self) -> Split:
        """Users' requests so far, and how many of them failed."""
        found = self._counts()
        return Split(Rate(*found[CHALLENGER]), Rate(*found[CHAMPION]), self.percent / 100)


def agreement(
    context: Context,
    endpoint: Hosting,
    version: str,
    columns: list[dict[str, Any]],
    on_held_out: list[float],
    task: str,
) -> Finding | None:
    """Whether both versions agree on users' rows as much as on held-out ones, whose labels are known; what labels have
    shown there may not hold where they don't. None without enough rows.

    Args:
        columns: As in ``model.json``.
        on_held_out: ``differences`` of both versions on held-out rows.
    """
    served = captured(context, columns, version, endpoint.capture_of(CHALLENGER))
    rows, ours = served.rows[-MOST_COMPARED:], served.predictions[-MOST_COMPARED:]
    if len(rows) < LEAST_COMPARED or not on_held_out:
        return None
    here = differences(ours, endpoint.predict(rows, CHAMPION, CANARY), task)
    mean, known = sum(here) / len(here), sum(on_held_out) / len(on_held_out)
    what = "differ in" if task != "regression" else "differ by"
    form = "{:.4g}" if task == "regression" else "{:.1%}"
    says = (
        f"its and the champion's predictions {what} {form.format(mean)} of {len(rows)} users' rows,"
        f" and {form.format(known)} of {len(on_held_out)} held-out ones"
    )
    margin = known * (1 + QUALITY_MARGIN)
    if mean > margin and p_larger(here, [value * (1 + QUALITY_MARGIN) for value in on_held_out], paired=False) < ALPHA:
        return Finding(AGREEMENT, Outcome.OPEN, f"{says}; what was shown on these may not hold for users")
    return Finding(AGREEMENT, Outcome.GOOD, says)


def of_known_outcome(
    context: Context, endpoint: Hosting, version: str, columns: list[dict[str, Any]], known: Labelled
) -> tuple[Labelled, list[Any], list[Any]] | None:
    """Users' rows whose outcome is known by now, and what the new version and the champion predict of them; None if
    they are too few.

    Args:
        columns: As in ``model.json``.
        known: Rows that neither version has learnt from.
    """
    served = captured(context, columns, version, endpoint.capture_of(CHALLENGER))
    names = list(known.features.columns)
    places = dict(zip(row_digests(known.features, names).tolist(), range(len(known)), strict=True))
    asked = served.frame(names).astype(known.features.dtypes.to_dict(), errors="ignore")
    both: dict[int, int] = {}  # place among the known rows -> place among users', each row once
    for place, digest in enumerate(row_digests(asked, names).tolist()):
        if digest in places:
            both[places[digest]] = place
    chosen = list(both)[-MOST_COMPARED:]
    if len(chosen) < LEAST_COMPARED:
        return None
    rows = Labelled(known.features.iloc[chosen], known.labels.iloc[chosen])
    ours = [served.predictions[both[place]] for place in chosen]
    return rows, ours, endpoint.predict(rows.records(), CHAMPION, CANARY)


def differences(ours: list[Any], theirs: list[Any], task: str) -> list[float]:
    """How far two versions' predictions of each row are from each other: their distance, or 1 for another class."""

    def far(one: Any, other: Any) -> float:
        if isinstance(one, list):
            return sum(far(*pair) for pair in zip(one, other, strict=True)) / len(one)
        return abs(float(one) - float(other)) if task == "regression" else float(class_name(one) != class_name(other))

    return [far(*pair) for pair in zip(ours, theirs, strict=True)]


def shadowed(
    context: Context, endpoint: Hosting, version: str, rows: list[dict[str, Any]], until: float
) -> tuple[list[Any], list[Any]]:
    """A shadow's and the champion's predictions of the same rows; of none if the shadow's were not captured in time.

    A shadow can't be asked by itself; what it answers is found in the endpoint's data capture.

    Args:
        until: Of ``time.monotonic``.
    """
    theirs = endpoint.predict(rows, CHAMPION, CANARY)
    keys = [_key(json.loads(json.dumps(row, default=str))) for row in rows]
    while True:
        served = captured(context, [], version, endpoint.capture_of(CHALLENGER), CANARY)
        known = dict(zip(map(_key, served.rows), served.predictions, strict=True))
        if all(key in known for key in keys):
            return [known[key] for key in keys], theirs
        if time.monotonic() > until:
            return [], []
        time.sleep(1 if endpoint.local else 15)


def _key(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)
