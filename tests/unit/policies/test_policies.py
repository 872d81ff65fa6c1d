"""Every control passes good resources and finds bad ones; the pack works like any other; waivers expire."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

from policies import coverage
from policies.catalogue import page
from policies.control import Control, Family, framework
from policies.controls import CONTROLS
from policies.frameworks import CHECKLIST, REQUIREMENTS
from policies.pack import waiver_faults
from policies.rules import benchmarks
from policies.settings import read_settings
from policies.stack import Item, Stack
from tests.unit.policies.test_services import MORE, PAIRS, TOGETHER

U = UNKNOWN_STRING_VALUE  # a value known only after deployment
TAGS = {"Project": "p", "Environment": "e", "Owner": "o"}
SETTINGS = [control for control in CONTROLS.values() if control.remedy]
PRESENT = [control for control in CONTROLS.values() if control.path and not control.remedy]


def document(action: Any, resource: Any = "*", effect: str = "Allow", **more: Any) -> str:
    return json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": action, "Resource": resource, **more}]}
    )


def trust(**statement: Any) -> dict[str, Any]:
    return {"assumeRolePolicy": document("sts:AssumeRole", None, **statement)}


def granted(*args: Any, **more: Any) -> dict[str, Any]:
    return {"policy": document(*args, **more)}


def pod(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "spec": {"template": {"spec": {"containers": [{"name": "c", **(container or {})}], **spec}}},
    }


def secured(**context: Any) -> dict[str, Any]:
    return pod({"securityContext": context})


def variants(**variant: Any) -> dict[str, Any]:
    return {"productionVariants": [{"variantName": "champion", **variant}]}


def encrypted_with(**default: Any) -> dict[str, Any]:
    return {"rules": [{"applyServerSideEncryptionByDefault": default}]}


def limited(**limits: str) -> dict[str, Any]:
    return pod({"resources": {"limits": limits}})


def redirect(**to: str) -> dict[str, Any]:
    return {"type": "redirect", "redirect": {"statusCode": "HTTP_301", **to}}


# Control: resources that pass, resources that fail.
RESOURCES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "kms-deletion-can-be-undone": ([{}, {"deletionWindowInDays": 30}], [{"deletionWindowInDays": 3}]),
    "s3-encrypted-with-own-key": (
        [encrypted_with(sseAlgorithm="aws:kms", kmsMasterKeyId=U)],
        [encrypted_with(sseAlgorithm="AES256"), encrypted_with(sseAlgorithm="aws:kms")],
    ),
    "dynamodb-encrypted-with-own-key": (
        [{"serverSideEncryption": {"enabled": True, "kmsKeyArn": U}}],
        [{}, {"serverSideEncryption": {"enabled": True}}],
    ),
    "instance-volumes-encrypted": (
        [
            {"ami": "a", "rootBlockDevice": {"encrypted": True}},
            {"blockDeviceMappings": [{"ebs": {"encrypted": "true"}}]},
        ],
        [
            {"ami": "a"},
            {"ami": "a", "rootBlockDevice": {"encrypted": True}, "ebsBlockDevices": [{}]},
            {"blockDeviceMappings": [{"ebs": {}}]},
        ],
    ),
    "sqs-encrypted": ([{"kmsMasterKeyId": U}, {}], [{"sqsManagedSseEnabled": False}]),
    "ecr-own-key": (
        [{"encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": U}]}],
        [{}, {"encryptionConfigurations": [{"encryptionType": "KMS"}]}],
    ),
    "endpoint-own-key": (
        [
            {"kmsKeyArn": U, **variants(instanceType="ml.m5.large")},
            variants(instanceType="ml.g5.xlarge"),
            variants(serverlessConfig={}),
        ],
        [variants(instanceType="ml.m5.large")],
    ),
    "athena-results-encrypted": (
        [
            {
                "configuration": {
                    "resultConfiguration": {"encryptionConfiguration": {"encryptionOption": "SSE_KMS", "kmsKeyArn": U}}
                }
            }
        ],
        [
            {},
            {
                "configuration": {
                    "enforceWorkgroupConfiguration": False,
                    "resultConfiguration": {"encryptionConfiguration": {"encryptionOption": "SSE_KMS"}},
                }
            },
        ],
    ),
    "feature-store-encrypted": (
        [{"onlineStoreConfig": {"securityConfig": {"kmsKeyId": U}}}],
        [{"onlineStoreConfig": {}}, {"offlineStoreConfig": {"s3StorageConfig": {"s3Uri": U}}}],
    ),
    "msk-tls-only": (
        [{}, {"encryptionInfo": {"encryptionInTransit": {"clientBroker": "TLS", "inCluster": True}}}],
        [
            {"encryptionInfo": {"encryptionInTransit": {"clientBroker": "TLS_PLAINTEXT"}}},
            {"encryptionInfo": {"encryptionInTransit": {"inCluster": False}}},
        ],
    ),
    "listener-tls": (
        [
            {"protocol": "HTTPS", "sslPolicy": "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"},
            {"protocol": "TLS", "sslPolicy": "ELBSecurityPolicy-FS-1-2-Res-2020-10"},
            {"protocol": "HTTP", "defaultActions": [redirect(protocol="HTTPS")]},
            {"protocol": "TCP", "port": 443, "defaultActions": [{"type": "forward"}]},
            {"protocol": "UDP", "port": 53},
            {"defaultActions": [{"type": "forward"}]},  # of a gateway load balancer
        ],
        [
            {"protocol": "HTTP", "defaultActions": [{"type": "forward"}]},
            {"port": 80, "defaultActions": [{"type": "forward"}]},
            {"protocol": "HTTP", "defaultActions": [redirect(port="8443")]},
            {"protocol": "HTTP", "defaultActions": [redirect(protocol="#{protocol}")]},
            {"protocol": "HTTPS"},
            {"protocol": "HTTPS", "sslPolicy": "ELBSecurityPolicy-TLS13-1-1-2021-06"},
            {"protocol": "TLS", "sslPolicy": "ELBSecurityPolicy-FS-2018-06"},
        ],
    ),
    "cdn-https": (
        [{"defaultCacheBehavior": {"viewerProtocolPolicy": "https-only"}}],
        [{"defaultCacheBehavior": {"viewerProtocolPolicy": "allow-all"}}],
    ),
    "cache-tls": ([{"transitEncryptionEnabled": True}], [{}, {"transitEncryptionEnabled": False}]),
    "postgres-forces-tls": (
        [
            {"family": "postgres14", "parameters": [{"name": "rds.force_ssl", "value": "1"}]},
            {"family": "mysql8.0"},
            {"family": "postgres15"},  # from here on it is AWS's default
            {"family": "postgres17"},
            {"family": "aurora-postgresql17"},
        ],
        [
            {"family": "postgres14"},
            {"family": "postgres9.6"},
            {"family": "aurora-postgresql15"},
            {"family": "postgres17", "parameters": [{"name": "rds.force_ssl", "value": "0"}]},
        ],
    ),
    "rds-private": ([{}, {"publiclyAccessible": False}], [{"publiclyAccessible": True}]),
    "s3-no-public-access": (
        [dict.fromkeys(("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True)],
        [{}, {"blockPublicAcls": True}],
    ),
    "s3-no-public-acl": ([{}, {"acl": "private"}], [{"acl": "public-read"}, {"acl": "authenticated-read"}]),
    "policy-not-public": (
        [
            granted("s3:*", effect="Deny", Principal="*"),
            granted("s3:Get", Principal={"AWS": "*"}, Condition={"StringEquals": {"aws:SourceAccount": "1"}}),
            {},
        ],
        [
            granted("s3:GetObject", Principal="*"),
            granted("sns:Publish", Principal={"AWS": ["*"]}),
            granted("s3:GetObject", Principal="*", Condition={"Bool": {"aws:SecureTransport": "true"}}),
        ],
    ),
    "web-ingress-intended": (
        [
            {"cidrIpv4": "0.0.0.0/0", "ipProtocol": "tcp", "fromPort": 22, "toPort": 22},
            {"cidrIpv4": "10.0.0.0/8", "ipProtocol": "tcp", "fromPort": 443, "toPort": 443},
        ],
        [
            {"cidrIpv4": "0.0.0.0/0", "ipProtocol": "tcp", "fromPort": 443, "toPort": 443},
            {"ingress": [{"cidrBlocks": ["::/0"], "protocol": "6", "fromPort": 80, "toPort": 80}]},
        ],
    ),
    "no-open-ingress": (
        [
            {"cidrIpv4": "10.0.0.0/8"},
            {"referencedSecurityGroupId": U},
            {"type": "egress", "cidrBlocks": ["0.0.0.0/0"]},
            {"egress": [{"cidrBlocks": ["0.0.0.0/0"]}]},
        ],
        [
            {"cidrIpv4": "0.0.0.0/0"},
            {"cidrIpv6": "::/0"},
            {"ingress": [{"cidrBlocks": ["0.0.0.0/0"]}]},
            {"type": "ingress", "cidrBlocks": ["0.0.0.0/0"]},
        ],
    ),
    "default-group-closed": (
        [{"vpcId": U}, {"ingress": []}],
        [{"ingress": [{"protocol": "-1"}]}, {"egress": [{"protocol": "-1"}]}],
    ),
    "instance-no-public-ip": ([{}], [{"associatePublicIpAddress": True}]),
    "subnet-no-public-ip": ([{"vpcId": U}], [{"mapPublicIpOnLaunch": True}]),
    "instance-metadata-v2": (
        [{"metadataOptions": {"httpTokens": "required"}}],
        [{}, {"metadataOptions": {"httpTokens": "optional"}}],
    ),
    "msk-not-public": (
        [{}],
        [{"brokerNodeGroupInfo": {"connectivityInfo": {"publicAccess": {"type": "SERVICE_PROVIDED_EIPS"}}}}],
    ),
    "function-url-authenticated": ([{"authorizationType": "AWS_IAM"}], [{"authorizationType": "NONE"}]),
    "load-balancer-internal": ([{"internal": True}], [{}, {"internal": False}]),
    "iam-no-wildcards": (
        [
            granted("s3:*", "arn:aws:s3:::b"),
            granted("*", effect="Deny"),
            {"policy": {"Statement": [{"Effect": "Allow", "Action": ["kms:*"], "Resource": [U]}]}},
        ],
        [
            granted("*"),
            granted(["s3:Get", "kms:*"], ["*"]),
            granted("s3:*", "arn:aws:*"),
            {"inlinePolicies": [{"name": "i", "policy": document("s3:*", "*")}]},
            {"policy": {"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": [U, "*"]}]}},
        ],
    ),
    "iam-no-star-action": (
        [granted("s3:*", "b")],
        [
            granted("*", "arn:aws:s3:::b"),
            {"policy": {"Statement": {"Effect": "Allow", "NotAction": "iam:*", "Resource": U}}},
        ],
    ),
    "iam-passrole-limited": (
        [granted("iam:PassRole", "arn:aws:iam::1:role/x")],
        [granted("iam:PassRole"), granted(["iam:*"]), granted("iam:PassRole", "arn:aws:iam::*:role/*")],
    ),
    "iam-cant-widen-itself": (
        [granted("iam:PutRolePolicy", "arn:aws:iam::1:role/x"), granted("iam:GetRole")],
        [
            granted("iam:PutRolePolicy"),
            granted(["s3:Get", "iam:CreateAccessKey"]),
            granted("iam:PutRolePolicy", "arn:aws:iam::123456789012:role/*"),
        ],
    ),
    "iam-no-administrator": (
        [{"policyArn": U + "x"}, {"policyArn": "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy"}],
        [
            {"policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"},
            {"managedPolicyArns": ["arn:aws:iam::aws:policy/PowerUserAccess"]},
        ],
    ),
    "iam-trust-named": (
        [
            trust(Principal={"Service": "ec2.amazonaws.com"}),
            trust(Principal={"AWS": "*"}, Condition={"StringEquals": {"aws:PrincipalOrgID": "o"}}),
        ],
        [trust(Principal="*")],
    ),
    "iam-no-confused-deputy": (
        [
            trust(
                Principal={"Service": "sagemaker.amazonaws.com"}, Condition={"StringEquals": {"aws:SourceAccount": "1"}}
            ),
            trust(Principal={"Service": "ec2.amazonaws.com"}),
        ],
        [
            trust(Principal={"Service": "sagemaker.amazonaws.com"}),
            trust(Principal={"Service": ["ec2.amazonaws.com", "scheduler.amazonaws.com"]}),
        ],
    ),
    "iam-assumed-roles-named": (
        [
            granted("sts:AssumeRole", "arn:aws:iam::123456789012:role/deploy"),
            granted("sts:AssumeRole", U),
            granted("sts:AssumeRole", "arn:aws:iam::*:role/cdk-deploy-*"),
            granted("*"),  # other controls' matter
        ],
        [
            granted("sts:AssumeRole"),
            granted("sts:Assume*", ["arn:aws:iam::*:role/*"]),
            granted("STS:assumerole", "arn:aws:iam::123456789012:role/*"),
        ],
    ),
    "iam-data-named": (
        [
            granted("s3:GetObject", "arn:aws:s3:::app/*"),
            granted("s3:GetObject", "arn:aws:s3:::app-*/*"),
            granted("dynamodb:Query", "arn:aws:dynamodb:eu-west-1:123456789012:table/orders"),
            granted("s3:ListAllMyBuckets"),
            granted("s3:GetObject", Condition={"StringEquals": {"aws:ResourceTag/team": "a"}}),
        ],
        [
            granted("s3:GetObject"),
            granted("s3:Get*", "arn:aws:s3:::*/*"),
            granted("dynamodb:Scan", "arn:aws:dynamodb:eu-west-1:123456789012:table/*"),
            granted(["s3:ListBucket", "dynamodb:BatchGetItem"]),
        ],
    ),
    "iam-secrets-named": (
        [
            granted("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app/*"),
            granted("ssm:GetParameter", "arn:aws:ssm:eu-west-1:123456789012:parameter/app/*"),
            granted("kms:Decrypt", "arn:aws:kms:eu-west-1:123456789012:key/*"),
            granted("kms:Decrypt", Condition={"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}}),
            granted("secretsmanager:GetSecretValue", Condition={"StringEquals": {"aws:ResourceTag/team": "a"}}),
            granted("secretsmanager:ListSecrets"),
        ],
        [
            granted("kms:Decrypt", "arn:aws:kms:*:123456789012:key/*"),
            granted("kms:ReEncryptFrom"),
            granted("ssm:GetParametersByPath", "arn:aws:ssm:eu-west-1:123456789012:parameter/*"),
            granted("secretsmanager:GetSecretValue"),
            granted("secretsmanager:Get*", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:*"),
            granted(["s3:ListAllMyBuckets", "ssm:GetParam*"]),
            granted("kms:*", "arn:aws:kms:*:*:key/*"),
        ],
    ),
    "iam-people-use-mfa": (
        [
            trust(
                Principal={"AWS": "arn:aws:iam::123456789012:root"},
                Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}},
            ),
            trust(Principal={"AWS": "arn:aws:iam::1:role/x"}),
        ],
        [trust(Principal={"AWS": "arn:aws:iam::123456789012:root"})],
    ),
    "iam-federation-narrow": (
        [
            {
                "assumeRolePolicy": document(
                    "sts:AssumeRoleWithWebIdentity",
                    None,
                    Principal={"Federated": "p"},
                    Condition={"StringLike": {"t:sub": "repo:me/it:*"}},
                )
            }
        ],
        [
            {
                "assumeRolePolicy": document(
                    "sts:AssumeRoleWithWebIdentity", None, Principal={"Federated": "p"}, Condition=condition
                )
            }
            for condition in ({}, {"StringLike": {"t:sub": "*"}}, {"StringLike": {"t:sub": "repo:*/*:*"}})
        ],
    ),
    "iam-no-access-keys": ([], [{}]),
    "iam-no-users": ([], [{}]),
    "iam-groups-not-users": ([], [{}]),
    "iam-session-ends": ([{}, {"maxSessionDuration": 3600}], [{"maxSessionDuration": 50_000}]),
    "eks-no-cluster-admin": (
        [
            {
                "policyArn": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy",
                "accessScope": {"type": "cluster"},
            }
        ],
        [
            {
                "policyArn": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
                "accessScope": {"type": "cluster"},
            }
        ],
    ),
    "kms-use-is-separate": (
        [granted("kms:Decrypt", "k")],
        [granted(["kms:Decrypt", "kms:ScheduleKeyDeletion"], "k"), granted("kms:*", "k")],
    ),
    "iam-document-valid": (
        [granted("s3:Get")],
        [
            {"policy": "{not json"},
            {"policy": json.dumps({"Version": "2008-10-17", "Statement": [{"Effect": "Allow"}]})},
            {"assumeRolePolicy": "{}"},
        ],
    ),
    "no-secret-in-environment": (
        [
            {
                "environment": {
                    "variables": {
                        "TOKEN": U,
                        "SECRET_ARN": "arn:x",
                        "DB_PASSWORD_FILE": "/x",
                        "MODE": "fast",
                        "TOKENIZERS_PARALLELISM": "no",
                        "MAX_TOKENS": "4096",
                        "USE_TOKEN": "true",
                    }
                }
            },
            {
                "environment": {
                    "computeType": "S",
                    "environmentVariables": [{"name": "TOKEN", "value": "/p", "type": "PARAMETER_STORE"}],
                }
            },
        ],
        [
            {"environment": {"variables": {"DB_PASSWORD": "hunter2"}}},
            {"primaryContainer": {"environment": {"X": "AKIAABCDEFGHIJKLMNOP"}}},
            {"environment": {"environmentVariables": [{"name": "API_KEY", "value": "abc"}]}},
            {"environment": {"variables": {"DB_PASS": "hunter2"}}},
            {"environment": {"variables": {"DATABASE_URL": "postgres://app:hunter2@host/db"}}},
        ],
    ),
    "no-secret-in-user-data": (
        [{}, {"userData": "#!/bin/sh\nMODE=fast"}],
        [{"userData": "export DB_PASSWORD=hunter2"}, {"userData": "-----BEGIN RSA PRIVATE KEY-----"}],
    ),
    "secret-not-in-program": ([{"secretId": U}, {"secretString": U}], [{"secretString": "hunter2"}]),
    "parameter-secure": (
        [{"name": "/a/mode", "type": "String"}, {"name": "/a/password", "type": "SecureString"}],
        [{"name": "/a/password", "type": "String"}],
    ),
    "secret-can-be-restored": ([{}, {"recoveryWindowInDays": 30}], [{"recoveryWindowInDays": 0}]),
    "trail-not-switched-off": ([{}], [{"enableLogging": False}]),
    "trail-records-data": ([{"eventSelectors": [{}]}, {"advancedEventSelectors": [{}]}], [{}]),
    "logs-kept": ([{"retentionInDays": 30}], [{}, {"retentionInDays": 0}]),
    "logs-kept-a-year": ([{"retentionInDays": 365}, {}], [{"retentionInDays": 30}]),
    "eks-control-plane-logs": (
        [{"enabledClusterLogTypes": ["api", "audit", "authenticator"]}],
        [{}, {"enabledClusterLogTypes": ["api"]}],
    ),
    "msk-broker-logs": (
        [{"loggingInfo": {"brokerLogs": {"s3": {"enabled": True}}}}],
        [{}, {"loggingInfo": {"brokerLogs": {"s3": {"enabled": False}}}}],
    ),
    "rds-log-exports": ([{"enabledCloudwatchLogsExports": ["postgresql"]}], [{}]),
    "api-logged": ([{"accessLogSettings": {"destinationArn": U}}], [{}]),
    "rds-backed-up": ([{"backupRetentionPeriod": 14}], [{}, {"backupRetentionPeriod": 1}]),
    "rds-final-snapshot": ([{"skipFinalSnapshot": False}], [{"skipFinalSnapshot": True}]),
    "msk-three-copies": ([{"numberOfBrokerNodes": 3}], [{"numberOfBrokerNodes": 1}]),
    "nodes-in-zones": ([{"subnetIds": [U, U]}, {"subnetIds": U}][:1], [{"subnetIds": [U]}]),
    "endpoint-two-instances": (
        [
            variants(initialInstanceCount=2),
            variants(serverlessConfig={}),
            variants(initialInstanceCount=1, initialVariantWeight=0),
        ],
        [variants(initialInstanceCount=1)],
    ),
    "lifecycle-cleans-up": (
        [{"rules": [{"abortIncompleteMultipartUpload": {"daysAfterInitiation": 7}}]}],
        [{"rules": [{}]}, {}],
    ),
    "dynamodb-expires": ([{"ttl": {"enabled": True}}], [{}]),
    "dynamodb-replicas-in-law": (
        [{"replicas": [{"regionName": "eu-west-1"}]}, {"replicas": [{"regionName": "us-west-2"}]}],
        [{"replicas": [{"regionName": "eu-west-1"}, {"regionName": "us-east-1"}]}],
    ),
    "backups-expire": ([{"rules": [{"lifecycle": {"deleteAfter": 30}}]}], [{"rules": [{"ruleName": "daily"}]}]),
    "tagged": (
        [{"tags": TAGS}, {"tags": {**TAGS, "Owner": U + "x"}}],
        [{}, {"tags": {"Project": "p"}}, {"tags": {**TAGS, "Owner": ""}}],
    ),
    "budget-alerts": (
        [{"notifications": [{"subscriberSnsTopicArns": U}]}],
        [{}, {"notifications": [{"threshold": 80}]}],
    ),
    "instance-size-allowed": (
        [{"instanceType": "ml.g5.2xlarge"}, {"instanceClass": "db.m6g.large"}, {"instanceTypes": ["m5.large"]}],
        [{"instanceType": "p5.48xlarge"}, variants(instanceType="ml.m5.24xlarge")],
    ),
    "instance-not-outdated": (
        [{"instanceType": "m7i.large"}, {"instanceClass": "db.t4g.small"}],
        [{"instanceType": "m4.large"}, {"instanceClass": "db.t2.small"}],
    ),
    "nodepool-limited": ([{"spec": {"limits": {"cpu": "64"}}}], [{"spec": {}}]),
    "athena-scan-limited": ([{"configuration": {"bytesScannedCutoffPerQuery": 10**9}}], [{}]),
    "volume-gp3": ([{"type": "gp3"}, {}], [{"type": "gp2"}, {"rootBlockDevice": {"volumeType": "gp2"}}]),
    "studio-stops-when-idle": (
        [
            {
                "defaultUserSettings": {
                    "jupyterLabAppSettings": {
                        "appLifecycleManagement": {"idleSettings": {"lifecycleManagement": "ENABLED"}}
                    }
                }
            }
        ],
        [{}],
    ),
    "endpoint-captures": (
        [{"dataCaptureConfig": {"enableCapture": True, "destinationS3Uri": U}}, variants(serverlessConfig={})],
        [{}, {"dataCaptureConfig": {"enableCapture": False}}],
    ),
    "capture-own-key": (
        [{"dataCaptureConfig": {"enableCapture": True, "kmsKeyId": U}}, {}],
        [{"dataCaptureConfig": {"enableCapture": True}}],
    ),
    "model-isolated": ([{"vpcConfig": {"subnets": U}}, {"enableNetworkIsolation": True}], [{}]),
    "training-isolated": (
        [
            {
                "pipelineDefinition": json.dumps(
                    {
                        "Steps": [
                            {"Type": "Processing", "Arguments": {"NetworkConfig": {"VpcConfig": {"Subnets": ["s"]}}}},
                            {"Type": "Condition"},
                        ]
                    }
                )
            }
        ],
        [
            {"pipelineDefinition": json.dumps({"Steps": [{"Name": "train", "Type": "Training", "Arguments": {}}]})},
            *(
                {
                    "pipelineDefinition": json.dumps(
                        {
                            "Steps": [
                                {
                                    "Name": "good",
                                    "Type": "Condition",
                                    "Arguments": {
                                        branch: [{"Name": "register", "Type": "Processing", "Arguments": {}}]
                                    },
                                }
                            ]
                        }
                    )
                }
                for branch in ("IfSteps", "ElseSteps")
            ),
        ],
    ),
    "schema-compatible": ([{"compatibility": "BACKWARD"}], [{}, {"compatibility": "NONE"}]),
    "model-approved": (
        [
            {"primaryContainer": {"image": U}},
            {"primaryContainer": {"modelDataUrl": "s3://b/m/current/model.tar.gz"}},
            {
                "primaryContainer": {"modelDataUrl": "s3://b/v1"},
                "tags": {"ApprovedByDataScience": "a", "ApprovedByOperations": "b"},
            },
        ],
        [
            {"primaryContainer": {"modelDataUrl": "s3://b/v1"}},
            {
                "primaryContainer": {"modelDataUrl": "s3://b/v1"},
                "tags": {"ApprovedByDataScience": "a", "ApprovedByOperations": "a"},
            },
        ],
    ),
    "k8s-no-privileged": ([pod()], [secured(privileged=True)]),
    "k8s-no-escalation": ([secured(allowPrivilegeEscalation=False)], [pod(), secured(allowPrivilegeEscalation=True)]),
    "k8s-not-root": (
        [secured(runAsNonRoot=True), pod(securityContext={"runAsNonRoot": True})],
        [pod(), secured(runAsNonRoot=True, runAsUser=0)],
    ),
    "k8s-read-only": ([secured(readOnlyRootFilesystem=True)], [pod()]),
    "k8s-capabilities-dropped": (
        [secured(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})],
        [pod(), secured(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]})],
    ),
    "k8s-seccomp": (
        [pod(securityContext={"seccompProfile": {"type": "RuntimeDefault"}})],
        [pod(), secured(seccompProfile={"type": "Unconfined"})],
    ),
    "k8s-limits": ([limited(cpu="1", memory="1Gi")], [pod(), limited(cpu="1")]),
    "k8s-image-fixed": (
        [pod({"image": "x/y:1.2"}), pod({"image": "x@sha256:0"}), pod()],
        [pod({"image": "x/y"}), pod({"image": "host:5000/y"}), pod({"image": "y:latest"})],
    ),
    "k8s-image-from-our-registry": (
        [
            pod({"image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a:1"}),
            {"kind": "InferenceService", "spec": {"predictor": {"triton": {"image": "nvcr.io/nvidia/t:1"}}}},
        ],
        [
            pod({"image": "docker.io/library/nginx:1"}),
            {"kind": "InferenceService", "spec": {"predictor": {"triton": {"image": "t:1"}}}},
        ],
    ),
    "k8s-no-host": (
        [pod(volumes=[{"name": "t", "emptyDir": {}}])],
        [pod(hostNetwork=True), pod(volumes=[{"name": "t", "hostPath": {"path": "/"}}])],
    ),
    "k8s-no-token": (
        [pod(automountServiceAccountToken=False), pod(serviceAccountName="mlflow")],
        [pod(), pod(serviceAccountName="default")],
    ),
    "k8s-probed": ([pod(), pod({"ports": [{}], "readinessProbe": {}})], [pod({"ports": [{}]})]),
    "k8s-no-secret-in-environment": (
        [
            pod(
                {
                    "env": [
                        {"name": "TOKEN", "valueFrom": {}},
                        {"name": "SECRET_ARN", "value": "arn:aws:x"},
                        {"name": "PASSWORD", "value": U},
                        {"name": "OPENAI_API_KEY", "value": "not-needed"},
                        {"name": "API_TOKEN", "value": "none"},
                    ]
                }
            )
        ],
        [pod({"env": [{"name": "PASSWORD", "value": "hunter2"}]})],
    ),
    "k8s-no-secret-object": ([{"data": {}}], [{"stringData": {"a": "b"}}]),
    "k8s-pod-security": (
        [{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}],
        [{}, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}],
    ),
    "k8s-service-internal": (
        [
            {"spec": {"type": "ClusterIP"}},
            {
                "spec": {"type": "LoadBalancer"},
                "metadata": {"annotations": {"service.beta.kubernetes.io/aws-load-balancer-internal": "true"}},
            },
        ],
        [{"spec": {"type": "LoadBalancer"}}],
    ),
    "k8s-rbac-narrow": (
        [{"rules": [{"verbs": ["get"], "resources": ["pods"]}]}],
        [{"rules": [{"verbs": ["*"], "resources": ["pods"]}]}, {"rules": [{"verbs": ["get"], "resources": ["*"]}]}],
    ),
    "k8s-no-cluster-admin": ([{"roleRef": {"name": "view"}}], [{"roleRef": {"name": "cluster-admin"}}]),
}

PLAIN = {"Bool": {"aws:SecureTransport": "false"}}
BUCKET, VPC = ("aws:s3/bucket:Bucket", "data", {"bucket": "b"}), ("aws:ec2/vpc:Vpc", "vpc", {})


TRAIL = ("aws:cloudtrail/trail:Trail", "t", {"s3BucketName": "b"})


def lock(mode: str, bucket: str = "b") -> tuple[str, str, dict[str, Any]]:
    kind = "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"
    return (kind, f"lock-{bucket}", {"bucket": bucket, "rule": {"defaultRetention": {"mode": mode}}})


def of(companion: str, called: str, key: str, target: str, **props: Any) -> tuple[Any, ...]:
    """A resource whose input comes from another one, and is unknown before a deployment."""
    return (companion, called, {key: U, **props}, False, {key: (f"urn::{target}",)})


ENDPOINT, TOPIC = (
    ("aws:sagemaker/endpoint:Endpoint", "e", {"name": "ep"}),
    (
        "aws:msk/topic:Topic",
        "t",
        {"name": "events"},
    ),
)
NAMESPACE = ("kubernetes:core/v1:Namespace", "n", {"metadata": {"name": "n"}})
CANARY = {
    "deploymentConfig": {
        "blueGreenUpdatePolicy": {"trafficRoutingConfiguration": {"type": "CANARY", "canarySize": {"value": 5}}},
        "autoRollbackConfiguration": {"alarms": [{"alarmName": U}]},
    }
}
CONFIG = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"


def gpu_pool(name: str, kind: str) -> tuple[str, str, dict[str, Any]]:
    requirements = [{"key": "karpenter.sh/capacity-type", "values": [kind]}]
    return (
        "kubernetes:karpenter.sh/v1:NodePool",
        name,
        {"spec": {"template": {"spec": {"taints": [{"key": "nvidia.com/gpu"}], "requirements": requirements}}}},
    )


def deny_all(**more: Any) -> tuple[str, str, dict[str, Any]]:
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], **more}
    return (
        "kubernetes:networking.k8s.io/v1:NetworkPolicy",
        "d",
        {"metadata": {"name": "d", "namespace": "n"}, "spec": spec},
    )


OWN_IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/p/platform:1"
OWN_WORKLOAD = ("kubernetes:apps/v1:Deployment", "d", pod({"image": OWN_IMAGE}))
SIGNED = (
    "kubernetes:policy.sigstore.dev/v1beta1:ClusterImagePolicy",
    "p",
    {
        "spec": {
            "images": [{"glob": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/p/**"}],
            "authorities": [{"key": {"kms": U}}],
        }
    },
)


# Control: a stack that passes, a stack that fails.
STACKS: dict[str, tuple[list[Any], list[Any]]] = {
    "s3-tls-only": (
        [
            BUCKET,
            (
                "aws:s3/bucketPolicy:BucketPolicy",
                "p",
                {"bucket": "b", **granted("s3:*", effect="Deny", Principal="*", Condition=PLAIN)},
            ),
        ],
        [BUCKET, ("aws:s3/bucketPolicy:BucketPolicy", "p", {"bucket": "b", **granted("s3:*", effect="Deny")})],
    ),
    "s3-key-named": (
        [
            BUCKET,
            of(
                "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
                "e",
                "bucket",
                "data",
            ),
        ],
        [BUCKET],
    ),
    "s3-public-access-block": (
        [BUCKET, of("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "b", "bucket", "data")],
        [BUCKET, ("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "data", {"bucket": U})],
    ),
    "default-group-taken-over": (
        [VPC, of("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "d", "vpcId", "vpc")],
        [VPC, ("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "d", {})],
    ),
    "secret-rotates": (
        [
            ("aws:secretsmanager/secret:Secret", "s", {}),
            of("aws:secretsmanager/secretRotation:SecretRotation", "r", "secretId", "s"),
        ],
        [("aws:secretsmanager/secret:Secret", "s", {}), ("aws:secretsmanager/secretRotation:SecretRotation", "s", {})],
    ),
    "trail-present": ([BUCKET, ("aws:cloudtrail/trail:Trail", "t", {})], [BUCKET]),
    "vpc-flow-logged": (
        [VPC, of("aws:ec2/flowLog:FlowLog", "f", "vpcId", "vpc")],
        [VPC, ("aws:ec2/vpc:Vpc", "other", {}), of("aws:ec2/flowLog:FlowLog", "f", "vpcId", "other")],
    ),
    "s3-versioned": (
        [
            BUCKET,
            (
                "aws:s3/bucketVersioning:BucketVersioning",
                "v",
                {"bucket": "b", "versioningConfiguration": {"status": "Enabled"}},
            ),
        ],
        [
            BUCKET,
            (
                "aws:s3/bucketVersioning:BucketVersioning",
                "v",
                {"bucket": "b", "versioningConfiguration": {"status": "Suspended"}},
            ),
        ],
    ),
    "backup-plan-present": (
        [
            ("aws:rds/instance:Instance", "d", {}),
            of("aws:backup/selection:Selection", "s", "resources", "d"),
            ("aws:dynamodb/table:Table", "t", {"tags": {"Backup": "daily"}}),
            (
                "aws:backup/selection:Selection",
                "by-tag",
                {"selectionTags": [{"type": "STRINGEQUALS", "key": "Backup", "value": "daily"}]},
            ),
        ],
        [
            ("aws:rds/instance:Instance", "d", {}),
            ("aws:backup/plan:Plan", "p", {}),
            ("aws:backup/selection:Selection", "s", {"selectionTags": [{"key": "Backup", "value": "daily"}]}),
        ],
    ),
    "data-protected": ([(*BUCKET, True)], [BUCKET]),
    "audit-log-locked": (
        [
            BUCKET,
            ("aws:cloudtrail/trail:Trail", "t", {"s3BucketName": "b"}),
            (
                "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
                "l",
                {"bucket": "b", "rule": {"defaultRetention": {"mode": "GOVERNANCE"}}},
            ),
        ],
        [BUCKET, ("aws:cloudtrail/trail:Trail", "t", {"s3BucketName": "b"})],
    ),
    "audit-lock-compliance": (
        [BUCKET, TRAIL, lock("COMPLIANCE"), ("aws:s3/bucket:Bucket", "raw", {"bucket": "r"}), lock("GOVERNANCE", "r")],
        [BUCKET, TRAIL, lock("GOVERNANCE")],
    ),
    "s3-lifecycle": (
        [BUCKET, ("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "l", {"bucket": "b"})],
        [BUCKET],
    ),
    "resources-in-one-law": (
        [
            ("aws:s3/bucket:Bucket", "a", {"region": "eu-west-1"}),
            ("aws:s3/bucket:Bucket", "b", {"region": "eu-central-1"}),
        ],
        [
            ("aws:s3/bucket:Bucket", "a", {"region": "eu-west-1"}),
            ("aws:s3/bucket:Bucket", "b", {"region": "us-east-1"}),
        ],
    ),
    "budget-present": ([BUCKET, ("aws:budgets/budget:Budget", "b", {})], [BUCKET]),
    "no-idle-accelerator": (
        [
            ("aws:ec2/instance:Instance", "i", {"instanceType": "m5.large"}),
            ("aws:ec2/instance:Instance", "j", {"instanceType": "p5.48xlarge", "tags": {"Environment": "prod"}}),
            ("aws:eks/nodeGroup:NodeGroup", "k", {"instanceTypes": ["g5.xlarge"], "scalingConfig": {"minSize": 0}}),
        ],
        [("aws:ec2/instance:Instance", "i", {"instanceType": "g5.xlarge", "tags": {"Environment": "dev"}})],
    ),
    "spot-with-fallback": ([gpu_pool("a", "spot"), gpu_pool("b", "on-demand")], [gpu_pool("a", "spot")]),
    "endpoint-scales": (
        [
            (CONFIG, "c", variants(instanceType="ml.m5.large")),
            of("aws:sagemaker/endpoint:Endpoint", "e", "endpointConfigName", "c", name="ep"),
            ("aws:appautoscaling/target:Target", "t", {"resourceId": "endpoint/ep/variant/champion"}),
            (CONFIG, "s", variants(serverlessConfig={})),
        ],
        [
            (CONFIG, "c", variants(instanceType="ml.m5.large")),
            ("aws:appautoscaling/target:Target", "t", {"serviceNamespace": "sagemaker"}),
        ],
    ),
    "endpoint-canary": (
        [
            (*ENDPOINT[:2], CANARY),
            of("aws:sagemaker/endpoint:Endpoint", "s", "endpointConfigName", "c"),
            (CONFIG, "c", variants(serverlessConfig={})),
        ],
        [ENDPOINT],
    ),
    "endpoint-alarmed": (
        [ENDPOINT, ("aws:cloudwatch/metricAlarm:MetricAlarm", "a", {"dimensions": {"EndpointName": "ep"}})],
        [ENDPOINT],
    ),
    "alarm-reaches-somebody": (
        [
            ("aws:cloudwatch/metricAlarm:MetricAlarm", "a", {"alarmActions": [U]}),
            ("aws:cloudwatch/metricAlarm:MetricAlarm", "b", {"name": "part"}),
            (
                "aws:cloudwatch/compositeAlarm:CompositeAlarm",
                "c",
                {"alarmName": "both", "alarmRule": 'ALARM("part") AND NOT OK("part")', "alarmActions": [U]},
            ),
            ("aws:cloudwatch/metricAlarm:MetricAlarm", "guard", {"name": "guard"}),
            of("aws:sagemaker/endpoint:Endpoint", "e", "deploymentConfig", "guard"),
        ],
        [
            ("aws:cloudwatch/metricAlarm:MetricAlarm", "a", {"name": "part", "alarmActions": []}),
            # It is only spoken of.
            (
                "aws:cloudwatch/compositeAlarm:CompositeAlarm",
                "c",
                {"alarmName": "both", "alarmRule": "TRUE", "alarmDescription": "part of it", "alarmActions": [U]},
            ),
        ],
    ),
    "topic-has-contract": (
        [
            TOPIC,
            ("aws:msk/topic:Topic", "d", {"name": "events.dlq"}),
            ("aws:glue/schema:Schema", "s", {"schemaName": "events"}),
        ],
        [TOPIC],
    ),
    "topic-has-dead-letters": ([TOPIC, ("aws:msk/topic:Topic", "d", {"name": "events.dlq"})], [TOPIC]),
    "k8s-namespace-closed": ([NAMESPACE, deny_all()], [NAMESPACE, deny_all(ingress=[{}])]),
    "k8s-image-signed": (
        [OWN_WORKLOAD, SIGNED],
        [OWN_WORKLOAD, (*SIGNED[:2], {"kind": "ClusterImagePolicy", "spec": {**SIGNED[2]["spec"], "mode": "warn"}})],
    ),
    "k8s-namespace-quota": (
        [NAMESPACE, ("kubernetes:core/v1:ResourceQuota", "q", {"metadata": {"namespace": "n"}})],
        [NAMESPACE],
    ),
}


def nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return dict(value)


@pytest.mark.parametrize("control", SETTINGS, ids=lambda control: control.id)
def test_a_setting_is_asked_for_and_its_remedy_sets_it(control: Control) -> None:
    assert control.check is not None and control.remedy is not None
    props = nested(control.path, "another")
    assert list(control.check(unknown_checking_proxy(props)))
    control.remedy(props)
    assert not list(control.check(unknown_checking_proxy(props)))


@pytest.mark.parametrize("control", PRESENT, ids=lambda control: control.id)
def test_an_input_must_be_given_and_may_be_unknown(control: Control) -> None:
    assert control.check is not None
    assert list(control.check(unknown_checking_proxy({})))
    assert not list(control.check(unknown_checking_proxy(nested(control.path, U))))


@pytest.mark.parametrize("name", RESOURCES)
def test_a_control_passes_the_good_and_finds_the_bad(name: str) -> None:
    control, (good, bad) = CONTROLS[name], RESOURCES[name]

    def check(resource: dict[str, Any]) -> list[Any]:
        if control.stack_check:
            return list(control.stack_check(stack_of([(control.types[0], "r", resource)])))
        assert control.check is not None
        return list(control.check(unknown_checking_proxy(resource)))

    for resource in good:
        assert check(resource) == [], resource
    for resource in bad:
        assert check(resource), resource


def stack_of(resources: list[Any]) -> Stack:
    return Stack(
        Item(kind, name, f"urn::{name}", unknown_checking_proxy(props), *more) for kind, name, props, *more in resources
    )


@pytest.mark.parametrize("name", STACKS)
def test_a_control_of_stacks_passes_the_good_and_finds_the_bad(name: str) -> None:
    check = CONTROLS[name].stack_check
    assert check is not None
    good, bad = STACKS[name]
    assert list(check(stack_of(good))) == [] and list(check(Stack(()))) == []
    found = list(check(stack_of(bad)))
    assert found and all(not urn or urn in {f"urn::{name}" for _, name, *_ in bad} for urn, _ in found)


def test_every_control_is_tested_and_complete() -> None:
    tested = {control.id for control in (*SETTINGS, *PRESENT)} | set(RESOURCES) | set(STACKS)
    assert tested | set(PAIRS) | set(MORE) | set(TOGETHER) == set(CONTROLS)
    assert len(CONTROLS) >= 80
    for item in CONTROLS.values():
        assert item.title and item.law and item.remediation.endswith(".") and item.url.startswith("https://"), item.id
        assert item.severity in ("critical", "high", "medium", "low") and (item.types or item.stack_check), item.id
        assert not item.title.endswith(".") and ". " not in item.title, item.id
        assert item.risk and not item.risk.endswith("."), item.id


def test_two_controls_of_one_name_are_refused_and_so_is_a_law_nobody_knows() -> None:
    with pytest.raises(ValueError, match="two controls are named tagged"):
        Family("f").resource("tagged", "", severity="low", fix="", url="")(lambda props: [])
    with pytest.raises(ValueError, match="'ISO 1' names none of GDPR"):
        framework("ISO 1")


def test_regimes_decide_what_is_mandatory() -> None:
    none, gdpr = read_settings(None, None), read_settings({"compliance": ["gdpr"], "environment": "prod-eu"}, None)
    assert none.mandatory(CONTROLS["rds-private"]) and not none.mandatory(CONTROLS["kms-key-rotates"]), (
        "critical ones always are"
    )
    assert gdpr.mandatory(CONTROLS["kms-key-rotates"]) and not gdpr.mandatory(CONTROLS["tagged"])
    assert (
        read_settings({"environment": "eu-prod"}, None).production
        and not read_settings({"environment": "reproduction"}, None).production
    )
    assert gdpr.applies(CONTROLS["rds-two-zones"]) and not none.applies(CONTROLS["rds-two-zones"])


WAIVER = {"policy": "tagged", "resource": "lake-*", "reason": "r", "approver": "a@b.c", "expires": "2027-01-31"}


def test_a_waiver_holds_for_its_resources_until_its_day() -> None:
    settings = read_settings(None, [WAIVER])
    waiver = settings.waivers[0]
    assert (
        waiver.covers("tagged", "lake-raw")
        and not waiver.covers("tagged", "keys")
        and not waiver.covers("rds-private", "lake-raw")
    )
    day = datetime.date(2027, 1, 31)
    assert not waiver.expired(day) and waiver.expired(day + datetime.timedelta(1))
    assert waiver_faults(settings, day) == []
    assert waiver_faults(settings, datetime.date(2027, 2, 1)) == [
        "The waiver of tagged on lake-*, approved by a@b.c, expired on 2027-01-31"
    ]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({**WAIVER, "policy": "waiver-holds"}, "waiver-holds can't be waived"),
        ({**WAIVER, "resource": "*"}, "'*' matches everything"),
        ({**WAIVER, "expires": "9999-12-31"}, "runs until 9999-12-31: more than 400 days"),
        ("tagged", "must have policy, resource, reason, approver, expires"),
        ({**WAIVER, "approver": ""}, "approver missing"),
        ({**WAIVER, "until": "x"}, "until unknown; known: policy"),
        ({**WAIVER, "expires": "next year"}, "expected a date such as 2027-01-31, got 'next year'"),
        ({**WAIVER, "policy": "taged"}, "The waiver of taged on lake-* names a control that this pack does not have"),
    ],
)
def test_a_wrong_waiver_waives_nothing_and_is_itself_a_finding(entry: Any, says: str) -> None:
    faults = waiver_faults(read_settings(None, [entry]), datetime.date(2026, 1, 1))
    assert len(faults) == 1 and says in faults[0]


def test_the_page_of_controls_is_current(root: Path) -> None:
    assert (root / "docs" / "controls.md").read_text(encoding="utf-8") == page(), "run `make docs`"


def test_the_page_of_coverage_is_current(root: Path) -> None:
    assert (root / "docs" / "coverage.md").read_text(encoding="utf-8") == coverage.page(), "run `make docs`"


def test_every_law_of_a_control_is_a_rule_somebody_has_written_down() -> None:
    known = {rule.reference for rules in REQUIREMENTS.values() for rule in rules} | set(benchmarks())
    cited = {reference for control in CONTROLS.values() for reference in control.law}
    assert cited <= known, cited - known
    for rules in REQUIREMENTS.values():
        for rule in rules:
            assert bool(rule.people) == bool(rule.who) == bool(rule.every)
            assert rule.people or any(rule.reference in control.law for control in CONTROLS.values()), (
                f"{rule.reference} is nobody's"
            )
    assert {name for item in CHECKLIST for name in item.controls} - {"waiver-holds"} <= set(CONTROLS)
