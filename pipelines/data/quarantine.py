"""Quarantine: events with personal data in fields that no contract declares, and what a named person decides about
them.

A decision is one record for each file, written once, beside the raw zone's manifests; the files are never rewritten.
Released rows are ordinary data from then on. Discarded rows are never read, and their objects are deleted unless the
bucket locks them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from botocore.exceptions import ClientError

from pipelines.audit import records as audit
from pipelines.context import Context
from pipelines.data.manifests import RawFile
from pipelines.data.person import Person
from pipelines.data.raw_zone import DISCARD, ERASE, OFFSET, PARTITION, RELEASE, RawZone
from spec.contracts import REASON_LENGTH, Contract
from spec.errors import UsageError


@dataclass(frozen=True)
class Held:
    """Rows of one topic with the same findings that wait for a decision.

    Attributes:
        found: What was found in each row, ``field: kind``.
        since: When the first of them was quarantined (ISO 8601).
        erased: Further rows, of people who were forgotten; they are never read.
    """

    topic: str
    found: tuple[str, ...]
    rows: int
    since: str
    erased: int
    files: tuple[RawFile, ...]

    @property
    def fields(self) -> frozenset[str]:
        """Names of the fields in which something was found."""
        return _fields_of(self.found)


def totals(zone: RawZone) -> dict[str, Any]:
    """In = rows + deletions + dead letters + quarantined + discarded, over everything ever ingested from a topic."""
    counts = {"events": 0, "rows": 0, "deletions": 0, "dead_letters": 0, "quarantined": 0, "discarded": 0, "files": 0}
    why, decided = set[str](), zone.decided()
    for manifest in zone.manifests():
        counts["events"] += manifest.events
        counts["dead_letters"] += manifest.dead_letters
        counts["files"] += len(manifest.files)
        for file in manifest.files:
            state, erased = "deletions" if file.deletion else decided.state(file), len(decided.erased.get(file.key, ()))
            counts[state] += file.rows - erased
            counts["discarded"] += erased
            why |= set(file.quarantined) if state == "quarantined" else set()
    return {**counts, "quarantined_for": sorted(why)}


def held(context: Context, contract: Contract) -> list[Held]:
    """What waits for a decision, most rows first."""
    zone = RawZone(context, contract)
    decided, since = zone.decided(), _written(context, contract.topic)
    groups: dict[tuple[str, ...], list[RawFile]] = {}
    for file in _files(zone):
        if decided.state(file) == "quarantined":
            groups.setdefault(file.quarantined, []).append(file)
    found = []
    for why, files in groups.items():
        erased = sum(len(decided.erased.get(file.key, ())) for file in files)
        first = min((since[file.key] for file in files if file.key in since), default="")
        found.append(Held(contract.topic, why, sum(file.rows for file in files) - erased, first, erased, tuple(files)))
    return sorted(found, key=lambda item: (-item.rows, item.found))


def release(context: Context, contract: Contract, fields: Sequence[str], actor: str, reason: str) -> dict[str, Any]:
    """Make quarantined rows readable as they are. Idempotent.

    Args:
        fields: Only rows whose findings are all in these fields; all rows if empty.
        actor: Who decides; written to the audit log with the reason.

    Returns:
        How many ``rows`` and ``files`` were released, and how many rows still wait (``left``).

    Raises:
        UsageError: No row has a finding in such a field, or the reason is too short.
    """
    _check(context, contract, fields, reason)
    waiting = held(context, contract)
    chosen = [item for item in waiting if not fields or item.fields <= set(fields)]
    return _decide(context, contract, RELEASE, chosen, actor, reason) | {
        "left": sum(item.rows for item in waiting if item not in chosen)
    }


def discard(context: Context, contract: Contract, fields: Sequence[str], actor: str, reason: str) -> dict[str, Any]:
    """Discard quarantined rows, so that they are never read, and delete their objects in all versions. Idempotent; a
    later call deletes what was locked.

    Args:
        fields: Only rows with a finding in one of these fields; all rows if empty.
        actor: Who decides; written to the audit log with the reason.

    Returns:
        How many ``rows`` and ``files`` were discarded, how many rows still wait (``left``), and how many versions of
        objects were ``deleted`` or are ``locked``.

    Raises:
        UsageError: No row has a finding in such a field, or the reason is too short.
    """
    _check(context, contract, fields, reason)
    waiting = held(context, contract)
    chosen = [item for item in waiting if not fields or item.fields & set(fields)]
    counts = _decide(context, contract, DISCARD, chosen, actor, reason) | {
        "left": sum(item.rows for item in waiting if item not in chosen)
    }
    zone = RawZone(context, contract)
    decided = zone.decided()
    gone = [_delete(context, file.key) for file in _files(zone) if decided.state(file) == "discarded"]
    return counts | {"deleted": sum(deleted for deleted, _ in gone), "locked": sum(locked for _, locked in gone)}


def erase(context: Context, contract: Contract, person: Person) -> int:
    """Exclude a person's quarantined rows from every release, now and later; returns their number.

    They are found by token, and by the value itself in any text. The bytes stay until the retention ends or the file is
    discarded.
    """
    zone, count = RawZone(context, contract), 0
    decided = zone.decided()
    for file in _files(zone):
        if decided.state(file) == "discarded":
            continue
        table = zone.file(file)
        theirs = table.filter(person.mentioned(table))
        stood = set(zip(theirs[PARTITION].to_pylist(), theirs[OFFSET].to_pylist(), strict=True)) - decided.erased.get(
            file.key, frozenset()
        )
        if stood:
            zone.decide(file, {"decision": ERASE, "positions": sorted(stood), "at": audit.now(), "run": context.run})
            count += len(stood)
    return count


def _fields_of(found: Iterable[str]) -> frozenset[str]:
    """Fields of findings (``field: kind``)."""
    return frozenset(item.rpartition(": ")[0] for item in found)


def _files(zone: RawZone) -> Iterator[RawFile]:
    """Every file that was quarantined."""
    return (file for manifest in zone.manifests() for file in manifest.files if file.quarantined)


def _check(context: Context, contract: Contract, fields: Iterable[str], reason: str) -> None:
    if len(reason.strip()) < REASON_LENGTH:
        raise UsageError(
            f"the reason {reason!r} is too short",
            where="--reason",
            fix=f"write at least {REASON_LENGTH} characters; they go to the audit log",
        )
    known = sorted({name for file in _files(RawZone(context, contract)) for name in _fields_of(file.quarantined)})
    if odd := sorted(set(fields) - set(known)):
        raise UsageError(
            f"no quarantined event of {contract.topic} has a finding in the field {odd[0]!r}",
            where="--field",
            fix=f"one of: {', '.join(known) or 'none, nothing was quarantined'}",
        )


def _decide(
    context: Context, contract: Contract, decision: str, chosen: list[Held], actor: str, reason: str
) -> dict[str, Any]:
    zone, rows = RawZone(context, contract), sum(item.rows for item in chosen)
    files = [file for item in chosen for file in item.files]
    if files:  # the log first, so that no decision is missing from it
        found = sorted({why for item in chosen for why in item.found})
        audit.append(
            context, actor, decision, topic=contract.topic, rows=rows, files=len(files), found=found, reason=reason
        )
    for file in files:
        zone.decide(file, {"decision": decision, "by": actor, "reason": reason, "at": audit.now(), "run": context.run})
    return {"topic": contract.topic, "rows": rows, "files": len(files)}


def _delete(context: Context, key: str) -> tuple[int, int]:
    """Delete every version of an object; how many were deleted, and how many are locked.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
    """
    bucket, deleted, locked = context.outputs.buckets["raw"], 0, 0
    for page in context.s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
        for version in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
            if version["Key"] != key:
                continue
            try:
                context.s3.delete_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])
                deleted += 1
            except ClientError as error:
                if error.response["Error"]["Code"] != "AccessDenied":
                    raise
                locked += 1
    return deleted, locked


def _written(context: Context, topic: str) -> dict[str, str]:
    """When each file of the topic's quarantine was written (ISO 8601)."""
    pages = context.s3.get_paginator("list_objects_v2").paginate(
        Bucket=context.outputs.buckets["raw"], Prefix=f"quarantine/{topic}/"
    )
    return {
        item["Key"]: item["LastModified"].astimezone(UTC).isoformat(timespec="seconds")
        for page in pages
        for item in page.get("Contents", [])
    }
