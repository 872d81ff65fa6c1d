"""For each control that is mandatory for a stack under every regime: breaking the platform in the way it guards
against is detected.

The platform is that of a stack with every option. It is previewed once; a mutation changes, adds or removes what a
careless change of the program would, and the pack's own functions judge the result.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError, unknown_checking_proxy

from groundplan.engine.preview import UNKNOWN, preview
from policies.control import Control
from policies.controls import CONTROLS
from policies.settings import Settings, read_settings
from policies.stack import Item, Stack, UndecidedError
from tests import conftest
from tests.conftest import ROOT
from tests.unit.policies.test_policies import RESOURCES, STACKS
from tests.unit.policies.test_services import MORE, PAIRS, TOGETHER

SETTINGS = read_settings({"compliance": ["gdpr", "hipaa", "sox", "soc2"], "environment": "prod"}, None)
# Controls for what the platform does not have at all; other programs do, and tests/review/programs.py breaks them.
NOT_OURS = {
    "rds-cluster-encrypted",
    "ebs-volume-encrypted",
    "efs-encrypted",
    "redshift-encrypted",
    "cache-encrypted",
    "notebook-own-key",
    "cdn-https",
    "cache-tls",
    "listener-rule-tls",
    "no-literal-password",
    "glue-no-secret-in-arguments",
    "listener-tls",
    "redshift-private",
    "function-url-authenticated",
    "load-balancer-internal",
    "iam-no-access-keys",
    "iam-no-users",
    "iam-groups-not-users",
    "parameter-secure",
    "secret-not-in-program",
    "rds-cluster-password-managed",
    "efs-backed-up",
    "notebook-no-root",
    "notebook-no-internet",
    "k8s-no-secret-object",
    "feature-store-encrypted",
    "network-acl-closed",
    "transit-named",
    "password-policy-strong",
    "disks-encrypted-by-default",
    "ecs-not-privileged",
    "ecs-not-root",
    "ecs-own-namespaces",
    "ecs-read-only-root",
    "ecs-logged",
    "ecs-volume-tls",
    "ecs-no-public-ip",
    "ecs-platform-current",
    "ecs-insights",
    "ecs-exec-logged",
    "batch-not-privileged",
    "search-encrypted",
    "search-private",
    "search-tls",
    "search-audited",
    "stream-encrypted",
    "delivery-encrypted",
    "cluster-encrypted",
    "cluster-backed-up",
    "cluster-deletion-protected",
    "cluster-audited",
    "accelerator-encrypted",
    "copy-encrypted",
    "memory-tls",
    "copy-not-public",
    "service-private",
    "broker-audited",
    "warehouse-tls",
    "warehouse-audited",
    "warehouse-in-vpc",
    "glue-secured",
    "glue-security-complete",
    "glue-connection-no-secret",
    "emr-configured",
    "emr-security-complete",
    "transfer-no-ftp",
    "access-point-own-root",
    "desktop-encrypted",
    "model-agent-guarded",
    "model-own-key",
    "monitor-job-isolated",
    "lambda-layer-not-public",
    "function-url-origins",
    "api-tls",
    "workflow-logged",
    "graphql-logged",
    "graphql-authorized",
    "identity-pool-known-users",
    "cdn-tls-version",
    "cdn-origin-tls",
    "cdn-logged",
    "cdn-behind-firewall",
    "cdn-bucket-behind",
    "balancer-drops-bad-headers",
    "balancer-logged",
    "balancer-deletion-protected",
    "classic-listener-tls",
    "certificate-strong",
}


def unknown(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: unknown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unknown(item) for item in value]
    return UNKNOWN_STRING_VALUE if value == UNKNOWN else value


Resource = tuple[str, str, dict[str, Any], bool, str, Mapping[str, tuple[str, ...]]]


def platform() -> list[Resource]:
    config = conftest.everything()
    config["groundplan:objectives"] |= {"environment": "prod"}
    del config["groundplan:objectives"]["office_hours"]
    return [
        (item.type, item.name, unknown(item.inputs), item.protect, item.urn, item.references)
        for item in preview(ROOT, "prod", config=config)
    ]


def judged(control: Control, resources: list[Resource]) -> list[str]:
    stack = Stack(
        Item(kind, name, urn, unknown_checking_proxy(props), protect, references)
        for kind, name, props, protect, urn, references in resources
    )
    if control.stack_check:
        return list(_decided(control.stack_check(stack)))
    return [fault for item in stack.items if item.type in control.types for fault in _asked(control, item)]


def _decided(faults: Iterable[tuple[str, str]]) -> Iterator[str]:
    try:
        for _, fault in faults:
            yield fault
    except UndecidedError:  # the second pass of a review decides
        return


def _asked(control: Control, item: Item) -> list[str]:
    assert control.check is not None
    try:
        return list(control.check(item.props))
    except UnknownValueError:  # a pipeline's definition names subnets
        return []


def broken(control: Control, resources: list[Any]) -> list[Any]:
    """The platform with the control's own mistake in it."""
    made = copy.deepcopy(resources)
    if control.id in MUTATIONS:
        return MUTATIONS[control.id](made)
    if control.stack_check and control.id not in RESOURCES and control.id not in PAIRS:
        return _take_away(control, made)
    # The order in which a program makes resources is not fixed, and a control is not for each one of a type.
    for target in (item for item in made if item[0] in control.types and not judged(control, [item])):
        _break(control, target[0], target[2])
        if judged(control, [target]):
            break
    return made


