"""What a resource costs a month by what the program says of it: sizes, numbers, IOPS, throughput, copies.

Prices are AWS's list prices; what depends on usage (requests, stored bytes, traffic) is no part of them. The rules of
billing are those of each service's pricing page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from groundplan.engine.unknown import UNKNOWN
from groundplan.review.model import Resource
from infra.design.price_book import HOURS_PER_MONTH, UNKNOWN_SPOT, PriceBook

Inputs = Mapping[str, Any]
_ROOT_GIB, _NODE_GIB = 8, 20  # where the program says nothing of a disk
_GP3_IOPS, _GP3_MIBPS = 3000, 125  # included
_RDS_LARGE_GIB, _RDS_LARGE_IOPS, _RDS_LARGE_MIBPS = 400, 12_000, 500  # included from this size on
_MONITORED_METRICS = 7  # that detailed monitoring of an instance sends
_FARGATE_STORAGE_GIB = 20  # included
_OPEN_ENGINES = ("postgres", "mysql", "mariadb")  # others need a licence, which is priced by itself
_LAUNCH_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
_LAUNCH_CONFIGURATION = "aws:ec2/launchConfiguration:LaunchConfiguration"
_TASK = "aws:ecs/taskDefinition:TaskDefinition"


class _NotPricedError(Exception):
    """The price needs a value or a figure that is not known."""


@dataclass(frozen=True)
class Priced:
    """A resource whose price is asked for, among those of its program."""

    inputs: Inputs
    book: PriceBook
    dependencies: tuple[str, ...] = ()
    by_urn: Mapping[str, Resource] = field(default_factory=dict)

    def hourly(self, service: str, item: Any, count: float = 1) -> float:
        """USD a month of what is billed by the hour."""
        return self._found(service, item) * HOURS_PER_MONTH * count

    def monthly(self, service: str, item: Any, quantity: float = 1) -> float:
        """USD a month of what is billed by quantity."""
        return self._found(service, item) * quantity

    def spot_share(self, instance_type: Any) -> float:
        """What spare capacity costs, as a share of the price on demand."""
        return self.book.spot_share(str(instance_type))

    def _found(self, service: str, item: Any) -> float:
        usd = self.book.find(service, str(item)) if item not in (None, UNKNOWN) else None
        if usd is None:
            raise _NotPricedError
        return usd

    def other(self, resource_type: str) -> Priced | None:
        """The resource of a type that this one comes from."""
        for urn in self.dependencies:
            found = self.by_urn.get(urn)
            if found is not None and found.type == resource_type:
                return Priced(found.inputs, self.book, tuple(found.dependencies), self.by_urn)
        return None


def monthly_usd(resource_type: str, asked: Priced) -> float | None:
    """What one resource costs by itself; None where that depends on usage, or on what is not known.

    Raises:
        KeyError: There is no rule for the type.
    """
    try:
        return PRICES[resource_type](asked)
    except _NotPricedError:
        return None


def _number(inputs: Inputs, key: str, default: float) -> float:
    value = inputs.get(key, default)
    if isinstance(value, bool) or value is None:
        return default
    if isinstance(value, (int, float)):
        return float(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise _NotPricedError from None


def _block(inputs: Inputs, key: str) -> Inputs:
    value = inputs.get(key)
    if value == UNKNOWN:
        raise _NotPricedError
    if isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, Mapping) else {}


def _list(inputs: Inputs, key: str) -> list[Any]:
    value = inputs.get(key)
    if value == UNKNOWN:
        raise _NotPricedError
    return value if isinstance(value, list) else []


# Machines and their disks.


def _disk(asked: Priced, disk: Inputs, *, size: float, kind: str, size_key: str = "volumeSize") -> float:
    """A volume of EBS: its size, and the IOPS and throughput beyond what is included.

    https://aws.amazon.com/ebs/pricing/
    """
    kind = str(disk.get("volumeType") or disk.get("type") or kind)
    total = asked.monthly("ec2", f"ebs-{kind}", _number(disk, size_key, size))
    iops, throughput = _number(disk, "iops", 0), _number(disk, "throughput", 0)
    if kind == "gp3":
        total += asked.monthly("ec2", "ebs-gp3-iops", max(0.0, iops - _GP3_IOPS))
        total += asked.monthly("ec2", "ebs-gp3-throughput", max(0.0, throughput - _GP3_MIBPS))
    elif kind == "io1":
        total += asked.monthly("ec2", "ebs-io1-iops", iops)
    elif kind == "io2":
        total += asked.monthly("ec2", "ebs-io2-iops", min(iops, 32_000))
        total += asked.monthly("ec2", "ebs-io2-iops-32000", min(max(0.0, iops - 32_000), 32_000))
        total += asked.monthly("ec2", "ebs-io2-iops-64000", max(0.0, iops - 64_000))
    return total


def _volume(asked: Priced) -> float:
    inputs = asked.inputs
    if inputs.get("size") in (None, UNKNOWN):  # as large as the snapshot
        raise _NotPricedError
    return _disk(asked, inputs, size=0, kind="gp2", size_key="size")


def _machine(asked: Priced) -> float:
    """An instance, its disks, and its detailed monitoring; what it doesn't say its launch template says."""
    inputs, template = asked.inputs, asked.other(_LAUNCH_TEMPLATE)
    given = template.inputs if template is not None else {}
    if inputs.get("tenancy") not in (None, "default"):
        raise _NotPricedError
    market = _block({**given, **inputs}, "instanceMarketOptions").get("marketType")
    kind = inputs.get("instanceType") or given.get("instanceType")
    spare = market == "spot" or inputs.get("spotType") or inputs.get("spotPrice")
    total = (asked.spot_share(kind) if spare else 1.0) * asked.hourly("ec2", kind)
    total += _template_disks(asked, given)
    if inputs.get("rootBlockDevice") or not _list(given, "blockDeviceMappings"):
        total += _disk(asked, _block(inputs, "rootBlockDevice"), size=_ROOT_GIB, kind="gp3")
    if inputs.get("associatePublicIpAddress") is True:
        total += asked.hourly("ec2", "public-ipv4")
    for disk in _list(inputs, "ebsBlockDevices"):
        total += _disk(asked, disk, size=_ROOT_GIB, kind="gp2")
    if inputs.get("monitoring") is True or _watched(given):
        total += asked.monthly("cloudwatch", "metric", _MONITORED_METRICS)
    return total


