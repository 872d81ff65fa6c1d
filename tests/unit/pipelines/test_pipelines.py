from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from pipelines.context import load_definition, sandbox_objectives
from pipelines.serving.models.bundle import package
from pipelines.steps.evaluate import worth
from spec.errors import UsageError
from spec.objectives import ModelObjectives
from spec.steps import STEPS, before_people_agree, steps_for
from tests.conftest import ROOT
from tests.contracts import load_one

pytestmark = pytest.mark.slow  # runs the gate


def test_the_kpi_counts_an_error_down_and_a_score_up() -> None:
    objectives = sandbox_objectives("regression").model_dump()
    objectives["value"] |= {"usd_per_unit": 2, "predictions_per_month": 100}
    assert worth(10, 15, ModelObjectives.model_validate(objectives)) == (5, 1000)
    objectives["value"] |= {"kpi": "accuracy"}
    assert worth(0.75, 0.5, ModelObjectives.model_validate(objectives)) == (0.25, 50)


def test_a_package_has_the_same_bytes_for_the_same_content() -> None:
    assert package({"a": b"1", "b": b"2"}) == package({"b": b"2", "a": b"1"})


def test_steps_need_only_steps_before_them() -> None:
    for steps in (STEPS, steps_for(contract=False)):
        seen: set[str] = set()
        for step in steps:
            assert set(step.needs) <= seen
            seen.add(step.name)
    assert steps_for(contract=False)[0].name == "experiment"


def test_a_plain_script_is_an_example_named_after_itself(tmp_path: Path) -> None:
    script = tmp_path / "My Churn_model.py"
    script.write_text("pass", encoding="utf-8")
    example = load_definition(script)
    assert (example.model, example.contracts) == ("my-churn-model", ())
    (tmp_path / "experiment.py").write_text("pass", encoding="utf-8")
    assert load_definition(tmp_path).script.name == "experiment.py"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("nothing", None, "no such script or folder"),
        ("empty", {}, "has no experiment.py"),
        ("typo", {"experiment.py": "", "model.yaml": "modell: x"}, "modell: Extra inputs are not permitted"),
        (
            "target",
            {"experiment.py": "", "contract.yaml": None, "model.yaml": "target: nope"},
            "`target` must name a property of the contract, found 'nope'",
        ),
    ],
)
def test_a_wrong_example_is_named(
    tmp_path: Path, root: Path, name: str, content: dict[str, str | None] | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).mkdir()
        for file, text in content.items():
            source = root / "models" / "diabetes-rf" / file
            (tmp_path / name / file).write_text(
                source.read_text(encoding="utf-8") if text is None else text, encoding="utf-8"
            )
    with pytest.raises(UsageError) as raised:
        load_definition(tmp_path / name)
    assert says in str(raised.value)


def test_the_sample_experiment_is_what_a_data_scientist_would_write(root: Path) -> None:
    text = (root / "models" / "diabetes-rf" / "experiment.py").read_text(encoding="utf-8")
    assert "groundplan" not in text and "skops" not in text and "onnx" not in text and "http" not in text
    assert 'mlflow.sklearn.log_model(model, "model")' in text


def test_a_contract_becomes_a_json_schema(root: Path) -> None:
    contract = load_one(root / "models" / "diabetes-rf" / "contract.yaml")
    schema = contract.json_schema()
    assert contract.key == "patient_id" and contract.topic == "diabetes-patients"
    assert schema["properties"]["age"]["type"] == "number" and schema["properties"]["age"]["maximum"] == 0.2
    assert schema["additionalProperties"] is False and "target" in schema["required"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("kind: DataContract", "kind: Contract"), 'kind: "Contract" is not one of DataContract'),
        (("logicalType: integer", "logicalType: int"), 'logicalType: "int" is not one of string, date, timestamp'),
        (("schema:", "schemas:"), "schemas: the standard has no 'schemas'\n  -> did you mean schema?"),
        (("apiVersion: v3.1.0", "apiVersion: [v3"), "is not valid YAML from here on"),
        (("value: BACKWARD}", "value: SIDEWAYS}"), "compatibility 'SIDEWAYS' is not one of BACKWARD"),
    ],
)
def test_a_wrong_contract_is_named(tmp_path: Path, root: Path, change: tuple[str, str], says: str) -> None:
    text = (root / "models" / "diabetes-rf" / "contract.yaml").read_text(encoding="utf-8")
    (tmp_path / "contract.yaml").write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(UsageError) as raised:
        load_one(tmp_path / "contract.yaml")
    assert says in str(raised.value) and "contract.yaml" in str(raised.value)


