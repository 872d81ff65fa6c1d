"""The audit log: who did what to which model, as a chain of hashes in the audit zone.

A line that is changed, or removed from the middle, breaks the chain and is detected. Lines removed from the end are
not: that requires the bucket's object lock.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pipelines.context import Context
from spec.errors import GroundplanError

ERASE = "erase"  # of a person's data, from files of a version
_START = "0" * 64
_ENDED = ("promote", "hold", "rollback")


def now() -> str:
    """The current time in the format of decision records: ISO 8601, to the second, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def append(context: Context, actor: str, action: str, **details: Any) -> str:
    """Add one line to the model's log and return its hash.

    Each line contains the hash of the one before it (SHA-256 over canonical JSON), and its own. Where others write at
    the same time, it follows theirs.
    """
    while True:
        entry = _next(context, entries(context), actor, action, details)
        # One object per line and a conditional write: two writers can't both write line N.
        key = f"log/{context.model}/{entry['sequence']:08d}.json"
        try:
            context.s3.put_object(
                Bucket=context.outputs.buckets["audit"], Key=key, Body=json.dumps(entry).encode(), IfNoneMatch="*"
            )
        except context.s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise
            continue
        return str(entry["hash"])


@contextmanager
def refusals(context: Context, actor: str, **details: Any) -> Iterator[None]:
    """What is refused inside is on record, too."""
    try:
        yield
    except GroundplanError as error:
        append(context, actor, "refuse", why=error.what, **details)
        raise


def _next(
    context: Context, lines: list[dict[str, Any]], actor: str, action: str, details: dict[str, Any]
) -> dict[str, Any]:
    entry = {
        "sequence": len(lines),
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "model": context.model,
        "run": context.run,
        "actor": actor,
        "action": action,
        "details": details,
        "previous": lines[-1]["hash"] if lines else _START,
    }
    entry["hash"] = _hash(entry)
    return entry


def entries(context: Context) -> list[dict[str, Any]]:
    """Every line of the model's log, checked.

    Raises:
        GroundplanError: A line was changed, inserted, or removed before the last one.
    """
    bucket = context.outputs.buckets["audit"]
    found = [json.loads(context.get("audit", key)) for key in context.keys("audit", f"log/{context.model}/")]
    previous = _START
    for index, entry in enumerate(found):
        body = {key: value for key, value in entry.items() if key != "hash"}
        if entry["sequence"] != index or entry["previous"] != previous or entry["hash"] != _hash(body):
            raise GroundplanError(
                f"the audit log of {context.model} is broken at line {index}",
                where=f"s3://{bucket}/log/{context.model}/",
            )
        previous = entry["hash"]
    return found


def serves(entry: dict[str, Any]) -> str:
    """The version that is served since an entry; empty where it says nothing about that."""
    name = {"promote": "version", "rollback": "to"}.get(entry["action"], "")
    return str(entry["details"].get(name) or "")


def served_in(log: list[dict[str, Any]]) -> list[str]:
    """The versions that were served, in their order; a version that came back is there twice."""
    return [version for entry in log if (version := serves(entry))]


def stack_of(log: list[dict[str, Any]]) -> list[str]:
    """The versions that were served and not taken back, in their order; the last one is served."""
    found: list[str] = []
    for entry in log:
        version = serves(entry)
        if entry["action"] == "rollback" and version in found:
            del found[found.index(version) + 1 :]
        elif version:
            found = [one for one in found if one != version] + [version]
    return found


def asked_for(log: list[dict[str, Any]]) -> str:
    """The version that a person has asked for last, unless it was tried since; empty if there is none."""
    for place in range(len(log) - 1, -1, -1):
        entry = log[place]
        if entry["action"] in ("insist", "ask"):
            version = str(entry["details"]["version"])
            ended = {each["details"].get("version") for each in log[place:] if each["action"] in _ENDED}
            return "" if version in ended else version
    return ""


def insisted(log: list[dict[str, Any]], version: str) -> str:
    """Why a person wants a version promoted although its canary had not enough evidence; empty if nobody has said so
    since it was last tried.
    """
    for entry in reversed(log):
        if entry["details"].get("version") == version and entry["action"] in ("insist", "hold", "rollback", "promote"):
            return str(entry["details"]["reason"]) if entry["action"] == "insist" else ""
    return ""


def _hash(entry: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
