"""Kubernetes: restricted pods, closed namespaces, images with specific versions from allowed registries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from policies.control import Family, at, given, listed
from policies.secret_forms import looks_secret
from policies.stack import Item, Props, Stack

KUBERNETES = Family("kubernetes", ("GDPR 32(1)(b)", "HIPAA 164.312(a)(1)", "SOC 2 CC6.8"))
_WORKLOADS = {
    "Pod": "spec",
    "Deployment": "spec.template.spec",
    "StatefulSet": "spec.template.spec",
    "DaemonSet": "spec.template.spec",
    "ReplicaSet": "spec.template.spec",
    "Job": "spec.template.spec",
    "CronJob": "spec.jobTemplate.spec.template.spec",
}
_GROUPS = {"Pod": "core/v1", "Job": "batch/v1", "CronJob": "batch/v1"}
_SERVICE = "kubernetes:serving.kserve.io/v1beta1:InferenceService"
WORKLOADS = (*(f"kubernetes:{_GROUPS.get(kind, 'apps/v1')}:{kind}" for kind in _WORKLOADS), _SERVICE)
_STANDARDS = "https://kubernetes.io/docs/concepts/security/pod-security-standards/"
# Registries that companies mirror or that Kubernetes itself uses; anything else must be in the account's own.
_REGISTRIES = re.compile(
    r"^(\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com|public\.ecr\.aws|registry\.k8s\.io|nvcr\.io)/"
)
_OWN_REGISTRY = re.compile(r"^\d{12}\.dkr\.ecr\.")
_INTERNAL = (
    "service.beta.kubernetes.io/aws-load-balancer-internal",
    "service.beta.kubernetes.io/aws-load-balancer-scheme",
)


def pods(props: Props) -> list[Props]:
    """Pod specs of a workload."""
    kind = props.get("kind")
    if kind == "InferenceService":
        return [spec for part in ("predictor", "explainer", "transformer") if (spec := at(props, f"spec.{part}"))]
    found = at(props, _WORKLOADS.get(str(kind), "spec.template.spec"))
    return [found] if found else []


def containers(props: Props) -> Iterator[tuple[Props, Props]]:
    """Each container of a workload with its pod; KServe's model servers count as containers."""
    for pod in pods(props):
        for container in [*listed(pod.get("initContainers")), *listed(pod.get("containers"))]:
            yield pod, container
        for runtime in ("triton", "model", "sklearn", "onnx", "pytorch", "tensorflow"):
            if pod.get(runtime):
                yield pod, pod[runtime]


def _name(container: Props) -> str:
    return str(container.get("name", "of the model server"))


def _context(pod: Props, container: Props, key: str) -> Any:
    """A container's own setting overrides its pod's."""
    own = at(container, f"securityContext.{key}")
    return at(pod, f"securityContext.{key}") if own is None else own


@KUBERNETES.resource(
    "k8s-no-privileged",
    "No container is privileged",
    *WORKLOADS,
    severity="critical",
    rules=("CIS EKS 4.2.1",),
    fix="Omit securityContext.privileged.",
    risk=(
        "Whoever breaks into this program controls the whole machine it runs on, and every other program and"
        " its data there"
    ),
    url=_STANDARDS,
)
def no_privileged(props: Props) -> Iterator[str]:
    """A privileged container is root on its node."""
    for _, container in containers(props):
        if at(container, "securityContext.privileged"):
            yield f"The container {_name(container)} is privileged"


@KUBERNETES.resource(
    "k8s-no-escalation",
    "No container may gain privileges",
    *WORKLOADS,
    severity="high",
    rules=("CIS EKS 4.2.5",),
    fix="Set securityContext.allowPrivilegeEscalation to false.",
    risk=(
        "An intruder can turn a small flaw in one program into full rights over it, and go on from there to"
        " its neighbours"
    ),
    url=_STANDARDS,
)
def no_escalation(props: Props) -> Iterator[str]:
    """Set explicitly; the default is true."""
    for _, container in containers(props):
        if at(container, "securityContext.allowPrivilegeEscalation") is not False:
            yield f"The container {_name(container)} may gain privileges"


