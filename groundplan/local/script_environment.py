"""What a script needs besides the platform's packages, in its own environment: created once, kept for the next run.

It reads, in this order: the script's own block (PEP 723), a ``requirements.txt`` beside it, an MLflow project's
``python_env.yaml`` or the pip part of its ``conda.yaml``, a ``pyproject.toml`` beside it (PEP 621).
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from spec.errors import GroundplanError, UsageError

_BLOCK = re.compile(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$")  # as in PEP 723


@dataclass(frozen=True)
class Needs:
    """What a script requires.

    Attributes:
        lines: Requirements, as pip reads them.
        where: The file that names them.
        file: The file for pip, where it is one of pip's own (with hashes, constraints and other files).
    """

    lines: tuple[str, ...]
    where: str
    file: Path | None = None


def needs_of(script: Path) -> Needs | None:
    """What a script requires; None where it declares nothing.

    Raises:
        UsageError: The file can't be read.
    """
    if script.suffix == ".py" and (match := _BLOCK.search(script.read_text(encoding="utf-8", errors="replace"))):
        content = "".join(
            line[2:] if line.startswith("# ") else line[1:] for line in match["content"].splitlines(keepends=True)
        )
        return Needs(tuple(_toml(content, str(script)).get("dependencies", [])), str(script))
    file, project = script.parent / "requirements.txt", script.parent / "pyproject.toml"
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace")
        lines = re.sub(r"\\\n", " ", text).splitlines()
        return Needs(tuple(line for part in lines if (line := re.sub(r"(^|\s)#.*", "", part).strip())), str(file), file)
    for file, path in (
        (script.parent / "python_env.yaml", ("dependencies",)),
        (script.parent / "conda.yaml", ("dependencies", "pip")),
    ):
        if file.is_file() and (listed := _listed(file, path)):
            return Needs(tuple(listed), str(file))
    if project.is_file() and (
        found := _toml(project.read_text(encoding="utf-8"), str(project)).get("project", {}).get("dependencies")
    ):
        return Needs(tuple(found), str(project))
    return None


def _listed(file: Path, path: tuple[str, ...]) -> list[str]:
    """What an MLflow project's environment file requires; of a conda file, the pip part.

    Raises:
        UsageError: It is not YAML.
    """
    import yaml

    try:
        found: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UsageError("is not valid YAML", where=str(file)) from None
    listed = found.get(path[0]) if isinstance(found, dict) else None
    if len(path) > 1:
        listed = next((item.get(path[1]) for item in listed or () if isinstance(item, dict) and path[1] in item), None)
    return [item for item in listed or () if isinstance(item, str) and not item.startswith("-r")]


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"is not valid TOML: {error}", where=where) from None


def python_for(script: Path, kept: Path, say: Callable[[str], None] = lambda line: None) -> str:
    """The Python to run a script with: the platform's where it has everything required, else that of the script's own
    environment.

    Args:
        kept: Folder of the environments.
        say: Called when one is created, which takes a while.

    Raises:
        GroundplanError: The requirements can't be installed.
    """
    needs = needs_of(script)
    if needs is None or all(map(_is_here, needs.lines)):
        return sys.executable
    told = json.dumps(
        [needs.lines, sys.version, sorted(f"{item.name}=={item.version}" for item in metadata.distributions())]
    )
    folder = kept / hashlib.sha256(told.encode()).hexdigest()[:16]
    python = folder / "bin" / "python"
    if not (folder / "complete").is_file():
        say(f"installing the requirements of {needs.where} (once)")
        shutil.rmtree(folder, ignore_errors=True)
        _make(folder, python, needs)
    return str(python)


def _is_here(line: str) -> bool:
    """Whether the platform's own environment already has it."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        wanted = Requirement(line.partition(" --hash")[0])
        if wanted.marker is not None and not wanted.marker.evaluate():
            return True
        return (
            not wanted.url
            and not wanted.extras
            and wanted.specifier.contains(metadata.version(wanted.name), prereleases=True)
        )
    except (InvalidRequirement, metadata.PackageNotFoundError):
        return False


def _make(folder: Path, python: Path, needs: Needs) -> None:
    venv.EnvBuilder(symlinks=True).create(folder)
    site = next((folder / "lib").glob("python*/site-packages"))
    # The platform's packages come after the script's own; a .pth file among them counts, too (the platform may be an
    # editable installation).
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site / "platform.pth").write_text(
        "".join(f"import site; site.addsitedir({path!r})\n" for path in ours), encoding="utf-8"
    )
    file = needs.file
    if file is None:
        file = folder / "requirements.txt"
        file.write_text("\n".join(needs.lines), encoding="utf-8")
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "-r",
        str(file),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=file.parent)
    if done.returncode != 0:
        (folder.parent / f"{folder.name}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        why = next(
            (line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")),
            "pip failed",
        )
        shutil.rmtree(folder, ignore_errors=True)
        log = folder.parent / f"{folder.name}.log"
        raise GroundplanError(
            f"the script's requirements can't be installed: {why[:300]}", where=needs.where, fix=f"the log is {log}"
        )
    (folder / "complete").write_text("", encoding="utf-8")
