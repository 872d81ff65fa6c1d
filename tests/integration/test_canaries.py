"""Canaries on a real endpoint: what is bad is taken back by itself, and what is not known waits."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd
import pytest

from pipelines.audit.records import append, entries, served_in
from pipelines.canary import turn as turns
from pipelines.canary.rollback import rollback
from pipelines.context import Context
from pipelines.registry.decisions import Person
from pipelines.steps import deploy as step
from pipelines.steps.deploy import deploy
from pipelines.steps.endpoint import EndpointClient
from spec.errors import GroundplanError
from tests.graphs import failing_above, shifted, slow, wrong_where
from tests.integration.test_hosting import eventually
from tests.versions import approved


class Asking:
    """Users of an endpoint.

    Attributes:
        answers: When each was asked, by which variant and version it was answered; no version where it failed.
    """

    def __init__(self, context: Context, aws: Any) -> None:
        self.context, self.client, self.stopped = context, aws("sagemaker-runtime"), threading.Event()
        self.answers: list[tuple[float, str, str]] = []

    def ask(self, value: float) -> None:
        from botocore.exceptions import ClientError

        body = json.dumps({"dataframe_records": [{"a": value, "b": 0.0}]})
        target = {"EndpointName": self.context.endpoint_name, "ContentType": "application/json"}
        try:
            answer, version = self.client.invoke_endpoint(Body=body, **target), ""
            version = json.loads(answer["Body"].read())["model_version"]
        except ClientError as error:
            answer, version = error.response, ""
        variant = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amzn-invoked-production-variant", "")
        self.answers.append((time.monotonic(), variant, version))

    def run(self) -> None:
        random = np.random.default_rng(2)
        while not self.stopped.is_set():
            self.ask(float(random.normal()))


class Users(Protocol):
    """They ask until they are stopped."""

    stopped: threading.Event

    def run(self) -> None: ...


T = TypeVar("T", bound=Users)


@contextmanager
def running(users: T) -> Iterator[T]:
    thread = threading.Thread(target=users.run)
    thread.start()
    try:
        yield users
    finally:
        users.stopped.set()
        thread.join()


def asking(context: Context, aws: Any) -> AbstractContextManager[Asking]:
    return running(Asking(context, aws))


def grouped() -> pd.DataFrame:
    random = np.random.default_rng(3)
    frame = pd.DataFrame(random.normal(size=(400, 2)), columns=["a", "b"])
    return frame.assign(group=np.arange(400) % 5, label=3 * frame["a"] - frame["b"])


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"noise": 20.0}, r"its squared error is [\d.]+, the champion's"),
        ({"change": failing_above(0, 0.5)}, r"\d+ of \d+ requests failed \(the champion's: 0 of \d+\)"),
        ({"change": slow(1200)}, r"\d+ of \d+ requests were too slow \(the champion's: \d+ of \d+\)"),
    ],
    ids=["worse", "failing", "slow"],
)
def test_a_bad_version_is_taken_back_by_itself(bad: dict[str, Any], says: str, publish: Any, aws: Any) -> None:
    objectives = {"latency_ms": 60.0}
    context = publish("realtime", objectives=objectives)
    endpoint = EndpointClient(context)
    before = endpoint.config()
    with asking(context, aws) as users:
        with pytest.raises(GroundplanError, match=rf"v2\.0\.0 was rolled back: .*{says}"):
            publish("realtime", "v2.0.0", objectives=objectives, **bad)
        ended = time.monotonic()
        time.sleep(0.5)
    assert endpoint.config() == before, "nothing new was made for it"
    assert served_in(entries(context)) == ["v1.0.0"] and entries(context)[-1]["action"] == "rollback"
    late = [version for at, _, version in users.answers if at > ended]
    assert late and set(late) == {"v1.0.0"}
    assert all(version for _, variant, version in users.answers if variant != "challenger"), "the champion never fails"


def test_a_version_that_is_better_but_not_for_one_slice_is_taken_back(publish: Any) -> None:
    frame = grouped()
    context = publish("realtime", frame=frame, change=shifted(1.0))
    with pytest.raises(GroundplanError, match=r"v2\.0\.0 was rolled back: where group is 3, its squared error is"):
        publish("realtime", "v2.0.0", frame=frame, change=wrong_where(2, 3.0, 2.0))
    assert served_in(entries(context)) == ["v1.0.0"]


@pytest.mark.drill  # slow
def test_a_version_that_is_worse_for_users_whose_outcome_is_known_is_taken_back(publish: Any, aws: Any) -> None:
    random = np.random.default_rng(4)
    later = pd.DataFrame(random.normal(size=(300, 2)), columns=["a", "b"]).assign(group=3)
    later["label"] = 3 * later["a"] - later["b"]
    frame = grouped().assign(group=lambda rows: rows["group"] % 3)
    context = publish("realtime", frame=frame, change=shifted(1.0))
    objectives = {"canary": {"requests": 150, "wait_minutes": 1}}
    stopped, client = threading.Event(), aws("sagemaker-runtime")

    def ask() -> None:
        place = 0
        while not stopped.is_set():
            body = json.dumps({"dataframe_records": [later.iloc[place % 300][["a", "b", "group"]].to_dict()]})
            client.invoke_endpoint(EndpointName=context.endpoint_name, ContentType="application/json", Body=body)
            place += 1

    users = threading.Thread(target=ask)
    users.start()
    try:
        with pytest.raises(
            GroundplanError, match=r"rolled back: its squared error of users' rows is [34]\.\d+, the champ"
        ):
            publish(
                "realtime", "v2.0.0", frame=frame, later=later, objectives=objectives, change=wrong_where(2, 3.0, 2.0)
            )
    finally:
        stopped.set()
        users.join()
    assert served_in(entries(context)) == ["v1.0.0"]


def test_a_good_version_gets_its_share_step_by_step(publish: Any, aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    context = publish("realtime")
    shares: list[Any] = []
    shift = EndpointClient.shift

    def shifted_to(self: EndpointClient, percent: int) -> None:
        shift(self, percent)
        described = self.sagemaker.describe_endpoint(EndpointName=self.name)["ProductionVariants"]
        shares.append({variant["VariantName"]: variant["CurrentWeight"] for variant in described})

    monkeypatch.setattr(EndpointClient, "shift", shifted_to)
    objectives = {"canary": {"requests": 30, "wait_minutes": 1}}
    with asking(context, aws) as users:
        outcome = publish("realtime", "v2.0.0", objectives=objectives).result("deploy")
    assert outcome["outcome"] == "promoted" and shares == [{"champion": 0.75, "challenger": 0.25}]
    assert outcome["users"]["challenger"] >= 30 and outcome["users"]["champion"] > outcome["users"]["challenger"]
    assert {finding["metric"] for finding in outcome["findings"]} >= {"errors", "latency", "users"}
    assert all(version for _, _, version in users.answers), "no request has failed"


@pytest.mark.drill
def test_where_users_ask_ten_times_an_hour_there_is_not_enough_evidence(publish: Any, aws: Any) -> None:
    context = publish("realtime")
    users = Asking(context, aws)
    objectives = {"canary": {"requests": 20, "wait_minutes": 0.2}}
    watch = threading.Timer(3, users.ask, (0.5,))
    watch.start()
    held = publish("realtime", "v2.0.0", objectives=objectives)
    watch.join()
    found = held.result("deploy")
    assert found["outcome"] == "not enough evidence", "no abort"
    assert "requests of users have reached it" in found["verdict"]
    users.ask(0.5)
    assert [version for _, _, version in users.answers][-1] == "v1.0.0"
    assert entries(context)[-1]["action"] == "hold"
    append(held, "ben@example.com", "insist", version="v2.0.0", reason="hardly anybody asks")
    assert deploy(held)["outcome"] == "promoted"
    users.ask(0.5)
    assert [version for _, _, version in users.answers][-1] == "v2.0.0"


@pytest.mark.drill
def test_a_shadow_answers_nobody_and_is_judged(publish: Any, aws: Any) -> None:
    objectives = {"canary": {"shadow": True, "wait_minutes": 1}}
    context = publish("realtime", objectives=objectives)
    with asking(context, aws) as users:
        for version, bad, says in (
            ("v2.0.0", {"noise": 20.0}, "its squared error"),
            ("v3.0.0", {"change": failing_above(0, 0.5)}, "requests failed"),
        ):
            with pytest.raises(GroundplanError, match=rf"was rolled back: .*{says}"):
                publish("realtime", version, objectives=objectives, **bad)
    assert {version for _, _, version in users.answers} == {"v1.0.0"}
    assert publish("realtime", "v4.0.0", objectives=objectives).result("deploy")["outcome"] == "promoted"
    assert served_in(entries(context)) == ["v1.0.0", "v4.0.0"]


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Deploys in a process of its own, and kills that while the canary has its first share."""

    def run(context: Context) -> None:
        outputs = tmp_path / "outputs.json"
        outputs.write_text(context.outputs.model_dump_json())
        folder = str(context.definition.asked_for)
        arguments = [
            "--model-folder",
            folder,
            "--run",
            context.run,
            "--outputs",
            str(outputs),
            "--reports",
            str(tmp_path),
        ]
        process = subprocess.Popen([sys.executable, "-m", "pipelines.steps.deploy", *arguments])
        try:
            assert eventually(lambda: reached(context).get("percent") == 5, 60)
        finally:
            process.kill()
            process.wait()

    monkeypatch.setattr(turns, "ALIVE_S", 2.0)
    return run


