"""Checkpoints: what a script has saved survives its machine, and the same run finds it again.

A script that trains for long saves its state into the folder that ``GROUNDPLAN_CHECKPOINTS`` names, and looks there
before it begins. SageMaker copies that folder to S3 and back by itself (``CheckpointConfig``, managed spot training);
everywhere else this module does.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.context import Context
from spec.zones import CHECKPOINTS

VARIABLE = "GROUNDPLAN_CHECKPOINTS"
COPIED_EVERY_S = 1.0
QUIET_S = 0.5  # what was changed just now may be half written
LONGEST_UNQUIET = 10  # looks; a script that saves all the time replaces its files as a whole, or loses little


@contextmanager
def kept(context: Context) -> Iterator[None]:
    """Give the script a folder for its checkpoints, with those that an interrupted attempt of this run has left."""
    if os.environ.get(VARIABLE):  # SageMaker's own
        yield
        return
    with TemporaryDirectory() as folder:
        copies = _Copies(context, Path(folder))
        copies.restore()
        os.environ[VARIABLE] = folder
        ended = threading.Event()
        copier = threading.Thread(target=copies.repeat, args=(ended,), daemon=True)
        copier.start()
        try:
            yield
        finally:
            ended.set()
            copier.join()
            os.environ.pop(VARIABLE, None)
            copies.store(last=True)


class _Copies:
    """The folder's copy in the models zone."""

    def __init__(self, context: Context, folder: Path) -> None:
        self._context, self._folder = context, folder
        self._bucket = context.outputs.buckets["models"]
        self._prefix = f"{CHECKPOINTS}{context.model}/{context.run}/"
        self._unquiet: dict[Path, int] = {}
        self._stored: dict[Path, tuple[int, int]] = {}

    def restore(self) -> None:
        """Fetch what was saved."""
        for key in self._context.keys("models", self._prefix):
            path = self._folder / key.removeprefix(self._prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._context.s3.download_file(self._bucket, key, str(path))
            self._stored[path] = _state(path)
        if self._stored:
            print(f"continues from {len(self._stored)} files that an earlier attempt has saved")

    def repeat(self, ended: threading.Event) -> None:
        """Store what changes, until told to end."""
        while not ended.wait(COPIED_EVERY_S):
            self.store()

    def store(self, *, last: bool = False) -> None:
        """Store files that have changed.

        Args:
            last: Also what has just been written.
        """
        for path in sorted(self._folder.rglob("*")):
            try:
                if not path.is_file() or (now := _state(path)) == self._stored.get(path):
                    continue
                self._unquiet[path] = self._unquiet.get(path, 0) + 1
                quiet = time.time() - now[1] / 1e9 > QUIET_S or self._unquiet[path] > LONGEST_UNQUIET
                if not (quiet or last):
                    continue
                key = f"{self._prefix}{path.relative_to(self._folder).as_posix()}"
                self._context.s3.upload_file(str(path), self._bucket, key)
                self._stored[path] = now
                self._unquiet[path] = 0
            except FileNotFoundError:  # the script has replaced or removed it meanwhile
                continue


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
