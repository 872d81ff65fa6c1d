"""The revision of a file or folder in its git repository, and the project as it was at one."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from spec.errors import UsageError

_TIMEOUT_S = 10


def revision_of(path: Path) -> dict[str, str]:
    """The last commit that changed a file or folder, and its author's e-mail address; both empty outside a repository.

    What was changed since then has ``-dirty`` after its commit, and is whoever's git is set up here.
    """
    if not _git(path, "rev-parse", "HEAD"):
        return {"commit": "", "author": _git(path, "config", "user.email").lower()}
    if _git(path, "status", "--porcelain", "--", path.name if path.is_file() else "."):
        commit, author = _git(path, "rev-parse", "HEAD"), _git(path, "config", "user.email")
        return {"commit": f"{commit}-dirty", "author": author.lower()}
    commit, _, author = _git(path, "log", "-1", "--format=%H %ae", "--", str(path)).partition(" ")
    # What git ignores has no commit, but somebody is working on it here.
    return {"commit": commit, "author": (author or _git(path, "config", "user.email")).lower()}


@contextmanager
def checked_out(root: Path, revision: str, where: str = "--against") -> Iterator[Path]:
    """A folder with the project as it was; removed afterwards.

    Args:
        where: What named the revision, for errors.

    Raises:
        UsageError: This is not a git checkout, or there is no such revision.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["failed"])[-1]
            raise UsageError(
                f"unknown revision {revision!r}"
                if said.endswith("Needed a single revision")
                else f"git {arguments[0]}: {said}",
                where=f"{where} {revision}".strip(),
            )
        return done.stdout.strip()

    top = Path(git("rev-parse", "--show-toplevel"))
    commit = git("rev-parse", "--verify", f"{revision}^{{commit}}")
    with TemporaryDirectory(prefix="groundplan-") as folder:
        archive = subprocess.run(
            ["git", "archive", "--format=tar", commit], cwd=top, capture_output=True, check=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            # Python before 3.11.4 has no filter; git writes no path that leads outside.
            files.extraction_filter = getattr(tarfile, "data_filter", None)
            files.extractall(folder)  # noqa: S202
        yield Path(folder).resolve() / root.relative_to(top)


def _git(path: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=path.parent if path.is_file() else path,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
