"""A Merkle tree, kept in tiles of 256 hashes, and proofs about it.

Hashes, inclusion and consistency proofs are those of RFC 6962 (section 2.1) and are verified as in RFC 9162 (2.1.3.2
and 2.1.4.2); the tiles are those of https://c2sp.org/tlog-tiles. A hash is 32 bytes, SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

HEIGHT = 8
WIDTH = 1 << HEIGHT  # hashes of a full tile
HASH_BYTES = 32
MOST_BYTES = 0xFFFF  # of a record: a bundle tells its length in 16 bits
ENTRIES = "entries"
_sha256 = hashlib.sha256
EMPTY = _sha256(b"").digest()
Read = Callable[[str], bytes]


class WrongProofError(ValueError):
    """A proof does not show what it is said to show."""


def leaf_hash(record: bytes) -> bytes:
    """The hash of a record."""
    return _sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two neighbouring subtrees."""
    return _sha256(b"\x01" + left + right).digest()


def tile_path(level: int | str, index: int, width: int = WIDTH) -> str:
    """Path of a tile: ``tile/0/x001/234``, with ``.p/7`` for one that has only seven hashes yet.

    Args:
        level: Of the hashes; ``entries`` for the bundles of records.
    """
    parts = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        parts.insert(0, f"x{index % 1000:03d}")
    return f"tile/{level}/{'/'.join(parts)}" + (f".p/{width}" if width < WIDTH else "")


def bundle(records: Iterable[bytes]) -> bytes:
    """Records, each after its length."""
    return b"".join(len(record).to_bytes(2, "big") + record for record in records)


def unbundle(content: bytes) -> list[bytes]:
    """The records of a bundle.

    Raises:
        ValueError: It ends within one.
    """
    found, place = [], 0
    while place < len(content):
        length = int.from_bytes(content[place : place + 2], "big")
        record = content[place + 2 : place + 2 + length]
        if len(record) < length or place + 2 > len(content):
            raise ValueError("it ends within a record")
        found.append(record)
        place += 2 + length
    return found


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root of a tree with these leaves."""
    if not hashes:
        return EMPTY
    row = list(hashes)
    while len(row) > 1:
        odd = [row.pop()] if len(row) % 2 else []
        row = [_sha256(b"\x01" + row[place] + row[place + 1]).digest() for place in range(0, len(row), 2)] + odd
    return row[0]


@dataclass
class Tree:
    """The first ``size`` records of a log, whose tiles are read when they are needed.

    Attributes:
        read: Returns a tile by its path.
    """

    size: int
    read: Read
    _tiles: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)

    def root(self) -> bytes:
        """The hash of the whole tree."""
        return self._range(0, self.size)

    def leaf(self, index: int) -> bytes:
        """The hash of one record."""
        return self._tile(0, index >> HEIGHT)[index % WIDTH]

    def inclusion(self, index: int) -> list[bytes]:
        """A proof that a record is in the tree, from its sibling to the root's child.

        Raises:
            IndexError: There is no such record.
        """
        if not 0 <= index < self.size:
            raise IndexError(index)
        proof, low, high = [], 0, self.size
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                proof.append(self._range(middle, high))
                high = middle
            else:
                proof.append(self._range(low, middle))
                low = middle
        return proof[::-1]

    def consistency(self, before: int) -> list[bytes]:
        """A proof that the tree of the first ``before`` records is its beginning.

        Raises:
            IndexError: It has fewer records.
        """
        if not 0 <= before <= self.size:
            raise IndexError(before)
        proof: list[bytes] = []
        low, high, whole = 0, self.size, True
        while 0 < before - low < high - low:
            middle = low + _split(high - low)
            if before <= middle:
                proof.append(self._range(middle, high))
                high = middle
            else:
                proof.append(self._range(low, middle))
                low, whole = middle, False
        if before and not whole:
            proof.append(self._range(low, high))
        return proof[::-1]

    def _range(self, low: int, high: int) -> bytes:
        """The hash over some records: one node where they are a complete subtree, else of their two parts."""
        count = high - low
        if count == 0:
            return EMPTY
        if count & (count - 1) == 0 and low % count == 0:
            return self._node(count.bit_length() - 1, low // count)
        middle = low + _split(count)
        return node_hash(self._range(low, middle), self._range(middle, high))

    def _node(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree of ``2 ** level`` records."""
        above, inside = divmod(level, HEIGHT)
        first = index << inside
        hashes = self._tile(above, first >> HEIGHT)
        start = first % WIDTH
        part = hashes[start : start + (1 << inside)]
        if len(part) < 1 << inside:
            raise ValueError(f"{self._path(above, first >> HEIGHT)} has too few hashes")
        return fold(part)

    def _tile(self, level: int, index: int) -> list[bytes]:
        if (level, index) not in self._tiles:
            content = self.read(self._path(level, index))
            self._tiles[level, index] = [
                content[place : place + HASH_BYTES] for place in range(0, len(content), HASH_BYTES)
            ]
        return self._tiles[level, index]

    def _path(self, level: int, index: int) -> str:
        return tile_path(level, index, min(WIDTH, (self.size >> HEIGHT * level) - index * WIDTH))


