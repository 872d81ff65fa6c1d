"""CloudTrail: every trail that logs gets a record of each call, in its bucket, as CloudTrail would deliver it.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

from __future__ import annotations

import gzip
import json
import logging
import threading
import uuid
from datetime import UTC, datetime
from typing import Any

from groundplan.local.calls import Called

_log = logging.getLogger(__name__)
DELIVERED_EVERY_S = 1.0  # CloudTrail takes 5 to 15 minutes
_LONGEST = 2_000  # characters of a parameter
# Calls about what is stored, which are no management events; of these, trails have S3's only.
_DATA = {
    "dynamodb": ("Item", "Query", "Scan", "ExecuteStatement", "GetRecords"),
    "sqs": ("Message",),
    "sns": ("Publish",),
    "logs": ("PutLogEvents", "GetLogEvents", "FilterLogEvents"),
    "monitoring": ("PutMetricData", "GetMetric"),
    "lambda": ("Invoke",),
    "ssm": ("GetParameter",),
}
_OF_OBJECTS = ("Object", "MultipartUpload", "UploadPart", "UploadPartCopy", "ObjectTagging")
_OF_BUCKETS = ("DeleteObjects", "ListObjects", "ListObjectsV2", "ListObjectVersions", "ListMultipartUploads")
_READS = ("Get", "Describe", "List", "Head", "Batch", "Filter", "Lookup", "Verify", "Query", "Scan", "Decrypt")


class Trail:
    """Notes calls, and delivers them.

    Args:
        turn: Held while moto's backends are changed.
    """

    def __init__(self, turn: threading.Lock) -> None:
        self._turn = turn
        self._events: list[dict[str, Any]] = []

    def start(self) -> None:
        """Deliver from now on."""
        threading.Thread(target=self._forever, daemon=True).start()

    def note(self, called: Called) -> None:
        """Note a call."""
        if (event := event_of(called)) is not None:
            self._events.append(event)

    def deliver(self) -> None:
        """Write what was noted since the last time, one file a trail."""
        from moto.cloudtrail.models import cloudtrail_backends

        with self._turn:
            events, self._events = self._events, []
            if not events:
                return
            for account_id, account in list(cloudtrail_backends.items()):
                for region, backend in list(account.items()):
                    for trail in list(backend.trails.values()):
                        if trail.status.is_logging:
                            _write(account_id, region, trail, events)

    def _forever(self) -> None:
        pause = threading.Event()
        while not pause.wait(DELIVERED_EVERY_S):
            try:
                self.deliver()
            except Exception:  # of one delivery; the next one must still come
                _log.exception("a delivery of CloudTrail's records failed")


def event_of(called: Called) -> dict[str, Any] | None:
    """A call as CloudTrail's record; None for a call about stored data of which trails say nothing."""
    service, operation = called.service, called.operation
    of_objects = service == "s3" and operation.endswith(_OF_OBJECTS) and "Key" in called.parameters
    of_objects |= service == "s3" and operation in _OF_BUCKETS
    if any(part in operation for part in _DATA.get(service, ())):
        return None
    reads, now = operation.startswith(_READS) or operation == "Sign", datetime.now(UTC)
    arn, kind = _who(called)
    event: dict[str, Any] = {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": kind,
            "principalId": called.key,
            "arn": arn,
            "accountId": called.account,
            "accessKeyId": called.key,
        },
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": f"{service}.amazonaws.com",
        "eventName": operation,
        "awsRegion": called.region,
        "sourceIPAddress": called.address,
        "userAgent": called.agent,
        "requestParameters": _first_small(called.parameters) or None,
        "responseElements": None,
        "requestID": called.request,
        "eventID": str(uuid.uuid4()),
        "readOnly": reads,
        "eventType": "AwsApiCall",
        "managementEvent": not of_objects,
        "recipientAccountId": called.account,
        "eventCategory": "Data" if of_objects else "Management",
    }
    if called.status >= 400:
        event["errorCode"] = called.error or "Client.Error"
    if service == "kms" and (key := _key(called)):
        event["resources"] = [{"accountId": called.account, "type": "AWS::KMS::Key", "ARN": key}]
    if of_objects:
        bucket = called.parameters.get("Bucket", "")
        event["resources"] = [
            {"type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::{bucket}/{called.parameters.get('Key', '')}"},
            {"accountId": called.account, "type": "AWS::S3::Bucket", "ARN": f"arn:aws:s3:::{bucket}"},
        ]
    return event


