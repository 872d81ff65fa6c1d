"""Which code trains a model: its revision, who wrote it, and a digest of what was really used."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from spec.model_folders import REVISIONS, is_model
from spec.names import HOME, PACKAGES
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
    """SHA-256 of the script, of every module of the user's that this process has imported, and of what declares
    packages. Of a notebook its code counts, not its outputs.

    Args:
        more: Further files, such as a module of features that another process runs.
    """
    folder = script.parent
    digest = hashlib.sha256()
    for path in _used(script, more):
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        content = _without_outputs(path) if path.suffix == ".ipynb" else path.read_bytes()
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def code_files(script: Path, more: Iterable[Path] = ()) -> dict[str, str]:
    """SHA-256 of each of these files, by its path relative to the script's folder."""
    return {
        os.path.relpath(path, script.parent): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in _used(script, more)
    }


def _used(script: Path, more: Iterable[Path]) -> list[Path]:
    folder = script.parent
    used = {script, *more, *(folder / name for name in _DECLARED)}
    used |= {Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    return sorted(path for path in used if path.is_file() and not _is_installed(path, folder))


def _is_installed(path: Path, folder: Path) -> bool:
    """Part of Python, of a package, or of this platform: their versions are in the environment's record."""
    if path.is_relative_to(folder):
        return "site-packages" in path.relative_to(folder).parts
    roots = [Path(sys.prefix), Path(sys.base_prefix), *(HOME / name for name in PACKAGES)]
    return "site-packages" in path.parts or any(path.is_relative_to(root) for root in roots)


def _without_outputs(notebook: Path) -> bytes:
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        code = [cell.get("source") for cell in cells if cell.get("cell_type") == "code"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return notebook.read_bytes()
    return json.dumps(["".join(part) if isinstance(part, list) else part for part in code]).encode()
