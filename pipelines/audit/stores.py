"""Where a log lies: in a bucket, or in a folder."""

from __future__ import annotations

import fcntl
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.audit.log import TakenError
from spec.errors import GroundplanError


@dataclass(frozen=True)
class Bucket:
    """Objects of a bucket below a prefix, which ends with a slash; conditional writes keep writers apart."""

    s3: Any
    bucket: str
    prefix: str

    def read(self, name: str) -> tuple[bytes, str] | None:
        """An object and its tag."""
        try:
            answer = self.s3.get_object(Bucket=self.bucket, Key=self.prefix + name)
        except self.s3.exceptions.NoSuchKey:
            return None
        except self.s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in ("AccessDenied", "403"):
                raise
            raise GroundplanError(
                "is missing, or your credentials may not read it",
                where=f"s3://{self.bucket}/{self.prefix}{name}",
                fix="docs/permissions.md lists the roles; a witness' account is named in witness_account",
            ) from None
        return answer["Body"].read(), answer["ETag"]

    def write(self, name: str, content: bytes, tag: str | None = None) -> None:
        """Write an object; who finds it there as it should be has written it.

        Args:
            tag: Of what is replaced; empty for what must not exist, None for whatever is there.

        Raises:
            TakenError: Somebody else has written first.
        """
        condition = {} if tag is None else {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
        try:
            self.s3.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=content, **condition)
        except self.s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise
            # Refused by its own first attempt, whose answer was lost?
            found = self.read(name)
            if found is None or found[0] != content:
                raise TakenError(name) from None

    def names(self, begin: str, after: str = "") -> Iterator[str]:
        """Names that begin with a text."""
        more = {"StartAfter": self.prefix + after} if after else {}
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix + begin, **more
        )
        for page in pages:
            for item in page.get("Contents", []):
                yield item["Key"].removeprefix(self.prefix)


def store_at(place: str) -> Bucket | Folder:
    """What a user names: ``s3://bucket/prefix``, or a folder."""
    if not place.startswith("s3://"):
        return Folder(Path(place))
    import boto3

    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    return Bucket(boto3.client("s3"), bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else "")


@dataclass(frozen=True)
class Folder:
    """Files of a folder: what has been exported, or is measured."""

    path: Path

    def read(self, name: str) -> tuple[bytes, str] | None:
        """A file and its tag."""
        try:
            content = (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        return content, hashlib.sha256(content).hexdigest()

    def write(self, name: str, content: bytes, tag: str | None = None) -> None:
        """Write a file."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        temporary.write_bytes(content)
        try:
            if tag == "":
                file.hardlink_to(temporary)  # of two, one fails
                temporary.unlink()
            elif tag is None:
                temporary.replace(file)
            else:
                with (self.path / ".lock").open("w") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    found = self.read(name)
                    if found is None or found[1] != tag:
                        raise FileExistsError
                    temporary.replace(file)
        except FileExistsError:
            temporary.unlink()
            raise TakenError(name) from None

    def names(self, begin: str, after: str = "") -> Iterator[str]:
        """Names that begin with a text."""
        start = self.path / begin
        folder = start if begin.endswith("/") else start.parent
        files = (file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
        found = (str(file.relative_to(self.path)) for file in files)
        yield from sorted(name for name in found if name.startswith(begin) and name > after)
