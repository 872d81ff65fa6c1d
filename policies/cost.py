"""Cost and ownership: everything can be charged to an owner, and nothing expensive runs unused."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pulumi_policy.proxy import UnknownValueError

from policies.control import ENDPOINT, ENDPOINT_CONFIGURATION, Family, at, given, listed
from policies.stack import Item, Props, Stack

COST = Family("cost and ownership", ("SOX 404", "SOC 2 CC1.3"))
REQUIRED_TAGS = ("Project", "Environment", "Owner")
_TAGGED = (
    "aws:s3/bucket:Bucket",
    "aws:kms/key:Key",
    "aws:rds/instance:Instance",
    "aws:dynamodb/table:Table",
    "aws:msk/cluster:Cluster",
    "aws:msk/serverlessCluster:ServerlessCluster",
    "aws:sagemaker/endpoint:Endpoint",
    "aws:sagemaker/model:Model",
    "aws:iam/role:Role",
    "aws:eks/cluster:Cluster",
    "aws:eks/nodeGroup:NodeGroup",
    "aws:ec2/instance:Instance",
    "aws:ec2/vpc:Vpc",
    "aws:lambda/function:Function",
)
_ACCELERATED = re.compile(r"^(ml\.)?(p\d|g\d|gr\d|inf\d|trn\d|dl\d)")
# Large instances are requested deliberately, not by accident.
_ALLOWED_SIZES = re.compile(r"\.(nano|micro|small|medium|large|xlarge|2xlarge|4xlarge)$")
_OLD = re.compile(r"^(ml\.|db\.|cache\.|kafka\.)?(m[1-4]|c[1-4]|r[1-4]|t[12])\.")


@COST.resource(
    "tagged",
    "Billed resources are tagged with project, environment and owner",
    *_TAGGED,
    severity="medium",
    fix="Set tags with Project, Environment and Owner, or have the provider add them (default_tags).",
    risk="Costs and incidents can't be assigned to anybody, and what nobody owns is neither maintained nor deleted",
    url="https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/cost-alloc-tags.html",
)
def tagged(props: Props) -> Iterator[str]:
    """The required tags exist."""
    tags = props.get("tags") or {}
    if missing := [tag for tag in REQUIRED_TAGS if not given(tags, tag) or tags[tag] == ""]:
        yield f"The tags {', '.join(missing)} are missing"


@COST.stack(
    "budget-present",
    "The environment has a budget",
    beside=("aws:budgets/budget:Budget",),
    severity="medium",
    fix="Create a monthly cost budget.",
    risk="Overspending, by mistake or by an intruder, is noticed only when the bill arrives",
    url="https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-managing-costs.html",
)
def budget_present(stack: Stack) -> Iterator[tuple[str, str]]:
    """At least one, where anything of AWS is made."""
    if any(item.type.startswith("aws:") for item in stack.items) and not any(stack.of("aws:budgets/budget:Budget")):
        yield "", "Nobody is told what it costs"


@COST.resource(
    "budget-alerts",
    "Budgets have recipients",
    "aws:budgets/budget:Budget",
    severity="medium",
    fix="Add notifications with addresses or a topic.",
    risk="The budget is exceeded and nobody is told, so that the spending goes on",
    url="https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-create.html",
)
def budget_alerts(props: Props) -> Iterator[str]:
    """A notification with a recipient."""
    told = [
        n
        for n in listed(props.get("notifications"))
        if given(n, "subscriberEmailAddresses") or given(n, "subscriberSnsTopicArns")
    ]
    if not told:
        yield "Nobody is notified when it is exceeded"


def _types(props: Props) -> list[str]:
    found = [props[key] for key in ("instanceType", "instanceClass", "nodeType") if given(props, key)] + listed(
        props.get("instanceTypes")
    )
    found += [
        variant["instanceType"] for variant in listed(props.get("productionVariants")) if variant.get("instanceType")
    ]
    return [str(kind) for kind in found]


@COST.resource(
    "instance-size-allowed",
    "Instances are not larger than 4xlarge",
    "aws:ec2/instance:Instance",
    "aws:rds/instance:Instance",
    "aws:eks/nodeGroup:NodeGroup",
    ENDPOINT_CONFIGURATION,
    "aws:sagemaker/notebookInstance:NotebookInstance",
    severity="medium",
    fix="Use a smaller one, or have the budget's owner waive it.",
    risk="A large machine started by mistake can cost thousands a month until somebody notices",
    url="https://docs.aws.amazon.com/wellarchitected/latest/cost-optimization-pillar/select-the-correct-resource-type-size-and-number.html",
)
def size_allowed(props: Props) -> Iterator[str]:
    """By the last part of the type's name."""
    for kind in _types(props):
        if not _ALLOWED_SIZES.search(kind):
            yield f"{kind} is larger than what is allowed without a waiver"


@COST.resource(
    "instance-not-outdated",
    "Instances are of a current generation",
    "aws:ec2/instance:Instance",
    "aws:rds/instance:Instance",
    "aws:eks/nodeGroup:NodeGroup",
    ENDPOINT_CONFIGURATION,
    "aws:sagemaker/notebookInstance:NotebookInstance",
    severity="low",
    fix="Use the current generation of the same family.",
    risk="Older machines cost more for the same work, and AWS may retire them or run short of them",
    url="https://aws.amazon.com/ec2/previous-generation/",
)
def not_outdated(props: Props) -> Iterator[str]:
    """Newer ones do more for less money."""
    for kind in _types(props):
        if _OLD.match(kind):
            yield f"{kind} is of a previous generation"