def _template_disks(asked: Priced, template: Inputs) -> float:
    disks = [_block(mapping, "ebs") for mapping in _list(template, "blockDeviceMappings")]
    return sum(_disk(asked, disk, size=_ROOT_GIB, kind="gp2") for disk in disks if disk)


def _group(asked: Priced) -> float:
    """As many machines as it starts with; of a mixed group those that are not on demand are spot."""
    inputs = asked.inputs
    count = _number(inputs, "desiredCapacity", _number(inputs, "minSize", 1))
    configuration = asked.other(_LAUNCH_CONFIGURATION)
    if configuration is not None:
        watched = configuration.inputs.get("enableMonitoring", True)  # in detail, unless told otherwise
        return count * _machine(Priced({**configuration.inputs, "monitoring": watched}, asked.book))
    mixed = _block(inputs, "mixedInstancesPolicy")
    template = asked.other(_LAUNCH_TEMPLATE)
    overrides = _list(_block(mixed, "launchTemplate"), "overrides")
    if template is None and not overrides:
        raise _NotPricedError
    given = template.inputs if template is not None else {}
    kind = (overrides[0].get("instanceType") if overrides else None) or given.get("instanceType")
    hourly = asked.hourly("ec2", kind)
    share = 1.0
    if mixed:
        spread = _block(mixed, "instancesDistribution")
        fixed = min(count, _number(spread, "onDemandBaseCapacity", 0))
        above = _number(spread, "onDemandPercentageAboveBaseCapacity", 100) / 100
        on_demand = fixed + (count - fixed) * above
        share = (on_demand + (count - on_demand) * asked.spot_share(kind)) / count if count else 0.0
    elif _block(given, "instanceMarketOptions").get("marketType") == "spot":
        share = asked.spot_share(kind)
    watched = asked.monthly("cloudwatch", "metric", _MONITORED_METRICS) if _watched(given) else 0.0
    return count * (share * hourly + _template_disks(asked, given) + watched)


