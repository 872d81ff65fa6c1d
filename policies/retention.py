"""Retention and residency: data stays as long as the law requires, no longer than it allows, and where it belongs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pulumi_policy.proxy import UnknownValueError

from policies.control import BUCKET, Family, at, given, listed
from policies.stack import Item, Props, Stack

RETENTION = Family("retention and residency", ("GDPR 5(1)(e)", "HIPAA 164.316(b)(2)(i)", "SOX 404", "SOC 2 C1.2"))
EU = ("eu-central-1", "eu-west-1", "eu-west-3", "eu-north-1", "eu-south-1", "eu-south-2")
_LOCK = "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"


@RETENTION.each(
    "audit-log-locked",
    "The bucket of the audit trail can't be changed",
    BUCKET,
    beside=("aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",),
    severity="high",
    law=("SOX 404", "HIPAA 164.312(c)(1)", "SOC 2 CC7.2", "GDPR 5(2)"),
    fix="Create the bucket with object_lock_enabled, and a BucketObjectLockConfiguration with a default retention.",
    risk=(
        "An intruder or a dishonest administrator can delete the record of what they did, and the company"
        " can't prove what happened"
    ),
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html",
)
def audit_locked(bucket: Item, stack: Stack) -> Iterator[str]:
    """Write once, read many, for the bucket that a trail of this stack writes to."""
    if _has_trail(bucket, stack) and not any(_mode(lock) for lock in stack.companions(bucket, _LOCK, "bucket")):
        yield "Whoever may write to it may remove the trail's files"


@RETENTION.each(
    "audit-lock-compliance",
    "Production's locks can't be lifted",
    BUCKET,
    beside=("aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",),
    severity="medium",
    production=True,
    law=("SOX 404", "SOC 2 CC7.2"),
    fix="Set the mode of the audit bucket's default retention to COMPLIANCE.",
    risk=(
        "An administrator with a special permission can still erase the audit record, so auditors need not"
        " accept it as evidence"
    ),
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html#object-lock-retention-modes",
)
def lock_compliance(bucket: Item, stack: Stack) -> Iterator[str]:
    """In the bucket that a trail writes to; elsewhere GOVERNANCE is enough."""
    modes = {_mode(lock) for lock in stack.companions(bucket, _LOCK, "bucket")}
    if modes and "COMPLIANCE" not in modes and _has_trail(bucket, stack):
        yield "Whoever has s3:BypassGovernanceRetention may remove the log"


def _has_trail(bucket: Item, stack: Stack) -> bool:
    return bool(stack.companions(bucket, "aws:cloudtrail/trail:Trail", "s3BucketName"))


def _mode(lock: Item) -> Any:
    return at(lock.props, "rule.defaultRetention.mode")


@RETENTION.each(
    "s3-lifecycle",
    "Buckets have a lifecycle for old objects",
    BUCKET,
    beside=("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",),
    severity="medium",
    law=("GDPR 5(1)(e)", "SOC 2 C1.2"),
    rules=("FSBP S3.13",),
    fix="Create a BucketLifecycleConfiguration with an expiration or a transition.",
    risk=(
        "Personal data is kept longer than the law allows, and storage costs grow every year for files that"
        " nobody needs"
    ),
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lifecycle-mgmt.html",
)
def lifecycle(bucket: Item, stack: Stack) -> Iterator[str]:
    """Storage limitation: nothing is kept only because it was never deleted."""
    kind = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    if not stack.companions(bucket, kind, "bucket") and not listed(bucket.props.get("lifecycleRules")):
        yield "Objects are kept forever"


@RETENTION.resource(
    "lifecycle-cleans-up",
    "Incomplete uploads are deleted",
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    severity="low",
    law=("SOC 2 C1.2",),
    fix="Add abort_incomplete_multipart_upload to a rule that covers the whole bucket.",
    risk="Fragments of files, perhaps with personal data, stay stored and paid for, where no ordinary list shows them",
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpu-abort-incomplete-mpu-lifecycle-config.html",
)
def cleans_up(props: Props) -> Iterator[str]:
    """Parts that nobody sees cost money, and may contain personal data."""
    rules = [rule for rule in listed(props.get("rules")) if rule.get("status", "Enabled") == "Enabled"]
    if not any(given(rule, "abortIncompleteMultipartUpload") for rule in rules):
        yield "Parts of incomplete uploads stay, unnoticed"


@RETENTION.resource(
    "dynamodb-expires",
    "Tables of features let items expire",
    "aws:dynamodb/table:Table",
    severity="low",
    law=("GDPR 5(1)(e)",),
    fix="Set ttl with the attribute that contains the time.",
    risk="Personal data is kept longer than its purpose allows, and any later leak exposes all of it",
    url="https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html",
)
def expires(props: Props) -> Iterator[str]:
    """Time to live."""
    if at(props, "ttl.enabled") is not True:
        yield "Items are kept forever"


@RETENTION.resource(
    "dynamodb-replicas-in-law",
    "Replicas of tables stay in the European Union with the table",
    "aws:dynamodb/table:Table",
    severity="high",
    law=("GDPR 44",),
    fix="Replicate into a region under the same law.",
    risk=(
        "Personal data is copied to a country that may not protect it equally, which can be an unlawful"
        " transfer and lead to fines"
    ),
    url="https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GlobalTables.html",
)
def replicas_in_law(props: Props) -> Iterator[str]:
    """Where some replicas are in the Union, all are."""
    regions = [str(replica.get("regionName")) for replica in listed(props.get("replicas"))]
    outside = [region for region in regions if region not in EU]
    if outside and (len(outside) < len(regions) or props.get("region") in EU):
        yield f"Data goes to {', '.join(outside)}"


@RETENTION.stack(
    "resources-in-one-law",
    "A stack with resources in the European Union has none outside it",
    severity="high",
    law=("GDPR 44",),
    fix="Omit region, or name one of the Union's.",
    risk=(
        "Personal data of Europeans may be stored or processed abroad without the safeguards that the law"
        " demands for a transfer"
    ),
    url="https://gdpr-info.eu/art-44-gdpr/",
)
def in_one_law(stack: Stack) -> Iterator[tuple[str, str]]:
    """By the region of the stack's providers and of single resources."""
    named = [
        (item, _text(item, "region"))
        for item in stack.items
        if item.type.startswith(("aws:", "pulumi:providers:aws")) and given(item.props, "region")
    ]
    inside = [region for _, region in named if region in EU]
    for item, region in named:
        if inside and region and region not in EU:
            yield item.urn, f"It is in {region}"


def _text(item: Item, key: str) -> str:
    try:
        return str(item.props[key])
    except UnknownValueError:
        return ""


@RETENTION.resource(
    "backups-expire",
    "Backups expire",
    "aws:backup/plan:Plan",
    severity="low",
    law=("GDPR 5(1)(e)", "SOC 2 C1.2"),
    fix="Set lifecycle.delete_after on every rule.",
    risk="Data that a person has had deleted lives on in old copies, against the right to be forgotten",
    url="https://docs.aws.amazon.com/aws-backup/latest/devguide/creating-a-backup-plan.html",
)
def backups_expire(props: Props) -> Iterator[str]:
    """The right to be forgotten includes the last backup."""
    for rule in listed(props.get("rules")):
        if not at(rule, "lifecycle.deleteAfter"):
            yield f"The rule {rule.get('ruleName', '')} keeps backups forever"
