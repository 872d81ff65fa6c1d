"""Whether a cluster would admit a program's pods, and whether they can reach what they need and nothing else.

A pod is checked against its namespace's Pod Security level, LimitRange and ResourceQuota, against image policies, and
for a node pool that fits it, its service account and its priority class. Specifications:
https://kubernetes.io/docs/concepts/security/pod-security-standards/, .../policy/limit-range/,
.../policy/resource-quotas/, .../services-networking/network-policies/; node pools are Karpenter's
(https://karpenter.sh/docs/concepts/nodepools/).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from groundplan.engine.kubernetes.images import unchecked

_UNITS = {
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
_CAPABILITIES = {
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
}
# GiB of memory for each vCPU, by category of EC2's instances: c, m, r.
_MEMORY = {"c": 2, "m": 4, "r": 8}
_GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class Pod:
    """A pod as a workload requests it, and how many there are at most."""

    kind: str
    name: str
    namespace: str
    spec: Mapping[str, Any]
    labels: Mapping[str, str]
    most: int

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        """Init containers first."""
        return [*self.spec.get("initContainers", ()), *self.spec.get("containers", ())]


def quantity(text: object) -> float:
    """A Kubernetes quantity as a number: CPUs, bytes, pieces.

    Raises:
        ValueError: It is not a quantity.
    """
    value = str(text)
    unit = value.lstrip("+-0123456789.eE") if not value[-1:].isdigit() else ""
    if unit not in _UNITS:
        raise ValueError(f"{value!r} is not a quantity")
    return float(value.removesuffix(unit)) * _UNITS[unit]


def pods(documents: Iterable[Mapping[str, Any]]) -> list[Pod]:
    """The pods that workloads create."""
    everything = list(documents)
    most = {
        (item["metadata"].get("namespace"), item["spec"]["scaleTargetRef"]["name"]): int(item["spec"]["maxReplicas"])
        for item in everything if item["kind"] == "HorizontalPodAutoscaler"
    }  # fmt: skip
    return [pod for item in everything for pod in _pods(item, most)]


def _pods(item: Mapping[str, Any], most: Mapping[tuple[str, str], int]) -> Iterator[Pod]:
    kind, spec, name = item["kind"], item.get("spec") or {}, item["metadata"]["name"]
    namespace = item["metadata"].get("namespace", "default")
    if kind in ("Deployment", "StatefulSet", "Job", "DaemonSet"):
        template = spec["template"]
        count = most.get((namespace, name), int(spec.get("replicas", spec.get("parallelism", 1))))
        yield Pod(kind, name, namespace, template["spec"], template.get("metadata", {}).get("labels", {}), count)
    elif kind == "CronJob":
        template = spec["jobTemplate"]["spec"]["template"]
        yield Pod(kind, name, namespace, template["spec"], template.get("metadata", {}).get("labels", {}), 1)
    elif kind == "Pod":
        yield Pod(kind, name, namespace, spec, item["metadata"].get("labels", {}), 1)
    elif kind == "InferenceService":
        for part in ("predictor", "transformer", "explainer"):
            if part in spec:
                own = {
                    key: value
                    for key, value in spec[part].items()
                    if not isinstance(value, Mapping) or key in ("nodeSelector", "securityContext", "affinity")
                }
                servers = [
                    {"name": key, **value}
                    for key, value in spec[part].items()
                    if isinstance(value, Mapping) and ("image" in value or "storageUri" in value)
                ]
                own["containers"] = [*spec[part].get("containers", ()), *servers]
                yield Pod(
                    kind,
                    f"{name}-{part}",
                    namespace,
                    own,
                    item["metadata"].get("labels", {}),
                    int(spec[part].get("maxReplicas", 1)),
                )


def refusals(documents: Iterable[Mapping[str, Any]], unmatched: str = "") -> list[str]:
    """Why a cluster would refuse pods, never start them, or start them unchecked; empty where it admits them all.

    Args:
        unmatched: What its admission controller does with images that no policy matches (``images.unmatched_by``).
    """
    everything = list(documents)
    policies = [item["spec"] for item in everything if item["kind"] == "ClusterImagePolicy"]
    named = {(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]): item for item in everything}
    found, used = list[str](), dict[str, list[tuple[Pod, dict[str, float], dict[str, float]]]]()
    for pod in pods(everything):
        where = f"{pod.kind} {pod.namespace}/{pod.name}"
        space = named.get(("Namespace", None, pod.namespace))
        if space is None:
            found.append(f"{where}: namespace {pod.namespace} does not exist")
            continue
        labels = space["metadata"].get("labels") or {}
        level = labels.get("pod-security.kubernetes.io/enforce", "privileged")
        images = dict.fromkeys(str(item["image"]) for item in pod.containers if item.get("image"))
        found += [f"{where}: {why}" for image in images if (why := unchecked(image, labels, policies, unmatched))]
        found += [f"{where}: not {level}: {why}" for why in insecure(pod.spec, level)]
        account = pod.spec.get("serviceAccountName")
        if account and account != "default" and ("ServiceAccount", pod.namespace, account) not in named:
            found.append(f"{where}: service account {account} does not exist")
        priority = pod.spec.get("priorityClassName")
        if priority and not priority.startswith("system-") and ("PriorityClass", None, priority) not in named:
            found.append(f"{where}: priority class {priority} does not exist")
        limits = [
            item for (kind, namespace, _), item in named.items() if kind == "LimitRange" and namespace == pod.namespace
        ]
        requests, capped, faults = _asked(pod, limits)
        found += [f"{where}: {fault}" for fault in faults]
        used.setdefault(pod.namespace, []).append((pod, requests, capped))
        found += [
            f"{where}: {why}"
            for why in _no_node(pod, requests, [item for item in everything if item["kind"] == "NodePool"])
        ]
    for (kind, namespace, _), item in named.items():
        if kind == "ResourceQuota" and namespace in used:
            found += [f"namespace {namespace}: {why}" for why in _over(item["spec"]["hard"], used[namespace])]
    return found


def insecure(spec: Mapping[str, Any], level: str) -> list[str]:
    """What a level of the Pod Security Standards (1.34) forbids in a pod."""
    if level == "privileged":
        return []
    found = [f"{key} is true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [f"the volume {item.get('name')} is a hostPath" for item in spec.get("volumes", ()) if "hostPath" in item]
    own = spec.get("securityContext") or {}
    containers = [*spec.get("initContainers", ()), *spec.get("containers", ()), *spec.get("ephemeralContainers", ())]
    for item in containers:
        context, name = item.get("securityContext") or {}, item.get("name")
        capabilities = context.get("capabilities") or {}
        found += [f"{name} is privileged"] if context.get("privileged") else []
        found += [f"{name} uses a host port"] if any(port.get("hostPort") for port in item.get("ports", ())) else []
        found += (
            [f"{name} adds {', '.join(more)}"]
            if (more := sorted(set(capabilities.get("add", ())) - _CAPABILITIES))
            else []
        )
        if level != "restricted":
            continue
        found += [f"{name} may gain privileges"] if context.get("allowPrivilegeEscalation") is not False else []
        found += [f"{name} does not drop all capabilities"] if "ALL" not in capabilities.get("drop", ()) else []
        found += (
            [f"{name} adds {', '.join(more)}"]
            if (more := sorted(set(capabilities.get("add", ())) & _CAPABILITIES - {"NET_BIND_SERVICE"}))
            else []
        )
        found += [f"{name} may run as root"] if not context.get("runAsNonRoot", own.get("runAsNonRoot")) else []
        found += [f"{name} runs as root"] if context.get("runAsUser", own.get("runAsUser")) == 0 else []
        profile = (context.get("seccompProfile") or own.get("seccompProfile") or {}).get("type")
        found += [f"{name} has no seccomp profile"] if profile not in ("RuntimeDefault", "Localhost") else []
    if level == "restricted":
        kinds = [(item.get("name"), sorted(set(item) - {"name"})) for item in spec.get("volumes", ())]
        found += [
            f"the volume {name} is of kind {', '.join(kind)}" for name, kind in kinds if not set(kind) <= _VOLUMES
        ]
    return found


def _asked(pod: Pod, ranges: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], dict[str, float], list[str]]:
    """What a pod requests and is limited to, with the namespace's defaults, and what violates its limits."""
    rules = [limit for item in ranges for limit in item["spec"]["limits"] if limit.get("type") == "Container"]
    faults, together = list[str](), {"requests": dict[str, float](), "limits": dict[str, float]()}
    first = {"requests": dict[str, float](), "limits": dict[str, float]()}
    early = len(pod.spec.get("initContainers", ()))
    for index, item in enumerate(pod.containers):
        asked = {
            kind: {key: quantity(value) for key, value in (item.get("resources", {}).get(kind) or {}).items()}
            for kind in ("requests", "limits")
        }
        for rule in rules:
            for key, value in (rule.get("default") or {}).items():
                asked["limits"].setdefault(key, quantity(value))
            for key, value in (rule.get("defaultRequest") or {}).items():
                asked["requests"].setdefault(
                    key,
                    (
                        asked["limits"][key]
                        if key not in (item.get("resources", {}).get("requests") or {})
                        and key in (item.get("resources", {}).get("limits") or {})
                        else quantity(value)
                    ),
                )
            for word, kind, wrong in (("max", "limits", float.__gt__), ("min", "requests", float.__lt__)):
                for key, value in (rule.get(word) or {}).items():
                    if wrong(asked[kind].get(key, 0.0), quantity(value)):
                        faults.append(f"{item['name']} has {key} beyond the {word} of its namespace, {value}")
        for key, value in asked["limits"].items():
            asked["requests"].setdefault(key, value)
            if asked["requests"][key] > value:
                faults.append(f"{item['name']} requests more {key} than its limit")
        for kind, values in asked.items():
            for key, value in values.items():
                whole = first if index < early else together
                whole[kind][key] = (
                    max(whole[kind].get(key, 0.0), value) if index < early else whole[kind].get(key, 0.0) + value
                )
    # Init containers run one after the other, before the rest.
    for kind in together:
        for key, value in first[kind].items():
            together[kind][key] = max(together[kind].get(key, 0.0), value)
    return together["requests"], together["limits"], faults


