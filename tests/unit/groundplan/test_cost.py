"""What resources cost by what a program says of them: figures by AWS's rules of billing, at us-east-1's list prices."""

from __future__ import annotations

from typing import Any

import pytest

from groundplan.engine.unknown import UNKNOWN
from groundplan.review.cost import monthly_usd, of_resources
from groundplan.review.model import Resource
from infra.design.price_book import load_prices

HOURS = 730
SPARE = load_prices().spot_share("m5.large")
TEMPLATE, TASK = "aws:ec2/launchTemplate:LaunchTemplate", "aws:ecs/taskDefinition:TaskDefinition"
MACHINE, VOLUME = "aws:ec2/instance:Instance", "aws:ebs/volume:Volume"
DATABASE, GROUP = "aws:rds/instance:Instance", "aws:autoscaling/group:Group"
SERVICE, NODES = "aws:ecs/service:Service", "aws:eks/nodeGroup:NodeGroup"


def resource(kind: str, inputs: dict[str, Any], *dependencies: str, urn: str = "u") -> Resource:
    return Resource(urn, kind, urn, "", True, inputs, dependencies=list(dependencies))


def usd(kind: str, inputs: dict[str, Any], **others: tuple[str, dict[str, Any]]) -> float | None:
    """The price of a resource that comes from others; None where it is not in the total."""
    found = of_resources(
        (
            resource(kind, inputs, *others),
            *(resource(other, given, urn=name) for name, (other, given) in others.items()),
        ),
        load_prices(),
    )
    if kind in dict((*found.not_priced, *found.by_use)):
        return None
    return next((line.monthly_usd for line in found.lines if line.name.endswith(kind)), 0.0)