def reached(context: Context) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with suppress(context.s3.exceptions.NoSuchKey):
        found = json.loads(context.get("models", f"canaries/{context.model}.json"))
    return {} if found.get("ended") else found


@pytest.mark.drill
def test_a_canary_whose_process_was_killed_goes_on_where_it_was(publish: Any, killed: Any, aws: Any) -> None:
    context = publish("realtime")
    second = publish("realtime", "v2.0.0", deployed=False)
    approved(second, "v2.0.0")
    killed(second)
    assert "canary-v2" in EndpointClient(second).config(), "half-way"
    found = deploy(second)
    assert found["outcome"] == "promoted" and served_in(entries(context)) == ["v1.0.0", "v2.0.0"]


@pytest.mark.drill
def test_a_promotion_that_nobody_has_recorded_is_recorded(publish: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    context = publish("realtime")
    second = publish("realtime", "v2.0.0", deployed=False, noise=0.0001)
    approved(second, "v2.0.0")
    with monkeypatch.context() as patch:
        patch.setattr(step, "_promoted", lambda *_: exec("raise KeyboardInterrupt"))
        patch.setattr(turns.Turn, "end", lambda self: None)
        with pytest.raises(KeyboardInterrupt):
            deploy(second)
    assert served_in(entries(context)) == ["v1.0.0"], "it serves, but nothing says so"
    monkeypatch.setattr(turns, "ALIVE_S", 1.0)
    assert deploy(second)["outcome"] == "promoted" and served_in(entries(context))[-1] == "v2.0.0"
    assert entries(context)[-1]["details"]["endpoint_config"] == EndpointClient(second).config()


@pytest.mark.drill
def test_a_canary_that_nobody_continues_is_undone_by_the_next_one(publish: Any, killed: Any, aws: Any) -> None:
    context = publish("realtime")
    second = publish("realtime", "v2.0.0", deployed=False)
    approved(second, "v2.0.0")
    killed(second)
    time.sleep(2.5)
    third = publish("realtime", "v3.0.0")
    assert third.result("deploy")["outcome"] == "promoted"
    told = [(entry["action"], entry["details"].get("version")) for entry in entries(context)]
    assert ("rollback", "v2.0.0") in told and served_in(entries(context)) == ["v1.0.0", "v3.0.0"]


@pytest.mark.drill  # slow
def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(publish: Any) -> None:
    context = publish("realtime")
    both = [publish("realtime", version, deployed=False) for version in ("v2.0.0", "v3.0.0")]
    for each, version in zip(both, ("v2.0.0", "v3.0.0"), strict=True):
        approved(each, version)

    def tried(one: Context) -> str:
        try:
            return str(deploy(one)["outcome"])
        except GroundplanError as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(tried, both))
    assert "promoted" in found
    (other,) = [each for each in found if each != "promoted"]
    assert "is being tried since" in other and "groundplan rollback" in other
    assert len(served_in(entries(context))) == 2
    refused = [entry["details"]["why"] for entry in entries(context) if entry["action"] == "refuse"]
    assert len(refused) == 1 and "is being tried" in refused[0]


