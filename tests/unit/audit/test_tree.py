"""Merkle trees in tiles: RFC 6962's own tree, other people's roots, and proofs of every record."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from pipelines.audit.tree import (
    EMPTY,
    WIDTH,
    Beginnings,
    Tree,
    WrongProofError,
    check_consistency,
    check_inclusion,
    fold,
    grown,
    leaf_hash,
    tile_path,
    tiles_of,
    unbundle,
)

# The leaves of Certificate Transparency's test tree, and the roots of its first 1 to 8 leaves
# (https://github.com/google/certificate-transparency, merkle_tree_test.cc).
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def built(records: Sequence[bytes], step: int = 10**9) -> tuple[dict[str, bytes], bytes]:
    """Tiles and root of a log to which records were added in steps."""
    tiles, root, size = dict[str, bytes](), EMPTY, 0
    while size < len(records):
        some = records[size : size + step]
        made, root = grown(size, tiles.__getitem__, some)
        tiles |= made
        size += len(some)
    return tiles, root


def test_the_roots_are_those_of_certificate_transparency() -> None:
    records = [bytes.fromhex(leaf) for leaf in LEAVES]
    for size, root in enumerate(ROOTS, 1):
        assert fold([leaf_hash(record) for record in records[:size]]).hex() == root
        assert built(records[:size])[1].hex() == root == built(records[:size], 1)[1].hex()
    hashes = [leaf_hash(record) for record in records]
    assert [Beginnings(hashes).root(size).hex() for size in range(1, 9)] == ROOTS
    assert fold([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" and fold([]) == EMPTY


@pytest.mark.parametrize(
    ("level", "index", "width", "path"),
    [
        (0, 0, WIDTH, "tile/0/000"),
        (0, 1234067, WIDTH, "tile/0/x001/x234/067"),
        (2, 1000, 17, "tile/2/x001/000.p/17"),
        ("entries", 999, 1, "tile/entries/999.p/1"),
    ],
)
def test_paths_are_the_specification_s(level: int | str, index: int, width: int, path: str) -> None:
    assert tile_path(level, index, width) == path


def test_a_tree_of_70_000_has_the_tiles_that_the_specification_counts() -> None:
    tiles, root = built([b"%d" % number for number in range(70_000)], 9_973)
    there = {path for path in tiles if not path.startswith("tile/entries/")}
    final = set(tiles_of([leaf_hash(b"%d" % number) for number in range(70_000)]))
    assert final <= there
    assert sum(path.startswith("tile/0/") and ".p/" not in path for path in final) == 273
    assert {path for path in final if ".p/" in path} == {"tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"}
    assert all(len(tiles[path]) == 32 * int(path.partition(".p/")[2] or WIDTH) for path in there)
    assert Tree(70_000, tiles.__getitem__).root() == root
    assert unbundle(tiles["tile/entries/273.p/112"])[-1] == b"69999"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 255, 256, 257, 511, 513, 1000])
def test_every_record_and_every_beginning_is_proven_and_nothing_else(size: int) -> None:
    records = [b"record %d" % number for number in range(size)]
    hashes = [leaf_hash(record) for record in records]
    tiles, root = built(records, 100)
    tree, chosen = Tree(size, tiles.__getitem__), random.Random(size)
    for number in {0, size - 1, *chosen.sample(range(size), min(size, 30))}:
        proof = tree.inclusion(number)
        check_inclusion(hashes[number], number, size, proof, root)
        wrong = [
            (hashes[number - 1] if size > 1 else leaf_hash(b"other"), number, size, proof, root),
            (hashes[number], number + 1, size, proof, root),
            (hashes[number], number, size, proof[:-1] if proof else [EMPTY], root),
            (hashes[number], number, size, [*proof, EMPTY], root),
            (hashes[number], number, size, proof, EMPTY),
        ]
        for each in wrong:
            with pytest.raises(WrongProofError):
                check_inclusion(*each)
    for before in {1, size, *chosen.sample(range(size), min(size, 30))}:
        old, proof = fold(hashes[:before]), tree.consistency(before)
        check_consistency(before, old, size, root, proof)
        if 0 < before < size:
            for each in (
                (before, EMPTY, size, root, proof),
                (before, old, size, EMPTY, proof),
                (before, old, size, root, proof[:-1]),
                (before, old, size, root, [*proof, EMPTY]),
            ):
                with pytest.raises(WrongProofError):
                    check_consistency(*each)
    with pytest.raises(WrongProofError, match="smaller"):
        check_consistency(size + 1, root, size, root, [])
    with pytest.raises(IndexError):
        tree.inclusion(size)
    with pytest.raises(IndexError):
        tree.consistency(size + 1)
