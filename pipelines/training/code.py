"""Which code trains a model: its revision, who wrote it, and a digest of what was really used."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from spec.model_folders import REVISIONS, is_model
from spec.revisions import revision_of

_DECLARED = ("requirements.txt", "pyproject.toml", "python_env.yaml", "conda.yaml", "MLproject")


def code_version(script: Path) -> dict[str, str]:
    """The commit of the script (with ``-dirty`` if it was changed since), its author's address, and its SHA-256.

    In a container image there is no repository; the program has put the revisions of its models beside them.
    """
    sha = hashlib.sha256(script.read_bytes()).hexdigest()
    built = script.parent.parent / REVISIONS
    known = json.loads(built.read_text(encoding="utf-8")).get(script.parent.name) if built.is_file() else None
    found = known or revision_of(script.parent if is_model(script.parent) else script)
    return {"commit": found["commit"] or "not committed", "author": found["author"], "sha256": sha}


def code_digest(script: Path, more: Iterable[Path] = ()) -> str:
    """SHA-256 of the script, of every module beside it that this process has imported, and of what declares packages.

    Args:
        more: Further files, such as a module of features that another process runs.
    """
    folder = script.parent
    imported = {Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    used = {script, *more} | {
        path for path in imported if path.is_relative_to(folder) and "site-packages" not in path.parts
    }
    used |= {folder / name for name in _DECLARED}
    digest = hashlib.sha256()
    for path in sorted(path for path in used if path.is_file()):
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