def _over(hard: Mapping[str, Any], used: Sequence[tuple[Pod, dict[str, float], dict[str, float]]]) -> Iterator[str]:
    for key, limit in hard.items():
        kind, _, resource = key.partition(".")
        if key == "pods":
            total = float(sum(pod.most for pod, _, _ in used))
        elif kind in ("requests", "limits"):
            total = sum(
                pod.most * (requests if kind == "requests" else limits).get(resource, 0.0)
                for pod, requests, limits in used
            )
            for pod, requests, limits in used:
                if resource not in (requests if kind == "requests" else limits) and resource in ("cpu", "memory"):
                    yield f"{pod.name} does not set {key}, which the quota requires"
        else:
            continue
        if total > quantity(limit) + 1e-9:
            yield f"its pods need up to {key} {total:g}, but the quota is {limit}"


def _no_node(pod: Pod, requests: Mapping[str, float], pools: Sequence[Mapping[str, Any]]) -> list[str]:
    wanted = pod.spec.get("nodeSelector") or {}
    why = []
    for pool in pools:
        refused = _unfit(pod, wanted, requests, pool)
        if not refused:
            return []
        why.append(f"{pool['metadata']['name']} ({refused})")
    # Node groups, which are not objects of the cluster, are for what the cluster itself needs.
    return [f"no node pool fits: {', '.join(why)}"] if pools and wanted.get("groundplan/pool") != "system" else []


