"""Kafka and what else carries events."""

from __future__ import annotations

from typing import Any

from groundplan.cloud.rules.rule import Cloud, Inputs, Made, Rule


def _kafka_cluster(cloud: Cloud, inputs: Inputs) -> Made:
    group, logging = inputs["brokerNodeGroupInfo"], inputs.get("loggingInfo", {}).get("brokerLogs", {}).get("cloudwatchLogs", {})
    encryption, iam = inputs["encryptionInfo"], inputs["clientAuthentication"]
    provisioned = {
        "BrokerNodeGroupInfo": {
            "InstanceType": group["instanceType"],
            "ClientSubnets": group["clientSubnets"],
            "SecurityGroups": group["securityGroups"],
            "StorageInfo": {"EbsStorageInfo": {"VolumeSize": int(group["storageInfo"]["ebsStorageInfo"]["volumeSize"])}},
        },
        "KafkaVersion": inputs["kafkaVersion"],
        "NumberOfBrokerNodes": int(inputs["numberOfBrokerNodes"]),
        "ClientAuthentication": {"Sasl": {"Iam": {"Enabled": iam["sasl"]["iam"]}}, "Unauthenticated": {"Enabled": iam.get("unauthenticated", False)}},
        "EncryptionInfo": {
            "EncryptionAtRest": {"DataVolumeKMSKeyId": encryption["encryptionAtRestKmsKeyArn"]},
            "EncryptionInTransit": {
                "ClientBroker": encryption["encryptionInTransit"]["clientBroker"],
                "InCluster": encryption["encryptionInTransit"]["inCluster"],
            },
        },
        "EnhancedMonitoring": inputs.get("enhancedMonitoring", "DEFAULT"),
        "LoggingInfo": {"BrokerLogs": {"CloudWatchLogs": {"Enabled": logging.get("enabled", False), "LogGroup": logging.get("logGroup", "")}}},
    }
    return _kafka(cloud, {"ClusterName": inputs["clusterName"], "Provisioned": provisioned, "Tags": inputs.get("tags", {})})


def _kafka_serverless(cloud: Cloud, inputs: Inputs) -> Made:
    vpcs = [{"SubnetIds": item["subnetIds"], "SecurityGroupIds": item["securityGroupIds"]} for item in inputs["vpcConfigs"]]
    serverless = {"VpcConfigs": vpcs, "ClientAuthentication": {"Sasl": {"Iam": {"Enabled": True}}}}
    return _kafka(cloud, {"ClusterName": inputs["clusterName"], "Serverless": serverless, "Tags": inputs.get("tags", {})})


def _kafka_topic(cloud: Cloud, inputs: Inputs) -> Made:
    import json

    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    admin = AdminClient({"bootstrap.servers": cloud.kafka_bootstrap, "log_level": 0})
    # One broker runs here, whatever the cluster has on AWS, so one copy is all there can be.
    topic = NewTopic(inputs["name"], num_partitions=int(inputs["partitionCount"]), replication_factor=1, config=json.loads(inputs.get("configs") or "{}"))
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
    url = cloud.call("sqs", "CreateQueue", {"QueueName": inputs["name"], "Attributes": attributes, "tags": inputs.get("tags", {})})["QueueUrl"]
    return url, {"arn": cloud.arn("sqs", inputs["name"]), "url": url}


def _queue_policy(cloud: Cloud, inputs: Inputs) -> Made:
    cloud.call("sqs", "SetQueueAttributes", {"QueueUrl": inputs["queueUrl"], "Attributes": {"Policy": inputs["policy"]}})
    return inputs["queueUrl"], {}


def _event_target(cloud: Cloud, inputs: Inputs) -> Made:
    cloud.call("events", "PutTargets", {"Rule": inputs["rule"], "Targets": [{"Id": inputs["targetId"], "Arn": inputs["arn"]}]})
    return f"{inputs['rule']}-{inputs['targetId']}", {}


RULES: dict[str, Rule] = {
    "aws:msk/cluster:Cluster": Rule("kafka", make=_kafka_cluster, delete=("DeleteCluster", {"ClusterArn": "{id}"})),
    "aws:msk/serverlessCluster:ServerlessCluster": Rule("kafka", make=_kafka_serverless, delete=("DeleteCluster", {"ClusterArn": "{id}"})),
    "aws:msk/topic:Topic": Rule("kafka", make=_kafka_topic),
    "aws:sqs/queue:Queue": Rule("sqs", make=_queue, delete=("DeleteQueue", {"QueueUrl": "{id}"})),
    "aws:sqs/queuePolicy:QueuePolicy": Rule("sqs", make=_queue_policy, idempotent=True),
    "aws:cloudwatch/eventRule:EventRule": Rule(
        "events", "PutRule",
        id="{inputs[name]}",
        outputs={"arn": "{answer[RuleArn]}"},
        delete=("DeleteRule", {"Name": "{id}"}),
        idempotent=True,
    ),
    "aws:cloudwatch/eventTarget:EventTarget": Rule("events", make=_event_target, idempotent=True),
}  # fmt: skip
