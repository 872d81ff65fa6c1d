"""Retraining on the cluster: a CronJob that runs the pipeline's steps in order, on a node that is kept warm for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.batch.v1 import CronJob
from pulumi_kubernetes.scheduling.v1 import PriorityClass

from components.cluster.cluster import Cluster
from components.cluster.workloads import RESTRICTED_POD, SCRATCH, container, environment, labels, resources
from components.foundation.args import Args, Between
from components.foundation.base import Component, Scope
from components.foundation.clock import Clock, Hours, clock
from spec.names import short_name
from spec.service_levels import MONITORED_EVERY_HOURS
from spec.steps import Step

NAMESPACE = "pipelines"
PAUSE_IMAGE = "registry.k8s.io/pause:3.10"
DEPLOYMENT_SECONDS = 3600
RESUME_EVERY_HOURS = 1 / 6
RETRIED = {
    "rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1, 2]}},
    ]
}
RUN_CPU, RUN_MEMORY = "1500m", "5Gi"  # what a run requests, and what is therefore kept free


@dataclass(frozen=True, kw_only=True)
class ClusterJob(Args):
    """When one model's pipeline runs, and on what.

    Args:
        folder: Folder of the experiment in the image.
        every_hours: Time between two runs.
        within_minutes: Time in which a version must be trained and registered.
        waits_minutes: Longest time that a canary waits; a deployment may take an hour more.
    """

    folder: str
    every_hours: Annotated[float, Between(0.01, unit="hours")]
    within_minutes: Annotated[float, Between(0.01, unit="minutes")]
    waits_minutes: Annotated[float, Between(0, unit="minutes")] = 0


@dataclass(frozen=True, kw_only=True)
class ClusterJobsArgs(Args):
    """Args:
    steps: In the order they run, up to the sign-off.
    release: Deploys the newest approved version.
    outputs_uri: Where the steps read the platform's outputs.
    hours: When the cluster is up; None for always.
    """

    cluster: Cluster
    jobs: dict[str, ClusterJob]
    steps: tuple[Step, ...]
    release: Step
    image_uri: pulumi.Input[str]
    outputs_uri: pulumi.Input[str]
    tracking_uri: str
    hours: Hours | None = None


class ClusterJobs(Component):
    """CronJobs, and pods that keep a node for them.

    The steps are init containers of one pod: they start without each waiting for a node or an image, run in order, and
    the run fails if one does. They write their results to the lake, as everywhere. A run ends with a version in the
    registry; once two people have approved it, the model's second CronJob deploys it, which also looks at the drift
    alarm, and retrains when that begins to ring. The third monitors what serves.

    A pod whose node was taken away, or that was killed, is started again as the same run, and a training continues from
    its checkpoints; what a step refuses (exit codes 1 and 2) is not tried again.
    https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
    """

    def __init__(
        self, name: str, scope: Scope, args: ClusterJobsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        child = self.child(provider=args.cluster.kubernetes)
        self._keep_warm(name, child)
        for model, job in args.jobs.items():
            run = {
                "name": "RUN",
                "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}},
            }
            within_s = int(job.within_minutes * 60)
            steps = [
                self._container(args, job, step.module, ["--run", "$(RUN)", *step.scheduled], [run])
                for step in args.steps
            ]
            retries = max(step.retries for step in args.steps)
            self._cron(name, model, "retrain", clock(job.every_hours, args.hours), within_s, steps, child, retries)
            # A canary waits as a shadow, and step by step; or a retraining follows the drift alarm.
            longest_s = max(DEPLOYMENT_SECONDS + 2 * int(job.waits_minutes * 60), within_s)
            for purpose, every_hours, option in (
                ("resume", RESUME_EVERY_HOURS, "--retrain"),
                ("monitor", MONITORED_EVERY_HOURS, "--monitor"),
            ):
                self._cron(
                    f"{name}-{purpose}",
                    model,
                    purpose,
                    clock(every_hours, args.hours),
                    longest_s,
                    [self._container(args, job, args.release.module, [option], [])],
                    child,
                )
        self.register_outputs({"models": list(args.jobs)})

    def _cron(
        self,
        name: str,
        model: str,
        purpose: str,
        timing: Clock,
        seconds: int,
        steps: list[dict[str, Any]],
        child: pulumi.ResourceOptions,
        retries: int = 0,
    ) -> None:
        pod = {
            "serviceAccountName": "pipeline",
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "securityContext": RESTRICTED_POD,
            **({"initContainers": steps[:-1]} if steps[1:] else {}),
            "containers": steps[-1:],
            "volumes": [SCRATCH],
            "nodeSelector": {"groundplan/pool": "cpu-spot"},
        }
        CronJob(
            f"{name}-{model}",
            metadata={
                "name": short_name(f"{purpose}-{model}", 52),
                "namespace": NAMESPACE,
                "labels": labels(self.scope, model),
            },
            spec={
                "schedule": timing.crontab,
                "timeZone": timing.timezone,
                "concurrencyPolicy": "Forbid",
                "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 3,
                "jobTemplate": {
                    "spec": {
                        "backoffLimit": retries,
                        **({"podFailurePolicy": RETRIED} if retries else {}),
                        "activeDeadlineSeconds": seconds,
                        "ttlSecondsAfterFinished": 7 * 86_400,
                        "template": {"metadata": {"labels": labels(self.scope, model)}, "spec": pod},
                    }
                },
            },
            opts=child,
        )

    def _container(
        self, args: ClusterJobsArgs, job: ClusterJob, module: str, more: list[str], variables: list[dict[str, Any]]
    ) -> dict[str, Any]:
        return container(
            module.rpartition(".")[2],
            args.image_uri,
            [
                "python",
                "-m",
                module,
                "--model-folder",
                job.folder,
                *more,
                "--reports",
                "/tmp/reports",  # noqa: S108 (in the pod)
            ],
            resources(RUN_CPU, RUN_MEMORY),
            env=[
                *variables,
                *environment(
                    GROUNDPLAN_OUTPUTS=args.outputs_uri,
                    MLFLOW_TRACKING_URI=args.tracking_uri,
                    AWS_DEFAULT_REGION=self.scope.region,
                    HOME="/tmp",  # noqa: S108 (in the pod)
                ),
            ],
        )

    def _keep_warm(self, name: str, child: pulumi.ResourceOptions) -> None:
        """A pod that any other may preempt keeps room for a run, and with it a node that has the image.

        https://karpenter.sh/docs/faq/#how-can-i-configure-overprovisioning
        """
        priority = f"{self.scope.project}-spare"
        PriorityClass(
            name,
            metadata={"name": priority},
            value=-10,
            global_default=False,
            description="Gives way to everything",
            preemption_policy="Never",
            opts=child,
        )
        named = {"app.kubernetes.io/name": "spare"}
        pause = container("pause", PAUSE_IMAGE, ["/pause"], resources(RUN_CPU, RUN_MEMORY))
        Deployment(
            f"{name}-spare",
            metadata={"name": "spare", "namespace": NAMESPACE, "labels": labels(self.scope, "spare")},
            spec={
                "replicas": 1,
                "selector": {"matchLabels": named},
                "template": {
                    "metadata": {"labels": labels(self.scope, "spare")},
                    "spec": {
                        "priorityClassName": priority,
                        "automountServiceAccountToken": False,
                        "securityContext": RESTRICTED_POD,
                        "terminationGracePeriodSeconds": 0,
                        "containers": [pause],
                        "volumes": [SCRATCH],
                        # The price assumes that it stays: on demand.
                        "nodeSelector": {"groundplan/pool": "cpu-spot", "karpenter.sh/capacity-type": "on-demand"},
                    },
                },
            },
            opts=child,
        )
