"""Where data arrives and stays: lake, catalog, feature store, streaming, tracking, and the roles that may access
them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pulumi

from components.data.catalog import Catalog, CatalogArgs, TableArgs
from components.data.feature_groups import FeatureGroupArgs, FeatureGroups, FeatureGroupsArgs
from components.data.lake import Lake, LakeArgs
from components.data.online_store import OnlineStore, OnlineStoreArgs
from components.data.streaming import Streaming, StreamingArgs, Topic
from components.foundation.identity import Identity, IdentityArgs
from components.foundation.secrets import Secrets, SecretsArgs
from components.models.tracking import Tracking, TrackingArgs
from infra.build.foundation import Foundation
from infra.build.given import Given
from spec.contracts.tables import glue_type
from spec.objectives import Regime
from spec.zones import DataClass, Zone

_FEATURE = {"integer": "Integral", "number": "Fractional", "string": "String", "boolean": "Integral"}


@dataclass(frozen=True, kw_only=True)
class FeatureStore:
    """Where features are read online.

    Attributes:
        arn_pattern: Matches every table.
        tables: Name of the table of each view.
        prefix: Prefix of the tables' names.
        backed_up: ARNs of tables that are backed up.
    """

    arn_pattern: str
    tables: dict[str, pulumi.Output[str]]
    prefix: str = ""
    backed_up: tuple[pulumi.Output[str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data layer.

    Attributes:
        kafka: As in the outputs; empty where nothing is streamed.
    """

    lake: Lake
    catalog: Catalog
    secrets: Secrets
    tracking: Tracking
    features: FeatureStore
    identity: Identity
    kafka: dict[str, Any] = field(default_factory=dict)


def build_data(given: Given, base: Foundation) -> Data:
    """The data layer of a stack."""
    scope, plan, keys = given.scope, given.plan, base.keys
    lake = _lake(given, base)
    tracking = Tracking(
        "tracking",
        scope,
        TrackingArgs(
            instance_class=plan.database.instance_class,
            multi_az=plan.database.multi_az,
            storage_gb=plan.database.storage_gb,
            backup_days=plan.database.backup_days,
            subnet_ids=base.network.subnet_ids,
            security_group_id=base.network.security_group_id,
            models_key_arn=keys[DataClass.MODELS],
            database_key_arn=keys[DataClass.INTERNAL],
            log_retention_days=plan.monitoring.log_retention_days,
            hours=given.hours,
        ),
    )
    features = _feature_store(given, base, lake)
    return Data(
        lake=lake,
        catalog=_catalog(given, base, lake),
        secrets=Secrets(
            "secrets",
            scope,
            SecretsArgs(
                key_arn=keys[DataClass.RESTRICTED],
                names=("masking-key",),
                recovery_days=plan.key_deletion_days,
                standby_region=plan.recovery.standby_region,
                standby_key_arn=base.standby_secrets_key,
            ),
        ),
        tracking=tracking,
        features=features,
        identity=Identity(
            "identity",
            scope,
            IdentityArgs(
                bucket_arns=lake.arns,
                tracking_bucket_arn=tracking.artifact_bucket_arn,
                key_arns=keys,
                online_table_arn=features.arn_pattern,
                boundary_arn=base.boundary.arn,
                signing_key_arns=base.signing_keys,
                signs_bundles=any(serving.topology == "edge" for serving in plan.serving.values()),
                trains_on_lambda=given.trains_on_lambda,
                deploys_to_cluster=given.splits_on_cluster,
                traces=any(model.traced for model in given.wanted.models.values()),
            ),
        ),
        kafka=_streaming(given, base),
    )


def _lake(given: Given, base: Foundation) -> Lake:
    plan = given.plan.lake
    return Lake(
        "lake",
        given.scope,
        LakeArgs(
            key_arns=base.keys,
            retention_days=plan.retention_days,
            raw_lock_days=plan.raw_lock_days,
            audit_lock_days=plan.audit_retention_days,
            # In production nobody, not even the account's root user, may shorten what the law requires.
            audit_lock_mode=(
                "COMPLIANCE" if given.scope.protect and Regime.SOX in given.wanted.compliance else "GOVERNANCE"
            ),
            cold_days=plan.cold_days,
            dataset_prefixes=tuple(f"{contract.topic}/" for contract in given.contracts),
            witness_account=given.wanted.witness_account or "",
        ),
    )


def _catalog(given: Given, base: Foundation, lake: Lake) -> Catalog:
    tables = {
        contract.topic: TableArgs(
            columns={item.name: glue_type(item) for item in contract.fields},
            description=contract.name,
            partition_format=contract.partition_format if contract.event_time else "",
        )
        for contract in given.contracts
    }
    return Catalog(
        "catalog",
        given.scope,
        CatalogArgs(
            raw_bucket=lake.buckets[Zone.RAW],
            results_bucket=lake.buckets[Zone.CURATED],
            key_arn=base.keys[DataClass.INTERNAL],
            tables=tables,
            scan_limit_gb=given.plan.lake.scan_limit_gb,
        ),
    )


def _feature_store(given: Given, base: Foundation, lake: Lake) -> FeatureStore:
    scope, plan, key_arn = given.scope, given.plan, base.keys[DataClass.INTERNAL]
    if plan.feature_store.kind == "sagemaker":
        groups = {
            view.name: FeatureGroupArgs(
                key=view.key,
                features={name: _FEATURE[kind] for name, kind in {view.key: view.key_type, **view.features}.items()},
            )
            for view in given.views
        }
        made = FeatureGroups(
            "feature-groups",
            scope,
            FeatureGroupsArgs(
                groups=groups, bucket=lake.buckets[Zone.FEATURES], bucket_arn=lake.arns[Zone.FEATURES], key_arn=key_arn
            ),
        )
        return FeatureStore(arn_pattern=made.arn_pattern, tables=made.groups)
    online = OnlineStore(
        "online-store",
        scope,
        OnlineStoreArgs(
            key_arn=key_arn,
            point_in_time_recovery=plan.feature_store.point_in_time_recovery,
            feature_views=tuple(view.name for view in given.views),
            read_units=plan.feature_store.read_units,
            write_units=plan.feature_store.write_units,
            replica_region=plan.recovery.standby_region,
            replica_key_arn=base.standby_keys.get(DataClass.INTERNAL),
        ),
    )
    return FeatureStore(
        arn_pattern=online.arn_pattern,
        tables=online.tables,
        prefix=online.table_prefix,
        backed_up=tuple(online.table_arns.values()),
    )


def _streaming(given: Given, base: Foundation) -> dict[str, Any]:
    plan = given.plan.streaming
    if plan.kind == "none":
        return {}
    streaming = Streaming(
        "streaming",
        given.scope,
        StreamingArgs(
            kind=plan.kind,
            subnet_ids=base.network.subnet_ids,
            security_group_id=base.network.security_group_id,
            key_arn=base.keys[DataClass.RESTRICTED],
            log_retention_days=given.plan.monitoring.log_retention_days,
            retention_days=plan.retention_days,
            broker_type=plan.broker_type,
            brokers=plan.brokers,
            storage_gb=plan.storage_gb,
            topics={
                contract.topic: Topic(
                    schema=contract.json_schema(), partitions=plan.partitions, compatibility=contract.compatibility
                )
                for contract in given.contracts
            },
        ),
    )
    return {
        "bootstrap_servers": streaming.bootstrap_servers,
        "registry": streaming.registry_name,
        "topics": streaming.topics,
    }
