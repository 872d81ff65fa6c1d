"""The whole platform as users see it: one `up`, ordinary clients, other people's scripts, one `down`."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from tests.conftest import ROOT
from tests.e2e import scripts
from tests.platform import assert_ok, copy_project, groundplan, logs_of, processes_of

MODEL = "diabetes-rf"
OPTIONS = ()


def test_up_tells_everything_a_newcomer_wants_to_know(project: Path) -> None:
    text = (project / "up.txt").read_text(encoding="utf-8")
    assert re.search(r"Program \d{3} resources created in the local cloud", text) and re.search(
        r"\d+ only recorded: .*1 Configuration", text
    )
    assert re.search(r"\d+ Kubernetes objects validated and written to \.groundplan/run/manifests", text)
    assert re.search(r"version +v1\.0\.0", text) and re.search(r"evaluation +mae 44\.0", text)
    assert re.search(
        r"business KPI +19\.9\d progression points better than the baseline \(95 % interval .*\), worth 159,6\d\d USD a"
        r" month \(",
        text,
    )
    assert (
        "promoted: its absolute error is" in text
        and "requests failed (1% may)" in text
        and "test identities of the local stack" in text
    )
    assert (
        re.search(r"One prediction .* -> \d+\.\d, answered by champion v1\.0\.0", text) and "effects add up to" in text
    )
    assert "Where the time went" in text and "make down" in text


def test_status_shows_services_first_and_resources_on_request(project: Path) -> None:
    short, long = (assert_ok(groundplan(project, "status", *more), project).stdout for more in ((), ("--resources",)))
    assert (
        len(short.splitlines()) < 12
        and len(long.splitlines()) > 250
        and not [line for line in long.splitlines() if line != line.rstrip()]
    )
    counted = re.search(
        r"Program (\d+) resources created in the local cloud, (\d+) Kubernetes objects written, (\d+) only recorded",
        short,
    )
    assert counted is not None
    made, written, recorded = counted.groups()
    text = (project / "up.txt").read_text(encoding="utf-8")
    assert (
        f"Program {made} resources created" in text
        and f"{written} Kubernetes objects validated" in text
        and f"{recorded} only recorded" in text
    )


def test_status_gives_programs_addresses_and_states(status: Any) -> None:
    assert status["running"] and {service["state"] for service in status["services"].values()} == {"healthy"}
    assert set(status["services"]) == {"aws", "kafka", "mlflow", "router"}
    assert len(status["applied"]) > 200
    page = (ROOT / "docs" / "resource-types.md").read_text(encoding="utf-8")
    assert status["recorded"] and all(
        f"| `{item['type']}` | " in page and _row(page, item["type"]).endswith("| recorded |")
        for item in status["recorded"]
    )


def _row(page: str, type_: str) -> str:
    return next(line for line in page.splitlines() if line.startswith(f"| `{type_}` |"))


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("s3 ls", "groundplan-local-curated-123456789012"),
        ("kms list-keys", "KeyArn"),
        ("kms list-aliases", "alias/groundplan-local-restricted"),
        ("sagemaker list-endpoints", '"EndpointStatus": "InService"'),
        ("sagemaker list-pipelines", "groundplan-local-diabetes-rf"),
        ("budgets describe-budgets --account-id 123456789012", "groundplan-local-monthly"),
        ("eks describe-cluster --name groundplan-local-cluster", '"endpointPublicAccess": false'),
        ("cloudtrail describe-trails", "groundplan-local-trail"),
        ("scheduler list-schedules", "groundplan-local-retrain-diabetes-rf"),
        ("dynamodb list-tables", "groundplan-local-online.diabetes_patients"),
        ("glue get-schema --schema-id RegistryName=groundplan-local,SchemaName=diabetes-patients", "BACKWARD"),
        ("cloudwatch describe-alarms --query MetricAlarms[].AlarmName", "groundplan-local-diabetes-rf-drift"),
        ("iam list-roles --query Roles[].RoleName", "groundplan-local-auditor"),
        ("secretsmanager list-secrets", "groundplan/local/masking-key"),
    ],
)
def test_the_aws_command_line_simply_works(command: str, says: str, shell: dict[str, str]) -> None:
    aws = Path(sys.executable).parent / "aws"
    done = subprocess.run(
        [sys.executable, str(aws), *command.split()], env=shell, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed on this machine")
def test_kcat_lists_the_topics_and_reads_events(shell: dict[str, str]) -> None:
    listing = subprocess.run(["kcat", "-L"], env=shell, capture_output=True, text=True, timeout=30, check=False)
    assert listing.returncode == 0 and 'topic "diabetes-patients.dlq"' in listing.stdout, listing.stderr
    events = subprocess.run(
        ["kcat", "-C", "-t", "diabetes-patients", "-e", "-q"],
        env=shell,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert len(events.stdout.splitlines()) == 442


def test_a_plain_boto3_client_gets_a_prediction(shell: dict[str, str]) -> None:
    code = (
        "import boto3, json; answer ="
        " boto3.client('sagemaker-runtime').invoke_endpoint(EndpointName='groundplan-local-diabetes-rf',"
        " ContentType='application/json', Body='{\"entities\": {\"patient_id\": [17]}}');"
        " print(answer['InvokedProductionVariant'], json.loads(answer['Body'].read())['predictions'][0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=shell, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    variant, prediction = done.stdout.split()
    assert variant == "champion" and 25 < float(prediction) < 346


def test_curl_repeats_the_prediction_of_the_summary(project: Path) -> None:
    text = (project / "up.txt").read_text(encoding="utf-8")
    command = next(line.strip() for line in text.splitlines() if line.strip().startswith("curl "))
    shown = float(re.search(r"One prediction .* -> (\d+\.\d)", text).group(1))  # type: ignore[union-attr]
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(done.stdout)["predictions"][0] == pytest.approx(shown, abs=0.05)


def test_the_whole_story_of_a_prediction_is_told_from_its_id(project: Path, runtime: Any) -> None:
    body = json.dumps({"entities": {"patient_id": [17]}})
    asked = runtime.invoke_endpoint(
        EndpointName="groundplan-local-diabetes-rf", ContentType="application/json", Body=body
    )
    answer = json.loads(asked["Body"].read())
    done = assert_ok(groundplan(project, "trace", answer["prediction_id"], "--json"), project)
    story = json.loads(done.stdout)
    told = story["prediction"]
    assert (told["model"], told["version"], told["erased_on"]) == ("diabetes-rf", answer["model_version"], "")
    assert told["answer"] == answer and json.loads(told["request"]) == json.loads(body)
    assert story["served"]["share"] == 100 and story["missing"] == []
    assert {(each["role"], each["who"], each["decided"]) for each in story["people"]} == {
        ("data-science", "scientist@test.local", "approve"),
        ("operations", "operator@test.local", "approve"),
    }
    (view,), (topic,), (contract,) = story["features"], story["events"], story["contracts"]
    assert view["view"] == "diabetes_patients" and view["looked_up"] and view["filled_at"] < told["at"]
    assert sum(each["events"] for each in topic["partitions"]) >= 442 and topic["contract"] == contract["id"]
    shown = assert_ok(groundplan(project, "trace", answer["prediction_id"]), project).stdout
    assert "contract  diabetes-patients 1.0.0" in shown and "of the requests since" in shown
    then = json.loads(assert_ok(groundplan(project, "history", "diabetes-rf", "--at", "0m", "--json"), project).stdout)
    (period,) = then["periods"]
    assert period["shares"] == {answer["model_version"]: 100} and period["end"] == ""
    assert period["predictions"][answer["model_version"]]["answers"] >= 1
    version = f"diabetes-rf@{answer['model_version']}"
    tree = assert_ok(groundplan(project, "lineage", version), project).stdout
    assert "kafka://" in tree and "by ingest" in tree and "then    deploy" in tree
    assert assert_ok(groundplan(project, "lineage", version, "--dot"), project).stdout.startswith("digraph lineage {")
    for arguments, says in (
        (("trace", "17"), "'17' is no prediction's id"),
        (("trace", "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"), "would have been made at 2022-02-22T19:22:22"),
        (("lineage", "diabetes-rf"), "'diabetes-rf' names no version"),
        (("history", "diabetes-rf", "--at", "soon"), "'soon' is no time"),
        (("history", "diabetes-rf", "--at", "2020-01-01"), "no version of diabetes-rf had been tried by then"),
    ):
        wrong = groundplan(project, *arguments)
        assert wrong.returncode in (1, 2) and says in wrong.stderr, wrong.stderr


def test_the_catalogue_finds_data_features_and_models_and_glue_keeps_in_step(
    project: Path, shell: dict[str, str]
) -> None:
    found = json.loads(assert_ok(groundplan(project, "catalogue", "diabetes", "--json"), project).stdout)
    by_kind = {entry["kind"]: entry for entry in found}
    data, features, model = by_kind["dataset"], by_kind["features"], by_kind["model"]
    assert (
        data["name"] == "diabetes-patients" and data["quality"] == "27 of 27 expectations hold" and data["rows"] >= 442
    )
    assert data["consumers"] == ["model diabetes-rf"] and "health" in data["tags"] and data["age_s"] >= 0
    assert (model["owner"], model["tags"]) == ("data-science@example.com", ["risk high"]) and "100 %" in model[
        "version"
    ]
    shown = assert_ok(groundplan(project, "catalogue", "bmi", "--kind", "features"), project).stdout
    assert shown.startswith("features diabetes_patients") and "patient_id integer" in shown
    assert (
        "nothing has all of these words"
        in assert_ok(groundplan(project, "catalogue", "bmi", "weather"), project).stdout
    )
    wrong = groundplan(project, "catalogue", "--kind", "table")
    assert wrong.returncode == 2 and "there is no kind 'table'" in wrong.stderr
    code = (
        "import boto3, json, sys; database, name = sys.argv[1].split('.');"
        " print(json.dumps(boto3.client('glue').get_table(DatabaseName=database, Name=name)['Table'], default=str))"
    )
    for entry in (data, features):
        done = subprocess.run(
            [sys.executable, "-c", code, entry["table"]],
            env=shell,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        table = json.loads(done.stdout)
        columns = {column["Name"] for column in table["StorageDescriptor"]["Columns"]}
        assert set(entry["columns"]) <= columns and table["Parameters"]["groundplan.rows"] == str(entry["rows"])
    assert table["Owner"] == "data-science@example.com"


def test_the_served_prediction_is_the_scripts_own_models(project: Path, runtime: Any) -> None:
    """The experiment again, here: the endpoint must answer what scikit-learn answers, by features and by key."""
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import train_test_split

    data = load_diabetes()
    train, _, labels, _ = train_test_split(data.data, data.target, test_size=0.2, random_state=42)
    expected = RandomForestRegressor(n_estimators=100, random_state=42).fit(train, labels).predict(data.data[:5])
    for body in ({"instances": data.data[:5].tolist()}, {"entities": {"patient_id": [0, 1, 2, 3, 4]}}):
        answer = runtime.invoke_endpoint(
            EndpointName="groundplan-local-diabetes-rf", ContentType="application/json", Body=json.dumps(body)
        )
        assert json.loads(answer["Body"].read())["predictions"] == pytest.approx(expected, rel=1e-4)


def test_the_tracking_server_has_the_run_as_the_script_and_the_platform_wrote_it(status: Any) -> None:
    import mlflow

    client = mlflow.MlflowClient(status["services"]["mlflow"]["url"])
    version = client.get_model_version_by_alias("diabetes-rf", "champion")
    run = client.get_run(version.run_id)
    assert run.data.params == {"n_estimators": "100"} and run.data.metrics["mae"] == pytest.approx(44.05, abs=0.05)
    assert (
        version.tags["version"] == "v1.0.0"
        and client.get_model_version_by_alias("diabetes-rf", "v1-0-0").version == version.version
    )
    for tag in ("code_version", "dataset_digest", "training_digest", "environment", "duration_s", "pipeline_run"):
        assert run.data.tags[f"groundplan.{tag}"]
    assert run.inputs.dataset_inputs[0].dataset.name == "diabetes-rf"
    assert client.get_experiment(run.info.experiment_id).name == "diabetes-rf"
    assert client.get_experiment_by_name("company-experiment") is None


@pytest.mark.drill
def test_the_example_notebook_runs_in_a_kernel_that_a_space_has_prepared(
    shell: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what a space's first steps have written tells the kernel where MLflow and the outputs are."""
    import nbformat
    from nbclient import NotebookClient

    from components.operations.workspace import first_steps

    script = first_steps(shell["MLFLOW_TRACKING_URI"], shell["GROUNDPLAN_OUTPUTS"], shell["AWS_REGION"])
    space = {name: value for name, value in shell.items() if name.startswith(("AWS_", "MLFLOW_S3", "PATH", "NO_PROXY"))}
    space = {**space, "HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / ".ipython")}
    del space["AWS_DEFAULT_REGION"]
    subprocess.run(["bash", "-s"], input=script, env=space, text=True, check=True)
    notebook = nbformat.read(ROOT / "docs" / "notebooks" / "first-look.ipynb", as_version=4)
    for name in (*os.environ, *space):
        monkeypatch.delenv(name, raising=False)
    for name, value in space.items():
        monkeypatch.setenv(name, value)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (last,) = [output for output in notebook.cells[-1].outputs if output.output_type == "execute_result"]
    run_id, mae = ast.literal_eval(last.data["text/plain"])
    assert 30 < mae < 60
    import mlflow

    client = mlflow.MlflowClient(shell["MLFLOW_TRACKING_URI"])
    run = client.get_run(run_id)
    assert run.data.metrics["mae"] == mae and run.data.params["dataset"].startswith("diabetes-patients/version=")


@pytest.mark.drill  # importing mlflow takes longer than everything else in this test
def test_the_mlflow_command_line_simply_works(shell: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "experiments", "search"],
        env=shell,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert "diabetes-rf" in done.stdout, done.stderr


def test_the_stored_model_is_neither_pickle_nor_trusted_blindly(
    status: Any, shell: dict[str, str], tmp_path: Path
) -> None:
    import boto3

    s3 = boto3.client(
        "s3",
        endpoint_url=status["services"]["aws"]["url"],
        region_name="us-east-1",
        aws_access_key_id="t",
        aws_secret_access_key="t",
    )
    names = [
        item["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket="groundplan-local-mlflow-123456789012")
        for item in page["Contents"]
    ]
    assert any(name.endswith("model.skops") for name in names) and not any(
        name.endswith((".pkl", ".pickle", ".joblib")) for name in names
    )
    served = [
        item["Key"]
        for item in s3.list_objects_v2(Bucket="groundplan-local-models-123456789012", Prefix="diabetes-rf/current/")[
            "Contents"
        ]
    ]
    assert {Path(key).name for key in served} == {
        "model.onnx",
        "model.json",
        "background.json",
        "approved.json",
        "model.tar.gz",
    }, "the last holds the others, but for what was signed about them"


@pytest.mark.parametrize(
    ("body", "content_type", "says"),
    [
        ("{", "application/json", "not valid JSON"),
        ("", "application/json", "The body is empty"),
        ('{"instances": [[1, 2]]}', "application/json", "10 columns are expected"),
        ('{"dataframe_records": [{"age": 1}]}', "application/json", "Missing columns"),
        ('{"entities": {"patient_id": [99999]}}', "application/json", "No features for patient_id 99999."),
        ("age,sex\n1,2", "text/csv", "Missing columns"),
    ],
)
def test_a_bad_request_is_refused_in_one_sentence_and_the_endpoint_goes_on(
    body: str, content_type: str, says: str, status: Any
) -> None:
    import httpx

    url = f"{status['services']['router']['url']}/endpoints/groundplan-local-diabetes-rf/invocations"
    answer = httpx.post(url, content=body, headers={"content-type": content_type}, timeout=20)
    assert (
        answer.status_code == 424
        and says in json.loads(answer.json()["OriginalMessage"])["error"]
        and answer.json()["OriginalStatusCode"] in (400, 404)
    )
    assert httpx.post(url, json={"entities": {"patient_id": [1]}}, timeout=20).status_code == 200


def test_up_again_is_quick_and_says_what_is_there(project: Path, status: Any) -> None:
    done = assert_ok(groundplan(project, "up", "--models", MODEL), project)
    assert (
        "The platform was already up" in done.stdout
        and "unchanged" in done.stdout
        and "diabetes-rf: already running" in done.stdout
    )
    after = json.loads(groundplan(project, "status", "--json").stdout)
    assert {name: service["pid"] for name, service in after["services"].items()} == {
        name: service["pid"] for name, service in status["services"].items()
    }


def test_a_second_stack_or_a_second_command_at_once_is_refused(project: Path) -> None:
    import fcntl

    (project / "stacks" / "Pulumi.other.yaml").write_text(
        (project / "stacks" / "Pulumi.local.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    done = groundplan(project, "up", "--stack", "other")
    assert done.returncode == 2 and "stack local is running here" in done.stderr
    with (project / ".groundplan" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = groundplan(project, "down")
    assert done.returncode == 1 and "another groundplan command is changing this platform" in done.stderr


@pytest.mark.drill
@pytest.mark.parametrize("service", ["mlflow", "router"])
def test_a_killed_service_is_restarted(project: Path, service: str) -> None:
    before = json.loads(groundplan(project, "status", "--json").stdout)["services"][service]
    psutil.Process(before["pid"]).kill()
    deadline = time.monotonic() + 90
    while True:  # back, and up for longer than a server takes that fails to get its port
        after = json.loads(groundplan(project, "status", "--json").stdout)["services"][service]
        if after["state"] == "healthy" and after["pid"] != before["pid"] and (after["uptime_s"] or 0) > 15:
            break
        assert time.monotonic() < deadline, f"{after}\n{logs_of(project)}"
    assert after["url"] == before["url"]


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("cancer", scripts.GRADIENT_BOOSTED_CLASSIFIER),
        pytest.param("churn", scripts.PIPELINE_WITH_PREPROCESSING, marks=pytest.mark.drill),
    ],
)
def test_a_script_the_project_has_never_seen_reaches_an_endpoint(
    name: str, script: str, project: Path, runtime: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.py"
    path.write_text(script, encoding="utf-8")
    found = json.loads(assert_ok(groundplan(project, "experiment", str(path), "--deploy", "--json"), project).stdout)
    assert found["register"]["version"] == "v1.0.0" and found["deploy"]["outcome"] == "promoted"
    if name == "cancer":
        from sklearn.datasets import load_breast_cancer

        row, wanted = load_breast_cancer(as_frame=True).data.head(1).to_dict(orient="records"), [0]
        assert (
            found["experiment"]["holdout"] == "rows the model has not seen"
            and found["evaluate"]["metrics"]["roc_auc"] > 0.95
        )
    else:
        row, wanted = [{"age": 40.5, "visits": 1, "plan": "basic", "member": True}], ["yes"]
        assert found["experiment"]["holdout"] == "5-fold, out of fold"
    for attributes in ({}, {"CustomAttributes": "explain"}):
        answer = runtime.invoke_endpoint(
            EndpointName=f"groundplan-local-{name}",
            ContentType="application/json",
            Body=json.dumps({"dataframe_records": row}),
            **attributes,
        )
        document = json.loads(answer["Body"].read())
        if attributes:
            item = document["explanations"][0]
            assert item["base_value"] + sum(item["shap_values"].values()) == pytest.approx(
                item["probability"], abs=1e-6
            )
        else:
            assert document["predictions"] == wanted


@pytest.mark.drill  # a deployment; tests/unit/test_targets.py has the rest
def test_a_model_of_two_labels_a_row_answers_with_both_and_explains_both(
    project: Path, runtime: Any, tmp_path: Path
) -> None:
    (tmp_path / "films.py").write_text(scripts.TWO_LABELS_A_ROW, encoding="utf-8")
    found = json.loads(
        assert_ok(groundplan(project, "experiment", str(tmp_path / "films.py"), "--deploy", "--json"), project).stdout
    )
    assert (
        found["experiment"]["holdout"] == "rows the model has not seen"
        and found["evaluate"]["metrics"]["accuracy"] > 0.9
    )
    ask = {
        "EndpointName": "groundplan-local-films",
        "ContentType": "text/csv",
        "Body": "long,fast,loud\n0.1,-1.5,1.5\n0.2,1.5,1.5\n",
    }
    answer = json.loads(runtime.invoke_endpoint(**ask)["Body"].read())
    assert (
        answer["predictions"] == [[1, 1], [1, 0]]
        and answer["targets"] == ["war", "love"]
        and answer["probabilities"][1][1] < 0.5
    )
    item, _ = json.loads(runtime.invoke_endpoint(**ask, CustomAttributes="explain")["Body"].read())["explanations"]
    for target in ("war", "love"):
        assert item["base_value"][target] + sum(item["shap_values"][target].values()) == pytest.approx(
            item["probability"][target], abs=1e-6
        )


@pytest.mark.drill  # two deployments, which take minutes
def test_a_model_in_its_own_format_takes_gaps_and_its_next_version_other_columns(
    project: Path, runtime: Any, tmp_path: Path
) -> None:
    path = tmp_path / "wear.py"
    path.write_text(scripts.BOOSTED_WITH_GAPS, encoding="utf-8")

    def deploy(column: str) -> Any:
        return json.loads(
            assert_ok(groundplan(project, "experiment", str(path), "--deploy", "--json", "--", column), project).stdout
        )

    first, second = deploy("hours"), deploy("hours run")
    assert first["experiment"]["served_as"] == second["experiment"]["served_as"] == "xgboost"
    assert (first["register"]["version"], second["register"]["version"]) == ("v1.0.0", "v2.0.0")
    assert second["deploy"]["outcome"] == "promoted" and "the champion on its own" in second["deploy"]["judged_on"]
    body = '{"dataframe_records": [{"load (kN)": 2.5, "hours run": NaN}, {"load (kN)": null, "hours run": -3}]}'
    answer = runtime.invoke_endpoint(EndpointName="groundplan-local-wear", ContentType="application/json", Body=body)
    assert json.loads(answer["Body"].read())["predictions"] == [1, 0]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (scripts.BROKEN, r"step experiment .*broken.py:5: the script raised ValueError: the training data are gone"),
        (scripts.NO_RUN, r"the script created no MLflow run"),
    ],
    ids=["raises", "no run"],
)
def test_a_script_that_fails_is_named_with_step_line_and_log(
    script: str, says: str, project: Path, tmp_path: Path
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(script, encoding="utf-8")
    done = groundplan(project, "experiment", str(path))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(says, done.stderr.replace("\n", " ")), done.stderr
    assert "-experiment.log" in done.stderr


@pytest.mark.drill
def test_a_script_that_is_interrupted_ends_with_its_run(project: Path, shell: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(scripts.ENDLESS, encoding="utf-8")
    logs, before = project / ".groundplan" / "logs" / "runs", processes_of(project)
    process = subprocess.Popen(
        [sys.executable, "-m", "groundplan", "experiment", str(tmp_path / "endless.py")],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not any("begun" in path.read_text(errors="replace") for path in logs.glob("*-experiment.log")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)
    process.terminate()
    assert (
        process.wait(60) == 130
        and process.stderr is not None
        and "what this command started is stopped" in process.stderr.read()
    )
    assert len(processes_of(project)) <= len(before)
    code = (
        "import mlflow; print([run.info.status for run in mlflow.search_runs(experiment_names=['endless'],"
        " output_format='list')])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=shell, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['FAILED']"


def test_the_bill_is_of_what_exists_and_any_client_reads_it(
    project: Path, runtime: Any, shell: dict[str, str], tmp_path: Path
) -> None:
    found = json.loads(assert_ok(groundplan(project, "cost", "--json"), project).stdout)
    billed = {each["service"]: each["spent_usd"] for each in found["services"]}
    assert billed["Amazon SageMaker"] > 0 and sum(billed.values()) == pytest.approx(found["spent_usd"], abs=0.01)
    assert found["forecast"]["least"] <= found["forecast"]["usd"] <= found["forecast"]["most"]
    model = next(each for each in found["models"] if each["model"] == "diabetes-rf")
    assert model["predictions"] > 0 and model["usd_per_thousand"] > 0
    code = (
        "import boto3, datetime; today = datetime.datetime.now(datetime.UTC).date();"
        "answer = boto3.client('ce').get_cost_and_usage(TimePeriod={'Start': str(today.replace(day=1)),"
        " 'End': str(today + datetime.timedelta(days=1))}, Granularity='MONTHLY', Metrics=['UnblendedCost']);"
        "print(sum(float(of['Total']['UnblendedCost']['Amount']) for of in answer['ResultsByTime']))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=shell, capture_output=True, text=True, check=True)
    assert float(done.stdout) >= found["spent_usd"], "it goes on"
    report = tmp_path / "focus.csv"
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    report.write_text(
        "BilledCost,BillingCurrency,ChargePeriodStart,ServiceName,ResourceId,Tags\n"
        f'90000,USD,{today}T00:00:00Z,Amazon SageMaker,arn:e,"{{""Environment"": ""local""}}"\n',
        encoding="utf-8",
    )
    told = groundplan(project, "cost", "--report", str(report))
    assert "90,000.00" in told.stdout and "Dearest resources of the report" in told.stdout and "arn:e" in told.stdout


def test_a_scan_finds_nothing_to_fix_in_the_interface_for_pages(project: Path, runtime: Any) -> None:
    done = groundplan(project, "scan", "--only", "image,headers,tls,api", "--record", "--json")
    found = json.loads(assert_ok(done, project).stdout)
    made = {check["name"]: check for check in found["checks"]}
    assert found["open"] == 0 and found["not_made"] == ["secrets", "packages", "tls"], made
    assert int(made["api"]["did"].split(" ")[0].replace(",", "")) > 100 and "with a token" in made["api"]["did"]
    evidence = next((project / "evidence" / "penetration-tests").glob("*-local-scan.yaml"))
    assert "not_made: [secrets, packages, tls]" in evidence.read_text(encoding="utf-8")


@pytest.mark.drill
def test_drifted_requests_turn_the_alarm_on_and_the_command_says_so(
    project: Path, runtime: Any, shell: dict[str, str]
) -> None:
    first = groundplan(project, "monitor", "models/diabetes-rf", "--json")
    assert first.returncode == 0, first.stderr
    calm = json.loads(first.stdout)
    assert calm["alarms"]["drift"] == "OK" and calm["quality"]["mae"] == pytest.approx(44.05, abs=0.5)
    assert Path(calm["drawing"]).stat().st_size > 10_000
    assert "known outcomes" in Path(calm["report"]).read_text(encoding="utf-8")
    rows = [[0.15 + row / 5000, *[0.12] * 9] for row in range(200)]
    runtime.invoke_endpoint(
        EndpointName="groundplan-local-diabetes-rf",
        ContentType="application/json",
        Body=json.dumps({"instances": rows}),
    )
    deadline = time.monotonic() + 60
    while True:  # the capture is written once a second
        done = groundplan(project, "monitor", "models/diabetes-rf", "--json")
        found = json.loads(done.stdout)
        if found["requests"] >= calm["requests"] + 200:
            break
        assert time.monotonic() < deadline
    assert done.returncode == 1 and found["drift_share"] > 0.5 and found["alarms"]["drift"] == "ALARM"


@pytest.mark.drill
def test_outcomes_are_brought_by_the_ids_of_predictions(project: Path, runtime: Any, tmp_path: Path) -> None:
    """Late ones, from a table that a person brings; wrong ones are refused as a whole."""
    asked = [
        json.loads(
            runtime.invoke_endpoint(
                EndpointName="groundplan-local-diabetes-rf",
                ContentType="application/json",
                Body=json.dumps({"instances": [[0.011 + number / 1000] * 10, [0.013 + number / 1000] * 10]}),
            )["Body"].read()
        )
        for number in range(20)
    ]
    lines = [
        f"{answer['prediction_id']},{prediction + 10},{row}"
        for answer in asked
        for row, prediction in enumerate(answer["predictions"])
    ]
    table = tmp_path / "outcomes.csv"
    before = json.loads(groundplan(project, "monitor", MODEL, "--json").stdout)["realised"]
    table.write_text("\n".join(["prediction_id,outcome,row", *lines, "17,3,0"]), encoding="utf-8")
    done = groundplan(project, "labels", MODEL, str(table))
    assert done.returncode == 1, done.stdout
    assert "nothing was stored, as of 41 outcomes 1 have no id of a prediction: '17' (line 42)" in done.stderr
    table.write_text("\n".join(["prediction_id,outcome,row", *lines]), encoding="utf-8")
    assert "40 outcomes of predictions" in assert_ok(groundplan(project, "labels", MODEL, str(table)), project).stdout
    deadline = time.monotonic() + 60
    while True:  # the capture is written once a second
        done = groundplan(project, "monitor", MODEL, "--json")
        after = json.loads(done.stdout)["realised"]
        if after["rows"] == before["rows"] + 40:
            break
        assert time.monotonic() < deadline, after
    rows = before["rows"], 40
    expected = (rows[0] * before["metrics"]["mae"] + 40 * 10) / sum(rows)
    assert after["metrics"]["mae"] == pytest.approx(expected, rel=1e-6), "each is 10 off"
    page = Path(json.loads(done.stdout)["report"]).read_text(encoding="utf-8")
    assert f"of {after['rows']:,} known outcomes" in page and "is not estimated: only 89 rows were held out" in page


@pytest.mark.drill
def test_a_worse_version_is_rolled_back_and_the_old_one_goes_on_serving(
    project: Path, runtime: Any, tmp_path: Path
) -> None:
    folder = project / "models" / "diabetes-rf"
    original = (folder / "experiment.py").read_text(encoding="utf-8")
    worse = original.replace(
        "RandomForestRegressor(n_estimators=n_estimators", "RandomForestRegressor(max_depth=1, n_estimators=1"
    )  # one split: an error of 57, not of 44
    assert worse != original
    stack = project / "stacks" / "Pulumi.local.yaml"
    kept = stack.read_text(encoding="utf-8")
    try:
        (folder / "experiment.py").write_text(worse, encoding="utf-8")
        # With a laxer objective the gate lets it pass, and the canary must catch it.
        stack.write_text(kept.replace("worst: 60", "worst: 500"), encoding="utf-8")
        assert re.search(
            r"\d+ updated.*, \d+ unchanged", assert_ok(groundplan(project, "up", "--models", MODEL), project).stdout
        )
        done = groundplan(project, "experiment", "models/diabetes-rf", "--deploy")
        assert done.returncode == 1 and re.search(
            r"diabetes-rf v1\.\d\.\d was rolled back: its absolute error is", done.stderr
        ), done.stderr
    finally:
        (folder / "experiment.py").write_text(original, encoding="utf-8")
        stack.write_text(kept, encoding="utf-8")
    answer = runtime.invoke_endpoint(
        EndpointName="groundplan-local-diabetes-rf",
        Body='{"entities": {"patient_id": [17]}}',
        ContentType="application/json",
    )
    assert json.loads(answer["Body"].read())["model_version"] == "v1.0.0"
    log = json.loads(assert_ok(groundplan(project, "audit", MODEL, "--json"), project).stdout)
    assert [entry["action"] for entry in log][:4] == ["register", "approve", "approve", "promote"] and log[-1][
        "action"
    ] == "rollback"


READS_THE_STREAM = """
import os

import mlflow
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import train_test_split

data = pd.read_parquet(os.environ["GROUNDPLAN_TRAINING_SET"])
X_train, X_test, y_train, y_test = train_test_split(
    data[["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]], data["target"], random_state=42
)
with mlflow.start_run():
    mlflow.sklearn.log_model(RandomForestRegressor(random_state=42).fit(X_train, y_train), "model")
"""


def test_drift_starts_a_retraining_whose_version_is_signed_off_and_served(
    project: Path, runtime: Any, shell: dict[str, str]
) -> None:
    """The alarm, the rule, the pipeline that it starts, two people, the canary; on people unlike those it knew."""
    import boto3
    from confluent_kafka import Producer

    script = project / "models" / "diabetes-rf" / "experiment.py"
    original = script.read_text(encoding="utf-8")
    random, names = np.random.default_rng(0), ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
    producer = Producer({"bootstrap.servers": shell["KAFKA_BOOTSTRAP_SERVERS"]})
    for number in range(300):
        row = dict(zip(names, map(float, random.normal(0.15, 0.02, 10)), strict=True))
        event = {"patient_id": 1000 + number, **row, "target": 330 + 200 * row["bmi"]}
        producer.produce("diabetes-patients", json.dumps(event).encode())
    assert producer.flush(30) == 0
    alarms = boto3.client(
        "cloudwatch",
        endpoint_url=shell["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    # Somebody has looked at the drift of an earlier test: it begins again.
    alarms.set_alarm_state(AlarmName="groundplan-local-diabetes-rf-drift", StateValue="OK", StateReason="seen")

    def asked() -> Any:
        answer = runtime.invoke_endpoint(
            EndpointName="groundplan-local-diabetes-rf",
            ContentType="application/json",
            Body=json.dumps({"instances": [[0.15] * 10]}),
        )
        return json.loads(answer["Body"].read())

    assert asked()["predictions"][0] < 300
    # People unlike those it knew, as many as have asked before; the capture is written once a second.
    rows = [[0.15 + row / 5000, *[0.12] * 9] for row in range(400)]
    body = json.dumps({"instances": rows})
    runtime.invoke_endpoint(EndpointName="groundplan-local-diabetes-rf", ContentType="application/json", Body=body)
    time.sleep(2)
    try:
        script.write_text(READS_THE_STREAM, encoding="utf-8")
        done = groundplan(project, "monitor", MODEL)
        assert done.returncode == 1, done.stderr
        assert "groundplan-local-diabetes-rf was started (groundplan-local-diabetes-rf-drift rings)" in done.stdout
        found = re.search(r"retrained: (v\d+\.\d+\.\d+) \(.*\) waits for two approvals", done.stdout)
        assert found, done.stdout
        for role, person in (("data-science", "maria@example.com"), ("operations", "amir@example.com")):
            assert_ok(groundplan(project, "approve", MODEL, found[1], "--role", role, "--identity", person), project)
        assert_ok(groundplan(project, "promote", MODEL, found[1], "--identity", "amir@example.com"), project)
        answer = asked()
        assert answer["model_version"] == found[1] and answer["predictions"][0] > 340
        log = json.loads(assert_ok(groundplan(project, "audit", MODEL, "--json"), project).stdout)
        assert "was trained on" in log[-1]["details"]["judged_on"]  # v1.0.0 knows most of the old rows by heart
        # The same alarm goes on, and starts nothing more.
        again = groundplan(project, "monitor", MODEL)
        assert "was started" not in again.stdout and found[1] in again.stdout
        mails = json.loads(assert_ok(groundplan(project, "mail", "--json"), project).stdout)
        told = [
            mail["to"].partition("@")[0] for mail in mails if mail["subject"].startswith('ALARM: "groundplan-local-')
        ]
        assert sorted(set(told)) == ["legal", "operations", "product"]
        time.sleep(61 - time.time() % 60)  # CloudWatch counts by the minute: that of the promotion is nobody's
        _fail(project, runtime.meta.endpoint_url, alarms)
        rings = groundplan(project, "alarms", "diabetes-rf")
        assert rings.returncode == 1 and "docs/runbooks/availability.md" in rings.stdout
        back = groundplan(project, "monitor", MODEL)
        why = "groundplan-local-diabetes-rf-availability-page rings since"
        assert re.search(rf"{found[1]} was taken back, v\d+\.\d+\.\d+ serves again: {why}", back.stdout), back.stdout
        assert asked()["model_version"] != found[1]
    finally:
        script.write_text(original, encoding="utf-8")


def _fail(project: Path, router: str, alarms: Any) -> None:
    """Kill the model's servers and go on asking, until enough requests have failed."""
    url = f"{router}/endpoints/groundplan-local-diabetes-rf/invocations"
    page, deadline = "groundplan-local-diabetes-rf-availability-page", time.monotonic() + 60
    while True:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                home = process.environ().get("GROUNDPLAN_HOME")
                if home == str(project / ".groundplan") and "pipelines.serving" in " ".join(process.cmdline()):
                    process.kill()
        for _ in range(20):
            httpx.post(url, json={"instances": [[0.15] * 10]}, trust_env=False)
        found = alarms.describe_alarms(AlarmNames=[page], AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
        if found[0]["StateValue"] == "ALARM":
            return
        assert time.monotonic() < deadline


@pytest.mark.drill  # another application of the program
def test_a_version_that_misses_its_objective_is_not_registered(project: Path) -> None:
    script, stack = project / "models" / "diabetes-rf" / "experiment.py", project / "stacks" / "Pulumi.local.yaml"
    original, kept = script.read_text(encoding="utf-8"), stack.read_text(encoding="utf-8")
    try:
        script.write_text(
            original.replace("RandomForestRegressor(n_estimators=n_estimators", "RandomForestRegressor(n_estimators=1"),
            encoding="utf-8",
        )
        stack.write_text(kept.replace("worst: 60", "worst: 50"), encoding="utf-8")
        assert_ok(groundplan(project, "up", "--models", MODEL), project)
        done = groundplan(project, "experiment", "models/diabetes-rf", "--deploy")
        assert done.returncode == 1 and "step register" in done.stderr and "the worst allowed is 50" in done.stderr
    finally:
        script.write_text(original, encoding="utf-8")
        stack.write_text(kept, encoding="utf-8")


@pytest.mark.drill  # a run of the pipeline, as `up` makes it
def test_a_verification_passes_and_says_what_it_left(project: Path, tmp_path: Path) -> None:
    found = json.loads(assert_ok(groundplan(project, "verify", "--json", "--out", str(tmp_path)), project).stdout)
    assert (
        found["passed"]
        and len(found["checks"]) > 50
        and {check["state"] for check in found["checks"]} == {"passed", "evaluated"}
    )
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".html", ".json"] and len(found["left"]) == 2
    version = json.loads(assert_ok(groundplan(project, "audit", MODEL, "--json"), project).stdout)[-1]["details"][
        "version"
    ]
    assert_ok(
        groundplan(
            project,
            "approve",
            "models/diabetes-rf",
            version,
            "--role",
            "data-science",
            "--identity",
            "late@example.com",
        ),
        project,
    )


@pytest.mark.parametrize(
    ("number", "wait_for"),
    [(signal.SIGINT, "AWS API"), pytest.param(signal.SIGTERM, "raw zone", marks=pytest.mark.drill)],
)
def test_interrupting_up_leaves_nothing_running(number: int, wait_for: str, tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "clone")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "groundplan", "up", "--models", MODEL],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # a shell's background jobs ignore it
    )
    assert process.stdout is not None
    for line in process.stdout:
        if wait_for in line:
            break
    process.send_signal(number)
    rest = process.stdout.read()
    assert process.wait(60) == 130, rest
    assert "interrupted" in rest and "Traceback" not in rest
    assert processes_of(folder) == []
    assert not (folder / ".groundplan" / "run").exists()


@pytest.mark.drill
def test_once_stops_everything(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "clone")
    assert "--once: stopped" in assert_ok(groundplan(folder, "up", "--once", "--models", "none"), folder).stdout
    assert processes_of(folder) == []


@pytest.mark.drill
def test_a_step_that_fails_is_named_and_nothing_goes_on(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "clone")
    with (folder / "models" / "diabetes-rf" / "contract.yaml").open("a", encoding="utf-8") as contract:
        contract.write(
            "    quality:\n      - {type: custom, engine: greatExpectations, implementation: "
            "{expectation_type: expect_column_mean_to_be_between, kwargs: {column: target, min_value: 1000}}}\n"
        )
    done = groundplan(folder, "up", "--models", MODEL)
    assert done.returncode == 1
    assert (
        "step quality" in done.stderr
        and "target: expect_column_mean_to_be_between" in done.stderr
        and "-quality.log" in done.stderr
    )
    assert processes_of(folder) == []
