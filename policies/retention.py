"""Retention and residency: data stays as long as the law asks, no longer than it allows, and where it belongs."""

from __future__ import annotations

from collections.abc import Iterator

from policies.control import Family, Item, Props, at, given, listed
from policies.encryption import bucket_of, buckets_without, is_bucket

RETENTION = Family("retention and residency", ("GDPR 5(1)(e)", "HIPAA 164.316(b)(2)(i)", "SOX 404", "SOC 2 C1.2"))
EU = ("eu-central-1", "eu-west-1", "eu-west-3", "eu-north-1", "eu-south-1", "eu-south-2")
_LOCK = "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"


@RETENTION.stack(
    "audit-log-locked",
    "The bucket of the audit trail can't be changed",
    severity="high",
    law=("SOX 404", "HIPAA 164.312(c)(1)", "SOC 2 CC7.2", "GDPR 5(2)"),
    fix="Create the bucket with object_lock_enabled, and a BucketObjectLockConfiguration with a default retention.",
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html",
)
def audit_locked(items: list[Item]) -> Iterator[tuple[str, str]]:
    """Write once, read many, for the bucket that a trail of this stack writes to."""
    locked = {
        name
        for item in items
        if item.type == _LOCK and at(item.props, "rule.defaultRetention.mode")
        for name in (bucket_of(item), item.name)
    }
    buckets = {name: item for item in items if is_bucket(item) for name in (bucket_of(item), item.name)}
    for item in items:
        if item.type == "aws:cloudtrail/trail:Trail" and "s3BucketName" in item.props:
            name = _text(item, "s3BucketName")
            if name in buckets and name not in locked:
                yield buckets[name].urn, "Whoever may write to it may remove the trail's files"


@RETENTION.resource(
    "audit-lock-compliance",
    "Production's locks can't be lifted",
    _LOCK,
    severity="medium",
    production=True,
    law=("SOX 404", "SOC 2 CC7.2"),
    fix="Set the mode of the audit bucket's default retention to COMPLIANCE.",
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html#object-lock-retention-modes",
)
def lock_compliance(props: Props) -> Iterator[str]:
    """In the bucket whose name says that it holds the audit log; elsewhere GOVERNANCE is enough."""
    if "audit" in str(props.get("bucket", "")) and at(props, "rule.defaultRetention.mode") != "COMPLIANCE":
        yield "Whoever has s3:BypassGovernanceRetention may remove the log"


@RETENTION.stack(
    "s3-lifecycle",
    "Buckets have a lifecycle for old objects",
    severity="medium",
    law=("GDPR 5(1)(e)", "SOC 2 C1.2"),
    fix="Create a BucketLifecycleConfiguration with an expiration or a transition.",
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lifecycle-mgmt.html",
)
def lifecycle(items: list[Item]) -> Iterator[tuple[str, str]]:
    """Storage limitation: nothing is kept only because nobody has deleted it."""
    for item in buckets_without(
        items, [item for item in items if item.type.startswith("aws:s3/bucketLifecycleConfiguration")]
    ):
        if not listed(item.props.get("lifecycleRules")):
            yield item.urn, "Objects are kept forever"


@RETENTION.resource(
    "lifecycle-cleans-up",
    "Incomplete uploads are deleted",
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    severity="low",
    law=("SOC 2 C1.2",),
    fix="Add abort_incomplete_multipart_upload to a rule that covers the whole bucket.",
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpu-abort-incomplete-mpu-lifecycle-config.html",
)
def cleans_up(props: Props) -> Iterator[str]:
    """Parts nobody sees are paid for, and may hold personal data."""
    if not any(given(rule, "abortIncompleteMultipartUpload") for rule in listed(props.get("rules"))):
        yield "Parts of incomplete uploads stay, unseen"


@RETENTION.resource(
    "dynamodb-expires",
    "Tables of features let items expire",
    "aws:dynamodb/table:Table",
    severity="low",
    law=("GDPR 5(1)(e)",),
    fix="Set ttl with the attribute that holds the time.",
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
    "A stack under GDPR with resources in the European Union has none outside it",
    severity="high",
    law=("GDPR 44",),
    fix="Omit region, or name one of the Union's.",
    url="https://gdpr-info.eu/art-44-gdpr/",
)
def in_one_law(items: list[Item]) -> Iterator[tuple[str, str]]:
    """By the region of the stack's providers and of single resources."""
    named = [
        (item, _text(item, "region"))
        for item in items
        if item.type.startswith(("aws:", "pulumi:providers:aws")) and given(item.props, "region")
    ]
    inside = [region for _, region in named if region in EU]
    for item, region in named:
        if inside and region and region not in EU:
            yield item.urn, f"It is in {region}"


def _text(item: Item, key: str) -> str:
    from pulumi_policy.proxy import UnknownValueError

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
    url="https://docs.aws.amazon.com/aws-backup/latest/devguide/creating-a-backup-plan.html",
)
def backups_expire(props: Props) -> Iterator[str]:
    """A right to be forgotten ends in the last backup."""
    for rule in listed(props.get("rules")):
        if not at(rule, "lifecycle.deleteAfter"):
            yield f"The rule {rule.get('ruleName', '')} keeps backups forever"