@pytest.mark.parametrize(
    ("kind", "inputs", "wanted"),
    [
        (VOLUME, {"size": 100, "type": "gp3", "iops": 6000, "throughput": 500}, 8 + 15 + 15),
        (VOLUME, {"size": 40, "type": "gp3", "iops": 4000, "throughput": 130}, 3.20 + 5 + 0.20),
        (VOLUME, {"size": 100, "type": "io2", "iops": 10_000}, 12.5 + 650),
        (VOLUME, {"size": 1, "type": "io2", "iops": 70_000}, 0.125 + 2080 + 1456 + 191.1),
        (VOLUME, {"size": 30, "type": "io1", "iops": 300}, 3.75 + 19.5),
        (VOLUME, {"size": 1000, "type": "sc1"}, 15),
        (VOLUME, {"size": 40, "type": "st1"}, 1.8),
        (VOLUME, {"size": 10}, 1),
        (VOLUME, {"snapshotId": "snap-1"}, None),
        (
            MACHINE,
            {
                "instanceType": "t3.small",
                "rootBlockDevice": {"volumeSize": 50},
                "ebsBlockDevices": [{"volumeSize": 500, "volumeType": "gp3"}],
            },
            0.0208 * HOURS + 4 + 40,
        ),
        (
            MACHINE,
            {"instanceType": "m5.large", "instanceMarketOptions": {"marketType": "spot"}},
            SPARE * 0.096 * HOURS + 8 * 0.08,
        ),
        (MACHINE, {"instanceType": "m3.large", "monitoring": True}, 0.133 * HOURS + 0.64 + 2.10),
        (MACHINE, {"instanceType": "x9.large"}, None),
        (MACHINE, {"instanceType": UNKNOWN}, None),
        (MACHINE, {"instanceType": "m5.large", "tenancy": "dedicated"}, None),
        (NODES, {"instanceTypes": ["m5.large"], "scalingConfig": {"desiredSize": 3}, "diskSize": 200}, 258.24),
        (
            NODES,
            {"instanceTypes": ["m5.large"], "scalingConfig": {"desiredSize": 1}, "capacityType": "SPOT"},
            SPARE * 70.08 + 1.6,
        ),
        (
            DATABASE,
            {
                "engine": "postgres",
                "instanceClass": "db.m6g.large",
                "allocatedStorage": 500,
                "storageType": "io1",
                "iops": 10_000,
                "multiAz": True,
            },
            2 * (0.159 * HOURS + 62.5 + 1000),
        ),
        (
            DATABASE,
            {
                "engine": "postgres",
                "instanceClass": "db.t4g.small",
                "allocatedStorage": 400,
                "storageType": "gp3",
                "iops": 14_000,
                "multiAz": True,
            },
            47.45 - 0.73 + 92 + 80,  # 0.032 an hour
        ),
        (DATABASE, {"engine": "sqlserver-se", "instanceClass": "db.m6g.large", "allocatedStorage": 20}, None),
        ("aws:rds/clusterInstance:ClusterInstance", {"engine": "aurora-mysql", "instanceClass": "db.t3.large"}, 119.72),
        ("aws:rds/clusterInstance:ClusterInstance", {"engine": "aurora", "instanceClass": "db.r4.8xlarge"}, 3387.20),
        (
            "aws:elasticache/replicationGroup:ReplicationGroup",
            {"nodeType": "cache.m4.large", "numNodeGroups": 4, "replicasPerNodeGroup": 3},
            1822.08,
        ),
        ("aws:elasticache/cluster:Cluster", {"nodeType": "cache.r7g.large", "engine": "valkey"}, 0.8 * 0.219 * HOURS),
        ("aws:dynamodb/table:Table", {"readCapacity": 30, "writeCapacity": 20}, 9.49 + 2.847),
        (
            "aws:dynamodb/table:Table",
            {"readCapacity": 30, "writeCapacity": 20, "replicas": [{}, {}]},
            3 * (9.49 + 2.847),
        ),
        ("aws:dynamodb/table:Table", {"billingMode": "PAY_PER_REQUEST"}, None),
        ("aws:lb/loadBalancer:LoadBalancer", {"loadBalancerType": "network"}, 16.425),
        ("aws:elb/loadBalancer:LoadBalancer", {}, 18.25),
        ("aws:ec2/natGateway:NatGateway", {}, 32.85),
        ("aws:kinesis/stream:Stream", {"shardCount": 2}, 2 * 0.015 * HOURS),
        ("aws:redshift/cluster:Cluster", {"nodeType": "ra3.4xlarge", "numberOfNodes": 6}, 14_278.80),
        ("aws:route53/healthCheck:HealthCheck", {"type": "HTTPS_STR_MATCH"}, 2.5),
        (
            "aws:msk/cluster:Cluster",
            {"numberOfBrokerNodes": 4, "brokerNodeGroupInfo": {"instanceType": "kafka.m5.24xlarge"}},
            29_433.60,
        ),
        ("aws:kinesis/stream:Stream", {"shardCount": 10, "retentionPeriod": 168}, 10 * 0.035 * HOURS),
        ("aws:secretsmanager/secret:Secret", {}, 0.40),
        ("aws:secretsmanager/secret:Secret", {"replicas": [{"region": "a"}, {"region": "b"}]}, 1.20),
        ("aws:cloudwatch/metricAlarm:MetricAlarm", {"period": 300}, 0.10),
        ("aws:cloudwatch/metricAlarm:MetricAlarm", {"period": 10}, 0.30),
        (
            "aws:cloudwatch/metricAlarm:MetricAlarm",
            {"metricQueries": [{"expression": "a/b"}, {"metric": {"period": 60}}, {"metric": {"period": 60}}]},
            0.20,
        ),
        ("aws:acmpca/certificateAuthority:CertificateAuthority", {}, 400),
        ("aws:acmpca/certificateAuthority:CertificateAuthority", {"usageMode": "SHORT_LIVED_CERTIFICATE"}, 50),
        (
            "aws:dynamodb/table:Table",
            {"readCapacity": 100, "writeCapacity": 100, "tableClass": "STANDARD_INFREQUENT_ACCESS"},
            70.81,
        ),
        (
            "aws:opensearch/domain:Domain",
            {
                "clusterConfig": {"instanceType": "m5.large.search", "instanceCount": 2},
                "ebsOptions": {
                    "ebsEnabled": True,
                    "volumeType": "gp3",
                    "volumeSize": 100,
                    "iops": 10_000,
                    "throughput": 500,
                },
            },
            2 * (0.142 * HOURS + 12.2 + 56 + 24),
        ),
        (MACHINE, {"instanceType": "t3.small", "associatePublicIpAddress": True}, 0.0258 * HOURS + 0.64),
        ("aws:athena/capacityReservation:CapacityReservation", {"targetDpus": 24}, None),
        ("aws:vpc/routeServerEndpoint:RouteServerEndpoint", {}, None),
        ("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", {}, 0),
        ("aws:rds/cluster:Cluster", {"dbClusterInstanceClass": "db.m5d.large"}, None),
        ("aws:iam/role:Role", {}, 0),
        ("aws:s3/bucket:Bucket", {}, None),
        ("aws:appmesh/mesh:Mesh", {}, None),
    ],
)
def test_a_resource_costs_what_aws_bills(kind: str, inputs: dict[str, Any], wanted: float | None) -> None:
    assert usd(kind, inputs) == (wanted if wanted is None else pytest.approx(wanted, abs=0.01))


