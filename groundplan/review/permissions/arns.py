"""ARNs that AWS might give to a stack's resources."""

from __future__ import annotations

import uuid
from typing import Any

# What follows service, region and account in an ARN, where it is not the resource's name: `{name}` its physical name,
# `{id}` a unique number.
ARNS = {
    "aws:s3/bucket:Bucket": ("bucket", "arn:aws:s3:::{name}"),
    "aws:kms/key:Key": ("", "arn:aws:kms:{region}:{account}:key/{id}"),
    "aws:kms/replicaKey:ReplicaKey": ("", "arn:aws:kms:{region}:{account}:key/{id}"),
    "aws:iam/role:Role": ("name", "arn:aws:iam::{account}:role/{name}"),
    "aws:iam/policy:Policy": ("name", "arn:aws:iam::{account}:policy/{name}"),
    "aws:sns/topic:Topic": ("name", "arn:aws:sns:{region}:{account}:{name}"),
    "aws:sqs/queue:Queue": ("name", "arn:aws:sqs:{region}:{account}:{name}"),
    "aws:dynamodb/table:Table": ("name", "arn:aws:dynamodb:{region}:{account}:table/{name}"),
    "aws:ecr/repository:Repository": ("name", "arn:aws:ecr:{region}:{account}:repository/{name}"),
    "aws:secretsmanager/secret:Secret": ("name", "arn:aws:secretsmanager:{region}:{account}:secret:{name}-AbCdEf"),
    "aws:eks/cluster:Cluster": ("name", "arn:aws:eks:{region}:{account}:cluster/{name}"),
    "aws:msk/cluster:Cluster": ("clusterName", "arn:aws:kafka:{region}:{account}:cluster/{name}/{id}"),
    "aws:msk/serverlessCluster:ServerlessCluster": (
        "clusterName",
        "arn:aws:kafka:{region}:{account}:cluster/{name}/{id}",
    ),
    "aws:cloudwatch/logGroup:LogGroup": ("name", "arn:aws:logs:{region}:{account}:log-group:{name}"),
    "aws:codebuild/project:Project": ("name", "arn:aws:codebuild:{region}:{account}:project/{name}"),
    "aws:lambda/function:Function": ("name", "arn:aws:lambda:{region}:{account}:function:{name}"),
    "aws:sagemaker/pipeline:Pipeline": ("pipelineName", "arn:aws:sagemaker:{region}:{account}:pipeline/{name}"),
    "aws:rds/instance:Instance": ("identifier", "arn:aws:rds:{region}:{account}:db:{name}"),
    "aws:cloudtrail/trail:Trail": ("name", "arn:aws:cloudtrail:{region}:{account}:trail/{name}"),
}


def arn_of(found: Any, region: str, account: str) -> str:
    """ARN of a resource; empty for types that no permission names."""
    if found.type not in ARNS:
        return ""
    key, form = ARNS[found.type]
    return form.format(region=region, account=account, id=number_of(found.urn), name=found.inputs.get(key, found.name))


def number_of(urn: str) -> str:
    """A unique number in AWS's form, always the same for a resource."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, urn))
