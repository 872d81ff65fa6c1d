"""The manifest of a range of events: its files, and which of them are in quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

Runs = tuple[tuple[int, int], ...]  # of offsets: first and last of each run


@dataclass(frozen=True)
class RawFile:
    """One Parquet file: its key in the bucket, rows, and SHA-256.

    Attributes:
        quarantined: Findings for which its rows are in quarantine (``field: kind``); empty for ordinary files.
        offsets: Which rows of the range a quarantined file contains.
        deletion: Its rows are keys that messages without a value have deleted.
    """

    key: str
    rows: int
    sha256: str
    quarantined: tuple[str, ...] = ()
    offsets: Runs = ()
    deletion: bool = False


@dataclass(frozen=True)
class RangeManifest:
    """What happened to the events of one partition from ``first`` up to, but not including, ``last``.

    Attributes:
        contract: Id and version of the contract they were validated against.
        events: Events in the range; each is a row of a file (of events or of deletions), or a dead letter.
        quarantined: Findings for which the whole range is in quarantine. Only older manifests have it; when they are
            read, their files repeat it.
        latest: Events with a later time were refused (ISO 8601), so that writing the range again on any day gives
                the
            same result.
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
        """Rows of all files of events."""
        return sum(file.rows for file in self.files if not file.deletion)

    @property
    def apart(self) -> dict[tuple[str, ...], Runs]:
        """Offsets of the quarantined rows, by findings."""
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


def document_of(manifest: RangeManifest) -> dict[str, Any]:
    """For JSON. Empty fields of files are left out, so that a manifest without quarantine has the same bytes as in
    older versions.
    """
    files = [
        {
            name: value
            for name, value in asdict(file).items()
            if value or name not in ("quarantined", "offsets", "deletion")
        }
        for file in manifest.files
    ]
    return {**asdict(manifest), "files": files}


def manifest_of(document: dict[str, Any]) -> RangeManifest:
    """From JSON."""
    whole = tuple(document["quarantined"])
    files = tuple(
        RawFile(
            file["key"],
            file["rows"],
            file["sha256"],
            tuple(file.get("quarantined", whole)),
            tuple((first, last) for first, last in file.get("offsets", ())),
            bool(file.get("deletion")),
        )
        for file in document["files"]
    )
    return RangeManifest(**{**document, "files": files, "quarantined": whole})
