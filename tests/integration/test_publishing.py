"""Ways of serving that have one version at a time: published, rejected if worse, and monitored."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.context import Context
from pipelines.monitoring.served import captured
from pipelines.registry.approved import NotApprovedError
from pipelines.registry.decisions import Person, decide
from pipelines.registry.signing import Signatures
from pipelines.serving.app import ModelServer
from pipelines.serving.models.bundle import load, package
from pipelines.serving.operating.capture import Capture
from pipelines.serving.published import Published
from pipelines.steps.deploy import deploy
from pipelines.steps.endpoint import EndpointClient
from pipelines.steps.monitor import monitor
from pipelines.steps.resume import resume, run_of, waiting
from spec.errors import GroundplanError
from tests.versions import approved

COLUMNS = [{"name": "a", "type": "double"}, {"name": "b", "type": "double"}]


def current(context: Context) -> set[str]:
    found = context.s3.list_objects_v2(Bucket=context.outputs.buckets["models"], Prefix=f"{context.model}/").get(
        "Contents", []
    )
    return {item["Key"].removeprefix(f"{context.model}/") for item in found}


@pytest.mark.parametrize("topology", ["batch", "cluster", "cluster-gpu", "edge"])
def test_a_version_is_published_where_it_is_read_and_a_worse_one_is_not(topology: str, publish: Any) -> None:
    context = publish(topology)
    assert current(context) >= {
        f"current/{name}" for name in ("model.onnx", "model.json", "background.json", "model.tar.gz")
    }
    triton = f"triton/{context.model}"
    assert (current(context) >= {f"{triton}/1/model.onnx", f"{triton}/config.pbtxt"}) == (topology == "cluster-gpu")
    assert (current(context) >= {f"device/{name}" for name in ("model.ort", "manifest.json", "predict.py")}) == (
        topology == "edge"
    )
    refused = "rolled back" if topology == "cluster" else "not published"
    with pytest.raises(GroundplanError, match=rf"v2\.0\.0 was {refused}: its squared error is"):
        publish(topology, "v2.0.0", noise=20.0)
    assert json.loads(context.get("models", f"{context.model}/current/model.json"))["version"] == "v1.0.0"
    publish(topology, "v3.0.0")
    assert json.loads(context.get("models", f"{context.model}/current/model.json"))["version"] == "v3.0.0"
    if topology == "cluster-gpu":
        assert len([name for name in current(context) if name.endswith("/model.onnx") and name.startswith(triton)]) == 2
    if topology == "edge":
        assert json.loads(context.get("models", f"{context.model}/device/manifest.json"))["version"] == "v3.0.0"


def test_a_serverless_endpoint_keeps_what_it_is_asked_itself(publish: Any, aws: Any) -> None:
    context = publish("serverless")
    body = json.dumps({"dataframe_records": [{"a": 100.0, "b": 0.0}]})
    answer = aws("sagemaker-runtime").invoke_endpoint(
        EndpointName=context.endpoint_name, ContentType="application/json", Body=body
    )
    assert json.loads(answer["Body"].read())["predictions"][0] == pytest.approx(300, rel=0.01)
    found = monitor(context)
    assert found["requests"] == 61 and found["quality"]["rmse"] < 0.1, "60 rows of the deployment, one of ours"


@pytest.mark.drill  # slow
def test_a_first_version_that_fails_leaves_an_endpoint_that_says_why(publish: Any, aws: Any) -> None:
    from botocore.exceptions import ClientError

    context = publish("realtime", noise=50.0, deployed=False)
    approved(context)
    with pytest.raises(GroundplanError, match=r"v1\.0\.0 was rolled back: its squared error is .*, the baseline's"):
        deploy(context)
    ask = {
        "EndpointName": context.endpoint_name,
        "ContentType": "application/json",
        "Body": json.dumps({"dataframe_records": [{"a": 1.0, "b": 0.0}]}),
    }
    with pytest.raises(ClientError) as refused:
        aws("sagemaker-runtime").invoke_endpoint(**ask)
    assert refused.value.response["OriginalStatusCode"] == 503
    assert (
        "No model version serves here: v1.0.0 was rolled back: its squared error is"
        in refused.value.response["OriginalMessage"]
    )
    with pytest.raises(GroundplanError, match="no version of"):
        monitor(context)
    good = publish("realtime", "v2.0.0")
    outcome = good.result("deploy")
    assert outcome["verdict"].startswith("its squared error is") and "the baseline's" in outcome["verdict"]
    assert "requests failed (1% may)" in outcome["verdict"], "there was no champion to compare it with"
    assert outcome["variants"]["baseline"]["requests"] == 0, "the baseline answers nobody"
    assert json.loads(aws("sagemaker-runtime").invoke_endpoint(**ask)["Body"].read())["predictions"][
        0
    ] == pytest.approx(3, rel=0.1)
    assert monitor(good)["requests"], "what was captured is written with a delay, which is waited for"
    time.sleep(1.5)  # the rest is written once a second
    assert monitor(good)["requests"] in (
        60,
        61,
    ), "60 rows of the deployment, one of ours; what the canary asked does not count"
    third = publish("realtime", "v3.0.0", noise=0.0001)
    assert "the champion" in third.result("deploy")["verdict"]


def test_a_person_takes_a_version_back_and_the_one_before_it_answers(publish: Any, aws: Any) -> None:
    from pipelines.audit.records import append, entries, served_in
    from pipelines.canary.rollback import rollback

    person = Person("ben@example.com", "local")
    context = publish("serverless")
    with pytest.raises(GroundplanError, match=r"v1\.0\.0 is the first version that was served"):
        rollback(context, person, "wrong")
    publish("serverless", "v2.0.0")
    for to, reason, says in (
        ("", " ", "a rollback needs a reason"),
        ("v2.0.0", "wrong", r"v2\.0\.0 is served now"),
        ("v7.0.0", "wrong", r"v7\.0\.0 was never served"),
    ):
        with pytest.raises(GroundplanError, match=says):
            rollback(context, person, reason, to)
    assert rollback(context, person, "wrong") == ("v2.0.0", "v1.0.0")
    body = json.dumps({"dataframe_records": [{"a": 1.0, "b": 0.0}]})
    answer = aws("sagemaker-runtime").invoke_endpoint(
        EndpointName=context.endpoint_name, ContentType="application/json", Body=body
    )
    assert json.loads(answer["Body"].read())["model_version"] == "v1.0.0"
    assert served_in(entries(context)) == ["v1.0.0", "v2.0.0", "v1.0.0"]
    assert rollback(context, person, "it was not the model", "v2.0.0") == ("v1.0.0", "v2.0.0")
    publish("serverless", "v3.0.0", noise=0.0001)
    assert rollback(context, person, "worse") == ("v3.0.0", "v2.0.0")
    assert rollback(context, person, "worse, too") == ("v2.0.0", "v1.0.0"), "not the one that was taken back before"
    with pytest.raises(GroundplanError, match=r"every version .* before v1\.0\.0 was taken back"):
        rollback(context, person, "again")
    assert json.loads(context.get("models", f"{context.model}/current/model.json"))["version"] == "v1.0.0"
    assert waiting(context) == "", "what was taken back is not deployed again by itself"
    append(context, person.name, "ask", version="v2.0.0")
    assert waiting(context) == "v2.0.0", "unless somebody asks for it"


def test_without_enough_evidence_the_champion_stays_until_a_person_insists(
    publish: Any, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.audit.records import append, entries, served_in
    from pipelines.canary.evidence import Finding, Outcome
    from pipelines.steps import deploy as step

    context = publish("batch")
    unsure = [Finding("error rate", Outcome.OPEN, "its error rate is 0.21, the champion's 0.2, on 9 rows")]
    monkeypatch.setattr(step, "_quality", lambda *arguments: unsure)
    held = publish("batch", "v2.0.0")
    assert held.result("deploy")["outcome"] == "not enough evidence"
    assert served_in(entries(context)) == ["v1.0.0"] and entries(context)[-1]["action"] == "hold"
    assert json.loads(context.get("models", f"{context.model}/current/model.json"))["version"] == "v1.0.0"
    append(held, "ben@example.com", "insist", version="v2.0.0", reason="it is needed")
    assert deploy(held)["outcome"] == "promoted"
    assert entries(context)[-1]["details"]["reason"] == "it is needed"


@pytest.mark.parametrize("topology", ["batch", pytest.param("realtime", marks=pytest.mark.drill)])
def test_a_champion_whose_script_scaled_its_columns_is_judged_on_its_own_rows(
    topology: str, publish: Any, rows: pd.DataFrame
) -> None:
    """Asked the new version's raw rows, it would answer nonsense, and any successor would look better."""
    publish(topology)
    raw = rows.assign(a=rows["a"] * 100 + 500)
    with pytest.raises(GroundplanError, match=r"was not published|was rolled back"):
        publish(topology, "v1.0.1", noise=20.0, frame=raw)
    with pytest.raises(
        GroundplanError, match=r"was not published|was rolled back"
    ):  # without a column of the champion's
        publish(topology, "v1.0.2", frame=rows.drop(columns="b"))


