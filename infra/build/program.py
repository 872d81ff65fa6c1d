"""The program: reads one stack's objectives, draws the design, makes the components, exports the outputs."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws

from components.operations.audit import Audit, AuditArgs
from components.foundation.base import Scope
from components.models.batch import BatchTransform, BatchTransformArgs
from components.foundation.boundary import Boundary
from components.data.catalog import Catalog, CatalogArgs, TableArgs
from components.foundation.clock import Hours
from components.cluster.cluster import Cluster, ClusterArgs
from components.cluster.baseline import ClusterBaseline, ClusterBaselineArgs, NamespaceArgs
from components.models.cluster_jobs import ClusterJob, ClusterJobs, ClusterJobsArgs
from components.models.cluster_models import ClusterModel, ClusterModels, ClusterModelsArgs
from components.cluster.sleep import ClusterSleep, ClusterSleepArgs
from components.operations.cost import Cost, CostArgs
from components.models.edge import Edge, EdgeArgs
from components.data.feature_groups import FeatureGroupArgs, FeatureGroups, FeatureGroupsArgs
from components.foundation.identity import Identity, IdentityArgs
from components.models.image import Image, ImageArgs
from components.cluster.karpenter import Karpenter, KarpenterArgs
from components.foundation.keys import Keys, KeysArgs
from spec.zones import DATA_CLASS, DataClass, Zone
from components.data.lake import Lake, LakeArgs
from components.operations.metrics import Metrics, MetricsArgs
from components.models.mlflow_server import PORT, MlflowServer, MlflowServerArgs
from components.operations.monitoring import ModelAlarms, Monitoring, MonitoringArgs
from components.foundation.network import KAFKA_IAM, POSTGRES, Network, NetworkArgs
from components.data.online_store import OnlineStore, OnlineStoreArgs
from components.cluster.operators import Operators, OperatorsArgs
from components.operations.recovery import REPLICATED, Recovery, RecoveryArgs, StandbyKeys
from components.operations.runner import Runner, RunnerArgs
from components.operations.schedules import Schedules, SchedulesArgs, Sleepers
from components.foundation.secrets import Secrets, SecretsArgs
from components.models.endpoint import Endpoint, EndpointArgs, endpoint_name
from components.cluster.signed_images import SignedImages, SignedImagesArgs
from components.data.streaming import Streaming, StreamingArgs, Topic
from components.models.tracking import Tracking, TrackingArgs
from components.models.workflow import Workflow, WorkflowArgs
from components.operations.workspace import Workspace, WorkspaceArgs
from spec.contracts import Contract
from spec.contracts.tables import glue_type
from infra.design import Design, design
from spec.model_folders import View, consumer_groups, contracts_and_views, example_folders, refuse_drafts
from infra.build.image import DOCKERFILE, FOLDER, image_files, image_tag
from spec.objectives import Objectives, Regime, parse
from spec.outputs import Outputs
from infra.design.price_book import load_prices

ROOT = Path(__file__).parents[2]
VPC_CIDR = "10.40.0.0/16"
MODEL_BUDGET_MARGIN = 1.25  # a model's own budget against what its design costs
WORKFLOWS = ("deploy", "drift")  # by their names in .github/workflows
ON_CLUSTER = ("cluster", "cluster-gpu")
ON_SAGEMAKER = ("realtime", "serverless")
_FEATURE = {"integer": "Integral", "number": "Fractional", "string": "String", "boolean": "Integral"}


def build() -> None:
    """Make the platform of the current stack. Called once, by the engine or by the local cloud.

    Raises:
        UsageError: The objectives are wrong or can't be met.
    """
    stack = parse(_config(), where=f"stacks/Pulumi.{pulumi.get_stack()}.yaml", planned=bool(os.environ.get("GROUNDPLAN_PLANNED")))
    wanted = stack.objectives
    scope = Scope(
        project=pulumi.get_project(), stack=pulumi.get_stack(), region=stack.region, account_id=stack.account_id, owner=wanted.owner, protect=wanted.production
    )
    # Kubernetes objects are written instead of applied where the provider's own setting says so.
    manifests = pulumi.Config("kubernetes").get("renderYamlToDirectory") or ""
    # A review tells of a platform that is over its budget, and of all else that is wrong with it.
    plan = design(wanted, load_prices(), stack.region, within_budget=not os.environ.get("GROUNDPLAN_REVIEW"))
    contracts, views = contracts_and_views(ROOT)
    if wanted.production:
        refuse_drafts(contracts)
    platform = _Platform(scope, wanted, plan, contracts, views, manifests)
    pulumi.export("platform", platform.make())


def _config() -> dict[str, Any]:
    aws_config, own = pulumi.Config("aws"), pulumi.Config("groundplan")
    found = {
        "aws:region": aws_config.get("region"),
        "aws:allowedAccountIds": aws_config.get_object("allowedAccountIds"),
        "groundplan:objectives": own.get_object("objectives"),
    }
    return {key: value for key, value in found.items() if value is not None}


@dataclass
class _Platform:
    """One stack in the making: what it is made from, then its parts in the order they need each other."""

    scope: Scope
    wanted: Objectives
    plan: Design
    contracts: list[Contract]
    views: list[View]
    manifests: str

    def make(self) -> dict[str, Any]:
        """All components; returns what `spec.outputs` promises."""
        hours = self.plan.office_hours
        self.hours = Hours(hours.start, hours.end, hours.timezone) if hours else None
        self._foundation()
        self._data()
        self._models()
        self._cluster()
        self._governance()
        return self._outputs()

    def _foundation(self) -> None:
        scope, plan = self.scope, self.plan
        standby = plan.recovery.standby_region
        replicated = tuple(dict.fromkeys(DATA_CLASS[zone] for zone in REPLICATED)) if standby else ()
        self.keys = Keys("keys", scope, KeysArgs(deletion_days=plan.key_deletion_days, multi_region=replicated))
        arns = {data_class: self.keys.arns[data_class] for data_class in replicated}
        self.standby_keys = StandbyKeys("standby-keys", scope, standby, arns).arns if standby else {}
        self.network = Network(
            "network",
            scope,
            NetworkArgs(
                zones=plan.network.zones,
                nat_gateways=plan.network.nat_gateways,
                private_services=plan.network.private_services,
                log_key_arn=self.keys.arns[DataClass.AUDIT],
                log_retention_days=plan.monitoring.log_retention_days,
                private_ports=(PORT,),
                cidr=VPC_CIDR,
            ),
        )
        self.boundary = Boundary("boundary", scope)

    def _data(self) -> None:
        scope, plan, keys, network = self.scope, self.plan, self.keys.arns, self.network
        self.lake = Lake(
            "lake",
            scope,
            LakeArgs(
                key_arns=keys,
                retention_days=plan.lake.retention_days,
                raw_lock_days=plan.lake.raw_lock_days,
                audit_lock_days=plan.lake.audit_retention_days,
                # In production nobody, not even the account's root, may shorten what the law asks for.
                audit_lock_mode="COMPLIANCE" if scope.protect and Regime.SOX in self.wanted.compliance else "GOVERNANCE",
                cold_days=plan.lake.cold_days,
                dataset_prefixes=tuple(f"{contract.topic}/" for contract in self.contracts),
            ),
        )
        tables = {
            c.topic: TableArgs(
                columns={item.name: glue_type(item) for item in c.fields}, description=c.name, partition_format=c.partition_format if c.event_time else ""
            )
            for c in self.contracts
        }
        buckets = self.lake.buckets
        self.catalog = Catalog(
            "catalog",
            scope,
            CatalogArgs(
                raw_bucket=buckets[Zone.RAW],
                results_bucket=buckets[Zone.CURATED],
                key_arn=keys[DataClass.INTERNAL],
                tables=tables,
                scan_limit_gb=plan.lake.scan_limit_gb,
            ),
        )
        self.secrets = Secrets("secrets", scope, SecretsArgs(key_arn=keys[DataClass.RESTRICTED], names=("masking-key",), recovery_days=plan.key_deletion_days))
        self.tracking = Tracking(
            "tracking",
            scope,
            TrackingArgs(
                instance_class=plan.database.instance_class,
                multi_az=plan.database.multi_az,
                storage_gb=plan.database.storage_gb,
                backup_days=plan.database.backup_days,
                subnet_ids=network.subnet_ids,
                security_group_id=network.security_group_id,
                models_key_arn=keys[DataClass.MODELS],
                database_key_arn=keys[DataClass.INTERNAL],
                log_retention_days=plan.monitoring.log_retention_days,
                hours=self.hours,
            ),
        )
        self._feature_store()
        self.identity = Identity(
            "identity",
            scope,
            IdentityArgs(
                bucket_arns=self.lake.arns,
                tracking_bucket_arn=self.tracking.artifact_bucket_arn,
                key_arns=keys,
                online_table_arn=self.online_arn,
                boundary_arn=self.boundary.arn,
            ),
        )
        self._streaming()

    def _feature_store(self) -> None:
        scope, plan, key_arn = self.scope, self.plan, self.keys.arns[DataClass.INTERNAL]
        self.table_arns: tuple[pulumi.Output[str], ...] = ()
        self.tables: dict[str, pulumi.Output[str]] = {}
        self.table_prefix = ""
        if plan.feature_store.kind == "sagemaker":
            groups = {
                view.name: FeatureGroupArgs(key=view.key, features={name: _FEATURE[kind] for name, kind in {view.key: view.key_type, **view.features}.items()})
                for view in self.views
            }
            made = FeatureGroups(
                "feature-groups",
                scope,
                FeatureGroupsArgs(groups=groups, bucket=self.lake.buckets[Zone.FEATURES], bucket_arn=self.lake.arns[Zone.FEATURES], key_arn=key_arn),
            )
            self.online_arn, self.tables = made.arn_pattern, made.groups
            return
        online = OnlineStore(
            "online-store",
            scope,
            OnlineStoreArgs(
                key_arn=key_arn,
                point_in_time_recovery=plan.feature_store.point_in_time_recovery,
                feature_views=tuple(view.name for view in self.views),
                read_units=plan.feature_store.read_units,
                write_units=plan.feature_store.write_units,
                replica_region=plan.recovery.standby_region,
                replica_key_arn=self.standby_keys.get(DataClass.INTERNAL),
            ),
        )
        self.online_arn, self.tables, self.table_prefix = online.arn_pattern, online.tables, online.table_prefix
        self.table_arns = tuple(online.table_arns.values())

    def _streaming(self) -> None:
        plan = self.plan.streaming
        self.kafka: dict[str, Any] = {}
        if plan.kind == "none":
            return
        streaming = Streaming(
            "streaming",
            self.scope,
            StreamingArgs(
                kind=plan.kind,
                subnet_ids=self.network.subnet_ids,
                security_group_id=self.network.security_group_id,
                key_arn=self.keys.arns[DataClass.RESTRICTED],
                log_retention_days=self.plan.monitoring.log_retention_days,
                retention_days=plan.retention_days,
                broker_type=plan.broker_type,
                brokers=plan.brokers,
                storage_gb=plan.storage_gb,
                topics={
                    contract.topic: Topic(schema=contract.json_schema(), partitions=plan.partitions, compatibility=contract.compatibility)
                    for contract in self.contracts
                },
            ),
        )
        self.kafka = {"bootstrap_servers": streaming.bootstrap_servers, "registry": streaming.registry_name, "topics": streaming.topics}

    def _models(self) -> None:
        scope, plan, wanted = self.scope, self.plan, self.wanted
        files = image_files(ROOT)
        self.image = Image(
            "image",
            scope,
            ImageArgs(
                files=files,
                dockerfile=DOCKERFILE,
                tag=image_tag(files),
                bucket=self.lake.buckets[Zone.CURATED],
                bucket_arn=self.lake.arns[Zone.CURATED],
                bucket_key_arn=self.keys.arns[DATA_CLASS[Zone.CURATED]],
                key_arn=self.keys.arns[DataClass.INTERNAL],
                log_retention_days=plan.monitoring.log_retention_days,
            ),
        )
        people = wanted.stakeholders
        self.monitoring = Monitoring(
            "monitoring",
            scope,
            MonitoringArgs(
                models={name: self._alarms(name) for name in wanted.models},
                addresses={"operations": people.operations, "product": people.product, "legal": people.legal, "finance": people.finance},
                key_arn=self.keys.arns[DataClass.INTERNAL],
                events_per_second=wanted.events.per_second,
                kafka_cluster=scope.name("events", limit=64) if self.kafka else "",
                topics=consumer_groups(ROOT) if self.kafka else {},
            ),
        )
        self.endpoints: dict[str, Endpoint] = {}
        for model, serving in plan.serving.items():
            if serving.topology in ON_SAGEMAKER:
                self.endpoints[model] = self._endpoint(model)
            elif serving.topology == "batch":
                BatchTransform(
                    f"batch-{model}",
                    scope,
                    BatchTransformArgs(
                        model=model,
                        instance_type=serving.instance_type,
                        image_uri=self.image.uri,
                        role_arn=self.identity.role_arns["serving"],
                        key_arn=self.keys.arns[DataClass.MODELS],
                        bucket=self.lake.buckets[Zone.FEATURES],
                        model_bucket=self.lake.buckets[Zone.MODELS],
                        subnet_ids=self.network.subnet_ids,
                        security_group_id=self.network.security_group_id,
                    ),
                )
            elif serving.topology == "edge":
                Edge(f"edge-{model}", scope, EdgeArgs(model=model, bucket_arn=self.lake.arns[Zone.MODELS], key_arn=self.keys.arns[DataClass.MODELS]))

    def _alarms(self, name: str) -> ModelAlarms:
        model = self.wanted.models[name]
        return ModelAlarms(
            endpoint_name=endpoint_name(self.scope, name) if self.plan.serving[name].topology in ON_SAGEMAKER else "",
            latency_ms=model.latency_ms,
            quality_metric=model.quality.metric,
            quality_worst=model.quality.worst,
            higher_is_better=model.quality.is_score,
            drift_share=model.drift_share,
        )

    def _endpoint(self, model: str) -> Endpoint:
        serving = self.plan.serving[model]
        return Endpoint(
            f"endpoint-{model}",
            self.scope,
            EndpointArgs(
                model=model,
                instance_type=serving.instance_type,
                min_instances=serving.min_instances,
                max_instances=serving.max_instances,
                canary_percent=serving.canary_percent,
                image_uri=self.image.uri,
                role_arn=self.identity.role_arns["serving"],
                key_arn=self.keys.arns[DataClass.MODELS],
                capture_bucket=self.lake.buckets[Zone.MODELS],
                subnet_ids=self.network.subnet_ids,
                security_group_id=self.network.security_group_id,
                log_retention_days=self.plan.monitoring.log_retention_days,
                target_invocations_per_minute=serving.target_invocations_per_minute,
                rollback_alarms=tuple(self.monitoring.alarm_names[model][subject] for subject in ("latency", "errors")),
            ),
        )

    def _cluster(self) -> None:
        scope, plan, roles = self.scope, self.plan, self.identity.role_arns
        # Made by `groundplan bootstrap`. A refresh reads objects of every kind; who deploys is the cluster's maker, whom EKS lets in.
        reader: pulumi.Input[str] = f"arn:aws:iam::{scope.account_id}:role/{scope.project}-drift"
        drift = {"drift": (reader, "AmazonEKSAdminViewPolicy")} if self.wanted.deploys_from else {}
        self.cluster = Cluster(
            "cluster",
            scope,
            ClusterArgs(
                subnet_ids=self.network.subnet_ids,
                security_group_id=self.network.security_group_id,
                secrets_key_arn=self.keys.arns[DataClass.INTERNAL],
                node_type=plan.cluster.system_node_type,
                nodes=plan.cluster.system_nodes,
                log_retention_days=plan.monitoring.log_retention_days,
                people={
                    "data-scientist": (roles["data-scientist"], "AmazonEKSViewPolicy"),
                    "operations": (roles["operations"], "AmazonEKSEditPolicy"),
                    "auditor": (roles["auditor"], "AmazonEKSViewPolicy"),
                    **drift,
                },
                manifests_folder=self.manifests,
            ),
        )
        Karpenter(
            "karpenter",
            scope,
            KarpenterArgs(
                cluster=self.cluster,
                node_key_arn=self.keys.arns[DataClass.INTERNAL],
                zones=plan.network.zones,
                cpu_limit=plan.cluster.cpu_limit,
                gpu_limit=plan.cluster.gpu_limit,
            ),
        )
        limit = plan.cluster.cpu_limit
        namespaces = {
            "tracking": NamespaceArgs(
                cpu=plan.cluster.max_replicas,
                service_accounts={"mlflow": roles["tracking"]},
                reachable_from=("pipelines",),
                port=PORT,
                open_to_vpc=True,
                vpc_ports=(POSTGRES,),
            ),
            "pipelines": NamespaceArgs(cpu=limit // 2, service_accounts={"pipeline": roles["cluster-pipeline"]}, calls=("tracking",), vpc_ports=(KAFKA_IAM,)),
            "models": NamespaceArgs(
                cpu=limit,
                service_accounts={"serving": roles["cluster-serving"]},
                # Requests come through Istio's gateway and Knative's activator; explainers go the same way.
                reachable_from=("istio-system", "knative-serving"),
                calls=("istio-system", "knative-serving"),
                gpus=plan.cluster.gpu_limit,
            ),
            "monitoring": NamespaceArgs(cpu=8, service_accounts={"prometheus": roles["metrics"]}, accounts_by_chart=True, collector=True),
        }
        baseline = ClusterBaseline("cluster-baseline", scope, ClusterBaselineArgs(cluster=self.cluster, service_cidr=VPC_CIDR, namespaces=namespaces))
        image = self.image
        signed = SignedImages(
            "signed-images",
            scope,
            SignedImagesArgs(
                cluster=self.cluster, repository=image.repository, repository_arn=image.repository_arn, key=image.signing_key, key_arn=image.signing_key_arn
            ),
        )
        after = pulumi.ResourceOptions(depends_on=[baseline, signed])
        self.mlflow = MlflowServer(
            "mlflow",
            scope,
            MlflowServerArgs(
                cluster=self.cluster,
                image_uri=self.image.uri,
                database_endpoint=self.tracking.database_endpoint,
                database_secret_arn=self.tracking.database_secret_arn,
                artifact_bucket=self.tracking.artifact_bucket,
                vpc_cidr=VPC_CIDR,
                replicas=plan.cluster.tracking_replicas,
                max_replicas=plan.cluster.max_replicas,
            ),
            after,
        )
        self._cluster_models(after)
        self._retraining(after)
        if self.hours:
            replicas = {"tracking": {"mlflow": plan.cluster.tracking_replicas}} | ({"pipelines": {"spare": 1}} if self.keeps_warm else {})
            ClusterSleep("cluster-sleep", scope, ClusterSleepArgs(cluster=self.cluster, replicas=replicas, hours=self.hours), after)
        Metrics(
            "metrics",
            scope,
            MetricsArgs(
                cluster=self.cluster,
                topic_arn=self.monitoring.topic_arns["operations"],
                # Managed Prometheus takes no multi-region key, and this class never has one.
                key_arn=self.keys.arns[DataClass.RESTRICTED],
                log_retention_days=plan.monitoring.log_retention_days,
                latency_ms={name: self.wanted.models[name].latency_ms for name, serving in plan.serving.items() if serving.topology in ON_CLUSTER},
            ),
            after,
        )

    def _cluster_models(self, after: pulumi.ResourceOptions) -> None:
        models = {
            name: ClusterModel(
                min_replicas=serving.min_instances,
                max_replicas=serving.max_instances,
                gpu=serving.topology == "cluster-gpu",
                explanations=self.wanted.models[name].explanations,
            )
            for name, serving in self.plan.serving.items()
            if serving.topology in ON_CLUSTER
        }
        if not models:
            return
        operators = Operators("operators", self.scope, OperatorsArgs(cluster=self.cluster), after)
        ClusterModels(
            "cluster-models",
            self.scope,
            ClusterModelsArgs(cluster=self.cluster, models=models, image_uri=self.image.uri, model_bucket=self.scope.bucket_name(Zone.MODELS)),
            pulumi.ResourceOptions(depends_on=[operators]),
        )

    def _retraining(self, after: pulumi.ResourceOptions) -> None:
        """SageMaker Pipelines, or CronJobs on the cluster, as the design says for each model."""
        scope, plan = self.scope, self.plan
        outputs_uri = f"s3://{scope.bucket_name(Zone.CURATED)}/platform/outputs.json"
        folders = example_folders(ROOT)
        definition = json.loads((Path(__file__).parent / "pipeline.json").read_text(encoding="utf-8"))
        self.workflows: dict[str, Workflow] = {}
        jobs: dict[str, ClusterJob] = {}
        for model, retraining in plan.retraining.items():
            example = f"{FOLDER}/examples/{folders.get(model, model)}"
            if retraining.kind == "cluster-job":
                jobs[model] = ClusterJob(
                    example=example, every_hours=retraining.every_hours, within_minutes=self.wanted.models[model].retraining.within_minutes
                )
                continue
            parameters: dict[str, pulumi.Input[str]] = {
                "Example": example,
                "ImageUri": self.image.uri,
                "RoleArn": self.identity.role_arns["pipeline"],
                "OutputsUri": outputs_uri,
                "TrackingUri": self.mlflow.vpc_tracking_uri,
            }
            self.workflows[model] = Workflow(
                f"workflow-{model}",
                scope,
                WorkflowArgs(
                    model=model,
                    definition=definition,
                    parameters=parameters,
                    role_arn=self.identity.role_arns["pipeline"],
                    key_arn=self.keys.arns[DataClass.INTERNAL],
                    subnet_ids=self.network.subnet_ids,
                    security_group_id=self.network.security_group_id,
                ),
            )
        self.keeps_warm = bool(jobs)
        if jobs:
            modules = [step["Arguments"]["AppSpecification"]["ContainerEntrypoint"][-1] for step in definition["Steps"]]
            before_sign_off = tuple(modules[: modules.index("pipelines.steps.signoff")])
            ClusterJobs(
                "cluster-jobs",
                scope,
                ClusterJobsArgs(
                    cluster=self.cluster,
                    jobs=jobs,
                    steps=before_sign_off,
                    resume="pipelines.steps.resume",
                    image_uri=self.image.uri,
                    outputs_uri=outputs_uri,
                    tracking_uri=self.mlflow.tracking_uri,
                    hours=self.hours,
                ),
                after,
            )

    def _governance(self) -> None:
        scope, plan, wanted, lake = self.scope, self.plan, self.wanted, self.lake
        if plan.workspace.scientists:
            zones = (Zone.CURATED, Zone.FEATURES, Zone.MODELS)
            Workspace(
                "workspace",
                scope,
                WorkspaceArgs(
                    scientists=plan.workspace.scientists,
                    idle_minutes=plan.workspace.idle_minutes,
                    vpc_id=self.network.vpc_id,
                    subnet_ids=self.network.subnet_ids,
                    security_group_id=self.network.security_group_id,
                    key_arn=self.keys.arns[DataClass.INTERNAL],
                    key_arns=(self.keys.arns[DataClass.INTERNAL], self.keys.arns[DataClass.MODELS]),
                    bucket_arns=tuple(lake.arns[zone] for zone in zones),
                    scratch_bucket_arn=lake.arns[Zone.FEATURES],
                    boundary_arn=self.boundary.arn,
                ),
            )
        Audit(
            "audit",
            scope,
            AuditArgs(
                bucket=lake.buckets[Zone.AUDIT],
                key_arn=self.keys.arns[DataClass.AUDIT],
                data_bucket_arns=(lake.arns[Zone.MODELS], lake.arns[Zone.AUDIT]) if plan.audit.data_events else (),
                watch=plan.audit.watch,
                standards=plan.audit.standards,
            ),
            # CloudTrail tries to write before it is made.
            pulumi.ResourceOptions(depends_on=[lake.policies[Zone.AUDIT]]),
        )
        self.cost = Cost(
            "cost",
            scope,
            CostArgs(
                monthly_usd=wanted.budget.monthly_usd,
                alert_percent=wanted.budget.alert_percent,
                addresses=(wanted.stakeholders.finance, wanted.owner),
                topic_arn=self.monitoring.topic_arns["finance"],
                # A budget of less than ten dollars would alert at noise.
                model_usd={model: max(10.0, round(MODEL_BUDGET_MARGIN * plan.model_usd(model), 2)) for model in wanted.models},
                activate_tags=wanted.owns_account and wanted.budget.activate_tags,
            ),
        )
        self._schedules()
        if wanted.deploys_from:
            Runner(
                "runner",
                scope,
                RunnerArgs(
                    repository=wanted.deploys_from.repository,
                    connection_arn=wanted.deploys_from.connection,
                    workflows=WORKFLOWS,
                    vpc_id=self.network.vpc_id,
                    subnet_ids=self.network.subnet_ids,
                    security_group_id=self.network.security_group_id,
                    key_arn=self.keys.arns[DataClass.INTERNAL],
                    log_retention_days=plan.monitoring.log_retention_days,
                ),
            )
        Recovery(
            "recovery",
            scope,
            RecoveryArgs(
                key_arn=self.keys.arns[DataClass.INTERNAL],
                backup_days=plan.recovery.backup_days,
                resource_arns=(self.tracking.database_arn, *self.table_arns),
                hours=self.hours,
                standby_region=plan.recovery.standby_region,
                key_arns={data_class: self.keys.arns[data_class] for data_class in self.standby_keys},
                buckets=lake.buckets,
                bucket_arns=lake.arns,
                data_classes=DATA_CLASS,
            ),
            self.standby_keys,
        )

    def _schedules(self) -> None:
        plan = self.plan
        Schedules(
            "schedules",
            self.scope,
            SchedulesArgs(
                key_arn=self.keys.arns[DataClass.INTERNAL],
                pipelines={model: (workflow.pipeline_name, plan.retraining[model].every_hours) for model, workflow in self.workflows.items()},
                hours=self.hours,
                sleepers=Sleepers(
                    cluster=self.cluster.cluster_name,
                    node_group=self.scope.name("system"),
                    nodes=plan.cluster.system_nodes,
                    database=self.tracking.database_identifier,
                )
                if self.hours
                else None,
            ),
        )

    def _outputs(self) -> dict[str, Any]:
        scope, plan, wanted, lake = self.scope, self.plan, self.wanted, self.lake
        exported = {
            "project": scope.project,
            "stack": scope.stack,
            "region": scope.region,
            "account_id": scope.account_id,
            "buckets": {**{str(zone): name for zone, name in lake.buckets.items()}, "mlflow": self.tracking.artifact_bucket},
            "key_arns": {str(data_class): arn for data_class, arn in self.keys.arns.items()},
            "role_arns": self.identity.role_arns,
            "secret_arns": self.secrets.arns,
            "network": {"subnet_ids": self.network.subnet_ids, "security_group_id": self.network.security_group_id},
            "cluster_name": self.cluster.cluster_name,
            "catalog": {"database": self.catalog.database, "workgroup": self.catalog.workgroup},
            "kafka": self.kafka,
            "online_tables": self.tables,
            "online_table_prefix": self.table_prefix,
            "endpoints": {
                model: {
                    "name": self.endpoints[model].endpoint_name if model in self.endpoints else "",
                    "topology": serving.topology,
                    "instance_type": serving.instance_type,
                    "min_instances": serving.min_instances,
                    "max_instances": serving.max_instances,
                    "canary_percent": serving.canary_percent,
                    "image_uri": self.image.uri,
                }
                for model, serving in plan.serving.items()
            },
            "pipelines": {model: workflow.pipeline_name for model, workflow in self.workflows.items()},
            "alarms": self.monitoring.alarm_names,
            "metrics_namespace": f"Groundplan/{scope.stack}",
            "alert_topics": dict(self.monitoring.topic_arns),
            "budget_name": self.cost.budget_name,
            "approvals": list(plan.approvals),
            "untrusted_models": wanted.untrusted_models,
            "models": {model: objectives.model_dump(mode="json") for model, objectives in wanted.models.items()},
        }
        missing = set(Outputs.model_fields) ^ set(exported)
        assert not missing, f"outputs and contract differ: {missing}"
        # The pipelines on AWS read the contract from the place their `OutputsUri` parameter names.
        aws.s3.BucketObjectv2(
            "outputs",
            bucket=lake.buckets[Zone.CURATED],
            key="platform/outputs.json",
            content=pulumi.Output.json_dumps(exported),
            content_type="application/json",
            kms_key_id=self.keys.arns[DataClass.INTERNAL],
            opts=pulumi.ResourceOptions(parent=lake),
        )
        return exported
