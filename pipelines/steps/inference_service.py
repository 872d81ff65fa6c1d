"""A model on the cluster, through KServe's ordinary API: the same operations as those of an endpoint.

Two versions are two revisions of one InferenceService, between which `canaryTrafficPercent` splits the requests
(https://kserve.github.io/website/docs/model-serving/predictive-inference/rollout-strategies/canary).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipelines.context import Context
from pipelines.registry.approved import APPROVED
from pipelines.registry.decisions import evidence_of
from pipelines.serving.models.bundle import package
from pipelines.steps.endpoint import CANARY, CHALLENGER, CHAMPION, Answer, Counts, parts, request_body
from pipelines.steps.kubernetes_api import ConflictError, KubernetesApi, samples
from spec.errors import GroundplanError
from spec.on_cluster import (
    GATEWAY,
    GATEWAY_NAMESPACE,
    GATEWAY_PORT,
    NAMESPACE,
    REQUEST,
    REVISION_LABEL,
    SERVED,
    SERVICE_LABEL,
    STATUS_LABEL,
)
from spec.outputs import LOCAL

CAPTURED_AS = "cluster"  # its servers keep requests themselves, and name the version in each
READY_S, LOCAL_READY_S = 1800.0, 90.0
SCRAPED_S = 75.0  # a little more than the interval at which metrics are read
_GATEWAY = f"/api/v1/namespaces/{GATEWAY_NAMESPACE}/services/{GATEWAY}"
_ATTEMPTS = 20


@dataclass(frozen=True)
class _Seen:
    """What KServe reports.

    Attributes:
        wanted: The version that the object names; empty before the first one.
        percent: Its share, as the object says; None for all.
        shares: Percent of the requests by version, as they are routed.
        revision: The newest revision; empty before the first one.
        newest: Its version.
        ready: Whether that revision is ready.
        kept: The version that gets what the newest one does not.
        before: The version that had all requests before ``kept``.
        urls: Of the routes to one revision, by tag, and of all at "".
    """

    wanted: str
    percent: int | None
    shares: dict[str, int]
    revision: str
    newest: str
    ready: bool
    kept: str
    before: str
    urls: dict[str, str]


class InferenceService:
    """The object, its gateway and its metrics."""

    def __init__(self, context: Context) -> None:
        self.context, self.name = context, context.model
        self.settings = context.outputs.endpoints[context.model]
        self._api = KubernetesApi(context.outputs.cluster_name)
        self._versions: dict[str, str] = {}  # of revisions, which never change
        self._routes: dict[str, str] = {}  # until something is changed

    @property
    def local(self) -> bool:
        """Whether it is played on one machine, where everything happens within seconds."""
        return self.context.outputs.stack == LOCAL

    @property
    def splits(self) -> bool:
        """Whether a new version can have a share: there is another one that has the rest."""
        return self.champion() is not None

    @property
    def host(self) -> str:
        """Where the cluster's gateway answers for it."""
        return self._urls[""].partition("://")[2]

    def capture_of(self, variant: str) -> str:
        """Folder of what a variant has answered; here they share one, and each answer names its version."""
        return CAPTURED_AS

    def create_model(
        self, address: str, files: dict[str, bytes], version: str, approvals: dict[str, str] | None = None
    ) -> str:
        """Store what a revision of the version will load, and what was signed about it; returns its name here."""
        for name, content in {APPROVED: evidence_of(self.context, version), "model.tar.gz": package(files)}.items():
            self.context.put("models", f"{self._folder(version)}/{name}", content)
        return version

    def champion(self) -> str | None:
        """The version that gets all requests, or those that the challenger does not; None before the first one."""
        seen = self._seen()
        return (seen.wanted if seen.percent is None else seen.kept) or None

    def config(self) -> str:
        """What is served, in a form that ``use`` takes; while two versions are served, both."""
        seen = self._seen()
        return seen.wanted if seen.percent is None else f"{seen.kept}+{seen.wanted}"

    def point(
        self, models: dict[str, str], weights: dict[str, float], label: str, *, shadow: str = "", guarded: bool = True
    ) -> str:
        """Serve one version, or a second one beside it; returns the configuration.

        Raises:
            GroundplanError: The version does not start.
        """
        champion, challenger = models[CHAMPION], models.get(CHALLENGER, models[CHAMPION])
        if champion == challenger:
            self._serve(champion)
            return champion
        self._start(challenger)
        self.shift(round(100 * weights[CHALLENGER]))
        return f"{champion}+{challenger}"

    def shift(self, percent: int) -> None:
        """Give the challenger a share of the requests."""
        wanted = self._change(percent=percent)
        self._wait(lambda seen: seen.shares.get(wanted, 0) == percent, f"{percent} % of the requests")

    def use(self, config: str, *, guarded: bool = True) -> None:
        """Serve one version again.

        What runs beside it, or has just replaced it, loses its share at once; only then is a revision made that KServe
        goes on with.
        """
        seen = self._seen()
        if seen.wanted != config and config == (seen.before if seen.percent is None else seen.kept):
            self._change(percent=0)
            self._wait(lambda seen: seen.shares.get(config) == 100, f"all requests for {config}")
        self._serve(config)

    def _serve(self, version: str) -> None:
        """Give a version all requests, once it is ready."""
        seen = self._seen()
        if seen.wanted != version and seen.kept:
            self._start(version)
        self._change(version, None)
        self._wait(lambda seen: seen.shares == {version: 100}, f"all requests for {version}")

    def _start(self, version: str) -> None:
        """Make a revision that gets no requests. With a share, the newest revision that is ready would get it until
        this one is: perhaps one that was taken back.
        """
        self._change(version, 0)
        self._wait(lambda seen: seen.newest == version and seen.ready, version)

    def predict(self, rows: list[dict[str, Any]], variant: str, purpose: str = "") -> list[Any]:
        """Predictions of one variant.

        Raises:
            GroundplanError: It does not answer.
        """
        found: list[Any] = []
        for part in parts(rows):
            status, answer, _ = self._post(request_body(part, purpose), variant)
            if status != 200:
                said = answer.get("error", f"status {status}") if isinstance(answer, dict) else f"status {status}"
                raise GroundplanError(f"the {variant} does not answer: {said}", where=self.name)
            found += answer["predictions"]
        return found

    def reply(self, body: str) -> Any:
        """The predictions that a request is answered with; a refusal is a reply, too: its status at "refused"."""
        status, answer, _ = self._post(body, "")
        return answer["predictions"] if status == 200 else {"refused": status}

    def ask(self, row: dict[str, Any], variant: str = "") -> Answer:
        """Send one row, to a variant or to the one that the gateway chooses."""
        status, _, took_ms = self._post(request_body([row], CANARY), variant)
        return Answer(variant, took_ms, failed=status != 200)

    def requests_from_now(self) -> Callable[[], dict[str, Counts]]:
        """A function that counts users' requests to each variant since now, and those that failed.

        It waits until the pipeline's own have been counted. Knative's proxy counts, so that a server that crashes is
        counted, too.
        """
        time.sleep(1.5 if self.local else SCRAPED_S)
        seen = self._seen()
        variants = {seen.wanted: CHALLENGER, seen.kept: CHAMPION}
        before = self._counters()

        def counted() -> dict[str, Counts]:
            found = {CHALLENGER: Counts(0, 0), CHAMPION: Counts(0, 0)}
            for series, value in self._counters().items():
                known, labels = before.get(series, 0.0), dict(series)
                more = int(value - known if value >= known else value)  # a proxy that has started again counts from 0
                variant = variants.get(self._version(labels.get(REVISION_LABEL, "")))
                if variant is not None:
                    had = found[variant]
                    failed = more if labels.get(STATUS_LABEL, "").startswith("5") else 0
                    found[variant] = Counts(had.requests + more, had.failed + failed)
            return found

        return counted

    def _counters(self) -> dict[tuple[tuple[str, str], ...], float]:
        service = f'namespace="{NAMESPACE}",{SERVICE_LABEL}="{self.name}-predictor"'
        return samples(self.context.outputs.prometheus, f"{REQUEST}_count{{{service}}}")

    def _folder(self, version: str) -> str:
        return f"{self.context.model}/served/{version}"

    def _path(self) -> str:
        return f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/{self.name}"

    def _change(self, version: str = "", percent: int | None = None) -> str:
        """Change the version that the object names, or its share; returns the version.

        Others write into the object, too: KServe its state, Pulumi the rest of it.
        """
        for attempt in range(_ATTEMPTS):
            document = self._api.get(self._path())
            predictor = document["spec"]["predictor"]
            served = _variable(predictor["containers"][0])
            if version:
                served["value"] = f"s3://{self.context.outputs.buckets['models']}/{self._folder(version)}/model.tar.gz"
            predictor.pop("canaryTrafficPercent", None)
            if percent is not None:
                predictor["canaryTrafficPercent"] = percent
            try:
                self._api.put(self._path(), document)
            except ConflictError:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(0.05)
            else:
                break
        return _version_in(served["value"])

    def _wait(self, done: Callable[[_Seen], bool], what: str) -> None:
        until = time.monotonic() + (LOCAL_READY_S if self.local else READY_S)
        while not done(seen := self._seen()):
            why = self._failure(seen.revision) if not seen.ready else ""
            if why or time.monotonic() > until:
                raise GroundplanError(
                    f"KServe did not get ready: {what}{f' ({why})' if why else ''}",
                    where=f"InferenceService {self.name}",
                )
            time.sleep(0.1 if self.local else 2)
        self._routes = {}

    def _failure(self, revision: str) -> str:
        """Why a revision will not get ready, in Knative's words; empty while it may."""
        conditions = self._revision(revision).get("status", {}).get("conditions", []) if revision else []
        return next(
            (
                str(one.get("message") or one.get("reason"))
                for one in conditions
                if one["type"] == "Ready" and one["status"] == "False"
            ),
            "",
        )

    def _seen(self) -> _Seen:
        document = self._api.get(self._path())
        predictor = document["spec"]["predictor"]
        status = ((document.get("status") or {}).get("components") or {}).get("predictor") or {}
        shares: dict[str, int] = {}
        urls = {"": status.get("url", "")}
        for one in status.get("traffic") or []:
            version, percent = self._version(one.get("revisionName", "")), int(one.get("percent") or 0)
            if percent:
                shares[version] = shares.get(version, 0) + percent
            if one.get("tag"):
                urls[one["tag"]] = one.get("url", "")
        newest = status.get("latestCreatedRevision", "")
        return _Seen(
            _version_in(_variable(predictor["containers"][0])["value"]),
            predictor.get("canaryTrafficPercent"),
            shares,
            newest,
            self._version(newest),
            bool(newest) and newest == status.get("latestReadyRevision"),
            self._version(status.get("latestRolledoutRevision", "")),
            self._version(status.get("previousRolledoutRevision", "")),
            urls,
        )

    def _version(self, revision: str) -> str:
        """The version that a revision serves."""
        if revision and revision not in self._versions:
            containers = self._revision(revision)["spec"]["containers"]
            self._versions[revision] = _version_in(_variable(containers[0])["value"])
        return self._versions.get(revision, "")

    def _revision(self, name: str) -> dict[str, Any]:
        return self._api.get(f"/apis/serving.knative.dev/v1/namespaces/{NAMESPACE}/revisions/{name}")

    def _post(self, body: str, variant: str) -> tuple[int, Any, float]:
        """Status, answer and milliseconds of one request."""
        import httpx

        url = self._urls[{CHALLENGER: "latest", CHAMPION: "prev"}.get(variant, "")]
        headers = {"Host": httpx.URL(url).host, "Content-Type": "application/json"}
        started = time.perf_counter()
        try:
            answer = self._gateway.post("/invocations", content=body, headers=headers)
            status, found = answer.status_code, answer.json()
        except httpx.HTTPError as error:
            status, found = 0, {"error": f"no answer ({type(error).__name__})"}
        except json.JSONDecodeError:
            found = None
        return status, found, (time.perf_counter() - started) * 1000

    @property
    def _urls(self) -> dict[str, str]:
        """Routes by tag; where only one version is served, all lead to it."""
        if not self._routes:
            urls = self._seen().urls
            self._routes = {tag: urls.get(tag) or urls[""] for tag in ("", "latest", "prev")}
        return self._routes

    @cached_property
    def _gateway(self) -> Any:
        """Istio's gateway, through the load balancer that the cluster has made for it."""
        import httpx

        found = self._api.get(_GATEWAY)["status"]["loadBalancer"]["ingress"][0]
        port = (found.get("ports") or [{"port": GATEWAY_PORT}])[0]["port"]
        host = found.get("hostname") or found["ip"]
        return httpx.Client(base_url=f"http://{host}:{port}", timeout=60, trust_env=False)


def _variable(container: dict[str, Any]) -> dict[str, Any]:
    """The variable of a container that names what it serves."""
    found: dict[str, Any] = next(one for one in container["env"] if one["name"] == SERVED)
    return found


def _version_in(address: str) -> str:
    """The version that is served from an address; empty where that is not one version's own."""
    parts = address.removeprefix("s3://").split("/")
    return parts[-2] if parts[-3:-2] == ["served"] else ""