def test_what_a_batch_job_answers_is_watched(publish: Any, rows: pd.DataFrame) -> None:
    context = publish("batch")
    assert monitor(context)["requests"] == 0, "no job has run yet"
    lines = [{"dataframe_records": [{"a": row.a, "b": row.b}]} for row in rows.itertuples()]
    answers = [{"predictions": [row.label + 1], "model_version": "v1.0.0"} for row in rows.itertuples()]
    for key, documents in (("in/day.jsonl", lines), ("out/day.jsonl.out", answers), ("out/cleared.jsonl.out", answers)):
        context.put("features", f"batch/{context.model}/{key}", "\n".join(map(json.dumps, documents)).encode())
    found = monitor(context)
    assert (found["requests"], found["quality"]["rmse"], found["drift_share"]) == (60, pytest.approx(1.0), 0.0)


def test_a_server_keeps_requests_in_sagemakers_form(publish: Any, tmp_path: Path) -> None:
    import httpx

    context = publish("batch")
    folder = tmp_path / "served"
    folder.mkdir()
    for name in ("model.onnx", "model.json", "background.json"):
        (folder / name).write_bytes(context.get("models", f"{context.model}/current/{name}"))
    keep = Capture(
        f"s3://{context.outputs.buckets['models']}/capture/{context.endpoint_name}/cluster", context.s3, every_s=3600
    )
    server = ModelServer(load(folder), capture=keep)

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url="http://server") as client:  # type: ignore[arg-type]
            for value in (1.0, 2.0):
                assert (
                    await client.post("/invocations", json={"dataframe_records": [{"a": value, "b": 0.0}]})
                ).status_code == 200
            assert (await client.post("/invocations", content=b"{}")).status_code == 400
            assert (
                await client.post("/explain", json={"dataframe_records": [{"a": 1.0, "b": 0.0}]})
            ).status_code == 200

    asyncio.run(ask())
    assert not captured(context, COLUMNS, "v1.0.0").rows, "not written yet"
    keep.flush()
    kept = captured(context, COLUMNS, "v1.0.0")
    assert [row["a"] for row in kept.rows] == [1.0, 2.0] and kept.predictions == pytest.approx([3, 6], rel=0.01)


