"""The event stream: MSK (TLS, IAM authentication, encrypted), its topics, and the schema registry in Glue."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, Any

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, Between, LogRetention, OneOf
from components.foundation.base import Component, Scope

KAFKA_VERSION = "3.8.x"


@dataclass(frozen=True, kw_only=True)
class Topic(Args):
    """A topic and its contract.

    Args:
        schema: JSON Schema (draft 7) of one event.
        partitions: At least 1.
        compatibility: Glue's mode for new versions of the schema: NONE, BACKWARD, FORWARD, FULL, each also with _ALL,
            or DISABLED.
    """

    schema: dict[str, Any]
    partitions: Annotated[int, Between(1)] = 2
    compatibility: Annotated[
        str,
        OneOf(
            ("NONE", "DISABLED", "BACKWARD", "BACKWARD_ALL", "FORWARD", "FORWARD_ALL", "FULL", "FULL_ALL"),
            "Glue Schema Registry",
        ),
    ] = "BACKWARD"


@dataclass(frozen=True, kw_only=True)
class StreamingArgs(Args):
    """Args:
    kind: ``serverless`` or ``provisioned``.
    broker_type, brokers, storage_gb: For ``provisioned``; storage is each broker's, GiB.
    retention_days: How long a topic keeps its events.
    topics: By name; each also gets a dead-letter topic, ``<name>.dlq``.
    """

    kind: Annotated[str, OneOf(("serverless", "provisioned"), "MSK")]
    subnet_ids: list[pulumi.Output[str]]
    security_group_id: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    log_retention_days: LogRetention
    retention_days: Annotated[int, Between(1, unit="days")]
    broker_type: str = ""
    brokers: Annotated[int, Between(0, 30, "brokers", "MSK")] = 0
    storage_gb: Annotated[int, Between(0, 16384, "GB a broker", "MSK")] = 0
    topics: dict[str, Topic] = field(default_factory=dict)


class Streaming(Component):
    """The cluster, its topics and their schemas.

    Attributes:
        bootstrap_servers: For clients that authenticate with IAM over TLS.
        registry_name: Glue schema registry.
        topics: Names of the topics, dead-letter topics included.
    """

    def __init__(
        self, name: str, scope: Scope, args: StreamingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        tags = scope.tags("streaming")
        cluster_name = scope.name("events", limit=64)
        if args.kind == "serverless":
            serverless = aws.msk.ServerlessCluster(
                name,
                cluster_name=cluster_name,
                client_authentication={"sasl": {"iam": {"enabled": True}}},
                vpc_configs=[{"subnet_ids": args.subnet_ids, "security_group_ids": [args.security_group_id]}],
                tags=tags,
                opts=self.child(holds_data=True),
            )
            cluster_arn, self.bootstrap_servers = serverless.arn, serverless.bootstrap_brokers_sasl_iam
        else:
            provisioned = self._provisioned(name, cluster_name, args, tags)
            cluster_arn, self.bootstrap_servers = provisioned.arn, provisioned.bootstrap_brokers_sasl_iam

        registry = aws.glue.Registry(
            name, registry_name=scope.name(), description="Contracts of the topics", tags=tags, opts=self.child()
        )
        self.registry_name = registry.registry_name
        self.topics: list[pulumi.Output[str]] = []
        for topic_name, topic in args.topics.items():
            aws.glue.Schema(
                f"{name}-{topic_name}",
                schema_name=topic_name,
                registry_arn=registry.arn,
                data_format="JSON",
                compatibility=topic.compatibility,
                schema_definition=json.dumps(topic.schema, sort_keys=True),
                tags=tags,
                opts=self.child(),
            )
            for full_name in (topic_name, f"{topic_name}.dlq"):
                made = aws.msk.Topic(
                    f"{name}-{full_name}",
                    name=full_name,
                    cluster_arn=cluster_arn,
                    partition_count=topic.partitions,
                    # MSK keeps three copies if it has three brokers; serverless always does.
                    replication_factor=3 if args.kind == "serverless" else min(3, args.brokers),
                    configs=json.dumps({"retention.ms": str(args.retention_days * 86_400_000)}),
                    opts=self.child(holds_data=True),
                )
                self.topics.append(made.name)
        self.register_outputs(
            {"bootstrap_servers": self.bootstrap_servers, "registry_name": self.registry_name, "topics": self.topics}
        )

    def _provisioned(self, name: str, cluster_name: str, args: StreamingArgs, tags: dict[str, str]) -> aws.msk.Cluster:
        logs = aws.cloudwatch.LogGroup(
            f"{name}-broker",
            name=f"/{self.scope.project}/{self.scope.stack}/msk",
            retention_in_days=args.log_retention_days,
            kms_key_id=args.key_arn,
            tags=tags,
            opts=self.child(),
        )
        configuration = aws.msk.Configuration(
            name,
            name=cluster_name,
            kafka_versions=[KAFKA_VERSION],
            # Topics are created from contracts, not by the first producer that names one.
            server_properties=(
                "auto.create.topics.enable=false\nmin.insync.replicas=1\n"
                if args.brokers < 3
                else "auto.create.topics.enable=false\nmin.insync.replicas=2\n"
            ),
            opts=self.child(),
        )
        return aws.msk.Cluster(
            name,
            cluster_name=cluster_name,
            kafka_version=KAFKA_VERSION,
            number_of_broker_nodes=args.brokers,
            broker_node_group_info={
                "instance_type": args.broker_type,
                "client_subnets": args.subnet_ids,
                "security_groups": [args.security_group_id],
                "storage_info": {"ebs_storage_info": {"volume_size": args.storage_gb}},
            },
            client_authentication={"sasl": {"iam": True}, "unauthenticated": False},
            encryption_info={
                "encryption_at_rest_kms_key_arn": args.key_arn,
                "encryption_in_transit": {"client_broker": "TLS", "in_cluster": True},
            },
            configuration_info={"arn": configuration.arn, "revision": configuration.latest_revision},
            logging_info={"broker_logs": {"cloudwatch_logs": {"enabled": True, "log_group": logs.name}}},
            enhanced_monitoring="PER_BROKER",
            tags=tags,
            opts=self.child(holds_data=True),
        )