def test_what_others_say_counts() -> None:
    task = (TASK, {"cpu": "1024", "memory": "2048"})
    assert usd(SERVICE, {"launchType": "FARGATE", "desiredCount": 2}, t=task) == pytest.approx(72.08, abs=0.01)
    arm = (TASK, {"cpu": "1 vCPU", "memory": "2 GB", "runtimePlatform": {"cpuArchitecture": "ARM64"}})
    assert usd(SERVICE, {"launchType": "FARGATE"}, t=task) == 0, "without a number there are none"
    assert usd(SERVICE, {"launchType": "FARGATE", "desiredCount": 1}, t=arm) == pytest.approx(
        (0.03238 + 2 * 0.00356) * HOURS, abs=0.01
    )
    assert usd(SERVICE, {"launchType": "EC2"}, t=task) == 0, "the machines cost, not the tasks"
    assert usd(SERVICE, {"launchType": "FARGATE"}) is None
    mostly_spot = [
        {"capacityProvider": "FARGATE", "base": 1, "weight": 0},
        {"capacityProvider": "FARGATE_SPOT", "weight": 1},
    ]
    some = usd(SERVICE, {"desiredCount": 10, "capacityProviderStrategies": mostly_spot}, t=task)
    assert some == pytest.approx(36.04 * (1 + 9 * 0.4), abs=0.05)
    source = (
        DATABASE,
        {"engine": "mysql", "instanceClass": "db.r5.large", "allocatedStorage": 1000, "storageType": "gp3"},
    )
    replica = {"replicateSourceDb": UNKNOWN, "instanceClass": "db.t4g.small"}
    both = of_resources((resource(DATABASE, replica, "s"), resource(*source, urn="s")), load_prices())
    alone = of_resources((resource(*source, urn="s"),), load_prices())
    added = both.monthly_usd - alone.monthly_usd
    assert added == pytest.approx(0.032 * HOURS + 115, abs=1), "a replica has its source's disk"
    function = ("aws:lambda/function:Function", {"memorySize": 1024, "architectures": ["arm64"]})
    kind = "aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig"
    assert usd(kind, {"provisionedConcurrentExecutions": 10}, f=function) == pytest.approx(87.60, abs=0.01)
    root = (TEMPLATE, {"instanceType": "m5.large", "blockDeviceMappings": [{"ebs": {"volumeSize": 100}}]})
    assert usd(MACHINE, {}, t=root) == pytest.approx(0.096 * HOURS + 10, abs=0.01), "the root disk counts once"
    template = (
        TEMPLATE,
        {
            "instanceType": "t2.medium",
            "blockDeviceMappings": [
                {"ebs": {"volumeSize": 10}},
                {"ebs": {"volumeSize": 20, "volumeType": "io1", "iops": 200}},
            ],
        },
    )
    assert usd(GROUP, {"desiredCapacity": 2}, t=template) == pytest.approx(67.74 + 2 + 5 + 26, abs=0.01)
    assert usd(GROUP, {"desiredCapacity": 4}) is None
    spot = {
        "desiredCapacity": 4,
        "mixedInstancesPolicy": {
            "instancesDistribution": {"onDemandBaseCapacity": 1, "onDemandPercentageAboveBaseCapacity": 0},
            "launchTemplate": {"overrides": [{"instanceType": "m5.large"}]},
        },
    }
    assert usd(GROUP, spot) == pytest.approx((1 + 3 * SPARE) * 70.08, abs=0.01)
    cluster = ("aws:rds/cluster:Cluster", {"serverlessv2ScalingConfiguration": {"minCapacity": 0.5}})
    serverless = {"instanceClass": "db.serverless", "engine": "aurora-postgresql"}
    assert usd("aws:rds/clusterInstance:ClusterInstance", serverless, c=cluster) == pytest.approx(0.06 * HOURS)


