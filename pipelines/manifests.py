"""What a range of events became: a manifest that names its files, and what of them is kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

Runs = tuple[tuple[int, int], ...]  # of offsets, first and last of each


@dataclass(frozen=True)
class RawFile:
    """One Parquet file: its key in the bucket, rows, and SHA-256.

    Attributes:
        quarantined: Why its rows are kept apart (``field: kind``); empty where they are not.
        offsets: Which rows of the range those are.
    """

    key: str
    rows: int
    sha256: str
    quarantined: tuple[str, ...] = ()
    offsets: Runs = ()


@dataclass(frozen=True)
class Manifest:
    """What became of the events of one partition from ``first`` up to, not with, ``last``.

    Attributes:
        contract: Id and version of the contract they were held to.
        events: Events in the range; each is a row of a file, or a dead letter.
        quarantined: Why all of its rows are kept apart. Ranges of before single rows were have it; each of their files says so, too.
        latest: Events with a later time were refused (ISO 8601): whoever writes the range again decides alike, on whatever day.
    """

    topic: str
    contract: str
    partition: int
    first: int
    last: int
    events: int
    dead_letters: int
    files: tuple[RawFile, ...]
    quarantined: tuple[str, ...] = ()
    latest: str = ""

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def apart(self) -> dict[tuple[str, ...], Runs]:
        """Offsets of the rows that are kept apart, by why."""
        found: dict[tuple[str, ...], Runs] = {}
        for file in self.files:
            if file.offsets:
                found[file.quarantined] = (*found.get(file.quarantined, ()), *file.offsets)
        return found


def runs_of(offsets: Sequence[int]) -> Runs:
    """Ascending offsets as runs: first and last of each."""
    runs: list[tuple[int, int]] = []
    for offset in offsets:
        if runs and offset == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], offset)
        else:
            runs.append((offset, offset))
    return tuple(runs)


def document_of(manifest: Manifest) -> dict[str, Any]:
    """For JSON: what a file has not is left away, so that manifests of before have the bytes that they had."""
    files = [{name: value for name, value in asdict(file).items() if value or name not in ("quarantined", "offsets")} for file in manifest.files]
    return {**asdict(manifest), "files": files}


def manifest_of(document: dict[str, Any]) -> Manifest:
    """From JSON."""
    whole = tuple(document["quarantined"])
    files = tuple(
        RawFile(
            file["key"], file["rows"], file["sha256"], tuple(file.get("quarantined", whole)), tuple((first, last) for first, last in file.get("offsets", ()))
        )
        for file in document["files"]
    )
    return Manifest(**{**document, "files": files, "quarantined": whole})
