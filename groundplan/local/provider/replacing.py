"""Which inputs can't be changed in place: AWS creates another resource instead.

AWS lists them in the schema of each CloudFormation type (``createOnlyProperties``,
https://docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-schema.html), which ``cfn-lint`` ships.
Pulumi's types are found by their names; those with other names are listed in ``_TYPES``. A type of Pulumi's without a
counterpart is listed in ``_INPUTS``; for types in neither, every change is assumed to be possible in place, and
docs/resource-types.md lists the type.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from groundplan.local.moto.shapes import spellings

_SERVICES = {
    "amp": "APS",
    "appautoscaling": "ApplicationAutoScaling",
    "autoscaling": "AutoScaling",
    "cfg": "Config",
    "costexplorer": "CE",
    "alb": "ElasticLoadBalancingV2",
    "lb": "ElasticLoadBalancingV2",
}
_TYPES = {
    "aws:alb/listener:Listener": "AWS::ElasticLoadBalancingV2::Listener",
    "aws:alb/targetGroup:TargetGroup": "AWS::ElasticLoadBalancingV2::TargetGroup",
    "aws:amp/ruleGroupNamespace:RuleGroupNamespace": "AWS::APS::RuleGroupsNamespace",
    "aws:appautoscaling/policy:Policy": "AWS::ApplicationAutoScaling::ScalingPolicy",
    "aws:appautoscaling/target:Target": "AWS::ApplicationAutoScaling::ScalableTarget",
    "aws:backup/plan:Plan": "AWS::Backup::BackupPlan",
    "aws:backup/selection:Selection": "AWS::Backup::BackupSelection",
    "aws:backup/vault:Vault": "AWS::Backup::BackupVault",
    "aws:cfg/recorder:Recorder": "AWS::Config::ConfigurationRecorder",
    "aws:cloudwatch/eventRule:EventRule": "AWS::Events::Rule",
    "aws:cloudwatch/logGroup:LogGroup": "AWS::Logs::LogGroup",
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": "AWS::CloudWatch::CompositeAlarm",
    "aws:cloudwatch/metricAlarm:MetricAlarm": "AWS::CloudWatch::Alarm",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "AWS::EC2::SubnetRouteTableAssociation",
    "aws:glue/catalogDatabase:CatalogDatabase": "AWS::Glue::Database",
    "aws:glue/catalogTable:CatalogTable": "AWS::Glue::Table",
    "aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream": "AWS::KinesisFirehose::DeliveryStream",
    "aws:rds/cluster:Cluster": "AWS::RDS::DBCluster",
    "aws:rds/instance:Instance": "AWS::RDS::DBInstance",
    "aws:rds/parameterGroup:ParameterGroup": "AWS::RDS::DBParameterGroup",
    "aws:rds/subnetGroup:SubnetGroup": "AWS::RDS::DBSubnetGroup",
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": "AWS::SageMaker::EndpointConfig",
    "aws:secretsmanager/secretRotation:SecretRotation": "AWS::SecretsManager::RotationSchedule",
    "aws:securityhub/account:Account": "AWS::SecurityHub::Hub",
    "aws:securityhub/standardsSubscription:StandardsSubscription": "AWS::SecurityHub::Standard",
    "aws:sns/topicSubscription:TopicSubscription": "AWS::SNS::Subscription",
}
# Parts of what is one type in CloudFormation, and types that it does not have: the inputs that name what they belong
# to.
_INPUTS: dict[str, tuple[str, ...]] = {
    "aws:apigateway/methodSettings:MethodSettings": ("restApi", "stageName", "methodPath"),
    "aws:amp/alertManagerDefinition:AlertManagerDefinition": ("workspaceId",),
    "aws:cfg/deliveryChannel:DeliveryChannel": ("name",),
    "aws:cfg/recorderStatus:RecorderStatus": ("name",),
    "aws:cloudwatch/eventTarget:EventTarget": ("rule", "targetId", "eventBusName"),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": ("repository",),
    "aws:ecr/repositoryPolicy:RepositoryPolicy": ("repository",),
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": (
        "clusterName",
        "policyArn",
        "principalArn",
        "accessScope",
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": ("role", "policyArn"),
    "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": ("functionName", "qualifier"),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": ("bucket",),
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": ("bucket",),
    "aws:s3/bucketObjectv2:BucketObjectv2": ("bucket", "key"),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": ("bucket",),
    "aws:s3/bucketReplicationConfig:BucketReplicationConfig": ("bucket",),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": ("bucket",),
    "aws:s3/bucketVersioning:BucketVersioning": ("bucket",),
    "aws:sqs/queuePolicy:QueuePolicy": ("queueUrl",),
    "aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration": ("resourceArn",),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": ("securityGroupId",),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": ("securityGroupId",),
    "aws:sns/topicPolicy:TopicPolicy": ("arn",),
}
# CloudFormation's other names, in lower case, for any type; and a name with its kind (`TableName`) is Pulumi's
# `name`.
_NAMES = {
    "dbinstanceidentifier": "identifier",
    "masterusername": "username",
    "bucketname": "bucket",
    "rolename": "role",
    "groupdescription": "description",
    "registry": "registryarn",
    "noderole": "noderolearn",
    "subnets": "subnetids",
    "rolealias": "alias",
    "topicarn": "topic",
    "kmskeyid": "kmskeyarn",
    "deliverlogspermissionarn": "iamrolearn",
}
# In addition to the schema: tables are described in a list there, and some changes are refused but not listed.
_AND: dict[str, tuple[str, ...]] = {
    "aws:apigateway/deployment:Deployment": ("restApi", "triggers"),
    "aws:apigateway/stage:Stage": ("restApi",),
    "aws:cognito/userPool:UserPool": ("name", "usernameAttributes", "aliasAttributes"),
    "aws:dynamodb/table:Table": ("hashKey", "rangeKey", "localSecondaryIndexes"),
    "aws:ec2/flowLog:FlowLog": ("vpcId", "subnetId"),
    "aws:iam/policy:Policy": ("name", "description", "path"),
    "aws:kms/key:Key": ("multiRegion", "keyUsage", "customerMasterKeySpec"),
    "aws:rds/instance:Instance": ("username", "storageEncrypted", "kmsKeyId", "dbSubnetGroupName", "engine", "dbName"),
    "aws:s3/bucket:Bucket": ("objectLockEnabled",),
}
# What Pulumi's provider changes in place where CloudFormation does not.
_BUT: dict[str, tuple[str, ...]] = {
    "aws:glue/schema:Schema": ("schemadefinition",),
    "aws:msk/serverlessCluster:ServerlessCluster": ("tags",),
}


@cache
def never_changed(token: str) -> frozenset[str] | None:
    """Paths of inputs (lower case, dots between, no indices) whose change replaces the resource; None where nothing is
    known about this type.
    """
    found = {path.lower() for path in (*_AND.get(token, ()), *_INPUTS.get(token, ()))}
    schema = None if token in _INPUTS else _schema(token)
    if schema is None:
        return frozenset(found) if found else None
    for pointer in schema.get("createOnlyProperties", []):
        parts = [part.lower() for part in pointer.split("/")[2:] if part != "*"]
        found |= {".".join(parts), ".".join(_NAMES.get(part, part) for part in parts)}
        if parts[-1].endswith("name"):
            found.add("name")
    return frozenset(found - set(_BUT.get(token, ())))


def replaces(token: str, path: str) -> bool:
    """Whether a change at this path (``vpcConfig.subnetIds[0]``) replaces the resource."""
    parts = [part.partition("[")[0].lower() for part in path.split(".")]
    for known in never_changed(token) or ():
        wanted = known.split(".")
        if len(wanted) <= len(parts) and all(
            set(spellings(part)) & set(spellings(name)) for part, name in zip(parts, wanted, strict=False)
        ):
            return True
    return False


@cache
def _schema(token: str) -> dict[str, Any] | None:
    folder = resources.files("cfnlint.data.schemas")
    known = _known()
    _, _, rest = token.partition(":")
    service, kind = rest.partition("/")[0], rest.rpartition(":")[2]
    name = _TYPES.get(token) or f"AWS::{_SERVICES.get(service, service)}::{kind}"
    file = known.get(name.lower())
    if file is None:
        return None
    found: dict[str, Any] = json.loads((folder / "resources" / f"{file}.json").read_text(encoding="utf-8"))
    return found


@cache
def _known() -> dict[str, str]:
    found = json.loads(
        (resources.files("cfnlint.data.schemas") / "providers" / "us-east-1.json").read_text(encoding="utf-8")
    )
    return {name.lower(): file for name, file in found.items()}
