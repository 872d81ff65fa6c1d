"""Signed notes, and the state of a log as one.

https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint and https://c2sp.org/tlog-cosignature, with Ed25519.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PLAIN, COSIGNED = 0x01, 0x04  # types of signatures
_DASH = "— "
_ID_BYTES, _TIME_BYTES, _SIGNATURE_BYTES = 4, 8, 64


class WrongNoteError(ValueError):
    """A note is malformed, or not signed by a key that counts; the message says which."""


@dataclass(frozen=True)
class Key:
    """A public key with its name.

    Attributes:
        kind: ``PLAIN`` for a log's own, ``COSIGNED`` for a witness'.
        public: 32 bytes, Ed25519.
    """

    name: str
    public: bytes
    kind: int = PLAIN

    @property
    def id(self) -> bytes:
        """Four bytes that tell keys of one name apart."""
        return hashlib.sha256(f"{self.name}\n".encode() + bytes([self.kind]) + self.public).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        """As a verifier key: name, id and key."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read a verifier key.

        Raises:
            WrongNoteError: It is none, or of another algorithm.
        """
        name, _, rest = text.strip().partition("+")
        told, _, encoded = rest.partition("+")
        try:
            content = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            content = b""
        if len(content) != 1 + 32 or content[0] not in (PLAIN, COSIGNED):
            raise WrongNoteError("no Ed25519 key of a log or a witness (NAME+ID+KEY)")
        found = cls(name, content[1:], content[0])
        if found.id.hex() != told or not _is_name(name):
            raise WrongNoteError("its name, id and key do not belong together")
        return found


@dataclass(frozen=True)
class Signer:
    """A key that signs.

    Attributes:
        sign: Returns 64 bytes, Ed25519 over what it is given.
    """

    key: Key
    sign: Callable[[bytes], bytes]

    def line(self, text: str, at: int | None = None) -> str:
        """A signature of a note's text, as its line.

        Args:
            at: When a witness has seen it, in seconds since 1970; by default now.
        """
        if self.key.kind == PLAIN:
            content = self.sign(text.encode())
        else:
            at = int(time.time()) if at is None else at
            content = at.to_bytes(_TIME_BYTES, "big") + self.sign(_seen(text, at))
        return f"{_DASH}{self.key.name} {base64.b64encode(self.key.id + content).decode()}\n"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a log: how many records it has, and the root of its tree.

    Attributes:
        origin: Which log.
        root: 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        """The text of a note."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a note's text.

        Raises:
            WrongNoteError: It is no checkpoint.
        """
        lines = text.splitlines()
        try:
            origin, size, root = lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True)
        except (IndexError, ValueError):
            raise WrongNoteError("no checkpoint: an origin, a number of records, a root") from None
        if not origin or str(size) != lines[1] or size < 0 or len(root) != 32 or not all(lines[3:]):
            raise WrongNoteError("no checkpoint: an origin, a number of records, a root")
        return cls(origin, size, root)


def signed(text: str, *signers: Signer) -> str:
    """A note."""
    return f"{text}\n{''.join(signer.line(text) for signer in signers)}"


def cosigned(note: str, *signers: Signer, at: int | None = None) -> str:
    """The same note with further signatures.

    Args:
        at: When witnesses have seen it, in seconds since 1970; by default now.
    """
    text, _ = _parts(note)
    return note + "".join(signer.line(text, at) for signer in signers)


def opened(note: str, keys: Sequence[Key]) -> tuple[str, dict[str, int]]:
    """A note's text, and whose keys have signed it: when, in seconds since 1970, as far as a signature tells (else 0).

    Signatures of other keys are ignored.

    Raises:
        WrongNoteError: A signature of one of the keys is wrong, or none of them has signed.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    text, lines = _parts(note)
    by_id, found = {(key.name, key.id): key for key in keys}, dict[str, int]()
    for name, content in lines:
        key = by_id.get((name, content[:_ID_BYTES]))
        if key is None:
            continue
        rest, at, message = content[_ID_BYTES:], 0, text.encode()
        if key.kind == COSIGNED:
            at, rest = int.from_bytes(rest[:_TIME_BYTES], "big"), rest[_TIME_BYTES:]
            message = _seen(text, at)
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(rest, message)
        except InvalidSignature:
            raise WrongNoteError(f"the signature of {name} is wrong") from None
        found[name] = at
    if not found:
        names = ", ".join(sorted({name for name, _ in lines})) or "nobody"
        raise WrongNoteError(f"it was signed by {names}, none of whose keys count here")
    return text, found


def _parts(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """The text, and name and content of each signature."""
    head, middle, tail = note.rpartition("\n\n")
    if not middle or not tail.endswith("\n") or any(ord(letter) < 0x20 and letter != "\n" for letter in note):
        raise WrongNoteError("no signed note: a text, an empty line, signatures")
    found = []
    for line in tail[:-1].split("\n"):
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        try:
            content = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            content = b""
        if not line.startswith(_DASH) or not _is_name(name) or len(content) <= _ID_BYTES:
            raise WrongNoteError("a signature is malformed")
        found.append((name, content))
    return head + "\n", found


def _seen(text: str, at: int) -> bytes:
    """What a witness signs."""
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def _is_name(text: str) -> bool:
    return bool(text) and "+" not in text and not any(letter.isspace() for letter in text)
