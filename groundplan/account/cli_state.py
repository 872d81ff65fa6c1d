"""Pulumi's own side, as far as files show: is the CLI installed, which backend, can its secrets be opened, is the stack
locked, whose state is it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

_NAMED = 8  # most resources listed in a message


@dataclass(frozen=True)
class Found:
    """One finding: ``state`` is ok, missing or unknown; ``fix`` is what to type or do."""

    what: str
    state: str
    says: str
    fix: str = ""


def look(root: Path, project: str, stack: str, environment: Mapping[str, str], s3: Any = None) -> Iterator[Found]:
    """The findings.

    Args:
        s3: Client that reads a backend in S3; without one such a backend is not checked.
    """
    wanted = (root / ".pulumi.version").read_text(encoding="utf-8").strip()
    found = _version()
    if not found:
        yield Found(
            "Pulumi CLI",
            "missing",
            "pulumi is not on the PATH",
            f"install version {wanted}: https://www.pulumi.com/docs/install/, or `make pulumi`",
        )
    elif _numbers(found) < _numbers(wanted):
        yield Found(
            "Pulumi CLI",
            "missing",
            f"version {found} is older than {wanted}, which the tests use",
            f"install version {wanted} or a newer one",
        )
    else:
        yield Found("Pulumi CLI", "ok", f"version {found}")
    backend = _backend(environment)
    if not backend:
        yield Found(
            "backend",
            "missing",
            "not logged in to a backend",
            "pulumi login s3://BUCKET (`groundplan bootstrap` creates one)",
        )
        return
    yield Found("backend", "ok", re.sub(r"//[^/@]*@", "//", backend))
    file = root / "stacks" / f"Pulumi.{stack}.yaml"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if "encryptionsalt:" in text and not any(
        environment.get(name) for name in ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")
    ):
        yield Found(
            "secrets",
            "missing",
            f"{file.name} is encrypted with a passphrase, and none is set",
            "set PULUMI_CONFIG_PASSPHRASE_FILE; or `pulumi stack change-secrets-provider awskms://alias/...`",
        )
    try:
        store = _store(backend, s3)
        if store is None:
            yield Found("state", "unknown", f"{urlsplit(backend).scheme} backends are not checked")
            return
        yield from _state(store, project, stack, found or wanted)
    except Exception as error:  # a folder or a bucket that can't be read
        yield Found(
            "state",
            "missing",
            f"the backend can't be read: {type(error).__name__}: {str(error)[:200]}",
            "log in to the right backend: pulumi login URL",
        )


def _state(store: _Store, project: str, stack: str, version: str) -> Iterator[Found]:
    locks = [
        name
        for folder in (f"{project}/{stack}", stack)
        for name in store.names(f".pulumi/locks/organization/{folder}/")
    ]
    if locks:
        who = json.loads(store.read(locks[0]) or b"{}")
        by = (
            f"{who.get('username', 'unknown user')}@{who.get('hostname', '?')}, process {who.get('pid', '?')}, since"
            f" {who.get('timestamp', '?')}"
        )
        yield Found(
            "state",
            "missing",
            f"stack {stack} is locked by {by}",
            f"wait until that update has ended; if it has died: pulumi cancel -s {stack}",
        )
    text = next(
        (
            read
            for name in (f"{project}/{stack}.json", f"{stack}.json")
            if (read := store.read(f".pulumi/stacks/{name}"))
        ),
        b"",
    )
    if not text:
        yield Found("state", "ok", f"stack {stack} has none yet: the first `pulumi up` creates it")
        return
    latest = (json.loads(text).get("checkpoint") or {}).get("latest") or {}
    made_by = str((latest.get("manifest") or {}).get("version", "")).lstrip("v")
    pending = latest.get("pending_operations") or []
    if made_by and _numbers(made_by) > _numbers(version):
        yield Found(
            "state",
            "missing",
            f"the state was written by Pulumi {made_by}, which is newer than {version}",
            f"install Pulumi {made_by} or a newer one",
        )
    elif pending:
        yield _interrupted(pending, stack)
    else:
        yield Found(
            "state", "ok", f"{len(latest.get('resources') or [])} resources, written by Pulumi {made_by or '?'}"
        )


def _interrupted(pending: list[dict[str, Any]], stack: str) -> Found:
    """Whether a resource that was being created exists is not recorded; a refresh resolves the other operations."""
    resources = [item.get("resource") or {} for item in pending]
    names = [f"{str(item.get('urn', '?')).rpartition('::')[2]} ({item.get('type', '?')})" for item in resources]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    says = (
        f"{len(pending)} operations were interrupted, and their outcome is unknown: {', '.join(names[:_NAMED])}{more}"
    )
    fix = f"pulumi refresh -s {stack}, then pulumi up -s {stack}"
    if any(item.get("type") == "creating" for item in pending):
        fix = (
            f"delete what was created anyway (it is new and empty), then pulumi refresh -s {stack}"
            f" --clear-pending-creates, pulumi up -s {stack}"
        )
    return Found("state", "missing", says, fix)


def _version() -> str:
    path = shutil.which("pulumi")
    if not path:
        return ""
    done = subprocess.run(
        [path, "version"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"},
    )
    return done.stdout.strip().lstrip("v")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("-")[0])[:3])


def _backend(environment: Mapping[str, str]) -> str:
    if url := environment.get("PULUMI_BACKEND_URL"):
        return url
    home = Path(environment.get("PULUMI_HOME") or Path(environment.get("HOME", "/")) / ".pulumi")
    try:
        return str(json.loads((home / "credentials.json").read_text(encoding="utf-8")).get("current") or "")
    except (OSError, ValueError):
        return ""


class _Store(Protocol):
    def names(self, folder: str) -> list[str]: ...

    def read(self, name: str) -> bytes: ...


class _Files:
    def __init__(self, root: Path) -> None:
        self._root = root
        if not root.is_dir():
            raise FileNotFoundError(f"folder not found: {root}")

    def names(self, folder: str) -> list[str]:
        return sorted(str(path.relative_to(self._root)) for path in (self._root / folder).glob("*.json"))

    def read(self, name: str) -> bytes:
        path = self._root / name
        return path.read_bytes() if path.is_file() else b""


class _Bucket:
    def __init__(self, s3: Any, bucket: str, prefix: str) -> None:
        self._s3, self._bucket, self._prefix = s3, bucket, f"{prefix}/" if prefix else ""

    def names(self, folder: str) -> list[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._prefix}{folder}"
        )
        return [item["Key"].removeprefix(self._prefix) for page in pages for item in page.get("Contents", ())]

    def read(self, name: str) -> bytes:
        try:
            body: bytes = self._s3.get_object(Bucket=self._bucket, Key=f"{self._prefix}{name}")["Body"].read()
        except self._s3.exceptions.NoSuchKey:
            return b""
        return body


def _store(backend: str, s3: Any) -> _Store | None:
    parts = urlsplit(backend)
    if parts.scheme == "file":
        folder = unquote(parts.netloc + parts.path)
        return _Files(Path(folder).expanduser())
    if parts.scheme == "s3" and s3 is not None:
        return _Bucket(s3, parts.netloc, parts.path.strip("/"))
    return None
