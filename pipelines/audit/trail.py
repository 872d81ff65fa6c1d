"""CloudTrail as the second source: what the log says was done, beside what the account's services have seen.

Every record names the requests that it is about (``pipelines.audit.calls``), and CloudTrail names each request by the
same id. What only one of the two has is a finding: a call past the platform, or a record of something that never
happened.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.audit.calls import ENDPOINT_CALLS, SIGN
from pipelines.audit.records import role_of
from pipelines.context import Context
from spec.errors import GroundplanError
from spec.outputs import LOCAL, Outputs
from spec.versions import LOGGER

FOLDER = "cloudtrail/"
# Within which a call is delivered: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/get-and-view-cloudtrail-log-files.html
DELAY_S, LOCAL_DELAY_S = 15 * 60, 5
PLACEHOLDER = "-empty"  # how the name of the configuration ends with which the program creates an endpoint
# Calls that would take evidence away, whoever makes them.
_AGAINST = {
    "cloudtrail.amazonaws.com": ("StopLogging", "DeleteTrail"),
    "kms.amazonaws.com": ("ScheduleKeyDeletion", "DisableKey"),
    "s3.amazonaws.com": ("DeleteObject", "DeleteObjects", "DeleteBucketPolicy"),
}


@dataclass(frozen=True)
class OneSided:
    """What the log or the trail alone says.

    Attributes:
        kind: ``trail``, ``log``, ``role`` or ``evidence``.
        at: When, ISO 8601.
        by: ARN of the caller, or who the record says it was.
        record: Its number; None where it is about a call.
        request: Id of the call's request.
    """

    kind: str
    says: str
    at: str
    by: str
    call: str
    request: str
    record: int | None = None


@dataclass(frozen=True)
class Compared:
    """The two sources, side by side.

    Attributes:
        since, until: Between which they were compared, ISO 8601; both empty while the trail has delivered nothing.
        matched: Calls that both have.
        later: Calls in records that are too new for the trail.
    """

    since: str
    until: str
    events: int
    matched: int
    later: int
    findings: tuple[OneSided, ...]


def delivered(context: Context, since: datetime) -> Iterator[dict[str, Any]]:
    """Events that the trail has delivered about the stack's region, from a day on.

    Raises:
        GroundplanError: A file can't be read.
    """
    outputs, day = context.outputs, since.date()
    folder = f"{FOLDER}AWSLogs/{outputs.account_id}/CloudTrail/{outputs.region}/"
    today = datetime.now(UTC).date()
    while day <= today:
        for key in context.keys("audit", f"{folder}{day:%Y/%m/%d}/"):
            try:
                yield from json.loads(gzip.decompress(context.get("audit", key)))["Records"]
            except (OSError, EOFError, zlib.error, ValueError, KeyError):
                raise GroundplanError(
                    "is no file of CloudTrail (gzipped JSON with Records)",
                    where=f"s3://{outputs.buckets['audit']}/{key}",
                    fix="restore it from the backup; `aws cloudtrail validate-logs` says whether it was changed",
                ) from None
        day += timedelta(days=1)


def compare(
    records: Sequence[dict[str, Any]],
    events: Iterable[dict[str, Any]],
    outputs: Outputs,
    since: datetime,
    now: datetime,
) -> Compared:
    """Compare acts with calls.

    Args:
        records: As ``pipelines.audit.records.everything`` returns them.
        events: CloudTrail's.
        now: Acts shortly before it may not have been delivered.
    """
    since = since.replace(microsecond=0)
    seen = {each["eventID"]: each for each in events if _at(each["eventTime"]) >= since}
    if not seen:
        return Compared("", "", 0, 0, 0, ())
    begin = min(_at(each["eventTime"]) for each in seen.values())
    end = now - timedelta(seconds=LOCAL_DELAY_S if outputs.stack == LOCAL else DELAY_S)
    by_request = {each["requestID"]: each for each in seen.values() if each.get("requestID")}
    named = {call["id"]: (record, call) for record in records for call in record.get("calls", ()) if call.get("id")}
    found, matched, later = list[OneSided](), 0, 0
    for request, (record, call) in named.items():
        event, at = by_request.get(request), _at(call["at"])
        if event is not None:
            matched += 1
            found += _other_role(record, event)
        elif at > end:
            later += 1
        elif at >= begin:
            name, number = call["call"], record["sequence"]
            says = f"record {number} ({record['action']}) is about a call of {name} that the trail does not have"
            found.append(OneSided("log", says, call["at"], record["actor"], name, request, number))
    for event in seen.values():
        if "errorCode" in event or event.get("requestID") in named:
            continue
        if kind := _concerns(event, outputs):
            found.append(_of_event(kind, event))
    found.sort(key=lambda each: each.at)
    return Compared(_text(begin), _text(end), len(seen), matched, later, tuple(found))


def _other_role(record: dict[str, Any], event: dict[str, Any]) -> Iterator[OneSided]:
    caller = str(event["userIdentity"].get("arn", ""))
    if (told := record.get("role", "")) and told != role_of(caller):
        says = f"record {record['sequence']} says that {told} has called, and the trail says {role_of(caller)}"
        yield OneSided("role", says, record["time"], caller, event["eventName"], event["requestID"], record["sequence"])


def _concerns(event: dict[str, Any], outputs: Outputs) -> str:
    """Whether a call belongs into the log (``trail``), or takes evidence away (``evidence``); empty if neither."""
    name, source, given = event["eventName"], event["eventSource"], event.get("requestParameters") or {}
    if source == "sagemaker.amazonaws.com" and name in ENDPOINT_CALLS:
        ours = str(given.get("endpointName", "")).startswith(f"{outputs.project}-{outputs.stack}-")
        created = name == "CreateEndpoint" and str(given.get("endpointConfigName", "")).endswith(PLACEHOLDER)
        return "trail" if ours and not created else ""
    if source == "kms.amazonaws.com" and name == SIGN:
        signers = [arn for signer, arn in outputs.signing_keys.items() if signer != LOGGER]
        return "trail" if _is_key(event, signers) else ""
    if name in _AGAINST.get(source, ()):
        if source == "s3.amazonaws.com":
            return "evidence" if given.get("bucket", given.get("bucketName")) == outputs.buckets["audit"] else ""
        if source == "kms.amazonaws.com":
            keys = [*outputs.signing_keys.values(), outputs.key_arns.get("audit", "")]
            return "evidence" if _is_key(event, keys) else ""
        return "evidence"
    return ""


def _is_key(event: dict[str, Any], arns: Sequence[str]) -> bool:
    """Whether a call is about one of these keys, however it was named: by its ARN, its id, or an alias."""
    named = str((event.get("requestParameters") or {}).get("keyId", ""))
    told = {str(each.get("ARN", "")) for each in event.get("resources") or ()}
    return any(arn in told or named in (arn, arn.rpartition("/")[2]) for arn in arns if arn)


def _of_event(kind: str, event: dict[str, Any]) -> OneSided:
    given = event.get("requestParameters") or {}
    about = given.get("endpointName") or given.get("keyId") or given.get("key") or given.get("name") or ""
    more = ", which takes evidence away" if kind == "evidence" else ", and no record is about that"
    says = f"{event['eventName']}{f' of {about}' if about else ''} from {event.get('sourceIPAddress', '?')}{more}"
    who = str(event["userIdentity"].get("arn") or event["userIdentity"].get("invokedBy") or "unknown")
    return OneSided(kind, says, event["eventTime"], who, event["eventName"], event.get("requestID", ""))


def _at(text: str) -> datetime:
    """A time to the second: CloudTrail's have no parts of one."""
    return datetime.fromisoformat(text).replace(microsecond=0)


def _text(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
