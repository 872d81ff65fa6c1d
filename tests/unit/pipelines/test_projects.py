"""MLflow projects are run as their MLproject file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.context import load_definition
from pipelines.training.projects import project_of
from spec.errors import UsageError

FILE = """
name: wine
python_env: python_env.yaml
entry_points:
  main:
    parameters:
      data: path
      alpha: {type: float, default: 0.5}
      l1: {type: float, default: 0.1}
    command: "python train.py --alpha {alpha} {l1} {data}"
  other:
    command: "python other.py"
"""


def project(folder: Path, text: str = FILE) -> Path:
    (folder / "MLproject").write_text(text)
    (folder / "train.py").write_text("")
    return folder


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (("data=wine.csv",), ("--alpha", "0.5", "0.1", "wine.csv")),
        (("-P", "data=a b.csv", "-P", "alpha=1"), ("--alpha", "1", "0.1", "a b.csv")),
        (("-Pdata=x", "seed=3"), ("--alpha", "0.5", "0.1", "x", "--seed", "3")),
    ],
)
def test_parameters_go_where_the_command_has_them(
    tmp_path: Path, given: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    example = load_definition(project(tmp_path))
    assert example.script == tmp_path / "train.py" and example.project is not None
    assert example.project.arguments(given) == wanted


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((), "the parameter data must be given\n  -> groundplan experiment FOLDER -- data=VALUE"),
        (("--alpha", "1"), "'--alpha' is not a parameter"),
    ],
)
def test_a_parameter_that_is_missing_or_none_is_said(tmp_path: Path, given: tuple[str, ...], says: str) -> None:
    found = project_of(project(tmp_path))
    assert found is not None
    with pytest.raises(UsageError) as caught:
        found.arguments(given)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: x\n", "has no entry point `main` with a command"),
        ("- 1\n", "has no entry point `main`"),
        ("a: [", "has no entry point `main`"),
        (
            'entry_points: {main: {command: "bash run.sh"}}',
            "its entry point `main` runs 'bash', but only `python SCRIPT` is supported",
        ),
        (
            'entry_points: {main: {command: "python gone.py"}}',
            "its entry point `main` runs gone.py, but there is no such file",
        ),
    ],
)
def test_what_can_not_be_run_is_said(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_definition(project(tmp_path, text))
    assert says in str(caught.value)


def test_a_folder_without_the_file_is_no_project(tmp_path: Path) -> None:
    assert project_of(tmp_path) is None
    with pytest.raises(UsageError, match=r"name a folder with experiment.py or MLproject"):
        load_definition(tmp_path)
