"""The online feature store on DynamoDB, in the layout that Feast reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope

TTL_ATTRIBUTE = "expires_at"
MOST_TIMES = 10  # most that autoscaling may multiply its initial capacity
TARGET_PERCENT = 70


@dataclass(frozen=True, kw_only=True)
class OnlineStoreArgs(Args):
    """Args:
    key_arn: KMS key that encrypts the tables.
    point_in_time_recovery: Whether any second of the last 35 days can be restored.
    feature_views: Each has its own table, as Feast expects.
    read_units, write_units: Provisioned capacity a second, shared by the tables; 0 to pay per request.
    replica_region: Region with a replica of each table; empty for none.
    replica_key_arn: Key of the replicas.
    """

    key_arn: pulumi.Input[str]
    point_in_time_recovery: bool
    feature_views: tuple[str, ...]
    read_units: Annotated[int, Between(0)] = 0
    write_units: Annotated[int, Between(0)] = 0
    replica_region: str = ""
    replica_key_arn: pulumi.Input[str] | None = None


class OnlineStore(Component):
    """One table per feature view, partitioned by Feast's hashed ``entity_id``.

    Attributes:
        table_prefix: Table names are ``<table_prefix>.<feature view>``.
        tables: Table name by feature view.
        table_arns: ARN by feature view.
        arn_pattern: ARN that matches every table of the store.
    """

    def __init__(
        self, name: str, scope: Scope, args: OnlineStoreArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        self.table_prefix = scope.name("online", limit=150)
        self.tables: dict[str, pulumi.Output[str]] = {}
        self.table_arns: dict[str, pulumi.Output[str]] = {}
        replica = {
            "region_name": args.replica_region,
            "kms_key_arn": args.replica_key_arn,
            "point_in_time_recovery": args.point_in_time_recovery,
            "propagate_tags": True,
        }
        units = {
            kind: -(-total // max(1, len(args.feature_views)))
            for kind, total in (("Read", args.read_units), ("Write", args.write_units))
            if total
        }  # a replica's streams need autoscaled or on-demand writes; both modes here qualify
        for view in args.feature_views:
            table = aws.dynamodb.Table(
                f"{name}-{view}",
                name=f"{self.table_prefix}.{view}",
                billing_mode="PROVISIONED" if units else "PAY_PER_REQUEST",
                read_capacity=units.get("Read"),
                write_capacity=units.get("Write"),
                hash_key="entity_id",
                attributes=[{"name": "entity_id", "type": "S"}],
                server_side_encryption={"enabled": True, "kms_key_arn": args.key_arn},
                point_in_time_recovery={"enabled": args.point_in_time_recovery},
                ttl={"attribute_name": TTL_ATTRIBUTE, "enabled": True},
                stream_enabled=True if args.replica_region else None,
                stream_view_type="NEW_AND_OLD_IMAGES" if args.replica_region else None,
                replicas=[replica] if args.replica_region else None,
                deletion_protection_enabled=scope.protect,
                tags=scope.tags("online-store"),
                # Autoscaling changes the capacity.
                opts=self.child(holds_data=True, ignore_changes=["readCapacity", "writeCapacity"] if units else []),
            )
            self.tables[view], self.table_arns[view] = table.name, table.arn
            for kind, start in units.items():
                target = aws.appautoscaling.Target(
                    f"{name}-{view}-{kind.lower()}",
                    service_namespace="dynamodb",
                    scalable_dimension=f"dynamodb:table:{kind}CapacityUnits",
                    resource_id=table.name.apply(lambda value: f"table/{value}"),
                    min_capacity=start,
                    max_capacity=MOST_TIMES * start,
                    opts=self.child(),
                )
                aws.appautoscaling.Policy(
                    f"{name}-{view}-{kind.lower()}",
                    name=scope.name(view, kind, limit=255),
                    policy_type="TargetTrackingScaling",
                    service_namespace=target.service_namespace,
                    scalable_dimension=target.scalable_dimension,
                    resource_id=target.resource_id,
                    target_tracking_scaling_policy_configuration={
                        "predefined_metric_specification": {
                            "predefined_metric_type": f"DynamoDB{kind}CapacityUtilization"
                        },
                        "target_value": TARGET_PERCENT,
                    },
                    opts=self.child(),
                )
        self.arn_pattern = f"arn:aws:dynamodb:{scope.region}:{scope.account_id}:table/{self.table_prefix}.*"
        self.register_outputs({"tables": self.tables})
