"""What a program looks up in AWS while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from groundplan.engine.policy_documents import policy_document
from groundplan.local.moto.rules import Cloud
from spec.errors import GroundplanError

Answer = dict[str, Any]


def look_up(cloud: Cloud, token: str, arguments: Mapping[str, Any]) -> Answer:
    """The answer to a look-up (``aws:index/getRegion:getRegion``).

    Raises:
        GroundplanError: The local cloud does not support this look-up.
    """
    if token not in _ANSWERS:
        raise GroundplanError(
            f"the local cloud can't answer the look-up {token}", fix="take the value as an argument instead"
        )
    return _ANSWERS[token](cloud, arguments)


def _zones(cloud: Cloud, arguments: Mapping[str, Any]) -> Answer:
    found = [
        zone
        for zone in cloud.call("ec2", "DescribeAvailabilityZones", {})["AvailabilityZones"]
        if zone["State"] == "available"
    ]
    return {
        "id": cloud.region,
        "names": [zone["ZoneName"] for zone in found],
        "zoneIds": [zone["ZoneId"] for zone in found],
        "groupNames": [cloud.region],
    }


_ANSWERS: dict[str, Callable[[Cloud, Mapping[str, Any]], Answer]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": lambda cloud, arguments: {
        "accountId": cloud.account_id,
        "id": cloud.account_id,
        "arn": f"arn:aws:iam::{cloud.account_id}:root",
        "userId": cloud.account_id,
    },
    "aws:index/getRegion:getRegion": lambda cloud, arguments: {
        "name": cloud.region,
        "id": cloud.region,
        "region": cloud.region,
    },
    "aws:index/getPartition:getPartition": lambda cloud, arguments: {
        "partition": "aws",
        "id": "aws",
        "dnsSuffix": "amazonaws.com",
        "reverseDnsPrefix": "com.amazonaws",
    },
    "aws:index/getAvailabilityZones:getAvailabilityZones": _zones,
    "aws:iam/getPolicyDocument:getPolicyDocument": lambda cloud, arguments: {
        "id": "document",
        "json": policy_document(arguments),
        "minifiedJson": policy_document(arguments),
    },
}
