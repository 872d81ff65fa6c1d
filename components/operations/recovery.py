"""Recovery: backups of what can't be re-created, and copies in a standby region on request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope, Statement, policy
from components.foundation.clock import Hours, clock
from components.foundation.keys import account_decides
from components.foundation.roles import make_role, service_trust
from spec.zones import DataClass, Zone

REPLICATED = (
    Zone.CURATED,
    Zone.FEATURES,
    Zone.MODELS,
    Zone.AUDIT,
)  # raw events can be streamed again, and are the bulk


@dataclass(frozen=True, kw_only=True)
class RecoveryArgs(Args):
    """Args:
    key_arn: Encrypts the backups.
    backup_days: How long a backup is kept.
    backup_hours: Hours between two backups, at most.
    resource_arns: Databases and tables that are backed up.
    backed_up_buckets: ARNs of the buckets that are.
    hours: When the environment is used: a database that sleeps can't be backed up. None for always.
    standby_region: Where copies go; empty for none.
    key_arns: Keys that have a replica in the standby region, by data class.
    buckets, bucket_arns: Zones of the lake.
    data_classes: Data class of each zone.
    """

    key_arn: pulumi.Input[str]
    backup_days: Annotated[int, Between(1, unit="days")]
    backup_hours: Annotated[int, Between(1, unit="hours")]
    resource_arns: tuple[pulumi.Input[str], ...]
    backed_up_buckets: tuple[pulumi.Input[str], ...] = ()
    hours: Hours | None = None
    standby_region: str = ""
    key_arns: dict[DataClass, pulumi.Output[str]] = field(default_factory=dict)
    buckets: dict[Zone, pulumi.Output[str]] = field(default_factory=dict)
    bucket_arns: dict[Zone, str] = field(default_factory=dict)
    data_classes: dict[Zone, DataClass] = field(default_factory=dict)


class StandbyKeys(Component):
    """A replica of each key in the standby region, so that data encrypted here can be read there; and a key for copies
    of secrets, which are encrypted anew.

    Attributes:
        arns: ARN by data class.
        secrets_arn: Of the key for secrets.
    """

    def __init__(
        self,
        name: str,
        scope: Scope,
        region: str,
        key_arns: dict[DataClass, pulumi.Output[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(name, scope, opts)
        self.arns = {
            data_class: (
                aws.kms.ReplicaKey(
                    f"{name}-{data_class}",
                    region=region,
                    primary_key_arn=arn,
                    tags=scope.tags("keys", DataClass=data_class),
                    opts=self.child(holds_data=True),
                ).arn
            )
            for data_class, arn in key_arns.items()
        }
        # No replica: Managed Prometheus, which uses the same key here, takes no multi-Region one.
        self.secrets_arn = aws.kms.Key(
            f"{name}-secrets",
            region=region,
            description=f"{scope.project} {scope.stack}: copies of secrets",
            enable_key_rotation=True,
            policy=policy(account_decides(scope)),
            tags=scope.tags("keys", DataClass=DataClass.RESTRICTED),
            opts=self.child(holds_data=True),
        ).arn
        self.register_outputs({"arns": {str(k): v for k, v in self.arns.items()}})


class Recovery(Component):
    """Vault, plan and selection; in the standby region a vault and a bucket for each zone that is replicated.

    Attributes:
        vault_name: Name of the vault.
    """

    def __init__(
        self,
        name: str,
        scope: Scope,
        args: RecoveryArgs,
        standby_keys: dict[DataClass, pulumi.Output[str]] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(name, scope, opts)
        tags = scope.tags("recovery")
        vault = aws.backup.Vault(
            name,
            name=scope.name("backups", limit=50),
            force_destroy=not scope.protect,
            kms_key_arn=args.key_arn,
            tags=tags,
            opts=self.child(holds_data=True),
        )
        lifecycle = {"delete_after": args.backup_days}
        timing = clock(args.backup_hours, args.hours)
        rule: dict[str, object] = {
            "rule_name": "regularly",
            "target_vault_name": vault.name,
            "schedule": timing.expression,
            "schedule_expression_timezone": timing.timezone,
            "start_window": 60,
            "completion_window": 300,
            "lifecycle": lifecycle,
        }
        if args.standby_region and standby_keys:
            copies = aws.backup.Vault(
                f"{name}-standby",
                name=scope.name("backups", limit=50),
                region=args.standby_region,
                force_destroy=not scope.protect,
                kms_key_arn=standby_keys[DataClass.INTERNAL],
                tags=tags,
                opts=self.child(holds_data=True),
            )
            rule["copy_actions"] = [{"destination_vault_arn": copies.arn, "lifecycle": lifecycle}]
            self._replicate(name, args, standby_keys)
        plan = aws.backup.Plan(name, name=scope.name("daily", limit=50), rules=[rule], tags=tags, opts=self.child())
        role = make_role(
            self,
            name,
            service_trust(scope.account_id, "backup.amazonaws.com"),
            self._reading(args.backed_up_buckets),
            purpose="backup",
            managed=(
                "arn:aws:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForBackup",
                "arn:aws:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForRestores",
            ),
        )
        aws.backup.Selection(
            name,
            name=scope.name("stores", limit=50),
            plan_id=plan.id,
            iam_role_arn=role.arn,
            resources=[*args.resource_arns, *args.backed_up_buckets],
            opts=self.child(),
        )
        self.vault_name = vault.name
        self.register_outputs({"vault_name": vault.name})

    def _reading(self, buckets: tuple[pulumi.Input[str], ...]) -> list[Statement]:
        """What AWS's own policy for backups of S3 allows, on these buckets only. What restores them is given to the
        role when it is needed, since it may write anywhere.
        https://docs.aws.amazon.com/aws-backup/latest/devguide/s3-backups.html
        """
        scope = self.scope
        in_s3 = {"StringLike": {"kms:ViaService": f"s3.{scope.region}.amazonaws.com"}}
        rules = (f"arn:aws:events:{scope.region}:{scope.account_id}:rule/AwsBackupManagedRule*",)
        return [
            Statement(
                (
                    "s3:GetInventoryConfiguration",
                    "s3:PutInventoryConfiguration",
                    "s3:ListBucket",
                    "s3:ListBucketVersions",
                    "s3:GetBucketVersioning",
                    "s3:GetBucketNotification",
                    "s3:PutBucketNotification",
                    "s3:GetBucketLocation",
                    "s3:GetBucketTagging",
                    "s3:GetBucketAcl",
                ),
                buckets,
            ),
            Statement(
                (
                    "s3:GetObject",
                    "s3:GetObjectVersion",
                    "s3:GetObjectAcl",
                    "s3:GetObjectVersionAcl",
                    "s3:GetObjectTagging",
                    "s3:GetObjectVersionTagging",
                ),
                tuple(pulumi.Output.concat(bucket, "/*") for bucket in buckets),
            ),
            Statement(("s3:ListAllMyBuckets", "cloudwatch:GetMetricData", "events:ListRules"), ("*",)),
            Statement(
                ("kms:Decrypt", "kms:DescribeKey"),
                (f"arn:aws:kms:{scope.region}:{scope.account_id}:key/*",),
                conditions=in_s3,
            ),
            Statement(
                (
                    "events:DescribeRule",
                    "events:PutRule",
                    "events:DeleteRule",
                    "events:EnableRule",
                    "events:DisableRule",
                    "events:PutTargets",
                    "events:RemoveTargets",
                    "events:ListTargetsByRule",
                ),
                rules,
            ),
        ]

    def _replicate(self, name: str, args: RecoveryArgs, keys: dict[DataClass, pulumi.Output[str]]) -> None:
        """https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication.html; the role reads here and writes
        there.
        """
        scope = self.scope
        targets = {zone: f"{scope.name(zone, 'standby', limit=63 - 13)}-{scope.account_id}" for zone in REPLICATED}
        role = make_role(
            self,
            f"{name}-replication",
            service_trust(scope.account_id, "s3.amazonaws.com"),
            [
                Statement(
                    ("s3:GetReplicationConfiguration", "s3:ListBucket"),
                    tuple(args.bucket_arns[zone] for zone in REPLICATED),
                ),
                Statement(
                    (
                        "s3:GetObjectVersionForReplication",
                        "s3:GetObjectVersionAcl",
                        "s3:GetObjectVersionTagging",
                        "s3:GetObjectRetention",
                    ),
                    tuple(f"{args.bucket_arns[zone]}/*" for zone in REPLICATED),
                ),
                Statement(
                    ("s3:ReplicateObject", "s3:ReplicateDelete", "s3:ReplicateTags"),
                    tuple(f"arn:aws:s3:::{target}/*" for target in targets.values()),
                ),
                Statement(("kms:Decrypt",), tuple(args.key_arns.values())),
                Statement(("kms:Encrypt",), tuple(keys.values())),
            ],
            purpose="replication",
        )
        region = args.standby_region
        for zone, target in targets.items():
            key_arn = keys[args.data_classes[zone]]
            bucket = aws.s3.Bucket(
                f"{name}-{zone}",
                bucket=target,
                region=region,
                object_lock_enabled=zone is Zone.AUDIT,
                force_destroy=not scope.protect,
                tags=scope.tags("recovery", DataClass=args.data_classes[zone]),
                opts=self.child(holds_data=True),
            )
            versioned = aws.s3.BucketVersioning(
                f"{name}-{zone}",
                bucket=bucket.bucket,
                region=region,
                versioning_configuration={"status": "Enabled"},
                opts=self.child(),
            )
            aws.s3.BucketServerSideEncryptionConfiguration(
                f"{name}-{zone}",
                bucket=bucket.bucket,
                region=region,
                rules=[
                    {
                        "apply_server_side_encryption_by_default": {
                            "sse_algorithm": "aws:kms",
                            "kms_master_key_id": key_arn,
                        },
                        "bucket_key_enabled": True,
                    }
                ],
                opts=self.child(),
            )
            aws.s3.BucketPublicAccessBlock(
                f"{name}-{zone}",
                bucket=bucket.bucket,
                region=region,
                block_public_acls=True,
                block_public_policy=True,
                ignore_public_acls=True,
                restrict_public_buckets=True,
                opts=self.child(),
            )
            aws.s3.BucketReplicationConfig(
                f"{name}-{zone}",
                bucket=args.buckets[zone],
                role=role.arn,
                rules=[
                    {
                        "id": "standby",
                        "status": "Enabled",
                        "priority": 1,
                        "filter": {"prefix": ""},
                        "delete_marker_replication": {"status": "Enabled"},
                        "source_selection_criteria": {"sse_kms_encrypted_objects": {"status": "Enabled"}},
                        "destination": {
                            "bucket": bucket.arn,
                            "storage_class": "STANDARD_IA",
                            "encryption_configuration": {"replica_kms_key_id": key_arn},
                        },
                    }
                ],
                opts=self.child(depends_on=[versioned]),
            )
