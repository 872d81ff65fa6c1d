"""Gives a consumer group back the leader that the broker loses.

When a group's leader leaves while another member joins, the broker keeps the one that left as the leader. Members then
wait for it for ever, also those who join later. The broker's own record of the group, an object in its bucket, is
mended: without a leader, the next member to join becomes it, as in Kafka. The broker notices that the object was
changed, and reads it again; committed offsets are objects of their own and stay.
"""

from __future__ import annotations

import json
import struct
from functools import cache
from typing import Any

from groundplan.local.kafka.transactions import varint

LEAVE_GROUP, FIRST_COMPACT = 13, 4
_CLIENT = 12  # where the client id begins, after length, key, version and correlation id
_FOLDER = "clusters/tansu_cluster/groups/consumers"


def group_of(request: bytes, version: int) -> str:
    """The group of a LeaveGroup request, its first field; empty if there is none.

    https://kafka.apache.org/protocol#The_Messages_LeaveGroup
    """
    try:
        (size,) = struct.unpack_from(">h", request, _CLIENT)
        place = _CLIENT + 2 + max(size, 0)
        if version >= FIRST_COMPACT:
            size, place = varint(request, place + 1)  # after the header's tagged fields, which are empty
            return request[place : place + size - 1].decode()
        (size,) = struct.unpack_from(">h", request, place)
        return request[place + 2 : place + 2 + size].decode()
    except (struct.error, IndexError, UnicodeDecodeError):
        return ""


def orphaned(group: dict[str, Any]) -> dict[str, Any] | None:
    """The record of a group without its leader, if that is no member; otherwise None."""
    forming = group["state"].get("Forming") if isinstance(group.get("state"), dict) else None
    if not forming or forming.get("leader") is None or forming["leader"] in group.get("members", {}):
        return None
    return {**group, "state": {"Forming": {**forming, "leader": None}}}


def mend(bucket: str, group: str) -> bool:
    """Mend a group's record in the broker's bucket; returns whether it was necessary.

    Raises:
        botocore.exceptions.BotoCoreError: The bucket can't be read.
        botocore.exceptions.ClientError: The same, except for a group without a record.
    """
    from botocore.exceptions import ClientError

    s3, key = _s3(), f"{_FOLDER}/{group}.json"
    while True:
        try:
            found = s3.get_object(Bucket=bucket, Key=key)
        except s3.exceptions.NoSuchKey:
            return False
        mended = orphaned(json.loads(found["Body"].read()))
        if mended is None:
            return False
        try:
            s3.put_object(
                Bucket=bucket,
                Key=key,
                Body=json.dumps(mended).encode(),
                ContentType="application/json",
                IfMatch=found["ETag"],
            )
            return True
        except ClientError as error:  # the broker has written it meanwhile
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (404, 409, 412):
                raise


@cache
def _s3() -> Any:
    import boto3

    return boto3.client("s3")
