"""The lake: one bucket per zone; each encrypted, versioned, closed to the public and to plain HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import pulumi
import pulumi_aws as aws

from components.base import Component, Scope, Statement, policy
from components.keys import DataClass


class Zone(StrEnum):
    """The lake's zones, in the order data passes them."""

    RAW = "raw"
    CURATED = "curated"
    FEATURES = "features"
    MODELS = "models"
    AUDIT = "audit"


DATA_CLASS = {
    Zone.RAW: DataClass.RESTRICTED,
    Zone.CURATED: DataClass.INTERNAL,
    Zone.FEATURES: DataClass.INTERNAL,
    Zone.MODELS: DataClass.MODELS,
    Zone.AUDIT: DataClass.AUDIT,
}


@dataclass(frozen=True)
class BucketArgs:
    """Args:
    key_arn: The KMS key that encrypts every object.
    data_class: Tagged on the bucket.
    old_version_days: Days an overwritten or deleted object is still kept.
    """

    key_arn: pulumi.Input[str]
    data_class: DataClass
    old_version_days: int = 30


class SecureBucket(Component):
    """One bucket with everything that makes it safe; used for the lake and for the tracking server's artifacts."""

    def __init__(self, name: str, scope: Scope, purpose: str, args: BucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        bucket = aws.s3.Bucket(name, bucket=scope.bucket_name(purpose), tags=scope.tags("lake", DataClass=args.data_class), opts=self.child(holds_data=True))
        aws.s3.BucketVersioning(name, bucket=bucket.bucket, versioning_configuration={"status": "Enabled"}, opts=self.child())
        aws.s3.BucketServerSideEncryptionConfiguration(
            name,
            bucket=bucket.bucket,
            rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "aws:kms", "kms_master_key_id": args.key_arn}, "bucket_key_enabled": True}],
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
        aws.s3.BucketPolicy(
            name,
            bucket=bucket.bucket,
            policy=policy(
                Statement(
                    ("s3:*",),
                    (bucket.arn, bucket.arn.apply(lambda arn: f"{arn}/*")),
                    {"AWS": "*"},
                    {"Bool": {"aws:SecureTransport": "false"}},
                    effect="Deny",
                    sid="OnlyTls",
                )
            ),
            # S3 refuses a policy while the access block is still being made.
            opts=self.child(depends_on=[closed]),
        )
        aws.s3.BucketLifecycleConfiguration(
            name,
            bucket=bucket.bucket,
            rules=[
                {
                    "id": "old-versions",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "noncurrent_version_expiration": {"noncurrent_days": args.old_version_days},
                    "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
                }
            ],
            opts=self.child(),
        )
        self.bucket = bucket.bucket
        self.arn = bucket.arn
        self.register_outputs({"bucket": bucket.bucket, "arn": bucket.arn})


@dataclass(frozen=True)
class LakeArgs:
    """Args:
    key_arns: Key ARN by data class.
    old_version_days: Days an old object version is kept, by zone; 30 where a zone is missing.
    """

    key_arns: dict[DataClass, pulumi.Output[str]]
    old_version_days: dict[Zone, int] = field(default_factory=dict)


class Lake(Component):
    """The five zones.

    Attributes:
        buckets: Bucket name by zone.
        arns: Bucket ARN by zone.
    """

    def __init__(self, name: str, scope: Scope, args: LakeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        self.buckets: dict[Zone, pulumi.Output[str]] = {}
        self.arns: dict[Zone, pulumi.Output[str]] = {}
        for zone in Zone:
            data_class = DATA_CLASS[zone]
            made = SecureBucket(
                f"{name}-{zone}", scope, zone, BucketArgs(args.key_arns[data_class], data_class, args.old_version_days.get(zone, 30)), opts=self.child()
            )
            self.buckets[zone], self.arns[zone] = made.bucket, made.arn
        self.register_outputs({"buckets": {str(k): v for k, v in self.buckets.items()}})