def _watched(template: Inputs) -> bool:
    """Whether its machines are monitored in detail."""
    return _block(template, "monitoring").get("enabled") is True


def _nodes(asked: Priced) -> float:
    """The nodes of a managed group with their disks."""
    inputs = asked.inputs
    count = _number(_block(inputs, "scalingConfig"), "desiredSize", 1)
    template = asked.other(_LAUNCH_TEMPLATE)
    given = template.inputs if template is not None else {}
    kinds = _list(inputs, "instanceTypes") or [given.get("instanceType") or "t3.medium"]
    share = asked.spot_share(kinds[0]) if inputs.get("capacityType") == "SPOT" else 1.0
    if template is not None and given.get("blockDeviceMappings"):
        disk = _template_disks(asked, given)
    else:
        disk = _disk(asked, {"volumeSize": _number(inputs, "diskSize", _NODE_GIB)}, size=_NODE_GIB, kind="gp3")
    return count * (share * asked.hourly("ec2", kinds[0]) + disk)


def _service(asked: Priced) -> float:
    """Tasks on Fargate; those on machines cost what the machines cost.

    https://aws.amazon.com/fargate/pricing/
    """
    inputs = asked.inputs
    strategies = [item for item in _list(inputs, "capacityProviderStrategies") if isinstance(item, Mapping)]
    providers = [str(item.get("capacityProvider")) for item in strategies]
    task = asked.other(_TASK)
    if inputs.get("launchType") != "FARGATE" and not any(name.startswith("FARGATE") for name in providers):
        compatible = _list(task.inputs, "requiresCompatibilities") if task else []
        if inputs.get("launchType") or providers or compatible != ["FARGATE"]:
            return 0.0
    if task is None:
        raise _NotPricedError
    arm = _block(task.inputs, "runtimePlatform").get("cpuArchitecture") == "ARM64"
    kind = "arm" if arm else "x86"
    count = _number(inputs, "desiredCount", 0)
    more = max(0.0, _number(_block(task.inputs, "ephemeralStorage"), "sizeInGib", 0) - _FARGATE_STORAGE_GIB)
    of_one = asked.hourly("fargate", f"vcpu-{kind}", _units(task.inputs, "cpu"))
    of_one += asked.hourly("fargate", f"memory-{kind}", _units(task.inputs, "memory"))
    spot = _on_spot(strategies, count)
    return of_one * (count - spot + spot * UNKNOWN_SPOT) + count * asked.hourly("fargate", "storage", more)


def _on_spot(strategies: list[Inputs], count: float) -> float:
    """How many of a service's tasks run on FARGATE_SPOT: after each provider's base, by weight.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CapacityProviderStrategyItem.html
    """
    bases = [min(count, _number(item, "base", 0)) for item in strategies]
    weights = [_number(item, "weight", 0 if len(strategies) > 1 else 1) for item in strategies]
    left, total = max(0.0, count - sum(bases)), sum(weights) or 1.0
    return sum(
        base + left * weight / total
        for item, base, weight in zip(strategies, bases, weights, strict=True)
        if item.get("capacityProvider") == "FARGATE_SPOT"
    )


def _units(task: Inputs, key: str) -> float:
    """Of 1,024 units, as tasks count: ``1024``, ``1 vCPU``, ``2 GB``."""
    text = str(task.get(key) or "")
    words = text.split()
    if len(words) == 2 and words[1].lower() in ("vcpu", "gb"):
        return float(words[0])
    if not text.isdigit():
        raise _NotPricedError
    return float(text) / 1024


