"""Signed notes: examples of the specification, and what is refused."""

from __future__ import annotations

import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pipelines.audit.notes import COSIGNED, PLAIN, Checkpoint, Key, Signer, WrongNoteError, cosigned, opened, signed

# https://c2sp.org/signed-note, section "Example"
THEIR_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
THEIR_NOTE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYj"
    "OBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)


def signer(name: str, kind: int = PLAIN, seed: int = 1) -> Signer:
    private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Signer(Key(name, public, kind), private.sign)


LOG, WITNESS = signer("example.com/log"), signer("witness.example.com/w1", COSIGNED, 2)
STATE = Checkpoint("example.com/log", 5, bytes(range(32)))


def test_the_specification_s_note_is_opened_with_its_key() -> None:
    key = Key.parse(THEIR_KEY)
    assert str(key) == THEIR_KEY
    assert opened(THEIR_NOTE, [key]) == ("This is an example message.\n", {"example.com/foo": 0})


def test_a_state_is_signed_and_witnessed() -> None:
    note = cosigned(signed(str(STATE), LOG), WITNESS)
    text, who = opened(note, [LOG.key, WITNESS.key])
    assert Checkpoint.parse(text) == STATE and who["example.com/log"] == 0
    assert abs(who["witness.example.com/w1"] - time.time()) < 60
    # A witness signs the time and the whole text: https://c2sp.org/tlog-cosignature
    assert opened(f"{STATE}\n{WITNESS.line(str(STATE), 1679315147)}", [WITNESS.key])[1] == {
        "witness.example.com/w1": 1679315147
    }


@pytest.mark.parametrize(
    ("note", "says"),
    [
        (lambda note: note.replace("\n5\n", "\n6\n"), "the signature of example.com/log is wrong"),
        (
            lambda note: note.replace("example.com/log ", "example.com/other "),
            "it was signed by example.com/other, none",
        ),
        (lambda note: note.replace("\n\n", "\n"), "no signed note"),
        (lambda note: note.rstrip("\n"), "no signed note"),
        (lambda note: note + "no signature\n", "a signature is malformed"),
        (lambda note: note.replace("— ", "- "), "a signature is malformed"),
        (lambda note: "\t" + note, "no signed note"),
        (lambda note: "", "no signed note"),
    ],
)
def test_what_was_changed_is_refused(note: Any, says: str) -> None:
    with pytest.raises(WrongNoteError, match=says):
        opened(note(signed(str(STATE), LOG)), [LOG.key])


def test_a_wrong_signature_of_a_known_key_counts_more_than_a_right_one() -> None:
    other = signer("example.com/log", seed=3)
    with pytest.raises(WrongNoteError, match=r"none of whose keys count here"):
        opened(signed(str(STATE), other), [LOG.key])
    forged = Signer(LOG.key, lambda message: bytes(64))
    with pytest.raises(WrongNoteError, match=r"the signature of example.com/log is wrong"):
        opened(cosigned(signed(str(STATE), forged), WITNESS), [LOG.key, WITNESS.key])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        THEIR_KEY.replace("530d903a", "530d903b"),
        THEIR_KEY.replace("example.com/foo", "example.com/bar"),
        THEIR_KEY.replace("AekyeRrm", "ApkyeRrm"),
        THEIR_KEY[:-4],
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(WrongNoteError):
        Key.parse(text)


@pytest.mark.parametrize(
    "text", ["", "a\n", "a\nx\n", "a\n-1\nAAAA\n", "a\n01\n" + "A" * 43 + "=\n", "\n1\n" + "A" * 43 + "=\n"]
)
def test_what_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(WrongNoteError, match="no checkpoint"):
        Checkpoint.parse(text)