def _break(control: Control, kind: str, inputs: dict[str, Any]) -> None:
    pairs = {**MORE, **PAIRS}
    if not control.path:  # what the control's own test has as bad
        bad = [props for of, props in pairs[control.id][1] if of == kind] if control.id in pairs else []
        inputs.clear()
        inputs.update(copy.deepcopy((RESOURCES[control.id][1] if control.id in RESOURCES else bad)[-1]))
        return
    *parents, last = control.path.split(".")
    place = inputs
    for part in parents:
        place = place.setdefault(part, {}) if not isinstance(place.get(part), list) else place[part][0]
    place.pop(last, None)
    if control.remedy:
        place[last] = "something else"


def _take_away(control: Control, found: list[Any]) -> list[Any]:
    """Without the resources that the control's test has in the good stack and not in the bad one."""
    good, bad = STACKS[control.id] if control.id in STACKS else TOGETHER[control.id][0]
    missing = {item[0] for item in good} - {item[0] for item in bad}
    return [item for item in found if item[0] not in missing]


def _without(kind: str) -> Callable[[list[Any]], list[Any]]:
    return lambda found: [item for item in found if not item[0].endswith(kind)]


def _changed(kind: str, change: Callable[[dict[str, Any]], Any], name: str = "") -> Callable[[list[Any]], list[Any]]:
    def apply(found: list[Any]) -> list[Any]:
        target = next(item for item in found if item[0].endswith(kind) and item[1].endswith(name))
        change(target[2])
        return found

    return apply