@KUBERNETES.resource(
    "k8s-not-root",
    "No container runs as root",
    *WORKLOADS,
    severity="high",
    fix="Set runAsNonRoot to true, on the pod or the container.",
    risk=(
        "A flaw in the program gives an intruder an administrator's rights at once, and makes it far easier"
        " to take over the machine"
    ),
    url=_STANDARDS,
)
def not_root(props: Props) -> Iterator[str]:
    """On the container, or on its pod."""
    for pod, container in containers(props):
        if _context(pod, container, "runAsNonRoot") is not True or _context(pod, container, "runAsUser") == 0:
            yield f"The container {_name(container)} may run as root"


@KUBERNETES.resource(
    "k8s-read-only",
    "Containers have a read-only root file system",
    *WORKLOADS,
    severity="medium",
    fix="Set securityContext.readOnlyRootFilesystem to true, and mount an emptyDir for scratch.",
    risk=(
        "An intruder can replace the program's files or leave tools behind, and nobody notices that something"
        " else is running"
    ),
    url="https://kubernetes.io/docs/tasks/configure-pod-container/security-context/",
)
def read_only(props: Props) -> Iterator[str]:
    """A read-only root file system."""
    for _, container in containers(props):
        if at(container, "securityContext.readOnlyRootFilesystem") is not True:
            yield f"The container {_name(container)} can write to its root file system"


@KUBERNETES.resource(
    "k8s-capabilities-dropped",
    "Containers drop every capability",
    *WORKLOADS,
    severity="medium",
    fix="Set securityContext.capabilities.drop to [ALL].",
    risk=(
        "A hijacked program has powers it never needed, for example to forge network traffic or to change"
        " other users' files"
    ),
    url=_STANDARDS,
)
def capabilities_dropped(props: Props) -> Iterator[str]:
    """And add none but NET_BIND_SERVICE."""
    for _, container in containers(props):
        capabilities = at(container, "securityContext.capabilities") or {}
        if "ALL" not in listed(capabilities.get("drop")):
            yield f"The container {_name(container)} does not drop all capabilities"
        if more := [name for name in listed(capabilities.get("add")) if name != "NET_BIND_SERVICE"]:
            yield f"The container {_name(container)} adds {', '.join(more)}"


@KUBERNETES.resource(
    "k8s-seccomp",
    "Pods run under a seccomp profile",
    *WORKLOADS,
    severity="medium",
    fix="Set seccompProfile.type to RuntimeDefault.",
    risk=(
        "A hijacked program can reach rarely used parts of the operating system, where flaws that let it"
        " break out keep being found"
    ),
    rules=("CIS EKS 4.6.2",),
    url="https://kubernetes.io/docs/tutorials/security/seccomp/",
)
def seccomp(props: Props) -> Iterator[str]:
    """On the container, or on its pod."""
    for pod, container in containers(props):
        if _context(pod, container, "seccompProfile.type") not in ("RuntimeDefault", "Localhost"):
            yield f"The container {_name(container)} may make any system call"


@KUBERNETES.resource(
    "k8s-limits",
    "Containers have limits",
    *WORKLOADS,
    severity="medium",
    law=("SOC 2 A1.1", "HIPAA 164.308(a)(7)(ii)"),
    fix="Set resources.limits for cpu and memory.",
    risk=(
        "One faulty or overloaded program takes all memory and computing time of its machine, and unrelated"
        " services beside it fail"
    ),
    url="https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/",
)
def limits(props: Props) -> Iterator[str]:
    """CPU and memory."""
    for _, container in containers(props):
        found = at(container, "resources.limits") or {}
        if missing := [kind for kind in ("cpu", "memory") if not given(found, kind)]:
            yield f"The container {_name(container)} has no limit of {' and '.join(missing)}"


def _images(props: Props) -> Iterator[str]:
    for _, container in containers(props):
        if given(container, "image"):
            yield str(container["image"])


@KUBERNETES.resource(
    "k8s-image-fixed",
    "Images have a specific tag or digest",
    *WORKLOADS,
    severity="high",
    law=("SOX 404", "SOC 2 CC8.1"),
    fix="Name a version or a digest, never latest.",
    risk=(
        "After a restart, different software may run than was tested and approved, and nobody can say"
        " afterwards which version did what"
    ),
    url="https://kubernetes.io/docs/concepts/containers/images/#image-names",
)
def image_fixed(props: Props) -> Iterator[str]:
    """A moved tag runs something else tomorrow."""
    for image in _images(props):
        last = image.rpartition("/")[2]
        if "@sha256:" not in image and (":" not in last or last.endswith((":latest", ":main", ":master"))):
            yield f"{image} may be a different image tomorrow"