# Databases and caches.


def _database(asked: Priced) -> float:
    """https://aws.amazon.com/rds/pricing/."""
    source = asked.other("aws:rds/instance:Instance") if "replicateSourceDb" in asked.inputs else None
    of_source = ("engine", "allocatedStorage", "storageType", "iops", "storageThroughput")
    theirs = {key: source.inputs[key] for key in of_source if key in source.inputs} if source else {}
    inputs = {**theirs, **asked.inputs}
    engine = str(inputs.get("engine") or "postgres")
    if not engine.startswith(_OPEN_ENGINES):
        raise _NotPricedError
    copies = 2 if inputs.get("multiAz") is True else 1
    kind = str(inputs.get("storageType") or ("io1" if inputs.get("iops") else "gp2"))
    size, iops = _number(inputs, "allocatedStorage", 20), _number(inputs, "iops", 0)
    total = asked.hourly("rds", inputs.get("instanceClass")) + asked.monthly("rds", f"storage-{kind}", size)
    if kind == "gp3":
        large = size >= _RDS_LARGE_GIB
        included = (_RDS_LARGE_IOPS, _RDS_LARGE_MIBPS) if large else (_GP3_IOPS, _GP3_MIBPS)
        total += asked.monthly("rds", "gp3-iops", max(0.0, iops - included[0]))
        more = max(0.0, _number(inputs, "storageThroughput", 0) - included[1])
        total += asked.monthly("rds", "gp3-throughput", more)
    elif kind in ("io1", "io2"):
        total += asked.monthly("rds", "iops", iops)
    return copies * total


def _aurora(asked: Priced) -> float:
    cluster = asked.other("aws:rds/cluster:Cluster")
    given = cluster.inputs if cluster is not None else {}
    kind = asked.inputs.get("instanceClass")
    dear = 1.3 if given.get("storageType") == "aurora-iopt1" else 1.0  # I/O-Optimized
    if kind == "db.serverless":
        least = _number(_block(given, "serverlessv2ScalingConfiguration"), "minCapacity", 0)
        return dear * asked.hourly("aurora", "serverless-acu", least)
    engines = [place.get("engine") for place in (asked.inputs, given)]
    known = next((str(engine) for engine in engines if engine not in (None, UNKNOWN)), "aurora")
    if not known.startswith("aurora"):
        raise _NotPricedError
    return dear * asked.hourly("aurora", kind)


def _cluster_instance(service: str) -> Callable[[Priced], float]:
    return lambda asked: asked.hourly(service, asked.inputs.get("instanceClass"))


def _cache_nodes(asked: Priced) -> float:
    inputs = asked.inputs
    groups = _number(inputs, "numNodeGroups", 0)
    copies = _number(inputs, "replicasPerNodeGroup", 0) + 1
    count = groups * copies if groups else _number(inputs, "numCacheClusters", _number(inputs, "numCacheNodes", 1))
    cheaper = 0.8 if inputs.get("engine") == "valkey" else 1.0
    return cheaper * asked.hourly("elasticache", inputs.get("nodeType"), count)


