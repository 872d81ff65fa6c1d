"""One rule per Pulumi resource type: which AWS call makes it for real, and what comes back.

A type without a rule is recorded, never faked. ``Rule`` is data wherever the API and Pulumi differ only in spelling
(``shapes.to_request`` sees to that); a function stands where they differ in form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Inputs = dict[str, Any]


@dataclass(frozen=True)
class Cloud:
    """What a rule may use.

    Attributes:
        call: ``call(service, operation, request)`` checks and sends one AWS request, and returns the answer.
        kafka_bootstrap: The local broker.
        manifests: ``manifests(name, object)`` keeps one rendered Kubernetes object.
    """

    region: str
    account_id: str
    call: Callable[[str, str, Mapping[str, Any]], dict[str, Any]]
    kafka_bootstrap: str
    manifests: Callable[[str, dict[str, Any]], None]


Made = tuple[str, dict[str, Any]]  # physical id, outputs beyond the echoed inputs


@dataclass(frozen=True)
class Rule:
    """How one resource type is made.

    Attributes:
        operation: The API operation, for example ``CreateKey``.
        rename: Pulumi input -> API parameter; a dot makes a nested one; None drops what has no meaning here.
        fixed: Parameters that are always the same.
        tag_type: EC2 only: the resource type its tags are specified for.
        id: Template of the physical id over ``inputs``, ``answer``, ``region`` and ``account``.
        outputs: Templates of further outputs.
        then: Calls after the first: (operation, request template).
        delete: Operation and request template that undo it.
        idempotent: Making it again with other inputs changes it in place (a ``Put``).
        replaceable: It holds nothing and nothing refers to it, so that a change may delete it and make it anew.
        make: Replaces all of the above where data is not enough.
    """

    service: str = ""
    operation: str = ""
    rename: Mapping[str, str | None] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    tag_type: str = ""
    id: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    then: Callable[[Cloud, Inputs, dict[str, Any]], None] | None = None
    delete: tuple[str, Mapping[str, str]] | None = None
    idempotent: bool = False
    replaceable: bool = False
    make: Callable[[Cloud, Inputs], Made] | None = None


def _rotate(cloud: Cloud, inputs: Inputs, answer: dict[str, Any]) -> None:
    if inputs.get("enableKeyRotation"):
        cloud.call("kms", "EnableKeyRotation", {"KeyId": answer["KeyMetadata"]["KeyId"]})


def _vpc_dns(cloud: Cloud, inputs: Inputs, answer: dict[str, Any]) -> None:
    vpc = answer["Vpc"]["VpcId"]
    for key, attribute in (("enableDnsSupport", "EnableDnsSupport"), ("enableDnsHostnames", "EnableDnsHostnames")):
        if key in inputs:
            cloud.call("ec2", "ModifyVpcAttribute", {"VpcId": vpc, attribute: {"Value": inputs[key]}})


def _table(cloud: Cloud, inputs: Inputs) -> Made:
    keys = [{"AttributeName": inputs[name], "KeyType": kind} for name, kind in (("hashKey", "HASH"), ("rangeKey", "RANGE")) if name in inputs]
    request: dict[str, Any] = {
        "TableName": inputs["name"],
        "KeySchema": keys,
        "AttributeDefinitions": [{"AttributeName": item["name"], "AttributeType": item["type"]} for item in inputs["attributes"]],
        "BillingMode": inputs["billingMode"],
        "DeletionProtectionEnabled": inputs.get("deletionProtectionEnabled", False),
        "Tags": [{"Key": k, "Value": v} for k, v in inputs.get("tags", {}).items()],
    }
    if (encryption := inputs.get("serverSideEncryption", {})).get("enabled"):
        request["SSESpecification"] = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": encryption["kmsKeyArn"]}
    answer = cloud.call("dynamodb", "CreateTable", request)
    if inputs.get("pointInTimeRecovery", {}).get("enabled"):
        cloud.call(
            "dynamodb", "UpdateContinuousBackups", {"TableName": inputs["name"], "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}}
        )
    return inputs["name"], {"arn": answer["TableDescription"]["TableArn"]}


def _log_retention(cloud: Cloud, inputs: Inputs, answer: dict[str, Any]) -> None:
    if "retentionInDays" in inputs:
        cloud.call("logs", "PutRetentionPolicy", {"logGroupName": inputs["name"], "retentionInDays": int(inputs["retentionInDays"])})


def _bucket(cloud: Cloud, inputs: Inputs) -> Made:
    # us-east-1 is the one region that must not be named as a location constraint.
    location = {} if cloud.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": cloud.region}}
    name = inputs["bucket"]
    cloud.call("s3", "CreateBucket", {"Bucket": name, **location})
    if tags := inputs.get("tags"):
        cloud.call("s3", "PutBucketTagging", {"Bucket": name, "Tagging": {"TagSet": [{"Key": k, "Value": v} for k, v in tags.items()]}})
    return name, {"arn": f"arn:aws:s3:::{name}", "bucketDomainName": f"{name}.s3.amazonaws.com"}


def _object(cloud: Cloud, inputs: Inputs) -> Made:
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": inputs["kmsKeyId"]} if "kmsKeyId" in inputs else {}
    answer = cloud.call(
        "s3",
        "PutObject",
        {
            "Bucket": inputs["bucket"],
            "Key": inputs["key"],
            "Body": inputs["content"].encode(),
            "ContentType": inputs.get("contentType", "application/octet-stream"),
            **encryption,
        },
    )
    return inputs["key"], {"arn": f"arn:aws:s3:::{inputs['bucket']}/{inputs['key']}", "etag": answer["ETag"].strip('"')}


def _lifecycle(cloud: Cloud, inputs: Inputs) -> Made:
    rules = []
    for rule in inputs["rules"]:
        rendered: dict[str, Any] = {"ID": rule["id"], "Status": rule["status"], "Filter": {"Prefix": rule.get("filter", {}).get("prefix", "")}}
        if old := rule.get("noncurrentVersionExpiration"):
            rendered["NoncurrentVersionExpiration"] = {"NoncurrentDays": int(old["noncurrentDays"])}
        if parts := rule.get("abortIncompleteMultipartUpload"):
            rendered["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": int(parts["daysAfterInitiation"])}
        rules.append(rendered)
    cloud.call("s3", "PutBucketLifecycleConfiguration", {"Bucket": inputs["bucket"], "LifecycleConfiguration": {"Rules": rules}})
    return inputs["bucket"], {}


def _group_rule(operation: str) -> Callable[[Cloud, Inputs], Made]:
    """How a rule of a security group is made; ingress and egress differ in the operation alone."""

    def make(cloud: Cloud, inputs: Inputs) -> Made:
        permission: dict[str, Any] = {"IpProtocol": inputs["ipProtocol"], "FromPort": int(inputs["fromPort"]), "ToPort": int(inputs["toPort"])}
        if group := inputs.get("referencedSecurityGroupId"):
            permission["UserIdGroupPairs"] = [{"GroupId": group}]
        if cidr := inputs.get("cidrIpv4"):
            permission["IpRanges"] = [{"CidrIp": cidr}]
        answer = cloud.call("ec2", operation, {"GroupId": inputs["securityGroupId"], "IpPermissions": [permission]})
        return answer["SecurityGroupRules"][0]["SecurityGroupRuleId"], {}

    return make


def _kafka(cloud: Cloud, request: dict[str, Any]) -> Made:
    answer = cloud.call("kafka", "CreateClusterV2", request)
    # Clients are sent to the broker that really runs here.
    return answer["ClusterArn"], {
        "arn": answer["ClusterArn"],
        "bootstrapBrokersSaslIam": cloud.kafka_bootstrap,
        "clusterUuid": answer["ClusterArn"].split("/")[-1],
    }


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


def _budget(cloud: Cloud, inputs: Inputs) -> Made:
    budget: dict[str, Any] = {
        "BudgetName": inputs["name"],
        "BudgetType": inputs["budgetType"],
        "BudgetLimit": {"Amount": inputs["limitAmount"], "Unit": inputs["limitUnit"]},
        "TimeUnit": inputs["timeUnit"],
        "CostFilters": {item["name"]: item["values"] for item in inputs.get("costFilters", [])},
    }
    notices = [
        {
            "Notification": {
                "NotificationType": item["notificationType"],
                "ComparisonOperator": item["comparisonOperator"],
                "Threshold": float(item["threshold"]),
                "ThresholdType": item["thresholdType"],
            },
            "Subscribers": [{"SubscriptionType": "EMAIL", "Address": address} for address in item["subscriberEmailAddresses"]],
        }
        for item in inputs.get("notifications", [])
    ]
    cloud.call("budgets", "CreateBudget", {"AccountId": inputs["accountId"], "Budget": budget, "NotificationsWithSubscribers": notices})
    return f"{inputs['accountId']}:{inputs['name']}", {"arn": f"arn:aws:budgets::{inputs['accountId']}:budget/{inputs['name']}"}


def _manifest(cloud: Cloud, inputs: Inputs) -> Made:
    metadata = inputs["metadata"]
    cloud.manifests(f"{inputs['kind']}-{metadata['name']}".lower(), inputs)
    return f"{metadata.get('namespace', 'default')}/{metadata['name']}", {}


_REQUEST_TOKEN = "groundplan-local-cloud-request-token"  # noqa: S105 (an idempotency token, 32 characters at least)

RULES: dict[str, Rule] = {
    "aws:kms/key:Key": Rule(
        "kms", "CreateKey",
        rename={"enableKeyRotation": None, "deletionWindowInDays": None},
        id="{answer[KeyMetadata][KeyId]}",
        outputs={"arn": "{answer[KeyMetadata][Arn]}", "keyId": "{answer[KeyMetadata][KeyId]}"},
        then=_rotate,
        delete=("ScheduleKeyDeletion", {"KeyId": "{id}"}),
    ),
    "aws:kms/alias:Alias": Rule(
        "kms", "CreateAlias", rename={"name": "AliasName"}, id="{inputs[name]}", delete=("DeleteAlias", {"AliasName": "{id}"}), replaceable=True
    ),
    "aws:s3/bucket:Bucket": Rule("s3", make=_bucket, delete=("DeleteBucket", {"Bucket": "{id}"})),
    "aws:s3/bucketObjectv2:BucketObjectv2": Rule("s3", make=_object, idempotent=True),
    "aws:s3/bucketVersioning:BucketVersioning": Rule("s3", "PutBucketVersioning", id="{inputs[bucket]}", idempotent=True),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": Rule(
        "s3", "PutBucketEncryption", rename={"rules": "ServerSideEncryptionConfiguration.Rules"}, id="{inputs[bucket]}", idempotent=True
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": Rule(
        "s3", "PutPublicAccessBlock",
        rename={key: f"PublicAccessBlockConfiguration.{key}" for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")},
        id="{inputs[bucket]}",
        idempotent=True,
    ),
    "aws:s3/bucketPolicy:BucketPolicy": Rule("s3", "PutBucketPolicy", id="{inputs[bucket]}", idempotent=True),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": Rule("s3", make=_lifecycle, idempotent=True),
    "aws:iam/role:Role": Rule(
        "iam", "CreateRole",
        rename={"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[Role][Arn]}", "uniqueId": "{answer[Role][RoleId]}"},
        delete=("DeleteRole", {"RoleName": "{id}"}),
    ),
    "aws:iam/rolePolicy:RolePolicy": Rule(
        "iam", "PutRolePolicy",
        rename={"name": "PolicyName", "role": "RoleName", "policy": "PolicyDocument"},
        id="{inputs[role]}:{inputs[name]}",
        delete=("DeleteRolePolicy", {"RoleName": "{inputs[role]}", "PolicyName": "{inputs[name]}"}),
        idempotent=True,
    ),
    "aws:secretsmanager/secret:Secret": Rule(
        "secretsmanager", "CreateSecret",
        rename={"recoveryWindowInDays": None},
        id="{answer[ARN]}",
        outputs={"arn": "{answer[ARN]}"},
        delete=("DeleteSecret", {"SecretId": "{id}"}),
    ),
    "aws:ec2/vpc:Vpc": Rule(
        "ec2", "CreateVpc",
        rename={"enableDnsHostnames": None, "enableDnsSupport": None}, tag_type="vpc",
        id="{answer[Vpc][VpcId]}",
        outputs={"arn": "arn:aws:ec2:{region}:{account}:vpc/{answer[Vpc][VpcId]}"},
        then=_vpc_dns,
        delete=("DeleteVpc", {"VpcId": "{id}"}),
    ),
    "aws:ec2/subnet:Subnet": Rule(
        "ec2", "CreateSubnet",
        rename={"mapPublicIpOnLaunch": None}, tag_type="subnet",  # moto's and AWS's default is no public address
        id="{answer[Subnet][SubnetId]}",
        outputs={"arn": "{answer[Subnet][SubnetArn]}"},
        delete=("DeleteSubnet", {"SubnetId": "{id}"}),
    ),
    "aws:ec2/routeTable:RouteTable": Rule(
        "ec2", "CreateRouteTable",
        tag_type="route-table",
        id="{answer[RouteTable][RouteTableId]}",
        delete=("DeleteRouteTable", {"RouteTableId": "{id}"}),
    ),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Rule(
        "ec2", "AssociateRouteTable", id="{answer[AssociationId]}", delete=("DisassociateRouteTable", {"AssociationId": "{id}"})
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Rule(
        "ec2", "CreateVpcEndpoint",
        tag_type="vpc-endpoint",
        id="{answer[VpcEndpoint][VpcEndpointId]}",
        delete=("DeleteVpcEndpoints", {"VpcEndpointIds": "{id}"}),
    ),
    "aws:ec2/securityGroup:SecurityGroup": Rule(
        "ec2", "CreateSecurityGroup",
        rename={"name": "GroupName", "revokeRulesOnDelete": None}, tag_type="security-group",
        id="{answer[GroupId]}",
        delete=("DeleteSecurityGroup", {"GroupId": "{id}"}),
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": Rule("ec2", make=_group_rule("AuthorizeSecurityGroupIngress")),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": Rule("ec2", make=_group_rule("AuthorizeSecurityGroupEgress")),
    "aws:msk/cluster:Cluster": Rule("kafka", make=_kafka_cluster, delete=("DeleteCluster", {"ClusterArn": "{id}"})),
    "aws:msk/serverlessCluster:ServerlessCluster": Rule("kafka", make=_kafka_serverless, delete=("DeleteCluster", {"ClusterArn": "{id}"})),
    "aws:msk/topic:Topic": Rule("kafka", make=_kafka_topic),
    "aws:glue/registry:Registry": Rule(
        "glue", "CreateRegistry", id="{answer[RegistryArn]}", outputs={"arn": "{answer[RegistryArn]}"}, delete=("DeleteRegistry", {"RegistryId": "{id}"})
    ),
    "aws:glue/schema:Schema": Rule(
        "glue", "CreateSchema",
        rename={"registryArn": "RegistryId.RegistryArn"},
        id="{answer[SchemaArn]}",
        outputs={"arn": "{answer[SchemaArn]}", "registryName": "{answer[RegistryName]}"},
    ),
    "aws:dynamodb/table:Table": Rule("dynamodb", make=_table, delete=("DeleteTable", {"TableName": "{id}"})),
    "aws:rds/subnetGroup:SubnetGroup": Rule(
        "rds", "CreateDBSubnetGroup",
        rename={"name": "DBSubnetGroupName", "description": "DBSubnetGroupDescription"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[DBSubnetGroup][DBSubnetGroupArn]}"},
        delete=("DeleteDBSubnetGroup", {"DBSubnetGroupName": "{id}"}),
    ),
    "aws:rds/instance:Instance": Rule(
        "rds", "CreateDBInstance",
        rename={
            "identifier": "DBInstanceIdentifier", "instanceClass": "DBInstanceClass", "username": "MasterUsername", "skipFinalSnapshot": None,
            "finalSnapshotIdentifier": None, "applyImmediately": None, "enabledCloudwatchLogsExports": "EnableCloudwatchLogsExports",
            "iamDatabaseAuthenticationEnabled": "EnableIAMDatabaseAuthentication",
        },
        id="{inputs[identifier]}",
        outputs={
            "arn": "{answer[DBInstance][DBInstanceArn]}",
            "endpoint": "{answer[DBInstance][Endpoint][Address]}:{answer[DBInstance][Endpoint][Port]}",
            "address": "{answer[DBInstance][Endpoint][Address]}",
        },
        delete=("DeleteDBInstance", {"DBInstanceIdentifier": "{id}"}),
    ),
    "aws:ecr/repository:Repository": Rule(
        "ecr", "CreateRepository",
        rename={"name": "repositoryName", "encryptionConfigurations": "encryptionConfiguration"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[repository][repositoryArn]}", "repositoryUrl": "{answer[repository][repositoryUri]}"},
        delete=("DeleteRepository", {"repositoryName": "{id}"}),
    ),
    "aws:sagemaker/model:Model": Rule(
        "sagemaker", "CreateModel",
        rename={"name": "ModelName"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[ModelArn]}"},
        delete=("DeleteModel", {"ModelName": "{id}"}),
    ),
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": Rule(
        "sagemaker", "CreateEndpointConfig",
        rename={"name": "EndpointConfigName", "kmsKeyArn": "KmsKeyId"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[EndpointConfigArn]}"},
        delete=("DeleteEndpointConfig", {"EndpointConfigName": "{id}"}),
    ),
    "aws:sagemaker/endpoint:Endpoint": Rule(
        "sagemaker", "CreateEndpoint",
        rename={"name": "EndpointName"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[EndpointArn]}"},
        delete=("DeleteEndpoint", {"EndpointName": "{id}"}),
    ),
    "aws:sagemaker/pipeline:Pipeline": Rule(
        "sagemaker", "CreatePipeline",
        id="{inputs[pipelineName]}",
        outputs={"arn": "{answer[PipelineArn]}"},
        delete=("DeletePipeline", {"PipelineName": "{id}", "ClientRequestToken": _REQUEST_TOKEN}),
        fixed={"ClientRequestToken": _REQUEST_TOKEN},
        replaceable=True,
    ),
    "aws:cloudwatch/logGroup:LogGroup": Rule(
        "logs", "CreateLogGroup",
        rename={"name": "logGroupName", "retentionInDays": None, "skipDestroy": None},
        id="{inputs[name]}",
        outputs={"arn": "arn:aws:logs:{region}:{account}:log-group:{inputs[name]}"},
        then=_log_retention,
        delete=("DeleteLogGroup", {"logGroupName": "{id}"}),
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Rule(
        "cloudwatch", "PutMetricAlarm",
        rename={"name": "AlarmName"},
        id="{inputs[name]}",
        outputs={"arn": "arn:aws:cloudwatch:{region}:{account}:alarm:{inputs[name]}"},
        delete=("DeleteAlarms", {"AlarmNames": "{id}"}),
        idempotent=True,
    ),
    "aws:sns/topic:Topic": Rule(
        "sns", "CreateTopic",
        rename={"kmsMasterKeyId": "Attributes.KmsMasterKeyId", "displayName": "Attributes.DisplayName"},
        id="{answer[TopicArn]}",
        outputs={"arn": "{answer[TopicArn]}"},
        delete=("DeleteTopic", {"TopicArn": "{id}"}),
    ),
    "aws:sns/topicSubscription:TopicSubscription": Rule(
        "sns", "Subscribe",
        rename={"topic": "TopicArn", "confirmationTimeoutInMinutes": None, "endpointAutoConfirms": None, "rawMessageDelivery": None},
        fixed={"ReturnSubscriptionArn": True},
        id="{answer[SubscriptionArn]}",
        outputs={"arn": "{answer[SubscriptionArn]}"},
        delete=("Unsubscribe", {"SubscriptionArn": "{id}"}),
        replaceable=True,
    ),
    "aws:appautoscaling/target:Target": Rule(
        "application-autoscaling", "RegisterScalableTarget",
        rename={"tags": None},
        id="{inputs[resourceId]}",
        outputs={"arn": "{answer[ScalableTargetARN]}"},
        idempotent=True,
    ),
    "aws:appautoscaling/policy:Policy": Rule(
        "application-autoscaling", "PutScalingPolicy",
        rename={"name": "PolicyName"},
        id="{inputs[name]}",
        outputs={"arn": "{answer[PolicyARN]}"},
        idempotent=True,
    ),
    "aws:budgets/budget:Budget": Rule(
        "budgets", make=_budget, delete=("DeleteBudget", {"AccountId": "{inputs[accountId]}", "BudgetName": "{inputs[name]}"}), replaceable=True
    ),
    "kubernetes:serving.kserve.io/v1beta1:InferenceService": Rule(make=_manifest, idempotent=True),
}  # fmt: skip

# Types the local cloud can't make, with the outputs that others need to be well formed. They are listed as recorded.
RECORDED_OUTPUTS: dict[str, dict[str, str]] = {
    "aws:msk/configuration:Configuration": {
        "arn": "arn:aws:kafka:{region}:{account}:configuration/{inputs[name]}/00000000-0000-0000-0000-000000000000-1",
        "latestRevision": "1",
    },
}
