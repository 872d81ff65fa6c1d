"""What runs, is paid for, and is not used."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from groundplan.local.moto.alarms import evaluate_alarms
from pipelines.monitoring.idle import idle
from spec.outputs import Outputs

REGION = "us-east-1"
TAGS = [{"Key": "Project", "Value": "shop"}, {"Key": "Environment", "Value": "prod"}]
LATER = datetime.now(UTC) + timedelta(days=10)


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outputs]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    evaluate_alarms()
    served: Any = {"shop-prod-risk": "risk"}
    endpoints = {
        model: {
            "name": name,
            "topology": "realtime",
            "instance_type": "ml.c5.large",
            "min_instances": 1,
            "max_instances": 2,
        }
        for name, model in served.items()
    }
    with mock_aws():
        yield Outputs.model_construct(
            project="shop",
            stack="prod",
            region=REGION,
            online_tables={},
            endpoints={model: type("E", (), each) for model, each in endpoints.items()},  # type: ignore[arg-type]
        )


def endpoint(name: str, *variants: tuple[str, float]) -> None:
    client = boto3.client("sagemaker")
    client.create_model(ModelName=name, ExecutionRoleArn="arn:aws:iam::123456789012:role/r")
    client.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {
                "VariantName": variant,
                "ModelName": name,
                "InstanceType": "ml.c5.large",
                "InitialInstanceCount": 1,
                "InitialVariantWeight": weight,
            }
            for variant, weight in variants
        ],
    )
    client.create_endpoint(EndpointName=name, EndpointConfigName=name)


def sent(namespace: str, name: str, value: float, **dimensions: str) -> None:
    data = {
        "MetricName": name,
        "Dimensions": [{"Name": key, "Value": text} for key, text in dimensions.items()],
        "Timestamp": LATER - timedelta(days=1),
        "Value": value,
    }
    boto3.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=[data])


def found(outputs: Outputs, days: float = 7) -> dict[str, str]:
    return {each.resource: f"{each.says}; {each.advice}" for each in idle(outputs, days, LATER)}


def test_an_endpoint_that_nobody_asks_is_idle_and_one_that_is_asked_is_not(outputs: Outputs) -> None:
    endpoint("shop-prod-risk", ("champion", 1.0), ("challenger", 0.0))
    endpoint("shop-prod-by-hand", ("all", 1.0))
    endpoint("shop-prodigy", ("all", 1.0))
    sent("AWS/SageMaker", "Invocations", 5, EndpointName="shop-prod-risk", VariantName="champion")
    told = found(outputs)
    assert told.keys() == {"shop-prod-risk/challenger", "shop-prod-by-hand/all"}
    assert "until the next version's canary; keep it" in told["shop-prod-risk/challenger"]
    assert "delete it" in told["shop-prod-by-hand/all"]
    assert "shop-prod-risk/champion" in found(outputs, 0.5), "not asked within half a day"


def test_what_exists_for_minutes_is_not_called_idle(outputs: Outputs) -> None:
    endpoint("shop-prod-risk", ("champion", 1.0))
    assert idle(outputs, 7, datetime.now(UTC)) == []


def test_disks_and_addresses_that_belong_to_nothing(outputs: Outputs) -> None:
    ec2 = boto3.client("ec2")
    tags = [{"ResourceType": "volume", "Tags": TAGS}]
    free = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=50, VolumeType="gp3", TagSpecifications=tags)
    ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=50)
    of_address = {"ResourceType": "elastic-ip", "Tags": TAGS}
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=[of_address])["AllocationId"]
    ec2.allocate_address(Domain="vpc")
    told = {each.resource: each for each in idle(outputs, 7, LATER)}
    assert told.keys() == {free["VolumeId"], address}, "of this stack only"
    disk = told[free["VolumeId"]]
    assert (disk.service, disk.item, disk.units, disk.monthly) == ("ec2", "ebs-gp3", 50.0, True)


def test_a_gateway_is_idle_where_its_metric_says_so_and_not_where_there_is_none(outputs: Outputs) -> None:
    ec2 = boto3.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    made = []
    for _ in range(3):
        address = ec2.allocate_address(Domain="vpc")["AllocationId"]
        tags = [{"ResourceType": "natgateway", "Tags": TAGS}]
        gateway = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address, TagSpecifications=tags)
        made.append(gateway["NatGateway"]["NatGatewayId"])
    quiet, busy, _unknown = made
    sent("AWS/NATGateway", "BytesOutToDestination", 0, NatGatewayId=quiet)
    sent("AWS/NATGateway", "BytesOutToDestination", 9e6, NatGatewayId=busy)
    assert found(outputs).keys() == {quiet}


@pytest.mark.parametrize(("consumed", "told"), [(50.0, True), (60_000_000.0, False)])
def test_provisioned_capacity_that_is_hardly_used(consumed: float, told: bool, outputs: Outputs) -> None:
    boto3.client("dynamodb").create_table(
        TableName="t",
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 100},
    )
    sent("AWS/DynamoDB", "ConsumedWriteCapacityUnits", consumed, TableName="t")
    sent("AWS/DynamoDB", "ConsumedReadCapacityUnits", 0, TableName="t")
    of = outputs.model_copy(update={"online_tables": {"customers": "t"}})
    assert found(of) == (
        {"t": "less than 10% of 100 write units were used; lower events.per_second, or the models' requests"}
        if told
        else {}
    )