def _search(asked: Priced) -> float:
    cluster, disks = _block(asked.inputs, "clusterConfig"), _block(asked.inputs, "ebsOptions")
    kind, count = str(cluster.get("instanceType") or "m4.large.search"), _number(cluster, "instanceCount", 1)
    total = asked.hourly("opensearch", _of_search(kind), count)
    if cluster.get("dedicatedMasterEnabled") is True:
        masters = _number(cluster, "dedicatedMasterCount", 3)
        total += asked.hourly("opensearch", _of_search(cluster.get("dedicatedMasterType") or kind), masters)
    if cluster.get("warmEnabled") is True:
        warm = _number(cluster, "warmCount", 2)
        total += asked.hourly("opensearch", _of_search(cluster.get("warmType")), warm)
    if disks.get("ebsEnabled") is True:
        volume = str(disks.get("volumeType") or "gp2")
        total += asked.monthly("opensearch", f"storage-{volume}", count * _number(disks, "volumeSize", 10))
        if volume == "io1":
            total += asked.monthly("opensearch", "iops", count * _number(disks, "iops", 0))
        elif volume == "gp3":
            iops = max(0.0, _number(disks, "iops", 0) - _GP3_IOPS)
            throughput = max(0.0, _number(disks, "throughput", 0) - _GP3_MIBPS)
            total += asked.monthly("opensearch", "gp3-iops", count * iops)
            total += asked.monthly("opensearch", "gp3-throughput", count * throughput)
    return total


def _of_search(kind: Any) -> Any:
    return str(kind).replace(".elasticsearch", ".search") if kind not in (None, UNKNOWN) else kind


def _table(asked: Priced) -> float:
    """Provisioned capacity; a replica has the same. https://aws.amazon.com/dynamodb/pricing/provisioned/."""
    inputs = asked.inputs
    if inputs.get("billingMode", "PROVISIONED") == "PAY_PER_REQUEST":
        raise _NotPricedError
    of_one, rare = 0.0, "-ia" if inputs.get("tableClass") == "STANDARD_INFREQUENT_ACCESS" else ""
    for place in (inputs, *_list(inputs, "globalSecondaryIndexes")):
        of_one += asked.hourly("dynamodb", f"rcu{rare}", _number(place, "readCapacity", 1 if place is inputs else 0))
        of_one += asked.hourly("dynamodb", f"wcu{rare}", _number(place, "writeCapacity", 1 if place is inputs else 0))
    return (1 + len(_list(inputs, "replicas"))) * of_one


def _warehouse(asked: Priced) -> float:
    count = _number(asked.inputs, "numberOfNodes", 1)
    return asked.hourly("redshift", asked.inputs.get("nodeType"), count)


# Streams and machine learning.


def _kafka(asked: Priced) -> float:
    group, brokers = _block(asked.inputs, "brokerNodeGroupInfo"), _number(asked.inputs, "numberOfBrokerNodes", 1)
    storage = _block(_block(group, "storageInfo"), "ebsStorageInfo")
    hourly = asked.hourly("msk", group.get("instanceType"), brokers)
    return hourly + asked.monthly("msk", "storage", brokers * _number(storage, "volumeSize", 0))


def _stream(asked: Priced) -> float:
    if _block(asked.inputs, "streamModeDetails").get("streamMode") == "ON_DEMAND":
        return asked.hourly("kinesis", "on-demand-stream")
    shards, hours = _number(asked.inputs, "shardCount", 1), _number(asked.inputs, "retentionPeriod", 24)
    kept = asked.hourly("kinesis", "extended-retention", shards) if hours > 24 else 0.0  # up to a week
    return asked.hourly("kinesis", "shard", shards) + kept


def _endpoint(asked: Priced) -> float:
    total = 0.0
    for variant in _list(asked.inputs, "productionVariants"):
        if "serverlessConfig" not in variant:
            count = _number(variant, "initialInstanceCount", 1)
            total += asked.hourly("sagemaker", variant.get("instanceType"), count)
    return total


def _notebook(asked: Priced) -> float:
    disk = asked.monthly("sagemaker", "storage", _number(asked.inputs, "volumeSize", 5))
    return asked.hourly("sagemaker", asked.inputs.get("instanceType")) + disk


def _provisioned_function(asked: Priced) -> float:
    function = asked.other("aws:lambda/function:Function")
    gib = _number(function.inputs if function else {}, "memorySize", 128) / 1024
    count = _number(asked.inputs, "provisionedConcurrentExecutions", 1)
    arm = "arm64" in _list(function.inputs if function else {}, "architectures")
    return asked.monthly("lambda", "provisioned-arm" if arm else "provisioned", count * gib * HOURS_PER_MONTH * 3600)


