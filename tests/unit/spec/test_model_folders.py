"""Several model folders: equal definitions are shared, different ones under one name are refused with both places."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.context import load_definition
from pipelines.training.model_name import named_in, owner_of
from spec.errors import UsageError
from spec.model_folders import (
    ModelFile,
    View,
    consumer_groups,
    folder_names,
    folders_of,
    load_contracts,
    model_folders,
    options_of,
    read_model_file,
    shared,
)

DIABETES = Path(__file__).parents[3] / "models" / "diabetes-rf"


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A project with two models on the same data."""
    for name in ("diabetes-rf", "other"):
        shutil.copytree(DIABETES, tmp_path / "models" / name)
    change(tmp_path / "models" / "other" / "model.yaml", model="other-model")
    return tmp_path


def change(path: Path, **changes: Any) -> None:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def contract(path: Path, topic: str, table: str) -> None:
    document = yaml.safe_load((DIABETES / "contract.yaml").read_text(encoding="utf-8"))
    document["schema"][0] |= {"physicalName": topic, "name": table}
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(document), encoding="utf-8")


def test_two_models_share_a_topic_and_a_view(two: Path) -> None:
    contracts, views = shared(model_folders(two))
    assert [item.topic for item in contracts] == ["diabetes-patients"] and [item.name for item in views] == [
        "diabetes_patients"
    ]
    assert consumer_groups(model_folders(two)) == {
        "diabetes-patients": ("groundplan-ingest-diabetes-rf", "groundplan-ingest-other-model")
    }


def test_only_the_models_that_a_stack_names_count(two: Path) -> None:
    assert folder_names(two) == {"diabetes-rf": "diabetes-rf", "other-model": "other"}
    assert [folder.path.name for folder in folders_of(two, ["other-model", "one without a folder"])] == ["other"]
    assert consumer_groups(folders_of(two, ["other-model"])) == {
        "diabetes-patients": ("groundplan-ingest-other-model",)
    }
    assert shared(folders_of(two, [])) == ([], [])


def test_two_folders_of_one_model_are_refused_with_both_places(two: Path) -> None:
    change(two / "models" / "other" / "model.yaml", model="diabetes-rf")
    with pytest.raises(UsageError, match=r"models/other: has the same model name as models/diabetes-rf: diabetes-rf"):
        model_folders(two)


def test_an_option_is_what_its_folder_declares() -> None:
    flights = read_model_file(DIABETES.parent / "flights-late")
    assert options_of(flights, {}, "flights-late") == {"months": "1-3"} and options_of(
        flights, {"months": "12"}, "flights-late"
    ) == {"months": "12"}
    assert load_definition(DIABETES.parent / "flights-late", options={"months": "2-4"}).options == {"months": "2-4"}
    for bad in ("13", "0", "1-", "a", "1-3-4", ""):
        with pytest.raises(
            UsageError,
            match=r"--set flights-late.months: months is '.*'; expected a month of 2013 or a range such as 1-12",
        ):
            options_of(flights, {"months": bad}, "flights-late")
    with pytest.raises(
        UsageError,
        match=(
            r"model flights-late has no option 'weeks'\n  -> known: months \(a month of 2013 or a range such as 1-12;"
            r" default 1-3\)"
        ),
    ):
        options_of(flights, {"weeks": "1"}, "flights-late")
    with pytest.raises(UsageError, match=r"its model.yaml declares none"):
        options_of(read_model_file(DIABETES), {"months": "1"}, "diabetes-rf")


def test_another_contract_of_a_topic_is_refused_with_both_places(two: Path) -> None:
    change(two / "models" / "other" / "contract.yaml", version="2.0.0")
    with pytest.raises(
        UsageError,
        match=(
            r"models/other: its contract diabetes-patients of the topic diabetes-patients differs from the one of"
            r" models/diabetes-rf"
        ),
    ):
        shared(model_folders(two))


def test_another_view_of_a_name_is_refused_with_both_places(two: Path) -> None:
    change(two / "models" / "other" / "model.yaml", target="bmi")
    with pytest.raises(
        UsageError,
        match=r"models/other: its view diabetes_patients differs from the one of models/diabetes-rf: features \{",
    ):
        shared(model_folders(two))


@pytest.mark.parametrize(
    ("topic", "table", "says"),
    [
        ("first", "another", "describes the topic first, and so does"),
        ("another", "first_table", "describes the table first_table, and so does"),
        ("first.dlq", "another", r"describes the topic first\.dlq, and so does"),
    ],
)
def test_two_contracts_of_one_topic_or_table_are_refused(tmp_path: Path, topic: str, table: str, says: str) -> None:
    contract(tmp_path / "contracts" / "a.yaml", "first", "first_table")
    contract(tmp_path / "contracts" / "b.yaml", topic, table)
    with pytest.raises(UsageError, match=rf"b\.yaml: {says} .*a\.yaml"):
        load_contracts(tmp_path)


def test_no_name_of_a_feature_is_taken() -> None:
    assert View(key="id", features={"a": "number"}).time == "event_timestamp"
    assert View(key="event_timestamp", features={"event_timestamp_": "number"}).time == "event_timestamp__"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (
            (
                "mlflow.sklearn.log_model(m, name='model', registered_model_name='Wine"
                " Quality')\nmlflow.set_experiment('wine')"
            ),
            "wine-quality",
        ),
        ("mlflow.set_experiment('/Shared/Wine')", "shared-wine"),
        ("mlflow.register_model(uri, 'wine')", "wine"),
        ("mlflow.set_experiment(experiment_name='wine')", "wine"),
        ("mlflow.set_experiment(name)", "train"),
        ("mlflow.set_experiment('a')\nmlflow.set_experiment('b')", "train"),
        ("this is no Python", "train"),
        ("", "train"),
    ],
)
def test_a_model_is_named_as_its_script_names_it(tmp_path: Path, source: str, name: str) -> None:
    script = tmp_path / "train.py"
    script.write_text(source, encoding="utf-8")
    assert load_definition(script).model == name and load_definition(script, "mine").model == "mine"
    with pytest.raises(UsageError, match="'My Model' is not the name of a model"):
        load_definition(script, "My Model")
    assert owner_of(load_definition(script)) == str(script) and named_in(tmp_path / "gone.py") == ""


def test_what_model_yaml_names_is_one_model_whichever_of_its_scripts_runs() -> None:
    flights = DIABETES.parent / "flights-late"
    found = [load_definition(path) for path in (flights, flights / "after_departure.py")]
    assert {item.model for item in found} == {"flights-late"} and {owner_of(item) for item in found} == {
        "models/flights-late"
    }


@pytest.mark.parametrize(
    ("label", "prediction", "answer"),
    [
        (0, 0, "on time (class 0)"),
        ("0", 0, "on time (class 0)"),
        (False, False, "on time (class False)"),
        ("early", "early", "on time (class early)"),
        (0, 1, "class 1"),
    ],
)
def test_a_class_is_called_what_people_call_it(tmp_path: Path, label: Any, prediction: Any, answer: str) -> None:
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({"classes": {label: "on time"}}), encoding="utf-8")
    assert read_model_file(tmp_path).answer(prediction) == answer


def test_every_field_of_model_yaml_is_documented() -> None:
    page = (DIABETES.parents[1] / "docs" / "own-model.md").read_text(encoding="utf-8")
    assert [name for name in ModelFile.model_fields if f"\n| `{name}` |" not in page] == []