def test_a_server_serves_what_is_published_as_soon_as_it_is(publish: Any, aws: Any) -> None:
    context = publish("batch")
    served: list[Any] = []
    published = Published(f"s3://{context.outputs.buckets['models']}/{context.model}/current/model.tar.gz", context.s3)
    end = published.watch(served.append, every_s=0.05)
    assert [model.version for model in served] == ["v1.0.0"], "before anything else"
    publish("batch", "v2.0.0")
    for _ in range(100):
        if len(served) > 1:
            break
        time.sleep(0.05)
    assert [model.version for model in served] == ["v1.0.0", "v2.0.0"]
    context.put("models", f"{context.model}/current/model.tar.gz", b"no package")
    time.sleep(0.3)
    assert served[-1].version == "v2.0.0", "what can't be read leaves the last one in use"
    end.set()
    nothing = Published(f"s3://{context.outputs.buckets['models']}/nobody/current/model.tar.gz", context.s3)
    assert nothing.changed() == (False, None)


def test_a_server_on_the_cluster_serves_nothing_but_what_was_approved(publish: Any, tmp_path: Path) -> None:
    context = publish("cluster")
    place = f"{context.model}/current"
    address = f"s3://{context.outputs.buckets['models']}/{place}/model.tar.gz"
    signatures = Signatures(dict(context.outputs.signing_keys))
    published = Published(address, context.s3, signatures)
    assert published.changed()[1] is not None
    good = {name: context.get("models", f"{place}/{name}") for name in ("model.onnx", "model.json", "background.json")}
    told = context.get("models", f"{place}/approved.json")
    other = json.loads(told)
    other["decisions"]["operations"] = other["decisions"]["data-science"]
    rejected = json.loads(told)
    del rejected["decisions"]["operations"]
    for files, beside, says in (
        ({**good, "model.onnx": b"other"}, told, r"model\.onnx is not what was approved"),
        ({**good, "more.py": b""}, told, r"more\.py is not what was approved"),
        (good, b"", "its approvals are not beside it"),
        (good, json.dumps(rejected).encode(), "its approvals are not beside it"),
        (good, json.dumps(other).encode(), "it was not signed with the key of operations"),
    ):
        context.put("models", f"{place}/approved.json", beside)
        context.put("models", f"{place}/model.tar.gz", package(files))
        with pytest.raises(NotApprovedError, match=says):
            Published(address, context.s3, signatures).changed()
    context.put("models", f"{place}/approved.json", told)
    context.put("models", f"{place}/model.tar.gz", package({**good, "background.json": b'{"columns": [], "data": []}'}))
    assert published.changed()[1] is not None, "people's rows may be erased"
    publish("cluster", "v2.0.0", noise=0.0001)
    found = published.changed()[1]
    assert found is not None and found.version == "v2.0.0"


