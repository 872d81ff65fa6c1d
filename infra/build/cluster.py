"""The Kubernetes cluster: its nodes, its namespaces, the tracking server, and the models that it serves."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.cluster.baseline import ClusterBaseline, ClusterBaselineArgs, NamespaceArgs
from components.cluster.cluster import Access, Cluster, ClusterArgs
from components.cluster.karpenter import Karpenter, KarpenterArgs
from components.cluster.operators import Operators, OperatorsArgs
from components.cluster.signed_images import SignedImages, SignedImagesArgs
from components.cluster.sleep import ClusterSleep, ClusterSleepArgs
from components.foundation.network import KAFKA_IAM, POSTGRES
from components.models.cluster_models import DEPLOYERS, ClusterModel, ClusterModels, ClusterModelsArgs
from components.models.image import Image
from components.models.mlflow_server import PORT, MlflowServer, MlflowServerArgs
from components.operations.metrics import Metrics, MetricsArgs
from infra.build.data import Data
from infra.build.foundation import Foundation
from infra.build.given import VPC_CIDR, Given
from infra.build.models import Models
from spec.on_cluster import GATEWAY_PORT
from spec.service_levels import ON_CLUSTER, ServiceLevel
from spec.versions import REGISTRAR
from spec.zones import DataClass, Zone

CLUSTER_JOB = "cluster-job"


@dataclass(frozen=True, kw_only=True)
class OnCluster:
    """The cluster layer.

    Attributes:
        prometheus: Address of the workspace with the cluster's metrics.
        after: Options for what may only be created once namespaces are closed and image signatures are enforced.
    """

    cluster: Cluster
    mlflow: MlflowServer
    prometheus: pulumi.Output[str]
    after: pulumi.ResourceOptions


def build_cluster(given: Given, base: Foundation, data: Data, models: Models) -> OnCluster:
    """The cluster of a stack."""
    scope, plan, roles = given.scope, given.plan, data.identity.role_arns
    # Created by `groundplan bootstrap`. A refresh reads objects of every kind; the deploying role is the cluster's
    # creator, to which EKS gives access.
    reader: pulumi.Input[str] = f"arn:aws:iam::{scope.account_id}:role/{scope.project}-drift"
    drift = {"drift": Access(reader, "AmazonEKSAdminViewPolicy")} if given.wanted.deploys_from else {}
    # They change which version of a model is served.
    deploys = (DEPLOYERS,) if given.splits_on_cluster else ()
    steps = {role: Access(roles[role], groups=deploys) for role in ("pipeline", "cluster-pipeline") if deploys}
    cluster = Cluster(
        "cluster",
        scope,
        ClusterArgs(
            subnet_ids=base.network.subnet_ids,
            security_group_id=base.network.security_group_id,
            secrets_key_arn=base.keys[DataClass.INTERNAL],
            node_type=plan.cluster.system_node_type,
            nodes=plan.cluster.system_nodes,
            log_retention_days=plan.monitoring.log_retention_days,
            access={
                "data-scientist": Access(roles["data-scientist"], "AmazonEKSViewPolicy"),
                "operations": Access(roles["operations"], "AmazonEKSEditPolicy", deploys),
                "auditor": Access(roles["auditor"], "AmazonEKSViewPolicy"),
                **drift,
                **steps,
            },
            manifests_folder=given.manifests,
        ),
    )
    Karpenter(
        "karpenter",
        scope,
        KarpenterArgs(
            cluster=cluster,
            node_key_arn=base.keys[DataClass.INTERNAL],
            zones=plan.network.zones,
            cpu_limit=plan.cluster.cpu_limit,
            gpu_limit=plan.cluster.gpu_limit,
        ),
    )
    baseline = ClusterBaseline(
        "cluster-baseline",
        scope,
        ClusterBaselineArgs(cluster=cluster, service_cidr=VPC_CIDR, namespaces=_namespaces(given, roles)),
    )
    image = models.image
    signed = SignedImages(
        "signed-images",
        scope,
        SignedImagesArgs(
            cluster=cluster,
            repository=image.repository,
            repository_arn=image.repository_arn,
            key=image.signing_key,
            key_arn=image.signing_key_arn,
        ),
    )
    after = pulumi.ResourceOptions(depends_on=[baseline, signed])
    mlflow = MlflowServer(
        "mlflow",
        scope,
        MlflowServerArgs(
            cluster=cluster,
            image_uri=models.image.uri,
            database_endpoint=data.tracking.database_endpoint,
            database_secret_arn=data.tracking.database_secret_arn,
            artifact_bucket=data.tracking.artifact_bucket,
            vpc_cidr=VPC_CIDR,
            replicas=plan.cluster.tracking_replicas,
            max_replicas=plan.cluster.max_replicas,
        ),
        after,
    )
    _served(given, cluster, models.image, after)
    if given.hours:
        replicas = {"tracking": {"mlflow": plan.cluster.tracking_replicas}} | (
            {"pipelines": {"spare": 1}} if any(item.kind == CLUSTER_JOB for item in plan.retraining.values()) else {}
        )
        ClusterSleep(
            "cluster-sleep", scope, ClusterSleepArgs(cluster=cluster, replicas=replicas, hours=given.hours), after
        )
    metrics = Metrics(
        "metrics",
        scope,
        MetricsArgs(
            cluster=cluster,
            topic_arn=models.monitoring.topic_arns["operations"],
            # Managed Prometheus does not accept multi-region keys, and this class never has one.
            key_arn=base.keys[DataClass.RESTRICTED],
            log_retention_days=plan.monitoring.log_retention_days,
            levels={name: counted_there(given, name) for name in given.wanted.models},
            boards=models.monitoring.dashboards,
        ),
        after,
    )
    return OnCluster(cluster=cluster, mlflow=mlflow, prometheus=metrics.prometheus, after=after)


def counted_there(given: Given, model: str) -> tuple[ServiceLevel, ...]:
    """Service levels whose events Prometheus counts."""
    answers = given.plan.serving[model].topology in ON_CLUSTER
    trains = given.plan.retraining[model].kind == CLUSTER_JOB
    return tuple(
        level
        for level in given.service_levels(model)
        if (answers and level.name in ("availability", "latency")) or (trains and level.name == "training")
    )


def _namespaces(given: Given, roles: dict[str, pulumi.Output[str]]) -> dict[str, NamespaceArgs]:
    plan = given.plan
    limit = plan.cluster.cpu_limit
    return {
        "tracking": NamespaceArgs(
            cpu=plan.cluster.max_replicas,
            service_accounts={"mlflow": roles["tracking"]},
            reachable_from=("pipelines",),
            port=PORT,
            open_to_vpc=True,
            vpc_ports=(POSTGRES,),
        ),
        "pipelines": NamespaceArgs(
            cpu=limit // 2,
            service_accounts={"pipeline": roles["cluster-pipeline"]},
            calls=("tracking",),
            # Requests to models, two versions of which are compared, enter through the gateway.
            vpc_ports=(KAFKA_IAM, *((GATEWAY_PORT,) if given.splits_on_cluster else ())),
        ),
        "models": NamespaceArgs(
            cpu=limit,
            service_accounts={"serving": roles["cluster-serving"]},
            # Requests come through Istio's gateway and Knative's activator; explainers use the same path.
            reachable_from=("istio-system", "knative-serving"),
            calls=("istio-system", "knative-serving"),
            gpus=plan.cluster.gpu_limit,
        ),
        "monitoring": NamespaceArgs(
            cpu=8,
            service_accounts={"prometheus": roles["metrics"], "grafana": roles["metrics"]},
            accounts_by_chart=True,
            collector=True,
        ),
    }


def _served(given: Given, cluster: Cluster, image: Image, after: pulumi.ResourceOptions) -> None:
    models = {
        name: ClusterModel(
            min_replicas=serving.min_instances,
            max_replicas=serving.max_instances,
            gpu=serving.topology == "cluster-gpu",
            explanations=given.wanted.models[name].explanations,
            traced=given.wanted.models[name].traced,
        )
        for name, serving in given.plan.serving.items()
        if serving.topology in ON_CLUSTER
    }
    if not models:
        return
    operators = Operators("operators", given.scope, OperatorsArgs(cluster=cluster), after)
    ClusterModels(
        "cluster-models",
        given.scope,
        ClusterModelsArgs(
            cluster=cluster,
            models=models,
            image_uri=image.uri,
            model_bucket=given.scope.bucket_name(Zone.MODELS),
            signers=(REGISTRAR, *given.plan.approvals),
        ),
        pulumi.ResourceOptions(depends_on=[operators]),
    )
