"""``groundplan upgrade``: what a newer release changes in a repository, shown before anything changes; then the
repository's own files, merged.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundplan.scaffold.repository import repository_files, requirement_of
from spec.errors import GroundplanError, UsageError
from spec.names import HOME

LOCK, REQUIREMENTS = "requirements.lock", "requirements.txt"
_LEFT_ALONE = re.compile(
    r"stacks/Pulumi\..*|models/.*|README\.md|requirements\.txt"
)  # what belongs to the company from the first day
_REVIEW_TIMEOUT_S = 300


@dataclass(frozen=True)
class StackChange:
    """The result for one stack.

    Attributes:
        review: By the newer release, compared with this one's; None where it rejects the stack.
        refused: The reason for the rejection.
    """

    stack: str
    review: Any = None
    refused: str = ""


@dataclass(frozen=True)
class Upgrade:
    """A newer release, tried on a repository.

    Attributes:
        requirement: The release, as pip reads it.
        packages: Locked packages that change: name, version here, version there; a version is empty where there is
            none.
        objectives: Changes in what a stack file may contain, as sentences.
        files: New text of each file of the repository that changes.
        conflicts: New text of files that both the release and the company changed, with marks where they disagree.
    """

    root: Path
    before: str
    version: str
    requirement: str
    packages: tuple[tuple[str, str, str], ...]
    objectives: tuple[str, ...]
    stacks: tuple[StackChange, ...]
    files: dict[str, str] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        """Whether the release rejects a stack."""
        return any(item.refused for item in self.stacks)


def try_upgrade(root: Path, to: str) -> Upgrade:
    """Install a release beside this one, and compare what it would create for each stack with what this one creates.

    Args:
        to: A version, or a requirement as pip reads it, or a wheel's path.

    Raises:
        UsageError: This is not a repository with groundplan as a dependency, or there is no such release.
        GroundplanError: The release can't be installed or run.
    """
    if root == HOME:
        raise UsageError(
            "this is groundplan itself, not a repository that depends on it",
            where=str(root),
            fix="git pull; `groundplan review --against` a tag",
        )
    file = root / REQUIREMENTS
    named = [
        line
        for line in (file.read_text(encoding="utf-8").splitlines() if file.is_file() else ())
        if re.match(r"groundplan\b", line)
    ]
    if len(named) != 1:
        raise UsageError(
            "does not list groundplan",
            where=str(file),
            fix="write a line such as `groundplan==0.1.0`; `groundplan init` creates a whole repository",
        )
    folder = root / ".groundplan" / "upgrade"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    release, version, requirement = _install(folder, _wanted(named[0], to))
    packages = _install_packages(folder, release)
    texts = json.loads(_by_the_release(release, root, "-c", _TEXTS, _name(root), requirement))
    stacks = tuple(_stack(release, root, file.name.split(".")[1]) for file in sorted(root.glob("stacks/Pulumi.*.yaml")))
    here = repository_files(_name(root), named[0])
    schema = "stacks/objectives.schema.json"
    files, conflicts = _merged(root, folder, here, texts)
    files[REQUIREMENTS] = file.read_text(encoding="utf-8").replace(named[0], requirement)
    return Upgrade(
        root,
        _own_version(),
        version,
        requirement,
        packages,
        tuple(_schema_changes(json.loads(here[schema]), json.loads(texts[schema]))),
        stacks,
        {
            name: text
            for name, text in files.items()
            if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text
        },
        conflicts,
    )


def take(upgrade: Upgrade) -> list[str]:
    """Write the repository's files; returns the names of those that need a manual merge, with the new text beside them.

    Raises:
        UsageError: The release rejects a stack.
    """
    for item in upgrade.stacks:
        if item.refused:
            raise UsageError(
                f"is rejected by {upgrade.version}: {item.refused}",
                where=f"stack {item.stack}",
                fix="fix the stack's file, and try again",
            )
    for name, text in upgrade.files.items():
        (upgrade.root / name).parent.mkdir(parents=True, exist_ok=True)
        (upgrade.root / name).write_text(text, encoding="utf-8")
    for name, text in upgrade.conflicts.items():
        (upgrade.root / f"{name}.new").write_text(text, encoding="utf-8")
    return [f"{name}.new" for name in upgrade.conflicts]


def _own_version() -> str:
    from importlib.metadata import version

    return version("groundplan")


def _name(root: Path) -> str:
    from groundplan.engine.program import project_name

    return project_name(root)


def _wanted(named: str, to: str) -> str:
    """The release as pip reads it.

    Args:
        named: The requirement that the repository has now.
    """
    if Path(to).exists():
        return f"groundplan @ {Path(to).resolve().as_uri()}"
    if re.match(r"[a-z+]+://", to):
        return f"groundplan @ {to}"
    if to.startswith("groundplan"):
        return to
    if not re.fullmatch(r"v?\d+(\.\d+)*\S*", to):
        raise UsageError(
            f"expected a version, a URL or a wheel, got {to!r}",
            where="RELEASE",
            fix="for example 0.2.0, or https://.../groundplan-0.2.0-py3-none-any.whl",
        )
    version, here = to.removeprefix("v"), _own_version()
    if "@" not in named:
        return f"groundplan=={version}"
    if here not in named:
        raise UsageError(
            f"the repository installs it from {named.partition('@')[2].strip()}, so the version {version} alone does"
            " not say where to find it",
            where="RELEASE",
            fix="give the full URL",
        )
    return named.partition("#")[0].strip().replace(here, version)


def _pip(folder: Path, *arguments: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--target",
        str(folder),
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = (
            [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            or done.stderr.splitlines()[-1:]
            or ["pip printed nothing"]
        )
        raise UsageError(
            f"can't be installed: {lines[-1].removeprefix('ERROR: ')}",
            where=arguments[-1],
            fix="check that the release exists",
        )


def _install(folder: Path, wanted: str) -> tuple[Path, str, str]:
    """Where the release is installed, its version, and how a repository names it."""
    release, report = folder / "release", folder / "report.json"
    _pip(release, "--no-build-isolation", "--report", str(report), wanted)
    (installed,) = json.loads(report.read_text(encoding="utf-8"))["install"]
    version = installed["metadata"]["version"]
    return release, version, requirement_of(version, installed["download_info"] if installed["is_direct"] else {})


def _locked(text: str) -> dict[str, tuple[str, str]]:
    """Version and full entry of each package that a lock names for this machine."""
    from packaging.requirements import Requirement

    found = {}
    for entry in re.split(r"\n(?=\S)", text):
        if entry and not entry.startswith("#"):
            requirement = Requirement(entry.partition("\\")[0].strip())
            if requirement.marker is None or requirement.marker.evaluate():
                found[requirement.name] = (next(iter(requirement.specifier)).version, entry)
    return found


def _lock_of(release: Path) -> str:
    file = release / "groundplan" / "scaffold" / "templates" / "repository" / LOCK
    if not file.is_file():
        raise UsageError(
            "is a release from before `groundplan init`, so no repository can depend on it",
            where=str(release),
            fix="name a newer one",
        )
    return file.read_text(encoding="utf-8")


def _install_packages(folder: Path, release: Path) -> tuple[tuple[str, str, str], ...]:
    """Install the packages whose version differs, beside the release; the rest is shared.

    Returns:
        Name, version here, version there.
    """
    from importlib.metadata import PackageNotFoundError, version

    def here(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return ""

    locked = _locked(_lock_of(release))
    changed = tuple((name, before, wanted) for name, (wanted, _) in locked.items() if (before := here(name)) != wanted)
    if changed:
        (folder / LOCK).write_text("\n".join(locked[name][1] for name, _, _ in changed) + "\n", encoding="utf-8")
        _pip(release, "--require-hashes", "-r", str(folder / LOCK))
    return changed


_TEXTS = (
    "import json, sys; from groundplan.scaffold.repository import repository_files;"
    " print(json.dumps(repository_files(*sys.argv[1:])))"
)


def _by_the_release(release: Path, root: Path, *arguments: str) -> str:
    """What a command of the release prints.

    Raises:
        GroundplanError: It fails.
    """
    environment = {**os.environ, "PYTHONPATH": str(release)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_REVIEW_TIMEOUT_S,
    )
    if done.returncode > 1 or not done.stdout:  # a review with findings ends with 1
        said = done.stderr.strip().removeprefix("error: ")
        raise GroundplanError(
            said if done.returncode == 2 else said[-500:] or "it printed nothing", where="the newer release"
        )
    return done.stdout


def _stack(release: Path, root: Path, stack: str) -> StackChange:
    from pydantic import TypeAdapter

    from groundplan.review.command import review
    from groundplan.review.model import Review
    from groundplan.review.revisions import compare

    try:
        text = _by_the_release(release, root, "-m", "groundplan", "review", "--stack", stack, "--format", "json")
    except GroundplanError as error:
        return StackChange(stack, refused=error.what)
    now = TypeAdapter(Review).validate_json(text)  # further fields of a newer release are ignored
    return StackChange(stack, dataclasses.replace(now, comparison=compare(_own_version(), review(root, stack), now)))


def _schema_changes(here: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """How two schemas of stack files differ, field by field."""

    def fields(schema: dict[str, Any], place: str = "") -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for name, value in schema.get("properties", {}).items():
            found[f"{place}{name}"] = {
                key: item for key, item in value.items() if key not in ("title", "description", "properties")
            }
            found |= fields(value, f"{place}{name}.")
        for name, value in schema.get("$defs", {}).items():
            found |= fields(value, f"{name}.")
        return found

    old, new = fields(here), fields(there)
    said = [
        f"new: {name}" + (f" (default {json.dumps(new[name]['default'])})" if "default" in new[name] else "")
        for name in new
        if name not in old
    ]
    said += [f"removed: {name}" for name in old if name not in new]
    return said + [f"changed: {name}" for name in new if name in old and new[name] != old[name]]


def _merged(
    root: Path, folder: Path, here: dict[str, str], there: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Files that both releases write: with the newer one's changes, and those whose changes conflict with the company's
    own.
    """
    files, conflicts = dict[str, str](), dict[str, str]()
    for name, text in there.items():
        own = (root / name).read_text(encoding="utf-8") if (root / name).is_file() else None
        if _LEFT_ALONE.fullmatch(name) or own == text or here.get(name) == text or (own is None and name in here):
            continue
        if own is None or own == here.get(name):
            files[name] = text
            continue
        merged, agreed = _merge(folder, own, here.get(name, ""), text)
        (files if agreed else conflicts)[name] = merged
    return files, conflicts


def _merge(folder: Path, own: str, base: str, new: str) -> tuple[str, bool]:
    """Git's merge of three texts, and whether it had no conflicts."""
    paths = [folder / name for name in ("own.txt", "base.txt", "new.txt")]
    for path, text in zip(paths, (own, base, new), strict=True):
        path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["git", "merge-file", "-p", "-L", "yours", "-L", "before", "-L", "the release", *(path.name for path in paths)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return done.stdout, done.returncode == 0
