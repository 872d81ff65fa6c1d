"""Controls of containers, functions, public web, data services and accounts: each passes the good and finds the bad,
and their inputs are ones that the provider has.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError, unknown_checking_proxy

from policies.controls import CONTROLS
from policies.secret_forms import HIDDEN
from policies.settings import SWITCH
from policies.stack import Item, Stack
from tests import provider_types

U = UNKNOWN_STRING_VALUE
ECS, ROUTE = "aws:ecs/taskDefinition:TaskDefinition", "aws:apigatewayv2/route:Route"
API, METHOD, STAGE = "aws:apigatewayv2/api:Api", "aws:apigateway/method:Method", "aws:apigateway/stage:Stage"
WEB, ALB, ELB = (
    "aws:cloudfront/distribution:Distribution",
    "aws:lb/loadBalancer:LoadBalancer",
    "aws:elb/loadBalancer:LoadBalancer",
)
PERMISSION, URL = "aws:lambda/permission:Permission", "aws:lambda/functionUrl:FunctionUrl"
SEARCH, ELASTIC = "aws:opensearch/domain:Domain", "aws:elasticsearch/domain:Domain"
DOCUMENTS, GRAPH = "aws:docdb/cluster:Cluster", "aws:neptune/cluster:Cluster"
ACL, RULE = "aws:ec2/networkAcl:NetworkAcl", "aws:ec2/networkAclRule:NetworkAclRule"
CACHE, REPLICAS = "aws:elasticache/cluster:Cluster", "aws:elasticache/replicationGroup:ReplicationGroup"
REST, INGRESS = "aws:apigateway/restApi:RestApi", "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
LISTENER, ROUTES = "aws:lb/listener:Listener", "aws:lb/listenerRule:ListenerRule"
METADATA = "aws:ec2/instanceMetadataDefaults:InstanceMetadataDefaults"
LAUNCH, CONFIGURATION = "aws:ec2/launchTemplate:LaunchTemplate", "aws:ec2/launchConfiguration:LaunchConfiguration"
EVERYBODY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}
)
ONE = EVERYBODY.replace('"Principal": "*"', '"Principal": {"AWS": "arn:aws:iam::111122223333:root"}')

Resource = tuple[str, dict[str, Any]]


def task(*containers: dict[str, Any], **more: Any) -> Resource:
    return ECS, {"containerDefinitions": json.dumps(containers), **more}


def container(**more: Any) -> dict[str, Any]:
    return {"name": "app", "image": "app", **more}


def _operation(operation: dict[str, Any], verb: str = "post") -> str:
    key = {"type": "apiKey", "in": "header"}
    schemes = {
        "people": {**key, "name": "Authorization", "x-amazon-apigateway-authorizer": {"type": "cognito_user_pools"}},
        "key": {**key, "name": "X-Api-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    paths = {"/x": {verb: operation}, "x-note": {"get": {}}}
    return json.dumps({"openapi": "3.0.1", "paths": paths, "components": {"securitySchemes": schemes}})


def _yaml(security: str, below: str = "") -> str:
    return (
        "securityDefinitions: {people: {type: apiKey, name: Authorization, x-amazon-apigateway-authtype: custom}}"
        f"\nsecurity: {security}\npaths: {{/x: {{get: {{{below}}}, 200: {{}}, parameters: [], on: !Sub 'x'}}}}"
    )


def origin(**more: Any) -> Resource:
    return WEB, {"origins": [{"domainName": "example.com", "originId": "o", **more}]}


def custom(policy: str, *tls: str, domain: str = "example.com") -> Resource:
    config = {"originProtocolPolicy": policy, "originSslProtocols": list(tls), "httpPort": 80, "httpsPort": 443}
    return origin(domainName=domain, customOriginConfig=config)


def acl(*rules: tuple[int, str, str, int, int]) -> Resource:
    """Rules of one list: number, action, range, first and last port."""
    return ACL, {
        "ingress": [
            {"ruleNo": n, "action": act, "protocol": "tcp", "cidrBlock": to, "fromPort": first, "toPort": last}
            for n, act, to, first, last in rules
        ]
    }


def rule(**more: Any) -> Resource:
    return RULE, {"ruleNumber": 100, "ruleAction": "allow", "protocol": "-1", "cidrBlock": "0.0.0.0/0", **more}


# Control: resources that pass, resources that fail.
PAIRS: dict[str, tuple[list[Resource], list[Resource]]] = {
    "ecs-not-privileged": (
        [task(container()), task(container(privileged=False))],
        [task(container(privileged=True)), task(container(), container(privileged=True))],
    ),
    "ecs-not-root": (
        [
            task(container(user="1000:1000")),
            task(container(user="app")),
            task(container(), runtimePlatform={"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}),
        ],
        [task(container()), task(container(user="root")), task(container(user="0:0"))],
    ),
    "ecs-own-namespaces": (
        [task(networkMode="awsvpc"), task(pidMode="task")],
        [task(networkMode="host"), task(pidMode="host"), task(ipcMode="host")],
    ),
    "ecs-read-only-root": ([task(container(readonlyRootFilesystem=True))], [task(container())]),
    "ecs-logged": ([task(container(logConfiguration={"logDriver": "awslogs"}))], [task(container())]),
    "ecs-volume-tls": (
        [task(volumes=[{"name": "v", "efsVolumeConfiguration": {"fileSystemId": U, "transitEncryption": "ENABLED"}}])],
        [task(volumes=[{"name": "v", "efsVolumeConfiguration": {"fileSystemId": U}}])],
    ),
    "ecs-no-public-ip": (
        [("aws:ecs/service:Service", {"networkConfiguration": {"subnets": [U]}})],
        [("aws:ecs/service:Service", {"networkConfiguration": {"subnets": [U], "assignPublicIp": True}})],
    ),
    "ecs-platform-current": (
        [("aws:ecs/service:Service", {}), ("aws:ecs/service:Service", {"platformVersion": "LATEST"})],
        [("aws:ecs/service:Service", {"platformVersion": "1.3.0"})],
    ),
    "ecs-insights": (
        [("aws:ecs/cluster:Cluster", {"settings": [{"name": "containerInsights", "value": "enabled"}]})],
        [
            ("aws:ecs/cluster:Cluster", {}),
            ("aws:ecs/cluster:Cluster", {"settings": [{"name": "containerInsights", "value": "disabled"}]}),
        ],
    ),
    "ecs-exec-logged": (
        [("aws:ecs/cluster:Cluster", {})],
        [("aws:ecs/cluster:Cluster", {"configuration": {"executeCommandConfiguration": {"logging": "NONE"}}})],
    ),
    "ecr-scanned": (
        [("aws:ecr/repository:Repository", {"imageScanningConfiguration": {"scanOnPush": True}})],
        [("aws:ecr/repository:Repository", {})],
    ),
    "ecr-tags-stay": (
        [("aws:ecr/repository:Repository", {"imageTagMutability": "IMMUTABLE"})],
        [("aws:ecr/repository:Repository", {}), ("aws:ecr/repository:Repository", {"imageTagMutability": "MUTABLE"})],
    ),
    "batch-not-privileged": (
        [("aws:batch/jobDefinition:JobDefinition", {"containerProperties": json.dumps(container())})],
        [("aws:batch/jobDefinition:JobDefinition", {"containerProperties": json.dumps(container(privileged=True))})],
    ),
    "codebuild-logged": (
        [("aws:codebuild/project:Project", {})],
        [("aws:codebuild/project:Project", {"logsConfig": {"cloudwatchLogs": {"status": "DISABLED"}}})],
    ),
    "lambda-not-public": (
        [
            (PERMISSION, {"principal": "s3.amazonaws.com", "sourceArn": U}),
            (PERMISSION, {"principal": "*", "principalOrgId": "o-1"}),
            (PERMISSION, {"principal": "*", "functionUrlAuthType": "AWS_IAM"}),
        ],
        [(PERMISSION, {"principal": "*"}), (PERMISSION, {"principal": "*", "functionUrlAuthType": "NONE"})],
    ),
    "lambda-caller-named": (
        [
            (PERMISSION, {"principal": "s3.amazonaws.com", "sourceArn": U}),
            (PERMISSION, {"principal": "111122223333"}),
            (PERMISSION, {"principal": "sns.amazonaws.com", "sourceAccount": "111122223333"}),
        ],
        [
            (PERMISSION, {"principal": "s3.amazonaws.com"}),
            (PERMISSION, {"principal": "apigateway.amazonaws.com"}),
            (PERMISSION, {"principal": "events.amazonaws.com", "sourceArn": "arn:aws:events:*:*:rule/*"}),
        ],
    ),
    "lambda-layer-not-public": (
        [("aws:lambda/layerVersionPermission:LayerVersionPermission", {"principal": "111122223333"})],
        [("aws:lambda/layerVersionPermission:LayerVersionPermission", {"principal": "*"})],
    ),
    "lambda-runtime-supported": (
        [("aws:lambda/function:Function", {"runtime": "python3.13"}), ("aws:lambda/function:Function", {})],
        [("aws:lambda/function:Function", {"runtime": "python3.8"})],
    ),
    "function-url-origins": (
        [(URL, {"cors": {"allowOrigins": ["*"]}}), (URL, {})],
        [(URL, {"cors": {"allowOrigins": ["*"], "allowCredentials": True}})],
    ),
    "api-authorized": (
        [
            (METHOD, {"authorization": "AWS_IAM", "httpMethod": "GET"}),
            (METHOD, {"authorization": "NONE", "httpMethod": "OPTIONS"}),
            (ROUTE, {"routeKey": "GET /", "authorizationType": "JWT"}),
            (ROUTE, {"routeKey": "OPTIONS /x"}),
            (REST, {}),
            (REST, {"body": "no document"}),
            (REST, {"body": _operation({"security": [{"people": []}]})}),
            (REST, {"body": _operation({"x-amazon-apigateway-auth": {"type": "AWS_IAM"}})}),
            (REST, {"body": _operation({}, "options")}),
            (REST, {"body": _operation({}), "endpointConfiguration": {"types": "PRIVATE"}}),
            (REST, {"body": _operation({"security": [{"key": []}]})}),
            (REST, {"body": _operation({}), "policy": ONE}),
            (REST, {"body": _yaml("[]", "security: [{people: []}]")}),
            (API, {"body": _yaml("[{people: []}]")}),
            (API, {"body": _operation({}), "protocolType": "WEBSOCKET"}),
        ],
        [
            (API, {"body": _operation({})}),
            (REST, {"body": _operation({"security": []})}),
            (REST, {"body": _operation({"security": [{"people": []}, {}]})}),
            (REST, {"body": _operation({"security": [{"bearer": []}]})}),
            (REST, {"body": _operation({"security": [{"nobody": []}]})}),
            (REST, {"body": _operation({"x-amazon-apigateway-auth": {"type": "none"}})}),
            (REST, {"body": _yaml("[{people: []}]")}),
            (API, {"body": _yaml("[{people: []}]", "security: []")}),
            (API, {"target": "arn:aws:lambda:eu-central-1:111122223333:function:f"}),
            (REST, {"body": _operation({}, "x-amazon-apigateway-any-method")}),
            (METHOD, {"authorization": "NONE", "httpMethod": "GET"}),
            (ROUTE, {"routeKey": "GET /"}),
            (ROUTE, {"routeKey": "$default", "authorizationType": "NONE"}),
        ],
    ),
    "api-tls": (
        [("aws:apigateway/domainName:DomainName", {"securityPolicy": "TLS_1_2"})],
        [("aws:apigateway/domainName:DomainName", {"securityPolicy": "TLS_1_0"})],
    ),
    "api-cache-encrypted": (
        [("aws:apigateway/methodSettings:MethodSettings", {"settings": {"cachingEnabled": False}})],
        [("aws:apigateway/methodSettings:MethodSettings", {"settings": {"cachingEnabled": True}})],
    ),
    "workflow-logged": (
        [("aws:sfn/stateMachine:StateMachine", {"loggingConfiguration": {"level": "ERROR", "logDestination": U}})],
        [
            ("aws:sfn/stateMachine:StateMachine", {}),
            ("aws:sfn/stateMachine:StateMachine", {"loggingConfiguration": {"level": "OFF"}}),
        ],
    ),
    "graphql-logged": (
        [("aws:appsync/graphQLApi:GraphQLApi", {"logConfig": {"fieldLogLevel": "ALL", "cloudwatchLogsRoleArn": U}})],
        [("aws:appsync/graphQLApi:GraphQLApi", {})],
    ),
    "graphql-authorized": (
        [("aws:appsync/graphQLApi:GraphQLApi", {"authenticationType": "AWS_IAM"})],
        [("aws:appsync/graphQLApi:GraphQLApi", {"authenticationType": "API_KEY"})],
    ),
    "identity-pool-known-users": (
        [("aws:cognito/identityPool:IdentityPool", {})],
        [("aws:cognito/identityPool:IdentityPool", {"allowUnauthenticatedIdentities": True})],
    ),
    "user-pool-second-factor": (
        [("aws:cognito/userPool:UserPool", {"mfaConfiguration": "OPTIONAL"})],
        [("aws:cognito/userPool:UserPool", {}), ("aws:cognito/userPool:UserPool", {"mfaConfiguration": "OFF"})],
    ),
    "cdn-tls-version": (
        [(WEB, {"viewerCertificate": {"acmCertificateArn": U, "minimumProtocolVersion": "TLSv1.2_2021"}})],
        [
            (WEB, {"viewerCertificate": {"cloudfrontDefaultCertificate": True}}),
            (WEB, {"viewerCertificate": {"acmCertificateArn": U, "minimumProtocolVersion": "TLSv1.1_2016"}}),
        ],
    ),
    "cdn-origin-tls": (
        [custom("https-only", "TLSv1.2"), custom("http-only", domain="b.s3-website-us-east-1.amazonaws.com")],
        [custom("http-only"), custom("https-only", "SSLv3")],
    ),
    "cdn-bucket-behind": (
        [origin(domainName="b.s3.amazonaws.com", originAccessControlId=U), origin()],
        [
            origin(domainName="b.s3.amazonaws.com"),
            origin(domainName=U, s3OriginConfig={"originAccessIdentity": ""}),
        ],
    ),
    "balancer-drops-bad-headers": (
        [(ALB, {"dropInvalidHeaderFields": True}), (ALB, {"loadBalancerType": "network"}), (ELB, {"listeners": [{}]})],
        [(ALB, {}), (ELB, {"listeners": [{}], "desyncMitigationMode": "monitor"})],
    ),
    "balancer-logged": (
        [
            (ALB, {"accessLogs": {"bucket": U, "enabled": True}}),
            (ALB, {"loadBalancerType": "gateway"}),
            (ELB, {"listeners": [{}], "accessLogs": {"bucket": U}}),
        ],
        [(ALB, {}), (ALB, {"accessLogs": {"bucket": U}}), (ELB, {"listeners": [{}]})],
    ),
    "balancer-deletion-protected": ([(ALB, {"enableDeletionProtection": True})], [(ALB, {})]),
    "classic-listener-tls": (
        [(ELB, {"listeners": [{"lbProtocol": "HTTPS", "lbPort": 443}, {"lbProtocol": "tcp", "lbPort": 25}]})],
        [(ELB, {"listeners": [{"lbProtocol": "HTTP", "lbPort": 80}]})],
    ),
    "certificate-strong": (
        [("aws:acm/certificate:Certificate", {}), ("aws:acm/certificate:Certificate", {"keyAlgorithm": "RSA_2048"})],
        [("aws:acm/certificate:Certificate", {"keyAlgorithm": "RSA_1024"})],
    ),
    "search-encrypted": (
        [(SEARCH, {"encryptAtRest": {"enabled": True}}), (ELASTIC, {"encryptAtRest": {"enabled": True}})],
        [(SEARCH, {}), (ELASTIC, {"encryptAtRest": {"enabled": False}})],
    ),
    "search-private": ([(SEARCH, {"vpcOptions": {"subnetIds": [U]}})], [(SEARCH, {}), (ELASTIC, {})]),
    "search-tls": (
        [
            (
                SEARCH,
                {
                    "nodeToNodeEncryption": {"enabled": True},
                    "domainEndpointOptions": {"enforceHttps": True, "tlsSecurityPolicy": "Policy-Min-TLS-1-2-2019-07"},
                },
            )
        ],
        [
            (SEARCH, {}),
            (SEARCH, {"nodeToNodeEncryption": {"enabled": True}, "domainEndpointOptions": {"enforceHttps": True}}),
            (ELASTIC, {"nodeToNodeEncryption": {"enabled": True}}),
        ],
    ),
    "search-audited": (
        [(SEARCH, {"logPublishingOptions": [{"logType": "AUDIT_LOGS", "cloudwatchLogGroupArn": U}]})],
        [
            (SEARCH, {"logPublishingOptions": [{"logType": "INDEX_SLOW_LOGS", "cloudwatchLogGroupArn": U}]}),
            (ELASTIC, {"logPublishingOptions": [{"logType": "AUDIT_LOGS", "enabled": False}]}),
        ],
    ),
    "stream-encrypted": (
        [("aws:kinesis/stream:Stream", {"encryptionType": "KMS", "kmsKeyId": U})],
        [("aws:kinesis/stream:Stream", {}), ("aws:kinesis/stream:Stream", {"encryptionType": "NONE"})],
    ),
    "delivery-encrypted": (
        [
            ("aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream", {"serverSideEncryption": {"enabled": True}}),
            ("aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream", {"kinesisSourceConfiguration": {}}),
        ],
        [("aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream", {})],
    ),
    "cluster-encrypted": (
        [(DOCUMENTS, {"storageEncrypted": True}), (GRAPH, {"snapshotIdentifier": U})],
        [(DOCUMENTS, {}), (GRAPH, {"storageEncrypted": False})],
    ),
    "cluster-backed-up": (
        [(DOCUMENTS, {"backupRetentionPeriod": 7})],
        [(DOCUMENTS, {}), (GRAPH, {"backupRetentionPeriod": 3})],
    ),
    "cluster-deletion-protected": ([(DOCUMENTS, {"deletionProtection": True})], [(DOCUMENTS, {}), (GRAPH, {})]),
    "cluster-audited": (
        [
            (DOCUMENTS, {"enabledCloudwatchLogsExports": ["audit", "profiler"]}),
            (GRAPH, {"enableCloudwatchLogsExports": ["audit"]}),
        ],
        [(DOCUMENTS, {"enabledCloudwatchLogsExports": ["profiler"]}), (GRAPH, {})],
    ),
    "accelerator-encrypted": (
        [
            (
                "aws:dax/cluster:Cluster",
                {"serverSideEncryption": {"enabled": True}, "clusterEndpointEncryptionType": "TLS"},
            )
        ],
        [
            ("aws:dax/cluster:Cluster", {"clusterEndpointEncryptionType": "TLS"}),
            ("aws:dax/cluster:Cluster", {"serverSideEncryption": {"enabled": True}}),
        ],
    ),
    "copy-encrypted": (
        [("aws:ec2/amiCopy:AmiCopy", {"encrypted": True})],
        [("aws:ec2/amiCopy:AmiCopy", {}), ("aws:ebs/snapshotCopy:SnapshotCopy", {"encrypted": False})],
    ),
    "memory-tls": (
        [("aws:memorydb/cluster:Cluster", {})],
        [("aws:memorydb/cluster:Cluster", {"tlsEnabled": False})],
    ),
    "copy-not-public": (
        [
            ("aws:rds/snapshot:Snapshot", {"sharedAccounts": ["111122223333"]}),
            ("aws:ec2/amiLaunchPermission:AmiLaunchPermission", {"accountId": "111122223333"}),
            ("aws:ssm/document:Document", {"permissions": {"type": "Share", "account_ids": "111122223333"}}),
        ],
        [
            ("aws:rds/snapshot:Snapshot", {"sharedAccounts": ["all"]}),
            ("aws:ec2/amiLaunchPermission:AmiLaunchPermission", {"group": "all"}),
            ("aws:ec2/snapshotCreateVolumePermission:SnapshotCreateVolumePermission", {"accountId": "all"}),
            ("aws:ssm/document:Document", {"permissions": {"type": "Share", "account_ids": "All"}}),
        ],
    ),
    "service-private": (
        [
            (
                "aws:dms/replicationInstance:ReplicationInstance",
                {"replicationInstanceClass": "dms.t3.micro", "publiclyAccessible": False},
            ),
            ("aws:mq/broker:Broker", {}),
            ("aws:mwaa/environment:Environment", {"webserverAccessMode": "PRIVATE_ONLY"}),
        ],
        [
            ("aws:dms/replicationInstance:ReplicationInstance", {"replicationInstanceClass": "dms.t3.micro"}),
            ("aws:mq/broker:Broker", {"publiclyAccessible": True}),
            ("aws:redshiftserverless/workgroup:Workgroup", {"publiclyAccessible": True}),
            ("aws:mwaa/environment:Environment", {"webserverAccessMode": "PUBLIC_ONLY"}),
        ],
    ),
    "broker-audited": (
        [
            ("aws:mq/broker:Broker", {"engineType": "ActiveMQ", "logs": {"audit": True}}),
            ("aws:mq/broker:Broker", {"engineType": "RabbitMQ", "logs": {"general": True}}),
        ],
        [
            ("aws:mq/broker:Broker", {"engineType": "ActiveMQ", "logs": {"general": True}}),
            ("aws:mq/broker:Broker", {"engineType": "RabbitMQ"}),
        ],
    ),
    "warehouse-tls": (
        [
            ("aws:redshift/parameterGroup:ParameterGroup", {"parameters": [{"name": "require_ssl", "value": "true"}]}),
            ("aws:redshift/parameterGroup:ParameterGroup", {"family": "redshift-2.0"}),
        ],
        [
            ("aws:redshift/parameterGroup:ParameterGroup", {"family": "redshift-1.0"}),
            ("aws:redshift/parameterGroup:ParameterGroup", {"parameters": [{"name": "require_ssl", "value": "false"}]}),
        ],
    ),
    "warehouse-in-vpc": (
        [("aws:redshift/cluster:Cluster", {"enhancedVpcRouting": True})],
        [("aws:redshift/cluster:Cluster", {}), ("aws:redshiftserverless/workgroup:Workgroup", {})],
    ),
    "glue-security-complete": (
        [
            (
                "aws:glue/securityConfiguration:SecurityConfiguration",
                {
                    "encryptionConfiguration": {
                        "s3Encryption": {"s3EncryptionMode": "SSE-KMS"},
                        "cloudwatchEncryption": {"cloudwatchEncryptionMode": "SSE-KMS"},
                        "jobBookmarksEncryption": {"jobBookmarksEncryptionMode": "CSE-KMS"},
                    }
                },
            )
        ],
        [
            (
                "aws:glue/securityConfiguration:SecurityConfiguration",
                {"encryptionConfiguration": {"s3Encryption": {"s3EncryptionMode": "SSE-KMS"}}},
            )
        ],
    ),
    "glue-connection-no-secret": (
        [
            ("aws:glue/connection:Connection", {"connectionProperties": {"SECRET_ID": "db"}}),
            ("aws:glue/connection:Connection", {"connectionProperties": {"PASSWORD": ""}}),
        ],
        [("aws:glue/connection:Connection", {"connectionProperties": {"PASSWORD": "hunter22"}})],
    ),
    "emr-configured": (
        [("aws:emr/cluster:Cluster", {"securityConfiguration": U})],
        [("aws:emr/cluster:Cluster", {})],
    ),
    "emr-security-complete": (
        [
            (
                "aws:emr/securityConfiguration:SecurityConfiguration",
                {
                    "configuration": json.dumps(
                        {
                            "EncryptionConfiguration": {
                                "EnableAtRestEncryption": True,
                                "EnableInTransitEncryption": True,
                            }
                        }
                    )
                },
            )
        ],
        [
            (
                "aws:emr/securityConfiguration:SecurityConfiguration",
                {"configuration": json.dumps({"EncryptionConfiguration": {"EnableAtRestEncryption": True}})},
            ),
            ("aws:emr/securityConfiguration:SecurityConfiguration", {"configuration": "{}"}),
        ],
    ),
    "transfer-no-ftp": (
        [("aws:transfer/server:Server", {}), ("aws:transfer/server:Server", {"protocols": ["SFTP", "FTPS"]})],
        [("aws:transfer/server:Server", {"protocols": ["FTP"]})],
    ),
    "access-point-own-root": (
        [
            (
                "aws:efs/accessPoint:AccessPoint",
                {"rootDirectory": {"path": "/app"}, "posixUser": {"gid": 1000, "uid": 1000}},
            )
        ],
        [
            ("aws:efs/accessPoint:AccessPoint", {"posixUser": {"gid": 1000, "uid": 1000}}),
            ("aws:efs/accessPoint:AccessPoint", {"rootDirectory": {"path": "/app"}}),
        ],
    ),
    "desktop-encrypted": (
        [
            (
                "aws:workspaces/workspace:Workspace",
                {"rootVolumeEncryptionEnabled": True, "userVolumeEncryptionEnabled": True},
            )
        ],
        [("aws:workspaces/workspace:Workspace", {"rootVolumeEncryptionEnabled": True})],
    ),
    "model-agent-guarded": (
        [
            (
                "aws:bedrock/agentAgent:AgentAgent",
                {"guardrailConfigurations": [{"guardrailIdentifier": U, "guardrailVersion": "1"}]},
            )
        ],
        [("aws:bedrock/agentAgent:AgentAgent", {})],
    ),
    "model-own-key": (
        [
            ("aws:bedrock/agentAgent:AgentAgent", {"customerEncryptionKeyArn": U}),
            ("aws:bedrock/guardrail:Guardrail", {"kmsKeyArn": U}),
            ("aws:bedrock/customModel:CustomModel", {"customModelKmsKeyId": U}),
        ],
        [("aws:bedrock/agentAgent:AgentAgent", {}), ("aws:bedrock/guardrail:Guardrail", {})],
    ),
    "monitor-job-isolated": (
        [
            (
                "aws:sagemaker/dataQualityJobDefinition:DataQualityJobDefinition",
                {
                    "networkConfig": {"enableInterContainerTrafficEncryption": True},
                    "jobResources": {"clusterConfig": {"volumeKmsKeyId": U}},
                },
            )
        ],
        [
            (
                "aws:sagemaker/dataQualityJobDefinition:DataQualityJobDefinition",
                {"jobResources": {"clusterConfig": {"volumeKmsKeyId": U}}},
            ),
            (
                "aws:sagemaker/dataQualityJobDefinition:DataQualityJobDefinition",
                {"networkConfig": {"enableInterContainerTrafficEncryption": True}},
            ),
        ],
    ),
    "network-acl-closed": (
        [
            acl((100, "allow", "10.0.0.0/8", 22, 22), (110, "allow", "0.0.0.0/0", 443, 443)),
            acl(
                (10, "deny", "0.0.0.0/0", 20, 22),
                (20, "deny", "0.0.0.0/0", 3389, 3389),
                (100, "allow", "0.0.0.0/0", 0, 65535),
            ),
            rule(egress=True),
            rule(protocol="udp"),
        ],
        [
            acl((100, "allow", "0.0.0.0/0", 22, 22)),
            acl((100, "allow", "0.0.0.0/0", 0, 65535), (200, "deny", "0.0.0.0/0", 22, 22)),
            rule(),
            rule(protocol="6", fromPort=3000, toPort=4000),
        ],
    ),
    "transit-named": (
        [("aws:ec2transitgateway/transitGateway:TransitGateway", {})],
        [("aws:ec2transitgateway/transitGateway:TransitGateway", {"autoAcceptSharedAttachments": "enable"})],
    ),
    "password-policy-strong": (
        [
            (
                "aws:iam/accountPasswordPolicy:AccountPasswordPolicy",
                {"minimumPasswordLength": 14, "passwordReusePrevention": 24},
            )
        ],
        [
            ("aws:iam/accountPasswordPolicy:AccountPasswordPolicy", {"minimumPasswordLength": 14}),
            (
                "aws:iam/accountPasswordPolicy:AccountPasswordPolicy",
                {"minimumPasswordLength": 8, "passwordReusePrevention": 24},
            ),
        ],
    ),
    # Controls of older families, on types that they did not look at before.
    "policy-not-public": (
        [
            ("aws:kms/keyPolicy:KeyPolicy", {"policy": ONE}),
            (SEARCH, {"accessPolicies": ONE}),
            (SEARCH, {}),
            ("aws:s3/bucket:Bucket", {"policy": ONE}),
        ],
        [
            ("aws:kms/keyPolicy:KeyPolicy", {"policy": EVERYBODY}),
            (SEARCH, {"accessPolicies": EVERYBODY}),
            ("aws:s3/bucket:Bucket", {"policy": EVERYBODY}),
            ("aws:backup/vaultPolicy:VaultPolicy", {"policy": EVERYBODY}),
            ("aws:dynamodb/resourcePolicy:ResourcePolicy", {"policy": EVERYBODY}),
            (
                "aws:sagemaker/modelPackageGroupPolicy:ModelPackageGroupPolicy",
                {"resourcePolicy": EVERYBODY},
            ),
        ],
    ),
    "s3-no-public-acl": (
        [
            (
                "aws:s3/bucketAcl:BucketAcl",
                {"accessControlPolicy": {"grants": [{"permission": "READ", "grantee": {"id": U}}]}},
            )
        ],
        [
            (
                "aws:s3/bucketAcl:BucketAcl",
                {
                    "accessControlPolicy": {
                        "grants": [
                            {
                                "permission": "READ",
                                "grantee": {
                                    "type": "Group",
                                    "uri": "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
                                },
                            }
                        ]
                    }
                },
            )
        ],
    ),
    "s3-no-public-access": (
        [
            ("aws:s3/accessPoint:AccessPoint", {"name": "a"}),
            (
                "aws:s3/accessPoint:AccessPoint",
                {"name": "a", "publicAccessBlockConfiguration": {"blockPublicAcls": True}},
            ),
        ],
        [
            (
                "aws:s3/accessPoint:AccessPoint",
                {"name": "a", "publicAccessBlockConfiguration": {"blockPublicPolicy": False}},
            )
        ],
    ),
    "instance-no-public-ip": (
        [(LAUNCH, {"networkInterfaces": [{"associatePublicIpAddress": "false"}]}), (CONFIGURATION, {})],
        [
            (LAUNCH, {"networkInterfaces": [{"associatePublicIpAddress": "true"}]}),
            (CONFIGURATION, {"associatePublicIpAddress": True}),
        ],
    ),
    "no-secret-in-environment": (
        [
            task(container(environment=[{"name": "DB_PASSWORD_ARN", "value": "arn:aws:x"}])),
            task(container(environment=[{"name": "PORT", "value": "80"}], secrets=[{"name": "DB_PASSWORD"}])),
        ],
        [
            task(container(environment=[{"name": "DB_PASSWORD", "value": "hunter22"}])),
            (
                "aws:batch/jobDefinition:JobDefinition",
                {"containerProperties": json.dumps(container(environment=[{"name": "API_KEY", "value": "s3cr3t"}]))},
            ),
            (
                "aws:apprunner/service:Service",
                {
                    "sourceConfiguration": {
                        "imageRepository": {
                            "imageIdentifier": "i",
                            "imageRepositoryType": "ECR",
                            "imageConfiguration": {"runtimeEnvironmentVariables": {"API_KEY": "s3cr3t"}},
                        }
                    }
                },
            ),
        ],
    ),
    "no-secret-in-user-data": (
        [(CONFIGURATION, {"userData": "echo hello"})],
        [(CONFIGURATION, {"userData": "export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI7MDENGbPxRfiCYEXAMPLEKEY"})],
    ),
    "sqs-encrypted": (
        [("aws:sqs/queue:Queue", {"kmsMasterKeyId": "alias/aws/sqs"})],
        [("aws:sqs/queue:Queue", {"kmsMasterKeyId": "", "sqsManagedSseEnabled": False})],
    ),
    "lifecycle-cleans-up": (
        [],
        [
            (
                "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
                {
                    "rules": [
                        {
                            "id": "r",
                            "status": "Disabled",
                            "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7},
                        }
                    ]
                },
            )
        ],
    ),
    "guardduty-on": (
        [("aws:guardduty/detector:Detector", {})],
        [("aws:guardduty/detector:Detector", {"enable": False})],
    ),
    "config-records-all": (
        [("aws:cfg/recorder:Recorder", {})],
        [("aws:cfg/recorder:Recorder", {"recordingGroup": {"allSupported": False}})],
    ),
    "redshift-encrypted": (
        [("aws:redshift/cluster:Cluster", {}), ("aws:redshift/cluster:Cluster", {"encrypted": "true"})],
        [
            ("aws:redshift/cluster:Cluster", {"encrypted": False}),
            ("aws:redshift/cluster:Cluster", {"encrypted": "False"}),
        ],
    ),
    "redshift-private": (
        [("aws:redshift/cluster:Cluster", {})],
        [("aws:redshift/cluster:Cluster", {"publiclyAccessible": True})],
    ),
    "cache-encrypted": (
        [("aws:elasticache/replicationGroup:ReplicationGroup", {"engine": "valkey"})],
        [("aws:elasticache/replicationGroup:ReplicationGroup", {"engine": "redis"})],
    ),
    "cache-tls": (
        [("aws:elasticache/replicationGroup:ReplicationGroup", {"engine": "valkey"})],
        [("aws:elasticache/replicationGroup:ReplicationGroup", {})],
    ),
    "rds-encrypted": (
        [("aws:rds/instance:Instance", {"replicateSourceDb": U})],
        [("aws:rds/instance:Instance", {})],
    ),
}


def of(kind: str, name: str, key: str, target: str, **props: Any) -> tuple[Any, ...]:
    """A resource whose input comes from another one, and is unknown before a deployment."""
    return (kind, name, {key: U, **props}, {key: (f"urn::{target}",)})


def prefixes(*ranges: str) -> tuple[Any, ...]:
    """A prefix list ``l``."""
    kind = "aws:ec2/managedPrefixList:ManagedPrefixList"
    return kind, "l", {"addressFamily": "IPv4", "maxEntries": 5, "entries": [{"cidr": text} for text in ranges]}


# The same, of controls some of which have pairs above, or in another file.
MORE: dict[str, tuple[list[Resource], list[Resource]]] = {
    "no-literal-password": (
        [
            ("aws:redshift/cluster:Cluster", {"masterPassword": U}),
            ("aws:redshift/cluster:Cluster", {"masterPassword": HIDDEN}),
            ("aws:redshift/cluster:Cluster", {"manageMasterPassword": True}),
            (DOCUMENTS, {"masterPassword": ""}),
            ("aws:mq/broker:Broker", {"users": [{"username": "a", "password": U}]}),
            (SEARCH, {"advancedSecurityOptions": {"enabled": True, "masterUserOptions": {"masterUserArn": "arn:x"}}}),
        ],
        [
            ("aws:redshift/cluster:Cluster", {"masterPassword": "hunter2"}),
            (DOCUMENTS, {"masterPassword": "hunter2"}),
            ("aws:mq/broker:Broker", {"users": [{"username": "a", "password": U}, {"password": "hunter2"}]}),
            (REPLICAS, {"authToken": "hunter2hunter2hunter2"}),
            ("aws:elasticache/user:User", {"passwords": [U, "hunter2"]}),
            (SEARCH, {"advancedSecurityOptions": {"masterUserOptions": {"masterUserPassword": "hunter2"}}}),
        ],
    ),
    "glue-no-secret-in-arguments": (
        [
            ("aws:glue/job:Job", {"defaultArguments": {"--job-language": "python", "--secret_arn": "arn:x"}}),
            ("aws:glue/job:Job", {"defaultArguments": {"--db_password": U}}),
            ("aws:glue/job:Job", {}),
        ],
        [
            ("aws:glue/job:Job", {"defaultArguments": {"--db_password": "hunter2"}}),
            ("aws:glue/job:Job", {"nonOverridableArguments": {"--url": "jdbc://u:hunter2@h"}}),
        ],
    ),
    "node-ssh-narrow": (
        [
            ("aws:eks/nodeGroup:NodeGroup", {}),
            ("aws:eks/nodeGroup:NodeGroup", {"remoteAccess": {"ec2SshKey": "k", "sourceSecurityGroupIds": [U]}}),
            ("aws:eks/nodeGroup:NodeGroup", {"remoteAccess": {"sourceSecurityGroupIds": [U]}}),
        ],
        [("aws:eks/nodeGroup:NodeGroup", {"remoteAccess": {"ec2SshKey": "k"}})],
    ),
    "cache-tls": (
        [
            (REPLICAS, {"transitEncryptionEnabled": True}),
            (REPLICAS, {"transitEncryptionEnabled": True, "transitEncryptionMode": "required"}),
            (REPLICAS, {"engine": "valkey"}),
            (CACHE, {"transitEncryptionEnabled": True}),
            (CACHE, {"replicationGroupId": U}),
        ],
        [
            (REPLICAS, {}),
            (REPLICAS, {"transitEncryptionEnabled": True, "transitEncryptionMode": "preferred"}),
            (CACHE, {"engine": "memcached"}),
        ],
    ),
    "s3-no-public-acl": (
        [("aws:s3/bucketObjectv2:BucketObjectv2", {"acl": "private"}), ("aws:s3/bucketObject:BucketObject", {})],
        [
            ("aws:s3/bucketObject:BucketObject", {"acl": "public-read"}),
            ("aws:s3/bucketObjectv2:BucketObjectv2", {"acl": "public-read-write"}),
            ("aws:s3/bucketAcl:BucketAcl", {"acl": "authenticated-read"}),
        ],
    ),
    "load-balancer-internal": (
        [(ALB, {"internal": True}), (ALB, {"loadBalancerType": "gateway"})],
        [(ALB, {}), (ALB, {"loadBalancerType": "network"})],
    ),
    "no-open-ingress": (
        [
            (INGRESS, {"ipProtocol": "icmp", "fromPort": 3, "toPort": 4, "cidrIpv4": "0.0.0.0/0"}),
            (INGRESS, {"ipProtocol": "icmpv6", "fromPort": 2, "toPort": 0, "cidrIpv6": "::/0"}),
            (INGRESS, {"ipProtocol": "icmp", "fromPort": 8, "toPort": 0, "cidrIpv4": "10.0.0.0/8"}),
        ],
        [
            (INGRESS, {"ipProtocol": "icmp", "fromPort": 8, "toPort": 0, "cidrIpv4": "0.0.0.0/0"}),
            (INGRESS, {"ipProtocol": "icmp", "fromPort": -1, "toPort": -1, "cidrIpv4": "0.0.0.0/0"}),
            (INGRESS, {"ipProtocol": "tcp", "fromPort": 3, "toPort": 3, "cidrIpv4": "0.0.0.0/0"}),
        ],
    ),
    "policy-not-public": (
        [
            (SEARCH, {"accessPolicies": EVERYBODY, "vpcOptions": {"subnetIds": [U]}}),
            (SEARCH, {"accessPolicies": ONE}),
            (REST, {"policy": EVERYBODY, "endpointConfiguration": {"types": "PRIVATE"}}),
        ],
        [
            (SEARCH, {"accessPolicies": EVERYBODY}),
            (REST, {"policy": EVERYBODY, "endpointConfiguration": {"types": "REGIONAL"}}),
        ],
    ),
    "rds-password-managed": (
        [
            ("aws:rds/instance:Instance", {"manageMasterUserPassword": True}),
            ("aws:rds/instance:Instance", {"replicateSourceDb": U}),
        ],
        [("aws:rds/instance:Instance", {"password": U})],
    ),
    "no-secret-in-user-data": (
        [
            (LAUNCH, {"userData": b64encode(b"#!/bin/sh\nyum update -y\n").decode()}),
            ("aws:ec2/instance:Instance", {"userData": "#!/bin/sh\nDB_PASSWORD=`aws ssm get-parameter`\n"}),
            ("aws:ec2/instance:Instance", {}),
        ],
        [
            (LAUNCH, {"userData": b64encode(b"#!/bin/sh\nexport DB_PASSWORD=hunter2\n").decode()}),
            ("aws:ec2/instance:Instance", {"userDataBase64": b64encode(b"DB_PASSWORD=hunter2\n").decode()}),
            ("aws:ec2/instance:Instance", {"userData": "docker run -e DB_PASSWORD=hunter2 app"}),
            ("aws:ec2/instance:Instance", {"userData": HIDDEN}),
        ],
    ),
}
GROUP, OLD_RULE = "aws:ec2/securityGroup:SecurityGroup", "aws:ec2/securityGroupRule:SecurityGroupRule"
ENTRY = "aws:ec2/managedPrefixListEntry:ManagedPrefixListEntry"
SSH = {"ipProtocol": "tcp", "fromPort": 22, "toPort": 22}
DEFAULT = "aws:ebs/encryptionByDefault:EncryptionByDefault"
# Control: a stack that passes, a stack that fails.
TOGETHER: dict[str, list[tuple[list[Any], list[Any]]]] = {
    "ecr-scanned": [
        (
            [
                ("aws:ecr/repository:Repository", "r", {}),
                ("aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration", "s", {"scanType": "BASIC"}),
            ],
            [("aws:ecr/repository:Repository", "r", {})],
        )
    ],
    "no-open-prefix-list": [
        (
            [prefixes("10.0.0.0/8", "203.0.113.0/24"), of(INGRESS, "r", "prefixListId", "l", **SSH)],
            [prefixes("10.0.0.0/8", "0.0.0.0/0"), of(INGRESS, "r", "prefixListId", "l", **SSH)],
        ),
        (
            [prefixes("0.0.0.0/0"), of(INGRESS, "r", "prefixListId", "l", **{**SSH, "fromPort": 443, "toPort": 443})],
            [prefixes("0.0.0.0/1", "128.0.0.0/1"), of(INGRESS, "r", "prefixListId", "l", ipProtocol="-1")],
        ),
        (
            [
                prefixes("0.0.0.0/0"),
                (GROUP, "g", {"ingress": [{"protocol": "tcp", "cidrBlocks": ["10.0.0.0/8"], "fromPort": 22}]}),
            ],
            [
                prefixes("0.0.0.0/0"),
                (
                    GROUP,
                    "g",
                    {"ingress": [{"protocol": "tcp", "prefixListIds": [U], "fromPort": 22, "toPort": 22}]},
                    {"ingress": ("urn::l",)},
                ),
            ],
        ),
        (
            [
                prefixes(),
                of(ENTRY, "e", "prefixListId", "l", cidr="::/0"),
                of(OLD_RULE, "r", "prefixListIds", "l", type="egress", protocol="-1", fromPort=0, toPort=0),
            ],
            [
                prefixes(),
                of(ENTRY, "e", "prefixListId", "l", cidr="::/0"),
                of(OLD_RULE, "r", "prefixListIds", "l", type="ingress", protocol="-1", fromPort=0, toPort=0),
            ],
        ),
    ],
    "listener-rule-tls": [
        (
            [
                (LISTENER, "l", {"protocol": "HTTPS"}),
                of(ROUTES, "r", "listenerArn", "l", actions=[{"type": "forward"}]),
            ],
            [(LISTENER, "l", {"protocol": "HTTP"}), of(ROUTES, "r", "listenerArn", "l", actions=[{"type": "forward"}])],
        ),
        (
            [
                (LISTENER, "l", {"protocol": "HTTP"}),
                of(ROUTES, "r", "listenerArn", "l", actions=[{"type": "redirect"}]),
            ],
            [(LISTENER, "l", {"protocol": "HTTP"}), of(ROUTES, "r", "listenerArn", "l", actions=[{"type": "forward"}])],
        ),
    ],
    "instance-metadata-v2": [
        (
            [
                (LAUNCH, "t", {"metadataOptions": {"httpTokens": "required"}}),
                of("aws:ec2/instance:Instance", "i", "launchTemplate", "t"),
            ],
            [
                (LAUNCH, "t", {"metadataOptions": {"httpTokens": "required"}}),
                of("aws:ec2/instance:Instance", "i", "launchTemplate", "t", metadataOptions={"httpTokens": "optional"}),
            ],
        ),
        (
            [("aws:ec2/instance:Instance", "i", {"metadataOptions": {"httpEndpoint": "disabled"}})],
            [("aws:ec2/instance:Instance", "i", {"metadataOptions": {"httpEndpoint": "enabled"}})],
        ),
        (
            [("aws:ec2/instance:Instance", "i", {}), (METADATA, "d", {"httpTokens": "required"})],
            [("aws:ec2/instance:Instance", "i", {}), (METADATA, "d", {"httpTokens": "optional"})],
        ),
    ],
    "api-authorized": [
        (
            [
                (REST, "api", {"endpointConfiguration": {"types": "PRIVATE"}}),
                of(METHOD, "m", "restApi", "api", authorization="NONE", httpMethod="GET"),
            ],
            [(REST, "api", {}), of(METHOD, "m", "restApi", "api", authorization="NONE", httpMethod="GET")],
        ),
        (
            [(API, "sockets", {"protocolType": "WEBSOCKET"}), of(ROUTE, "r", "apiId", "sockets", routeKey="$default")],
            [(API, "web", {"protocolType": "HTTP"}), of(ROUTE, "r", "apiId", "web", routeKey="$default")],
        ),
    ],
    "api-behind-firewall": [
        (
            [
                (STAGE, "s", {"stageName": "v1"}),
                of("aws:wafv2/webAclAssociation:WebAclAssociation", "w", "resourceArn", "s"),
            ],
            [(STAGE, "s", {"stageName": "v1"})],
        )
    ],
    "cdn-logged": [
        ([(WEB, "w", {"loggingConfig": {"bucket": U}})], [(WEB, "w", {})]),
        (
            [(WEB, "w", {}), of("aws:cloudwatch/logDeliverySource:LogDeliverySource", "l", "resourceArn", "w")],
            [(WEB, "w", {}), ("aws:cloudwatch/logDeliverySource:LogDeliverySource", "l", {"resourceArn": U})],
        ),
    ],
    "firewall-logged": [
        (
            [
                ("aws:wafv2/webAcl:WebAcl", "w", {}),
                of("aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration", "l", "resourceArn", "w"),
            ],
            [("aws:wafv2/webAcl:WebAcl", "w", {})],
        )
    ],
    "warehouse-audited": [
        (
            [
                ("aws:redshift/cluster:Cluster", "c", {"clusterIdentifier": "c"}),
                ("aws:redshift/logging:Logging", "l", {"clusterIdentifier": "c"}),
            ],
            [("aws:redshift/cluster:Cluster", "c", {"clusterIdentifier": "c"})],
        )
    ],
    "network-acl-closed": [
        (
            [
                (ACL, "a", {}),
                of(RULE, "no", "networkAclId", "a", **rule(ruleNumber=10, ruleAction="deny")[1]),
                of(RULE, "yes", "networkAclId", "a", **rule()[1]),
            ],
            [
                (ACL, "a", {}),
                of(RULE, "yes", "networkAclId", "a", **rule(ruleNumber=10)[1]),
                of(RULE, "no", "networkAclId", "a", **rule(ruleAction="deny")[1]),
            ],
        )
    ],
    "ebs-volume-encrypted": [
        (
            [("aws:ebs/volume:Volume", "v", {}), (DEFAULT, "d", {})],
            [("aws:ebs/volume:Volume", "v", {}), (DEFAULT, "d", {"enabled": False})],
        ),
        ([("aws:ebs/volume:Volume", "v", {"encrypted": True})], [("aws:ebs/volume:Volume", "v", {})]),
    ],
    "instance-volumes-encrypted": [
        (
            [("aws:ec2/instance:Instance", "i", {"ami": "a"}), (DEFAULT, "d", {"enabled": True})],
            [("aws:ec2/instance:Instance", "i", {"ami": "a"})],
        ),
        (
            [(CONFIGURATION, "c", {"rootBlockDevice": {"encrypted": True}})],
            [(CONFIGURATION, "c", {})],
        ),
        (
            [(LAUNCH, "t", {"imageId": "a", "blockDeviceMappings": [{"ebs": {"encrypted": "true"}}]})],
            [(LAUNCH, "t", {"imageId": "a"})],
        ),
    ],
    "secret-rotates": [
        (
            [
                ("aws:secretsmanager/secret:Secret", "s", {}),
                of(
                    "aws:secretsmanager/secretRotation:SecretRotation",
                    "r",
                    "secretId",
                    "s",
                    rotationRules={"automaticallyAfterDays": 90},
                ),
            ],
            [
                ("aws:secretsmanager/secret:Secret", "s", {}),
                of(
                    "aws:secretsmanager/secretRotation:SecretRotation",
                    "r",
                    "secretId",
                    "s",
                    rotationRules={"scheduleExpression": "rate(180 days)"},
                ),
            ],
        )
    ],
}


@pytest.fixture(autouse=True)
def in_a_review(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some facts only a review tells a pack."""
    monkeypatch.setenv(SWITCH, "1")