# Networks and the rest.


def _balancer(asked: Priced) -> float:
    kind = str(asked.inputs.get("loadBalancerType") or "application")
    return asked.hourly("elb", {"network": "nlb", "gateway": "gwlb"}.get(kind, "alb"))


def _interface(asked: Priced) -> float:
    if asked.inputs.get("vpcEndpointType", "Gateway") == "Gateway":
        return 0.0
    return asked.hourly("ec2", "interface-endpoint", len(_list(asked.inputs, "subnetIds")) or 1)


def _web_acl(asked: Priced) -> float:
    return asked.monthly("wafv2", "acl") + asked.monthly("wafv2", "rule", len(_list(asked.inputs, "rules")))


def _health_check(asked: Priced) -> float:
    """Of an endpoint on AWS; HTTPS, a searched text, latency and a short interval are billed each."""
    kind = str(asked.inputs.get("type") or "").upper()
    options = [
        "HTTPS" in kind,
        kind.endswith("_STR_MATCH"),
        asked.inputs.get("measureLatency") is True,
        _number(asked.inputs, "requestInterval", 30) == 10,
    ]
    return asked.monthly("route53", "health-check") + sum(options) * asked.monthly("route53", "health-check-option")


def _vpn(asked: Priced) -> float:
    attached = asked.hourly("ec2", "transit-attachment") if "transitGatewayId" in asked.inputs else 0.0
    return asked.hourly("ec2", "vpn-connection") + attached


def _parameter(asked: Priced) -> float:
    return asked.monthly("ssm", "advanced-parameter") if asked.inputs.get("tier") == "Advanced" else 0.0


def _stage(asked: Priced) -> float:
    if asked.inputs.get("cacheClusterEnabled") is not True:
        return 0.0
    return asked.hourly("apigateway", f"cache-{asked.inputs.get('cacheClusterSize')}")


def _transfer(asked: Priced) -> float:
    return asked.hourly("transfer", "protocol", len(_list(asked.inputs, "protocols")) or 1)


def _airflow(asked: Priced) -> float:
    return asked.hourly("mwaa", str(asked.inputs.get("environmentClass") or "mw1.small"))


def _alarm(asked: Priced) -> float:
    """For each metric that it looks at; those with a period below a minute cost three times as much.

    https://aws.amazon.com/cloudwatch/pricing/
    """
    metrics = [query["metric"] for query in _list(asked.inputs, "metricQueries") if query.get("metric")]
    periods = [_number(metric, "period", 60) for metric in metrics] or [_number(asked.inputs, "period", 60)]
    return asked.monthly("cloudwatch", "alarm", sum(3 if period < 60 else 1 for period in periods))


def _secret(asked: Priced) -> float:
    return asked.monthly("secretsmanager", "secret", 1 + len(_list(asked.inputs, "replicas")))


def _authority(asked: Priced) -> float:
    short = asked.inputs.get("usageMode") == "SHORT_LIVED_CERTIFICATE"
    return asked.monthly("acm", "private-authority-short" if short else "private-authority")


def _file_system(asked: Priced) -> float:
    """Throughput that is provisioned; what is stored is billed by use."""
    if asked.inputs.get("throughputMode") != "provisioned":
        raise _NotPricedError
    return asked.monthly("efs", "provisioned-mibps", _number(asked.inputs, "provisionedThroughputInMibps", 0))


def _by_hour(service: str, item: str, counted: str = "") -> Callable[[Priced], float]:
    """A fixed price an hour; for each element of an input, if one is named."""
    return lambda asked: asked.hourly(service, item, len(_list(asked.inputs, counted)) or 1 if counted else 1)


def _by_month(service: str, item: str) -> Callable[[Priced], float]:
    return lambda asked: asked.monthly(service, item)


