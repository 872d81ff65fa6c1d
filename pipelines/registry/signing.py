"""Signed statements about files: who said what about which digests.

In-toto statements (https://github.com/in-toto/attestation, v1) in DSSE envelopes
(https://github.com/secure-systems-lab/dsse, v1), signed with ECDSA on P-256 and SHA-256 by keys that never leave KMS.
Who may sign is who may use the key; whoever has the public key can check a signature, with Sigstore's tools, too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from pipelines.audit.calls import SIGN, note_calls
from spec.errors import GroundplanError
from spec.versions import REGISTRAR

PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
REGISTERED = "https://in-toto.io/attestation/release/v0.1"  # of the published types the one for "this is version X"
DECIDED = "urn:groundplan:decision:v1"


class NotSignedError(Exception):
    """A signature is missing or wrong; the message says which."""


@dataclass
class Signatures:
    """Signs and verifies with a stack's keys.

    Attributes:
        keys: ARN of the KMS key by signer.
        calls: Calls that sign are noted here.
    """

    keys: dict[str, str]
    calls: list[dict[str, str]] = field(default_factory=list)
    _kms: Any = None
    _public: dict[str, Any] = field(default_factory=dict)

    def sign(self, signer: str, kind: str, digests: dict[str, str], said: dict[str, Any]) -> bytes:
        """A signed statement.

        Args:
            kind: What is said, a URI.
            digests: SHA-256 by name of what it is said about.

        Raises:
            GroundplanError: The stack has no key for this signer, or whoever asks may not sign with it.
        """
        from botocore.exceptions import ClientError

        statement = {
            "_type": STATEMENT,
            "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(digests.items())],
            "predicateType": kind,
            "predicate": said,
        }
        payload = json.dumps(statement, sort_keys=True).encode()
        key = self._key(signer)
        try:
            answer = self._client.sign(
                KeyId=key,
                Message=hashlib.sha256(_encoded(payload)).digest(),
                MessageType="DIGEST",
                SigningAlgorithm="ECDSA_SHA_256",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "AccessDeniedException":
                raise
            raise GroundplanError(
                f"your credentials may not sign for {signer}",
                where=key,
                fix=f"assume the role that may (`groundplan explain` and docs/permissions.md name it), or ask {signer}",
            ) from None
        envelope = {
            "payloadType": PAYLOAD,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": key, "sig": base64.b64encode(answer["Signature"]).decode()}],
        }
        return json.dumps(envelope, indent=1).encode()

    def verified(self, signer: str, kind: str, envelope: bytes) -> tuple[dict[str, str], dict[str, Any]]:
        """Digests by name, and what was said about them.

        Raises:
            NotSignedError: It is no such statement, or was not signed with the signer's key.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        try:
            found = json.loads(envelope)
            payload = base64.b64decode(found["payload"], validate=True)
            signatures = [base64.b64decode(each["sig"], validate=True) for each in found["signatures"]]
            statement = json.loads(payload)
            digests = {item["name"]: item["digest"]["sha256"] for item in statement["subject"]}
            said, said_kind = dict(statement["predicate"]), statement["predicateType"]
        except (ValueError, KeyError, TypeError, binascii.Error):
            raise NotSignedError("it can't be read") from None
        if found.get("payloadType") != PAYLOAD or said_kind != kind:
            raise NotSignedError(f"it is a statement of another kind ({said_kind})")
        key = self._public_key(signer)
        for signature in signatures:
            try:
                key.verify(signature, _encoded(payload), ECDSA(SHA256()))
            except InvalidSignature:
                continue
            return digests, said
        raise NotSignedError(f"it was not signed with the key of {signer}")

    def public_key(self, signer: str = REGISTRAR) -> str:
        """A signer's public key, in PEM."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        pem: bytes = self._public_key(signer).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem.decode()

    def _public_key(self, signer: str) -> Any:
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        if signer not in self._public:
            answer = self._client.get_public_key(KeyId=self._key(signer))
            self._public[signer] = load_der_public_key(answer["PublicKey"])
        return self._public[signer]

    def _key(self, signer: str) -> str:
        if signer not in self.keys:
            raise GroundplanError(
                f"this stack has no key that signs for {signer}",
                where="signing_keys",
                fix="apply the program again (`groundplan up`, or `pulumi up`)",
            )
        return self.keys[signer]

    @property
    def _client(self) -> Any:
        if self._kms is None:
            import boto3

            self._kms = boto3.client("kms")
            note_calls(self._kms, (SIGN,), self.calls)
        return self._kms


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def _encoded(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding, so that a payload can't pass for one of another type."""
    kind = PAYLOAD.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