def _unfit(pod: Pod, wanted: Mapping[str, str], requests: Mapping[str, float], pool: Mapping[str, Any]) -> str:
    template = pool["spec"]["template"]
    requirements = {
        item["key"]: item["values"] for item in template["spec"]["requirements"] if item["operator"] == "In"
    }
    labels = (template.get("metadata") or {}).get("labels") or {}
    for key, value in wanted.items():
        if labels.get(key) != value and value not in requirements.get(key, ()):
            return f"has no {key}={value}"
    for taint in template["spec"].get("taints", ()):
        if not any(
            item.get("key") in (taint["key"], None) and item.get("effect") in (taint["effect"], None)
            for item in pod.spec.get("tolerations", ())
        ):
            return f"has the taint {taint['key']}"
    sizes, categories = (
        requirements.get("karpenter.k8s.aws/instance-cpu"),
        requirements.get("karpenter.k8s.aws/instance-category"),
    )
    if sizes:
        largest = max(float(size) for size in sizes)
        # A node reserves a part of its resources; a tenth is more than EKS reserves for the sizes used here.
        if requests.get("cpu", 0) > 0.9 * largest:
            return f"its largest node has {largest:g} CPUs"
        memory = max((_MEMORY.get(category, 0) for category in categories or ()), default=0) * largest * 2**30
        if memory and requests.get("memory", 0) > 0.9 * memory:
            return f"its largest node has {memory / 2**30:g} GiB"
    if requests.get(_GPU, 0) and _GPU not in pool["spec"].get("limits", {}):
        return "has no GPU"
    for key, limit in pool["spec"].get("limits", {}).items():
        if requests.get(key, 0) > quantity(limit):
            return f"is limited to {key} {limit} in total"
    return ""