def grown(size: int, read: Read, records: Sequence[bytes]) -> tuple[dict[str, bytes], bytes]:
    """What has to be written for records that follow the first ``size``: tiles and bundles by path; and the new root.

    Args:
        read: Returns a tile or bundle by its path.
    """
    made: dict[str, bytes] = {}
    after = size + len(records)

    def known(path: str) -> bytes:
        return made[path] if path in made else read(path)

    _fill(made, ENTRIES, size, [bundle([record]) for record in records], known)
    row, level = [leaf_hash(record) for record in records], 0
    while row:
        full_before = (size >> HEIGHT * level) >> HEIGHT
        _fill(made, level, size >> HEIGHT * level, row, known)
        full_after = (after >> HEIGHT * level) >> HEIGHT
        row = [fold(_hashes(known(tile_path(level, index)))) for index in range(full_before, full_after)]
        level += 1
    return made, Tree(after, known).root()


def _fill(made: dict[str, bytes], level: int | str, start: int, parts: Sequence[bytes], known: Read) -> None:
    """Append parts (hashes, or records after their length) to the tiles of one level, from its ``start``-th on."""
    place = 0
    while place < len(parts):
        index, filled = divmod(start + place, WIDTH)
        content = known(tile_path(level, index, filled)) if filled else b""
        some = parts[place : place + WIDTH - filled]
        made[tile_path(level, index, filled + len(some))] = content + b"".join(some)
        place += len(some)


class Beginnings:
    """The roots of all trees that a tree has gone through.

    Args:
        hashes: Of its records.
    """

    def __init__(self, hashes: Sequence[bytes]) -> None:
        self._levels = [list(hashes)]
        while len(row := self._levels[-1]) > 1:
            pairs = range(0, len(row) - 1, 2)
            self._levels.append([_sha256(b"\x01" + row[place] + row[place + 1]).digest() for place in pairs])

    def root(self, size: int) -> bytes:
        """The root of the first ``size`` records."""
        found, place = [], 0
        for level in range(len(self._levels) - 1, -1, -1):
            if size >> level & 1:
                found.append(self._levels[level][place >> level])
                place += 1 << level
        root = found.pop() if found else EMPTY
        while found:
            root = node_hash(found.pop(), root)
        return root


def tiles_of(hashes: Sequence[bytes]) -> Mapping[str, bytes]:
    """Every tile of hashes of a tree with these leaves, by path."""
    found: dict[str, bytes] = {}
    row, level = list(hashes), 0
    while row:
        for index, place in enumerate(range(0, len(row), WIDTH)):
            some = row[place : place + WIDTH]
            found[tile_path(level, index, len(some))] = b"".join(some)
        row = [fold(row[place : place + WIDTH]) for place in range(0, len(row) - WIDTH + 1, WIDTH)]
        level += 1
    return found


def check_inclusion(record_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that a record is the ``index``-th of a tree.

    Raises:
        WrongProofError: The proof does not show it.
    """
    if not 0 <= index < size:
        raise WrongProofError("the tree has no such record")
    node, last, found = index, size - 1, record_hash
    for sibling in proof:
        if last == 0:
            raise WrongProofError("the proof has too many hashes")
        if node % 2 or node == last:
            found = node_hash(sibling, found)
            while node % 2 == 0 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last or found != root:
        raise WrongProofError("the proof does not lead to the tree's root")


def check_consistency(before: int, old: bytes, size: int, new: bytes, proof: Sequence[bytes]) -> None:
    """Check that a tree is the beginning of another one.

    Raises:
        WrongProofError: The proof does not show it.
    """
    if before > size:
        raise WrongProofError("the tree has become smaller")
    if before in (0, size):
        if proof or (before == size and old != new) or (before == 0 and old != EMPTY):
            raise WrongProofError("the roots differ" if before else "an empty tree needs no proof")
        return
    path = list(proof)
    if before & (before - 1) == 0:
        path.insert(0, old)
    if not path:
        raise WrongProofError("the proof is empty")
    node, last = before - 1, size - 1
    while node % 2:
        node, last = node >> 1, last >> 1
    ours = theirs = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise WrongProofError("the proof has too many hashes")
        if node % 2 or node == last:
            ours, theirs = node_hash(sibling, ours), node_hash(sibling, theirs)
            while node % 2 == 0 and node:
                node, last = node >> 1, last >> 1
        else:
            theirs = node_hash(theirs, sibling)
        node, last = node >> 1, last >> 1
    if last or ours != old or theirs != new:
        raise WrongProofError("the proof does not lead to both roots")


def _split(count: int) -> int:
    """The largest power of two below a number of records."""
    return 1 << (count - 1).bit_length() - 1


def _hashes(content: bytes) -> list[bytes]:
    return [content[place : place + HASH_BYTES] for place in range(0, len(content), HASH_BYTES)]
