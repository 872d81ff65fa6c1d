"""The local cloud's bill, as boto3's Cost Explorer reads it: what exists, while it exists, and what is asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from groundplan.local.calls import Called
from groundplan.local.moto.alarms import evaluate_alarms
from groundplan.local.moto.cost_explorer import answer_cost_explorer
from groundplan.local.moto.meter import Meter
from infra.design.price_book import HOURS_PER_MONTH, load_prices

REGION, HOUR = "us-east-1", 3600.0
TAGS = [{"Key": "Project", "Value": "shop"}, {"Key": "Environment", "Value": "prod"}]
BOOK = load_prices(REGION)


class Clock:
    at = 0.0


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meter]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    evaluate_alarms()
    with mock_aws():
        made = Meter(threading.Lock(), lambda: Clock.at)
        Clock.at = 1_790_000_000.0
        answer_cost_explorer()(made)
        called(made, "sts", "GetCallerIdentity")
        made.read()
        yield made


def called(meter: Meter, service: str, operation: str, **parameters: str) -> None:
    meter.note(
        Called("", "key", "123456789012", REGION, service, operation, dict(parameters), 200, "", "id", "127.0.0.1", "")
    )


def later(meter: Meter, hours: float) -> None:
    Clock.at += hours * HOUR
    meter.read()


def asked(by: tuple[str, str] = ("DIMENSION", "SERVICE"), **more: Any) -> dict[str, float]:
    period = {"Start": "2026-09-01", "End": "2026-11-01"}
    answer = boto3.client("ce").get_cost_and_usage(
        **{
            "TimePeriod": period,
            "Granularity": "MONTHLY",
            "Metrics": ["UnblendedCost"],
            "GroupBy": [{"Type": by[0], "Key": by[1]}],
            **more,
        }
    )
    return {
        group["Keys"][0]: float(group["Metrics"]["UnblendedCost"]["Amount"])
        for of in answer["ResultsByTime"]
        for group in of["Groups"]
    }


def endpoint(name: str = "risk", instances: int = 2) -> None:
    client = boto3.client("sagemaker")
    client.create_model(ModelName=name, ExecutionRoleArn="arn:aws:iam::123456789012:role/r")
    variant = {"VariantName": "champion", "ModelName": name, "InstanceType": "ml.c5.large"}
    client.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[{**variant, "InitialInstanceCount": instances}]
    )
    client.create_endpoint(EndpointName=name, EndpointConfigName=name, Tags=[*TAGS, {"Key": "Model", "Value": name}])


def test_an_endpoint_costs_its_instances_while_it_exists(meter: Meter) -> None:
    endpoint()
    later(meter, 3)
    price = BOOK.services["sagemaker", "ml.c5.large"]
    assert asked() == {"Amazon SageMaker": pytest.approx(3 * 2 * price)}
    assert asked(("TAG", "Model")) == {"Model$risk": pytest.approx(3 * 2 * price)}
    boto3.client("sagemaker").delete_endpoint(EndpointName="risk")
    later(meter, 100)
    assert asked() == {"Amazon SageMaker": pytest.approx(3 * 2 * price)}


def test_each_kind_of_resource_has_its_price(meter: Meter) -> None:
    boto3.client("kms").create_key()
    boto3.client("secretsmanager").create_secret(Name="s", SecretString="x")
    boto3.client("rds").create_db_instance(
        DBInstanceIdentifier="d",
        DBInstanceClass="db.t4g.micro",
        Engine="postgres",
        AllocatedStorage=20,
        StorageType="gp3",
        MultiAZ=True,
        MasterUsername="someone",
        MasterUserPassword="something-long",
    )
    boto3.client("kafka").create_cluster(
        ClusterName="k",
        KafkaVersion="3.7.x",
        NumberOfBrokerNodes=3,
        BrokerNodeGroupInfo={
            "InstanceType": "kafka.m7g.large",
            "ClientSubnets": ["subnet-1"],
            "StorageInfo": {"EbsStorageInfo": {"VolumeSize": 100}},
        },
    )
    boto3.client("dynamodb").create_table(
        TableName="t",
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        ProvisionedThroughput={"ReadCapacityUnits": 10, "WriteCapacityUnits": 100},
    )
    ec2 = boto3.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)
    ec2.create_volume(AvailabilityZone="us-east-1a", Size=50, VolumeType="gp3")
    metric = {"MetricStat": {"Metric": {"Namespace": "n", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}}
    boto3.client("cloudwatch").put_metric_alarm(
        AlarmName="two",
        Metrics=[
            {"Id": "a", **metric, "ReturnData": False},
            {"Id": "b", **metric, "ReturnData": False},
            {"Id": "c", "Expression": "a/b", "ReturnData": True},
        ],
        ComparisonOperator="GreaterThanThreshold",
        Threshold=1,
        EvaluationPeriods=1,
    )
    later(meter, HOURS_PER_MONTH)
    found = asked(("DIMENSION", "USAGE_TYPE"))
    wanted = {
        "kms:key": BOOK.per_unit("kms", "key"),
        "secretsmanager:secret": BOOK.per_unit("secretsmanager", "secret"),
        "rds:db.t4g.micro": BOOK.hourly("rds", "db.t4g.micro", 2),
        "rds:storage-gp3": BOOK.per_unit("rds", "storage-gp3", 40),
        "msk:kafka.m7g.large": BOOK.hourly("msk", "kafka.m7g.large", 3),
        "msk:storage": BOOK.per_unit("msk", "storage", 300),
        "dynamodb:rcu": BOOK.hourly("dynamodb", "rcu", 10),
        "dynamodb:wcu": BOOK.hourly("dynamodb", "wcu", 100),
        "ec2:nat-gateway": BOOK.hourly("ec2", "nat-gateway"),
        "ec2:ebs-gp3": BOOK.per_unit("ec2", "ebs-gp3", 50),
        "cloudwatch:alarm": BOOK.per_unit("cloudwatch", "alarm", 2),
    }
    assert {key: found.get(key) for key in wanted} == {key: pytest.approx(bill.usd) for key, bill in wanted.items()}


def test_a_serverless_endpoint_costs_the_time_of_its_requests(meter: Meter) -> None:
    from datetime import UTC, datetime

    client = boto3.client("sagemaker")
    client.create_model(ModelName="m", ExecutionRoleArn="arn:aws:iam::123456789012:role/r")
    serverless = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    client.create_endpoint_config(
        EndpointConfigName="m",
        ProductionVariants=[{"VariantName": "champion", "ModelName": "m", "ServerlessConfig": serverless}],
    )
    client.create_endpoint(EndpointName="m", EndpointConfigName="m")
    at = datetime.fromtimestamp(Clock.at + 120, UTC)
    dimensions = [{"Name": "EndpointName", "Value": "m"}, {"Name": "VariantName", "Value": "champion"}]
    data = [{"MetricName": "ModelLatency", "Dimensions": dimensions, "Timestamp": at, "Values": [5e5], "Counts": [10]}]
    boto3.client("cloudwatch").put_metric_data(Namespace="AWS/SageMaker", MetricData=data)
    later(meter, 1)
    later(meter, 1)
    found = asked(("DIMENSION", "USAGE_TYPE"))["sagemaker:serverless-inference"]
    assert found == pytest.approx(10 * 0.5 * 2 * BOOK.services["sagemaker", "serverless-inference"]), "once"


def test_requests_are_counted_by_bucket(meter: Meter) -> None:
    client = boto3.client("s3")
    client.create_bucket(Bucket="bills")
    client.put_bucket_tagging(Bucket="bills", Tagging={"TagSet": TAGS})
    for _ in range(2_000):
        called(meter, "s3", "PutObject", Bucket="bills")
    called(meter, "s3", "PutObject")
    later(meter, 0.1)
    only = {"Tags": {"Key": "Environment", "Values": ["prod"]}}
    assert asked(("DIMENSION", "USAGE_TYPE"), Filter=only) == {"s3:put": pytest.approx(2 * BOOK.services["s3", "put"])}
    assert asked(("DIMENSION", "USAGE_TYPE"))["s3:put"] > 2 * BOOK.services["s3", "put"]


def test_filters_and_groups_are_cost_explorer_s(meter: Meter) -> None:
    endpoint("risk")
    endpoint("churn", 1)
    boto3.client("kms").create_key()
    later(meter, 2)
    price = BOOK.services["sagemaker", "ml.c5.large"]
    prod = {"Tags": {"Key": "Environment", "Values": ["prod"]}}
    machines = {"Dimensions": {"Key": "SERVICE", "Values": ["Amazon SageMaker"]}}
    risk = {"Tags": {"Key": "Model", "Values": ["risk"]}}
    assert asked(Filter={"And": [prod, machines, {"Not": risk}]}) == {"Amazon SageMaker": pytest.approx(2 * price)}
    assert asked(Filter={"Or": [risk, {"Not": machines}]}).keys() == {"Amazon SageMaker", "AWS Key Management Service"}
    answer = boto3.client("ce").get_cost_and_usage(
        TimePeriod={"Start": "2026-09-21", "End": "2026-09-23"},
        Granularity="DAILY",
        Metrics=["UnblendedCost", "UsageQuantity"],
        GroupBy=[{"Type": "DIMENSION", "Key": "SERVICE"}, {"Type": "TAG", "Key": "Model"}],
        Filter=prod,
    )
    assert [of["TimePeriod"]["Start"] for of in answer["ResultsByTime"]] == ["2026-09-21", "2026-09-22"]
    keys = [group["Keys"] for of in answer["ResultsByTime"] for group in of["Groups"]]
    assert keys == [["Amazon SageMaker", "Model$churn"], ["Amazon SageMaker", "Model$risk"]]
    whole = boto3.client("ce").get_cost_and_usage(
        TimePeriod={"Start": "2026-09-01", "End": "2026-10-01"}, Granularity="MONTHLY", Metrics=["UnblendedCost"]
    )["ResultsByTime"][0]
    assert whole["Groups"] == [] and float(whole["Total"]["UnblendedCost"]["Amount"]) > 6 * price


@pytest.mark.parametrize(
    "wrong",
    [
        {"Filter": {"CostCategories": {"Key": "x", "Values": ["y"]}}},
        {"GroupBy": [{"Type": "DIMENSION", "Key": "TENANCY"}]},
        {"Metrics": ["Guesses"]},
    ],
)
def test_what_is_not_answered_here_is_refused(wrong: dict[str, Any], meter: Meter) -> None:
    endpoint()
    later(meter, 1)
    with pytest.raises(ClientError, match=r"ValidationException.*can't answer this request"):
        asked(**wrong)


def test_time_is_not_lost_where_a_reading_fails(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint()
    with monkeypatch.context() as broken:
        broken.setattr("groundplan.local.moto.meter.running", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            later(meter, 1)
    later(meter, 1)
    assert asked()["Amazon SageMaker"] == pytest.approx(2 * 2 * BOOK.services["sagemaker", "ml.c5.large"])
