"""A log of records in a store of objects: one object each, in the order in which they were written; then tiles.

``entry/000000000007`` is the eighth record. It is written under the condition that there is none, so that of two
writers one takes the next number, and neither can be lost. Whoever may sign the log's checkpoints adds what has been
written since to the tree (``tile/...``, ``checkpoint``; https://c2sp.org/tlog-tiles). Until then a record stands in the
log, but nothing proves it.
"""

from __future__ import annotations

import base64
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from pipelines.audit.notes import Checkpoint, Key, Signer, WrongNoteError, opened, signed
from pipelines.audit.tree import (
    ENTRIES,
    MOST_BYTES,
    WIDTH,
    Beginnings,
    Tree,
    check_inclusion,
    fold,
    grown,
    leaf_hash,
    tile_path,
    tiles_of,
    unbundle,
)
from spec.errors import GroundplanError

CHECKPOINT, _ENTRY, _STATE = "checkpoint", "entry/", "checkpoints/"
_ATTEMPTS = 50
_VERIFY = "groundplan audit verify"
_PROOF = "c2sp.org/tlog-proof@v1"


class TakenError(Exception):
    """An object was there already, or has changed since it was read."""


class Store(Protocol):
    """Where a log lies.

    ``read`` returns an object and a tag of its content; None if there is none. ``write`` raises ``TakenError`` unless
    the object still has the given tag ("" for one that must not exist; None writes in any case). ``names`` lists the
    objects whose names begin with a text, in their order, after one of them.
    """

    def read(self, name: str) -> tuple[bytes, str] | None: ...  # noqa: D102
    def write(self, name: str, content: bytes, tag: str | None = None) -> None: ...  # noqa: D102
    def names(self, begin: str, after: str = "") -> Iterator[str]: ...  # noqa: D102


@dataclass(frozen=True)
class Finding:
    """What is wrong with a log.

    Attributes:
        where: Name of an object.
        record: Number of a record, if it is about one.
    """

    where: str
    says: str
    record: int | None = None


