"""The feature store's online side: one DynamoDB table in the layout Feast reads and writes."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.base import Component, Scope


@dataclass(frozen=True)
class OnlineStoreArgs:
    """Args:
    key_arn: KMS key that encrypts the table.
    point_in_time_recovery: Whether any second of the last 35 days can be restored.
    feature_views: Each has a table of its own, as Feast expects.
    """

    key_arn: pulumi.Input[str]
    point_in_time_recovery: bool
    feature_views: tuple[str, ...]


class OnlineStore(Component):
    """One table per feature view, partitioned by Feast's hashed ``entity_id``, paid per request.

    Attributes:
        table_prefix: Table names are ``<table_prefix>.<feature view>``.
        tables: Table name by feature view.
        arn_pattern: ARN that matches every table of the store.
    """

    def __init__(self, name: str, scope: Scope, args: OnlineStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        self.table_prefix = scope.name("online")
        self.tables: dict[str, pulumi.Output[str]] = {}
        for view in args.feature_views:
            table = aws.dynamodb.Table(
                f"{name}-{view}",
                name=f"{self.table_prefix}.{view}",
                billing_mode="PAY_PER_REQUEST",
                hash_key="entity_id",
                attributes=[{"name": "entity_id", "type": "S"}],
                server_side_encryption={"enabled": True, "kms_key_arn": args.key_arn},
                point_in_time_recovery={"enabled": args.point_in_time_recovery},
                deletion_protection_enabled=scope.protect,
                tags=scope.tags("online-store"),
                opts=self.child(holds_data=True),
            )
            self.tables[view] = table.name
        self.arn_pattern = f"arn:aws:dynamodb:{scope.region}:{scope.account_id}:table/{self.table_prefix}.*"
        self.register_outputs({"tables": self.tables})
