"""The model server in a container for AWS Lambda: https://docs.aws.amazon.com/lambda/latest/dg/python-image.html."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pipelines
from pipelines.targets.served import Files, Served, Stack

# What the model server needs to answer and to explain, and Lambda's client.
_REQUIRED = ("awslambdaric", "msgspec", "numpy", "onnx", "onnxruntime", "orjson", "prometheus-client")
_LAMBDARIC = "4"  # not installed with the project: it builds only on Linux
MEMORY_MB, TIMEOUT_S, SCRATCH_MB = 1769, 30, 512  # 1,769 MB are one whole CPU

_DOCKERFILE = """FROM public.ecr.aws/docker/library/python:3.11-slim
WORKDIR /function
COPY requirements.txt .
RUN pip install --no-cache-dir --no-compile -r requirements.txt
COPY app/ ./
COPY model/ /opt/ml/model/
ENV GROUNDPLAN_LOG_FORMAT=json PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["python", "-m", "awslambdaric"]
CMD ["pipelines.serving.lambda_handler.handler"]
"""


def build(served: Served, stack: Stack) -> Files:
    """Dockerfile, the server's source, the model, and the requests that create the function and its role.

    Requests carry the features themselves: what reads the online store is neither installed nor allowed there.
    """
    served.graph("lambda")
    account = stack.image_uri.partition(".")[0]
    root = Path(pipelines.__file__).parent
    sources = [root / "__init__.py", *sorted((root / "serving").rglob("*.py"))]
    name = f"{stack.name}-{served.name}"
    function = {
        "FunctionName": name,
        "PackageType": "Image",
        "Code": {"ImageUri": f"{stack.image_uri.rpartition('/')[0]}/{name}:{served.version}"},
        "Role": f"arn:aws:iam::{account}:role/{name}",
        "MemorySize": MEMORY_MB,
        "Timeout": TIMEOUT_S,
        "EphemeralStorage": {"Size": SCRATCH_MB},
        "Architectures": ["x86_64"],
        "Tags": {"Model": served.name, "Version": served.version},
    }
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": account}},
            }
        ],
    }
    return {
        "Dockerfile": _DOCKERFILE.encode(),
        "requirements.txt": "".join(f"{_pinned(one)}\n" for one in _REQUIRED).encode(),
        "function.json": json.dumps(function, indent=1).encode(),
        "trust.json": json.dumps(trust, indent=1).encode(),
        **{f"app/pipelines/{path.relative_to(root).as_posix()}": path.read_bytes() for path in sources},
        **{f"model/{file}": content for file, content in served.files.items()},
        "model/model.json": json.dumps({**served.described, "entity": {}}).encode(),
    }


def _pinned(package: str) -> str:
    return f"awslambdaric>={_LAMBDARIC}" if package == "awslambdaric" else f"{package}=={version(package)}"
