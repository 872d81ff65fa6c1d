"""The lake: one bucket per zone; each encrypted, versioned, closed to the public and to plain HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between, OneOf
from components.foundation.base import Component, Scope, Statement, policy
from spec.zones import CHECKPOINTS, DATA_CLASS, LOG, DataClass, Zone

CHECKPOINT_DAYS = 7  # an interrupted training is continued long before


@dataclass(frozen=True, kw_only=True)
class BucketArgs(Args):
    """Args:
    key_arn: The KMS key that encrypts every object.
    data_class: Tagged on the bucket.
    old_version_days: Days an overwritten or deleted object is still kept.
    lock_days: Days in which nobody can change or delete an object (S3 Object Lock); 0 for no lock.
    lock_mode: GOVERNANCE (a special permission lifts it) or COMPLIANCE (nothing does).
    expire_days: Days after which an object is deleted; 0 for never.
    cold_days: Days until objects move to Standard-IA, then to Glacier Instant Retrieval; empty for neither.
    prefixes: What expires and moves; by default everything.
    brief_days: Days until what lies below a prefix is deleted, by prefix.
    statements: Further statements of the bucket's policy, built from its ARN.
    """

    key_arn: pulumi.Input[str]
    data_class: DataClass
    old_version_days: Annotated[int, Between(1, unit="days")] = 30
    lock_days: Annotated[int, Between(0, 36500, "days", "S3 Object Lock")] = 0
    lock_mode: Annotated[str, OneOf(("GOVERNANCE", "COMPLIANCE"), "S3 Object Lock")] = "GOVERNANCE"
    expire_days: Annotated[int, Between(0, unit="days")] = 0
    cold_days: Annotated[tuple[int, ...], Between(30, unit="days", of="S3 Standard-IA")] = ()
    prefixes: tuple[str, ...] = ("",)
    brief_days: dict[str, int] = field(default_factory=dict)
    statements: Callable[[str], tuple[Statement, ...]] = lambda arn: ()


class SecureBucket(Component):
    """One bucket with everything that makes it safe; used for the lake and for the tracking server's artifacts."""

    def __init__(
        self, name: str, scope: Scope, purpose: str, args: BucketArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        physical = scope.bucket_name(purpose)
        self.arn = (  # known before the bucket exists, and so is every policy that names it
            f"arn:aws:s3:::{physical}"
        )
        bucket = aws.s3.Bucket(
            name,
            bucket=physical,
            object_lock_enabled=args.lock_days > 0,
            force_destroy=not scope.protect,
            tags=scope.tags("lake", DataClass=args.data_class),
            opts=self.child(holds_data=True),
        )
        versioned = aws.s3.BucketVersioning(
            name, bucket=bucket.bucket, versioning_configuration={"status": "Enabled"}, opts=self.child()
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            name,
            bucket=bucket.bucket,
            rules=[
                {
                    "apply_server_side_encryption_by_default": {
                        "sse_algorithm": "aws:kms",
                        "kms_master_key_id": args.key_arn,
                    },
                    "bucket_key_enabled": True,
                }
            ],
            opts=self.child(),
        )
        closed = aws.s3.BucketPublicAccessBlock(
            name,
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=self.child(),
        )
        self.policy = aws.s3.BucketPolicy(
            name,
            bucket=bucket.bucket,
            policy=policy(
                Statement(
                    ("s3:*",),
                    (self.arn, f"{self.arn}/*"),
                    {"AWS": "*"},
                    {"Bool": {"aws:SecureTransport": "false"}},
                    effect="Deny",
                    sid="OnlyTls",
                ),
                *args.statements(self.arn),
            ),
            # S3 refuses a policy while the access block is still being created.
            opts=self.child(depends_on=[closed]),
        )
        aws.s3.BucketLifecycleConfiguration(
            name,
            bucket=bucket.bucket,
            rules=self._lifecycle(args),
            opts=self.child(depends_on=[versioned]),
        )
        if args.lock_days:
            aws.s3.BucketObjectLockConfiguration(
                name,
                bucket=bucket.bucket,
                rule={"default_retention": {"mode": args.lock_mode, "days": args.lock_days}},
                opts=self.child(depends_on=[versioned]),
            )
        self.bucket = bucket.bucket
        self.register_outputs({"bucket": bucket.bucket, "arn": self.arn})

    def _lifecycle(self, args: BucketArgs) -> list[dict[str, object]]:
        """Rules that don't name a storage class twice; Standard-IA accepts nothing younger than 30 days."""
        rules: list[dict[str, object]] = [
            {
                "id": "old-versions",
                "status": "Enabled",
                "filter": {"prefix": ""},
                "noncurrent_version_expiration": {"noncurrent_days": args.old_version_days},
                "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
            }
        ]
        # Objects that are deleted before they would move need no rule.
        moves = [
            (days, into)
            for days, into in zip(args.cold_days, ("STANDARD_IA", "GLACIER_IR"), strict=False)
            if days < (args.expire_days or days + 1)
        ]
        for prefix in args.prefixes:
            which = {"status": "Enabled", "filter": {"prefix": prefix}}
            if moves:
                transitions = [{"days": days, "storage_class": into} for days, into in moves]
                rules.append({"id": f"colder-{prefix}".strip("-/"), **which, "transitions": transitions})
            if args.expire_days:
                rules.append(
                    {"id": f"retention-{prefix}".strip("-/"), **which, "expiration": {"days": args.expire_days}}
                )
        for prefix, days in args.brief_days.items():
            which = {"status": "Enabled", "filter": {"prefix": prefix}}
            rules.append({"id": f"brief-{prefix}".strip("-/"), **which, "expiration": {"days": days}})
        return rules


@dataclass(frozen=True, kw_only=True)
class LakeArgs(Args):
    """Args:
    key_arns: Key ARN by data class.
    retention_days: Days that events are kept, in raw and curated.
    raw_lock_days: Days in which no raw object can be changed or deleted.
    audit_lock_days: The same for the audit log.
    audit_lock_mode: COMPLIANCE where the law says that nobody may lift it.
    cold_days: When events move to colder storage classes.
    dataset_prefixes: Prefixes of the curated zone that contain datasets.
    witness_account: Account that may read the audit log's hashes and signed states, but no record; empty for none.
    """

    key_arns: dict[DataClass, pulumi.Output[str]]
    retention_days: Annotated[int, Between(1, unit="days")]
    raw_lock_days: Annotated[int, Between(0, 36500, "days", "S3 Object Lock")]
    audit_lock_days: Annotated[int, Between(0, 36500, "days", "S3 Object Lock")]
    audit_lock_mode: Annotated[str, OneOf(("GOVERNANCE", "COMPLIANCE"), "S3 Object Lock")] = "GOVERNANCE"
    cold_days: Annotated[tuple[int, ...], Between(30, unit="days", of="S3 Standard-IA")] = ()
    dataset_prefixes: tuple[str, ...] = ()
    witness_account: str = ""


class Lake(Component):
    """The five zones.

    Attributes:
        buckets: Bucket name by zone.
        arns: Bucket ARN by zone.
        policies: Bucket policy by zone; writers that need its permission wait for it.
    """

    def __init__(self, name: str, scope: Scope, args: LakeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        self.buckets: dict[Zone, pulumi.Output[str]] = {}
        self.arns: dict[Zone, str] = {}
        self.policies: dict[Zone, pulumi.Resource] = {}
        for zone in Zone:
            made = SecureBucket(f"{name}-{zone}", scope, zone, self._zone(zone, args), opts=self.child())
            self.policies[zone] = made.policy
            self.buckets[zone], self.arns[zone] = made.bucket, made.arn
        self.register_outputs({"buckets": {str(k): v for k, v in self.buckets.items()}})

    def _zone(self, zone: Zone, args: LakeArgs) -> BucketArgs:
        data_class = DATA_CLASS[zone]
        key_arn = args.key_arns[data_class]
        if zone is Zone.RAW:
            # The lock ends before the retention does, otherwise nothing could be deleted in time.
            return BucketArgs(
                key_arn=key_arn,
                data_class=data_class,
                old_version_days=1,
                lock_days=args.raw_lock_days,
                expire_days=args.retention_days + 1,
                cold_days=args.cold_days,
            )
        if zone is Zone.AUDIT:
            return BucketArgs(
                key_arn=key_arn,
                data_class=data_class,
                old_version_days=args.audit_lock_days,
                lock_days=args.audit_lock_days,
                lock_mode=args.audit_lock_mode,
                statements=lambda arn: (*self._trail(arn), *self._witness(arn, args.witness_account)),
            )
        if zone is Zone.CURATED:
            # Datasets are deleted with the events they come from; results of runs and the platform's outputs stay.
            return BucketArgs(
                key_arn=key_arn,
                data_class=data_class,
                expire_days=args.retention_days + 1,
                cold_days=args.cold_days,
                prefixes=args.dataset_prefixes,
            )
        brief = {CHECKPOINTS: CHECKPOINT_DAYS} if zone is Zone.MODELS else {}
        return BucketArgs(key_arn=key_arn, data_class=data_class, brief_days=brief)

    def _trail(self, arn: str) -> tuple[Statement, ...]:
        """https://docs.aws.amazon.com/awscloudtrail/latest/userguide/create-s3-bucket-policy-for-cloudtrail.html."""
        return let_service_write("cloudtrail", arn, self.scope.account_id)

    def _witness(self, arn: str, account: str) -> tuple[Statement, ...]:
        """Levels of the tree have one letter; the bundles of records are in a folder with a longer name."""
        if not account:
            return ()
        objects = tuple(f"{arn}/{LOG}{name}" for name in ("checkpoint", "tile/?/*"))
        return (Statement(("s3:GetObject",), objects, {"AWS": f"arn:aws:iam::{account}:root"}, sid="WitnessReads"),)


def let_service_write(service: str, bucket_arn: str, account_id: str) -> tuple[Statement, ...]:
    """Allow a service of this account to write below a prefix with its own name."""
    who, own = {"Service": f"{service}.amazonaws.com"}, {"aws:SourceAccount": account_id}
    conditions = {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control", **own}}
    return (
        Statement(("s3:GetBucketAcl",), (bucket_arn,), who, {"StringEquals": own}, sid=f"{service.title()}Looks"),
        Statement(
            ("s3:PutObject",),
            (f"{bucket_arn}/{service}/AWSLogs/{account_id}/*",),
            who,
            conditions,
            sid=f"{service.title()}Writes",
        ),
    )
