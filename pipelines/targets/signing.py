"""Keys that sign bundles: in AWS KMS, or in a file."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from spec.errors import UsageError

_LEAST_BITS = 2048


def signer(key: str) -> Any:
    """The signer of a key.

    Args:
        key: A file with a private RSA key in PEM, or a KMS key: its ARN, or ``alias/NAME``.

    Raises:
        UsageError: It is neither.
    """
    if key.startswith(("arn:", "alias/")):
        return KmsKey(key)
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        loaded = load_pem_private_key(Path(key).read_bytes(), password=None)
    except OSError:
        raise UsageError("no such file", where=key, fix="openssl genrsa -out device.pem 3072 makes a key") from None
    except (ValueError, TypeError):
        raise UsageError("is no private key in PEM without a password", where=key) from None
    if not isinstance(loaded, RSAPrivateKey) or loaded.key_size < _LEAST_BITS:
        raise UsageError(f"is no RSA key of at least {_LEAST_BITS} bits", where=key)
    return FileKey(loaded)


class FileKey:
    """An RSA key of a file."""

    def __init__(self, key: Any) -> None:
        self._key = key

    def sign(self, content: bytes) -> bytes:
        """The signature."""
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        return bytes(self._key.sign(content, PKCS1v15(), SHA256()))

    def public_key(self) -> dict[str, str]:
        """A JSON Web Key."""
        return _jwk(self._key.public_key())


class KmsKey:
    """An RSA key that never leaves AWS KMS."""

    def __init__(self, key: str) -> None:
        import boto3

        self._key, self._kms = key, boto3.client("kms")

    def sign(self, content: bytes) -> bytes:
        """The signature."""
        answer = self._kms.sign(
            KeyId=self._key,
            Message=hashlib.sha256(content).digest(),
            MessageType="DIGEST",
            SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256",
        )
        return bytes(answer["Signature"])

    def public_key(self) -> dict[str, str]:
        """A JSON Web Key."""
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        return _jwk(load_der_public_key(self._kms.get_public_key(KeyId=self._key)["PublicKey"]))


def _jwk(key: Any) -> dict[str, str]:
    """RFC 7517 and 7518, 6.3."""
    numbers = key.public_numbers()

    def text(number: int) -> str:
        content = number.to_bytes((number.bit_length() + 7) // 8, "big")
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    return {"kty": "RSA", "alg": "RS256", "n": text(numbers.n), "e": text(numbers.e)}
