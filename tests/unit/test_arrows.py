"""Imports point one way, as in docs/architecture.md, and there are no import cycles."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from functools import cache

import pytest

from spec.names import PACKAGES
from tests.conftest import ROOT

# What a folder may import from the project, besides itself.
ARROWS = {
    "spec": set[str](),
    "components": {"spec"},
    "policies": set[str](),
    "pipelines": {"spec"},
    "infra": {"spec", "components"},
    "groundplan": {"spec", "components", "policies", "pipelines", "infra"},
}
# And inside three of them: each folder may import those before it.
LAYERS = {
    "components": ("foundation", "data", "cluster", "models", "operations", "plugin"),
    "infra": ("design", "build"),
    "pipelines": ("privacy", "serving", "training", "data", "steps"),
    "groundplan": ("engine", "contracts", "local", "review", "account", "verification", "scaffold", "cli"),
}


def imported(source: str, modules: set[str]) -> Iterator[str]:
    """Modules of the project that a source imports, anywhere in it, except what only the type checker sees."""
    tree = ast.parse(source)
    unseen = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in unseen:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module:
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (
                name if name in modules else node.module for name in named if name in modules or node.module in modules
            )


@cache
def graph() -> dict[str, set[str]]:
    paths = [path for folder in ARROWS for path in sorted((ROOT / folder).rglob("*.py")) if "guard" not in path.parts]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    return {name: set(imported(path.read_text(encoding="utf-8"), set(names))) - {name} for name, path in names.items()}


def test_every_package_of_the_project_is_known_by_name() -> None:
    assert (
        set(PACKAGES) == set(ARROWS) == {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}
    )


@pytest.mark.parametrize("folder", ARROWS)
def test_a_folder_imports_only_what_its_arrows_point_to(folder: str) -> None:
    own = {name: others for name, others in graph().items() if name.split(".")[0] == folder}
    assert own, "there is such a folder"
    against = [
        f"{name} imports {other}"
        for name, others in own.items()
        for other in others
        if other.split(".")[0] not in {folder, *ARROWS[folder]}
    ]
    assert not against, "\n".join(against)


@pytest.mark.parametrize("folder", LAYERS)
def test_inside_a_folder_imports_point_down(folder: str) -> None:
    order = {f"{folder}.{name}": place for place, name in enumerate(LAYERS[folder])}

    def layer(module: str) -> int | None:
        return order.get(".".join(module.split(".")[:2]))

    against = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if (here := layer(name)) is not None and (there := layer(other)) is not None and there > here
    ]
    assert not against, "\n".join(sorted(against))


def test_nothing_imports_in_a_circle() -> None:
    try:
        graphlib.TopologicalSorter(graph()).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import spec.errors", ["spec.errors"]),
        ("from spec import errors", ["spec.errors"]),
        ("def f():\n    from spec.errors import UsageError", ["spec.errors"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from spec.errors import UsageError", []),
        ("import ast\nfrom json import loads", []),
    ],
)
def test_an_import_is_seen_wherever_it_stands(source: str, found: list[str]) -> None:
    assert list(imported(source, {"spec", "spec.errors"})) == found


def test_code_in_texts_imports_modules_that_exist() -> None:
    """Tests and measurements start other processes with code of their own, which no other check reads."""
    named = re.compile(rf"^\s*(?:from|import) ((?:{'|'.join(ARROWS)})(?:\.\w+)*)", re.MULTILINE)
    gone = []
    for path in [*ROOT.glob("bench/*.py"), *ROOT.rglob("tests/**/*.py")]:
        for module in named.findall(path.read_text(encoding="utf-8")):
            place = ROOT.joinpath(*module.split("."))
            if not place.is_dir() and not place.with_suffix(".py").is_file():
                gone.append(f"{path.relative_to(ROOT)}: {module}")
    assert gone == []
