"""Names of resource types."""

from __future__ import annotations

import re

# https://www.pulumi.com/registry/packages/aws/how-to-guides/7-0-migration/ and the older names of load balancers
_BALANCERS = re.compile(r"^aws:(alb|applicationloadbalancing|elasticloadbalancingv2)/")


def canonical(resource_type: str) -> str:
    """A type's name in the provider's current version: ``aws:s3/bucketV2:BucketV2`` is ``aws:s3/bucket:Bucket``."""
    if resource_type.startswith("aws:s3/"):
        return resource_type.replace("V2:", ":").removesuffix("V2")
    return _BALANCERS.sub("aws:lb/", resource_type)