@COST.stack(
    "no-idle-accelerator",
    "No accelerator idles outside production",
    severity="medium",
    fix="Use spot nodes that start on demand (Karpenter), a serverless endpoint, or a smaller type.",
    risk="Machines for machine learning, among the dearest there are, are paid for while nobody uses them",
    url="https://docs.aws.amazon.com/wellarchitected/latest/machine-learning-lens/cost-optimization-pillar.html",
)
def no_idle_accelerator(stack: Stack) -> Iterator[tuple[str, str]]:
    """Instances, node groups and endpoints with accelerators that stand there at all times, in a stack whose tags
    don't say production.
    """
    for item in stack.items:
        if not item.type.startswith("aws:") or item.type == "aws:ec2/launchTemplate:LaunchTemplate":
            continue
        accelerated = [kind for kind in _known_types(item.props) if _ACCELERATED.match(kind)]
        never_less = at(item.props, "scalingConfig.minSize")
        if (
            accelerated
            and never_less != 0
            and not str((item.props.get("tags") or {}).get("Environment", "")).startswith("prod")
        ):
            yield item.urn, f"{', '.join(accelerated)} runs day and night"


def _known_types(props: Props) -> list[str]:
    try:
        return _types(props)
    except UnknownValueError:
        return []


@COST.stack(
    "spot-with-fallback",
    "Pools of GPU nodes use spot, and fall back to on-demand",
    beside=("kubernetes:karpenter.sh/v1:NodePool",),
    severity="low",
    fix="Give a NodePool of capacity type spot the greater weight, and an on-demand one the lesser.",
    risk="Work pays the full price without need, or stops when AWS takes the discounted machines back",
    url="https://karpenter.sh/docs/concepts/nodepools/",
)
def spot_with_fallback(stack: Stack) -> Iterator[tuple[str, str]]:
    """By the requirements on karpenter.sh/capacity-type of all pools with a taint for GPUs."""
    gpu = [
        item
        for item in stack.of("kubernetes:karpenter.sh/v1:NodePool")
        if any("gpu" in str(taint.get("key")) for taint in listed(at(item.props, "spec.template.spec.taints")))
    ]
    kinds = {str(value) for item in gpu for value in _capacity_types(item)}
    if gpu and kinds != {"spot", "on-demand"}:
        yield gpu[0].urn, f"GPU nodes are {' and '.join(sorted(kinds)) or 'of no capacity type'} only"


def _capacity_types(item: Item) -> list[str]:
    requirements = listed(at(item.props, "spec.template.spec.requirements"))
    return [
        value for r in requirements if r.get("key") == "karpenter.sh/capacity-type" for value in listed(r.get("values"))
    ]


@COST.resource(
    "nodepool-limited",
    "Pools of nodes have a limit",
    "kubernetes:karpenter.sh/v1:NodePool",
    severity="medium",
    fix="Set spec.limits.",
    risk="A faulty program or an intruder can start, and have billed, any number of machines",
    url="https://karpenter.sh/docs/concepts/nodepools/#speclimits",
)
def pool_limited(props: Props) -> Iterator[str]:
    """A loop in a workload must not buy nodes without limit."""
    if not at(props, "spec.limits"):
        yield "It may start any number of nodes"


@COST.resource(
    "athena-scan-limited",
    "Queries have a scan limit",
    "aws:athena/workgroup:Workgroup",
    severity="medium",
    fix="Set configuration.bytes_scanned_cutoff_per_query.",
    risk="A careless query may read all stored data, and every byte that is read is billed",
    url="https://docs.aws.amazon.com/athena/latest/ug/workgroups-setting-control-limits-cloudwatch.html",
)
def scan_limited(props: Props) -> Iterator[str]:
    """Bytes a query may scan."""
    if not at(props, "configuration.bytesScannedCutoffPerQuery"):
        yield "One query may scan, and bill, the whole lake"


@COST.resource(
    "volume-gp3",
    "Volumes are gp3, which costs a fifth less than gp2",
    "aws:ebs/volume:Volume",
    "aws:rds/instance:Instance",
    "aws:ec2/instance:Instance",
    severity="low",
    fix="Use gp3.",
    risk="Disks may cost a quarter more than they must, and small ones are slower as well",
    url="https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html",
)
def volume_gp3(props: Props) -> Iterator[str]:
    """For every volume."""
    for kind in (props.get("type"), props.get("storageType"), at(props, "rootBlockDevice.volumeType")):
        if kind == "gp2":
            yield "The volume is gp2"


@COST.each(
    "endpoint-scales",
    "Real-time endpoints scale with their load",
    ENDPOINT_CONFIGURATION,
    beside=(
        "aws:appautoscaling/target:Target",
        "aws:sagemaker/endpoint:Endpoint",
    ),
    severity="low",
    fix="Register the variant with Application Auto Scaling.",
    risk="Requests fail or wait at busy times, and machines without work are paid for at quiet ones",
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling.html",
)
def endpoint_scales(configuration: Item, stack: Stack) -> Iterator[str]:
    """A target of Application Auto Scaling names the endpoint, or comes from its configuration."""
    if all(given(variant, "serverlessConfig") for variant in listed(configuration.props.get("productionVariants"))):
        return
    target = "aws:appautoscaling/target:Target"
    endpoints = stack.companions(configuration, ENDPOINT, "endpointConfigName")
    if not (
        stack.companions(configuration, target, "resourceId")
        or any(stack.companions(endpoint, target, "resourceId") for endpoint in endpoints)
        or any(_names(item, endpoint) for item in stack.of(target) for endpoint in endpoints)
    ):
        yield "It has as many instances at night as at noon"


def _names(target: Item, endpoint: Item) -> bool:
    """Whether ``endpoint/NAME/variant/VARIANT`` is the endpoint's."""
    try:
        parts = str(target.props.get("resourceId")).split("/")
        return len(parts) == 4 and parts[1] == endpoint.props.get("name")
    except UnknownValueError:
        return False
