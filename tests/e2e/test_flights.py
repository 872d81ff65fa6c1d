"""The stream of real flights, on the whole platform."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.flights import IMPOSSIBLE_WIND
from tests.platform import assert_ok, groundplan

MODEL = "flights-late"
OPTIONS = ("--set", "flights-late.months=2")
TAILNUM = "N725MQ"  # the plane that flew most often


def asked(runtime: Any, key: str, **more: str) -> Any:
    body = json.dumps({"entities": {"flight_id": [key]}})
    answer = runtime.invoke_endpoint(
        EndpointName="groundplan-local-flights-late", ContentType="application/json", Body=body, **more
    )
    return json.loads(answer["Body"].read())


def send(shell: dict[str, str], topic: str, value: str) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": shell["KAFKA_BOOTSTRAP_SERVERS"]})
    producer.produce(topic, value.encode())
    assert producer.flush(30) == 0


@pytest.fixture(scope="module")
def sample_key(project: Path) -> str:
    found = re.search(
        r'One prediction \{"entities": \{"flight_id": \["([^"]+)"', (project / "up.txt").read_text(encoding="utf-8")
    )
    assert found is not None
    return found[1]


def test_up_tells_where_every_event_went(project: Path) -> None:
    text = (project / "up.txt").read_text(encoding="utf-8")
    assert re.search(
        r"flights 24,951 = 24,951 raw \+ 0 dead letters; planes 3,322 = 3,322 raw .*; weather 2,010 = 2,009 raw \+ 1"
        r" dead letter;",
        text,
    )
    assert (
        "promoted: its balanced error rate is" in text
        and "requests failed (1% may)" in text
        and re.search(r"roc_auc 0\.[67]\d* \(baseline 0\.5\)", text)
    )
    assert re.search(
        r"correct warnings per prediction better than the baseline \(95 % interval .*\), worth [\d,]+ USD a"
        r" month \(",
        text,
    )


@pytest.fixture(scope="module")
def replayed(project: Path) -> subprocess.CompletedProcess[str]:
    """The one dead letter was sent again; the next version finds it a second time."""
    return groundplan(project, "dlq", "replay")


@pytest.fixture(scope="module")
def personal(project: Path, shell: dict[str, str]) -> None:
    """Two events with e-mail addresses in fields that declare none; the next version finds them."""
    for number, field in enumerate(("manufacturer", "model")):
        plane = {
            "tailnum": f"N{number}TEST",
            "manufacturer": "BOEING",
            "model": "737",
            "engines": 2,
            "seats": 149,
            field: f"ask joe{number}@example.com",
        }
        send(shell, "planes", json.dumps(plane))


def test_the_hour_with_an_impossible_wind_is_a_dead_letter_that_can_be_replayed(
    project: Path, shell: dict[str, str], replayed: subprocess.CompletedProcess[str]
) -> None:
    listed = groundplan(project, "dlq", "list", "--json")
    assert listed.returncode == 0
    (letter,) = json.loads(listed.stdout)
    assert (letter["topic"], letter["reason"]) == ("weather", "out of bounds") and json.loads(letter["value"])[
        "observation_id"
    ] == IMPOSSIBLE_WIND
    shown = groundplan(project, "dlq", "list", "--topic", "weather").stdout
    assert "1 dead letter: 1 out of bounds" in shown and letter["detail"].startswith(
        "wind_speed must be at most 200 (1048."
    )
    assert "weather: 1 of 1 sent" in assert_ok(replayed, project).stdout
    assert "weather: 0 of 1 sent; 1 sent before" in assert_ok(groundplan(project, "dlq", "replay"), project).stdout
    assert "nothing is in quarantine" in assert_ok(groundplan(project, "quarantine", "list"), project).stdout
    as_on_aws = groundplan(
        project, "dlq", "list", "--json", "--outputs", str(project / ".groundplan" / "run" / "outputs.json"), **shell
    )
    assert [item["offset"] for item in json.loads(as_on_aws.stdout)] == [letter["offset"]]
    wrong = groundplan(project, "dlq", "list", "--topic", "nope")
    assert (
        wrong.returncode == 2
        and "no contract describes topic 'nope'" in wrong.stderr
        and "flights, planes, weather" in wrong.stderr
    )


def test_a_flight_is_predicted_by_its_key_and_explained(runtime: Any, sample_key: str) -> None:
    found = asked(runtime, sample_key)
    assert found["predictions"][0] in (0, 1) and found["model_version"] == "v1.0.0"
    why = asked(runtime, sample_key, CustomAttributes="explain")["explanations"][0]
    assert len(why["shap_values"]) == 15 and why["base_value"] + sum(why["shap_values"].values()) == pytest.approx(
        why["probability"], abs=1e-6
    )


def test_its_story_leads_to_three_topics_and_their_contracts(project: Path, runtime: Any, sample_key: str) -> None:
    answer = asked(runtime, sample_key)
    story = json.loads(assert_ok(groundplan(project, "trace", answer["prediction_id"], "--json"), project).stdout)
    assert story["prediction"]["model"] == "flights-late" and story["missing"] == []
    assert {each["topic"] for each in story["events"]} == {"flights", "planes", "weather"}
    assert {each["id"]: each["personal"] for each in story["contracts"]} == {
        "flights": ["tailnum"],
        "planes": ["tailnum"],
        "weather": [],
    }
    assert [each["view"] for each in story["features"]] == ["flight_before_departure"], "what this version reads"


@pytest.mark.drill
def test_monitoring_shows_the_data_by_month(project: Path) -> None:
    done = groundplan(project, "monitor", "models/flights-late")
    text = done.stdout
    assert done.returncode == 0 or "latency ALARM" in text, text + done.stderr  # which a busy machine may raise
    assert "Data by month, compared with the training data" in text and "balanced_accuracy 0." in text
    assert re.search(r"(?m)^balanced_accuracy +0\.\d+ +0\.\d+ \(0\.\d+ to 0\.\d+\) +0\.55$", text), text
    assert "an estimate is blind to concept drift" in text and "USD per thousand predictions" in text
    months = re.findall(r"(?m)^(2013-\d\d) +([\d,]+) +(0\.\d+) +(\d+\.\d\d)( drifted)? +(\w+)", text)
    assert [month for month, *_ in months] == ["2013-02", "2013-03"], "the last evening of February is March in UTC"
    assert int(months[0][1].replace(",", "")) > 23_000 and 0.2 < float(months[0][2]) < 0.3


@pytest.mark.drill  # two versions over a canary are in test_platform.py, too
def test_the_second_version_knows_more_and_follows_the_first_over_a_canary(
    project: Path, runtime: Any, sample_key: str, replayed: Any, personal: None
) -> None:
    done = groundplan(project, "experiment", "models/flights-late/after_departure.py", "--deploy", "--json")
    found = json.loads(assert_ok(done, project).stdout)
    assert found["register"]["version"] == "v2.0.0" and found["deploy"]["outcome"] == "promoted"
    assert found["evaluate"]["metrics"]["roc_auc"] > 0.85
    online = found["features"]["views"]["flight_before_departure"]["online"]
    assert online["items"] > 1000 and online["written"] < 10 and online["deleted"] == 0, (
        "of the same events nothing is put online twice"
    )
    assert found["ingest"]["topics"]["weather"] == {
        "events": 2011,
        "rows": 2009,
        "dead_letters": 2,
        "quarantined": 0,
        "discarded": 0,
        "deletions": 0,
        "files": 4,
        "quarantined_for": [],
    }
    assert asked(runtime, sample_key)["model_version"] == "v2.0.0"


@pytest.mark.drill  # the second version has taken in what it looks at
def test_personal_data_in_fields_that_declare_none_waits_for_somebody_to_decide(project: Path) -> None:
    listed = groundplan(project, "quarantine", "list", "--json")
    found = {item["found"][0]["field"]: item["rows"] for item in json.loads(listed.stdout)}
    assert listed.returncode == 0 and found == {"manufacturer": 1, "model": 1}
    who = ("--identity", "dpo@example.com", "--reason", "looked at by hand")
    assert (
        "planes: 1 events released; 1 still await a decision"
        in assert_ok(groundplan(project, "quarantine", "release", "planes", "--field", "model", *who), project).stdout
    )
    assert (
        "planes: 1 events discarded"
        in assert_ok(groundplan(project, "quarantine", "discard", "planes", *who), project).stdout
    )
    assert "nothing is in quarantine" in assert_ok(groundplan(project, "quarantine", "list"), project).stdout


@pytest.mark.drill
def test_the_first_version_can_follow_the_second(project: Path) -> None:
    """The champion has an input that the candidate lacks: both are still called with the same rows."""
    assert_ok(groundplan(project, "experiment", "models/flights-late/after_departure.py", "--deploy"), project)
    found = groundplan(project, "experiment", "models/flights-late", "--deploy")
    assert found.returncode == 1 and "was rolled back: its balanced error rate is" in found.stderr, (
        found.stdout + found.stderr
    )


@pytest.mark.drill  # minutes; tests/integration/test_forget.py has the same with fewer events
def test_a_person_is_forgotten_with_evidence(project: Path, shell: dict[str, str]) -> None:
    wrong = groundplan(project, "forget", TAILNUM, "--identity", "nobody")
    assert wrong.returncode == 2 and "'nobody' is not an e-mail address" in wrong.stderr
    found = json.loads(
        assert_ok(groundplan(project, "forget", TAILNUM, "--identity", "dpo@example.com", "--json"), project).stdout
    )
    assert (
        found["left"] == 0
        and found["rows"] > 100
        and found["entities"]["flight_id"] > 50
        and "v1.0.0" in found["models"]
    )
    assert TAILNUM not in json.dumps(found) and found["evidence"].startswith("s3://groundplan-local-audit")
    assert any("/flights/version=" in key for key in found["objects"]) and any(
        "training/flights-late/" in key for key in found["objects"]
    )
    # As on AWS: the stack comes from its outputs, the caller's identity from the environment.
    outputs = ("--outputs", str(project / ".groundplan" / "run" / "outputs.json"))
    blind = groundplan(project, "forget", TAILNUM, "--identity", "dpo@example.com", *outputs, MLFLOW_TRACKING_URI="")
    assert (
        blind.returncode == 2
        and "without MLflow it is unknown which models were trained on the person's data" in blind.stderr
    )
    again = json.loads(
        assert_ok(
            groundplan(project, "forget", TAILNUM, "--identity", "dpo@example.com", "--json", *outputs, **shell),
            project,
        ).stdout
    )
    assert (again["rows"], again["left"]) == (0, 0)
    log = json.loads(assert_ok(groundplan(project, "audit", "models/flights-late", "--json"), project).stdout)
    assert log[-1]["action"] == "forget" and log[-1]["actor"] == "dpo@example.com" and TAILNUM not in json.dumps(log)
