"""Cost and ownership: everything can be charged to somebody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from policies.control import control

REQUIRED_TAGS = ("Project", "Environment", "Owner")
_TAGGED = (
    "aws:s3/bucket:Bucket", "aws:kms/key:Key", "aws:rds/instance:Instance", "aws:dynamodb/table:Table", "aws:msk/cluster:Cluster",
    "aws:msk/serverlessCluster:ServerlessCluster", "aws:sagemaker/endpoint:Endpoint", "aws:sagemaker/model:Model", "aws:iam/role:Role",
)  # fmt: skip


@control(
    "tagged", "What costs money names its project, environment and owner", *_TAGGED,
    severity="medium", frameworks=("SOX 404", "SOC 2 CC1.3"), remediation="Pass the tags of the stack's scope.",
    url="https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/cost-alloc-tags.html",
)  # fmt: skip
def tagged(props: Mapping[str, Any]) -> Iterator[str]:
    """The required tags are there."""
    missing = [tag for tag in REQUIRED_TAGS if not (props.get("tags") or {}).get(tag)]
    if missing:
        yield f"The tags {', '.join(missing)} are missing"
