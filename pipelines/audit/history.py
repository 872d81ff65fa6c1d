"""What served when: the periods of a model's life, in each of which the same versions got the same shares of its
requests, read from the audit log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pipelines.audit.records import SHARE, serves

_ENDED = ("hold", "rollback")


@dataclass(frozen=True)
class Period:
    """A time in which nothing of this changed.

    Attributes:
        begin, end: ISO 8601; the end is empty while it lasts.
        shares: Percent of the requests by version, without those that got none; empty if no version was served.
        shadow: A version that got copies of requests, and whose answers nobody got.
        cause: What began it: a record's action.
        why: What the record says about that.
        by: Who did it.
        asked: Who had asked for it; empty if nobody in particular.
        agreed: Who had approved its versions, by version and role.
        records: Numbers of the log's records that say so.
        run: Of the pipeline.
    """

    begin: str
    end: str
    shares: dict[str, int]
    shadow: str
    cause: str
    why: str
    by: str
    asked: str
    agreed: dict[str, dict[str, str]]
    records: tuple[int, ...]
    run: str

    def overlaps(self, begin: datetime, end: datetime) -> bool:
        """Whether it has a moment in common with a span of time, whose end is included if it has no length."""
        ours, theirs = datetime.fromisoformat(self.begin), datetime.fromisoformat(self.end) if self.end else None
        return ours <= end and (ours < end or begin == end) and (theirs is None or begin < theirs)


@dataclass
class _Told:
    """What the log has said so far."""

    main: str = ""  # the version that serves all of what no canary gets
    approved: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)


def periods(log: Sequence[dict[str, Any]]) -> list[Period]:
    """The periods of a model's life, in their order.

    The order is the log's: a period does not begin before the one before it, whatever the writers' clocks said.

    Args:
        log: The model's records.
    """
    found: list[Period] = []
    told = _Told()
    for entry in log:
        details, action = entry["details"], entry["action"]
        version = str(details.get("version") or "")
        if action == "approve":
            told.approved.setdefault(version, {})[str(details.get("role", ""))] = entry["actor"]
        elif action == "reject":
            told.approved.get(version, {}).pop(str(details.get("role", "")), None)
        elif action in ("ask", "insist"):
            told.asked[version] = entry["actor"]
        state = _state(entry, told)
        if state is None:
            continue
        shares, shadow = state
        before = found[-1] if found else None
        if before and (before.shares, before.shadow) == (shares, shadow):
            if action in _ENDED:  # it says why the share that has just ended did
                found[-1] = replace(
                    before,
                    cause=action,
                    why=_why(entry),
                    by=entry["actor"],
                    records=(*before.records, entry["sequence"]),
                )
            continue
        begin = max(entry["time"], before.begin, key=datetime.fromisoformat) if before else entry["time"]
        answers = (*shares, *([shadow] if shadow else ()))
        if before:
            found[-1] = replace(before, end=begin)
        found.append(
            Period(
                begin,
                "",
                shares,
                shadow,
                action,
                _why(entry),
                entry["actor"],
                told.asked.pop(version, ""),
                {name: dict(told.approved[name]) for name in answers if told.approved.get(name)},
                (entry["sequence"],),
                entry["run"],
            )
        )
    return found


def _state(entry: dict[str, Any], told: _Told) -> tuple[dict[str, int], str] | None:
    """Shares and shadow since a record; None if it says nothing about that."""
    details, action = entry["details"], entry["action"]
    version = str(details.get("version") or "")
    if now := serves(entry) or (version if action == "restore" else ""):
        told.main = now
    elif action == SHARE:
        percent = int(details["percent"])
        rest = {told.main: 100 - percent} if told.main and percent < 100 else {}
        return {**rest, **({version: percent} if percent else {})}, version if details.get("shadow") else ""
    elif action not in _ENDED:
        return None
    return ({told.main: 100} if told.main else {}), ""


def _why(entry: dict[str, Any]) -> str:
    details = entry["details"]
    texts = (str(details.get(name) or "") for name in ("reason", "verdict", "why"))
    why = "; ".join(text for text in texts if text)
    return f"{details['version']}: {why}" if entry["action"] == SHARE else why
