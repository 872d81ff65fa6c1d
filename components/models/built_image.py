"""A container image as a resource: the engine starts its build and waits for it.

A dynamic provider (https://www.pulumi.com/docs/iac/concepts/resources/dynamic-providers/): the one place in the
components where AWS is called, and only in a deployment.
"""

from __future__ import annotations

import time
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider

BUILD_MINUTES = 60
POLL_SECONDS = 10
ATTEMPTS = 3


class Builder(ResourceProvider):
    """Starts a build and waits for its end. Runs beside the engine, with the engine's AWS credentials."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Build the image, unless its tag already exists.

        Raises:
            RuntimeError: The build failed, or timed out.
        """
        import boto3

        account, found = (
            props["uri"].partition(".")[0],
            boto3.client("sts", region_name=props["region"]).get_caller_identity()["Account"],
        )
        if found != account:
            raise RuntimeError(
                f"the image belongs in account {account}, but these credentials are for {found}; set AWS_PROFILE to"
                " the stack's"
            )
        repository, _, tag = props["uri"].partition("/")[2].partition(":")
        registry = boto3.client("ecr", region_name=props["region"])
        try:
            registry.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
        except registry.exceptions.ImageNotFoundException:
            self._build(boto3.client("codebuild", region_name=props["region"]), props)
        return CreateResult(props["uri"], props)

    def _build(self, codebuild: Any, props: dict[str, Any]) -> None:
        # A role created seconds ago may not have propagated yet; the build then ends before its first phase.
        for attempt in range(ATTEMPTS):
            build = self._wait(codebuild, codebuild.start_build(projectName=props["project"])["build"]["id"])
            if build["buildStatus"] == "SUCCEEDED":
                return
            phases = {phase["phaseType"] for phase in build.get("phases", [])}
            if "BUILD" in phases or attempt == ATTEMPTS - 1:
                raise RuntimeError(
                    f"the image build ended with {build['buildStatus']}; its log:"
                    f" {build.get('logs', {}).get('deepLink', build['id'])}"
                )
            time.sleep(POLL_SECONDS)

    def _wait(self, codebuild: Any, build_id: str) -> dict[str, Any]:
        for _ in range(2 * BUILD_MINUTES * 60 // POLL_SECONDS):
            build: dict[str, Any] = codebuild.batch_get_builds(ids=[build_id])["builds"][0]
            if build["buildStatus"] != "IN_PROGRESS":
                return build
            time.sleep(POLL_SECONDS)
        raise RuntimeError(f"the image build {build_id} has not finished in {2 * BUILD_MINUTES} minutes")

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """A new tag is a new image; the old one stays in the repository, so that a rollback finds it."""
        return DiffResult(
            changes=olds["uri"] != news["uri"],
            replaces=["uri"] if olds["uri"] != news["uri"] else [],
            delete_before_replace=False,
        )


class BuiltImage(Resource, module="groundplan", name="BuiltImage"):
    """An image with one tag in the repository."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(Builder(), name, props, opts)
