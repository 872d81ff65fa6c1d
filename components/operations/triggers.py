"""Retraining when the data drifts: EventBridge starts what trains a model as soon as its drift alarm rings."""

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
    """

    alarms: dict[str, pulumi.Input[str]]
    pipelines: dict[str, pulumi.Input[str]] = field(default_factory=dict)
    functions: dict[str, pulumi.Input[str]] = field(default_factory=dict)


class Triggers(Component):
    """A rule for each model that is not trained on the cluster, where a CronJob looks at the alarm.

    An alarm that rings is one event: it starts one training, however long it goes on.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
    """

    def __init__(self, name: str, scope: Scope, args: TriggersArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        self._name, self._args = name, args
        if args.pipelines:
            pipelines = f"arn:aws:sagemaker:{scope.region}:{scope.account_id}:pipeline"
            role = make_role(
                self,
                name,
                service_trust(scope.account_id, "events.amazonaws.com"),
                [
                    Statement(
                        ("sagemaker:StartPipelineExecution",),
                        tuple(f"{pipelines}/{scope.name(model, limit=256)}" for model in args.pipelines),
                    )
                ],
                purpose="triggers",
            )
        for model, pipeline in args.pipelines.items():
            rule = self._rule(model)
            aws.cloudwatch.EventTarget(
                f"{name}-{model}",
                rule=rule.name,
                target_id="retraining",
                arn=pipeline,
                role_arn=role.arn,
                opts=self.child(),
            )
        for model, function in args.functions.items():
            rule = self._rule(model)
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

    def _rule(self, model: str) -> aws.cloudwatch.EventRule:
        def pattern(alarm: str) -> str:
            return json.dumps(
                {
                    "source": ["aws.cloudwatch"],
                    "detail-type": ["CloudWatch Alarm State Change"],
                    "detail": {"alarmName": [alarm], "state": {"value": ["ALARM"]}},
                }
            )

        return aws.cloudwatch.EventRule(
            f"{self._name}-{model}",
            name=self.scope.name("drift", model, limit=64),
            description=f"Retrains {model} when its data drifts",
            event_pattern=pulumi.Output.from_input(self._args.alarms[model]).apply(pattern),
            tags=self.scope.tags("triggers", Model=model),
            opts=self.child(),
        )