def _key(called: Called) -> str:
    """ARN of the key that a call names in one way or another."""
    from moto.kms.models import kms_backends

    backend, named = kms_backends[called.account][called.region], str(called.parameters.get("KeyId", ""))
    found = backend.any_id_to_key_id(named) if named else ""
    return backend.keys[found].arn if found in backend.keys else ""


def _who(called: Called) -> tuple[str, str]:
    """ARN and type of a caller: a process of the platform as the session of a role, others as users named after their
    key, or as the session that they have been given.
    """
    from moto.sts.models import sts_backends

    if called.caller:
        return f"arn:aws:sts::{called.account}:assumed-role/{called.caller}/groundplan", "AssumedRole"
    assumed = sts_backends[called.account]["aws"].get_assumed_role_from_access_key(called.key)
    if assumed is not None:
        return assumed.arn, "AssumedRole"
    return f"arn:aws:iam::{called.account}:user/{called.key or 'anonymous'}", "IAMUser"


def _first_small(value: Any) -> Any:
    """Parameters as CloudTrail writes them: names begin with a small letter; no content."""
    if isinstance(value, dict):
        found = {name[:1].lower() + name[1:]: _first_small(each) for name, each in value.items() if name != "Body"}
        return {name: each for name, each in found.items() if each is not None}
    if isinstance(value, list):
        return [_first_small(each) for each in value]
    if isinstance(value, bytes):
        return None
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."
    return value if isinstance(value, (bool, int, float)) or value is None else str(value)


def _write(account: str, region: str, trail: Any, events: list[dict[str, Any]]) -> None:
    """One file for each region that was called."""
    from moto.s3.exceptions import S3ClientError
    from moto.s3.models import s3_backends

    chosen = [event for event in events if event["recipientAccountId"] == account and _wanted(event, trail)]
    for name in sorted({event["awsRegion"] for event in chosen}):
        if name != region and not trail.is_multi_region:
            continue
        records = [event for event in chosen if event["awsRegion"] == name]
        now = datetime.now(UTC)
        prefix = f"{trail.s3_key_prefix}/" if trail.s3_key_prefix else ""
        key = (
            f"{prefix}AWSLogs/{account}/CloudTrail/{name}/{now:%Y/%m/%d}/"
            f"{account}_CloudTrail_{name}_{now:%Y%m%dT%H%MZ}_{uuid.uuid4().hex[:16]}.json.gz"
        )
        content = gzip.compress(json.dumps({"Records": records}).encode(), 1)
        try:
            s3_backends[account]["aws"].put_object(trail.bucket_name, key, content, disable_notification=True)
        except S3ClientError:  # its bucket is gone, and the trail says nothing any more
            continue


def _wanted(event: dict[str, Any], trail: Any) -> bool:
    """Whether a trail's selectors choose an event."""
    if event["eventCategory"] == "Management":
        return True
    arn = event["resources"][0]["ARN"]
    for selector in trail.advanced_event_selectors:
        fields = {field["Field"]: field for field in selector.get("FieldSelectors", ())}
        starts = fields.get("resources.ARN", {}).get("StartsWith", [])
        of_data = fields.get("eventCategory", {}).get("Equals") == ["Data"]
        if of_data and any(arn.startswith(start) for start in starts):
            return True
    return False
