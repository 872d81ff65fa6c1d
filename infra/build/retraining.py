"""How models are retrained: SageMaker Pipelines, or CronJobs on the cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pulumi

from components.models.cluster_jobs import ClusterJob, ClusterJobs, ClusterJobsArgs
from components.models.workflow import Workflow, WorkflowArgs
from infra.build.cluster import CLUSTER_JOB, OnCluster
from infra.build.data import Data
from infra.build.foundation import Foundation
from infra.build.given import Given
from infra.build.image import FOLDER
from infra.build.models import Models
from spec.steps import RESUME, before_people_agree
from spec.zones import DataClass, Zone


def build_retraining(given: Given, base: Foundation, data: Data, models: Models, on: OnCluster) -> dict[str, Workflow]:
    """Retrain each model as its design says; returns the SageMaker Pipelines by model."""
    scope, plan = given.scope, given.plan
    outputs_uri = f"s3://{scope.bucket_name(Zone.CURATED)}/platform/outputs.json"
    definition = json.loads((Path(__file__).parent / "pipeline.json").read_text(encoding="utf-8"))
    workflows: dict[str, Workflow] = {}
    jobs: dict[str, ClusterJob] = {}
    for model, retraining in plan.retraining.items():
        folder = f"{FOLDER}/models/{given.folders.get(model, model)}"
        if retraining.kind == CLUSTER_JOB:
            jobs[model] = ClusterJob(
                folder=folder,
                every_hours=retraining.every_hours,
                within_minutes=given.wanted.models[model].retraining.within_minutes,
            )
            continue
        parameters: dict[str, pulumi.Input[str]] = {
            "ModelFolder": folder,
            "ImageUri": models.image.uri,
            "RoleArn": data.identity.role_arns["pipeline"],
            "OutputsUri": outputs_uri,
            "TrackingUri": on.mlflow.vpc_tracking_uri,
        }
        workflows[model] = Workflow(
            f"workflow-{model}",
            scope,
            WorkflowArgs(
                model=model,
                definition=definition,
                parameters=parameters,
                role_arn=data.identity.role_arns["pipeline"],
                key_arn=base.keys[DataClass.INTERNAL],
                subnet_ids=base.network.subnet_ids,
                security_group_id=base.network.security_group_id,
            ),
        )
    if jobs:
        ClusterJobs(
            "cluster-jobs",
            scope,
            ClusterJobsArgs(
                cluster=on.cluster,
                jobs=jobs,
                steps=tuple(step.module for step in before_people_agree()),
                resume=RESUME,
                image_uri=models.image.uri,
                outputs_uri=outputs_uri,
                tracking_uri=on.mlflow.tracking_uri,
                hours=given.hours,
            ),
            on.after,
        )
    return workflows
