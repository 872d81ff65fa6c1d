"""What alarms start: EventBridge retrains a model when its data drifts, and takes a version back that degrades."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from components.foundation.args import Args
from components.foundation.base import Component, Scope, Statement
from components.foundation.roles import make_role, service_trust


@dataclass(frozen=True, kw_only=True)
class TriggersArgs(Args):
    """Args:
    alarms: Name of the drift alarm, by model.
    pipelines: ARN of the SageMaker Pipeline that trains, by model.
    functions: ARN of the function that trains, by model.
    releases: ARN of the SageMaker Pipeline that takes a degraded version back, by model.
    degraded: Names of the alarms that start it, by model.
    """

    alarms: dict[str, pulumi.Input[str]]
    pipelines: dict[str, pulumi.Input[str]] = field(default_factory=dict)
    functions: dict[str, pulumi.Input[str]] = field(default_factory=dict)
    releases: dict[str, pulumi.Input[str]] = field(default_factory=dict)
    degraded: dict[str, list[pulumi.Input[str]]] = field(default_factory=dict)


class Triggers(Component):
    """Rules for each model that is not trained on the cluster, where a CronJob looks at the alarms.

    An alarm that rings is one event: it starts one training, however long it goes on.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
    """

    def __init__(self, name: str, scope: Scope, args: TriggersArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        self._name = name
        if args.pipelines or args.releases:
            pipelines = f"arn:aws:sagemaker:{scope.region}:{scope.account_id}:pipeline"
            started = [*args.pipelines, *(f"{model}-release" for model in args.releases)]
            role = make_role(
                self,
                name,
                service_trust(scope.account_id, "events.amazonaws.com"),
                [
                    Statement(
                        ("sagemaker:StartPipelineExecution",),
                        tuple(f"{pipelines}/{scope.name(pipeline, limit=256)}" for pipeline in started),
                    )
                ],
                purpose="triggers",
            )
        for model, pipeline in args.pipelines.items():
            rule = self._rule("drift", model, f"Retrains {model} when its data drifts", [args.alarms[model]])
            aws.cloudwatch.EventTarget(
                f"{name}-{model}",
                rule=rule.name,
                target_id="retraining",
                arn=pipeline,
                role_arn=role.arn,
                opts=self.child(),
            )
        for model, release in args.releases.items():
            says = f"Takes a new version of {model} back when it degrades"
            rule = self._rule("degraded", model, says, args.degraded[model])
            aws.cloudwatch.EventTarget(
                f"{name}-degraded-{model}",
                rule=rule.name,
                target_id="rollback",
                arn=release,
                role_arn=role.arn,
                opts=self.child(),
            )
        for model, function in args.functions.items():
            rule = self._rule("drift", model, f"Retrains {model} when its data drifts", [args.alarms[model]])
            allowed = aws.lambda_.Permission(
                f"{name}-{model}",
                action="lambda:InvokeFunction",
                function=function,
                principal="events.amazonaws.com",
                source_arn=rule.arn,
                source_account=scope.account_id,
                opts=self.child(),
            )
            aws.cloudwatch.EventTarget(
                f"{name}-{model}",
                rule=rule.name,
                target_id="retraining",
                arn=function,
                input_transformer={"input_paths": {"id": "$.id"}, "input_template": '{"run": "<id>"}'},
                opts=self.child(depends_on=[allowed]),
            )
        self.register_outputs({"models": [*args.pipelines, *args.functions]})

    def _rule(self, what: str, model: str, says: str, alarms: list[pulumi.Input[str]]) -> aws.cloudwatch.EventRule:
        def pattern(names: list[str]) -> str:
            return json.dumps(
                {
                    "source": ["aws.cloudwatch"],
                    "detail-type": ["CloudWatch Alarm State Change"],
                    # A new state: an alarm that is silenced for a while reports the one that it has, again.
                    "detail": {
                        "alarmName": names,
                        "state": {"value": ["ALARM"]},
                        "previousState": {"value": [{"anything-but": "ALARM"}]},
                    },
                }
            )

        # Resources keep the names by which they are known: those of drift came first.
        name = f"{self._name}-{model}" if what == "drift" else f"{self._name}-{what}-{model}"
        return aws.cloudwatch.EventRule(
            name,
            name=self.scope.name(what, model, limit=64),
            description=says,
            event_pattern=pulumi.Output.all(*alarms).apply(pattern),
            tags=self.scope.tags("triggers", Model=model),
            opts=self.child(),
        )
