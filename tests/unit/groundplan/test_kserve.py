"""What the local cloud's cluster does with an InferenceService, as KServe's and Knative's controllers would."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from groundplan.local.moto.kserve import GROUP, Cluster, Clusters, self_signed
from groundplan.local.moto.prometheus import REQUESTS, Samples

PATH = "/apis/serving.kserve.io/v1beta1/namespaces/models/inferenceservices"


def service(version: str = "v1", percent: int | None = None, **more: Any) -> dict[str, Any]:
    served = {"name": "GROUNDPLAN_PUBLISHED", "value": f"s3://models/m/served/{version}/model.tar.gz"}
    predictor = {"minReplicas": 2, "containers": [{"name": "kserve-container", "env": [served]}], **more}
    annotations = {"serving.kserve.io/enable-tag-routing": "true"}
    return {
        "apiVersion": GROUP,
        "kind": "InferenceService",
        "metadata": {"name": "m", "namespace": "models", "annotations": annotations},
        "spec": {"predictor": predictor | ({} if percent is None else {"canaryTrafficPercent": percent})},
    }


def change(cluster: Cluster, version: str, percent: int | None = None) -> None:
    status, answer = cluster.answer("PUT", f"{PATH}/m", json.dumps(service(version, percent)).encode())
    assert status == 200, answer


def ready(cluster: Cluster, number: int, failure: str = "") -> None:
    cluster.mark(f"m-predictor-{number:05d}", {"failure": failure})


def shares(cluster: Cluster) -> dict[str, int]:
    """Percent by number of the revision, of those that get requests, as the status says."""
    cluster.routed(cluster.changes)
    status = cluster.answer("GET", f"{PATH}/m", b"")[1]["status"]["components"]["predictor"]
    found: dict[str, int] = {}
    for one in status.get("traffic", []):
        number = one["revisionName"].removeprefix("m-predictor-0000")
        found[number] = found.get(number, 0) + one["percent"]
    return {number: percent for number, percent in found.items() if percent}


@pytest.fixture
def cluster() -> Cluster:
    """One with a service whose first revision is ready."""
    found = Cluster("internal")
    found.give(service())
    assert shares(found) == {}, "nothing is ready yet"
    ready(found, 1)
    assert shares(found) == {"1": 100}
    return found


def test_a_share_goes_to_the_newest_revision_that_is_ready_and_the_rest_to_what_was_rolled_out(
    cluster: Cluster,
) -> None:
    change(cluster, "v2", 5)
    assert shares(cluster) == {"1": 100}, "the new one is not ready"
    ready(cluster, 2)
    assert shares(cluster) == {"1": 95, "2": 5}
    change(cluster, "v2", 25)
    assert shares(cluster) == {"1": 75, "2": 25}
    change(cluster, "v2")
    assert shares(cluster) == {"2": 100}


def test_of_two_revisions_the_one_that_was_taken_back_would_get_the_share_of_one_that_starts(cluster: Cluster) -> None:
    """Why the platform gives a new revision nothing until it is ready."""
    change(cluster, "v2", 0)
    ready(cluster, 2)
    change(cluster, "v3", 5)
    assert shares(cluster) == {"1": 95, "2": 5}
    change(cluster, "v3", 0)
    assert shares(cluster) == {"1": 100}
    ready(cluster, 3)
    change(cluster, "v3", 5)
    assert shares(cluster) == {"1": 95, "3": 5}


def test_what_was_rolled_out_is_taken_back_by_a_share_of_nothing(cluster: Cluster) -> None:
    change(cluster, "v2")
    ready(cluster, 2)
    assert shares(cluster) == {"2": 100}
    change(cluster, "v2", 0)
    assert shares(cluster) == {"1": 100}


def test_a_revision_that_fails_gets_nothing_and_says_why(cluster: Cluster) -> None:
    change(cluster, "v2")
    ready(cluster, 2, "exit code 1")
    assert shares(cluster) == {"1": 100}
    revision = "/apis/serving.knative.dev/v1/namespaces/models/revisions/m-predictor-00002"
    conditions = cluster.answer("GET", revision, b"")[1]["status"]["conditions"]
    assert conditions == [{"type": "Ready", "status": "False", "message": "exit code 1"}]


def test_a_change_of_what_is_not_the_pod_s_makes_no_revision(cluster: Cluster) -> None:
    cluster.give(service(maxReplicas=9))
    shown = cluster.answer("GET", f"{PATH}/m", b"")[1]
    assert shown["status"]["components"]["predictor"]["latestCreatedRevision"] == "m-predictor-00001"
    assert shown["metadata"]["generation"] == 2 and shown["spec"]["predictor"]["maxReplicas"] == 9


def test_the_program_leaves_what_is_served_and_its_share(cluster: Cluster) -> None:
    change(cluster, "v2", 5)
    ready(cluster, 2)
    cluster.give(service("v1", maxReplicas=9))
    predictor = cluster.answer("GET", f"{PATH}/m", b"")[1]["spec"]["predictor"]
    assert predictor["containers"][0]["env"][0]["value"].endswith("/v2/model.tar.gz")
    assert predictor["canaryTrafficPercent"] == 5 and predictor["maxReplicas"] == 9


def test_hosts_lead_to_all_or_to_one_revision(cluster: Cluster) -> None:
    change(cluster, "v2", 0)
    ready(cluster, 2)
    (routes,) = cluster.routes()
    assert routes["hosts"] == {
        "m-predictor.models.internal": {"m-predictor-00001": 100},
        "latest-m-predictor.models.internal": {"m-predictor-00002": 100},
        "prev-m-predictor.models.internal": {"m-predictor-00001": 100},
    }
    assert set(routes["revisions"]) == {"m-predictor-00001", "m-predictor-00002"}
    change(cluster, "v2")
    (routes,) = cluster.routes()
    assert set(routes["revisions"]) == {"m-predictor-00002"}, "what can't be reached ends"


def test_of_two_who_write_at_once_one_is_refused(cluster: Cluster) -> None:
    first, second = (cluster.answer("GET", f"{PATH}/m", b"")[1] for _ in range(2))
    first["spec"]["predictor"]["canaryTrafficPercent"] = 5
    assert cluster.answer("PUT", f"{PATH}/m", json.dumps(first).encode())[0] == 200
    status, answer = cluster.answer("PUT", f"{PATH}/m", json.dumps(second).encode())
    assert status == 409 and answer["reason"] == "Conflict"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("GET", f"{PATH}/other", "", 404, 'inferenceservices.serving.kserve.io "other" not found'),
        ("GET", "/api/v1/namespaces/models/pods", "", 404, "the server could not find the requested resource"),
        ("DELETE", f"{PATH}/m", "", 405, "DELETE is not there"),
        ("PATCH", f"{PATH}/m", '{"spec":{"predictor":{"canaryTrafficPercent":101}}}', 422, "from 0 to 100"),
        ("PATCH", f"{PATH}/m", '{"spec":{"predictor":{"containers":null}}}', 422, "Required value"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused(
    method: str, path: str, body: str, status: int, says: str, cluster: Cluster
) -> None:
    code, answer = cluster.answer(method, path, body.encode())
    assert (code, answer["kind"], answer["code"]) == (status, "Status", status) and says in answer["message"]


def test_a_merge_patch_changes_and_removes(cluster: Cluster) -> None:
    for percent in (7, None):
        body = json.dumps({"spec": {"predictor": {"canaryTrafficPercent": percent}}}).encode()
        found = cluster.answer("PATCH", f"{PATH}/m", body)[1]
        assert found["spec"]["predictor"].get("canaryTrafficPercent") == percent


def test_every_cluster_has_objects_of_its_own() -> None:
    clusters = Clusters()
    clusters.give("one", {"kind": "KnativeServing", "spec": {"config": {"domain": {"one.internal": ""}}}})
    clusters.give("one", service())
    assert clusters.answer("GET", f"one{PATH}", b"")[0] == 200
    assert len(json.loads(clusters.answer("GET", f"one{PATH}", b"")[1])["items"]) == 1
    assert json.loads(clusters.answer("GET", f"two{PATH}", b"")[1])["items"] == []
    assert "-----BEGIN CERTIFICATE-----" in base64.b64decode(self_signed()).decode()


def test_a_selector_names_series() -> None:
    samples = Samples()
    samples.requests([["models", "m-predictor", "m-predictor-00001", 200, 7], ["models", "n", "n-1", 503, 2]])
    status, answer = samples.query(f'query={REQUESTS}{{namespace="models",serving_knative_dev_service="n"}}')
    (found,) = json.loads(answer)["data"]["result"]
    assert status == 200 and found["value"][1] == "2" and found["metric"]["http_response_status_code"] == "503"
    status, answer = samples.query("query=sum(rate(up[5m]))")
    assert status == 400 and "selectors with = only" in json.loads(answer)["error"]
