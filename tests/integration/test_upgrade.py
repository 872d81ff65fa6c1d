"""`groundplan upgrade`, from the last release (the newest tag; before there is one, this tree) to one that follows
it.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.platform import copy_project

NEWER = "9.0.0"
Run = Callable[..., subprocess.CompletedProcess[str]]


def wheel(source: Path, into: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(into),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return next(into.glob("*.whl"))


def last_release(folder: Path) -> Path:
    """Its source; no repository depends on a release from before `groundplan init`."""
    tag = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "--match", "v*"], cwd=ROOT, capture_output=True, text=True
    )
    if tag.returncode == 0:
        archive = subprocess.run(
            ["git", "archive", "--format=tar", tag.stdout.strip()], cwd=ROOT, capture_output=True, check=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extraction_filter = getattr(tarfile, "data_filter", None)
            files.extractall(folder)
        if (folder / "groundplan" / "scaffold" / "repository.py").is_file():
            return folder
        shutil.rmtree(folder)
    return copy_project(folder)


def change(source: Path, file: str, before: str, now: str) -> None:
    path = source / file
    text = path.read_text(encoding="utf-8")
    assert before in text, f"{file}: {before}"
    path.write_text(text.replace(before, now, 1), encoding="utf-8")


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The last release, installed; and the wheels of two that follow it: one that adds an objective, and one that
    removes one that a stack uses.
    """
    folder = tmp_path_factory.mktemp("releases")
    installed = folder / "installed"
    first = wheel(last_release(folder / "last"), folder / "wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(installed), str(first)],
        check=True,
    )
    source = copy_project(folder / "next")
    change(source, "pyproject.toml", f'version = "{first.name.split("-")[1]}"', f'version = "{NEWER}"')
    change(
        source,
        "spec/objectives/model.py",
        "    untrusted_models: bool =",
        '    motto: str = Field(default="none", description="A word.")\n    untrusted_models: bool =',
    )
    change(source, "components/models/image.py", '"countNumber": 14', '"countNumber": 21')
    change(
        source,
        "groundplan/scaffold/templates/repository/Makefile.txt",
        "## stop the platform and all of its processes",
        "## stop all of it",
    )
    newer = wheel(source, folder / "newer")
    change(source, "spec/objectives/model.py", "alert_percent", "alert_percents")
    return installed, newer, wheel(source, folder / "breaking")


@pytest.fixture
def acme(releases: tuple[Path, Path, Path], tmp_path: Path) -> tuple[Path, Run]:
    """A company's repository of the last release, with two stacks, and its command line."""
    project = tmp_path / "acme"
    project.mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(releases[0])}
        return subprocess.run(
            [sys.executable, "-m", "groundplan", *arguments],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    assert run("init", "--groundplan", "groundplan==0.1.0").returncode == 0
    for stack in ("dev", "staging", "prod"):
        (project / "stacks" / f"Pulumi.{stack}.yaml").unlink()
    return project, run


def contents(project: Path) -> dict[str, bytes]:
    left_out = {".groundplan", "__pycache__"}
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file() and not left_out & set(path.parts)
    }


@pytest.mark.drill
def test_what_changes_is_shown_first_and_then_merged(acme: tuple[Path, Run], releases: tuple[Path, Path, Path]) -> None:
    project, run = acme
    with (project / "Makefile").open("a") as file:
        file.write("\ntrain: ## ours\n\t@echo training\n")
    before = contents(project)
    shown = run("upgrade", str(releases[1]))
    assert shown.returncode == 0, shown.stderr
    assert contents(project) == before, "nothing is changed before it is confirmed"
    for part in (
        NEWER,
        'new: Objectives.motto (default "none")',
        "Makefile",
        "changed image (aws:ecr/lifecyclePolicy:LifecyclePolicy): policy",
        "+0.00 USD a month",
    ):
        assert part in shown.stdout, shown.stdout
    taken = run("upgrade", str(releases[1]), "--yes", "--json")
    assert taken.returncode == 0, taken.stderr
    document: dict[str, Any] = json.loads(taken.stdout)
    assert document["version"] == NEWER and not document["conflicts"] and not document["stacks"][0]["refused"]
    makefile = (project / "Makefile").read_text()
    assert "## stop all of it" in makefile and "@echo training" in makefile, "the release's line and the company's"
    assert re.fullmatch(r"groundplan @ file://\S+#sha256=[0-9a-f]{64}\n", (project / "requirements.txt").read_text())
    after = contents(project)
    assert {name for name in after if after[name] != before.get(name)} == {
        "Makefile",
        "requirements.txt",
        "stacks/objectives.schema.json",
    }


@pytest.mark.drill  # slow
def test_a_line_that_both_changed_is_left_to_people(acme: tuple[Path, Run], releases: tuple[Path, Path, Path]) -> None:
    project, run = acme
    text = (
        (project / "Makefile").read_text().replace("## stop the platform and all of its processes", "## our own words")
    )
    (project / "Makefile").write_text(text)
    done = run("upgrade", str(releases[1]), "--yes")
    assert done.returncode == 0 and "Makefile.new: you and the release both changed it" in done.stdout
    assert (project / "Makefile").read_text() == text
    assert (
        "## our own words" in (project / "Makefile.new").read_text()
        and "## stop all of it" in (project / "Makefile.new").read_text()
    )


def test_a_release_that_can_not_draw_a_stack_is_not_taken(
    acme: tuple[Path, Run], releases: tuple[Path, Path, Path]
) -> None:
    project, run = acme
    before = contents(project)
    done = run("upgrade", str(releases[2]), "--yes")
    assert (
        done.returncode == 2 and "stack local: is rejected by" in done.stderr and "budget.alert_percent" in done.stderr
    ), done.stdout + done.stderr
    assert contents(project) == before


@pytest.mark.parametrize(
    ("release", "says"),
    [
        ("latest", "expected a version, a URL or a wheel, got 'latest'"),
        ("file:///nowhere/groundplan-2.0.0-py3-none-any.whl", "can't be installed"),
        ("groundplan @ file:///nowhere", "can't be installed"),
    ],
)
def test_what_is_no_release_is_said(acme: tuple[Path, Run], release: str, says: str) -> None:
    done = acme[1]("upgrade", release)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


def test_the_clone_itself_is_not_upgraded_this_way() -> None:
    from groundplan.scaffold.upgrade import try_upgrade
    from spec.errors import UsageError

    with pytest.raises(UsageError, match="this is groundplan itself"):
        try_upgrade(ROOT, "2.0.0")


def test_a_repository_without_a_release_is_told_what_to_write(acme: tuple[Path, Run]) -> None:
    project, run = acme
    (project / "requirements.txt").write_text("pandas\n")
    done = run("upgrade", "2.0.0")
    assert done.returncode == 2 and "does not list groundplan" in done.stderr