# Connections.


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod of a namespace, or an address outside the cluster.

    Attributes:
        labels: The pod's labels, as far as policies use them.
    """

    namespace: str = ""
    address: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.namespace or self.address


def connects(
    documents: Iterable[Mapping[str, Any]], source: End, target: End, port: int, protocol: str = "TCP"
) -> bool:
    """Whether network policies allow a pod or an address to call another on a port.

    Namespaces without a policy are open, as in Kubernetes.
    """
    everything = list(documents)
    out = _allows(everything, source, target, port, protocol, "Egress") if source.namespace else True
    return out and (_allows(everything, target, source, port, protocol, "Ingress") if target.namespace else True)


def _allows(
    documents: Sequence[Mapping[str, Any]], own: End, other: End, port: int, protocol: str, direction: str
) -> bool:
    spaces = {
        item["metadata"]["name"]: item["metadata"].get("labels") or {}
        for item in documents
        if item["kind"] == "Namespace"
    }
    inside = [
        item["spec"]
        for item in documents
        if item["kind"] == "NetworkPolicy" and item["metadata"].get("namespace") == own.namespace
    ]
    policies = [spec for spec in inside if _selects(spec.get("podSelector"), dict(own.labels))]
    meant = [
        spec
        for spec in policies
        if direction in spec.get("policyTypes", ["Ingress", "Egress"] if "egress" in spec else ["Ingress"])
    ]
    if not meant:
        return True
    peers, rules = ("to", "egress") if direction == "Egress" else ("from", "ingress")
    for spec in meant:
        for rule in spec.get(rules) or ():
            ports = rule.get("ports")
            on_port = not ports or any(item.get("protocol", "TCP") == protocol and _on(item, port) for item in ports)
            if on_port and (not rule.get(peers) or any(_is(peer, other, own, spaces) for peer in rule[peers])):
                return True
    return False


def _on(item: Mapping[str, Any], port: int) -> bool:
    first = item.get("port")
    return first is None or (isinstance(first, int) and first <= port <= int(item.get("endPort", first)))


def _is(peer: Mapping[str, Any], other: End, own: End, spaces: Mapping[str, Mapping[str, str]]) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        if not other.address:
            return False
        address = ip_address(other.address)
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(left) for left in block.get("except", ())
        )
    if not other.namespace:
        return False
    labels = {"kubernetes.io/metadata.name": other.namespace, **spaces.get(other.namespace, {})}
    if "namespaceSelector" in peer:
        if not _selects(peer["namespaceSelector"], labels):
            return False
    elif other.namespace != own.namespace:
        return False
    return _selects(peer.get("podSelector"), dict(other.labels))


def _selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    for key, value in ((selector or {}).get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for item in (selector or {}).get("matchExpressions") or ():
        value, values = labels.get(item["key"]), item.get("values", [])
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[item["operator"]]:
            return False
    return True
