"""What the container image is built from: the files that ``pipelines/Dockerfile.dockerignore`` lets in."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from spec.errors import UsageError
from spec.model_folders import REVISIONS
from spec.names import HOME
from spec.revisions import revision_of

DOCKERFILE = "pipelines/Dockerfile"
FOLDER = "/opt/groundplan"  # the project's folder in the image
_MODELS, _LOCK = "models", "requirements.lock"
_TAG_LENGTH = 16


def image_files(root: Path) -> dict[str, str]:
    """Files of the build, path on this machine by path in the image: the project's models and locked packages, and this
    code.

    Args:
        root: The project's folder.

    Raises:
        UsageError: There is no lock file with the packages to install.
    """
    allowed = [
        line[1:]
        for line in (HOME / f"{DOCKERFILE}.dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    bases = dict.fromkeys(allowed, HOME) | {_MODELS: root, _LOCK: root if (root / _LOCK).is_file() else HOME}
    if not (bases[_LOCK] / _LOCK).is_file():
        raise UsageError(
            f"{_LOCK} not found; it lists the packages of the container image",
            where=str(root),
            fix="copy it from your release of groundplan",
        )
    found = {}
    for name, base in bases.items():
        for path in sorted((base / name).rglob("*")) if (base / name).is_dir() else [base / name]:
            if path.is_file() and "__pycache__" not in path.parts:
                found[path.relative_to(base).as_posix()] = str(path)
    return found


def image_revisions(root: Path) -> dict[str, str]:
    """Text of the one file that is made for the build, by its path: the revision of each model, since an image has no
    repository.
    """
    found = {folder.name: revision_of(folder) for folder in sorted((root / _MODELS).glob("*/"))}
    return {f"{_MODELS}/{REVISIONS}": json.dumps(found, indent=1, sort_keys=True)}


def image_tag(files: dict[str, str], texts: dict[str, str] | None = None) -> str:
    """A name for the files' content, so that the same project gives the same image, wherever it is built.

    Args:
        texts: Files that are made for the build, by their paths.
    """
    contents = {name: Path(file).read_bytes() for name, file in files.items()}
    contents |= {name: text.encode() for name, text in (texts or {}).items()}
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()[:_TAG_LENGTH]
