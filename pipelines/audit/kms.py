"""Ed25519 by keys that never leave KMS."""

from __future__ import annotations

from typing import Any

ED25519 = "ED25519_SHA_512"


def sign(kms: Any, arn: str, message: bytes) -> bytes:
    """A signature, 64 bytes.

    Args:
        kms: Client of boto3.

    Raises:
        botocore.exceptions.ClientError: KMS refuses.
    """
    answer = kms.sign(KeyId=arn, Message=message, MessageType="RAW", SigningAlgorithm=ED25519)
    signature: bytes = answer["Signature"]
    return signature


def public_key(described: dict[str, Any]) -> bytes:
    """A key's 32 bytes.

    Args:
        described: KMS's answer to GetPublicKey.
    """
    # Of the key's description, the last part: RFC 8410, section 4.
    found: bytes = described["PublicKey"][-32:]
    return found
