"""What AWS calls the services of the price book: on bills and in Cost Explorer, and as product codes of cost-and-usage
reports.

https://docs.aws.amazon.com/cur/latest/userguide/table-dictionary-cur2-line-item.html
"""

from __future__ import annotations

import re

_MACHINE = re.compile(r"^[a-z]+\d+[a-z-]*\.[\w-]+$")
_COMPUTE = ("AmazonEC2", "Amazon Elastic Compute Cloud - Compute")
_PRODUCTS = {
    "amg": ("AmazonGrafana", "Amazon Managed Grafana"),
    "amp": ("AmazonPrometheus", "Amazon Managed Service for Prometheus"),
    "apigateway": ("AmazonApiGateway", "Amazon API Gateway"),
    "athena": ("AmazonAthena", "Amazon Athena"),
    "backup": ("AWSBackup", "AWS Backup"),
    "cloudtrail": ("AWSCloudTrail", "AWS CloudTrail"),
    "cloudwatch": ("AmazonCloudWatch", "AmazonCloudWatch"),
    "config": ("AWSConfig", "AWS Config"),
    "dynamodb": ("AmazonDynamoDB", "Amazon DynamoDB"),
    "ec2": ("AmazonEC2", "EC2 - Other"),  # disks, NAT gateways, traffic
    "ecr": ("AmazonECR", "Amazon EC2 Container Registry (ECR)"),
    "eks": ("AmazonEKS", "Amazon Elastic Container Service for Kubernetes"),
    "elb": ("AWSELB", "Amazon Elastic Load Balancing"),
    "guardduty": ("AmazonGuardDuty", "Amazon GuardDuty"),
    "kms": ("awskms", "AWS Key Management Service"),
    "lambda": ("AWSLambda", "AWS Lambda"),
    "msk": ("AmazonMSK", "Amazon Managed Streaming for Apache Kafka"),
    "rds": ("AmazonRDS", "Amazon Relational Database Service"),
    "s3": ("AmazonS3", "Amazon Simple Storage Service"),
    "sagemaker": ("AmazonSageMaker", "Amazon SageMaker"),
    "secretsmanager": ("AWSSecretsManager", "AWS Secrets Manager"),
    "securityhub": ("AWSSecurityHub", "AWS Security Hub"),
    "wafv2": ("awswaf", "AWS WAF"),
}
_OF_NETWORKS = ("interface-endpoint", "public-ipv4")


def product(service: str, item: str) -> tuple[str, str]:
    """Product code, and the service's name on bills, of an item of the price book."""
    if service == "ec2" and item.startswith(_OF_NETWORKS):
        return "AmazonVPC", "Amazon Virtual Private Cloud"
    if service == "ec2" and _MACHINE.match(item):
        return _COMPUTE
    return _PRODUCTS.get(service, (service, service))


# Reports have one name for both parts of EC2, and older ones other names.
_REPORTED = {
    "EC2 - Other": "Amazon Elastic Compute Cloud",
    _COMPUTE[1]: "Amazon Elastic Compute Cloud",
    "Elastic Load Balancing": "Amazon Elastic Load Balancing",
    **{code: name for code, name in _PRODUCTS.values() if code != "AmazonEC2"},
    "AmazonEC2": "Amazon Elastic Compute Cloud",
    "AmazonVPC": "Amazon Virtual Private Cloud",
}


def reported(name: str) -> str:
    """A service's name as cost-and-usage reports have it, by its product code or its name on bills."""
    return _REPORTED.get(name, name)