def judged(name: str, *resources: Any) -> list[str]:
    """What a control finds on resources that stand alone."""
    control = CONTROLS[name]
    items = [
        Item(kind, called, f"urn::{called}", unknown_checking_proxy(props), False, *more)
        for kind, called, props, *more in resources
    ]
    if control.stack_check:
        return [fault for _, fault in control.stack_check(Stack(items))]
    assert control.check is not None
    return [fault for item in items if item.type in control.types for fault in control.check(item.props)]


BOTH = [*PAIRS.items(), *MORE.items()]


@pytest.mark.parametrize(("name", "pair"), BOTH, ids=[name for name, _ in BOTH])
def test_a_control_passes_the_good_and_finds_the_bad(name: str, pair: tuple[list[Resource], list[Resource]]) -> None:
    good, bad = pair
    assert all(kind in CONTROLS[name].types for kind, _ in (*good, *bad))
    for kind, props in good:
        assert judged(name, (kind, "r", props)) == [], props
    for kind, props in bad:
        assert judged(name, (kind, "r", props)), props


@pytest.mark.parametrize("name", TOGETHER)
def test_a_control_looks_at_what_belongs_together(name: str) -> None:
    for good, bad in TOGETHER[name]:
        assert judged(name, *good) == [] and judged(name, *bad)


@pytest.mark.parametrize("sides", [pair for _, pair in BOTH], ids=[name for name, _ in BOTH])
def test_the_provider_has_the_inputs_of_a_pair(sides: tuple[list[Resource], list[Resource]]) -> None:
    for kind, props in (pair for side in sides for pair in side):
        assert [fault for fault in provider_types.faults(kind, props) if "is no property" in fault] == []


def test_the_types_of_every_control_are_ones_that_the_provider_has() -> None:
    for control in CONTROLS.values():
        for kind in control.types:
            if kind.startswith("aws:"):
                assert "is no property" in " ".join(provider_types.faults(kind, {"noSuchInput": 1})), kind


def test_containers_that_only_a_deployment_tells_are_undecided() -> None:
    for props in ({"containerDefinitions": U}, {"containerDefinitions": f'[{{"image": "{U}'}):
        with pytest.raises(UnknownValueError):
            judged("ecs-not-privileged", (ECS, "t", props))
