"""What runs, is paid for, and is not used: found by CloudWatch's metrics and by what nothing is attached to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from spec.outputs import Outputs

LEAST_USED = 0.1  # of provisioned capacity; less is worth a line
YOUNGEST = timedelta(hours=1)  # what exists for less has had no chance to be used
MOST_QUERIES = 500  # of one GetMetricData


@dataclass(frozen=True)
class Idle:
    """Something that is paid for and not used.

    Attributes:
        since: When it was last seen unused: the beginning of the look-back, or its own.
        service, item, units: Of the price book; units of what is idle, paid by the hour, or by the month (``monthly``).
        advice: What to do.
    """

    resource: str
    says: str
    since: datetime
    service: str
    item: str
    units: float
    advice: str
    monthly: bool = False


@dataclass(frozen=True)
class _Asked:
    """A resource whose use a metric tells; ``silence`` is whether no data means that it is idle."""

    idle: Idle
    metric: tuple[str, str, Mapping[str, str]]
    silence: bool = False
    of: float = 0.0  # units provisioned a second; 0 where any use is use


def idle(outputs: Outputs, days: float, now: datetime | None = None) -> list[Idle]:
    """The idle resources of a stack: those that were not used in these days, or for as long as they exist."""
    now = now or datetime.now(UTC)
    begin = now - timedelta(days=days)
    asked = [*_endpoints(outputs, begin, now), *_network(outputs, begin), *_tables(outputs, begin, now)]
    used = _used([each.metric for each in asked], begin, now)
    found = list(_unattached(outputs, now))
    for each, counted in zip(asked, used, strict=True):
        if counted is None and not each.silence:
            continue
        seconds = (now - each.idle.since).total_seconds()
        if (counted or 0.0) <= each.of * LEAST_USED * seconds:
            found.append(each.idle)
    return found


def _used(metrics: list[tuple[str, str, Mapping[str, str]]], begin: datetime, end: datetime) -> list[float | None]:
    """The sum of each metric; None where it has no data."""
    import boto3

    client, sums = boto3.client("cloudwatch"), list[float | None]([None] * len(metrics))
    for first in range(0, len(metrics), MOST_QUERIES):
        queries = [
            {
                "Id": f"m{first + number}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": namespace,
                        "MetricName": name,
                        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
                    },
                    "Period": 3600,
                    "Stat": "Sum",
                },
            }
            for number, (namespace, name, dimensions) in enumerate(metrics[first : first + MOST_QUERIES])
        ]
        pages = client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries, StartTime=begin, EndTime=end
        )
        for page in pages:
            for item in page["MetricDataResults"]:
                if item["Values"]:
                    place = int(item["Id"][1:])
                    sums[place] = (sums[place] or 0.0) + sum(item["Values"])
    return sums


def _tagged(outputs: Outputs) -> list[dict[str, Any]]:
    tags = {"Project": outputs.project, "Environment": outputs.stack}
    return [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]


def _is(tags: Iterable[Mapping[str, str]], outputs: Outputs) -> bool:
    known = {each["Key"]: each["Value"] for each in tags}
    return known.get("Project") == outputs.project and known.get("Environment") == outputs.stack


def _endpoints(outputs: Outputs, begin: datetime, now: datetime) -> Iterator[_Asked]:
    import boto3

    client = boto3.client("sagemaker")
    prefix = f"{outputs.project}-{outputs.stack}-"
    ours = {of.name: model for model, of in outputs.endpoints.items() if of.name}
    for page in client.get_paginator("list_endpoints").paginate(NameContains=prefix):
        for known in page["Endpoints"]:
            name = known["EndpointName"]
            if not name.startswith(prefix) or known["EndpointStatus"] != "InService":
                continue
            endpoint = client.describe_endpoint(EndpointName=name)
            created = endpoint["CreationTime"].astimezone(UTC)
            if now - created < YOUNGEST:
                continue
            config = client.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
            types = {each["VariantName"]: each.get("InstanceType", "") for each in config["ProductionVariants"]}
            for variant in endpoint["ProductionVariants"]:
                instances = variant.get("CurrentInstanceCount") or 0
                if not instances or not types.get(variant["VariantName"]):
                    continue  # serverless: nothing waits
                waits = name in ours and not variant.get("CurrentWeight")
                idle = Idle(
                    f"{name}/{variant['VariantName']}",
                    "takes no requests until the next version's canary" if waits else "was not asked",
                    max(begin, created),
                    "sagemaker",
                    types[variant["VariantName"]],
                    instances,
                    "keep it: it makes a canary start at once"
                    if waits
                    else f"remove the model {ours[name]} from the objectives, or serve it by batch"
                    if name in ours
                    else "nothing in the objectives names it: delete it",
                )
                dimensions = {"EndpointName": name, "VariantName": variant["VariantName"]}
                yield _Asked(idle, ("AWS/SageMaker", "Invocations", dimensions), silence=True)


def _network(outputs: Outputs, begin: datetime) -> Iterator[_Asked]:
    import boto3

    ec2 = boto3.client("ec2")
    for page in ec2.get_paginator("describe_nat_gateways").paginate(Filters=_tagged(outputs)):
        for gateway in page["NatGateways"]:
            if gateway["State"] == "available":
                id_, since = gateway["NatGatewayId"], max(begin, gateway["CreateTime"].astimezone(UTC))
                told = Idle(id_, "sent nothing", since, "ec2", "nat-gateway", 1, "nothing goes out: remove it")
                yield _Asked(told, ("AWS/NATGateway", "BytesOutToDestination", {"NatGatewayId": id_}))
    balancing = boto3.client("elbv2")
    for page in balancing.get_paginator("describe_load_balancers").paginate():
        for balancer in page["LoadBalancers"]:
            arn, name = balancer["LoadBalancerArn"], balancer["LoadBalancerName"]
            tags = balancing.describe_tags(ResourceArns=[arn])["TagDescriptions"]
            if balancer["Type"] == "application" and tags and _is(tags[0]["Tags"], outputs):
                since = max(begin, balancer["CreatedTime"].astimezone(UTC))
                told = Idle(name, "took no requests", since, "elb", "alb", 1, "nothing calls it: delete it")
                where = {"LoadBalancer": arn.partition("loadbalancer/")[2]}
                yield _Asked(told, ("AWS/ApplicationELB", "RequestCount", where))


def _tables(outputs: Outputs, begin: datetime, now: datetime) -> Iterator[_Asked]:
    """Provisioned capacity of the online store, of which little is used."""
    import boto3

    client = boto3.client("dynamodb")
    for name in outputs.online_tables.values():
        table = client.describe_table(TableName=name)["Table"]
        since = max(begin, table["CreationDateTime"].astimezone(UTC))
        if table.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST" or now - since < YOUNGEST:
            continue
        for what, item in (("Read", "rcu"), ("Write", "wcu")):
            units = float(table["ProvisionedThroughput"][f"{what}CapacityUnits"])
            says = f"less than {LEAST_USED:.0%} of {units:g} {what.lower()} units were used"
            told = Idle(name, says, since, "dynamodb", item, units, "lower events.per_second, or the models' requests")
            metric = ("AWS/DynamoDB", f"Consumed{what}CapacityUnits", {"TableName": name})
            if units > 1:
                yield _Asked(told, metric, of=units)


def _unattached(outputs: Outputs, now: datetime) -> Iterator[Idle]:
    """Disks and addresses that belong to nothing, and notebooks that were left on."""
    import boto3

    ec2 = boto3.client("ec2")
    free = [*_tagged(outputs), {"Name": "status", "Values": ["available"]}]
    for page in ec2.get_paginator("describe_volumes").paginate(Filters=free):
        for volume in page["Volumes"]:
            since, kind = volume["CreateTime"].astimezone(UTC), volume.get("VolumeType", "gp3")
            said = "take a snapshot and delete it, unless a restore is going on"
            if now - since >= YOUNGEST:
                item, size = f"ebs-{kind}", float(volume["Size"])
                yield Idle(volume["VolumeId"], "is attached to nothing", since, "ec2", item, size, said, monthly=True)
    for address in ec2.describe_addresses(Filters=_tagged(outputs))["Addresses"]:
        if not address.get("AssociationId"):
            says = "belongs to nothing"
            yield Idle(address["AllocationId"], says, now, "ec2", "public-ipv4", 1, "release it")
    sagemaker = boto3.client("sagemaker")
    of_stack = {"StatusEquals": "InService", "NameContains": f"{outputs.project}-{outputs.stack}-"}
    for page in sagemaker.get_paginator("list_notebook_instances").paginate(**of_stack):
        for notebook in page["NotebookInstances"]:
            since = notebook["CreationTime"].astimezone(UTC)
            name, kind = notebook["NotebookInstanceName"], notebook["InstanceType"]
            says = "runs until somebody stops it"
            yield Idle(name, says, since, "sagemaker", kind, 1, "use Studio, which shuts down what is idle")
