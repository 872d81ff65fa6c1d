"""The local cloud's bill: what exists, for as long as it exists, and what is asked of it, at the price book's prices.

Every few seconds what runs is read and charged for the time since the last reading; requests are counted as they come.
What AWS bills by contents that do not exist here (metric samples, findings, traffic) is not on it.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from groundplan.local.calls import Called
from groundplan.local.moto.alarms import samples_of
from groundplan.local.moto.metrics import MINUTE_S, series_of
from infra.design.price_book import HOURS_PER_MONTH, load_prices

READ_EVERY_S = 10.0
JOB_TYPE = "ml.m5.large"  # of a pipeline's steps, which run one after the other
Tags = Mapping[str, Mapping[str, str]]
_log = logging.getLogger(__name__)
# Requests that are billed one by one: the price book's item, and its units a request.
_REQUESTS = {
    ("s3", "PutObject"): ("s3", "put", 1e-3),
    ("s3", "UploadPart"): ("s3", "put", 1e-3),
    ("s3", "CopyObject"): ("s3", "put", 1e-3),
    ("s3", "ListObjectsV2"): ("s3", "put", 1e-3),
    ("s3", "GetObject"): ("s3", "get", 1e-3),
    ("s3", "HeadObject"): ("s3", "get", 1e-3),
    ("kms", "Sign"): ("kms", "requests", 1e-4),
    ("kms", "Verify"): ("kms", "requests", 1e-4),
    ("kms", "GenerateDataKey"): ("kms", "requests", 1e-4),
    ("kms", "Decrypt"): ("kms", "requests", 1e-4),
}


@dataclass(frozen=True)
class Use:
    """An item in use.

    Attributes:
        service, item: As in the price book.
        units: Of the price book; an hour, or in all.
        resource: ARN, or id.
    """

    service: str
    item: str
    units: float
    resource: str = ""
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass
class Line:
    """What an item of one resource has cost in an hour, as a cost-and-usage report has it."""

    hour: datetime
    service: str
    item: str
    resource: str
    tags: Mapping[str, str]
    account: str = ""
    units: float = 0.0
    usd: float = 0.0


@dataclass(frozen=True)
class Place:
    """An account's region."""

    account: str
    region: str

    def state(self, service: str, of: str = "") -> Any:
        """What moto knows of a service, by the names of its attributes; nothing where nobody has used it.

        Args:
            of: The region's name, where it isn't this one.
        """
        if f"moto.{service}.models" not in sys.modules:
            return _NOTHING
        from moto.backends import get_backend

        known: Any = get_backend(service)[self.account]  # type: ignore[call-overload]
        return known.get(of or self.region, _NOTHING)

    def tags(self) -> Tags:
        """Tags of what exists, by ARN, as far as moto's tagging API has them."""
        from moto.core.resource_tagging import iter_taggable_backends

        found: dict[str, Mapping[str, str]] = {}
        for backend in iter_taggable_backends(self.account, self.region):
            found |= {each.arn: each.tags for each in backend.iter_tagged_resources()}
        return found


class _Nothing:
    def __getattr__(self, name: str) -> dict[str, Any]:
        return {}


_NOTHING = _Nothing()


