"""Retraining in a function: what starts it, what it may do, and what releases its versions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.infra.test_program import everything, of_type, previewed

pytestmark = pytest.mark.slow
PREFIX = "groundplan-prod-"


def actions(role: str) -> set[str]:
    policy = next(item for item in of_type(everything(), "RolePolicy") if item.name == role)
    document = policy.inputs["policy"]
    statements: list[dict[str, Any]] = (json.loads(document) if isinstance(document, str) else document)["Statement"]
    return {action for statement in statements for action in statement["Action"]}


def test_a_function_is_the_platforms_image_within_lambdas_limits() -> None:
    function = next(iter(of_type(everything(), "Function")))
    assert function.inputs["packageType"] == "Image" and function.inputs["timeout"] == 900
    assert function.inputs["memorySize"] == 4096 and function.inputs["ephemeralStorage"] == {"size": 10_240}
    assert function.inputs["imageConfig"]["entryPoints"] == ["python", "-m", "awslambdaric"]
    assert len(function.inputs["vpcConfig"]["securityGroupIds"]) == 1 and "kmsKeyArn" in function.inputs
    once = next(iter(of_type(everything(), "FunctionEventInvokeConfig")))
    assert once.inputs["maximumRetryAttempts"] == 0, "what failed is looked at"
    assert not of_type(previewed("prod"), "Function"), "without a measurement there is none"


def test_it_may_train_but_not_deploy() -> None:
    names = "AddTags CreateModelPackage CreateModelPackageGroup ListModelPackages UpdateModelPackage"
    of_the_registry = {f"sagemaker:{name}" for name in names.split()}
    found = {name for name in actions("identity-trainer") if name.startswith(("sagemaker:", "iam:"))}
    assert found == of_the_registry
    assert {"s3:PutObject", "kafka-cluster:ReadData", "dynamodb:BatchWriteItem"} <= actions("identity-trainer")
    assert actions("identity-trainer") < actions("identity-cluster-pipeline") | {
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "logs:CreateLogGroup",
        "logs:DescribeLogStreams",
        *(action for action in actions("identity-trainer") if action.startswith("ec2:")),
    }


def test_a_schedule_starts_the_function_and_another_the_release() -> None:
    schedules = {item.name: item.inputs for item in of_type(everything(), "Schedule")}
    train, release = schedules["schedules-retrain-nightly"], schedules["schedules-release-nightly"]
    assert train["target"]["arn"] == "arn:aws:scheduler:::aws-sdk:lambda:invoke"
    assert release["target"]["arn"] == "arn:aws:scheduler:::aws-sdk:sagemaker:startPipelineExecution"
    assert "lambda:InvokeFunction" in actions("schedules")
    names = [item.name for item in of_type(everything(), "Pipeline")]
    assert "release-nightly" in names and "workflow-nightly" not in names
