"""Encryption at rest and in transit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from policies.control import control

_AT_REST = ("GDPR Art. 32(1)(a)", "HIPAA 164.312(a)(2)(iv)", "SOC 2 CC6.1")
_IN_TRANSIT = ("GDPR Art. 32(1)(a)", "HIPAA 164.312(e)(1)", "SOC 2 CC6.7")


@control(
    "kms-key-rotates", "KMS keys rotate every year", "aws:kms/key:Key",
    severity="high", frameworks=("SOC 2 CC6.1", "CIS AWS 3.6"), remediation="Set enable_key_rotation=True.",
    url="https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html",
)  # fmt: skip
def key_rotates(props: Mapping[str, Any]) -> Iterator[str]:
    """A symmetric key rotates."""
    if props.get("customerMasterKeySpec", "SYMMETRIC_DEFAULT") == "SYMMETRIC_DEFAULT" and not props.get("enableKeyRotation"):
        yield "The key does not rotate"


@control(
    "s3-encrypted-with-own-key", "Buckets encrypt with a customer-managed key",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    severity="high", frameworks=_AT_REST, remediation="Use sse_algorithm aws:kms with a key of the stack.",
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html",
)  # fmt: skip
def bucket_encrypted(props: Mapping[str, Any]) -> Iterator[str]:
    """Every rule names aws:kms and a key."""
    for rule in props.get("rules") or []:
        default = rule.get("applyServerSideEncryptionByDefault") or {}
        if default.get("sseAlgorithm") not in ("aws:kms", "aws:kms:dsse"):
            yield f"Objects are encrypted with {default.get('sseAlgorithm')!r}, not with KMS"
        elif "kmsMasterKeyId" not in default:
            yield "Objects are encrypted with AWS's key, which can't be withdrawn"


@control(
    "rds-encrypted", "Databases are encrypted", "aws:rds/instance:Instance",
    severity="critical", frameworks=_AT_REST, remediation="Set storage_encrypted=True and a kms_key_id.",
    url="https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Overview.Encryption.html",
)  # fmt: skip
def database_encrypted(props: Mapping[str, Any]) -> Iterator[str]:
    """Storage is encrypted."""
    if not props.get("storageEncrypted"):
        yield "The database's storage is not encrypted"


@control(
    "dynamodb-encrypted-with-own-key", "Tables encrypt with a customer-managed key", "aws:dynamodb/table:Table",
    severity="high", frameworks=_AT_REST, remediation="Set server_side_encryption with enabled and a kms_key_arn.",
    url="https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/EncryptionAtRest.html",
)  # fmt: skip
def table_encrypted(props: Mapping[str, Any]) -> Iterator[str]:
    """A key of the stack encrypts the table."""
    encryption = props.get("serverSideEncryption") or {}
    if not encryption.get("enabled") or "kmsKeyArn" not in encryption:
        yield "The table is encrypted with a key that AWS owns"


@control(
    "msk-tls-only", "Kafka takes TLS only", "aws:msk/cluster:Cluster",
    severity="critical", frameworks=_IN_TRANSIT, remediation="Set encryption_in_transit to client_broker TLS and in_cluster True.",
    url="https://docs.aws.amazon.com/msk/latest/developerguide/msk-encryption.html",
)  # fmt: skip
def kafka_tls(props: Mapping[str, Any]) -> Iterator[str]:
    """Clients and brokers speak TLS."""
    transit = (props.get("encryptionInfo") or {}).get("encryptionInTransit") or {}
    if transit.get("clientBroker", "TLS") != "TLS" or transit.get("inCluster", True) is False:
        yield "Kafka takes unencrypted connections"