@dataclass
class Log:
    """A log.

    Attributes:
        origin: Its name, which its checkpoints begin with.
        keys: Whose signatures of checkpoints count.
        signer: Signs checkpoints; None for those who only read and write records.
    """

    store: Store
    origin: str
    keys: tuple[Key, ...]
    signer: Signer | None = None
    _next: int = 0

    def append(self, record: bytes) -> int:
        """Write a record; returns its number.

        Raises:
            GroundplanError: It is too long.
        """
        if len(record) > MOST_BYTES:
            raise GroundplanError(
                f"a record has {len(record):,} bytes, and the log takes at most {MOST_BYTES:,}", where=self.origin
            )
        number = self._end()
        while True:
            try:
                self.store.write(_entry(number), record, "")
            except TakenError:
                number += 1
                continue
            self._next = number + 1
            return number

    def records(self) -> list[bytes]:
        """Every record, in their order: those in the tree as they lead to its root, and what was written since.

        Raises:
            GroundplanError: They do not lead to it, or its signature is wrong.
        """
        state = self.state()
        found: list[bytes] = []
        for index, place in enumerate(range(0, state.size, WIDTH)):
            width = min(WIDTH, state.size - place)
            name = tile_path(ENTRIES, index, width)
            try:
                found += unbundle(self.content(name))
            except ValueError:
                raise GroundplanError("is no bundle of records", where=name, fix=_VERIFY) from None
        if len(found) != state.size or fold([leaf_hash(record) for record in found]) != state.root:
            raise GroundplanError("the log's records do not lead to its signed root", where=self.origin, fix=_VERIFY)
        return found + list(self._pending(state.size))

    def state(self) -> Checkpoint:
        """The state that was signed last, if by one of the keys; of an empty log before the first one.

        Raises:
            GroundplanError: The checkpoint is malformed, not signed by a key that counts, or of another log.
        """
        return self.signed_state()[0]

    def signed_state(self) -> tuple[Checkpoint, str, str]:
        """The state, its note and the note's tag; both empty before the first one.

        Where the checkpoint is lost, the state that was signed last is kept beside it, so nothing else is.
        """
        found = self.store.read(CHECKPOINT)
        if found is None:
            last = deque(self.store.names(_STATE), maxlen=1)
            kept = self.store.read(last[0]) if last else None
            if kept is None:
                return Checkpoint(self.origin, 0, fold([])), "", ""
            found = kept[0], ""
        note = found[0].decode("utf-8", "replace")
        try:
            state = Checkpoint.parse(opened(note, self.keys)[0])
        except WrongNoteError as error:
            raise GroundplanError(f"the log's checkpoint can't be trusted: {error}", where=CHECKPOINT) from None
        if state.origin != self.origin:
            raise GroundplanError(f"the checkpoint is of another log: {state.origin}", where=self.origin)
        return state, note, found[1]

    def integrate(self) -> Checkpoint:
        """Add what was written since the last checkpoint to the tree, and sign its new state.

        Raises:
            GroundplanError: The log was changed, so that its state would contradict what was signed before.
        """
        assert self.signer is not None
        for _ in range(_ATTEMPTS):
            before, _, tag = self.signed_state()
            new = list(self._pending(before.size))
            if tag and not new:
                return before
            self._check_end(before)
            made, root = grown(before.size, self.content, new)
            after = Checkpoint(self.origin, before.size + len(new), root)
            for name, content in made.items():
                self.store.write(name, content)
            note = signed(str(after), self.signer).encode()
            try:
                self.store.write(CHECKPOINT, note, tag)
            except TakenError:  # somebody else was faster
                continue
            self.store.write(state_name(after.size), note)
            return after
        raise GroundplanError("others sign checkpoints again and again", where=self.origin, fix="try again")

    def _check_end(self, state: Checkpoint) -> None:
        """What will be continued must be what was signed."""
        index, width = divmod(state.size, WIDTH)
        try:
            right = Tree(state.size, self.content).root() == state.root
            if right and width:
                last = unbundle(self.content(tile_path(ENTRIES, index, width)))
                right = b"".join(map(leaf_hash, last)) == self.content(tile_path(0, index, width))
        except ValueError:
            right = False
        if not right:
            raise GroundplanError("the log's tiles do not lead to its signed root", where=self.origin, fix=_VERIFY)

    def proof(self, number: int, witnessed: str = "") -> str:
        """That a record is in the log, in a file that anybody can check without it (https://c2sp.org/tlog-proof).

        Args:
            witnessed: A checkpoint of the log to which the proof leads, instead of the last one.

        Raises:
            GroundplanError: It is not in the tree.
            WrongNoteError: The checkpoint is not of this log's key.
        """
        state, note, _ = self.signed_state()
        if witnessed:
            state, note = Checkpoint.parse(opened(witnessed, self.keys)[0]), witnessed
        if number >= state.size:
            raise GroundplanError(
                f"record {number} is not in the log's tree, which has {state.size}",
                where=self.origin,
                fix="wait a minute",
            )
        proof = Tree(state.size, self.content).inclusion(number)
        hashes = "".join(f"{base64.b64encode(each).decode()}\n" for each in proof)
        return f"{_PROOF}\nindex {number}\n{hashes}\n{note}"

    def _end(self) -> int:
        """The number after the last record's, as far as a listing tells."""
        known = self._next
        with suppress(GroundplanError):  # who reads the log is told
            known = max(known, self.state().size)
        names = deque(self.store.names(_ENTRY, _entry(known - 1) if known else ""), maxlen=1)
        return int(names[0].removeprefix(_ENTRY)) + 1 if names else known

    def _pending(self, start: int) -> Iterator[bytes]:
        """Records from a number on that are not in the tree yet."""
        number = start
        while found := self.store.read(_entry(number)):
            yield found[0]
            number += 1

    def content(self, name: str) -> bytes:
        """An object of the log.

        Raises:
            GroundplanError: There is none.
        """
        found = self.store.read(name)
        if found is None:
            raise GroundplanError("is missing", where=name, fix=_VERIFY)
        return found[0]


def verify(
    log: Log, witnessed: Sequence[str] = (), *, witness: Key | None = None, inbox: bool = True
) -> Iterator[Finding]:
    """Everything that is wrong with a log; nothing if every record is as it was when a checkpoint was signed.

    Args:
        witnessed: Checkpoints of the log that somebody else has kept.
        witness: Who must have countersigned them.
        inbox: Whether the objects that records were written to are compared, too, one by one.
    """
    store, found, states = log.store, log.store.read(CHECKPOINT), _states(log.store)
    numbers = [int(name.removeprefix(_ENTRY)) for name in store.names(_ENTRY)]
    if found is None:
        if states or witnessed:
            yield Finding(CHECKPOINT, "is missing, and the log had one")
        return
    try:
        state = log.state()
    except GroundplanError as error:
        yield Finding(CHECKPOINT, error.what)
        return
    true = yield from _records(log, state, set(numbers), inbox=inbox)
    beginnings = Beginnings(true)
    for note, name in states:
        yield from _earlier(log, state, beginnings, note, name)
    for note in witnessed:
        yield from _earlier(log, state, beginnings, note, "a witness' checkpoint", witness)


