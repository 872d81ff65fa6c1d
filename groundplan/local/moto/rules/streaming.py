"""Kafka and everything else that carries events."""

from __future__ import annotations

from typing import Any

from groundplan.local.moto.rules.rule import Cloud, Inputs, Made, Rule


def _kafka_cluster(cloud: Cloud, inputs: Inputs) -> Made:
    group, logging = (
        inputs["brokerNodeGroupInfo"],
        inputs.get("loggingInfo", {}).get("brokerLogs", {}).get("cloudwatchLogs", {}),
    )
    encryption, iam = inputs["encryptionInfo"], inputs["clientAuthentication"]
    provisioned = {
        "BrokerNodeGroupInfo": {
            "InstanceType": group["instanceType"],
            "ClientSubnets": group["clientSubnets"],
            "SecurityGroups": group["securityGroups"],
            "StorageInfo": {
                "EbsStorageInfo": {"VolumeSize": int(group["storageInfo"]["ebsStorageInfo"]["volumeSize"])}
            },
        },
        "KafkaVersion": inputs["kafkaVersion"],
        "NumberOfBrokerNodes": int(inputs["numberOfBrokerNodes"]),
        "ClientAuthentication": {
            "Sasl": {"Iam": {"Enabled": iam["sasl"]["iam"]}},
            "Unauthenticated": {"Enabled": iam.get("unauthenticated", False)},
        },
        "EncryptionInfo": {
            "EncryptionAtRest": {"DataVolumeKMSKeyId": encryption["encryptionAtRestKmsKeyArn"]},
            "EncryptionInTransit": {
                "ClientBroker": encryption["encryptionInTransit"]["clientBroker"],
                "InCluster": encryption["encryptionInTransit"]["inCluster"],
            },
        },
        "EnhancedMonitoring": inputs.get("enhancedMonitoring", "DEFAULT"),
        "LoggingInfo": {
            "BrokerLogs": {
                "CloudWatchLogs": {"Enabled": logging.get("enabled", False), "LogGroup": logging.get("logGroup", "")}
            }
        },
    }
    return _kafka(
        cloud, {"ClusterName": inputs["clusterName"], "Provisioned": provisioned, "Tags": inputs.get("tags", {})}
    )


def _kafka_serverless(cloud: Cloud, inputs: Inputs) -> Made:
    vpcs = [
        {"SubnetIds": item["subnetIds"], "SecurityGroupIds": item["securityGroupIds"]} for item in inputs["vpcConfigs"]
    ]
    serverless = {"VpcConfigs": vpcs, "ClientAuthentication": {"Sasl": {"Iam": {"Enabled": True}}}}
    return _kafka(
        cloud, {"ClusterName": inputs["clusterName"], "Serverless": serverless, "Tags": inputs.get("tags", {})}
    )


def _kafka_topic(cloud: Cloud, inputs: Inputs) -> Made:
    import json

    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    if not cloud.kafka_bootstrap:  # a dry cloud
        return inputs["name"], {}
    admin = AdminClient({"bootstrap.servers": cloud.kafka_bootstrap, "log_level": 0})
    # Only one broker runs here, however many the cluster has on AWS, so there can be only one copy.
    topic = NewTopic(
        inputs["name"],
        num_partitions=int(inputs["partitionCount"]),
        replication_factor=1,
        config=json.loads(inputs.get("configs") or "{}"),
    )
    try:
        admin.create_topics([topic], request_timeout=20)[inputs["name"]].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
    return inputs["name"], {"arn": f"{inputs['clusterArn'].replace(':cluster/', ':topic/')}/{inputs['name']}"}


def _kafka(cloud: Cloud, request: dict[str, Any]) -> Made:
    answer = cloud.call("kafka", "CreateClusterV2", request)
    # Clients are sent to the broker that really runs here.
    return answer["ClusterArn"], {
        "arn": answer["ClusterArn"],
        "bootstrapBrokersSaslIam": cloud.kafka_bootstrap,
        "clusterUuid": answer["ClusterArn"].split("/")[-1],
    }


def _queue(cloud: Cloud, inputs: Inputs) -> Made:
    attributes = {
        "MessageRetentionPeriod": str(inputs["messageRetentionSeconds"]),
        "SqsManagedSseEnabled": str(inputs.get("sqsManagedSseEnabled", True)).lower(),
    }
    url = cloud.call(
        "sqs", "CreateQueue", {"QueueName": inputs["name"], "Attributes": attributes, "tags": inputs.get("tags", {})}
    )["QueueUrl"]
    return url, {"arn": cloud.arn("sqs", inputs["name"]), "url": url}


