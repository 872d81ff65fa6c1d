"""A model read from where the pipeline publishes it, and reloaded when another one is published there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.registry.approved import APPROVED, check
from pipelines.registry.signing import Signatures
from pipelines.serving.models.bundle import Model, load, unpack

EVERY_S = 30.0
_log = logging.getLogger("groundplan.published")


def check_folder(folder: Path, s3: Any, package: str, signatures: Signatures) -> None:
    """Check a model's files against what was published beside their package.

    Args:
        package: ``s3://`` address of ``model.tar.gz``.

    Raises:
        NotApprovedError: They are not those of an approved version.
    """
    bucket, _, key = package.removeprefix("s3://").partition("/")
    try:
        told = s3.get_object(Bucket=bucket, Key=f"{key.rpartition('/')[0]}/{APPROVED}")["Body"].read()
    except s3.exceptions.NoSuchKey:
        told = b""
    check({path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}, told, signatures)


class Published:
    """The package at ``address`` (``s3://bucket/<model>/current/model.tar.gz``).

    One object contains the whole model, so that no reader ever sees half of a new one.
    """

    def __init__(self, address: str, s3: Any, signatures: Signatures | None = None) -> None:
        """Args:
        signatures: Keys with which the package is checked; without them, any is served.
        """
        self._bucket, _, self._key = address.removeprefix("s3://").partition("/")
        self._s3, self._etag, self._signatures = s3, "", signatures

    def changed(self) -> tuple[bool, Model | None]:
        """Whether the package has changed since the last call, and its model; None where there is none."""
        from botocore.exceptions import ClientError

        try:
            if self._s3.head_object(Bucket=self._bucket, Key=self._key)["ETag"] == self._etag:
                return False, None
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._key)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
                return False, None
            raise
        with TemporaryDirectory() as folder:
            unpack(answer["Body"].read(), Path(folder))
            if self._signatures is not None:
                check_folder(Path(folder), self._s3, f"s3://{self._bucket}/{self._key}", self._signatures)
            model = load(Path(folder))
        self._etag = answer["ETag"]
        return True, model

    def watch(self, use: Callable[[Model | None], None], every_s: float = EVERY_S) -> threading.Event:
        """Pass the model on now and whenever it changes, from a thread; if reading fails, the last one stays in use.

        Returns:
            An event that ends the watch when it is set.
        """
        pause = threading.Event()

        def look() -> None:
            try:
                new, model = self.changed()
                if new:
                    use(model)
            except Exception as error:
                _log.warning(
                    "the model at %s/%s can't be read: %s: %s", self._bucket, self._key, type(error).__name__, error
                )

        def forever() -> None:
            while not pause.wait(every_s):
                look()

        look()
        threading.Thread(target=forever, daemon=True).start()
        return pause
