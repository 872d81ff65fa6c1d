"""Scheduled tasks: retraining, and the nightly switch-off of an environment that sleeps (EventBridge Scheduler)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args
from components.foundation.base import Component, Scope, Statement
from components.foundation.clock import Hours, clock
from components.foundation.roles import make_role, service_trust

RELEASE_EVERY_HOURS = 24.0


@dataclass(frozen=True, kw_only=True)
class Sleepers(Args):
    """What is switched off at night.

    Args:
        node_group: Physical name; scaled to zero and back to ``nodes``.
        database: RDS identifier.
    """

    cluster: pulumi.Input[str]
    node_group: str
    nodes: int
    database: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class SchedulesArgs(Args):
    """Args:
    pipelines: Physical name and hours between two runs, by model.
    functions: ARN and hours between two runs, by model.
    releases: Physical names of pipelines that deploy what has been approved, by model; started once a day.
    hours: When the environment is used; None for always.
    """

    key_arn: pulumi.Input[str]
    pipelines: dict[str, tuple[pulumi.Input[str], float]] = field(default_factory=dict)
    functions: dict[str, tuple[pulumi.Input[str], float]] = field(default_factory=dict)
    releases: dict[str, pulumi.Input[str]] = field(default_factory=dict)
    hours: Hours | None = None
    sleepers: Sleepers | None = None


class Schedules(Component):
    """A schedule group with its role.

    Targets are AWS's own API calls, so none of our code runs for them:
    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
    """

    def __init__(
        self, name: str, scope: Scope, args: SchedulesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, scope, opts)
        self._name, self._args = name, args
        here = f"{scope.region}:{scope.account_id}"
        rights = [
            Statement(("sagemaker:StartPipelineExecution",), (f"arn:aws:sagemaker:{here}:pipeline/{scope.name()}-*",)),
            Statement(("kms:Decrypt",), (args.key_arn,)),
        ]
        if args.functions:
            functions = f"arn:aws:lambda:{here}:function:{scope.name()}-*"
            rights.append(Statement(("lambda:InvokeFunction",), (functions,)))
        if args.sleepers:
            rights += [
                Statement(("rds:StopDBInstance", "rds:StartDBInstance"), (f"arn:aws:rds:{here}:db:{scope.name()}-*",)),
                Statement(
                    ("eks:UpdateNodegroupConfig",),
                    (f"arn:aws:eks:{here}:nodegroup/{scope.name('cluster', limit=100)}/*/*",),
                ),
            ]
        self._role = make_role(
            self, name, service_trust(scope.account_id, "scheduler.amazonaws.com"), rights, purpose="scheduler"
        )
        self._group = aws.scheduler.ScheduleGroup(
            name, name=scope.name(limit=64), tags=scope.tags("schedules"), opts=self.child()
        )
        for model, (pipeline, every_hours) in args.pipelines.items():
            self._start(f"retrain-{model}", pipeline, every_hours)
        for model, release in args.releases.items():
            self._start(f"release-{model}", release, RELEASE_EVERY_HOURS)
        for model, (function, every_hours) in args.functions.items():
            timing = clock(every_hours, args.hours)
            request = pulumi.Output.json_dumps(
                {
                    "FunctionName": function,
                    "InvocationType": "Event",
                    "Payload": '{"run": "<aws.scheduler.execution-id>"}',
                }
            )
            self._schedule(f"retrain-{model}", timing.expression, timing.timezone, "lambda:invoke", request)
        if args.hours and args.sleepers:
            self._sleep(args.hours, args.sleepers)
        self.register_outputs({"group": self._group.name})

    def _start(self, purpose: str, pipeline: pulumi.Input[str], every_hours: float) -> None:
        """Start a SageMaker Pipeline again and again."""
        timing = clock(every_hours, self._args.hours)
        # Tokens must be unique, as the scheduler's own id is, and have at least 32 characters.
        token = "groundplan-retraining-run-<aws.scheduler.execution-id>"  # noqa: S105 (an idempotency token)
        request = pulumi.Output.json_dumps({"PipelineName": pipeline, "ClientRequestToken": token})
        self._schedule(purpose, timing.expression, timing.timezone, "sagemaker:startPipelineExecution", request)

    def _sleep(self, hours: Hours, sleepers: Sleepers) -> None:
        """Nodes stop first and start last: MLflow should not look for a database that sleeps."""
        scaling = {
            "on": {"MinSize": sleepers.nodes, "DesiredSize": sleepers.nodes},
            "off": {"MinSize": 0, "DesiredSize": 0},
        }
        database = pulumi.Output.json_dumps({"DbInstanceIdentifier": sleepers.database})
        for state, hour, minutes in (("off", hours.end % 24, (0, 15)), ("on", hours.start, (15, 0))):
            # An environment that ends at midnight is switched off on the day after.
            days = "TUE-SAT" if state == "off" and hours.end == 24 else "MON-FRI"
            nodes = pulumi.Output.json_dumps(
                {"ClusterName": sleepers.cluster, "NodegroupName": sleepers.node_group, "ScalingConfig": scaling[state]}
            )
            self._schedule(
                f"nodes-{state}",
                f"cron({minutes[0]} {hour} ? * {days} *)",
                hours.timezone,
                "eks:updateNodegroupConfig",
                nodes,
            )
            call = "rds:stopDBInstance" if state == "off" else "rds:startDBInstance"
            self._schedule(
                f"database-{state}", f"cron({minutes[1]} {hour} ? * {days} *)", hours.timezone, call, database
            )

    def _schedule(self, purpose: str, expression: str, timezone: str, call: str, request: pulumi.Output[str]) -> None:
        aws.scheduler.Schedule(
            f"{self._name}-{purpose}",
            name=self.scope.name(purpose, limit=64),
            group_name=self._group.name,
            schedule_expression=expression,
            schedule_expression_timezone=timezone,
            flexible_time_window={"mode": "OFF"},
            kms_key_arn=self._args.key_arn,
            target={
                "arn": f"arn:aws:scheduler:::aws-sdk:{call}",
                "role_arn": self._role.arn,
                "input": request,
                "retry_policy": {"maximum_retry_attempts": 3, "maximum_event_age_in_seconds": 3600},
            },
            opts=self.child(),
        )