PRICES: dict[str, Callable[[Priced], float]] = {
    "aws:ec2/instance:Instance": _machine,
    "aws:ec2/spotInstanceRequest:SpotInstanceRequest": lambda asked: _machine(
        Priced({**asked.inputs, "spotType": "spot"}, asked.book)
    ),
    "aws:ebs/volume:Volume": _volume,
    "aws:autoscaling/group:Group": _group,
    "aws:ec2/eip:Eip": _by_hour("ec2", "public-ipv4"),
    "aws:ec2/natGateway:NatGateway": _by_hour("ec2", "nat-gateway"),
    "aws:ec2/vpcEndpoint:VpcEndpoint": _interface,
    "aws:ec2/vpnConnection:VpnConnection": _vpn,
    "aws:ec2clientvpn/networkAssociation:NetworkAssociation": _by_hour("ec2", "client-vpn-association"),
    "aws:ec2transitgateway/vpcAttachment:VpcAttachment": _by_hour("ec2", "transit-attachment"),
    "aws:networkfirewall/firewall:Firewall": _by_hour("ec2", "firewall-endpoint", "subnetMappings"),
    "aws:route53/resolverEndpoint:ResolverEndpoint": _by_hour("ec2", "resolver-address", "ipAddresses"),
    "aws:route53/zone:Zone": _by_month("route53", "zone"),
    "aws:route53/healthCheck:HealthCheck": _health_check,
    "aws:lb/loadBalancer:LoadBalancer": _balancer,
    "aws:alb/loadBalancer:LoadBalancer": _balancer,
    "aws:elb/loadBalancer:LoadBalancer": _by_hour("elb", "clb"),
    "aws:globalaccelerator/accelerator:Accelerator": _by_hour("accelerator", "fixed"),
    "aws:wafv2/webAcl:WebAcl": _web_acl,
    "aws:eks/cluster:Cluster": _by_hour("eks", "cluster"),
    "aws:eks/nodeGroup:NodeGroup": _nodes,
    "aws:ecs/service:Service": _service,
    "aws:rds/instance:Instance": _database,
    "aws:rds/clusterInstance:ClusterInstance": _aurora,
    "aws:docdb/clusterInstance:ClusterInstance": _cluster_instance("docdb"),
    "aws:neptune/clusterInstance:ClusterInstance": _cluster_instance("neptune"),
    "aws:elasticache/cluster:Cluster": _cache_nodes,
    "aws:elasticache/replicationGroup:ReplicationGroup": _cache_nodes,
    "aws:opensearch/domain:Domain": _search,
    "aws:elasticsearch/domain:Domain": _search,
    "aws:efs/fileSystem:FileSystem": _file_system,
    "aws:redshift/cluster:Cluster": _warehouse,
    "aws:dynamodb/table:Table": _table,
    "aws:msk/cluster:Cluster": _kafka,
    "aws:msk/serverlessCluster:ServerlessCluster": _by_hour("msk", "serverless-cluster"),
    "aws:kinesis/stream:Stream": _stream,
    "aws:kms/key:Key": _by_month("kms", "key"),
    "aws:kms/externalKey:ExternalKey": _by_month("kms", "key"),
    "aws:kms/replicaKey:ReplicaKey": _by_month("kms", "key"),
    "aws:secretsmanager/secret:Secret": _secret,
    "aws:ssm/parameter:Parameter": _parameter,
    "aws:acmpca/certificateAuthority:CertificateAuthority": _authority,
    "aws:cloudwatch/metricAlarm:MetricAlarm": _alarm,
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": _by_month("cloudwatch", "composite-alarm"),
    "aws:cloudwatch/dashboard:Dashboard": _by_month("cloudwatch", "dashboard"),
    "aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig": _provisioned_function,
    "aws:apigateway/stage:Stage": _stage,
    "aws:transfer/server:Server": _transfer,
    "aws:mwaa/environment:Environment": _airflow,
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": _endpoint,
    "aws:sagemaker/notebookInstance:NotebookInstance": _notebook,
}
