"""The record of who did what: CloudTrail into the locked audit bucket; and the services that monitor an account."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.data.lake import BucketArgs, SecureBucket, let_service_write
from components.foundation.args import Args
from components.foundation.base import Component, Scope, Statement
from components.foundation.roles import make_role, service_trust
from spec.zones import DataClass


@dataclass(frozen=True, kw_only=True)
class AuditArgs(Args):
    """Args:
    bucket: The audit zone; its policy lets CloudTrail write below ``cloudtrail/``.
    key_arn: Encrypts the record.
    data_bucket_arns: Buckets whose reads and writes are also recorded; empty for none.
    watch: Whether this stack creates GuardDuty, Config and Security Hub, which exist once per account and region.
    standards: Security Hub standards, for example ``standards/cis-aws-foundations-benchmark/v/3.0.0``.
    """

    bucket: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    data_bucket_arns: tuple[str, ...]
    watch: bool
    standards: tuple[str, ...]


class Audit(Component):
    """Trail, and on request Config, GuardDuty and Security Hub.

    Attributes:
        trail_arn: ARN of the trail.
    """

    def __init__(self, name: str, scope: Scope, args: AuditArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        selectors: list[dict[str, object]] = [
            {"name": "Management events", "field_selectors": [{"field": "eventCategory", "equals": ["Management"]}]},
        ]
        if args.data_bucket_arns:
            objects = [f"{arn}/" for arn in args.data_bucket_arns]
            selectors.append(
                {
                    "name": "Objects of the model and audit zones",
                    "field_selectors": [
                        {"field": "eventCategory", "equals": ["Data"]},
                        {"field": "resources.type", "equals": ["AWS::S3::Object"]},
                        {"field": "resources.ARN", "starts_withs": objects},
                    ],
                }
            )
        trail = aws.cloudtrail.Trail(
            name,
            name=scope.name("trail", limit=128),
            s3_bucket_name=args.bucket,
            s3_key_prefix="cloudtrail",
            kms_key_id=args.key_arn,
            is_multi_region_trail=True,
            include_global_service_events=True,
            enable_log_file_validation=True,
            enable_logging=True,
            advanced_event_selectors=selectors,
            tags=scope.tags("audit"),
            opts=self.child(),
        )
        if args.watch:
            self._watch(name, args)
        self.trail_arn = trail.arn
        self.register_outputs({"trail_arn": trail.arn})

    def _watch(self, name: str, args: AuditArgs) -> None:
        scope = self.scope
        # Config refuses a bucket whose objects are locked by default:
        # https://docs.aws.amazon.com/config/latest/developerguide/manage-delivery-channel.html
        store = SecureBucket(
            f"{name}-config",
            scope,
            "config",
            BucketArgs(
                key_arn=args.key_arn,
                data_class=DataClass.AUDIT,
                statements=lambda arn: let_service_write("config", arn, scope.account_id),
            ),
            opts=self.child(),
        )
        role = make_role(
            self,
            f"{name}-config",
            service_trust(scope.account_id, "config.amazonaws.com"),
            [
                Statement(
                    ("s3:PutObject",),
                    (f"{store.arn}/config/AWSLogs/{scope.account_id}/*",),
                    conditions={"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
                ),
                Statement(("s3:GetBucketAcl",), (store.arn,)),
                Statement(("kms:Decrypt", "kms:GenerateDataKey"), (args.key_arn,)),
            ],
            purpose="config",
            managed=("arn:aws:iam::aws:policy/service-role/AWS_ConfigRole",),
        )
        recorder = aws.cfg.Recorder(
            name,
            name=scope.name("recorder", limit=256),
            role_arn=role.arn,
            recording_group={"all_supported": True, "include_global_resource_types": True},
            opts=self.child(),
        )
        channel = aws.cfg.DeliveryChannel(
            name,
            name=scope.name("recorder", limit=256),
            s3_bucket_name=store.bucket,
            s3_key_prefix="config",
            s3_kms_key_arn=args.key_arn,
            opts=self.child(depends_on=[recorder, store.policy]),
        )
        aws.cfg.RecorderStatus(name, name=recorder.name, is_enabled=True, opts=self.child(depends_on=[channel]))
        aws.guardduty.Detector(
            name,
            enable=True,
            finding_publishing_frequency="FIFTEEN_MINUTES",
            tags=scope.tags("audit"),
            opts=self.child(),
        )
        hub = aws.securityhub.Account(name, enable_default_standards=False, opts=self.child(depends_on=[recorder]))
        for standard in args.standards:
            aws.securityhub.StandardsSubscription(
                f"{name}-{standard.split('/')[1]}",
                standards_arn=f"arn:aws:securityhub:{scope.region}::{standard}",
                opts=self.child(depends_on=[hub]),
            )