def test_a_person_takes_back_what_is_being_tried(publish: Any, aws: Any) -> None:
    context = publish("realtime")
    before = EndpointClient(context).config()
    second = publish(
        "realtime", "v2.0.0", deployed=False, objectives={"canary": {"requests": 10_000, "wait_minutes": 5}}
    )
    approved(second, "v2.0.0")
    with ThreadPoolExecutor() as pool:
        trying = pool.submit(deploy, second)
        eventually(lambda: reached(context).get("users"), 60)  # it waits for more of them
        started = time.monotonic()
        for to, says in (("v7.0.0", "is the first version that was served"),):
            with pytest.raises(GroundplanError, match=says):
                rollback(context, Person("ben@example.com", "local"), "complaints", to)
        assert "canary-v2" in EndpointClient(second).config(), "what is refused changes nothing"
        found = rollback(context, Person("ben@example.com", "local"), "complaints", "v1.0.0")
        assert found == ("v2.0.0", "v1.0.0"), "the one that is served: the canary ends"
        assert time.monotonic() - started < 60
        with pytest.raises(GroundplanError, match=r"v2\.0\.0 was taken back by ben@example\.com"):
            trying.result(30)
    assert EndpointClient(context).config() == before
    assert set(served_in(entries(context))) == {"v1.0.0"}