def check_proof(text: str, record: bytes, keys: Sequence[Key], witness: Key | None = None) -> Checkpoint:
    """Check a proof that a record is in a log; returns the log's state.

    Args:
        witness: Who must have countersigned it.

    Raises:
        WrongNoteError, WrongProofError: It shows nothing of the kind.
    """
    head, _, note = text.partition("\n\n")
    kind, *lines = head.split("\n")
    if lines and lines[0].startswith("extra "):
        del lines[0]
    if kind != _PROOF or not lines or not lines[0].startswith("index "):
        raise WrongNoteError(f"no proof: its first line must be {_PROOF}")
    try:
        number, hashes = int(lines[0].removeprefix("index ")), [base64.b64decode(line) for line in lines[1:]]
    except ValueError:
        raise WrongNoteError("no proof: a number and hashes") from None
    state = Checkpoint.parse(opened(note, keys)[0])
    if witness is not None:
        opened(note, [witness])
    check_inclusion(leaf_hash(record), number, state.size, hashes, state.root)
    return state


def state_name(size: int) -> str:
    """The name of a checkpoint that is kept."""
    return f"{_STATE}{size:012d}"


def kept_states(store: Store) -> list[str]:
    """Every checkpoint that a store has kept."""
    return [note for note, _ in _states(store)]


def _entry(number: int) -> str:
    return f"{_ENTRY}{number:012d}"


def _states(store: Store) -> list[tuple[str, str]]:
    """Every checkpoint that was ever signed, and its name."""
    found = [(store.read(name), name) for name in store.names(_STATE)]
    return [(read[0].decode("utf-8", "replace"), name) for read, name in found if read]


def _records(
    log: Log, state: Checkpoint, numbers: set[int], *, inbox: bool
) -> Generator[Finding, None, Sequence[bytes]]:
    """Compare what there is several times: records, their copies in bundles, and hashes, which lead to the root.
    Returns the records' hashes.
    """
    store, size = log.store, state.size
    hashes, copies = list[bytes](), list[bytes]()
    for index, place in enumerate(range(0, size, WIDTH)):
        width = min(WIDTH, size - place)
        tile, copied = (store.read(tile_path(level, index, width)) for level in (0, ENTRIES))
        content = tile[0] if tile else b""
        hashes += [content[32 * number : 32 * number + 32] for number in range(width)]
        try:
            some = [leaf_hash(record) for record in unbundle(copied[0])] if copied else []
        except ValueError:
            some = []
        copies += some if len(some) == width else [b""] * width
        if len(some) != width:
            name = tile_path(ENTRIES, index, width)
            yield Finding(name, "does not have its records" if copied else "is missing", place)
    originals = [b""] * size
    if inbox:
        for number in range(size):
            if read := store.read(_entry(number)):
                originals[number] = leaf_hash(read[0])
    true = _leading_to(state.root, hashes, copies, originals)
    if true is None:
        yield Finding(CHECKPOINT, "neither the records nor their hashes lead to its root")
        true = hashes
    for number, wanted in enumerate(true):
        if copies[number] not in (wanted, b""):
            yield Finding(tile_path(ENTRIES, number // WIDTH), f"record {number} was changed", number)
        if inbox and originals[number] != wanted:
            says = "was changed" if originals[number] else "was removed"
            yield Finding(_entry(number), f"record {number} {says}", number)
    for name, content in tiles_of(true).items():
        read = store.read(name)
        if read is None or read[0] != content:
            yield Finding(name, "its hashes were changed" if read else "is missing")
    gap = next((number for number in range(size, max(numbers, default=0)) if number not in numbers), None)
    if gap is not None:
        yield Finding(_entry(gap), f"record {gap} was removed", gap)
    return true


def _leading_to(root: bytes, *found: list[bytes]) -> list[bytes] | None:
    """Of several lists of the same hashes the one that leads to a root; or what most of them say of each."""
    most = [Counter(each for each in of_one if each).most_common(1) for of_one in zip(*found, strict=True)]
    for candidate in (*found, [one[0][0] if one else b"" for one in most]):
        if all(candidate) and fold(candidate) == root:
            return candidate
    return None


def _earlier(
    log: Log, state: Checkpoint, beginnings: Beginnings, note: str, name: str, witness: Key | None = None
) -> Iterator[Finding]:
    """Whether an earlier state is the beginning of the present one."""
    try:
        earlier = Checkpoint.parse(opened(note, log.keys)[0])
        if witness is not None:
            opened(note, [witness])
    except WrongNoteError as error:
        yield Finding(name, f"can't be trusted: {error}")
        return
    if earlier.origin != log.origin:
        yield Finding(name, f"is of another log: {earlier.origin}")
    elif earlier.size > state.size:
        cut = earlier.size - state.size
        yield Finding(name, f"the log was cut off: {cut} of {earlier.size} records are missing at its end", state.size)
    elif beginnings.root(earlier.size) != earlier.root:
        yield Finding(name, f"the first {earlier.size} records are others than when it was signed")
