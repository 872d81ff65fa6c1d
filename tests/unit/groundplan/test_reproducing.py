"""The code of a run, as it was."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from groundplan.local.reproducing import _code
from spec.errors import UsageError


def git(folder: Path, *arguments: str) -> str:
    own = ["-c", "user.name=Maria", "-c", "user.email=maria@example.com"]
    return subprocess.run(
        ["git", *own, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def committed(tmp_path: Path) -> dict[str, Any]:
    script = tmp_path / "models" / "m" / "experiment.py"
    script.parent.mkdir(parents=True)
    script.write_text("first = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "First")
    commit = git(tmp_path, "rev-parse", "HEAD")
    script.write_text("second = 2\n")
    return {"home": SimpleNamespace(root=tmp_path), "script": str(script), "code_version": commit, "script_sha256": ""}


def test_a_commit_is_read_beside_the_changed_file(committed: dict[str, Any]) -> None:
    with _code(committed["home"], committed) as (path, where):
        assert (path / "experiment.py").read_text() == "first = 1\n" and where.startswith("commit ")


def test_what_goes_wrong_with_it_is_told_as_it_is(committed: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="a wrong argument"), _code(committed["home"], committed):
        raise UsageError("a wrong argument")


def test_a_commit_of_another_clone_leaves_the_file_that_is_there(committed: dict[str, Any]) -> None:
    other = {**committed, "code_version": "0" * 40}
    with (
        pytest.raises(Exception, match="its script has changed since, and was run as 000000000000"),
        _code(committed["home"], other),
    ):
        pass
