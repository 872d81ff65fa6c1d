"""Which permissions a request to MSK needs, where clients use IAM.

https://docs.aws.amazon.com/msk/latest/developerguide/kafka-actions.html
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.iam.actions import Need

SERVICE = "kafka-cluster"
CLUSTER, TOPIC, GROUP, TRANSACTION = "cluster", "topic", "group", "transactional-id"
# Each request's actions, and their resources. A client that reads or writes must also be able to see the topic.
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
        operation: Its name in Kafka's protocol.
        cluster: ARN of the MSK cluster; empty where the stack has none and nothing is needed.

    Raises:
        ValueError: The platform's clients are not known to make such a request.
    """
    if operation not in _NEEDED:
        raise ValueError(f"it is not known which permission Kafka's {operation} needs")
    if not cluster:
        return
    yield Need(f"{SERVICE}:Connect", cluster)
    for action, kind in _NEEDED[operation]:
        within = cluster if kind == CLUSTER else f"{cluster.replace(':cluster/', f':{kind}/', 1)}/any"
        yield Need(f"{SERVICE}:{action}", within, because=f"Kafka's {operation}")
