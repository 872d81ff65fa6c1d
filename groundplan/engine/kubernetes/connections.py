"""The connections that the platform's pods need, as a table; everything else must be closed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from groundplan.engine.kubernetes.admission import End, connects

VPC, INTERNET = End(address="10.40.32.7"), End(address="203.0.113.7")
METADATA, AGENT = End(address="169.254.169.254"), End(address="169.254.170.23")
DNS = End("kube-system")
_PLACES = {
    VPC.address: "the VPC",
    INTERNET.address: "the internet",
    METADATA.address: "the node's metadata",
    AGENT.address: "the node's agent for Pod Identity",
}
# Ports on which something may listen: DNS, plain HTTP, TLS, SSH, MLflow, PostgreSQL, model servers, Knative,
# kubelet, Prometheus, Kafka.
PORTS = (22, 53, 80, 443, 5000, 5432, 6443, 8012, 8080, 9090, 9098, 10250)


@dataclass(frozen=True)
class Connection:
    """One connection; any of ``ports`` may be called, empty for all."""

    source: str
    target: str
    ports: tuple[int, ...]
    why: str


def wanted(namespaces: Iterable[str], *, canaries: bool = True) -> list[Connection]:
    """What the pods of some namespaces need.

    Args:
        canaries: Whether steps compare versions of a model on the cluster.
    """
    found = []
    if canaries:
        found.append(Connection("pipelines", "the VPC", (80,), "steps ask versions of a model through the gateway"))
    for name in namespaces:
        found.append(Connection(name, name, (), "among themselves"))
        if name == "monitoring":
            found += [Connection(name, target, (), "Prometheus scrapes every pod and node") for target in ("*",)]
            continue
        found += [
            Connection(name, "kube-system", (53,), "names"),
            Connection(name, "the VPC", (443,), "AWS's private endpoints"),
            Connection(
                name,
                "the internet",
                (443,),
                "S3 and DynamoDB through their gateway endpoints, and what egress rules allow",
            ),
            Connection(name, "the node's agent for Pod Identity", (80,), "credentials of the pod's role"),
            Connection("monitoring", name, (), "Prometheus scrapes every pod"),
        ]
    return [
        *found,
        Connection("pipelines", "tracking", (5000,), "steps write runs and versions to MLflow"),
        Connection("pipelines", "the VPC", (9098,), "steps read events from MSK"),
        Connection("tracking", "the VPC", (5432,), "MLflow's database on RDS"),
        Connection("the VPC", "tracking", (5000,), "jobs of SageMaker reach MLflow through the load balancer"),
        Connection("istio-system", "models", (), "requests come through the gateway, at ports that Knative chooses"),
        Connection("knative-serving", "models", (), "requests to a model that is starting come through the activator"),
        Connection("models", "istio-system", (), "an explainer calls its predictor through the gateway"),
        Connection("models", "knative-serving", (), "the same, through the activator"),
    ]


def allowed(documents: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], tuple[int, ...]]:
    """Ports on which network policies let ends of the platform call each other, by source and target; closed pairs
    are left out.
    """
    everything = list(documents)
    spaces = sorted({item["metadata"]["name"] for item in everything if item["kind"] == "Namespace"})
    others = [End("istio-system"), End("knative-serving")]
    ends = [*(End(space) for space in spaces), *others, DNS, VPC, INTERNET, METADATA, AGENT]
    found = {}
    for source in ends:
        for target in ends:
            if source.namespace not in spaces and target.namespace not in spaces:
                continue  # not one of ours
            ports = tuple(port for port in PORTS if connects(everything, source, target, port))
            if ports:
                found[_named(source), _named(target)] = ports
    return found


def _named(end: End) -> str:
    return end.namespace or _PLACES[end.address]


def differences(documents: Iterable[Mapping[str, Any]]) -> list[str]:
    """Connections that are needed but closed, or open but not needed."""
    everything = list(documents)
    spaces = sorted({item["metadata"]["name"] for item in everything if item["kind"] == "Namespace"})
    is_open, needed, found = allowed(everything), dict[tuple[str, str], set[int]](), list[str]()
    canaries = any(item["kind"] == "Role" and item["metadata"]["name"] == "deployers" for item in everything)
    for item in wanted(spaces, canaries=canaries):
        if not {item.source, item.target} & set(spaces):
            continue
        for pair in (
            [(item.source, item.target)] if item.target != "*" else [pair for pair in is_open if pair[0] == item.source]
        ):
            needed.setdefault(pair, set()).update(item.ports or PORTS)
    for pair, ports in needed.items():
        if {pair[0], pair[1]} & set(spaces) and (lacking := sorted(ports - set(is_open.get(pair, ())))):
            found.append(f"{pair[0]} can't call {pair[1]} on {', '.join(map(str, lacking))}")
    for pair, open_ports in is_open.items():
        if more := sorted(set(open_ports) - needed.get(pair, set())):
            found.append(f"{pair[0]} may call {pair[1]} on {', '.join(map(str, more))}, and nothing needs it")
    return found
