from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.foundation.base import Scope
from groundplan.local.moto.rules import RULES
from groundplan.local.moto.shapes import check, input_shape, to_request
from spec.errors import GroundplanError


def scope(stack: str = "local") -> Scope:
    return Scope("groundplan", stack, "us-east-1", "123456789012", "a@b.c", protect=False)


@given(st.text(max_size=200), st.integers(20, 255))
def test_a_name_fits_its_limit_and_alphabet(part: str, limit: int) -> None:
    name = scope().name(part, "x", limit=limit)
    assert len(name) <= limit
    assert (
        set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        and not name.startswith("-")
        and not name.endswith("-")
    )


def test_two_long_names_stay_different() -> None:
    assert scope().name("m" * 100 + "a") != scope().name("m" * 100 + "b")


def test_a_bucket_name_fits_s3s_limit_in_any_stack() -> None:
    name = scope("a-rather-long-stack-name").bucket_name("curated-and-then-some-more-of-it")
    assert len(name) <= 63 and name.endswith("-123456789012")


def test_inputs_are_spelled_as_the_api_spells_them() -> None:
    shape = input_shape("s3", "PutBucketEncryption")
    rules = [
        {
            "applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": "k"},
            "bucketKeyEnabled": True,
        }
    ]
    request = to_request(shape, {"bucket": "b", "ServerSideEncryptionConfiguration": {"Rules": rules}}, "here")
    assert request == {
        "Bucket": "b",
        "ServerSideEncryptionConfiguration": {
            "Rules": [
                {
                    "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "k"},
                    "BucketKeyEnabled": True,
                }
            ]
        },
    }


@pytest.mark.parametrize(
    ("service", "operation", "key", "expected"),
    [
        ("kms", "CreateKey", "Tags", [{"TagKey": "a", "TagValue": "1"}]),
        ("iam", "CreateRole", "Tags", [{"Key": "a", "Value": "1"}]),
        ("cloudwatch", "PutMetricAlarm", "Dimensions", [{"Name": "a", "Value": "1"}]),
        ("kafka", "CreateClusterV2", "Tags", {"a": "1"}),
    ],
)
def test_a_map_becomes_what_the_service_wants_of_it(service: str, operation: str, key: str, expected: Any) -> None:
    assert to_request(input_shape(service, operation), {key.lower(): {"a": "1"}}, "here")[key] == expected


def test_an_input_without_counterpart_is_never_dropped_silently() -> None:
    with pytest.raises(GroundplanError, match="'colour' is not a parameter of"):
        to_request(input_shape("kms", "CreateKey"), {"colour": "red"}, "key")


@pytest.mark.parametrize(
    ("service", "operation", "request_", "says"),
    [
        ("kms", "CreateKey", {"KeyUsage": "OPEN_DOORS"}, "'OPEN_DOORS' is not one of"),
        ("sagemaker", "CreateModel", {"ModelName": "under_score"}, "'under_score' does not match"),
        ("sagemaker", "CreateModel", {"ModelName": "m" * 64}, "at most 63"),
        ("sagemaker", "CreateModel", {}, "ModelName is required"),
        (
            "cloudwatch",
            "PutMetricAlarm",
            {"AlarmName": "a", "EvaluationPeriods": 0, "ComparisonOperator": "GreaterThanThreshold"},
            "at least 1",
        ),
        (
            "iam",
            "CreateRole",
            {"RoleName": "r", "AssumeRolePolicyDocument": "{}", "MaxSessionDuration": 60},
            "at least 3600",
        ),
        ("logs", "CreateLogGroup", {"logGroupName": "a b"}, "'a b' does not match"),
    ],
)
def test_requests_are_held_to_the_service_model(
    service: str, operation: str, request_: dict[str, Any], says: str
) -> None:
    faults = check(input_shape(service, operation), request_)
    assert any(says in fault for fault in faults), faults


def test_a_good_request_has_no_faults() -> None:
    request = {
        "ModelName": "groundplan-local-m",
        "PrimaryContainer": {"Image": "1.dkr/x:1"},
        "ExecutionRoleArn": "arn:aws:iam::123456789012:role/serving",
    }
    assert check(input_shape("sagemaker", "CreateModel"), request) == []


@pytest.mark.parametrize("resource_type", sorted(RULES))
def test_every_rule_names_operations_that_exist(resource_type: str) -> None:
    rule = RULES[resource_type]
    assert rule.make or (rule.operation and rule.id)
    if rule.operation:
        assert input_shape(rule.service, rule.operation) is not None
    for call in (rule.delete, rule.read):
        if isinstance(call, tuple):
            operation, request = call[:2]
            assert {name.partition(".")[0] for name in request} <= set(input_shape(rule.service, operation).members)