def _container(change: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda props: props["spec"]["template"]["spec"]["containers"][0].update(change)


def _pod(change: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda props: props["spec"]["template"]["spec"].update(change)


MUTATIONS: dict[str, Callable[[list[Any]], list[Any]]] = {
    "no-open-prefix-list": lambda found: [*found, *_open_to_a_list()],
    "s3-tls-only": _without(":BucketPolicy"),
    "s3-versioned": _without(":BucketVersioning"),
    "vpc-flow-logged": _without(":FlowLog"),
    "default-group-taken-over": _without(":DefaultSecurityGroup"),
    "backup-plan-present": _without(":Selection"),
    "s3-key-named": _without(":BucketServerSideEncryptionConfiguration"),
    "s3-public-access-block": _without(":BucketPublicAccessBlock"),
    "data-protected": lambda found: [(kind, name, props, False, *rest) for kind, name, props, _, *rest in found],
    "endpoint-canary": _changed("endpoint:Endpoint", lambda props: props.pop("deploymentConfig"), "real-time"),
    "s3-no-public-access": _changed(":BucketPublicAccessBlock", lambda props: props.update(blockPublicAcls=False)),
    "k8s-service-internal": _changed("v1:Service", lambda props: props["metadata"].pop("annotations")),
    "topic-has-dead-letters": lambda found: [
        item for item in found if not (item[0].endswith(":Topic") and str(item[2].get("name")).endswith(".dlq"))
    ],
    "endpoint-alarmed": _without(":MetricAlarm"),
    "k8s-namespace-closed": _changed(":NetworkPolicy", lambda props: props["spec"].update(ingress=[{}])),
    "k8s-image-signed": _without(":ClusterImagePolicy"),
    "k8s-rbac-narrow": _changed("v1:Role", lambda props: props["rules"][0].update(verbs=["*"])),
    "k8s-no-cluster-admin": _changed(":RoleBinding", lambda props: props["roleRef"].update(name="cluster-admin")),
    "spot-with-fallback": lambda found: [
        item for item in found if not (item[0].endswith(":NodePool") and "on-demand" in item[1])
    ],
    "lambda-not-public": _changed(
        ":Permission", lambda props: (props.update(principal="*"), props.pop("sourceAccount"), props.pop("sourceArn"))
    ),
    "lambda-caller-named": _changed(":Permission", lambda props: (props.pop("sourceAccount"), props.pop("sourceArn"))),
    "no-idle-accelerator": lambda found: [
        *found,
        ("aws:ec2/instance:Instance", "i", {"instanceType": "g5.xlarge"}, False, "urn::i", {}),
    ],
    "resources-in-one-law": _changed(":Vault", lambda props: props.update(region="us-east-1")),
    "endpoint-scales": _without(":Target"),
    "audit-log-locked": _without(":BucketObjectLockConfiguration"),
    "audit-lock-compliance": lambda found: [_governance(item) for item in found],
    "secret-rotates": lambda found: [*found, ("aws:secretsmanager/secret:Secret", "more", {}, True, "urn::more", {})],
    "k8s-limits": _changed("v1:Deployment", _container({"resources": {}})),
    "k8s-no-escalation": _changed("v1:Deployment", _container({"securityContext": {}})),
    "k8s-read-only": _changed("v1:Deployment", _container({"securityContext": {}})),
    "k8s-capabilities-dropped": _changed("v1:Deployment", _container({"securityContext": {}})),
    "k8s-no-privileged": _changed("v1:Deployment", _container({"securityContext": {"privileged": True}})),
    "k8s-not-root": _changed("v1:Deployment", _container({"securityContext": {"runAsUser": 0}})),
    "k8s-seccomp": _changed(
        "v1:Deployment", _container({"securityContext": {"seccompProfile": {"type": "Unconfined"}}})
    ),
    "k8s-image-fixed": _changed("v1:Deployment", _container({"image": "registry.k8s.io/pause:latest"})),
    "k8s-image-from-our-registry": _changed("v1:Deployment", _container({"image": "docker.io/x:1"})),
    "k8s-no-host": _changed("v1:Deployment", _pod({"hostNetwork": True})),
    "k8s-no-token": _changed(
        "v1:Deployment", _pod({"automountServiceAccountToken": True, "serviceAccountName": "default"})
    ),
    "k8s-probed": _changed(
        "v1:Deployment",
        lambda props: props["spec"]["template"]["spec"]["containers"][0].pop("readinessProbe", None),
        "mlflow",
    ),
    "k8s-no-secret-in-environment": _changed(
        "v1:Deployment", _container({"env": [{"name": "DB_PASSWORD", "value": "hunter2"}]})
    ),
}


def _open_to_a_list() -> list[Resource]:
    """A prefix list, and a rule that names it."""
    rule = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
    entries = {"entries": [{"cidr": "0.0.0.0/0"}]}
    inputs = {"ipProtocol": "-1", "prefixListId": UNKNOWN_STRING_VALUE}
    return [
        ("aws:ec2/managedPrefixList:ManagedPrefixList", "all", entries, False, "urn::all", {}),
        (rule, "open", inputs, False, "urn::open", {"prefixListId": ("urn::all",)}),
    ]


def _governance(item: Any) -> Any:
    if item[0].endswith(":BucketObjectLockConfiguration") and "audit" in str(item[2].get("bucket")):
        item[2]["rule"]["defaultRetention"]["mode"] = "GOVERNANCE"
    return item


def mandatory(settings: Settings) -> list[str]:
    return [
        control.id
        for control in CONTROLS.values()
        if settings.mandatory(control) and settings.applies(control) and control.id not in NOT_OURS
    ]


@pytest.fixture(scope="module")
def whole() -> list[Any]:
    return platform()


@pytest.mark.parametrize("name", mandatory(SETTINGS))
def test_breaking_the_platform_in_the_one_way_it_guards_against_is_found(name: str, whole: list[Any]) -> None:
    control = CONTROLS[name]
    before = judged(control, whole)
    assert len(judged(control, broken(control, whole))) > len(before), f"{name}: {before}"


def test_only_what_the_platform_does_not_have_is_left_out(whole: list[Any]) -> None:
    kinds = {item[0] for item in whole}
    for name in NOT_OURS:
        assert not set(CONTROLS[name].types) & kinds, name
