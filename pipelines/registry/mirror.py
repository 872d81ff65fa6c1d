"""A copy of each version in the SageMaker Model Registry, with its approval status, for whoever looks there.

It is a copy: what is deployed is decided by the signed record and the signed approvals.
https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry.html
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from spec.names import short_name
from spec.versions import VersionRecord

if TYPE_CHECKING:
    from pipelines.context import Context

GROUP_LIMIT = 63  # SageMaker's limit for names of model package groups
PENDING, APPROVED, REJECTED = "PendingManualApproval", "Approved", "Rejected"
_LONGEST_VALUE = 256  # of a custom property
_LONGEST_REASON = 1024


class Mirror:
    """The model's group of packages."""

    def __init__(self, context: Context) -> None:
        self.context = context
        outputs = context.outputs
        self.group = short_name(f"{outputs.project}-{outputs.stack}-{context.model}", GROUP_LIMIT)

    def add(self, record: VersionRecord, place: str) -> str:
        """Create the version's package if there is none; returns its ARN.

        Args:
            place: ``s3://`` address of the version's folder.
        """
        if found := self._find(record.version):
            return found
        self._ensure_group()
        known = {
            "Version": record.version,
            "Change": record.change,
            "Author": record.author,
            "ArtifactSha256": record.artifact,
            "DatasetDigest": record.dataset.digest,
            "Dataset": record.dataset.place,
            "RunId": record.lineage["run_id"],
            "KpiMonthlyUsd": f"{record.kpi.monthly_usd:.2f}",
        }
        content = {"ContentType": "application/json", "S3Uri": f"{place}record.json"}
        answer = self._sagemaker.create_model_package(
            ModelPackageGroupName=self.group,
            ModelPackageDescription=f"{record.model} {record.version}",
            ModelApprovalStatus=PENDING,
            InferenceSpecification={
                "Containers": [{"Image": self.context.outputs.image_uri, "ModelDataUrl": f"{place}model.tar.gz"}],
                "SupportedContentTypes": ["application/json", "text/csv"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
            ModelMetrics={"ModelQuality": {"Statistics": content}},
            CustomerMetadataProperties={key: _allowed(value) for key, value in known.items() if value},
        )
        return str(answer["ModelPackageArn"])

    def decided(self, version: str, status: str, why: str) -> None:
        """Copy what was decided; a version that is not in this registry stays out of it."""
        if found := self._find(version):
            self._sagemaker.update_model_package(
                ModelPackageArn=found, ModelApprovalStatus=status, ApprovalDescription=why[:_LONGEST_REASON]
            )

    def _find(self, version: str) -> str:
        from botocore.exceptions import ClientError

        pages = self._sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=self.group)
        try:
            listed = [item for page in pages for item in page["ModelPackageSummaryList"]]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationException":
                raise
            return ""  # there is no such group
        wanted = f"{self.context.model} {version}"
        return next((str(i["ModelPackageArn"]) for i in listed if i.get("ModelPackageDescription") == wanted), "")

    def _ensure_group(self) -> None:
        from botocore.exceptions import ClientError

        try:
            self._sagemaker.create_model_package_group(
                ModelPackageGroupName=self.group,
                ModelPackageGroupDescription=f"Versions of {self.context.model}",
                Tags=[
                    {"Key": "Project", "Value": self.context.outputs.project},
                    {"Key": "Environment", "Value": self.context.outputs.stack},
                    {"Key": "Model", "Value": self.context.model},
                ],
            )
        except ClientError as error:
            if "already exists" not in str(error):
                raise

    @cached_property
    def _sagemaker(self) -> Any:
        import boto3

        return boto3.client("sagemaker")


def _allowed(value: str) -> str:
    """A custom property's value: letters, digits, blanks and _.:/=+-@, at most 256 characters."""
    return "".join(c if c.isalnum() or c in " _.:/=+-@" else " " for c in value)[:_LONGEST_VALUE]