@KUBERNETES.resource(
    "k8s-image-from-our-registry",
    "Images come from the company's registry, or from an allowed one",
    *WORKLOADS,
    severity="high",
    law=("SOX 404", "SOC 2 CC6.8"),
    rules=("CIS EKS 5.1.4",),
    fix="Push it to the account's ECR (a pull-through cache does), or name it with its registry.",
    risk=(
        "Software that a stranger has tampered with may run beside customers' data, or can't be fetched on"
        " the day it is needed"
    ),
    url="https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache.html",
)
def our_registry(props: Props) -> Iterator[str]:
    """The account's ECR, Kubernetes' own, AWS's public one, NVIDIA's."""
    for image in _images(props):
        if not _REGISTRIES.match(image):
            yield f"{image} comes from another registry"


def _verified(item: Item) -> list[str]:
    """Globs of the images that an admission policy of Sigstore or Kyverno admits only with a signature."""
    kind, spec = item.type.rpartition(":")[2], item.props.get("spec") or {}
    if kind == "ClusterImagePolicy" and at(spec, "mode") != "warn" and listed(spec.get("authorities")):
        return [str(image.get("glob")) for image in listed(spec.get("images"))]
    if kind == "ImageValidatingPolicy" and "Deny" in listed(spec.get("validationActions")):
        return [str(image.get("glob")) for image in listed(spec.get("matchImageReferences"))]
    if kind == "ClusterPolicy":
        checks = [
            check
            for rule in listed(spec.get("rules"))
            for check in listed(rule.get("verifyImages"))
            if listed(check.get("attestors"))
        ]
        return [str(glob) for check in checks for glob in listed(check.get("imageReferences"))]
    return []


@KUBERNETES.stack(
    "k8s-image-signed",
    "Only images that our build has signed are admitted",
    severity="high",
    law=("SOX 404", "SOC 2 CC6.8", "SOC 2 CC8.1"),
    fix=(
        "Sign images as they are built, and create a ClusterImagePolicy (Sigstore) or an ImageValidatingPolicy"
        " (Kyverno) for the registry."
    ),
    risk="Somebody who can upload software to the company's store can bring it into production, past every review",
    url="https://docs.sigstore.dev/policy-controller/overview/",
)
def image_signed(stack: Stack) -> Iterator[tuple[str, str]]:
    """Those of the account's own registry; a policy of admission must match each."""
    globs = [glob for item in stack.items if item.type.startswith("kubernetes:") for glob in _verified(item)]
    for item in stack.items:
        if item.type in WORKLOADS:
            for image in _images(item.props):
                if _OWN_REGISTRY.match(image) and not any(fnmatchcase(image, glob) for glob in globs):
                    yield item.urn, f"Nothing verifies who built {image}"


@KUBERNETES.resource(
    "k8s-no-host",
    "Pods have no access to their node",
    *WORKLOADS,
    severity="critical",
    rules=("CIS EKS 4.2.2",),
    fix="Omit hostNetwork, hostPID, hostIPC and volumes of type hostPath.",
    risk=(
        "An intruder in one program can read the files or traffic of every other program on that machine,"
        " passwords included"
    ),
    url=_STANDARDS,
)
def no_host(props: Props) -> Iterator[str]:
    """Neither to its network nor to its processes nor to its files."""
    for pod in pods(props):
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(key):
                yield f"{key} is on"
        for volume in listed(pod.get("volumes")):
            if given(volume, "hostPath"):
                yield f"The volume {volume.get('name')} is the node's {at(volume, 'hostPath.path')}"


@KUBERNETES.resource(
    "k8s-no-token",
    "Pods that don't call Kubernetes have no token for it",
    *WORKLOADS,
    severity="low",
    rules=("CIS EKS 4.1.6",),
    fix="Set automountServiceAccountToken to false, on the pod or its service account.",
    risk=(
        "A hijacked program holds a pass to the interface that controls the cluster, and can explore or"
        " change other services with it"
    ),
    url="https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/",
)
def no_token(props: Props) -> Iterator[str]:
    """Where the pod runs as the namespace's default account, or does not set it."""
    if props.get("kind") == "InferenceService":
        return
    for pod in pods(props):
        if pod.get("automountServiceAccountToken") is not False and pod.get("serviceAccountName") in (None, "default"):
            yield "It gets a token of the namespace's default account"


