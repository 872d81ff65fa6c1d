"""A log in a folder: nothing is lost, and whatever is changed is found where it is."""

from __future__ import annotations

import hashlib
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.audit.log import Finding, Log, TakenError, check_proof, verify
from pipelines.audit.notes import Checkpoint, Key, WrongNoteError, cosigned, opened
from pipelines.audit.stores import Folder
from pipelines.audit.tree import WIDTH, WrongProofError, bundle, unbundle
from spec.errors import GroundplanError
from tests.unit.audit.test_notes import signer

ORIGIN, TAMPERINGS = "example.com/log", 200
LOG, WITNESS = signer(ORIGIN), signer("witness.example.com", 4, 2)


def log(folder: Path, *, signs: bool = True) -> Log:
    return Log(Folder(folder), ORIGIN, (LOG.key, WITNESS.key), LOG if signs else None)


def record(number: int) -> bytes:
    return b'{"act": "approve", "number": %d, "why": "%s"}' % (number, b"x" * (number % 40))


def filled(folder: Path, count: int, step: int) -> Log:
    found = log(folder)
    for number in range(count):
        assert found.append(record(number)) == number
        if number % step == step - 1:
            found.integrate()
    found.integrate()
    return found


def test_records_come_back_in_their_order_and_prove_themselves(tmp_path: Path) -> None:
    ours = filled(tmp_path, 300, 70)
    for number in range(3):
        ours.append(record(300 + number))
    reader = log(tmp_path, signs=False)
    assert reader.records() == [record(number) for number in range(303)], "also what is not in the tree yet"
    assert reader.state().size == 300 and list(verify(reader)) == []
    assert ours.integrate().size == 303 and ours.integrate() == ours.state(), "there is nothing to add"
    proof = reader.proof(17)
    assert proof.startswith("c2sp.org/tlog-proof@v1\nindex 17\n")
    assert check_proof(proof, record(17), [LOG.key]) == ours.state()
    with pytest.raises(WrongProofError):
        check_proof(proof, record(18), [LOG.key])
    with pytest.raises(WrongNoteError, match="none of whose keys count"):
        check_proof(proof, record(17), [signer(ORIGIN, seed=9).key])
    with pytest.raises(GroundplanError, match="record 303 is not in the log's tree, which has 303"):
        reader.proof(303)


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    def write(who: int) -> None:
        own = log(tmp_path)
        for number in range(40):
            own.append(b"%d %d" % (who, number))
            if number % 5 == 4:
                own.integrate()

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ours = log(tmp_path)
    ours.integrate()
    found = ours.records()
    assert sorted(found) == sorted(b"%d %d" % (who, number) for who in range(4) for number in range(40))
    for who in range(4):
        own = [each for each in found if each.startswith(b"%d " % who)]
        assert own == sorted(own, key=lambda each: int(each.split()[1])), "each writer's in their order"
    assert list(verify(ours)) == []


def test_a_record_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GroundplanError, match=r"a record has 65,536 bytes, and the log takes at most 65,535"):
        log(tmp_path).append(bytes(65_536))
    assert log(tmp_path).records() == []


class Memory(dict[str, bytes]):
    """A store that is copied fast."""

    def read(self, name: str) -> tuple[bytes, str] | None:
        return (self[name], hashlib.sha256(self[name]).hexdigest()) if name in self else None

    def write(self, name: str, content: bytes, tag: str | None = None) -> None:
        if (tag == "" and name in self) or (tag and (known := self.read(name)) and known[1] != tag):
            raise TakenError(name)
        self[name] = content

    def names(self, begin: str, after: str = "") -> Iterator[str]:
        yield from sorted(name for name in self if name.startswith(begin) and name > after)


def changed(content: bytes, chosen: random.Random) -> bytes:
    found, place = bytearray(content), chosen.randrange(len(content))
    found[place] ^= 1 << chosen.randrange(8)
    return bytes(found)


