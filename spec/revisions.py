"""The revision of a file or folder in its git repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

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