class Meter:
    """Charges for what is used.

    Args:
        turn: Held while moto's backends are read.
        clock: Seconds since 1970.
    """

    def __init__(self, turn: threading.Lock, clock: Callable[[], float] = time.time) -> None:
        self._turn, self._clock = turn, clock
        self._places: dict[Place, None] = {}  # in the order in which they were first called
        self._last, self._minute = 0.0, 0
        self._requests: Counter[tuple[Place, str, str, str]] = Counter()
        self._lines: dict[tuple[datetime, Place, str, str, str], Line] = {}

    def start(self) -> None:
        """Read from now on."""
        threading.Thread(target=self._forever, daemon=True).start()

    def note(self, called: Called) -> None:
        """Count a call."""
        place = Place(called.account, called.region)
        self._places.setdefault(place)
        if called.status < 300 and (called.service, called.operation) in _REQUESTS:
            bucket = called.parameters.get("Bucket") or called.parameters.get("bucketName") or ""
            self._requests[place, called.service, called.operation, f"arn:aws:s3:::{bucket}" if bucket else ""] += 1

    def read(self) -> None:
        """Charge for the time since the last reading; the first one begins to count."""
        with self._turn:
            self.read_now()

    def read_now(self) -> None:
        """The same, for who holds the turn."""
        now = self._clock()
        minute = int(now // MINUTE_S)
        uses: list[tuple[Place, Use, float]] = []
        tags = {place: place.tags() for place in self._places}
        for place in self._places if self._last else ():
            hours = (now - self._last) / 3600.0
            uses += [(place, use, hours) for use in running(place, tags[place])]
            uses += [(place, use, 1) for use in computed(place, self._minute * MINUTE_S, minute * MINUTE_S)]
        # Only once everything is read: who could not read it charges for this time, too, the next time.
        self._last, self._minute = now, minute
        asked, self._requests = self._requests, Counter()
        for (place, service, operation, resource), number in asked.items():
            service, item, units = _REQUESTS[service, operation]
            uses.append((place, Use(service, item, units * number, resource, tags[place].get(resource, {})), 1))
        hour = datetime.fromtimestamp(now, UTC).replace(minute=0, second=0, microsecond=0)
        for place, use, times in uses:
            self._charge(hour, place, use, times)

    def _charge(self, hour: datetime, place: Place, use: Use, times: float) -> None:
        usd = load_prices(place.region).find(use.service, use.item)
        if usd is None or not use.units:
            return  # nothing that the price book knows
        key = (hour, place, use.service, use.item, use.resource)
        line = self._lines.setdefault(key, Line(hour, use.service, use.item, use.resource, use.tags, place.account))
        line.tags = use.tags
        line.units += use.units * times
        line.usd += use.units * times * usd

    @property
    def lines(self) -> list[Line]:
        """All lines so far."""
        return list(self._lines.values())

    def _forever(self) -> None:
        pause = threading.Event()
        while not pause.wait(READ_EVERY_S):
            try:
                self.read()
            except Exception:  # of one reading; the next one charges for its time, too
                _log.exception("the bill could not be read")


def _dict(tags: Any) -> dict[str, str]:
    if isinstance(tags, Mapping):
        return dict(tags)
    return {each["Key"]: each["Value"] for each in tags or ()}


def running(place: Place, tags: Tags) -> Iterator[Use]:
    """What is billed by time: units an hour."""
    yield from _models(place)
    yield from _machines(place, tags)
    yield from _stores(place, tags)
    month = 1 / HOURS_PER_MONTH
    for key in place.state("kms").keys.values():
        if key.key_manager == "CUSTOMER" and key.key_state != "PendingDeletion":
            yield Use("kms", "key", month, key.arn, tags.get(key.arn, {}))
    for secret in place.state("secretsmanager").secrets.values():
        yield Use("secretsmanager", "secret", month, secret.arn, tags.get(secret.arn, {}))
    cloudwatch = place.state("cloudwatch")
    for alarm in cloudwatch.alarms.values():
        reads = sum(query.metric_stat is not None for query in alarm.metric_data_queries)  # each is billed
        item = "alarm" if alarm.rule is None else "composite-alarm"
        yield Use("cloudwatch", item, month * max(1, reads), alarm.alarm_arn, tags.get(alarm.alarm_arn, {}))
    for name in cloudwatch.dashboards:
        yield Use("cloudwatch", "dashboard", month, name)
    for acl in place.state("wafv2").wacls.values():
        yield Use("wafv2", "acl", month, acl.arn)
        yield Use("wafv2", "rule", month * len(acl.rules), acl.arn)
    for api in place.state("apigateway").apis.values():
        for stage in api.stages.values():
            if stage.cache_cluster_enabled:
                yield Use("apigateway", f"cache-{stage.cache_cluster_size or '0.5'}", 1, stage.name, _dict(stage.tags))


def _models(place: Place) -> Iterator[Use]:
    """SageMaker's instances: of endpoints, of pipelines' jobs."""
    sagemaker = place.state("sagemaker")
    for endpoint in sagemaker.endpoints.values():
        config = sagemaker.endpoint_configs.get(endpoint.endpoint_config_name)
        if config is None or endpoint.endpoint_status == "Failed":
            continue
        types = {v["VariantName"]: v.get("InstanceType", "") for v in config.production_variants}
        types |= {
            v["VariantName"]: v.get("InstanceType", "") for v in getattr(config, "shadow_production_variants", [])
        }
        for variant in (*endpoint.production_variants, *(getattr(endpoint, "shadow_production_variants", None) or ())):
            instances, kind = variant.get("CurrentInstanceCount") or 0, types.get(variant["VariantName"], "")
            if instances and kind:
                yield Use("sagemaker", kind, instances, endpoint.arn, _dict(endpoint.tags))
    for pipeline in sagemaker.pipelines.values():
        jobs = sum(each.pipeline_execution_status == "Executing" for each in pipeline.pipeline_executions.values())
        yield Use("sagemaker", JOB_TYPE, jobs, pipeline.arn, _dict(pipeline.tags))
    for notebook in sagemaker.notebook_instances.values():
        if notebook.status == "InService":
            yield Use("sagemaker", notebook.instance_type, 1, notebook.arn, _dict(notebook.tags))


def _machines(place: Place, tags: Tags) -> Iterator[Use]:
    """Brokers, clusters and their nodes, instances, disks, and the network."""
    month = 1 / HOURS_PER_MONTH
    for cluster in place.state("kafka").clusters.values():
        of = _dict(cluster.tags)
        if cluster.cluster_type == "SERVERLESS":
            yield Use("msk", "serverless-cluster", 1, cluster.arn, of)
            continue
        brokers, group = cluster.number_of_broker_nodes or 0, cluster.broker_node_group_info or {}
        yield Use("msk", group.get("instanceType", ""), brokers, cluster.arn, of)
        disk = group.get("storageInfo", {}).get("ebsStorageInfo", {}).get("volumeSize", 0)
        yield Use("msk", "storage", month * brokers * disk, cluster.arn, of)
    for cluster in place.state("eks").clusters.values():
        yield Use("eks", "cluster", 1, cluster.arn, _dict(cluster.tags))
        for group in cluster.nodegroups.values():
            nodes, of = (group.scaling_config or {}).get("desiredSize", 1), _dict(group.tags)
            yield Use("ec2", (group.instance_types or ["t3.medium"])[0], nodes, group.arn, of)
            yield Use("ec2", "ebs-gp3", month * nodes * float(group.disk_size or 20), group.arn, of)
    ec2 = place.state("ec2")

    def of_ec2(id_: str) -> dict[str, str]:
        return dict(ec2.tags.get(id_, {}))

    for gateway in ec2.nat_gateways.values():
        if gateway.state == "available":
            yield Use("ec2", "nat-gateway", 1, gateway.id, of_ec2(gateway.id))
    for endpoint in ec2.vpc_end_points.values():
        if endpoint.vpc_endpoint_type == "Interface" and endpoint.state == "available":
            yield Use("ec2", "interface-endpoint", len(endpoint.subnet_ids or ()), endpoint.id, of_ec2(endpoint.id))
    for reservation in ec2.reservations.values():
        for instance in reservation.instances:
            if instance.state == "running":
                yield Use("ec2", instance.instance_type, 1, instance.id, of_ec2(instance.id))
    for volume in ec2.volumes.values():
        yield Use("ec2", f"ebs-{volume.volume_type or 'gp2'}", month * volume.size, volume.id, of_ec2(volume.id))
    for balancer in place.state("elbv2").load_balancers.values():
        item = "alb" if balancer.loadbalancer_type == "application" else "nlb"
        yield Use("elb", item, 1, balancer.arn, tags.get(balancer.arn, {}))


def _stores(place: Place, tags: Tags) -> Iterator[Use]:
    """Databases, tables, objects."""
    month = 1 / HOURS_PER_MONTH
    for database in place.state("rds").databases.values():
        copies = 2 if database.multi_az else 1
        of = _dict(database.tags)
        yield Use("rds", database.db_instance_class or "", copies, database.arn, of)
        gb = month * copies * (database.allocated_storage or 0)
        yield Use("rds", f"storage-{database.storage_type or 'gp3'}", gb, database.arn, of)
    for table in place.state("dynamodb").tables.values():
        if table.billing_mode == "PROVISIONED":
            for item, key in (("rcu", "ReadCapacityUnits"), ("wcu", "WriteCapacityUnits")):
                units = float(table.throughput.get(key) or 0)
                yield Use("dynamodb", item, units, table.table_arn, tags.get(table.table_arn, {}))
    for bucket in place.state("s3", "aws").buckets.values():
        if bucket.region_name != place.region:
            continue
        size = sum(key.size for name in bucket.keys for key in bucket.keys.getlist(name))
        yield Use("s3", "standard", month * size / 1e9, bucket.arn, tags.get(bucket.arn, {}))


def computed(place: Place, begin: float, end: float) -> Iterator[Use]:
    """What serverless endpoints have computed between two minutes (seconds since 1970): units in all."""
    sagemaker, samples = place.state("sagemaker"), samples_of(place.state("cloudwatch"))
    for endpoint in sagemaker.endpoints.values() if end > begin else ():
        for variant in endpoint.production_variants:
            serverless = variant.get("CurrentServerlessConfig")
            dimensions = [
                {"Name": "EndpointName", "Value": endpoint.endpoint_name},
                {"Name": "VariantName", "Value": variant["VariantName"]},
            ]
            if serverless:
                series = series_of("AWS/SageMaker", "ModelLatency", dimensions)
                seconds = (samples.statistic(series, "Sum", begin, end) or 0.0) / 1e6
                used = seconds * serverless["MemorySizeInMB"] / 1024
                yield Use("sagemaker", "serverless-inference", used, endpoint.arn, _dict(endpoint.tags))
