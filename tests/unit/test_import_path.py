"""Folders that come first on an import path don't hide modules that others import by their top-level name."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest
import yaml

from groundplan.review.project import read_project
from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # starts processes

# Some distributions install their own tests and pages by mistake; nothing imports these.
STRAY = {"tests", "docs"}


def hidden_by(folder: Path) -> list[str]:
    """Modules of the standard library, and installed ones, that a program started in this folder can't import."""
    offered = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    installed = {
        name for name, owners in importlib.metadata.packages_distributions().items() if set(owners) != {"groundplan"}
    }
    return sorted((offered - {"__main__", "__init__"}) & ((installed - STRAY) | sys.stdlib_module_names))


def first_on_a_path() -> list[Path]:
    """Where the engine starts the program, where it starts the pack, and where people start examples."""
    main = read_project(ROOT).main
    packs = [
        file.parent / yaml.safe_load(file.read_text(encoding="utf-8")).get("main", ".")
        for file in ROOT.glob("*/PulumiPolicy.yaml")
    ]
    scripts = {file.parent for file in (ROOT / "models").glob("*/*.py")}
    return [main if main.is_dir() else main.parent, *packs, *sorted(scripts)]


@pytest.mark.parametrize("folder", first_on_a_path(), ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_a_folder_first_on_the_path_hides_nothing(folder: Path) -> None:
    assert not hidden_by(folder)


@pytest.mark.parametrize("name", ["platform.py", "secrets.py", "pulumi.py", "yaml/__init__.py", "grpc/__init__.py"])
def test_a_name_that_hides_another_is_found(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert hidden_by(tmp_path) == [Path(name).parts[0].removesuffix(".py")]


@pytest.mark.parametrize("name", ["program.py", "__main__.py", "platform/notes.md", "stacks/Pulumi.dev.yaml"])
def test_what_hides_nothing_is_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert not hidden_by(tmp_path), "a folder without __init__.py yields to a package of that name"


def test_the_virtualenv_is_found_from_where_the_engine_starts_the_program() -> None:
    # The engine looks for a dynamic provider's virtualenv in the program's folder, for the program's own in the
    # project's.
    project = read_project(ROOT)
    options = yaml.safe_load((ROOT / "Pulumi.yaml").read_text(encoding="utf-8"))["runtime"]["options"]
    assert project.main.resolve() / options["virtualenv"] == ROOT / ".venv" == project.virtualenv


@pytest.mark.parametrize(
    ("options", "there", "found"),
    [
        ("{virtualenv: venv}", ".venv", "venv"),
        ("{toolchain: uv}", ".venv", ".venv"),
        ("{toolchain: poetry}", ".venv", ".venv"),
        ("{toolchain: pip}", ".venv", None),
        ("{}", ".venv", None),
    ],
)
def test_a_projects_own_environment_is_where_its_toolchain_puts_it(
    tmp_path: Path, options: str, there: str, found: str | None
) -> None:
    (tmp_path / "Pulumi.yaml").write_text(f"name: a\nruntime: {{name: python, options: {options}}}\n")
    (tmp_path / "__main__.py").touch()
    (tmp_path / there).mkdir()
    assert read_project(tmp_path).virtualenv == (tmp_path / found if found else None)


def test_a_workspace_of_uv_has_one_environment(tmp_path: Path) -> None:
    inner = tmp_path / "infra"
    inner.mkdir()
    (inner / "Pulumi.yaml").write_text("name: a\nruntime: {name: python, options: {toolchain: uv}}\n")
    (inner / "__main__.py").touch()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".venv").mkdir()
    assert read_project(inner).virtualenv == tmp_path / ".venv"
