"""Models on the cluster, as the cluster's API shows them: InferenceServices, their revisions, who gets the requests.

Written after KServe's and Knative's controllers (Serverless mode), for what `canaryTrafficPercent` does. Only the
service's gateway and InferenceServices are there; other objects are kept as manifests.

- https://github.com/kserve/kserve: `ksvc_reconciler.go` decides about the traffic, `inference_service_status.go` about
  which revision has been rolled out
- https://knative.dev/docs/serving/: a change of the pod makes a revision; requests go to the newest one that is ready
"""

from __future__ import annotations

import base64
import copy
import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from spec.on_cluster import GATEWAY, GATEWAY_NAMESPACE, SERVED

CLUSTERS = "/_kubernetes/"  # then the cluster's name, and a path of its API
KNATIVE = "KnativeServing"
GROUP, KIND = "serving.kserve.io/v1beta1", "InferenceService"
_ISVC, _REVISION = "/apis/serving.kserve.io/v1beta1", "/apis/serving.knative.dev/v1"
_GATEWAY = f"/api/v1/namespaces/{GATEWAY_NAMESPACE}/services/{GATEWAY}"
_TAG_ROUTING = "serving.kserve.io/enable-tag-routing"
_SYSTEM = ("generation", "creationTimestamp")  # what nobody but the API writes
_NOT_OF_PODS = ("canaryTrafficPercent", "minReplicas", "maxReplicas", "scaleMetric", "scaleTarget")


class RefusedError(Exception):
    """What Kubernetes answers with another status than 200."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class Clusters:
    """Every cluster of the local cloud, by name."""

    def __init__(self) -> None:
        self._all: dict[str, Cluster] = {}

    @property
    def changes(self) -> int:
        """How often anything has changed."""
        return sum(cluster.changes for cluster in self._all.values())

    def give(self, name: str, document: dict[str, Any]) -> None:
        """Take an object as the program writes it."""
        cluster = self._all.setdefault(name, Cluster())
        if document["kind"] == KNATIVE:
            cluster.domain = next(iter(document["spec"]["config"].get("domain", {})), cluster.domain)
        else:
            cluster.give(document)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """One request to a cluster's API: its status and its answer."""
        name, _, rest = path.partition("/")
        status, found = self._all.setdefault(name, Cluster()).answer(method, f"/{rest}", body)
        return status, json.dumps(found).encode()

    def routes(self, port: int) -> str:
        """What runs and who gets requests, JSON.

        Args:
            port: Where the gateway listens.
        """
        for cluster in self._all.values():
            cluster.gateway_port = port
        told = {name: cluster.changes for name, cluster in self._all.items()}
        routes = [route for cluster in self._all.values() for route in cluster.routes()]
        return json.dumps({"routes": routes, "changes": told})

    def routed(self, _: str, changes: dict[str, int]) -> None:
        """The gateway routes by now as it was told after so many changes of each cluster."""
        for name, number in changes.items():
            self._all[name].routed(number)

    def mark(self, revision: str, state: dict[str, Any]) -> None:
        """What has become of a revision: ``failure``, or that it answers."""
        for cluster in self._all.values():
            cluster.mark(revision, state)


