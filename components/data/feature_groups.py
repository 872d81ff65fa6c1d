"""The feature store as SageMaker Feature Groups: the alternative that objectives can request."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args
from components.foundation.base import Component, Scope, Statement
from components.foundation.roles import make_role, service_trust

EVENT_TIME = "event_time"


@dataclass(frozen=True, kw_only=True)
class FeatureGroupArgs(Args):
    """Args:
    key: Name of the feature that identifies the entity.
    features: Type by name: Integral, Fractional or String.
    """

    key: str
    features: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class FeatureGroupsArgs(Args):
    """Args:
    groups: By feature view.
    bucket: The features zone, where the offline store is kept.
    key_arn: Encrypts both stores.
    """

    groups: dict[str, FeatureGroupArgs]
    bucket: pulumi.Input[str]
    bucket_arn: str
    key_arn: pulumi.Input[str]


class FeatureGroups(Component):
    """One Feature Group per view, online and offline.

    Attributes:
        groups: Name by feature view.
        arn_pattern: ARN that matches every group of the stack.
    """

    def __init__(
        self, name: str, scope: Scope, args: FeatureGroupsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        role = make_role(
            self,
            name,
            service_trust(scope.account_id, "sagemaker.amazonaws.com"),
            [
                Statement(
                    ("s3:PutObject", "s3:GetObject", "s3:GetBucketAcl"),
                    (args.bucket_arn, f"{args.bucket_arn}/offline/*"),
                ),
                Statement(("kms:Decrypt", "kms:GenerateDataKey"), (args.key_arn,)),
            ],
            purpose="feature-groups",
        )
        self.groups: dict[str, pulumi.Output[str]] = {}
        for view, wanted in args.groups.items():
            features = {**wanted.features, EVENT_TIME: "String"}
            group = aws.sagemaker.FeatureGroup(
                f"{name}-{view}",
                feature_group_name=scope.name(view, limit=64),
                record_identifier_feature_name=wanted.key,
                event_time_feature_name=EVENT_TIME,
                role_arn=role.arn,
                feature_definitions=[
                    {"feature_name": feature, "feature_type": kind} for feature, kind in features.items()
                ],
                online_store_config={"enable_online_store": True, "security_config": {"kms_key_id": args.key_arn}},
                offline_store_config={
                    "s3_storage_config": {
                        "s3_uri": pulumi.Output.concat("s3://", args.bucket, "/offline"),
                        "kms_key_id": args.key_arn,
                    },
                    "table_format": "Glue",
                },
                tags=scope.tags("feature-store"),
                opts=self.child(holds_data=True),
            )
            self.groups[view] = group.feature_group_name
        self.arn_pattern = f"arn:aws:sagemaker:{scope.region}:{scope.account_id}:feature-group/{scope.name()}-*"
        self.register_outputs({"groups": self.groups})
