"""Events in which personal data was found that no contract declares: what waits, and what a named person decides of it.

A decision is a record beside the raw zone's manifests, one a file, written once; files themselves are never rewritten. Released rows are data like all
others from then on. Discarded ones are never read, and their objects are deleted where the bucket's lock lets them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from infra.contracts import REASON_LENGTH, Contract
from infra.errors import UsageError
from pipelines import audit
from pipelines.context import Context
from pipelines.manifests import RawFile
from pipelines.person import Person
from pipelines.raw_zone import DISCARD, ERASE, OFFSET, PARTITION, RELEASE, RawZone


@dataclass(frozen=True)
class Held:
    """Rows of one topic that wait for a decision, all for the same reasons.

    Attributes:
        found: What was found in each of them, ``field: kind``.
        since: When the first of them was set apart (ISO 8601).
        erased: How many of them are of people who were forgotten; nobody reads these.
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
        return frozenset(item.rpartition(": ")[0] for item in self.found)


def totals(zone: RawZone) -> dict[str, Any]:
    """In = rows + dead letters + quarantined + discarded, of all that was ever taken in of a topic."""
    counts = {"events": 0, "rows": 0, "dead_letters": 0, "quarantined": 0, "discarded": 0, "files": 0}
    why, decided = set[str](), zone.decided()
    for manifest in zone.manifests():
        counts["events"] += manifest.events
        counts["dead_letters"] += manifest.dead_letters
        counts["files"] += len(manifest.files)
        for file in manifest.files:
            state, erased = decided.state(file), len(decided.erased.get(file.key, ()))
            counts[state] += file.rows - erased
            counts["discarded"] += erased
            why |= set(file.quarantined) if state == "quarantined" else set()
    return {**counts, "quarantined_for": sorted(why)}


def held(context: Context, contract: Contract) -> list[Held]:
    """What waits for a decision, the most rows first."""
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
    """Make rows readable as they are. May be run again: what is decided stays so.

    Args:
        fields: Only rows that were set apart for nothing but these fields; all of them where none is named.
        actor: Who decides; stands in the audit log, with the reason.

    Returns:
        How many ``rows`` and ``files`` were released, and how many rows still wait (``left``).

    Raises:
        UsageError: No row was set apart for such a field, or the reason says nothing.
    """
    _check(context, contract, fields, reason)
    waiting = held(context, contract)
    chosen = [item for item in waiting if not fields or item.fields <= set(fields)]
    return _decide(context, contract, RELEASE, chosen, actor, reason) | {"left": sum(item.rows for item in waiting if item not in chosen)}


def discard(context: Context, contract: Contract, fields: Sequence[str], actor: str, reason: str) -> dict[str, Any]:
    """See that nobody ever reads rows, and delete their objects in all versions. May be run again, which tries to delete what was locked.

    Args:
        fields: Only rows that were set apart for one of these fields, for whatever else, too; all of them where none is named.
        actor: Who decides; stands in the audit log, with the reason.

    Returns:
        How many ``rows`` and ``files`` were discarded, how many rows still wait (``left``), versions of objects that were ``deleted``, and
        ``locked`` ones.

    Raises:
        UsageError: No row was set apart for such a field, or the reason says nothing.
    """
    _check(context, contract, fields, reason)
    waiting = held(context, contract)
    chosen = [item for item in waiting if not fields or item.fields & set(fields)]
    counts = _decide(context, contract, DISCARD, chosen, actor, reason) | {"left": sum(item.rows for item in waiting if item not in chosen)}
    zone = RawZone(context, contract)
    decided = zone.decided()
    gone = [_delete(context, file.key) for file in _files(zone) if decided.state(file) == "discarded"]
    return counts | {"deleted": sum(deleted for deleted, _ in gone), "locked": sum(locked for _, locked in gone)}


def erase(context: Context, contract: Contract, person: Person) -> int:
    """Take a person's rows out of what may ever be released; how many there were. They are found by token, and by the value itself in any text.

    The bytes stay until the bucket's lock ends, or somebody discards the rest of the file.
    """
    zone, count = RawZone(context, contract), 0
    decided = zone.decided()
    for file in _files(zone):
        if decided.state(file) == "discarded":
            continue
        table = zone.file(file)
        theirs = table.filter(person.mentioned(table))
        stood = set(zip(theirs[PARTITION].to_pylist(), theirs[OFFSET].to_pylist(), strict=True)) - decided.erased.get(file.key, frozenset())
        if stood:
            zone.decide(file, {"decision": ERASE, "positions": sorted(stood), "at": _now(), "run": context.run})
            count += len(stood)
    return count


def _files(zone: RawZone) -> Iterator[RawFile]:
    """Every file that was put into quarantine."""
    return (file for manifest in zone.manifests() for file in manifest.files if file.quarantined)


def _check(context: Context, contract: Contract, fields: Iterable[str], reason: str) -> None:
    if len(reason.strip()) < REASON_LENGTH:
        raise UsageError(f"{reason!r} says too little; it must be a reason of at least {REASON_LENGTH} characters", where="--reason")
    known = sorted({name for file in _files(RawZone(context, contract)) for name in (item.rpartition(": ")[0] for item in file.quarantined)})
    if odd := sorted(set(fields) - set(known)):
        raise UsageError(
            f"no event of {contract.topic} was set apart for the field {odd[0]!r}",
            where="--field",
            fix=f"one of: {', '.join(known) or 'none, nothing was set apart'}",
        )


def _decide(context: Context, contract: Contract, decision: str, chosen: list[Held], actor: str, reason: str) -> dict[str, Any]:
    zone, rows = RawZone(context, contract), sum(item.rows for item in chosen)
    files = [file for item in chosen for file in item.files]
    if files:  # the log first: nothing is decided that it does not tell of
        found = sorted({why for item in chosen for why in item.found})
        audit.append(context, actor, decision, topic=contract.topic, rows=rows, files=len(files), found=found, reason=reason)
    for file in files:
        zone.decide(file, {"decision": decision, "by": actor, "reason": reason, "at": _now(), "run": context.run})
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
    pages = context.s3.get_paginator("list_objects_v2").paginate(Bucket=context.outputs.buckets["raw"], Prefix=f"quarantine/{topic}/")
    return {item["Key"]: item["LastModified"].astimezone(UTC).isoformat(timespec="seconds") for page in pages for item in page.get("Contents", [])}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