@KUBERNETES.resource(
    "k8s-probed",
    "Deployments have a readiness probe",
    "kubernetes:apps/v1:Deployment",
    severity="low",
    law=("SOC 2 A1.1",),
    fix="Add a readinessProbe.",
    risk="During updates users get errors, since their requests are sent to a program that has not finished starting",
    url="https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/",
)
def probed(props: Props) -> Iterator[str]:
    """Those with a port."""
    for _, container in containers(props):
        if listed(container.get("ports")) and not given(container, "readinessProbe"):
            yield f"The container {_name(container)} gets requests before it can answer"


@KUBERNETES.resource(
    "k8s-no-secret-in-environment",
    "No secret is in a container's environment",
    *WORKLOADS,
    severity="critical",
    law=("GDPR 32(1)(b)", "HIPAA 164.312(d)", "SOC 2 CC6.1"),
    rules=("CIS EKS 4.4.1",),
    fix="Read it from Secrets Manager when the program starts, or use valueFrom.",
    risk=(
        "The password is readable in configuration and error reports, and whoever sees it can use it"
        " unnoticed until somebody changes it"
    ),
    url="https://kubernetes.io/docs/concepts/security/secrets-good-practices/",
)
def no_secret_in_pod(props: Props) -> Iterator[str]:
    """Neither by name nor by form; unknown values are references."""
    from pulumi_policy.proxy import UnknownValueError

    for _, container in containers(props):
        for variable in listed(container.get("env")):
            try:
                value = variable.get("value")
            except UnknownValueError:
                continue
            if looks_secret(str(variable.get("name")), value):
                yield f"The variable {variable.get('name')} seems to contain a secret"


@KUBERNETES.resource(
    "k8s-no-secret-object",
    "The program writes no secret into the cluster",
    "kubernetes:core/v1:Secret",
    severity="high",
    law=("GDPR 32(1)(b)", "SOC 2 CC6.1"),
    rules=("CIS EKS 4.4.2",),
    fix="Let the pod read it from Secrets Manager with its role (EKS Pod Identity).",
    risk=(
        "The password is kept in the deployment's files and within reach of every program nearby, so that a"
        " single leak exposes it"
    ),
    url="https://docs.aws.amazon.com/eks/latest/userguide/manage-secrets.html",
)
def no_secret_object(props: Props) -> Iterator[str]:
    """Secrets that contain data."""
    for key in ("data", "stringData"):
        if given(props, key) and len(props[key]):
            yield f"{key} is in the program's state, and any pod of the namespace may mount it"


@KUBERNETES.resource(
    "k8s-pod-security",
    "Namespaces enforce a pod security standard",
    "kubernetes:core/v1:Namespace",
    severity="high",
    rules=("CIS EKS 4.2.1",),
    fix="Label the namespace pod-security.kubernetes.io/enforce: restricted (privileged needs a waiver).",
    risk="Anyone who may start a program here can start one that takes over the machine, and nothing stops it",
    url="https://kubernetes.io/docs/concepts/security/pod-security-admission/",
)
def pod_security(props: Props) -> Iterator[str]:
    """Baseline at least."""
    level = (at(props, "metadata.labels") or {}).get("pod-security.kubernetes.io/enforce")
    if level not in ("restricted", "baseline"):
        yield f"The namespace {f'allows {level} pods' if level else 'enforces no pod security standard'}"


def _by_namespace(stack: Stack, kind: str, name: str = "") -> set[str]:
    found = [item for item in stack.items if item.type.startswith("kubernetes:") and item.type.endswith(f":{kind}")]
    return {
        str(at(item.props, "metadata.namespace"))
        for item in found
        if not name or at(item.props, "metadata.name") == name
    }


def _namespaces(stack: Stack) -> Iterator[tuple[Item, str]]:
    for item in stack.items:
        if item.type == "kubernetes:core/v1:Namespace":
            yield item, str(at(item.props, "metadata.name") or item.name)