def test_nothing_is_left_out_in_silence() -> None:
    kinds = (VOLUME, "aws:s3/bucket:Bucket", "aws:iam/role:Role", "aws:appmesh/mesh:Mesh", "random:index:Id")
    found = of_resources(tuple(resource(kind, {"size": 10}) for kind in kinds), load_prices())
    assert [line.name for line in found.lines] == [f"1 x {VOLUME}"] and found.incomplete
    assert found.by_use == (("aws:s3/bucket:Bucket", 1),) and found.free == (("aws:iam/role:Role", 1),)
    assert found.not_priced == (("aws:appmesh/mesh:Mesh", 1),)
    assert monthly_usd(VOLUME, {"size": 10}, load_prices()) == pytest.approx(1)


def test_another_regions_prices_are_estimated_and_called_so() -> None:
    own, other, new = load_prices("us-east-1"), load_prices("eu-central-1"), load_prices("eu-somewhere-9")
    assert not own.estimate and other.region == "eu-central-1"
    assert "estimated from those of us-east-1" in other.estimate and "20%" in other.estimate
    assert "nothing is known of this region" in new.estimate
    assert other.find("ec2", "m5.large") == pytest.approx(0.115, abs=0.001)
    assert other.find("ec2", "t3.medium") == pytest.approx(0.048, abs=0.001)
    assert other.find("kms", "key") == own.find("kms", "key") == new.find("kms", "key"), "the same everywhere"
    assert other.find("ec2", "nat-gateway") == pytest.approx(0.052, abs=0.001)
    assert found_at("sa-east-1") > found_at("eu-west-1") > found_at("us-west-2") == found_at("")


def found_at(region: str) -> float:
    return load_prices(region).hourly("ec2", "c5.large")


def test_a_size_that_is_not_in_the_book_is_priced_by_its_family() -> None:
    book = load_prices()
    assert book.find("rds", "db.r7g.4xlarge") == pytest.approx(8 * book.services["rds", "db.r7g.large"])
    assert book.find("opensearch", "c4.8xlarge.search") == pytest.approx(2.347, rel=0.02)
    assert book.find("rds", "db.r99.large") is None and book.find("rds", "db.t3.nano") is None
    with pytest.raises(KeyError):
        book.hourly("rds", "db.r99.large")


def test_a_file_system_has_a_fixed_part_and_one_by_use() -> None:
    kind = "aws:efs/fileSystem:FileSystem"
    given = {"throughputMode": "provisioned", "provisionedThroughputInMibps": 100}
    found = of_resources((resource(kind, given), resource(kind, {}, urn="v")), load_prices())
    assert found.monthly_usd == 600 and dict(found.by_use) == {kind: 2}
