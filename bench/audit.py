"""The audit log: writing a record, verifying a million of them beside what hashing them takes, and proving one."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pipelines.audit.log import Log, verify
from pipelines.audit.notes import Checkpoint, Key, Signer, signed
from pipelines.audit.stores import Folder
from pipelines.audit.tree import grown

ORIGIN, RECORDS, APPENDED, PROVEN = "bench.example.com/log", 1_000_000, 500, 100
ROUNDS = 3


class Memory(dict[str, bytes]):
    """Objects in memory: what is measured is the log, not a disk."""

    def read(self, name: str) -> tuple[bytes, str] | None:
        """An object."""
        return (self[name], "") if name in self else None

    def write(self, name: str, content: bytes, tag: str | None = None) -> None:
        """Write an object."""
        self[name] = content

    def names(self, begin: str, after: str = "") -> Iterator[str]:
        """Names that begin with a text."""
        yield from sorted(name for name in self if name.startswith(begin) and name > after)


def record(number: int) -> bytes:
    return (
        b'{"action":"approve","actor":"ben@example.com","details":{"reason":"the KPI is better, and nothing speaks'
        b' against it","version":"v1.0.%d"},"from":"arn:aws:sts::123456789012:assumed-role/operations/ben","model":"'
        b'diabetes-rf","run":"20261130123856-a4dd","time":"2026-11-30T12:39:15.763+00:00"}' % number
    )


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    private = Ed25519PrivateKey.generate()
    key = Key(ORIGIN, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    signer = Signer(key, private.sign)
    with TemporaryDirectory() as folder:
        log = Log(Folder(Path(folder)), ORIGIN, (key,), signer)
        took = seconds(lambda: [log.append(record(number)) for number in range(APPENDED)]) / APPENDED
        log.integrate()

        def both() -> None:
            log.append(record(0))
            log.integrate()

        tree = statistics.median(seconds(both) for _ in range(20))
    print(f"append, in a folder: {1000 * took:.1f} ms; with the tree and its signature {1000 * tree:.1f} ms")
    records, store = [record(number) for number in range(RECORDS)], Memory()
    made, root = grown(0, store.__getitem__, records)
    store.update(made)
    store["checkpoint"] = signed(str(Checkpoint(ORIGIN, RECORDS, root)), signer).encode()
    verified, hashed = [], []
    for _ in range(ROUNDS):
        hashed.append(seconds(lambda: [hashlib.sha256(each).digest() for each in records]))
        verified.append(seconds(lambda: list(verify(Log(store, ORIGIN, (key,)), inbox=False))))
    took, other = statistics.median(verified), statistics.median(hashed)
    print(f"verify {RECORDS:,} records: {RECORDS / took:,.0f} a second, {took / other:.1f} x hashing them alone")
    log = Log(store, ORIGIN, (key,))
    numbers = range(0, RECORDS, RECORDS // PROVEN)
    took = statistics.median(seconds(partial(log.proof, number)) for number in numbers)
    print(f"prove one of {RECORDS:,}: {1000 * took:.2f} ms")


if __name__ == "__main__":
    main()
