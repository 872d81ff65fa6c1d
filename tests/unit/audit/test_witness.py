"""A witness signs only what continues what it has signed before."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.audit.log import Log, check_proof, kept_states, verify
from pipelines.audit.notes import WrongNoteError, opened
from pipelines.audit.stores import Folder
from pipelines.audit.witness import countersign, signer_of
from spec.errors import GroundplanError, UsageError
from tests.unit.audit.test_log import LOG, ORIGIN, filled, record
from tests.unit.audit.test_notes import signer

WITNESS = signer("witness.example.com", 4, 5)


def reader(folder: Path) -> Log:
    return Log(Folder(folder), ORIGIN, (LOG.key,))


def test_each_state_is_countersigned_and_kept(tmp_path: Path) -> None:
    log, kept = filled(tmp_path / "log", 10, 4), Folder(tmp_path / "kept")
    first = countersign(reader(tmp_path / "log"), kept, WITNESS, now=1_000)
    assert (first.state.size, first.before, first.at) == (10, 0, 1_000)
    for number in range(10, 300):
        log.append(record(number))
    log.integrate()
    second = countersign(reader(tmp_path / "log"), kept, WITNESS, now=2_000)
    assert (second.state.size, second.before) == (300, 10)
    times = [opened(note, [LOG.key, WITNESS.key])[1] for note in kept_states(kept)]
    assert times == [{ORIGIN: 0, "witness.example.com": 1_000}, {ORIGIN: 0, "witness.example.com": 2_000}]
    assert list(verify(reader(tmp_path / "log"), kept_states(kept), witness=WITNESS.key)) == []
    assert kept.read("log.vkey") is not None and kept.read("witness.vkey") is not None
    proof = log.proof(3, kept_states(kept)[0])
    assert check_proof(proof, record(3), [LOG.key], WITNESS.key).size == 10
    with pytest.raises(WrongNoteError, match="none of whose keys count"):
        check_proof(log.proof(3), record(3), [LOG.key], WITNESS.key)


def test_a_log_that_was_cut_off_or_written_anew_is_not_countersigned(tmp_path: Path) -> None:
    filled(tmp_path / "log", 10, 10)
    kept = Folder(tmp_path / "kept")
    countersign(reader(tmp_path / "log"), kept, WITNESS, now=1_000)
    before = kept.read("checkpoint")
    filled(tmp_path / "cut", 7, 7)
    with pytest.raises(GroundplanError, match="cut off: it had 10 records when this witness saw it last, and has 7"):
        countersign(reader(tmp_path / "cut"), kept, WITNESS, now=1_001)
    other = Log(Folder(tmp_path / "other"), ORIGIN, (LOG.key,), LOG)
    for number in range(12):
        other.append(record(number + (number == 4)))
    other.integrate()
    with pytest.raises(GroundplanError, match="first 10 records are others than when this witness saw it last"):
        countersign(reader(tmp_path / "other"), kept, WITNESS, now=1_001)
    assert kept.read("checkpoint") == before
    found = [each.says for each in verify(reader(tmp_path / "cut"), kept_states(kept), witness=WITNESS.key)]
    assert found == ["the log was cut off: 3 of 10 records are missing at its end"]
    found = [each.says for each in verify(reader(tmp_path / "other"), kept_states(kept), witness=WITNESS.key)]
    assert found == ["the first 10 records are others than when it was signed"]


def test_clocks_keys_and_stores_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    filled(tmp_path / "log", 3, 3)
    kept = Folder(tmp_path / "kept")
    with pytest.raises(GroundplanError, match="no signed state yet"):
        countersign(reader(tmp_path / "nothing"), kept, WITNESS)
    countersign(reader(tmp_path / "log"), kept, WITNESS, now=1_000)
    with pytest.raises(
        GroundplanError, match=r"clock says 1970-01-01T00:15:00.*, and the log was seen at 1970-01-01T00:16:40"
    ):
        countersign(reader(tmp_path / "log"), kept, WITNESS, now=900)
    with pytest.raises(GroundplanError, match="what this witness has kept can't be trusted"):
        countersign(reader(tmp_path / "log"), kept, signer("somebody.example.com", 4, 6))
    elsewhere = Log(Folder(tmp_path / "elsewhere"), "example.com/other", (LOG.key,), LOG)
    elsewhere.append(b"one")
    elsewhere.integrate()
    with pytest.raises(GroundplanError, match=r"this store is about another log, example\.com/log"):
        countersign(elsewhere, kept, WITNESS)
    assert kept_states(kept) == [found[0].decode() for found in [kept.read("checkpoint")] if found]


def test_a_checkpoint_without_the_witness_signature_is_no_witness_s(tmp_path: Path) -> None:
    filled(tmp_path / "log", 3, 3)
    log = reader(tmp_path / "log")
    note = log.signed_state()[1]
    assert list(verify(log, [note])) == []
    assert "none of whose keys count" in next(iter(verify(log, [note], witness=WITNESS.key))).says


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_key_of_openssl_signs(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(file)], check=True)
    filled(tmp_path / "log", 3, 3)
    found = countersign(reader(tmp_path / "log"), Folder(tmp_path / "kept"), signer_of(str(file), "auditor"))
    assert found.state.size == 3
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(file)], check=True)
    for key, says in (
        (str(file), "another algorithm"),
        (str(tmp_path / "none"), "no such file"),
        (__file__, "no private"),
    ):
        with pytest.raises(UsageError, match=says):
            signer_of(key, "auditor")