def tampered(there: Memory, size: int, step: int, chosen: random.Random) -> tuple[str, Callable[[Finding], bool]]:
    """Tamper in some way; returns which, and what tells a finding that is about it."""
    kind = chosen.choice(("change", "remove", "swap", "swap copies", "cut off"))
    if kind in ("change", "remove"):
        # Partial tiles of earlier states prove nothing any more; what an earlier state says, later ones say, too.
        current = ("tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44")
        names = [name for name in there if ".p/" not in name or name in current]
        groups = ["checkpoint", "entry/", "tile/", *(["checkpoints/"] if kind == "change" else [])]
        group = chosen.choice(groups)
        name = chosen.choice([one for one in names if one == group or (group[-1] == "/" and one.startswith(group))])
        if kind == "change":
            there[name] = changed(there[name], chosen)
        else:
            del there[name]
        return f"{kind} {name}", lambda found: name.startswith(found.where)
    if kind == "swap":
        one, two = (f"entry/{number:012d}" for number in chosen.sample(range(size), 2))
        there[one], there[two] = there[two], there[one]
        return kind, lambda found: found.where == one
    if kind == "swap copies":
        records = unbundle(there["tile/entries/000"])
        first, second = chosen.sample(range(WIDTH), 2)
        records[first], records[second] = records[second], records[first]
        there["tile/entries/000"] = bundle(records)
        return kind, lambda found: found.record == first
    left = step * chosen.randrange(1, size // step)
    for number in range(left, size):
        del there[f"entry/{number:012d}"]
    there["checkpoint"] = there[f"checkpoints/{left:012d}"]
    return kind, lambda found: found.record == left and "was cut off" in found.says


def test_random_tamperings_are_all_found_and_located() -> None:
    size, step, whole = 300, 25, Memory()
    ours = Log(whole, ORIGIN, (LOG.key,), LOG)
    for number in range(size):
        ours.append(record(number))
        if number % step == step - 1:
            ours.integrate()
    assert list(verify(Log(whole, ORIGIN, (LOG.key,)))) == []
    kinds = set()
    for seed in range(TAMPERINGS):
        there = Memory(whole)
        kind, about = tampered(there, size, step, random.Random(seed))
        found = list(verify(Log(there, ORIGIN, (LOG.key,))))
        assert any(about(each) for each in found), (seed, kind, found)
        kinds.add(kind.split("/")[0])
    assert len(kinds) >= 10, "tiles, bundles, records and checkpoints were changed and removed, swapped and cut off"


def cut_off(folder: Path, size: int, left: int) -> None:
    """Remove the last records, and put an earlier checkpoint back."""
    for number in range(left, size):
        (folder / "entry" / f"{number:012d}").unlink()
    shutil.copyfile(folder / "checkpoints" / f"{left:012d}", folder / "checkpoint")


def test_a_log_that_was_cut_off_with_all_its_states_contradicts_a_witness(tmp_path: Path) -> None:
    ours = filled(tmp_path, 60, 20)
    kept = cosigned((tmp_path / "checkpoint").read_text(), WITNESS)
    assert opened(kept, [WITNESS.key])[1].keys() == {"witness.example.com"}
    cut_off(tmp_path, 60, 40)
    (tmp_path / "checkpoints" / f"{60:012d}").unlink()
    assert list(verify(ours)) == [], "nothing that is left tells of it"
    (found,) = verify(ours, [kept])
    assert found.says == "the log was cut off: 20 of 60 records are missing at its end" and found.record == 40


def test_a_log_that_was_written_anew_contradicts_a_witness(tmp_path: Path) -> None:
    filled(tmp_path / "one", 30, 30)
    kept = cosigned((tmp_path / "one" / "checkpoint").read_text(), WITNESS)
    other = log(tmp_path / "two")
    for number in range(40):
        other.append(record(number if number != 7 else 1000))
    other.integrate()
    (found,) = verify(other, [kept])
    assert found.says == "the first 30 records are others than when it was signed"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: (folder / "checkpoint").unlink(), "is missing, and the log had one"),
        (lambda folder: (folder / "checkpoint").write_text("nonsense"), "can't be trusted: no signed note"),
        (
            lambda folder: (folder / "checkpoint").write_text(
                (folder / "checkpoint").read_text().replace("\n30\n", "\n31\n")
            ),
            "the signature of example.com/log is wrong",
        ),
        (lambda folder: (folder / "tile/0/000.p/30").write_bytes(b"short"), "its hashes were changed"),
        (lambda folder: (folder / "tile/entries/000.p/30").write_bytes(b"\xff\xffshort"), "does not have its records"),
        (lambda folder: (folder / "entry" / f"{29:012d}").unlink(), "record 29 was removed"),
    ],
)
def test_what_is_wrong_is_said_in_words(change: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    ours = filled(tmp_path, 30, 30)
    change(tmp_path)
    assert says in "; ".join(each.says for each in verify(ours))


def test_a_lost_checkpoint_loses_nothing(tmp_path: Path) -> None:
    ours = filled(tmp_path, 30, 10)
    before = ours.state()
    (tmp_path / "checkpoint").unlink()
    reader = log(tmp_path, signs=False)
    assert reader.state() == before and reader.records() == [record(number) for number in range(30)]
    assert [each.says for each in verify(reader)] == ["is missing, and the log had one"]
    (tmp_path / "tile/entries/000.p/30").write_bytes(b"\x00\x01x" * 30)
    with pytest.raises(GroundplanError, match="do not lead to its signed root"):
        reader.records()
    again = filled(tmp_path / "again", 30, 10)
    (tmp_path / "again" / "checkpoint").unlink()
    assert again.append(record(30)) == 30 and again.integrate().size == 31 and list(verify(again)) == []


def test_another_log_or_another_key_is_not_trusted(tmp_path: Path) -> None:
    filled(tmp_path, 3, 3)
    other = Log(Folder(tmp_path), "example.com/other", (LOG.key,))
    with pytest.raises(GroundplanError, match=r"the checkpoint is of another log: example.com/log"):
        other.records()
    assert [each.says for each in verify(other)] == ["the checkpoint is of another log: example.com/log"]
    wrong: tuple[Key, ...] = (signer(ORIGIN, seed=5).key,)
    with pytest.raises(
        GroundplanError, match=r"can't be trusted: it was signed by example.com/log, none of whose keys"
    ):
        Log(Folder(tmp_path), ORIGIN, wrong).records()


def test_what_was_tampered_with_is_neither_read_nor_signed_again(tmp_path: Path) -> None:
    ours = filled(tmp_path, 30, 30)
    (tmp_path / "tile/entries/000.p/30").write_bytes(b"\x00\x01x" * 30)
    with pytest.raises(GroundplanError, match="do not lead to its signed root"):
        log(tmp_path).records()
    (tmp_path / "tile/0/000.p/30").write_bytes(bytes(32 * 30))
    ours.append(record(30))
    with pytest.raises(GroundplanError, match="the log's tiles do not lead to its signed root"):
        ours.integrate()
    assert Checkpoint.parse((tmp_path / "checkpoint").read_text().partition("\n\n")[0] + "\n").size == 30
