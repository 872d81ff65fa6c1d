"""Experiment tracking: the bucket and the PostgreSQL database of the MLflow server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pulumi
import pulumi_aws as aws

from components.data.lake import BucketArgs, SecureBucket
from components.foundation.args import Args, Between, LogRetention
from components.foundation.base import Component, Scope
from components.foundation.clock import Hours
from spec.zones import DataClass

POSTGRES_VERSION = "16"
ROTATION_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class TrackingArgs(Args):
    """Args:
    instance_class, multi_az, storage_gb, backup_days: Of the database; storage in GiB, backups 0 to 35 days.
    models_key_arn: Encrypts artifacts.
    database_key_arn: Encrypts the database, its log and its master password.
    hours: When the environment is used: a database that sleeps can't be backed up. None for always.
    """

    instance_class: str
    multi_az: bool
    storage_gb: Annotated[int, Between(20, 65536, "GB", "RDS")]
    backup_days: Annotated[int, Between(0, 35, "days", "RDS")]
    subnet_ids: list[pulumi.Output[str]]
    security_group_id: pulumi.Input[str]
    models_key_arn: pulumi.Input[str]
    database_key_arn: pulumi.Input[str]
    log_retention_days: LogRetention
    hours: Hours | None = None


class Tracking(Component):
    """MLflow's stores. RDS creates and rotates the master password itself, so the program never sees it.

    Attributes:
        artifact_bucket, artifact_bucket_arn: The bucket.
        database_endpoint: ``host:port``.
        database_secret_arn: Secret with user and password.
    """

    def __init__(self, name: str, scope: Scope, args: TrackingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        tags = scope.tags("tracking")
        artifacts = SecureBucket(
            f"{name}-artifacts",
            scope,
            "mlflow",
            BucketArgs(key_arn=args.models_key_arn, data_class=DataClass.MODELS),
            opts=self.child(),
        )
        subnets = aws.rds.SubnetGroup(
            name, name=scope.name("tracking"), subnet_ids=args.subnet_ids, tags=tags, opts=self.child()
        )
        parameters = aws.rds.ParameterGroup(
            name,
            name=scope.name("tracking", limit=255),
            family=f"postgres{POSTGRES_VERSION}",
            # Every statement that changes a table's schema is logged; connections without TLS are refused.
            parameters=[{"name": "rds.force_ssl", "value": "1"}, {"name": "log_statement", "value": "ddl"}],
            tags=tags,
            opts=self.child(),
        )
        logs = aws.cloudwatch.LogGroup(
            name,
            name=f"/aws/rds/instance/{scope.name('tracking')}/postgresql",
            retention_in_days=args.log_retention_days,
            kms_key_id=args.database_key_arn,
            tags=tags,
            opts=self.child(),
        )
        database = aws.rds.Instance(
            name,
            identifier=scope.name("tracking"),
            engine="postgres",
            engine_version=POSTGRES_VERSION,
            parameter_group_name=parameters.name,
            instance_class=args.instance_class,
            allocated_storage=args.storage_gb,
            storage_type="gp3",
            storage_encrypted=True,
            kms_key_id=args.database_key_arn,
            db_name="mlflow",
            username="mlflow",
            manage_master_user_password=True,
            master_user_secret_kms_key_id=args.database_key_arn,
            iam_database_authentication_enabled=True,
            multi_az=args.multi_az,
            backup_retention_period=args.backup_days,
            backup_window=args.hours.backup_window if args.hours else None,
            maintenance_window=args.hours.maintenance_window if args.hours else None,
            copy_tags_to_snapshot=True,
            deletion_protection=scope.protect,
            skip_final_snapshot=not scope.protect,
            final_snapshot_identifier=scope.name("tracking", "final") if scope.protect else None,
            db_subnet_group_name=subnets.name,
            vpc_security_group_ids=[args.security_group_id],
            publicly_accessible=False,
            auto_minor_version_upgrade=True,
            enabled_cloudwatch_logs_exports=["postgresql"],
            performance_insights_enabled=True,
            performance_insights_kms_key_id=args.database_key_arn,
            tags=tags,
            opts=self.child(holds_data=True, depends_on=[logs]),
        )
        # RDS rotates the password by itself; this only sets how often.
        secret_arn = database.master_user_secrets[0].secret_arn
        aws.secretsmanager.SecretRotation(
            name,
            secret_id=secret_arn,
            rotate_immediately=False,
            rotation_rules={"automatically_after_days": ROTATION_DAYS},
            # It ends with the database's secret, whose rotation only RDS can cancel.
            opts=self.child(retain_on_delete=True),
        )
        self.database_secret_arn = secret_arn
        self.database_arn = database.arn
        self.database_identifier = database.identifier
        self.artifact_bucket = artifacts.bucket
        self.artifact_bucket_arn = artifacts.arn
        self.database_endpoint = database.endpoint
        self.register_outputs({"artifact_bucket": artifacts.bucket, "database_endpoint": database.endpoint})
