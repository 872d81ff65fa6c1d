"""The platform's container image: its repository, and a build in the account that signs it, so that nobody needs
Docker.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args, LogRetention
from components.foundation.base import Component, Scope, Statement, policy
from components.foundation.roles import make_role, service_trust
from components.models.built_image import BUILD_MINUTES, BuiltImage

_BUILD_IMAGE = "aws/codebuild/amazonlinux-x86_64-standard:5.0"
_COSIGN = "v2.4.3"
_BUILDSPEC = {
    "version": 0.2,
    "phases": {
        # Go's checksum database verifies the tool's source.
        "install": {
            "runtime-versions": {"golang": "latest"},
            "commands": [f"go install github.com/sigstore/cosign/v2/cmd/cosign@{_COSIGN}"],
        },
        "pre_build": {
            "commands": ['aws ecr get-login-password | docker login --username AWS --password-stdin "${IMAGE_URI%%/*}"']
        },
        "build": {"commands": ['docker build --file "$DOCKERFILE" --tag "$IMAGE_URI" .']},
        "post_build": {
            "commands": [
                'test "$CODEBUILD_BUILD_SUCCEEDING" = 1',
                'docker push "$IMAGE_URI"',
                # The digest is signed. The key is the account's own, so nothing goes into a public log.
                'IMAGE_DIGEST=$(docker inspect --format "{{index .RepoDigests 0}}" "$IMAGE_URI")',
                '"$(go env GOPATH)/bin/cosign" sign --yes --tlog-upload=false --key "$SIGNING_KEY" "$IMAGE_DIGEST"',
                'docker run --rm --entrypoint cat "$IMAGE_URI" sbom.cdx.json > sbom.cdx.json',
                '"$(go env GOPATH)/bin/cosign" attest --yes --tlog-upload=false --key "$SIGNING_KEY"'
                ' --type cyclonedx --predicate sbom.cdx.json "$IMAGE_DIGEST"',
            ]
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class ImageArgs(Args):
    """Args:
    files: Sources of the image: path on this machine, by path in the build's folder.
    texts: Sources that are on no disk: their text, by path in the build's folder.
    dockerfile: One of them.
    tag: Identifies the files' content; other content needs another tag, since tags can't be moved.
    bucket, bucket_arn: Where the files are put for the build.
    bucket_key_arn: Encrypts that bucket.
    key_arn: Encrypts the repository.
    runs_in_functions: Whether Lambda may pull the image.
    """

    files: dict[str, str]
    dockerfile: str
    tag: str
    bucket: pulumi.Input[str]
    bucket_arn: str
    bucket_key_arn: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    log_retention_days: LogRetention
    texts: dict[str, str] = field(default_factory=dict)
    runs_in_functions: bool = False


class Image(Component):
    """The repository, a CodeBuild project, the key it signs with, and the image with this tag.

    Attributes:
        repository, repository_arn: Address without a tag, and ARN.
        signing_key: KMS key (ECDSA, P-256) of the signatures, in the form of Sigstore's tools; known in a preview.
        signing_key_arn: Its ARN.
        uri: Repository and tag; whatever uses it waits until the image exists. Known in a preview.
    """

    def __init__(self, name: str, scope: Scope, args: ImageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        self._name, self._args = name, args
        repository_name = scope.name("platform", limit=256)
        repository = aws.ecr.Repository(
            name,
            name=repository_name,
            image_tag_mutability="IMMUTABLE",
            force_delete=not scope.protect,
            image_scanning_configuration={"scan_on_push": True},
            encryption_configurations=[{"encryption_type": "KMS", "kms_key": args.key_arn}],
            tags=scope.tags("image"),
            opts=self.child(),
        )
        untagged = {
            "rulePriority": 1,
            "description": "Layers that no tag holds any more",
            "selection": {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": 14,
            },
            "action": {"type": "expire"},
        }
        aws.ecr.LifecyclePolicy(
            name, repository=repository.name, policy=json.dumps({"rules": [untagged]}), opts=self.child()
        )
        if args.runs_in_functions:
            # https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#gettingstarted-images-permissions
            pull = Statement(
                ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
                principals={"Service": "lambda.amazonaws.com"},
                conditions={"StringEquals": {"aws:SourceAccount": scope.account_id}},
                sid="Functions",
            )
            aws.ecr.RepositoryPolicy(name, repository=repository.name, policy=policy(pull), opts=self.child())
        sources: dict[str, pulumi.Asset | pulumi.Archive] = {}
        sources |= {path: pulumi.FileAsset(file) for path, file in sorted(args.files.items())}
        sources |= {path: pulumi.StringAsset(text) for path, text in sorted(args.texts.items())}
        source_key = f"platform/source/{args.tag}.zip"
        source = aws.s3.BucketObjectv2(
            f"{name}-source",
            bucket=args.bucket,
            key=source_key,
            source=pulumi.AssetArchive(sources),
            kms_key_id=args.bucket_key_arn,
            opts=self.child(),
        )
        registry = f"{scope.account_id}.dkr.ecr.{scope.region}.amazonaws.com"
        uri = f"{registry}/{repository_name}:{args.tag}"
        self.repository, self.repository_arn = (
            uri.partition(":")[0],
            f"arn:aws:ecr:{scope.region}:{scope.account_id}:repository/{repository_name}",
        )
        alias = f"alias/{scope.name('image-signing')}"
        self.signing_key, self.signing_key_arn = f"awskms:///{alias}", self._signing_key(alias)
        project, rights = self._project(uri, self.repository_arn, pulumi.Output.concat(args.bucket, "/", source.key))
        built = BuiltImage(
            name,
            {"region": scope.region, "project": project.name, "uri": uri},
            self.child(depends_on=[repository, project, source, *rights]),
        )
        # A URN is known in a preview, and carries the dependency.
        self.uri: pulumi.Output[str] = built.urn.apply(lambda _: uri)
        self.register_outputs({"uri": self.uri})

    def _signing_key(self, alias: str) -> pulumi.Output[str]:
        name, scope = f"{self._name}-signing", self.scope
        key = aws.kms.Key(
            name,
            description=f"{scope.project} {scope.stack}: signatures of container images",
            # KMS does not rotate asymmetric keys; rotating means a new key, and signing images again.
            key_usage="SIGN_VERIFY",
            customer_master_key_spec="ECC_NIST_P256",
            deletion_window_in_days=30,
            tags=scope.tags("image"),
            opts=self.child(holds_data=True),
        )
        aws.kms.Alias(name, name=alias, target_key_id=key.key_id, opts=self.child())
        arn: pulumi.Output[str] = key.arn
        return arn

    def _project(
        self, uri: str, repository_arn: str, source: pulumi.Input[str]
    ) -> tuple[aws.codebuild.Project, list[pulumi.Resource]]:
        name, scope, args = self._name, self.scope, self._args
        group_name = f"/{scope.project}/{scope.stack}/image"
        group_arn = f"arn:aws:logs:{scope.region}:{scope.account_id}:log-group:{group_name}"
        logs = aws.cloudwatch.LogGroup(
            f"{name}-build",
            name=group_name,
            retention_in_days=args.log_retention_days,
            kms_key_id=args.key_arn,
            tags=scope.tags("image"),
            opts=self.child(),
        )
        push = (
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:CompleteLayerUpload",
            "ecr:GetDownloadUrlForLayer",
            "ecr:InitiateLayerUpload",
            "ecr:PutImage",
            "ecr:UploadLayerPart",
        )
        role = make_role(
            self,
            f"{name}-build",
            service_trust(scope.account_id, "codebuild.amazonaws.com"),
            [
                Statement(("s3:GetObject", "s3:GetObjectVersion"), (f"{args.bucket_arn}/platform/source/*",)),
                Statement(("kms:Decrypt",), (args.bucket_key_arn,)),
                Statement(push, (repository_arn,)),
                Statement(("kms:Sign", "kms:GetPublicKey", "kms:DescribeKey"), (self.signing_key_arn,)),
                Statement(("ecr:GetAuthorizationToken",), ("*",)),
                Statement(("logs:CreateLogStream", "logs:PutLogEvents"), (group_arn, f"{group_arn}:*")),
            ],
            purpose="image-build",
        )
        project = aws.codebuild.Project(
            name,
            name=scope.name("image", limit=150),
            description="Builds the platform's container image",
            service_role=role.arn,
            source={"type": "S3", "location": source, "buildspec": json.dumps(_BUILDSPEC)},
            artifacts={"type": "NO_ARTIFACTS"},
            environment={
                "type": "LINUX_CONTAINER",
                "compute_type": "BUILD_GENERAL1_MEDIUM",
                "image": _BUILD_IMAGE,
                "image_pull_credentials_type": "CODEBUILD",
                # The build runs a Docker daemon:
                # https://docs.aws.amazon.com/codebuild/latest/userguide/sample-docker.html
                "privileged_mode": True,
                "environment_variables": [
                    {"name": name, "value": value}
                    for name, value in (
                        ("DOCKERFILE", args.dockerfile),
                        ("IMAGE_URI", uri),
                        ("SIGNING_KEY", self.signing_key),
                    )
                ],
            },
            encryption_key=args.key_arn,
            build_timeout=BUILD_MINUTES,
            logs_config={"cloudwatch_logs": {"status": "ENABLED", "group_name": logs.name}},
            tags=scope.tags("image"),
            opts=self.child(),
        )
        return project, role.policies