@KUBERNETES.stack(
    "k8s-namespace-closed",
    "Namespaces deny traffic by default",
    severity="high",
    rules=("CIS EKS 4.3.2",),
    fix="Create a NetworkPolicy with an empty podSelector, both policy types and no rules.",
    risk="An intruder in one program can reach every other one, and can send stolen data anywhere on the internet",
    url="https://kubernetes.io/docs/concepts/services-networking/network-policies/#default-policies",
)
def namespace_closed(stack: Stack) -> Iterator[tuple[str, str]]:
    """A policy that selects every pod and allows nothing."""
    closed = {
        str(at(item.props, "metadata.namespace"))
        for item in stack.items
        if item.type == "kubernetes:networking.k8s.io/v1:NetworkPolicy"
        and not at(item.props, "spec.podSelector.matchLabels")
        and {"Ingress", "Egress"} <= set(listed(at(item.props, "spec.policyTypes")))
        and not (at(item.props, "spec.ingress") or at(item.props, "spec.egress"))
    }
    for item, name in _namespaces(stack):
        if name not in closed:
            yield item.urn, "Its pods may connect to everything, and everything to them"


@KUBERNETES.stack(
    "k8s-namespace-quota",
    "Namespaces have a quota",
    severity="low",
    law=("SOC 2 A1.1",),
    fix="Create a ResourceQuota.",
    risk=(
        "One team's mistake can use up everybody's capacity, so that other teams' services stop and costs"
        " grow unnoticed"
    ),
    url="https://kubernetes.io/docs/concepts/policy/resource-quotas/",
)
def namespace_quota(stack: Stack) -> Iterator[tuple[str, str]]:
    """One each."""
    limited = _by_namespace(stack, "ResourceQuota")
    for item, name in _namespaces(stack):
        if name not in limited:
            yield item.urn, "One namespace may use up the whole cluster"


@KUBERNETES.resource(
    "k8s-service-internal",
    "Services are not exposed to the internet",
    "kubernetes:core/v1:Service",
    severity="high",
    law=("GDPR 32(1)(b)", "HIPAA 164.312(e)(1)", "SOC 2 CC6.6"),
    fix="Annotate it as internal, or use a ClusterIP.",
    risk=(
        "Strangers can reach a service that is meant for colleagues only, and try known flaws and guessed"
        " passwords on it"
    ),
    url="https://docs.aws.amazon.com/eks/latest/userguide/network-load-balancing.html",
)
def service_internal(props: Props) -> Iterator[str]:
    """A load balancer is public unless an annotation says otherwise."""
    annotations = at(props, "metadata.annotations") or {}
    if at(props, "spec.type") == "LoadBalancer" and not any(
        annotations.get(key) in ("true", "internal") for key in _INTERNAL
    ):
        yield "Its load balancer can be reached from the internet"


@KUBERNETES.resource(
    "k8s-rbac-narrow",
    "Roles in the cluster name what they allow",
    "kubernetes:rbac.authorization.k8s.io/v1:Role",
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole",
    severity="high",
    law=("GDPR 32(4)", "SOX 404", "SOC 2 CC6.3"),
    rules=("CIS EKS 4.1.3",),
    fix="Name verbs, resources and API groups.",
    risk=(
        "Whoever obtains this identity can do far more harm than its work requires, such as reading passwords"
        " or deleting services"
    ),
    url="https://kubernetes.io/docs/concepts/security/rbac-good-practices/",
)
def rbac_narrow(props: Props) -> Iterator[str]:
    """No star among verbs or resources."""
    for rule in listed(props.get("rules")):
        if "*" in listed(rule.get("verbs")) or "*" in listed(rule.get("resources")):
            yield "A rule allows everything"


@KUBERNETES.resource(
    "k8s-no-cluster-admin",
    "Nobody is bound to cluster-admin",
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding",
    "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding",
    severity="critical",
    law=("GDPR 32(4)", "SOX 404", "SOC 2 CC6.3"),
    rules=("CIS EKS 4.1.1",),
    fix="Bind a role that names what the work needs.",
    risk=(
        "One stolen account is enough to read, change or delete everything within its reach, and to cover the"
        " thief's tracks"
    ),
    url="https://kubernetes.io/docs/concepts/security/rbac-good-practices/",
)
def not_cluster_admin(props: Props) -> Iterator[str]:
    """By the name of the role."""
    if at(props, "roleRef.name") == "cluster-admin":
        yield "It grants full access to the cluster"
