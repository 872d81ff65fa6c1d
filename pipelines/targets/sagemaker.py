"""Requests to SageMaker's own API, each a file for ``aws sagemaker ... --cli-input-json``."""

from __future__ import annotations

import json
from typing import Any

from pipelines.context import SAGEMAKER_NAME_LIMIT
from pipelines.serving.models.bundle import package
from pipelines.steps.endpoint import SANDBOX_INSTANCE_TYPE, SERVERLESS_MEMORY_MB
from pipelines.targets.served import Files, Served, Stack
from spec.errors import GroundplanError
from spec.names import short_name
from spec.transform_jobs import transform_job

BATCH_INSTANCE_TYPE = "ml.m5.large"


def real_time(served: Served, stack: Stack) -> Files:
    """An endpoint on instances that always run. A model in its own format has neither network nor credentials there."""
    alone = served.described.get("engine", "onnx") == "native"
    return _endpoint(
        served,
        stack,
        {"InstanceType": SANDBOX_INSTANCE_TYPE, "InitialInstanceCount": stack.min_instances},
        key=stack.key_arn,
        alone=alone,
    )


def serverless(served: Served, stack: Stack) -> Files:
    """An endpoint that runs only while it answers: https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html."""
    _trusted(served, "serverless")
    limits = {"MemorySizeInMB": SERVERLESS_MEMORY_MB, "MaxConcurrency": max(1, min(stack.max_instances, 200))}
    return _endpoint(served, stack, {"ServerlessConfig": limits}, network=False)


def batch(served: Served, stack: Stack) -> Files:
    """A transform job over files of JSON lines, each a request as the endpoint takes it."""
    _trusted(served, "batch")
    name, files = _model(served, stack)
    job = transform_job(
        name, model=name, of=served.name, instance_type=BATCH_INSTANCE_TYPE, bucket=stack.bucket, key=stack.key_arn
    )
    return {**files, "create-transform-job.json": _json({**job, "Tags": _tags(served)})}


def _trusted(served: Served, target: str) -> None:
    """Only where nothing else is within reach may a model run code of its own."""
    if served.described.get("untrusted"):
        raise GroundplanError(
            f"{served.name} {served.version} is stored as a pickle",
            where=f"target {target}",
            fix="use --target sagemaker",
        )


def _endpoint(
    served: Served, stack: Stack, how: dict[str, Any], *, key: str = "", network: bool = True, alone: bool = False
) -> Files:
    name, files = _model(served, stack, network=network, alone=alone)
    variant = {"VariantName": "champion", "ModelName": name, "InitialVariantWeight": 1.0, **how}
    config = {"EndpointConfigName": name, "ProductionVariants": [variant], "Tags": _tags(served)}
    endpoint = short_name(f"{stack.name}-{served.name}", SAGEMAKER_NAME_LIMIT)
    return {
        **files,
        "create-endpoint-config.json": _json({**config, **({"KmsKeyId": key} if key else {})}),
        "create-endpoint.json": _json({"EndpointName": endpoint, "EndpointConfigName": name, "Tags": _tags(served)}),
    }


def _model(served: Served, stack: Stack, *, network: bool = True, alone: bool = False) -> tuple[str, Files]:
    name = short_name(f"{stack.name}-{served.name}-{served.version.replace('.', '-')}", SAGEMAKER_NAME_LIMIT)
    model: dict[str, Any] = {
        "ModelName": name,
        "ExecutionRoleArn": stack.role_arn,
        "PrimaryContainer": {
            "Image": stack.image_uri,
            "ModelDataUrl": f"s3://{stack.bucket}/{served.name}/packages/{served.version}/model.tar.gz",
            "Environment": {"GROUNDPLAN_MODEL": served.name, "AWS_DEFAULT_REGION": stack.region},
        },
        "Tags": _tags(served),
    }
    if alone:
        model["EnableNetworkIsolation"] = True
        model["PrimaryContainer"]["Environment"]["GROUNDPLAN_NETWORK_ISOLATION"] = "1"
    if network and stack.subnet_ids:
        model["VpcConfig"] = {"Subnets": list(stack.subnet_ids), "SecurityGroupIds": list(stack.security_group_ids)}
    return name, {"model.tar.gz": package(served.files), "create-model.json": _json(model)}


def _tags(served: Served) -> list[dict[str, str]]:
    return [{"Key": "Model", "Value": served.name}, {"Key": "Version", "Value": served.version}]


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode()
