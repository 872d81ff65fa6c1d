"""Every target by its name."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.targets import aws_lambda, device, kserve, sagemaker, triton
from pipelines.targets.device import Signer
from pipelines.targets.served import Build, Files, Served, Stack

ON_DEVICES = {"edge": device.ort, "litert": device.litert}


@dataclass(frozen=True)
class Target:
    """Where a bundle runs.

    Attributes:
        what: For people.
        build: Makes its files; None for devices', which may be signed.
        steps: What brings it there: commands, with ``{bucket}``, ``{model}``, ``{version}``, ``{name}`` and
            ``{registry}``.
    """

    what: str
    build: Build | None
    steps: tuple[str, ...]


_UPLOAD = "aws s3 cp model.tar.gz s3://{bucket}/{model}/packages/{version}/model.tar.gz"
_CREATE = "aws sagemaker create-{0} --cli-input-json file://create-{0}.json"

TARGETS: dict[str, Target] = {
    "sagemaker": Target(
        "a SageMaker real-time endpoint",
        sagemaker.real_time,
        (_UPLOAD, *map(_CREATE.format, ("model", "endpoint-config", "endpoint"))),
    ),
    "serverless": Target(
        "a SageMaker serverless endpoint",
        sagemaker.serverless,
        (_UPLOAD, *map(_CREATE.format, ("model", "endpoint-config", "endpoint"))),
    ),
    "batch": Target(
        "a SageMaker batch transform job",
        sagemaker.batch,
        (_UPLOAD, *map(_CREATE.format, ("model", "transform-job"))),
    ),
    "kserve": Target(
        "a KServe InferenceService, with a canary",
        kserve.build,
        (
            "aws s3 cp --recursive repository s3://{bucket}/{model}/packages/{version}/repository",
            "kubectl apply -f canary.yaml             # a share of the traffic, beside the version before",
            "kubectl apply -f inference-service.yaml  # all of it",
        ),
    ),
    "triton": Target(
        "a repository for NVIDIA Triton: ONNX Runtime, and its twin in Python",
        triton.build,
        ("tritonserver --model-repository=. --model-control-mode=explicit --load-model={model}  # or {model}-python",),
    ),
    "lambda": Target(
        "a container for AWS Lambda",
        aws_lambda.build,
        (
            "aws ecr create-repository --repository-name {name} --image-tag-mutability IMMUTABLE",
            "aws ecr get-login-password | docker login --username AWS --password-stdin {registry}",
            "docker build -t {registry}/{name}:{version} . && docker push {registry}/{name}:{version}",
            "aws iam create-role --role-name {name} --assume-role-policy-document file://trust.json",
            "aws iam attach-role-policy --role-name {name} --policy-arn"
            " arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole  # it writes its log, and nothing else",
            "aws lambda create-function --cli-input-json file://function.json",
        ),
    ),
    "edge": Target(
        "a device with ONNX Runtime, which takes signed updates",
        None,
        ("python predict.py --verify", "python predict.py rows.json"),
    ),
    "litert": Target(
        "a device with LiteRT (TensorFlow Lite), which takes signed updates",
        None,
        ("python predict.py --verify", "python predict.py rows.json"),
    ),
}


def bundle(target: str, served: Served, stack: Stack, signer: Signer | None = None) -> Files:
    """The files of a target, and ``README.txt`` with what to do with them.

    Args:
        target: One of ``TARGETS``.
        signer: Signs a device's manifest.

    Raises:
        GroundplanError: The model can't run there.
    """
    chosen = TARGETS[target]
    made = ON_DEVICES[target](served, signer) if chosen.build is None else chosen.build(served, stack)
    return {**made, "README.txt": _readme(target, served, stack).encode()}


def steps(target: str, served: Served, stack: Stack) -> list[str]:
    """The commands that bring a bundle to where it runs."""
    return [
        step.format(
            bucket=stack.bucket,
            model=served.name,
            version=served.version,
            name=f"{stack.name}-{served.name}",
            registry=stack.image_uri.rpartition("/")[0],
        )
        for step in TARGETS[target].steps
    ]


def _readme(target: str, served: Served, stack: Stack) -> str:
    told = "\n".join(f"  {step}" for step in steps(target, served, stack))
    return f"{served.name} {served.version} for {TARGETS[target].what}.\n\n{told}\n"