def good_frame(root: Path) -> tuple[pd.DataFrame, Any]:
    import importlib.util

    spec = importlib.util.spec_from_file_location("source", root / "models" / "diabetes-rf" / "source.py")
    assert spec is not None and spec.loader is not None
    source = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(source)
    return pd.DataFrame(source.patients("diabetes-patients")), load_one(
        root / "models" / "diabetes-rf" / "contract.yaml"
    )


def test_the_quality_gate_passes_good_data_and_names_what_is_wrong_with_bad(root: Path, tmp_path: Path) -> None:
    from pipelines.steps.quality import validate

    frame, contract = good_frame(root)
    results, page = validate(pa.Table.from_pandas(frame), contract, tmp_path)
    assert all(item["success"] for item in results) and "expected" in page.read_text(encoding="utf-8").lower()
    bad = frame.copy()
    bad.loc[3, "bmi"] = 99.0
    bad.loc[5, "age"] = None
    bad.loc[7, "patient_id"] = 8
    failed = {
        (item["column"], item["expectation"]): item["unexpected"]
        for item in validate(pa.Table.from_pandas(bad.drop(columns="s6")), contract, tmp_path)[0]
        if not item["success"]
    }
    assert failed[("bmi", "expect_column_values_to_be_between")] == 1
    assert failed[("age", "expect_column_values_to_not_be_null")] == 1
    assert failed[("patient_id", "expect_column_values_to_be_unique")] == 2
    assert (None, "expect_table_columns_to_match_set") in failed


def test_a_step_is_declared_once_and_has_a_file_and_a_summary() -> None:
    from groundplan.local.summary import _SUMMARIES

    assert list(_SUMMARIES) == [step.name for step in STEPS]
    assert all((ROOT / "pipelines" / "steps" / f"{step.name}.py").is_file() for step in STEPS)
    assert [step.name for step in before_people_agree()] == [
        "ingest",
        "quality",
        "features",
        "experiment",
        "evaluate",
        "register",
    ]


@pytest.mark.parametrize("script", ["diabetes-rf", "flights-late", "flights-late/after_departure.py"])
@pytest.mark.parametrize(("deploy", "evaluate"), [(False, False), (False, True), (True, False)])
def test_an_experiment_runs_every_step_that_its_steps_wait_for(script: str, deploy: bool, evaluate: bool) -> None:
    from groundplan.local.experiments import _steps
    from pipelines.context import load_definition

    steps = _steps(load_definition(ROOT / "models" / script), deploy=deploy, evaluate=evaluate)
    names = [step.name for step in steps]
    assert all(set(step.needs) <= set(names) for step in steps) and ("deploy" in names) == deploy
    assert ("evaluate" in names) == (deploy or evaluate)


def test_the_text_of_a_dead_letter_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    from groundplan.local.summary import print_dead_letters
    from pipelines.data.dead_letters import DeadLetter

    print_dead_letters(
        [DeadLetter("t", 0, 1, 0, 0, 0, "not JSON", "[/b] odd", "c 1.0.0", b"", b'{"note": "[/red] [bold]"}')]
    )
    assert "[/red] [bold]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({}, []),
        ({"name": "a", "why": "", "others": []}, []),
        ({"name": "a", "why": "registered by the script", "others": [{"name": "b"}]}, []),
        (
            {"name": "a", "why": "the best by mae: 3", "others": [{"name": "b"}, {"name": "c"}]},
            ["it was chosen among 3 models by its score on these rows, which flatters it"],
        ),
    ],
)
def test_a_model_that_its_score_has_chosen_is_flattered_by_it(choice: dict[str, Any], says: list[str]) -> None:
    from pipelines.steps.evaluate import chosen_by_score

    assert chosen_by_score(choice) == says
