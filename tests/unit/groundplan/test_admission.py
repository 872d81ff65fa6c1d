"""Pods that a cluster would refuse, and connections that policies close or leave open."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from groundplan.engine.kubernetes.admission import End, connects, insecure, pods, quantity, refusals
from groundplan.engine.kubernetes.connections import allowed, differences
from groundplan.engine.kubernetes.manifests import collect
from groundplan.review.permissions.deployed import deployed
from tests.conftest import ROOT, everything

pytestmark = pytest.mark.slow  # previews stacks


def container(**more: Any) -> dict[str, Any]:
    closed = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "name": "c",
        "image": "i",
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": closed,
        **more,
    }


def cluster(**pod: Any) -> list[dict[str, Any]]:
    spec = {"serviceAccountName": "worker", "containers": [container()], "nodeSelector": {"pool": "cpu"}, **pod}
    requirements = [
        {"key": "karpenter.k8s.aws/instance-cpu", "operator": "In", "values": ["2", "4"]},
        {"key": "karpenter.k8s.aws/instance-category", "operator": "In", "values": ["c", "m"]},
    ]
    return [
        {
            "kind": "Namespace",
            "metadata": {"name": "n", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        },
        {"kind": "ServiceAccount", "metadata": {"name": "worker", "namespace": "n"}},
        {
            "kind": "LimitRange",
            "metadata": {"name": "d", "namespace": "n"},
            "spec": {
                "limits": [
                    {
                        "type": "Container",
                        "default": {"cpu": "500m", "memory": "512Mi"},
                        "defaultRequest": {"cpu": "100m", "memory": "128Mi"},
                        "max": {"memory": "64Gi"},
                    }
                ]
            },
        },
        {
            "kind": "ResourceQuota",
            "metadata": {"name": "q", "namespace": "n"},
            "spec": {"hard": {"requests.cpu": "4", "limits.cpu": "8", "pods": "4"}},
        },
        {
            "kind": "NodePool",
            "metadata": {"name": "cpu"},
            "spec": {
                "limits": {"cpu": "16"},
                "template": {"metadata": {"labels": {"pool": "cpu"}}, "spec": {"requirements": requirements}},
            },
        },
        {
            "kind": "NodePool",
            "metadata": {"name": "gpu"},
            "spec": {
                "limits": {"nvidia.com/gpu": "1"},
                "template": {
                    "metadata": {"labels": {"pool": "gpu"}},
                    "spec": {"requirements": [], "taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
                },
            },
        },
        {
            "kind": "Deployment",
            "metadata": {"name": "d", "namespace": "n"},
            "spec": {"replicas": 2, "template": {"spec": spec}},
        },
    ]


def bent(change: Callable[[list[dict[str, Any]]], object], **pod: Any) -> list[str]:
    documents = cluster(**pod)
    change(documents)
    return refusals(documents)


def nothing(_: Any) -> None:
    """Changes nothing."""


def test_a_good_pod_is_taken() -> None:
    assert refusals(cluster()) == []
    assert refusals(cluster(containers=[container(resources={})])) == [], "the namespace's defaults stand in"


@pytest.mark.parametrize(
    ("change", "pod", "says"),
    [
        (lambda d: d.pop(0), {}, "namespace n does not exist"),
        (lambda d: d.pop(1), {}, "service account worker does not exist"),
        (nothing, {"priorityClassName": "first"}, "priority class first does not exist"),
        (nothing, {"containers": [container(securityContext={})]}, "not restricted: c may gain privileges"),
        (
            nothing,
            {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
            "not restricted: the volume v is a hostPath",
        ),
        (nothing, {"volumes": [{"name": "v", "nfs": {"path": "/"}}]}, "not restricted: the volume v is of kind nfs"),
        (
            nothing,
            {"containers": [container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})]},
            "c requests more cpu than its limit",
        ),
        (
            nothing,
            {"containers": [container(resources={"requests": {"memory": "65Gi"}, "limits": {"memory": "65Gi"}})]},
            "beyond the max of its namespace, 64Gi",
        ),
        (
            lambda d: d[-1]["spec"].update(replicas=5),
            {},
            "its pods need up to requests.cpu 5, but the quota is 4",
        ),
        (lambda d: d[-1]["spec"].update(replicas=5), {}, "its pods need up to pods 5, but the quota is 4"),
        (
            lambda d: d.pop(2),
            {"containers": [container(resources={})]},
            "d does not set requests.cpu, which the quota requires",
        ),
        (
            nothing,
            {"nodeSelector": {"pool": "none"}},
            "no node pool fits: cpu (has no pool=none), gpu (has no pool=none)",
        ),
        (nothing, {"nodeSelector": {"pool": "gpu"}}, "gpu (has the taint nvidia.com/gpu)"),
        (
            nothing,
            {"containers": [container(resources={"requests": {"cpu": "3900m"}, "limits": {"cpu": "4"}})]},
            "cpu (its largest node has 4 CPUs)",
        ),
        (
            nothing,
            {"containers": [container(resources={"requests": {"memory": "15Gi"}, "limits": {"memory": "15Gi"}})]},
            "cpu (its largest node has 16 GiB)",
        ),
        (
            nothing,
            {"initContainers": [container(name="i", resources={"requests": {"cpu": "3900m"}, "limits": {"cpu": "4"}})]},
            "its largest node has 4 CPUs",
        ),
        (
            lambda d: d.append(
                {
                    "kind": "HorizontalPodAutoscaler",
                    "metadata": {"name": "h", "namespace": "n"},
                    "spec": {"scaleTargetRef": {"name": "d"}, "maxReplicas": 9},
                }
            ),
            {},
            "its pods need up to pods 9",
        ),
    ],
)
def test_what_a_cluster_refuses_is_told(
    change: Callable[[list[dict[str, Any]]], object], pod: dict[str, Any], says: str
) -> None:
    found = bent(change, **pod)
    assert any(says in line for line in found), found


@pytest.mark.parametrize(
    ("level", "spec", "count"),
    [
        (
            "privileged",
            {"hostNetwork": True, "containers": [{"name": "c", "securityContext": {"privileged": True}}]},
            0,
        ),
        ("baseline", {"hostNetwork": True, "containers": [{"name": "c", "securityContext": {"privileged": True}}]}, 2),
        ("baseline", {"containers": [{"name": "c"}]}, 0),
        (
            "baseline",
            {
                "containers": [
                    {
                        "name": "c",
                        "ports": [{"hostPort": 80}],
                        "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}},
                    }
                ]
            },
            2,
        ),
        ("restricted", {"containers": [{"name": "c"}]}, 4),
        (
            "restricted",
            {
                "securityContext": {"runAsNonRoot": True, "runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [
                    container(
                        securityContext={
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
                        }
                    )
                ],
            },
            1,
        ),
    ],
)
def test_the_levels_of_pod_security(level: str, spec: dict[str, Any], count: int) -> None:
    assert len(insecure(spec, level)) == count, insecure(spec, level)


def test_quantities() -> None:
    assert [quantity(text) for text in ("100m", "1", 2, "1.5", "128Mi", "2Gi", "1e3", "5k")] == [
        0.1,
        1,
        2,
        1.5,
        2**27,
        2**31,
        1000,
        5000,
    ]
    with pytest.raises(ValueError, match="'1GB' is not a quantity"):
        quantity("1GB")


def policy(spec: dict[str, Any]) -> list[dict[str, Any]]:
    spaces = [{"kind": "Namespace", "metadata": {"name": name, "labels": {"team": name}}} for name in ("a", "b")]
    return [*spaces, {"kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "b"}, "spec": spec}]


@pytest.mark.parametrize(
    ("spec", "source", "port", "holds"),
    [
        ({"podSelector": {}}, End("a"), 80, False),  # Ingress is what a policy without types is about
        ({"podSelector": {}, "ingress": [{}]}, End("a"), 80, True),
        ({"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}, End("a"), 81, False),
        ({"podSelector": {}, "ingress": [{"ports": [{"port": 80, "endPort": 90}]}]}, End("a"), 81, True),
        ({"podSelector": {}, "ingress": [{"ports": [{"port": 80, "protocol": "UDP"}]}]}, End("a"), 80, False),
        (
            {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]},
            End("a"),
            80,
            False,
        ),  # pods of its own namespace
        ({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}, End("b"), 80, True),
        (
            {"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]}]},
            End("a"),
            80,
            True,
        ),
        (
            {
                "podSelector": {},
                "ingress": [
                    {
                        "from": [
                            {
                                "namespaceSelector": {
                                    "matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]
                                }
                            }
                        ]
                    }
                ],
            },
            End("a"),
            80,
            False,
        ),
        (
            {
                "podSelector": {},
                "ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "x"}}}]}],
            },
            End("a"),
            80,
            False,
        ),
        (
            {
                "podSelector": {},
                "ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "x"}}}]}],
            },
            End("a", labels=(("app", "x"),)),
            80,
            True,
        ),
        ({"podSelector": {"matchLabels": {"app": "y"}}}, End("a"), 80, True),  # about other pods
        (
            {
                "podSelector": {},
                "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}],
            },
            End(address="10.2.0.1"),
            80,
            True,
        ),
        (
            {
                "podSelector": {},
                "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}],
            },
            End(address="10.1.0.1"),
            80,
            False,
        ),
        ({"podSelector": {}, "policyTypes": ["Egress"]}, End("a"), 80, True),
    ],
)
def test_network_policies_mean_what_kubernetes_says(spec: dict[str, Any], source: End, port: int, holds: bool) -> None:
    assert connects(policy(spec), source, End("b"), port) is holds


@pytest.fixture(scope="module")
def whole() -> list[dict[str, Any]]:
    return [manifest.document for manifest in collect(deployed(ROOT, "test", everything()))[0]]


def test_every_pod_of_a_stack_with_everything_is_taken_and_reaches_what_it_needs(whole: list[dict[str, Any]]) -> None:
    assert (
        {pod.kind for pod in pods(whole)} == {"Deployment", "CronJob", "InferenceService"}
        and refusals(whole) == []
        and differences(whole) == []
    )
    is_open = allowed(whole)
    assert (
        is_open["pipelines", "tracking"] == (5000,)
        and ("models", "tracking") not in is_open
        and ("models", "the node's metadata") not in is_open
    )


def test_a_connection_too_few_and_one_too_many_are_told(whole: list[dict[str, Any]]) -> None:
    documents = copy.deepcopy(whole)
    for item in documents:
        if item["kind"] == "NetworkPolicy" and item["metadata"] == {"name": "platform", "namespace": "pipelines"}:
            item["spec"]["egress"] = [
                rule
                for rule in item["spec"]["egress"]
                if {"protocol": "TCP", "port": 9098} not in rule.get("ports", [])
            ]
            item["spec"]["egress"].append(
                {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"protocol": "TCP", "port": 80}]}
            )
    found = differences(documents)
    assert (
        "pipelines can't call the VPC on 443, 9098" in found
        and "pipelines may call the internet on 80, and nothing needs it" in found
    )
    assert "pipelines may call the node's metadata on 80, and nothing needs it" in found


POLICY = {
    "kind": "ClusterImagePolicy",
    "metadata": {"name": "p"},
    "spec": {"images": [{"glob": "ghcr.io/team/**"}], "authorities": []},
}
INCLUDED = {"policy.sigstore.dev/include": "true"}


@pytest.mark.parametrize(
    ("image", "labels", "spec", "unmatched", "says"),
    [
        ("ghcr.io/team/app:1", INCLUDED, {}, "deny", ""),
        ("ghcr.io/team/app@sha256:" + "0" * 64, INCLUDED, {}, "deny", ""),
        ("ghcr.io/team/app:1", {}, {}, "deny", "ghcr.io/team/app:1 must be signed, but is not checked"),
        ("ghcr.io/team/app:1", INCLUDED, {"mode": "warn"}, "deny", "the policy only warns"),
        ("quay.io/other/app:1", INCLUDED, {}, "deny", "no image policy matches quay.io/other/app:1"),
        ("quay.io/other/app:1", INCLUDED, {}, "allow", ""),
        ("quay.io/other/app:1", {}, {}, "deny", ""),
        ("nginx", INCLUDED, {"images": [{"glob": "index.docker.io/library/*"}]}, "deny", ""),
        ("bitnami/redis:7", INCLUDED, {"images": [{"glob": "docker.io/bitnami/*"}]}, "deny", ""),
        ("gcr.io/a/b/c:1", INCLUDED, {"images": [{"glob": "gcr.io/a/*"}]}, "deny", "no image policy matches"),
        ("gcr.io/a/b/c:1", INCLUDED, {"images": [{"glob": "**"}]}, "deny", ""),
    ],
)  # fmt: skip
def test_images_that_nobody_checks(
    image: str, labels: dict[str, str], spec: dict[str, Any], unmatched: str, says: str
) -> None:
    documents = cluster(containers=[container(image=image)])
    documents[0]["metadata"]["labels"] |= labels
    found = refusals([*documents, {**POLICY, "spec": {**POLICY["spec"], **spec}}], unmatched)  # type: ignore[dict-item]
    assert (len(found) == 1 and says in found[0]) if says else found == []


def test_what_the_admission_controller_does_with_the_rest_stands_in_its_chart() -> None:
    from groundplan.engine.kubernetes.images import unmatched_by

    assert unmatched_by([{"chart": "karpenter"}]) == "" and unmatched_by([{"chart": "policy-controller"}]) == "deny"
    assert (
        unmatched_by(
            [
                {
                    "chart": "oci://ghcr.io/x/policy-controller",
                    "values": {"webhook": {"configData": {"no-match-policy": "warn"}}},
                }
            ]
        )
        == "warn"
    )
