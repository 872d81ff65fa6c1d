"""A witness: somebody else, with a key and a store of their own, who signs a log's state only if it continues the one
that they have signed before (https://c2sp.org/tlog-witness, https://c2sp.org/tlog-cosignature).

Whoever holds the log's key could write another log with it. Then its state does not follow from what the witness keeps.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm

from pipelines.audit import kms
from pipelines.audit.log import CHECKPOINT, Log, Store, TakenError, state_name
from pipelines.audit.notes import COSIGNED, Checkpoint, Key, Signer, WrongNoteError, cosigned, opened
from pipelines.audit.tree import Tree, WrongProofError, check_consistency
from spec.errors import GroundplanError, UsageError

_MAKE = "make one: `openssl genpkey -algorithm ed25519 -out FILE`, or a KMS key of the type ECC_NIST_EDWARDS25519"
LOG_KEY, WITNESS_KEY = "log.vkey", "witness.vkey"  # names of the public keys, beside what a witness has signed


@dataclass(frozen=True)
class Witnessed:
    """What a witness has signed.

    Attributes:
        before: How many records the log had when it was signed before; 0 if it never was.
        at: When, in seconds since 1970.
    """

    state: Checkpoint
    before: int
    at: int


def countersign(log: Log, kept: Store, signer: Signer, now: int | None = None) -> Witnessed:
    """Sign a log's state, and keep it.

    Args:
        log: Its key is the one that ``kept`` has, if it has one.
        kept: The witness' own store.
        now: In seconds since 1970.

    Raises:
        GroundplanError: The log does not continue what was signed before, or has no signed state; the clock has gone
            back; or another process of the witness was faster.
    """
    now = int(time.time()) if now is None else now
    state, note, _ = log.signed_state()
    if not note:
        raise GroundplanError("the log has no signed state yet, so there is nothing to witness", where=log.origin)
    before, seen, tag = _before(log, kept, signer)
    if now < seen:
        raise GroundplanError(
            f"this machine's clock says {_text(now)}, and the log was seen at {_text(seen)} before",
            where=log.origin,
            fix="set the clock",
        )
    if before is not None:
        _check(log, before, state)
    signed = cosigned(note, signer, at=now).encode()
    try:
        kept.write(CHECKPOINT, signed, tag)
    except TakenError:
        raise GroundplanError("another process of this witness was faster", where=log.origin, fix="try again") from None
    kept.write(state_name(state.size), signed)
    kept.write(LOG_KEY, f"{log.keys[0]}\n".encode())
    kept.write(WITNESS_KEY, f"{signer.key}\n".encode())
    return Witnessed(state, before.size if before else 0, now)


def signer_of(key: str, name: str) -> Signer:
    """A witness' key.

    Args:
        key: ARN of a KMS key (ECC_NIST_EDWARDS25519), or a file with a private key in PEM (Ed25519).

    Raises:
        UsageError: It is none.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    if key.startswith("arn:"):
        return _by_kms(key, name)
    try:
        private = load_pem_private_key(Path(key).read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        says = "there is no such file" if isinstance(error, FileNotFoundError) else "is no private key in PEM"
        raise UsageError(says, where=f"--key {key}", fix=_MAKE) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError("is a key of another algorithm; witnesses sign with Ed25519", where=f"--key {key}", fix=_MAKE)
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Signer(Key(name, public, COSIGNED), private.sign)


def _by_kms(arn: str, name: str) -> Signer:
    import boto3
    from botocore.exceptions import ClientError

    client = boto3.client("kms", region_name=(arn.split(":") + [""] * 4)[3] or None)
    try:
        told = client.get_public_key(KeyId=arn)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise UsageError(f"KMS does not give this key ({code})", where=f"--key {arn}", fix=_MAKE) from None
    if kms.ED25519 not in told.get("SigningAlgorithms", ()):
        raise UsageError("is a key of another algorithm; witnesses sign with Ed25519", where=f"--key {arn}", fix=_MAKE)
    return Signer(Key(name, kms.public_key(told), COSIGNED), lambda message: kms.sign(client, arn, message))


def _before(log: Log, kept: Store, signer: Signer) -> tuple[Checkpoint | None, int, str]:
    """What was signed last, when, and the tag of its note."""
    found = kept.read(CHECKPOINT)
    if found is None:
        return None, 0, ""
    try:
        text, times = opened(found[0].decode("utf-8", "replace"), (*log.keys, signer.key))
        before = Checkpoint.parse(text)
        if not {log.keys[0].name, signer.key.name} <= set(times):
            raise WrongNoteError(f"it was signed by {', '.join(sorted(times))} only")
    except WrongNoteError as error:
        raise GroundplanError(
            f"what this witness has kept can't be trusted: {error}",
            where=CHECKPOINT,
            fix="name the store and the key that belong together",
        ) from None
    if before.origin != log.origin:
        raise GroundplanError(
            f"this store is about another log, {before.origin}", where=log.origin, fix="keep each log in its own"
        )
    return before, times[signer.key.name], found[1]


def _check(log: Log, before: Checkpoint, state: Checkpoint) -> None:
    """The log must have what it had.

    Raises:
        GroundplanError: It does not.
    """
    if state.size < before.size:
        raise GroundplanError(
            f"the log was cut off: it had {before.size} records when this witness saw it last, and has {state.size}",
            where=log.origin,
            fix="not signed; keep both, and find out who has written into the audit zone",
        )
    try:
        proof = Tree(state.size, log.content).consistency(before.size)
        check_consistency(before.size, before.root, state.size, state.root, proof)
    except (WrongProofError, ValueError):
        raise GroundplanError(
            f"the log's first {before.size} records are others than when this witness saw it last",
            where=log.origin,
            fix="not signed; keep both, and find out who has written into the audit zone",
        ) from None


def _text(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