def test_an_update_that_an_alarm_has_taken_back_is_no_promotion(publish: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    context = publish("serverless")
    hosting = EndpointClient(context)
    before = hosting.champion()
    assert before
    monkeypatch.setattr(
        hosting.sagemaker, "update_endpoint", lambda **request: None
    )  # as if SageMaker had gone back to what it served
    with pytest.raises(GroundplanError, match="an alarm rolled the update back"):
        hosting.point({"champion": before}, {"champion": 1.0}, "again")


def test_a_version_goes_live_once_two_people_have_approved_it(publish: Any) -> None:
    context = publish("cluster")
    second = publish("cluster", "v2.0.0", deployed=False)
    assert waiting(context) == "", "v1.0.0 serves, and nobody has approved a newer one"
    decide(second, "v2.0.0", "data-science", Person("ada@example.com", "local"), approved=True)
    assert waiting(context) == ""
    decide(second, "v2.0.0", "operations", Person("ben@example.com", "local"), approved=True)
    assert waiting(context) == "v2.0.0" and run_of(context, "v2.0.0") == second.run
    assert resume(second, "v2.0.0")["version"] == "v2.0.0"
    assert json.loads(context.get("models", f"{context.model}/current/model.json"))["version"] == "v2.0.0"
    assert waiting(context) == "", "it serves now"
