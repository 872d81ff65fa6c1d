"""Canaries on the cluster: KServe's own percentages, played by the local cloud, and the same judgement."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest

from groundplan.local.home import State
from pipelines.audit.records import entries, served_in
from pipelines.canary import turn as turns
from pipelines.canary.rollback import rollback
from pipelines.context import Context
from pipelines.registry.decisions import Person
from pipelines.steps.inference_service import InferenceService
from pipelines.steps.kubernetes_api import ConflictError, KubernetesApi, token
from pipelines.steps.monitor import monitor
from spec.errors import GroundplanError
from tests.graphs import failing_above
from tests.integration.test_canaries import running


class Callers:
    """Users of a model on the cluster, through its gateway.

    Attributes:
        answers: When each was asked, the status, and the version that answered.
    """

    def __init__(self, context: Context, state: State) -> None:
        self.url = f"{state.services['router'].url}/invocations"
        host = InferenceService(context)._urls[""].removeprefix("http://")
        self.headers = {"host": host, "content-type": "application/json"}
        self.stopped = threading.Event()
        self.answers: list[tuple[float, int, str]] = []

    def ask(self, http: httpx.Client, value: float) -> None:
        body = json.dumps({"dataframe_records": [{"a": value, "b": 0.0}]})
        answer = http.post(self.url, content=body, headers=self.headers)
        version = answer.json()["model_version"] if answer.status_code == 200 else ""
        self.answers.append((time.monotonic(), answer.status_code, version))

    def run(self) -> None:
        random = np.random.default_rng(2)
        with httpx.Client(trust_env=False) as http:
            while not self.stopped.is_set():
                self.ask(http, float(random.normal()))
                time.sleep(0.002)


def calling(context: Context, state: State) -> AbstractContextManager[Callers]:
    return running(Callers(context, state))


def test_a_good_version_gets_its_share_by_kserve_s_percentages(
    publish: Any, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = publish("cluster")
    assert context.result("deploy")["endpoint_config"] == "v1.0.0", "the first one has nobody to share with"
    shares: list[dict[str, int]] = []
    shift = InferenceService.shift

    def shifted_to(self: InferenceService, percent: int) -> None:
        shift(self, percent)
        shares.append(self._seen().shares)

    monkeypatch.setattr(InferenceService, "shift", shifted_to)
    with calling(context, state) as users:
        outcome = publish("cluster", "v2.0.0", objectives={"canary": {"requests": 30, "wait_minutes": 1}}).result(
            "deploy"
        )
    assert shares == [{"v1.0.0": 95, "v2.0.0": 5}, {"v1.0.0": 75, "v2.0.0": 25}]
    assert outcome["outcome"] == "promoted" and outcome["canary_steps"] == [5, 25]
    assert outcome["users"]["challenger"] >= 30 and outcome["users"]["champion"] > outcome["users"]["challenger"]
    assert {finding["metric"] for finding in outcome["findings"]} >= {"errors", "latency", "users"}
    assert {status for _, status, _ in users.answers} == {200}, "no request has failed"
    assert {version for *_, version in users.answers} == {"v1.0.0", "v2.0.0"}
    assert InferenceService(context)._seen().shares == {"v2.0.0": 100}
    assert monitor(context)["requests"] >= 30, "its servers keep what they were asked"


def test_a_failing_version_is_taken_back_and_gets_nothing_more(publish: Any, state: State) -> None:
    context = publish("cluster", objectives={"latency_ms": 500.0})
    with calling(context, state) as users:
        with pytest.raises(GroundplanError, match=r"v2\.0\.0 was rolled back: \d+ of \d+ requests failed"):
            publish("cluster", "v2.0.0", objectives={"latency_ms": 500.0}, change=failing_above(0, 0.5))
        ended = time.monotonic()
        time.sleep(1)
    late = {(status, version) for at, status, version in users.answers if at > ended}
    assert late == {(200, "v1.0.0")}
    assert served_in(entries(context)) == ["v1.0.0"] and InferenceService(context).config() == "v1.0.0"
    # The next one starts while nothing has a share: the bad one, which was ready last, gets no request meanwhile.
    with calling(context, state) as users:
        publish("cluster", "v3.0.0", objectives={"latency_ms": 500.0})
    assert {(status, version) for _, status, version in users.answers} == {(200, "v1.0.0"), (200, "v3.0.0")}


@pytest.mark.drill  # slow
def test_a_person_takes_the_last_version_back_within_seconds(publish: Any, state: State) -> None:
    publish("cluster")
    context = publish("cluster", "v2.0.0")
    with calling(context, state) as users:
        time.sleep(0.5)
        began = time.monotonic()
        assert rollback(context, Person("you@example.com", "local"), "wrong prices") == ("v2.0.0", "v1.0.0")
        time.sleep(0.5)
    last_of_the_bad = max(at for at, _, version in users.answers if version == "v2.0.0")
    assert last_of_the_bad - began < 10 and {status for _, status, _ in users.answers} == {200}
    assert InferenceService(context).config() == "v1.0.0"


@pytest.mark.drill  # slow
def test_what_a_killed_canary_leaves_is_taken_back(publish: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    publish("cluster")

    class KilledError(BaseException):
        pass

    def killed(self: InferenceService, percent: int) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(InferenceService, "shift", killed)
        patched.setattr("pipelines.canary.rollout.Rollout.take_back", lambda self, why: None)
        with suppress(KilledError):
            publish("cluster", "v2.0.0")
    monkeypatch.setattr(turns, "ALIVE_S", 0.0)
    context = publish("cluster", "v3.0.0", deployed=False)
    assert InferenceService(context).config() == "v1.0.0+v2.0.0"
    context = publish("cluster", "v4.0.0")
    assert InferenceService(context).config() == "v4.0.0"
    assert [entry["details"]["version"] for entry in entries(context) if entry["action"] == "rollback"] == ["v2.0.0"]


def test_a_revision_that_does_not_start_gets_no_request(publish: Any, state: State) -> None:
    context = publish("cluster")
    service = InferenceService(context)
    with calling(context, state) as users:
        document = service._api.get(service._path())
        document["spec"]["predictor"]["containers"][0]["env"].append({"name": "GROUNDPLAN_GRPC_PORT", "value": "none"})
        service._api.put(service._path(), document)
        with pytest.raises(GroundplanError, match=r"v1\.0\.0 \(the model server stopped with exit code 3: .*none"):
            service._wait(lambda seen: seen.ready, "v1.0.0")
    assert {(status, version) for _, status, version in users.answers} == {(200, "v1.0.0")}


def test_what_the_cluster_refuses_is_said(publish: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    context = publish("batch")
    with pytest.raises(GroundplanError, match=rf"{context.model}: the cluster has no such object\n.*apply the program"):
        InferenceService(context).champion()
    monkeypatch.setattr(KubernetesApi, "put", lambda self, path, document: conflict())

    def conflict() -> None:
        raise ConflictError("has changed since it was read")

    context = publish("cluster", "v2.0.0", deployed=False)
    with pytest.raises(ConflictError, match="has changed since it was read"):
        InferenceService(context).shift(5)


def test_a_token_is_the_one_that_aws_makes(state: State, inside: None) -> None:
    """``aws eks get-token``, which kubectl asks, signs the same request."""
    command = [
        str(Path(sys.executable).with_name("aws")),
        "eks",
        "get-token",
        "--cluster-name",
        "groundplan-local-cluster",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    theirs, ours = json.loads(done.stdout)["status"]["token"], token("groundplan-local-cluster")

    def read(text: str) -> tuple[str, dict[str, list[str]]]:
        assert text.startswith("k8s-aws-v1.")
        url = base64.urlsafe_b64decode(text.removeprefix("k8s-aws-v1.") + "==").decode()
        return urlsplit(url).path, parse_qs(urlsplit(url).query)

    (path, asked), (other, known) = read(ours), read(theirs)
    assert path == other and asked.keys() == known.keys()
    assert asked["X-Amz-SignedHeaders"] == known["X-Amz-SignedHeaders"] == ["host;x-k8s-aws-id"]
    assert asked["Action"] == known["Action"] == ["GetCallerIdentity"]
