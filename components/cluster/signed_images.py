"""Only images signed by the platform's own build run in its namespaces: Sigstore's policy controller, and the policy
that it enforces.

https://docs.sigstore.dev/policy-controller/overview/
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi_kubernetes.apiextensions import CustomResource

from components.cluster.charts import install
from components.cluster.cluster import SYSTEM_TAINT, Cluster
from components.cluster.workloads import labels
from components.foundation.args import Args
from components.foundation.base import Component, Scope, Statement
from components.foundation.roles import make_role, pod_trust

NAMESPACE = "cosign-system"
SERVICE_ACCOUNT = "policy-controller"
CHART_VERSION = "0.10.4"
INCLUDED = {"policy.sigstore.dev/include": "true"}  # label of the namespaces that are checked


@dataclass(frozen=True, kw_only=True)
class SignedImagesArgs(Args):
    """Args:
    repository: Images that must be signed: the repository's address without a tag.
    repository_arn: Its ARN; signatures are stored beside the images.
    key: KMS key (ECDSA, P-256) that the build signs with, in the form of Sigstore's tools.
    key_arn: Its ARN.
    """

    cluster: Cluster
    repository: str
    repository_arn: str
    key: str
    key_arn: pulumi.Input[str]


class SignedImages(Component):
    """The admission controller, its role, and the policy.

    Attributes:
        ready: What workloads must wait for.
    """

    def __init__(
        self, name: str, scope: Scope, args: SignedImagesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        cluster = args.cluster
        read = (
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:DescribeImages",
            "ecr:GetDownloadUrlForLayer",
        )
        rights = [
            Statement(("kms:GetPublicKey", "kms:DescribeKey", "kms:Verify"), (args.key_arn,)),
            Statement(read, (args.repository_arn,)),
            Statement(("ecr:GetAuthorizationToken",), ("*",)),
        ]
        role = make_role(self, name, pod_trust(), rights, purpose="image-admission")
        aws.eks.PodIdentityAssociation(
            name,
            cluster_name=cluster.cluster_name,
            namespace=NAMESPACE,
            service_account=SERVICE_ACCOUNT,
            role_arn=role.arn,
            tags=scope.tags("cluster"),
            opts=self.child(),
        )
        controller = install(
            self,
            cluster,
            name,
            name="policy-controller",
            namespace=NAMESPACE,
            create_namespace=True,
            chart="policy-controller",
            version=CHART_VERSION,
            repository_opts={"repo": "https://sigstore.github.io/helm-charts"},
            values={
                "serviceAccount": {"create": True, "name": SERVICE_ACCOUNT},
                # Images from other registries don't have our signature; the policy pack determines which registries may
                # be used.
                "webhook": {"configData": {"no-match-policy": "allow"}},
                "commonTolerations": [{"key": SYSTEM_TAINT, "operator": "Exists"}],
            },
            after=[*cluster.ready, *role.policies],
        )
        policy = CustomResource(
            name,
            api_version="policy.sigstore.dev/v1beta1",
            kind="ClusterImagePolicy",
            metadata={"name": f"{scope.project}-images", "labels": labels(scope, "images")},
            spec={
                "mode": "enforce",
                "images": [{"glob": f"{args.repository}**"}],
                "authorities": [{"name": "build", "key": {"kms": args.key, "hashAlgorithm": "sha256"}}],
            },
            opts=self.child(provider=cluster.kubernetes, depends_on=controller),
        )
        self.ready: list[pulumi.Resource] = [policy]
        self.register_outputs({"repository": args.repository})