def self_signed() -> str:
    """A certificate, in PEM and base64, for clients that read one although they use plain HTTP."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding

    key, name = Ed25519PrivateKey.generate(), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "local")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(9000)
    )
    return base64.b64encode(made.sign(key, None).public_bytes(Encoding.PEM)).decode()


@dataclass
class _Service:
    """One InferenceService with its revisions, in the order of their creation."""

    document: dict[str, Any]
    given: dict[str, Any]  # as the program has written it last
    revisions: dict[str, dict[str, Any]] = field(default_factory=dict)  # documents by name
    ready: str = ""  # the newest revision that is
    rolled_out: str = ""
    before: str = ""
    routed: list[dict[str, Any]] = field(default_factory=list)  # as the gateway does


class Cluster:
    """State of one cluster.

    Attributes:
        changes: How often anything has changed.
        domain: Of the routes.
        gateway_port: Where the gateway listens on this machine; 0 until it does.
    """

    def __init__(self, domain: str = "example.com") -> None:
        self.changes, self.domain, self.gateway_port = 0, domain, 0
        self._services: dict[tuple[str, str], _Service] = {}
        self._lock = threading.RLock()
        self._version = 1

    def give(self, document: dict[str, Any]) -> None:
        """Take an InferenceService as the program writes it.

        Like an update that ignores what others have changed, it leaves the share and what is served as they are.
        """
        with self._lock:
            key = document["metadata"]["namespace"], document["metadata"]["name"]
            known = self._services.get(key)
            new = copy.deepcopy(document)
            if known is None:
                created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                new["metadata"] |= {"generation": 0, "creationTimestamp": created}
                known = self._services[key] = _Service(new, document)
            elif known.given == document:
                return
            else:
                known.given, live = document, known.document["spec"]["predictor"]
                wanted = new["spec"]["predictor"]
                served(wanted)["value"] = served(live)["value"]
                if "canaryTrafficPercent" in live:
                    wanted["canaryTrafficPercent"] = live["canaryTrafficPercent"]
                new["metadata"] |= {key: known.document["metadata"][key] for key in _SYSTEM}
            self._write(known, new)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """One request to the API: its status and its answer."""
        with self._lock:
            try:
                return 200, self._answer(method, path, body)
            except RefusedError as error:
                return error.code, {
                    "kind": "Status",
                    "apiVersion": "v1",
                    "status": "Failure",
                    "message": str(error),
                    "reason": error.reason,
                    "code": error.code,
                }

    def routes(self) -> list[dict[str, Any]]:
        """What runs and who gets requests, for the hosting: of each service its hosts, and the containers of its
        revisions.
        """
        with self._lock:
            found = []
            for (namespace, name), service in self._services.items():
                traffic = self._traffic(service)
                # Whoever waits for a revision to get ready has it started; what can't be reached is ended.
                used = dict.fromkeys((*(one["revisionName"] for one in traffic), *list(service.revisions)[-1:]))
                hosts = {_host(one["url"]): {one["revisionName"]: 100} for one in traffic if one.get("tag")}
                shares: dict[str, int] = {}
                for one in traffic:
                    shares[one["revisionName"]] = shares.get(one["revisionName"], 0) + one["percent"]
                main = f"{name}-predictor.{namespace}.{self.domain}"
                found.append(
                    {
                        "service": f"{name}-predictor",
                        "namespace": namespace,
                        "hosts": {main: {key: value for key, value in shares.items() if value}, **hosts},
                        "revisions": {
                            revision: _container(service.revisions[revision]) for revision in used if revision
                        },
                    }
                )
            return found

    def routed(self, changes: int) -> None:
        """The gateway has begun to route as it was told after so many changes."""
        with self._lock:
            if changes == self.changes:
                for service in self._services.values():
                    service.routed = self._traffic(service)

    def mark(self, revision: str, state: dict[str, Any]) -> None:
        """What has become of a revision: ``failure``, or that it answers."""
        with self._lock:
            for service in self._services.values():
                if revision in service.revisions:
                    ready, why = not state["failure"], state["failure"]
                    told = {"type": "Ready", "status": str(ready), **({"message": why} if why else {})}
                    status = {"conditions": [told]}
                    if service.revisions[revision].get("status") == status:
                        return
                    service.revisions[revision]["status"] = status
                    names = list(service.revisions)
                    if ready and (not service.ready or names.index(revision) > names.index(service.ready)):
                        service.ready = revision
                    self._settle(service)

    def _answer(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        if path == _GATEWAY and method == "GET":
            ports = [{"port": self.gateway_port, "protocol": "TCP"}]
            return {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": GATEWAY, "namespace": GATEWAY_NAMESPACE},
                "spec": {"type": "LoadBalancer"},
                "status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1", "ports": ports}]}},
            }
        if (found := _discovery(path)) and method == "GET":
            return found
        group, _, rest = path.partition("/namespaces/")
        namespace, kind, *name = rest.split("/")
        if group == _ISVC and kind == "inferenceservices":
            return self._of_services(method, namespace, name, body)
        if group == _REVISION and kind == "revisions" and method == "GET" and name:
            for service in self._services.values():
                if name[0] in service.revisions:
                    return service.revisions[name[0]]
            raise RefusedError(404, "NotFound", f'revisions.serving.knative.dev "{name[0]}" not found')
        raise RefusedError(404, "NotFound", "the server could not find the requested resource")

    def _of_services(self, method: str, namespace: str, name: list[str], body: bytes) -> dict[str, Any]:
        if not name and method == "GET":
            items = [self._shown(one) for (where, _), one in self._services.items() if where == namespace]
            return {"apiVersion": GROUP, "kind": f"{KIND}List", "metadata": {}, "items": items}
        known = self._services.get((namespace, name[0])) if name else None
        if known is None:
            raise RefusedError(404, "NotFound", f'inferenceservices.serving.kserve.io "{"".join(name)}" not found')
        if method == "GET":
            return self._shown(known)
        if method == "PUT":
            return self._replace(known, name[0], body)
        if method == "PATCH":
            return self._merge(known, body)
        raise RefusedError(405, "MethodNotAllowed", f"{method} is not there")

    def _replace(self, known: _Service, name: str, body: bytes) -> dict[str, Any]:
        document = json.loads(body)
        if (document.get("metadata") or {}).get("resourceVersion") not in (
            None,
            known.document["metadata"]["resourceVersion"],
        ):
            raise RefusedError(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on inferenceservices.serving.kserve.io "{name}": the object has been'
                " modified; please apply your changes to the latest version and try again",
            )
        return self._put(known, document)

    def _merge(self, known: _Service, body: bytes) -> dict[str, Any]:
        """A JSON merge patch (RFC 7386), as ``kubectl patch --type merge`` sends it."""
        return self._put(known, _merged(self._shown(known), json.loads(body)))

    def _put(self, known: _Service, document: dict[str, Any]) -> dict[str, Any]:
        predictor = (document.get("spec") or {}).get("predictor") or {}
        if not predictor.get("containers"):
            raise RefusedError(422, "Invalid", "spec.predictor.containers: Required value")
        percent = predictor.get("canaryTrafficPercent")
        if percent is not None and not (isinstance(percent, int) and 0 <= percent <= 100):
            raise RefusedError(422, "Invalid", "spec.predictor.canaryTrafficPercent: must be from 0 to 100")
        document["metadata"] |= {key: known.document["metadata"][key] for key in _SYSTEM}
        self._write(known, document)
        return self._shown(known)

    def _write(self, service: _Service, document: dict[str, Any]) -> None:
        document.pop("status", None)
        if document["spec"] != service.document["spec"] or not document["metadata"]["generation"]:
            document["metadata"]["generation"] += 1
        service.document = document
        pod = {key: value for key, value in document["spec"]["predictor"].items() if key not in _NOT_OF_PODS}
        newest = next(reversed(service.revisions.values()), None)
        if newest is None or newest["spec"] != pod:
            name = document["metadata"]["name"]
            revision = f"{name}-predictor-{len(service.revisions) + 1:05d}"
            service.revisions[revision] = {
                "apiVersion": "serving.knative.dev/v1",
                "kind": "Revision",
                "metadata": {
                    "name": revision,
                    "namespace": document["metadata"]["namespace"],
                    "labels": {"serving.knative.dev/service": f"{name}-predictor"},
                },
                "spec": copy.deepcopy(pod),
            }
        self._settle(service)

    def _settle(self, service: _Service) -> None:
        """Route as KServe would, until nothing changes any more."""
        for _ in range(3):
            newest = next(reversed(service.revisions), "")
            shares: dict[str, int] = {}
            for one in self._traffic(service):
                shares[one["revisionName"]] = shares.get(one["revisionName"], 0) + one["percent"]
            latest = next((one for one in self._traffic(service) if one["latestRevision"]), None)
            if latest is None:
                break
            if service.rolled_out != service.ready:
                if latest["percent"] == 100:
                    service.before, service.rolled_out = service.rolled_out, service.ready
            elif (
                service.ready == newest and latest["percent"] < 100 and shares[service.ready] == 100 and service.before
            ):
                service.rolled_out = service.before
        self._version += 1
        service.document["metadata"]["resourceVersion"] = str(self._version)
        self.changes += 1

    def _traffic(self, service: _Service) -> list[dict[str, Any]]:
        """The routes of a Knative service, as its status shows them."""
        if not service.ready:
            return []
        metadata = service.document["metadata"]
        percent = service.document["spec"]["predictor"].get("canaryTrafficPercent")
        tagged = (metadata.get("annotations") or {}).get(_TAG_ROUTING) == "true"

        def route(revision: str, share: int, tag: str, *, latest: bool) -> dict[str, Any]:
            url = f"http://{tag}-{metadata['name']}-predictor.{metadata['namespace']}.{self.domain}"
            found = {"revisionName": revision, "percent": share, "latestRevision": latest}
            return {**found, "tag": tag, "url": url} if tag else found

        first = "latest" if tagged else ""
        if percent is None or not service.rolled_out:
            return [route(service.ready, 100, first, latest=True)]
        found = [route(service.ready, percent, first, latest=True)]
        return found + ([route(service.rolled_out, 100 - percent, "prev", latest=False)] if percent < 100 else [])

    def _shown(self, service: _Service) -> dict[str, Any]:
        metadata = service.document["metadata"]
        host = f"{metadata['name']}-predictor.{metadata['namespace']}"
        newest = next(reversed(service.revisions), "")
        ready = bool(service.ready) and service.ready == newest
        component = {
            "latestCreatedRevision": newest,
            "latestReadyRevision": service.ready,
            "latestRolledoutRevision": service.rolled_out,
            "previousRolledoutRevision": service.before,
            "traffic": service.routed,
            "url": f"http://{host}.{self.domain}",
            "address": {"url": f"http://{host}.svc.cluster.local"},
        }
        conditions = [{"type": kind, "status": str(ready)} for kind in ("PredictorReady", "Ready")]
        return {
            **copy.deepcopy(service.document),
            "status": {
                "conditions": conditions,
                "url": f"http://{metadata['name']}.{metadata['namespace']}.{self.domain}",
                "components": {"predictor": {key: value for key, value in component.items() if value}},
            },
        }


def served(predictor: dict[str, Any]) -> dict[str, Any]:
    """The variable that names what a predictor serves; empty where it is not the platform's own server."""
    variables = ((predictor.get("containers") or [{}])[0]).get("env") or []
    found: dict[str, Any] = next((one for one in variables if one["name"] == SERVED), {})
    return found


