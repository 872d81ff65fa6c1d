"""What a program's resources cost a month, at list prices, where the program contains enough to compute it.

A stack with objectives is priced by its design, which includes the usage; any other program by what it creates.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from groundplan.engine.unknown import UNKNOWN
from groundplan.review.model import CostLine, Estimate, Resource
from infra.design.price_book import SPOT_SHARE, PriceBook

if TYPE_CHECKING:  # they take a while to import, and only a stack with objectives needs them
    from infra.design import Design
    from spec.objectives import Objectives

Inputs = Mapping[str, Any]
_ROOT_GIB = 8
# Types that cost nothing by themselves.
_FREE = (
    "aws:iam/",
    "aws:vpc/",
    "aws:ec2/vpc:",
    "aws:ec2/subnet:",
    "aws:ec2/routeTable",
    "aws:ec2/route:",
    "aws:ec2/internetGateway",
    "aws:ec2/securityGroup",
    "aws:ec2/defaultSecurityGroup",
    "aws:ec2/launchTemplate",
    "aws:ec2/flowLog",
    "aws:ec2/networkAcl",
    "aws:ec2/keyPair",
    "aws:ec2/mainRouteTable",
    "aws:s3/bucketPublicAccessBlock",
    "aws:s3/bucketPolicy",
    "aws:s3/bucketVersioning",
    "aws:s3/bucketServerSide",
    "aws:s3/bucketLifecycle",
    "aws:s3/bucketOwnership",
    "aws:s3/bucketAcl",
    "aws:s3/bucketObjectLock",
    "aws:s3/bucketReplication",
    "aws:s3/bucketNotification",
    "aws:kms/alias",
    "aws:eks/addon",
    "aws:eks/access",
    "aws:eks/podIdentity",
    "aws:appautoscaling/",
    "aws:rds/subnetGroup",
    "aws:rds/parameterGroup",
    "aws:sns/topicPolicy",
    "aws:sns/topicSubscription",
    "aws:sqs/queuePolicy",
    "aws:budgets/",
    "aws:costexplorer/",
    "aws:cloudwatch/eventRule",
    "aws:cloudwatch/eventTarget",
    "aws:lambda/permission",
    "aws:lb/listener",
    "aws:lb/targetGroup",
    "aws:ecr/lifecyclePolicy",
    "aws:msk/configuration",
    "aws:msk/topic",
    "aws:glue/catalog",
    "aws:glue/registry",
    "aws:glue/schema",
    "aws:athena/",
    "aws:sagemaker/model:",
    "aws:sagemaker/endpoint:",
    "aws:sagemaker/pipeline",
    "aws:sagemaker/userProfile",
    "aws:backup/plan",
    "aws:backup/selection",
    "aws:backup/vault:",
    "aws:scheduler/scheduleGroup",
    "aws:secretsmanager/secretRotation",
    "aws:secretsmanager/secretVersion",
    "aws:amp/rule",
    "aws:amp/alert",
    "pulumi:",
    "pulumi-python:",
    "kubernetes:",
)
# Types that are billed by usage, which a program does not state.
_BY_USE = (
    "aws:s3/bucket:",
    "aws:s3/bucketV2:",
    "aws:s3/bucketObject",
    "aws:lambda/function",
    "aws:sns/topic:",
    "aws:sqs/queue:",
    "aws:ecr/repository",
    "aws:cloudwatch/logGroup",
    "aws:apigateway",
    "aws:cloudtrail/",
    "aws:guardduty/",
    "aws:securityhub/",
    "aws:cfg/",
    "aws:scheduler/schedule:",
    "aws:codebuild/",
    "aws:amp/workspace",
    "aws:sagemaker/domain",
    "aws:sagemaker/featureGroup",
    "aws:sfn/",
    "aws:cloudfront/",
    "aws:ec2/eip:",
    "aws:kinesis/",
)


def of_design(plan: Design, wanted: Objectives, prices: PriceBook) -> Estimate:
    """By layer and model, against the budget of the objectives."""
    lines = tuple(
        CostLine(d.layer, round(d.monthly_usd, 2), d.model) for d in plan.decisions if abs(d.monthly_usd) >= 0.005
    )
    return Estimate("design", lines, prices.as_of, prices.region, wanted.budget.monthly_usd)


def monthly_usd(type_: str, inputs: Inputs, prices: PriceBook) -> float | None:
    """What one resource costs by itself; None where it depends on usage."""
    price = _PRICES.get(type_)
    if price is not None:
        return price(inputs, prices)
    return 0.0 if type_.startswith(_FREE) else None


def of_resources(resources: tuple[Resource, ...], prices: PriceBook) -> Estimate:
    """By type of resource."""
    totals: defaultdict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    by_use: Counter[str] = Counter()
    for resource in resources:
        if not resource.custom:
            continue
        price = _PRICES.get(resource.type)
        usd = price(resource.inputs, prices) if price else None
        if usd is not None:
            totals[resource.type] += usd
            counts[resource.type] += 1
        elif resource.type.startswith(_BY_USE) or (price is None and resource.type == "aws:dynamodb/table:Table"):
            by_use[resource.type] += 1
        elif price is not None or not resource.type.startswith(_FREE):
            unknown[resource.type] += 1
    lines = tuple(
        CostLine(f"{counts[kind]} x {kind}", round(usd, 2))
        for kind, usd in sorted(totals.items(), key=lambda item: -item[1])
    )
    return Estimate(
        "resources",
        lines,
        prices.as_of,
        prices.region,
        None,
        tuple(sorted(unknown.items())),
        tuple(sorted(by_use.items())),
    )


def _hourly(book: PriceBook, service: str, item: Any, count: float = 1) -> float | None:
    return book.hourly(service, str(item), count) if (service, str(item)) in book.services else None


def _number(value: Any, default: float) -> float:
    return (
        float(value)
        if isinstance(value, (int, float)) or (isinstance(value, str) and value.replace(".", "", 1).isdigit())
        else default
    )


def _instance(inputs: Inputs, book: PriceBook) -> float | None:
    hourly = _hourly(book, "ec2", inputs.get("instanceType"))
    size = _number((inputs.get("rootBlockDevice") or {}).get("volumeSize"), _ROOT_GIB)
    return None if hourly is None else hourly + book.per_unit("ec2", "ebs-gp3", size)


def _volume(inputs: Inputs, book: PriceBook) -> float | None:
    return (
        book.per_unit("ec2", "ebs-gp3", _number(inputs.get("size"), 0))
        if inputs.get("size") not in (None, UNKNOWN)
        else None
    )


def _database(inputs: Inputs, book: PriceBook) -> float | None:
    copies = 2 if inputs.get("multiAz") is True else 1
    hourly = _hourly(book, "rds", inputs.get("instanceClass"), copies)
    return (
        None
        if hourly is None
        else hourly + book.per_unit("rds", "storage-gp3", copies * _number(inputs.get("allocatedStorage"), 20))
    )


def _nodes(inputs: Inputs, book: PriceBook) -> float | None:
    kinds = inputs.get("instanceTypes") or ["t3.medium"]
    count = _number((inputs.get("scalingConfig") or {}).get("desiredSize"), 1)
    hourly = _hourly(book, "ec2", kinds[0], count) if isinstance(kinds, list) else None
    return None if hourly is None else hourly * (SPOT_SHARE if inputs.get("capacityType") == "SPOT" else 1)


def _endpoint(inputs: Inputs, book: PriceBook) -> float | None:
    total = 0.0
    for variant in inputs.get("productionVariants") or []:
        if "serverlessConfig" in variant:
            continue
        hourly = _hourly(
            book, "sagemaker", variant.get("instanceType"), _number(variant.get("initialInstanceCount"), 1)
        )
        if hourly is None:
            return None
        total += hourly
    return total


def _kafka(inputs: Inputs, book: PriceBook) -> float | None:
    group = inputs.get("brokerNodeGroupInfo") or {}
    brokers = _number(inputs.get("numberOfBrokerNodes"), 1)
    hourly = _hourly(book, "msk", group.get("instanceType"), brokers)
    storage = ((group.get("storageInfo") or {}).get("ebsStorageInfo") or {}).get("volumeSize")
    return None if hourly is None else hourly + book.per_unit("msk", "storage", brokers * _number(storage, 0))


def _interface(inputs: Inputs, book: PriceBook) -> float | None:
    if inputs.get("vpcEndpointType", "Gateway") == "Gateway":
        return 0.0
    subnets = inputs.get("subnetIds")
    return _hourly(book, "ec2", "interface-endpoint", len(subnets) if isinstance(subnets, list) else 1)


def _table(inputs: Inputs, book: PriceBook) -> float | None:
    if inputs.get("billingMode", "PROVISIONED") == "PAY_PER_REQUEST":
        return None
    reads = _hourly(book, "dynamodb", "rcu", _number(inputs.get("readCapacity"), 1)) or 0.0
    return reads + (_hourly(book, "dynamodb", "wcu", _number(inputs.get("writeCapacity"), 1)) or 0.0)


def _fixed(service: str, item: str, *, hourly: bool) -> Callable[[Inputs, PriceBook], float | None]:
    return lambda inputs, book: _hourly(book, service, item) if hourly else book.per_unit(service, item)


_PRICES: dict[str, Callable[[Inputs, PriceBook], float | None]] = {
    "aws:ec2/instance:Instance": _instance,
    "aws:ebs/volume:Volume": _volume,
    "aws:ec2/natGateway:NatGateway": _fixed("ec2", "nat-gateway", hourly=True),
    "aws:ec2/vpcEndpoint:VpcEndpoint": _interface,
    "aws:lb/loadBalancer:LoadBalancer": _fixed("elb", "alb", hourly=True),
    "aws:alb/loadBalancer:LoadBalancer": _fixed("elb", "alb", hourly=True),
    "aws:eks/cluster:Cluster": _fixed("eks", "cluster", hourly=True),
    "aws:eks/nodeGroup:NodeGroup": _nodes,
    "aws:rds/instance:Instance": _database,
    "aws:msk/cluster:Cluster": _kafka,
    "aws:msk/serverlessCluster:ServerlessCluster": _fixed("msk", "serverless-cluster", hourly=True),
    "aws:kms/key:Key": _fixed("kms", "key", hourly=False),
    "aws:kms/replicaKey:ReplicaKey": _fixed("kms", "key", hourly=False),
    "aws:secretsmanager/secret:Secret": _fixed("secretsmanager", "secret", hourly=False),
    "aws:cloudwatch/metricAlarm:MetricAlarm": _fixed("cloudwatch", "alarm", hourly=False),
    "aws:cloudwatch/dashboard:Dashboard": _fixed("cloudwatch", "dashboard", hourly=False),
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": _endpoint,
    "aws:sagemaker/notebookInstance:NotebookInstance": lambda inputs, book: _hourly(
        book, "sagemaker", inputs.get("instanceType")
    ),
    "aws:dynamodb/table:Table": _table,
}
