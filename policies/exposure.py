"""Network exposure: nothing of the platform can be reached from the internet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from policies.control import control

_FRAMEWORKS = ("GDPR Art. 32(1)(b)", "HIPAA 164.312(e)(1)", "SOC 2 CC6.6")
_ANYWHERE = ("0.0.0.0/0", "::/0")


@control(
    "s3-no-public-access", "Buckets block public access", "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    severity="critical", frameworks=_FRAMEWORKS, remediation="Set all four blocks to True.",
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html",
)  # fmt: skip
def public_access_blocked(props: Mapping[str, Any]) -> Iterator[str]:
    """All four blocks are on."""
    for block in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"):
        if props.get(block) is not True:
            yield f"{block} is off"


@control(
    "rds-private", "Databases have no public address", "aws:rds/instance:Instance",
    severity="critical", frameworks=_FRAMEWORKS, remediation="Set publicly_accessible=False.",
    url="https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_VPC.WorkingWithRDSInstanceinaVPC.html",
)  # fmt: skip
def database_private(props: Mapping[str, Any]) -> Iterator[str]:
    """No public address."""
    if props.get("publiclyAccessible"):
        yield "The database can be reached from the internet"


@control(
    "no-open-ingress", "No security group lets the internet in",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "aws:ec2/securityGroup:SecurityGroup",
    severity="critical", frameworks=_FRAMEWORKS, remediation="Name the security group or the private range that may come in.",
    url="https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html",
)  # fmt: skip
def no_open_ingress(props: Mapping[str, Any]) -> Iterator[str]:
    """No rule takes traffic from anywhere."""
    found = [props.get("cidrIpv4"), props.get("cidrIpv6")]
    for rule in props.get("ingress") or []:
        found += [*(rule.get("cidrBlocks") or []), *(rule.get("ipv6CidrBlocks") or [])]
    for cidr in found:
        if cidr in _ANYWHERE:
            yield f"Traffic from {cidr} is let in"
