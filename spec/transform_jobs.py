"""The request of a SageMaker transform job: of those that a schedule starts, and of those that a person does.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTransformJob.html
"""

from __future__ import annotations

from typing import Any


def transform_job(job: str, *, model: str, of: str, instance_type: str, bucket: str, key: str) -> dict[str, Any]:
    """Files of JSON lines, each line a request as an endpoint takes it.

    Args:
        job: Its name.
        model: The model's name in SageMaker.
        of: The model's own name: requests are below ``batch/NAME/in/``, answers below ``batch/NAME/out/``.
        key: ARN of the KMS key of answers and volume.
    """
    return {
        "TransformJobName": job,
        "ModelName": model,
        "BatchStrategy": "SingleRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/batch/{of}/in/"}},
            "ContentType": "application/json",
            "SplitType": "Line",
        },
        "TransformOutput": {
            "S3OutputPath": f"s3://{bucket}/batch/{of}/out/",
            "AssembleWith": "Line",
            "KmsKeyId": key,
        },
        "TransformResources": {"InstanceType": instance_type, "InstanceCount": 1, "VolumeKmsKeyId": key},
    }
