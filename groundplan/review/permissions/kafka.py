"""What a request to MSK needs to be allowed, where clients come with IAM.

https://docs.aws.amazon.com/msk/latest/developerguide/kafka-actions.html
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.iam.actions import Need

SERVICE = "kafka-cluster"
CLUSTER, TOPIC, GROUP, TRANSACTION = "cluster", "topic", "group", "transactional-id"
# Each request's actions, and what they are on. Whoever reads or writes must see the topic, too.
_NEEDED: dict[str, tuple[tuple[str, str], ...]] = {
    "Produce": (("WriteData", TOPIC), ("DescribeTopic", TOPIC)),
    "Fetch": (("ReadData", TOPIC), ("DescribeTopic", TOPIC)),
    "ListOffsets": (("DescribeTopic", TOPIC),),
    "Metadata": (("DescribeTopic", TOPIC),),
    "OffsetCommit": (("AlterGroup", GROUP), ("ReadData", TOPIC)),
    "OffsetFetch": (("DescribeGroup", GROUP),),
    "FindCoordinator": (("DescribeGroup", GROUP),),
    "JoinGroup": (("AlterGroup", GROUP),),
    "SyncGroup": (("AlterGroup", GROUP),),
    "Heartbeat": (("AlterGroup", GROUP),),
    "LeaveGroup": (("AlterGroup", GROUP),),
    "DescribeGroups": (("DescribeGroup", GROUP),),
    "ListGroups": (("DescribeGroup", GROUP),),
    "DeleteGroups": (("DeleteGroup", GROUP),),
    "CreateTopics": (("CreateTopic", TOPIC),),
    "DeleteTopics": (("DeleteTopic", TOPIC),),
    "CreatePartitions": (("AlterTopic", TOPIC),),
    "DeleteRecords": (("AlterTopic", TOPIC), ("WriteData", TOPIC)),
    "DescribeConfigs": (("DescribeTopicDynamicConfiguration", TOPIC),),
    "AlterConfigs": (("AlterTopicDynamicConfiguration", TOPIC),),
    "IncrementalAlterConfigs": (("AlterTopicDynamicConfiguration", TOPIC),),
    "DescribeCluster": (("DescribeCluster", CLUSTER),),
    "InitProducerId": (("WriteDataIdempotently", CLUSTER),),
    "InitProducerId in a transaction": (
        ("AlterTransactionalId", TRANSACTION),
        ("DescribeTransactionalId", TRANSACTION),
    ),
    "AddPartitionsToTxn": (("AlterTransactionalId", TRANSACTION), ("WriteData", TOPIC)),
    "AddOffsetsToTxn": (("AlterTransactionalId", TRANSACTION), ("DescribeGroup", GROUP)),
    "EndTxn": (("AlterTransactionalId", TRANSACTION),),
    "TxnOffsetCommit": (("AlterGroup", GROUP), ("ReadData", TOPIC)),
}


def needs_of(operation: str, cluster: str) -> Iterator[Need]:
    """The actions that one request needs, on a topic or a group of any name.

    Args:
        operation: As Kafka's protocol calls it.
        cluster: ARN of the MSK cluster; empty where the stack has none, which then asks nothing.

    Raises:
        ValueError: The request is none that the platform's clients are known to make.
    """
    if operation not in _NEEDED:
        raise ValueError(f"nobody says which permission Kafka's {operation} needs")
    if not cluster:
        return
    yield Need(f"{SERVICE}:Connect", cluster)
    for action, kind in _NEEDED[operation]:
        within = cluster if kind == CLUSTER else f"{cluster.replace(':cluster/', f':{kind}/', 1)}/any"
        yield Need(f"{SERVICE}:{action}", within, because=f"Kafka's {operation}")