def _queue_policy(cloud: Cloud, inputs: Inputs) -> Made:
    cloud.call(
        "sqs", "SetQueueAttributes", {"QueueUrl": inputs["queueUrl"], "Attributes": {"Policy": inputs["policy"]}}
    )
    return inputs["queueUrl"], {}


def _event_target(cloud: Cloud, inputs: Inputs) -> Made:
    cloud.call(
        "events", "PutTargets", {"Rule": inputs["rule"], "Targets": [{"Id": inputs["targetId"], "Arn": inputs["arn"]}]}
    )
    return f"{inputs['rule']}-{inputs['targetId']}", {}


def _read_kafka(cloud: Cloud, inputs: Inputs, arn: str) -> Inputs | None:
    found: list[Inputs] = cloud.call("kafka", "ListClustersV2", {})["ClusterInfoList"]
    # moto accepts a level of monitoring, but reports the default.
    provisioned = (
        {**item, **item.get("Provisioned", {}), "EnhancedMonitoring": None}
        for item in found
        if item["ClusterArn"] == arn
    )
    return next(provisioned, None)


def _read_topic(cloud: Cloud, inputs: Inputs, topic: str) -> Inputs | None:
    from confluent_kafka.admin import AdminClient

    found = (
        AdminClient({"bootstrap.servers": cloud.kafka_bootstrap, "log_level": 0})
        .list_topics(timeout=20)
        .topics.get(topic)
    )
    return None if found is None else {"partitionCount": len(found.partitions)}


def _delete_topic(cloud: Cloud, inputs: Inputs, topic: str) -> None:
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": cloud.kafka_bootstrap, "log_level": 0})
    admin.delete_topics([topic], request_timeout=20)[topic].result()


def _delete_queue_policy(cloud: Cloud, inputs: Inputs, queue: str) -> None:
    cloud.call("sqs", "SetQueueAttributes", {"QueueUrl": queue, "Attributes": {"Policy": ""}})


def _new_retention(cloud: Cloud, inputs: Inputs, queue: str) -> None:
    cloud.call(
        "sqs",
        "SetQueueAttributes",
        {"QueueUrl": queue, "Attributes": {"MessageRetentionPeriod": str(inputs["messageRetentionSeconds"])}},
    )


def _read_target(cloud: Cloud, inputs: Inputs, target: str) -> Inputs | None:
    found: list[Inputs] = cloud.call("events", "ListTargetsByRule", {"Rule": inputs["rule"]})["Targets"]
    return next((item for item in found if item["Id"] == inputs["targetId"]), None)


RULES: dict[str, Rule] = {
    "aws:msk/cluster:Cluster": Rule(
        "kafka",
        make=_kafka_cluster,
        delete=("DeleteCluster", {"ClusterArn": "{id}"}),
        read=_read_kafka,
    ),
    "aws:msk/serverlessCluster:ServerlessCluster": Rule(
        "kafka",
        make=_kafka_serverless,
        delete=("DeleteCluster", {"ClusterArn": "{id}"}),
        read=_read_kafka,
    ),
    "aws:msk/topic:Topic": Rule("kafka", make=_kafka_topic, read=_read_topic, delete=_delete_topic),
    "aws:sqs/queue:Queue": Rule(
        "sqs",
        make=_queue,
        delete=("DeleteQueue", {"QueueUrl": "{id}"}),
        update={"messageRetentionSeconds": _new_retention},
        read=(
            "GetQueueAttributes",
            {"QueueUrl": "{id}", "AttributeNames": "All"},
            "{messageRetentionSeconds: Attributes.MessageRetentionPeriod}",
        ),
    ),
    "aws:sqs/queuePolicy:QueuePolicy": Rule(
        "sqs",
        make=_queue_policy,
        idempotent=True,
        read=("GetQueueAttributes", {"QueueUrl": "{id}", "AttributeNames": "Policy"}, "Attributes"),
        delete=_delete_queue_policy,
    ),
    "aws:cloudwatch/eventRule:EventRule": Rule(
        "events",
        "PutRule",
        id="{inputs[name]}",
        outputs={"arn": "{answer[RuleArn]}"},
        delete=("DeleteRule", {"Name": "{id}"}),
        idempotent=True,
        read=("DescribeRule", {"Name": "{id}"}, ""),
    ),
    "aws:cloudwatch/eventTarget:EventTarget": Rule(
        "events",
        make=_event_target,
        idempotent=True,
        read=_read_target,
        delete=("RemoveTargets", {"Rule": "{inputs[rule]}", "Ids": "{inputs[targetId]}"}),
    ),
}