def _container(revision: dict[str, Any]) -> dict[str, Any]:
    """What runs, as far as the hosting needs it: variables, and the path that says whether it is ready."""
    first = revision["spec"]["containers"][0]
    variables = {one["name"]: str(one.get("value", "")) for one in first.get("env", [])}
    probe = ((first.get("readinessProbe") or {}).get("httpGet") or {}).get("path", "/ping")
    return {"variables": variables, "probe": probe}


def _host(url: str) -> str:
    return url.removeprefix("http://")


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    found = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = _merged(found.get(key), value)
    return found


def _discovery(path: str) -> dict[str, Any] | None:
    """What ``kubectl`` asks before it asks for anything."""
    kinds = {_ISVC: ("inferenceservices", KIND, "isvc"), _REVISION: ("revisions", "Revision", "rev")}
    if path == "/version":
        return {"major": "1", "minor": "34", "gitVersion": "v1.34.0", "platform": "linux/amd64"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/api/v1":
        services = {
            "name": "services",
            "singularName": "service",
            "namespaced": True,
            "kind": "Service",
            "verbs": ["get"],
        }
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": [services]}
    if path == "/apis":
        groups = []
        for where in kinds:
            name, version = where.removeprefix("/apis/").split("/")
            one = {"groupVersion": f"{name}/{version}", "version": version}
            groups.append({"name": name, "versions": [one], "preferredVersion": one})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if path in kinds:
        plural, kind, short = kinds[path]
        resource = {
            "name": plural,
            "singularName": kind.lower(),
            "namespaced": True,
            "kind": kind,
            "verbs": ["get", "list", "patch", "update"] if kind == KIND else ["get"],
            "shortNames": [short],
        }
        version = path.removeprefix("/apis/")
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": [resource]}
    return None
