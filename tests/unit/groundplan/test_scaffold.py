"""`groundplan add model`: a folder and objectives from a CSV file, or one clear message and no files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundplan.scaffold.model import add_model, with_model
from pipelines.context import load_definition
from spec.errors import UsageError
from spec.objectives import load
from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # runs what it writes

CHURN = "id,plan,months,charge,churned\n" + "".join(
    f"c{i},{'abc'[i % 3]},{i % 70},{i * 1.5},{'yes' if i % 4 == 0 else 'no'}\n" for i in range(80)
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "company"
    folder.mkdir()
    for name in ("Pulumi.yaml", "__main__.py"):
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(ROOT / "stacks", folder / "stacks")
    return folder


def given(project: Path, text: str | bytes, name: str = "data.csv") -> Path:
    path = project.parent / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def everything(project: Path) -> dict[str, bytes]:
    return {str(path.relative_to(project)): path.read_bytes() for path in sorted(project.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("text", "target", "task", "key"),
    [
        (CHURN, "churned", "classification", "id"),
        ("\ufeff" + CHURN, "churned", "classification", "id"),
        (CHURN.replace(",", ";"), "charge", "regression", "id"),
        (CHURN.replace(",", "\t"), "months", "regression", "id"),
        ("a,b\n" + "".join(f"{i % 7},{i % 2}\n" for i in range(60)), "b", "classification", "row_number"),
        ("date,a\n" + "".join(f"2024-01-{i:02},{i * 1.25}\n" for i in range(1, 29)), "a", "regression", "row_number"),
        (
            "a b,row_number,größe\n" + "".join(f"{i % 7}.5,{i % 3},{i % 5}.25\n" for i in range(60)),
            "größe",
            "regression",
            "row_number_",
        ),
    ],
)
def test_a_csv_becomes_a_model_whose_own_test_passes(
    project: Path, text: str, target: str, task: str, key: str
) -> None:
    before = (project / "stacks" / "Pulumi.local.yaml").read_text(encoding="utf-8")
    found = add_model(project, "churn", given(project, text), target)
    assert (found.task, found.key, found.numbered) == (task, key, key.startswith("row_number"))
    definition = load_definition(project / "models" / "churn")
    assert definition.model == "churn" and definition.target == target and definition.contracts[0].key == key
    assert load(project, "local").objectives.models["churn"].quality.metric == (
        "balanced_accuracy" if task == "classification" else "mae"
    )
    after = (project / "stacks" / "Pulumi.local.yaml").read_text(encoding="utf-8")
    assert [line for line in before.splitlines() if line not in after.splitlines()] == [], (
        "what was there stays, comments too"
    )
    compile((project / "models" / "churn" / "experiment.py").read_text(encoding="utf-8"), "experiment.py", "exec")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(project / "models" / "churn")]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "arguments", "says"),
    [
        ("", {}, "data.csv: is empty"),
        ("a,b\n", {}, "data.csv: has column names and no rows"),
        ("a,b,a\n1,2,3\n", {}, "data.csv: has the column 'a' twice"),
        ("a,,c\n1,2,3\n", {}, "data.csv: column 2 has no name"),
        ("name,x\nMüller,1\n".encode("latin-1"), {}, "data.csv: is not UTF-8 text: byte"),
        ("a,when\n" + '1,2024-01-31\n2,31/01/2024\n3,"Jan 31, 2024"\n' * 5, {}, "column when has dates in 3 formats"),
        (
            CHURN,
            {"target": ""},
            "--target: say which column the model predicts\n  -> one of: id, plan, months, charge, churned",
        ),
        (CHURN, {"target": "nope"}, "--target: data.csv has no column 'nope'"),
        ("a b c\n1 2 3\n4 5 6\n", {}, "blanks separate its columns"),
        ("a\n1\n2\n", {}, "has one column, so there is nothing to predict from"),
        (CHURN, {"target": "id"}, "--target: column id has 80 different texts in 80 rows"),
        (CHURN.replace("yes", "no"), {}, "--target: column churned holds one value, so there is nothing to predict"),
        (CHURN, {"key": "plan"}, "--key: column plan does not identify the rows: 'a' appears twice"),
        (CHURN, {"key": "nope"}, "--key: data.csv has no column 'nope'"),
        (CHURN, {"name": "No_Name"}, "NAME: 'No_Name' is not the name of a model"),
        (CHURN, {"name": "diabetes-rf"}, "model 'diabetes-rf' already exists"),
        (CHURN, {"stack": "nope"}, "unknown stack 'nope'"),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_nothing(
    project: Path, text: str | bytes, arguments: dict[str, str], says: str
) -> None:
    before = everything(project)
    wanted = {"name": "churn", "target": "churned" if text[:2] == CHURN[:2] else "a", **arguments}
    with pytest.raises(UsageError) as error:
        add_model(project, wanted.pop("name"), given(project, text), **wanted)
    assert says in str(error.value) and "Traceback" not in str(error.value)
    assert everything(project) == before


def test_a_file_that_is_none_or_too_large_is_named(project: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        add_model(project, "churn", project / "nope.csv", "a")
    with pytest.raises(UsageError, match=r"is not a \.csv or \.tsv file"):
        add_model(project, "churn", given(project, CHURN, "data.xlsx"), "a")
    large = project.parent / "large.csv"
    with large.open("wb") as file:
        file.truncate(2_000_000_000)  # a hole: nothing is written
    with pytest.raises(UsageError, match=r"is 2\.0 GB; a repository holds a sample of up to 100 MB"):
        add_model(project, "churn", large, "a")


def test_objectives_that_can_not_be_met_leave_nothing(project: Path) -> None:
    stack = project / "stacks" / "Pulumi.local.yaml"
    stack.write_text(
        stack.read_text(encoding="utf-8").replace("monthly_usd: 1200", "monthly_usd: 820"), encoding="utf-8"
    )
    before = everything(project)
    with pytest.raises(UsageError, match="budget"):
        add_model(project, "churn", given(project, CHURN), "churned")
    assert everything(project) == before


@pytest.mark.parametrize(
    "models",
    [
        "models: {}\n",
        "models:\n      a: {b: 1}\n",
        "models:\n      a:\n        b: 1 # said\n        c:\n          - 1\n",
    ],
)
def test_a_model_comes_after_the_others_whatever_their_form(models: str) -> None:
    text = f"config:\n  groundplan:objectives:\n    {models}  other: 1 # stays\n"
    found: Any = yaml.safe_load(with_model(text, "      new:\n        x: 1\n"))["config"]
    assert found["other"] == 1 and found["groundplan:objectives"]["models"]["new"] == {"x": 1}
    assert "# stays" in with_model(text, "      new:\n        x: 1\n")
