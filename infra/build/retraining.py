"""How models are retrained: SageMaker Pipelines, CronJobs on the cluster, or functions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi

from components.models.cluster_jobs import ClusterJob, ClusterJobs, ClusterJobsArgs
from components.models.trainer import Trainer, TrainerArgs
from components.models.workflow import Workflow, WorkflowArgs
from infra.build.cluster import CLUSTER_JOB, OnCluster
from infra.build.data import Data
from infra.build.foundation import Foundation
from infra.build.given import ON_LAMBDA, Given
from infra.build.image import FOLDER
from infra.build.models import Models
from spec.steps import RELEASE, before_people_agree
from spec.zones import CHECKPOINTS, DATA_CLASS, OUTPUTS, DataClass, Zone

Parameters = dict[str, pulumi.Input[str]]


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """How each model is retrained, where that is not the cluster.

    Attributes:
        workflows: SageMaker Pipelines that train, by model.
        trainers: Functions that train, by model.
        releases: SageMaker Pipelines of one job that deploy what two people have approved, by model.
    """

    workflows: dict[str, Workflow] = field(default_factory=dict)
    trainers: dict[str, Trainer] = field(default_factory=dict)
    releases: dict[str, Workflow] = field(default_factory=dict)


def build_retraining(given: Given, base: Foundation, data: Data, models: Models, on: OnCluster) -> Retrained:
    """Retrain each model as its design says."""
    scope, plan = given.scope, given.plan
    outputs_uri = f"s3://{scope.bucket_name(Zone.CURATED)}/{OUTPUTS}"
    definition, release = (
        json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))
        for name in ("pipeline.json", "release.json")
    )
    made = Retrained()
    jobs: dict[str, ClusterJob] = {}
    for model, retraining in plan.retraining.items():
        folder = f"{FOLDER}/models/{given.folders.get(model, model)}"
        if retraining.kind == CLUSTER_JOB:
            jobs[model] = ClusterJob(
                folder=folder,
                every_hours=retraining.every_hours,
                within_minutes=given.wanted.models[model].retraining.within_minutes,
                waits_minutes=given.wanted.models[model].canary.wait_minutes,
            )
            continue
        parameters: Parameters = {
            "ModelFolder": folder,
            "ImageUri": models.image.uri,
            "RoleArn": data.identity.role_arns["pipeline"],
            "OutputsUri": outputs_uri,
            "TrackingUri": on.mlflow.vpc_tracking_uri,
            "RunsUri": f"s3://{scope.bucket_name(Zone.CURATED)}/runs/{model}",
            "CheckpointsUri": f"s3://{scope.bucket_name(Zone.MODELS)}/{CHECKPOINTS}{model}",
        }
        within_minutes = given.wanted.models[model].retraining.within_minutes

        def workflow(
            name: str,
            called: str,
            definition: dict[str, Any],
            parameters: Parameters = parameters,
            spot_minutes: float = retraining.spot_minutes,
            training_minutes: float = within_minutes,
        ) -> Workflow:
            return Workflow(
                name,
                scope,
                WorkflowArgs(
                    model=called,
                    definition=definition,
                    parameters=parameters,
                    role_arn=data.identity.role_arns["pipeline"],
                    key_arn=base.keys[DataClass.INTERNAL],
                    results_key_arn=base.keys[DATA_CLASS[Zone.CURATED]],
                    spot_minutes=spot_minutes,
                    training_minutes=training_minutes,
                    subnet_ids=base.network.subnet_ids,
                    security_group_id=base.network.security_group_id,
                ),
            )

        made.releases[model] = workflow(f"release-{model}", f"{model}-release", release)
        if retraining.kind == ON_LAMBDA:
            made.trainers[model] = Trainer(
                f"trainer-{model}",
                scope,
                TrainerArgs(
                    model=model,
                    folder=folder,
                    image_uri=models.image.uri,
                    memory_mb=retraining.memory_mb,
                    role_arn=data.identity.role_arns["trainer"],
                    outputs_uri=outputs_uri,
                    tracking_uri=on.mlflow.vpc_tracking_uri,
                    key_arn=base.keys[DataClass.INTERNAL],
                    subnet_ids=base.network.subnet_ids,
                    security_group_id=base.network.security_group_id,
                    failures_topic_arn=models.monitoring.topic_arns["operations"],
                    log_retention_days=plan.monitoring.log_retention_days,
                ),
            )
            continue
        made.workflows[model] = workflow(f"workflow-{model}", model, definition)
    if jobs:
        ClusterJobs(
            "cluster-jobs",
            scope,
            ClusterJobsArgs(
                cluster=on.cluster,
                jobs=jobs,
                steps=before_people_agree(),
                release=RELEASE,
                image_uri=models.image.uri,
                outputs_uri=outputs_uri,
                tracking_uri=on.mlflow.tracking_uri,
                hours=given.hours,
            ),
            on.after,
        )
    return made
